"""docs/upstream.patch: with it, a model plugin of WanGP does what the hooks do."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("safetensors.torch",
                    reason="needs torch and safetensors to read the recordings")

import torch  # noqa: E402
from test_svi import install, task, write_loras  # noqa: E402

from wan2gp_svi.install.shipped import PACKAGE, Distribution  # noqa: E402

HOME = Path(__file__).resolve().parents[2]
PLUGIN = {
    "__init__.py": "",
    "plugin_info.json": json.dumps({"name": "SVI", "type": "model", "defaults": "./defaults",
                                    "profiles": "./profiles", "model_handlers": [".handler"]}),
    "handler.py": """
from functools import partial
from shared.utils import generation_hooks
from wan2gp_svi.wangp import hooks

for name in hooks.HOOKS:
    place = "save_video" if name == "start" else name
    generation_hooks.register(place, partial(hooks.call, name))

class family_handler:
    query_supported_types = staticmethod(lambda: [])
    query_family_infos = staticmethod(lambda: {})
    query_family_maps = staticmethod(lambda: ({}, {}))
    register_lora_cli_args = staticmethod(lambda *_: None)
""",
}


def test_a_model_plugin_replaces_the_hooks(wangp, wangp_copy, run_wangp):
    hooked, patched = wangp_copy(wangp), wangp_copy(wangp)
    install(hooked)
    subprocess.run(["git", "apply", "--unidiff-zero", HOME / "docs/upstream.patch"],
                   cwd=patched, check=True)
    for name, source in Distribution(HOME, "").files().items():
        (patched / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, patched / name)
    folder = patched / "plugins/svi"
    folder.mkdir()
    for name, text in PLUGIN.items():
        (folder / name).write_text(text, encoding="utf-8")
    outcomes = []
    for tree, config in ((hooked, {}), (patched, {"enabled_plugins": ["svi"]})):
        write_loras(tree)
        outcomes.append(run_wangp(tree, {
            "level": "loop", "config": config,
            "tasks": [task("SVI-Film - 50 Steps", 2), task("SVI-2.0 Pro - 50 Steps", 2)]}))
    first, second = (outcome.tensors for outcome in outcomes)
    assert len(first) > 10 and first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    for outcome in outcomes:
        assert [one["errors"] for one in outcome.report["tasks"]] == [[], []]
        assert [one["frames"] for run in outcome.report["tasks"] for one in run["files"][-1:]] == [
            157, 157]
    marks = [path for path in patched.rglob("*.py") if not path.is_relative_to(patched / PACKAGE)
             and b"# wan2gp_svi" in path.read_bytes()]
    assert not marks
