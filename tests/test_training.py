"""What the training is made of; the training itself needs a GPU."""

import copy
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers", exc_type=ImportError)
sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

import base  # noqa: E402
import data  # noqa: E402
import export  # noqa: E402
import fit  # noqa: E402
import flow  # noqa: E402
import optim  # noqa: E402
import seams  # noqa: E402
import svi  # noqa: E402
import train  # noqa: E402
import vae  # noqa: E402
from schedule import Stage  # noqa: E402

from wan2gp_svi import lora  # noqa: E402
from wan2gp_svi.conditioning import mask  # noqa: E402
from wan2gp_svi.demo import model, network, world  # noqa: E402
from wan2gp_svi.variants import VARIANTS  # noqa: E402


@pytest.mark.parametrize(("make", "names"), [(network.transformer, export.transformer),
                                             (network.autoencoder, export.vae)])
def test_names_go_to_wans_and_back(make, names):
    made = make()
    back = make(names(made.state_dict()))
    for name, tensor in made.state_dict().items():
        assert back.state_dict()[name].equal(tensor), name


def test_the_weights_that_are_shipped_have_these_names():
    names = export.transformer(network.transformer().state_dict())
    assert set(names) == set(model.transformer_file())
    assert set(export.vae(network.autoencoder().state_dict())) == set(model.vae_file())


def test_a_lora_is_written_under_the_keys_of_svis_authors():
    layers = ("attn1.to_q", "attn2.to_out.0", "ffn.net.0.proj", "ffn.net.2")
    written = export.adapter({f"blocks.3.{layer}.lora_{side}": torch.ones(1)
                              for layer in layers for side in "AB"})
    assert set(written) == {f"pipe.dit.blocks.3.{layer}.lora_{side}.default.weight" for side in "AB"
                            for layer in ("self_attn.q", "cross_attn.o", "ffn.0", "ffn.2")}
    assert lora.clean(written, model.BLOCKS).layers == 4


def test_a_shipped_lora_adapts_every_layer():
    for variant in model.ADAPTERS:
        cleaned = lora.clean(model.adapter_file(variant), model.BLOCKS)
        assert cleaned.layers == cleaned.wanted == 10 * model.BLOCKS


def test_the_weights_are_no_larger_than_thirty_megabytes():
    assert sum(path.stat().st_size for path in model.WEIGHTS.iterdir()) <= 30e6


def test_the_vae_begins_as_one_for_pictures():
    torch.manual_seed(0)
    coder = vae.begun().eval()
    still = torch.rand(1, 3, 1, 16, 16).expand(-1, -1, 9, -1, -1) * 2 - 1
    with torch.no_grad():
        latents = network.encode(coder, still)
        seen = network.decode(coder, latents)
    for video in (latents, seen):
        torch.testing.assert_close(video, video[:, :, :1].expand_as(video), rtol=0, atol=1e-4)
    assert seen.std() > 0.05


def test_a_flat_convolution_is_the_whole_one_whose_other_taps_are_zero():
    tensors = model.vae_file()
    coder = network.autoencoder(tensors)
    assert not network.convolutions(coder), "all of the shipped ones are flat"
    back = export.vae(coder.state_dict())
    assert all(back[name].equal(tensor.float()) for name, tensor in tensors.items())
    whole = network.autoencoder()
    whole.load_state_dict({name: torch.nn.functional.pad(tensor, (0, 0, 0, 0, 2, 0))
                           if tensor.shape[2:] == (1, 3, 3) else tensor
                           for name, tensor in coder.state_dict().items()})
    video = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    with torch.no_grad():
        latents = network.encode(whole, video)
        torch.testing.assert_close(network.encode(coder, video), latents, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(network.decode(coder, latents), network.decode(whole, latents),
                                   rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("wrong", ["alike", "changing"])
def test_a_still_picture_that_changes_costs_more_than_one_that_is_wrong(monkeypatch, wrong):
    video = torch.zeros(1, 3, 9, world.HEIGHT, world.WIDTH)
    error = torch.full_like(video, 0.1)
    if wrong == "changing":
        error[:, :, ::2] *= -1
    monkeypatch.setattr(network, "encode", lambda coder, pixels: torch.zeros(1, 16, 3, 2, 2))
    monkeypatch.setattr(network, "decode", lambda coder, latents: video + error)
    loss, squared, _ = vae.loss_of(None, video)
    # 0.1 + 4 * 0.01, and the changes: from the first frame in 4 of 9, from the one before in 8
    wanted = 0.14 if wrong == "alike" else 0.14 + vae.STILL * 0.2 * (4 + 8) / 9
    assert loss.item() == pytest.approx(wanted, rel=1e-3) and squared.item() == pytest.approx(0.01)


def test_convolutions_side_by_side_are_those_of_diffusers():
    torch.manual_seed(0)
    ours = network.autoencoder().requires_grad_(True)
    theirs = copy.deepcopy(ours)
    for layer in theirs.modules():
        if isinstance(layer, network.Convolution):
            layer.__class__ = network.WanCausalConv3d
    video = torch.rand(1, 3, 9, 16, 16) * 2 - 1

    def gradients(coder):
        coder.zero_grad()
        seen = network.decode(coder, network.encode(coder, video))
        seen.square().mean().backward()
        return [seen.detach()] + [p.grad.clone() for p in coder.parameters()]

    for one, other in zip(gradients(ours), gradients(theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_what_is_wrong_in_all_frames_alike_weighs_more(monkeypatch):
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    # wrong by the clip itself
    monkeypatch.setattr(flow, "flow", lambda dit, x, *_: torch.zeros_like(x))
    alike, turning = torch.full((2, 16, 21, 8, 12), 2.0), torch.full((2, 16, 21, 8, 12), 2.0)
    turning[:, :, ::2] *= -1
    turning[:, :, 20] = 0
    for clip, still in ((alike, 4 * 4), (turning, 0)):
        plain, weighed = (flow.loss(None, (clip, None, torch.zeros(2), None, None), still=weight)
                          for weight in (0.0, 4.0))
        assert (weighed - plain).item() == pytest.approx(still) and plain > 3


def test_the_first_latent_weighs_more_and_the_last_one_of_clips_that_end_on_an_image(monkeypatch):
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)
    monkeypatch.setattr(flow, "flow", lambda dit, x, *_: torch.zeros_like(x))
    for at, ends, factor in ((0, 0, 4), (0, 1, 4), (10, 1, 1), (20, 0, 1), (20, 1, 4)):
        wrong = torch.zeros(2, 16, 21, 8, 12)
        wrong[:, :, at] = 1
        found = flow.loss(None, (wrong, None, torch.full((2,), ends), None, None), edge=4)
        assert found.item() == pytest.approx(factor / 21)


def test_clips_that_end_on_an_image_are_marked_as_the_product_marks_them():
    latents = torch.randn(2, 16, 21, 8, 12)
    y = flow.y_of(latents, torch.tensor([False, True]))
    for one, clip, last in zip(y, latents, (False, True), strict=True):
        assert one[:4].equal(mask(81, clip, last=last)) and one[4:].equal(clip)


def test_a_clip_that_ends_on_an_image_ends_anywhere_and_its_video_on_that_image(monkeypatch):
    torch.manual_seed(0)
    usual = torch.full((4000,), 0.01)
    ends, speeds = data.ending(usual)
    assert 0.22 < ends.float().mean() < 0.28 and speeds[~ends].equal(usual[~ends])
    further = (speeds[ends] - 0.01) * 80
    assert further.min() < -0.45 and further.max() > 0.45 and further.abs().max() <= 0.5
    monkeypatch.setattr(data, "encoded", lambda vae, video: video)
    motion, last = torch.full((2, 3, 1, 64, 96), 0.5), torch.ones(2, 3, 64, 96)
    video = data.conditioned(None, motion, None, last, torch.tensor([False, True]))
    assert video[:, :, 0].eq(0.5).all() and video[:, :, 1:80].eq(0).all()
    assert video[0, :, 80].eq(0).all() and video[1, :, 80].eq(1).all()


def test_a_background_is_read_off_a_picture_where_it_is_seen():
    scenes = [world.scene(seed) for seed in range(4)]
    torch.manual_seed(0)
    spread = [0.03] * 12 + [0.3, 0.3, 0.3, 0.01, 0.01] * 2 + [0.1, 0.02, 0.3, 0.3, 0.2]
    near = world.numbers(scenes) + torch.randn(4, 27) * torch.tensor(spread)
    near[:, :12] = near[:, :12].clamp(0, 1)
    pictures, seen = world.drawn(near), torch.ones(4, 1, world.HEIGHT, world.WIDTH)
    pictures[:, :, 20:40, 30:50], seen[:, :, 20:40, 30:50] = 1, 0  # an object
    found = fit.fitted(world.numbers(scenes), pictures, seen)
    before, after = ((world.drawn(values) - world.drawn(near)).square().mean().sqrt()
                     for values in (world.numbers(scenes), found))
    assert after < before / 10
    near[:, :3] = 1.2  # brighter than a picture can be
    found = fit.fitted(world.numbers(scenes), world.drawn(near), torch.ones_like(seen))
    assert found[:, :12].min() >= 0 and found[:, :12].max() == 1


def test_what_the_vae_takes_away_is_made_up_for():
    """At least two in three parts of it, in the backgrounds read off the last frames of a chain."""
    coder, lost = network.autoencoder(model.vae_file()), []
    true = [world.scene(seed, objects=1) for seed in range(3)]
    for rounds in (0, 2):
        recipe = svi.Recipe(0, 0, 0, 0, 0, rounds, 0)
        chains = svi.Chains.begin(VARIANTS["film"], recipe, 0, coder, None, torch.device("cpu"))
        speeds = data.speeds([scene.action for scene in true])
        turns = data.turns(speeds, torch.zeros(3), svi.SEAM)
        video = world.render(chains.stronger(true), turns)
        chains.scenes, chains.turns = true, turns[:, -5]
        chains.before = speeds
        chains.motion = chains.shown(data.encoded(coder, video))[:, :, -5:]
        assert chains.follow_backgrounds().max() < svi.ASTRAY
        off = (world.background(chains.scenes) - world.background(true)) / 2
        lost.append(off.norm(dim=1).mean())
    assert lost[0] > 0.004 and lost[1] < lost[0] / 3


def test_a_clip_is_to_begin_with_its_motion_frame_whose_faults_fade():
    coder, recipe = network.autoencoder(model.vae_file()), svi.Recipe(0, 0, 0, 0, 0, 0, 3)
    chains = svi.Chains.begin(VARIANTS["shot"], recipe, 0, coder, None, torch.device("cpu"))
    scenes = [world.scene(seed, objects=1) for seed in range(2)]
    turns = data.turns(data.speeds([scene.action for scene in scenes]), torch.zeros(2))
    video = world.render(scenes, turns)
    motion = (video[:, :, 0] + 0.05).clamp(-1, 1)
    y = data.conditioned(coder, motion[:, :, None], video[:, :, 0], video[:, :, -1],
                         torch.zeros(2, dtype=torch.bool))
    found, true = chains.wanted(scenes, turns, y), data.encoded(coder, video)

    off, usual = ((network.decode(coder, first)[:, :, 0] - motion).abs().mean()
                  for first in (found[:, :, :1], y[:, :, :1]))
    assert off < 0.8 * usual
    assert found[:, :, 4:].equal(true[:, :, 4:])
    added, fault = found[:, :, 1:4] - true[:, :, 1:4], y[:, :, :1] - true[:, :, :1]
    assert 0.5 < (added != 0).float().mean() < 1
    for latent, fade in enumerate((0.75, 0.5, 0.25)):
        kept = added[:, :, latent] != 0
        part = (added[:, :, latent] / fault[:, :, 0])[kept & (fault[:, :, 0].abs() > 0.01)]
        assert torch.allclose(part, torch.tensor(fade), atol=0.01)
    for number, (scene, each) in enumerate(zip(scenes, turns, strict=True)):
        x, y = (world.centres(scene, each[:1])[0, 0] // 8).int().tolist()
        assert not added[number, :, 0, y, x].any(), "an object moves on"


def test_what_a_vae_changes_in_its_own_frames_costs_most_where_a_clip_begins(monkeypatch):
    made = torch.rand(2, 16, seams.LATENTS, 8, 12)
    shown = data.from_bytes(torch.randint(256, (2, 3, 13, 64, 96), dtype=torch.uint8))
    monkeypatch.setattr(network, "encode", lambda coder, video: video)

    def cost(*wrong: int) -> float:
        off = torch.zeros(1, 1, seams.MOTION, 1, 1)
        off[:, :, list(wrong)] = 0.1
        monkeypatch.setattr(network, "decode", lambda coder, latents:
                            shown if latents is made else latents + off)
        return seams.changed(None, made).item()

    assert cost() == 0
    assert cost(0) > 2 * cost(4) > 0


def test_the_vae_learns_to_give_its_own_frames_back(tmp_path, monkeypatch):
    monkeypatch.setattr(seams, "ends_of_chains",
                        lambda *_: torch.randn(2, 16, seams.LATENTS, 8, 12))
    monkeypatch.setattr(seams, "BATCH", 1)
    monkeypatch.setattr(vae, "BATCH", {9: 1})
    monkeypatch.setattr(seams, "CLIP_FRAMES", 9)
    first = network.autoencoder(model.vae_file())
    state = seams.train(tmp_path, time.monotonic() + 600, torch.device("cpu"), first,
                        {"shot": network.transformer()}, seconds=0.1, clips=2)
    assert state is not None
    names = [name for name, tensor in first.state_dict().items() if not tensor.equal(state[name])]
    assert any("encoder" in name for name in names) and any("decoder" in name for name in names)


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 16, 48), (2, 48, 16)])
def test_newton_schulz_makes_matrices_orthogonal(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(optim.orthogonal(torch.randn(shape)))
    assert values.min() > 0.3 and values.max() < 1.5


def test_muon_and_adamw_learn():
    torch.manual_seed(0)
    layer, target = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
    optimizer = optim.Optimizer([layer.weight], [layer.bias], 0.05, 0.05, mean=0.9)
    x, losses = torch.randn(64, 8), []
    for step in range(200):
        optimizer.scale.fill_(1 - step / 200)
        optimizer.zero()
        loss = (layer(x) - target(x)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 100
    mean = [m.clone() for m in optimizer.mean]
    optimizer.swap()
    assert all(p.equal(m) for p, m in zip(optimizer.parameters, mean, strict=True))


def test_base_and_lora_go_on_from_the_weights_of_a_file():
    shipped = network.transformer(model.transformer_file()).state_dict()
    begun = base.model(torch.device("cpu"), model.transformer_file())
    assert all(begun.state_dict()[name].equal(tensor) for name, tensor in shipped.items())
    assert base.model(torch.device("cpu")).proj_out.weight.count_nonzero() == 0
    written = model.adapter_file("shot")
    layers = [f"blocks.{block}.{layer}" for block in range(model.BLOCKS)
              for layer in ("attn1.to_q", "attn2.to_out.0", "ffn.net.0.proj", "ffn.net.2")]
    matrices = {name: torch.zeros_like(written[key]) for layer in layers for side in "AB"
                for name in (f"{layer}.lora_{side}",) for key in export.adapter({name: layer})}
    svi.fill(matrices, written)
    assert all(written[key].equal(tensor) for key, tensor in export.adapter(matrices).items())


def test_the_second_round_goes_on_from_the_first(tmp_path, monkeypatch):
    states = {"vae": network.autoencoder(model.vae_file()).state_dict(),
              "base": network.transformer(model.transformer_file()).state_dict()}
    calls = []

    def of(stage, state, place):
        def trained(folder, until, device, *given):
            calls.append((stage, folder.name, bool(given[place:] and given[place])))
            return states[state] if state else {"blocks.0.attn1.to_q.lora_A": torch.ones(1)}
        return trained

    monkeypatch.setattr(vae, "train", of("vae", "vae", 9))
    monkeypatch.setattr(seams, "train", of("seams", "vae", 1))
    monkeypatch.setattr(base, "train", of("base", "base", 1))
    monkeypatch.setattr(svi, "train", of("lora", "", 3))
    monkeypatch.setattr(train.model, "fused", lambda base, adapter: base)
    monkeypatch.setattr(sys, "argv", ["train.py", str(tmp_path / "run")])
    for _ in range(2):  # the second call finds all files
        assert train.main() == 0
        assert calls == [("vae", "first", False), ("base", "first", False),
                         *[("lora", "first", False)] * 3, ("seams", "run", True),
                         ("base", "run", True), *[("lora", "run", True)] * 3]
    wanted = {model.VAE, model.TRANSFORMER, *model.ADAPTERS.values()}
    for folder in (tmp_path / "run", tmp_path / "run/first"):
        assert {path.name for path in folder.glob("*.safetensors")} == wanted


def test_a_stage_resumes_where_a_call_stopped(tmp_path):
    kept = optim.Optimizer([], [torch.nn.Parameter(torch.zeros(()))], 0, 0)
    number, = kept.parameters
    first = Stage("x", 0.2, tmp_path, time.monotonic() + 0.05, kept)
    for _ in first.run(lambda: ""):
        number.data += 1
        kept.count += 2
        time.sleep(0.01)
    assert not first.done and number == first.steps > 0
    number.data.zero_()
    kept.count.zero_()
    second = Stage("x", 0.2, tmp_path, time.monotonic() + 60, kept)
    second.resume()
    assert number == first.steps and kept.count == 2 * number and second.spent == first.spent
    for _ in second.run(lambda: ""):
        time.sleep(0.01)
    assert second.done and second.steps > first.steps and second.rate() == 0
    begun = [Stage("y", 1, tmp_path, 0, kept, peak, spent=0.1).rate() for peak in (1.0, 0.5)]
    assert begun == [1, 0.5]
    assert (tmp_path / "log.csv").read_text(encoding="utf-8").count("\n") == 2
