"""Works out what to do, and checks it, before anything is written.

After each change of a plan, WanGP can start: hooks go in after the package that they call, and come
out before it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wan2gp_svi import files
from wan2gp_svi.files import UNFINISHED
from wan2gp_svi.install import Refused, locate
from wan2gp_svi.install.git_clone import Clone, clone, usable
from wan2gp_svi.install.patches import Patch, PatchError, fault, hooked, read_series, unhooked
from wan2gp_svi.install.shipped import PACKAGE, SELFTEST, STATE, Distribution
from wan2gp_svi.install.state import State, load, sha256
from wan2gp_svi.wangp import contract


@dataclass(frozen=True)
class Change:
    """One file: `path` relative to WanGP, and its content before and after; None means no file."""

    path: str
    before: bytes | None
    after: bytes | None


@dataclass(frozen=True)
class Plan:
    """What to do, in order. `kept` are our files that the user edited, `folders` go if they end up
    empty, `in_place` stay because they are the distribution, `clone` looks at `hooked` last."""

    changes: tuple[Change, ...]
    kept: tuple[str, ...]
    folders: tuple[str, ...]
    in_place: frozenset[str]
    hooked: tuple[str, ...]
    clone: Clone | None


def install_plan(wangp: Path, distribution: Distribution, plugin: str = "") -> Plan:
    """Brings WanGP to this release, as the plugin of this name if there is one. Raises Refused
    (PatchError) if a hook does not fit."""
    locate.check(wangp)
    state = load(wangp) or State()
    shipped, in_place = distribution.files(), distribution.in_place(wangp)
    patches = read_series(distribution.patches)
    names = tuple(patch.path for patch in patches)
    if facts := contract.check(wangp, patches):
        raise PatchError("; ".join([facts[0], contract.UNAFFECTED, "nothing was changed"]))
    hooks = _hooks(wangp, patches, state)
    writes, kept = compare(wangp, distribution)
    old = {name: state.files[name] for name in (*kept, *in_place) if name in state.files}
    ours = old | {change.path: sha256(change.after or b"") for change in writes}
    new = State(distribution.release, ours, names, plugin)
    git = clone(wangp) if usable(wangp) else None
    hidden = ignored(wangp, distribution, new)
    outside = _git_changes(wangp, git.wanted(distribution.patches, hidden) if git else {})
    gone, edited = _removals(wangp, state.files.keys() - shipped.keys(), {}, state)
    litter = _unfinished(wangp, [*shipped, *names, *(change.path for change in outside)], state)
    written = Change(STATE, _read(wangp / STATE), new.text())
    changes = [*litter, *outside, *writes, *hooks, *gone, written]
    folders = _folders([change.path for change in gone]) + _ours(wangp)
    return Plan(_real(changes), (*kept, *edited), folders, in_place, names, git)


def ignored(wangp: Path, distribution: Distribution, state: State) -> set[str]:
    """The files that git is told to ignore: those of ours, with this state."""
    unpacked = distribution.files() if distribution.unpacked_into(wangp) else {}
    return state.files.keys() | unpacked.keys()


def compare(wangp: Path, distribution: Distribution) -> tuple[list[Change], list[str]]:
    """The shipped files that are ours to write, and those that the user edited."""
    state = load(wangp) or State()
    shipped, in_place = distribution.files(), distribution.in_place(wangp)
    writes: list[Change] = []
    edited: list[str] = []
    for name in sorted(shipped.keys() - in_place, key=lambda name: (not _packaged(name), name)):
        before, after = _read(wangp / name), shipped[name].read_bytes()
        if before is None or before == after or sha256(before) == state.files.get(name):
            writes.append(Change(name, before, after))
        else:
            edited.append(name)
    return writes, edited


def uninstall_plan(wangp: Path, distribution: Distribution) -> Plan:
    """Removes what was installed, by this release or by the one that the state names."""
    state = load(wangp) or State()
    shipped, in_place = distribution.files(), distribution.in_place(wangp)
    if state.files and distribution.root.resolve() == wangp.resolve() and (
            not distribution.unpacked_into(wangp)):  # installed: what the state says is ours
        shipped, in_place = {}, frozenset()
    names = [patch.path for patch in read_series(distribution.patches)]
    # as installed, WanGP's start last: if this is killed, it can go on there
    hooked = dict.fromkeys([*names, *state.hooked])
    sources = {name: _read(wangp / name) for name in hooked if locate.is_here(wangp, name)}
    hooks = [Change(name, source, unhooked(source)) for name, source in sources.items()
             if source is not None]
    gone, kept = _removals(wangp, (shipped.keys() | state.files.keys()) - in_place, shipped, state)
    git = clone(wangp)
    outside = _git_changes(wangp, git.without() if git else {})
    litter = _unfinished(wangp, [*shipped, *names, *(change.path for change in outside)], state)
    written = [Change(name, _read(wangp / name), None) for name in (SELFTEST, STATE)
               if locate.is_here(wangp, name)]
    profiles = [change for change in gone if not _packaged(change.path)]
    package = [change for change in gone if _packaged(change.path)]
    changes = [*litter, *profiles, *hooks, *outside, *package, *written]
    folders = _ours(wangp) + _folders([*(shipped.keys() - in_place), *state.files, STATE])
    folders += (str(PurePosixPath(git.script).parent),) if git else ()
    return Plan(_real(changes), kept, folders, in_place, tuple(sources), git)


def _git_changes(wangp: Path, contents: dict[str, bytes | None]) -> list[Change]:
    return [Change(name, _read(wangp / name), content) for name, content in contents.items()]


def _hooks(wangp: Path, patches: list[Patch], state: State) -> list[Change]:
    """The changes to WanGP's own files."""
    changes: list[Change] = []
    for patch in patches:
        before = _read(wangp / patch.path)
        try:
            if before is None:  # between the check and now
                raise PatchError(f"{patch.path} is missing")
            after = hooked(before, patch)
            if after != before and (wrong := fault(after)):
                whose = "as it is" if fault(before) else "with the hooks"
                raise PatchError(f"{patch.path}, {whose}, is not valid Python ({wrong})")
        except PatchError as error:
            of = locate.version(wangp)
            raise PatchError(f"WanGP {of} is not compatible with SVI: {error}. "
                             f"{contract.advice(of)}") from None
        changes.append(Change(patch.path, before, after))
    # an older release may have hooked other files
    for name in sorted(set(state.hooked) - {patch.path for patch in patches}):
        before = _read(wangp / name) if locate.is_here(wangp, name) else None
        changes += [] if before is None else [Change(name, before, unhooked(before))]
    return changes


def _removals(
    wangp: Path, names: Iterable[str], shipped: dict[str, Path], state: State
) -> tuple[list[Change], tuple[str, ...]]:
    """Of `names`, the unedited files, which go, profiles first, and the edited ones, which stay."""
    gone: list[Change] = []
    kept: list[str] = []
    for name in sorted(names, key=lambda name: (_packaged(name), name)):
        before = _read(wangp / name) if locate.is_here(wangp, name) else None
        if before is None:
            continue
        if sha256(before) == state.files.get(name) or (
                name in shipped and before == shipped[name].read_bytes()):
            gone.append(Change(name, before, None))
        else:
            kept.append(name)
    return gone, tuple(kept)


def _packaged(name: str) -> bool:
    return name.startswith(PACKAGE)


def _unfinished(wangp: Path, names: Iterable[str], state: State) -> list[Change]:
    """Removes what a killed run left half written."""
    ours = {name for name in (*state.files, *state.hooked, STATE) if locate.is_here(wangp, name)}
    return [Change(name, _read(wangp / name), None)
            for name in sorted(name + UNFINISHED for name in ours.union(names))]


def _folders(names: Iterable[str]) -> tuple[str, ...]:
    """The folders that exist only for these files, innermost first."""
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    wangps = {".", "profiles", "finetunes"}
    return tuple(sorted(folders - wangps, key=lambda name: (-name.count("/"), name)))


def _ours(wangp: Path) -> tuple[str, ...]:
    """All folders in the package's, innermost first; a killed run may have left one empty."""
    if PACKAGE in locate.links(wangp):
        return ()
    folders = [path for path in (wangp / PACKAGE).rglob("*")
               if path.is_dir() and path.name != "__pycache__"]
    return tuple(path.relative_to(wangp).as_posix() for path in sorted(folders, reverse=True))


def _real(changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(change for change in changes if change.before != change.after)


def _read(path: Path) -> bytes | None:
    try:
        return files.read(path)
    except IsADirectoryError:
        raise Refused(f"{path} is a folder where a file should be: move it away") from None
