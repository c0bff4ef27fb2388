"""Trains the demo model and its SVI LoRAs: `python training/train.py FOLDER [--minutes M]`.

Resumes where the last call stopped. FOLDER gets checkpoints, the log and, at the end, the weights.
Takes about 50 minutes on one H100; on a CPU it would take weeks.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import base
import export
import fast
import seams
import svi
import torch
import vae
from diffusers.models import WanTransformer3DModel
from safetensors.torch import load_file, save_file
from torch.nn import Module

from wan2gp_svi.demo import model, network

FIRST = f"first-{model.VAE}"
FILES = {"vae": FIRST, "base": model.TRANSFORMER, **model.ADAPTERS, "seams": model.VAE}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=60,
                        help="of this call; the next call resumes from there")
    parser.add_argument("--stages", nargs="+", choices=FILES, default=list(FILES))
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    options.folder.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    done = all(_stage(name, options.folder, until, device) for name in options.stages)
    print("Everything is trained." if done else "Time is up; the next call resumes from here.")
    return 0


def _stage(name: str, folder: Path, until: float, device: torch.device) -> bool:
    """Trains a stage as far as the time allows -> whether its file is there."""
    file = folder / FILES[name]
    if file.exists():
        return True
    if name == "vae":
        with fast.convolutions():
            state, kind = vae.train(folder, until, device), torch.float16
        tensors = export.vae(state or {})
    else:
        coder = Module.to(network.autoencoder(load_file(folder / FIRST)), device)
        if name == "base":
            state, kind = base.train(folder, until, device, coder), torch.bfloat16
            tensors = export.transformer(state or {})
        elif name == "seams":
            with fast.convolutions():
                state = seams.train(folder, until, device, coder, _models(folder, device))
            kind, tensors = torch.float16, export.vae(state or {})
        else:
            dit = Module.to(network.transformer(model.transformer_file(folder)), device)
            state, kind = svi.train(folder, until, device, coder, dit, name), torch.float16
            tensors = export.adapter(state or {})
    if state:
        save_file({key: tensor.to("cpu", kind).contiguous() for key, tensor in tensors.items()
                   if "img_emb.proj.1." not in key}, file)
    return bool(state)


def _models(folder: Path, device: torch.device) -> dict[str, WanTransformer3DModel]:
    """The transformer with each LoRA."""
    base = model.transformer_file(folder)
    return {name: Module.to(network.transformer(
        model.fused(base, model.adapter_file(name, folder))), device) for name in model.ADAPTERS}


if __name__ == "__main__":
    sys.exit(main())
