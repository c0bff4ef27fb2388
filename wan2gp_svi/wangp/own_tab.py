"""The place of SVI's tab on WanGP's page, and what it says there while SVI is off.

It is a plugin as in WanGP's docs/PLUGINS.md, but without a folder of its own or an entry in the
user's configuration. Standard library only: whatever else of the package is broken, this works.
"""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

ID, LABEL = "wan2gp_svi", "SVI"


def offer(plugins: Any, say: Callable[[str], None], add: Callable[..., None]) -> None:
    """Makes WanGP call `add(application, wgp, base)` once it has loaded its plugins, except in its
    safe mode. Calling this again does nothing. `plugins` is WanGP's module `shared.utils.plugins`.
    """
    if not hasattr(plugins.PluginManager, "set_server_config"):
        say("WanGP before 10.52 cannot show the SVI tab; everything else works.")
        return
    application = plugins.WAN2GPApplication
    load = application.initialize_plugins
    if hasattr(load, "__wrapped__"):
        return

    @wraps(load)
    def initialize_plugins(self: Any, wgp: dict[str, Any], *others: Any, **options: Any) -> Any:
        result = load(self, wgp, *others, **options)
        try:
            if not wgp.get("SAFE_MODE"):
                add(self, wgp, plugins.WAN2GPPlugin)
        except Exception as error:  # whatever is wrong here, WanGP must start
            say(f"this WanGP cannot show the SVI tab ({type(error).__name__}: {error}); everything "
                "else works.")
        return result

    application.initialize_plugins = initialize_plugins


def enter(application: Any, plugin: Any, create: Callable[[], None]) -> None:
    """Enters a plugin whose tab is drawn by `create`."""
    plugin.name = "SVI for WanGP"
    plugin.add_tab(ID, LABEL, create)
    application.plugin_manager.plugins[ID] = plugin
    # a new list: the old one is the user's configuration, which WanGP saves
    application.enabled_plugins = [*application.enabled_plugins, ID]


def say_off(plugins: Any, why: str) -> None:
    """Makes the tab say why SVI is off, unless SVI's own plugin has something to say there."""
    offer(plugins, lambda line: None, partial(_add_reason, why))


def _add_reason(why: str, application: Any, wgp: dict[str, Any], base: type) -> None:
    if not any(ID in one.tabs for one in application.plugin_manager.plugins.values()):
        enter(application, type("SVITab", (base,), {})(), partial(_draw, why))


def _draw(why: str) -> None:
    import gradio as gr

    gr.Markdown(f"### SVI is off\n\n{why}.\n\nWanGP itself is not affected.", elem_id="svi_off")
