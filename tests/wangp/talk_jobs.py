"""Jobs for test_talk_in_wangp.py (see session.py). They run inside WanGP's process."""

from __future__ import annotations

import functools
import json
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = {case["name"]: case for case in
         json.loads((GOLDEN / "index.json").read_text(encoding="utf-8"))}


# ------------------------------------------------------------------- WanGP's functions, golden data

def golden(job: dict[str, Any]) -> dict[str, Any]:
    """Runs WanGP's own functions on what the authors' got -> how far the results are apart."""
    torch.set_grad_enabled(False)
    return {name: globals()[name](*_load(name)) for name in (
        "talk_window", "talk_cfg", "talk_wav2vec", "talk_attention", "talk_dit")}


def _load(name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    from safetensors.torch import load_file

    return CASES[name], load_file(GOLDEN / CASES[name]["file"])


def _apart(found: torch.Tensor, wanted: torch.Tensor) -> float:
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    return float((found.float() - wanted).abs().max())


def talk_window(case: dict[str, Any], data: dict[str, torch.Tensor]) -> float:
    from models.wan.multitalk.multitalk import get_window_audio_embeddings

    found = 0.0
    for start in case["starts"]:
        first, later = get_window_audio_embeddings([data["embeddings"]], start, case["frames"])
        found = max(found, _apart(first[0], data[f"first_{start}"]),
                    _apart(later[0], data[f"later_{start}"]))
    return found


def talk_cfg(case: dict[str, Any], data: dict[str, torch.Tensor]) -> dict[str, float]:
    """WanGP's own sum of three predictions, as its sampler gets it."""
    from models.wan import any2video
    from session import GENERATE, build_pipe

    pipe, given = build_pipe(Path("ckpts"), "tiny_talk", "32"), []
    step = any2video.EulerScheduler.step
    pipe.model_def |= {"multitalk_class": True}

    def remember(self: Any, prediction: torch.Tensor, *others: Any, **options: Any) -> Any:
        given.append(prediction.clone())
        return step(self, prediction, *others, **options)

    any2video.EulerScheduler.step = remember
    pipe.model.forward = lambda x, **_: [
        data[name][None] for name in ("conditional", "drop_text", "unconditional")]
    heard = [torch.zeros(1, 1, 5, 12, 768), torch.zeros(1, 2, 8, 12, 768)]
    found = {}
    for audio in (5.0, 1.0):
        given.clear()
        pipe.generate(**{
            **GENERATE, "model_type": "multitalk", "frame_num": 9, "sample_solver": "euler",
            "input_video": torch.zeros(3, 1, 32, 48), "pre_video_frame": None, "guide_scale": 2.0,
            "audio_cfg_scale": audio, "audio_proj": heard, "prefix_frames_count": 1,
            "overlap_size": 0, "window_no": 1, "window_start_frame_no": 0, "sampling_steps": 1,
            "loras_slists": {"phase1": [], "phase2": [], "phase3": [], "shared": []},
            "offloadobj": SimpleNamespace(unload_all=lambda: None),
            "callback": lambda *_, **__: None, "set_header_text": lambda text: None})
        found[f"2.0_{audio}"] = _apart(given[0][0], data[f"guided_2.0_{audio}"])
    any2video.EulerScheduler.step = step
    return found


def _encoder(case: dict[str, Any], data: dict[str, torch.Tensor]) -> tuple[Any, Any]:
    from models.wan.multitalk.wav2vec2 import Wav2Vec2Model
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor

    model = Wav2Vec2Model(Wav2Vec2Config(**case["config"])).eval()
    model.load_state_dict({name.removeprefix("wav2vec2."): tensor for name, tensor in data.items()
                           if name.startswith("wav2vec2.")}, strict=False)
    return Wav2Vec2FeatureExtractor(), model


def talk_wav2vec(case: dict[str, Any], data: dict[str, torch.Tensor]) -> dict[str, float]:
    from models.wan.multitalk.multitalk import get_embedding, loudness_norm

    speech = loudness_norm(data["audio"].numpy(), 16_000)
    extractor, encoder = _encoder(case, data)
    values = extractor(speech, sampling_rate=16_000).input_values
    found = get_embedding(data["speech"].numpy(), extractor, encoder, device="cpu")
    return {"speech": _apart(torch.from_numpy(np.asarray(speech)), data["speech"]),
            "input_values": _apart(torch.from_numpy(np.squeeze(values)), data["input_values"]),
            "embeddings": _apart(found, data["embeddings"])}


def talk_attention(case: dict[str, Any], data: dict[str, torch.Tensor]) -> dict[str, float]:
    from models.wan.modules.model import AudioProjModel
    from models.wan.multitalk.attention import SingleStreamMutiAttention

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in data.items()
                if name.startswith(prefix)}

    tokens = case["context_tokens"]
    project = AudioProjModel(5, 8, 3, 4, 16, 12, tokens, norm_output_audio=True)
    project.load_state_dict(part("audio_proj."))
    heard = project(data["first"][None], data["later"][None])
    attend = SingleStreamMutiAttention(
        dim=24, encoder_hidden_states_dim=12, num_heads=case["num_heads"], qkv_bias=True,
        qk_norm=False, norm_layer=torch.nn.LayerNorm)
    attend.load_state_dict(part("audio_cross_attn."), strict=False)
    found = attend([data["x"][None]], data["audio_tokens"][None], shape=case["grid"])
    return {"audio_tokens": _apart(heard[0], data["audio_tokens"]),
            "output": _apart(found[0], data["output"])}


def talk_dit(case: dict[str, Any], data: dict[str, torch.Tensor]) -> dict[str, float]:
    """The whole two-block model, in bfloat16 as WanGP runs it -> relative errors."""
    from models.wan.multitalk.multitalk import get_window_audio_embeddings

    half, rule = torch.bfloat16, functools.partial(by_rule, case["seed"])
    model, prompts, shared = whole_model(case, data, multitalk_output_dim=768)
    embeddings = rule("input.audio", (case["embeddings"], 12, 768)).to(half)
    heard = get_window_audio_embeddings([embeddings], case["start"], case["frames"])
    nothing = [torch.zeros_like(one) for one in heard]
    found = {}
    for step in (0, 1):
        predictions = model(
            [data[f"latents_{step}"][None].to(half)] * 3, t=data[f"timestep_{step}"],
            context=[prompts[0], prompts[1], prompts[1]],
            multitalk_audio=[heard, heard, nothing], multitalk_masks=[None] * 3, **shared)
        for name, one in zip(("conditional", "drop_text", "unconditional"), predictions,
                             strict=True):
            wanted = data[f"{name}_{step}"]
            found[f"{name}_{step}"] = float((one[0].float() - wanted).norm() / wanted.norm())
    return found


def whole_model(case: dict[str, Any], data: dict[str, torch.Tensor], **options: Any
                ) -> tuple[Any, list[torch.Tensor], dict[str, Any]]:
    """The two-block model of a case in bfloat16, its two prompts, and what each call of it gets."""
    from mmgp import offload
    from models.wan.any2video import get_rotary_pos_embed
    from models.wan.modules.model import WanModel

    offload.shared_state["_attention"] = "sdpa"
    shape, rule, half = case["dit"], functools.partial(by_rule, case["seed"]), torch.bfloat16
    model = WanModel(model_type="i2v", text_len=512, **options, **{
        name: shape[name] for name in ("dim", "in_dim", "ffn_dim", "out_dim", "freq_dim", "eps",
                                       "num_heads", "num_layers")})
    model.load_state_dict({name: rule(name, tensor.shape)
                           for name, tensor in model.state_dict().items()})
    model = model.to(half).eval()
    model.lock_layers_dtypes(half)
    model.apply_post_init_changes()
    model._model_dtype, model.cache = half, None
    model.forward = functools.partial(WanModel.forward.__wrapped__, model)  # nothing is recorded
    prompts = [torch.cat([rule(f"input.context_{name}", (rows, 4096)),
                          torch.zeros(512 - rows, 4096)])[None].to(half)
               for name, rows in (("positive", 12), ("negative", 7))]
    return model, prompts, {
        "clip_fea": rule("input.clip_feature", (1, 257, 1280)).to(half), "y": data["y"].to(half),
        "freqs": get_rotary_pos_embed([21, 4, 6], enable_RIFLEx=False),
        "pipeline": SimpleNamespace(_interrupt=False), "callback": None}


def by_rule(seed: int, name: str, shape: Any) -> torch.Tensor:
    """The tensor of that name, as golden/README.md defines it."""
    drawn = np.random.RandomState(zlib.crc32(f"{seed}:{name}".encode())).standard_normal(shape)
    if name.endswith("modulation"):
        drawn /= np.sqrt(shape[-1])
    elif name.startswith("input."):
        pass
    elif len(shape) >= 2:
        drawn /= np.sqrt(np.prod(shape[1:]))
    else:
        drawn = 0.02 * drawn if name.endswith("bias") else 1 + 0.1 * drawn
    return torch.from_numpy(drawn).float()


# ---------------------------------------------------------------------- in WanGP's own loop

def open_mouths(*_: Any) -> None:
    """Turns the frames white in which the model hears a click."""
    import sounds
    from models.wan.any2video import WanAny2V

    generate = WanAny2V.generate

    def opened(self: Any, *arguments: Any, **keywords: Any) -> Any:
        result = generate(self, *arguments, **keywords)
        loud = sounds.heard(keywords["audio_proj"])
        (result["x"] if isinstance(result, dict) else result)[:, loud > loud.max() / 3] = 255
        return result

    WanAny2V.generate = opened


def pressed(generate: Any, store: Any, seen: list[dict[str, Any]], settings: dict[str, Any],
            stop: int = 0) -> None:
    """Generates, and adds to `seen` what came of it and of the newest run."""
    from scenarios import watched

    from wan2gp_svi.wangp.recorder import Recording

    Recording.report = lambda self, video: None  # it takes seconds; test_svi.py looks at it
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


def runs(generate: Any, job: dict[str, Any]) -> list[dict[str, Any]]:
    """What users do with a run, and with bad sounds."""
    import sounds

    from wan2gp_svi.runs.store import FOLDER, Store
    from wan2gp_svi.wangp import resuming

    work, seen = Path(job["work"]), []
    short = sounds.write(work / "short.wav", sounds.speech(100))
    longer = sounds.write(work / "longer.wav", np.concatenate(
        [sounds.speech(100), sounds.speech(70, seed=4)]))
    store = Store(work / "outputs" / FOLDER)

    press = functools.partial(pressed, generate, store, seen)
    asked = {**job["settings"], "audio_guide": str(short)}
    press(asked, stop=1)
    press(asked)
    press(resuming.spoken_on(next(store.runs()), longer))
    (work / "corrupt.mp3").write_bytes(bytes(range(256)) * 40)
    sounds.write(work / "silent.wav", np.zeros(16_000))
    sounds.write(work / "long.wav", np.zeros(3 * 3600 * 1_000), 1_000)
    for bad in ({"audio_guide": None}, {"audio_guide": str(work / "silent.wav")},
                {"audio_guide": str(work / "corrupt.mp3")},
                {"audio_guide": str(work / "long.wav")}, {"audio_prompt_type": "XA"}):
        press({**asked, **bad})
    return seen
