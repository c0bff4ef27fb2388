"""How clips become one video: how many there are, their seeds and prompts, and what is kept at a seam.

Pure arithmetic, standard library only. Clips are counted from 0. `overlap` is the number of frames that two
neighbouring clips share (see `variants.Variant`). Source: the inference scripts of Stable Video Infinity.
"""

from collections.abc import Sequence

from .variants import CLIP_FRAMES, SEED_STEP


def num_clips(frames: int) -> int:
    """Clips that make at least `frames` frames when every clip counts whole: 81 is one clip, 162 two, 810 ten."""
    if frames < 1:
        raise ValueError(f"a video has at least 1 frame, not {frames}")
    return -(-frames // CLIP_FRAMES)


def length(clips: int, overlap: int) -> int:
    """Frames of the finished video: `(81 - overlap) * clips + overlap`, because neighbours share `overlap` frames."""
    _check(clips, overlap)
    return (CLIP_FRAMES - overlap) * clips + overlap


def clips_of(frames: int, overlap: int, of_source: int = 0) -> int:
    """Clips of a request for `frames` frames: of the chain that is exactly so long, else `num_clips`.

    The first rule makes a finished video's own length stand for that video when its settings are used again.
    `of_source`: frames of the chain that a request does not count, since a video that is continued has them already.
    """
    clips, rest = divmod(frames + of_source - overlap, CLIP_FRAMES - overlap)
    return clips if rest == 0 and clips > 0 else num_clips(frames)


def seed(base: int, clip: int, step: int = SEED_STEP) -> int:
    """Seed of clip `clip`: `base + step * clip`, modulo 2**32. Equal noise in every clip piles up artefacts."""
    return (base + step * clip) % 2**32


def prompt_index(clip: int, prompts: int, repeat: int = 1, clips: int | None = None) -> int:
    """Which of `prompts` prompts clip `clip` uses: each is used for `repeat` clips, the last one for all that follow.

    Where `clips` are too few for every prompt to be used `repeat` times, each is used for as many as all can have.
    """
    if prompts < 1:
        raise ValueError("a stream needs at least 1 prompt")
    if clips is not None:
        repeat = max(1, min(repeat, clips // prompts))
    return min(clip // repeat, prompts - 1)


def stream(prompts: Sequence[str], clips: int, repeat: int = 1) -> list[str]:
    """The prompt of each of `clips` clips."""
    return [prompts[prompt_index(clip, len(prompts), repeat, clips)] for clip in range(clips)]


def kept(clip: int, clips: int, overlap: int, keep_new: bool) -> slice:
    """The frames of clip `clip` that go into the video; joined, these are `length(clips, overlap)` frames.

    `keep_new`: a clip gives its last `overlap` frames up to the next one, else its first to the one before.
    """
    _check(clips, overlap)
    if not 0 <= clip < clips:
        raise ValueError(f"clip {clip} of {clips}: clips are counted from 0")
    if keep_new:
        return slice(0, CLIP_FRAMES if clip == clips - 1 else CLIP_FRAMES - overlap)
    return slice(overlap if clip else 0, CLIP_FRAMES)


def _check(clips: int, overlap: int) -> None:
    if clips < 1:
        raise ValueError(f"a video has at least 1 clip, not {clips}")
    if not 0 <= overlap < CLIP_FRAMES:
        raise ValueError(f"two clips of {CLIP_FRAMES} frames share 0 to {CLIP_FRAMES - 1} frames, not {overlap}")
