"""The video that is continued: the reference, and what its next clip starts from."""

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import chain, untrusted
from ..drift.layout import provenance
from ..runs.store import FOLDER, Store


def source(scope: Mapping[str, Any], frames: int, say: Callable[[str], None],
           warn: Callable[[str], None]) -> tuple[Tensor, Tensor, Tensor | None]:
    """What the first clip after a video needs.

    Returns the reference [3, H, W], the video's last `frames` frames [3, N, H, W], both float32 in
    [-1, 1], and its last latents if its run has them. The reference is that of the run that made
    the video, or else the start image in its metadata, or else its last frame; `say` reports which,
    and `warn` the last.
    """
    video = scope["prefix_video"][:, -frames:].float().cpu()
    if scope["prefix_video"].dtype == torch.uint8 or video.max() > 1.5:
        video = video.div(127.5).sub(1)
    made = provenance(_metadata(scope["video_source"]))
    size = video.shape[2:]
    with contextlib.suppress(Exception):  # whatever the run holds, the video can be continued
        # the exact name: the end of one, as a person types it, would be that of another run
        run = Store(Path(scope["save_path"]) / FOLDER).open(made["run"])
        found = picture(run.folder / "reference.png")
        done = run.done()
        whole = sum(count for clip in done for _, count in run.pieces(clip, last=clip is done[-1]))
        if found.shape[1:] == size:
            ended = whole == scope["source_video_frames_count"]
            state = run.state(done[-1]) if ended else {}
            motion = state["motion_frames"].float().div(127.5).sub(1) if state else video
            if motion.dim() != 4 or motion.shape[2:] != size or motion.shape[1] < frames:
                motion, state = video, {}
            say(f"the reference is that of run {run.name}, which made this video"
                + (", and so are the motion frames, bit for bit." if state else "."))
            return found, motion[:, -frames:], state.get("latents")
    with contextlib.suppress(Exception):  # whatever the video holds, it can be continued
        found = _embedded(scope["video_source"], size)
        say("the reference is the start image in the video's metadata.")
        return found, video, None
    warn("the reference is the LAST FRAME of the video, with all its drift, because neither its "
         "run nor its start image was found. WanGP can keep the start image in each video "
         "(Configuration, Outputs).")
    return video[:, -1], video, None


def first_seed(scope: Mapping[str, Any], step: int) -> int:
    """The seed of the first clip after a video: the user's, unless a clip of the video has it; then
    the seed after that of the video's last clip. Neighbours with equal noise drift."""
    seeds = provenance(_metadata(scope["video_source"])).get("seeds", [])
    if scope["seed"] in seeds:
        return chain.seed(seeds[-1], 1, step)
    return int(scope["seed"])


def picture(path: Any, size: Sequence[int] | None = None) -> Tensor:
    """An image [3, H, W], float32 in [-1, 1]: cropped and resized to a height and width."""
    import numpy as np
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(Image.open(path))  # as WanGP does with the start image
    if image.mode.startswith("I"):  # 16 bit, of which PIL would take everything for white
        image = Image.fromarray((np.asarray(image) / 257).round().clip(0, 255).astype(np.uint8))
    image = image.convert("RGB")
    if size is not None:
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).movedim(-1, 0).float().div(127.5).sub(1)


def _metadata(video: Any) -> dict[str, Any]:
    from shared.utils.video_metadata import read_metadata_from_video

    with contextlib.suppress(Exception):  # of WanGP's, at what a stranger wrote
        found = read_metadata_from_video(str(video)) if isinstance(video, (str, Path)) else None
        return found if isinstance(found, dict) else {}
    return {}


def _embedded(video: Any, size: Sequence[int]) -> Tensor:
    from shared.utils.video_metadata import extract_source_images

    _check_names(Path(video))
    with tempfile.TemporaryDirectory() as folder:
        path = extract_source_images(str(video), folder)["image_start"]
        return picture(path[0] if isinstance(path, (list, tuple)) else path, size)


def _check_names(video: Path) -> None:
    """WanGP writes each image in an mp4 to the name that the file gives it, wherever that leads.
    Raises ValueError if it leads out of a folder."""
    if video.suffix.lower() == ".mkv":  # there, WanGP takes the last part of the name
        return
    from mutagen.mp4 import MP4

    tags: Mapping[str, Any] = MP4(video).tags or {}
    for text in tags.get("----:com.apple.iTunes:IMAGE_METADATA", []):
        images = itertools.chain(*untrusted.parse_json(bytes(text)).values())
        if not all(untrusted.is_name(image["filename"]) for image in images):
            raise ValueError(f"{video.name} holds an image whose name leads elsewhere")
