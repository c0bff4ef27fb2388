"""A WanGP that is a git clone: git sees nothing of an install, and the hooks survive git."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import hosts
import pytest

from wan2gp_svi.install import Refused
from wan2gp_svi.install.git_clone import with_block, without_block
from wan2gp_svi.install.patches import MARKER, NO_PYTHON, present, read_series, unhooked
from wan2gp_svi.wangp import why_off

REPO = Path(__file__).resolve().parents[1]
PATCHES = read_series(REPO / "patches")
HOOKED = tuple(patch.path for patch in PATCHES)

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def source(patch, release=1):
    """A small file that every hook of the patch fits, and that compiles."""
    return f"release = {release}\n{hosts.files()[patch.path]}last = {release}\n".encode()


def git(folder, *arguments, check=True):
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
                   "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
                   "GIT_COMMITTER_EMAIL": "a@b"}
    done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, env=environment)
    out, err = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
    assert not check or done.returncode == 0, err
    return out + err


def commit(folder, release, change=lambda path, content: content):
    hosts.write(folder)
    for patch in PATCHES:
        (folder / patch.path).write_bytes(change(patch.path, source(patch, release)))
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", f"release {release}")
    return git(folder, "rev-parse", "HEAD").strip()


@pytest.fixture
def upstream(tmp_path):
    folder = tmp_path / "upstream"
    (folder / "profiles/wan_i2v").mkdir(parents=True)
    (folder / "profiles/wan_i2v/Own.json").write_text("{}", encoding="utf-8")
    git(tmp_path, "init", "-q", "-b", "main", folder)
    commit(folder, 1)
    return folder


@pytest.fixture
def wangp(upstream, tmp_path):
    folder = tmp_path / "Wän GP (1) it's & co"
    git(tmp_path, "clone", "-q", upstream, folder)
    return folder


def install(wangp, *options):
    done = subprocess.run([sys.executable, REPO / "install.py", wangp, *options],
                          capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


def hooks(wangp):
    return [present((wangp / patch.path).read_bytes(), patch) for patch in PATCHES]


def assert_whole(wangp):
    assert hooks(wangp) == [len(patch.hunks) for patch in PATCHES]
    assert git(wangp, "status", "--porcelain") == "" and git(wangp, "diff") == ""


def metadata(wangp):
    return {name: (wangp / ".git" / name).read_bytes() if (wangp / ".git" / name).exists() else None
            for name in ("config", "info/attributes", "info/exclude")}


def test_git_sees_nothing_of_an_install_and_everything_is_as_it_was_after_an_uninstall(wangp):
    before = metadata(wangp)
    assert "Updates: git keeps the hooks" in install(wangp)
    assert_whole(wangp)
    assert "Nothing to do" in install(wangp)
    install(wangp, "--uninstall")
    assert metadata(wangp) == before and not (wangp / ".git/wan2gp_svi").exists()
    assert hooks(wangp) == [0, 0, 0]
    assert git(wangp, "status", "--porcelain", "--ignored") == ""


def test_a_clone_that_another_user_owns_is_no_missing_git(wangp, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    out = install(wangp)
    assert f'git config --global --add safe.directory "{wangp.as_posix()}", then install.py' in out
    assert "git was not found" not in out
    report = install(wangp, "--doctor")
    assert "so the next update of WanGP may remove the hooks. To trust it, run: git" in report
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    assert "git keeps the hooks through every update" in install(wangp)


def test_pull_reset_stash_checkout_and_merge_leave_working_hooks(wangp, upstream):
    install(wangp)
    for release in (2, 3):
        commit(upstream, release)
        assert "conflict" not in git(wangp, "pull", "--ff-only").lower()
        assert_whole(wangp)
        assert f"last = {release}".encode() in (wangp / "wgp.py").read_bytes()
    git(wangp, "checkout", "-q", "HEAD~2")
    assert_whole(wangp)
    git(wangp, "checkout", "-q", "main")
    (wangp / "wgp.py").write_bytes((wangp / "wgp.py").read_bytes() + b"mine = 1\n")
    assert git(wangp, "diff", "--stat").count("|") == 1
    git(wangp, "stash")
    assert_whole(wangp)
    git(wangp, "stash", "pop")
    assert (wangp / "wgp.py").read_bytes().endswith(b"mine = 1\n")
    assert hooks(wangp)[-1] == len(PATCHES[-1].hunks)
    git(wangp, "commit", "-qam", "mine")
    assert MARKER.encode() not in git(wangp, "show", "HEAD:wgp.py").encode()
    commit(upstream, 4, lambda path, content: content.replace(b"release = 4",
                                                              b"release = 4\nmore = 4"))
    git(wangp, "checkout", "-q", "--detach", "HEAD~1")
    git(wangp, "fetch", "-q")
    git(wangp, "merge", "-q", "origin/main")
    assert_whole(wangp)
    git(wangp, "reset", "-q", "--hard", "main")
    assert_whole(wangp)
    (wangp / "wgp.py").unlink()
    git(wangp, "checkout", "--", "wgp.py")
    assert_whole(wangp)


def test_a_version_that_a_hook_does_not_fit_is_left_as_upstream_wrote_it(wangp, upstream):
    install(wangp)
    gone = PATCHES[0].hunks[-1].anchor.encode()
    commit(upstream, 2, lambda path, content: content.replace(gone, b"rewritten = 1")
           if path == HOOKED[0] else content)
    said = git(wangp, "pull", "--ff-only")
    assert f"[SVI] SVI is off: {HOOKED[0]}: the line {gone.decode()!r} was found 0 times" in said
    assert hooks(wangp) == [0, *(len(patch.hunks) for patch in PATCHES[1:])]
    assert git(wangp, "status", "--porcelain") == ""
    assert "was found 0 times, not once. Get a newer release" in install(wangp, "--status")
    commit(upstream, 3)
    git(wangp, "pull", "--ff-only")
    assert_whole(wangp)


def test_edits_of_the_user_stay_theirs_staged_or_not(wangp):
    path = wangp / "wgp.py"
    path.write_bytes(path.read_bytes() + b"staged = 1\n")
    git(wangp, "add", "wgp.py")
    path.write_bytes(path.read_bytes() + b"loose = 1\n")
    before, loose, staged = path.read_bytes(), git(wangp, "diff"), git(wangp, "diff", "--cached")
    install(wangp)
    assert unhooked(path.read_bytes()) == before
    assert (git(wangp, "diff"), git(wangp, "diff", "--cached")) == (loose, staged)
    install(wangp, "--uninstall")
    assert path.read_bytes() == before
    assert (git(wangp, "diff"), git(wangp, "diff", "--cached")) == (loose, staged)


def test_windows_line_endings(upstream, tmp_path):
    wangp = tmp_path / "crlf"
    git(tmp_path, "-c", "core.autocrlf=true", "clone", "-q", "-c", "core.autocrlf=true", upstream,
        wangp)
    assert b"\r\n" in (wangp / "wgp.py").read_bytes()
    install(wangp)
    assert_whole(wangp)
    source = (wangp / "wgp.py").read_bytes()
    assert source.count(b"\n") == source.count(b"\r\n")
    commit(upstream, 2)
    git(wangp, "pull", "--ff-only")
    assert_whole(wangp)
    source = (wangp / "wgp.py").read_bytes()
    assert source.count(b"\n") == source.count(b"\r\n")


def test_the_clone_can_be_moved(wangp, upstream, tmp_path):
    install(wangp)
    moved = wangp.rename(tmp_path / "elsewhere")
    commit(upstream, 2)
    git(moved, "pull", "--ff-only")
    assert_whole(moved)


def test_without_the_package_the_clone_works_on_without_hooks(wangp, upstream):
    install(wangp)
    shutil.rmtree(wangp / "wan2gp_svi")
    assert git(wangp, "status", "--porcelain") == ""
    commit(upstream, 2)
    git(wangp, "pull", "--ff-only")
    assert hooks(wangp) == [0, 0, 0] and git(wangp, "status", "--porcelain") == ""
    install(wangp)
    assert_whole(wangp)


PROOF = "import pathlib; pathlib.Path({!r}).touch()\n"
STRANGERS = {
    "modules of Python": ("tempfile.py", "ast.py", "re.py", "pathlib.py", "sitecustomize.py"),
    "the package": ("wan2gp_svi/__init__.py", "wan2gp_svi/install/__init__.py",
                    "wan2gp_svi/install/filter.py", "wan2gp_svi/install/patches.py"),
}


def stranger(upstream, wangp, files):
    """The user checks out a branch with these files, and a wgp.py of another release."""
    git(upstream, "checkout", "-q", "-b", "stranger")
    put(upstream, files)
    git(upstream, "add", "-f", "-A")
    commit(upstream, 2)
    git(wangp, "fetch", "-q")
    said = git(wangp, "checkout", "-q", "origin/stranger")
    assert b"last = 2" in (wangp / "wgp.py").read_bytes()
    for name, content in files.items():
        assert (wangp / name).read_text(encoding="utf-8") == content
    return said


def put(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
        (folder / name).chmod(0o755)


@pytest.mark.parametrize("names", STRANGERS.values(), ids=STRANGERS)
def test_the_checkout_of_a_strangers_branch_runs_nothing_of_it(wangp, upstream, tmp_path, names):
    install(wangp)
    proof = tmp_path / "it ran"
    assert stranger(upstream, wangp, dict.fromkeys(names, PROOF.format(str(proof)))) == ""
    assert not proof.exists()
    assert hooks(wangp) == [len(patch.hunks) for patch in PATCHES]
    git(wangp, "checkout", "-q", "main")
    assert not proof.exists()


def test_the_patches_of_a_strangers_branch_do_not_count_nor_do_its_attributes(wangp, upstream):
    install(wangp)
    files = {".gitattributes": "* filter=wan2gp_svi\n", "other.py": "x = 1\n"}
    for path in (REPO / "patches").iterdir():
        text = path.read_text(encoding="utf-8").replace('svi("start"', 'svi("evil"')
        files |= {f"patches/{path.name}": text, f"wan2gp_svi/patches/{path.name}": text}
    stranger(upstream, wangp, files)
    assert b"evil" not in (wangp / "wgp.py").read_bytes()
    assert hooks(wangp) == [len(patch.hunks) for patch in PATCHES]


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_a_python_in_wangps_folder_never_runs(wangp, upstream, tmp_path, monkeypatch):
    python = wangp / "venv/bin/python3"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    with (wangp / ".git/info/exclude").open("a", encoding="utf-8") as file:
        file.write("venv/\n")  # as WanGP's .gitignore says, and git overwrites what it ignores
    done = subprocess.run([python, REPO / "install.py", wangp], capture_output=True)
    assert done.returncode == 0
    noted = wangp / ".git/wan2gp_svi/filter.python"
    assert not noted.read_text(encoding="utf-8").startswith(str(wangp))
    noted.write_text("/no/such/python\n", encoding="utf-8")
    proof = tmp_path / "it ran"
    (tmp_path / "link").symlink_to(wangp, target_is_directory=True)
    for place in ("link/venv/bin", wangp.name + "/venv/bin"):
        monkeypatch.setenv("PATH", f"{tmp_path / place}{os.pathsep}{os.environ['PATH']}")
    stranger(upstream, wangp, {"venv/bin/python3": f"#!/bin/sh\ntouch '{proof}'\n"})
    assert not proof.exists()
    assert hooks(wangp) == [len(patch.hunks) for patch in PATCHES]


def test_the_filter_in_git_is_checked_byte_for_byte(wangp):
    install(wangp)
    path = wangp / ".git/wan2gp_svi/filter.pyz"
    whole = path.read_bytes()
    path.write_bytes(whole + b" ")
    told = "git's filter is incomplete or from another release"
    assert told in install(wangp, "--status")
    install(wangp)
    assert path.read_bytes() == whole and told not in install(wangp, "--status")
    install(wangp, "--uninstall")
    said = install(wangp, "--status")
    assert "Updates: git has no filter that keeps the hooks, run install.py" in said
    assert told not in said


def without_python(wangp):
    """git's filter finds no Python -> its text as it was."""
    script = wangp / ".git/wan2gp_svi/filter"
    text = script.read_text(encoding="utf-8")
    pythons = 'for name in "$known" python3 python py;'
    script.write_text(text.replace(pythons, "for name in no-such-python;"), encoding="utf-8")
    assert script.read_text(encoding="utf-8") != text
    return text


def test_without_any_python_the_clone_works_on_without_hooks(wangp, upstream, tmp_path):
    install(wangp)
    without_python(wangp)
    commit(upstream, 2)
    git(wangp, "pull", "--ff-only")
    assert hooks(wangp) == [0, 0, 0] and git(wangp, "status", "--porcelain") == ""
    install(wangp)
    assert_whole(wangp)


@pytest.mark.parametrize("crlf", [False, True], ids=["LF", "CRLF"])
def test_after_a_pull_without_any_python_wangp_says_at_its_start_what_to_do(
        upstream, tmp_path, crlf):
    wangp = tmp_path / "without"
    options = ("-c", f"core.autocrlf={str(crlf).lower()}")
    git(tmp_path, *options, "clone", "-q", *options, upstream, wangp)
    install(wangp)
    text = without_python(wangp)
    commit(upstream, 2)
    git(wangp, "pull", "--ff-only")
    assert git(wangp, "status", "--porcelain") == "" and git(wangp, "diff") == ""
    lines = (wangp / "wgp.py").read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.strip() == b"global_queue_ref = []")
    added = [line.strip() for line in lines[at + 1 : at + 4]]
    start = [text.encode() for text in PATCHES[-1].hunks[0].texts]
    assert added == [*start[:2], start[2].replace(MARKER.encode(),
                                                  f"{NO_PYTHON}  {MARKER}".encode())]
    assert all(line.endswith(b"\r\n") == crlf for line in lines)
    assert sum(NO_PYTHON.encode() in line for line in lines) == 1
    compile(b"".join(lines), "wgp.py", "exec")
    assert why_off(wangp).startswith("git's filter found no Python")
    assert "Run install.py again" in why_off(wangp)
    # what WanGP's start prints, with the package in its folder and nothing else of WanGP's
    code = "from wan2gp_svi.wangp import svi; print(svi('start', 'as it was'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=wangp, capture_output=True,
                          encoding="utf-8")
    assert done.stdout.startswith("[SVI] SVI is off, WanGP itself is not affected: "
                                  "git's filter found no Python")
    assert done.stdout.endswith("as it was\n")
    # with a Python again: pulled, or as the line says
    (wangp / ".git/wan2gp_svi/filter").write_text(text, encoding="utf-8")
    commit(upstream, 3)
    git(wangp, "pull", "--ff-only")
    assert hooks(wangp) == [len(patch.hunks) for patch in PATCHES] and why_off(wangp) == ""
    install(wangp)
    assert_whole(wangp)


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_a_python_that_git_does_not_find_is_told_by_git_the_doctor_and_wangp(
        wangp, upstream, tmp_path, monkeypatch):
    install(wangp)
    programs = tmp_path / "programs"
    put(programs, {"broken python": "#!/bin/sh\nexit 1\n"})
    for name in ("git", "sh", "sed", "cat"):
        (programs / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(programs))
    noted = wangp / ".git/wan2gp_svi/filter.python"
    noted.write_text(f"{programs / 'broken python'}\n", encoding="utf-8")
    out = install(wangp, "--status")
    assert "Updates: git found no Python outside WanGP's folder, run install.py again" in out
    assert "so the next update of WanGP removes the hooks: install Python" in out
    commit(upstream, 2)
    said = git(wangp, "pull", "--ff-only")
    assert said.count("[SVI]") == 1
    assert ("[SVI] SVI is off: git found no Python outside this folder. Run install.py again.\n"
            in said)
    assert why_off(wangp).startswith("git's filter found no Python when it updated WanGP. Run ")
    noted.unlink()
    install(wangp)
    assert_whole(wangp)
    assert "git keeps the hooks through every update" in install(wangp, "--status")


def test_a_wgp_that_the_contract_refuses_keeps_the_hook_at_its_start(wangp, upstream):
    install(wangp)
    renamed = (b"window_no", b"window_number")
    commit(upstream, 2, lambda path, content: content.replace(*renamed) if path == "wgp.py"
           else content)
    said = git(wangp, "pull", "--ff-only")
    assert "[SVI] SVI is off: wgp.py: the hook before_generate needs window_no" in said
    assert git(wangp, "status", "--porcelain") == ""
    assert hooks(wangp) == [5, 2, 1]
    assert PATCHES[-1].hunks[0].texts[-1].encode() in (wangp / "wgp.py").read_bytes()
    why = why_off(wangp)
    assert why.startswith("WanGP 12.60 is not compatible with SVI: wgp.py: the hook "
                          "before_generate needs window_no")
    assert "Get a newer release of SVI for WanGP" in why
    refused = subprocess.run([sys.executable, REPO / "install.py", wangp], capture_output=True,
                             encoding="utf-8")
    assert (refused.returncode == 1 and "window_no (the number of the clip), which is not set there"
            in refused.stderr)
    assert "WanGP itself is not affected" in refused.stderr and hooks(wangp) == [5, 2, 1]
    commit(upstream, 3)
    git(wangp, "pull", "--ff-only")
    assert_whole(wangp)
    assert why_off(wangp) == ""


def test_hooks_of_another_release_are_named_at_the_start_and_replaced_by_an_install(wangp):
    install(wangp)
    path = wangp / "wgp.py"
    new = path.read_bytes()
    path.write_bytes(new.replace(b'svi("after_save", (configs, video_path), wan_model)',
                                 b'svi("saved", (configs, video_path), wan_model, locals())'))
    assert why_off(wangp) == "wgp.py has hooks from another release of SVI. Run install.py again"
    install(wangp)
    assert path.read_bytes() == new and why_off(wangp) == ""
    assert_whole(wangp)


def test_an_interrupted_install_is_finished_by_the_next(wangp):
    install(wangp)
    path = wangp / "wgp.py"
    path.write_bytes(unhooked(path.read_bytes()))  # as if killed before the last file
    install(wangp)
    assert_whole(wangp)


def test_a_worktree_of_a_clone(wangp, tmp_path):
    tree = tmp_path / "tree"
    git(wangp, "worktree", "add", "-q", tree)
    install(tree)
    assert_whole(tree)
    assert git(wangp, "status", "--porcelain") == "" and hooks(wangp) == [0, 0, 0]
    install(tree, "--uninstall")
    assert git(tree, "status", "--porcelain") == "" and hooks(tree) == [0, 0, 0]


def test_a_folder_inside_another_repository_is_no_clone(tmp_path, upstream):
    outer = tmp_path / "outer"
    git(tmp_path, "init", "-q", outer)
    wangp = Path(shutil.copytree(upstream, outer / "Wan2GP", ignore=shutil.ignore_patterns(".git")))
    assert "Updates: not a git clone, run install.py again after every update" in install(wangp)
    assert not (outer / ".git/info/attributes").exists()
    assert hooks(wangp) == [len(patch.hunks) for patch in PATCHES]


#: what the doctor says in the tab, whose Python and package are WanGP's
IN_THE_TAB = """
from pathlib import Path
from wan2gp_svi import __version__, location
from wan2gp_svi.install import doctor
from wan2gp_svi.install.shipped import Distribution
there = Distribution(location.HOME, __version__)
print(*doctor.report(location.HOME, there, None, "another Python"), sep="\\n")
"""


def diagnoses(wangp):
    """What the doctor says in the tab, and from the repository, but for their Pythons."""
    programs = (["-c", IN_THE_TAB], [REPO / "install.py", wangp, "--doctor"])
    for program in programs:
        done = subprocess.run([sys.executable, *program], cwd=wangp, capture_output=True,
                              encoding="utf-8")
        assert done.returncode == 0, done.stderr
        yield [line for line in done.stdout.splitlines() if not line.startswith("Python: ")]


def unpacked(upstream, folder):
    return shutil.copytree(upstream, folder, ignore=shutil.ignore_patterns(".git"))


def clone_with(*options):
    def make(upstream, folder):
        git(upstream.parent, *options, "clone", "-q", *options, upstream, folder)
        return folder

    return make


def worktree(upstream, folder):
    git(upstream, "worktree", "add", "-q", "--detach", folder)
    return folder


@pytest.mark.parametrize("make", [unpacked, clone_with(), clone_with("-c", "core.autocrlf=true"),
                                  worktree], ids=["folder", "clone", "CRLF", "worktree"])
def test_the_tab_and_the_repository_give_one_diagnosis(make, upstream, tmp_path):
    wangp = make(upstream, tmp_path / "Wän GP")
    install(wangp)
    in_tab, outside = diagnoses(wangp)
    assert in_tab == outside and not [line for line in in_tab if "filter" in line]
    assert "Problems:" not in in_tab or "huggingface_hub" in in_tab[-1]
    for name in ("Later.json", "SVI-mine.json"):  # of WanGP, and of the user
        (wangp / "profiles/wan_i2v" / name).write_text("{}", encoding="utf-8")
    in_tab, outside = diagnoses(wangp)
    assert in_tab == outside and not [line for line in in_tab if "filter" in line]
    next((wangp / "profiles/wan_2_2").glob("SVI-*")).unlink()
    (wangp / "wan2gp_svi/chain.py").write_text("edited", encoding="utf-8")
    (wangp / "wan2gp_svi/lora.py").unlink()
    in_tab, outside = diagnoses(wangp)
    assert in_tab == outside
    assert sum("is missing: run install.py" in line for line in in_tab) == 2
    assert "  edited: wan2gp_svi/chain.py" in in_tab


def test_the_filter_of_an_earlier_release_is_named_and_replaced(wangp, upstream):
    install(wangp)
    folder = wangp / ".git/wan2gp_svi"
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert whole.keys() == {"filter", "filter.pyz", "filter.python"}
    for name in ("filter.pyz", "filter.python"):
        (folder / name).unlink()
    (folder / "filter").write_text('exec python3 wan2gp_svi/install/filter.py "$@"\n', "utf-8")
    for lines in diagnoses(wangp):
        assert ("Updates: git's filter is incomplete or from another release, run install.py"
                in lines)
    install(wangp)
    assert whole == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert_whole(wangp)


@pytest.mark.parametrize("text", [None, b"a\n", b"a\nb", b"a\r\nb\r\n", b"\n", b"x = 1"])
def test_a_block_goes_in_and_out_byte_for_byte(text):
    once = with_block(text, ["one", "two"])
    assert b"one\ntwo\n" in once and once.startswith(text or b"")
    assert with_block(once, ["one", "two"]) == once
    assert without_block(with_block(once, ["three"])) == text
    assert without_block(once) == text
    newline = b"" if not text or text.endswith(b"\n") else b"\n"
    assert without_block(once + b"behind\n") == (text or b"") + newline + b"behind\n"
    assert with_block(once + b"behind\n", ["one", "two"]) == once + b"behind\n"


def test_a_block_without_its_end_is_not_guessed_at():
    with pytest.raises(Refused, match="is missing"):
        without_block(with_block(b"a\n", ["one"]).replace(b"# wan2gp_svi: end\n", b"") + b"mine\n")


def test_a_second_worktree_without_the_package_has_wangps_own_files_and_no_complaint(
        wangp, tmp_path):
    install(wangp)
    said = git(wangp, "worktree", "add", tmp_path / "second")
    assert "error" not in said and "filter" not in said
    assert hooks(tmp_path / "second") == [0] * len(PATCHES)
    (tmp_path / "second/wgp.py").touch()
    assert git(tmp_path / "second", "status", "--porcelain") == ""
    assert_whole(wangp)
