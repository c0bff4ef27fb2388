"""What the session saw, as numbers that go from WanGP to the checks. Standard library only.

Pixels differ in steps of 8 bit (0 to 255), latents by a share of the largest. None means that there
was nothing to compare.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import files


@dataclass
class ClipFacts:
    """One clip, as WanGP's transformer got it."""

    number: int  # from 0, in its video
    prompt: str = ""
    frames: int = 0  # that the pipeline returned
    encodes: int = 0  # of the VAE
    experts: list[int] = field(default_factory=list)  # of each step, 1 (high noise) or 2
    seed: int | None = None  # of its noise, if it is near the right one
    kept: list[int] = field(default_factory=list)  # rows of the mask, of 84: frame 0 has four
    shown: int | None = None  # the motion frame that CLIP saw, from 0
    #: how far the opening of the conditioning video is from the last frames of the previous clip
    #: (in clip 1: from the reference), and the rest of it from what it should be
    motion: float | None = None
    padding: float | None = None
    latents: float | None = None  # that the transformer got, from those that the VAE made
    #: with Pro: the reference's latent, the last one of the previous clip, and the zeros
    anchor: float | None = None
    handed: float | None = None
    rest: float | None = None


@dataclass
class VideoFacts:
    """One generation."""

    clips: list[ClipFacts] = field(default_factory=list)
    error: str = ""
    frames: int = 0  # in its file; 0 if that does not open
    misplaced: list[int] | None = None  # frames that belong elsewhere in the file
    difference: float | None = None  # from another video: the mean of the frame that differs most
    exact: bool = True  # there should be none, as on a CPU
    listed: int = 0  # times in the gallery
    files: int = 0  # new videos
    seeds: list[int] = field(default_factory=list)  # that its settings name


@dataclass
class Facts:
    wangp: str = ""
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    videos: dict[str, VideoFacts] = field(default_factory=dict)
    error: str = ""

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def read(path: Path) -> Facts | None:
    """None if the session did not write them."""
    found = files.read_json(path)
    if found is None:
        return None
    for video in found["videos"].values():
        video["clips"] = [ClipFacts(**clip) for clip in video["clips"]]
    found["videos"] = {id: VideoFacts(**video) for id, video in found["videos"].items()}
    return Facts(**found)
