"""A stand-in for WanGP's loop over sliding windows. It does what wgp.py v12.60 does around SVI's
hooks, in the same order and with the variables that the hooks read.

test_scenarios.py checks that it behaves like WanGP. The frames of its pipeline depend on everything
that a clip depends on: prompt, seed, motion frames, latents and reference. So if a clip is resumed
wrongly, its frames and those of all later clips differ.
"""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import sounds
import torch
import videos
from PIL import Image
from torch import Tensor

from wan2gp_svi import chain
from wan2gp_svi.runs.store import FOLDER, Run, Store
from wan2gp_svi.variants import VARIANTS
from wan2gp_svi.wangp import hooks, sound, svi
from wan2gp_svi.wangp.pipeline import current_clip
from wan2gp_svi.wangp.recorder import Recording

torch.set_num_threads(1)
Recording.report = lambda self, video: None  # it takes seconds; wangp/test_svi.py tests it

SIDE = 16
#: variants to test: both kinds of seam, overlaps of 1 and 5, prompts for 1 and 2 clips, latents
KINDS = ("shot", "film", "2.0", "2.0-wan22", "2.0-pro")


class Pipe:
    """WanGP's pipeline, as far as the loop and the hooks see it."""

    def __init__(self) -> None:
        self.vae = SimpleNamespace()
        self.windows: list[int] = []
        self.before: Callable[[int], bool] = lambda window: True
        self.patient = True
        self.floats = ""  # older WanGPs: "kept", or "cut" to 8 bit by the loop

    def generate(self, *, input_prompt: str, seed: int, input_video: Tensor, window_no: int,
                 frame_num: int, return_latent_slice: slice | None, guide_scale: float = 1,
                 sampling_steps: int = 4, motion_amplitude: float = 1,
                 loras_slists: dict[str, Any] | None = None,
                 audio_proj: list[Tensor] | None = None) -> Any:
        self.windows.append(window_no)
        if not self.before(window_no):
            return None
        clip = current_clip(self)
        if self.patient and clip is not None and clip.video.recording is not None:
            clip.video.recording.wait()  # a clip takes longer to make than the one before to write
        motion = motion_amplitude if clip is None or clip.is_stock else clip.motion
        given = hashlib.sha256(
            f"{input_prompt} {svi('seed', seed, self)} {guide_scale} {sampling_steps} {motion} "
            f"{loras_slists}".encode())
        tensors = [input_video]
        if clip is not None:
            tensors = [clip.motion_frames, clip.reference, clip.previous_latents, clip.end]
        tensors += audio_proj or []
        poses = clip.video.poses.clip(clip.number) if clip and clip.video.poses else None
        tensors += [] if poses is None else [poses]
        assert poses is None or poses.shape[1:3] == input_video.shape[2:]
        for tensor in tensors:
            given.update(b"none" if tensor is None else str(tensor.dtype).encode())
            given.update(b"" if tensor is None else tensor.float().contiguous().numpy().tobytes())
        dice = torch.Generator().manual_seed(int.from_bytes(given.digest()[:7], "big"))
        frames = torch.rand(3, frame_num, *input_video.shape[2:], generator=dice)
        if audio_proj is not None:  # the mouth is open
            frames[:, sounds.heard(audio_proj) > 0] = 255 / 256
        if poses is not None:  # the dancer
            frames[:, :, :4, :4] = poses[:, :1, :1].movedim(-1, 0) / 256
        latents = torch.randn(1, 16, 1 + (frame_num - 1) // 4, 2, 2, generator=dice).bfloat16()
        return {"x": frames.mul_(2).sub_(1) if self.floats else frames.mul_(256).to(torch.uint8),
                "latent_slice": None if return_latent_slice is None
                else latents[:, :, return_latent_slice].clone()}


class Writer:
    """WanGP's `save_video`, without loss. Like WanGP's it raises nothing when it fails."""

    def __init__(self) -> None:
        self.given: list[tuple[str, Tensor]] = []
        self.before: Callable[[Path], bool] = lambda path: True

    def __call__(self, tensor: Any, save_file: str | None = None, fps: float = 30,
                 codec_type: str = "libx264_8", container: str = "mp4", nrow: int = 8,
                 normalize: bool = True, value_range: tuple[int, int] = (-1, 1)) -> str | None:
        assert (codec_type, nrow, normalize, value_range) == ("libx264_10", 1, True, (-1, 1))
        parts = tensor if isinstance(tensor, list) else [tensor]
        frames = torch.cat(list(parts), dim=1)
        if frames.is_floating_point():
            frames = frames.add(1).mul(127.5).round().to(torch.uint8)
        self.given.append((Path(save_file).name, frames))
        if not self.before(Path(save_file)):
            return None
        assert save_file.endswith(container)
        videos.write(Path(save_file), np.ascontiguousarray(frames.movedim(0, -1).numpy()),
                     videos.EXACT, fps)
        return save_file

    @property
    def frames(self) -> int:
        return sum(frames.shape[1] for _, frames in self.given)


class WanGP:
    """A running WanGP; `generate` is its button."""

    def __init__(self, folder: Path):
        self.told: list[tuple[Any, ...]] = []  # to the page
        self.folder = folder
        self.pipe, self.writer = Pipe(), Writer()
        self.save_video = hooks.start(self.writer)
        self.server = {"video_container": "mp4", "video_output_codec": "libx264_10",
                       "transformer_dtype_policy": "", "keep_intermediate_sliding_windows": 1}
        self.gen: dict[str, Any] = {"file_list": [], "file_settings_list": []}
        self.at_window: Callable[[int], None] = lambda window: None
        self.aborts_upsampling: Callable[[int], bool] = lambda window: False
        self.tag: Callable[[str, dict[str, Any]], object] = _tag
        # how many frames a later window loses at its start when it is joined
        self.drops: Callable[[int], int] = lambda shared: shared
        self.error, self.most_in_memory = "", 0
        self.lists: list[Any] = []
        self.artifact: list[Tensor] | None = None

    @property
    def store(self) -> Store:
        return Store(self.folder / FOLDER)

    @property
    def run(self) -> Run:
        """The newest run."""
        return next(self.store.runs())

    @property
    def video(self) -> Path:
        return Path(self.gen["file_list"][-1])

    def metadata(self, video: str) -> dict[str, Any]:
        """The settings that WanGP wrote into a video."""
        return self.gen["file_settings_list"][self.gen["file_list"].index(video)]

    @property
    def made(self) -> list[int]:
        """Clips made since the last `forget`, counted from 1."""
        return self.pipe.windows

    def forget(self) -> None:
        self.pipe.windows.clear()
        self.writer.given.clear()

    def generate(self, settings: dict[str, Any]) -> bool:
        """Presses the button -> whether WanGP got through."""
        self.stop_after = settings.get("stop_after", 0)  # a button, not a setting
        known = inspect.signature(self._generate_media).parameters  # WanGP's queue drops others
        settings = {name: value for name, value in settings.items() if name in known}
        start = settings.get("image_start")
        if isinstance(start, str):
            settings["image_start"] = Image.open(start).convert("RGB")
        task = {"params": {"seed": settings["seed"]}}
        return self._generate_media(task, lambda *message: self.told.append(message), **settings)

    def _generate_media(self, task: Any, send_cmd: Any, prompt: str, seed: int, video_length: int,
                        resolution: str, image_start: Any, image_prompt_type: str,
                        activated_loras: list[str], multi_prompts_gen_type: str,
                        sliding_window_size: int, sliding_window_overlap: int,
                        num_inference_steps: int, guidance_scale: float, repeat_generation: int,
                        custom_settings: dict[str, Any] | None, temporal_upsampling: str,
                        film_grain_intensity: float, model_type: str,
                        motion_amplitude: float = 1, audio_source: Any = None,
                        postprocess_audio: str = "", image_mode: int = 0, video_source: Any = None,
                        audio_guide: Any = None, audio_prompt_type: str = "",
                        video_guide: Any = None, video_prompt_type: str = "", force_fps: str = "",
                        api_return_video_uint8: bool = False) -> bool:
        wan_model, gen, server_config = self.pipe, self.gen, self.server
        base_model_type = "i2v" if model_type == "svi_dance" else model_type
        save_path, model_def = str(self.folder), {}
        start_time = time.time()
        loras_selected = [str(self.folder / name) for name in activated_loras]
        prompts = original_prompts = prompt.split("\n\n")
        fps = int(force_fps or (25 if audio_guide else 16))
        total_generation, poses = repeat_generation, (video_guide, video_prompt_type)
        original_audio_guide, speech = audio_guide, {}
        if audio_guide:
            video_length = min(_whole(sound.find(audio_guide).frames + 4), video_length)
            speech = {"audio_proj": None}
        seed = seed if seed >= 0 else int.from_bytes(np.random.default_rng().bytes(4), "big")
        # only the hooks read these
        assert (start_time and original_prompts and loras_selected and base_model_type
                and not model_def and original_audio_guide == audio_guide and poses)
        if video_source is not None:
            video_length += sliding_window_overlap - 1
        windows, left = [min(video_length, sliding_window_size)], video_length - sliding_window_size
        while left > 0:
            new = min(left, sliding_window_size - sliding_window_overlap)
            windows.append(_whole(new + sliding_window_overlap))
            left -= new
        repeat_no, abort = 0, False
        gen["total_generation"] = total_generation
        while not abort and repeat_no < total_generation:
            gen["repeat_no"] = repeat_no = repeat_no + 1
            plan, stop_current_sample = list(windows), False
            prefix_video = pre_video_guide = previous_last_frame = None
            source_video_frames_count, source_video_overlap_frames_count = 0, 0
            frames_already_processed: list[Tensor] = []
            window_no, gen["extra_windows"] = 0, 0
            while not abort and not stop_current_sample:
                for _ in range(gen.get("extra_windows", 0)):
                    plan.append(sliding_window_size)
                gen["extra_windows"] = 0
                if window_no >= len(plan):
                    break
                reuse_frames = sliding_window_overlap if window_no else 0
                current_video_length = plan[window_no]
                prompt = prompts[window_no] if window_no < len(prompts) else prompts[-1]
                sliding_window, total_windows = len(plan) > 1, len(plan)
                window_no += 1
                return_latent_slice = (slice(-max(1, reuse_frames // 4), None)
                                       if reuse_frames else None)
                image_start_tensor = image_end_tensor = None
                if window_no == 1:
                    if video_source is None:
                        image_start_tensor = _unit(np.array(image_start))
                        pre_video_guide = prefix_video = image_start_tensor.unsqueeze(1)
                    else:
                        source = videos.read(Path(video_source))
                        prefix_video = torch.tensor(source).movedim(-1, 0)
                        pre_video_guide = _unit(source[-1:])
                    source_video_overlap_frames_count = 1
                    source_video_frames_count = prefix_video.shape[1]
                self.at_window(window_no)
                try:
                    prompt, return_latent_slice = svi(
                        "before_generate", (prompt, return_latent_slice), wan_model,
                        {"generate_media": self._generate_media, **locals()})
                    samples = wan_model.generate(
                        input_prompt=prompt, seed=seed, input_video=pre_video_guide,
                        window_no=window_no, frame_num=current_video_length,
                        guide_scale=guidance_scale, sampling_steps=num_inference_steps,
                        motion_amplitude=motion_amplitude, loras_slists={
                            "phase1": [1.0 for _ in loras_selected],
                            "shared": [True for _ in loras_selected]},
                        return_latent_slice=return_latent_slice, **speech)
                except Exception as error:
                    self.error = str(error)
                    return False
                assert image_end_tensor is None
                if samples is None:
                    abort = True
                    continue
                samples = samples["x"]
                sample, samples = samples, None
                stop_current_sample = (window_no == self.stop_after
                                       or sample.shape[1] < current_video_length)
                sliding_window = sliding_window or gen["extra_windows"] > 0
                if sliding_window:
                    pre_video_guide = sample[:, -sliding_window_overlap:].clone()
                    if pre_video_guide.dtype == torch.uint8:
                        pre_video_guide = pre_video_guide.float().div_(127.5).sub_(1.0)
                if self.pipe.floats == "cut":
                    sample = sample.add(1).mul(127.5).clamp(0, 255).to(torch.uint8)
                if prefix_video is not None and window_no == 1:
                    if prefix_video.dtype != sample.dtype:
                        prefix_video = prefix_video.add_(1).mul_(127.5).round_().to(torch.uint8)
                    if prefix_video.shape[1] > 1:
                        sample = torch.cat([prefix_video,
                                            sample[:, source_video_overlap_frames_count:]], dim=1)
                    else:
                        sample = torch.cat([prefix_video[:, :-source_video_overlap_frames_count],
                                            sample], dim=1)
                    prefix_video = None
                elif sliding_window and window_no > 1 and reuse_frames > 0:
                    sample = sample[:, self.drops(reuse_frames):]
                sample, frames_already_processed = svi(
                    "after_join", (sample, frames_already_processed), wan_model, locals())
                output_fps = fps
                if self.aborts_upsampling(window_no):
                    abort = True
                    break
                if temporal_upsampling:
                    sample, previous_last_frame, output_fps = _twice(
                        sample, previous_last_frame if sliding_window and window_no > 1 else None,
                        fps)
                if film_grain_intensity > 0:
                    sample = _grainy(sample)
                frames_already_processed.append(sample)
                self.lists.append(frames_already_processed)
                self.most_in_memory = max(self.most_in_memory,
                                          sum(part.shape[1] for part in frames_already_processed))
                container = server_config["video_container"]
                video_path = str(self.folder / f"{time.time_ns()}_seed{seed}.{container}")
                options = dict(fps=output_fps, nrow=1, normalize=True, value_range=(-1, 1),
                               codec_type=server_config["video_output_codec"], container=container)
                if (heard := audio_source or audio_guide) is not None:
                    save_path_tmp = video_path.rsplit(".", 1)[0] + f"_tmp.{container}"
                    self.save_video(tensor=frames_already_processed, save_file=save_path_tmp,
                                    **options)
                    videos.ffmpeg("-i", save_path_tmp, "-i", heard, "-c:v", "copy", "-c:a",
                                  "aac", "-shortest", video_path)
                    Path(save_path_tmp).unlink()
                else:
                    self.save_video(tensor=frames_already_processed, save_file=video_path,
                                    **options)
                configs = {name: value for name, value in locals().items() if name in _SETTINGS}
                configs |= {"prompt": "\n\n".join(original_prompts),
                            "video_quality": options["codec_type"]}
                if sliding_window:
                    configs["window_no"] = window_no
                configs["generation_time"] = round(time.time() - start_time)
                configs, video_path = svi("after_save", (configs, video_path), wan_model)
                self.tag(video_path, configs)
                replaces = (sliding_window and window_no > 1
                            and not server_config["keep_intermediate_sliding_windows"])
                _record(gen, video_path, configs, replaces)
                self.artifact = frames_already_processed if api_return_video_uint8 else None
            seed = int.from_bytes(np.random.default_rng().bytes(4), "big")
        return True


def _whole(frames: int) -> int:
    """The next smaller number of frames that WanGP makes."""
    return (frames - 1) // 4 * 4 + 1


_SETTINGS = {
    "activated_loras", "audio_prompt_type", "audio_source", "custom_settings",
    "film_grain_intensity", "force_fps", "guidance_scale", "image_mode", "image_prompt_type",
    "model_type", "multi_prompts_gen_type", "num_inference_steps", "postprocess_audio",
    "repeat_generation", "resolution", "seed", "sliding_window_overlap", "sliding_window_size",
    "temporal_upsampling", "video_length", "video_prompt_type"}


def settings(id: str, clips: int, **changes: Any) -> dict[str, Any]:
    """WanGP's settings for a run of `clips` clips, as its form gives them."""
    variant = VARIANTS[id]
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8))
    return {
        "prompt": "one\n\ntwo", "seed": 7, "video_length": chain.length(clips, variant.overlap),
        "resolution": f"{SIDE}x{SIDE}", "image_start": picture, "image_prompt_type": "S",
        "activated_loras": [lora.name for lora in variant.loras], "multi_prompts_gen_type": "PW",
        "sliding_window_size": 81, "sliding_window_overlap": variant.overlap,
        "num_inference_steps": 4, "guidance_scale": 1.0, "repeat_generation": 1,
        "custom_settings": None, "temporal_upsampling": "", "film_grain_intensity": 0,
        "model_type": ("multitalk" if variant.talks else "svi_dance" if variant.poses
                       else "i2v" if variant.wan == "2.1" else "i2v_2_2")} | changes


def shown(wgp: WanGP) -> np.ndarray:
    """The frames of the video that the user sees."""
    return videos.read(wgp.video)


def of_pieces(run: Run, clips: Sequence[Any] | None = None) -> np.ndarray:
    """The frames of a run's pieces, joined."""
    done = run.done() if clips is None else clips
    paths = [path for clip in done for path, _ in run.pieces(clip, last=clip is done[-1])]
    return np.concatenate([videos.read(path) for path in paths])


def in_one_go(folder: Path, asked: dict[str, Any]) -> np.ndarray:
    """The frames of a run that nothing interrupted."""
    wgp = WanGP(folder)
    assert wgp.generate(asked)
    return shown(wgp)


def _record(gen: dict[str, Any], video_path: str, configs: dict[str, Any], replaces: bool) -> None:
    """Adds a video to WanGP's gallery. It replaces the last one, and its file, if WanGP does not
    keep intermediate videos."""
    files, settings = gen["file_list"], gen["file_settings_list"]
    if not (replaces and files):
        files.append(video_path)
        settings.append(configs)
        return
    previous, files[-1], settings[-1] = files[-1], video_path, configs
    if previous != video_path:
        Path(previous).unlink(missing_ok=True)


def _unit(frames: np.ndarray) -> Tensor:
    """Frames [..., H, W, 3] uint8 -> [3, ..., H, W] in [-1, 1]."""
    return torch.tensor(frames).movedim(-1, 0).float().div_(127.5).sub_(1)


def _twice(sample: Tensor, previous: Tensor | None, fps: float) -> tuple[Tensor, Tensor, float]:
    """Doubles the frames as RIFE does in WanGP, also across the seam to the window before."""
    if previous is not None:
        sample = torch.cat([previous, sample], dim=1)
    last = sample[:, -1:].clone()
    sums = sample[:, :-1].int().add(sample[:, 1:].int())
    between = sums.div(2, rounding_mode="floor").to(sample.dtype)
    both = torch.stack([sample[:, :-1], between], dim=2).flatten(1, 2)
    return torch.cat([both, sample[:, -1:]], dim=1)[:, 0 if previous is None else 1:], last, 2 * fps


def _grainy(sample: Tensor) -> Tensor:
    grain = torch.arange(sample.shape[1]).mul(37).remainder(5).to(torch.uint8)
    return sample.bitwise_xor(grain[None, :, None, None])


def _tag(path: str, configs: dict[str, Any]) -> None:
    """Writes the settings into the video's metadata with mutagen, as WanGP does, if it is there."""
    try:
        from mutagen.mp4 import MP4
    except ImportError:
        return
    if path.endswith(".mp4"):
        file = MP4(path)
        file["\xa9cmt"] = str(configs)
        file.save()
