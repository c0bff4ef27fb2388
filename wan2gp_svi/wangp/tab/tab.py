"""The tab "SVI" of WanGP: the list of runs, the panel of the chosen run, LoRA files, the doctor.

It is a plugin as in WanGP's docs/PLUGINS.md, but without a folder of its own or an entry in the
user's configuration: `offer` adds it to the plugins that WanGP loads.
"""

import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from ...runs.store import FOLDER, Store
from .. import form_line
from . import doctor, lora_files, view
from .components import gr, guarded, in_words, on
from .run_panel import RunPanel

ID, LABEL = "wan2gp_svi", "SVI"
COMPONENTS = ("state", "main_tabs", "refresh_form_trigger", "model_choice_target")
FUNCTIONS = ("get_settings_from_file", "set_model_settings", "get_default_settings",
             "get_base_model_type")

EMPTY = ("There are no runs yet. In the Media Generator, apply a profile that begins with **SVI**, "
         "and generate a video: its clips are saved one by one, and the run appears here.")
ABOUT = ("Each clip is saved as soon as it is done. So you can resume a run that failed or was "
         "stopped, extend it, or redo it from any clip. **Click a run.**")


def offer(plugins: Any, say: Callable[[str], None]) -> None:
    """Makes WanGP load the tab with its plugins, except in its safe mode. Calling this again does
    nothing. `plugins` is WanGP's module `shared.utils.plugins`."""
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


def add(application: Any, wgp: dict[str, Any], base: type) -> None:
    """Adds the tab to those of the plugins. Raises LookupError if this WanGP lacks a function."""
    if missing := [name for name in FUNCTIONS if not callable(wgp.get(name))]:
        raise LookupError(f"it has no {', '.join(missing)}")
    plugin: Any = type("SVITab", (base,), {"on_tab_select": lambda self, _: self.show_runs()})()
    tab = Tab(plugin, wgp)
    plugin.name, plugin.show_runs = "SVI for WanGP", guarded(tab.listed)
    for component in COMPONENTS:
        plugin.request_component(component)
    plugin.add_tab(ID, LABEL, tab.create)
    form_line.add(plugin, wgp)
    application.plugin_manager.plugins[ID] = plugin
    # a new list: the old one is the user's configuration, which WanGP saves
    application.enabled_plugins = [*application.enabled_plugins, ID]


class Tab:
    """The list of runs, and all else below it. `wgp` are the variables of wgp.py; `plugin` has the
    components of WanGP's page."""

    def __init__(self, plugin: Any, wgp: dict[str, Any]):
        self.plugin, self.wgp = plugin, wgp

    @property
    def store(self) -> Store:
        return Store(Path(self.wgp["save_path"]) / FOLDER)

    def create(self) -> None:
        """Called by WanGP where the tab's content goes."""
        try:
            self._create()
        except Exception as error:  # an empty tab rather than no WanGP
            traceback.print_exc()
            gr.Markdown(in_words(error))

    def _create(self) -> None:
        with gr.Row(equal_height=True):
            gr.Markdown(ABOUT)
            refresh = gr.Button("Refresh", scale=0, min_width=120, elem_id="svi_refresh")
        names = gr.State([])
        text_cells = [gr.Textbox(visible=False, render=False) for _ in view.HEADERS[1:]]
        runs = gr.Dataset(
            components=[gr.HTML(visible=False, render=False), *text_cells], headers=view.HEADERS,
            samples=[], type="index", samples_per_page=8, label="Runs, newest first",
            elem_id="svi_runs")
        self.outputs = self.plugin.on_tab_outputs = [runs, names, gr.Markdown(EMPTY)]
        panel = RunPanel(self)
        on(runs.click, lambda index, names: panel.show(names[index]), [runs, names], panel.outputs)
        on(refresh.click, lambda name: {**self.listed(), **panel.show(name)}, [panel.chosen],
           [*self.outputs, *panel.outputs])
        lora_files.create(self.wgp)
        doctor.create(self.wgp)

    def listed(self) -> dict[Any, Any]:
        """The list of runs, their names, and a line if there are none, for `on_tab_outputs`."""
        rows, names = view.rows(self.store)
        values = gr.Dataset(samples=rows, visible=bool(rows)), names, gr.update(visible=not rows)
        return dict(zip(self.outputs, values, strict=True))
