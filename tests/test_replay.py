"""The hooks in WanGP's history: a quick form of benchmarks/replay.py. Needs a WanGP clone with its
history.

    WANGP_DIR=DIR pytest tests/test_replay.py          (WanGP's own packages are not needed)
"""

from __future__ import annotations

import ast
import os
import shutil
from pathlib import Path

import pytest

from benchmarks import replay
from wan2gp_svi.install import syntax
from wan2gp_svi.install.patches import hooked, read_series
from wan2gp_svi.wangp import contract

PATCHES = {patch.path: patch for patch in read_series(replay.ROOT / "patches")}

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture(scope="module")
def clone(pytestconfig: pytest.Config) -> Path:
    folder = pytestconfig.getoption("--wangp", None) or os.environ.get("WANGP_DIR")
    if not folder:
        pytest.skip("needs a WanGP clone with its history: set WANGP_DIR")
    try:
        replay.commits(Path(folder))
    except replay.GitError as error:
        pytest.skip(str(error))
    return Path(folder).resolve()


@pytest.fixture(scope="module")
def newest(clone: Path) -> dict[str, bytes]:
    """The three files at the clone's HEAD."""
    return {name: replay.git(clone, "cat-file", "blob", f"HEAD:{name}") for name in replay.FILES}


def test_the_hooks_fit_thirty_versions_spread_over_the_history(clone):
    chosen = replay.versions(clone, every=12)
    assert len(chosen) >= 30 and chosen[0].name == "9.0"
    results = replay.replay(clone, chosen, PATCHES.values(), {})
    names = {blob: f"{version.name}, {version.commit[:8]}" for version in chosen
             for blob in version.blobs}
    assert {names[blob]: result.faults for blob, result in results.items() if result.faults} == {}
    around = replay.around(clone, chosen, list(PATCHES.values()))
    assert {commit: faults for commit, faults in around.items() if faults} == {}


@pytest.mark.parametrize("windows", [False, True], ids=["LF", "CRLF"])
def test_pulls_over_the_history_stay_clean_and_whole(clone, windows):
    every = len(replay.commits(clone, *replay.PULLED)) // 7
    chain = replay.commits(clone, *replay.PULLED, every=every)
    outcome = replay.pulls(clone, chain, list(PATCHES.values()), windows)
    assert len(outcome) >= 8
    assert {commit: wrong for commit, wrong in outcome.items() if wrong} == {}


def test_a_pull_without_the_filter_is_found_wanting(clone, tmp_path):
    chain = replay.commits(clone, *replay.FILES, every=10**6)
    upstream, user = replay.install(clone, chain[0], tmp_path)
    assert replay.pull(upstream, user, chain[0], PATCHES.values()) == ""
    (user / ".git/info/attributes").unlink()
    assert replay.pull(upstream, user, chain[-1], PATCHES.values()) != ""


@pytest.mark.parametrize("name", replay.FILES)
def test_every_hook_that_stands_elsewhere_is_found(newest, name):
    patch = PATCHES[name]
    tree = ast.parse(hooked(newest[name], patch))
    assert contract.misplaced(tree, patch) == []
    standing = {place.hook: place for place in syntax.places(tree) if place.hook}
    assert standing
    for hook, place in standing.items():
        place.block.append(place.block.pop(place.index))
        assert f"the hook {hook} is not in its place" in contract.misplaced(tree, patch)
        place.block.insert(place.index, place.block.pop())


def test_missing_hooks_and_names_that_are_not_bound_are_found(newest, monkeypatch):
    patch = PATCHES[replay.WGP]
    assert contract.misplaced(ast.parse(newest[replay.WGP]), patch)
    tree = ast.parse(hooked(newest[replay.WGP], patch))

    def with_name(name, hook):
        row = contract.Name(name, hook, "a test")
        monkeypatch.setattr(contract, "NAMES", (*contract.NAMES, row))
        found = contract.misplaced(tree, patch)
        monkeypatch.undo()
        return found

    said = "the hook after_join needs no_such_name (a test), which is not set there"
    assert with_name("no_such_name", "after_join") == [said]
    assert with_name("num_frames_generated", "before_generate") == []
    assert with_name("generated_audio", "after_save") == []


def test_the_outline_of_a_file_gives_what_the_whole_file_gives(newest):
    for name, patch in PATCHES.items():
        whole = ast.parse(hooked(newest[name], patch))
        assert contract.misplaced(whole, patch) == contract.misplaced(
            contract.outlined(hooked(newest[name], patch), patch), patch) == []


def test_the_earlier_distribution_is_tried_with_both_line_endings():
    diff = b"--- a/wgp.py\n+++ b/wgp.py\n@@ -1,2 +1,3 @@\n one\n+more\n two\n"
    assert replay.applies(diff, b"one\ntwo\n", "wgp.py")
    assert replay.applies(diff, b"one\r\ntwo\r\n", "wgp.py")
    assert not replay.applies(diff, b"one\n\nthree\n", "wgp.py")
