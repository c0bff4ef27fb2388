"""What a bug report needs: the lines of ``python install.py --doctor``, and in brief of ``--status``.

Nothing is written, imported, downloaded or started but git and nvidia-smi. Names of the user's folders are left out, as
far as they are not WanGP's own: the home directory is ``~``.
"""

from __future__ import annotations

import os
import platform
import re
import stat
from importlib import metadata
from pathlib import Path

from wan2gp_svi.files import UNFINISHED
from wan2gp_svi.install import Refused, legacy, locate, loras
from wan2gp_svi.install.patches import Patch, PatchError, hooked, present, read_series, unhooked
from wan2gp_svi.install.plan import compare
from wan2gp_svi.install.programs import ask
from wan2gp_svi.install.shipped import PACKAGE, PROFILES, Distribution
from wan2gp_svi.install.state import load
from wan2gp_svi.text import gigabytes
from wan2gp_svi.wangp import contract

PACKAGES = ("torch", "mmgp", "gradio", "huggingface_hub")
ENVIRONMENTS = ("env", "venv", ".venv", "env_venv", "env_uv", "env_conda")  # as WanGP's own installer names them
SMALLEST = 100_000_000  # bytes; SVI's LoRA files, in 16 bit too, are larger
WAIT = 20  # seconds for a program that answers at once when it is well
QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
NOTHING = "Nothing wrong was found."


def report(
    wangp: Path, distribution: Distribution, lora_dir: str | None, python: str, filter_state: str = "",
    brief: bool = False,
) -> list[str]:
    """The lines. `python` is the program that runs this, `filter_state` a sentence on what a git update does; `brief`
    leaves out the machine."""
    patches = read_series(distribution.patches)
    wrong: list[str] = []
    machine = [] if brief else [
        *_git(wangp, patches),
        *_pythons(wangp, python, wrong),
        f"System: {platform.platform()}",
        *(_gpus() or ["GPU: none that nvidia-smi knows"]),
    ]
    lines = [
        *_releases(wangp, distribution, wrong),
        *machine,
        *_hooks(wangp, patches, bool(load(wangp)), wrong),
        *([f"Updates: {filter_state}"] if filter_state else []),
        *_contract(wangp, patches, wrong),
        *copies(wangp),
        *_files(wangp, distribution, wrong),
        *_loras(wangp, lora_dir, wrong),
    ]
    wrong += [*_earlier(wangp, patches), *_protected(wangp, patches), *_unfinished(wangp)]
    lines += ["Wrong:", *(f"  {number}. {what}" for number, what in enumerate(wrong, 1))] if wrong else [NOTHING]
    return [short(line, wangp) for line in lines]


def short(line: str, wangp: Path) -> str:
    """The line without WanGP's path before its files, and without the user's name."""
    line = line.replace(f"{wangp}{os.sep}", "")
    home = str(Path.home())
    same = re.IGNORECASE if os.name == "nt" else 0
    return re.sub(re.escape(home) + r"(?!\w)", "~", line, flags=same) if len(home) > 1 else line


def _releases(wangp: Path, distribution: Distribution, wrong: list[str]) -> list[str]:
    state = load(wangp)
    there = f"{state.release} installed" if state else "not installed"
    if not state:
        wrong.append("SVI for WanGP is not installed here, or its state file is lost: run install.py.")
    elif state.release != distribution.release:
        wrong.append(f"Release {state.release} is installed, and this is {distribution.release}: run install.py.")
    if not (wangp / "profiles").is_dir():
        wrong.append(f"WanGP {locate.version(wangp)} is too old, it has no profiles folder: update WanGP.")
    return [f"SVI for WanGP: {there} (this folder: {distribution.release})",
            f"WanGP: {wangp} (version {locate.version(wangp)})"]


def _contract(wangp: Path, patches: list[Patch], wrong: list[str]) -> list[str]:
    """Whether WanGP has all that SVI needs of it, in one line."""
    faults = contract.check(wangp, patches)
    told = " ".join(wrong)
    wrong += [f"{fault}." for fault in faults if fault.split(": ", 1)[1].rsplit(". ", 1)[0] not in told]
    known = contract.tried(locate.version(wangp))
    if faults:
        return [f"Contract: broken in {_places(len(faults))}, so SVI is off; {known}"]
    lost = contract.missing_optional(contract.read(wangp, patches), patches)
    without = f"; without {', '.join(lost)}" if lost else ""
    return [f"Contract: WanGP has all that SVI needs{without}; {known}"]


def _places(count: int) -> str:
    return "1 place" if count == 1 else f"{count} places"


def copies(wangp: Path) -> list[str]:
    """Which package WanGP uses, where there is more than one."""
    found = [f"{folder.relative_to(wangp).as_posix()} ({release})" for folder, release in locate.copies(wangp).items()]
    return [f"Copies: WanGP uses {PACKAGE} in its own folder; not used: {', '.join(found)}"] if found else []


def _git(wangp: Path, patches: list[Patch]) -> list[str]:
    """Commit and branch, and which of the hooked files have edits of the user's beside the hooks."""
    if not (wangp / ".git").exists():
        return ["Git: no clone, unpacked from an archive"]
    commit = ask("git", "log", "-1", "--format=%h of %cs", folder=wangp, seconds=WAIT).text.strip()
    if not commit:
        return ["Git: a clone, and git cannot read it"]
    branch = ask("git", "rev-parse", "--abbrev-ref", "HEAD", folder=wangp, seconds=WAIT).text.strip()
    edited = []
    for patch in patches:
        source = wangp / patch.path
        try:
            own = unhooked(legacy.original(wangp, patch.path))
            if source.is_file() and _lf(unhooked(source.read_bytes())) != _lf(own):
                edited.append(patch.path)
        except Refused:
            edited.append(f"{patch.path} (not in git)")
    of = "no branch" if branch == "HEAD" else f"branch {branch}"
    return [f"Git: commit {commit}, {of}; edited beside the hooks: {', '.join(edited) or 'none'}"]


def _lf(source: bytes) -> bytes:
    return source.replace(b"\r\n", b"\n")


def _pythons(wangp: Path, python: str, wrong: list[str]) -> list[str]:
    """The Python that runs this and the ones that lie in WanGP, with what they have of PACKAGES."""
    environments = [wangp / name for name in ENVIRONMENTS if _site_packages(wangp / name)]
    running = next((env for env in environments if Path(python).is_relative_to(env)), None)
    here = {name: _version(name) for name in PACKAGES}
    here["mmgp"] = here["mmgp"] or _own_mmgp(wangp)
    lines = [f"Python: {platform.python_version()} ({python}): {_listed(here)}"]
    others = [env for env in environments if env != running]
    for env in others:
        there = _versions_in(env)
        there["mmgp"] = there["mmgp"] or _own_mmgp(wangp)
        lines.append(f"Python in {env}: {_python_of(env)}: {_listed(there)}")
    if not here["huggingface_hub"]:
        wrong.append(f"huggingface_hub is missing in {python}, so --download cannot work: use WanGP's Python, or pip "
                     "install huggingface_hub.")
    needed = {name: here[name] for name in ("torch", "mmgp", "gradio")}
    if running and not all(needed.values()):
        wrong.append(f"WanGP's Python has no {', '.join(name for name in needed if not needed[name])}: pip install -r "
                     "requirements.txt in WanGP's folder.")
    return lines


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _own_mmgp(wangp: Path) -> str:
    """The version of the mmgp that is a folder of WanGP's own, as since WanGP 17.00; "" if there is none."""
    folder = wangp / "mmgp"
    if not (folder / "__init__.py").is_file():
        return ""
    for file in (folder / "__init__.py", folder / "_version.py", folder / "version.py"):
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
        if found := re.search(r"""^(?:__version__|VERSION|version) *= *["']([^"'\r\n]+)""", text, re.MULTILINE):
            return f"{found[1]} (WanGP's own)"
    return "of WanGP's own"


def _site_packages(environment: Path) -> list[Path]:
    return [place for pattern in ("Lib/site-packages", "lib/python3*/site-packages") for place in
            sorted(environment.glob(pattern)) if place.is_dir()][:1]


def _versions_in(environment: Path) -> dict[str, str]:
    """The versions of PACKAGES, from the names of the .dist-info folders: nothing in them is started or read."""
    found = dict.fromkeys(PACKAGES, "")
    for folder in (info for place in _site_packages(environment) for info in place.glob("*.dist-info")):
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        name = name.lower().replace("-", "_")
        found |= {name: version} if name in found else {}
    return found


def _python_of(environment: Path) -> str:
    """Which Python an environment has, from its pyvenv.cfg or the name of its folder; "?" if neither says."""
    config = environment / "pyvenv.cfg"
    text = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else ""
    found = re.search(r"^version(?:_info)?\s*=\s*([\d.]+)", text, re.MULTILINE)
    folders = [place.parent.name.removeprefix("python") for place in _site_packages(environment)]
    return found.group(1).rstrip(".") if found else next((name for name in folders if name != "Lib"), "?")


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())


def _gpus() -> list[str]:
    gpus = (line.split(", ") for line in ask(*QUERY, seconds=WAIT).text.splitlines())
    return [f"GPU: {gpu[0]}, {gpu[1]} MiB, driver {gpu[2]}" for gpu in gpus if len(gpu) == 3]


def _hooks(wangp: Path, patches: list[Patch], installed: bool, wrong: list[str]) -> list[str]:
    lines = []
    for patch in patches:
        source = (wangp / patch.path).read_bytes() if (wangp / patch.path).is_file() else b""
        count = present(source, patch)
        lines.append(f"Hooks: {patch.path} {count} of {len(patch.hunks)}")
        try:
            whole = hooked(source, patch) == source
        except PatchError as error:
            wrong.append(f"WanGP {locate.version(wangp)} does not fit: {error}. Update WanGP, or get a newer release "
                         "of SVI for WanGP.")
        else:
            if installed and not whole:
                more = "missing or not where they belong" if count < len(patch.hunks) else "not where they belong"
                wrong.append(f"Hooks in {patch.path} are {more}, so SVI is off: run install.py.")
    return lines


def _files(wangp: Path, distribution: Distribution, wrong: list[str]) -> list[str]:
    lines = []
    if distribution.in_place(wangp):
        lines.append(f"Package and profiles: used where they lie in {distribution.root}")
    writes, edited = compare(wangp, distribution)
    for title, places in (("Package", (f"{PACKAGE}/",)), ("Profiles", tuple(f"{place}/" for place in PROFILES))):
        files = [change for change in writes if change.path.startswith(places)]
        lost = [change.path for change in files if change.before is None]
        old = [change.path for change in files if change.before not in (None, change.after)]
        mine = [name for name in edited if name.startswith(places)]
        if files or mine:
            counts = f"{len(files) - len(lost)} present, {len(mine)} edited, {len(lost)} missing"
            lines.append(f"{title}: {counts}" + (f", {len(old)} of another release" if old else ""))
        lines += [f"  edited: {name}" for name in mine]
        if load(wangp):
            lines += [f"  missing: {name}" for name in lost]
            wrong += [f"{title}: {_names(lost)} missing: run install.py."] if lost else []
            wrong += [f"{title}: {_names(old)} from another release: run install.py."] if old else []
            if mine and title == "Package":
                wrong.append(f"Package: {_names(mine)} edited: rename or delete, and run install.py, if the edit is "
                             "not meant to be.")
    return lines


def _names(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more are"


def _loras(wangp: Path, lora_dir: str | None, wrong: list[str]) -> list[str]:
    lines = []
    for path, title in loras.found(wangp, lora_dir):
        size, small = gigabytes(path.stat().st_size), path.stat().st_size < SMALLEST
        lines.append(f"LoRA: {path} ({title}, {size}{', incomplete?' if small else ''})")
        if small:
            wrong.append(f"{path.name} has only {size}: delete it, and run install.py with --download.")
    folders = dict.fromkeys(loras.folder(wangp, wan, lora_dir) for wan in ("2.1", "2.2"))
    for part in (part for folder in folders for part in sorted(folder.glob(".*.part"))):
        lines.append(f"LoRA: {part} ({gigabytes(part.stat().st_size)} of a download, incomplete)")
        wrong.append(f"A download of {part.name[1:].rsplit('.', 2)[0]} was broken off: run install.py with --download "
                     "again, it continues where it stopped.")
    return lines or [f"LoRA: none of SVI's in {' or '.join(map(str, folders))}"]


def _earlier(wangp: Path, patches: list[Patch]) -> list[str]:
    """What another SVI distribution has left."""
    found = []
    for name in dict.fromkeys((*legacy.FILES, *(patch.path for patch in patches))):
        source = wangp / name
        if source.is_file() and (traces := legacy.traces(source.read_bytes())):
            found.append(f"{name} has changes of an earlier SVI distribution in it ({'; '.join(traces)}): run "
                         "install.py with --replace-old.")
    profiles = [path.relative_to(wangp).as_posix() for path in sorted((wangp / "profiles").rglob("*.json"))
                if legacy.is_old_profile(path.read_bytes())]
    if profiles:
        found.append(f"Profiles of an earlier SVI distribution, which do nothing any more: {', '.join(profiles)}: "
                     "run install.py with --replace-old, or delete them.")
    return found


def _protected(wangp: Path, patches: list[Patch]) -> list[str]:
    """What the installer cannot write to. Where all may write, the system's answer is asked for as well."""
    names = [*(patch.path for patch in patches), PACKAGE, *PROFILES, "profiles", "."]
    closed = [name for name in names if (path := wangp / name).exists()
              and not (path.stat().st_mode & stat.S_IWRITE and os.access(path, os.W_OK))]
    return [f"{'WanGP' if name == '.' else name} is write-protected: allow writing to it." for name in closed]


def _unfinished(wangp: Path) -> list[str]:
    places = [wangp, wangp / "models/wan", *(wangp / name for name in (PACKAGE, *PROFILES))]
    litter = [path for place in places for path in (place.glob if place == wangp else place.rglob)(f"*{UNFINISHED}")]
    return [f"A run of install.py was broken off ({_names([path.name for path in litter])} left): run it again."
            ] if litter else []
