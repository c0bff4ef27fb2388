"""The button beside WanGP's Abort that ends an SVI run after its current clip.

WanGP names used here: the variables of `generate_media_tab` in COMPONENTS, `get_gen_info` of
wgp.py, and "status_display" in what it returns.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

from ..runs.record import StoreError
from ..runs.state import ask_to_stop, is_running, keep_running, stop_is_asked
from ..runs.store import Run
from .log import without

COMPONENTS = ("state", "abort_btn", "status_trigger")
RUN = "svi_run"  #: in WanGP's state of a generation: the run that it makes, or made last
EVERY = 2  # seconds between two looks while WanGP generates


def label(run: Run | None, running: bool) -> str:
    return "Cancel the stop" if run and running and stop_is_asked(run) else "Stop after this clip"


def press(run: Run) -> str:
    """Asks a run to stop, or takes that back -> what happens now. Raises StoreError."""
    return (keep_running if is_running(run) and stop_is_asked(run) else ask_to_stop)(run)


def create(components: Mapping[str, Any], wgp: Mapping[str, Any]) -> None:
    """Called by WanGP once its form is there. Without some components there is no button."""
    import gradio as gr

    if not set(COMPONENTS) <= components.keys():
        return
    abort, state = components["abort_btn"], components["state"]
    with abort.parent:
        button = gr.Button("Stop after this clip", visible=False, size="md", min_width=1,
                           elem_id="svi_stop_here")
        timer = gr.Timer(EVERY, active=False)
    abort.parent.children.remove(button)
    abort.parent.children.insert(abort.parent.children.index(abort) + 1, button)

    def look(state: Any) -> tuple[Any, Any]:
        with without("the button that stops a run"):
            gen = wgp["get_gen_info"](state)
            run = gen.get(RUN)
            running = run is not None and is_running(run)
            return (gr.update(visible=running, value=label(run, running)),
                    gr.Timer(active=bool(gen.get("status_display"))))
        return gr.update(visible=False), gr.Timer(active=False)

    def click(state: Any) -> tuple[Any, Any]:
        run = wgp["get_gen_info"](state).get(RUN)
        with contextlib.suppress(StoreError):  # it has just ended, and the button goes
            if run is not None:
                gr.Info(press(run))
        return look(state)

    work: dict[str, Any] = {"inputs": [state], "outputs": [button, timer],
                            "show_progress": "hidden"}
    button.click(click, **work)
    # WanGP's own event sets "status_display" before this one
    gr.on([components["status_trigger"].change, timer.tick], look, queue=False, **work)
