"""Which LoRA file WanGP is loading, and whether it is for a video with SVI.

WanGP hands the files of a video to mmgp at once, and mmgp hands the tensors of one after another to
the model, without their names. So their names wait on the model meanwhile.

WanGP names used here: mmgp's `offload.load_loras_into_model(model, lora_path, ...)`.
"""

from collections.abc import Iterator
from functools import wraps
from pathlib import Path
from typing import Any

from ..variants import identify

_NAMES = "svi_lora_files"  # on the model


def watch(offload: Any) -> None:
    """Makes mmgp's module `offload` leave the names of LoRA files on the model as it loads them."""
    load = offload.load_loras_into_model

    @wraps(load)
    def load_loras_into_model(model: Any, lora_path: Any, *others: Any, **options: Any) -> Any:
        paths = [lora_path] if isinstance(lora_path, str) else list(lora_path)
        names = [Path(path).name for path in paths if Path(path).is_file()]  # it skips all others
        if not any(map(identify, names)):
            return load(model, lora_path, *others, **options)
        setattr(model, _NAMES, iter(names))
        try:
            return load(model, lora_path, *others, **options)
        finally:
            delattr(model, _NAMES)

    offload.load_loras_into_model = load_loras_into_model


def next_file(model: Any) -> str | None:
    """The name of the file whose tensors the model gets now; "" if that cannot be told, None
    without SVI. Call it once for each file."""
    names: Iterator[str] | None = getattr(model, _NAMES, None)
    return None if names is None else next(names, "")
