"""Writes takes as videos: side by side with names, clips and prompt, and each by itself."""

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
from .takes import Take, pictures
from .world import FPS, HEIGHT, WIDTH

SCALE, GAP, HEAD, FOOT = 5, 16, 48, 44  #: pixels for one of a take; around the takes
PAPER, INK, FAINT = "#ffffff", "#222222", "#666666"
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


def side_by_side(takes: Sequence[Take]) -> Iterator[Pictures]:
    """The frames of all takes on one page, up to the end of the shortest take."""
    videos = [pictures(take.video) for take in takes]
    numbers = [shown(take) for take in takes]
    names, count = tuple(take.name for take in takes), len(takes[0].clips)
    for at in range(min(map(len, videos))):
        page = _page(names, tuple(f"clip {each[at] + 1} of {count}" for each in numbers),
                     takes[-1].prompts[numbers[-1][at]]).copy()
        for place, video in zip(_places(len(takes)), videos, strict=True):
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


def _places(takes: int) -> list[tuple[int, int]]:
    """The upper left corners of the takes."""
    return [(GAP + at % COLUMNS * (SCALE * WIDTH + GAP),
             HEAD + at // COLUMNS * (SCALE * HEIGHT + HEAD)) for at in range(takes)]


@lru_cache(maxsize=1)
def _page(names: tuple[str, ...], clips: tuple[str, ...], prompt: str) -> Image.Image:
    """Everything but the takes themselves."""
    places = _places(len(names))
    right, bottom = (max(corner) for corner in zip(*places, strict=True))
    width, height = right + SCALE * WIDTH + GAP, bottom + SCALE * HEIGHT + FOOT
    page = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(page)
    for (x, y), name, clip in zip(places, names, clips, strict=True):
        draw.text((x, y - 10), name, INK, _font(24, "bold"), anchor="ls")
        draw.text((x + SCALE * WIDTH, y - 10), clip, FAINT, _font(20), anchor="rs")
    line = textwrap.shorten(prompt, (width - 2 * GAP) // LETTER, placeholder=" …")
    draw.text((GAP, height - FOOT / 2), line, FAINT, _font(20), anchor="lm")
    return page


@cache
def _font(size: int, weight: str = "normal") -> ImageFont.FreeTypeFont:
    # matplotlib's own, the same on every machine
    named = font_manager.FontProperties(family="DejaVu Sans", weight=weight)
    return ImageFont.truetype(font_manager.findfont(named), size)
