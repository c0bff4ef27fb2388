"""Finds the earlier SVI distribution (TeaRexcellence/wan2gp-svi) in WanGP, and removes it.

It changed three files of WanGP without a marker. So its changes are found as differences to the
file that git has: one is undone if its hash is known, and left alone if it has none of that
distribution's names. Anything between is an edit of its lines, and is refused. WanGP has names of
its own in ``svi_`` since v10.0; they stay.
"""

import difflib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from wan2gp_svi import files
from wan2gp_svi.install import Refused
from wan2gp_svi.install.patches import is_hook, unhooked
from wan2gp_svi.install.programs import ask
from wan2gp_svi.text import count
from wan2gp_svi.untrusted import parse_json

FILES = ("wgp.py", "models/wan/any2video.py", "models/wan/modules/model.py")

#: Names and log words in that distribution's lines that no version of WanGP has.
_NAMES = re.compile(rb"\[SVI Mode\]|\[SVI Encoding\]|SVI/DiffSynth"
                    rb"|\bsvi_(?:num_motion_frames|ref_pad_cfg|random_ref_frame)\b")
#: The same, and names that WanGP may have too: for lines that are not in WanGP's own file.
_MARKS = re.compile(_NAMES.pattern + rb"|\bsvi_(?:mode|ref_pad_num)\b|(?i:svi mode)")
_ARROW = b"-->"  # between the old lines and the new ones
#: What that distribution put in place of which lines, in all of its releases: a hash per place.
_BLOCKS = {
    "07b6200aff4c", "12bd0887d5b3", "13888799d1ad", "2a3821b12065", "2aefb789b114", "35440a561ad3",
    "3a383a88f9a7", "3f74a76fa42d", "6182c62d3cdb", "65e19764411d", "6e5236280be5", "8d648b19512b",
    "a3e9a7016d43", "a8f3da1ed004", "ae585a4c5ba7", "b726ea7a993a",
}
#: Its profiles as published.
_PROFILES = {
    "177b82d02977", "22fd00693422", "3298daf9ec85", "34f147ce036f", "57f676a2199c", "638b1b97b6ba",
    "6e43ff9b9621", "759dc3c483ff", "8d32be89398b", "b84d94c35848", "c3b91e256d05", "cc28aca6837a",
    "cf4323a62647", "e922f3172619",
}
#: Keys of what WanGP's "Save" writes; that distribution's profiles have none of them.
_SAVED_BY_WANGP = {"type", "settings_version", "prompt", "model_type"}


def traces(source: bytes) -> list[str]:
    """What the earlier distribution left in a file of WanGP, a phrase for each name of its own."""
    found: dict[str, list[int]] = {}
    for number, line in enumerate(source.splitlines(), 1):
        for name in _NAMES.findall(line):
            found.setdefault(name.decode(), []).append(number)
    return [f"{name} is in {count(len(set(at)), 'line')}, first in line {at[0]}"
            for name, at in found.items()]


def original(wangp: Path, path: str) -> bytes:
    """WanGP's own version of a file, from its git clone. Raises Refused if git does not have it."""
    again = f"unpack WanGP's own {', '.join(FILES)} over yours"
    if not (wangp / ".git").exists():
        raise Refused("the earlier SVI distribution can only be removed from a git clone: "
                      f"{again} and install again")
    # not "git show", which would apply the user's text conversions
    found = ask("git", "cat-file", "blob", f"HEAD:./{path}", folder=wangp)
    if found.fault:
        raise Refused(f"git cannot give WanGP's own {path} ({found.fault}): {again}")
    return found.output


def cleaned(source: bytes, path: str, original: bytes) -> bytes:
    """`source`, the file `path`, without the earlier distribution's changes to WanGP's `original`.

    Removes the hooks of this distribution too. All other differences and the line endings stay.
    Raises Refused if one of the changes was edited or touches an edit.
    """
    if not traces(source):
        return source
    if traces(original):
        raise Refused(f"{path}: the changes of the earlier SVI distribution are committed in your "
                      "clone: revert them there first (git revert)")
    bare = unhooked(source)
    ending = b"\r\n" if bare.count(b"\r\n") * 2 > bare.count(b"\n") else b"\n"
    current, own = bare.splitlines(keepends=True), original.splitlines(keepends=True)
    texts, own_texts = ([line.rstrip(b"\r\n") for line in lines] for lines in (current, own))
    result: list[bytes] = []
    for tag, i, i_end, j, j_end in difflib.SequenceMatcher(None, own_texts, texts).get_opcodes():
        kept = current[j:j_end]
        if tag != "equal" and _known(own_texts[i:i_end], texts, j, j_end):
            kept = [line.rstrip(b"\r\n") + (ending if line.endswith(b"\n") else b"")
                    for line in own[i:i_end]]
        elif tag != "equal" and any(map(_MARKS.search, texts[j:j_end])):
            numbers = [n for n, line in enumerate(source.splitlines(), 1) if not is_hook(line)]
            raise Refused(f"{path}, from line {numbers[j]} on: lines of the earlier SVI "
                          "distribution are mixed with other edits and cannot be told apart: edit "
                          f"them by hand, or git checkout -- {path}")
        result += kept
    clean = b"".join(result)
    if left := traces(clean):
        raise Refused(f"{path}: {left[0]}, of unknown origin: git checkout -- {path}")
    return clean


def _known(before: list[bytes], texts: list[bytes], j: int, j_end: int) -> bool:
    """Whether the earlier distribution put the lines j to j_end of `texts` in place of `before`."""
    starts = [j] if before else _slides(texts, j, j_end)
    return any(digest([*before, _ARROW, *texts[k : k + j_end - j]]) in _BLOCKS for k in starts)


def _slides(texts: list[bytes], j: int, j_end: int) -> Iterator[int]:
    """The lines where the same insertion can begin: between two equal lines, it can have either."""
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
    """A short hash of lines without their endings."""
    return hashlib.sha256(b"\n".join(lines)).hexdigest()[:12]


def is_old_profile(content: bytes) -> bool:
    """Whether this is a profile of the earlier distribution, edited or not."""
    try:
        profile = parse_json(content)
    except ValueError:
        return False
    return (isinstance(profile, dict) and "svi_mode" in profile
            and not _SAVED_BY_WANGP & profile.keys())


def is_unedited_profile(content: bytes) -> bool:
    """Whether this is a profile of the earlier distribution as published."""
    return digest(content.splitlines()) in _PROFILES


def taken_out(wangp: Path) -> tuple[dict[str, bytes | None], list[str]]:
    """What each file that the earlier distribution changed or added should be, None if it goes,
    and its profiles that were edited, which stay. Raises Refused as `cleaned` and `original` do."""
    changed: dict[str, bytes | None] = {}
    for path in FILES:
        source = files.read(wangp / path) or b""
        if traces(source):
            changed[path] = cleaned(source, path, original(wangp, path))
    edited = []
    for place in ("profiles", "loras/wan_i2v"):  # where its install.bat puts them
        for profile in sorted((wangp / place).rglob("*.json")):
            name, content = profile.relative_to(wangp).as_posix(), profile.read_bytes()
            if is_unedited_profile(content):
                changed[name] = None
            elif is_old_profile(content):
                edited.append(name)
    return changed, edited
