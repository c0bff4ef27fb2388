"""The VAE's encode without WanGP; wangp/test_gpu_bench.py shows with real
VAEs that stripes are exact."""

import re
from types import SimpleNamespace

import pytest
import torch

from wan2gp_svi.wangp import vae, vae_stripes

WANS = "RR2RR3RR3RRRAR"  #: the layers of Wan's encoder


def layers(kinds):
    names = {"R": "ResidualBlock", "A": "AttentionBlock"}
    made = [type(names.get(kind, "Resample"), (),
                 {} if kind in names else {"mode": f"downsample{kind}d"})()
            for kind in kinds]
    return SimpleNamespace(encoder=SimpleNamespace(downsamples=made[:-3], middle=made[-3:]))


@pytest.mark.parametrize(("kinds", "known"), [
    (WANS, True), ("R2R3R3RRAR", True), ("RRR2RR3RR3RRRAR", False), ("RR2RAR3RR3RRRAR", False),
    ("RR3RR3RR2RRRAR", False), ("RR2RR3RR3RRRRR", False),
])
def test_only_wans_own_encoder_works_in_stripes(kinds, known):
    assert vae_stripes.is_known(layers(kinds)) == known
    assert not vae_stripes.is_known(torch.nn.Module())


def test_what_is_asked_for_grows_with_the_picture_and_less_in_stripes(monkeypatch):
    """The VRAM that an exact encode needs, as the user is told if it is not free."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, 0))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 0)

    def wanted(kinds, height, width):
        lines, video = [], torch.empty(3, 81, height, width, device="meta")
        wangps = SimpleNamespace(dtype=torch.float32, model=layers(kinds),
                                 encode=lambda videos, tile: videos)
        vae.encode(SimpleNamespace(vae=wangps), video, tile_size=256, say=lines.append)
        return float(re.search(r"untiled needs ([\d.]+) GB", lines[0])[1])

    small, large = ((wanted(WANS, *size), wanted("", *size)) for size in ((480, 832), (720, 1280)))
    assert small[0] < 3 < large[0] < 5.5 and small[0] * 2 < small[1] and large[0] * 2 < large[1]


class ResidualBlock:
    """Passes a part of a video on."""

    def __call__(self, part, memory, index):
        return part


class Resample(ResidualBlock):
    """Keeps every other pixel, and in `3d` the last of two frames."""

    def __init__(self, kind):
        self.mode = f"downsample{kind}d"

    def __call__(self, part, memory, index):
        kept = part[..., ::2, ::2]
        return kept[:, :, 1 - kept.shape[2] % 2 :: 2] if "3" in self.mode else kept


class AttentionBlock:
    def __call__(self, part):
        return part


class StandIn:
    """A VAE whose latents are every eighth pixel of every fourth frame. `parts` counts the frames
    of each part that it gets."""

    def __init__(self):
        blocks = {"R": ResidualBlock, "A": AttentionBlock}
        made = [blocks[kind]() if kind in blocks else Resample(kind) for kind in WANS]
        self.parts = []
        self.encoder = SimpleNamespace(downsamples=made[:-3], middle=made[-3:], conv1=self.begin,
                                       head=lambda part: part)

    def begin(self, part, before):
        self.parts.append(part.shape[2])
        return part

    def conv1(self, part):
        return torch.cat([part, part], 1)


@pytest.mark.parametrize(("still_from", "seen"), [(80, 81), (20, 41), (0, 21)])
@pytest.mark.parametrize("stripe", [10**6, 64 * 16])
def test_stripes_are_the_whole_and_go_no_farther_than_the_picture_changes(still_from, seen, stripe):
    video = torch.rand(1, 3, 81, 64, 32)
    video[:, :, still_from:] = video[:, :, still_from:still_from + 1]
    model, scale = StandIn(), [torch.zeros(3), torch.ones(3)]
    latents = vae_stripes.encode_in_stripes(model, video, scale, stripe=stripe)
    assert latents.equal(video[:, :, ::4, ::8, ::8])
    stripes = 1 if stripe == 10**6 else 2
    once = [1, *[4] * (seen // 4)]  # one frame, then as many as become a latent
    assert model.parts == once * stripes
