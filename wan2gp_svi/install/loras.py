"""LoRA files: where WanGP looks for them, and how they get there whole.

WanGP's own download of a file that lies in a sub-folder of its repository cannot be resumed, and any file
under its final name counts as complete. So a file is loaded here under another name beside its place, resumed
if a former run was broken off, and renamed when its size is the server's.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from wan2gp_svi import location, variants
from wan2gp_svi.install import Refused
from wan2gp_svi.text import gigabytes

SPARE = 1.05  # of a download's size must be free


def folder(wangp: Path, wan: str, given: str | None = None) -> Path:
    """The folder in which WanGP looks for LoRA files of Wan `wan` ("2.1" image-to-video or "2.2").

    - v9.72 and later (28 November 2025; `get_lora_dir` in models/wan/wan_handler.py): wan_i2v for Wan 2.1
      image-to-video, wan for Wan 2.2, both below the LoRA root, `loras`.
    - v10.54 and later: the root can be set, as `loras_root` in wgp_config.json (relative to WanGP).
    - v9.71 and before (`get_lora_dir` in wgp.py): loras_i2v for Wan 2.1, loras for Wan 2.2, and in each the
      sub-folder 14B if there is one. v9.72 moves what it finds there.
    - In every version the options --lora-dir and --lora-dir-i2v of wgp.py (later also --loras, the root) go
      first. They cannot be seen from here: `given` is the user's word for it.
    """
    if given is not None:
        return Path(given.rstrip('"')).expanduser().resolve()
    if b"def get_lora_dir" in _bytes(wangp / "models/wan/wan_handler.py"):
        return wangp / _root(wangp) / ("wan_i2v" if wan == "2.1" else "wan")
    old = wangp / ("loras_i2v" if wan == "2.1" else "loras")
    return old / "14B" if (old / "14B").is_dir() else old


def _root(wangp: Path) -> str:
    if b'"loras_root"' not in _bytes(wangp / "wgp.py"):
        return "loras"
    root = (location.config(wangp) or {}).get("loras_root")
    return root if isinstance(root, str) and root else "loras"


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


@dataclass(frozen=True)
class Download:
    """One LoRA file to be there: its path in the repository, and its place on this machine."""

    source: str
    target: Path


def downloads(wangp: Path, ids: Iterable[str], given: str | None = None) -> list[Download]:
    """The files of these variants, each once."""
    chosen = [variants.VARIANTS[name] for name in ids]
    files = [Download(lora.path, folder(wangp, v.wan, given) / lora.name) for v in chosen for lora in v.loras]
    return list(dict.fromkeys(files))


def fetch(files: list[Download], say: Callable[[str], None]) -> None:
    """Download what is missing. Raises Refused with what to do; what has arrived is kept for the next try."""
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.file_download import http_get
    except ImportError:
        raise Refused(
            "downloads need huggingface_hub: pip install huggingface_hub, or use the Python of WanGP, or let "
            "WanGP download the file itself when it is first used"
        ) from None
    wanted = []
    for file in files:
        url = hf_hub_url(variants.LORA_REPO, file.source)
        facts = _ask(file, get_hf_file_metadata, url, token=False)
        if facts.size is None or not facts.etag:
            raise Refused(f"the server does not say how long {file.source} is: try again later")
        part = file.target.with_name(f".{file.target.name}.{_letters(facts.etag)}.part")
        if not file.target.exists():
            wanted.append((file, url, part, facts.size))
        elif (there := file.target.stat().st_size) == facts.size:
            say(f"LoRA: {file.target} is there ({gigabytes(there)})")
        else:
            raise Refused(
                f"{file.target} has {there} bytes, not {facts.size}: delete or rename it and run again"
            )
    _room(wanted)
    for file, url, part, size in wanted:
        with part.open("ab") as out:
            if out.tell() > size:
                out.truncate(0)
            so_far = out.seek(0, os.SEEK_END)
            say(f"LoRA: {file.source}, {gigabytes(so_far)} of {gigabytes(size)} here")
            # hf_hub_download resumes nothing since huggingface_hub 1.18 (its pull request 4228); this does.
            headers = {"Accept-Encoding": "identity"}
            _ask(file, http_get, url, out, resume_size=so_far, headers=headers, expected_size=size)
        if part.stat().st_size != size:
            part.unlink()
            raise Refused(f"{file.source} arrived with a wrong size and was thrown away: run again")
        part.replace(file.target)
        for stale in file.target.parent.glob(f".{file.target.name}.*.part"):
            stale.unlink()
        say(f"LoRA: {file.target} is complete")


def _ask(file: Download, function: Callable, *args, **options):
    """What a function of huggingface_hub returns; its errors, which differ by version, in one sentence."""
    try:
        return function(*args, **options)
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 404:
            raise Refused(f"the server has no file {file.source} in {variants.LORA_REPO} (404)") from error
        reason = f"HTTP {status}" if status else f"{type(error).__name__}: {error}".splitlines()[0]
        raise Refused(
            f"{file.source} could not be downloaded ({reason}): check the network and run again; "
            "what has arrived is kept"
        ) from error


def _room(wanted: list[tuple[Download, str, Path, int]]) -> None:
    """Make the folders, and raise Refused if their disk has not the room."""
    missing = 0
    for file, _, part, size in wanted:
        file.target.parent.mkdir(parents=True, exist_ok=True)
        missing += size - (part.stat().st_size if part.exists() else 0)
        free = shutil.disk_usage(file.target.parent).free
        if free < missing * SPARE:
            need = gigabytes(int(missing * SPARE))
            raise Refused(
                f"{file.target.parent} has {gigabytes(free)} free, and {need} are needed: make room"
            )


def _letters(etag: str) -> str:
    return "".join(letter for letter in etag if letter.isalnum())[:12]


def found(wangp: Path, given: str | None = None) -> list[tuple[Path, str]]:
    """SVI's LoRA files that are there already, with the title of their variant."""
    folders = dict.fromkeys(folder(wangp, wan, given) for wan in ("2.1", "2.2"))
    files = dict.fromkeys(path for place in folders for path in sorted(place.rglob("*.safetensors")))
    named = [(path, variants.identify(path.name)) for path in files if path.is_file()]
    return [(path, variant.title) for path, variant in named if variant is not None]
