"""The line in WanGP's form that says what SVI will do, and what else of the form depends on it.

`add` puts both there by WanGP's plugin interface (`shared/utils/plugins.py`, since 10.52). WanGP
names used here: the variables of `generate_media_tab` in COMPONENTS, and functions of wgp.py.
"""

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

from .. import chain
from ..storyboard import Storyboard
from ..text import count, duration, roughly, sentence
from ..variants import CLIP_FRAMES
from . import last_board, stop_button
from .check.findings import NO_LORA, Checked, check
from .check.request import Request
from .check.telling import (
    for_page,
    running_addresses,
    running_config,
    running_limits,
    running_loras,
    running_outputs,
)
from .form import AUTO, DECIDING, DEFAULTS, NEW, OFF, STORYBOARD, Custom, SettingsError
from .log import without
from .plan import STOCK_MAXIMA, Plan, awaits_sound, clips_of, frames_of, rate_of
from .source_video import continues, is_last, last

#: the form's components -> WanGP's settings that they hold
_SETTINGS = {"video_length": "video_length", "loras_choices": "activated_loras",
             "loras_multipliers": "loras_multipliers", "image_prompt_type": "image_prompt_type",
             "image_mode": "image_mode", "seed": "seed", "audio_guide": "audio_guide",
             "audio_prompt_type": "audio_prompt_type", "video_guide": "video_guide",
             "video_prompt_type": "video_prompt_type", "resolution": "resolution",
             "num_inference_steps": "num_inference_steps",
             "multi_prompts_gen_type": "multi_prompts_gen_type", "prompt": "prompt"}
_SETTINGS |= {name: name for name in DECIDING if name not in _SETTINGS}
# where the prompt is typed unless the form is in its advanced mode, and whether it is
_WIZARD = ("wizard_prompt", "wizard_prompt_activated_var", "wizard_variables_var")
_VARIABLES = "prompt_vars"  # the fields of its variables
_SETTINGS |= {name: name for name in _WIZARD}
_ADDED = ("image_start", "image_end", "video_source")  # media that are taken as the page sends them
COMPONENTS = ("tab_id", "main", "state", "generate_btn", "number_frames_row",
              "image_prompt_type_radio", "custom_settings_rows", "sliding_window_overlap",
              _VARIABLES, *_SETTINGS, *_ADDED)
# warnings that belong to the line: what SVI's variant rests on, another way to do it, and a slip in
# the storyboard, which shows the line, too
_IN_THE_LINE = {"lora-download", "no-lora", "override", "unknown-lora", "extend-instead",
                "pose-length", "prompts", "same-seed", "source-video", "vertical"}
# the names that settings have in files
_IN_FILES = re.compile(r" \((image_start|image_refs|video_source|audio_guide|video_guide|PV)\)")
_NEW_VIDEO = "For a new video, set \"SVI run\" to auto."
PAUSING = "It stops after every clip, so you can look at it."  #: as its storyboard says
BRING_BACK = "Bring back the last storyboard"  #: a button of the tab
_EMPTY = ("The storyboard is empty now. To fill it again, open \"Storyboard\" in the tab SVI and "
          f"press \"{BRING_BACK}\" (if a run is open there, first \"Back to the form\").")
_MESSAGE = "svi_message"  # in WanGP's state of a page: what to show once the form is filled
_SLIDERS = ("video_length", "sliding_window_overlap")
_SLOTS = ("custom_setting_", "custom_setting_slider_", "custom_setting_dropdown_")
# gradio greys text while it waits for news, which would flicker
_STEADY = "<style>.svi_line .pending {opacity: 1 !important}</style>"
# WanGP has custom settings further up, where they would open out of sight. All that comes after the
# line goes last, and of that the settings are first
_SETTINGS_BELOW = "<style>.svi_line ~ *, :has(> .svi_line) > .svi_settings {order: 1}</style>"


def add(plugin: Any, wgp: Mapping[str, Any]) -> "FormLine":
    """Has a plugin put the line, and the button that stops a run, into WanGP's form. `wgp` are the
    variables of wgp.py."""
    line = FormLine(wgp)
    for name in {*COMPONENTS, *stop_button.COMPONENTS, *stop_button.ELSEWHERE}:
        plugin.request_component(name)

    def post_ui_setup(components: dict[str, Any]) -> dict[Any, Any]:
        if components.get("tab_id", "generate") == "generate":
            line.create(components, stop_button.create(components, wgp))
        else:  # the same form for a job in the queue
            FormLine(wgp, "edit").create(components, [])
        return {}

    plugin.post_ui_setup = post_ui_setup
    return line


def words(checked: Checked, inputs: Mapping[str, Any], was_on: bool) -> list[str]:
    """What the line says, a sentence or two each; nothing where SVI is off and was never on."""
    plan, errors = checked.plan, [sentence(_IN_FILES.sub("", text)) for text in checked.errors]
    warnings = [finding for finding in checked.findings if finding.kind == "warning"]
    if plan is not None:
        told = [sentence(one.text) for one in warnings if one.id in _IN_THE_LINE]
        refused = any(one.kind == "error" and one.id == "svi-run" for one in checked.findings)
        fixed = not refused or any("SVI run" in text for text in errors)
        return [*_outline(plan, inputs, refused), *errors, *[_NEW_VIDEO] * (not fixed), *told]
    lost = was_on and not inputs.get("image_mode")
    return [*errors, *(sentence(one.text) for one in warnings)] or [NO_LORA] * lost


def _outline(plan: Plan, inputs: Mapping[str, Any], refused: bool) -> Iterator[str]:
    """`refused`: the run that "SVI run" asks for cannot go on, and an error says why."""
    if awaits_sound(plan, inputs):
        yield f"{plan.variant.title}: as long as its sound."
        return
    clips, more = clips_of(plan, inputs), continues(inputs)
    frames = plan.frames(clips, more)
    length = duration(float(frames / rate_of(plan, inputs)))
    yield (f"{plan.variant.title}: {count(clips, 'clip')}, "
           f"{count(frames, 'more frame' if more else 'frame')}, {length}.")
    asked = int(inputs.get("video_length") or CLIP_FRAMES)
    if not plan.sound and frames_of(plan, inputs) > asked:
        fewer = (f" Set {CLIP_FRAMES * (clips - 1)} for {count(clips - 1, 'clip')}."
                 if clips > 1 else "")
        yield f"Clips are whole, so {asked:,} frames are rounded up.{fewer}"
    if plan.board.pause and clips > 1:
        yield PAUSING
    if plan.variant.poses and clips < chain.clips_of(asked, plan.variant.overlap):
        yield "It has as many clips as the poses fill."
    if plan.requested_run not in (AUTO, NEW):
        name, _, clip = plan.requested_run.partition("@")
        if not refused:
            does = f"redoes run {name} from clip {clip}" if clip else f"continues run {name}"
            yield f"This {does}. {_NEW_VIDEO}"


@dataclass(frozen=True)
class _Look:
    """How the form looks.

    `texts`   of the line
    `was_on`  the model on which SVI was on last, ""
    `folds`   SVI's settings can be opened
    `shut`    they are shut until then; never those of other models
    `limits`  how the form's sliders change: their maxima and labels. Gradio 6
              refuses every event of a form with a slider beyond its maximum
    """

    texts: Sequence[str] = ()
    was_on: str = ""
    folds: bool = False
    shut: bool = False
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class FormLine:
    """The line below the number of frames; the box around SVI's custom settings, which is open for
    other models and on request; the sliders' limits, which are WanGP's own while SVI is off.
    `tab`: "edit" for the form of a job that waits in WanGP's queue, whose model the page keeps
    apart, else ""."""

    def __init__(self, wgp: Mapping[str, Any], tab: str = ""):
        self._wgp, self._tab = wgp, tab
        self._model_type = f"{tab}_model_type".lstrip("_")
        self._id = f"svi_{tab}".rstrip("_")
        self._slots: list[str] = []  # WanGP's names of the custom settings' components
        self._settings: list[str] = []  # of the form, in the order of `inputs`
        #: the page's state, what was added, and the form's values: what `checked` needs
        self.inputs: list[Any] = []
        self.storyboard: Any = None  #: the component with the storyboard's text
        self.components: Mapping[str, Any] = {}
        self.filled: list[Any] = []  #: events, after WanGP has filled the form
        self.news: list[Any] = []  #: timers that tick when a run begins or ends

    def create(self, components: Mapping[str, Any], news: list[Any]) -> None:
        """Called by WanGP once its form is there. Without some components there is no line."""
        import gradio as gr

        if not {"main", "state", "number_frames_row"} <= components.keys():
            return
        rows = components.get("custom_settings_rows") or []
        box = _wrap(rows, f"{self._id}_settings",
                    visible=not _has_settings(self._model(components["state"].value)[1]))
        above = components["number_frames_row"]
        row, line, opened = _below(above, f"{self._id}_line")
        settings = [name for name in _SETTINGS if hasattr(components.get(name), "change")]
        custom = [part for one in rows for part in _inputs(one)]
        self._slots = _slot_names(len(custom))
        variables = [*(components.get(_VARIABLES) or [])]
        sliders = {name: components[name] for name in _SLIDERS if name in components}
        was_on, added = gr.State(""), gr.State({})  # the path of each video and first image
        boxes = {name: components[name] for name in _ADDED if name in components}
        values = [*(components[name] for name in settings), *custom[: len(self._slots)], *variables]
        self._settings = [*settings, *self._slots, *(f"{_VARIABLES}{at}" for at, _ in
                                                     enumerate(variables))]
        self.components = components
        self.news = news
        self.inputs = [components["state"], added, *values]
        slot = f"{_SLOTS[0]}{[*DEFAULTS].index(STORYBOARD) + 1}"
        if slot in self._slots:
            self.storyboard = custom[self._slots.index(slot)]

        def update(state: Any, was_on: str, opened: bool, added: dict[str, Any], *values: Any,
                   filled: bool = False) -> tuple[Any, ...]:
            look = self._look(state, was_on, added, values, filled)
            return (gr.update(visible=bool(look.texts) or look.folds),
                    _html(look.texts, look.folds), look.was_on, gr.update(visible=look.folds),
                    gr.update(visible=not look.shut or opened and look.folds),
                    *(gr.update(**look.limits.get(name, {})) for name in sliders))

        work = {"fn": update, "show_progress": "hidden", "queue": False,
                "inputs": [components["state"], was_on, opened, added, *values],
                "outputs": [row, line, was_on, opened, box, *sliders.values()]}
        gr.on([*(one.change for one in (opened, *values)), *(timer.tick for timer in news)],
              trigger_mode="always_last", **work)

        def first(*shown: Any) -> dict[str, Any]:
            return {name: _first(content, box.GRADIO_CACHE)
                    for (name, box), content in zip(boxes.items(), shown, strict=True)}

        given = {"fn": first,
                 "inputs": [*boxes.values()], "outputs": [added], "preprocess": False,
                 "queue": False, "show_progress": "hidden"}
        # the form of a queued job is empty at first: nothing is known until it is filled
        begins = [] if self._tab else [components["main"].load]
        gr.on([*begins, *(box.change for box in boxes.values())], **given).then(**work)
        fills = filling([above, *boxes.values()])
        if self.storyboard is not None and "video_length" in components and not self._tab:
            for before, _ in fills:
                before(self._filling, [components["state"], self.storyboard,
                                       components["video_length"]], None, queue=False,
                       show_progress="hidden", trigger_mode="multiple")
        self.filled = [event.then(**given).then(**work | {"fn": partial(update, filled=True)})
                       for _, event in fills]
        for event in self.filled:  # in the queue, or gradio would show no message
            event.then(self._tell, [components["state"]], None, show_progress="hidden")

    def tell_once_filled(self, state: dict[str, Any], text: str) -> None:
        """Shows a message when WanGP has filled its form: what is added there before is lost."""
        state[_MESSAGE] = text
        if not self.filled:
            self._tell(state)

    def _filling(self, state: dict[str, Any], text: Any, frames: Any) -> None:
        """Keeps the storyboard that WanGP is about to replace."""
        last_board.of_page(state).filling(text, int(frames or 0))

    def _tell(self, state: dict[str, Any]) -> None:
        """Shows the message; and, once, that the form has lost its storyboard."""
        import gradio as gr

        lost = _EMPTY if last_board.of_page(state).tell() else ""
        if text := f"{state.pop(_MESSAGE, '')} {lost}".strip():
            gr.Info(escape(text, quote=False), duration=20)

    def checked(self, state: Any, added: Mapping[str, Any], *values: Any
                ) -> tuple[Checked, dict[str, Any]] | None:
        """The check of the form as it is, and its settings; None for a model without SVI's."""
        architecture, model_def = self._model(state)
        if not _has_settings(model_def):
            return None
        inputs = self._inputs(state, model_def, added, values)
        return check(architecture, model_def, inputs, running_config(), running_outputs(),
                     running_loras(architecture), running_addresses(), running_limits()), inputs

    def said(self, checked: Checked, inputs: Mapping[str, Any]) -> list[str]:
        """What the line says of `checked`'s result where SVI is on, or was."""
        return words(checked, inputs, True) + _by_runs(checked, inputs)

    def _inputs(self, state: Any, model_def: Mapping[str, Any], added: Mapping[str, Any],
                values: Sequence[Any]) -> dict[str, Any]:
        named = zip(self._settings, values, strict=True)
        inputs = {_SETTINGS.get(name, name): value for name, value in named}
        typed, active, names = (inputs.pop(name, None) or "" for name in _WIZARD)
        filled = [inputs.pop(name) or "" for name in [*inputs] if name.startswith(_VARIABLES)]
        if active == "on":
            inputs["prompt"] = typed
            with contextlib.suppress(LookupError, TypeError):  # a WanGP that lacks this
                inputs["prompt"] = self._wgp["extract_prompt_from_wizard"](
                    state, names, "", typed, True, *filled)[0]
        inputs["prompt"] = self._without_variables(str(inputs.get("prompt") or ""))
        collect = self._wgp.get("collect_custom_settings_from_inputs")
        chosen = (collect(model_def, dict(inputs))[0] or {}) if callable(collect) else {}
        given = {name: added[name] or None for name in _ADDED
                 # of a video that was not added in the page, nothing is known
                 if name in added and (name != "video_source" or added[name] is not True)}
        if is_last(inputs):
            made = self._wgp["get_gen_info"](state).get("file_list") or []
            given["video_source"] = last(made, running_outputs())
        return {**inputs, **given, "custom_settings": chosen, "model_type": self._chosen(state)}

    def _without_variables(self, prompt: str) -> str:
        """The prompts that WanGP makes of one with variables; as it is if WanGP refuses it."""
        with contextlib.suppress(LookupError, AttributeError, TypeError):  # a WanGP that lacks this
            made, wrong = self._wgp["prompt_parser"].process_template(prompt, keep_empty_lines=True)
            return prompt if wrong else str(made)
        return prompt

    def _look(self, state: dict[str, Any], was_on: str, added: Mapping[str, Any],
              values: Sequence[Any], filled: bool) -> _Look:
        with without("the line in the form"):
            architecture, model_def = self._model(state)
            ours = _has_settings(model_def)
            inputs = self._inputs(state, model_def, added, values)
            chosen = inputs["custom_settings"]
            boards = last_board.of_page(state)
            if not self._tab and (filled or boards.model is None):
                boards.filled(chosen.get(STORYBOARD), str(self._chosen(state)) if ours else "")
            checked = check(architecture, model_def, inputs, running_config(), running_outputs(),
                            running_loras(architecture), running_addresses(), running_limits())
            texts = words(checked, inputs, was_on == architecture) + _by_runs(checked, inputs)
            if checked.plan is not None:
                was_on = architecture
            elif ours and _turned_off(chosen):
                was_on, texts = "", []
            changed = any(str(chosen.get(id, value)) != str(value)
                          for id, value in DEFAULTS.items())
            limits = self._limits(model_def, checked.plan, inputs)
            return _Look(texts, was_on, ours and (bool(texts) or changed), ours, limits)
        return _Look(was_on=was_on)

    def _limits(self, model_def: Mapping[str, Any], plan: Plan | None, inputs: Mapping[str, Any]
                ) -> dict[str, dict[str, Any]]:
        """The limits of the form's sliders: with SVI those of the model definition, else WanGP's
        own; none for other models. The number of frames that the user has set stays."""
        stock = model_def.get(STOCK_MAXIMA)
        if stock is None:
            return {}
        allowed = self._wgp["get_max_frames"]  # the user may have raised it
        frames = stock["video_length"] if plan is None else model_def["frames_selection_maximum"]
        limits: dict[str, dict[str, Any]] = {"video_length": {
            "maximum": max(allowed(frames), int(inputs.get("video_length") or 0)),
            **({} if plan is None else self._label(plan, inputs))}}
        if (overlap := stock.get("sliding_window_overlap")) is not None:
            limits["sliding_window_overlap"] = {
                # gradio 6 has no slider from 1 to 1, and by steps of 4 nobody gets to 2
                "maximum": max(overlap, 2) if plan is None
                else model_def["sliding_window_defaults"]["overlap_max"],
                # where WanGP allows one frame alone, no other value can be set
                **({"value": 1} if plan is None and overlap == 1 else {})}
        return limits

    def _label(self, plan: Plan, inputs: Mapping[str, Any]) -> dict[str, str]:
        """The label of the number of frames, which WanGP writes for the number that is typed there,
        but not for one that another control sets."""
        write, frames = self._wgp.get("compute_video_length_label"), inputs.get("video_length")
        if not callable(write) or not frames:
            return {}
        fps = rate_of(plan, inputs)
        return {"label": write(int(fps) if fps.denominator == 1 else float(fps), int(frames))}

    def _model(self, state: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The architecture and the definition of the form's model."""
        model = self._chosen(state)
        return self._wgp["get_base_model_type"](model), self._wgp["get_model_def"](model) or {}

    def _chosen(self, state: Mapping[str, Any]) -> Any:
        # WanGP's own function asks which of its forms is open
        return state.get(self._model_type) or state["model_type"]


def _by_runs(checked: Checked, inputs: Mapping[str, Any]) -> list[str]:
    """What the newest runs tell of a video: which of them it resumes or extends, and how long it
    takes from there on, by one that was made alike."""
    from ..runs.record import StoreError
    from ..runs.state import seconds_a_clip  # these load torch
    from ..runs.store import FOLDER, Store
    from .matching import NEWEST, unasked
    from .resuming import storyboard_of

    outputs, plan, texts = running_outputs(), checked.plan, []
    if outputs is None or plan is None or checked.errors:
        return []
    prompts = Request(plan, "", {}, inputs, {}).asked
    store, missing = Store(outputs / FOLDER), clips_of(plan, inputs)
    name, _, clip = plan.requested_run.partition("@")
    if name not in (AUTO, NEW):
        missing -= int(clip) - 1 if clip.isdecimal() else len(store.find(name).done())
    if (run := unasked(outputs, plan, inputs, running_config() or {}, prompts)) is not None:
        done = len(run.done())
        missing -= done
        does = "extends" if clips_of(plan, inputs) > max(run.about.clips, done) else "resumes"
        what = (f"This {does} run {run.name}, which has {count(done, 'clip')}." if missing > 0 else
                f"No new clip is made: run {run.name} ends with the {count(done, 'clip')} that it "
                "has.")
        texts.append(f"{what} For a new video, change the seed, or set \"SVI run\" to new.")
    for run in islice(store.runs(), NEWEST if missing > 0 else 0):
        made = run.about.settings
        alike = run.about.variant == plan.variant.id and all(
            made.get(name) == inputs.get(name)
            for name in ("model_type", "resolution", "num_inference_steps"))
        with contextlib.suppress(StoreError):  # of a record that cannot be read
            alike = alike and not _own_pace(plan.board) and not _own_pace(storyboard_of(run))
        each = seconds_a_clip(run.done()) if alike else None
        if each is not None:
            return [*texts, f"About {roughly(each * missing)}, at {roughly(each)} a clip as in run "
                            f"{run.name}."]
    return texts


def _own_pace(board: Storyboard) -> bool:
    """Whether clips take another time than by the settings of the video."""
    return any((row.steps, row.guidance) != (None, None) for row in board.rows.values())


def _first(content: Any, uploads: str) -> Any:
    """The path of a video, or of a gallery's first image, as the page sends it; whether there is
    any if that is no file that was added in the page, since visitors must learn nothing of others.
    In a list, if there are more."""
    found: Any = bool(content)
    with contextlib.suppress(Exception):  # whatever a page sends
        first = content[0]["image"] if isinstance(content, list) else content.get("video", content)
        path = Path(first["path"]).resolve()
        if path.is_relative_to(Path(uploads).resolve()) and path.is_file():
            found = str(path)
    more = len(content) - 1 if isinstance(content, list) else 0
    return [found, *[True] * more] if more > 0 else found


def _has_settings(model_def: Mapping[str, Any]) -> bool:
    """Whether the model's custom settings are SVI's and no others."""
    return [one.get("id") for one in model_def.get("custom_settings") or []] == [*DEFAULTS]


def _turned_off(chosen: Mapping[str, Any]) -> bool:
    try:
        return Custom(chosen).variant == OFF
    except SettingsError:
        return False


def _wrap(rows: Sequence[Any], id: str, visible: bool) -> Any:
    """A column around rows of the form, in their place."""
    import gradio as gr

    if not rows:
        return gr.Column(visible=False)
    parent = rows[0].parent
    with parent:
        box = gr.Column(visible=visible, elem_id=id, elem_classes="svi_settings")
    parent.children.remove(box)
    parent.children.insert(parent.children.index(rows[0]), box)
    for row in rows:
        parent.children.remove(row)
        box.children.append(row)
        row.parent = box
    return box


def _below(target: Any, id: str) -> tuple[Any, Any, Any]:
    """A row below a row of the form, with the line and the switch for the settings."""
    import gradio as gr

    with target.parent, gr.Row(visible=False, elem_id=id, elem_classes="svi_line") as row:
        with gr.Column(min_width=240):  # a row of its own on a phone
            line = gr.HTML()
        opened = gr.Checkbox(label="SVI settings", scale=0, min_width=150)
    target.parent.children.remove(row)
    target.parent.children.insert(target.parent.children.index(target) + 1, row)
    return row, line, opened


def filling(components: Collection[Any]) -> list[tuple[Callable[..., Any], Any]]:
    """WanGP's events that may fill one of its components, each with what adds an event by the same
    trigger: the page sends both at once, with what the components have until then. A component that
    was empty, or that keeps its value, does not tell of it by an event of its own."""
    import gradio as gr

    with contextlib.suppress(AttributeError, TypeError):  # as in gradio 5.29 and 6.4
        page = gr.context.Context.root_block
        return [(_trigger(page, event), _event(page, number))
                for number, event in [*page.fns.items()]
                if any(component in event.outputs for component in components)]
    return []


def _trigger(page: Any, event: Any) -> Callable[..., Any]:
    import gradio as gr

    if event.trigger_after is not None:
        then: Callable[..., Any] = _event(page, event.trigger_after).then
        return then
    return partial(gr.on, [getattr(page.blocks.get(id, page), name) for id, name in event.targets])


def _event(page: Any, number: int) -> Any:
    import gradio as gr

    event = page.fns[number]
    return gr.events.Dependency(page, event.get_config(), number, event.fn)


def _inputs(block: Any) -> Iterator[Any]:
    """The components that a row of the form holds, in their order."""
    children = getattr(block, "children", None)
    if children is None:
        yield block
    for child in children or []:
        yield from _inputs(child)


def _slot_names(components: int) -> list[str]:
    """WanGP's names of the components of custom settings: one for each kind, setting by setting."""
    kinds = _SLOTS[: components // len(DEFAULTS)]
    return [f"{kind}{number}" for number in range(1, len(DEFAULTS) + 1) for kind in kinds]


def _html(texts: Sequence[str], folds: bool) -> str:
    lines = [escape(for_page(text), quote=False) for text in texts]
    shown = "<br>".join([f"<b>{lines[0]}</b>", *lines[1:]]) if lines else ""
    return (_STEADY if shown else "") + _SETTINGS_BELOW * folds + shown
