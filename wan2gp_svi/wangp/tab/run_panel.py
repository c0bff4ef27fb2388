"""The panel of the chosen run: its video, its clips, and what the user can do with it."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from ...install import Refused
from ...runs.record import StoreError
from ...runs.state import State, is_empty, is_running, rename
from ...runs.store import Run, is_busy
from ...text import count, plural, size
from ...untrusted import is_name
from .. import resuming, stop_button, visitors
from . import actions, view
from .helpers import gr, on, scroll_to, tell_if_off, text_to_copy, to_form, warn


def job(tab: Any, make: Callable[..., dict[str, Any]], stays: bool = False
        ) -> Callable[..., tuple[Any, ...]]:
    """The work of a button: puts the settings that `make` returns into WanGP's queue, which starts.
    WanGP's form stays as it is, so that no later video belongs to the run, and it is opened unless
    the user `stays` in the tab. A WanGP before 11 takes jobs from its form only."""
    starts = getattr(tab.plugin, "load_queue_trigger", None) is not None

    def work(state: dict[str, Any], name: str, *entered: Any) -> tuple[Any, ...]:
        run: Run = tab.run(name)
        settings = make(run, *entered)
        what = resuming.what_happens(run, settings, len(run.done()))
        if starts:
            filled: tuple[Any, ...] = (actions.into_queue(tab.wgp, state, settings),)
            before = len(tab.wgp["get_gen_info"](state).get("queue") or [])
            gr.Info(f"WanGP will {what}, after {count(before, 'job')} in its queue." if before else
                    f"WanGP's next job is to {what}.", duration=20)
        else:
            filled = actions.into_form(tab.wgp, state, run, settings)
            tab.line.tell_once_filled(state, (
                f"The settings are in the form. Press Generate to {what}. Afterwards, set \"SVI "
                "run\" back to auto."))
        here = starts and (stays or resuming.storyboard_of(run).pause)  # its next clip is looked at
        there = gr.skip() if here else to_form(tab.plugin)
        return there, *(one or gr.skip() for one in filled)
    return work


def job_outputs(plugin: Any) -> list[Any]:
    """The components that such a work updates."""
    starts = getattr(plugin, "load_queue_trigger", None)  # since WanGP 11
    form = [plugin.refresh_form_trigger, plugin.model_choice_target]
    return [plugin.main_tabs, *([starts] if starts is not None else form)]


class RunPanel:
    """`tab` is the Tab that holds it; `outputs` are the components that `show` updates."""

    def __init__(self, tab: Any):
        self.tab, self.chosen = tab, gr.State("")
        with gr.Column(visible=False, elem_id="svi_run") as self.panel:
            with gr.Row():
                with gr.Column(scale=2, min_width=240) as self.left:
                    self.video = gr.HTML()
                with gr.Column(scale=3, min_width=300):
                    self.summary = gr.Markdown(latex_delimiters=[])
            with gr.Tabs():
                self._resume_tab()
                self._extend_tab()
                self._redo_tab()
                self._drift_tab()
                self._details_tab()
                self._remove_tab()
            with gr.Accordion("Clips"):
                self.clips = gr.HTML()
                self.stage = gr.Button("Open in the storyboard", size="sm", min_width=120,
                                       visible=tab.desk is not None, elem_id="svi_stage")
        self.outputs = [
            tab.about, self.chosen, self.panel, self.left, self.video, self.summary, self.clips,
            self.resume, self.stop, self.more, self.prompts, self.sound, self.extend, self.redo,
            self.clip, self.seed, self.seed_said, self.prompt, self.drift, self.measure, self.label,
            self.folder, self.victims, self.no_clip, self.sure]
        self._connect()

    def _resume_tab(self) -> None:
        with gr.Tab("Resume"), gr.Row():
            self.resume = gr.Button("Resume", variant="primary", min_width=120,
                                    elem_id="svi_resume")
            self.stop = gr.Button("Stop after this clip", variant="stop", min_width=120,
                                  elem_id="svi_stop")

    def _extend_tab(self) -> None:
        with gr.Tab("Extend"):
            # what is no number of clips is refused in our own words
            self.more = gr.Number(1, label="Clips to add", elem_id="svi_more")
            self.prompts = gr.Textbox(
                label="Prompts for these clips", lines=4, elem_id="svi_prompts",
                info="Put an empty line between prompts. The last one is used for all further "
                     "clips. Leave this empty to keep the run's last prompt.")
            self.sound = gr.Audio(
                label="A longer sound, which begins as the run's own does", type="filepath",
                sources=["upload"], visible=False, elem_id="svi_sound")
            self.extend = gr.Button("Extend", variant="primary", elem_id="svi_extend")

    def _redo_tab(self) -> None:
        with gr.Tab("Redo"):
            gr.Markdown("Make a new run that keeps the clips before this one. The old run and its "
                        "video stay.")
            with gr.Row():
                self.clip = gr.Number(2, label="From clip", min_width=120, elem_id="svi_clip")
                self.seed = gr.Textbox(label="New seed", placeholder="unchanged", min_width=120,
                                       elem_id="svi_seed")
            self.seed_said = gr.HTML(elem_id="svi_seed_said")
            self.prompt = gr.Textbox(label="New prompt", placeholder="unchanged", lines=2,
                                     info="For as many clips as the old one was used.",
                                     elem_id="svi_prompt")
            self.redo = gr.Button("Redo", variant="primary", elem_id="svi_redo")

    def _drift_tab(self) -> None:
        with gr.Tab("Drift report"):
            self.measure = gr.Button("Measure colours, contrast and motion", elem_id="svi_drift")
            self.drift = gr.HTML()

    def _details_tab(self) -> None:
        with gr.Tab("Details"):
            with gr.Row():
                self.label = gr.Textbox(label="Your name for this run", scale=3, min_width=200,
                                        elem_id="svi_label")
                self.rename = gr.Button("Save name", scale=1, min_width=120, elem_id="svi_rename")
            with gr.Row(equal_height=True, visible=not visitors.is_off(self.tab.wgp)):
                self.folder = text_to_copy(1, label="Folder of its clips on WanGP's computer",
                                           scale=3, min_width=200, elem_id="svi_folder")
                self.open = gr.Button("Open folder", scale=1, min_width=120,
                                      visible=not visitors.is_shared(self.tab.wgp),
                                      elem_id="svi_open")

    def _remove_tab(self) -> None:
        with gr.Tab("Remove"):
            tell_if_off(self.tab.wgp)
            self.victims = gr.Dropdown([], multiselect=True, label="Runs to remove",
                                       elem_id="svi_victims")
            with gr.Row():
                self.no_clip = gr.Button("Add all without a clip", min_width=120, visible=False,
                                         elem_id="svi_no_clip")
                self.remove = gr.Button("Remove", variant="stop", min_width=120,
                                        interactive=not visitors.is_off(self.tab.wgp),
                                        elem_id="svi_remove")
            with gr.Column(visible=False) as self.sure:
                self.question = gr.Markdown()
                with gr.Row():
                    self.yes = gr.Button("Yes, remove", variant="stop", min_width=120,
                                         elem_id="svi_yes")
                    self.no = gr.Button("Cancel", min_width=120)

    def _connect(self) -> None:
        state, chosen, work = self.tab.plugin.state, self.chosen, partial(job, self.tab)
        into = job_outputs(self.tab.plugin)
        on(self.resume.click, work(resuming.resumed), [state, chosen], into)
        on(self.extend.click, work(actions.extend),
           [state, chosen, self.more, self.prompts, self.sound], into)
        on(self.redo.click, work(actions.redo),
           [state, chosen, self.clip, self.prompt, self.seed], into)
        on(self.stop.click, self._stop, [chosen, state, self.stop], self.tab.all_outputs(self))
        on(self.measure.click, self._measure, [chosen], [self.drift], progress="full")
        on(self.rename.click, self._rename, [chosen, state, self.label], self.tab.all_outputs(self))
        on(self.open.click, self._open, [chosen], None)
        if (desk := self.tab.desk) is not None:
            on(self.stage.click, desk.of_run, [chosen], [desk.part, *desk.outputs],
               concurrency_id="svi_desk").then(
                   None, None, None, js=scroll_to("svi_desk", "start"))
        for field in (self.clip, self.seed):
            on(field.input, self._seed_said, [chosen, self.clip, self.seed], [self.seed_said])
        on(self.no_clip.click, self._add_empty, [self.victims], [self.victims])
        on(self.victims.change, self._more_empty, [self.victims], [self.no_clip])
        on(self.remove.click, self._ask, [self.victims], [self.sure, self.question])
        on(self.no.click, lambda: gr.update(visible=False), None, [self.sure])
        self.removed = on(self.yes.click, self._remove, [chosen, state, self.victims],
                          self.tab.all_outputs(self))

    def show(self, name: str, clicked: bool = True, waiting: Collection[str] = ()
             ) -> dict[Any, Any]:
        """The components' values for a run; they hide the panel if it is gone. What the user may
        be entering or watching stays unless the run was `clicked`. `waiting`: runs with a job in
        WanGP's queue."""
        if not is_name(name) or not (self.tab.store.folder / name).is_dir():
            return {self.chosen: "", self.panel: gr.update(visible=False),
                    self.tab.about: view.about("")}
        shown = view.look(self._run(name), waiting)
        running, last = shown.state == State.RUNNING, shown.last_redo

        def usable(possible: bool, **options: Any) -> Any:
            return gr.update(interactive=possible, **options)

        values = {
            self.chosen: name, self.panel: gr.update(visible=True),
            self.tab.about: view.about(name),
            self.summary: view.summary(shown), self.clips: view.clips_table(shown),
            self.resume: usable(shown.can_resume),
            self.stop: usable(running, value=stop_button.label(shown.run, running)),
            self.extend: usable(shown.can_extend), self.redo: usable(shown.can_redo),
            self.drift: view.drift(shown.drift), self.measure: usable(shown.video is not None),
            self.clip: gr.update(label="From clip" if last < 2 else "From clip (2)" if last == 2
                                 else f"From clip (2 to {last})"),
        }
        if clicked or not running:
            values[self.victims] = gr.update(choices=self._choices())
            values[self.video] = view.video(shown)
            values[self.left] = gr.update(visible=shown.video is not None)
        if clicked:
            talks = bool(shown.run.about.sound)
            values |= {  # what was entered for another run is not for this one
                self.clip: gr.update(label=values[self.clip]["label"], value=max(2, last)),
                self.seed: "", self.prompt: "",
                self.seed_said: view.seed_said(shown.run, max(2, last), ""),
                self.more: gr.update(label=f"Clips to add ({view.length_of_next(shown)} each)",
                                     visible=not talks, value=1),
                self.prompts: gr.update(visible=not talks, value=""),
                self.sound: gr.update(visible=talks, value=None),
                self.label: shown.run.about.label,
                self.folder: "" if visitors.is_off(self.tab.wgp) else str(shown.run.folder),
                self.victims: gr.update(choices=self._choices(), value=[name]),
                self.no_clip: self._more_empty([name]),
                self.sure: gr.update(visible=False),
            }
        return values

    def _choices(self) -> list[tuple[str, str]]:
        return [view.choice(run) for run in self.tab.store.runs()]

    def _run(self, name: str) -> Run:
        run: Run = self.tab.run(name)
        return run

    def _stop(self, name: str, state: dict[str, Any], said: str) -> dict[Any, Any]:
        gr.Info(stop_button.press(self._run(name), said))
        return self.tab.refreshed(name, state=state)

    def _measure(self, name: str) -> str:
        return view.drift(actions.make_drift(view.look(self._run(name))))

    def _rename(self, name: str, state: dict[str, Any], label: str) -> dict[Any, Any]:
        rename(self._run(name), label or "")
        return {**self.tab.refreshed(name, state=state),
                self.victims: gr.update(choices=self._choices())}

    def _open(self, name: str) -> None:
        if visitors.is_shared(self.tab.wgp):
            raise Refused("other computers can open this page, so it opens no folder on this one")
        actions.open_folder(self._run(name).folder)

    def _seed_said(self, name: str, clip: Any, seed: str) -> str:
        return view.seed_said(self._run(name), clip, seed) if name else ""

    def _empty(self, names: list[str]) -> list[str]:
        """The runs without a clip, but those."""
        runs = filter(is_empty, self.tab.store.runs())
        return [run.name for run in runs if run.name not in (names or [])]

    def _more_empty(self, names: list[str]) -> Any:
        more = len(self._empty(names))
        return gr.update(value=f"Add {more} {plural(more, 'run')} without a clip",
                         visible=bool(more))

    def _add_empty(self, names: list[str]) -> list[str]:
        return [*(names or []), *self._empty(names)]

    def _ask(self, names: list[str]) -> tuple[Any, str]:
        if not names:
            raise StoreError("choose the runs to remove first")
        runs = [self._run(name) for name in names]
        if busy := next(filter(is_running, runs), None):
            raise is_busy(busy.name)
        return gr.update(visible=True), view.removing(runs)

    def _remove(self, chosen: str, state: dict[str, Any], names: list[str]) -> dict[Any, Any]:
        visitors.check(self.tab.wgp)
        freed = []
        for name in names:
            try:
                freed.append(self.tab.store.remove(self._run(name)))
            except (StoreError, OSError) as error:  # the others go, and the list shows which
                warn(error)
        if freed:
            gr.Info(f"Removed {count(len(freed), 'run')}, which frees {size(sum(freed))}.")
        entered = (self.clip, self.seed, self.seed_said, self.prompt, self.more, self.prompts,
                   self.sound)
        shown = self.show(chosen, waiting=self.tab.waiting(state))
        return self.tab.refreshed(chosen, state=state) | {
            one: shown[one] for one in shown if one not in entered}
