"""What a bug report needs: the lines of ``python install.py --doctor``, and of ``--status``.

It reads files, and asks git and nvidia-smi. The user's home directory is shown as ``~``.
"""

import os
import platform
import re
from collections.abc import Iterator
from enum import Enum
from importlib import metadata
from pathlib import Path

from wan2gp_svi import files, location
from wan2gp_svi.install import Refused, legacy, locate, loras, plugin
from wan2gp_svi.install.git_clone import Filter, clone, filter_state
from wan2gp_svi.install.patches import Patch, PatchError, hooked, present, read_series, unhooked
from wan2gp_svi.install.plan import compare, ignored
from wan2gp_svi.install.programs import ask
from wan2gp_svi.install.shipped import MODELS, PACKAGE, PROFILES, STATE, Distribution
from wan2gp_svi.install.state import State, load, sha256
from wan2gp_svi.text import count, gigabytes
from wan2gp_svi.untrusted import is_complete
from wan2gp_svi.wangp import contract

PACKAGES = ("torch", "mmgp", "gradio", "huggingface_hub")
ENVIRONMENTS = ("env", "venv", ".venv", "env_venv", "env_uv", "env_conda")  # of WanGP's installer
WAIT = 20  # seconds for a program that should answer at once
EDITED = 8  # files of WanGP that are named
QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version",
         "--format=csv,noheader,nounits")
NOTHING = "No problems found."
_File = Enum("_File", "WHOLE MISSING EDITED OLD")  # how a file of ours is
_AGAIN = "{again} after every update of WanGP"
_BY_HAND, _BY_PLUGIN = "run install.py again", "SVI's plugin adds the hooks again"
_TRUST = 'run: git config --global --add safe.directory "{}", then install.py'
_UPDATES = {
    Filter.NO_CLONE: f"not a git clone, {_AGAIN}",
    Filter.NO_GIT: f"git was not found, {_AGAIN}",
    Filter.REFUSED: f"git refuses this folder, because another user owns it. To trust it, {_TRUST}",
    Filter.ABSENT: "git has no filter that keeps the hooks, run install.py",
    Filter.BROKEN: "git's filter is incomplete or from another release, run install.py",
    Filter.NO_PYTHON: f"git found no Python outside WanGP's folder, {_AGAIN}",
    Filter.WHOLE: "git keeps the hooks through every update",
}
_NEXT_UPDATE = {
    Filter.REFUSED: "git refuses this folder, because another user owns it, so the next update of "
                    f"WanGP may remove the hooks. To trust it, {_TRUST}.",
    Filter.ABSENT: "git has no filter that keeps the hooks, so the next update of WanGP may remove "
                   "them: run install.py.",
    Filter.BROKEN: "git's filter is incomplete or from another release, so the next update of "
                   "WanGP may remove the hooks: run install.py.",
    Filter.NO_PYTHON: "git found no Python outside WanGP's folder, so the next update of WanGP "
                      "removes the hooks: install Python, or {again} after each update.",
}


def report(wangp: Path, distribution: Distribution, lora_dir: str | None, python: str,
           brief: bool = False) -> list[str]:
    """The lines. `python` is the program that runs this; `brief` leaves out the machine."""
    patches = read_series(distribution.patches)
    wrong: list[str] = []
    machine = [] if brief else [
        *_git(wangp, patches),
        *_pythons(wangp, python, wrong),
        f"System: {platform.platform()}",
        *(_gpus() or ["GPU: none found by nvidia-smi"]),
        *(f"WanGP is in {kind}" for kind in [locate.kind(wangp)] if kind),
    ]
    lines = [
        *_releases(wangp, distribution, wrong),
        *machine,
        *_hooks(wangp, patches, wrong),
        *_updates(wangp, distribution, wrong),
        *_contract(wangp, patches, wrong),
        *copies(wangp),
        *_files(wangp, distribution, wrong),
        *_loras(wangp, lora_dir, wrong),
    ]
    wrong += [f"{name} is a link to {target}, and git and updates cannot work with it: "
              f"{locate.UNLINK}." for name, target in locate.links(wangp).items()]
    if why := plugin.gone(wangp):
        wrong.append(f"WanGP's next start uninstalls SVI, because {why}.")
    wrong += [*_earlier(wangp, patches), *_protected(wangp, patches), *_unfinished(wangp)]
    lines += ["Problems:" if wrong else NOTHING]
    lines += [f"  {number}. {what}" for number, what in enumerate(wrong, 1)]
    return [short(line, wangp) for line in lines]


def short(line: str, wangp: Path) -> str:
    """The line without WanGP's path before its files, and without the user's name."""
    line = line.replace(f"{wangp}{os.sep}", "")
    home = str(Path.home())
    same = re.IGNORECASE if os.name == "nt" else 0
    return re.sub(re.escape(home) + r"(?!\w)", "~", line, flags=same) if len(home) > 1 else line


def updates(wangp: Path, distribution: Distribution) -> str:
    """What an update of WanGP does to the hooks."""
    return _updated(_UPDATES[_filter(wangp, distribution)], wangp)


def _updated(text: str, wangp: Path) -> str:
    again = _BY_PLUGIN if plugin.owner(wangp) else _BY_HAND
    return text.format(wangp.as_posix(), again=again)


def _updates(wangp: Path, distribution: Distribution, wrong: list[str]) -> list[str]:
    state = _filter(wangp, distribution)
    if state in _NEXT_UPDATE and load(wangp):
        wrong.append(_updated(_NEXT_UPDATE[state], wangp))
    return [f"Updates: {_updated(_UPDATES[state], wangp)}"]


def _filter(wangp: Path, distribution: Distribution) -> Filter:
    hidden = ignored(wangp, distribution, load(wangp) or State())
    return filter_state(wangp, distribution.patches, hidden)


def copies(wangp: Path) -> list[str]:
    """The plugin that installs SVI, and which package WanGP uses if it holds another one."""
    found = {folder.relative_to(wangp).as_posix(): release
             for folder, release in locate.copies(wangp).items()}
    own = f"{plugin.FOLDER}/{plugin.owner(wangp)}"
    lines = [f"Plugin: {own} ({found.pop(own)}) installs SVI"] if own in found else []
    named = ", ".join(f"{name} ({release})" for name, release in found.items())
    return lines + ([f"Copies: WanGP uses {PACKAGE} in its own folder; not used: {named}"]
                    if named else [])


def _releases(wangp: Path, distribution: Distribution, wrong: list[str]) -> list[str]:
    state, version = load(wangp), locate.version(wangp)
    there = f"{state.release} installed" if state else "not installed"
    if not state:
        wrong.append("SVI for WanGP is not installed here, or its state is lost: run install.py.")
    elif state.release != distribution.release:
        wrong.append(f"Release {state.release} is installed, and this is {distribution.release}: "
                     "run install.py.")
    if not (wangp / "profiles").is_dir():
        wrong.append(f"WanGP {version} is too old (it has no profiles folder): update WanGP.")
    return [f"SVI for WanGP: {there} (this folder: {distribution.release})",
            f"WanGP: {wangp} (version {version})"]


def _hooks(wangp: Path, patches: list[Patch], wrong: list[str]) -> list[str]:
    lines, installed = [], load(wangp) is not None
    for patch in patches:
        source = files.read(wangp / patch.path) or b""
        found = present(source, patch)
        lines.append(f"Hooks: {patch.path} {found} of {len(patch.hunks)}")
        try:
            whole = hooked(source, patch) == source
        except PatchError:
            continue  # the contract says what does not fit
        if installed and not whole:
            missing = "missing or " if found < len(patch.hunks) else ""
            wrong.append(f"Hooks in {patch.path} are {missing}misplaced, so SVI is off: run "
                         "install.py.")
    return lines


def _contract(wangp: Path, patches: list[Patch], wrong: list[str]) -> list[str]:
    faults = contract.check(wangp, patches)
    wrong += [f"{fault}." for fault in faults]
    known = contract.tried(locate.version(wangp))
    if faults:
        return [f"Contract: broken in {count(len(faults), 'place')}, so SVI is off; {known}"]
    lost = contract.missing_optional(contract.read(wangp, patches), patches)
    without = f"; without {', '.join(lost)}" if lost else ""
    return [f"Contract: WanGP has all that SVI needs{without}; {known}"]


def _git(wangp: Path, patches: list[Patch]) -> list[str]:
    if not (wangp / ".git").exists():
        return ["Git: not a clone"]
    commit = ask("git", "log", "-1", "--format=%h of %cs", folder=wangp, seconds=WAIT).text.strip()
    if not commit:
        return ["Git: a clone that git cannot read"]
    branch = ask("git", "rev-parse", "--abbrev-ref", "HEAD", folder=wangp, seconds=WAIT)
    edited = []
    for patch in patches:
        try:
            own = unhooked(legacy.original(wangp, patch.path))
            source = files.read(wangp / patch.path)
            if source is not None and unhooked(source).splitlines() != own.splitlines():
                edited.append(patch.path)
        except Refused:
            edited.append(f"{patch.path} (not in git)")
    differ = ask("git", "-c", "core.quotePath=false", "diff", "--no-ext-diff", "--name-only",
                 "HEAD", folder=wangp, seconds=WAIT)
    hooked = {patch.path for patch in patches}
    others = [path for path in differ.text.splitlines() if path not in hooked]
    edited += others[:EDITED]
    if more := others[EDITED:]:
        edited.append(f"{len(more)} more")
    name = branch.text.strip()
    of = "no branch" if name == "HEAD" else f"branch {name}"
    return [f"Git: commit {commit}, {of}; edited besides the hooks: {', '.join(edited) or 'none'}"]


def _pythons(wangp: Path, python: str, wrong: list[str]) -> list[str]:
    """The Python that runs this and those in WanGP's folder, with their versions of PACKAGES."""
    environments = [wangp / name for name in ENVIRONMENTS if _site_packages(wangp / name)]
    running = next((one for one in environments if Path(python).is_relative_to(one)), None)
    here = {name: _version(name) for name in PACKAGES}
    here["mmgp"] = here["mmgp"] or _own_mmgp(wangp)
    lines = [f"Python: {platform.python_version()} ({python}): {_listed(here)}"]
    for environment in environments:
        if environment != running:
            there = _versions_in(environment)
            there["mmgp"] = there["mmgp"] or _own_mmgp(wangp)
            lines.append(f"Python in {environment}: {_python_of(environment)}: {_listed(there)}")
    if not here["huggingface_hub"]:
        wrong.append(f"huggingface_hub is missing in {python}, so --download cannot work: use "
                     "WanGP's Python, or pip install huggingface_hub.")
    missing = [name for name in ("torch", "mmgp", "gradio") if not here[name]]
    if running and missing:
        wrong.append(f"WanGP's Python has no {', '.join(missing)}: pip install -r requirements.txt "
                     "in WanGP's folder.")
    return lines


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _own_mmgp(wangp: Path) -> str:
    """The version of the mmgp in WanGP's own folder, as since WanGP 17.00; "" if there is none."""
    folder = wangp / "mmgp"
    if not (folder / "__init__.py").is_file():
        return ""
    pattern = rb"""(?m)^(?:__version__|VERSION|version) *= *["']([^"'\r\n]+)"""
    for name in ("__init__.py", "_version.py", "version.py"):
        if found := re.search(pattern, files.read(folder / name) or b""):
            return f"{found[1].decode('utf-8', 'replace')} (WanGP's own)"
    return "(WanGP's own)"


def _site_packages(environment: Path) -> Path | None:
    places = (place for pattern in ("Lib/site-packages", "lib/python3*/site-packages")
              for place in sorted(environment.glob(pattern)) if place.is_dir())
    return next(places, None)


def _versions_in(environment: Path) -> dict[str, str]:
    """The versions of PACKAGES, by the names of their .dist-info folders."""
    found = dict.fromkeys(PACKAGES, "")
    place = _site_packages(environment)
    for folder in place.glob("*.dist-info") if place else ():
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        name = name.lower().replace("-", "_")
        found |= {name: version} if name in found else {}
    return found


def _python_of(environment: Path) -> str:
    """An environment's Python, by its pyvenv.cfg or the name of its folder; "?" if unknown."""
    config = (files.read(environment / "pyvenv.cfg") or b"").decode("utf-8", "replace")
    if found := re.search(r"^version(?:_info)?\s*=\s*([\d.]+)", config, re.MULTILINE):
        return found[1].rstrip(".")
    place = _site_packages(environment)
    name = place.parent.name if place else "Lib"
    return "?" if name == "Lib" else name.removeprefix("python")


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())


def _gpus() -> list[str]:
    gpus = (line.split(", ") for line in ask(*QUERY, seconds=WAIT).text.splitlines())
    return [f"GPU: {gpu[0]}, {gpu[1]} MiB, driver {gpu[2]}" for gpu in gpus if len(gpu) == 3]


def _conditions(wangp: Path, distribution: Distribution) -> dict[str, _File]:
    """How each of our files is. The package in WanGP and the distribution that it came from give
    the same answer."""
    writes, edited = compare(wangp, distribution)
    found = {change.path: _File.MISSING if change.before is None else
             _File.WHOLE if change.before == change.after else _File.OLD for change in writes}
    found |= dict.fromkeys(edited, _File.EDITED)
    for name, known in (load(wangp) or State()).files.items():
        if name not in found:  # it is in its place, or another release's
            content = files.read(wangp / name)
            found[name] = (_File.MISSING if content is None else
                           _File.WHOLE if sha256(content) == known else _File.EDITED)
    return dict(sorted(found.items()))


def _files(wangp: Path, distribution: Distribution, wrong: list[str]) -> list[str]:
    lines = []
    if distribution.unpacked_into(wangp):
        lines.append(f"Package and profiles: used where they are, in {distribution.root}")
    conditions = _conditions(wangp, distribution)
    folders = {"Package": (f"{PACKAGE}/",), 
               "Profiles": (*(f"{name}/" for name in PROFILES), *MODELS)}
    for title, places in folders.items():
        ours = {name: how for name, how in conditions.items() if name.startswith(places)}
        lost, old, mine = ([name for name, how in ours.items() if how is one]
                           for one in (_File.MISSING, _File.OLD, _File.EDITED))
        if ours:
            other = f", {len(old)} from another release" if old else ""
            lines.append(f"{title}: {len(ours) - len(lost) - len(mine)} present, {len(mine)} "
                         f"edited, {len(lost)} missing{other}")
        lines += [f"  edited: {name}" for name in mine]
        if load(wangp):
            lines += [f"  missing: {name}" for name in lost]
            wrong += [f"{title}: {_names(lost)} missing: run install.py."] if lost else []
            wrong += ([f"{title}: {_names(old)} from another release: run install.py."]
                      if old else [])
            if mine and title == "Package":
                wrong.append(f"Package: {_names(mine)} edited: to undo the edit, rename or delete "
                             "the file, and run install.py.")
            wrong += [f"Profiles: {name} is not valid JSON: correct it, or delete it and run "
                      "install.py." for name in mine if title == "Profiles"
                      and not isinstance(files.read_json(wangp / name), dict)]
    return lines


def _names(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more are"


def _loras(wangp: Path, lora_dir: str | None, wrong: list[str]) -> list[str]:
    lines = []
    if lora_dir is not None and not (given := location.lora_folder(wangp, "", lora_dir)).is_dir():
        wrong.append(f"There is no folder {given} for LoRA files: correct --lora-dir, or create "
                     "it.")
    for path, title in loras.found(wangp, lora_dir):
        size, whole = gigabytes(path.stat().st_size), is_complete(path)
        lines.append(f"LoRA: {path} ({title}, {size}{'' if whole else ', incomplete'})")
        if not whole:
            again = "demo-model" if path.name.startswith("small-svi-") else "install.py --download"
            wrong.append(f"{path.name} is incomplete (only {size}): delete it, and run {again}.")
    folders = dict.fromkeys(
        location.lora_folder(wangp, wan, lora_dir) for wan in ("2.1", "2.2"))
    for part in (part for folder in folders for part in loras.unfinished(folder)):
        lines.append(f"LoRA: {part} ({gigabytes(part.stat().st_size)}, incomplete download)")
        wrong.append(f"The download of {loras.name_of(part)} was interrupted: run install.py "
                     "--download again, it resumes.")
    return lines or [f"LoRA: no SVI LoRA in {' or '.join(map(str, folders))}"]


def _earlier(wangp: Path, patches: list[Patch]) -> Iterator[str]:
    """What another SVI distribution left."""
    for name in dict.fromkeys((*legacy.FILES, *(patch.path for patch in patches))):
        if traces := legacy.traces(files.read(wangp / name) or b""):
            yield (f"{name} has changes of an earlier SVI distribution ({'; '.join(traces)}): run "
                   "install.py --replace-old.")
    profiles = [path.relative_to(wangp).as_posix()
                for path in sorted((wangp / "profiles").rglob("*.json"))
                if legacy.is_old_profile(path.read_bytes())]
    if profiles:
        yield (f"Profiles of an earlier SVI distribution no longer work: {', '.join(profiles)}: "
               "run install.py --replace-old, or delete them.")


def _protected(wangp: Path, patches: list[Patch]) -> Iterator[str]:
    """What the installer may not write to, by its mode or by the system's word."""
    git = clone(wangp)
    names = [*(patch.path for patch in patches), PACKAGE, *PROFILES, "profiles", ".",
             *(load(wangp) or State()).files, STATE, *(git.without() if git else ())]
    found = ["WanGP" if name == "." else name for name in names
             for path in [wangp / name] if path.exists()
             and (files.is_protected(path) or not os.access(path, os.W_OK))]
    if found:
        it = "it" if len(found) == 1 else "them"
        yield f"{_names(found)} write-protected: allow writing to {it}."


def _unfinished(wangp: Path) -> list[str]:
    places = [wangp / name for name in ("models/wan", PACKAGE, *PROFILES)]
    litter = [*wangp.glob(f"*{files.UNFINISHED}"),
              *(path for place in places for path in place.rglob(f"*{files.UNFINISHED}"))]
    return [f"install.py was interrupted ({_names([path.name for path in litter])} left): run it "
            "again."] if litter else []
