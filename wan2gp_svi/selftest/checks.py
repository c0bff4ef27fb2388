"""What the session saw -> what is as it has to be, and what is not. Pure; standard library only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .facts import ClipFacts, Facts, VideoFacts
from .plan import FRAMES, SEED, SEED_STEP, VIDEOS, Chain

_HALF_STEP = 0.5  # of 8 bit: a VAE that has no room for 32 bit is given pixels in 16
_SHARE = 0.01  # of the largest latent, for transformers that are given 16 bit
_ON_A_GPU = 2.0  # of 255, in the frame that differs most: a GPU need not add up in the same order twice
_VISIBLE = 0.5  # of 255: a LoRA that changes less has not been loaded
_MOST = 3  # problems that are shown of one check

_IF_IT_FAILS = "Run install.py again. If it still fails, send the text below with a bug report."
_IF_IT_ENDS = ("Start WanGP and make a video without SVI. If that works, run install.py again, and send the text below "
               "with a bug report if it still fails.")

Problems = list[str]


@dataclass(frozen=True)
class Check:
    """`videos` are what it looks at. `look` returns what is wrong, sentences without a full stop, and what was seen."""

    id: str
    title: str
    videos: tuple[str, ...]
    look: Callable[[Facts], tuple[Problems, str]]


@dataclass(frozen=True)
class Result:
    id: str
    title: str
    passed: bool
    seen: str
    to_do: str = ""


def results(facts: Facts, chosen: Sequence[str] = ()) -> list[Result]:
    """The result of every check, or of those that are chosen."""
    return [_result(check, facts) for check in CHECKS if not chosen or check.id in chosen]


def videos(chosen: Sequence[str] = ()) -> list[str]:
    """What has to be made for these checks; without any for all."""
    return [video for check in CHECKS if not chosen or check.id in chosen for video in check.videos]


def _result(check: Check, facts: Facts) -> Result:
    missing: dict[str, list[str]] = {}
    for id in check.videos:
        video = facts.videos.get(id)
        if video is None or video.error:
            error = video.error if video else f"WanGP ended before it: {facts.error}" if facts.error else "not made"
            missing.setdefault(_without_stop(error), []).append(VIDEOS[id].title)
    if missing:
        problems, seen = [f"{', '.join(titles)}: {error}" for error, titles in missing.items()], ""
    else:
        problems, seen = check.look(facts)
    if not problems:
        return Result(check.id, check.title, True, seen)
    more = f" and {len(problems) - _MOST} more" if len(problems) > _MOST else ""
    return Result(check.id, check.title, False, "; ".join(problems[:_MOST]) + more,
                  _IF_IT_ENDS if facts.error else _IF_IT_FAILS)


def _without_stop(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


# ------------------------------------------------------------------------------------------------------- what is shared

def _clips(facts: Facts, ids: Iterable[str]) -> Iterator[tuple[VideoFacts, Chain, ClipFacts, str]]:
    """Every clip of these videos, with a name for it."""
    for id in ids:
        chain = VIDEOS[id].chain
        for clip in facts.videos[id].clips:
            yield facts.videos[id], chain, clip, f"{VIDEOS[id].title}, clip {clip.number + 1}"


def _counted(facts: Facts, ids: Iterable[str]) -> Problems:
    """Videos that have fewer or more clips than asked for."""
    return [f"{VIDEOS[id].title}: {len(facts.videos[id].clips)} clips were made, not {VIDEOS[id].made}" for id in ids
            if len(facts.videos[id].clips) != VIDEOS[id].made]


def _over(value: float | None, limit: float) -> bool:
    return value is None or value > limit


def _conditioned(*ids: str) -> Callable[[Facts], tuple[Problems, str]]:
    """Motion frames, then what the variant wants, in the video that the VAE encodes for the transformer."""

    def look(facts: Facts) -> tuple[Problems, str]:
        found = _counted(facts, ids)
        for _, chain, clip, name in _clips(facts, ids):
            if _over(clip.motion, _HALF_STEP):
                found.append(f"{name}: the motion frames are not the last {chain.motion_frames} of the clip before "
                             f"({_steps(clip.motion)})" if clip.number or name.startswith(VIDEOS["continued"].title)
                             else f"{name} does not begin with the reference ({_steps(clip.motion)})")
            if _over(clip.padding, _HALF_STEP):
                found.append(f"{name}: what follows the motion frames is not "
                             f"{'grey' if chain.grey else 'the reference'} ({_steps(clip.padding)})")
            if _over(clip.latents, _SHARE):
                found.append(f"{name}: the transformer was not given what the VAE had encoded")
        chain = VIDEOS[ids[0]].chain
        frames = "1 motion frame" if chain.motion_frames == 1 else f"{chain.motion_frames} motion frames"
        return found, f"{frames}, then {'grey' if chain.grey else 'the reference'}, to the pixel"

    return look


def _steps(value: float | None) -> str:
    return "nothing was seen" if value is None else f"{value:.0f} of 255 off"


def _seam(*ids: str) -> Callable[[Facts], tuple[Problems, str]]:
    def look(facts: Facts) -> tuple[Problems, str]:
        found = []
        for id in ids:
            video, chain = facts.videos[id], VIDEOS[id].chain
            wanted = chain.length(VIDEOS[id].clips)
            if not video.compared:
                found.append(f"{VIDEOS[id].title}: there is no video to look at")
            elif video.frames != wanted:
                found.append(f"{VIDEOS[id].title}: {video.frames} frames in the file, not {wanted}")
            elif video.misplaced:
                found.append(f"{VIDEOS[id].title}: {len(video.misplaced)} frames are not where they belong, the first "
                             f"is {video.misplaced[0]}")
        chain = VIDEOS[ids[0]].chain
        how = "the old clip gives its last" if chain.keep_new else "the new clip gives its first"
        overlaps = " or ".join(str(overlap) for overlap in sorted({VIDEOS[id].chain.overlap for id in ids}))
        return found, f"{how} {overlaps} frames, in the file as well"

    return look


# ---------------------------------------------------------------------------------------------------------- each check

def _profile(facts: Facts) -> tuple[Problems, str]:
    video = facts.videos["shot"]
    found = _counted(facts, ["shot"])
    if not video.opens:
        found.append("the video cannot be opened")
    return found, f"\"{VIDEOS['shot'].profile}\": {len(video.clips)} clips, {video.frames} frames"


_ALL_21 = ("shot", "film", "two")
_CHAINED = (*_ALL_21, "wan22", "pro")


def _clip_image(facts: Facts) -> tuple[Problems, str]:
    found = _counted(facts, _ALL_21)
    for _, _, clip, name in _clips(facts, _ALL_21):
        if clip.shown != 0:
            found.append(f"{name}: CLIP was shown "
                         + ("nothing" if clip.shown is None else f"motion frame {clip.shown + 1}, not the first"))
    return found, "CLIP was shown the first motion frame"


def _mask(facts: Facts) -> tuple[Problems, str]:
    found = _counted(facts, _CHAINED)
    for _, _, clip, name in _clips(facts, _CHAINED):
        if clip.kept != [0, 1, 2, 3]:
            frames = sorted({max(0, at - 3) for at in clip.kept})
            kept = f"frames 0 to {frames[-1]}" if frames else "no frame"
            found.append(f"{name}: the mask keeps {kept}, not frame 0 alone")
    return found, "the mask keeps frame 0 alone"


def _pro(facts: Facts) -> tuple[Problems, str]:
    found = _counted(facts, ["pro"])
    for _, _, clip, name in _clips(facts, ["pro"]):
        if _over(clip.motion, _HALF_STEP) or _over(clip.anchor, _SHARE):
            found.append(f"{name} does not begin with the latent of the reference")
        if clip.number and _over(clip.handed, _SHARE):
            found.append(f"{name}: its second latent is not the last of the clip before")
        if _over(clip.rest, _SHARE):
            found.append(f"{name}: the latents after those are not zero")
    return found, "reference, last latent of the clip before, zeros"


def _experts(facts: Facts) -> tuple[Problems, str]:
    ids = ("wan22", "pro")
    found = _counted(facts, ids)
    found += [f"{name}: its steps ran on the experts {clip.experts}, not on both in turn"
              for _, _, clip, name in _clips(facts, ids) if clip.experts != [1, 2]]
    return found, "high noise, then low noise"


def _seeds(facts: Facts) -> tuple[Problems, str]:
    found = _counted(facts, _CHAINED)
    for _, _, clip, name in _clips(facts, _CHAINED):
        wanted = SEED + SEED_STEP * clip.number
        if clip.seed != wanted:
            what = "no seed near it" if clip.seed is None else f"seed {clip.seed}"
            found.append(f"{name} has the noise of {what}, not of {wanted}")
    for id in ("shot", "two", "pro"):
        wanted = [SEED + SEED_STEP * clip for clip in range(VIDEOS[id].clips)]
        if facts.videos[id].seeds != wanted:
            found.append(f"{VIDEOS[id].title}: the video's settings name the seeds {facts.videos[id].seeds}, not "
                         f"{wanted}")
    return found, f"clip 1 has the seed {SEED}, clip 2 {SEED + SEED_STEP}"


def _prompts(facts: Facts) -> tuple[Problems, str]:
    ids = ("film", "two", "resumed")
    found = _counted(facts, ids)
    for _, _, clip, name in _clips(facts, ids):
        wanted = VIDEOS["film"].prompts[clip.number]
        if clip.prompt != wanted:
            found.append(f"{name} has the prompt \"{clip.prompt}\", not \"{wanted}\"")
    return found, "every clip has the paragraph that is its own"


def _encodes(facts: Facts) -> tuple[Problems, str]:
    found = _counted(facts, _CHAINED)
    found += [f"{name}: the VAE encoded {clip.encodes} times" for _, _, clip, name in _clips(facts, _CHAINED)
              if clip.encodes != 1]
    return found, "the VAE encoded once for each clip"


def _lengths(facts: Facts) -> tuple[Problems, str]:
    ids = ("shot", "film", "two", "wan22", "pro")
    found = _counted(facts, ids)
    found += [f"{name} has {clip.frames} frames, not {FRAMES}" for _, _, clip, name in _clips(facts, ids)
              if clip.frames != FRAMES]
    lengths = []
    for id in ids:
        wanted, there = VIDEOS[id].chain.length(VIDEOS[id].clips), facts.videos[id].frames
        lengths.append(there)
        if there != wanted:
            found.append(f"{VIDEOS[id].title} has {there} frames, not {wanted}")
    return found, f"clips of {FRAMES} frames; two make {' or '.join(str(one) for one in sorted(set(lengths)))}"


def _equal(facts: Facts, id: str) -> bool:
    off = facts.differences.get(id)
    return off is not None and off <= (0 if facts.exact else _ON_A_GPU)


def _differs(facts: Facts, id: str) -> str:
    off = facts.differences.get(id)
    return "it has another number of frames" if off is None else f"a frame is {off:.1f} of 255 off"


def _resume(facts: Facts) -> tuple[Problems, str]:
    stopped, resumed = facts.videos["stopped"], facts.videos["resumed"]
    found = []
    if len(stopped.clips) != 1 or stopped.frames != FRAMES:
        found.append(f"asked to stop after clip 1, it made {len(stopped.clips)} clips and left {stopped.frames} frames")
    if [clip.number for clip in resumed.clips] != [1]:
        found.append(f"the same settings made {len(resumed.clips)} clips, not clip 2 alone")
    elif _over(resumed.clips[0].motion, _HALF_STEP):
        found.append(f"clip 2 was not given the motion frames of the clip on the disk "
                     f"({_steps(resumed.clips[0].motion)})")
    if not _equal(facts, "resumed"):
        found.append(f"the video is not what it is in one go: {_differs(facts, 'resumed')}")
    return found, "stopped after clip 1 and resumed: the frames of one go"


def _continue(facts: Facts) -> tuple[Problems, str]:
    found = _conditioned("continued")(facts)[0]
    wanted = VIDEOS["two"].chain.length(3)
    video = facts.videos["continued"]
    if video.frames != wanted:
        found.append(f"{VIDEOS['two'].chain.length(2)} frames and one clip make {video.frames} frames, not {wanted}")
    elif video.misplaced:
        found.append(f"{len(video.misplaced)} frames are not where they belong, the first is {video.misplaced[0]}")
    for clip in video.clips:
        if (clip.shown, clip.kept, clip.encodes) != (0, [0, 1, 2, 3], 1):
            found.append(f"CLIP was shown motion frame {clip.shown}, the mask keeps {clip.kept}, and the VAE encoded "
                         f"{clip.encodes} times; it has to be 0, [0, 1, 2, 3] and 1")
    return found, f"its run's own frames and reference; {video.frames} frames"


def _process(facts: Facts) -> tuple[Problems, str]:
    found = _counted(facts, ["again"])
    if not _equal(facts, "again"):
        found.append(f"its own settings do not make the video again: {_differs(facts, 'again')}")
    return found, "the settings in a video make the same frames again"


def _lora(facts: Facts) -> tuple[Problems, str]:
    found = []
    if not _equal(facts, "lora-plain"):
        found.append(f"the authors' keys do not make the frames of WanGP's: {_differs(facts, 'lora-plain')}")
    off = facts.differences.get("lora-none")
    if off is None or off < _VISIBLE:
        found.append("with a LoRA the frames are those without it")
    return found, "the authors' keys, WanGP's and plain ones: the same frames"


def _gallery(facts: Facts) -> tuple[Problems, str]:
    found = []
    for id in ("shot", "two", "stopped", "resumed"):
        video = facts.videos[id]
        if video.listed != 1:
            found.append(f"{VIDEOS[id].title} is in the gallery {video.listed} times, not once")
        if video.files > 1:
            found.append(f"{VIDEOS[id].title} left {video.files} new videos, not one")
        if not video.opens:
            found.append(f"{VIDEOS[id].title} cannot be opened")
    return found, "each video once, and it opens"


def _off(facts: Facts) -> tuple[Problems, str]:
    found = []
    if not _equal(facts, "without"):
        found.append(f"with SVI off the video is not WanGP's own: {_differs(facts, 'without')}")
    return found, "the frames are those of WanGP without SVI"


CHECKS = (
    Check("profile", "A profile makes a video", ("shot",), _profile),
    Check("chain-1", "One motion frame (Shot)", ("shot",), _conditioned("shot")),
    Check("chain-5", "Five motion frames (2.0)", ("two",), _conditioned("two")),
    Check("chain-grey", "Five motion frames and grey (Film)", ("film",), _conditioned("film")),
    Check("chain-wan22", "One motion frame (2.0 for Wan 2.2)", ("wan22",), _conditioned("wan22")),
    Check("pro", "Latents are chained (2.0 Pro)", ("pro",), _pro),
    Check("experts", "Both experts of Wan 2.2", ("wan22", "pro"), _experts),
    Check("clip-image", "What CLIP is shown", _ALL_21, _clip_image),
    Check("mask", "What the mask keeps", _CHAINED, _mask),
    Check("encode", "One encode for each clip", _CHAINED, _encodes),
    Check("seeds", "A seed for each clip", _CHAINED, _seeds),
    Check("prompts", "A prompt for each clip", ("film", "two", "resumed"), _prompts),
    Check("length", "Lengths", ("shot", "film", "two", "wan22", "pro"), _lengths),
    Check("seam-new", "Seams, the new clip whole", ("shot", "film", "two"), _seam("shot", "film", "two")),
    Check("seam-old", "Seams, the old clip whole", ("wan22", "pro"), _seam("wan22", "pro")),
    Check("resume", "Stop and resume", ("two", "stopped", "resumed"), _resume),
    Check("continue", "Continue a video", ("two", "continued"), _continue),
    Check("process", "A video's own settings", ("shot", "again"), _process),
    Check("lora", "LoRA keys in every spelling", ("lora-authors", "lora-plain", "lora-none"), _lora),
    Check("gallery", "WanGP's gallery", ("shot", "two", "stopped", "resumed"), _gallery),
    Check("off", "SVI off", ("off", "without"), _off),
)
IDS = tuple(check.id for check in CHECKS)
