"""The base: an image-to-video model conditioned like Wan, on one frame and grey."""

from __future__ import annotations

import time
from pathlib import Path

import data
import flow
import torch
from diffusers.models import AutoencoderKLWan, WanTransformer3DModel
from optim import Optimizer, graphed
from schedule import Stage
from torch import Tensor, nn

from wan2gp_svi.demo import network, world

SECONDS = 375
CLIPS = 40960
BATCH = 128


def train(folder: Path, until: float, device: torch.device, vae: AutoencoderKLWan,
          seconds: float = SECONDS, clips: int = CLIPS,
          batch: int = BATCH) -> dict[str, Tensor] | None:
    """The transformer's state dict, or None if there is more to train."""
    torch.manual_seed(2)
    dit = model(device)
    matrices = [p for p in dit.blocks.parameters() if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in dit.parameters() if p.requires_grad and id(p) not in chosen]
    optimizer = Optimizer(matrices, others, 8e-3, 1e-3, decay=0.02, mean=0.999)
    stage = Stage("base", seconds, folder, until, optimizer)
    stage.resume()
    started = time.monotonic()
    kept = folder / "base.clips.pt"
    if kept.exists():
        samples = flow.Samples(*torch.load(kept, map_location=device, weights_only=True))
    else:
        samples = pool(vae, clips, device)
        torch.save(list(vars(samples).values()), kept)
    stage.say(f"{clips} clips drawn and encoded in {time.monotonic() - started:.0f} s")
    among = torch.full((1,), clips, device=device)
    compiled(dit)

    def step() -> Tensor:
        optimizer.zero()
        found = flow.loss(dit, samples.draw(batch, among))
        found.backward()
        optimizer.step()
        return found.detach()

    step = graphed(step)
    stage.say(f"ready after {time.monotonic() - started:.0f} s")
    mean = torch.zeros((), device=device)
    for _ in stage.run(lambda: f"loss {mean.item():.4f}"):
        optimizer.scale.fill_(stage.rate())
        found = step()
        mean.lerp_(found, 0.01 if mean.any() else 1.0)
    optimizer.swap()
    return dit.state_dict() if stage.done else None


def model(device: torch.device) -> WanTransformer3DModel:
    """The transformer, its output zero, the identity in front of CLIP's features fixed."""
    dit = nn.Module.to(network.transformer(), device).train().requires_grad_(True)
    identity = dit.get_submodule("condition_embedder.image_embedder.ff.net.0.proj")
    assert isinstance(identity, nn.Linear)
    identity.requires_grad_(False)
    nn.init.eye_(identity.weight)
    for bias in (identity.bias, dit.proj_out.weight, dit.proj_out.bias):
        nn.init.zeros_(bias)
    return dit


def compiled(dit: WanTransformer3DModel) -> None:
    if next(dit.parameters()).is_cuda:
        dit.compile_repeated_blocks(fullgraph=True)
        dit.condition_embedder.compile()


def pool(vae: AutoencoderKLWan, clips: int, device: torch.device) -> flow.Samples:
    samples = flow.Samples.empty(clips, device)
    for first in range(0, clips, 256):
        some = slice(first, min(first + 256, clips))
        scenes = data.scenes(10_000 + first, some.stop - some.start)
        ends, speeds = data.ending(data.speeds([s.action for s in scenes]))
        video = world.render(scenes, data.turns(speeds, torch.rand(len(scenes))), device)
        frame, last = (data.to_bytes(video[:, :, at]) for at in (0, -1))
        y = data.conditioned(vae, data.from_bytes(frame)[:, :, None], None, data.from_bytes(last),
                             ends)
        samples.put(some, data.encoded(vae, video), y, ends, frame,
                    data.words([s.prompt() for s in scenes]))
    return samples
