"""LoRA files: their download, and which are there.

WanGP cannot resume its own download of a file in a sub-folder of a repository, and takes any file
with the final name for complete. So a file is downloaded here under another name, which can resume,
and renamed when its size and its hash are those that the server publishes.
"""

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan2gp_svi import files, location, variants
from wan2gp_svi.install import Refused
from wan2gp_svi.text import gigabytes

SPARE = 1.05  # the part of a download's size that must be free


@dataclass(frozen=True)
class Download:
    """A LoRA file: its path in the repository, and its place on this machine."""

    source: str
    target: Path

    def arrived(self) -> int:
        """Bytes that are on this disk, of the file or of an unfinished download."""
        sizes = [0]
        for path in (self.target, *unfinished(self.target.parent, self.target.name)):
            with contextlib.suppress(OSError):  # renamed or deleted at this moment
                sizes.append(path.stat().st_size)
        return max(sizes)


@dataclass(frozen=True)
class Progress:
    """How far the download of a file is: `here` of `size` bytes have arrived."""

    file: Download
    here: int
    size: int

    @property
    def complete(self) -> bool:
        return self.here == self.size


def unfinished(folder: Path, name: str = "*") -> list[Path]:
    """Interrupted or running downloads of the LoRA file `name` in a folder."""
    return sorted(folder.glob(f".{name}.*.part"))


def name_of(part: Path) -> str:
    """The name of the LoRA file whose download this is."""
    return part.name[1:].rsplit(".", 2)[0]


def downloads(wangp: Path, ids: Iterable[str], given: str | None = None) -> list[Download]:
    """The LoRA files of these variants, each once."""
    chosen = [variants.VARIANTS[name] for name in ids]
    return list(dict.fromkeys(
        Download(lora.path, location.lora_folder(wangp, v.wan, given) / lora.name)
        for v in chosen for lora in v.loras))


def fetch(wanted: Iterable[Download], report: Callable[[Progress], object],
          cancelled: Callable[[], bool] = lambda: False) -> None:
    """Downloads what is missing, all from one commit of the repository, and reports each file when
    its download begins and when it is complete. Raises Refused, also when the user has `cancelled`
    the download; what has arrived is kept."""
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
    except ImportError:
        raise Refused("downloads need huggingface_hub: pip install huggingface_hub, use WanGP's "
                      "Python, or let WanGP download the file on first use") from None
    missing, commit = [], None
    for file in wanted:
        url = hf_hub_url(variants.LORA_REPO, file.source, revision=commit)
        facts = _ask(file, get_hf_file_metadata, url, token=False)
        sha256 = (facts.etag or "").strip('"').lower()
        if facts.size is None or not re.fullmatch("[0-9a-f]{64}", sha256):
            raise Refused(f"the server does not say how large {file.source} is or what its hash "
                          "is: try again later")
        if commit is None and facts.commit_hash:  # whatever is uploaded from now on, the rest fits
            commit = facts.commit_hash
            url = hf_hub_url(variants.LORA_REPO, file.source, revision=commit)
        remote = _Remote(url, facts.size, sha256)
        if not file.target.exists():
            missing.append((file, remote))
        elif (there := file.target.stat().st_size) != remote.size:
            raise Refused(f"{file.target} has {there} bytes, not {remote.size}: delete or rename "
                          "it and download again")
        elif files.sha256(file.target) != sha256:
            raise Refused(f"{file.target} is damaged or a different file (its hash is not the "
                          "server's): delete or rename it and download again")
        else:
            report(Progress(file, there, remote.size))
    _make_room([(_part(*one), one[1].size) for one in missing])
    for file, remote in missing:
        _download(file, remote, report, cancelled)


@dataclass(frozen=True)
class _Remote:
    """A file on the server."""

    url: str
    size: int
    sha256: str


def _part(file: Download, remote: _Remote) -> Path:
    """Where a file is while it arrives."""
    return file.target.with_name(f".{file.target.name}.{remote.sha256[:12]}.part")


class _Cancellable:
    """A file that takes no more bytes once the user has cancelled."""

    def __init__(self, file: Any, cancelled: Callable[[], bool]):
        self._file, self._cancelled = file, cancelled

    def write(self, data: bytes) -> Any:
        if self._cancelled():
            raise Refused("the download was cancelled, and what has arrived is kept: download "
                          "again to resume")
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _download(file: Download, remote: _Remote, report: Callable[[Progress], object],
              cancelled: Callable[[], bool]) -> None:
    from huggingface_hub.file_download import http_get

    part, size = _part(file, remote), remote.size
    with part.open("ab") as out:
        if out.tell() > size:
            out.truncate(0)
        here = out.seek(0, os.SEEK_END)
        if here < size:
            report(Progress(file, here, size))
            # hf_hub_download does not resume since huggingface_hub 1.18 (pull request 4228)
            _ask(file, http_get, remote.url, _Cancellable(out, cancelled), resume_size=here,
                 expected_size=size, headers={"Accept-Encoding": "identity"})
    if part.stat().st_size != size:
        files.remove(part)
        raise Refused(f"{file.source} arrived with a wrong size and was deleted: download again")
    if files.sha256(part) != remote.sha256:
        files.remove(part)
        raise Refused(f"{file.source} arrived damaged, since its hash is not the server's, and was "
                      "deleted: download again")
    files.replace(part, file.target)
    for stale in unfinished(file.target.parent, file.target.name):
        files.remove(stale)
    report(Progress(file, size, size))


def _ask(file: Download, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Calls huggingface_hub, and turns its errors, which differ by version, into one sentence."""
    log = logging.getLogger("huggingface_hub")
    level = log.level
    try:
        log.setLevel(logging.ERROR)  # it tells of each attempt, with all that Python knows
        return function(*args, **options)
    except Refused:
        raise
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 404:
            raise Refused(f"the server has no file {file.source} in {variants.LORA_REPO} (404)"
                          ) from error
        if type(error).__name__ == "OfflineModeIsEnabled":
            raise Refused(f"{file.source} could not be downloaded, because HF_HUB_OFFLINE is set: "
                          "unset it and start again") from error
        said = str(error).strip().splitlines() or [type(error).__name__]
        failed = any(re.search("Connect|Timeout|Proxy|SSL", one.__name__)
                     for one in type(error).__mro__)
        reason = f"HTTP {status}" if status else "the connection failed" if failed else said[0]
        raise Refused(f"{file.source} could not be downloaded ({reason.rstrip('.')}): check the "
                      "network and download again; what has arrived is kept") from error
    finally:
        log.setLevel(level)


def _make_room(parts: Iterable[tuple[Path, int]]) -> None:
    """Makes the folders for files of these sizes. Raises Refused if their disk is too full."""
    missing = 0
    for part, size in parts:
        part.parent.mkdir(parents=True, exist_ok=True)
        missing += size - (part.stat().st_size if part.exists() else 0)
        free, need = shutil.disk_usage(part.parent).free, int(missing * SPARE)
        if free < need:
            raise Refused(f"{part.parent} has {gigabytes(free)} free, and {gigabytes(need)} are "
                          "needed: make room")


def found(wangp: Path, given: str | None = None) -> list[tuple[Path, str]]:
    """SVI's LoRA files that are there, with the title of their variant."""
    folders = dict.fromkeys(location.lora_folder(wangp, wan, given) for wan in ("2.1", "2.2"))
    paths = dict.fromkeys(
        path for place in folders for path in sorted(place.rglob("*.safetensors")))
    named = [(path, variants.identify(path.name)) for path in paths if path.is_file()]
    return [(path, variant.title) for path, variant in named if variant is not None]
