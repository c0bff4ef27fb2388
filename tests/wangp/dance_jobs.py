"""Jobs for test_dance_in_wangp.py (see session.py). They run inside WanGP's process."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from talk_jobs import CASES, GOLDEN, by_rule


def golden(job: dict[str, Any]) -> dict[str, Any]:
    """The whole two-block model with the poses, in bfloat16 as WanGP runs it -> relative errors,
    and how far the tokens are apart."""
    from mmgp import offload
    from models.wan.any2video import get_rotary_pos_embed
    from models.wan.modules.model import WanModel
    from safetensors.torch import load_file

    from wan2gp_svi.poses import PoseNetwork
    from wan2gp_svi.wangp import dance

    torch.set_grad_enabled(False)
    case = CASES["dance_dit"]
    data = load_file(GOLDEN / case["file"])
    offload.shared_state["_attention"] = "sdpa"
    shape, rule = case["dit"], functools.partial(by_rule, case["seed"])
    model = WanModel(model_type="i2v", text_len=512, **{
        name: shape[name] for name in ("dim", "in_dim", "ffn_dim", "out_dim", "freq_dim", "eps",
                                       "num_heads", "num_layers")})
    model.load_state_dict({name: rule(name, tensor.shape)
                           for name, tensor in model.state_dict().items()})
    model = model.to(torch.bfloat16).eval()
    model.lock_layers_dtypes(torch.bfloat16)
    model.apply_post_init_changes()
    model._model_dtype, model.cache = torch.bfloat16, None
    model.forward = functools.partial(WanModel.forward.__wrapped__, model)  # nothing is recorded
    half = torch.bfloat16
    tensors = {}
    for layer in range(0, 14, 2):
        sizes = ((5120, 16, 1, 2, 2) if layer == 12 else (16, 16 if layer else 3, 3, 3, 3))
        for part, size in (("weight", sizes), ("bias", sizes[:1])):
            made = 2 * rule(f"dwpose_embedding.{layer}.{part}", size)
            tensors[f"{layer}.{part}"] = made[: shape["dim"]]
    model.svi_pose_network = network = PoseNetwork(tensors)
    tokens = network.add(torch.zeros(1, shape["dim"], 21, 2, 3), network.read(data["pose"]))
    found = {"tokens": float((tokens[0].flatten(1).T - data["tokens"]).abs().max())}
    prompts = [torch.cat([rule(f"input.context_{name}", (rows, 4096)),
                          torch.zeros(512 - rows, 4096)])[None].to(half)
               for name, rows in (("positive", 12), ("negative", 7))]
    pipe = SimpleNamespace(model=model)
    clip = SimpleNamespace(number=0, video=SimpleNamespace(
        poses=SimpleNamespace(clip=lambda number: data["pose"])))

    def predict(step: int, suffix: str) -> None:
        predictions = model(
            [data[f"latents_{step}"][None].to(half)] * 2, t=data[f"timestep_{step}"],
            context=prompts, clip_fea=rule("input.clip_feature", (1, 257, 1280)).to(half),
            y=data["y"].to(half), freqs=get_rotary_pos_embed([21, 4, 6], enable_RIFLEx=False),
            pipeline=SimpleNamespace(_interrupt=False), callback=None)
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


def runs(generate: Any, job: dict[str, Any]) -> list[dict[str, Any]]:
    """What users do with a run, and with bad pose videos."""
    import poses
    import videos
    from scenarios import watched

    from wan2gp_svi.runs.store import FOLDER, Store
    from wan2gp_svi.wangp import resuming
    from wan2gp_svi.wangp.recorder import Recording

    Recording.report = lambda self, video: None  # it takes seconds; test_svi.py looks at it
    work, seen = Path(job["work"]), []
    path, store = poses.write(work / "poses.mp4", 100), Store(work / "outputs" / FOLDER)

    def press(settings: dict[str, Any], stop: int = 0) -> None:
        windows: list[Any] = []
        with watched(windows, ("stop", stop)):
            result = generate(settings)
        run = next(store.runs(), None)
        about = run and run.about
        seen.append({
            "success": result.success, "errors": [str(error.message) for error in result.errors],
            "made": [one.number for one in windows if one.made], "run": run and run.name,
            "ended": about and about.ended, "video": about and about.video,
            "clips": run and len(run.done())})

    asked = {**job["settings"], "video_guide": str(path)}
    press(asked, stop=1)
    press(asked)
    press(resuming.extended(next(store.runs()), 1))
    (work / "corrupt.mp4").write_bytes(bytes(range(256)) * 40)
    videos.write(work / "person.mp4", videos.noise(20) // 2 + 100)
    for bad in (None, str(work / "corrupt.mp4"), str(work / "person.mp4")):
        press({**asked, "video_guide": bad})
    return seen
