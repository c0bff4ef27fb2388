"""The profiles that users pick in WanGP, generated from the table of variants.

`python -m wan2gp_svi.wangp.profiles [FOLDER]` writes them, and the model that SVI-Dance needs.
WanGP applies a profile on top of the current settings, so each one sets everything that SVI depends
on.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..variants import CLIP_FRAMES, VARIANTS, Variant
from .form import AUTO, STORYBOARD
from .plan import DANCING, TALKING

#: the authors' scripts for Wan 2.1 have an English one of their own, and those for Wan 2.2 have
#: Wan's, which WanGP takes if the field is empty
_NEGATIVE = (
    "flicker, drifting colours, oversaturated, overexposed, washed out, grey haze, blurry, low "
    "detail, compression artefacts, watermark, subtitles, still picture, distorted face, deformed "
    "hands, extra fingers, extra limbs, crowded background, walking backwards")
_SIZE = "832x480"  # of the LoRAs' training; WanGP gives a video its image's shape
_NARROW = "672x384"  # the same of Talk and Dance, 640x480, or the nearest in WanGP's list
_CLIPS = 5  # that a profile sets; with one, SVI has nothing to do
_LORAS = "https://huggingface.co/DeepBeepMeep/Wan{}/resolve/main/loras_accelerators/"


@dataclass(frozen=True)
class Recipe:
    """How a profile samples.

    `loras`   an accelerator's (URL, strength), two for Wan 2.2
    `euler`   WanGP's euler instead of its unipc
    `shift`   None for the variant's own
    `switch`  the noise level below which Wan 2.2 takes its second expert, of 1000
    """

    name: str
    steps: int
    cfg: float
    help: str
    loras: tuple[tuple[str, str], ...] = ()
    euler: bool = False
    shift: float | None = None
    switch: int = 875


_HALF = "The accelerator runs at half strength"
_FULL = "Full quality, but slow: 50 steps with guidance."
_RANK64 = _LORAS.format("2.1") + "Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors"
_LIGHTX2V = Recipe(
    "LightX2V", 4, 1.0, f"Fast. {_HALF}, as users do for more motion. It trades detail for time: "
    "use 6 to 8 steps if you can wait.", ((_RANK64, "0.5"),))
_LIGHTX2V_8 = Recipe(
    "LightX2V", 8, 1.0, "As SVI's authors accelerate it: full strength, 8 steps of euler. It takes "
    "twice the time of 4 steps, and full strength can weaken motion.", ((_RANK64, "1"),),
    euler=True)
_FUSIONIX = Recipe(
    "FusioniX", 10, 1.0, f"Fast, with more motion and detail than LightX2V. {_HALF}.",
    ((_LORAS.format("2.1") + "Wan2.1_I2V_14B_FusionX_LoRA.safetensors", "0.5"),))
_SEKO = _LORAS.format("2.2") + "Wan2.2_I2V_A14B_{}_4steps_lora_rank64_Seko_V1_forKJ.safetensors"
_PAIR = ((_SEKO.format("HIGH"), "0.5;0"), (_SEKO.format("LOW"), "0;1"))
_LIGHTNING = Recipe(
    "Lightning", 4, 1.5, f"Fast. {_HALF} on high noise, which makes motion. It trades detail for "
    "time: the profile with 6 steps takes half as long again.", _PAIR)
#: 900 lies between its third step and its fourth, so each expert makes three
_LIGHTNING_6 = Recipe(
    "Lightning", 6, 1.5, "As SVI's authors accelerate it: 3 steps on high noise and 3 on low, with "
    f"a shift of 8. {_HALF} on high noise. WanGP has no dpm++_sde, which they use, so this takes "
    "unipc.", _PAIR, shift=8.0, switch=900)

#: title, variant, accelerators; none for Film Transitions, because they swallow its transitions,
#: and none at full strength for Film, which suffers most from them
#: WanGP sorts profiles by name: the blank puts the one for beginners before all other SVI profiles
_SETS = (
    ("SVI Shot Infinite", "shot", (_LIGHTX2V, _LIGHTX2V_8, _FUSIONIX)),
    ("SVI-Film", "film-opt", (_LIGHTX2V, _FUSIONIX)),
    ("SVI-Film Transitions", "film-transitions", ()),
    ("SVI-Tom", "tom", (_LIGHTX2V, _LIGHTX2V_8, _FUSIONIX)),
    ("SVI-Talk", "talk", (_LIGHTX2V,)),
    ("SVI-Dance", "dance", ()),
    ("SVI-2.0 Unified", "2.0", (_LIGHTX2V, _LIGHTX2V_8, _FUSIONIX)),
    ("SVI-2.0", "2.0-wan22", (_LIGHTNING, _LIGHTNING_6)),
    ("SVI-2.0 Pro", "2.0-pro", (_LIGHTNING, _LIGHTNING_6)),
)


@dataclass(frozen=True)
class Profile:
    """One profile: `folder`/`name`.json with `settings`."""

    folder: str
    name: str
    variant: Variant
    recipe: Recipe
    settings: dict[str, Any]

    def text(self) -> str:
        return json.dumps(self.settings, indent=4) + "\n"


def profiles() -> list[Profile]:
    found = []
    for title, id, accelerators in _SETS:
        variant = VARIANTS[id]
        folder = "wan_i2v" if variant.wan == "2.1" else "wan_2_2"
        full = Recipe("", variant.steps, variant.cfg, _FULL, euler=variant.talks)
        for recipe in (full, *accelerators):
            name = f"{title} {recipe.name}".rstrip() + f" - {recipe.steps} Steps"
            found.append(Profile(folder, name, variant, recipe, _settings(variant, recipe)))
    return found


def _settings(variant: Variant, recipe: Recipe) -> dict[str, Any]:
    two = variant.wan == "2.2"
    own = [(lora.url, {"high": "1;0", "low": "0;1"}.get(lora.noise, "1")) for lora in variant.loras]
    urls, strengths = zip(*own, *recipe.loras, strict=True)
    return {
        "model_type": (TALKING if variant.talks else DANCING if variant.poses
                       else "i2v_2_2" if two else "i2v"),
        "activated_loras": list(urls),
        "loras_multipliers": " ".join(strengths),
        # WanGP's euler wastes the last of its steps
        "num_inference_steps": recipe.steps + recipe.euler,
        "guidance_phases": 2 if two else 1,
        **dict.fromkeys(("guidance_scale", "guidance2_scale", "guidance3_scale"), recipe.cfg),
        "model_switch_phase": 1,
        "switch_threshold": recipe.switch if two else 0,
        "switch_threshold2": 0,
        "flow_shift": recipe.shift or variant.shift,
        "sample_solver": "euler" if recipe.euler else "unipc",
        "negative_prompt": "" if two else _NEGATIVE,
        "NAG_scale": 1,
        "force_fps": "",
        "resolution": _SIZE,
        "video_prompt_type": "",
        "image_mode": 0,
        "video_length": CLIP_FRAMES * _CLIPS,
        "image_prompt_type": "S",
        "multi_prompts_gen_type": "PW",
        "sliding_window_size": CLIP_FRAMES,
        "sliding_window_overlap": variant.overlap,
        "sliding_window_discard_last_frames": 0,
        "sliding_window_trim_first_frames": 0,
        "sliding_window_color_correction_strength": 0,
        "motion_amplitude": 1,
        "skip_steps_cache_type": "",
        "self_refiner_setting": 0,
        "perturbation_switch": 0,
        "perturbation_layers": [9],  # this and the next two: WanGP's own, without effect
        "perturbation_start_perc": 10,
        "perturbation_end_perc": 90,
        "cfg_star_switch": 0,
        "apg_switch": 0,
        "RIFLEx_setting": 2,
        **(_talking(variant, recipe) if variant.talks else {}),
        **({"force_fps": str(variant.fps), "video_prompt_type": "V", "resolution": _NARROW}
           if variant.poses else {}),
        "custom_settings": {"svi_variant": AUTO, "num_motion_frames": AUTO, "ref_pad_num": AUTO,
                            STORYBOARD: AUTO, "svi_run": AUTO},
        "help": _help(variant, recipe),
    }


def _talking(variant: Variant, recipe: Recipe) -> dict[str, Any]:
    """What only a talking person has. An accelerator has no guidance, by text or by sound."""
    return {
        "audio_guidance_scale": 1.0 if recipe.loras else variant.audio_cfg,
        "audio_prompt_type": "A",
        "resolution": _NARROW,
    }


def _help(variant: Variant, recipe: Recipe) -> str:
    sampling = recipe.help
    if recipe.euler:
        sampling += (f" WanGP says {recipe.steps + 1}, because the last step of its euler does "
                     "nothing.")
    if variant.talks:
        return (f"{variant.title}: {variant.about}. Add a start image with a face, and the sound: "
                "it decides how many clips there are. A prompt such as \"a person is talking\" is "
                f"enough. {sampling} More: wan2gp_svi/docs/guide.md#a-talking-person.")
    if variant.poses:
        return (f"{variant.title}: {variant.about}. Add a start image of the dancer, and a control "
                "video in the shape of the image: skeletons on black, or one person and \"Find the "
                "poses\". A "
                f"prompt such as \"the person is dancing\" is enough. {sampling} More: "
                "wan2gp_svi/docs/guide.md#a-dancing-person.")
    if variant.stream:
        clips = f"{variant.prompt_repeat} clips" if variant.prompt_repeat > 1 else "clip"
        prompts = (f"Write one prompt for every {clips}, with an empty line between prompts; the "
                   "last one is used for all further clips.")
    else:
        prompts = "Write one prompt for the whole video."
    film = (" Film suffers most from accelerators and quantised weights."
            if variant.film else "")
    return (f"{variant.title}: {variant.about}. Add a start image, and set the number of frames: "
            f"every {CLIP_FRAMES} frames are one clip of 5 seconds. {prompts} {sampling}"
            f"{film} Prompts, warnings and fixes: wan2gp_svi/docs/guide.md.")


def table() -> str:
    """The README's table of profiles (Markdown)."""
    lines = ["| profile | Wan | for | prompts | conditioning | steps |", f"|{'---|' * 6}"]
    for title, id, accelerators in _SETS:
        v = VARIANTS[id]
        repeated = f", each for {v.prompt_repeat} clips" if v.prompt_repeat > 1 else ""
        prompts = f"stream{repeated}" if v.stream else "one, and a sound" if v.talks else (
            "one, and poses" if v.poses else "one")
        frames = f"last {v.motion_frames} frames" if v.motion_frames > 1 else "last frame"
        inside = (f"image, last latent, zeros (clips share {v.overlap} frames)" if v.pro else
                  f"{frames}, then {({-1: 'image', 0: 'grey'})[v.ref_pad_num]}")
        named: dict[str, list[str]] = {}
        for recipe in accelerators:
            named.setdefault(recipe.name, []).append(str(recipe.steps))
        others = [f"{' or '.join(steps)} ({name})" for name, steps in named.items()]
        steps = ", ".join([str(v.steps), *others])
        lines.append(f"| **{title}** | {v.wan} | {v.about} | {prompts} | {inside} | {steps} |")
    return "\n".join(lines)


def model() -> dict[str, Any]:
    """The model of SVI-Dance in WanGP: Image2Video 480p, whose form has a control video. It opens
    with the profile's settings."""
    profile = next(one for one in profiles() if one.variant.poses)
    settings = {name: value for name, value in profile.settings.items()
                if name not in ("model_type", "help")}
    return {
        "model": {
            "name": f"{profile.variant.title} 480p 14B",
            "architecture": "i2v",
            "description": f"Image2Video 480p with {profile.variant.title}: "
                           f"{profile.variant.about}. The control video shows skeletons on "
                           "black, or one person whose poses are found.",
            "URLs": "i2v",
            "guide_preprocessing": {
                "selection": ["V", "PV", "OV"], "default": "V",
                "labels": {"V": "Skeletons, as they are", "PV": "Find the poses",
                           "OV": "Find the poses, aligned with the image"}},
            "skip_video_guide_preprocess": True,  # SVI reads it
        },
        "prompt": "the person is dancing",
        **settings,
    }


def write(folder: Path) -> list[Path]:
    """Writes all profiles below `folder`, and the model beside it; returns their paths."""
    definition = folder.parent / "finetunes" / f"{DANCING}.json"
    definition.parent.mkdir(parents=True, exist_ok=True)
    definition.write_bytes((json.dumps(model(), indent=4) + "\n").encode("utf-8"))
    paths = [definition]
    for profile in profiles():
        path = folder / profile.folder / f"{profile.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(profile.text().encode("utf-8"))
        paths.append(path)
    return paths


if __name__ == "__main__":
    print("\n".join(map(str, write(Path(sys.argv[1] if len(sys.argv) > 1 else "profiles")))))
