"""The poses that SVI-Dance will follow, before the video is made: pictures of the skeletons as the
model sees them, and what is wrong with them.

The file is the form's control video. People are looked for on the CPU, so that WanGP can make a
video at the same time. WanGP names used here: the keys of its settings.
"""

import base64
import io
import math
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from ...runs.record import StoreError
from ...text import count, duration, sentence
from ...variants import CLIP_FRAMES
from .. import form_line, pose_video
from ..check.findings import Checked, check
from ..check.request import Request
from ..check.telling import running_config
from ..form import SettingsError
from ..plan import clips_of, first_image
from . import actions
from .helpers import gr, on, progress_bar

MOST = 48  #: pictures: looking for people takes about a second each
HEIGHT = 160  #: of a picture on the page
_AREA = 832 * 480  # of a video, if its size is unknown
_BLACK = 64  # at most this bright
_GRID = ("display:grid;grid-template-columns:repeat(auto-fill,minmax(120px,1fr));gap:8px;"
         "max-height:640px;overflow:auto")
_ABOUT = ("pose-video", "pose-shape", "pose-length")  # findings


def create(plugin: Any, wgp: Mapping[str, Any]) -> None:
    """`wgp` are the variables of wgp.py; `plugin` has the components of WanGP's page."""
    with gr.Accordion("Poses", open=False):
        gr.Markdown("For SVI-Dance: what the model will see of the form's control video.")
        button = gr.Button("Show the poses", size="sm", scale=0, elem_id="svi_poses")
        shown = gr.HTML(elem_id="svi_skeletons")

    def work(state: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        saved = actions.form_saved(state)
        yield next(saved), gr.skip()
        model, entered = state["model_type"], next(saved)
        for html in preview(wgp["get_base_model_type"](model), wgp["get_model_def"](model) or {},
                            entered):
            yield gr.skip(), html

    on(button.click, work, [plugin.state], [plugin.save_form_trigger, shown])


def preview(architecture: str, model_def: Mapping[str, Any], inputs: Mapping[str, Any]
            ) -> Iterator[str]:
    """HTML: how far it is, and at last the poses. Raises SettingsError, StoreError.

    The arguments are WanGP's, as in `check`.
    """
    checked = check(architecture, model_def, inputs, running_config())
    plan, path = checked.plan, pose_video.given(inputs)
    for finding in checked.findings:
        if finding.kind == "error" and (plan is None or finding.id in _ABOUT):
            raise SettingsError(finding.text)
    if plan is None or not plan.variant.poses or path is None:
        raise StoreError("the form is not set for SVI-Dance. Choose its profile above and press "
                         "New video, and add a control video")
    request = Request(plan, architecture, model_def, inputs, running_config() or {})
    overlap, clips = plan.variant.overlap, clips_of(plan, inputs)
    frames = spread(plan.frames(clips))
    poses = pose_video.find(path).poses
    image = _image(inputs, *(size := _size(request, path)))
    pictures: dict[int, tuple[Any, int]] = {}
    wanted = sorted({frame % poses for frame in frames})
    for picture in _pictures(inputs, size, overlap, image, wanted):
        pictures[wanted[len(pictures)]] = picture
        yield progress_bar(len(pictures) / len(wanted),
                           f"{len(pictures)} of {count(len(wanted), 'pose')}")
    found = [pictures[frame % poses] for frame in frames]
    people = [number for _, number in found]
    cells = [_cell(picture, f"clip {min(frame // (CLIP_FRAMES - overlap), clips - 1) + 1}, "
                            f"{duration(frame / plan.fps)}")
             for frame, (picture, _) in zip(frames, found, strict=True)]
    if image is not None:
        first = found[0][0]
        over = first.where(first.amax(-1, keepdim=True) > _BLACK, image)
        cells.insert(0, _cell(over, "on your image"))
    lines = _lines(checked, inputs)
    if pose_video.of_person(inputs):
        lines += [f"{sentence(line)}." for line in pose_video.about_people(people)]
    yield (f"<p>{'<br>'.join(map(escape, lines))}</p><div style='{_GRID}'>{''.join(cells)}</div>")


def spread(frames: int, most: int = MOST) -> list[int]:
    """Some frames of a video, from its first to its last, at equal distances."""
    number = min(frames, most)
    return [round(at * (frames - 1) / max(1, number - 1)) for at in range(number)]


def _lines(checked: Checked, inputs: Mapping[str, Any]) -> list[str]:
    """What the form's line says, and what the check says about the poses."""
    return [*form_line.words(checked, inputs, False),
            *(sentence(one.text) for one in checked.findings
              if one.kind == "warning" and one.id in _ABOUT)]


def _pictures(inputs: Mapping[str, Any], size: tuple[int, int], overlap: int, image: Any,
              wanted: list[int]) -> Iterator[tuple[Any, int]]:
    from .. import dance  # loads torch

    if pose_video.is_aligned(inputs) and image is None:
        raise SettingsError("Add a start image first: the skeleton is moved to the person in it.")
    find = (lambda: dance.detector("cpu")) if pose_video.of_person(inputs) else None
    poses = dance.Poses(str(pose_video.given(inputs)), *size, overlap, find,
                        image if pose_video.is_aligned(inputs) else None)
    return poses.pictures(wanted)


def _size(request: Request, path: Any) -> tuple[int, int]:
    """Height and width of the video, to be made of the start image's shape."""
    found = pose_video.find(path)
    width, height = request.shape or (found.width, found.height)
    asked = request.resolution
    times = math.sqrt((asked[0] * asked[1] if asked else _AREA) / (width * height))
    tall, wide = (max(16, round(side * times / 16) * 16) for side in (height, width))
    return tall, wide


def _image(inputs: Mapping[str, Any], height: int, width: int) -> Any:
    """The start image in the size of the video, uint8 [H, W, 3]; None if there is none."""
    import numpy as np
    import torch
    from PIL import Image

    image = first_image(inputs.get("image_start"))
    if isinstance(image, (str, Path)):
        try:
            image = Image.open(image)
        except OSError:
            return None
    if not isinstance(image, Image.Image):
        return None
    resized = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(resized))


def _cell(picture: Any, words: str) -> str:
    """A picture uint8 [H, W, 3] with words below it, in HTML."""
    from PIL import Image

    whole = Image.fromarray(picture.numpy())
    small = whole.resize((max(1, round(whole.width * HEIGHT / whole.height)), HEIGHT),
                         Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (f"<figure style='margin:0'><img src='data:image/png;base64,{data}' alt='' "
            "style='width:100%;margin:0'><figcaption style='font-size:.8em'>"
            f"{escape(words)}</figcaption></figure>")
