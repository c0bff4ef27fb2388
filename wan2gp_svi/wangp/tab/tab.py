"""The "SVI" tab of WanGP: the runs and what can be done with them, the drift report, the LoRA files, the doctor.

It is a plugin in the sense of WanGP (docs/PLUGINS.md there), but in no folder of its own and named in no file of the
user's: `offer` adds it to the plugins that WanGP loads. What is shown is made in `view`, what buttons do in
`actions`.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from ... import location
from ...install import loras
from ...runs.state import State
from ...runs.store import FOLDER, Run, Store
from ...variants import VARIANTS
from . import actions, view

ID, LABEL = "wan2gp_svi", "SVI"
COMPONENTS = ("state", "main_tabs", "refresh_form_trigger", "model_choice_target")
FUNCTIONS = ("get_settings_from_file", "set_model_settings", "get_default_settings", "get_base_model_type")
WANGP = location.HOME

EMPTY = ("There are no runs yet. Pick a profile that begins with **SVI** in the Media Generator and make a video: "
         "every clip of it is kept on the disk, and appears here.")
ABOUT = ("Every clip goes to disk as soon as it is done. So you can resume a run that failed or was stopped, extend a "
         "finished one, and redo one from any clip. **Click a run.**")


def offer(plugins: Any, say: Callable[[str], None]) -> None:
    """Has WanGP load the tab with its plugins. `plugins` is its module `shared.utils.plugins`; nothing is done twice.
    WanGP's safe mode has no tab, as it has no plugins."""
    if not hasattr(plugins.PluginManager, "set_server_config"):
        say("there is no SVI tab in WanGP before 10.52; all else works.")
        return
    application = plugins.WAN2GPApplication
    load = application.initialize_plugins
    if hasattr(load, "__wrapped__"):
        return

    @wraps(load)
    def initialize_plugins(self: Any, wgp: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        result = load(self, wgp, *arguments, **options)
        try:
            if not wgp.get("SAFE_MODE"):
                add(self, wgp, plugins.WAN2GPPlugin)
        except Exception as error:  # WanGP must start, whatever is wrong here
            say(f"the SVI tab cannot be shown in this WanGP ({type(error).__name__}: {error}); all else works.")
        return result

    application.initialize_plugins = initialize_plugins


def add(application: Any, wgp: dict[str, Any], base: type) -> None:
    """Puts the tab beside those of the user's plugins. Raises an error where this WanGP lacks what the tab needs."""
    if missing := [name for name in FUNCTIONS if not callable(wgp.get(name))]:
        raise LookupError(f"it has no {', '.join(missing)}")
    plugin = type("SVITab", (base,), {"on_tab_select": lambda self, state: self.svi.opened()})()
    plugin.name, plugin.svi = "SVI for WanGP", Tab(plugin, wgp)
    for component in COMPONENTS:
        plugin.request_component(component)
    plugin.add_tab(ID, LABEL, plugin.svi.create)
    application.plugin_manager.plugins[ID] = plugin
    # a list of its own: the one that is there is the user's configuration, which WanGP saves
    application.enabled_plugins = [*application.enabled_plugins, ID]


class Tab:
    """`wgp` are the variables of wgp.py, as they are at the time; `plugin` has WanGP's components."""

    def __init__(self, plugin: Any, wgp: dict[str, Any]):
        self.plugin, self.wgp = plugin, wgp

    @property
    def store(self) -> Store:
        return Store(Path(self.wgp["save_path"]) / FOLDER)

    def create(self) -> None:
        """Called by WanGP where the tab's content goes."""
        try:
            self._create()
        except Exception as error:  # an empty tab rather than no WanGP
            import gradio as gr

            traceback.print_exc()
            gr.Markdown(view.told(error))

    def _create(self) -> None:
        import gradio as gr

        with gr.Row(equal_height=True):
            gr.Markdown(ABOUT)
            refresh = gr.Button("Refresh", scale=0, min_width=120, elem_id="svi_refresh")
        names, chosen = gr.State([]), gr.State("")
        cell = [gr.HTML(visible=False, render=False), *(gr.Textbox(visible=False, render=False) for _ in range(8))]
        self.list = gr.Dataset(components=cell, headers=view.HEADERS, samples=[], type="index", samples_per_page=8,
                               label="Runs, the newest first", elem_id="svi_runs")
        self.empty = gr.Markdown(EMPTY)
        self.names, self.chosen = names, chosen
        self.plugin.on_tab_outputs = [self.list, names, self.empty]

        with gr.Row(visible=False, elem_id="svi_run") as self.detail:
            with gr.Column(scale=2):
                self.video = gr.HTML()
            with gr.Column(scale=3):
                self.summary = gr.Markdown()
                self._actions(gr)
                with gr.Accordion("Clips"):
                    self.clips = gr.HTML()
        self.of_run = [chosen, self.detail, self.video, self.summary, self.clips, self.resume, self.stop, self.extend,
                       self.redo, self.clip, self.drift, self.make_drift, self.remove, self.sure]
        count = len(self.of_run)
        self.list.click(self._told(self._pick, count), [self.list, names], self.of_run, show_progress="hidden")
        refresh.click(self._told(lambda name: (*self.listed(), *self._show(name)), 3 + count), [chosen],
                      [*self.plugin.on_tab_outputs, *self.of_run], show_progress="hidden")
        self._wire(gr)
        self._loras(gr)
        self._doctor(gr)

    def _actions(self, gr: Any) -> None:
        with gr.Tabs():
            with gr.Tab("Resume"):
                gr.Markdown("Resumes the run at its first missing clip.")
                with gr.Row():
                    self.resume = gr.Button("Resume", variant="primary", elem_id="svi_resume")
                    self.stop = gr.Button("Stop after this clip", variant="stop", elem_id="svi_stop")
            with gr.Tab("Extend"):
                self.more = gr.Number(1, label="Clips to add (5 s each)", precision=0, minimum=1, elem_id="svi_more")
                self.prompts = gr.Textbox(label="Their prompts, with an empty line between two; the last one is used "
                                          "for all that follow. Without any, the run keeps its last prompt.", lines=4,
                                          elem_id="svi_prompts")
                self.extend = gr.Button("Make it longer", variant="primary", elem_id="svi_extend")
            with gr.Tab("Redo from a clip"):
                gr.Markdown("Makes a new run from the clips before that one; the old run and its video stay.")
                with gr.Row():
                    self.clip = gr.Number(2, label="From clip", precision=0, minimum=2, elem_id="svi_clip")
                    self.seed = gr.Textbox(label="New seed (empty: as it was)", elem_id="svi_seed")
                self.prompt = gr.Textbox(label="New prompt (empty: as it was), for as long as the old one lasted",
                                         lines=2, elem_id="svi_prompt")
                self.redo = gr.Button("Redo", variant="primary", elem_id="svi_redo")
            with gr.Tab("Drift report"):
                self.make_drift = gr.Button("Measure how colours, contrast and motion hold up", elem_id="svi_drift")
                self.drift = gr.HTML()
            with gr.Tab("Remove"):
                self.remove = gr.Button("Remove its clips ...", variant="stop", elem_id="svi_remove")
                with gr.Column(visible=False) as self.sure:
                    self.question = gr.Markdown()
                    with gr.Row():
                        self.yes = gr.Button("Yes, remove them", variant="stop", elem_id="svi_yes")
                        self.no = gr.Button("No")

    def _wire(self, gr: Any) -> None:
        of_run, form = self.of_run, [self.plugin.refresh_form_trigger, self.plugin.model_choice_target,
                                     self.plugin.main_tabs]
        state = self.plugin.state
        hidden = {"show_progress": "hidden"}
        self.resume.click(self._told(self._resume, 3), [state, self.chosen], form, **hidden)
        self.extend.click(self._told(self._extend, 3), [state, self.chosen, self.more, self.prompts], form, **hidden)
        self.redo.click(self._told(self._redo, 3), [state, self.chosen, self.clip, self.prompt, self.seed], form,
                        **hidden)
        self.stop.click(self._told(self._stop, 1), [self.chosen], [self.stop], **hidden)
        self.make_drift.click(self._told(self._measure, 1), [self.chosen], [self.drift])
        self.remove.click(self._told(self._ask, 2), [self.chosen], [self.sure, self.question], **hidden)
        self.no.click(lambda: gr.update(visible=False), None, [self.sure], **hidden)
        self.yes.click(self._told(self._remove, 3 + len(of_run)), [self.chosen], [*self.plugin.on_tab_outputs, *of_run],
                       **hidden)

    def _loras(self, gr: Any) -> None:
        with gr.Accordion("LoRA files", open=False) as part:
            listed = gr.HTML()
            with gr.Row(equal_height=True):
                titles = [(f"{variant.title}: {variant.about}", id) for id, variant in VARIANTS.items()]
                which = gr.Dropdown(titles, value=next(iter(VARIANTS)), label="Variant", scale=3, elem_id="svi_variant")
                load = gr.Button("Download", scale=1, elem_id="svi_download")
            progress = gr.HTML()
        part.expand(self._told(self._lora_table, 1), None, [listed], show_progress="hidden")
        load.click(self._told_each(self._download, 2), [which], [progress, listed], show_progress="hidden")

    def _doctor(self, gr: Any) -> None:
        with gr.Accordion("Doctor", open=False) as part:
            gr.Markdown("What is installed and what is wrong. Copy it into every bug report.")
            with gr.Row():
                again = gr.Button("Look again", size="sm", scale=0)
                test = gr.Button("Self-test (two minutes)", size="sm", scale=0, elem_id="svi_selftest")
            says = gr.Textbox(label="Doctor", lines=12, max_lines=40, interactive=False, show_copy_button=True,
                              elem_id="svi_doctor")
            tested = gr.Textbox(label="Self-test", lines=12, max_lines=60, interactive=False, show_copy_button=True,
                                visible=False, elem_id="svi_selftest_says")
        for event in (part.expand, again.click):
            event(self._told(lambda: actions.doctor_says(WANGP, self._folders()), 1), None, [says])
        test.click(self._told_each(self._self_test, 1), None, [tested], show_progress="hidden")

    # ---------------------------------------------------------------------------------------------- what the buttons do

    def opened(self) -> Any:
        """What WanGP shows when the tab is opened, for `on_tab_outputs`."""
        return self._told(self.listed, 3)()

    def listed(self) -> tuple[Any, list[str], Any]:
        """The list of runs, their names, and a line where there are none."""
        import gradio as gr

        rows, names = view.rows(self.store)
        return gr.Dataset(samples=rows, visible=bool(rows)), names, gr.update(visible=not rows)

    def _pick(self, index: int, names: list[str]) -> tuple[Any, ...]:
        return self._show(names[index])

    def _show(self, name: str) -> tuple[Any, ...]:
        """Values for `of_run`."""
        import gradio as gr

        if not name or not (self.store.folder / name).is_dir():
            return "", gr.update(visible=False), *[gr.update() for _ in self.of_run[2:]]
        shown = view.look(self._run(name))
        made = shown.state == State.RUNNING
        return (name, gr.update(visible=True), view.video(shown), view.summary(shown),
                view.clips_table(shown), gr.update(interactive=shown.can_resume), gr.update(interactive=made),
                gr.update(interactive=shown.can_extend), gr.update(interactive=not made and shown.last_redo > 1),
                gr.update(label=f"From clip (2 to {shown.last_redo})", value=max(2, shown.last_redo)),
                view.drift(shown.drift), gr.update(interactive=shown.video is not None),
                gr.update(interactive=not made), gr.update(visible=False))

    def _run(self, name: str) -> Run:
        return self.store.find(name)

    def _resume(self, state: dict[str, Any], name: str) -> tuple[Any, ...]:
        run = self._run(name)
        return self._generate(state, run, actions.resume(run), "resume")

    def _extend(self, state: dict[str, Any], name: str, clips: Any, prompts: str) -> tuple[Any, ...]:
        run = self._run(name)
        return self._generate(state, run, actions.extend(run, clips, prompts), "extend")

    def _redo(self, state: dict[str, Any], name: str, clip: Any, prompt: str, seed: str) -> tuple[Any, ...]:
        run = self._run(name)
        return self._generate(state, run, actions.redo(run, clip, prompt, seed), f"redo-{int(clip)}")

    def _generate(self, state: dict[str, Any], run: Run, settings: Mapping[str, Any], name: str) -> tuple[Any, ...]:
        """The settings into WanGP's form, and the user to it. Not into its queue: that has been another thing in every
        few versions, and what is in the form can be looked at before hours are spent on it."""
        import gradio as gr

        fill, switch = actions.into_form(self.wgp, state, run, settings, name)
        gr.Info(actions.next_step(run, settings, len(run.done())), duration=20)
        return fill or gr.update(), switch or gr.update(), gr.Tabs(selected=self._form())

    def _form(self) -> Any:
        """The id of the tab with WanGP's form, its first: `video_gen`, later `media_gen`."""
        return self.plugin.main_tabs.children[0].id

    def _stop(self, name: str) -> Any:
        import gradio as gr

        gr.Info(actions.stop(self._run(name)))
        return gr.update(interactive=False)

    def _measure(self, name: str) -> str:
        return view.drift(actions.make_drift(view.look(self._run(name))))

    def _ask(self, name: str) -> tuple[Any, str]:
        import gradio as gr

        return gr.update(visible=True), view.removing(view.look(self._run(name)))

    def _remove(self, name: str) -> tuple[Any, ...]:
        import gradio as gr

        gr.Info(actions.remove(self.store, self._run(name)))
        return *self.listed(), *self._show("")

    def _folders(self) -> dict[str, str | None]:
        return actions.lora_folders(self.wgp)

    def _lora_table(self) -> str:
        return view.table(["Variant", "Model", "File", "", "Size"], view.lora_rows(WANGP, self._folders()))

    def _download(self, id: str) -> Iterator[tuple[str, Any]]:
        import gradio as gr

        folder = self._folders()[VARIANTS[id].wan]
        for share, line in actions.download(loras.downloads(WANGP, [id], folder)):
            yield view.bar(share, line), gr.update()
        yield view.bar(1, line), self._lora_table()

    def _self_test(self) -> Iterator[Any]:
        import gradio as gr

        for said in actions.self_test(WANGP, bool(self.wgp.get("gen_in_progress"))):
            yield gr.update(value=said, visible=True)

    # ----------------------------------------------------------------------------------------------------------- errors

    def _told(self, work: Callable[..., Any], outputs: int) -> Callable[..., Any]:
        """`work`, whose errors are shown as a sentence while the page stays as it was."""
        @wraps(work)
        def told(*arguments: Any) -> Any:
            with self._shown():
                return work(*arguments)
            return self._unchanged(outputs)
        return told

    def _told_each(self, work: Callable[..., Iterator[Any]], outputs: int) -> Callable[..., Iterator[Any]]:
        @wraps(work)
        def told(*arguments: Any) -> Iterator[Any]:
            with self._shown():
                yield from work(*arguments)
                return
            yield self._unchanged(outputs)
        return told

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        import gradio as gr

        try:
            yield
        except Exception as error:
            line = view.told(error)
            if "should not have" in line:
                traceback.print_exc()
            gr.Warning(line, duration=20)

    @staticmethod
    def _unchanged(outputs: int) -> Any:
        import gradio as gr

        return gr.update() if outputs == 1 else tuple(gr.update() for _ in range(outputs))
