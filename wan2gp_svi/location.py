"""Where this package and WanGP are, and what WanGP's configuration says. Standard library only."""

import sys
from pathlib import Path
from typing import Any

from .files import read, read_json

HOME = Path(__file__).resolve().parents[1]  #: the folder with this package; WanGP, once installed
CONFIG = "wgp_config.json"
_LORA_ADDRESSES = ("loras_url_cache_v2.json", "loras_url_cache.json")  # the second before v11.77


def is_wangp(folder: Path) -> bool:
    """Whether this folder holds WanGP, of any version and perhaps incomplete."""
    return (folder / "wgp.py").is_file()


def wangp_here() -> Path | None:
    """The WanGP that holds this package, or else the current folder if it is one."""
    return next((place for place in (HOME, Path.cwd()) if is_wangp(place)), None)


def config(wangp: Path) -> dict[str, Any] | None:
    """WanGP's configuration; None if it is missing or unreadable."""
    found = read_json(wangp / CONFIG)
    return found if isinstance(found, dict) else None


def running_config(wangp: Path) -> dict[str, Any] | None:
    """The configuration of the WanGP that runs this: that of the folder given to it as --config, if
    there is one yet; else as `config`."""
    words = [word for given in sys.argv[1:] for word in given.split("=", 1)]
    named = [Path(folder) for option, folder in zip(words, words[1:], strict=False)
             if option == "--config"]
    return config(next((folder for folder in named if (folder / CONFIG).is_file()), wangp))


def lora_folder(wangp: Path, wan: str, given: str | None = None) -> Path:
    """The folder where WanGP looks for LoRA files of Wan `wan`: "2.1" image-to-video, or "2.2".

    - v9.72 and later (28 November 2025; `get_lora_dir` in models/wan/wan_handler.py): wan_i2v for
      Wan 2.1 image-to-video, wan for Wan 2.2, both in the LoRA root, `loras`.
    - v10.54 and later: the root can be set, as `loras_root` in wgp_config.json (relative to WanGP).
    - v9.71 and before (`get_lora_dir` in wgp.py): loras_i2v for Wan 2.1, loras for Wan 2.2, and in
      each the sub-folder 14B if there is one. v9.72 moves what it finds there.
    - In all versions, options of wgp.py go first (--lora-dir, --lora-dir-i2v, later --loras). They
      cannot be seen from here, so the user can name the folder: `given`.
    """
    if given is not None:
        return Path(given.rstrip('"')).expanduser().resolve()
    if _mentions(wangp / "models/wan/wan_handler.py", b"def get_lora_dir"):
        return wangp / _root(wangp) / ("wan_i2v" if wan == "2.1" else "wan")
    old = wangp / ("loras_i2v" if wan == "2.1" else "loras")
    return old / "14B" if (old / "14B").is_dir() else old


def lora_addresses(wangp: Path) -> set[Path]:
    """The LoRA files that WanGP knows where to download, because settings once named an address:
    those that it keeps as FOLDER|FILE, or before as their path."""
    found = [read_json(wangp / name) for name in _LORA_ADDRESSES]
    return {(wangp / key.replace("|", "/")).absolute()
            for one in found if isinstance(one, dict) for key in one}


def _root(wangp: Path) -> str:
    configurable = _mentions(wangp / "wgp.py", b'"loras_root"')
    root = (config(wangp) or {}).get("loras_root") if configurable else None
    return root if isinstance(root, str) and root else "loras"


def _mentions(path: Path, text: bytes) -> bool:
    return text in (read(path) or b"")
