"""Hooks: reads them from patch files, adds them to a source text, and removes them again.

A patch is a unified diff with a DEP-3 header. Each hunk has one context line, the anchor, and adds
one to three lines before or after it, each ending in MARKER. The anchor is found by its text
without indentation, and must occur exactly once. Texts are bytes, so that other lines keep their
encoding and line ending. A hook can have more than one place:

* Hunks that add the same lines at different anchors are one hook; exactly one anchor must fit.
* A hunk's head can name a statement, in the text that a unified diff allows after its second @@:

    @@ -7 +7,2 @@ before the statement with wan_model.generate in generate_media or generate_video

  In the first of these functions that the file has, exactly one statement must refer to that name;
  the hook goes before it. The hook's anchors then count only if this Python cannot read the file.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from wan2gp_svi.install import Refused

MARKER = "# wan2gp_svi"
NO_PYTHON = "# git found no Python"  # before the marker, if git's filter had no Python to run
SERIES = "series"  # the name of the list of patches
START = "start"  # the hook that runs when WanGP starts
TOO_DEEP = "it is nested too deeply"
BOM = b"\xef\xbb\xbf"
MOST_LINES = 3  # of a hook
HUNK_HEAD = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@ ?(.*)")
STATEMENT = re.compile(r"before the statement with ([\w.]+) in (\w+(?: or \w+)*)")
TOP = re.compile(r"(?m)^(?=[^\s#)\]}])")  # where a statement at module level, or its else, begins
DEFINED = re.compile(r"(?:async\s+)?(?:def|class)\s+(\w+)|@")


class PatchError(Refused):
    """A patch is malformed, or does not fit its file."""


@dataclass(frozen=True)
class Statement:
    """The one statement that refers to `name` in the first of `functions` that the file has."""

    name: str
    functions: tuple[str, ...]


@dataclass(frozen=True)
class Hunk:
    """One hook: `lines` to add before `statement`, at the one line `anchor`, or at one of `others`.

    Each is (cut, indent, text), indented like the anchor less `cut` characters plus `indent`.
    """

    anchor: str
    lines: tuple[tuple[int, str, str], ...]
    before: bool
    statement: Statement | None = None
    others: tuple[Hunk, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """The added lines without indentation."""
        return tuple(text for _, _, text in self.lines)


@dataclass(frozen=True)
class Patch:
    """All hooks of one file. `path` is relative to WanGP's folder, with forward slashes."""

    path: str
    hunks: tuple[Hunk, ...]


def read_series(folder: Path) -> list[Patch]:
    """The patches that the file `series` in a folder lists."""
    return parse_series(partial(read, folder))


def read(folder: Path, name: str) -> str:
    """The text of a file of patches. Raises PatchError if it cannot be read."""
    try:
        return (folder / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", error)
        raise PatchError(f"{folder / name} cannot be read ({why}): unpack SVI for WanGP again"
                         ) from None


def listed(series: str) -> list[str]:
    """The names in a series, one a line; `#` begins a comment."""
    names = [line.split("#")[0].strip() for line in series.splitlines()]
    return [name for name in names if name]


def parse_series(read: Callable[[str], str]) -> list[Patch]:
    """The patches that the text `series` lists. `read` returns the text of a name."""
    patches: list[Patch] = []
    for name in listed(read(SERIES)):
        try:
            patch = parse_patch(read(name))
        except PatchError as error:
            raise PatchError(f"{name}: {error}") from None
        if any(patch.path == other.path for other in patches):
            raise PatchError(f"{name}: another patch of the series is for {patch.path} too")
        patches.append(patch)
    return patches


def parse_patch(text: str) -> Patch:
    """Reads one patch. Raises PatchError if it is anything but hooks for one file."""
    lines = [line.rstrip("\r") for line in text.split("\n")]
    starts = [i for i, line in enumerate(lines) if line.startswith("+++ ")]
    if len(starts) != 1:
        raise PatchError(f"a patch is for one file, but this one has {len(starts)} lines with +++")
    path = _path(lines[starts[0]])
    hunks: list[Hunk] = []
    at = starts[0] + 1
    while at < len(lines):
        head = HUNK_HEAD.match(lines[at])
        if head:
            old, new = (1 if count is None else int(count) for count in head.groups()[:2])
            hunk, end = _hunk(path, lines, at + 1, old, new)
            statement = _statement(path, head[3], at + 1, hunk.before)
            hunks.append(replace(hunk, statement=statement))
            at = end
        elif lines[at].rstrip() == "--":  # the signature of git format-patch, to the end
            break
        elif lines[at].strip() and not lines[at].startswith("\\"):
            raise PatchError(f"patch for {path}: line {at + 1} is in no hunk: {lines[at]!r}")
        else:
            at += 1
    if not hunks:
        raise PatchError(f"patch for {path}: it has no hunk")
    return Patch(path, _merged(path, hunks))


def _path(line: str) -> str:
    path = line[4:].split("\t")[0].strip().removeprefix("b/")
    if not is_inside(path):
        raise PatchError(f"a patch must name a file inside WanGP, not {path!r}")
    return path


def is_inside(path: str) -> bool:
    """Whether a path, as stored in a file, is relative, has forward slashes only, and stays below
    its folder: on Windows too, where `a:b` and `\\` lead elsewhere and NUL ends a name."""
    parts = path.split("/")
    return not {"", ".", ".."} & set(parts) and not set(":\\\0") & set(path)


def _statement(path: str, heading: str, at: int, before: bool) -> Statement | None:
    """The statement that a hunk's head names; None if the head holds any other text."""
    found = STATEMENT.fullmatch(heading.strip())
    where = f"patch for {path}, hunk at line {at}"
    if found is None:
        if "the statement with" in heading:
            raise PatchError(
                f"{where}: its head is not of the form '@@ ... @@ before the statement with NAME "
                f"in FUNCTION or FUNCTION': {heading.strip()!r}")
        return None
    if not before:
        raise PatchError(f"{where}: its head says before, and its lines come after")
    return Statement(found[1], tuple(found[2].split(" or ")))


def _hunk(path: str, lines: list[str], at: int, old: int, new: int) -> tuple[Hunk, int]:
    """The hunk that begins at line `at`, of `old` and `new` lines, and the line after it."""
    where = f"patch for {path}, hunk at line {at}"
    added: list[str] = []
    context: list[tuple[int, str]] = []  # how many lines were added before it, and the line
    while old > 0 or new > 0:
        if at == len(lines):
            raise PatchError(f"{where}: it is shorter than its @@ line says")
        sign, body = lines[at][:1], lines[at][1:]
        if sign == "+":
            added.append(body)
        elif sign == " ":
            context.append((len(added), body))
        elif sign == "-":
            raise PatchError(f"{where}: it removes a line, and hooks only add: {body.strip()!r}")
        elif sign != "\\":  # "\ No newline at end of file" does not count
            raise PatchError(f"{where}: a line is neither added nor context: {lines[at]!r}")
        old -= sign == " "
        new -= sign in ("+", " ")
        at += 1
    if old or new:
        raise PatchError(f"{where}: its lines do not add up to its @@ line")
    return _hook(where, added, context), at


def _hook(where: str, added: list[str], context: list[tuple[int, str]]) -> Hunk:
    if len(context) != 1 or not context[0][1].strip():
        raise PatchError(f"{where}: it needs one context line with text, and has {len(context)}")
    if not 1 <= len(added) <= MOST_LINES:
        raise PatchError(f"{where}: it must add 1 to {MOST_LINES} lines, and adds {len(added)}")
    above, anchor = context[0]
    if above not in (0, len(added)):
        raise PatchError(f"{where}: its lines must be all before or all after the context line")
    for line in added:
        if not line.rstrip().endswith(MARKER):
            raise PatchError(f"{where}: a line does not end in {MARKER!r}: {line.strip()!r}")
    shifts = tuple(_shift(where, anchor, line) for line in added)
    return Hunk(anchor.strip(), shifts, before=above > 0)


def _shift(where: str, anchor: str, line: str) -> tuple[int, str, str]:
    base, own = (text[: len(text) - len(text.lstrip())] for text in (anchor, line))
    if own.startswith(base):
        return 0, own[len(base) :], line.strip()
    if base.startswith(own):
        return len(base) - len(own), "", line.strip()
    raise PatchError(f"{where}: tabs and spaces are mixed in the indentation of {line.strip()!r}")


def _merged(path: str, hunks: list[Hunk]) -> tuple[Hunk, ...]:
    """Makes one hook of hunks that add the same lines at different anchors."""
    merged: list[Hunk] = []
    for hunk in hunks:
        at = next((at for at, one in enumerate(merged) if one.texts == hunk.texts and hunk.anchor
                   not in (one.anchor, *(other.anchor for other in one.others))), None)
        if at is None:
            merged.append(hunk)
            continue
        first = merged[at]
        if hunk.statement and first.statement:
            raise PatchError(f"patch for {path}: two heads name a statement for {hunk.texts[0]!r}")
        merged[at] = replace(first, statement=first.statement or hunk.statement,
                             others=(*first.others, replace(hunk, statement=None)))
    return tuple(merged)


def fault(source: bytes) -> str:
    """Why this Python cannot compile `source`; "" if it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # WanGP's own matter
            compile(source, "?", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
    except (RecursionError, MemoryError):
        return TOO_DEEP
    return ""


def unhooked(source: bytes) -> bytes:
    """`source` without the lines that end in MARKER. A missing last newline stays missing."""
    lines = source.splitlines(keepends=True)
    kept = [line for line in lines if not is_hook(line)]
    if kept and kept[-1] is not lines[-1] and not lines[-1].endswith((b"\n", b"\r")):
        kept[-1] = kept[-1].rstrip(b"\r\n")  # the hook came after a last line without a newline
    if source.startswith(BOM) and not b"".join(kept[:1]).startswith(BOM):
        kept.insert(0, BOM)  # the hook came before the first line
    return b"".join(kept)


def is_hook(line: bytes) -> bool:
    """Whether an installation added this line."""
    return line.rstrip().endswith(MARKER.encode())


def hooked(source: bytes, patch: Patch) -> bytes:
    """`source` with the hooks of `patch`, and no others. Raises PatchError if one does not fit."""
    bare = unhooked(source)
    bom = BOM if bare.startswith(BOM) else b""
    lines = bare[len(bom) :].splitlines(keepends=True)
    texts = [line.strip() for line in lines]
    newline = _ending(lines[0]) if lines else b""
    before: dict[int, list[bytes]] = {}
    after: dict[int, list[bytes]] = {}
    for hunk in patch.hunks:
        at, place = _place(bare[len(bom) :], texts, patch.path, hunk)
        ending = _ending(lines[at]) or newline or b"\n"
        block = [_indented(line, lines[at], patch, place) + ending for line in place.lines]
        (before if place.before else after).setdefault(at, []).extend(block)
    result: list[bytes] = []
    for at, line in enumerate(lines):
        block = after.get(at, [])
        if block and not _ending(line):  # the file still ends without a newline
            ending = _ending(block[-1])
            block, line = [*block[:-1], block[-1][: -len(ending)]], line + ending
        result += [*before.get(at, []), line, *block]
    return bom + b"".join(result)


def _place(source: bytes, texts: list[bytes], path: str, hunk: Hunk) -> tuple[int, Hunk]:
    """The index of the line that a hook goes to, and the hunk that says how."""
    if hunk.statement and (line := _line(source, path, hunk, hunk.statement)):
        return line - 1, replace(hunk, lines=tuple((0, "", text) for text in hunk.texts))
    places = [(place, texts.count(place.anchor.encode())) for place in (hunk, *hunk.others)]
    fitting = [place for place, count in places if count == 1]
    if len(fitting) != 1 or any(count > 1 for _, count in places):
        wrong = " and ".join(
            f"the line {place.anchor!r} was found {count} times" for place, count in places)
        raise PatchError(f"{path}: {wrong}, not once")
    return texts.index(fitting[0].anchor.encode()), fitting[0]


def _line(source: bytes, path: str, hunk: Hunk, wanted: Statement) -> int:
    """The line, from 1, of the statement `wanted`; 0 if this Python cannot read the file."""
    try:
        tree = outline(source, frozenset(wanted.functions))
    except (SyntaxError, ValueError):
        return 0
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    function = next((functions[name] for name in wanted.functions if name in functions), None)
    if function is None:
        raise PatchError(f"{path}: there is no function {' or '.join(wanted.functions)}")
    found = statements_with(function, wanted.name)
    if len(found) != 1:
        lines = " and ".join(f"line {statement.lineno}" for statement in found)
        many = f"{len(found)} statements refer" if found else "no statement refers"
        raise PatchError(
            f"{path}: {many} to {wanted.name} in {function.name}{f' ({lines})' if found else ''}, "
            f"and the hook for {hook_name(hunk)} needs exactly one")
    return found[0].lineno


def hook_name(hunk: Hunk) -> str:
    """The name in a hook's svi("...") line, or else its first line."""
    names = re.findall(r"""\bsvi\(["'](\w+)["']""", " ".join(hunk.texts))
    return names[0] if names else hunk.texts[0]


def statements_with(function: ast.AST, name: str) -> list[ast.stmt]:
    """The innermost statements below `function` that refer to `name`, such as "model.generate"."""
    *path, last = name.split(".")
    found: dict[int, ast.stmt] = {}
    todo: list[tuple[ast.AST, ast.stmt | None]] = [(function, None)]
    while todo:
        node, inside = todo.pop()
        inside = node if isinstance(node, ast.stmt) else inside
        if path:
            refers = (isinstance(node, ast.Attribute) and node.attr == last
                      and ast.unparse(node) == name)
        else:
            refers = isinstance(node, ast.Name) and node.id == last
        if refers and inside is not None:
            found[id(inside)] = inside
        todo += [(child, inside) for child in ast.iter_child_nodes(node)]
    return sorted(found.values(), key=lambda statement: statement.lineno)


@lru_cache(maxsize=4)
def outline(source: bytes, keep: frozenset[str]) -> ast.Module:
    """The syntax tree of a file without the functions and classes that are not in `keep`.

    Line numbers stay. Parsing all of wgp.py and walking over it takes half a second; its loop is a
    seventh of it. Raises SyntaxError and ValueError as ast.parse does.
    """
    text = source.decode("utf-8-sig")
    kept: list[str] = []
    for part in TOP.split(text):
        found = DEFINED.match(part)
        left_out = found and found[1] not in keep
        kept.append("\n" * len(re.findall("\r\n?|\n", part)) if left_out else part)
    try:
        return _parsed("".join(kept))
    except SyntaxError:  # for instance, a string over several lines that looks like code
        return _parsed(text)


def _parsed(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # WanGP's own matter
            return ast.parse(text)
    except (RecursionError, MemoryError):
        raise ValueError(TOO_DEEP) from None


def _ending(line: bytes) -> bytes:
    return line[len(line.rstrip(b"\r\n")) :]


def _indented(line: tuple[int, str, str], anchor: bytes, patch: Patch, hunk: Hunk) -> bytes:
    cut, indent, text = line
    base = anchor[: len(anchor) - len(anchor.lstrip())]
    if cut > len(base):
        raise PatchError(f"{patch.path}: {hunk.anchor!r} is indented too little for {text!r}")
    return base[: len(base) - cut] + indent.encode() + text.encode()


def foreign(source: bytes, patch: Patch) -> bool:
    """Whether `source` has hooks from another release."""
    ours = {text.encode() for hunk in patch.hunks for text in hunk.texts}
    return any(is_hook(line) and line.strip() not in ours for line in source.splitlines())


def present(source: bytes, patch: Patch) -> int:
    """How many of the hooks of `patch` are in `source`."""
    texts = {line.strip() for line in source.splitlines() if is_hook(line)}
    return sum(all(text.encode() in texts for text in hunk.texts) for hunk in patch.hunks)
