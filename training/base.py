"""The base: an image-to-video model conditioned like Wan, on one frame and grey."""

from __future__ import annotations

import time
from collections.abc import Mapping
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
AGAIN, RATE = 300, 0.5  #: seconds of the second round, and part of the first one's learning rate
CLIPS = 40960
BATCH = 128


def train(folder: Path, until: float, device: torch.device, vae: AutoencoderKLWan,
          first: Mapping[str, Tensor] | None = None, seconds: float = 0, clips: int = CLIPS,
          batch: int = BATCH) -> dict[str, Tensor] | None:
    """The transformer's state dict, or None if there is more to train.

    `first`: that of the first round, under Wan's names, to go on from with other clips
    """
    torch.manual_seed(2)
    dit = model(device, first)
    matrices = [p for p in dit.blocks.parameters() if p.dim() == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in dit.parameters() if p.requires_grad and id(p) not in chosen]
    optimizer = Optimizer(matrices, others, 8e-3, 1e-3, decay=0.02, mean=0.999)
    stage = Stage("base", seconds or (AGAIN if first else SECONDS), folder, until, optimizer,
                  RATE if first else 1.0)
    stage.resume()
    started = time.monotonic()
    kept = folder / "base.clips.pt"
    if kept.exists():
        samples = flow.Samples(*torch.load(kept, map_location=device, weights_only=True))
    else:
        drawn = range(clips, 2 * clips) if first else range(clips)
        samples = pool(vae, drawn, device)
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


def model(device: torch.device,
          first: Mapping[str, Tensor] | None = None) -> WanTransformer3DModel:
    """The transformer, the identity in front of CLIP's features fixed; a new one's output is
    zero."""
    dit = nn.Module.to(network.transformer(first), device).train().requires_grad_(True)
    identity = dit.get_submodule("condition_embedder.image_embedder.ff.net.0.proj")
    assert isinstance(identity, nn.Linear)
    identity.requires_grad_(False)
    if first:
        return dit
    nn.init.eye_(identity.weight)
    for bias in (identity.bias, dit.proj_out.weight, dit.proj_out.bias):
        nn.init.zeros_(bias)
    return dit


def compiled(dit: WanTransformer3DModel) -> None:
    if next(dit.parameters()).is_cuda:
        dit.compile_repeated_blocks(fullgraph=True)
        dit.condition_embedder.compile()


def pool(vae: AutoencoderKLWan, drawn: range, device: torch.device) -> flow.Samples:
    """Clips of the scenes with these numbers."""
    samples = flow.Samples.empty(len(drawn), device)
    for start in range(0, len(drawn), 256):
        numbers = drawn[start:start + 256]
        some = slice(start, start + len(numbers))
        scenes = data.scenes(10_000 + numbers[0], len(numbers))
        ends, speeds = data.ending(data.speeds([s.action for s in scenes]))
        video = world.render(scenes, data.turns(speeds, torch.rand(len(scenes))), device)
        frame, last = (data.to_bytes(video[:, :, at]) for at in (0, -1))
        y = data.conditioned(vae, data.from_bytes(frame)[:, :, None], None, data.from_bytes(last),
                             ends)
        samples.put(some, data.encoded(vae, video), y, ends, frame,
                    data.words([s.prompt() for s in scenes]))
    return samples
