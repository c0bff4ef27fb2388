"""The real WanGP with SVI installed: what its transformer gets, what its files hold, and that it is
unchanged with SVI off."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("safetensors.torch",
                    reason="needs torch and safetensors to read what was recorded")

import later  # noqa: E402
import poses  # noqa: E402
import sounds  # noqa: E402
import tiny  # noqa: E402
import torch  # noqa: E402
import trees  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from wan2gp_svi import chain  # noqa: E402
from wan2gp_svi.conditioning import condition, condition_pro  # noqa: E402
from wan2gp_svi.drift.layout import provenance  # noqa: E402
from wan2gp_svi.variants import VARIANTS, identify  # noqa: E402
from wan2gp_svi.wangp.matching import DECIDING  # noqa: E402
from wan2gp_svi.wangp.plan import DANCING  # noqa: E402

HOME = Path(__file__).parents[2]
PROFILES = sorted(HOME.glob("profiles/*/*.json"))
PROMPTS = "a boat\n\na boat on a lake\n\na boat in a storm"
ACCELERATED = [path for path in PROFILES if "50 Steps" not in path.stem]
STEPS = {path.stem: json.loads(path.read_text(encoding="utf-8"))["num_inference_steps"]
         for path in PROFILES}
MODEL = {"i2v": "tiny_i2v", DANCING: "tiny_dance", "i2v_2_2": "tiny_i2v22",
         "multitalk": "tiny_talk"}
SEED = 1234


def install(tree: Path, *options: str) -> str:
    done = subprocess.run([sys.executable, HOME / "install.py", tree, *options],
                          capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_loras(tree: Path) -> None:
    """Writes a tiny random file for every LoRA that a profile names; SVI's
    have their authors' keys."""
    names = {(path.parent.name, Path(url).name) for path in PROFILES
             for url in json.loads(path.read_text(encoding="utf-8"))["activated_loras"]}
    for folder, name in names:
        path = tree / "loras" / {"wan_i2v": "wan_i2v", "wan_2_2": "wan"}[folder] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tiny.write_lora(path, "svi" if identify(name) else "plain", scale=0.05,
                        poses=name == VARIANTS["dance"].loras[0].name)


@pytest.fixture(scope="module")
def svi(wangp, tmp_path_factory) -> Path:
    tree = Path(shutil.copytree(wangp, tmp_path_factory.mktemp("svi") / "Wan2GP"))
    install(tree)
    write_loras(tree)
    return tree


def task(profile: str, clips: int, **changes) -> dict:
    """Settings with a profile laid over them, as in WanGP, but two steps:
    more would show nothing new."""
    path = next(path for path in PROFILES if path.stem == profile)
    settings = json.loads(path.read_text(encoding="utf-8"))
    return {**settings, "model_type": MODEL[settings["model_type"]], "num_inference_steps": 2,
            "resolution": "64x64", "prompt": PROMPTS, "video_length": 81 * clips, "seed": SEED,
            **changes}


def unit(frames: torch.Tensor) -> torch.Tensor:
    return frames.float() / 127.5 - 1


def start_image(outcome: trees.Outcome) -> torch.Tensor:
    """The reference of every clip in these jobs; start.png has the size of the video."""
    return outcome.tensors["task0.window1.arguments.image_start"].float()


def assert_clip_saw(image: torch.Tensor, motion: torch.Tensor) -> None:
    """CLIP sees the FIRST motion frame, resized as the authors do, to half a step of 8 bit."""
    resized = torch.nn.functional.interpolate(motion[None, :, 0], image.shape[-2:], mode="bicubic")
    assert (resized[0].clamp(-1, 1) - image[:, 0]).abs().max() <= 0.501 / 127.5


@pytest.fixture(scope="module")
def all_profiles(run_wangp, svi) -> trees.Outcome:
    """Every profile, in one process: 3 clips at full quality, 2 with an accelerator. Then those
    with an accelerator with all of their steps."""
    tasks = [task(path.stem, 3 if "50 Steps" in path.stem else 2) for path in PROFILES]
    tasks += [task(path.stem, 1, num_inference_steps=STEPS[path.stem]) for path in ACCELERATED]
    for one in tasks:
        if one["model_type"] == MODEL["multitalk"]:
            clips = one["video_length"] // 81
            one["audio_guide"] = str(sounds.write(svi / f"{clips}.wav", sounds.speech(80 * clips)))
        elif one["model_type"] == MODEL[DANCING]:
            one["video_guide"] = str(poses.write(svi / "poses.mp4", 100))
    return run_wangp(svi, {"level": "loop", "tasks": tasks, "setup": "svi_jobs:keep_saved",
                           "speech": True}, timeout=1800)


@pytest.mark.parametrize("number", range(len(PROFILES)), ids=[path.stem for path in PROFILES])
def test_each_profile_chains_as_the_authors_do(number, all_profiles):
    report, tensors = all_profiles.report["tasks"][number], all_profiles.tensors
    assert report["success"] and not report["errors"]
    lora = json.loads(PROFILES[number].read_text(encoding="utf-8"))["activated_loras"][0]
    variant, windows = identify(lora), report["windows"]
    clips = 3 if "50 Steps" in PROFILES[number].stem else 2
    assert len(windows) == clips
    reference, overlap = start_image(all_profiles), variant.overlap
    prompts = chain.stream(PROMPTS.split("\n\n"), clips, variant.prompt_repeat)
    previous = None
    frames, noises = [], []
    for clip, window in enumerate(windows):
        name = f"task{number}.window{clip + 1}"
        assert len(window["encodes"]) == 1, "one encode per clip"
        assert (window["encodes"][0]["vae_dtype"] == "torch.float32"
                and window["encodes"][0]["tile_size"] == 0)
        encoded, latents = tensors[f"{name}.encode0"], tensors[f"{name}.encode0.latents"]

        def encode(video, encoded=encoded, latents=latents):
            assert torch.equal(video, encoded), "another video was encoded"
            return latents

        motion = reference[:, None] if clip == 0 else unit(frames[-1][:, -variant.motion_frames:])
        if variant.pro:
            y = condition_pro(reference, encode, previous_latents=previous)
            previous = tensors[f"{name}.latent_slice"][0]
            assert previous.shape == (16, 1, 8, 8)
        else:
            y = condition(motion, reference, encode, ref_pad_num=variant.ref_pad_num,
                          ref_pad_cfg=variant.ref_pad_cfg)
        assert torch.equal(tensors[f"{name}.y"], y), "y at the transformer's own input"
        noise = torch.randn(1, 16, 21, 8, 8,
                            generator=torch.Generator().manual_seed(chain.seed(SEED, clip)))
        assert torch.equal(tensors[f"{name}.noise"],
                           noise), "the seed of the clip, and nothing injected into its noise"
        noises.append(noise)
        assert window["arguments"]["input_prompt"] == prompts[clip]
        if variant.wan == "2.1":
            assert_clip_saw(tensors[f"{name}.clip0"], motion)
        frames.append(tensors[f"{name}.frames"])
        assert frames[-1].shape == (3, 81, 64, 64)
    assert report["files"][-1]["frames"] == chain.length(clips, overlap)
    joined = torch.cat([part[:, chain.kept(clip, clips, overlap, variant.keep_new)]
                        for clip, part in enumerate(frames)], dim=1)
    first = sum(len(one["windows"]) for one in all_profiles.report["tasks"][:number])
    saved = [load_file(all_profiles.work / f"saved-{first + clip}.safetensors")["frames"]
             for clip in range(clips)]
    assert torch.equal(torch.cat(saved, dim=1), joined), "each window saves its own frames alone"
    assert len(report["files"]) == 1, "one video, which grows"
    video = Path(report["files"][0]["path"])
    found = json.loads(video.with_name(f"{video.stem}.drift.json").read_text(encoding="utf-8"))
    assert (found["verdict"] in all_profiles.log
            and video.with_name(f"{video.stem}.drift.png").is_file())
    lines = [line for line in report["log"].splitlines() if line.startswith("[SVI]")]
    seeds = ", ".join(str(chain.seed(SEED, clip)) for clip in range(clips))
    assert any(f"{variant.title} (" in line and f"seeds {seeds}" in line for line in lines)
    assert sum(f"/{clips} done in" in line for line in lines) == clips
    assert "LoRA: 20 of 20 layers matched" in report["log"]


@pytest.mark.parametrize("number", range(len(ACCELERATED)), ids=[p.stem for p in ACCELERATED])
def test_an_accelerator_makes_as_many_steps_as_its_profile_says(number, all_profiles):
    """At the noise levels of the authors' scheduler, and half of them on each expert."""
    name = ACCELERATED[number].stem
    window, = all_profiles.report["tasks"][len(PROFILES) + number]["windows"]
    settings = json.loads(ACCELERATED[number].read_text(encoding="utf-8"))
    steps, shift = int(name.split()[-2]), settings["flow_shift"]
    even = [1 - step / steps for step in range(steps)]
    levels = [1000 * shift * s / (1 + (shift - 1) * s) for s in even]
    made = [(one["timestep"], one["expert"]) for one in window["forwards"]]
    if settings["sample_solver"] == "euler":
        last, _ = made.pop()
        assert last < 6, "WanGP's last step, which changes nothing"
    assert [time for time, _ in made] == pytest.approx(levels, abs=3)
    experts = [expert for _, expert in made]
    assert experts == ([1] * (steps // 2) + [2] * (steps // 2)
                       if settings["model_type"] == "i2v_2_2" else [1] * steps)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_a_profile_is_the_same_run_whatever_the_settings_were_before(profile, wangp):
    """WanGP applies a profile on top of the current settings."""
    ours = json.loads(profile.read_text(encoding="utf-8"))
    stock = json.loads((wangp / "models/_settings.json").read_text(encoding="utf-8"))
    before = [json.loads(path.read_text(encoding="utf-8"))
              for path in (*wangp.glob("profiles/*/*.json"), *wangp.glob("defaults/*.json"))]
    assert len(before) > 200
    left = {name for settings in before for name, value in settings.items()
            if name in DECIDING and name not in ours and value != stock[name]}
    assert left == set()
    assert {"resolution", "video_prompt_type", "image_prompt_type"} < set(ours)


def test_the_metadata_bring_the_run_back(all_profiles, run_wangp, svi):
    number = next(n for n, path in enumerate(PROFILES) if path.stem == "SVI-2.0 Unified - 50 Steps")
    file = all_profiles.report["tasks"][number]["files"][-1]
    settings = file["metadata"]
    assert provenance(settings)["variant"] == "2.0"
    assert provenance(settings)["seeds"] == [SEED, SEED + 42, SEED + 84]
    assert settings["video_length"] == 233 and settings["sliding_window_overlap"] == 5
    again = run_wangp(svi, {"level": "loop", "tasks": [{**settings, "model_type": "tiny_i2v"}]})
    report, = again.report["tasks"]
    assert report["success"], report["errors"]
    for window in (1, 2, 3):
        frames = all_profiles.tensors[f"task{number}.window{window}.frames"]
        assert again.tensors[f"task0.window{window}.frames"].equal(frames)


SHOT = "SVI Shot Infinite - 50 Steps"


@pytest.fixture(scope="module")
def overridden(run_wangp, svi) -> trees.Outcome:
    custom = task(SHOT, 2)["custom_settings"]
    pair = task("SVI-2.0 - 50 Steps", 2)["activated_loras"]
    loras = task(SHOT, 2)["activated_loras"]
    tasks = [
        task(SHOT, 2, custom_settings={**custom, "num_motion_frames": "5 cfg", "ref_pad_num": "3",
                                       "seed_times": 7}),
        task(SHOT, 2, custom_settings={**custom, "svi_variant": "off"}, video_length=161),
        task(SHOT, 2, activated_loras=[*loras, "svi-film-opt-10212025.safetensors"],
             loras_multipliers="1 1"),
        task(SHOT, 2, activated_loras=pair, loras_multipliers="1 1"),
        task(SHOT, 2, custom_settings={**custom, "num_motion_frames": "1", "ref_pad_num": "-7"}),
        task(SHOT, 2, image_prompt_type="SE", image_end=str(svi / "icons" / "none.png")),
        task(SHOT, 1, video_length=49),
        task(SHOT, 1, activated_loras=["svi-shot-broken.safetensors"]),
    ]
    tiny.write_lora(svi / "loras/wan_i2v/svi-shot-broken.safetensors", "svi")
    stray = {key.replace("ffn", "fnn"): tensor
             for key, tensor in load_file(svi
                     / "loras/wan_i2v/svi-shot-broken.safetensors").items()}
    save_file(stray, svi / "loras/wan_i2v/svi-shot-broken.safetensors")
    return run_wangp(svi, {"level": "loop", "tasks": tasks, "setup": "svi_jobs:keep_saved"},
                     timeout=600)


def test_custom_settings_override_the_variant(overridden):
    tensors, report = overridden.tensors, overridden.report["tasks"][0]
    assert report["success"], report["errors"]
    reference = start_image(overridden)
    motion = unit(tensors["task0.window1.frames"][:, -5:])
    video = tensors["task0.window2.encode0"]
    assert (torch.equal(video[:, :5], motion)
            and torch.equal(video[:, 5:8], reference[:, None].expand(-1, 3, -1, -1)))
    assert not video[:, 8:].any()
    assert (tensors["task0.window2.y"][:4].flatten(2)[..., 0].T.flatten().tolist()
            == [1.0] * 8 + [0.0] * 76)
    noise = torch.randn(1, 16, 21, 8, 8, generator=torch.Generator().manual_seed(SEED + 7))
    assert torch.equal(tensors["task0.window2.noise"], noise)
    assert report["files"][-1]["frames"] == 157


@pytest.mark.parametrize(("number", "said"), [
    (2, "two SVI LoRAs of different variants are active"),
    (3, "is for Wan 2.2, but the chosen model is Wan 2.1"),
    (4, "Set it to auto or a number from -1 to 80"),
    (5, "end image"),
    (7, "these unknown keys: pipe.dit.blocks.0.fnn.0.lora_A.default.weight"),
])
def test_what_cannot_be_is_said_before_anything_is_generated(number, said, overridden):
    report = overridden.report["tasks"][number]
    assert not report["success"] and not report["windows"]
    assert said in " ".join(report["errors"])


def test_a_short_request_is_one_whole_clip(overridden):
    report = overridden.report["tasks"][6]
    assert report["success"], report["errors"]
    assert [file["frames"] for file in report["files"]] == [81]


def test_a_video_that_wangp_saw_grow_is_continued_as_a_whole(run_wangp, svi):
    job = {"level": "play", "play": "svi_jobs:continue_a_grown_video", "settings": task(SHOT, 1)}
    report = run_wangp(svi, job).report
    assert report["seen"][0] < 161, "WanGP remembers how long a video is"
    assert report["frames"] == [161, 241]


def test_with_svi_off_the_frames_are_those_of_an_unpatched_wangp(overridden, svi, wangp, wangp_copy,
                                                                 run_wangp):
    stock, bare = wangp_copy(wangp), wangp_copy(svi)
    write_loras(stock)
    for name in ("svi-shot.safetensors",):  # stock WanGP does not load the authors' keys
        tiny.write_lora(stock / "loras/wan_i2v" / name, "plain", scale=0.05)
    shutil.rmtree(bare / "wan2gp_svi")
    tiny.write_lora(bare / "loras/wan_i2v/svi-shot.safetensors", "plain", scale=0.05)
    settings = task(SHOT, 2, video_length=161)
    tasks = [settings, {**settings, "activated_loras": [], "loras_multipliers": ""}]
    unpatched = run_wangp(stock, {"level": "loop", "tasks": tasks})
    without_package = run_wangp(bare, {"level": "loop", "tasks": tasks})
    patched = run_wangp(svi, {"level": "loop", "tasks": tasks[1:]})
    for window in (1, 2):
        frames = unpatched.tensors[f"task0.window{window}.frames"]
        assert overridden.tensors[f"task1.window{window}.frames"].equal(frames), "SVI variant: off"
        assert without_package.tensors[f"task0.window{window}.frames"].equal(
            frames), "the package deleted"
        frames = unpatched.tensors[f"task1.window{window}.frames"]
        assert patched.tensors[f"task0.window{window}.frames"].equal(frames), "no SVI LoRA"
        assert without_package.tensors[f"task1.window{window}.frames"].equal(
            frames), "no SVI LoRA, no package"


def test_a_16_bit_vae_is_encoded_in_32_bit_where_it_fits_and_else_it_is_said(run_wangp, svi,
                                                                             all_profiles):
    job = {"level": "loop", "vae_precision": "16", "tasks": [task(SHOT, 1)]}
    ample, short = run_wangp(svi, job), run_wangp(svi, {**job, "vram_mb": 128})
    encode, = ample.report["tasks"][0]["windows"][0]["encodes"]
    assert (encode["vae_dtype"] == "torch.float32" and encode["dtype"] == "float32"
            and encode["tile_size"] == 0)
    shot = next(n for n, path in enumerate(PROFILES) if path.stem == SHOT)
    assert ample.tensors["task0.window1.y"].equal(all_profiles.tensors[f"task{shot}.window1.y"])
    assert "[SVI] VAE" not in ample.log
    encode, = short.report["tasks"][0]["windows"][0]["encodes"]
    assert encode["vae_dtype"] == "torch.float16" and encode["tile_size"] > 0
    assert "[SVI] VAE: clips are encoded in 16 bit, in tiles of" in short.log


PIPELINES = [VARIANTS[id] for id in ("shot", "film-opt", "2.0-wan22", "2.0-pro")]


@pytest.mark.parametrize("version", [*trees.COMMITS, *later.LATER])
def test_the_pipeline_of_every_version(version, run_wangp, wangp_at, wangp_copy):
    tree = wangp_copy(wangp_at(version))
    install(tree)
    tasks = [{"model": MODEL["i2v" if variant.wan == "2.1" else "i2v_2_2"], "windows": [{}, {}],
              "overlap": variant.motion_frames, "loras": [lora.name for lora in variant.loras],
              "setup": "svi_jobs:choose_variant", "each": "svi_jobs:attach_clip"}
             for variant in PIPELINES]
    outcome = run_wangp(tree, {"level": "any2video", "tasks": tasks})
    assert outcome.report["version"] == version
    tensors = outcome.tensors
    for number, variant in enumerate(PIPELINES):
        previous = None
        reference = tensors[f"task{number}.window1.arguments.input_video"][:, 0]
        for clip in (0, 1):
            name = f"task{number}.window{clip + 1}"
            assert len(outcome.report["tasks"][number]["windows"][clip]["encodes"]) == 1

            def encode(video, name=name):
                assert torch.equal(video, tensors[f"{name}.encode0"])
                return tensors[f"{name}.encode0.latents"]

            if variant.pro:
                y = condition_pro(reference, encode, previous_latents=previous)
                previous = tensors[f"{name}.latent_slice"][0]
            else:
                motion = tensors[f"{name}.arguments.input_video"]
                assert motion.shape[1] == (variant.motion_frames if clip else 1)
                y = condition(motion, reference, encode, ref_pad_num=variant.ref_pad_num)
            assert torch.equal(tensors[f"{name}.y"], y), variant.id
            if variant.wan == "2.1":
                assert_clip_saw(tensors[f"{name}.clip0"], motion)
            noise = torch.randn(1, 16, 21, 8, 8,
                                generator=torch.Generator().manual_seed(42 + 42 * clip))
            assert torch.equal(tensors[f"{name}.noise"], noise), variant.id


@pytest.mark.parametrize("version", [*trees.COMMITS, *later.LATER])
def test_the_program_of_every_version(version, run_wangp, wangp_at, wangp_copy):
    """`wgp.py --process` on a profile's settings: the loop's hooks, from
    the prompt to the metadata."""
    tree = wangp_copy(wangp_at(version))
    install(tree)
    write_loras(tree)
    outcome = run_wangp(tree,
                        {"level": "process", "settings": task("SVI-2.0 Unified - 50 Steps", 2)})
    report, = outcome.report["tasks"]
    assert (report["success"] and [window["arguments"]["frame_num"] for window in report["windows"]]
            == [81, 81])
    prompts = [window["arguments"]["input_prompt"] for window in report["windows"]]
    assert prompts == PROMPTS.split("\n\n")[:2], "two clips: a prompt each"
    tensors = outcome.tensors
    first, second = (tensors[f"task0.window{window}.encode0"] for window in (1, 2))
    reference = tensors["task0.window1.arguments.pre_video_frame"].movedim(-1, 0)
    # WanGP's own copy is truncated to 8 bit, not rounded
    assert (first - unit(reference)[:, None]).abs().max() < 0.01
    assert torch.equal(second[:, 5:], first[:, :1].expand(-1, 76, -1, -1))
    frames = tensors["task0.window1.frames"]
    last = unit(frames) if frames.dtype == torch.uint8 else frames.clamp(-1, 1)
    assert (second[:, :5] - last[:, -5:]).abs().max() <= 1 / 255 + 1e-6
    # these keep a file for each window
    videos = [76, 157] if version in ("9.91", "10.12") else [157]
    assert [file["frames"] for file in report["files"]] == videos
    assert provenance(report["files"][-1]["metadata"])["seeds"] == [SEED, SEED + 42]
    for clip in (0, 1):
        noise = torch.randn(1, 16, 21, 8, 8,
                            generator=torch.Generator().manual_seed(chain.seed(SEED, clip)))
        assert torch.equal(tensors[f"task0.window{clip + 1}.noise"], noise)
