"""The small model in a WanGP (`python -m wan2gp_svi small`): what was written there, and how it is taken back.

A record names every file with its hash. A file that has another content since is the user's, and stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from wan2gp_svi.install import Refused
from wan2gp_svi.install.plan import Change, Plan
from wan2gp_svi.install.state import sha256

RECORD = "finetunes/svi_small/written.json"


@dataclass(frozen=True)
class Record:
    """Our files, with the sha256 as written; the folders that were made for them, innermost first. Paths are relative
    to WanGP, or absolute where it keeps models or LoRAs elsewhere."""

    files: dict[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()

    def text(self) -> bytes:
        return (json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def load(wangp: Path) -> Record:
    """What was written; nothing, where there is no record that can be read."""
    try:
        stored = json.loads((wangp / RECORD).read_text(encoding="utf-8"))
        record = Record(dict(stored["files"]), tuple(stored["folders"]))
    except (OSError, ValueError, TypeError, KeyError):
        return Record()
    return record if all(isinstance(one, str) for one in (*record.files.values(), *record.folders)) else Record()


def added(wangp: Path, files: Mapping[str, bytes]) -> list[Change]:
    """The changes that write `files`, in their order, in place of those of an earlier release. Raises Refused where
    one of them is there already and not ours."""
    record, before = load(wangp), {name: _read(wangp / name) for name in files}
    foreign = [name for name, there in before.items()
               if there not in (None, files[name]) and sha256(there) != record.files.get(name)]
    if foreign:
        raise Refused(f"{', '.join(str(wangp / name) for name in foreign)} is there already, and not as this command "
                      "writes it; nothing was changed: rename or delete it, and run again")
    hashes = {name: sha256(content) for name, content in files.items()}
    stale = replace(record, files={name: record.files[name] for name in record.files.keys() - files.keys()})
    made = {folder for name in files for folder in (wangp / name).parents if not folder.exists()}
    named = [folder.relative_to(wangp).as_posix() if folder.is_relative_to(wangp) else str(folder) for folder in made]
    folders = sorted({*record.folders, *named}, key=lambda name: (len(name), name), reverse=True)
    changes = [Change(name, before[name], content) for name, content in files.items()]
    # the record first: whatever is written after it can be taken back
    return [change for change in (Change(RECORD, _read(wangp / RECORD), Record(hashes, tuple(folders)).text()),
                                  *changes, *_gone(wangp, stale)[0]) if change.before != change.after]


def without(wangp: Path, plan: Plan | None = None) -> Plan:
    """The plan, with all of the small model taken out before."""
    record, plan = load(wangp), plan or Plan((), (), (), frozenset(), (), None)
    gone, kept = _gone(wangp, record)
    last = [Change(RECORD, there, None) for there in [_read(wangp / RECORD)] if there is not None]
    return replace(plan, changes=(*gone, *last, *plan.changes), kept=(*kept, *plan.kept),
                   folders=(*record.folders, *plan.folders))


def _gone(wangp: Path, record: Record) -> tuple[list[Change], list[str]]:
    """Of the files of a record: the changes that delete them, the newest first; and those that were edited."""
    there = {name: content for name in reversed(record.files) if (content := _read(wangp / name)) is not None}
    ours = [name for name, content in there.items() if sha256(content) == record.files[name]]
    return [Change(name, there[name], None) for name in ours], [name for name in there if name not in ours]


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
