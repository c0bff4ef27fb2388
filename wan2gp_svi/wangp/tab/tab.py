"""The tab "SVI" of WanGP: the list of runs, the panel of the chosen run, a preview of poses, LoRA
files, the doctor."""

import contextlib
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...runs.record import StoreError
from ...runs.state import State, is_running
from ...runs.store import FOLDER, Run, Store
from .. import form_line, own_tab, stop_button, visitors
from ..own_tab import ID, LABEL
from ..resuming import storyboard_of
from . import actions, doctor, lora_files, pose_preview, view
from .desk import CONCURRENCY, Desk
from .helpers import STALE, gr, in_words, on, picked, scroll_to
from .new_video import NewVideo
from .run_panel import RunPanel

COMPONENTS = ("state", "main_tabs", "refresh_form_trigger", "save_form_trigger",
              "model_choice_target", "load_queue_trigger")
FUNCTIONS = ("get_settings_from_file", "set_model_settings", "get_default_settings",
             "get_base_model_type", "get_model_def", "get_gen_info")

EVERY = 5  # seconds between two looks at a running run
_BEGINS = ("", False)  # among the news: a run may be about to begin
_LOOKED_AT = "svi_looked_at"  # in WanGP's state of a generation: its last run that was looked at
IDLE = 15  # seconds between two looks for runs that another page or program begins


def add(application: Any, wgp: dict[str, Any], base: type) -> None:
    """Adds the tab to those of the plugins. Raises LookupError if this WanGP lacks a function."""
    if missing := [name for name in FUNCTIONS if not callable(wgp.get(name))]:
        raise LookupError(f"it has no {', '.join(missing)}")
    plugin: Any = type("SVITab", (base,), {})()
    for component in COMPONENTS:
        plugin.request_component(component)
    plugins = application.plugin_manager.plugins
    told = [one.tabs.pop(ID).component_constructor for one in plugins.values() if ID in one.tabs]
    tab = Tab(plugin, wgp, form_line.add(plugin, wgp), told)
    own_tab.enter(application, plugin, tab.create)


class Tab:
    """The list of runs, and all else below it. `wgp` are the variables of wgp.py; `plugin` has the
    components of WanGP's page. `told` draw what SVI's own plugin has to say about itself."""

    def __init__(self, plugin: Any, wgp: dict[str, Any], line: form_line.FormLine,
                 told: Sequence[Callable[[], None]] = ()):
        self.plugin, self.wgp, self.line, self.told = plugin, wgp, line, told

    @property
    def store(self) -> Store:
        return Store(Path(self.wgp["save_path"]) / FOLDER)

    def run(self, name: str) -> Run:
        """The run that the page is about. Raises StoreError."""
        if not name:
            raise StoreError(STALE)
        return self.store.open(name)

    def create(self) -> None:
        """Called by WanGP where the tab's content goes."""
        try:
            self._create()
        except Exception as error:  # an empty tab rather than no WanGP
            traceback.print_exc()
            gr.Markdown(in_words(error))

    def _create(self) -> None:
        here = gr.context.Context.block  # the tab, which WanGP has made
        for tell in self.told:
            tell()
        new = NewVideo(self.plugin, self.wgp, self.line)
        self.timer = gr.Timer(EVERY, active=False)
        self.desk = desk = Desk(self, self.line) if self.line.storyboard is not None else None
        new.connect(desk, here.select)
        with gr.Row():
            with gr.Column(min_width=240):  # a row of its own on a phone
                self.about = gr.HTML(view.about("", False), elem_id="svi_about")
            refresh = gr.Button("Refresh", scale=0, min_width=120, elem_id="svi_refresh")
        if visitors.is_off(self.wgp):
            gr.Markdown(visitors.OFF, elem_id="svi_visitors")
        self.shown, self.news = gr.State([]), gr.State([])
        # a click brings the names that the page shows: the list may have changed on the way
        self.names = gr.Textbox(visible=False, elem_id="svi_names")
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                self.runs = gr.Dataset(
                    components=[gr.HTML(visible=False, render=False)],
                    headers=["Last changed first"], layout="table", samples=[], type="index",
                    samples_per_page=100, label="Runs", visible=False, elem_id="svi_runs")
                self.empty = gr.Markdown(visible=False)
            with gr.Column(scale=3, min_width=320):
                self.panel = panel = RunPanel(self)
        # or a look at the run before, still on its way, would replace the one that was clicked
        one_by_one = {"concurrency_id": ID}
        on(self.runs.click, self.clicked,
           [self.runs, self.names, self.plugin.state], panel.outputs,
           trigger_mode="always_last", **one_by_one).then(
               None, None, None, js=scroll_to("svi_run", "nearest"))
        # a change of a hidden component, by which WanGP tells of an opened tab, is none in gradio 6
        looks = [panel.chosen, self.shown, self.plugin.state]
        fresh = [on(event, work, inputs, self.all_outputs(panel), **one_by_one)
                 for event, work, inputs in (
                     (refresh.click, self.refreshed, looks),
                     (self.timer.tick, self.looked, [*looks, self.news]))]
        on(here.select, self.refreshed, looks, self.all_outputs(panel), **one_by_one)
        if desk is not None:
            for done in (*fresh, panel.removed):
                on(done.then, desk.looked, [desk.state], desk.outputs, concurrency_id=CONCURRENCY)
            desk.show_on(here.select)
        on(self.plugin.main_tabs.select, self._left, None, [self.timer])
        pose_preview.create(self.plugin, self.wgp)
        lora_files.create(self.wgp)
        doctor.create(self.wgp)

    def all_outputs(self, panel: RunPanel) -> list[Any]:
        """What `refreshed` updates."""
        return [self.runs, self.names, self.shown, self.news, self.empty, self.timer,
                *panel.outputs]

    def looked(self, chosen: str, shown: list[Any], state: dict[str, Any], news: list[Any]) -> Any:
        """`refreshed`, if there may be something new."""
        now = self._news(state)
        busy = _BEGINS in now or any(running for *_, running in now)
        return self.refreshed(chosen, shown, state) if busy or now != news else gr.skip()

    def refreshed(self, chosen: str, shown: list[Any] | None = None,
                  state: dict[str, Any] | None = None) -> dict[Any, Any]:
        """The list of runs and the panel of the chosen one, as they are now. Rows that are `shown`
        already are not sent again. `state` of the page: whether a run is about to begin."""
        news = self._news(state)
        begins, runs = _BEGINS in news, any(running for *_, running in news)
        busy, begins = begins or runs, begins and not runs
        waiting = self.waiting(state)
        rows, names = view.rows(self.store, waiting)
        look = "" if state is None else self._to_look_at(state)
        values = {self.names: "\n".join(names), self.shown: rows, self.news: news,
                  **self.panel.show(look or chosen, look not in ("", chosen), waiting),
                  self.empty: gr.update(value=view.empty(self.store.folder, begins),
                                        visible=begins or not rows),
                  self.timer: gr.Timer(EVERY if busy else IDLE, active=True)}
        if not rows:
            values[self.about] = view.about("", False)
        if rows != shown:
            values[self.runs] = gr.Dataset(samples=rows, visible=bool(rows))
        return values

    def clicked(self, index: Any, names: str | None, state: dict[str, Any]) -> dict[Any, Any]:
        """The panel of a run that the user wants to see, whatever stops for a look meanwhile."""
        gen = self.wgp["get_gen_info"](state)
        gen[_LOOKED_AT] = gen.get(stop_button.RUN)
        name = picked([] if names is None else names.split("\n"), index)
        return self.panel.show(name, waiting=self.waiting(state))

    def _news(self, state: dict[str, Any] | None) -> list[Any]:
        """Something else as soon as there is something new to show."""
        runs = self.store.news()
        if state is not None and any(running for *_, running in runs):
            actions.has_begun(state)
        begins = state is not None and actions.is_expected(self.wgp, state)
        return [*runs, *((name, False) for name in sorted(self.waiting(state))),
                *[_BEGINS] * begins]

    def waiting(self, state: dict[str, Any] | None) -> set[str]:
        """The runs that have a job in the queue of a page."""
        return set() if state is None else actions.waiting(self.wgp, state)

    def _to_look_at(self, state: dict[str, Any]) -> str:
        """The run of this page that has stopped for the user to look at its clip, once; "" if there
        is none, or the user has clicked another one since it began."""
        gen = self.wgp["get_gen_info"](state)
        made = gen.get(stop_button.RUN)  # another object each time that one begins
        if made is None or gen.get(_LOOKED_AT) is made or is_running(made):
            return ""
        gen[_LOOKED_AT] = made
        with contextlib.suppress(StoreError):  # removed since
            run = self.store.open(made.name)
            if run.about.ended == State.STOPPED and storyboard_of(run).pause:
                return run.name
        return ""

    def _left(self, event: "gr.SelectData") -> Any:
        """Nobody looks at the list on another tab of WanGP."""
        return gr.skip() if event.value == LABEL else gr.Timer(active=False)
