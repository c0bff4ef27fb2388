"""What `python -m wan2gp_svi demo-model` wrote into a WanGP, and how to remove it.

A record names every file with its hash. A file with another content is the user's, and stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from wan2gp_svi.files import read_json
from wan2gp_svi.install import Refused
from wan2gp_svi.install.locate import is_here
from wan2gp_svi.install.patches import is_inside
from wan2gp_svi.install.plan import Change, Plan
from wan2gp_svi.install.state import sha256

RECORD = "finetunes/svi_small/written.json"
_OURS = ("small-svi-", "svi_small_")  # how our LoRAs and checkpoints begin, wherever WanGP has them


@dataclass(frozen=True)
class Record:
    """Our files with their sha256, and the folders made for them, innermost first. Paths are
    relative to WanGP, or absolute if it keeps models or LoRAs elsewhere."""

    files: dict[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()

    def text(self) -> bytes:
        return (json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def load(wangp: Path) -> Record:
    """The record; an empty one if there is none that can be read."""
    try:
        stored = read_json(wangp / RECORD)
        record = Record(dict(stored["files"]), tuple(stored["folders"]))
    except (ValueError, TypeError, KeyError):
        return Record()
    texts = (*record.files.values(), *record.folders)
    if not all(isinstance(one, str) for one in texts):
        return Record()
    # whatever the record says, no other file outside WanGP is ours
    foreign = [name for name in record.files if not Path(name).name.startswith(_OURS)
               and not (is_inside(name) and is_here(wangp, name))]
    return Record() if foreign else record


def is_complete(wangp: Path) -> bool:
    """Whether the demo model is there."""
    files = load(wangp).files
    return bool(files) and all((wangp / name).is_file() for name in files)


def added(wangp: Path, files: Mapping[str, bytes]) -> list[Change]:
    """The changes that write `files`, in their order, and delete those of an earlier release.
    Raises Refused if the user has a file under one of their names."""
    record, before = load(wangp), {name: _read(wangp / name) for name in files}
    foreign = [name for name, there in before.items()
               if there not in (None, files[name]) and sha256(there) != record.files.get(name)]
    if foreign:
        raise Refused(f"{', '.join(str(wangp / name) for name in foreign)} is there already, and "
                      "not as this command writes it. Nothing was changed: rename or delete it, "
                      "and run this again")
    hashes = {name: sha256(content) for name, content in files.items()}
    stale = Record({name: hash for name, hash in record.files.items() if name not in files})
    made = {folder for name in files for folder in (wangp / name).parents if not folder.exists()}
    named = (folder.relative_to(wangp).as_posix() if folder.is_relative_to(wangp) else str(folder)
             for folder in made)
    folders = sorted({*record.folders, *named}, key=lambda name: (len(name), name), reverse=True)
    # the record first: it can take back whatever is written after it
    changes = (Change(RECORD, _read(wangp / RECORD), Record(hashes, tuple(folders)).text()),
               *(Change(name, before[name], content) for name, content in files.items()),
               *_gone(wangp, stale)[0])
    return [change for change in changes if change.before != change.after]


def without(wangp: Path, plan: Plan | None = None) -> Plan:
    """A plan that first removes the demo model."""
    record, plan = load(wangp), plan or Plan((), (), (), frozenset(), (), None)
    gone, kept = _gone(wangp, record)
    last = [Change(RECORD, there, None) for there in [_read(wangp / RECORD)] if there is not None]
    return replace(plan, changes=(*gone, *last, *plan.changes), kept=(*kept, *plan.kept),
                   folders=(*record.folders, *plan.folders))


def _gone(wangp: Path, record: Record) -> tuple[list[Change], list[str]]:
    """The changes that delete a record's files, newest first, and the files that were edited."""
    there = {name: content for name in reversed(record.files)
             if (content := _read(wangp / name)) is not None}
    ours = [name for name, content in there.items() if sha256(content) == record.files[name]]
    return ([Change(name, there[name], None) for name in ours],
            [name for name in there if name not in ours])


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
