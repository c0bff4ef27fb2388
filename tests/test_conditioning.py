"""Conditioning as in the authors' code, number for number, and beyond their numbers."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from wan2gp_svi.conditioning import amplify, condition, condition_pro, mask, pad_

GOLDEN = Path(__file__).parent / "golden"
INDEX = json.loads((GOLDEN / "index.json").read_text(encoding="utf-8"))
CASES = [case for case in INDEX
         if case["kind"] in ("v1", "v2_wan22", "pro", "talk_dit", "dance_dit")]
END = [case for case in INDEX if case["kind"] == "v2_wan22_end"]


def stand_in_vae(pixels: torch.Tensor) -> torch.Tensor:
    """The linear, causal stand-in for the VAE that golden/README.md defines."""
    c, t, h, w = pixels.shape
    p = pixels.reshape(c, t, h // 8, 8, w // 8, 8).mean((3, 5))
    z = [p[:, 0]]
    for k in range(1, (t - 1) // 4 + 1):
        z.append(p[:, 4 * k - 3:4 * k + 1].mean(1) + 0.25 * z[-1])
    o = torch.arange(1, 17, dtype=torch.float64)[:, None]
    i = torch.arange(1, c + 1, dtype=torch.float64)
    return torch.einsum("oc,cthw->othw", torch.sin(o * i).float(), torch.stack(z, 1))


def to_float(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.movedim(-1, 0).float() * (2 / 255) - 1


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_y_is_what_the_authors_code_returned(case):
    data = load_file(GOLDEN / case["file"])
    motion, reference = to_float(data["motion_frames"]), to_float(data["reference"])
    if case["kind"] == "pro":
        first = case["motion_latents"] == 0  # its one input frame is its own reference
        previous = None if first else data["previous_latents"]
        reference = motion[:, 0] if first else reference
        y = condition_pro(reference, stand_in_vae, num_frames=case["frames"],
                          previous_latents=previous)
    else:
        y = condition(motion, reference, stand_in_vae, num_frames=case["frames"],
                      ref_pad_num=case.get("ref_pad_num", -1),
                      ref_pad_cfg=case.get("ref_pad_cfg", False))
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, data["y"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", END, ids=lambda case: case["name"])
def test_an_end_image_is_as_the_authors_code_has_it(case):
    data = load_file(GOLDEN / case["file"])
    names = ("motion_frames", "reference", "end")
    motion, reference, end = (to_float(data[name]) for name in names)
    y = condition(motion, reference, stand_in_vae, num_frames=case["frames"], ref_pad_num=0,
                  end=end[:, 0] if end.dim() == 4 else end)
    torch.testing.assert_close(y, data["y"], atol=1e-6, rtol=0)
    without = condition(motion, reference, stand_in_vae, num_frames=case["frames"])
    torch.testing.assert_close(without, data["y_without_end"], atol=1e-6, rtol=0)


def test_pro_ends_on_the_latent_of_the_image_itself():
    reference, end = (torch.rand(3, 16, 24) * 2 - 1 for _ in range(2))
    before = torch.randn(16, 3, 2, 3)
    y, plain = (condition_pro(reference, stand_in_vae, previous_latents=before, end=one)
                for one in (end, None))
    assert torch.equal(y[4:, -1:], stand_in_vae(end[:, None]))
    assert torch.equal(y[:, :-1], plain[:, :-1])
    assert y[:4, -1].flatten(1).unique(dim=1).flatten().tolist() == [0, 0, 0, 1]


def test_an_end_image_of_another_size_is_refused():
    reference, end = torch.zeros(3, 16, 24), torch.zeros(3, 16, 16)
    for make in (lambda: condition(reference[:, None], reference, stand_in_vae, end=end),
                 lambda: condition_pro(reference, stand_in_vae, end=end)):
        with pytest.raises(ValueError, match=r"the end image is \[3, 16, 16\]"):
            make()


def test_more_motion_moves_latents_away_from_the_first_one():
    latents = torch.randn(16, 6, 2, 3, generator=torch.Generator().manual_seed(0))
    assert amplify(latents, 2, 1) is latents
    more = amplify(latents, 2, 1.5, last=True)
    assert torch.equal(more[:, :2], latents[:, :2]) and torch.equal(more[:, 5], latents[:, 5])
    away, before = (one[:, 2:5] - latents[:, :1] for one in (more, latents))
    mean = before.mean((0, 2, 3), keepdim=True)
    torch.testing.assert_close(away.mean((0, 2, 3), keepdim=True), mean)
    torch.testing.assert_close(away - mean, 1.5 * (before - mean))
    assert amplify(latents * 9, 1, 2).abs()[:, 1:].max() <= 6
    still = latents[:, :1].expand(-1, 6, -1, -1)
    assert torch.equal(amplify(still, 1, 1.4), still)


def test_clip_is_shown_the_first_motion_frame():
    case = next(case for case in CASES if case["name"] == "film")
    data = load_file(GOLDEN / case["file"])
    shown = to_float(data["motion_frames"])[:, 0].mean((1, 2))
    torch.testing.assert_close(shown, data["clip_frame_mean"], atol=1e-6, rtol=0)


sizes = st.integers(1, 3).map(lambda n: 8 * n)


@settings(max_examples=60)
@given(n=st.integers(1, 13), k=st.integers(-1, 30), cfg=st.booleans(), t=st.integers(4, 8),
       h=sizes, w=sizes)
def test_any_size_number_of_motion_frames_and_padding(n, k, cfg, t, h, w):
    num_frames = 4 * (t - 1) + 1
    motion, reference = torch.rand(3, n, h, w) * 2 - 1, torch.rand(3, h, w) * 2 - 1
    seen = []

    def encode(video):
        seen.append(video.clone())
        return stand_in_vae(video)

    y = condition(motion, reference, encode, num_frames=num_frames, ref_pad_num=k, ref_pad_cfg=cfg)
    assert y.shape == (20, t, h // 8, w // 8)
    video, = seen
    for frame in range(num_frames):
        if frame < n:
            expected = motion[:, frame]
        elif k == -1 or frame < n + k:
            expected = reference
        else:
            expected = torch.zeros_like(reference)
        assert torch.equal(video[:, frame], expected), frame
    kept = n if cfg else 1
    for frame in range(num_frames):
        latent, channel = (0, slice(None)) if frame == 0 else ((frame + 3) // 4, (frame + 3) % 4)
        assert (y[:4][channel, latent] == float(frame < kept)).all(), frame


@settings(max_examples=30)
@given(previous=st.integers(0, 5), count=st.integers(1, 5), t=st.integers(6, 9), h=sizes, w=sizes)
def test_pro_places_anchor_motion_latents_and_zeros(previous, count, t, h, w):
    reference = torch.rand(3, h, w) * 2 - 1
    before = torch.randn(16, previous, h // 8, w // 8) if previous else None
    frames = 4 * (t - 1) + 1
    if before is not None and count > previous:
        with pytest.raises(ValueError, match="num_motion_latent"):
            condition_pro(reference, stand_in_vae, num_frames=frames, previous_latents=before,
                          num_motion_latent=count)
        return
    y = condition_pro(reference, stand_in_vae, num_frames=frames, previous_latents=before,
                      num_motion_latent=count)
    used = count if previous else 0
    assert torch.equal(y[4:, :1], stand_in_vae(reference[:, None]))
    assert before is None or torch.equal(y[4:, 1:1 + used], before[:, -used:])
    assert not y[4:, 1 + used:].any() and not y[:4, 1:].any() and y[:4, 0].eq(1).all()


def test_padding_writes_in_place_and_leaves_the_motion_frames():
    video = torch.full((3, 9, 8, 8), 0.25)
    assert pad_(video, 2, torch.ones(3, 8, 8), 3) is video
    assert video[0, :, 0, 0].tolist() == [0.25, 0.25, 1, 1, 1, 0, 0, 0, 0]


def test_mask_follows_device_type_and_size():
    assert mask(81, torch.zeros(16, 21, 6, 4, dtype=torch.bfloat16)).shape == (4, 21, 6, 4)
    assert mask(81, torch.zeros(6, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize(("change", "said"), [
    (dict(num_frames=80), r"num_frames is 80, wanted 4k \+ 1"),
    (dict(num_frames=0), "num_frames is 0"),
    (dict(motion=(3, 82, 16, 16)), "82 motion frames do not fit in a clip of 81"),
    (dict(motion=(3, 1, 12, 16), reference=(3, 12, 16)),
     "frames are 16x12 pixels, wanted multiples of 8"),
    (dict(motion=(3, 0, 16, 16)), r"motion_frames are \[3, 0, 16, 16\]"),
    (dict(motion=(1, 1, 16, 16)), r"wanted \[3, N, H, W\]"),
    (dict(motion=(3, 16, 16)), r"motion_frames are \[3, 16, 16\]"),
    (dict(reference=(3, 8, 8)),
     r"the reference is \[3, 8, 8\], wanted one frame like .*: \[3, 16, 16\]"),
    (dict(scale=255), "pixels are .* to .*, wanted -1 to 1"),
    (dict(scale=float("nan")), "wanted -1 to 1"),
    (dict(ref_pad_num=-2), "ref_pad_num is -2"),
    (dict(dtype=torch.uint8), "wanted floating point"),
])
def test_bad_input_is_said_plainly(change, said):
    motion = torch.full(change.get("motion", (3, 1, 16, 16)), 0.5) * change.get("scale", 1)
    reference = torch.full(change.get("reference", (3, 16, 16)), 0.5)
    dtype = change.get("dtype", torch.float32)
    with pytest.raises(ValueError, match=said):
        condition(motion.to(dtype), reference.to(dtype), stand_in_vae,
                  num_frames=change.get("num_frames", 81),
                  ref_pad_num=change.get("ref_pad_num", -1))


@pytest.mark.parametrize(("change", "said"), [
    (dict(reference=torch.zeros(3, 1, 16, 16)), "the reference is"),
    (dict(previous_latents=torch.zeros(16, 1, 3, 2)), "previous_latents are"),
    (dict(previous_latents=torch.zeros(16, 2, 2)), "previous_latents are"),
    (dict(previous_latents=torch.zeros(16, 21, 2, 2), num_motion_latent=21),
     "num_motion_latent is 21"),
])
def test_bad_input_of_pro_is_said_plainly(change, said):
    arguments = dict(reference=torch.zeros(3, 16, 16)) | change
    with pytest.raises(ValueError, match=said):
        condition_pro(arguments.pop("reference"), stand_in_vae, **arguments)


def test_an_encoder_of_another_length_is_refused():
    with pytest.raises(ValueError, match="encode gave latents"):
        condition(torch.zeros(3, 1, 16, 16), torch.zeros(3, 16, 16),
                  lambda video: torch.zeros(16, 20, 2, 2))
