"""A git clone of WanGP: sets the filter up in its own .git, and removes it.

The set-up is a block in each of config, info/attributes and info/exclude, the filter, and a shell
script that finds a Python for it. If it finds none, sed adds the hook at WanGP's start.

A checkout can put any file into WanGP's folder, and git runs the filter while it does. So nothing
in that folder runs here: no module, no patch, and no Python.
"""

import contextlib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from wan2gp_svi import files
from wan2gp_svi.install import Refused
from wan2gp_svi.install.archive import archive
from wan2gp_svi.install.patches import MARKER, NO_PYTHON, START, Patch, hook_name, read_series
from wan2gp_svi.install.programs import Answer, ask
from wan2gp_svi.install.shipped import PACKAGE
from wan2gp_svi.wangp import contract

_BEGIN, _END = b"# wan2gp_svi: begin\n", b"# wan2gp_svi: end\n"
_JOINED = b"# wan2gp_svi: begin, after a line without end\n"
#: how the filter stands in a WanGP
Filter = Enum("Filter", "NO_CLONE NO_GIT REFUSED ABSENT BROKEN NO_PYTHON WHOLE")
_SUFFIXES = ("", ".pyz", ".python")  # of the script, the filter, and the path of a Python for it
_SCRIPT = """\
# SVI for WanGP. git runs this on hooked files, to remove the hooks for git and add them for WanGP.
# Without the package it adds none, and without a Python only the one that says so at WanGP's start.
# A checkout can change any file in WanGP's folder: nothing there may run.
is_elsewhere() {{
    case $1 in /* | [A-Za-z]:*) ;; *) return 1 ;; esac
    folder=$(CDPATH= cd "${{1%/*}}/" && pwd -P) || return 1
    while [ "$folder" ]; do
        if [ "$folder" -ef . ]; then return 1; fi
        folder=${{folder%/*}}
    done
}}
unset VIRTUAL_ENV  # py would run the Python there
known=
if [ -f "$0.python" ]; then IFS= read -r known <"$0.python"; fi
if [ -f {package}/__init__.py ]; then
    for name in "$known" python3 python py; do
        python=$(command -v "$name") && is_elsewhere "$python" || continue
        if "$python" -I -S -c "" </dev/null >/dev/null 2>&1; then
            exec "$python" -I -S "$0.pyz" "$@"
        fi
    done
fi
if [ "$1" = clean ]; then exec sed '/{marker}[[:space:]]*$/d'; fi
if [ "$2" = {started} ] && [ -f {package}/__init__.py ]; then
    echo "[SVI] SVI is off: git found no Python outside this folder. Run install.py again." >&2
    exec sed {start}
fi
exec cat
"""


@dataclass(frozen=True)
class Clone:
    """A git clone of WanGP. `git` is its .git, relative to `root` if it is inside."""

    root: Path
    git: str

    @property
    def script(self) -> str:
        return f"{self.git}/{PACKAGE}/filter"

    def wanted(self, patches: Path, ours: Iterable[str]) -> dict[str, bytes | None]:
        """The content of each file in .git once the filter is set up for the patches in a folder,
        and git ignores the files `ours`."""
        hooked = [patch.path for patch in read_series(patches)]
        started, start = _by_sed(contract.own_patches())
        script = _SCRIPT.format(marker=MARKER, started=_quoted(started), package=PACKAGE,
                                start=_quoted(start))
        quoted = _quoted(self.script)
        # a second worktree has no .git in which to find the script
        command = _escaped(f"test -f {quoted} || exec cat; exec sh {quoted}")
        commands = [f'\t{mode} = "{command} {mode} %f"' for mode in ("clean", "smudge")]
        blocks = {
            "info/exclude": sorted({f"/{PACKAGE}/" if name.startswith(f"{PACKAGE}/") else f"/{name}"
                                    for name in ours}),
            "config": [f'[filter "{PACKAGE}"]', *commands],
            "info/attributes": [f"/{name} filter={PACKAGE}" for name in hooked],
        }
        wanted: dict[str, bytes | None] = {
            self.script: script.encode("utf-8"),
            f"{self.script}.pyz": archive(patches),
            f"{self.script}.python": self._python(),
        }
        for name, lines in blocks.items():
            place = f"{self.git}/{name}"
            wanted[place] = with_block(files.read(self.root / place), lines)
        return wanted

    def without(self) -> dict[str, bytes | None]:
        """The content of the same files without the filter."""
        names = [f"{self.git}/{name}" for name in ("info/attributes", "config", "info/exclude")]
        bare = {name: without_block(files.read(self.root / name)) for name in names}
        return {**bare, **dict.fromkeys(f"{self.script}{suffix}" for suffix in _SUFFIXES)}

    def _python(self) -> bytes | None:
        """The path of a Python outside WanGP's folder, in a line: the one noted before, this one,
        the one that its environment was made from, or conda's. None if there is none."""
        noted = files.read(self.root / f"{self.script}.python") or b""
        for place in (noted.decode("utf-8", "replace").strip(), sys.executable,
                      getattr(sys, "_base_executable", ""), os.path.realpath(sys.executable),
                      os.environ.get("CONDA_PYTHON_EXE")):
            path = Path(place or self.root)
            if path.is_file() and not path.parent.resolve().is_relative_to(self.root.resolve()):
                return f"{path.as_posix()}\n".encode()
        return None

    def settle(self, paths: Iterable[str]) -> bool:
        """Makes git look at these files again, because it takes a changed size for an edit.

        Staged changes and the user's edits stay. Returns False if the index is locked.
        """
        staged = _git(self.root, "ls-files", "--stage", "-z", "--", *paths)
        for entry in filter(None, staged.split("\0")):
            about, _, path = entry.partition("\t")
            mode, blob, stage = about.split()
            if stage == "0":
                _git(self.root, "update-index", "--cacheinfo", f"{mode},{blob},{path}")
        _git(self.root, "update-index", "-q", "--refresh")
        lock = _git(self.root, "rev-parse", "--git-path", "index.lock").strip()
        return not (self.root / lock).is_file()


def clone(wangp: Path) -> Clone | None:
    """The git clone in WanGP's folder; None if there is none."""
    dot = wangp / ".git"
    if dot.is_dir():
        return Clone(wangp, ".git")
    with contextlib.suppress(OSError, ValueError):  # a worktree or submodule: a file says where
        place = dot.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        directory = (wangp / place).resolve()
        common = directory / "commondir"
        if common.is_file():
            directory = (directory / common.read_text(encoding="utf-8").strip()).resolve()
        if directory.is_dir():
            return Clone(wangp, directory.as_posix())
    return None


def usable(wangp: Path) -> bool:
    """Whether git is installed, and sees the top of a clone in this folder."""
    top = _top(wangp).text.rstrip("\n")
    return bool(top) and Path(top).is_dir() and Path(top).samefile(wangp)


def _top(wangp: Path) -> Answer:
    return ask("git", "rev-parse", "--show-toplevel", folder=wangp)


def filter_state(wangp: Path, patches: Path, ours: Iterable[str]) -> Filter:
    """How the filter stands. The arguments are those of `Clone.wanted`."""
    git = clone(wangp)
    if git is None:
        return Filter.NO_CLONE
    if not usable(wangp):
        refused = "safe.directory" in _top(wangp).fault  # another user owns the folder
        return Filter.REFUSED if refused else Filter.NO_GIT
    wanted = git.wanted(patches, ours).items()
    if any(content != files.read(wangp / name) for name, content in wanted):
        return Filter.BROKEN if (wangp / git.script).exists() else Filter.ABSENT
    smudged = _git(wangp, "cat-file", "--filters", f"HEAD:./{contract.WGP}")
    return Filter.NO_PYTHON if NO_PYTHON in smudged else Filter.WHOLE


def with_block(text: bytes | None, lines: Iterable[str]) -> bytes:
    """`text` with our block of `lines` at its end, in place of any that it has."""
    bare = without_block(text) or b""
    block = "".join(f"{line}\n" for line in lines).encode("utf-8") + _END
    for begin in (_BEGIN, _JOINED):
        if begin + block in (text or b""):  # perhaps with lines of git after it
            return text or b""
    return bare + (b"\n" + _JOINED if bare and not bare.endswith(b"\n") else _BEGIN) + block


def without_block(text: bytes | None) -> bytes | None:
    """`text` without our block; None if nothing is left. Raises Refused if its end is missing."""
    for begin in (b"\n" + _JOINED, _BEGIN):
        head, found, rest = (text or b"").partition(begin)
        if found:
            _, ended, tail = rest.partition(_END)
            if not ended:
                raise Refused(f"the line {_END.decode().strip()!r} is missing in .git/config, "
                              ".git/info/attributes or .git/info/exclude: add it after SVI's lines "
                              "there, or delete those lines")
            return head + (b"\n" if tail and begin != _BEGIN else b"") + tail or None
    return text


def _by_sed(patches: Iterable[Patch]) -> tuple[str, str]:
    """The file with the hook at WanGP's start, and the sed command that adds it.

    The hook's lines end like the anchor's, with or without CR.
    """
    path, hunk = next((patch.path, hunk) for patch in patches for hunk in patch.hunks
                      if hook_name(hunk) == START)
    anchor = "".join(f"\\{one}" if one in "\\.[]*^$/" else one for one in hunk.anchor)
    *lines, last = (text.replace("\\", "\\\\").replace("&", "\\&").replace("/", "\\/")
                    for text in hunk.texts)
    lines.append(last.replace(MARKER, f"{NO_PYTHON}  {MARKER}"))
    added = "\\\n".join(["&", *(f"{line}\\1" for line in lines)])
    return path, f"s/^{anchor}\\([[:space:]]*\\)$/{added}/"


def _quoted(text: str) -> str:
    """`text` as one word for sh."""
    return "'" + text.replace("'", "'\\''") + "'"


def _escaped(text: str) -> str:
    """`text` for the double quotes of git's config."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _git(wangp: Path, *arguments: str) -> str:
    """What git prints; "" if it fails or is not installed."""
    return ask("git", *arguments, folder=wangp).text
