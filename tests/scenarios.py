"""Scenarios of SVI in WanGP's window loop: what a user asks for, and what should happen.

test_scenarios.py plays them with the stand-in for the loop (loop.py),
wangp/test_scenarios_in_wangp.py with the real WanGP. Both are watched and checked by the code here,
so a test fails if the stand-in behaves differently from WanGP.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
import videos

from wan2gp_svi import chain
from wan2gp_svi.drift.layout import provenance
from wan2gp_svi.runs.state import State
from wan2gp_svi.runs.store import FOLDER, STOP, Store
from wan2gp_svi.variants import CLIP_FRAMES, VARIANTS, Variant
from wan2gp_svi.wangp import hooks, resuming
from wan2gp_svi.wangp.pipeline import current_clip

ONE, TWO, OTHER = ("a boat",), ("a boat", "a boat in a storm"), "a boat at night"
OUT_OF_MEMORY = "CUDA out of memory"


@dataclass(frozen=True)
class Press:
    """One press of Generate, and what should come of it. Presses and clips count from 1.

    clips   clips asked for
    made    clips for which the model is called; the others are already on disk
    shows   clips in the video afterwards
    how     "generate" with the scenario's settings; or take the run of the press before, and
            "extend" it to `clips`, "redo" its last clip with another prompt, or "continue" its
            video
    event   what happens while clip k is made: ("stop", k) the user stops the run, ("fail", k) the
            model runs out of memory, ("more", k) the user asks for another window
    ended   how the run ends
    runs    runs on disk afterwards
    same    number of a press whose video has exactly the same frames, or 0
    """

    clips: int
    made: tuple[int, ...]
    shows: int
    how: str = "generate"
    event: tuple[str, int] = ("", 0)
    ended: str = State.FINISHED
    runs: int = 1
    same: int = 0

    @property
    def fails(self) -> bool:
        return self.event[0] == "fail"

    @property
    def total(self) -> int:
        """Clips planned by the last window."""
        return self.clips + (self.event[0] == "more")

    @property
    def windows(self) -> int:
        """Windows that WanGP's loop begins; a stopped run ends in the one after its last clip."""
        return self.event[1] if self.fails else min(self.total, self.shows + 1)


@dataclass(frozen=True)
class Scenario:
    name: str
    id: str
    prompts: tuple[str, ...]
    presses: tuple[Press, ...]

    @property
    def variant(self) -> Variant:
        return VARIANTS[self.id]

    @property
    def seed(self) -> int:
        """Tells its runs from those of other scenarios in the same folder."""
        return zlib.crc32(self.name.encode()) % 10**6

    def prompt(self, press: Press, clip: int) -> str:
        if press.how == "redo" and clip == press.clips:
            return OTHER
        return chain.stream(self.prompts, press.total, self.variant.prompt_repeat)[clip - 1]


SCENARIOS = (
    Scenario("one clip", "shot", ONE, (Press(1, (1,), 1),)),
    Scenario("several clips", "shot", TWO, (Press(3, (1, 2, 3), 3),)),
    Scenario("clips that share five frames", "film-opt", TWO, (Press(3, (1, 2, 3), 3),)),
    Scenario("a prompt for two clips each", "2.0", TWO, (Press(4, (1, 2, 3, 4), 4),)),
    Scenario("the old clip's frame at a seam", "2.0-wan22", TWO, (Press(2, (1, 2), 2),)),
    Scenario("clips that hand on latents", "2.0-pro", TWO, (Press(3, (1, 2, 3), 3),)),
    Scenario("stop after a clip, and resume", "film-opt", TWO, (
        Press(3, (1, 2), 2, event=("stop", 2), ended=State.STOPPED),
        Press(3, (3,), 3),
        Press(3, (1, 2, 3), 3, runs=2, same=2))),
    Scenario("fail in a clip, and resume", "shot", TWO, (
        Press(3, (1, 2), 1, event=("fail", 2), ended=f"OutOfMemoryError: {OUT_OF_MEMORY}"),
        Press(3, (2, 3), 3),
        Press(3, (1, 2, 3), 3, runs=2, same=2))),
    Scenario("fail in a clip of latents, and resume", "2.0-pro", TWO, (
        Press(2, (1, 2), 1, event=("fail", 2), ended=f"OutOfMemoryError: {OUT_OF_MEMORY}"),
        Press(2, (2,), 2),
        Press(2, (1, 2), 2, runs=2, same=2))),
    Scenario("another window in the last clip", "film-opt", ONE, (
        Press(2, (1, 2, 3), 3, event=("more", 2)),
        Press(3, (1, 2, 3), 3, runs=2, same=1))),
    Scenario("extend a finished run", "film-opt", ONE, (
        Press(2, (1, 2), 2),
        Press(3, (3,), 3, how="extend"),
        Press(3, (1, 2, 3), 3, runs=2, same=2))),
    Scenario("redo the last clip", "2.0", ONE, (
        Press(2, (1, 2), 2),
        Press(2, (2,), 2, how="redo", runs=2))),
    Scenario("continue a video", "film-opt", ONE, (
        Press(1, (1,), 1),
        Press(2, (1, 2), 2, how="continue", runs=2))),
    Scenario("continue a video by its latents", "2.0-pro", ONE, (
        Press(1, (1,), 1),
        Press(1, (1,), 1, how="continue", runs=2))),
)


# ------------------------------------------------------------------------------------------ playing


class Host(Protocol):
    """WanGP or its stand-in."""

    outputs: Path  # WanGP's folder for videos

    def settings(self, id: str, clips: int, prompt: str, seed: int) -> dict[str, Any]:
        """WanGP's settings, as its form gives them."""

    def generate(self, settings: dict[str, Any]) -> bool:
        """Presses Generate -> whether WanGP reports success."""


@dataclass
class Window:
    """A window of the loop.

    source   frames of the image or video that the user gave, and how many the first window shares
    latents  start of the slice of latents that the loop asks `generate` for
    made     the model is called
    kept     frames that a new clip adds to the video
    seeds    seeds in the video's settings, once the window is saved
    """

    number: int
    of: int
    frames: int
    shares: int
    source: tuple[int, int]
    latents: int | None
    prompt: str
    seed: int
    made: bool = False
    kept: int = 0
    seeds: list[int] = field(default_factory=list)


def play(scenario: Scenario, host: Host) -> list[dict[str, Any]]:
    """Plays a scenario -> what came of each press, as values that JSON can hold."""
    store, seen, video = Store(host.outputs / FOLDER), [], ""
    for press in scenario.presses:
        windows: list[Window] = []
        with watched(windows, press.event):
            success = host.generate(_settings(scenario, press, host, store))
        before = _frames(video) if press.how != "generate" else []
        seeds = {chain.seed(scenario.seed, clip) for clip in range(2)}  # the second continues one
        runs = [run for run in store.runs() if run.about.seed in seeds]
        about, done = runs[0].about, runs[0].done()
        seen.append({
            "success": success, "windows": [asdict(window) for window in windows],
            "frames": _frames(about.video), "before": before, "runs": len(runs),
            "variant": about.variant, "ended": about.ended, "clips": about.clips,
            "done": [[clip.prompt, clip.seed] for clip in done]})
        video = about.video
    return seen


def _frames(video: str) -> list[str]:
    """A hash of each frame of a video."""
    return [shown for *_, shown in videos.listed(Path(video))]


def _settings(scenario: Scenario, press: Press, host: Host, store: Store) -> dict[str, Any]:
    if press.how == "extend":
        run = next(store.runs())
        return resuming.extended(run, press.clips - len(run.done()))
    if press.how == "redo":
        return resuming.redone(next(store.runs()), press.clips, OTHER)
    settings = host.settings(scenario.id, press.clips, "\n\n".join(scenario.prompts), scenario.seed)
    if press.how == "continue":
        settings |= {"image_prompt_type": "V", "image_start": None,
                     "video_source": next(store.runs()).about.video}
    return settings


@contextmanager
def watched(windows: list[Window], event: tuple[str, int]) -> Iterator[None]:
    """Adds every window that passes the hooks to `windows`, and lets the event happen."""
    real = dict(hooks.HOOKS)

    def before_generate(asked: tuple[str, Any], pipe: Any, scope: Any) -> Any:
        prompt, latents = given = real["before_generate"](asked, pipe, scope)
        number, clip = scope["window_no"], current_clip(pipe)
        windows.append(Window(
            number, scope["total_windows"], scope["current_video_length"], scope["reuse_frames"],
            (scope["source_video_frames_count"], scope["source_video_overlap_frames_count"]),
            latents and latents.start, prompt, clip.seed))
        if event == ("stop", number):
            (clip.video.recording.run.folder / STOP).touch()
        if event == ("more", number):
            scope["gen"]["extra_windows"] = 1
        return given

    def seed(value: int, pipe: Any) -> int:
        windows[-1].made = True
        if event == ("fail", windows[-1].number):
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return real["seed"](value, pipe)

    def after_join(joined: Any, pipe: Any, scope: Any) -> Any:
        result = real["after_join"](joined, pipe, scope)
        if windows[-1].made:
            windows[-1].kept = result[0].shape[1]
        return result

    def after_save(written: Any, pipe: Any) -> Any:
        result = real["after_save"](written, pipe)
        windows[-1].seeds = provenance(result[0])["seeds"]
        return result

    hooks.HOOKS.update(before_generate=before_generate, seed=seed, after_join=after_join,
                       after_save=after_save)
    try:
        yield
    finally:
        hooks.HOOKS.update(real)


# ----------------------------------------------------------------------------------------- checking


def check(scenario: Scenario, seen: list[dict[str, Any]]) -> None:
    """Compares what came of each press with what should."""
    for number, (press, found) in enumerate(zip(scenario.presses, seen, strict=True)):
        before = seen[number - 1]["frames"] if number else []
        source = len(before) if press.how == "continue" else 1
        assert found["success"] != press.fails
        assert [_window(one) for one in found["windows"]] == _windows(scenario, press, source)
        assert (found["variant"], found["ended"]) == (scenario.id, press.ended)
        assert (found["runs"], found["clips"]) == (press.runs, press.total)
        assert found["done"] == [[scenario.prompt(press, clip), _seed(scenario, press, clip)]
                                 for clip in range(1, press.shows + 1)]
        frames = found["frames"]
        assert len(frames) == sum(_kept(scenario, press, clip, source)
                                  for clip in range(1, press.shows + 1))
        if press.same:
            assert frames == seen[press.same - 1]["frames"]
        if press.how != "generate":
            assert found["before"] == before, "the old video stays"
        if press.how == "redo":
            taken_over = sum(_kept(scenario, press, clip, 1) for clip in range(1, press.clips))
            assert frames[:taken_over] == before[:taken_over]
            assert not {*frames[taken_over:]} & {*before[taken_over:]}


def _window(values: dict[str, Any]) -> Window:
    return Window(**{**values, "source": tuple(values["source"])})


def _windows(scenario: Scenario, press: Press, source: int) -> list[Window]:
    variant, expected = scenario.variant, []
    for number in range(1, press.windows + 1):
        asked_more = press.event[0] == "more" and number > press.event[1]
        shares = variant.overlap if number > 1 else 0
        window = Window(
            number, press.clips + asked_more, CLIP_FRAMES, shares, (source, 1),
            -variant.motion_latents if variant.pro else -max(1, shares // 4) if shares else None,
            scenario.prompt(press, number), _seed(scenario, press, number),
            made=number in press.made)
        if number <= press.shows:
            window.kept = _kept(scenario, press, number, source) if window.made else 0
            window.seeds = [_seed(scenario, press, clip) for clip in range(1, number + 1)]
        expected.append(window)
    return expected


def _seed(scenario: Scenario, press: Press, clip: int) -> int:
    """No clip has the seed of the video's one clip that it continues."""
    return chain.seed(scenario.seed, clip - (press.how != "continue"))


def _kept(scenario: Scenario, press: Press, clip: int, source: int) -> int:
    """Frames that a clip adds to the video. In a run that fails, the last clip has already given
    its last frames up. The first clip comes with the `source` frames of a continued video."""
    variant, chained = scenario.variant, press.total if press.fails else press.shows
    kept = range(CLIP_FRAMES)[chain.kept(clip - 1, chained, variant.overlap, variant.keep_new)]
    return len(kept) + (source - variant.overlap if clip == 1 and source > 1 else 0)
