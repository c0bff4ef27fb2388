"""Takes side by side in one video, large enough to be looked at, with their names, clips and prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from .. import chain
from ..drift.metrics import Pictures
from .takes import Take, pictures
from .world import FPS, HEIGHT, WIDTH

SCALE, GAP, HEAD, FOOT = 5, 16, 48, 44  #: pixels in the video for one of a take; and around the takes
PAPER, INK, FAINT = "#ffffff", "#222222", "#666666"
COLUMNS = 2


def write(path: Path, takes: Sequence[Take]) -> None:
    with imageio.get_writer(path, fps=FPS, codec="libx264", macro_block_size=4, ffmpeg_log_level="error",
                            ffmpeg_params=["-crf", "16", "-preset", "veryfast"]) as writer:
        for frame in frames(takes):
            writer.append_data(frame)


def frames(takes: Sequence[Take]) -> Iterator[Pictures]:
    """As many as the shortest of the takes has."""
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
    """The clip, counted from 0, that each frame of a take's video is of."""
    variant, clips = take.variant, len(take.clips)
    spans = (chain.kept(clip, clips, variant.overlap, variant.keep_new) for clip in range(clips))
    return [clip for clip, span in enumerate(spans) for _ in range(span.start, span.stop)]


def _enlarged(picture: Pictures) -> Image.Image:
    return Image.fromarray(picture).resize((SCALE * WIDTH, SCALE * HEIGHT), Image.Resampling.BICUBIC)


def _places(takes: int) -> list[tuple[int, int]]:
    """The upper left corners of the takes."""
    return [(GAP + at % COLUMNS * (SCALE * WIDTH + GAP), HEAD + at // COLUMNS * (SCALE * HEIGHT + HEAD))
            for at in range(takes)]


@lru_cache(maxsize=1)
def _page(names: tuple[str, ...], clips: tuple[str, ...], prompt: str) -> Image.Image:
    """All but the takes themselves."""
    places = _places(len(names))
    right, bottom = (max(corner) for corner in zip(*places, strict=True))
    width, height = right + SCALE * WIDTH + GAP, bottom + SCALE * HEIGHT + FOOT
    page = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(page)
    for (x, y), name, clip in zip(places, names, clips, strict=True):
        draw.text((x, y - 10), name, INK, _font(24, "bold"), anchor="ls")
        draw.text((x + SCALE * WIDTH, y - 10), clip, FAINT, _font(20), anchor="rs")
    draw.text((GAP, height - FOOT / 2), _fitting(prompt, width - 2 * GAP), FAINT, _font(20), anchor="lm")
    return page


def _fitting(text: str, width: int) -> str:
    font, line = _font(20), " ".join(text.split())
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…"


@cache
def _font(size: int, weight: str = "normal") -> ImageFont.FreeTypeFont:
    # matplotlib's own, the same on every machine
    named = font_manager.FontProperties(family="DejaVu Sans", weight=weight)
    return ImageFont.truetype(font_manager.findfont(named), size)
