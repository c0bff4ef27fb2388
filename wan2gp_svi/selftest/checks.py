"""The checks: what the session saw against what the authors' scripts do. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .facts import ClipFacts, Facts, VideoFacts
from .plan import FRAMES, SEED, SEED_STEP, VIDEOS, Video

_HALF_STEP = 0.5  # of 8 bit: without room for 32 bit, the VAE gets pixels in 16 bit
_SHARE = 0.01  # of the largest latent, because a transformer may get 16 bit
_ON_A_GPU = 2.0  # of 255, in the frame that differs most: a GPU may add in another order each time
_VISIBLE = 0.5  # of 255: a LoRA that changes less was not loaded
_MOST = 3  # problems that one check shows

Problems = Iterator[str]  #: without a full stop


@dataclass(frozen=True)
class Result:
    """Of a check: what was seen, or else what is wrong."""

    id: str
    title: str
    passed: bool
    seen: str


# ------------------------------------------------------------------------------- problems of a clip

def _over(value: float | None, limit: float) -> bool:
    return value is None or value > limit


def _off(value: float | None) -> str:
    return "nothing was seen" if value is None else f"{value:.0f} of 255 off"


def _conditioned(video: Video, clip: ClipFacts) -> Problems:
    chain = video.chain
    if _over(clip.motion, _HALF_STEP):
        yield (f"the motion frames are not the last {chain.motion_frames} of the previous clip "
               if clip.number else "it does not begin with the reference "
               ) + f"({_off(clip.motion)})"
    if _over(clip.padding, _HALF_STEP):
        yield (f"what follows the motion frames is not {'grey' if chain.grey else 'the reference'} "
               f"({_off(clip.padding)})")
    if _over(clip.latents, _SHARE):
        yield "the transformer did not get what the VAE encoded"


def _pro(video: Video, clip: ClipFacts) -> Problems:
    if _over(clip.motion, _HALF_STEP) or _over(clip.anchor, _SHARE):
        yield "it does not begin with the latent of the reference"
    if clip.number and _over(clip.handed, _SHARE):
        yield "its second latent is not the last of the previous clip"
    if _over(clip.rest, _SHARE):
        yield "the latents after those are not zero"


def _experts(video: Video, clip: ClipFacts) -> Problems:
    if clip.experts != [1, 2]:
        yield f"its steps ran on the experts {clip.experts}, not on each in turn"


def _clip_image(video: Video, clip: ClipFacts) -> Problems:
    if clip.shown is None:
        yield "CLIP saw nothing"
    elif clip.shown:
        yield f"CLIP saw motion frame {clip.shown + 1}, not the first"


def _mask(video: Video, clip: ClipFacts) -> Problems:
    if clip.kept != [0, 1, 2, 3]:
        kept = f"frames 0 to {max(0, clip.kept[-1] - 3)}" if clip.kept else "no frame"
        yield f"the mask keeps {kept}, not frame 0 alone"


def _encodes(video: Video, clip: ClipFacts) -> Problems:
    if clip.encodes != 1:
        yield f"the VAE encoded {clip.encodes} times"


def _noise(video: Video, clip: ClipFacts) -> Problems:
    wanted = SEED + SEED_STEP * clip.number
    if clip.seed != wanted:
        found = "no seed near it" if clip.seed is None else f"seed {clip.seed}"
        yield f"it has the noise of {found}, not of {wanted}"


def _prompt(video: Video, clip: ClipFacts) -> Problems:
    if clip.prompt != (wanted := video.prompts[clip.number]):
        yield f'it has the prompt "{clip.prompt}", not "{wanted}"'


def _clip_length(video: Video, clip: ClipFacts) -> Problems:
    if clip.frames != FRAMES:
        yield f"it has {clip.frames} frames, not {FRAMES}"


# ------------------------------------------------------------------------------ problems of a video

def _opens(video: Video, facts: VideoFacts) -> Problems:
    if not facts.frames:
        yield "its file cannot be opened"


def _length(video: Video, facts: VideoFacts) -> Problems:
    if facts.frames != video.frames:
        yield f"its file has {facts.frames} frames, not {video.frames}"


def _joined(video: Video, facts: VideoFacts) -> Problems:
    yield from _length(video, facts)
    if facts.misplaced is None:
        yield "it cannot be compared with its clips"
    elif facts.misplaced:
        yield (f"{len(facts.misplaced)} frames are not where they belong, the first is "
               f"{facts.misplaced[0]}")


def _named_seeds(video: Video, facts: VideoFacts) -> Problems:
    wanted = [SEED + SEED_STEP * clip for clip in range(video.clips)]
    if facts.seeds != wanted:
        yield f"its settings name the seeds {facts.seeds}, not {wanted}"


def _same(video: Video, facts: VideoFacts) -> Problems:
    if video.like and _over(facts.difference, 0 if facts.exact else _ON_A_GPU):
        how = ("another number" if facts.difference is None else
               f"one is {facts.difference:.1f} of 255 off")
        yield f"its frames are not those of \"{VIDEOS[video.like].title}\" ({how})"


def _lora(video: Video, facts: VideoFacts) -> Problems:
    if video.id != "lora-none":
        yield from _same(video, facts)
    elif facts.difference is None or facts.difference < _VISIBLE:
        yield "its frames are those with a LoRA"


def _gallery(video: Video, facts: VideoFacts) -> Problems:
    yield from _opens(video, facts)
    if facts.listed != 1:
        yield f"it is in the gallery {facts.listed} times, not once"
    if facts.files > 1:
        yield f"it left {facts.files} new videos, not one"


# --------------------------------------------------------------------------------------- the checks

@dataclass(frozen=True)
class Check:
    """`of_clips` look at each clip of `videos`, `of_videos` at each video; if they find nothing,
    `seen` is shown."""

    id: str
    title: str
    seen: str
    videos: tuple[str, ...]
    of_clips: tuple[Callable[[Video, ClipFacts], Problems], ...] = ()
    of_videos: tuple[Callable[[Video, VideoFacts], Problems], ...] = ()


_WAN21, _WAN22 = ("shot", "film", "two"), ("wan22", "pro")
_ALL = (*_WAN21, *_WAN22)
CHECKS = (
    Check("profile", "A profile makes a video", f"{VIDEOS['shot'].profile}: 2 clips, 161 frames",
          ("shot",), (), (_opens,)),
    Check("chain-1", "One motion frame (Shot)", "1 motion frame, then the reference, to the pixel",
          ("shot",), (_conditioned,)),
    Check("chain-5", "Five motion frames (2.0)",
          "5 motion frames, then the reference, to the pixel", ("two",), (_conditioned,)),
    Check("chain-grey", "Five motion frames and grey (Film)",
          "5 motion frames, then grey, to the pixel", ("film",), (_conditioned,)),
    Check("chain-wan22", "One motion frame (2.0 for Wan 2.2)",
          "1 motion frame, then the reference, to the pixel", ("wan22",), (_conditioned,)),
    Check("pro", "Latents are chained (2.0 Pro)",
          "reference, last latent of the previous clip, zeros", ("pro",), (_pro,)),
    Check("experts", "Both experts of Wan 2.2", "high noise, then low noise", _WAN22, (_experts,)),
    Check("clip-image", "What CLIP sees", "CLIP sees the first motion frame", _WAN21,
          (_clip_image,)),
    Check("mask", "What the mask keeps", "the mask keeps frame 0 alone", _ALL, (_mask,)),
    Check("encode", "One encode for each clip", "the VAE encodes once for each clip", _ALL,
          (_encodes,)),
    Check("seeds", "A seed for each clip", f"seed {SEED} in clip 1, {SEED + SEED_STEP} in clip 2",
          _ALL, (_noise,), (_named_seeds,)),
    Check("prompts", "A prompt for each clip", "each clip has its own paragraph",
          ("film", "two", "resumed"), (_prompt,)),
    Check("length", "Lengths", f"clips of {FRAMES} frames; two make 157 or 161",
          _ALL, (_clip_length,), (_length,)),
    Check("seam-new", "Seams, the new clip whole", "the old clip loses its last 1 or 5 frames",
          _WAN21, (), (_joined,)),
    Check("seam-old", "Seams, the old clip whole", "the new clip loses its first 1 or 5 frames",
          _WAN22, (), (_joined,)),
    Check("resume", "Stop and resume",
          "stopped after clip 1 and resumed: the same frames as without a stop",
          ("stopped", "resumed"), (_conditioned,), (_length, _same)),
    Check("continue", "Continue a video", "its run's own frames and reference; 233 frames",
          ("continued",), (_conditioned, _clip_image, _mask, _encodes), (_joined,)),
    Check("process", "A video's own settings", "the settings in a video make the same frames again",
          ("again",), (), (_same,)),
    Check("lora", "LoRA keys in every spelling",
          "the authors' keys and plain ones: the same frames",
          ("lora-authors", "lora-plain", "lora-none"), (), (_lora,)),
    Check("gallery", "WanGP's gallery", "each video once, and it opens",
          ("shot", "two", "stopped", "resumed"), (), (_gallery,)),
    Check("off", "SVI off", "the same frames as WanGP without SVI", ("off", "without"), (),
          (_same,)),
)


def result(check: Check, facts: Facts) -> Result:
    problems = list(_problems(check, facts))
    if not problems:
        return Result(check.id, check.title, True, check.seen)
    more = f" and {len(problems) - _MOST} more" if len(problems) > _MOST else ""
    return Result(check.id, check.title, False, "; ".join(problems[:_MOST]) + more)


def _problems(check: Check, facts: Facts) -> Problems:
    videos = [VIDEOS[id] for id in check.videos]
    missing: dict[str, list[str]] = {}
    for video in videos:
        if error := _error(video, facts):
            missing.setdefault(error, []).append(video.title)
    if missing:
        yield from (f"{', '.join(titles)}: {error}" for error, titles in missing.items())
        return
    for video in videos:
        found = facts.videos[video.id]
        yield from (f"{video.title}, clip {clip.number + 1}: {problem}" for clip in found.clips
                    for look in check.of_clips for problem in look(video, clip))
        yield from (f"{video.title}: {problem}" for look in check.of_videos
                    for problem in look(video, found))


def _error(video: Video, facts: Facts) -> str:
    """Why a video has not all of its clips, or ""."""
    found = facts.videos.get(video.id)
    if found and not found.error:
        made = len(found.clips)
        return "" if made == video.made else f"{made} clips were made, not {video.made}"
    error = found.error if found else f"WanGP ended before it: {facts.error}" if facts.error else ""
    return " ".join(error.split()).rstrip(".") or "it was not made"
