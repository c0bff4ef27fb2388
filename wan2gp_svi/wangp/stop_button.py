"""The button beside WanGP's Abort that ends an SVI run after its current clip; and one above
Generate, with a line about the run, for a page that did not start it or was loaded again since.

WanGP names used here: the variables of `generate_media_tab` in COMPONENTS and ELSEWHERE,
`save_path` and `get_gen_info` of wgp.py, and "status_display" in what that returns.
"""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from ..runs.record import StoreError
from ..runs.state import (
    State,
    ask_to_stop,
    in_words,
    is_running,
    is_stopping,
    keep_running,
    stop_is_asked,
)
from ..runs.store import FOLDER, Run, Store
from .log import without

COMPONENTS = ("state", "abort_btn", "status_trigger")
ELSEWHERE = ("main", "generate_btn")  #: without these, nothing is said of other pages' runs
RUN = "svi_run"  #: in WanGP's state of a generation: the run that it makes, or made last
STOP, CANCEL = "Stop after this clip", "Cancel the stop"  #: what the button says
EVERY = 2  # seconds between two looks while WanGP generates
IDLE = 15  # seconds between two looks for a run that another page or program begins
# gradio greys text while it waits for news, which would flicker every few seconds
_STEADY = "<style>#svi_elsewhere .pending {opacity: 1 !important}</style>"


def label(run: Run | None, running: bool) -> str:
    if run is None or not running:
        return STOP
    return "Stopping" if is_stopping(run) else CANCEL if stop_is_asked(run) else STOP


def press(run: Run, said: str) -> str:
    """Does with a run what the button `said`: another page may have asked it to stop since -> what
    happens now. Raises StoreError."""
    from .matching import others_after  # loads torch

    if said == CANCEL and is_running(run):
        return keep_running(run)
    return ask_to_stop(run, others_after(run))


def create(components: Mapping[str, Any], wgp: Mapping[str, Any]) -> list[Any]:
    """Called by WanGP once its form is there. Without some components there is no button. Returns
    the timer, if any, that ticks once when a run begins or ends."""
    import gradio as gr

    if not set(COMPONENTS) <= components.keys():
        return []
    abort, state = components["abort_btn"], components["state"]
    with abort.parent:
        button = gr.Button(STOP, visible=False, size="md", min_width=1,
                           elem_id="svi_stop_here")
        timer, news = gr.Timer(EVERY, active=False), gr.Timer(1, active=False)
    seen = gr.State("")  # the run that was running
    _place(button, abort, 1)
    events, elsewhere = [components["status_trigger"].change, timer.tick], []
    if set(ELSEWHERE) <= components.keys():
        generate = components["generate_btn"]
        with generate.parent, gr.Row(visible=False, elem_id="svi_elsewhere") as row:
            with gr.Column(min_width=240):  # a row of its own on a phone
                line = gr.HTML()
            other = gr.Button(STOP, size="md", scale=0, min_width=180,
                              elem_id="svi_stop_elsewhere")
        _place(row, generate, 0)
        events, elsewhere = [components["main"].load, *events], [row, line, other]

    def look(state: Any, seen: str) -> tuple[Any, ...]:
        with without("the button that stops a run"):
            gen = wgp["get_gen_info"](state)
            run = gen.get(RUN)
            running = run is not None and is_running(run)
            found = None if running or not elsewhere else _running(wgp)
            now = run if running else found
            active = bool(gen.get("status_display")) or now is not None
            name = "" if now is None else now.name
            return (gr.update(visible=running, value=label(run, running)),
                    gr.Timer(EVERY if active else IDLE, active=active or bool(elsewhere)),
                    name, gr.skip() if name == seen else gr.Timer(active=True),
                    *([gr.update(visible=found is not None), "" if found is None else _told(found),
                       label(found, True)] if elsewhere else []))
        return (gr.update(visible=False), gr.Timer(active=False), seen, gr.skip(),
                *([gr.update(visible=False), "", gr.skip()] if elsewhere else []))

    def click(find: Callable[[Any], Run | None], state: Any, seen: str, said: str
              ) -> tuple[Any, ...]:
        run = find(state)
        with contextlib.suppress(StoreError):  # it has just ended, and the button goes
            if run is not None:
                gr.Info(press(run, said))
        return look(state, seen)

    looks, work = [state, seen], {"outputs": [button, timer, seen, news, *elsewhere],
                                  "show_progress": "hidden"}
    button.click(partial(click, lambda state: wgp["get_gen_info"](state).get(RUN)),
                 [*looks, button], **work)
    if elsewhere:
        other.click(partial(click, lambda _: _running(wgp)), [*looks, other], **work)
    # WanGP's own event sets "status_display" before this one
    gr.on(events, look, looks, queue=False, **work)
    news.tick(lambda: gr.Timer(active=False), None, [news], queue=False, show_progress="hidden")
    return [news]


def _running(wgp: Mapping[str, Any]) -> Run | None:
    """A run that is made now, whoever started it."""
    runs = Store(Path(wgp["save_path"]) / FOLDER).runs()
    return next(filter(is_running, runs), None)


def _told(run: Run) -> str:
    now = escape(in_words(run, State.RUNNING, run.done()))
    return (f"{_STEADY}<b>Run {escape(run.name)} is {now}.</b> Another page started it, or this "
            "one before it was loaded again. The tab SVI shows it.")


def _place(block: Any, beside: Any, after: int) -> None:
    """Moves a block before (0) or behind (1) another one in the same parent."""
    children = beside.parent.children
    children.remove(block)
    children.insert(children.index(beside) + after, block)
