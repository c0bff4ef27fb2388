"""The installer's arguments and messages."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import wan2gp_svi
from wan2gp_svi import files, location, variants
from wan2gp_svi.install import Refused, doctor, legacy, locate, loras, plugin
from wan2gp_svi.install.patches import read_series
from wan2gp_svi.install.plan import Change, Plan, install_plan, uninstall_plan
from wan2gp_svi.install.shipped import PACKAGE, PROFILES, Distribution
from wan2gp_svi.install.transaction import alone, carry_out, remedy, remove_if_empty
from wan2gp_svi.text import count, escape_unprintable, gigabytes

NAME = "SVI for WanGP"
NEXT = "Next: restart WanGP, open its tab SVI, and press New video."
EXAMPLES = """examples:
  python install.py                                find WanGP around or beside this folder
  python install.py "D:\\AI\\Wan2GP"                 install into this WanGP
  python install.py "D:\\AI\\Wan2GP" --download film-opt
  python install.py --status                       show what is installed
  python install.py --doctor                       show what a bug report needs
  python install.py --self-test                    check SVI in a copy of WanGP
  python install.py --uninstall                    remove what was installed
Run it again after you update this folder, and after you update a WanGP that is not a git clone.
"""


def main(argv: Sequence[str] | None = None, home: Path | None = None) -> int:
    """Runs the installer of the distribution `home` -> 0 if it did what was asked, else 1."""
    escape_unprintable()
    options = _parser().parse_args([*_arguments(sys.argv[1:] if argv is None else argv)])
    distribution = Distribution(home or location.HOME, wan2gp_svi.__version__)
    try:
        wangp = locate.find(options.wangp, distribution.root, Path.cwd())
        if options.self_test:
            from wan2gp_svi.selftest import command

            return command.main([str(wangp)])
        if options.status or options.doctor:
            lines = doctor.report(wangp, distribution, options.lora_dir, sys.executable,
                                  brief=options.status)
            print("\n".join(lines))
        else:
            _run(wangp, options, distribution)
    except (Refused, OSError) as error:
        how = f". {remedy(error)}" if isinstance(error, OSError) else ""
        print(f"{NAME}: {' '.join(files.explain(error).split())}{how}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{NAME}: stopped; run it again to finish", file=sys.stderr)
        return 1
    return 0


def _arguments(given: Sequence[str]) -> Iterator[str]:
    """What the user meant on Windows: there, `"D:\\Wan 2GP\\" --status` arrives as one argument
    with a quote in it, and help is asked for with `/?`."""
    for one in given:
        folder, quote, rest = one.partition('"')
        if one == "/?":
            yield "--help"
        elif quote and not Path(one).exists():
            yield from (folder, *rest.split())
        else:
            yield one


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=locate.COMMAND, description="Installs Stable Video Infinity (SVI) into WanGP.",
        epilog=EXAMPLES.replace("python install.py", locate.COMMAND),
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wangp", nargs="?", metavar="WANGP_FOLDER",
                        help="the folder with wgp.py (default: search around this one)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--status", action="store_true",
                      help="show what is installed and whether it is complete")
    what.add_argument("--doctor", action="store_true",
                      help="show that and everything else that a bug report needs")
    what.add_argument("--self-test", action="store_true",
                      help="check SVI in a copy of this WanGP, in two minutes")
    what.add_argument("--uninstall", action="store_true",
                      help="remove what was installed; your own edits stay")
    what.add_argument("--download", nargs="+", metavar="VARIANT", default=[],
                      choices=list(variants.VARIANTS), help="install, and download the LoRA files "
                      f"of these variants: {', '.join(variants.VARIANTS)}")
    parser.add_argument("--lora-dir", metavar="FOLDER",
                        help="the folder for LoRA files, if you start WanGP with such an option")
    parser.add_argument("--replace-old", action="store_true",
                        help="first remove the earlier SVI distribution (wan2gp-svi)")
    parser.add_argument("--dry-run", action="store_true",
                        help="show what would be done, and write nothing")
    parser.add_argument("--plugin", default="", help=argparse.SUPPRESS)  # for child.py
    return parser


def _run(wangp: Path, options: argparse.Namespace, distribution: Distribution) -> None:
    print(f"WanGP: {wangp} (version {locate.version(wangp)})")
    again: list[str] = []
    with alone(wangp):
        if options.replace_old and not _replace_old(wangp, options.dry_run):
            return
        if options.uninstall:
            from wan2gp_svi.demo.in_wangp import record  # the demo model may be there too

            again = plugin.comes_back(wangp)
            plan = record.without(wangp, uninstall_plan(wangp, distribution))
        else:
            owner = plugin.checked(wangp, distribution, options.plugin)
            plan = install_plan(wangp, distribution, owner)
        if options.dry_run:
            print("Dry run: nothing is written.")
            _list(plan.changes)
        else:
            carry_out(wangp, plan.changes)
            remove_if_empty(wangp / folder for folder in plan.folders)
            if plan.clone and not plan.clone.settle(plan.hooked):
                print("git is busy (.git/index.lock) and shows the hooked files as modified: run "
                      "install.py again when git is done")
    if options.uninstall:
        _uninstalled(wangp, plan, again, options.dry_run)
    else:
        _installed(wangp, distribution, plan, options.dry_run, bool(options.download))
    wanted = loras.downloads(wangp, options.download, options.lora_dir)
    if options.dry_run:
        for file in wanted:
            print(f"would download {file.source} to {file.target}")
    elif wanted:
        loras.fetch(wanted, print_progress)


def _replace_old(wangp: Path, dry: bool) -> bool:
    """Removes the earlier distribution -> whether the installation can go on."""
    contents, edited = legacy.taken_out(wangp)
    for name, content in contents.items():
        done = "deleted" if content is None else "cleaned"
        print(f"Earlier SVI distribution: {name} {'would be ' if dry else ''}{done}")
    _kept(edited, "Kept, because you edited it; it no longer does anything")
    if dry and contents:
        print("Dry run: nothing is written. Remove the earlier distribution, then try again.")
        return False
    carry_out(wangp, [Change(name, (wangp / name).read_bytes(), content)
                      for name, content in contents.items()])
    return True


def _installed(wangp: Path, distribution: Distribution, plan: Plan, dry: bool, more: bool
               ) -> None:
    """`more`: something is left to do."""
    _kept(plan.kept, "Kept, because you edited it (to get the new one, rename or delete it and "
                     "install again)")
    if not plan.changes:
        start = "" if more else "Nothing to do: "
        edited = any(name.startswith(f"{PACKAGE}/") for name in plan.kept)
        end = "installed, but for what you edited" if edited else "installed and complete"
        print(f"{start}{NAME} {distribution.release} is {end}.")
    if dry or not plan.changes:
        return
    patches = read_series(distribution.patches)
    print(f"Hooks: {', '.join(f'{patch.path} {len(patch.hunks)}' for patch in patches)}")
    if plan.in_place:
        print(f"Package and profiles: used where they are, in {distribution.root}, not copied")
    else:
        names = [name for name in distribution.files() if (wangp / name).is_file()]
        counts = {folder: sum(name.startswith(f"{folder}/") for name in names)
                  for folder in PROFILES}
        print(f"Profiles: {', '.join(f'{number} in {name}' for name, number in counts.items())}")
    print(f"Updates: {doctor.updates(wangp, distribution)}", *doctor.copies(wangp),
          f"{NAME} {distribution.release} is installed.", NEXT, sep="\n")


def _uninstalled(wangp: Path, plan: Plan, again: Sequence[str], dry: bool) -> None:
    _kept(plan.kept, "Kept, because you edited it")
    for name, target in locate.links(wangp).items():
        print(f"Kept, because it is a link to {target}: {name}")
    if plan.in_place:
        print("Kept, because this distribution is in WanGP's folder: its package and profiles")
    if not plan.changes:
        print(f"Nothing to do: {NAME} is not installed.")
    elif not dry:
        print("Uninstalled.", *again, sep="\n")


def _kept(names: Sequence[str], why: str) -> None:
    for name in names:
        print(f"{why}: {name}")


def _list(changes: Sequence[Change]) -> None:
    """Prints the changes, those in one of our folders as one line."""
    counts: Counter[tuple[str, str]] = Counter()
    for change in changes:
        verb = ("create" if change.before is None else
                "delete" if change.after is None else "change")
        folders = (f"{folder}/" for folder in (PACKAGE, *PROFILES))
        place = next((one for one in folders if change.path.startswith(one)), change.path)
        counts[verb, place] += 1
    for (verb, place), number in counts.items():
        files = f" ({count(number, 'file')})" if place.endswith("/") else ""
        print(f"would {verb} {place}{files}")


def print_progress(progress: loras.Progress) -> None:
    file, here, size = progress.file, gigabytes(progress.here), gigabytes(progress.size)
    print(f"LoRA: {file.target} is complete ({size})" if progress.complete else
          f"LoRA: downloading {file.source}, {here} of {size}")
