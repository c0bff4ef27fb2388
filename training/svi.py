"""The SVI LoRAs: the model learns from chains of its own clips, so the faults that add up in a long
video are in its conditioning, while its target stays clean.

Stable Video Infinity recycles errors: it puts what the model got wrong into its clean inputs. Here
the world is known, so the faulty motion frames can be real ones, of chains up to `DEPTH` clips. The
truth is drawn from where the objects are in them and, without a reference, from the background that
they show: nothing tells what it was before, and a model that has to guess it guesses differently in
every clip. Errors of one-step predictions are added to what is denoised, as in the paper.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import base
import data
import export
import flow
import torch
import torch.nn.functional as F
from diffusers.models import AutoencoderKLWan, WanTransformer3DModel
from fit import fitted
from optim import Optimizer, graphed
from schedule import Stage
from torch import Tensor

from wan2gp_svi.demo import network, world
from wan2gp_svi.demo.model import SHIFT, STEPS
from wan2gp_svi.variants import CLIP_FRAMES, VARIANTS, Variant

RANK = 32
LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")
BATCH, CHAINS, DEPTH = 128, 256, 16
CLEAN = 0.25  #: share of the time without chains, until the model knows enough for them
RATE = 0.5  #: of the second round, as part of the first one's learning rate
SEAM = 17  #: frames of a clip that suffice to decode its last ones
EDGE = 4.0  #: weight of a clip's first latent, and of its last one if it ends on an image
ASTRAY = 0.003  #: mean squared error at which a chain no longer shows a background
FIRST = 500_000  #: seed of the first scene


@dataclass(frozen=True)
class Recipe:
    """How a LoRA is trained.

    `seconds`, `between`  of training, and between two gatherings of clips
    `kept`      clips in the memory
    `still`     weight of the error's mean over time (see flow.loss)
    `ended`     share of the chains that end at each clip
    `restored`  rounds in which backgrounds get what the VAE will take away (Chains.stronger)
    `fading`    latents over which faults of the motion frames fade (Chains.wanted)
    """

    seconds: float
    between: float
    kept: int
    still: float
    ended: float
    restored: int
    fading: int


#: without a reference a fault stays, so the clips to learn from must be recent ones
RECIPES = {**dict.fromkeys(("2.0", "shot"), Recipe(390, 8.0, 6144, 4.0, 0.2, 0, 5)),
           "film": Recipe(390, 5.0, 3072, 4.0, 0.35, 2, 0)}


def train(folder: Path, until: float, device: torch.device, vae: AutoencoderKLWan,
          dit: WanTransformer3DModel, name: str, first: Mapping[str, Tensor] | None = None,
          seconds: float = 0, batch: int = BATCH,
          chains: int = CHAINS) -> dict[str, Tensor] | None:
    """The LoRA's matrices, or None if there is more to train.

    `first`: those of the first round, under the keys of the file, to go on from
    """
    from peft import LoraConfig  # the chains are tested without it

    torch.manual_seed(3)
    recipe = RECIPES[name]
    dit.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=list(LAYERS)))
    matrices = {name.replace(".default.weight", ""): p for name, p in dit.named_parameters()
                if p.requires_grad}
    if first:
        fill(matrices, first)
    optimizer = Optimizer(matrices.values(), [], 6e-3, 0.0, mean=0.995)
    stage = Stage(name, seconds or recipe.seconds, folder, until, optimizer,
                  RATE if first else 1.0)
    stage.resume()
    samples = flow.Samples.empty(recipe.kept, device)
    gathering = Chains.begin(VARIANTS[name], recipe, chains, vae, dit, device)
    _learn(stage, optimizer, gathering, samples, batch, 0.0 if first else CLEAN)
    optimizer.swap()
    return {name: p.detach() for name, p in matrices.items()} if stage.done else None


@torch.no_grad()
def fill(matrices: Mapping[str, Tensor], first: Mapping[str, Tensor]) -> None:
    """Puts the matrices of a LoRA's file into those of the model, by their names."""
    for name, matrix in matrices.items():
        matrix.copy_(first[next(iter(export.adapter({name: matrix})))])


def _learn(stage: Stage, optimizer: Optimizer, gathering: Chains, samples: flow.Samples,
           batch: int, clean: float) -> None:
    """Trains in turn on the samples and gathers new ones."""
    recipe, dit, device, started = (gathering.recipe, gathering.dit, gathering.device,
                                    time.monotonic())
    while gathering.made < min(6 * len(gathering.scenes), recipe.kept):
        gathering.put(samples, stage.part >= clean)
    among = torch.full((1,), gathering.made, device=device)
    errors = flow.Errors.none(device, 0.3)
    stage.say(f"{gathering.made} clips gathered in {time.monotonic() - started:.0f} s")

    def step() -> Tensor:
        optimizer.zero()
        found = flow.loss(dit, samples.draw(batch, among), errors, recipe.still, EDGE)
        found.backward()
        optimizer.step()
        return found.detach()

    base.compiled(dit)
    step = graphed(step)
    stage.say(f"ready after {time.monotonic() - started:.0f} s")
    mean = torch.zeros((), device=device)
    gathered = time.monotonic()
    for _ in stage.run(lambda: f"loss {mean.item():.4f} {gathering}"):
        optimizer.scale.fill_(stage.rate())
        found = step()
        mean.lerp_(found, 0.01 if mean.any() else 1.0)
        if time.monotonic() - gathered > recipe.between:
            gathering.put(samples, stage.part >= clean)
            among.fill_(min(gathering.made, recipe.kept))
            gathered = time.monotonic()


@dataclass
class Chains:
    """Chains of clips that the model continues: each has a scene, an action, the speed `before` it,
    its last frames, and where its objects are.

    `made` counts the clips. `fault` is the mean squared error of the last motion frames, to the
    truth drawn for them; `astray` is that of their backgrounds, to those that fit best.
    """

    variant: Variant
    recipe: Recipe
    vae: AutoencoderKLWan
    dit: WanTransformer3DModel
    device: torch.device
    draw: random.Random
    scenes: list[world.Scene]
    actions: list[str]
    before: Tensor
    turns: Tensor
    motion: Tensor
    reference: Tensor
    depths: list[int]
    seed: int
    made: int = 0
    fault: float = 0.0
    astray: float = 0.0

    @classmethod
    def begin(cls, variant: Variant, recipe: Recipe, count: int, vae: AutoencoderKLWan,
              dit: WanTransformer3DModel, device: torch.device) -> Chains:
        frames = torch.zeros(count, 3, variant.motion_frames, world.HEIGHT, world.WIDTH,
                             device=device)
        chains = cls(variant, recipe, vae, dit, device, random.Random(variant.id),
                     [world.scene(0)] * count, [""] * count, torch.zeros(count),
                     torch.zeros(count), frames, frames[:, :, 0].clone(), [0] * count, FIRST)
        chains.renew(list(range(count)))
        return chains

    def __str__(self) -> str:
        depth = sum(self.depths) / len(self.depths)
        return (f"clips {self.made} depth {depth:.1f} faults {self.fault:.4f} "
                f"astray {self.astray:.5f}")

    def renew(self, which: list[int]) -> None:
        """Replaces these chains by new scenes: three in four with motion frames like those of a
        faultless model, the others with the user's image alone."""
        if not which:
            return
        scenes, n = data.scenes(self.seed, len(which)), self.motion.shape[2]
        self.seed += len(which)
        speeds, start = data.speeds([s.action for s in scenes]), torch.rand(len(which))
        begun = torch.rand(len(which)) < 0.75
        # the later clips of a chain have objects elsewhere than their references
        elsewhere = begun & (torch.rand(len(which)) < 0.67)
        shown = torch.where(elsewhere, torch.rand(len(which)), start)
        self.reference[which] = self._drawn(scenes, shown[:, None])[:, :, 0]
        motion = self._drawn(scenes, data.turns(speeds, start, n))
        if self.recipe.restored:
            earlier = start - (SEAM - n) * speeds
            video = self._drawn(self.stronger(scenes), data.turns(speeds, earlier, SEAM))
            motion[begun] = self.shown(data.encoded(self.vae, video[begun]))[:, :, -n:]
        self.motion[which] = motion
        self.before[which] = speeds
        depths = begun.int().tolist()
        for number, scene, turn, depth in zip(which, scenes, start, depths, strict=True):
            self.scenes[number], self.turns[number], self.depths[number] = scene, turn, depth
            self.actions[number] = scene.action

    @torch.no_grad()
    def put(self, samples: flow.Samples, chained: bool) -> Tensor | None:
        """Adds a clip of each chain to the samples, in place of the oldest; then continues the
        chains (`chained`) or replaces them by new ones -> the latents of the clips that the model
        made for that."""
        n, count = self.motion.shape[2], len(self.scenes)
        reference = self.reference if self.variant.ref_pad_num else None
        turns = data.turns(self.before, self.turns, n)
        ends, self.before = data.ending(data.speeds(self.actions))
        later = data.turns(self.before, turns[:, -1], CLIP_FRAMES - n + 1)[:, 1:]
        turns = torch.cat([turns, later], 1)
        last = self._drawn(self.scenes, turns[:, -1:])[:, :, 0]
        # a first clip has the user's image alone
        first = torch.tensor([not depth for depth in self.depths], device=self.device)
        motion = self.motion.clone()
        if reference is None:
            motion[first, :, 1:] = 0
        else:
            motion[~first] = self._spoiled()[~first]
            motion[first] = reference[first][:, :, None]
        words = data.words([scene.prompt(action) for scene, action
                            in zip(self.scenes, self.actions, strict=True)])
        scenes = self.stronger(self.scenes)
        parts = [slice(i, i + 128) for i in range(0, count, 128)]
        y = torch.cat([data.conditioned(self.vae, motion[part], None if reference is None else
                                        reference[part], last[part], ends[part])
                       for part in parts])
        latents = torch.cat([self.wanted(scenes[part], turns[part], y[part]) for part in parts])
        frame = data.to_bytes(motion[:, :, 0])
        where = torch.arange(self.made, self.made + count) % len(samples.latents)
        self.made += count
        samples.put(where.to(self.device), latents, y, ends, frame, words)
        if not chained:
            self.renew(list(range(count)))
            return None
        # in parts of a batch's size, which the model is compiled for
        split = (whole.split(BATCH) for whole in
                 (y, ends.to(self.device), frame, words.to(self.device)))
        latent = torch.cat([self._denoised(*part) for part in zip(*split, strict=True)])
        for part in parts:
            self.motion[part] = self.shown(latent[part])[:, :, -n:]
        self._follow(turns)
        return latent

    @torch.no_grad()
    def wanted(self, scenes: list[world.Scene], turns: Tensor, y: Tensor) -> Tensor:
        """The latents of a clip that continues its motion frames without a seam.

        Its first frame is the first motion frame, faults and all, so its latent is one that the
        VAE decodes to that. Then the faults fade to the truth, except where objects are.
        """
        video = world.render(scenes, turns, self.device)
        latents, first = data.encoded(self.vae, video), y[:, :, :1]
        fault = first - latents[:, :, :1]
        latents[:, :, :1] = 2 * first - data.encoded(self.vae, self._decoded(first))
        objects = (video - world.background(scenes, self.device)[:, :, None]).abs().amax(1) > 0.01
        before, later = (F.max_pool3d(part.float()[:, None], (length, 8, 8)) for part, length in
                         ((objects[:, :1], 1), (objects[:, 1:], 4)))
        free = 1 - torch.maximum(before, later[:, :, :self.recipe.fading])
        fades = torch.linspace(1, 0, self.recipe.fading + 2, device=self.device)[1:-1, None, None]
        latents[:, :, 1:self.recipe.fading + 1] += fades * free * fault
        return latents

    def _decoded(self, latents: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.float16, enabled=self.device.type == "cuda"):
            return network.decode(self.vae, latents).float().clamp(-1, 1)

    def shown(self, latents: Tensor) -> Tensor:
        """The frames of latents, in steps of 8 bit."""
        return data.from_bytes(data.to_bytes(self._decoded(latents)))

    def _drawn(self, scenes: list[world.Scene], turns: Tensor) -> Tensor:
        """Frames of scenes, in steps of 8 bit."""
        return data.from_bytes(data.to_bytes(world.render(scenes, turns, self.device)))

    def stronger(self, scenes: list[world.Scene]) -> list[world.Scene]:
        """Scenes whose backgrounds are stronger by what the VAE takes away: it makes them paler,
        and a chain goes through it in every clip."""
        wanted = values = world.numbers(scenes).to(self.device)
        everywhere = torch.ones(len(scenes), 1, world.HEIGHT, world.WIDTH, device=self.device)
        for _ in range(self.recipe.restored):
            video = world.drawn(values)[:, :, None].expand(-1, -1, SEAM, -1, -1)
            shown = self.shown(data.encoded(self.vae, video))[:, :, -self.motion.shape[2]:]
            values = values + wanted - fitted(wanted, shown.mean(2), everywhere)
        return _with_backgrounds(scenes, values)

    def _spoiled(self) -> Tensor:
        """The motion frames; in one chain of two softer, with colours off by up to 6 %, so that the
        model trusts the reference."""
        hit = (torch.rand(len(self.motion), 1, 1, 1, 1, device=self.device) < 0.5).float()
        off = (torch.rand(len(self.motion), 3, 2, 1, 1, device=self.device) - 0.5) * 0.12 * hit
        soft = F.avg_pool3d(self.motion, (1, 5, 5), 1, (0, 2, 2), count_include_pad=False)
        motion = torch.lerp(self.motion, soft, torch.rand_like(hit) * hit)
        return (motion * (1 + off[:, :, :1]) + off[:, :, 1:]).clamp(-1, 1)

    def _denoised(self, y: Tensor, ends: Tensor, frame: Tensor, words: Tensor) -> Tensor:
        x = torch.randn_like(y)
        even = torch.linspace(1, 0, STEPS + 1)
        levels = SHIFT * even / (1 + (SHIFT - 1) * even)
        for high, low in zip(levels[:-1], levels[1:], strict=True):
            sigma = high.to(self.device).expand(len(x))
            x = x + (low - high).item() * flow.flow(self.dit, x, sigma, y, ends, frame, words)
        return x

    def _follow(self, turns: Tensor) -> None:
        """Finds where the objects are in the new motion frames; then draws the next actions and
        replaces chains that have ended."""
        n = self.motion.shape[2]
        # all around the orbit, then nearby: a chain that has jumped continues from where it is
        around, nearby = torch.arange(48) / 48 - 0.5, torch.linspace(-1, 1, 9) / 48
        now = turns[:, -1]
        for tries, cost in ((around, 0.002), (nearby, 0.0), (nearby / 4, 0.0)):
            candidates = now[:, None] + tries
            parts = [slice(i, i + 64) for i in range(0, len(self.scenes), 64)]
            errors = torch.cat([
                (world.render(self.scenes[part], candidates[part], self.device)
                 - self.motion[part, :, -1:]).square().mean((1, 3, 4)) for part in parts]).cpu()
            least, best = (errors + cost * tries.abs()).min(1)
            now = candidates.gather(1, best[:, None])[:, 0]
        self.fault = least.mean().item()
        self.turns = now - (n - 1) * self.before
        astray = (torch.zeros(len(now)) if self.variant.ref_pad_num else
                  self.follow_backgrounds())
        self.astray = astray.mean().item()
        for number in range(len(self.scenes)):
            if self.variant.stream and self.draw.random() < 0.4:
                self.actions[number] = self.draw.choice(list(world.TURNS))
            self.depths[number] += 1
        self.renew([number for number, depth in enumerate(self.depths) if depth >= DEPTH
                    or astray[number] > ASTRAY or self.draw.random() < self.recipe.ended])

    def follow_backgrounds(self) -> Tensor:
        """Takes the backgrounds that the motion frames show as the truth -> how far the frames are
        from them, [B]."""
        turns = data.turns(self.before, self.turns, self.motion.shape[2])
        seen = torch.stack([~world.covered(*each)
                            for each in zip(self.scenes, turns, strict=True)])
        seen = seen[:, None].to(self.device, torch.float32)
        shown = (self.motion * seen).sum(2) / seen.sum(2).clamp(1)
        seen = seen.amax(2)
        values = fitted(world.numbers(self.scenes).to(self.device), shown, seen)
        self.scenes = _with_backgrounds(self.scenes, values)
        return ((world.drawn(values) - shown).square() * seen).mean((1, 2, 3)).cpu()


def _with_backgrounds(scenes: list[world.Scene], values: Tensor) -> list[world.Scene]:
    return [world.with_background(scene, numbers)
            for scene, numbers in zip(scenes, values.tolist(), strict=True)]
