"""SVI as a plugin of WanGP: a clone of the repository in WanGP's folder `plugins`.

The plugin is the distribution, not the installation: `plugin.py` runs the installer from it, which
notes its name in the state. From then on, WanGP's start follows WanGP's Plugins tab. If that has
updated the plugin, the new release is installed; if it has disabled or removed the plugin, SVI goes
too.
"""

from pathlib import Path

from wan2gp_svi import location
from wan2gp_svi.files import read
from wan2gp_svi.install import Refused, child
from wan2gp_svi.install.shipped import Distribution
from wan2gp_svi.install.state import load

FOLDER = "plugins"  #: of WanGP
ENTRY = "plugin.py"  #: without it, WanGP takes a folder for no plugin of ours
_ENABLED = "enabled_plugins"  # in WanGP's configuration


def owner(wangp: Path) -> str:
    """The name of the plugin that installed SVI, if WanGP still has it; "" if there is none."""
    state = load(wangp)
    name = state.plugin if state else ""
    return name if name and (wangp / FOLDER / name / ENTRY).is_file() else ""


def gone(wangp: Path) -> str:
    """Why SVI has to go with the plugin that installed it; "" if it stays."""
    state = load(wangp)
    if not state or not state.plugin:
        return ""
    if not owner(wangp):
        return f"its plugin, {FOLDER}/{state.plugin}, was removed"
    config = location.running_config(wangp)
    enabled = [state.plugin] if config is None else config.get(_ENABLED, [])
    if not isinstance(enabled, list) or state.plugin in enabled:  # what cannot be read says nothing
        return ""
    return f"its plugin, {state.plugin}, is disabled in WanGP's Plugins tab"


def checked(wangp: Path, distribution: Distribution, name: str) -> str:
    """The plugin to note as the one that installs SVI: `name`, which asks for it, or the one that
    has installed this distribution before. Raises Refused if another copy installs SVI here."""
    if name and Distribution(wangp, "").unpacked_into(wangp):
        raise Refused("SVI for WanGP was unpacked into WanGP's own folder, and works from there: "
                      f"uninstall the plugin {name} in WanGP's Plugins tab")
    first = owner(wangp)
    own = {wangp.resolve(), (wangp / FOLDER / first).resolve()}
    if first in ("", name) or (not name and distribution.root.resolve() in own):
        return name or first
    if name:
        raise Refused(f"the plugin {first} has installed SVI here, and {name} is another copy of "
                      "it: uninstall one of the two in WanGP's Plugins tab")
    raise Refused(f"the plugin {first} has installed SVI here and updates it: use WanGP's Plugins "
                  "tab. To install from this folder instead, uninstall the plugin there and "
                  "restart WanGP first")


def comes_back(wangp: Path) -> list[str]:
    """What to say after an uninstallation that a plugin will undo."""
    name = owner(wangp)
    return [f"The plugin {name} installs SVI again when WanGP starts: uninstall it in WanGP's "
            "Plugins tab."] if name and not gone(wangp) else []


def remove_if_gone(wangp: Path) -> str:
    """Uninstalls SVI if its plugin is gone -> why SVI is off then; "" if it stays."""
    why = gone(wangp)
    if not why:
        return ""
    from wan2gp_svi.install import cli

    print(f"[SVI] Uninstalling SVI, because {why}.")
    if cli.main([str(wangp), "--uninstall"], home=wangp):
        return f"{why}, but it could not be uninstalled. Start WanGP again"
    return f"{why}, so it was uninstalled"


def update(wangp: Path) -> tuple[bool, str]:
    """Installs what WanGP's Plugins tab has updated -> whether there was anything, and why SVI
    cannot go on before another start of WanGP ("" if it can)."""
    from wan2gp_svi.install.plan import compare

    name = owner(wangp)
    if not name:
        return False, ""
    folder = wangp / FOLDER / name
    try:
        changes, _ = compare(wangp, Distribution(folder, ""))
    except (OSError, Refused):  # the plugin says so on its page
        changes = []
    if all(change.before == change.after for change in changes):
        return False, ""
    before = read(wangp / "wgp.py")
    worked, said = child.install(folder, wangp)
    release = getattr(load(wangp), "release", "?")
    for line in [f"Updated SVI to {release}, from {FOLDER}/{name}."] if worked else said:
        print(f"[SVI] {line}", flush=True)
    again = worked and read(wangp / "wgp.py") != before
    return worked, "it was updated, and works after one more restart of WanGP" if again else ""
