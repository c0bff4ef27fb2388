"""What the session saw, as numbers: it goes from WanGP's process to the checks as JSON. Standard library only.

Differences of pixels are in steps of 8 bit (0 to 255); None where there is nothing to compare.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class ClipFacts:
    """One clip, at the input of WanGP's transformer.

    `seed`      the seed whose noise it was given; None: of none that is near
    `encodes`   how often the VAE encoded
    `motion`    the opening of the conditioning video against the last frames of the clip before (the first clip: the
                reference); `padding`: the rest of it against what it has to be. The largest difference
    `latents`   what the transformer was given against what the VAE made of it
    `kept`      frames that the mask keeps, of 84 (the first frame counts four times)
    `shown`     which motion frame CLIP was shown, from 0; None: CLIP was not asked
    `experts`   the expert of each step, 1 (high noise) or 2
    `anchor`, `handed`, `rest`: SVI 2.0 Pro alone: the reference's latent, the last latent of the clip before, zeros
    """

    number: int
    prompt: str = ""
    frames: int = 0
    seed: int | None = None
    encodes: int = 0
    motion: float | None = None
    padding: float | None = None
    latents: float | None = None
    kept: list[int] = field(default_factory=list)
    shown: int | None = None
    experts: list[int] = field(default_factory=list)
    anchor: float | None = None
    handed: float | None = None
    rest: float | None = None


@dataclass
class VideoFacts:
    """One generation. `frames` are those in the file; `misplaced` those of them that are not where they have to be when
    the clips are joined (if `compared`). `listed`: how often WanGP's gallery has the video; `files`: how many videos
    the generation has left."""

    id: str
    clips: list[ClipFacts] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0
    frames: int = 0
    compared: bool = False
    misplaced: list[int] = field(default_factory=list)
    listed: int = 0
    opens: bool = False
    files: int = 0
    seeds: list[int] = field(default_factory=list)


@dataclass
class Facts:
    """`differences`: how far a video is from the one that it has to equal, by its id: the mean of the frame that
    differs most; None where the lengths differ. `exact`: frames are to be equal bit for bit (on a CPU)."""

    wangp: str = ""
    svi: str = ""
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    exact: bool = True
    videos: dict[str, VideoFacts] = field(default_factory=dict)
    differences: dict[str, float | None] = field(default_factory=dict)
    error: str = ""

    def text(self) -> str:
        return json.dumps(asdict(self), indent=1)


def read(text: str) -> Facts:
    facts = Facts(**json.loads(text))
    facts.videos = {id: VideoFacts(**{**video, "clips": [ClipFacts(**clip) for clip in video["clips"]]})
                    for id, video in facts.videos.items()}
    return facts
