"""The throw-away copy of the user's WanGP: its source and the user's settings, without models,
LoRAs and outputs. It links to nothing, so nothing of the user's can change. Standard library only.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from wan2gp_svi.install.shipped import STATE

#: WanGP's folders for downloads and outputs, and others without source
_LEFT_OUT = {"ckpts", "loras", "outputs", "output", "settings", "finetunes", "ffmpeg_bins",
             "ffmpeg_quarantine", "cache", "logs", "tests", "docs", "scripts"}
_BINARIES = {".gif", ".jpg", ".jpeg", ".mp3", ".mp4", ".mkv", ".png", ".safetensors", ".wav",
             ".whl", ".pyc", ".pth", ".pt", ".gguf", ".bin", ".onnx", ".zip", ".gz", ".7z", ".part"}
_LARGEST = 8 * 1024**2  # bytes; no source file of WanGP is larger
#: the user's settings that matter in a bug report
TELLING = ("attention_mode", "transformer_quantization", "transformer_dtype_policy",
           "text_encoder_quantization", "vae_precision", "vae_config", "mixed_precision",
           "kernel_precision", "int8_kernels", "enable_int8_kernels", "vram_allocator", "profile",
           "video_profile", "boost", "video_output_codec", "video_container",
           "keep_intermediate_sliding_windows", "metadata_type", "fit_canvas")


def copy(wangp: Path, target: Path) -> None:
    """Copies what WanGP needs to run. Raises OSError."""

    def left_out(folder: str, names: list[str]) -> list[str]:
        here = Path(folder)
        # the target may be temporary and inside; the state speaks of plugins, which are not copied
        return [name for name in names if here / name in (target.parent, wangp / STATE)
                or not _is_source(here / name, top=here == wangp)]

    shutil.copytree(wangp, target, ignore=left_out, copy_function=shutil.copyfile)


def _is_source(path: Path, top: bool) -> bool:
    if path.is_file():
        if top:
            return path.suffix == ".py" or path.name == "plugins.json"
        return path.suffix.lower() not in _BINARIES and path.stat().st_size <= _LARGEST
    if top and (path.name.startswith(".") or path.name.lower() in _LEFT_OUT):
        return False
    signs = (".git", "pyvenv.cfg", "conda-meta", "python.exe")  # a clone is the user's plugin
    return (path.is_dir() and path.name not in ("__pycache__", ".git", "node_modules")
            and not any((path / sign).exists() for sign in signs))


def config(user: dict[str, Any], outputs: Path, model: str, gpu: bool) -> dict[str, Any]:
    """The user's settings, except those that lead out of the copy, make a noise, take minutes to
    compile or need other models. Without a GPU, there is torch's attention only, and a VAE in 16
    bit takes twenty times longer."""
    default = {"attention_mode": "auto", "transformer_quantization": "int8",
               "text_encoder_quantization": "int8", "profile": 4, "UI_theme": "default",
               "metadata_type": "metadata"}
    folders = dict.fromkeys(("save_path", "image_save_path", "audio_save_path"), str(outputs))
    own = {"checkpoints_paths": ["ckpts"], "loras_root": "loras", "last_model_type": model,
           "last_model_per_family": {}, "last_model_per_type": {}, "last_resolution_per_group": {},
           "transformer_types": [], "enabled_plugins": [], "preload_model_policy": [],
           "preload_in_VRAM": 0, "notification_sound_enabled": 0, "compile": "",
           "save_queue_if_crash": 0, "enhancer_enabled": 0}
    cpu = {} if gpu else {"attention_mode": "sdpa", "vae_precision": "32"}
    return {**default, **user, **folders, **own, **cpu}
