"""In a running WanGP: reads its configuration, and reports findings to its log and page."""

import contextlib
import html
import sys
from typing import Any

from ..log import say
from .findings import Finding
from .request import AUTO_ATTENTION


def running_config() -> dict[str, Any] | None:
    """The configuration of the WanGP that this process runs; None if it runs none."""
    for name in ("wgp", "__main__"):
        module = sys.modules.get(name)
        config = getattr(module, "server_config", None)
        if module is not None and isinstance(config, dict):
            mode = getattr(module, "attention_mode", config.get("attention_mode"))
            known = {**config, "attention_mode": mode}
            with contextlib.suppress(Exception):
                known[AUTO_ATTENTION] = module.get_auto_attention()
            return known
    return None


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
            lines = [html.escape(f"SVI: {text}", quote=False) for text in new]
            sys.modules["gradio"].Warning("<br>".join(lines))
            _shown.update(new)


_shown: set[str] = set()
