"""Jobs for test_dance_in_wangp.py (see session.py). They run inside WanGP's process."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from talk_jobs import CASES, GOLDEN, by_rule, pressed, whole_model


def golden(job: dict[str, Any]) -> dict[str, Any]:
    """The whole two-block model with the poses, in bfloat16 as WanGP runs it -> relative errors,
    and how far the tokens are apart."""
    from safetensors.torch import load_file

    from wan2gp_svi.poses import PoseNetwork
    from wan2gp_svi.wangp import dance

    torch.set_grad_enabled(False)
    case = CASES["dance_dit"]
    data = load_file(GOLDEN / case["file"])
    shape, rule = case["dit"], functools.partial(by_rule, case["seed"])
    model, prompts, shared = whole_model(case, data)
    tensors = {}
    for layer in range(0, 14, 2):
        sizes = ((5120, 16, 1, 2, 2) if layer == 12 else (16, 16 if layer else 3, 3, 3, 3))
        for part, size in (("weight", sizes), ("bias", sizes[:1])):
            made = 2 * rule(f"dwpose_embedding.{layer}.{part}", size)
            tensors[f"{layer}.{part}"] = made[: shape["dim"]]
    model.svi_pose_network = network = PoseNetwork(tensors)
    tokens = network.add(torch.zeros(1, shape["dim"], 21, 2, 3), network.read(data["pose"]))
    found = {"tokens": float((tokens[0].flatten(1).T - data["tokens"]).abs().max())}
    pipe = SimpleNamespace(model=model)
    clip = SimpleNamespace(number=0, video=SimpleNamespace(
        poses=SimpleNamespace(clip=lambda number: data["pose"])))

    def predict(step: int, suffix: str) -> None:
        predictions = model(
            [data[f"latents_{step}"][None].to(torch.bfloat16)] * 2, t=data[f"timestep_{step}"],
            context=prompts, **shared)
        for name, one in zip(("conditional", "unconditional"), predictions, strict=True):
            wanted = data[f"{name}{suffix}_{step}"]
            error = (one[0].float() - wanted).norm() / wanted.norm()
            found[f"{name}{suffix}_{step}"] = float(error)

    dance.expect_tokens(pipe, clip, torch.device("cpu"))
    predict(0, "")
    predict(1, "")
    pipe.svi.dancing.remove()
    predict(0, "_without_pose")
    return found


def detect(*_: Any) -> None:
    """Puts a stand-in for WanGP's detector of poses into its place."""
    import sys

    import poses
    from shared.utils import files_locator

    name = "preprocessing.dwpose.wholebody"
    sys.modules[name] = poses.stand_ins(SimpleNamespace(missing=()))[name]
    locate = files_locator.locate_file
    files_locator.locate_file = lambda file, *others, **options: (
        f"ckpts/{file}" if file.startswith("pose/") else locate(file, *others, **options))


def runs(generate: Any, job: dict[str, Any]) -> list[dict[str, Any]]:
    """What users do with a run, and with bad pose videos."""
    import poses
    import videos

    from wan2gp_svi.runs.store import FOLDER, Store
    from wan2gp_svi.wangp import resuming

    work, seen = Path(job["work"]), []
    path, store = poses.write(work / "poses.mp4", 100), Store(work / "outputs" / FOLDER)

    press = functools.partial(pressed, generate, store, seen)
    asked = {**job["settings"], "video_guide": str(path)}
    press(asked, stop=1)
    press(asked)
    press(resuming.extended(next(store.runs()), 1))
    (work / "corrupt.mp4").write_bytes(bytes(range(256)) * 40)
    videos.write(work / "person.mp4", videos.noise(20) // 2 + 100)
    for bad in (None, str(work / "corrupt.mp4"), str(work / "person.mp4")):
        press({**asked, "video_guide": bad})
    return seen
