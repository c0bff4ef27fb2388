"""How clips become one video: how many there are, their seeds and prompts, what a seam shows.

Pure arithmetic, standard library only. Clips are counted from 0. `overlap` is the number of frames
that two neighbouring clips share; see `variants.Variant`. Bad numbers are a ValueError.
Source: the inference scripts of Stable Video Infinity.
"""

from collections.abc import Sequence

from .variants import CLIP_FRAMES, SEED_STEP

MAX_CLIPS = 1500  #: two hours of video, and months of work for most graphics cards


def num_clips(frames: int) -> int:
    """Clips for at least `frames` frames if none is shared: 1 for 81, 2 for 162, 10 for 810."""
    if frames < 1:
        raise ValueError(f"a video has at least 1 frame, not {frames}")
    return -(-frames // CLIP_FRAMES)


def length(clips: int, overlap: int) -> int:
    """Frames of the finished video, `(81 - overlap) * clips + overlap`."""
    _check(clips, overlap)
    return (CLIP_FRAMES - overlap) * clips + overlap


def clips_of(frames: int, overlap: int, of_source: int = 0) -> int:
    """Clips of a request for `frames` frames.

    A number that is exactly the length of a chain means that chain, so the settings of a finished
    video make it again. Any other number means `num_clips` clips. `of_source`: frames that a
    request leaves out because the video that it continues has them.
    """
    clips, rest = divmod(frames + of_source - overlap, CLIP_FRAMES - overlap)
    return clips if rest == 0 and clips > 0 else num_clips(frames)


def clips_of_sound(frames: int, overlap: int) -> int:
    """Clips for `frames` frames of sound: each clip after the first adds `81 - overlap`."""
    return max(1, -(-(frames - overlap) // (CLIP_FRAMES - overlap)))


def pose_indices(clip: int, poses: int, overlap: int) -> list[int]:
    """Which of `poses` pose frames, which go round, a clip of SVI-Dance follows.

    The authors give each clip after the first the pose that the clip before ended with, and then
    that one again: it lags behind by a frame. Here no pose comes twice.
    """
    start = clip * (CLIP_FRAMES - overlap)
    return [at % poses for at in range(start, start + CLIP_FRAMES)]


def seed(base: int, clip: int, step: int = SEED_STEP) -> int:
    """`base + step * clip`, modulo 2**32. Equal noise in every clip would add up to artefacts."""
    return (base + step * clip) % 2**32


def prompt_index(clip: int, prompts: int, repeat: int = 1, clips: int | None = None) -> int:
    """Which of `prompts` prompts a clip uses.

    Each prompt is for `repeat` clips, and the last one for all that follow. If there are too few
    `clips` for that, each prompt gets as many as all can have.
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
    """The frames of a clip that go into the video. Joined, they are `length(clips, overlap)`.

    With `keep_new` a clip loses its last `overlap` frames to the next clip, otherwise its first
    ones to the previous clip.
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
        raise ValueError(f"two clips of {CLIP_FRAMES} frames share 0 to {CLIP_FRAMES - 1} frames, "
                         f"not {overlap}")
