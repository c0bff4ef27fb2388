"""Runs a job in a WanGP tree: `python session.py JOB.json`, started in the tree's folder.

A job is a JSON object. For every level:

    level         "loop" (the whole of WanGP, through its API of v11.30 and later), "play" (the
                  same, told what to do by a function), "process" (the whole of any WanGP, as
                  `wgp.py --process`), "any2video" (its pipeline alone), "call" (a function of
                  tests, with WanGP's modules) or "ui" (its server)
    work          folder for start.png, report.json, tensors.safetensors, outputs/
    vae_precision "32" (default) or "16"
    vram_mb       memory of the pretended card (24576)
    path          folders to put before sys.path
    speech        true: WanGP's encoder of sound is a stand-in
    tiny          false: use the tree's own models instead of the tiny ones

"loop":

    tasks         a list of settings, each laid over DEFAULTS; each is a queue with an entry in the
                  report
    at_once       true: one queue and one entry for all tasks
    config        WanGP's wgp_config.json, laid over CONFIG
    cli           more arguments
    setup         "module:function", called as function(wgp, job) once WanGP has started

"play": `config`, `cli`, and

    play          "module:function", called as function(generate, job); it returns the report.
                  generate(settings), with settings laid over DEFAULTS, returns WanGP's result

"call": without starting WanGP,

    call          "module:function", called as function(job); it returns the report

"process": `config`, `cli`, and `settings`, laid over DEFAULTS. The report has one task.

"any2video": `tasks`, a list of objects, each a new pipeline:

    model         a name in tiny.MODELS ("tiny_i2v")
    windows       a list of keywords for generate(), each laid over GENERATE
    overlap       number of frames that the next window gets (1)
    setup         "module:function", called as function(pipe, task) before the first window
    each          "module:function", called as function(pipe, number, keywords, previous result)
                  before every window; it may change the keywords

"ui": `port`, `config`, `cli`.

A job may have more keys for its hooks.
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import json
import os
import re
import runpy
import sys
import time
import traceback
from concurrent.futures.thread import _python_exit
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# run by its path, since the package is that of the tree, if any
CPU = Path(__file__).parents[2] / "wan2gp_svi/demo/in_wangp/cpu.py"
OPTIONS = ["--attention", "sdpa", "--profile", "4"]
CONFIG = {
    "attention_mode": "sdpa",
    "transformer_types": [],
    "transformer_quantization": "bf16",
    "text_encoder_quantization": "bf16",
    "profile": 4,
    "UI_theme": "default",
    "compile": "",
    "metadata_type": "metadata",
    "notification_sound_enabled": 0,
    "last_model_type": "tiny_i2v",  # what the UI opens with
}
DEFAULTS = {
    "model_type": "tiny_i2v", "prompt": "a boat on a lake", "resolution": "64x64",
    "video_length": 81, "num_inference_steps": 2, "sliding_window_size": 81,
    "sliding_window_overlap": 1, "sliding_window_discard_last_frames": 0, "image_prompt_type": "S",
    "seed": 42, "guidance_scale": 5.0, "flow_shift": 5.0, "multi_prompts_gen_type": "PW",
}
GENERATE = {
    "input_prompt": "a boat on a lake", "n_prompt": "", "frame_num": 81, "width": 64, "height": 64,
    "sampling_steps": 2, "guide_scale": 5.0, "guide2_scale": 5.0, "shift": 5.0,
    "sample_solver": "unipc", "seed": 42, "joint_pass": True, "VAE_tile_size": 0,
    "model_switch_phase": 1, "color_correction_strength": 0,
    # the pipeline's default, CFG-zero, makes both steps ignore the model; WanGP turns it off
    "cfg_star_switch": False,
}


def main(job: dict[str, Any]) -> None:
    root, work = Path.cwd(), Path(job["work"])
    sys.path[:0] = [*job.get("path", []), str(root)]
    sys.argv = ["wgp.py"]  # some modules read the command line on import
    runpy.run_path(str(CPU))["apply"](job.get("vram_mb", 24576))
    accept_mmgp(root)
    import tiny

    tiny.stop_downloads()
    if job.get("tiny", True):
        tiny.install(root)
        tiny.replace_encoders()
    if job.get("speech"):
        tiny.replace_wav2vec()
    config = {**CONFIG, "vae_precision": job.get("vae_precision", "32"), **job.get("config", {})}
    (work / "config").mkdir(parents=True, exist_ok=True)
    (work / "config/wgp_config.json").write_text(json.dumps(config), encoding="utf-8")
    if job["level"] == "ui":
        serve(job, root, work)
        return
    from record import Recorder

    recorder, start = Recorder(), write_start_image(work / "start.png")
    recorder.attach()
    gc.freeze()  # WanGP collects garbage often; this exempts what the imports left
    run = {"loop": loop, "play": play, "process": process, "any2video": any2video,
           "call": lambda job, *_: _hook(job["call"])(job)}[job["level"]]
    report = run(job, root, work, recorder, start)
    _python_exit()  # waits for threads of executors, as the end of a process does
    recorder.save(work / "tensors.safetensors")
    (work / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")


def loop(job: dict[str, Any], root: Path, work: Path, recorder: Any, start: Path) -> dict[str, Any]:
    """Runs the real wgp.py through its Python API."""
    begin = time.monotonic()
    session, wgp = boot(job, root, work), sys.modules["wgp"]
    _hook(job.get("setup"))(wgp, job)
    gc.freeze()
    report: dict[str, Any] = {"version": wgp.WanGP_version,
                              "boot_seconds": time.monotonic() - begin, "tasks": []}
    tasks = [complete(settings, start) for settings in job["tasks"]]
    for queue in [tasks] if job.get("at_once") else [[task] for task in tasks]:
        recorder.start_task()
        log: list[str] = []
        begin = time.monotonic()
        listener = SimpleNamespace(on_stream=lambda message, log=log: log.append(message.text))
        result = session.submit_manifest(queue, callbacks=listener).result()
        report["tasks"].append(
            {
                "success": result.success,
                "errors": [str(error.message) for error in result.errors],
                "seconds": time.monotonic() - begin,
                "log": "\n".join(log),
                "files": [describe_video(Path(file)) for file in result.generated_files],
                "windows": recorder.windows,
            }
        )
    return report


def play(job: dict[str, Any], root: Path, work: Path, recorder: Any, start: Path) -> Any:
    """Like `loop`, but a function decides what to make next."""
    session = boot(job, root, work)
    recorder.start_task()
    return _hook(job["play"])(
        lambda settings: session.submit_manifest([complete(settings, start)]).result(), job)


def boot(job: dict[str, Any], root: Path, work: Path) -> Any:
    """Starts WanGP -> a session of its Python API."""
    from shared.api import init

    return init(root=root, config_path=work / "config/wgp_config.json", output_dir=work / "outputs",
                cli_args=[*OPTIONS, *job.get("cli", [])], console_isatty=False)


def process(job: dict[str, Any], root: Path, work: Path, recorder: Any,
            start: Path) -> dict[str, Any]:
    """Runs the real wgp.py as a program on one file of settings."""
    # without a version, WanGP takes settings for very old ones and changes them
    settings = {"settings_version": float(_constant(root, "settings_version")),
                **complete(job["settings"], start)}
    (work / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    recorder.start_task()
    begin = time.monotonic()
    arguments = ["--process", work / "settings.json", "--output-dir", work / "outputs",
                 *job.get("cli", [])]
    code = run_wgp(root, work, *arguments)
    task = {
        "success": not code,
        "seconds": time.monotonic() - begin,
        "files": [describe_video(file) for file in sorted((work / "outputs").glob("*.mp4"))],
        "windows": recorder.windows,
    }
    return {"version": _constant(root, "WanGP_version"), "tasks": [task]}


def any2video(job: dict[str, Any], root: Path, work: Path, recorder: Any,
              start: Path) -> dict[str, Any]:
    """Runs the real WanAny2V alone."""
    report: dict[str, Any] = {"version": _constant(root, "WanGP_version"), "tasks": []}
    for task in job["tasks"]:
        recorder.start_task()
        begin = time.monotonic()
        pipe = build_pipe(root / "ckpts", task.get("model", "tiny_i2v"),
                          job.get("vae_precision", "32"))
        chain(pipe, task, start)
        report["tasks"].append({"seconds": time.monotonic() - begin, "windows": recorder.windows})
    return report


def chain(pipe: Any, task: dict[str, Any], start: Path) -> None:
    """Runs windows that each continue the one before, as in WanGP's loop."""
    import numpy as np
    import torch
    from PIL import Image

    reference, overlap, result = Image.open(start), task.get("overlap", 1), None
    video = to_unit(torch.from_numpy(np.array(reference)).permute(2, 0, 1)[:, None])
    _hook(task.get("setup"))(pipe, task)
    for number, keywords in enumerate(task["windows"], start=1):
        arguments = {
            **GENERATE,
            **({"guide_phases": 2, "switch_threshold": 900} if pipe.model2 is not None else {}),
            "model_type": pipe.base_model_type,
            "input_video": video,
            "pre_video_frame": reference,
            "prefix_frames_count": video.shape[1],
            "overlap_size": overlap if number > 1 else 0,
            "window_no": number,
            "window_start_frame_no": (number - 1) * (GENERATE["frame_num"] - overlap),
            "loras_slists": {"phase1": [], "phase2": [], "phase3": [], "shared": []},
            "offloadobj": SimpleNamespace(unload_all=lambda: None),
            "callback": lambda *args, **kwargs: None,
            "set_header_text": lambda text: None,
            **keywords,
        }
        _hook(task.get("each"))(pipe, number, arguments, result)
        torch.manual_seed(arguments["seed"])  # as WanGP does for every window
        with torch.no_grad():
            result = pipe.generate(**arguments)
        video = to_unit(result["x"] if isinstance(result, dict) else result)[:, -overlap:]


def build_pipe(checkpoints: Path, name: str, vae_precision: str) -> Any:
    """Builds a WanAny2V with the tiny checkpoints of `name`, as WanGP's handler does."""
    import torch
    from mmgp import offload
    from models.wan.any2video import WanAny2V
    from models.wan.configs import WAN_CONFIGS
    from shared.utils import files_locator
    from tiny import MODELS, TEXT_ENCODER_FILE

    architecture, _, files = MODELS[name]
    offload.shared_state["_attention"] = "sdpa"
    files_locator.set_checkpoints_paths([str(checkpoints)])
    definition: dict[str, Any] = {"i2v_class": True}
    if len(files) > 1:
        definition |= {"i2v_2_2": True, "URLs2": [files[1]],
                       "svi2pro": architecture.endswith("svi2pro")}
    pipe = WanAny2V(
        config=WAN_CONFIGS["i2v-14B"], checkpoint_dir=str(checkpoints),
        model_filename=[str(checkpoints / file) for file in files],
        submodel_no_list=[1, 2][: len(files)], model_type=name, model_def=definition,
        base_model_type=architecture, text_encoder_filename=str(checkpoints / TEXT_ENCODER_FILE),
        dtype=torch.bfloat16, VAE_dtype=torch.float16 if vae_precision == "16" else torch.float32,
    )
    pipe._interrupt = False
    pipe.base_model_type = architecture
    for model in filter(None, (pipe.model, pipe.model2)):
        # mmgp and wgp.py set these
        model._model_dtype, model.cache = torch.bfloat16, None
        model.eval()
    return pipe


def serve(job: dict[str, Any], root: Path, work: Path) -> None:
    """Serves the real UI until the process is killed."""
    from gradio import networking

    # gradio gives its first page 3 seconds, too little on a busy machine
    networking.url_ok = lambda url: True
    run_wgp(root, work, "--server-name", "127.0.0.1", "--server-port", job["port"],
            *job.get("cli", []))


def run_wgp(root: Path, work: Path, *arguments: Any) -> Any:
    """Runs wgp.py as a program -> its exit code."""
    sys.argv = [str(root / "wgp.py"), "--config", str(work / "config"), *OPTIONS,
                *map(str, arguments)]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        return end.code


def complete(settings: dict[str, Any], start: Path) -> dict[str, Any]:
    """The settings, with defaults for what they leave out."""
    from tiny import default_settings

    model = settings.get("model_type", DEFAULTS["model_type"])
    return {**DEFAULTS, **default_settings(model), "image_start": str(start), **settings}


def describe_video(path: Path) -> dict[str, Any]:
    """Frame count, size and rate of a file, and the settings that WanGP wrote into it."""
    import cv2
    from shared.utils.video_metadata import read_metadata_from_video

    capture = cv2.VideoCapture(str(path))
    frames, width, height, fps = (
        capture.get(key)
        for key in (
            cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT,
            cv2.CAP_PROP_FPS,
        )
    )
    return {
        "path": str(path), "frames": int(frames), "width": int(width), "height": int(height),
        "fps": fps, "metadata": read_metadata_from_video(str(path)),
    }


def write_start_image(path: Path, size: int = 64) -> Path:
    """A picture with a different ramp in every channel."""
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[0:size, 0:size] * 255 // (size - 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.stack([x, y, (x + y) // 2], axis=-1).astype("uint8")).save(path)
    return path


def to_unit(frames: Any) -> Any:
    """uint8 or [-1, 1] frames -> float32 in [-1, 1], on the 8-bit grid."""
    if frames.is_floating_point():
        frames = ((frames.float().clamp(-1, 1) + 1) * 127.5).round()
    return frames.float() / 127.5 - 1


def accept_mmgp(root: Path) -> None:
    """Makes WanGP accept the mmgp that is installed; older versions exit unless it has exactly the
    version that they want. A later WanGP has mmgp as a folder: then none counts as installed.
    """
    real, wanted = importlib.metadata.distribution, _constant(root, "target_mmgp_version")

    def distribution(name: str) -> Any:
        if name != "mmgp":
            return real(name)
        if (root / "mmgp").is_dir():
            raise importlib.metadata.PackageNotFoundError(name)
        return SimpleNamespace(version=wanted)

    importlib.metadata.distribution = distribution


def _constant(root: Path, name: str) -> str:
    """A constant of wgp.py as text, without importing wgp.py."""
    match = re.search(rf'^{name} = "?([^"\n]*)', (root / "wgp.py").read_text(encoding="utf-8"),
                      re.MULTILINE)
    return match[1] if match else ""


def _hook(name: str | None) -> Any:
    if name is None:
        return lambda *args: None
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


if __name__ == "__main__":
    try:
        main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)  # WanGP leaves threads that would keep the process alive
