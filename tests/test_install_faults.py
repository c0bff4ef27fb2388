"""Faults: the installer is killed, refused, moved, met by another, and runs out of disk.

Real processes work on a small WanGP, unpacked or a git clone, with edits in it. An audit hook in
the process sees every operation that changes a file, and kills or refuses it. docs/faults.md lists
what is tested here.
"""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wan2gp_svi.install.patches import MARKER, unhooked

REPO = Path(__file__).resolve().parents[1]
ANY2VIDEO, MODEL = "models/wan/any2video.py", "models/wan/modules/model.py"
HOOKS = {"wgp.py": "window_no = 1", MODEL: "first = next(iter(sd), None)"}

PROCESS = r"""
import json, os, signal, sys, tempfile
tempfile.gettempdir()  # where Windows locks; Python tries it out with a file of its own
repo, home, release, fault, at, runs = sys.argv[1:]
sys.path.insert(0, repo)
sys.dont_write_bytecode = True
from pathlib import Path
from wan2gp_svi.install import cli

seen, root = [], None
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

def changes(event, path, *more):
    # what changes nothing, as a folder that is made again, is no operation
    if event == "open":
        mode, flags = more
        return any(letter in mode for letter in "wax+") if mode else bool(flags & WRITES)
    if event == "os.mkdir":
        return not os.path.isdir(path)
    if event == "os.rmdir":
        return os.path.isdir(path) and not os.listdir(path)
    if event == "os.remove":
        return os.path.lexists(path)
    return event in ("os.rename", "os.chmod", "os.truncate", "os.link", "os.symlink", "os.utime",
                     "subprocess.Popen")

def half(event, path):
    if event == "open":  # as far as a write came
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "wb") as file:
            file.write(b"hal")

def name(event, arguments):
    if event == "subprocess.Popen":
        return " ".join(map(str, arguments[1])).replace(root, "ROOT")
    return os.path.relpath(arguments[0], root).replace(os.sep, "/")

busy = False
def hook(event, arguments):
    global busy
    if busy or not event.startswith(("open", "os.", "subprocess.")) or not arguments:
        return
    if isinstance(arguments[0], int) or arguments[0] in (os.devnull, None):
        return
    busy = True
    try:
        if not changes(event, *arguments):
            return
        seen.append((event, name(event, arguments)))
        if fault == "kill" and len(seen) == int(at):
            half(event, arguments[0])
            os.kill(os.getpid(), signal.SIGKILL) if hasattr(signal, "SIGKILL") else os._exit(9)
        opened = sum(event == "open" for event, _ in seen)
        if event == "open" and (fault == "full once" and opened == int(at)
                                or fault == "full" and opened >= int(at)):
            half(event, arguments[0])
            raise OSError(28, "No space left on device", str(arguments[0]))
        inside = (seen[-1][1] + "/").startswith(at + "/")
        if fault == "denied" and event != "subprocess.Popen" and inside:
            raise PermissionError(13, "Permission denied", str(arguments[0]))
    finally:
        busy = False

cli.wan2gp_svi.__version__ = release
code = 0
sys.addaudithook(hook)
for run in json.loads(runs):
    root = run[0]
    code = cli.main(run, home=Path(home)) or code
print("SEEN", json.dumps(seen))
sys.exit(code)
"""


class Result:
    """Exit code, lines of both streams, and the operations (event, path) that changed files."""

    def __init__(self, process):
        out, self.err = (stream.decode("utf-8", "replace")
                         for stream in process.communicate(timeout=60))
        self.code = process.returncode
        self.out, _, seen = out.partition("SEEN ")
        self.seen = [tuple(one) for one in json.loads(seen)] if seen else []
        self.killed = self.code in (-9, 9)
        assert self.killed or self.code in (0, 1), self.err

    def refused(self):
        """Whether it is the one line of a refusal."""
        one = len(self.err.splitlines()) == 1
        return self.code == 1 and one and self.err.startswith("SVI for WanGP: ")


def start(home, *runs, fault="", at=""):
    """Starts the installer of the distribution `home` in a process, for some command lines."""
    release = re.search(r'"(.*)"',
                        (home / "wan2gp_svi/__init__.py").read_text(encoding="utf-8")).group(1)
    program = [sys.executable, "-S", "-E", "-c", PROCESS, str(REPO), str(home), release, fault,
               str(at)]
    runs = json.dumps([list(map(str, one)) for one in runs])
    return subprocess.Popen([*program, runs], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            cwd=home)


def run(home, wangp, *arguments, **fault):
    return Result(start(home, (wangp, *arguments), **fault))


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)


def tree(root):
    """Contents and permissions of all below `root`, but for git's index, which has times in it."""
    return {
        path.relative_to(root).as_posix(): (path.read_bytes() if path.is_file() else None,
                                            path.stat().st_mode)
        for path in root.rglob("*")
        if path.relative_to(root).as_posix() != ".git/index" and "__pycache__" not in path.parts
    }


def differences(one, other):
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def remove(folder):
    """Removes a folder, with what is write-protected, as git's objects are: Windows keeps that."""
    for path in folder.rglob("*"):
        path.chmod(path.stat().st_mode | stat.S_IWRITE)
    shutil.rmtree(folder, ignore_errors=True)


def git(root, *arguments):
    when = {f"GIT_{who}_DATE": "2026-01-01T00:00:00Z"
            for who in ("AUTHOR", "COMMITTER")}  # the same commit every time
    done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, check=True,
                          env={**os.environ, **when})
    return done.stdout.decode("utf-8")


def status(root):
    """What git says of the clone; "" where it is none."""
    return git(root, "status", "--porcelain") if (root / ".git").exists() else ""


def make_wangp(root, kind):
    """A WanGP with edits, committed and not; `kind` is "folder" or "clone"."""
    ending = "\r\n" if kind == "folder" else "\n"
    files = {
        "wgp.py": ending.join(['WanGP_version = "12.60"', "if True:", "    window_no = 1",
                               "# caf\u00e9"]),
        ANY2VIDEO: b"\xef\xbb\xbfsvi_mode = False\nmsk = 1\nlast = 2\n",
        MODEL: "def f(sd):\n    first = next(iter(sd), None)",
        "profiles/wan_i2v/Own.json": "{}",
        ".gitignore": "loras/\n__pycache__/\n",
    }
    write(root, files)
    if kind == "clone":
        if shutil.which("git") is None:
            pytest.skip("needs git")
        git(root, "init", "-q", "--template=")
        for setting in ("core.autocrlf false", "user.name t", "user.email t@example.org",
                        "gc.auto 0"):
            git(root, "config", *setting.split())
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", "WanGP")
        write(root, {".git/info/exclude": "/mine.txt  # and no newline"})
    write(root, {"loras/mine.safetensors": "x", "mine.txt": "new", "wan2gp_svi.txt": "not ours"})
    write(root, {"wgp.py": "import mine\n" + files["wgp.py"],
                 "profiles/wan_i2v/Own.json": '{"mine": 1}'})
    return root


def make_distribution(root, release):
    """A small one with two hooks. Release 1 has one more file and other hooks, 3 another file."""
    hook = f"pass  {MARKER}" if release != "1" else f"pass; pass  {MARKER}"
    patches = {
        f"patches/{number}.patch": f"Description: t\n--- a/{path}\n+++ b/{path}\n"
                                   f"@@ -1 +1,2 @@\n {anchor}\n+{hook}\n"
        for number, (path, anchor) in enumerate(HOOKS.items())
    }
    more = {"1": {"wan2gp_svi/old/gone.py": "1"}, "3": {"wan2gp_svi/new/later.py": "3"}}
    files = {
        "wan2gp_svi/__init__.py": f'__version__ = "{release}"\n',
        "wan2gp_svi/chain.py": f"release = {release!r}\n",
        "profiles/wan_i2v/SVI-Shot \u2013 \u00e4.json": f'{{"release": "{release}"}}\r\n',
        "patches/series": "1.patch\n0.patch\n",
    }
    write(root, {**files, **patches, **more.get(release, {})})
    return root


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """The distribution in its releases 1, 2 and 3."""
    root = tmp_path_factory.mktemp("dist")
    return {release: make_distribution(root / f"svi {release}", release) for release in "123"}


class Case:
    """A command on a WanGP, what is there before, and what an undisturbed run leaves."""

    def __init__(self, homes, root, kind, command):
        self.home, self.root = homes["2"], root
        self.command = ["--uninstall"] if command == "uninstall" else []
        self.clean = tree(make_wangp(root / "ready", kind))
        if command != "install":
            assert run(homes["1"] if command == "update" else self.home, root / "ready").code == 0
        self.before, self.git_before = tree(root / "ready"), status(root / "ready")
        self.fresh("whole")
        self.run = run(self.home, root / "whole", *self.command)
        assert self.run.code == 0, self.run.err
        self.whole = tree(root / "whole")
        assert status(root / "whole") == self.git_before
        self.check_whole(command)

    def fresh(self, name):
        """A new copy of what is there before."""
        remove(self.root / name)
        return Path(shutil.copytree(self.root / "ready", self.root / name))

    def check_whole(self, command):
        """The undisturbed run has done what it should."""
        if command == "uninstall":
            assert differences(self.whole, self.clean) == []
            return
        for name in HOOKS:
            source = self.whole[name][0]
            assert unhooked(source) == self.clean[name][0] and source != self.clean[name][0]
        assert self.whole["wan2gp_svi/chain.py"][0] == b"release = '2'\n"
        assert "wan2gp_svi/old" not in self.whole
        out = run(self.home, self.root / "whole", "--status").out
        assert out.count(" 1 of 1") == len(HOOKS) and "Not whole" not in out
        assert "Problem" not in out

    def ends_whole(self, wangp, ask_git=True):
        """Whether the same command, run again after a fault, ends as an undisturbed one."""
        done = Result(start(self.home, (wangp, *self.command), (wangp, "--status")))
        assert (done.code, done.err) == (0, "") and "Not whole" not in done.out
        assert "Yours" not in done.out
        assert differences(tree(wangp), self.whole) == []
        assert not ask_git or status(wangp) == self.git_before
        return True


@pytest.fixture(scope="module")
def case(homes, tmp_path_factory):
    made = {}

    def get(kind, command):
        if (kind, command) not in made:
            made[kind, command] = Case(homes, tmp_path_factory.mktemp("case"), kind, command)
        return made[kind, command]

    return get


def starts(wangp):
    """Whether WanGP can start: each hooked file is whole, and no hook lacks its package."""
    for name in HOOKS:
        source = (wangp / name).read_bytes()
        compile(source, name, "exec")
        assert MARKER.encode() not in source or (wangp / "wan2gp_svi/chain.py").is_file()
    return True


def at_once(function, items):
    """`function` of every item, two at a time; the first error is raised."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, items))


kinds = pytest.mark.parametrize("kind", ["folder", "clone"])
commands = pytest.mark.parametrize("command", ["install", "update", "uninstall"])


@kinds
@commands
def test_killed_at_any_operation_the_next_run_ends_whole(case, kind, command):
    case = case(kind, command)
    places = dict(enumerate(case.run.seen, 1))
    assert len(places) > 10
    if kind == "clone":  # the package goes the same way as in a folder
        ours = [at for at, (_, path) in places.items()
                if path.startswith(("wan2gp_svi/", "profiles/"))]
        places = {at: places[at] for at in places if at not in ours[2:-2]}

    def kill(at):
        wangp = case.fresh(f"killed {at}")
        assert run(case.home, wangp, *case.command, fault="kill", at=at).killed
        assert starts(wangp)
        # asking git takes time, and nothing here is new to it
        asking = not places[at][1].startswith((".git/", "wan2gp_svi/"))
        assert case.ends_whole(wangp, ask_git=asking), places[at]
        remove(wangp)

    at_once(kill, places)


@kinds
@commands
@pytest.mark.parametrize("full", ["full once", "full"])
def test_a_full_disk_at_any_write_changes_nothing(case, kind, command, full):
    case = case(kind, command)
    writes = sum(event == "open" for event, _ in case.run.seen)
    places = range(1, writes + 1)
    if kind == "clone":
        places = sorted({1, 2, 3, 4, writes - 1, writes})

    def fill(at):
        wangp = case.fresh(f"{full} {at}")
        done = run(case.home, wangp, *case.command, fault=full, at=at)
        assert done.refused() and "No space left" in done.err and "nothing was changed" in done.err
        assert differences(tree(wangp), case.before) == [], at
        assert status(wangp) == case.git_before
        remove(wangp)

    at_once(fill, [at for at in places if 1 <= at <= writes])


@kinds
@commands
@pytest.mark.parametrize("folder", ["wan2gp_svi", "profiles", "models/wan/modules",
                                    "wgp.py.svi-unfinished", ".git"])
def test_without_permission_for_a_folder_nothing_changes(case, kind, command, folder):
    if (folder == ".git") != (kind == "clone"):
        return
    case = case(kind, command)
    wangp = case.fresh("denied")
    done = run(case.home, wangp, *case.command, fault="denied", at=folder)
    assert done.refused() and "permission" in done.err.lower()
    assert "nothing was changed" in done.err
    assert differences(tree(wangp), case.before) == []


@kinds
@commands
@pytest.mark.parametrize("name", ["wgp.py", "wan2gp_svi/chain.py", ".git/config"])
def test_a_write_protected_file_is_respected(case, kind, command, name):
    case = case(kind, command)
    wangp = case.fresh("protected")
    if not (wangp / name).exists() or (name == ".git/config") != (kind == "clone"):
        return
    if (kind, command, name) == ("clone", "update", ".git/config"):  # it stays the same
        return
    (wangp / name).chmod(0o444)
    before = tree(wangp)
    done = run(case.home, wangp, *case.command)
    assert done.refused()
    assert f"{Path(name).name} is write-protected, so nothing was changed" in done.err
    assert tree(wangp) == before


@kinds
@pytest.mark.parametrize("one", ["install", "uninstall"])
@pytest.mark.parametrize("other", ["install", "uninstall"])
def test_two_at_once_leave_every_file_whole(case, kind, one, other):
    install, uninstall = case(kind, "update"), case(kind, "uninstall")
    for number in range(3 if kind == "folder" else 1):
        wangp = install.fresh(f"both {number}")
        both = [start(install.home, (wangp, *case(kind, name).command)) for name in (one, other)]
        for done in map(Result, both):
            assert done.code == 0 or done.refused()
        assert starts(wangp)
        for name in HOOKS:
            assert unhooked((wangp / name).read_bytes()) == install.clean[name][0]
        last = [install, uninstall][number % 2]
        done = Result(start(install.home, (wangp, *last.command), (wangp, "--status")))
        assert done.code == 0 and "Not whole" not in done.out
        assert differences(tree(wangp), last.whole) == [] and status(wangp) == install.git_before


FUTURE = {"release": "99", "files": {"wan2gp_svi/new.py": "0" * 64}, "hooked": ["wgp.py"],
          "format": 3}


@kinds
@pytest.mark.parametrize("state", [None, b"", b"\xff", b"{", b"[]", b'{"release": "2"}',
                                   json.dumps(FUTURE).encode()])
def test_without_its_state_or_with_one_from_the_future_it_works_on(case, kind, state):
    if kind == "clone" and state in (b"", b"\xff", b"[]"):
        return
    install = case(kind, "install")
    for last in (install, case(kind, "uninstall")):
        wangp = install.fresh("state")
        remove(wangp)
        shutil.copytree(install.root / "whole", wangp)
        (wangp / "wan2gp_svi/state.json").unlink()
        if state is not None:
            write(wangp, {"wan2gp_svi/state.json": state})
        assert run(install.home, wangp, "--status").code == 0
        done = run(install.home, wangp, *last.command)
        assert (done.code, done.err) == (0, "")
        assert differences(tree(wangp), last.whole) == [] and status(wangp) == install.git_before


@kinds
@pytest.mark.parametrize("release", ["1", "3"])
def test_an_older_and_a_newer_release_there_before(case, homes, kind, release):
    install, uninstall = case(kind, "install"), case(kind, "uninstall")
    for last in (install, uninstall):
        wangp = install.fresh("release")
        assert run(homes[release], wangp).code == 0
        assert run(install.home, wangp, *last.command).code == 0
        assert differences(tree(wangp), last.whole) == [] and status(wangp) == install.git_before


NAMES = ["Wan GP's (\u00fc) & 100% $HOME; #1 \u4e2d", "x" * 90 + "/" + "y" * 90]


@kinds
@pytest.mark.parametrize("name", NAMES, ids=["odd characters", "200 characters"])
def test_the_path_may_be_long_and_have_blanks_and_umlauts_and_may_change_later(
        case, kind, name, tmp_path):
    install = case(kind, "install")
    first, then = (tmp_path / number / name / "WanGP" for number in "12")
    try:
        shutil.copytree(install.root / "ready", first)
    except OSError as error:
        pytest.skip(f"no such path here: {error}")  # Windows, unless long paths are switched on
    done = run(install.home, first)
    assert done.code == 0, done.err
    assert differences(tree(first), install.whole) == [] and status(first) == install.git_before
    then.parent.mkdir(parents=True)
    first.rename(then)
    assert status(then) == install.git_before
    out = run(install.home, then, "--status").out
    assert out.count(" 1 of 1") == len(HOOKS) and "Not whole" not in out
    assert "Nothing to do" in run(install.home, then).out
    assert differences(tree(then), install.whole) == []
    if kind == "clone":
        (then / MODEL).unlink()
        git(then, "checkout", "--", MODEL)
        assert differences(tree(then), install.whole) == [] and status(then) == install.git_before
    assert run(install.home, then, "--uninstall").code == 0
    assert differences(tree(then), install.clean) == [] and status(then) == install.git_before


def test_an_index_that_git_has_locked_is_settled_by_the_next_run(case):
    for name in ("install", "uninstall"):
        one = case("clone", name)
        wangp = one.fresh("locked")
        write(wangp, {".git/index.lock": b""})
        done = run(one.home, wangp, *one.command)
        assert done.code == 0 and starts(wangp)
        (wangp / ".git/index.lock").unlink()
        assert one.ends_whole(wangp)
