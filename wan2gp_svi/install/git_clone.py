"""A git clone of WanGP: the filter that is set up in its own .git, and taken out of it.

Set up are, each in .git: a block in config, in info/attributes and in info/exclude, and a shell script that finds a
Python for the filter. Without one, sed puts in the hook at the start.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wan2gp_svi.install import Refused
from wan2gp_svi.install.patches import MARKER, NO_PYTHON, START, Patch, hook_name
from wan2gp_svi.install.programs import ask
from wan2gp_svi.install.shipped import PACKAGE
from wan2gp_svi.wangp import contract

_BEGIN, _END = b"# wan2gp_svi: begin\n", b"# wan2gp_svi: end\n"
_JOINED = b"# wan2gp_svi: begin, after a line without end\n"
_SCRIPT = """\
# SVI for WanGP. git runs this on WanGP's hooked files: the hooks are taken out for git and put back for WanGP.
# Without the package the files are what upstream wrote; without a Python they are too, but for a hook that says so.
for python in {python} python3 python py; do
    if [ -f {filter} ] && "$python" -c "" </dev/null >/dev/null 2>&1; then
        exec "$python" {filter} "$@"
    fi
done
if [ "$1" = clean ]; then exec sed '/{marker}[[:space:]]*$/d'; fi
if [ "$2" = {started} ] && [ -f {filter} ]; then
    exec sed {start}
fi
exec cat
"""


@dataclass(frozen=True)
class Clone:
    """A git clone of WanGP. `git` is its .git, relative to `root` where it lies there, so that it can be moved."""

    root: Path
    git: str

    @property
    def script(self) -> str:
        return f"{self.git}/{PACKAGE}/filter"

    def wanted(self, hooked: Iterable[str], ours: Iterable[str]) -> dict[str, bytes | None]:
        """The files in .git and what is to be in them, once the filter is set up for the files `hooked`; git is to
        overlook the files `ours`."""
        started, start = _by_sed(contract.own_patches())
        script = _SCRIPT.format(python=_quoted(Path(sys.executable).as_posix()), marker=MARKER,
                                filter=f"{PACKAGE}/install/filter.py", started=started, start=_quoted(start))
        place = _quoted(self.script)
        command = f"test -f {place} || exec cat; exec sh {place}"  # a second worktree has no .git to find it in
        places = sorted({f"/{PACKAGE}/" if name.startswith(f"{PACKAGE}/") else f"/{name}" for name in ours})
        commands = [f'\t{mode} = "{_escaped(command)} {mode} %f"' for mode in ("clean", "smudge")]
        blocks = {
            "info/exclude": places,
            "config": [f'[filter "{PACKAGE}"]', *commands],
            "info/attributes": [f"/{name} filter={PACKAGE}" for name in hooked],
        }
        files: dict[str, bytes | None] = {self.script: script.encode("utf-8")}
        return files | {f"{self.git}/{name}": with_block(self.read(name), lines) for name, lines in blocks.items()}

    def without(self) -> dict[str, bytes | None]:
        """The same files, and what is in them without the filter."""
        names = ("info/attributes", "config", "info/exclude")
        return {**{f"{self.git}/{name}": without_block(self.read(name)) for name in names}, self.script: None}

    def read(self, name: str) -> bytes | None:
        return _read(self.root / self.git / name)

    def settle(self, paths: Iterable[str]) -> bool:
        """Lets git look at these files again: it takes a file of another size for modified without asking the filter.

        What is staged stays staged, and a file that the user has edited stays modified. False if the index is locked.
        """
        staged = _git(self.root, "ls-files", "--stage", "-z", "--", *paths)
        for entry in filter(None, staged.split("\0")):
            about, _, path = entry.partition("\t")
            mode, blob, stage = about.split()
            if stage == "0":
                _git(self.root, "update-index", "--cacheinfo", f"{mode},{blob},{path}")
        _git(self.root, "update-index", "-q", "--refresh")
        return not (self.root / _git(self.root, "rev-parse", "--git-path", "index.lock").strip()).is_file()


def clone(wangp: Path) -> Clone | None:
    """The git clone that WanGP's folder is, or None: it was unpacked, or there is no git to work with it."""
    dot = wangp / ".git"
    if dot.is_dir():
        return Clone(wangp, ".git")
    with contextlib.suppress(OSError, ValueError):  # a worktree or submodule: a file that says where
        directory = (wangp / dot.read_text(encoding="utf-8").removeprefix("gitdir:").strip()).resolve()
        common = directory / "commondir"
        if common.is_file():
            directory = (directory / common.read_text(encoding="utf-8").strip()).resolve()
        if directory.is_dir():
            return Clone(wangp, directory.as_posix())
    return None


def usable(wangp: Path) -> bool:
    """Whether git itself is here and takes this folder for the top of a clone."""
    top = _git(wangp, "rev-parse", "--show-toplevel").rstrip("\n")
    return bool(top) and Path(top).is_dir() and Path(top).samefile(wangp)


def state(wangp: Path, wanted: dict[str, bytes | None]) -> str:
    """How updates of WanGP go, in a sentence for people; `wanted` as `Clone.wanted` has it."""
    if clone(wangp) is None:
        return "not a git clone: install again after every update of WanGP"
    if not usable(wangp):
        return "git was not found: install again after every update of WanGP"
    whole = all(content == _read(wangp / name) for name, content in wanted.items())
    return "git keeps the hooks through every update" if whole else "the filter in .git is not whole: install again"


def with_block(text: bytes | None, lines: Iterable[str]) -> bytes:
    """`text` with our block of `lines` at its end, in place of the one that may be there."""
    bare = without_block(text) or b""
    block = "".join(f"{line}\n" for line in lines).encode("utf-8") + _END
    for begin in (_BEGIN, _JOINED):
        if begin + block in (text or b""):  # also where git has written something behind it
            return text or b""
    return bare + (b"\n" + _JOINED if bare and not bare.endswith(b"\n") else _BEGIN) + block


def without_block(text: bytes | None) -> bytes | None:
    """`text` without our block; None if nothing else is in it. Refused if the block has lost its end."""
    for begin in (b"\n" + _JOINED, _BEGIN):
        head, found, rest = (text or b"").partition(begin)
        if found:
            _, ended, tail = rest.partition(_END)
            if not ended:
                raise Refused(f"the line {_END.decode().strip()!r} is missing in .git/config, .git/info/attributes or "
                              ".git/info/exclude: put it after the lines of SVI there, or delete those lines")
            return head + (b"\n" if tail and begin != _BEGIN else b"") + tail or None
    return text


def _by_sed(patches: Iterable[Patch]) -> tuple[str, str]:
    """The file with the hook at the start, and the sed command that puts it in where there is no Python.

    What is behind the anchor in its line goes behind the hook's lines too: with CRLF that is the CR.
    """
    path, hunk = next((patch.path, hunk) for patch in patches for hunk in patch.hunks if hook_name(hunk) == START)
    anchor = "".join(f"\\{one}" if one in "\\.[]*^$/" else one for one in hunk.anchor)
    *lines, last = (text.replace("\\", "\\\\").replace("&", "\\&").replace("/", "\\/") for text in hunk.texts)
    added = "\\\n".join(["&", *(f"{line}\\1" for line in (*lines, last.replace(MARKER, f"{NO_PYTHON}  {MARKER}")))])
    return path, f"s/^{anchor}\\([[:space:]]*\\)$/{added}/"


def _quoted(text: str) -> str:
    """`text` as one word for sh."""
    return "'" + text.replace("'", "'\\''") + "'"


def _escaped(text: str) -> str:
    """`text` inside the double quotes of git's config."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _git(wangp: Path, *arguments: str) -> str:
    """What git prints; "" when it fails or is not there."""
    return ask("git", *arguments, folder=wangp).text
