"""The panel of the chosen run: its video, its clips, and what the user can do with it."""

from collections.abc import Callable
from typing import Any

from ...runs.state import State, ask_to_stop
from ...runs.store import Run
from ...text import size
from .. import resuming
from . import actions, view
from .components import gr, on


class RunPanel:
    """`tab` is the Tab that holds it; `outputs` are the components that `show` updates."""

    def __init__(self, tab: Any):
        self.tab, self.chosen = tab, gr.State("")
        with gr.Row(visible=False, elem_id="svi_run") as self.row:
            with gr.Column(scale=2):
                self.video = gr.HTML()
            with gr.Column(scale=3):
                self.summary = gr.Markdown()
                with gr.Tabs():
                    self._resume_tab()
                    self._extend_tab()
                    self._redo_tab()
                    self._drift_tab()
                    self._remove_tab()
                with gr.Accordion("Clips"):
                    self.clips = gr.HTML()
        self.outputs = [
            self.chosen, self.row, self.video, self.summary, self.clips, self.resume, self.stop,
            self.extend, self.redo, self.clip, self.drift, self.measure, self.remove, self.sure]
        self._connect()

    def _resume_tab(self) -> None:
        with gr.Tab("Resume"):
            gr.Markdown("Resume the run at its first missing clip.")
            with gr.Row():
                self.resume = gr.Button("Resume", variant="primary", elem_id="svi_resume")
                self.stop = gr.Button("Stop after this clip", variant="stop", elem_id="svi_stop")

    def _extend_tab(self) -> None:
        with gr.Tab("Extend"):
            self.more = gr.Number(1, label="Clips to add (5 s each)", precision=0, minimum=1,
                                  elem_id="svi_more")
            self.prompts = gr.Textbox(
                label="Prompts for these clips", lines=4, elem_id="svi_prompts",
                info="Put an empty line between prompts. The last one is used for all further "
                     "clips. Leave this empty to keep the run's last prompt.")
            self.extend = gr.Button("Extend", variant="primary", elem_id="svi_extend")

    def _redo_tab(self) -> None:
        with gr.Tab("Redo"):
            gr.Markdown("Make a new run that keeps the clips before this one. The old run and its "
                        "video stay.")
            with gr.Row():
                self.clip = gr.Number(2, label="From clip", precision=0, minimum=2,
                                      elem_id="svi_clip")
                self.seed = gr.Textbox(label="New seed", placeholder="unchanged",
                                       elem_id="svi_seed")
            self.prompt = gr.Textbox(label="New prompt", placeholder="unchanged", lines=2,
                                     info="Used for as many clips as the old one.",
                                     elem_id="svi_prompt")
            self.redo = gr.Button("Redo", variant="primary", elem_id="svi_redo")

    def _drift_tab(self) -> None:
        with gr.Tab("Drift report"):
            self.measure = gr.Button("Measure colours, contrast and motion", elem_id="svi_drift")
            self.drift = gr.HTML()

    def _remove_tab(self) -> None:
        with gr.Tab("Remove"):
            self.remove = gr.Button("Remove", variant="stop", elem_id="svi_remove")
            with gr.Column(visible=False) as self.sure:
                self.question = gr.Markdown()
                with gr.Row():
                    self.yes = gr.Button("Yes, remove", variant="stop", elem_id="svi_yes")
                    self.no = gr.Button("Cancel")

    def _connect(self) -> None:
        plugin, chosen = self.tab.plugin, self.chosen
        state = plugin.state
        form = [plugin.refresh_form_trigger, plugin.model_choice_target, plugin.main_tabs]
        on(self.resume.click, self._to_form(resuming.resumed), [state, chosen], form)
        on(self.extend.click, self._to_form(actions.extend),
           [state, chosen, self.more, self.prompts], form)
        on(self.redo.click, self._to_form(actions.redo),
           [state, chosen, self.clip, self.prompt, self.seed], form)
        on(self.stop.click, self._stop, [chosen], [self.stop])
        on(self.measure.click, self._measure, [chosen], [self.drift], progress="full")
        on(self.remove.click, self._ask, [chosen], [self.sure, self.question])
        on(self.no.click, lambda: gr.update(visible=False), None, [self.sure])
        on(self.yes.click, self._remove, [chosen], [*self.tab.outputs, *self.outputs])

    def show(self, name: str) -> dict[Any, Any]:
        """The components' values for a run; they hide the panel if it is gone."""
        if not name or not (self.tab.store.folder / name).is_dir():
            return {self.chosen: "", self.row: gr.update(visible=False)}
        shown = view.look(self._run(name))
        running, last = shown.state == State.RUNNING, shown.last_redo

        def usable(possible: bool) -> Any:
            return gr.update(interactive=possible)

        return {
            self.chosen: name, self.row: gr.update(visible=True), self.video: view.video(shown),
            self.summary: view.summary(shown), self.clips: view.clips_table(shown),
            self.resume: usable(shown.can_resume), self.stop: usable(running),
            self.extend: usable(shown.can_extend), self.redo: usable(not running and last > 1),
            self.clip: gr.update(label=f"From clip (2 to {last})", value=max(2, last)),
            self.drift: view.drift(shown.drift), self.measure: usable(shown.video is not None),
            self.remove: usable(not running), self.sure: gr.update(visible=False),
        }

    def _run(self, name: str) -> Run:
        return self.tab.store.find(name)

    def _to_form(self, make: Callable[..., dict[str, Any]]) -> Callable[..., tuple[Any, ...]]:
        """The work of a button: puts the settings that `make` returns into WanGP's form.

        Not into its queue, which changes every few versions; and users can check the form first.
        """
        def work(state: dict[str, Any], name: str, *entered: Any) -> tuple[Any, ...]:
            run = self._run(name)
            settings = make(run, *entered)
            fill, switch = actions.into_form(self.tab.wgp, state, run, settings)
            gr.Info(actions.next_step(run, settings, len(run.done())), duration=20)
            # the form is on the first tab: `video_gen`, later `media_gen`
            form = self.tab.plugin.main_tabs.children[0].id
            return fill or gr.skip(), switch or gr.skip(), gr.Tabs(selected=form)
        return work

    def _stop(self, name: str) -> Any:
        run = self._run(name)
        ask_to_stop(run)
        gr.Info(f"Run {run.name} stops after the current clip. You can resume it at any time.")
        return gr.update(interactive=False)

    def _measure(self, name: str) -> str:
        return view.drift(actions.make_drift(view.look(self._run(name))))

    def _ask(self, name: str) -> tuple[Any, str]:
        return gr.update(visible=True), view.removing(view.look(self._run(name)))

    def _remove(self, name: str) -> dict[Any, Any]:
        run, store = self._run(name), self.tab.store
        freed = size(store.remove(run))
        gr.Info(f"Run {run.name} is removed, which frees {freed}.")
        return {**self.tab.listed(), **self.show("")}
