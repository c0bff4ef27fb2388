"""Wan's VAE in stripes without WanGP: a small VAE of the same layers, run over a whole video at
once, is what stripes have to give. wangp/test_gpu_bench.py shows the same with WanGP's own."""

import re
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wan2gp_svi.wangp import vae, vae_stripes

ENCODER, DECODER = "RR2RR3RR3RRRAR", "RARRRR3RRR3RRR2RRR"  #: the layers of Wan's VAE
DIM = 4
SCALE = [torch.linspace(-1, 1, 2), torch.linspace(0.5, 2, 2)]


class RMS_norm(nn.Module):  # noqa: N801  layers are known by the names of their classes
    def __init__(self, dim):
        super().__init__()
        self.scale, self.gamma = dim**0.5, nn.Parameter(torch.rand(dim, 1, 1, 1) + 0.5)

    def forward(self, part):
        return F.normalize(part, dim=1) * self.scale * self.gamma


class CausalConv3d(nn.Conv3d):
    """Looks back only. With `before`, the frames before a part."""

    def forward(self, part, before=None):
        (back, up, side), count = self.kernel_size, 0
        if before is not None:
            part, count = torch.cat([before, part], 2), before.shape[2]
        ends = (side // 2, side // 2, up // 2, up // 2, back - 1 - count, 0)
        return super().forward(F.pad(part, ends))


class ResidualBlock(nn.Module):
    def __init__(self, dim=DIM):
        super().__init__()
        self.residual = nn.Sequential(
            RMS_norm(dim), nn.SiLU(), CausalConv3d(dim, dim, 3), RMS_norm(dim), nn.SiLU(),
            nn.Dropout(0), CausalConv3d(dim, dim, 3))
        self.shortcut = nn.Identity()

    def forward(self, part):
        return part + self.residual(part)


class AttentionBlock(nn.Module):
    """Every pixel sees its whole frame."""

    def forward(self, part):
        return part + part.mean((3, 4), keepdim=True)


class Resample(nn.Module):
    def __init__(self, mode):
        super().__init__()
        self.mode = mode
        if mode.startswith("down"):
            self.resample = nn.Conv2d(DIM, DIM, 3, stride=2)
            self.time_conv = nn.Conv3d(DIM, DIM, (3, 1, 1), stride=(2, 1, 1))
        else:
            self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(DIM, DIM, 3, padding=1))
            self.time_conv = CausalConv3d(DIM, 2 * DIM, (3, 1, 1))

    def forward(self, part, memory=None, index=(0,)):
        if self.mode == "upsample3d":
            part = torch.cat([part[:, :, :1], *self._doubled(part[:, :, 1:])], 2)
        frames = part[0].transpose(0, 1)
        frames = (self.resample(F.pad(frames, (0, 1, 0, 1))) if self.mode.startswith("down") else
                  self.resample(F.interpolate(frames, scale_factor=2)))
        part = frames.transpose(0, 1)[None]
        if self.mode != "downsample3d":
            return part
        if memory is None:  # the whole video at once
            return torch.cat([part[:, :, :1], *self._halved(part)], 2)
        before, memory[index[0]] = memory[index[0]], part[:, :, -1:]
        return part if before is None else self.time_conv(torch.cat([before, part], 2))

    def _halved(self, part):
        if part.shape[2] > 1:
            yield self.time_conv(part)

    def _doubled(self, part):
        if part.shape[2]:
            first, second = self.time_conv(part).chunk(2, 1)
            yield torch.stack([first, second], 3).flatten(2, 3)


def layers(kinds, way):
    known = {"R": ResidualBlock, "A": AttentionBlock}
    return [known[kind]() if kind in known else Resample(f"{way}sample{kind}d") for kind in kinds]


class SmallVAE(nn.Module):
    def __init__(self, encoder=ENCODER, decoder=DECODER):
        super().__init__()
        down, up = layers(encoder, "down"), layers(decoder, "up")
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.conv1, self.decoder.conv1 = CausalConv3d(3, DIM, 3), CausalConv3d(2, DIM, 3)
        self.encoder.downsamples = nn.Sequential(*down[:-3])
        self.encoder.middle, self.decoder.middle = nn.Sequential(*down[-3:]), nn.Sequential(*up[:3])
        self.decoder.upsamples = nn.Sequential(*up[3:])
        self.encoder.head = nn.Sequential(RMS_norm(DIM), nn.SiLU(), CausalConv3d(DIM, 4, 3))
        self.decoder.head = nn.Sequential(RMS_norm(DIM), nn.SiLU(), CausalConv3d(DIM, 3, 3))
        self.conv1, self.conv2 = CausalConv3d(4, 4, 1), CausalConv3d(2, 2, 1)

    def encode(self, video):
        parts = (self.encoder.conv1, self.encoder.downsamples, self.encoder.middle,
                 self.encoder.head, self.conv1)
        latents = nn.Sequential(*parts)(video).chunk(2, 1)[0]
        mean, inverse_std = (value.view(1, -1, 1, 1, 1) for value in SCALE)
        return (latents - mean) * inverse_std

    def decode(self, latents):
        mean, inverse_std = (value.view(1, -1, 1, 1, 1) for value in SCALE)
        parts = (self.conv2, self.decoder.conv1, self.decoder.middle, self.decoder.upsamples,
                 self.decoder.head)
        return nn.Sequential(*parts)(latents / inverse_std + mean)


@pytest.fixture
def model():
    torch.manual_seed(0)
    with torch.no_grad():
        yield SmallVAE().eval()


@pytest.mark.parametrize(("kinds", "known"), [
    (ENCODER, True), ("R2R3R3RRAR", True), ("RRR2RR3RR3RRRAR", False), ("RR2RAR3RR3RRRAR", False),
    ("RR3RR3RR2RRRAR", False), ("RR2RR3RR3RRRRR", False),
])
def test_only_wans_own_encoder_works_in_stripes(kinds, known):
    assert vae_stripes.encodes(SmallVAE(encoder=kinds)) == known
    assert not vae_stripes.encodes(nn.Module())


@pytest.mark.parametrize(("kinds", "known"), [
    (DECODER, True), ("RARRR3RR3RR2RR", True), ("RARRRR2RRR3RRR3RRR", False),
    ("RARRRR3RRR3RRR2RRRR", False), ("RARRRAR3RRR3RRR2RRR", False),
])
def test_only_wans_own_decoder_works_in_stripes(kinds, known):
    assert vae_stripes.decodes(SmallVAE(decoder=kinds)) == known
    assert not vae_stripes.decodes(nn.Module())


def test_a_vae_whose_blocks_or_colours_differ_does_not_work_in_stripes(model):
    model.decoder.head[-1] = CausalConv3d(DIM, 12, 3)  # of a VAE that also doubles the size
    assert vae_stripes.encodes(model) and not vae_stripes.decodes(model)
    model.encoder.middle[0].residual[1] = nn.ReLU()
    assert not vae_stripes.encodes(model)


def distance(value, exact):
    assert value.shape == exact.shape
    return ((value - exact).norm() / exact.norm()).item()


SIZES = [(24, 64), (64, 40)]  #: height and width


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stripe", [10**6, 400])
@pytest.mark.parametrize(("frames", "still_from"), [(33, 32), (33, 0), (41, 5), (1, 0), (6, 5)])
def test_latents_in_stripes_are_those_of_the_whole(model, size, stripe, frames, still_from):
    video = torch.rand(1, 3, frames, *size) * 2 - 1
    video[:, :, still_from:] = video[:, :, still_from:still_from + 1]
    whole = model.encode(video[:, :, : (frames - 1) // 4 * 4 + 1])
    latents = vae_stripes.encode_in_stripes(model, video, SCALE, stripe=stripe)
    assert distance(latents, whole) < 1e-5


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stripe", [10**6, 400])
@pytest.mark.parametrize("count", [9, 1, 2])
def test_frames_in_stripes_are_those_of_the_whole(model, size, stripe, count):
    latents = torch.randn(1, 2, count, size[0] // 8, size[1] // 8)
    whole = model.decode(latents)
    video = vae_stripes.decode_in_stripes(model, latents, SCALE, stripe=stripe)
    assert video.shape == (1, 3, 4 * count - 3, *size)
    assert distance(video, whole) < 1e-5


def test_an_encode_goes_no_farther_than_the_picture_changes(model, monkeypatch):
    """An SVI clip ends in many copies of one image."""
    seen = []
    conv = model.encoder.conv1.forward
    monkeypatch.setattr(model.encoder.conv1, "forward",
                        lambda part, before=None: seen.append(part.shape[2]) or conv(part, before))
    video = torch.rand(1, 3, 81, 16, 16)
    for still_from, frames in ((80, 81), (20, 41), (0, 21)):
        video[:, :, still_from:] = video[:, :, still_from:still_from + 1]
        vae_stripes.encode_in_stripes(model, video, SCALE)
        assert sum(seen) == frames
        seen.clear()


@pytest.fixture
def free(monkeypatch):
    """Says how many bytes of VRAM are free."""
    def set_free(count):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (count, count))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 0)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 0)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    set_free(0)
    return set_free


def test_what_is_asked_for_grows_with_the_picture_and_less_in_stripes(free):
    """The VRAM that an exact encode needs, as the user is told if it is not free."""
    def wanted(kinds, height, width):
        lines, video = [], torch.empty(3, 81, height, width, device="meta")
        wangps = SimpleNamespace(dtype=torch.float32, model=SmallVAE(encoder=kinds),
                                 encode=lambda videos, tile: videos)
        vae.encode(SimpleNamespace(vae=wangps), video, tile_size=256, say=lines.append)
        return float(re.search(r"untiled needs ([\d.]+) GB", lines[0])[1])

    small, large = ((wanted(ENCODER, *size), wanted("AAAA", *size))
                    for size in ((480, 832), (720, 1280)))
    assert small[0] < 3 < large[0] < 5.5 and small[0] * 2 < small[1] and large[0] * 2 < large[1]


class WanGPsVAE:
    """WanGP's VAE as its pipeline calls it; notes in which way it decoded."""

    def __init__(self, model):
        self.model, self.ways = model, []

    def decode(self, latents, tile_size, any_end_frame=False):
        self.ways.append((tile_size, any_end_frame))
        return [self.model.decode(z[None], SCALE) if isinstance(self.model.decode, vae.partial)
                else self.model.decode(z[None]) for z in latents]


def test_a_clip_is_decoded_untiled_whatever_tiles_wangp_asks_for(model, free):
    free(10**9)
    pipe, lines = SimpleNamespace(vae=WanGPsVAE(model)), []
    vae.expect_decode(pipe, lines.append)
    latents = torch.randn(2, 5, 6, 6)
    decoded, = pipe.vae.decode([latents], 128)
    assert distance(decoded, model.decode(latents[None])) < 1e-5
    assert pipe.vae.ways == [(0, False)] and not lines
    assert "decode" not in vars(model), "the model's own decode is back"


def test_where_vram_is_short_or_runs_out_wangps_tiles_are_used_and_said(model, free, monkeypatch):
    pipe, lines = SimpleNamespace(vae=WanGPsVAE(model)), []
    model.decode = mmgps = model.decode  # mmgp replaces it on the object
    vae.expect_decode(pipe, lines.append)
    pipe.vae.decode([torch.randn(2, 5, 6, 6)], 128)
    assert "in tiles of 128 pixels, because VRAM is short: an untiled decode needs" in lines.pop()
    free(10**9)

    def full(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(vae, "decode_in_stripes", full)
    pipe.vae.decode([torch.randn(2, 5, 6, 6)], 128)
    assert pipe.vae.ways == [(0, False), (128, False)] * 2 and model.decode is mmgps
    assert "because VRAM is short: CUDA out of memory" in lines.pop()


def test_a_decode_that_asks_for_more_is_wangps_own(model, free):
    free(10**9)
    pipe = SimpleNamespace(vae=WanGPsVAE(model))
    vae.expect_decode(pipe)
    pipe.vae.decode([torch.randn(2, 5, 6, 6)], 128, any_end_frame=True)
    assert pipe.vae.ways == [(128, True)]
