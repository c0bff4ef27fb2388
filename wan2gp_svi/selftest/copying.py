"""The throw-away copy of the user's WanGP: its sources and the user's settings; no models, outputs or LoRA files.

Nothing is linked, so nothing of the user's can be touched. Standard library only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: folders of WanGP's that hold what was downloaded or made, and no source
_LEFT_OUT = {"ckpts", "loras", "outputs", "output", "settings", "finetunes", "ffmpeg_bins", "ffmpeg_quarantine",
             "cache", "logs", "tests", "docs", "scripts", "__pycache__"}
_BINARIES = {".gif", ".jpg", ".jpeg", ".mp3", ".mp4", ".mkv", ".png", ".safetensors", ".wav", ".whl", ".pyc", ".pth",
             ".pt", ".gguf", ".bin", ".onnx", ".zip", ".gz", ".7z", ".part"}
_LARGEST = 8 * 1024**2  # bytes; no source file of WanGP is larger
#: settings of the user that decide how a video comes out, and that a bug report needs
TELLING = ("attention_mode", "transformer_quantization", "transformer_dtype_policy", "text_encoder_quantization",
           "vae_precision", "vae_config", "mixed_precision", "kernel_precision", "int8_kernels", "enable_int8_kernels",
           "vram_allocator", "profile", "video_profile", "boost", "video_output_codec", "video_container",
           "keep_intermediate_sliding_windows", "metadata_type", "fit_canvas")


def copy(wangp: Path, target: Path) -> None:
    """Copies what WanGP needs to run. A file that cannot be read raises OSError."""
    for source in _sources(wangp):
        to = target / source.relative_to(wangp)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, to)


def _sources(wangp: Path) -> Iterator[Path]:
    yield from (path for path in sorted(wangp.iterdir())
                if path.is_file() and (path.suffix == ".py" or path.name == "plugins.json"))
    for top in sorted(path for path in wangp.iterdir() if path.is_dir()):
        if top.name.startswith(".") or top.name.lower() in _LEFT_OUT or _is_environment(top):
            continue
        for folder, folders, files in os.walk(top):
            here = Path(folder)
            # a clone inside WanGP is a plugin of the user's, and plugins of the user's stay off
            folders[:] = [name for name in folders if name not in ("__pycache__", ".git", "node_modules")
                          and not (here / name / ".git").exists()]
            for path in (here / name for name in files):
                if path.suffix.lower() not in _BINARIES and path.is_file() and path.stat().st_size <= _LARGEST:
                    yield path


def _is_environment(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("pyvenv.cfg", "conda-meta", "python.exe"))


def config(user: dict[str, Any], outputs: Path, model: str, gpu: bool) -> dict[str, Any]:
    """The user's settings as they are, but for what would leave the copy, make a noise, take minutes to compile or need
    other models. Without a GPU the attention is torch's and the VAE works in 32 bit: a CPU has no other attention, and
    takes twenty times longer in 16 bit."""
    folders = dict.fromkeys(("save_path", "image_save_path", "audio_save_path"), str(outputs))
    own = {
        **folders, "checkpoints_paths": ["ckpts"], "loras_root": "loras", "last_model_type": model,
        "last_model_per_family": {}, "last_model_per_type": {}, "last_resolution_per_group": {},
        "transformer_types": [], "enabled_plugins": [], "preload_model_policy": [], "preload_in_VRAM": 0,
        "notification_sound_enabled": 0,
        "compile": "", "save_queue_if_crash": 0, "enhancer_enabled": 0,
    }
    base = {"attention_mode": "auto", "transformer_quantization": "int8", "text_encoder_quantization": "int8",
            "profile": 4, "UI_theme": "default", "metadata_type": "metadata", **user}
    return {**base, **own, **({} if gpu else {"attention_mode": "sdpa", "vae_precision": "32"})}
