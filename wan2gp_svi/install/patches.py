"""Hooks: read from patch files, put into a source text, taken out of it again.

A patch is a unified diff with a DEP-3 header above. Every hunk has one context line, the anchor, and one to
three added lines before or after it, each ending in MARKER. The anchor is found by its text without
indentation, and must occur exactly once. Texts are bytes from end to end: what is not a hook line stays as it
was, whatever its encoding and line endings.

A hook can have more than one place:

* Hunks that add the same lines at different anchors are one hook: exactly one of the anchors must fit.
* A hunk's head can name a statement, in the text that a unified diff leaves free after its second @@:

      @@ -7762 +7765,2 @@ before the statement with wan_model.generate in generate_media or generate_video

  In the first of these functions that the file has, exactly one statement must refer to that name, and the hook
  goes before it. The anchors of the hook then only count where this Python cannot read the file.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

from wan2gp_svi.install import Refused

MARKER = "# wan2gp_svi"
NO_PYTHON = "# git found no Python"  # before the marker, where git's filter had no Python to put hooks in
START = "start"  # the hook at module level, where WanGP starts
BOM = b"\xef\xbb\xbf"
MOST_LINES = 3
HUNK_HEAD = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@ ?(.*)")
STATEMENT = re.compile(r"before the statement with ([\w.]+) in (\w+(?: or \w+)*)")
TOP = re.compile(r"(?m)^(?=[^\s#)\]}])")  # where a statement at module level begins, or goes on with else or except
DEFINED = re.compile(r"(?:async\s+)?(?:def|class)\s+(\w+)|@")


class PatchError(Refused):
    """A patch is malformed, or does not fit the file."""


@dataclass(frozen=True)
class Statement:
    """The one statement that refers to `name`, in the first of `functions` that the file has."""

    name: str
    functions: tuple[str, ...]


@dataclass(frozen=True)
class Hunk:
    """One hook: `lines` go before `statement`, or else before or after the one line `anchor`, or to one of `others`.

    `lines` are (cut, indent, text): the indentation of a line is that of the anchor in the file, less `cut`
    characters, plus `indent`.
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
    """All hooks of one file; `path` is relative to the WanGP folder, with forward slashes."""

    path: str
    hunks: tuple[Hunk, ...]


def parse_patch(text: str) -> Patch:
    """Read one patch. Raises PatchError if it is anything but hooks for one file."""
    lines = [line.rstrip("\r") for line in text.split("\n")]
    starts = [i for i, line in enumerate(lines) if line.startswith("+++ ")]
    if len(starts) != 1:
        raise PatchError(f"a patch must be for one file, and this one has {len(starts)} lines with +++")
    path = _path(lines[starts[0]])
    hunks: list[Hunk] = []
    at = starts[0] + 1
    while at < len(lines):
        head = HUNK_HEAD.match(lines[at])
        if head:
            old, new = (int(count) if count is not None else 1 for count in head.groups()[:2])
            hunk, end = _hunk(path, lines, at + 1, old, new)
            hunks.append(replace(hunk, statement=_statement(path, head[3], at + 1, hunk.before)))
            at = end
        elif lines[at].rstrip() == "--":  # the signature of git format-patch, to the end
            break
        elif lines[at].strip() and not lines[at].startswith("\\"):
            raise PatchError(f"patch for {path}: line {at + 1} is not part of a hunk: {lines[at]!r}")
        else:
            at += 1
    if not hunks:
        raise PatchError(f"patch for {path}: no hunk in it")
    return Patch(path, _merged(path, hunks))


def _statement(path: str, heading: str, at: int, before: bool) -> Statement | None:
    """The statement that the text behind a hunk's second @@ names; any other text there means nothing."""
    found = STATEMENT.fullmatch(heading.strip())
    if found is None:
        if "the statement with" in heading:
            raise PatchError(f"patch for {path}, hunk at line {at}: its head is not of the form '@@ ... @@ before the "
                             f"statement with NAME in FUNCTION or FUNCTION': {heading.strip()!r}")
        return None
    if not before:
        raise PatchError(f"patch for {path}, hunk at line {at}: its head says before, and its lines come after")
    return Statement(found[1], tuple(found[2].split(" or ")))


def _merged(path: str, hunks: list[Hunk]) -> tuple[Hunk, ...]:
    """The hooks: hunks that add the same lines at different anchors are one."""
    merged: dict[object, Hunk] = {}
    for number, hunk in enumerate(hunks):
        alike = next((key for key, one in merged.items() if one.texts == hunk.texts and hunk.anchor not in
                      (one.anchor, *(other.anchor for other in one.others))), None)
        if alike is None:
            merged[number] = hunk
        elif hunk.statement and merged[alike].statement:
            raise PatchError(f"patch for {path}: two heads name a statement for {hunk.texts[0]!r}")
        else:
            first = merged[alike]
            merged[alike] = replace(first, statement=first.statement or hunk.statement,
                                    others=(*first.others, replace(hunk, statement=None)))
    return tuple(merged.values())


def _path(line: str) -> str:
    path = line[4:].split("\t")[0].strip()
    path = path[2:] if path.startswith("b/") else path
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or ":" in path or "\\" in path:
        raise PatchError(f"a patch must name a file inside WanGP, not {path!r}")
    return path


def _hunk(path: str, lines: list[str], at: int, old: int, new: int) -> tuple[Hunk, int]:
    """The hunk that begins at line `at` and has `old` and `new` lines, and the index of the line after it."""
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
        elif sign != "\\":  # "\ No newline at end of file" counts for nothing
            raise PatchError(f"{where}: a line of it is neither added nor context: {lines[at]!r}")
        old -= sign == " "
        new -= sign in ("+", " ")
        at += 1
    if old or new:
        raise PatchError(f"{where}: its lines do not add up to its @@ line")
    if len(context) != 1 or not context[0][1].strip():
        raise PatchError(f"{where}: it must have one context line that is not empty, and has {len(context)}")
    if not 1 <= len(added) <= MOST_LINES:
        raise PatchError(f"{where}: it must add 1 to {MOST_LINES} lines, and adds {len(added)}")
    above, anchor = context[0]
    if above not in (0, len(added)):
        raise PatchError(f"{where}: the added lines must be all before or all after the context line")
    for line in added:
        if not line.rstrip().endswith(MARKER):
            raise PatchError(f"{where}: an added line does not end in {MARKER!r}: {line.strip()!r}")
    shifts = tuple(_shift(where, anchor, line) for line in added)
    return Hunk(anchor.strip(), shifts, before=above > 0), at


def _shift(where: str, anchor: str, line: str) -> tuple[int, str, str]:
    base, own = (text[: len(text) - len(text.lstrip())] for text in (anchor, line))
    if own.startswith(base):
        return 0, own[len(base) :], line.strip()
    if base.startswith(own):
        return len(base) - len(own), "", line.strip()
    raise PatchError(f"{where}: tabs and blanks are mixed in the indentation of {line.strip()!r}")


def read_series(folder: Path) -> list[Patch]:
    """The patches named in `folder`/series, one name a line, in order; `#` begins a comment."""
    patches: list[Patch] = []
    for line in _read(folder / "series").splitlines():
        name = line.split("#")[0].strip()
        if not name:
            continue
        try:
            patch = parse_patch(_read(folder / name))
        except PatchError as error:
            raise PatchError(f"{name}: {error}") from None
        if any(patch.path == other.path for other in patches):
            raise PatchError(f"{name}: another patch of the series is for {patch.path} too")
        patches.append(patch)
    return patches


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PatchError(f"{path} cannot be read ({error}): unpack SVI for WanGP again") from None


def fault(source: bytes) -> str:
    """What keeps this Python from compiling `source`; "" if nothing does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # WanGP's own matter
            compile(source, "?", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
    return ""


def unhooked(source: bytes) -> bytes:
    """`source` without the lines that end in MARKER; a missing last newline stays missing."""
    lines = source.splitlines(keepends=True)
    kept = [line for line in lines if not is_hook(line)]
    if kept and kept[-1] is not lines[-1] and not lines[-1].endswith((b"\n", b"\r")):
        kept[-1] = kept[-1].rstrip(b"\r\n")  # the hook came after a last line that had no newline
    if source.startswith(BOM) and not b"".join(kept[:1]).startswith(BOM):
        kept.insert(0, BOM)  # the hook came before the first line
    return b"".join(kept)


def is_hook(line: bytes) -> bool:
    """Whether a line is one that an installation has added."""
    return line.rstrip().endswith(MARKER.encode())


def hooked(source: bytes, patch: Patch) -> bytes:
    """`source` with the hooks of `patch` in it; hooks that it already has are taken out first.

    Raises PatchError, naming file, anchor and count, if an anchor does not occur exactly once.
    """
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
        if block and not _ending(line):  # a last line without newline: the file goes on ending without one
            ending = _ending(block[-1])
            block, line = [*block[:-1], block[-1][: -len(ending)]], line + ending
        result += [*before.get(at, []), line, *block]
    return bom + b"".join(result)


def _place(source: bytes, texts: list[bytes], path: str, hunk: Hunk) -> tuple[int, Hunk]:
    """The index of the line that a hook goes to, and the hunk that says how."""
    if hunk.statement and (line := _line(source, path, hunk)):
        return line - 1, replace(hunk, lines=tuple((0, "", text) for text in hunk.texts))
    places = [(place, texts.count(place.anchor.encode())) for place in (hunk, *hunk.others)]
    fitting = [place for place, count in places if count == 1]
    if len(fitting) != 1 or any(count > 1 for _, count in places):
        wrong = " and ".join(f"the line {place.anchor!r} was found {count} times" for place, count in places)
        raise PatchError(f"{path}: {wrong}, not once")
    return texts.index(fitting[0].anchor.encode()), fitting[0]


def _line(source: bytes, path: str, hunk: Hunk) -> int:
    """The line, from 1, of the statement that a hook goes to; 0 where this Python cannot read the file."""
    wanted = hunk.statement
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
        raise PatchError(f"{path}: {many} to {wanted.name} in {function.name}{f' ({lines})' if found else ''}, and the "
                         f"hook for {hook_name(hunk)} needs exactly one")
    return found[0].lineno


def hook_name(hunk: Hunk) -> str:
    """The name in a hook's svi("...") line; else the first of its lines."""
    names = re.findall(r"""\bsvi\(["'](\w+)["']""", " ".join(hunk.texts))
    return names[0] if names else hunk.texts[0]


def statements_with(function: ast.AST, name: str) -> list[ast.stmt]:
    """The innermost statements below `function` that refer to `name`, such as "wan_model.generate", called or not."""
    *path, last = name.split(".")
    found: dict[int, ast.stmt] = {}
    todo: list[tuple[ast.AST, ast.stmt | None]] = [(function, None)]
    while todo:
        node, inside = todo.pop()
        inside = node if isinstance(node, ast.stmt) else inside
        match node:
            case ast.Attribute(attr=attribute) if path and attribute == last and ast.unparse(node) == name:
                found[id(inside)] = inside
            case ast.Name(id=identifier) if not path and identifier == last:
                found[id(inside)] = inside
        todo += [(child, inside) for child in ast.iter_child_nodes(node)]
    return sorted(found.values(), key=lambda statement: statement.lineno)


@lru_cache(maxsize=4)
def outline(source: bytes, keep: frozenset[str]) -> ast.Module:
    """The syntax tree of a file with the bodies of other functions and classes left out, at the same line numbers.

    Reading all of wgp.py takes a quarter of a second, and a walk over it as much again; its loop is a seventh of it.
    Raises SyntaxError as ast.parse does.
    """
    text = source.decode("utf-8-sig")
    parts = TOP.split(text)
    kept: list[str] = []
    for part in parts:
        found = DEFINED.match(part)
        kept.append("\n" * len(re.findall("\r\n?|\n", part)) if found and found[1] not in keep else part)
    try:
        return _parsed("".join(kept))
    except SyntaxError:  # a text over several lines that looks like code, for instance
        return _parsed(text)


def _parsed(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # WanGP's own matter
        return ast.parse(text)


def _ending(line: bytes) -> bytes:
    return line[len(line.rstrip(b"\r\n")) :]


def _indented(line: tuple[int, str, str], anchor: bytes, patch: Patch, hunk: Hunk) -> bytes:
    cut, indent, text = line
    base = anchor[: len(anchor) - len(anchor.lstrip())]
    if cut > len(base):
        raise PatchError(f"{patch.path}: the line {hunk.anchor!r} is indented too little for {text!r}")
    return base[: len(base) - cut] + indent.encode() + text.encode()


def foreign(source: bytes, patch: Patch) -> bool:
    """Whether there are hooks in `source` that are not those of `patch`: of another release."""
    ours = {text.encode() for hunk in patch.hunks for text in hunk.texts}
    return any(is_hook(line) and line.strip() not in ours for line in source.splitlines())


def present(source: bytes, patch: Patch) -> int:
    """How many of the hooks of `patch` are in `source`."""
    texts = {line.strip() for line in source.splitlines() if is_hook(line)}
    return sum(all(text.encode() in texts for text in hunk.texts) for hunk in patch.hunks)
