"""Files that are written whole or not at all, and locked folders: killed, full, refused."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from held import held
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


# ------------------------------------------------------------------------- files that are in use

@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that passes when somebody sleeps, and files that others have, until `free`."""
    clock = SimpleNamespace(now=0.0, free=0.3)
    monkeypatch.setattr(files, "PATIENCE", 1.0)
    clock.held = held(monkeypatch, readable=False)

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now >= clock.free:
            clock.held.clear()

    monkeypatch.setattr(files, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep))
    return clock


WORK: dict[str, Callable[[Path], object]] = {
    "write": lambda path: files.write(path, b"new"), "read": files.read, "sha256": files.sha256,
    "stage": lambda path: files.stage(path, b"new"), "remove": files.remove,
    "replace": lambda path: files.replace(path, path.with_name("other")),
}


@pytest.mark.parametrize("name", WORK)
def test_a_file_that_is_in_use_is_tried_for_a_second(tmp_path: Path, windows: SimpleNamespace,
                                                     name: str):
    path, expected = tmp_path / "run.json", tmp_path / "expected"
    for one in (path, expected):
        one.write_bytes(b"old")
    windows.held.add(path)
    assert WORK[name](path) == WORK[name](expected)
    assert content(path) == content(expected) and 0.3 <= windows.now < 0.6


@pytest.mark.parametrize("name", WORK)
def test_a_file_that_stays_in_use_is_an_error_that_names_it(tmp_path: Path,
                                                            windows: SimpleNamespace, name: str):
    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    windows.held.add(path)
    windows.free = 60.0
    with pytest.raises(PermissionError) as caught:
        WORK[name](path)
    there = path.with_name("other") if name == "replace" else path
    windows.held.clear()
    assert caught.value.filename == str(there) and 1.0 <= windows.now < 3
    assert content(path) == b"old" and names(tmp_path) == ["run.json"]
    assert files.explain(PermissionError(13, "Access is denied", str(path))) == (
        f"{path}: another program uses it, or you have no permission")


@pytest.mark.parametrize("name", WORK)
def test_a_reader_that_closes_the_file_for_a_moment_only_is_not_missed(
        tmp_path: Path, windows: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, name: str):
    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    windows.held.add(path)

    def sleep(seconds: float) -> None:
        windows.now += seconds
        free = 0.022 < windows.now % 0.05 < 0.028
        (windows.held.discard if free else windows.held.add)(path)

    monkeypatch.setattr(files.time, "sleep", sleep)
    WORK[name](path)


def test_every_write_gets_through_beside_a_process_that_never_stops_reading(tmp_path: Path):
    path = tmp_path / "run.json"
    path.write_bytes(b"0")
    code = "import sys; print(flush=True)\nwhile True:\n  try: open(sys.argv[1], 'rb').read()\n" \
           "  except OSError: pass"
    reader = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    try:
        assert said(reader) == ""
        for number in range(50):
            files.write(path, b"%d" % number)
            assert files.read(path) == b"%d" % number
    finally:
        reader.kill()
        reader.wait()


def test_json_that_stays_in_use_is_unreadable_and_what_is_not_there_needs_no_wait(
        tmp_path: Path, windows: SimpleNamespace):
    path = tmp_path / "run.json"
    assert files.read(path) is None and files.remove(path) is None and windows.now == 0
    path.write_bytes(b"[1]")
    assert files.read_json(path) == [1]
    windows.held.add(path)
    windows.free = 60.0
    assert files.read_json(path) is None


def test_a_small_file_is_read_into_little_memory(tmp_path: Path):
    (tmp_path / "run.json").write_bytes(b"[1]")
    tracemalloc.start()
    try:
        assert files.read_json(tmp_path / "run.json") == [1]
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_folder_where_a_file_should_be_is_called_one(tmp_path: Path, windows: SimpleNamespace):
    windows.held.add(tmp_path / "folder")  # Windows says of a folder that access is denied
    (tmp_path / "folder").mkdir()
    windows.free = 60.0
    with pytest.raises(IsADirectoryError, match="folder"):
        files.read(tmp_path / "folder")


def test_an_error_in_words_names_the_file_and_has_no_number(tmp_path: Path):
    path = tmp_path / "a\\b.json"
    full = OSError(28, "No space left on device", str(path))
    assert files.explain(full) == f"{path}: No space left on device"
    assert files.explain(full, path) == "No space left on device"
    assert files.explain(OSError("a sentence")) == files.explain(ValueError("a sentence")) == (
        "a sentence")


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


def test_looking_whether_a_folder_is_locked_keeps_nobody_out(tmp_path: Path):
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            files.is_locked(tmp_path)

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(200):
            release = files.lock(tmp_path)
            assert files.is_locked(tmp_path)
            release()
    finally:
        done.set()
        for looker in lookers:
            looker.join()
    assert not files.is_locked(tmp_path) and not files.is_locked(tmp_path / "not there")


def test_a_lock_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, place = tmp_path / "run", tmp_path / "temporary"
    folder.mkdir()
    place.mkdir()
    for name in ("TEMP", "TMP", "TMPDIR"):
        monkeypatch.setenv(name, str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)  # where Windows locks
    process = holder(folder)
    assert said(process) == "locked" and files.is_locked(folder)
    process.kill()
    process.wait()
    assert not files.is_locked(folder)
    files.lock(folder)()
    assert not names(place) and not names(folder)


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
