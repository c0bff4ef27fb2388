"""In a running WanGP: its configuration as the check needs it, and its log and page, which are told the findings."""

from __future__ import annotations

import contextlib
import html
import sys
from typing import Any

from .findings import GUIDE, Finding
from .request import AUTO_ATTENTION


def running_config() -> dict[str, Any] | None:
    """The configuration of the WanGP that this process is, in any version; None where it is none."""
    for name in ("wgp", "__main__"):
        module = sys.modules.get(name)
        config = getattr(module, "server_config", None)
        if isinstance(config, dict):
            known = {**config, "attention_mode": getattr(module, "attention_mode", config.get("attention_mode"))}
            with contextlib.suppress(Exception):
                known[AUTO_ATTENTION] = module.get_auto_attention()
            return known
    return None


def tell(findings: list[Finding]) -> None:
    """Into WanGP's log; and warnings onto its page, each once for as long as WanGP runs."""
    for finding in findings:
        print(f"[SVI] {finding.kind}: {finding.text} ({GUIDE}#{finding.id})", flush=True)
    new = [finding.text for finding in findings if finding.kind == "warning" and finding.text not in _shown]
    with contextlib.suppress(Exception):  # the log has it all
        context = sys.modules["gradio.context"].LocalContext
        # elsewhere, as with --process, gradio would print the message a second time
        if new and context.blocks.get() is not None and context.event_id.get() is not None:
            sys.modules["gradio"].Warning("<br>".join(html.escape(f"SVI: {text}", quote=False) for text in new))
            _shown.update(new)


_shown: set[str] = set()
