"""Loads the demo model in WanGP: stand-ins for T5 and CLIP, Wan's VAE in a smaller size, and
positions for smaller heads.

WanGP's loader gets them for definitions with the key `SMALL`, which `python -m wan2gp_svi
demo-model` writes, and for no others: they are in its modules only while such a model loads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from ...wangp.plan import SMALL
from ..model import T5_DIM, TEXT_DIM, clip_features, text_features, vae_shape
from ..world import HEIGHT, WIDTH


def offer() -> None:
    """Teaches WanGP's handler of the Wan models to load the demo model."""
    from models.wan.wan_handler import family_handler as handler

    load, files = handler.load_model, handler.query_model_files

    @wraps(load)
    def load_model(model_filename: Any, model_type: str, base_model_type: str, model_def: Any,
                   *rest: Any, **options: Any) -> Any:
        if not model_def.get(SMALL):
            return load(model_filename, model_type, base_model_type, model_def, *rest, **options)
        options["VAE_dtype"] = torch.float32  # in 16 bit, a CPU takes twenty times longer
        with _parts(model_def["VAE_URLs"][0], options.get("dtype", torch.bfloat16)):
            found = load(model_filename, model_type, base_model_type, model_def, *rest, **options)
        _turn_by_heads(found[0])
        return found

    @wraps(files)
    def query_model_files(computeList: Any, base_model_type: str, model_def: Any = None,
                          *arguments: Any, **options: Any) -> Any:
        if (model_def or {}).get(SMALL):
            return []  # T5, CLIP and Wan's own VAE are not needed
        return files(computeList, base_model_type, model_def, *arguments, **options)

    handler.load_model = staticmethod(load_model)
    handler.query_model_files = staticmethod(query_model_files)


@contextmanager
def _parts(vae_file: str, dtype: torch.dtype) -> Iterator[None]:
    """`dtype`: of the transformer."""
    from models.wan import any2video
    from models.wan.modules import vae

    locator = any2video.fl
    anywhere = SimpleNamespace(  # WanGP looks for the files of T5 and CLIP, which need not exist
        locate_file=lambda name, *_, **__: locator.locate_file(name, error_if_none=False) or name,
        locate_folder=lambda name, *_, **__: name,
    )

    class DemoVAE(vae.WanVAE):  # a class, since SVI makes a second one like it for its encodes
        def __init__(self, *arguments: Any, **options: Any):
            file = options["vae_pth"] = locator.locate_file(vae_file)  # older ones ignore VAE_URLs
            with patch.object(vae, "_video_vae", partial(vae._video_vae, **vae_shape(Path(file)))):
                super().__init__(*arguments, **options)

    picture = partial(Picture, features=dtype)
    with patch.multiple(any2video, T5EncoderModel=Text, CLIPModel=picture, WanVAE=DemoVAE,
                        fl=anywhere):
        yield


def _turn_by_heads(pipe: Any) -> None:
    """WanGP turns queries and keys for heads of Wan's own size, 128; this model's are smaller."""
    from models.wan.modules import posemb_layers as layers

    size, generate = pipe.model.dim // pipe.model.num_heads, pipe.generate
    side = 2 * (size // 6)
    parts = {"head_dim": size, "rope_dim_list": [size - 2 * side, side, side]}

    @wraps(generate)
    def turned(*arguments: Any, **options: Any) -> Any:
        own = partial(layers.get_nd_rotary_pos_embed, **parts)
        with patch.object(layers, "get_nd_rotary_pos_embed", own):
            return generate(*arguments, **options)

    pipe.generate = turned


class Text:
    """Stands in for T5: a list of [words, 4096]; the demo model reads the first 256 columns."""

    def __init__(self, dtype: torch.dtype = torch.bfloat16, **_: Any):
        self.dtype = dtype
        self.model = torch.nn.Linear(1, 1)  # WanGP's memory management wants a network in each part

    def __call__(self, prompts: list[str], device: torch.device | str) -> list[Tensor]:
        features = text_features(prompts)
        lengths = features.any(2).sum(1).clamp(min=1)
        return [F.pad(text[:length], (0, T5_DIM - TEXT_DIM)).to(device, self.dtype)
                for text, length in zip(features, lengths, strict=True)]


class _Network(torch.nn.Linear):
    image_size = 2 * WIDTH  # WanGP enlarges CLIP's picture to a square: a multiple of both sides


class Picture:
    """Stands in for CLIP: [pictures, 257, 1280]."""

    def __init__(self, device: torch.device | str = "cpu",
                 features: torch.dtype = torch.bfloat16, **_: Any):
        self.device, self.features = device, features
        self.model = _Network(1, 1)

    def visual(self, videos: list[Tensor]) -> Tensor:
        pictures = torch.cat([video.movedim(1, 0) for video in videos]).float()
        # back to the model's own size; bicubic both ways loses little, a mean would blur
        shrunk = F.interpolate(pictures, (HEIGHT, WIDTH), mode="bicubic")
        return clip_features(shrunk).to(self.device, self.features)
