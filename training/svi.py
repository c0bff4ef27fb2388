"""The SVI LoRAs: the model learns from chains of clips that it makes itself, so that the faults which pile up in a long
video are among what it is conditioned on, while what it is to make stays clean.

Stable Video Infinity recycles errors: it puts what the model got wrong into its clean inputs. Here the world is known,
so the faulty motion frames can be the real ones, of chains up to `DEPTH` clips long; the truth is drawn anew from where
the things are in them, and, without a reference, from the landscape that they show: nobody could tell what it was
before, and a model that is asked to guess it guesses, anew in every clip. Errors of one-step predictions go into what
is denoised, as in the paper.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

import base
import data
import flow
import torch
import torch.nn.functional as F
from fit import fitted
from optim import Optimizer, graphed
from schedule import Stage
from torch import Tensor, nn

from wan2gp_svi.demo import network, world
from wan2gp_svi.demo.model import SHIFT, STEPS
from wan2gp_svi.variants import CLIP_FRAMES, VARIANTS, Variant

RANK = 24
LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")
BATCH, CHAINS, DEPTH = 128, 256, 16
CLEAN = 0.25  #: of the time every chain begins anew: a model that knows nothing yet makes no chains
SEAM = 17  #: frames that are enough of a clip for its last ones
ASTRAY = 0.003  #: mean squared error at which a chain shows no landscape any more
FIRST = 500_000  #: seed of the first scene


@dataclass(frozen=True)
class Recipe:
    """Seconds of training, and between two gatherings; how many clips are kept; the weight of what stands still (see
    flow.loss); the share of chains that end at a clip; rounds in which what the VAE takes away is put on beforehand
    (see Chains.stronger)."""

    seconds: float
    between: float
    kept: int
    still: float
    ended: float
    restored: int


#: without a reference a fault stays, so that the clips learned from must be of what the model makes by now
RECIPES = {"shot": Recipe(330, 8.0, 6144, 4.0, 0.2, 0), "film": Recipe(190, 5.0, 3072, 4.0, 0.35, 2)}


def train(folder: Path, until: float, device: torch.device, vae: nn.Module, dit: nn.Module, name: str,
          seconds: float = 0, batch: int = BATCH, chains: int = CHAINS) -> dict[str, Tensor] | None:
    """The LoRA's matrices, or None when there is more to train."""
    from peft import LoraConfig  # the chains are tested without it

    torch.manual_seed(3)
    recipe = RECIPES[name]
    dit.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(LAYERS)))
    optimizer = Optimizer([p for p in dit.parameters() if p.requires_grad], [], 6e-3, 0.0, mean=0.995)
    stage = Stage(name, seconds or recipe.seconds, folder, until,
                  lambda: {"lora": [p.detach() for p in optimizer.parameters], "optimizer": optimizer.state()},
                  lambda state: (torch._foreach_copy_(optimizer.parameters, state["lora"]),
                                 optimizer.load(state["optimizer"])))
    with torch.no_grad():
        stage.resume()
    started = time.monotonic()
    samples = flow.Samples.empty(recipe.kept, device)
    gathering = Chains.begin(VARIANTS[name], recipe, chains, vae, dit, device)
    while gathering.made < min(6 * chains, recipe.kept):
        gathering.put(samples, stage.part >= CLEAN)
    among = torch.full((1,), gathering.made, device=device)
    errors = flow.Errors.none(device, 0.3)
    stage.say(f"{gathering.made} clips gathered in {time.monotonic() - started:.0f} s")

    def step() -> Tensor:
        optimizer.zero()
        found = flow.loss(dit, samples.draw(batch, among), errors, recipe.still)
        found.backward()
        optimizer.step()
        return found.detach()

    base.compiled(dit)
    step = graphed(step)
    stage.say(f"ready after {time.monotonic() - started:.0f} s")
    mean = torch.zeros((), device=device)
    gathered = time.monotonic()
    for _ in stage.run(lambda: f"loss {mean.item():.4f} clips {gathering.made} depth {gathering.depth:.1f} "
                               f"faults {gathering.fault:.4f} astray {gathering.astray:.5f}"):
        optimizer.scale.fill_(stage.rate())
        found = step()
        mean.lerp_(found, 0.01) if mean.any() else mean.copy_(found)
        if time.monotonic() - gathered > recipe.between:
            gathering.put(samples, stage.part >= CLEAN)
            among.fill_(min(gathering.made, recipe.kept))
            gathered = time.monotonic()
    optimizer.swap()
    return {name.replace(".default.weight", ""): p.detach()
            for name, p in dit.named_parameters() if p.requires_grad} if stage.done else None


@dataclass
class Chains:
    """Chains of clips that the model goes on with, each a scene, an action, its last frames and where its things are.

    `made` counts the clips; `fault` is the mean squared error of the last motion frames, to the truth that was drawn
    for them, `astray` that of their landscapes to those that fit them best.
    """

    variant: Variant
    recipe: Recipe
    vae: nn.Module
    dit: nn.Module
    device: torch.device
    draw: random.Random
    scenes: list[world.Scene]
    actions: list[str]
    before: list[str]
    turns: Tensor
    motion: Tensor
    reference: Tensor
    depths: list[int]
    seed: int
    made: int = 0
    fault: float = 0.0
    astray: float = 0.0

    @classmethod
    def begin(cls, variant: Variant, recipe: Recipe, count: int, vae: nn.Module, dit: nn.Module,
              device: torch.device) -> Chains:
        frames = torch.zeros(count, 3, variant.motion_frames, world.HEIGHT, world.WIDTH, device=device)
        chains = cls(variant, recipe, vae, dit, device, random.Random(variant.id), [world.scene(0)] * count,
                     [""] * count, [""] * count, torch.zeros(count), frames, frames[:, :, 0].clone(),
                     [0] * count, FIRST)
        chains.renew(list(range(count)))
        return chains

    @property
    def depth(self) -> float:
        return sum(self.depths) / len(self.depths)

    def renew(self, which: list[int]) -> None:
        """New scenes in the place of these. The motion frames of three in four are as a model without a fault leaves
        them, of the others the user's image alone."""
        if not which:
            return
        scenes, n = data.scenes(self.seed, len(which)), self.motion.shape[2]
        self.seed += len(which)
        actions, start = [s.action for s in scenes], torch.rand(len(which))
        # half of the references show the things elsewhere, as in the later clips of a chain
        shown = torch.where(torch.rand(len(which)) < 0.5, torch.rand(len(which)), start)
        self.reference[which] = self._drawn(scenes, shown[:, None])[:, :, 0]
        begun = torch.rand(len(which)) < 0.75
        motion = self._drawn(scenes, data.turns(actions, start, n))
        if self.recipe.restored:
            earlier = start - (SEAM - n) * data.speeds(actions)
            video = self._drawn(self.stronger(scenes), data.turns(actions, earlier, SEAM))
            motion[begun] = self.shown(data.encoded(self.vae, video[begun]))[:, :, -n:]
        self.motion[which] = motion
        for number, scene, turn, depth in zip(which, scenes, start, begun.int().tolist(), strict=True):
            self.scenes[number], self.actions[number], self.before[number] = scene, scene.action, scene.action
            self.turns[number], self.depths[number] = turn, depth

    @torch.no_grad()
    def put(self, samples: flow.Samples, chained: bool) -> None:
        """Adds a clip of each chain to the samples, in the place of the oldest; then goes on by it, or begins anew."""
        n, count = self.motion.shape[2], len(self.scenes)
        reference = self.reference if self.variant.ref_pad_num else None
        turns = data.turns(self.before, self.turns, n)
        turns = torch.cat([turns, data.turns(self.actions, turns[:, -1], CLIP_FRAMES - n + 1)[:, 1:]], 1)
        motion = self._spoiled() if reference is not None else self.motion.clone()
        motion[[not depth for depth in self.depths], :, 1:] = 0  # a first clip has the user's image alone
        words = data.words([s.prompt(action) for s, action in zip(self.scenes, self.actions, strict=True)])
        y = torch.cat([data.conditioned(self.vae, motion[i:i + 128], None if reference is None else
                                        reference[i:i + 128]) for i in range(0, count, 128)])
        scenes = self.stronger(self.scenes)
        latents = torch.cat([data.encoded(self.vae, world.render(scenes[i:i + 128], turns[i:i + 128], self.device))
                             for i in range(0, count, 128)])
        frame = data.to_bytes(motion[:, :, 0])
        where = torch.arange(self.made, self.made + count) % len(samples.latents)
        self.made += count
        samples.put(where.to(self.device), latents, y, frame, words)
        if not chained:
            self.renew(list(range(count)))
            return
        # in parts as large as a batch: what is compiled is for that size
        latent = torch.cat([self._denoised(*part) for part in zip(*(whole.split(BATCH) for whole in
                                                             (y, frame, words.to(self.device))), strict=True)])
        for i in range(0, count, 128):
            self.motion[i:i + 128] = self.shown(latent[i:i + 128])[:, :, -n:]
        self._follow(turns)

    def shown(self, latents: Tensor) -> Tensor:
        """The frames of latents, of 8 bit."""
        with torch.autocast("cuda", torch.float16, enabled=self.device.type == "cuda"):
            return data.from_bytes(data.to_bytes(network.decode(self.vae, latents).float()))

    def _drawn(self, scenes: list[world.Scene], turns: Tensor) -> Tensor:
        """Frames of 8 bit."""
        return data.from_bytes(data.to_bytes(world.render(scenes, turns, self.device)))

    def stronger(self, scenes: list[world.Scene]) -> list[world.Scene]:
        """What the landscapes have to be for them to be these once they have been through the VAE, which makes them
        paler: a chain goes through it in every clip."""
        wanted = values = world.numbers(scenes).to(self.device)
        everywhere = torch.ones(len(scenes), 1, world.HEIGHT, world.WIDTH, device=self.device)
        for _ in range(self.recipe.restored):
            video = world.landscape(values)[:, :, None].expand(-1, -1, SEAM, -1, -1)
            shown = self.shown(data.encoded(self.vae, video))[:, :, -self.motion.shape[2]:].mean(2)
            values = values + wanted - fitted(wanted, shown, everywhere)
        return _with_landscapes(scenes, values)

    def _spoiled(self) -> Tensor:
        """The motion frames; of one chain in two softer, and their colours off by up to 6 %: the reference counts."""
        hit = (torch.rand(len(self.motion), 1, 1, 1, 1, device=self.device) < 0.5).float()
        off = (torch.rand(len(self.motion), 3, 2, 1, 1, device=self.device) - 0.5) * 0.12 * hit
        soft = F.avg_pool3d(self.motion, (1, 5, 5), 1, (0, 2, 2), count_include_pad=False)
        motion = torch.lerp(self.motion, soft, torch.rand_like(hit) * hit)
        return (motion * (1 + off[:, :, :1]) + off[:, :, 1:]).clamp(-1, 1)

    def _denoised(self, y: Tensor, frame: Tensor, words: Tensor) -> Tensor:
        x = torch.randn_like(y)
        even = torch.linspace(1, 0, STEPS + 1)
        levels = SHIFT * even / (1 + (SHIFT - 1) * even)
        for high, low in zip(levels[:-1], levels[1:], strict=True):
            sigma = high.to(self.device).expand(len(x))
            x = x + (low - high).item() * flow.flow(self.dit, x, sigma, y, frame, words)
        return x

    def _follow(self, turns: Tensor) -> None:
        """Where the things are in the new motion frames, by what fits best; then the next actions and new scenes."""
        n = self.motion.shape[2]
        # all around the orbit, and then close by: a chain that has jumped goes on from where it is
        around, nearby = torch.arange(48) / 48 - 0.5, torch.linspace(-1, 1, 9) / 48
        now = turns[:, -1]
        for tries, cost in ((around, 0.002), (nearby, 0.0), (nearby / 4, 0.0)):
            candidates = now[:, None] + tries
            errors = torch.cat([(world.render(self.scenes[i:i + 64], candidates[i:i + 64], self.device)
                                 - self.motion[i:i + 64, :, -1:]).square().mean((1, 3, 4))
                                for i in range(0, len(self.scenes), 64)]).cpu()
            least, best = (errors + cost * tries.abs()).min(1)
            now = candidates.gather(1, best[:, None])[:, 0]
        self.fault = least.mean().item()
        self.turns = now - (n - 1) * data.speeds(self.actions)
        astray = torch.zeros(len(now)) if self.variant.ref_pad_num else self.follow_landscapes()
        self.astray = astray.mean().item()
        for number in range(len(self.scenes)):
            action = self.actions[number]
            self.before[number] = action
            if self.variant.stream and self.draw.random() < 0.4:
                self.actions[number] = self.draw.choice(list(world.TURNS))
            self.depths[number] += 1
        self.renew([number for number, depth in enumerate(self.depths)
                    if depth >= DEPTH or astray[number] > ASTRAY or self.draw.random() < self.recipe.ended])

    def follow_landscapes(self) -> Tensor:
        """The landscapes that the motion frames show are the truth from now on; how far these are from them, [B]."""
        turns = data.turns(self.actions, self.turns, self.motion.shape[2])
        seen = torch.stack([~world.covered(*each) for each in zip(self.scenes, turns, strict=True)])
        seen = seen[:, None].to(self.device, torch.float32)
        shown = (self.motion * seen).sum(2) / seen.sum(2).clamp(1)
        seen = seen.amax(2)
        values = fitted(world.numbers(self.scenes).to(self.device), shown, seen)
        self.scenes = _with_landscapes(self.scenes, values)
        return ((world.landscape(values) - shown).square() * seen).mean((1, 2, 3)).cpu()


def _with_landscapes(scenes: list[world.Scene], values: Tensor) -> list[world.Scene]:
    return [world.with_landscape(scene, numbers) for scene, numbers in zip(scenes, values.tolist(), strict=True)]
