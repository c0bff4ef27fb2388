"""SVI as a plugin of WanGP: runs the installer when WanGP builds its page, and says how it went.

WanGP's Plugins tab clones this repository and loads this file. What happens when WanGP starts with
SVI installed is in wan2gp_svi/install/plugin.py.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import gradio as gr
from shared.utils.plugins import WAN2GPPlugin

FOLDER = Path(__file__).absolute().parent  # not resolved: it may be a link to a clone elsewhere
WANGP = FOLDER.parents[1]
INFO = json.loads((FOLDER / "plugin_info.json").read_text(encoding="utf-8"))
TAB = "wan2gp_svi"  # as that of SVI's own tab, which shows this one's content at its top


class SVIPlugin(WAN2GPPlugin):
    def __init__(self) -> None:
        super().__init__()
        self.name, self.version = INFO["name"], INFO["version"]  # WanGP before 10.52 does not read
        self.description = INFO["description"]

    def setup_ui(self) -> None:
        self.request_global("restart_application")
        self.message, self.restart = outcome()
        if self.message:
            self.add_tab(TAB, "SVI", self.page)

    def page(self) -> None:
        gr.Markdown(self.message, elem_id="svi_plugin")
        restart = getattr(self, "restart_application", None)
        if self.restart and callable(restart):
            said = gr.Markdown()
            button = gr.Button("Restart WanGP", variant="primary", elem_id="svi_restart", scale=0,
                               min_width=200)
            button.click(lambda: "WanGP is restarting. If it does not, start it as usual. Then "
                         "reload this page.", None, said).then(restart)


def outcome() -> tuple[str, bool]:
    """Runs the installer -> what the user has to know ("" if SVI is there and runs), and whether
    to restart WanGP."""
    svi = sys.modules.get("wan2gp_svi.wangp")  # loaded by the hooks, if WanGP has them
    off = "" if svi is None else getattr(svi, "off", str)()
    runs = svi is not None and not off
    worked, said = runpy.run_path(str(FOLDER / "wan2gp_svi/install/child.py"))["install"](
        FOLDER, WANGP)
    for line in said if not (worked and runs) else ():
        print(f"[SVI] {line}", flush=True)
    # WanGP's page may be open to others: whose computer it is does not concern them
    report = "\n".join(["```", *(line.replace(str(WANGP), WANGP.name) for line in said), "```"])
    if not worked:
        went = "This update of SVI is not installed; SVI works as before" if runs else (
            "SVI is not installed, and WanGP works as usual")
        return f"### {went}\n\n{report}", False
    if runs and sys.modules["wan2gp_svi"].__version__ == INFO["version"]:
        return "", False
    # or else another start has what was just installed
    if off and any(line.startswith("Nothing to do") for line in said):
        why = off[:1].upper() + off[1:].replace(str(WANGP), WANGP.name)
        return f"### SVI is off\n\n{why}.\n\nWanGP itself is not affected.", True
    return ("### SVI is installed. Restart WanGP once more\n\nIt added lines to three of WanGP's "
            "files, and its package and profiles beside them. They go when you disable or "
            f"uninstall this plugin.\n\n{report}"), True
