"""The hooks without WanGP: they change nothing while SVI is off, and seams fit WanGP's loop."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import hosts
import pytest
import torch
from safetensors.torch import load_file
from test_conditioning import stand_in_vae

from wan2gp_svi import chain
from wan2gp_svi.install.patches import hooked, read_series
from wan2gp_svi.variants import VARIANTS
from wan2gp_svi.wangp import loading, svi, vae, why_off
from wan2gp_svi.wangp.clip import Clip, Seam, Video
from wan2gp_svi.wangp.form import SettingsError
from wan2gp_svi.wangp.pipeline import current_clip, on
from wan2gp_svi.wangp.plan import STOCK_MAXIMA, Plan


def scope(window=1, windows=1, **changes):
    start = torch.rand(3, 16, 16).mul(255).round().div(127.5).sub(1)
    return {"image_mode": 0, "base_model_type": "i2v", "model_def": {},
            "activated_loras": ["svi-shot.safetensors"], "custom_settings": None,
            "window_no": window, "total_windows": windows, "current_video_length": 81,
            "reuse_frames": 1, "seed": 7, "fps": 16, "prompts": ["a", "", "b"],
            "image_start_tensor": start if window == 1 else None, "image_end_tensor": None,
            "gen": {}} | changes


def test_with_svi_off_every_hook_hands_back_what_it_was_given():
    pipe, given = SimpleNamespace(vae=SimpleNamespace()), object()
    off = scope(activated_loras=["other.safetensors"])
    assert svi("before_generate", given, pipe, off) is given and not hasattr(pipe, "svi")
    for hook in ("seed", "clip_vision_frame", "mask", "injected_latents", "after_save",
                 "of another release"):
        assert svi(hook, given, pipe) is given
    assert svi("after_join", given, pipe, off) is given
    tensors = {"blocks.0.ffn.0.lora_A.weight": given}
    assert svi("lora", tensors, None) is tensors


def load_loras(paths, layers, clip=True):
    """What the model gets of these files as mmgp loads them, after SVI has wrapped mmgp."""
    got, model = [], SimpleNamespace(blocks=[None] * 2, named_modules=lambda: [
        *([("blocks.0.cross_attn.k_img", None)] if clip else []), ("blocks.0.ffn.0", None)])

    def load_loras_into_model(model, lora_path, preprocess_sd):
        for path in lora_path:
            if path.is_file():
                got.append(preprocess_sd(dict.fromkeys(layers)))

    offload = SimpleNamespace(load_loras_into_model=load_loras_into_model)
    loading.watch(offload)
    offload.load_loras_into_model(model, paths, preprocess_sd=lambda sd: svi("lora", sd, model))
    assert set(vars(model)) == {"blocks", "named_modules"}
    return got


def test_every_svi_file_is_counted_and_keys_for_clips_image_are_left_out(tmp_path, capsys):
    layers = [f"blocks.{block}.ffn.0.lora_{side}.default.weight" for block in (0, 1)
              for side in "AB"]
    image = ["blocks.0.cross_attn.norm_k_img.diff", "blocks.1.cross_attn.k_img.lora_up.weight"]
    svis, other = tmp_path / "SVI2Pro_high.safetensors", tmp_path / "lightx2v.safetensors"
    for path in (svis, other):
        path.touch()
    files = [tmp_path / "gone.safetensors", svis, other]
    whole = dict.fromkeys([*layers, *image])

    assert load_loras(files, whole, clip=False) == [dict.fromkeys(layers)] * 2
    said = capsys.readouterr().out
    assert said.count("LoRA: 2 of 20 layers matched") == 1
    assert "lightx2v.safetensors: 2 of 6 tensors are for CLIP's image" in said

    assert load_loras(files, whole) == [whole] * 2, "Wan 2.1 sees CLIP's image"
    capsys.readouterr()
    assert load_loras([other], whole, clip=False) == [whole], "without SVI, as WanGP does it"
    assert capsys.readouterr().out == ""


def test_a_wgp_py_that_a_plugin_imports_once_more_is_not_extended_again(tmp_path, monkeypatch):
    class Handler:
        query_model_def = staticmethod(lambda base, _: {
            "sliding_window_defaults": {"overlap_max": 1}})

    class Application:
        def initialize_plugins(self):
            pass

    model, loaded = SimpleNamespace(), []
    offload = SimpleNamespace(load_loras_into_model=lambda model, paths: loaded.append(paths))
    plugins = SimpleNamespace(WAN2GPApplication=Application, WAN2GPPlugin=object,
                              PluginManager=SimpleNamespace(set_server_config=None))
    for name, module in {"models.wan.wan_handler": {"family_handler": Handler},
                         "mmgp": {"offload": offload}, "shared.utils": {
                             "prompt_parser": SimpleNamespace(), "plugins": plugins}}.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**module))
    (tmp_path / "svi-shot.safetensors").touch()
    for _ in range(2):
        save = svi("start", lambda *given: given)
        assert save("frames", "a.mp4") == ("frames", "a.mp4")
        offload.load_loras_into_model(model, [tmp_path / "svi-shot.safetensors"])
        stock = Handler.query_model_def("i2v", {})[STOCK_MAXIMA]
        assert stock == {"video_length": 737, "sliding_window_overlap": 1}
    assert len(loaded) == 2 and not vars(model)


def test_pipelines_of_other_models_are_left_alone():
    class Sealed:
        __slots__ = ()

    assert (svi("before_generate", ("p", None), Sealed(), scope(base_model_type="flux"))
            == ("p", None))


def test_a_run_without_svi_forgets_the_clip_of_the_run_before():
    pipe = SimpleNamespace(vae=SimpleNamespace())

    def breaks_off() -> None:
        svi("clip_vision_frame", torch.zeros(3, 16, 16), pipe)
        assert "encode" in vars(pipe.vae)
        raise MemoryError

    pipe.generate = breaks_off
    svi("before_generate", ("p", None), pipe, scope())
    with pytest.raises(MemoryError):
        pipe.generate()
    assert "encode" not in vars(pipe.vae) and pipe.generate is breaks_off
    assert svi("before_generate", ("p", None), pipe, scope(activated_loras=[])) == ("p", None)
    assert current_clip(pipe) is None
    svi("clip_vision_frame", torch.zeros(3, 16, 16), pipe)
    assert "encode" not in vars(pipe.vae)


def test_the_reference_does_not_change_with_wangps_tensor(capsys):
    pipe, first = Pipe(), scope(1, 2)
    expected = first["image_start_tensor"].clone()
    assert svi("before_generate", ("p", None), pipe, first) == ("a", None)
    first["image_start_tensor"].mul_(127.5)
    pipe.generate(start=0)
    assert svi("before_generate", ("p", None), pipe, scope(2, 2)) == ("b", None)
    assert current_clip(pipe).reference.equal(expected) and current_clip(pipe).seed == 49
    assert "2 clips of 81 frames, 161 frames" in capsys.readouterr().out


@pytest.mark.parametrize(("window", "changes", "said"), [
    (1, dict(current_video_length=49), "windows of 81 frames"),
    (2, dict(reuse_frames=5), "overlap of 1"),
    (1, dict(image_end_tensor=1), "end image"),
    (1, dict(image_start_tensor=None), "start image"),
    (2, dict(), "made without SVI"),
])
def test_a_window_that_is_no_clip_is_refused(window, changes, said):
    with pytest.raises(SettingsError, match=said):
        svi("before_generate", ("p", None), SimpleNamespace(), scope(window, 2, **changes))


class Pipe(SimpleNamespace):
    """WanGP's pipeline. The frames of its clips are the moments that they show."""

    def __init__(self):
        super().__init__(vae=SimpleNamespace())

    def generate(self, start):
        frames = torch.arange(start, start + 81).expand(1, 81)[..., None, None]
        return {"x": frames, "latent_slice": torch.zeros(1, 16, 1, 2, 2)}


def join(variant, windows, extra_after=()):
    """WanGP's loop as far as seams go: later windows lose their first frames and are appended."""
    pipe, parts = Pipe(), []
    total, overlap, number = windows, variant.overlap, 0
    extra = list(extra_after)
    while number < total:
        number += 1
        before = current_clip(pipe)
        clip = on(pipe).clip = Clip(Plan(variant, 42, ()), number - 1, total, 0, None, None,
                                    seam=Seam() if before is None else before.next_seam)
        on(pipe).expect_generate(pipe, clip)
        sample = pipe.generate((number - 1) * (81 - overlap))["x"][..., 0, 0]
        if number > 1:
            sample = sample[:, overlap:]
        # asked for while this window is made
        at_once = number in extra and extra.remove(number) is None
        clip.video.gen = {"extra_windows": 1} if at_once else {}
        parts.append(svi("after_join", (sample, None), pipe, {})[0])
        # or just after it is joined
        total += at_once or (-number in extra and extra.remove(-number) is None)
    return torch.cat(parts, dim=1)[0].tolist(), [part.shape[1] for part in parts], total


@pytest.mark.parametrize("id", ["shot", "film", "2.0", "2.0-wan22", "2.0-pro"])
@pytest.mark.parametrize("extra", [(), (3,), (-3,), (3, 4), (-3, -4), (-3, 4)])
def test_seams_have_no_gap_and_no_frame_twice_also_with_windows_added_late(id, extra):
    variant = VARIANTS[id]
    moments, lengths, total = join(variant, 3, extra)
    assert moments == list(range(chain.length(total, variant.overlap)))
    if not extra:
        kept = [len(range(81)[chain.kept(k, 3, variant.overlap, variant.keep_new)])
                for k in range(3)]
        assert lengths == kept


def test_settings_of_videos_of_earlier_releases_are_known_to_a_wangp_that_refuses_others(
        monkeypatch):
    names = ModuleType("shared.utils.setting_names")
    names.NON_SETTING_KEYS = frozenset({"model_type"})
    names.accepted = lambda: {"prompt"} | names.NON_SETTING_KEYS
    utils = ModuleType("shared.utils")
    utils.setting_names = names
    monkeypatch.setitem(sys.modules, "shared", ModuleType("shared"))
    monkeypatch.setitem(sys.modules, "shared.utils", utils)
    monkeypatch.setitem(sys.modules, "shared.utils.setting_names", names)
    svi("start", lambda *_: None)
    assert names.accepted() == {"prompt", "model_type", "svi"}


GOLDEN = Path(__file__).parent / "golden"
CASES = [case for case in json.loads((GOLDEN / "index.json").read_text(encoding="utf-8"))
         if case["kind"] in ("v1", "v2_wan22", "pro")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_the_hooks_give_wangp_is_what_the_authors_code_returned(case, monkeypatch):
    data = load_file(GOLDEN / case["file"])
    motion, reference = (data[name].movedim(-1, 0).float() * (2 / 255) - 1
                         for name in ("motion_frames", "reference"))
    pro, previous = case["kind"] == "pro", data.get("previous_latents")
    if pro and case["motion_latents"] == 0:
        reference, previous = motion[:, 0], None
    variant = replace(VARIANTS["2.0-pro" if pro else "film"], motion_frames=motion.shape[1],
                      ref_pad_num=case.get("ref_pad_num", -1),
                      ref_pad_cfg=case.get("ref_pad_cfg", False))
    pipe = SimpleNamespace(vae=SimpleNamespace())
    on(pipe).clip = Clip(Plan(variant, 42, ()), 1, 2, 7, reference, motion, previous)
    monkeypatch.setattr(vae, "encode", lambda pipe, video, **_: stand_in_vae(video))
    shown = svi("clip_vision_frame", torch.zeros(()), pipe)
    assert shown.equal(motion[:, 0])
    wangps = torch.full((3, case["frames"], *reference.shape[1:]), 9.0)
    latents, = pipe.vae.encode([wangps], 0, any_end_frame=False)
    mask = svi("mask", torch.ones(4, *latents.shape[1:]), pipe)
    torch.testing.assert_close(torch.cat([mask, latents]), data["y"], atol=1e-6, rtol=0)
    assert "encode" not in vars(pipe.vae), "the VAE is WanGP's own again"


def test_clip_sees_the_frame_as_the_authors_resize_it():
    frame = torch.rand(3, 1, 48, 80) * 2 - 1
    pipe = SimpleNamespace(vae=SimpleNamespace(),
                           clip=SimpleNamespace(model=SimpleNamespace(image_size=32)))
    on(pipe).clip = Clip(Plan(VARIANTS["shot"], 42, ()), 1, 2, 7, frame[:, 0], frame)
    shown = svi("clip_vision_frame", torch.zeros(3, 48, 80, dtype=torch.bfloat16), pipe)
    resized = torch.nn.functional.interpolate(frame[None, :, 0], (32, 32), mode="bicubic")[0]
    eight_bit = (shown.float() + 1).mul(127.5).clamp(0, 255).to(torch.uint8)  # as WanGP makes it
    assert eight_bit.equal(resized.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8))


class StandInVAE:
    """WanGP's VAE as `vae.encode` sees it. Its latents say how they were made."""

    def __init__(self, vae_pth="", dtype=torch.float32, device="cpu"):
        self.dtype, self.device, self.model = dtype, device, torch.nn.Module()
        self.model.decoder = self.model.conv2 = None

    def encode(self, videos, tile_size):
        return [(self.dtype, videos[0].dtype, tile_size)]


@pytest.fixture
def card(monkeypatch):
    """Sets how many GiB of VRAM are free."""
    def of(gigabytes):
        free = int(gigabytes * 2**30)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free // 2, 2 * free))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: free)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: free - free // 2)
    return of


def test_the_vae_is_exact_where_it_fits_and_the_user_is_told_where_not(card):
    video, lines = torch.zeros(3, 81, 480, 832), []
    pipe = SimpleNamespace(vae=StandInVAE(dtype=torch.float32))
    card(12)
    assert vae.encode(pipe, video, tile_size=256, say=lines.append) == (torch.float32,
                                                                        torch.float32, 0)
    assert not lines
    card(4)
    assert vae.encode(pipe, video, tile_size=256, say=lines.append) == (torch.float32,
                                                                        torch.float32, 256)
    assert ("in 32 bit, in tiles of 256 pixels, because 4.0 GB of VRAM are free and 32 "
            "bit untiled needs 6.7 GB" in lines[0])
    assert "artefacts" in lines[0]


@pytest.mark.parametrize(("gigabytes", "tile_size", "expected"),
                         [(4, 256, 0), (4, 0, 0), (3, 256, 256)])
def test_tiles_are_given_up_before_32_bit(card, gigabytes, tile_size, expected):
    lines = []
    pipe = SimpleNamespace(vae=StandInVAE(dtype=torch.float16))
    card(gigabytes)
    made = vae.encode(pipe, torch.zeros(3, 81, 480, 832), tile_size=tile_size, say=lines.append)
    assert made == (torch.float16, torch.float16, expected)
    assert (("in 16 bit, untiled," in lines[0]) == (expected == 0)
            and ("artefacts" in lines[0]) == (expected > 0))


class FullVAE(StandInVAE):
    """A VAE with room for tiles, and for a whole video only in the types of `whole`."""

    whole = ()

    def encode(self, videos, tile_size):
        if not tile_size and self.dtype not in self.whole:
            raise torch.cuda.OutOfMemoryError("full")
        return super().encode(videos, tile_size)


@pytest.mark.parametrize(("dtype", "whole", "tiled"), [
    (torch.float32, (), 128), (torch.float16, (torch.float16,), 0), (torch.float16, (), 128)])
def test_out_of_memory_falls_back_to_wangps_own_precision(card, dtype, whole, tiled):
    card(100)
    lines, video = [], torch.zeros(3, 81, 16, 16)
    pipe = SimpleNamespace(device="cpu", vae=FullVAE(dtype=dtype))
    on(pipe).encoder, pipe.vae.whole = FullVAE(), whole
    assert vae.encode(pipe, video, tile_size=128, say=lines.append) == (dtype, dtype, tiled)
    assert len(lines) == 1
    if not whole:
        with pytest.raises(torch.cuda.OutOfMemoryError):
            vae.encode(pipe, video, tile_size=0)


@pytest.mark.parametrize("broken", ["a module", "a patch"])
def test_a_package_that_is_broken_is_said_and_wangp_starts(tmp_path, broken):
    tmp_path /= "视频"  # the log of Windows has no such letters
    tmp_path.mkdir()
    package = Path(__file__).parents[1] / "wan2gp_svi"
    shutil.copytree(package, tmp_path / "wan2gp_svi", ignore=shutil.ignore_patterns("__pycache__"))
    if broken == "a module":
        (tmp_path / "wan2gp_svi/runs/store.py").write_text("no python", encoding="utf-8")
    else:
        (tmp_path / "wgp.py").write_bytes(b"")
    code = "from wan2gp_svi.wangp import svi; print(svi('start', 'as it was'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                          env={**os.environ, "PYTHONIOENCODING": "ascii"}, encoding="ascii")
    first, second = done.stdout.splitlines()
    assert first.startswith("[SVI] SVI is off, WanGP itself is not affected: ")
    if broken == "a module":
        assert "a part of it is missing or broken" in first
    else:
        assert "\\u89c6\\u9891" in first and "cannot be read (No such file or directory)" in first
    assert second == "as it was"


def test_svi_is_off_as_a_whole_where_a_hook_is_missing(tmp_path):
    patches = Path(__file__).parents[1] / "patches"
    shutil.copytree(patches, tmp_path / "wan2gp_svi/patches")
    assert why_off(tmp_path) == ""  # no WanGP here
    hosts.write(tmp_path)
    for patch in read_series(patches):
        file = tmp_path / patch.path
        file.write_bytes(hooked(file.read_bytes(), patch))
    assert why_off(tmp_path) == ""
    model = tmp_path / "models/wan/modules/model.py"
    model.write_bytes(model.read_bytes().replace(b'        sd = svi("lora", '
                                                 b'sd, self)  # wan2gp_svi\n', b""))
    assert "models/wan/modules/model.py has 1 of 2 hooks. Run install.py again" in why_off(tmp_path)
    model.unlink()
    assert "has 0 of 2 hooks" in why_off(tmp_path)


def test_the_time_left_counts_down_within_a_clip_and_wangp_names_the_window():
    gen, told = {"progress_status": "Prompt 1/2, Sliding Window 2/5"}, []
    image = torch.zeros(3, 16, 16)
    clip = Clip(Plan(VARIANTS["shot"], 42, ()), 1, 5, 7, image, image[:, None],
                video=Video(gen=gen), seconds=(100.0,))

    def step(number, passed):
        told.append((number, passed, gen["progress_status"]))

    def generate(**options):
        clip.started -= 60
        options["callback"](-1, passed=True)
        clip.started -= 39
        options["callback"](0, passed=True)
        clip.seconds = None  # whatever goes wrong, WanGP hears of the step
        options["callback"](1, passed=True)

    pipe = SimpleNamespace(vae=SimpleNamespace(), generate=generate)
    on(pipe).expect_generate(pipe, clip)
    pipe.generate(callback=step)
    line = "Prompt 1/2, Sliding Window 2/5, about {} min left"
    assert told == [(-1, True, line.format(6)), (0, True, line.format(5)),
                    (1, True, line.format(5))]
