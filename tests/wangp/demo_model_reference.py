"""A clip of the demo model by diffusers' layers in 32 bit, from what WanGP's transformer got.

Run `python demo_model_reference.py JOB.json` with a Python that has diffusers.

The job: `tensors` and `name` (of the recorded window), `timesteps`, `prompt`, `adapter`, `weights`,
`out`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from wan2gp_svi.demo import model, network  # noqa: E402


@torch.no_grad()
def main(job: dict) -> None:
    weights = Path(job["weights"])
    window, tensors = f"{job['name']}.", load_file(job["tensors"])
    given = {name.removeprefix(window): tensor.float() for name, tensor in tensors.items()
             if name.startswith(window)}
    tensors = model.transformer_file(weights)
    if job["adapter"]:
        tensors = model.fused(tensors, model.adapter_file(job["adapter"], weights))
    dit, vae = network.transformer(tensors), network.autoencoder(model.vae_file(weights))
    clip = model.clip_features(given["encode0"][None, :, 0])
    text = model.text_features([job["prompt"]])
    x, y = given["noise"].view(1, 16, *given["y"].shape[1:]), given["y"][None]
    times = torch.tensor(job["timesteps"])
    for time, following in zip(times, [*times[1:], 0], strict=True):
        flow = dit(torch.cat([x, y], 1), time[None], text, clip, return_dict=False)[0]
        x = x - flow * (time - following) / 1000
    save_file({"latents": network.encode(vae, given["encode0"][None])[0].contiguous(), "clip": clip,
               "frames": network.decode(vae, x)[0].clamp(-1, 1).contiguous()}, job["out"])


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
