"""Files that are written whole or not at all, and locked folders: killed, full, refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kills import killed, needs_fork

from wan2gp_svi import files

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(params=["new", "over an old one"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "ein Name mit ä.json"
    if request.param != "new":
        path.write_bytes(b"old")
    return path


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("make", [b"new", lambda part: part.write_bytes(b"new")],
                         ids=["bytes", "function"])
def test_a_file_is_written_and_nothing_else_stays(path: Path, make):
    files.write(path, make)
    assert path.read_bytes() == b"new" and names(path.parent) == [path.name]


def test_what_is_being_written_keeps_its_ending(path: Path):
    parts: list[Path] = []
    files.write(path, lambda part: (part.write_bytes(b"new"), parts.append(part)))
    part, = parts
    assert part == files.unfinished(path) and files.UNFINISHED in part.name
    assert (part.suffix, part.parent) == (path.suffix, path.parent)


@needs_fork
def test_killed_at_any_operation_it_is_the_old_file_or_the_new_one(path: Path):
    before, seen = content(path), []
    for at in range(1, 20):
        if not killed(lambda: files.write(path, b"new" * 10**6), at, under=path.parent):
            break
        seen.append(content(path))
        assert seen[-1] in (before, b"new" * 10**6)
        files.write(path, before) if before else path.unlink(missing_ok=True)
    assert len(seen) >= 3


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["make", "os.fsync", "pathlib.Path.replace"])
def test_what_fails_leaves_the_old_file_and_nothing_beside_it(path: Path, monkeypatch, step: str,
                                                              fault: BaseException):
    def fail(*_: object) -> None:
        raise fault

    def half(part: Path) -> None:
        part.write_bytes(b"ne")
        if step == "make":
            raise fault

    before = content(path)
    if step != "make":
        monkeypatch.setattr(step, fail)
    with pytest.raises(type(fault)):
        files.write(path, half)
    monkeypatch.undo()
    assert content(path) == before and names(path.parent) == [path.name] * (before is not None)


def test_it_is_on_the_disk_before_it_takes_its_place(path: Path, monkeypatch: pytest.MonkeyPatch):
    order: list[tuple[str, bytes | None]] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (fsync(handle),
                                                     order.append(("fsync", content(path)))))
    monkeypatch.setattr(Path, "replace", lambda self, to: (
        order.append(("replace", self.read_bytes())), replace(self, to))[1])
    before = content(path)
    files.write(path, b"new")
    assert order == [("fsync", before), ("replace", b"new")]


def test_a_function_that_writes_nothing_is_an_error_and_the_old_file_stays(path: Path):
    before = content(path)
    with pytest.raises(FileNotFoundError):
        files.write(path, lambda part: None)
    assert content(path) == before


# -------------------------------------------------------------------------------------------- locks

def holder(folder: Path) -> subprocess.Popen:
    """Another process that has the folder, until it is killed."""
    code = f"""
import sys
sys.path.insert(0, {str(REPO)!r})
from pathlib import Path
from wan2gp_svi import files
try:
    files.lock(Path(sys.argv[1]))
    print("locked", flush=True)
except files.Busy:
    print("busy", flush=True)
sys.stdin.read()
"""
    return subprocess.Popen([sys.executable, "-c", code, folder], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE)


def said(process: subprocess.Popen) -> str:
    return process.stdout.readline().decode().strip()


def test_another_process_is_kept_out_until_the_first_has_ended_however(tmp_path: Path):
    folder = tmp_path / "ein Lauf ü"
    folder.mkdir()
    first = holder(folder)
    assert said(first) == "locked"
    with pytest.raises(files.Busy, match="ein Lauf"):
        files.lock(folder)
    second = holder(folder)
    assert said(second) == "busy"
    first.kill()
    first.wait()
    release = files.lock(folder)
    third = holder(folder)
    assert said(third) == "busy"
    release()
    release()  # a second time is nothing
    fourth = holder(folder)
    assert said(fourth) == "locked" and names(folder) == []
    for process in (second, third, fourth):
        process.kill()
        process.wait()


def test_the_same_process_is_kept_out_too_and_other_folders_are_free(tmp_path: Path):
    for name in "ab":
        (tmp_path / name).mkdir()
    release = files.lock(tmp_path / "a")
    with pytest.raises(files.Busy):
        files.lock(tmp_path / "a")
    files.lock(tmp_path / "b")()
    files.lock(tmp_path)()
    release()
    files.lock(tmp_path / "a")()


def test_a_folder_that_is_locked_can_be_filled_and_removed(tmp_path: Path):
    folder = tmp_path / "run"
    folder.mkdir()
    release = files.lock(folder)
    files.write(folder / "a", b"a")
    (folder / "a").unlink()
    folder.rmdir()
    release()


@pytest.mark.skipif(sys.platform == "win32", reason="the lock of Windows is another")
def test_a_disk_that_knows_no_locks_does_not_keep_anybody_out(tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    files.lock(tmp_path)()
    monkeypatch.undo()
    files.lock(tmp_path / "that is not there")()
