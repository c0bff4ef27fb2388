"""A clip as it was made, on disk until its pieces of the video are encoded."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .. import files, untrusted

_KEY = "made of"  # of the file's metadata


def write(path: Path, made_of: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Writes a clip's tensors. `made_of` says everything that they depend on. Raises OSError."""
    whole = {name: value.contiguous() for name, value in tensors.items()}
    made = json.dumps({**made_of, "crc": _crc(whole)}, ensure_ascii=False, sort_keys=True)
    files.write(path, save(whole, metadata={_KEY: made}))


def read(path: Path, made_of: Mapping[str, str]) -> dict[str, Tensor] | None:
    """The tensors of a clip that was made of exactly this; None if there is none, undamaged."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError,
                             RuntimeError, MemoryError, SafetensorError):
        made = untrusted.parse_json(untrusted.header(path)[0]["__metadata__"][_KEY].encode("utf-8"))
        crc = made.pop("crc")
        if made == made_of and _crc(found := load(path.read_bytes())) == crc:
            return found
    return None


def _crc(tensors: Mapping[str, Tensor]) -> int:
    """A checksum against damage. It takes a tenth of the time of a hash."""
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(name.encode(), crc)
        crc = zlib.crc32(tensors[name].flatten().view(torch.uint8).numpy().data, crc)
    return crc
