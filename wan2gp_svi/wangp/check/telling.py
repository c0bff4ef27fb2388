"""In a running WanGP: reads its configuration, and reports findings to its log and page."""

import contextlib
import html
import os
import sys
from pathlib import Path
from typing import Any

from ... import location
from .. import visitors
from ..log import say
from ..plan import DEMO_ONLY
from .findings import Finding
from .request import AUTO_ATTENTION


def running_config() -> dict[str, Any] | None:
    """The configuration of the WanGP that this process runs; None if it runs none."""
    module = _running_wangp()
    if module is None:
        return None
    config = module.server_config
    known = {**config, "attention_mode": getattr(module, "attention_mode",
                                                 config.get("attention_mode"))}
    with contextlib.suppress(Exception):
        known[AUTO_ATTENTION] = module.get_auto_attention()
    return {**known, DEMO_ONLY: True} if hasattr(module, DEMO_ONLY) else known


def running_outputs() -> Path | None:
    """The folder for videos of the WanGP that this process runs; None if it runs none."""
    folder = getattr(_running_wangp(), "save_path", None)
    return Path(folder) if isinstance(folder, (str, Path)) else None


def running_limits() -> Path | None:
    """The folder where the images of a storyboard must be; None if that may be anywhere, because no
    other computer can open the page."""
    module = _running_wangp()
    options = getattr(module, "args", None)  # none without a page
    return running_outputs() if options is not None and visitors.is_off(vars(module)) else None


def for_page(text: str) -> str:
    """Text that a page shows: where other computers can open it, without the folders above WanGP's,
    the user's, and that of the videos."""
    outputs = running_limits()
    roots = {outputs.resolve(), Path.cwd(), Path.home()} if outputs is not None else set()
    for root in sorted(map(str, roots), key=len, reverse=True):
        name = Path(root).name
        text = text.replace(f"{root}{os.sep}", "").replace(root, name) if name else text
    return text


def running_loras(model_type: str) -> Path | None:
    """The folder for LoRA files of a model, of the WanGP that this process runs."""
    with contextlib.suppress(Exception):
        return Path(_running_wangp().get_lora_dir(model_type))
    return None


def running_addresses() -> set[Path]:
    """The LoRA files that the WanGP which this process runs can download."""
    return location.lora_addresses(Path.cwd())


def _running_wangp() -> Any:
    modules = (sys.modules.get(name) for name in ("wgp", "__main__"))
    return next((module for module in modules
                 if isinstance(getattr(module, "server_config", None), dict)), None)


def tell(findings: list[Finding]) -> None:
    """Writes findings to WanGP's log, and shows each warning on its page, but only once."""
    for finding in findings:
        say(str(finding))
    new = [finding.text for finding in findings
           if finding.kind == "warning" and finding.text not in _shown]
    with contextlib.suppress(Exception):  # the log has it all
        context = sys.modules["gradio.context"].LocalContext
        # elsewhere, as with --process, gradio would print the message once more
        if new and context.blocks.get() is not None and context.event_id.get() is not None:
            lines = [html.escape(for_page(f"SVI: {text}"), quote=False) for text in new]
            sys.modules["gradio"].Warning("<br>".join(lines))
            _shown.update(new)


_shown: set[str] = set()
