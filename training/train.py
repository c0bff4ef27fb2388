"""Trains the small Wan and its SVI LoRAs: `python training/train.py FOLDER [--minutes M]`.

Goes on where the last call stopped; FOLDER holds checkpoints, the log and, when all is done, the weights. Under 30
minutes on one H200 in all; on a CPU it would take weeks.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import base
import export
import fast
import svi
import torch
import vae
from safetensors.torch import save_file

from wan2gp_svi.demo import model, network

FILES = {"vae": "small-wan-vae.safetensors", "base": "small-wan-i2v.safetensors", **model.ADAPTERS}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=60, help="of this call; the next one goes on from there")
    parser.add_argument("--stages", nargs="+", choices=FILES, default=list(FILES))
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    options.folder.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    done = all(_stage(name, options.folder, until, device) for name in options.stages)
    print("All is trained." if done else "The time of this call is over; the next one goes on from here.")
    return 0


def _stage(name: str, folder: Path, until: float, device: torch.device) -> bool:
    """Whether the file of a stage is there, once this call has done what it could."""
    file = folder / FILES[name]
    if file.exists():
        return True
    if name == "vae":
        with fast.convolutions():
            state, kind = vae.train(folder, until, device), torch.float16
        tensors = export.vae(state or {})
    else:
        coder = network.autoencoder(model.vae_file(folder)).to(device)
        if name == "base":
            state, kind = base.train(folder, until, device, coder), torch.bfloat16
            tensors = export.transformer(state or {})
        else:
            dit = network.transformer(model.transformer_file(folder)).to(device)
            state, kind = svi.train(folder, until, device, coder, dit, name), torch.float16
            tensors = export.adapter(state or {})
    if state:
        save_file({key: tensor.to("cpu", kind).contiguous() for key, tensor in tensors.items()
                   if "img_emb.proj.1." not in key}, file)
    return bool(state)


if __name__ == "__main__":
    sys.exit(main())
