"""The small model in WanGP: a stand-in for T5, one for CLIP, and Wan's VAE in a smaller size.

WanGP's loader is given them for a model definition that says `SMALL`, which `python -m wan2gp_svi small` writes, and
for no other: they are put in its modules before such a model is made, and taken out when it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial, wraps
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from ...wangp.plan import SMALL
from ..model import T5_DIM, TEXT_DIM, VAE_SHAPE, clip_features, text_features
from ..world import HEIGHT, WIDTH

_SQUARE = 2 * WIDTH  # pixels of the square that WanGP enlarges CLIP's picture to; a multiple of both sides


def offer() -> None:
    """Teaches WanGP's handler of the Wan models to load the small one."""
    from models.wan.wan_handler import family_handler as handler

    load, files = handler.load_model, handler.query_model_files

    @wraps(load)
    def load_model(model_filename, model_type, base_model_type, model_def, *arguments, **options):
        if not model_def.get(SMALL):
            return load(model_filename, model_type, base_model_type, model_def, *arguments, **options)
        options["VAE_dtype"] = torch.float32  # a CPU takes twenty times longer in 16 bit
        with _parts(model_def["VAE_URLs"][0], options.get("dtype", torch.bfloat16)):
            return load(model_filename, model_type, base_model_type, model_def, *arguments, **options)

    @wraps(files)
    def query_model_files(computeList, base_model_type, model_def=None, *arguments, **options):
        if (model_def or {}).get(SMALL):
            return []  # T5, CLIP and the large VAE need not be downloaded
        return files(computeList, base_model_type, model_def, *arguments, **options)

    handler.load_model, handler.query_model_files = staticmethod(load_model), staticmethod(query_model_files)


@contextmanager
def _parts(vae_file: str, dtype: torch.dtype) -> Iterator[None]:
    """`dtype`: what the transformer works in."""
    from models.wan import any2video
    from models.wan.modules import vae

    locator = any2video.fl
    anywhere = SimpleNamespace(  # T5's and CLIP's files are asked for, and need not be there
        locate_file=lambda name, *_, **__: locator.locate_file(name, error_if_none=False) or name,
        locate_folder=lambda name, *_, **__: name,
    )

    class SmallVAE(vae.WanVAE):  # a class of its own, since SVI makes a second one like it for its encodes
        def __init__(self, *arguments: Any, **options: Any):
            options["vae_pth"] = locator.locate_file(vae_file)  # older WanGPs know no VAE_URLs
            with patch.object(vae, "_video_vae", partial(vae._video_vae, **VAE_SHAPE)):
                super().__init__(*arguments, **options)

    picture = partial(Picture, features=dtype)
    with patch.multiple(any2video, T5EncoderModel=Text, CLIPModel=picture, WanVAE=SmallVAE, fl=anywhere):
        yield


class Text:
    """In T5's place: a list of [words, 4096], of which the small model reads the first 256 columns."""

    def __init__(self, dtype: torch.dtype = torch.bfloat16, **_: Any):
        self.dtype = dtype
        self.model = torch.nn.Linear(1, 1)  # WanGP's memory management wants a network of every part

    def __call__(self, prompts: list[str], device: torch.device | str) -> list[Tensor]:
        features = text_features(prompts)
        lengths = features.any(2).sum(1).clamp(min=1)
        return [F.pad(text[:length], (0, T5_DIM - TEXT_DIM)).to(device, self.dtype)
                for text, length in zip(features, lengths, strict=True)]


class Picture:
    """In CLIP's place: [pictures, 257, 1280]."""

    def __init__(self, device: torch.device | str = "cpu", features: torch.dtype = torch.bfloat16, **_: Any):
        self.device, self.features = device, features
        self.model = torch.nn.Linear(1, 1)
        self.model.image_size = _SQUARE

    def visual(self, videos: list[Tensor]) -> Tensor:
        pictures = torch.cat([video.movedim(1, 0) for video in videos]).float()
        # back to the small model's own size: neither way loses much, while a mean over the enlarged pixels would blur
        shrunk = F.interpolate(pictures, (HEIGHT, WIDTH), mode="bicubic")
        return clip_features(shrunk).to(self.device, self.features)
