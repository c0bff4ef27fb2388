"""The storyboard in the tab: a card for each clip, and beside them what the chosen clip gets.

It is about the form, whose setting holds the text, so what is changed here is what WanGP generates;
or about a run, whose finished clips it shows, and which it remakes from the first clip that
changes.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from ... import chain, files
from ...runs.record import StoreError
from ...runs.store import Run, Store
from ...storyboard import (
    LOOP,
    Row,
    Storyboard,
    StoryboardError,
    check_prompts,
    edited,
    entered,
    in_text,
    inserted,
    moved,
    of_prompts,
    parse,
    removed,
    row_of,
    write,
)
from ...text import count, cut, one_line, paragraphs, sentence
from ...untrusted import is_name
from ...variants import CLIP_FRAMES
from .. import board as of_rows
from .. import pose_video, resuming, sound, visitors
from ..check.request import Request
from ..check.telling import for_page
from ..form import AUTO, STORYBOARD, SettingsError
from ..form_line import BRING_BACK, PAUSING, FormLine
from ..last_board import Board, of_page, text_of
from ..plan import Plan, clips_of
from ..source_video import continues
from . import actions, view
from .helpers import STALE, gr, guarded, on, picked, warn
from .run_panel import job, job_outputs

CONCURRENCY = "svi_desk"  # its events one by one, or a late answer would take back a change
IMAGES = "svi_images"  #: beside the runs' folder: images that were added to a storyboard
MOST_CARDS = 200  # a browser takes seconds for thousands
_TEXTS = {  # fields of a row that are typed: label, placeholder
    "seed": ("Seed", "as the video"), "svi_strength": ("SVI strength", "1 = as the {}"),
    "accelerator_strength": ("Accelerator strength", "1 = as the {}"),
    "guidance": ("Guidance", "as the {}"),
    "steps": ("Steps", "as the {}"), "motion": ("Motion", "as the {}"),
}
LOADING = "Loading the storyboard ..."
NOTHING, IMPOSSIBLE = "Nothing to make", "Cannot be made now"  #: what a button says of a run
_TILE = ("width:112px;height:72px;border-radius:4px;display:flex;align-items:center;"
         "justify-content:center;font-size:1.5em;background:var(--background-fill-secondary)")
_PICTURES = {"reference": "Reference", "end_image": "End image"}
_DIGITS = 16  # of the hash of an image, by which runs know it, too
_COPY = re.compile(r"image-([0-9a-f]{16})")
_NO_IMAGE = "The image was not added. Add one that can be read, such as PNG or JPEG."
# the page has the image already, so nothing of this computer is read to show it
_FIRST_OF_GALLERY = "images => images?.[0]?.image ?? null"

# what is typed between a click on another clip and the answer belongs to neither
_HOLD = "() => {document.getElementById('svi_row').inert = true}"
# scrolls the list to the chosen card, and gives it back the keyboard's focus once it is redrawn
_TO_CHOSEN = """() => {document.getElementById("svi_row").inert = false; setTimeout(() => {
    const card = document.querySelector("#svi_cards [aria-current]")
    const list = card?.closest(".table-wrap")
    if (!list) return
    const [inner, outer] = [card.closest("tr"), list].map(part => part.getBoundingClientRect())
    list.scrollTop += Math.min(0, inner.top - outer.top) + Math.max(0, inner.bottom - outer.bottom)
    if (document.activeElement === document.body) card.focus({preventScroll: true})
}, 200)}"""
# on a phone, the editor is below the list
_TO_EDITOR = """() => {setTimeout(() => {
    const title = document.getElementById("svi_row_title"), {top} = title.getBoundingClientRect()
    if (top < 0 || top > innerHeight / 2) title.scrollIntoView({behavior: "smooth"})
}, 200)}"""


_Edit = tuple[Any, Callable[..., Any], list[Any]]  # an event, its work, and what that gets


@dataclass(frozen=True)
class Staged:
    """What the desk is about.

    `text`     of the storyboard
    `clips`    of the video
    `run`      the name of the run, "" for the form
    `starts`   with an image of the form, not with a video that it continues
    `prompts`  what each clip gets where its row has no prompt
    `notes`    what is wrong with it, and how long it gets
    `chosen`   the clip that is edited
    `action`   what a click does with the run, "" if nothing
    `idle`     why it does nothing
    `lost`     the text of the storyboard that a click brings back into the form
    `stamp`    of what the editor shows. What was typed before it was filled again, and comes late,
               belongs to another clip
    """

    text: str = ""
    clips: int = 0
    run: str = ""
    starts: bool = False
    prompts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    chosen: int = 0
    action: str = ""
    idle: str = NOTHING
    lost: str = ""
    stamp: str = field(default_factory=partial(secrets.token_hex, 4), compare=False)

    @property
    def board(self) -> Storyboard:
        return parse(self.text)

    @property
    def cards(self) -> int:
        """How many there are: also for rows whose clip the video lacks."""
        with contextlib.suppress(StoryboardError):
            return max(self.clips, self.board.clips)
        return self.clips

    def at(self, clip: int) -> Staged:
        """The same, with another clip chosen, or the nearest that has a card."""
        return replace(self, chosen=max(0, min(clip, self.cards - 1)))


def of_form(line: FormLine, values: tuple[Any, ...], chosen: int) -> Staged | None:
    """The storyboard of WanGP's form; None for a model without SVI's settings."""
    found = line.checked(*values)
    if found is None:
        return None
    checked, inputs = found
    text = text_of(inputs["custom_settings"].get(STORYBOARD))
    asked, plan = paragraphs(str(inputs.get("prompt") or "")), checked.plan
    if plan is None:
        try:
            clips = parse(text).clips
        except StoryboardError:  # there is a text to correct
            clips = actions.clips_asked(inputs)
        repeat = 1
    else:
        asked = Request(plan, "", {}, inputs, {}).asked
        clips, repeat = clips_of(plan, inputs), plan.variant.prompt_repeat
    starts = not continues(inputs)
    return Staged(text, clips, "", starts, tuple(chain.stream(asked or [""], clips, repeat)),
                  (*line.said(checked, inputs), *_in_the_form(plan, inputs)),
                  lost=of_page(values[0]).last(text).text).at(chosen)


def _in_the_form(plan: Plan | None, inputs: Mapping[str, Any]) -> Iterator[str]:
    """What is missing, and is not added here."""
    if plan is not None and plan.sound and sound.given(inputs) is None:
        yield "Add the sound in WanGP's form, on its first tab."
    if plan is not None and plan.variant.poses and pose_video.given(inputs) is None:
        yield "Add the pose video in WanGP's form, on its first tab."


def of_run(run: Run, chosen: int) -> Staged:
    """The storyboard of a run. Raises StoreError."""
    about = run.about
    prompts = chain.stream(about.asked or [""], about.clips, about.repeat)
    staged = Staged(write(resuming.storyboard_of(run)), about.clips, run.name,
                    prompts=tuple(prompts))
    return noted(staged.at(chosen), run)


def noted(staged: Staged, run: Run) -> Staged:
    """With a note about what becomes of a run."""
    done, board = len(run.done()), None
    with contextlib.suppress(StoryboardError):
        board = staged.board
    length = view.length(run, staged.clips, board)
    note = f"Run {run.name}: {count(staged.clips, 'clip')}, {length}, {done} finished."
    what, action, idle = [], "", IMPOSSIBLE
    faults = [] if board is None else resuming.faults(run, board, staged.clips)
    try:
        settings = resuming.restaged(run, staged.board, staged.clips)
        if not faults:
            what = [f"{sentence(resuming.what_happens(run, settings, done))}.",
                    *[PAUSING] * staged.board.pause]
            if said := of_rows.same_seed(staged.board, staged.clips, run.about.seed):
                what.append(sentence(said))
            clip = resuming.redo_from(settings)
            action = f"Redo from clip {clip}" if clip else "Make the clips to come"
    except (StoreError, StoryboardError) as error:
        what = [f"{sentence(str(error))}."]
        idle = NOTHING if isinstance(error, resuming.Unchanged) and not faults else IMPOSSIBLE
    return replace(staged, notes=(note, " ".join([*what, *faults])), action=action, idle=idle)


def redo_of(staged: Staged, run: Run, store: Store) -> Run | None:
    """The run that a click on `action` has begun: a redo of `run` by this storyboard."""
    if staged.action:
        with contextlib.suppress(SettingsError):  # an image that is gone
            asks = of_rows.keys(staged.board)
            asked = (staged.clips, asks, run.about.seed)
            return next((one for one in store.runs() if (one.about.base or ("",))[0] == run.name
                         and (one.about.clips, one.about.asks, one.about.seed) == asked), None)
    return None


# -------------------------------------------------------------------------------------------- cards

def cards(staged: Staged, run: Run | None, seen: Callable[[str], Path | None],
          images: Path | None = None) -> list[list[str]]:
    """A card for each clip, in HTML; `seen` gives the images that the page may show, and `images`
    is the folder of those that were added."""
    try:
        board = staged.board
    except StoryboardError:
        board = Storyboard()
    done = len(run.done()) if run is not None else 0
    clips = min(staged.cards, MOST_CARDS)
    return [[_card(staged, board.row(clip), clip, run.path(clip, ".mp4") if run and clip < done
                   else seen(board.row(clip).reference), images)] for clip in range(clips)]


def _card(staged: Staged, row: Row, clip: int, picture: Path | None, images: Path | None) -> str:
    prompt = row.prompt or (staged.prompts[clip] if clip < len(staged.prompts) else "")
    asked = [f"{name} {'' if value is True else value}".strip() for name, value in
             row.asked().items() if name not in ("prompt", "reference", "end image")]
    asked += [f"{name}: {path if path == LOOP else name_of(path, images)}" for name, path in
              (("end image", row.end_image), ("reference", row.reference)) if path]
    lost = "" if clip < staged.clips else "no such clip"
    facts = " · ".join(escape(cut(one, 60)) for one in (*asked, lost) if one)
    style = "" if row.prompt else "opacity:.65"
    tile = view.picture(picture) or (
        f"<div style='{_TILE}' aria-hidden='true'>{clip + 1}</div>")
    return view.pressable(
        f"<div style='flex:0 0 112px'>{tile}</div>"
        f"<div style='overflow-wrap:anywhere;line-height:1.35'><b>{clip + 1}</b> "
        f"<span style='{style}'>{escape(cut(prompt, 90))}</span>"
        f"<div style='opacity:.8;font-size:.9em'>{facts}</div></div>",
        chosen=clip == staged.chosen)


def note(staged: Staged | None) -> str:
    """What stands above the cards, in HTML."""
    if staged is None:
        return ("The form's model has no SVI settings. Choose a profile above and press "
                "<b>New storyboard</b> first.")
    first, *rest = [escape(for_page(text), quote=False) for text in staged.notes] or [""]
    return "<br>".join([f"<b>{first}</b>", *rest])


# ---------------------------------------------------------------------------------------- the desk

class Desk:
    """`tab` is the Tab that holds it, `line` knows WanGP's form."""

    def __init__(self, tab: Any, line: FormLine):
        self.tab, self.line = tab, line
        self.gallery = line.components.get("image_start")
        with gr.Accordion("Storyboard: what each clip gets", open=False,
                          elem_id="svi_desk") as self.part:
            self.state = gr.State(None)
            self.stamp = gr.Textbox(visible=False)
            self.note = gr.HTML(note(None), elem_id="svi_desk_note")
            self.back = gr.Button(BRING_BACK, size="sm", visible=False, elem_id="svi_row_back")
            with gr.Row(visible=False) as self.body:
                with gr.Column(scale=2, min_width=300):
                    self.start = gr.Image(label="Start image", type="filepath", sources=["upload"],
                                          image_mode=None, height=140, elem_id="svi_start_image")
                    self.cards = gr.Dataset(
                        components=[gr.HTML(visible=False, render=False)],
                        headers=["Click a clip to change it"], layout="table", samples=[],
                        type="index", samples_per_page=MOST_CARDS, label="Clips",
                        elem_id="svi_cards")
                    with gr.Row():
                        self.count = gr.Textbox(label="Clips in all", max_lines=1, min_width=110,
                                                elem_id="svi_row_count")
                        make = partial(gr.Button, size="sm", min_width=60)
                        self.add = make("Add", elem_id="svi_row_add")
                        self.copy = make("Copy", elem_id="svi_row_copy")
                        self.up = make("Move up", elem_id="svi_row_up")
                        self.down = make("Move down", elem_id="svi_row_down")
                        self.remove = make("Remove", elem_id="svi_row_remove")
                        self.drop = make("Remove the rows beyond", visible=False,
                                         elem_id="svi_row_drop")
                with gr.Column(scale=3, min_width=300, elem_id="svi_row"):
                    self._editor()
            with gr.Accordion("Paste paragraphs, or edit as text", open=False, visible=False
                              ) as self.more:
                self._texts()
        self.outputs = [self.state, self.note, self.body, self.more, self.cards, self.count,
                        self.stamp, self.title, self.start,
                        self.row_prompt, *self.texts.values(), *self.pictures.values(), self.loop,
                        self.new_shot, self.fault, self.text, self.pause, self.generate,
                        self.remake, self.to_form, self.drop, self.back, self.story]
        self.form_outputs = [line.storyboard, line.components["video_length"]]
        self._connect()

    def _editor(self) -> None:
        self.title = gr.Markdown("### Clip 1", elem_id="svi_row_title")
        self.row_prompt = gr.Textbox(label="Prompt", lines=3, elem_id="svi_row_prompt")
        self.texts: dict[str, Any] = {}
        fields = [*_TEXTS.items()]
        for three in (fields[:3], fields[3:]):  # labels on one line each
            with gr.Row():
                self.texts |= {name: gr.Textbox(label=label, placeholder=empty.format("form"),
                                                min_width=110, max_lines=1,
                                                elem_id=f"svi_row_{name}")
                               for name, (label, empty) in three}
        with gr.Row():
            self.pictures = {name: gr.Image(label=label, type="filepath", sources=["upload"],
                                            image_mode=None, height=140, min_width=140,
                                            elem_id=f"svi_row_{name}")
                             for name, label in _PICTURES.items()}
        with gr.Row():
            self.new_shot = gr.Checkbox(label="New shot: a cut before this clip", min_width=140,
                                        elem_id="svi_row_new_shot")
            self.loop = gr.Checkbox(label="Last clip: close the loop", min_width=140,
                                    elem_id="svi_row_loop")
        self.fault = gr.HTML(elem_id="svi_row_fault")
        with gr.Row():
            self.pause = gr.Checkbox(label="Stop after every clip, to look at it", min_width=200,
                                     elem_id="svi_pause")
            self.generate = gr.Button("Generate", variant="primary", min_width=120,
                                      elem_id="svi_generate")
            self.remake = gr.Button("Make these changes", variant="primary", min_width=120,
                                    visible=False, elem_id="svi_remake")
            self.to_form = gr.Button("Back to the form", min_width=120, visible=False,
                                     elem_id="svi_to_form")

    def _texts(self) -> None:
        self.story = gr.Textbox(label="Prompts, with an empty line between them", lines=4,
                                elem_id="svi_story")
        self.share = gr.Button("Share them among the clips", size="sm", elem_id="svi_share")
        self.text = gr.Textbox(label="The storyboard as text", lines=8, elem_id="svi_board_text")
        self.apply = gr.Button("Apply the text", size="sm", elem_id="svi_board_apply")

    # ---------------------------------------------------------------------------------- the events

    def _connect(self) -> None:
        form = self.line.inputs
        self.inputs = [self.state, *form]  #: of `shown`
        quiet = {"concurrency_id": CONCURRENCY}
        row = [self.state, self.stamp, self.row_prompt, *self.texts.values(), self.new_shot]
        self.show_on(self.to_form.click, lambda _, *form: self.shown(None, *form))
        for event in self.line.filled:
            self.show_on(event.then, self.form_filled)
        self._connect_start(form)
        both = [*self.outputs, *self.form_outputs]
        typed = gr.on([one.input for one in row[2:]], guarded(self._typed), row, both,
                      trigger_mode="always_last", show_progress="hidden", **quiet)
        for event in (self.cards.click, self.add.click, self.copy.click, self.up.click,
                      self.down.click, self.remove.click, self.drop.click, self.share.click,
                      self.apply.click, self.back.click):
            event(None, None, None, js=_HOLD)
        edits: list[_Edit] = [
            (self.add.click, self._add, []), (self.copy.click, self._copy, []),
            (self.up.click, partial(self._move, by=-1), []),
            (self.down.click, partial(self._move, by=1), []),
            (self.share.click, self._share, [self.story])]
        boxes: list[_Edit] = [(box.upload, partial(self._pictured, name), [box])
                              for name, box in self.pictures.items()]
        boxes += [(box.clear, partial(self._pictured, name), [])
                  for name, box in self.pictures.items()]
        boxes += [(self.loop.input, self._loop, [self.loop]),
                  (self.pause.input, self._pause, [self.pause])]
        done = [on(event, self._after_typing(work), [*row, *entered], both, **quiet)
                for event, work, entered in edits]
        # each sends what it holds at that moment, also while an answer is on its way
        each = {"trigger_mode": "multiple", **quiet}
        added = [on(event, self._beside_typing(work), [*row, *entered], both, **each)
                 for event, work, entered in boxes]
        done += added
        done += [on(event, partial(self._counted, typing=typing), [*row, self.count], both, **each)
                 for event, typing in ((self.count.submit, True), (self.count.blur, False))]
        done.append(on(self.drop.click, self._dropped, row, both, **quiet))
        done.append(on(self.cards.click, self._after_typing(self._choose), [*row, self.cards], both,
                       trigger_mode="always_last", **quiet))
        done[-1].then(None, None, None, js=_TO_EDITOR)
        # these do not care what was typed into the editor
        done += [on(self.remove.click, self._remove, [self.state], both, **quiet),
                 on(self.apply.click, self._apply, [self.state, self.text], both, **quiet),
                 on(self.back.click, self._bring_back,
                    [*row, form[0], *self.form_outputs], both, **quiet)]
        settled = [on(one.then, self.settled, [self.state, self.stamp, *self.form_outputs[:1]],
                      self.form_outputs[:1], **quiet) for one in (typed, *done)]
        # the form has changed
        noted = [on(event, self._noted, [self.state, self.stamp, *form], self.outputs, **quiet)
                 for event in (*(one.then for one in (*done, settled[0])),
                               *(timer.tick for timer in self.line.news))]
        for one in (*done, *noted[:len(done)]):  # once the cards are drawn, however long that takes
            one.then(None, None, None, js=_TO_CHOSEN)
        for (name, box), one in zip(self.pictures.items(), added, strict=False):
            one.then(guarded(partial(self._added, name)), [self.state], [box],
                     show_progress="hidden", **quiet)
        remake = job(self.tab, lambda run, state: resuming.restaged(run, state.board, state.clips),
                     stays=True)
        page = self.tab.plugin.state
        redone = on(self.remake.click, lambda page, *row: self._after_typing(
            lambda state: remake(page, state.run, state))(*row),
            [page, *row], job_outputs(self.tab.plugin), **quiet)
        on(redone.then, self._watch, [page], [self.tab.timer])
        press = self.line.components.get("generate_btn")
        self.generate.visible = press is not None
        if press is not None:
            id = press.elem_id or f"component-{press._id}"
            asked = on(self.generate.click, partial(self._typed, aloud=True), row, both, **quiet)
            asked.then(None, [self.fault], None,
                       js=f"fault => {{fault || document.getElementById({id!r})?.click()}}")
            on(asked.then, self._watch, [page], [self.tab.timer])

    def _connect_start(self, form: list[Any]) -> None:
        """The start image is that of WanGP's form: what is added here is there, and the other way
        round."""
        gallery, images = self.gallery, self.line.inputs[1]
        radio = self.line.components.get("image_prompt_type_radio")
        quiet = {"concurrency_id": CONCURRENCY}
        if gallery is None:
            self.start.visible = False
            return
        outputs = [gallery, images, *([radio] if radio is not None else [])]
        added = on(self.start.upload, lambda *given: self._start(*given)[:len(outputs)],
                   [self.start, images], outputs, **quiet)
        self._mirror(added.then(guarded(self._start_added), [images], None, **quiet).then)
        cleared = on(self.start.clear, lambda images: ([], {**images, "image_start": False}),
                     [images], outputs[:2], **quiet)
        for event in (added, cleared):
            event.then(guarded(self._noted), [self.state, self.stamp, *form], self.outputs,
                       show_progress="hidden", **quiet)
        self._mirror(gallery.change)

    def _mirror(self, event: Callable[..., Any]) -> None:
        """Has an event show the start image of WanGP's form."""
        event(None, [self.gallery], [self.start], js=_FIRST_OF_GALLERY)

    def show_on(self, event: Callable[..., Any], show: Callable[..., Any] | None = None) -> None:
        """Has an event update the desk."""
        done = on(event, show or self.shown, self.inputs, self.outputs, concurrency_id=CONCURRENCY)
        if self.gallery is not None:
            self._mirror(done.then)

    def _watch(self, page: dict[str, Any]) -> Any:
        """Has the list of runs show the run that begins."""
        actions.expect_run(page)
        return gr.Timer(active=True)

    def shown(self, state: Staged | None, *form: Any) -> dict[Any, Any]:
        """The desk as it is now: about the same run, or about the form."""
        if state is not None and state.run and is_name(state.run):
            with contextlib.suppress(StoreError):
                run = self.tab.store.open(state.run)
                return self._again(state, noted(state, run), run)
        chosen = state.chosen if state is not None else 0
        return self._again(state, of_form(self.line, form, chosen), None)

    def _again(self, was: Staged | None, now: Staged | None, run: Run | None) -> dict[Any, Any]:
        """The desk once more. If nothing else was put into it meanwhile, the editor keeps what
        cannot be, for the user to correct it."""
        if was is None or now is None or (was.run, was.text.strip(), was.clips, was.chosen) != (
                now.run, now.text.strip(), now.clips, now.chosen):
            return self._values(None if now is None else _filled(now), run)
        return self._but_editor(self._values(replace(now, stamp=was.stamp), run), self.fault) | {
            self.row_prompt: gr.update(placeholder=_default_prompt(now))}

    def _but_editor(self, values: dict[Any, Any], *others: Any) -> dict[Any, Any]:
        """The values of all components but those that the user may be filling."""
        entered = (self.row_prompt, *self.texts.values(), self.new_shot, *self.pictures.values())
        return {box: value for box, value in values.items() if box not in (*entered, *others)}

    def looked(self, state: Staged | None) -> Any:
        """The desk, whose run may have got another clip, or ended. The editor stays."""
        if state is None or not is_name(state.run):
            return gr.skip()
        run = None
        try:
            run = self.tab.store.open(state.run)
            if (redo := redo_of(state, run, self.tab.store)) is not None:
                return self._values(of_run(redo, state.chosen), redo)
            now = noted(state, run)
        except StoreError as error:  # removed on another page: say so here, not every few seconds
            now = replace(state, notes=(f"{sentence(str(error))}.",), action="", idle=IMPOSSIBLE)
        if now == state:
            return gr.skip()
        values = self._values(now, run)
        return {part: values[part] for part in (self.state, self.note, self.cards, self.remake)}

    def form_filled(self, state: Staged | None, *form: Any) -> Any:
        """WanGP has filled its form: all of the desk is new for a new storyboard, else what is
        edited stays."""
        if state is None or not state.clips:
            return self._values(of_form(self.line, form, 0), None)
        return self._noted(state, state.stamp, *form)

    def settled(self, state: Staged | None, stamp: str, text: str) -> Any:
        """The form's text once an answer to typing is there: if that came after a later one, the
        form holds what was before."""
        kept = (state.text.strip() or AUTO) if state is not None else ""
        if (state is None or state.run or stamp != state.stamp
                or ((text or "").strip() or AUTO) == kept):
            return gr.skip()
        return kept

    def _noted(self, state: Staged, stamp: str, *form: Any) -> Any:
        """The note and the cards as the form is now; a sound decides how many clips there are."""
        if state is None or state.run or (
                now := of_form(self.line, form, state.chosen)) is None:
            return gr.skip()
        # WanGP strips what is entered
        if (now.text.strip(), stamp) != (state.text.strip(), state.stamp):
            return gr.skip()  # a later change is on its way
        if now.chosen != state.chosen:  # the clip in the editor has gone
            return self._values(_filled(now), None)
        now = replace(now, stamp=state.stamp)
        values = {self.state: now, self.note: note(now),
                  self.cards: gr.Dataset(samples=cards(now, None, self._seen, self._images)),
                  self.back: _back(now)}
        if now.clips != state.clips:
            values |= {self.count: str(now.clips), self.title: _title(now), self.drop: _drop(now),
                       self.row_prompt: gr.update(placeholder=_default_prompt(now))}
            with contextlib.suppress(StoryboardError):
                values[self.loop] = _loops(now, now.board.row(now.chosen))
        return values

    def loading(self) -> dict[Any, Any]:
        """The desk until WanGP has filled its form."""
        return {self.part: gr.update(open=True), self.story: "",
                **self._values(Staged(notes=(LOADING,)), None)}

    def of_run(self, name: str) -> dict[Any, Any]:
        """The desk about a run. Raises StoreError."""
        run = self.tab.run(name)
        return {self.part: gr.update(open=True), self.story: "",
                **self._values(of_run(run, 0), run)}

    def _values(self, staged: Staged | None, run: Run | None) -> dict[Any, Any]:
        here = staged is not None and staged.clips > 0
        values: dict[Any, Any] = {self.state: staged, self.note: note(staged),
                                  self.body: gr.update(visible=here),
                                  self.more: gr.update(visible=here), self.fault: "",
                                  self.back: _back(staged)}
        if staged is None or not here:
            return values
        values[self.stamp] = staged.stamp
        try:
            board = staged.board
        except StoryboardError as error:
            board, values[self.fault] = Storyboard(), _fault(error)
        row = board.row(staged.chosen)
        run_there = bool(staged.run)
        values |= {
            self.cards: gr.Dataset(samples=cards(staged, run, self._seen, self._images)),
            self.count: str(staged.clips),
            self.title: _title(staged), self.start: gr.update(visible=staged.starts),
            self.row_prompt: gr.update(value=row.prompt, placeholder=_default_prompt(staged)),
            self.new_shot: row.new_shot,
            self.loop: _loops(staged, row),
            self.pause: board.pause, self.text: staged.text,
            self.generate: gr.update(visible=not run_there),
            self.remake: gr.update(visible=run_there, interactive=bool(staged.action),
                                   value=staged.action or staged.idle),
            self.to_form: gr.update(visible=run_there), self.drop: _drop(staged),
            **{box: gr.update(value=in_text(getattr(row, name)), placeholder=_TEXTS[name][1].format(
                "run" if run_there else "form")) for name, box in self.texts.items()},
            **{box: view.opened(self._seen(getattr(row, name)))
               for name, box in self.pictures.items()},
        }
        return values

    def _seen(self, path: str) -> Path | None:
        return seen(path, self._images.parent, self.tab.wgp)

    @property
    def _images(self) -> Path:
        folder: Path = self.tab.store.folder.parent / IMAGES
        return folder

    # ------------------------------------------------------------------------------------ the edits

    def _after_typing(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work` on the storyboard with what the editor holds, of which the last keystrokes may
        still be on their way."""
        def both(state: Staged | None, stamp: str, *rest: Any) -> Any:
            state = _known(state)
            fields, entered = rest[: 2 + len(self.texts)], rest[2 + len(self.texts):]
            if stamp == state.stamp:
                state = replace(state, text=write(self._entered(state, *fields)))
            return work(state, *entered)
        return both

    def _beside_typing(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same for what has a box of its own, which shows it: what cannot be in another one
        does not keep it from the storyboard."""
        def both(state: Staged | None, stamp: str, *rest: Any) -> Any:
            try:
                return self._after_typing(work)(state, stamp, *rest)
            except StoryboardError as error:
                return {**work(_known(state), *rest[2 + len(self.texts):]),
                        self.fault: _fault(error)}
        return both

    def _choose(self, state: Staged, index: int) -> dict[Any, Any]:
        return self._changed(state, lambda board: board, chosen=picked(range(state.cards), index))

    def _changed(self, state: Staged, change: Callable[[Storyboard], Storyboard],
                 clips: int = 0, chosen: int | None = None,
                 stays: Collection[Any] | None = None) -> dict[Any, Any]:
        """The desk and the form after a change. If `stays` is given, the editor stays, where the
        user may be typing, but for these parts."""
        clips = clips or state.clips
        chosen = state.chosen if chosen is None else chosen
        board = change(state.board)
        if max(clips, board.clips) > chain.MAX_CLIPS:
            raise StoreError(f"a video has at most {chain.MAX_CLIPS:,} clips. Remove one first")
        return self._put(state, replace(state, text=write(board), clips=clips).at(chosen), stays)

    def _put(self, state: Staged, new: Staged, stays: Collection[Any] | None = None
             ) -> dict[Any, Any]:
        """The desk and the form with a `new` text and number of clips."""
        text, clips = new.text, new.clips
        if len(state.prompts) < clips:
            new = replace(new, prompts=(*state.prompts, *state.prompts[-1:] * (
                clips - len(state.prompts))))
        run = self.tab.store.open(state.run) if state.run else None
        if run is not None:
            new = noted(new, run)
        if new.chosen != state.chosen:
            stays = None
        values = self._values(_filled(new) if stays is None else new, run)
        if run is None:
            values[self.form_outputs[0]] = text or AUTO
            if clips != state.clips:
                values[self.form_outputs[1]] = CLIP_FRAMES * clips
        if stays is None:
            return values
        values[self.row_prompt] = gr.update(placeholder=_default_prompt(new))
        # an answer may come after a later one, whose clip the page shows by then
        late = (self.state, self.note, self.cards, self.fault, self.text, self.drop, self.back,
                self.remake, *self.form_outputs, *stays)
        return {box: values[box] for box in late if box in values}

    def _typed(self, state: Staged | None, stamp: str, *fields: Any, aloud: bool = False) -> Any:
        """What was typed, kept unless it cannot be; a click says so `aloud`."""
        state = _known(state)
        if stamp != state.stamp:  # another clip is in the editor by now, and this was kept
            return gr.skip()
        try:
            board = self._entered(state, *fields)
        except StoryboardError as error:
            if aloud:
                warn(error)
            return {self.fault: _fault(error)}
        return self._changed(state, lambda _: board, stays=())

    def _entered(self, state: Staged, prompt: str, *entered: Any) -> Storyboard:
        """The storyboard with what the editor holds. Raises StoryboardError."""
        *texts, new_shot = entered
        check_prompts(prompt or "")
        given = {name.replace("_", " "): value or "" for name, value in zip(
            ("prompt", *self.texts), (one_line(prompt or ""), *texts), strict=True)}
        typed = row_of(f"{state.chosen + 1}", given)
        changes = {name: getattr(typed, name) for name in ("prompt", *self.texts)}
        return edited(state.board, [state.chosen], **changes, new_shot=bool(new_shot))

    def _start(self, path: str, images: dict[str, Any]) -> tuple[Any, ...]:
        """Puts the start image into WanGP's form, which then starts with it, and lets it be looked
        at: WanGP refuses a black one."""
        return [path], {**images, "image_start": path}, "S"

    def _start_added(self, images: dict[str, Any]) -> None:
        if not images.get("image_start"):
            gr.Warning(_NO_IMAGE)

    def _pictured(self, name: str, state: Staged, path: str | None = None) -> dict[Any, Any]:
        kept = "" if path is None else keep(Path(path), self._images)
        return self._changed(state, lambda board: edited(board, [state.chosen], **{name: kept}),
                             stays=(self.loop, *self.pictures.values()))

    def _added(self, name: str, state: Staged | None) -> Any:
        """What the box of a picture shows once one was added: none that gradio could not read,
        which it tells nobody."""
        if state is None or getattr(state.board.row(state.chosen), name) not in ("", LOOP):
            return gr.skip()
        gr.Warning(_NO_IMAGE)
        return None

    def _pause(self, state: Staged, yes: bool) -> dict[Any, Any]:
        return self._changed(state, lambda board: replace(board, pause=yes),
                             stays=(self.pause,))

    def _loop(self, state: Staged, yes: bool) -> dict[Any, Any]:
        return self._changed(state, lambda board: edited(
            board, [state.chosen], end_image=LOOP if yes else ""),
                             stays=(self.loop, *self.pictures.values()))

    def _counted(self, state: Staged | None, stamp: str, *rest: Any, typing: bool = False) -> Any:
        """Another number of clips; one that cannot be does not stay in the field, in which the user
        may still be `typing`."""
        state = _known(state)
        try:
            shown = self._after_typing(self._count)(state, stamp, *rest)
        except (StoreError, StoryboardError) as error:
            warn(error)
            return {self.count: str(state.clips)}
        if typing:
            shown.pop(self.count)
        return shown or gr.skip()

    def _count(self, state: Staged, clips: Any) -> dict[Any, Any]:
        number = actions.whole("the number of clips", clips)
        if not 1 <= number <= chain.MAX_CLIPS:
            raise StoreError(f"a video has 1 to {chain.MAX_CLIPS:,} clips, not {number:,}")
        if number == state.clips:
            return {self.count: str(number)}
        return self._changed(state, lambda board: board, number, stays=(
            self.count, self.title, self.row_prompt, self.loop))

    def _dropped(self, state: Staged | None, stamp: str, *row: Any) -> dict[Any, Any]:
        """Without the rows of clips that the video does not have. They are kept until then: with
        more clips, they count again."""
        def drop(state: Staged) -> dict[Any, Any]:
            return self._changed(state, lambda board: replace(board, rows={
                clip: row for clip, row in board.rows.items() if clip < state.clips}),
                                 stays=(self.title, self.loop))
        state = _known(state)
        goes = state.chosen >= state.clips  # with what is typed there
        return drop(state) if goes else self._after_typing(drop)(state, stamp, *row)

    def _add(self, state: Staged) -> dict[Any, Any]:
        return self._changed(state, lambda board: inserted(board, state.chosen + 1),
                             state.clips + 1, state.chosen + 1)

    def _copy(self, state: Staged) -> dict[Any, Any]:
        """Another clip like this one; its seed stays its own."""
        row = replace(state.board.row(state.chosen), seed=None)
        return self._changed(state, lambda board: inserted(board, state.chosen + 1, row),
                             state.clips + 1, state.chosen + 1)

    def _move(self, state: Staged, by: int) -> dict[Any, Any]:
        to = min(max(0, state.chosen + by), state.clips - 1)
        return self._changed(state, lambda board: moved(board, state.chosen, to), chosen=to)

    def _remove(self, state: Staged | None) -> dict[Any, Any]:
        state = _known(state)
        there = state.chosen < state.clips
        if there and state.clips < 2:
            raise StoreError("a video has at least one clip")
        return self._changed(state, lambda board: removed(board, state.chosen),
                             state.clips - there)

    def _share(self, state: Staged, story: str) -> dict[Any, Any]:
        shared = of_prompts(paragraphs(story or ""), max(
            state.clips, len(paragraphs(story or ""))))

        def change(board: Storyboard) -> Storyboard:
            for clip, row in shared.rows.items():
                board = edited(board, [clip], prompt=row.prompt)
            return board
        return self._changed(state, change, shared.clips)

    def _apply(self, state: Staged | None, text: str) -> dict[Any, Any]:
        state = _known(state)
        board = entered(text_of(text))
        return self._changed(replace(state, text=""), lambda _: board,
                             max(state.clips, board.clips))

    def _bring_back(self, state: Staged | None, stamp: str, *rest: Any) -> Any:
        """The form's last storyboard, as it was: also a text to correct, or while SVI is off."""
        *fields, page, text, frames = rest
        if state is None:
            raise StoreError(STALE)
        boards = of_page(page)
        now = Board(text_of(text), int(frames or 0), boards.model or "")
        if state.clips and stamp == state.stamp:  # the last keystrokes may still be on their way
            with contextlib.suppress(StoryboardError):
                now = replace(now, text=text_of(write(self._entered(state, *fields))))
        board = boards.bring_back(now)
        if not board.text:  # it is back already
            return gr.skip()
        clips = actions.clips_asked({"video_length": board.frames})
        return self._put(state, replace(state, text=board.text, clips=clips,
                                        lost=boards.last(board.text).text))


def seen(path: str, outputs: Path, wgp: Mapping[str, Any]) -> Path | None:
    """An image that the page may show: on one that other computers can open, none of this
    computer's but those in WanGP's folder for videos, where added ones are, too."""
    if path in ("", LOOP) or visitors.is_off(wgp) and visitors.is_foreign(path, outputs):
        return None
    return Path(path)


def keep(given: Path, folder: Path) -> str:
    """A copy of an image that was added, with its own name in a folder by its content; gradio's may
    go. The text of the storyboard shows its path, so no folders above WanGP's are in it. Raises
    OSError."""
    name = given.name if is_name(given.name) and given.suffix[1:].isalnum() else "image.png"
    path = folder / files.sha256(given)[:_DIGITS] / f"{Path(name).stem[:60]}{Path(name).suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        files.write(path, partial(shutil.copyfile, given))
    here, path = Path.cwd(), path.absolute()  # Windows resolves a drive to the server that it is on
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def name_of(path: str, images: Path | None = None) -> str:
    """The name of the user's own file: a run's copy of an image in the folder `images`, where those
    that were added are, has a hash for a name."""
    copy = _COPY.fullmatch(Path(path).stem)
    if copy is None:
        return Path(path).name
    if images is not None:
        with contextlib.suppress(OSError):  # it was not added in the tab
            return min(one.name for one in (images / copy[1]).iterdir())
    return f"image{Path(path).suffix}"


def _known(state: Staged | None) -> Staged:
    """Raises StoreError on a page that was left open while WanGP was started again, and while the
    desk waits for the form."""
    if state is None:
        raise StoreError(STALE)
    if not state.cards:
        raise StoreError("the storyboard is still loading. Try again when you see its clips")
    return state


def _filled(staged: Staged) -> Staged:
    """The same, about to be put into the editor."""
    return replace(staged, stamp=Staged().stamp)


def _default_prompt(staged: Staged) -> str:
    """The prompt that the chosen clip has without one of its own."""
    return staged.prompts[staged.chosen] if staged.chosen < len(staged.prompts) else ""


def _title(staged: Staged) -> str:
    there = "of" if staged.chosen < staged.clips else "is not in a video of"
    return f"### Clip {staged.chosen + 1} {there} {staged.clips}"


def _loops(staged: Staged, row: Row) -> Any:
    """The tick of the last clip. One that a clip added behind it has left in the middle can be
    taken out."""
    loops = row.end_image == LOOP
    return gr.update(value=loops, interactive=loops or staged.chosen == staged.clips - 1)


def _drop(staged: Staged) -> Any:
    """The button that removes the rows whose clip the video lacks."""
    beyond = 0
    with contextlib.suppress(StoryboardError):
        beyond = sum(clip >= staged.clips for clip in staged.board.rows)
    return gr.update(visible=beyond > 0,
                     value=f"Remove {count(beyond, 'row')} beyond clip {staged.clips}")


def _back(staged: Staged | None) -> Any:
    """The button that brings back what the form has lost."""
    return gr.update(visible=staged is not None and bool(staged.lost))


def _fault(error: Exception) -> str:
    return f"<div role='alert'>⚠ {escape(sentence(str(error)))}.</div>"
