"""The installer's arguments and messages."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import wan2gp_svi
from wan2gp_svi import location, variants
from wan2gp_svi.install import Refused, doctor, legacy, locate, loras
from wan2gp_svi.install.git_clone import clone
from wan2gp_svi.install.git_clone import state as filter_state
from wan2gp_svi.install.patches import read_series
from wan2gp_svi.install.plan import Change, Plan, install_plan, uninstall_plan
from wan2gp_svi.install.shipped import PACKAGE, PROFILES, Distribution
from wan2gp_svi.install.transaction import alone, carry_out, remove_if_empty

NAME = "SVI for WanGP"
NEXT = (
    'Next: restart WanGP, choose Image2Video 14B, pick "SVI-Shot Infinite - 50 Steps" under Settings, '
    "give a start image and the number of frames."
)
EXAMPLES = """examples:
  python install.py                                install into the WanGP beside or around this folder
  python install.py "D:\\AI\\Wan2GP"                 install into this one
  python install.py "D:\\AI\\Wan2GP" --download film-opt
  python install.py --status                       what is installed
  python install.py --doctor                       the same and more; belongs in every bug report
  python install.py --self-test                    try it out in a copy of WanGP
  python install.py --uninstall                    take everything back
Run it again after this folder has been updated; and after WanGP has been, if that is not a git clone.
"""


def main(argv: Sequence[str] | None = None, home: Path | None = None) -> int:
    """Run the installer of the distribution `home`. Returns 0: done, or 1: refused; exits with 2: usage."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console with an old code page must not stop the installation
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(argv)
    distribution = Distribution(home or location.HOME, wan2gp_svi.__version__)
    try:
        if options.self_test:
            return _self_test(options, distribution)
        _run(options, distribution)
    except (Refused, OSError) as error:
        print(f"{NAME}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{NAME}: stopped; run it again to go on", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="install.py",
        description="Installs Stable Video Infinity (SVI) into WanGP.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "wangp", nargs="?", metavar="WANGP_FOLDER", help="where wgp.py is (default: look around)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--status", action="store_true", help="say what is installed and whether it is whole")
    what.add_argument("--doctor", action="store_true", help="the same and all else that a bug report needs")
    what.add_argument("--self-test", action="store_true", help="check SVI in a copy of this WanGP, in two minutes")
    what.add_argument("--uninstall", action="store_true", help="take everything back; your own edits stay")
    what.add_argument(
        "--download",
        nargs="+",
        metavar="VARIANT",
        default=[],
        choices=list(variants.VARIANTS),
        help=f"install, and download the LoRA files of: {', '.join(variants.VARIANTS)}",
    )
    parser.add_argument(
        "--lora-dir", metavar="FOLDER", help="where LoRA files go, if WanGP is started with such an option"
    )
    parser.add_argument(
        "--replace-old", action="store_true", help="first take out the earlier SVI distribution (wan2gp-svi)"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")
    return parser


def _run(options: argparse.Namespace, distribution: Distribution) -> None:
    wangp = locate.find(options.wangp, distribution.root, Path.cwd())
    if options.status or options.doctor:
        updates = _updates(wangp, distribution)
        lines = doctor.report(wangp, distribution, options.lora_dir, sys.executable, updates, brief=options.status)
        return print("\n".join(lines))
    print(f"WanGP: {wangp} (version {locate.version(wangp)})")
    with alone(wangp):
        if options.replace_old and not _replace_old(wangp, options.dry_run):
            return None
        if options.uninstall:
            from wan2gp_svi.demo.in_wangp import record  # it may have been written here

            plan = record.without(wangp, uninstall_plan(wangp, distribution))
        else:
            plan = install_plan(wangp, distribution)
        if options.dry_run:
            print("Dry run, nothing is written.")
            _list(plan.changes)
        else:
            carry_out(wangp, plan.changes)
            remove_if_empty(wangp / folder for folder in plan.folders)
            if plan.clone and not plan.clone.settle(plan.hooked):
                print("git is busy (.git/index.lock) and takes the hooked files for modified: run install.py once more "
                      "when it is done")
    if options.uninstall:
        _uninstalled(plan, options.dry_run)
    else:
        _installed(wangp, distribution, plan, options.dry_run)
    files = loras.downloads(wangp, options.download, options.lora_dir)
    if options.dry_run:
        for file in files:
            print(f"would download {file.source} to {file.target}")
    elif files:
        loras.fetch(files, print)
    return None


def _self_test(options: argparse.Namespace, distribution: Distribution) -> int:
    from wan2gp_svi.selftest import command  # for this alone

    wangp = locate.find(options.wangp, distribution.root, Path.cwd())
    return command.main([str(wangp)])


def _replace_old(wangp: Path, dry: bool) -> bool:
    """Takes out what the earlier distribution has put into WanGP; whether the installation can go on."""
    files, edited = legacy.taken_out(wangp)
    for name, content in files.items():
        done = "deleted" if content is None else "cleaned of it"
        print(f"Earlier SVI distribution: {name} {'would be ' if dry else ''}{done}")
    for name in edited:
        print(f"Yours, edited, and kept; it does nothing any more: {name}")
    if dry and files:
        print("Dry run, nothing is written. What would be installed then shows when this is done.")
        return False
    carry_out(wangp, [Change(name, (wangp / name).read_bytes(), content) for name, content in files.items()])
    return True


def _installed(wangp: Path, distribution: Distribution, plan: Plan, dry: bool) -> None:
    _kept(plan, "Yours, edited, and left as it is (for the new one rename or delete it and install again)")
    if not plan.changes:
        return print(f"Nothing to do: {NAME} {distribution.release} is installed and whole.")
    if dry:
        return None
    hooks = ", ".join(f"{patch.path} {len(patch.hunks)}" for patch in read_series(distribution.patches))
    print(f"Hooks: {hooks}")
    if plan.in_place:
        print(f"Package and profiles: used where they lie in {distribution.root}, not copied")
    else:
        print(f"Profiles: {_profiles(wangp, distribution, plan)}")
    print(f"Updates: {_updates(wangp, distribution)}")
    for line in doctor.copies(wangp):
        print(line)
    print(f"{NAME} {distribution.release} is installed.")
    return print(NEXT)


def _updates(wangp: Path, distribution: Distribution) -> str:
    """What an update of WanGP does to the hooks."""
    git = clone(wangp)
    hooked = [patch.path for patch in read_series(distribution.patches)]
    return filter_state(wangp, git.wanted(hooked, distribution.files()) if git else {})


def _uninstalled(plan: Plan, dry: bool) -> None:
    _kept(plan, "Yours, edited, and kept")
    if plan.in_place:
        print("Kept, because this distribution lies in the WanGP folder itself: its package and its profiles")
    if not plan.changes:
        print(f"Nothing to do: {NAME} is not installed.")
    elif not dry:
        print("Uninstalled.")


def _kept(plan: Plan, why: str) -> None:
    for name in plan.kept:
        print(f"{why}: {name}")


def _profiles(wangp: Path, distribution: Distribution, plan: Plan) -> str:
    """How many profiles of ours are there, by folder."""
    names = [name for name in distribution.files() if name not in plan.in_place and (wangp / name).is_file()]
    counts = {folder: sum(name.startswith(f"{folder}/") for name in names) for folder in PROFILES}
    return ", ".join(f"{count} in {folder}" for folder, count in counts.items())


def _list(changes: Sequence[Change]) -> None:
    """The changes, a line each, those in one folder of ours together."""
    verbs: Counter[tuple[str, str]] = Counter()
    for change in changes:
        verb = "create" if change.before is None else "delete" if change.after is None else "change"
        folder = next((f"{f}/" for f in (PACKAGE, *PROFILES) if change.path.startswith(f"{f}/")), None)
        verbs[verb, folder or change.path] += 1
    for (verb, place), count in verbs.items():
        print(
            f"would {verb} {place}" + (f" ({count} file{'s' * (count > 1)})" if place.endswith("/") else "")
        )


if __name__ == "__main__":
    sys.exit(main())
