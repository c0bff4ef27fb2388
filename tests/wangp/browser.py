"""WanGP's page in headless Chromium. Needs playwright, and Debian's chromium
(or CHROMIUM=/path/to/it)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import urllib.request
from collections.abc import Iterator
from typing import Any

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking",
    "--disable-component-update"
]


@contextlib.contextmanager
def open_page(address: str, timeout: float = 120) -> Iterator[Any]:
    """A playwright page that shows the form of the current model."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, args=FLAGS, viewport={"width": 1500, "height": 1400}
        )
        try:
            page = context.new_page()
            page.set_default_timeout(timeout * 1000)
            # other hosts, with fonts and scripts, are out of reach
            page.route(re.compile(r"^https?://(?!127\.0\.0\.1)"), lambda route: route.abort())
            page.goto(address, wait_until="domcontentloaded")
            page.locator("button:has-text('Generate')").locator("visible=true").first.wait_for()
            yield page
        finally:
            context.close()


def dropdowns(page: Any) -> list[Any]:
    """The visible dropdowns from the top: family, kind, model, settings
    (profiles), then the form's."""
    return page.locator("input[role=listbox]").locator("visible=true").all()


def options(page: Any, dropdown: Any) -> list[str]:
    """The options of a dropdown."""
    with _opened(page, dropdown) as items:
        return [text.replace("✓", "").strip() for text in items.all_inner_texts()]


def choose(page: Any, dropdown: Any, text: str) -> None:
    """Picks the option with exactly this text. Gradio reacts to mousedown and intercepts clicks."""
    with _opened(page, dropdown) as items:
        pattern = re.compile(rf"^\s*(✓)?\s*{re.escape(text)}\s*$")
        items.filter(has_text=pattern).first.dispatch_event("mousedown")


@contextlib.contextmanager
def _opened(page: Any, dropdown: Any) -> Iterator[Any]:
    items = page.locator("ul[role=listbox] li")
    dropdown.click()
    items.first.wait_for()
    yield items
    dropdown.blur()  # else it would not open a second time
    items.first.wait_for(state="detached")


def send(address: str, session: str, id: str, event: str, *data: Any) -> dict[str, Any]:
    """Sends an event of a component to the server without a page -> its answer. Shown messages are
    in `log`."""
    with urllib.request.urlopen(f"{address}config", timeout=60) as response:
        config = json.load(response)
    component = next(one["id"] for one in config["components"]
                     if one["props"].get("elem_id") == id)
    number = next(one["id"] for one in config["dependencies"]
                  if [component, event] in [list(target) for target in one["targets"]])
    asked = {"fn_index": number, "session_hash": session, "data": list(data)}
    request = urllib.request.Request(f"{address}gradio_api/queue/join", json.dumps(asked).encode(),
                                     {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=60).close()
    said = []
    url = f"{address}gradio_api/queue/data?session_hash={session}"
    with urllib.request.urlopen(url, timeout=300) as stream:
        for line in stream:
            message = json.loads(line[5:]) if line.startswith(b"data:") else {}
            said += [message["log"]] if message.get("msg") == "log" else []
            if message.get("msg") == "process_completed":
                return {**message, "log": said}
    raise RuntimeError("the server did not answer")
