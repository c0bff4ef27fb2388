"""Trains the demo model and its SVI LoRAs: `python training/train.py FOLDER [--minutes M]`.

Two rounds of the same stages: in the second, the VAE learns from clips that the first one's models
make, and base and LoRAs go on from there. FOLDER/first gets the weights of the first round, FOLDER
those of the second; both get checkpoints and a log. Resumes where the last call stopped.
Takes over an hour on one H100; on a CPU it would take weeks.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import base
import export
import seams
import svi
import torch
import vae
from diffusers.models import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import save_file
from torch.nn import Module

from wan2gp_svi.demo import model, network

FILES = {"vae": model.VAE, "base": model.TRANSFORMER, **model.ADAPTERS}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=90,
                        help="of this call; the next call resumes from there")
    parser.add_argument("--stages", nargs="+", choices=FILES, default=list(FILES))
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    first = options.folder / "first"
    first.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    done = all(_stage(name, folder, begun, until, device) for folder, begun in
               ((first, None), (options.folder, first)) for name in options.stages)
    print("Everything is trained." if done else "Time is up; the next call resumes from here.")
    return 0


def _stage(name: str, folder: Path, begun: Path | None, until: float,
           device: torch.device) -> bool:
    """Trains a stage as far as the time allows -> whether its file is there. The second round goes
    on from the weights in `begun`."""
    file = folder / FILES[name]
    if file.exists():
        return True
    if name == "vae":
        state = vae.train(folder, until, device) if begun is None else seams.train(
            folder, until, device, _coder(begun, device), _models(begun, device))
        kind, tensors = torch.float16, export.vae(state or {})
    elif name == "base":
        state = base.train(folder, until, device, _coder(folder, device),
                           model.transformer_file(begun) if begun else None)
        kind, tensors = torch.bfloat16, export.transformer(state or {})
    else:
        dit = Module.to(network.transformer(model.transformer_file(folder)), device)
        state = svi.train(folder, until, device, _coder(folder, device), dit, name,
                          model.adapter_file(name, begun) if begun else None)
        kind, tensors = torch.float16, export.adapter(state or {})
    if state:
        save_file({key: tensor.to("cpu", kind).contiguous() for key, tensor in tensors.items()
                   if "img_emb.proj.1." not in key}, file)
    return bool(state)


def _coder(folder: Path, device: torch.device) -> AutoencoderKLWan:
    return Module.to(network.autoencoder(model.vae_file(folder)), device)


def _models(folder: Path, device: torch.device) -> dict[str, WanTransformer3DModel]:
    """The transformer with each LoRA."""
    base = model.transformer_file(folder)
    return {name: Module.to(network.transformer(
        model.fused(base, model.adapter_file(name, folder))), device) for name in model.ADAPTERS}


if __name__ == "__main__":
    sys.exit(main())
