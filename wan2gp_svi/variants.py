"""The variants of Stable Video Infinity (SVI). This is the only file that knows a variant.

Source: the scripts, the FAQ and the model cards of github.com/vita-epfl/Stable-Video-Infinity.
Standard library only.
"""

import re
from dataclasses import dataclass
from functools import partial

CLIP_FRAMES = 81  #: frames of a clip; the LoRAs were trained on this length only
SEED_STEP = 42  #: from one clip's seed to the next (the authors' `seed_times`)
LORA_REPO = "vita-video-gen/svi-model"


@dataclass(frozen=True)
class Lora:
    """A LoRA file in `LORA_REPO`. `noise` is the expert of Wan 2.2 that it is for, else ""."""

    path: str
    noise: str = ""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def url(self) -> str:
        return f"https://huggingface.co/{LORA_REPO}/resolve/main/{self.path}"


@dataclass(frozen=True)
class Variant:
    """How the clips of an SVI variant are conditioned, chained and sampled.

    `motion_frames`  frames of the previous clip that open the conditioning video (the authors'
                     `num_motion_frames`)
    `ref_pad_num`    what fills the rest: -1 the reference, 0 grey, k the reference k times, then
                     grey
    `ref_pad_cfg`    the mask keeps every motion frame instead of only the first
    `overlap`        frames that two neighbouring clips share
    `keep_new`       whether a seam shows the new clip's version of them, or the old clip's
    `motion_latents` latents of the previous clip, which replace motion frames (SVI 2.0 Pro only)
    `stream`         made for a stream of prompts
    `prompt_repeat`  clips for each prompt of a stream (the authors' `prompt_repeat_times`)
    `vertical`       made for vertical videos too
    `poses`          follows the poses of a dancer
    `audio_cfg`      guidance by the sound that a person speaks; None for variants without sound
    """

    id: str
    title: str
    wan: str
    loras: tuple[Lora, ...]
    about: str
    motion_frames: int = 1
    ref_pad_num: int = -1
    ref_pad_cfg: bool = False
    overlap: int = 1
    keep_new: bool = True
    motion_latents: int = 0
    stream: bool = False
    prompt_repeat: int = 1
    vertical: bool = False
    poses: bool = False
    cfg: float = 5.0
    audio_cfg: float | None = None
    shift: float = 5.0
    steps: int = 50
    fps: int = 24

    @property
    def pro(self) -> bool:
        return self.motion_latents > 0

    @property
    def film(self) -> bool:
        return self.id.startswith("film")

    @property
    def talks(self) -> bool:
        return self.audio_cfg is not None


def _lora(version: str, name: str) -> tuple[Lora]:
    return (Lora(f"version-{version}/{name}.safetensors"),)


def _pair(stem: str) -> tuple[Lora, Lora]:
    path = "version-2.0/SVI_Wan2.2-I2V-A14B_{}_noise_lora_v2.0{}.safetensors"
    return Lora(path.format("high", stem), "high"), Lora(path.format("low", stem), "low")


_film = partial(Variant, wan="2.1", motion_frames=5, ref_pad_num=0, overlap=5, stream=True)

VARIANTS: dict[str, Variant] = {variant.id: variant for variant in (
    Variant("shot", "SVI-Shot", "2.1", _lora("1.0", "svi-shot"),
            "one scene without cuts, one prompt, endless: the subject and the place of your image "
            "stay"),
    _film("film", "SVI-Film", loras=_lora("1.0", "svi-film"),
          about="a story told by a stream of prompts, the first release"),
    _film("film-opt", "SVI-Film-Opt", loras=_lora("1.0", "svi-film-opt-10212025"),
          about="a story told by a stream of prompts: the newest and best Film"),
    _film("film-transitions", "SVI-Film-Transitions", loras=_lora("1.0", "svi-film-transitions"),
          about="a stream of prompts with changes of scene between them"),
    Variant("tom", "SVI-Tom", "2.1", _lora("1.0", "svi-tom"),
            "cartoons like Tom and Jerry, told by a stream of prompts",
            ref_pad_num=0, stream=True),
    Variant("talk", "SVI-Talk", "2.1", _lora("1.0", "svi-talk"),
            "a person who speaks your sound, as long as it is", cfg=2.0, audio_cfg=5.0, fps=25),
    Variant("dance", "SVI-Dance", "2.1", _lora("1.0", "svi-dance"),
            "a person who dances as your pose video does", vertical=True, poses=True, cfg=2.0,
            fps=25),
    Variant("2.0", "SVI-2.0", "2.1", _lora("2.0", "SVI_Wan2.1-I2V-14B_lora_v2.0"),
            "one scene or a story; your image stays the anchor",
            motion_frames=5, overlap=5, stream=True, prompt_repeat=2),
    Variant("2.0-wan22", "SVI-2.0 (Wan 2.2)", "2.2", _pair(""),
            "SVI 2.0 for the two experts of Wan 2.2", keep_new=False, stream=True, fps=15),
    Variant("2.0-pro", "SVI-2.0 Pro (Wan 2.2)", "2.2", _pair("_pro"),
            "chains latents instead of decoded frames, for livelier motion",
            motion_latents=1, overlap=5, keep_new=False, stream=True, vertical=True, cfg=4.0,
            fps=15),
)}


def identify(name: str) -> Variant | None:
    """The variant of a LoRA file, by the name in its path or URL; None for any other file.

    Knows the authors' names, WanGP's, those of Kijai's fp16 copies
    (`SVI_v2_PRO_Wan2.2-I2V-A14B_HIGH_lora_rank_128_fp16`), and short ones (`SVI2Pro_high`).
    """
    stem = re.split(r"[\\/]", name.partition("?")[0])[-1].lower().removesuffix(".safetensors")
    stem = re.sub(r"wan[\W_]?2[\W_]?([12])(?!\d)", r"wan2\1", stem)
    wan = next((wan for wan in ("2.1", "2.2") if "wan" + wan.replace(".", "") in stem), "")
    words = set(re.findall(r"[a-z]+", stem))
    if "svi" not in words:
        return None
    # SVI is for two experts on Wan 2.2 alone
    if wan == "2.2" or not wan and words & {"high", "low", "pro"}:
        return VARIANTS["2.0-pro" if "pro" in words else "2.0-wan22"]
    if "film" in words:
        if "opt" in words:
            return VARIANTS["film-opt"]
        return VARIANTS["film-transitions" if words & {"transition", "transitions"} else "film"]
    for id in ("shot", "tom", "talk", "dance"):
        if id in words:
            return VARIANTS[id]
    return VARIANTS["2.0"] if wan == "2.1" else None


def noise(name: str) -> str:
    """The expert of Wan 2.2 that a LoRA file is for, by its name: `high`, `low` or ""."""
    words = re.findall(r"[a-z]+", name.lower())
    return next((expert for expert in ("high", "low") if expert in words), "")
