"""Finds the earlier SVI distribution (TeaRexcellence/wan2gp-svi) in WanGP, and takes it out again.

It changed WanGP's three files in the middle of their code, with patches of many lines and no marker. So its changes
are found as the difference to the file that git has, and known by their hash: a difference is taken back if every
line of it is what that distribution wrote, and left alone if it has none of its names. Anything between is somebody's
edit of those very lines, and is refused. WanGP has names in ``svi_`` of its own since v10.0; they are not touched.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from wan2gp_svi.install import Refused
from wan2gp_svi.install.patches import is_hook, unhooked
from wan2gp_svi.install.programs import ask

FILES = ("wgp.py", "models/wan/any2video.py", "models/wan/modules/model.py")

#: Names and log words that are in that distribution's lines and in no version of WanGP.
_NAMES = re.compile(
    rb"\[SVI Mode\]|\[SVI Encoding\]|SVI/DiffSynth|\bsvi_(?:num_motion_frames|ref_pad_cfg|random_ref_frame)\b"
)
#: The same, and what may be WanGP's too: for lines that WanGP's own file has not.
_MARKS = re.compile(_NAMES.pattern + rb"|\bsvi_(?:mode|ref_pad_num)\b|(?i:svi mode)")
_ARROW = b"-->"  # between the lines that were and the lines that are
#: What the distribution put in place of which lines, a hash for each place, over all of its releases.
_BLOCKS = {
    "07b6200aff4c", "12bd0887d5b3", "13888799d1ad", "2a3821b12065", "2aefb789b114", "35440a561ad3", "3a383a88f9a7",
    "3f74a76fa42d", "6182c62d3cdb", "65e19764411d", "6e5236280be5", "8d648b19512b", "a3e9a7016d43", "a8f3da1ed004",
    "ae585a4c5ba7", "b726ea7a993a",
}
#: Its profiles as they were published.
_PROFILES = {
    "177b82d02977", "22fd00693422", "3298daf9ec85", "34f147ce036f", "57f676a2199c", "638b1b97b6ba", "6e43ff9b9621",
    "759dc3c483ff", "8d32be89398b", "b84d94c35848", "c3b91e256d05", "cc28aca6837a", "cf4323a62647", "e922f3172619",
}
_SAVED_BY_WANGP = {"type", "settings_version", "prompt", "model_type"}  # what a user saves has these, its profiles not


def traces(source: bytes) -> list[str]:
    """What the earlier distribution has left in a file of WanGP's, a sentence each; empty if it has not been there."""
    found: dict[str, list[int]] = {}
    for number, line in enumerate(source.splitlines(), 1):
        for name in _NAMES.findall(line):
            found.setdefault(name.decode(), []).append(number)
    return [f"{name} is in {_lines(len(set(at)))}, first in line {at[0]}" for name, at in found.items()]


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"


def original(wangp: Path, path: str) -> bytes:
    """The file as WanGP's authors wrote it, from the git clone. Refused if `wangp` is none, or git has no such file."""
    again = f"unpack WanGP's own {', '.join(FILES)} over yours"
    if not (wangp / ".git").exists():
        raise Refused(f"the earlier SVI distribution can only be taken out of a git clone: {again} and install again")
    # not "git show", which would put a text conversion of the user's upon it
    found = ask("git", "cat-file", "blob", f"HEAD:./{path}", folder=wangp)
    if found.fault:
        raise Refused(f"git cannot give WanGP's own {path} ({found.fault}): {again}")
    return found.output


def cleaned(source: bytes, path: str, original: bytes) -> bytes:
    """`source`, the file `path` as it is, without what the earlier distribution put in; `original` is WanGP's own.

    All other differences stay, line endings too, and blanks at the end of a line that it took off beside an edit.
    Hooks of this distribution come out as well, if there are any.
    Raises Refused if a change of that distribution's has been edited, or touches an edit.
    """
    if not traces(source):
        return source
    if traces(original):
        raise Refused(f"{path}: the changes of the earlier SVI distribution are committed in your clone: take them "
                      "back there first (git revert)")
    bare = unhooked(source)
    ending = b"\r\n" if bare.count(b"\r\n") * 2 > bare.count(b"\n") else b"\n"
    current, own = bare.splitlines(keepends=True), original.splitlines(keepends=True)
    texts, own_texts = ([line.rstrip(b"\r\n") for line in lines] for lines in (current, own))
    result: list[bytes] = []
    for tag, i, i_end, j, j_end in difflib.SequenceMatcher(None, own_texts, texts).get_opcodes():
        kept = current[j:j_end]
        if tag != "equal" and _known(own_texts[i:i_end], texts, j, j_end):
            kept = [line.rstrip(b"\r\n") + (ending if line.endswith(b"\n") else b"") for line in own[i:i_end]]
        elif tag != "equal" and any(map(_MARKS.search, texts[j:j_end])):
            numbers = [number for number, line in enumerate(source.splitlines(), 1) if not is_hook(line)]
            raise Refused(f"{path}, from line {numbers[j]} on: lines of the earlier SVI distribution are mixed with "
                          f"other edits and cannot be told apart: edit them by hand, or git checkout -- {path}")
        result += kept
    clean = b"".join(result)
    if traces(clean):
        raise Refused(f"{path}: {traces(clean)[0]}, and where it came from is not known: git checkout -- {path}")
    return clean


def _known(before: list[bytes], texts: list[bytes], j: int, j_end: int) -> bool:
    """Whether it was the earlier distribution that put the lines j to j_end of `texts` in the place of `before`."""
    starts = [j] if before else _slides(texts, j, j_end)
    return any(digest([*before, _ARROW, *texts[k : k + j_end - j]]) in _BLOCKS for k in starts)


def _slides(texts: list[bytes], j: int, j_end: int) -> Iterator[int]:
    """Where else the same insertion can be said to begin: a block between two equal lines can take either."""
    size = j_end - j
    up = down = j
    yield j
    while up and texts[up - 1] == texts[up - 1 + size]:
        up -= 1
        yield up
    while down + size < len(texts) and texts[down] == texts[down + size]:
        down += 1
        yield down


def digest(lines: list[bytes]) -> str:
    """Some lines, without their endings, as a short hash."""
    return hashlib.sha256(b"\n".join(lines)).hexdigest()[:12]


def is_old_profile(content: bytes) -> bool:
    """Whether this is a profile of the earlier distribution, edited or not; what WanGP's "Save" has written is none."""
    try:
        profile = json.loads(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, ValueError, RecursionError):
        return False
    return isinstance(profile, dict) and "svi_mode" in profile and not _SAVED_BY_WANGP & profile.keys()


def is_unedited_profile(content: bytes) -> bool:
    """Whether this is a profile of the earlier distribution as it was published."""
    return digest(content.splitlines()) in _PROFILES


def taken_out(wangp: Path) -> tuple[dict[str, bytes | None], list[str]]:
    """What each file of `wangp` that holds something of the earlier distribution is to be, None: deleted; and its
    profiles that have been edited, which stay. Nothing is written. Raises Refused as `cleaned` and `original` do."""
    files: dict[str, bytes | None] = {}
    for path in FILES:
        source = (wangp / path).read_bytes() if (wangp / path).is_file() else b""
        if traces(source):
            files[path] = cleaned(source, path, original(wangp, path))
    edited = []
    for place in ("profiles", "loras/wan_i2v"):  # where its install.bat has put them
        for profile in sorted((wangp / place).rglob("*.json")):
            name, content = profile.relative_to(wangp).as_posix(), profile.read_bytes()
            if is_unedited_profile(content):
                files[name] = None
            elif is_old_profile(content):
                edited.append(name)
    return files, edited
