"""The plan of the house: which room of the package may import which, and what tests may use."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from wan2gp_svi.install.shipped import GUIDE

HOME = Path(__file__).parents[1]
PACKAGE = "wan2gp_svi"

# standard library; `release` is the package itself
BASE = {"release", "files", "text", "location", "untrusted", "old_python"}
#: room -> the rooms that its modules may import at their top, beside their own
ARROWS = {
    "release": set(), "files": {"untrusted"}, "text": set(), "location": {"files"},
    "untrusted": set(), "old_python": set(),
    "method": set(),
    "runs": {*BASE, "method"},
    "drift": {*BASE, "method"},
    "wangp": {*BASE, "method", "runs", "drift", "wangp.check", "install.text"},
    "wangp.check": {*BASE, "method", "wangp"},
    "wangp.tab": {*BASE, "method", "runs", "drift", "wangp", "wangp.check", "install",
                  "install.text"},
    "demo": {*BASE, "method", "drift"},
    "demo.in_wangp": {*BASE, "method", "demo", "wangp", "install", "install.text"},
    "install.text": {*BASE},  # reads WanGP's source for the installer and for the contract
    "install": {*BASE, "method", "wangp", "install.text"},
    "selftest": {*BASE, "method", "wangp", "demo.in_wangp", "install", "install.text"},
    "__main__": {*BASE},
}
NEW_TENSORS = {f"torch.{name}" for name in (
    "arange", "as_tensor", "empty", "eye", "full", "linspace", "logspace", "ones", "rand",
    "randint", "randn", "randperm", "tensor", "zeros")}
#: where a room may import only some modules of another
ONLY = {
    ("install", "method"): {"variants"}, ("install", "wangp"): {"wangp.contract"},
    ("runs", "method"): {"variants"}, ("wangp", "drift"): {"drift.layout"},
    ("selftest", "wangp"): {"wangp", "wangp.contract"},
    ("selftest", "demo.in_wangp"): {"demo.in_wangp.loader"},
    ("wangp", "install.text"): {"install.patches", "install.shipped", "install.syntax"},
}
#: imports inside functions that go against the arrows
LAZY = {
    "wangp": {"install.plugin"},
    "wangp.start": {"demo.in_wangp.loader", "selftest.passed", "wangp.tab.tab"},
    "wangp.recorder": {"drift"},
    "install.cli": {"demo.in_wangp.record", "selftest.command"},
    "__main__": {"chain", "demo.command", "demo.in_wangp.command", "drift", "runs.record",
                 "runs.state", "runs.store", "selftest.command", "storyboard",
                 "wangp.board", "wangp.check.command", "wangp.resuming"},
}


def _name(path: Path) -> str:
    parts = path.relative_to(HOME).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name(path): path for path in sorted((HOME / PACKAGE).rglob("*.py"))}


def _imports(name: str) -> Iterator[tuple[str, bool]]:
    """What a module imports from the package, and whether inside a function. Imports for types
    alone do not count."""
    path = MODULES[name]
    inside = name if path.name == "__init__.py" else name.rpartition(".")[0]

    def visit(node: ast.AST, lazy: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if (isinstance(child, ast.If) and isinstance(child.test, ast.Name)
                and child.test.id == "TYPE_CHECKING"):
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, lazy) for alias in child.names
                            if alias.name.split(".")[0] == PACKAGE)
            elif isinstance(child, ast.ImportFrom):
                above = (inside.split(".")[: len(inside.split(".")) - child.level + 1]
                         if child.level else [])
                base = ".".join([*above, *([child.module] if child.module else [])])
                if base.split(".")[0] == PACKAGE:
                    whole = (f"{base}.{alias.name}" for alias in child.names)
                    yield from ((one if one in MODULES else base, lazy) for one in whole)
            function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
            yield from visit(child, lazy or isinstance(child, function))

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), False)


def _short(name: str) -> str:
    return name.partition(".")[2]


def _room(name: str) -> str:
    first, *rest = _short(name).split(".")
    if first in ("variants", "conditioning", "chain", "lora", "poses", "skeleton",
                 "storyboard"):
        return "method"
    if f"{first}.{''.join(rest[:1])}" in ("demo.in_wangp", "wangp.check", "wangp.tab"):
        return f"{first}.{rest[0]}"
    if _short(name) in ("install", "install.patches", "install.shipped", "install.syntax"):
        return "install.text"
    return first or "release"


def _allowed(source: str, target: str) -> bool:
    here, there = _room(source), _room(target)
    return (here == there or there in ARROWS[here]
            and _short(target) in ONLY.get((here, there), {_short(target)}))


EAGER = {name: {target for target, lazy in _imports(name) if not lazy} for name in MODULES}


def test_arrows_between_rooms_go_down_only():
    assert {_room(name) for name in MODULES} == ARROWS.keys()
    against = [f"{_short(source)} imports {_short(target)}" for source, targets in EAGER.items()
               for target in targets if not _allowed(source, target)]
    assert not against


def test_what_goes_up_is_imported_inside_a_function_and_is_known():
    found = defaultdict(set)
    for source in MODULES:
        for target, lazy in _imports(source):
            if lazy and not _allowed(source, target):
                found[_short(source)].add(_short(target))
    assert found == LAZY


def test_no_module_imports_itself_by_way_of_others():
    done: set[str] = set()

    def follow(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name):], name])
        if name not in done:
            for target in sorted(EAGER[name]):
                follow(target, (*way, name))
            done.add(name)

    for name in MODULES:
        follow(name, ())


def _python(code: str) -> subprocess.CompletedProcess[str]:
    quiet = "ignore:CUDA is not available:UserWarning"  # by diffusers, when it is imported
    return subprocess.run([sys.executable, "-B", "-W", quiet, "-c", code], cwd=HOME,
                          capture_output=True, encoding="utf-8")


HEAVY = {"av", "cv2", "diffusers", "gradio", "imageio", "matplotlib", "numpy", "PIL", "safetensors",
         "torch"}
LIGHT = sorted(_short(name) for name in MODULES
               if name.startswith((f"{PACKAGE}.install.", f"{PACKAGE}.wangp.check"))
               and not name.endswith("__main__"))


@pytest.mark.parametrize("names", [["wangp"], ["wangp.contract"], LIGHT, ["demo.in_wangp.record"],
                                   ["selftest.passed"],
                                   ["files", "text", "location", "variants", "chain"]],
                         ids=lambda names: names[0])
def test_what_wangp_and_the_installer_start_with_loads_no_torch(names: list[str]):
    done = _python(f"import sys, importlib\nfor one in {names}: "
                   f"importlib.import_module('{PACKAGE}.' + one)\n"
                   f"print(sorted({HEAVY} & sys.modules.keys()))")
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_importing_prints_nothing():
    pytest.importorskip("torch")
    names = sorted(name for name in MODULES if not name.endswith("__main__"))
    done = _python(f"import importlib\nfor one in {names}: importlib.import_module(one)")
    assert (done.stdout, done.stderr) == ("", "")


def test_the_guide_which_is_copied_into_wangp_links_to_nothing_that_stays_behind():
    links = re.findall(r"\]\(([^)]+)\)", (HOME / GUIDE).read_text(encoding="utf-8"))
    assert links and not [link for link in links if not link.startswith(("#", "https://"))]


def test_every_test_that_the_docs_name_is_there():
    text = (HOME / "docs/faults.md").read_text(encoding="utf-8")
    _, *parts = re.split(r"^## .+\n", text, flags=re.MULTILINE)[1:]
    named, file = [], ""
    for row in "".join(parts).splitlines():
        for found in re.finditer(r"(test_\w+)\.py|`(\w+)`", row.rpartition(" | ")[2]):
            file = found[1] or file
            named += [(file, found[2])] if found[2] else []
    texts = {file: next((HOME / "tests").rglob(f"{file}.py")).read_text("utf-8")
             for file, _ in named}
    assert len(named) > 40
    assert not [one for one in named if not re.search(rf"def test_\w*{one[1]}", texts[one[0]])]


def test_every_file_of_tests_that_a_page_names_is_there():
    pages = [HOME / "README.md", HOME / "CONTRIBUTING.md", *HOME.glob("docs/*.md"),
             *HOME.glob("benchmarks/**/*.md"), HOME / "tests/golden/README.md"]
    named = {name for page in pages
             for name in re.findall(r"\btests/[\w/]+\.py", page.read_text(encoding="utf-8"))}
    assert len(named) > 5 and not [name for name in sorted(named) if not (HOME / name).is_file()]


def test_no_two_files_of_tests_share_a_name():  # pytest would collect neither
    names = [path.name for path in (HOME / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


#: tests that need only pytest and hypothesis; the first are quick enough to run here
LIGHT_TESTS = ("test_files", "test_chain", "test_install", "test_install_patches")
OTHER_LIGHT_TESTS = ("test_contract", "test_house", "test_install_doctor", "test_install_faults",
                     "test_install_git", "test_install_legacy", "test_install_loras")


@pytest.mark.parametrize(("names", "options"), [
    (LIGHT_TESTS, []), (OTHER_LIGHT_TESTS, ["--collect-only"])], ids=["run", "collected"])
def test_some_tests_run_without_other_packages(names: tuple[str, ...], options: list[str]):
    files = [f"tests/{name}.py" for name in names]
    done = _python("import sys, pytest\n"
                   "class Missing:\n"
                   "    def find_spec(self, name, *_):\n"
                   f"        if name.partition('.')[0] in {HEAVY}:\n"
                   "            raise ModuleNotFoundError(name)\n"
                   "sys.meta_path.insert(0, Missing())\n"
                   f"sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *{options}, *{files}]))")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


#: private names of the product that tests may use, and why
PRIVATE = {
    "test_drift": {"_curve", "_shade"},  # a whole report for each of 50 examples takes minutes
    "test_faults": {"_encode"},  # work beside WanGP's thread, for planting faults
    "test_install_legacy": {"_ARROW", "_BLOCKS", "_PROFILES"},  # hashes that stand-ins are added to
    "test_selftest": {"_NEEDED"},  # other Pythons than this one
}


def _private_names(path: Path) -> set[str]:
    """The private names that a module defines."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "self":
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return {name for name in names if re.match("_[^_]", name)}


def _uses(path: Path) -> set[str]:
    """Names of other modules that a test may use: attributes, imports, strings for monkeypatch."""
    tree, found = ast.parse(path.read_text("utf-8")), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") != "self":
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value.rpartition(".")[2])
    return found - _private_names(path)


def test_tests_use_no_private_name_of_the_product():
    shipped = [*MODULES.values(), *(HOME / "training").rglob("*.py")]
    private = set().union(*map(_private_names, shipped))
    tests = [path for path in (HOME / "tests").rglob("*.py") if path != Path(__file__)]
    assert {path.stem: uses for path in tests if (uses := _uses(path) & private)} == PRIVATE


def test_every_new_tensor_names_its_device():
    """mmgp makes the card torch's default device, which the tests' WanGP without a GPU does not."""
    own_process = {f"{PACKAGE}.demo.{name}" for name in ("chaining", "network", "truth", "world")}
    silent = [f"{name}:{node.lineno} torch.{node.func.attr}"
              for name, path in MODULES.items() if name not in own_process
              for node in ast.walk(ast.parse(path.read_text("utf-8")))
              if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
              and ast.unparse(node.func) in NEW_TENSORS
              and not any(keyword.arg == "device" for keyword in node.keywords)]
    assert not silent


def test_every_module_says_what_it_is_and_is_shipped():
    silent = [name for name, path in MODULES.items()
              if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert not silent
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    listed = re.search(r"(?s)^packages = \[(.*?)\]", (HOME / "pyproject.toml").read_text("utf-8"),
                       re.M)
    assert set(re.findall(r'"([\w.]+)"', listed[1])) == packages
