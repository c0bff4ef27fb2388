"""A storyboard: what is asked of each clip of a video, as a text that people read and write.

    [all]
    pause = yes

    [1-3]
    prompt = a kite rises over the beach

    [4]
    prompt = it dives
    SVI strength = 1.2

    [9]
    end image = loop

A section is for one clip, for a range of clips, or for the whole video. Clips are counted from 1 in
the text and from 0 everywhere else. What a clip is not asked for, it gets as any other clip of the
run; where two sections speak of one clip, the later one counts. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from .chain import MAX_CLIPS
from .variants import SEED_STEP

LOOP = "loop"  #: in the place of an end image: the video's own first frame
MOST = 2_000_000  #: characters of a storyboard
_WHOLE = "all"  # the section about the whole video
_WRITTEN = {"svi strength": "SVI strength"}  # names that are not all small; any case is read
_CLIPS = re.compile(r"(\d{1,5})(?:\s*-\s*(\d{1,5}))?")
_HEAD, _NAMED = re.compile(r"\[([^\[\]]+)\]"), re.compile(r"([^=:]+)[=:](.*)", re.DOTALL)
_ELSEWHERE = re.compile(r"[\\/]([\\/]|\?\?[\\/])|[a-z+]{2,}://", re.IGNORECASE)  # paths on servers
_MOST_SECTIONS = 2 * MAX_CLIPS  # each may be about all clips


class StoryboardError(ValueError):
    """A storyboard that cannot be read, or cannot be done. The message says what, and the fix."""


@dataclass(frozen=True)
class Row:
    """What is asked of one clip; None, "" and False leave it as any other clip of the run.

    `prompt`       instead of the run's
    `seed`         instead of the one that its place in the run gives
    `new_shot`     starts from the reference instead of the clip before: a hard cut
    `reference`    path of the image that fills its padding
    `end_image`    path of the image that it ends on, or LOOP
    `svi_strength`, `accelerator_strength`
                   of the SVI LoRA and of accelerators, times their strength in the run
    `guidance`     in every phase
    `steps`        of the sampler
    `motion`       motion amplitude, 1 for none
    """

    prompt: str = ""
    seed: int | None = None
    new_shot: bool = False
    reference: str = ""
    end_image: str = ""
    svi_strength: float | None = None
    accelerator_strength: float | None = None
    guidance: float | None = None
    steps: int | None = None
    motion: float | None = None

    def asked(self) -> dict[str, Any]:
        """What is asked for, by the names of the text."""
        return {_written(name): value for name, value in asdict(self).items()
                if value is not None and value is not False and value != ""}

    def key(self) -> str:
        """The row as one line, "" if nothing is asked for. Equal rows have equal keys."""
        asked = {name.lower(): value for name, value in self.asked().items()}
        return json.dumps(asked, ensure_ascii=False, sort_keys=True) if asked else ""


@dataclass(frozen=True)
class Storyboard:
    """`rows` by the clip's number, without those that ask for nothing.

    `pause`      the run stops after every clip, for the user to look at it
    `seed_step`  from one clip's seed to the next
    `motion_latents`
                 of the clip before that a clip of SVI 2.0 Pro starts from; None: as the authors do
    """

    rows: Mapping[int, Row] = field(default_factory=dict)
    pause: bool = False
    seed_step: int = SEED_STEP
    motion_latents: int | None = None

    def __bool__(self) -> bool:
        return bool(self.rows) or bool(self.whole())

    def whole(self) -> dict[str, Any]:
        """What is asked of the whole video, by the names of the text."""
        return {name: value for name in _VIDEO
                if (value := getattr(self, field := name.replace(" ", "_")))
                != getattr(Storyboard, field, None)}

    def row(self, clip: int) -> Row:
        return self.rows.get(clip, Row())

    @property
    def clips(self) -> int:
        """The last clip that has a row."""
        return max(self.rows, default=-1) + 1


def _number(least: float, most: float, kind: type) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            number = kind(text) if len(text) < 40 else None
        except ValueError:
            number = None
        if number is None or not least <= number <= most:
            what = "whole number" if kind is int else "number"
            raise ValueError(f"a {what} from {least:g} to {most:,}")
        return number
    return read


def _yes(text: str) -> bool:
    if text.lower() not in ("yes", "no"):
        raise ValueError("yes or no")
    return text.lower() == "yes"


def _line(text: str) -> str:
    return " ".join(text.split())


def _path(text: str) -> str:
    """A path, also in the quotes that Windows copies it with. A stranger's text must not make
    Windows sign in at a stranger's server, which it does as soon as it looks for a file there."""
    while len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    if text.startswith("~"):
        with contextlib.suppress(RuntimeError):  # nobody's home
            text = str(Path(text).expanduser())
    if _ELSEWHERE.match(text):
        raise ValueError("an image on this computer, or on a drive with a letter")
    if text.lower() == LOOP:
        raise ValueError("the path of an image")
    return text


def _end(text: str) -> str:
    return LOOP if text.lower() == LOOP else _path(text)


_SEED = _number(0, 2**32 - 1, int)
_STRENGTH = _number(0, 3, float)
_ROW: dict[str, Callable[[str], Any]] = {
    "prompt": _line, "seed": _SEED, "new shot": _yes, "reference": _path, "end image": _end,
    "svi strength": _STRENGTH, "accelerator strength": _STRENGTH,
    "guidance": _number(0, 20, float), "steps": _number(1, 100, int),
    "motion": _number(1, 2, float),
}
_VIDEO: dict[str, Callable[[str], Any]] = {
    "pause": _yes, "seed step": _number(1, 1000, int), "motion latents": _number(1, 5, int)}


def row_of(clip: str, given: Mapping[str, str]) -> Row:
    """What is asked of a clip, by the names of the text. Raises StoryboardError."""
    return Row(**_values(_place(clip), given, _ROW))


def parse(text: str) -> Storyboard:
    """A storyboard from its text. Raises StoryboardError."""
    if len(text) > MOST:
        raise StoryboardError(f"the storyboard has {len(text):,} characters. Shorten it to "
                              f"{MOST:,}")
    rows: dict[int, dict[str, Any]] = {}
    video: dict[str, Any] = {}
    for section, lines in _sections(text).items():
        given = {name: " ".join(parts) for name, parts in lines.items()}
        if section.lower() == _WHOLE:
            video |= _values(_in_text(section), given, _VIDEO)
            continue
        values = _values(_in_text(section), given, _ROW)
        for clip in _range(section):
            rows.setdefault(clip, {}).update(values)
    made = {clip: Row(**values) for clip, values in sorted(rows.items())}
    return Storyboard({clip: row for clip, row in made.items() if row != Row()}, **video)


def _sections(text: str) -> dict[str, dict[str, list[str]]]:
    """What stands under each head: the lines of each value, by its name. A line with more blanks
    before it continues the one above. Raises StoryboardError."""
    found: dict[str, dict[str, list[str]]] = {}
    section = name = ""
    indent = 0
    for number, whole in enumerate(re.split(r"\r\n?|\n", text.removeprefix("\ufeff")), 1):
        line, depth = whole.strip(), len(whole) - len(whole.lstrip())
        if not line:
            name = ""
        elif line[0] in "#;":
            continue
        elif name and depth > indent:
            found[section][name].append(line)
        elif head := _HEAD.fullmatch(line):
            section, name = head[1].strip(), ""
            if section in found:
                raise StoryboardError(f"the storyboard has [{section[:40]}] twice. Put both "
                                      "together")
            if len(found) == _MOST_SECTIONS:
                raise StoryboardError(f"the storyboard has more than {_MOST_SECTIONS:,} sections. "
                                      "Join those of neighbouring clips, as in [3-5]")
            found[section] = {}
        elif not found and line[0] != "[":
            raise StoryboardError(f"line {number} of the storyboard belongs to no clip. Put the "
                                  "clip before it, such as [1]")
        elif line[0] == "[":
            raise StoryboardError(f"line {number} of the storyboard cannot be read. Write a clip "
                                  "in a line of its own: [3], or [3-5] for several")
        elif not (split := _NAMED.fullmatch(line)):
            raise StoryboardError(f"line {number} of the storyboard cannot be read. Write it as "
                                  "NAME = VALUE, such as seed = 7")
        else:
            name, indent = " ".join(split[1].lower().split()), depth
            if name in found[section]:
                raise StoryboardError(f"{_written(name[:40])} is twice in {_in_text(section)}. "
                                      "Remove one")
            found[section][name] = [split[2].strip()]
    return found


def _written(name: str) -> str:
    """The name of a field, or one of the text, as it is written: in the text and in messages."""
    name = name.replace("_", " ")
    return _WRITTEN.get(name, name)


def _place(section: str) -> str:
    """What a section is about: "clip 3", "clips 3-5"; as it stands there if that is no clip."""
    found = _CLIPS.fullmatch(section.strip())
    if found is None:
        return f"[{section[:40]}]"
    return f"clips {found[1]}-{found[2]}" if found[2] else f"clip {found[1]}"


def _in_text(section: str) -> str:
    return f"{_place(section)} of the storyboard"


def _values(place: str, given: Mapping[str, str], known: Mapping[str, Callable[[str], Any]]
            ) -> dict[str, Any]:
    found = {}
    for name, text in given.items():
        read = known.get(name)
        if read is None:
            raise StoryboardError(f"\"{name[:40]}\" in {place} is unknown. Known are: "
                                  f"{', '.join(map(_written, known))}")
        if text.strip():
            try:
                found[name.replace(" ", "_")] = read(text.strip())
            except ValueError as error:
                raise StoryboardError(f"{_written(name)} in {place} cannot be "
                                      f"\"{text.strip()[:60]}\". "
                                      f"Set it to {error}") from None
    return found


def _range(section: str) -> range:
    found = _CLIPS.fullmatch(section.strip())
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last <= MAX_CLIPS:
        raise StoryboardError(
            f"[{section[:40]}] of the storyboard is no clip. Write [3] for a clip, [3-5] for "
            f"several up to {MAX_CLIPS:,}, or [{_WHOLE}] for the whole video")
    return range(first - 1, last)


def write(board: Storyboard) -> str:
    """The text of a storyboard, "" for an empty one. `parse` gives the same storyboard again."""
    parts = [_section(_WHOLE, board.whole())]
    for first, last, row in _groups(board.rows):
        clips = f"{first + 1}" if first == last else f"{first + 1}-{last + 1}"
        parts.append(_section(clips, row.asked()))
    return "\n".join(part for part in parts if part)


def _groups(rows: Mapping[int, Row]) -> Iterator[tuple[int, int, Row]]:
    """First clip, last clip and row of neighbours that are asked for the same."""
    first = last = -1
    for clip in sorted(rows):
        if first >= 0 and clip == last + 1 and rows[clip] == rows[first]:
            last = clip
            continue
        if first >= 0:
            yield first, last, rows[first]
        first = last = clip
    if first >= 0:
        yield first, last, rows[first]


def in_text(value: Any) -> str:
    """A value as the text has it: a number so that it is read as the same number again."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else "yes" if value is True else str(value)


def _section(name: str, values: Mapping[str, Any]) -> str:
    lines = [f"{key} = {in_text(value)}" for key, value in values.items()]
    return "\n".join([f"[{name}]", *lines, ""]) if lines else ""


# ---------------------------------------------------------------------------------- changes to rows

def entered(text: str) -> Storyboard:
    """`parse` for what a user writes now: a run may have been made by more. Raises
    StoryboardError."""
    board = parse(text)
    check_prompts(*(row.prompt for row in board.rows.values()))
    return board


def check_prompts(*prompts: str) -> None:
    """Raises StoryboardError for what WanGP's form takes for something else than a prompt."""
    for prompt in prompts:
        if (mark := prompt.lstrip()[:1]) in ("#", "!"):
            what, fix = (("comments", "Remove the #") if mark == "#" else
                         ("variables", "Write the prompt out"))
            raise StoryboardError(
                f"a prompt begins with {mark}, as {what} do in WanGP's form. {fix}")


def of_prompts(prompts: Sequence[str], clips: int | None = None) -> Storyboard:
    """A storyboard that gives each of `prompts` an equal share of `clips` clips, the first ones
    more; by default, a clip each. Raises StoryboardError."""
    clips = clips or len(prompts)
    if not prompts:
        raise StoryboardError("there is no prompt. Write one or more, with an empty line between")
    check_prompts(*prompts)
    if not len(prompts) <= clips <= MAX_CLIPS:
        raise StoryboardError(f"{len(prompts):,} prompts need {len(prompts):,} clips or more, up "
                              f"to {MAX_CLIPS:,}. Ask for more clips, or remove prompts")
    share = [clips // len(prompts) + (at < clips % len(prompts)) for at in range(len(prompts))]
    each = [prompt for prompt, times in zip(prompts, share, strict=True) for _ in range(times)]
    return Storyboard({clip: Row(prompt=_line(prompt)) for clip, prompt in enumerate(each)})


def edited(board: Storyboard, clips: Sequence[int], **changes: Any) -> Storyboard:
    """With other values in the rows of some clips."""
    rows = {**board.rows, **{clip: replace(board.row(clip), **changes) for clip in clips}}
    return _with(board, rows)


def inserted(board: Storyboard, clip: int, row: Row | None = None) -> Storyboard:
    """With a new row for `clip`; it and those after it move on by one."""
    rows = {at + (at >= clip): one for at, one in board.rows.items()}
    return _with(board, {**rows, clip: row or Row()})


def removed(board: Storyboard, clip: int) -> Storyboard:
    """Without the row of `clip`; those after it move up by one."""
    return _with(board, {at - (at > clip): one for at, one in board.rows.items() if at != clip})


def moved(board: Storyboard, clip: int, to: int) -> Storyboard:
    """With the row of `clip` in another place."""
    return inserted(removed(board, clip), to, board.row(clip))


def _with(board: Storyboard, rows: Mapping[int, Row]) -> Storyboard:
    return replace(board, rows={at: one for at, one in sorted(rows.items()) if one != Row()})


def same_clips(had: Sequence[str], now: Sequence[str], clips: int) -> int:
    """How many of `clips` clips, from the first one on, have the same key; a missing one is ""."""
    pairs = zip_longest(had[:clips], now[:clips], fillvalue="")
    return next((at for at, (one, other) in enumerate(pairs) if one != other), clips)
