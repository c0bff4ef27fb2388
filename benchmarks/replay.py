"""Which WanGP versions the hooks fit. Tries them all.

    python benchmarks/replay.py PATH/TO/Wan2GP [--every N] [--earlier CHECKOUT]
                                               [--files NAME=FOLDER] [--out FOLDER]

Reads the first-parent history of a full WanGP clone, from v9.0 to its HEAD, and writes nothing into
it.

versions   for every distinct set of contents of the three hooked files: the hooks go in, the result
           compiles, the product's own check (wan2gp_svi/wangp/contract.py) finds nothing, and the
           hooks come out to the byte, with LF and with CRLF line endings
files      the same for single files of a version whose history is not available: a folder with the
           hooked files, and with others that the check reads
pulls      a clone with SVI for WanGP installed is pulled along all commits, one at a time: no
           conflict, a clean `git status`, and all hooks in the files

Writes RESULTS.md, replay.csv (a row per version) and, with matplotlib, replay.png. Exits with 1 if
anything does not fit.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from wan2gp_svi.install.patches import (  # noqa: E402
    Patch,
    PatchError,
    fault,
    hooked,
    present,
    read_series,
    unhooked,
)
from wan2gp_svi.wangp import contract  # noqa: E402

OUT = ROOT / "benchmarks/replay"
START = "5d021575044913e0d72ac11fbbcaedf8234d5958"  # v9.0, 21 October 2025
WGP, ANY2VIDEO, MODEL = FILES = contract.HOOKED
OTHERS = tuple(dict.fromkeys(other.file for other in contract.OTHERS if other.file not in FILES))
PULLED = ("wgp.py", "models/wan", "profiles", "shared")  # all that the installer touches
ENVIRONMENT = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
               "GIT_NO_LAZY_FETCH": "1"}

CARRIED = "Its numbers come from the replay.csv of the run that measured them, not from this run."
#: versions whose history is not available: day, which parts of single files were read, and findings
LOOKED_AT = (
    ("13.0", "2026-11-25 and 26",
     "wgp.py: the head of the loop over windows, the call of generate, the join",
     "the call is there as before, and so is everything else that was looked for"),
    ("13.141", "2026-11-25",
     "any2video.py and model.py: the places of all hooks; all of wan_handler.py; wgp.py: its "
     "beginning, and the loop in a fork",
     "all places and names are there; `samples` is None after the join, and is not needed"),
    ("17.00", "2026-11-26", "wgp.py: its beginning",
     "the place of the hook at the start is there; mmgp is a folder"),
    ("17.10", "2026-11-25 and 26", "wgp.py: the loop over windows, a quarter of the file",
     "`generate` is passed to a helper, in one statement as far as read; all places are there, in "
     "one loop and in order; `save_video` is called with the same keywords"),
)


T = TypeVar("T")


class GitError(Exception):
    """git failed. The message is git's."""


def git(folder: Path, *arguments: str | Path, given: bytes | None = None) -> bytes:
    """The output of git without the user's configuration."""
    command = ["git", "-C", folder, *arguments]
    done = subprocess.run(command, input=given, capture_output=True, env=ENVIRONMENT)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").split()
        raise GitError(f"git {arguments[0]}: {' '.join(said)}")
    return done.stdout


# ----------------------------------------------------------------------------------------- versions


@dataclass(frozen=True)
class Version:
    """A set of contents of the three files, and the commit that brought it.

    `blobs` are in the order of FILES, `others` in that of OTHERS.
    """

    date: str
    name: str
    commit: str
    blobs: tuple[str, ...]
    others: tuple[str, ...] = ()


@dataclass
class Result:
    """What became of one content of one file."""

    faults: list[str] = field(default_factory=list)
    broken: str = ""  # why upstream's own file does not compile
    earlier: bool = False  # whether the earlier distribution's patch applies


def commits(clone: Path, *paths: str, every: int = 1) -> list[str]:
    """First-parent commits from START to HEAD that change `paths`, oldest first: every Nth and the
    last."""
    try:
        span = f"{START}..HEAD"
        later = git(clone, "rev-list", "--first-parent", "--reverse", span, "--", *paths)
    except GitError as error:
        raise GitError(f"{clone} does not hold WanGP's history since v9.0. Make a full clone "
                       f"({error})") from None
    return _thin([START, *later.decode().split()], every)


def _thin(items: Sequence[T], every: int) -> list[T]:
    return [*items[:-1:every], items[-1]]


def versions(clone: Path, every: int = 1) -> list[Version]:
    """The distinct sets of contents of the three files, oldest first: every Nth and the last."""
    found: dict[tuple[str, ...], str] = {}
    for commit in commits(clone, *FILES):
        blobs = git(clone, "rev-parse", *(f"{commit}:{name}" for name in FILES)).decode().split()
        found.setdefault(tuple(blobs), commit)
    return [_version(clone, commit, blobs) for blobs, commit in _thin(list(found.items()), every)]


def _version(clone: Path, commit: str, blobs: tuple[str, ...]) -> Version:
    source = git(clone, "cat-file", "blob", blobs[0])
    name = re.search(rb"""^WanGP_version *= *["']([^"']+)""", source, re.MULTILINE)
    date = git(clone, "log", "-1", "--format=%cs", commit).decode().strip()
    others = git(clone, "rev-parse", *(f"{commit}:{path}" for path in OTHERS)).decode().split()
    return Version(date, name[1].decode() if name else "?", commit, blobs, tuple(others))


def replay(clone: Path, chosen: Sequence[Version], patches: Iterable[Patch],
           earlier: Mapping[str, bytes]) -> dict[str, Result]:
    """blob -> what became of it, for every content in the chosen versions."""
    names = {blob: name for version in chosen
             for name, blob in zip(FILES, version.blobs, strict=True)}
    by_path = {patch.path: patch for patch in patches}
    tasks = [(git(clone, "cat-file", "blob", blob), by_path[name], earlier.get(name))
             for blob, name in names.items()]
    found: dict[str, Result] = {}
    with ProcessPoolExecutor() as pool:
        for blob, result in zip(names, pool.map(examine, *zip(*tasks, strict=True)), strict=True):
            found[blob] = result
            _progress(f"versions: {len(found)} of {len(names)} files")
    return found


def around(clone: Path, chosen: Sequence[Version], patches: Sequence[Patch]
           ) -> dict[str, list[str]]:
    """commit -> what is wrong with the other files that the check reads."""
    found: dict[tuple[str, ...], list[str]] = {}
    outcome: dict[str, list[str]] = {}
    for version in chosen:
        blobs = (*version.others, version.blobs[FILES.index(ANY2VIDEO)])
        if blobs not in found:
            files = {name: git(clone, "cat-file", "blob", blob)
                     for name, blob in zip((*OTHERS, ANY2VIDEO), blobs, strict=True)}
            found[blobs] = [str(fault) for fault in contract.of_others(files, patches)]
        outcome[version.commit] = found[blobs]
        _progress(f"the files around: {len(outcome)} of {len(chosen)}")
    return outcome


def read_files(name: str, folder: Path, patches: Sequence[Patch]
               ) -> tuple[Version, list[Result], list[str]]:
    """A version of which `folder` has single files -> what became of the hooked ones, and what is
    wrong with the others. Missing files are named, and are no fault."""
    sources = contract.read(folder, patches)
    by_path = {patch.path: patch for patch in patches}
    results = [examine(sources[path], by_path[path]) if path in sources else Result()
               for path in FILES]
    known = [str(fault) for fault in contract.of_others(sources, patches)
             if not fault.half_updated]
    lost = [path for path in (*FILES, *OTHERS) if path not in sources]
    title = contract.version(sources[WGP]) if WGP in sources else name
    missing = [f"not available: {', '.join(lost)}"] if lost else []
    return Version("", title, "read, not run", ()), results, [*known, *missing]


def examine(source: bytes, patch: Patch, earlier: bytes | None = None) -> Result:
    """Puts the hooks into one content of one file, looks at it, and takes them out."""
    applied = earlier is not None and applies(earlier, source, patch.path)
    result = Result(broken=fault(source), earlier=applied)
    try:
        for text in (source, _crlf(source)):
            if unhooked(hooked(text, patch)) != text:
                result.faults.append("not in and out to the byte")
        whole = hooked(source, patch)
    except PatchError as error:
        result.faults.append(str(error))
        return result
    if present(whole, patch) != len(patch.hunks) or hooked(_crlf(source), patch) != _crlf(whole):
        result.faults.append("not all hooks, or not in every line ending")
    if by_text(source, patch) not in (whole, None):
        result.faults.append("the syntax tree and the text give different places")
    if not result.broken:
        result.faults += [fault(whole)] if fault(whole) else [
            str(one) for one in contract.of_file(source, patch)]
    return result


def by_text(source: bytes, patch: Patch) -> bytes | None:
    """The file with hooks whose places are found by text only; None if the text does not fit."""
    hunks = tuple(replace(hunk, statement=None) for hunk in patch.hunks)
    try:
        return hooked(source, replace(patch, hunks=hunks))
    except PatchError:
        return None


def _crlf(source: bytes) -> bytes:
    return source.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def applies(diff: bytes, source: bytes, name: str) -> bool:
    """Whether `git apply` takes a patch, with any line endings, whitespace ignored or not."""
    with tempfile.TemporaryDirectory() as folder:
        git(Path(folder), "init", "-q")  # git apply has other rules outside of a repository
        file = Path(folder, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        for text in (source, _crlf(source)):
            file.write_bytes(text)
            for each in (diff, _crlf(diff)):
                for option in ([], ["--ignore-whitespace"]):
                    try:
                        git(Path(folder), "apply", "--check", *option, "-", given=each)
                        return True
                    except GitError:
                        continue
    return False


def read_earlier(checkout: Path) -> tuple[dict[str, bytes], str]:
    """The earlier distribution's patches, by the file that they change; its last commit and day."""
    by_path = {}
    for name in git(checkout, "ls-tree", "--name-only", "HEAD").decode().splitlines():
        if name.endswith(".patch"):
            patch = git(checkout, "cat-file", "blob", f"HEAD:{name}")
            changed = re.search(rb"^\+\+\+ b/(\S+)", patch, re.MULTILINE)
            assert changed, name
            by_path[changed[1].decode()] = patch
    return by_path, git(checkout, "log", "-1", "--format=%h %cs").decode().strip()


def measured(table: Path) -> tuple[dict[str, str], str]:
    """commit -> whether the earlier distribution fits, from the replay.csv of another run; and that
    distribution's last commit and day, from the RESULTS.md beside it."""
    with table.open(encoding="utf-8", newline="") as file:
        fits = {line["commit"]: line["earlier_fits"] for line in csv.DictReader(file)}
    report = (table.parent / "RESULTS.md").read_text(encoding="utf-8")
    said = re.search(r"at (\w+), its last commit, of (\S+)\.", report)
    assert said, "RESULTS.md does not name the earlier distribution"
    return fits, " ".join(said.groups())


# -------------------------------------------------------------------------------------------- pulls


def install(clone: Path, commit: str, work: Path, windows: bool = False) -> tuple[Path, Path]:
    """An upstream whose main is `commit`, and a user's clone of it with SVI for WanGP installed.

    Both borrow the objects of `clone`. `windows`: the user's clone has CRLF line endings.
    """
    upstream, user = work / "upstream.git", work / "user"
    objects = clone / git(clone, "rev-parse", "--git-path", "objects").decode().strip()
    git(work, "init", "-q", "--bare", "--initial-branch=main", upstream)
    alternates = upstream / "objects/info/alternates"
    alternates.write_text(f"{objects.resolve().as_posix()}\n", encoding="utf-8")
    git(upstream, "update-ref", "refs/heads/main", commit)
    git(work, "clone", "-q", "--shared", "--no-checkout", upstream, user)
    git(user, "config", "core.autocrlf", str(windows).lower())
    wanted = (".gitignore", ".gitattributes", *PULLED)
    git(user, "sparse-checkout", "set", "--no-cone", *(f"/{name}" for name in wanted))
    git(user, "checkout", "-q", "main")
    command: list[str | Path] = [sys.executable, ROOT / "install.py", user]
    subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
    return upstream, user


def pull(upstream: Path, user: Path, commit: str, patches: Iterable[Patch], windows: bool = False
         ) -> str:
    """Upstream moves to `commit`, the user pulls -> what is wrong then; "" if nothing is."""
    git(upstream, "update-ref", "refs/heads/main", commit)
    try:
        git(user, "pull", "-q", "--ff-only")
    except GitError as error:
        return str(error)
    if git(user, "rev-parse", "HEAD").decode().strip() != commit:
        return "HEAD is another commit"
    if status := git(user, "status", "--porcelain").decode().strip():
        return f"git status: {status}"
    for patch in patches:
        source = git(user, "cat-file", "blob", f"HEAD:{patch.path}")
        if (user / patch.path).read_bytes() != hooked(_crlf(source) if windows else source, patch):
            return f"{patch.path} is not upstream's file with all hooks"
    return ""


def pulls(clone: Path, chain: Sequence[str], patches: Sequence[Patch], windows: bool = False
          ) -> dict[str, str]:
    """Installs at the first commit and pulls every one. commit -> what was wrong after it."""
    outcome: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as work:
        upstream, user = install(clone, chain[0], Path(work), windows)
        for commit in chain:
            outcome[commit] = pull(upstream, user, commit, patches, windows)
            _progress(f"pulls, {'CRLF' if windows else 'LF'}: {len(outcome)} of {len(chain)}")
    return outcome


def _progress(line: str) -> None:
    print(f"\r{line:<60}", end="", file=sys.stderr, flush=True)


# ------------------------------------------------------------------------------------------- record

Row = dict[str, str]  # a row of replay.csv
Pulls = Mapping[str, Mapping[str, str]]  # line endings -> commit -> what was wrong after it


def row(version: Version, files: Sequence[Result], pulled: Pulls, elsewhere: Sequence[str] = ()
        ) -> Row:
    named = list(zip(FILES, files, strict=True))
    faults = [wrong if wrong.startswith(name) else f"{name}: {wrong}" for name, result in named
              for wrong in result.faults]
    faults += elsewhere
    broken = [f"{name}: {result.broken}" for name, result in named if result.broken]
    after = {ending: outcome.get(version.commit) for ending, outcome in pulled.items()}
    return {
        "date": version.date,
        "wangp": version.name,
        "commit": version.commit,
        "fits": "no" if faults else "yes",
        "why_not": "; ".join(faults),
        "upstream_syntax_error": "; ".join(broken),
        "earlier_fits": "yes" if all(result.earlier for result in files) else "no",
        **{f"pull_{ending}": "" if wrong is None else wrong or "ok"
           for ending, wrong in after.items()},
    }


def _fitting(record: Iterable[Row], column: str = "fits") -> int:
    return sum(row[column] == "yes" for row in record)


def _by_month(record: Iterable[Row]) -> dict[str, list[Row]]:
    months: dict[str, list[Row]] = {}
    for each in record:
        months.setdefault(each["date"][:7], []).append(each)
    return months


def results(record: Sequence[Row], pulled: Pulls, command: str, head: str, earlier: str,
            single: Sequence[Row] = ()) -> str:
    """RESULTS.md."""
    heads = ["month", "WanGP", "versions", "fit", "do not fit", "upstream's own syntax error"]
    heads += ["the earlier distribution fits"] if earlier else []
    table: list[list[object]] = []
    for month, each in [*_by_month(record).items(), ("all", list(record))]:
        fit, broken = _fitting(each), sum(bool(row["upstream_syntax_error"]) for row in each)
        span = " to ".join(dict.fromkeys((each[0]["wangp"], each[-1]["wangp"])))
        line = [month, span, len(each), fit, len(each) - fit, broken]
        table.append([*line, _fitting(each, "earlier_fits")][: len(heads)])
    ends = [[ending.upper(), len(outcome), sum(not wrong for wrong in outcome.values())]
            for ending, outcome in pulled.items()]
    beside = [_beside(record, *earlier.split())] if earlier else []
    if earlier and "replay.csv" in command:
        beside = [f"{beside[0]} {CARRIED}"]
    lines = [
        "# Which WanGP versions the hooks fit",
        f"    {command}",
        f"Printed on {datetime.date.today()} with Python {sys.version.split()[0]} and "
        f"{git(ROOT, '--version').decode().strip()}, for WanGP's first-parent history from v9.0 "
        f"({record[0]['date']}) to {head}. One row per version: [replay.csv](replay.csv).",
        f"**{_fitting(record)} of {len(record)} versions fit.** A version is one set of contents "
        "of the three hooked files. It fits if, with LF and with CRLF line endings, all hooks go "
        "in, the files compile, [the contract](../../wan2gp_svi/wangp/contract.py) finds nothing "
        "wrong, and removing the hooks gives the same bytes. The contract is the check that runs "
        "at install and whenever WanGP starts. It asks the syntax tree whether each hook is in its "
        "place and finds bound, and not None, what it reads; and whether the functions that SVI "
        f"calls in {len(OTHERS)} other files take the same arguments. Where a place can be found "
        "by syntax tree and by text, both must give the same bytes. Where upstream's own file does "
        "not compile, the hooks only have to go in and out.",
        _markdown(heads, table),
        *_listed("Upstream's own syntax errors:", record, "upstream_syntax_error"),
        *_listed("What does not fit:", record, "why_not"),
        "![Share of versions that fit, by month](replay.png)",
        *beside,
        *_singles(single),
        "## Pulls",
        f"A sparse clone ({', '.join(PULLED)}) with SVI for WanGP installed at v9.0 follows "
        "upstream with `git pull --ff-only`, one commit that changes these paths at a time. It is "
        "clean and whole if git exits with 0, `git status --porcelain` prints nothing, and all "
        "three files are upstream's to the byte, with every hook in its place.",
        _markdown(["line endings", "commits", "clean and whole"], ends),
        *(f"{ending}, {commit[:8]}: {wrong}" for ending, outcome in pulled.items()
          for commit, wrong in outcome.items() if wrong),
    ]
    return "\n\n".join(lines) + "\n"


def _listed(title: str, record: Iterable[Row], column: str) -> list[str]:
    found = [f"- {row['wangp']}, {row['date']}, {row['commit'][:8]}: {row[column]}"
             for row in record if row[column]]
    return [title, "\n".join(found)] if found else []


def _singles(rows: Sequence[Row]) -> list[str]:
    """Versions of which single files were read, and nothing was run."""
    lines = [
        "## Read, not run",
        "The history of these versions was not available. Single files were read by eye:",
        _markdown(["WanGP", "read on", "what", "found"], LOOKED_AT),
    ]
    if rows:
        table = [[row["wangp"], row["fits"], row["why_not"]] for row in rows]
        heads = ["WanGP", "fits", "found, or not available"]
        lines += ["By the contract:", _markdown(heads, table)]
    return lines


def _beside(record: Iterable[Row], commit: str, day: str) -> str:
    since = [row for row in record if row["date"] >= day]
    return (
        f"The earlier distribution is TeaRexcellence/wan2gp-svi at {commit}, its last commit, of "
        f"{day}. It fits if `git apply --check` accepts all three of its patches, with LF or CRLF "
        "in files and patches, with or without `--ignore-whitespace`. Of the "
        f"{len(since)} versions since that day it fits {_fitting(since, 'earlier_fits')}, and the "
        f"hooks fit {_fitting(since)}."
    )


def _markdown(heads: Sequence[str], table: Iterable[Sequence[object]]) -> str:
    lines = (heads, ["---"] * len(heads), *table)
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def plot(record: Sequence[Row], path: Path, earlier: bool) -> None:
    """Share of versions that fit, by month. Raises ImportError without matplotlib."""
    from matplotlib.figure import Figure

    months = _by_month(record)
    kinds = [("fits", "SVI for WanGP", "#1f6fb2")]
    kinds += [("earlier_fits", "the earlier distribution", "#d9822b")] if earlier else []
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(kinds)
    for at, (column, name, colour) in enumerate(kinds):
        shares = [100 * _fitting(each, column) / len(each) for each in months.values()]
        left = [month + (at - (len(kinds) - 1) / 2) * width for month in range(len(months))]
        label = f"{name}: {_fitting(record, column)} of {len(record)}"
        bars = axes.bar(left, shares, width * 0.92, color=colour, label=label)
        labels = [f"{share:.0f}" for share in shares]
        axes.bar_label(bars, labels, color=colour, fontsize=9, padding=1)
    ticks = [f"{month}\nfrom {each[0]['wangp']}\nn = {len(each)}" for month, each in months.items()]
    axes.set_xticks(range(len(months)), ticks, fontsize=8)
    axes.set(ylabel="versions that fit, %", ylim=(0, 112), yticks=range(0, 101, 25))
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("WanGP versions that the changes fit, by month", x=0.01, ha="left", fontsize=13)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(path, dpi=120)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wangp", type=Path, help="a WanGP clone with its history")
    parser.add_argument("--every", type=int, default=1, metavar="N",
                        help="only every Nth version and commit")
    parser.add_argument("--earlier", type=Path, metavar="CHECKOUT",
                        help="also measure the earlier distribution; or the replay.csv of a run "
                             "that measured it")
    parser.add_argument("--files", action="append", default=[], metavar="NAME=FOLDER",
                        help="a version of which only single files are available: read, not run")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=OUT,
                        help="for the results (benchmarks/replay)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    patches = read_series(ROOT / "patches")
    known = options.earlier is not None and options.earlier.is_file()
    earlier: dict[str, bytes] = {}
    fits, published = measured(options.earlier) if known else ({}, "")
    try:
        chosen = versions(options.wangp, options.every)
        if options.earlier and not known:
            earlier, published = read_earlier(options.earlier)
        examined = replay(options.wangp, chosen, patches, earlier)
        elsewhere = around(options.wangp, chosen, patches)
        chain = commits(options.wangp, *PULLED, every=options.every)
        pulled = {name: pulls(options.wangp, chain, patches, name == "crlf")
                  for name in ("lf", "crlf")}
        head = git(options.wangp, "log", "-1", "--format=%h (%cs)").decode().strip()
    except GitError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    record = [row(version, [examined[blob] for blob in version.blobs], pulled,
                  elsewhere[version.commit]) for version in chosen]
    for line in record if known else ():
        line["earlier_fits"] = fits.get(line["commit"], "no")
    command = "python benchmarks/replay.py PATH/TO/Wan2GP"
    command += f" --every {options.every}" if options.every > 1 else ""
    if published:
        command += f" --earlier {'replay.csv' if known else 'PATH/TO/wan2gp-svi'}"
    single = []
    for name, _, folder in (one.partition("=") for one in options.files):
        version, found, lost = read_files(name, Path(folder), patches)
        line = row(replace(version, name=name), found, {}, lost)
        wrong = any(result.faults for result in found) or len(lost) > 1
        single.append({**line, "fits": "no" if wrong else "as far as read"})
        command += f" --files {name}=FOLDER"
    report = results(record, pulled, command, head, published, single)
    write(options.out, report, record, bool(published))
    print(f"\n{report}")
    failed = any(any(outcome.values()) for outcome in pulled.values())
    return int(failed or _fitting(record) < len(record))


def write(folder: Path, report: str, record: Sequence[Row], earlier: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "RESULTS.md").write_text(report, encoding="utf-8")
    with (folder / "replay.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, record[0], lineterminator="\n")
        table.writeheader()
        table.writerows(record)
    try:
        plot(record, folder / "replay.png", earlier)
    except ImportError:
        print("no replay.png: matplotlib is not installed")


if __name__ == "__main__":
    sys.exit(main())
