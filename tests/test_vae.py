"""The parts of the VAE's encode that need no WanGP; that stripes are exact is shown in wangp/test_gpu_bench.py."""

from types import SimpleNamespace

import pytest
import torch

from wan2gp_svi.wangp import vae, vae_stripes


def layers(kinds):
    names = {"R": "ResidualBlock", "A": "AttentionBlock"}
    made = [type(names.get(kind, "Resample"), (), {} if kind in names else {"mode": f"downsample{kind}d"})()
            for kind in kinds]
    return SimpleNamespace(encoder=SimpleNamespace(downsamples=made[:-3], middle=made[-3:]))


@pytest.mark.parametrize(("kinds", "known"), [
    ("RR2RR3RR3RRRAR", True), ("R2R3R3RRAR", True), ("RRR2RR3RR3RRRAR", False), ("RR2RAR3RR3RRRAR", False),
    ("RR3RR3RR2RRRAR", False), ("RR2RR3RR3RRRRR", False),
])
def test_only_wans_own_encoder_works_in_stripes(kinds, known):
    assert vae_stripes.is_known(layers(kinds)) == known
    assert not vae_stripes.is_known(torch.nn.Module())


def test_what_is_asked_for_grows_with_the_picture_and_less_in_stripes():
    small, large = torch.empty(3, 81, 480, 832, device="meta"), torch.empty(3, 81, 720, 1280, device="meta")
    whole = [vae._wanted(video, torch.float32) / 2**30 for video in (small, large)]
    stripes = [vae._wanted(video, torch.float32, vae_stripes.STRIPE) / 2**30 for video in (small, large)]
    assert stripes[0] < 3 < stripes[1] < 5.5 and all(a * 2 < b for a, b in zip(stripes, whole, strict=True))


def test_a_video_stands_still_from_its_last_change_on():
    video = torch.rand(1, 3, 9, 4, 4)
    assert vae_stripes._still_from(video) == 8
    video[:, :, 5:] = video[:, :, 5:6]
    assert vae_stripes._still_from(video) == 5
    assert vae_stripes._still_from(video[:, :, 5:]) == 0


def test_parts_are_one_frame_and_then_as_many_as_become_a_latent():
    assert list(vae_stripes._spans(9, 4)) == [(0, 1), (1, 5), (5, 9)]
    assert list(vae_stripes._spans(1, 4)) == [(0, 1)]
