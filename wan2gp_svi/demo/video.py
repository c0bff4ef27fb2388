"""Writes takes as videos: side by side with names, drift, prompt and time, and each by itself."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path

import av
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from .. import chain
from ..drift.metrics import Pictures
from .picture import COLOURS
from .takes import NOTICED, Drift, Take, pictures
from .world import FPS, HEIGHT, WIDTH

SCALE, GAP, HEAD, FOOT = 5, 16, 48, 44  #: pixels for one of a take; around the takes
BAR = 52  #: pixels under a take, for how far it drifts
PAPER, INK, FAINT, TRACK = "#ffffff", "#222222", "#666666", "#e4e4e4"
LETTER = 12  #: pixels of a letter of the prompt
COLUMNS = 2


def write(path: Path, frames: Iterable[Pictures]) -> None:
    with av.open(str(path), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=FPS, options={"crf": "16", "preset": "veryfast"})
        for at, pixels in enumerate(frames):
            if at == 0:
                stream.height, stream.width = pixels.shape[:2]
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode())


def alone(take: Take) -> Iterator[Pictures]:
    """The frames of a take, enlarged."""
    return (np.asarray(_enlarged(picture)) for picture in pictures(take.video))


def side_by_side(takes: Sequence[Take], drift: Drift) -> Iterator[Pictures]:
    """The frames of all takes on one page, each over a bar of how far its colours have drifted, up
    to the end of the shortest take."""
    videos = [pictures(take.video) for take in takes]
    numbers = [shown(take) for take in takes]
    names, frames = tuple(take.name for take in takes), min(map(len, videos))
    for at in range(frames):
        clips = tuple(each[at] for each in numbers)
        clock = f"{at // FPS} s of {frames // FPS} s"
        page = _page(names, clips, clock, drift, takes[-1].prompts[clips[-1]]).copy()
        for place, video in zip(places(len(takes)), videos, strict=True):
            page.paste(_enlarged(video[at]), place)
        yield np.asarray(page)


def shown(take: Take) -> list[int]:
    """The clip, counted from 0, that each frame of a take's video belongs to."""
    variant, clips = take.variant, len(take.clips)
    spans = (chain.kept(clip, clips, variant.overlap, variant.keep_new) for clip in range(clips))
    return [clip for clip, span in enumerate(spans) for _ in range(span.start, span.stop)]


def _enlarged(picture: Pictures) -> Image.Image:
    size = SCALE * WIDTH, SCALE * HEIGHT
    return Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)


def places(takes: int) -> list[tuple[int, int]]:
    """The upper left corners of the takes."""
    return [(GAP + at % COLUMNS * (SCALE * WIDTH + GAP),
             HEAD + at // COLUMNS * (SCALE * HEIGHT + BAR + HEAD)) for at in range(takes)]


@lru_cache(maxsize=1)
def _page(names: tuple[str, ...], clips: tuple[int, ...], clock: str, drift: Drift,
          prompt: str) -> Image.Image:
    """Everything but the takes themselves."""
    corners = places(len(names))
    right, bottom = (max(corner) for corner in zip(*corners, strict=True))
    width, height = right + SCALE * WIDTH + GAP, bottom + SCALE * HEIGHT + BAR + FOOT
    page = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(page)
    full = max(2 * NOTICED, *(max(values) for values in drift.values))
    for (x, y), name, clip, values, colour in zip(corners, names, clips, drift.values, COLOURS,
                                                  strict=False):
        draw.text((x, y - 10), name, colour, _font(24, "bold"), anchor="ls")
        _bar(draw, x, y + SCALE * HEIGHT, values[clip], full, colour)
    letters = (width - 4 * GAP) // LETTER - len(clock)
    line = textwrap.shorten(f"“{prompt}”", letters, placeholder=" …")
    draw.text((GAP, height - FOOT / 2), line, FAINT, _font(20), anchor="lm")
    draw.text((width - GAP, height - FOOT / 2), clock, FAINT, _font(20), anchor="rm")
    return page


def _bar(draw: ImageDraw.ImageDraw, x: int, y: int, off: float, full: float, colour: str) -> None:
    """Under a take: how far its colours are off, of the most that any take's are."""
    top, bottom, left, right = y + 14, y + 30, x, x + SCALE * WIDTH - 200
    draw.rectangle((left, top, right, bottom), TRACK)
    draw.rectangle((left, top, left + off / full * (right - left), bottom), colour)
    noticed = left + NOTICED / full * (right - left)
    draw.line((noticed, top - 4, noticed, bottom + 4), INK, 2)
    draw.text((noticed, bottom + 6), "just noticeable", FAINT, _font(14), anchor="mt")
    draw.text((x + SCALE * WIDTH, y + 22), f"colours off by {off:.1f}", INK, _font(20), anchor="rm")


@cache
def _font(size: int, weight: str = "normal") -> ImageFont.FreeTypeFont:
    # matplotlib's own, the same on every machine
    named = font_manager.FontProperties(family="DejaVu Sans", weight=weight)
    return ImageFont.truetype(font_manager.findfont(named), size)
