"""The variants of Stable Video Infinity (SVI). Nothing about a variant is written anywhere else.

Source: the scripts, the FAQ and the model cards of github.com/vita-epfl/Stable-Video-Infinity. Standard library only.
"""

import re
from dataclasses import dataclass

CLIP_FRAMES = 81  #: frames of one clip; the LoRAs were trained on this length alone
SEED_STEP = 42  #: what a clip's seed differs by from the seed of the clip before (the authors' `seed_times`)
LORA_REPO = "vita-video-gen/svi-model"


@dataclass(frozen=True)
class Lora:
    """One LoRA file in `LORA_REPO`; `noise` names the expert of Wan 2.2 that it belongs to."""

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
    """How the clips of one SVI variant are conditioned, chained and sampled.

    `motion_frames`  frames of the clip before that open the conditioning video (the authors' `num_motion_frames`)
    `ref_pad_num`    what fills the rest of it: -1 the reference, 0 grey, k the reference k times, then grey
    `ref_pad_cfg`    the mask keeps every motion frame instead of the first alone
    `overlap`        frames that two neighbouring clips share
    `keep_new`       at a seam the shared frames are the new clip's (the old clip loses its last) or the old clip's
    `motion_latents` latents of the clip before that stand in for motion frames (SVI 2.0 Pro alone)
    `prompt_repeat`  clips that each prompt of a stream is used for (the authors' `prompt_repeat_times`)
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
    cfg: float = 5.0
    shift: float = 5.0
    steps: int = 50
    fps: int = 24

    @property
    def pro(self) -> bool:
        return self.motion_latents > 0


def _pair(stem: str) -> tuple[Lora, Lora]:
    high, low = (Lora(f"version-2.0/SVI_Wan2.2-I2V-A14B_{noise}_noise_lora_v2.0{stem}.safetensors", noise)
                 for noise in ("high", "low"))
    return high, low


_FILM = dict(wan="2.1", motion_frames=5, ref_pad_num=0, overlap=5, stream=True)

VARIANTS: dict[str, Variant] = {
    variant.id: variant
    for variant in (
        Variant("shot", "SVI-Shot", "2.1", (Lora("version-1.0/svi-shot.safetensors"),),
                "one scene without cuts, one prompt, endless: the subject and the place of your image stay"),
        Variant("film", "SVI-Film", loras=(Lora("version-1.0/svi-film.safetensors"),), **_FILM,
                about="a story told by a stream of prompts, the first release"),
        Variant("film-opt", "SVI-Film-Opt", loras=(Lora("version-1.0/svi-film-opt-10212025.safetensors"),), **_FILM,
                about="a story told by a stream of prompts: the newest and best Film"),
        Variant("film-transitions", "SVI-Film-Transitions",
                loras=(Lora("version-1.0/svi-film-transitions.safetensors"),), **_FILM,
                about="a stream of prompts with changes of scene between them"),
        Variant("tom", "SVI-Tom", "2.1", (Lora("version-1.0/svi-tom.safetensors"),),
                "cartoons in the manner of Tom and Jerry, told by a stream of prompts",
                ref_pad_num=0, stream=True),
        Variant("talk", "SVI-Talk", "2.1", (Lora("version-1.0/svi-talk.safetensors"),),
                "a talking person; here its conditioning alone, without the audio", cfg=2.0, fps=25),
        Variant("dance", "SVI-Dance", "2.1", (Lora("version-1.0/svi-dance.safetensors"),),
                "a dancing person; here its conditioning alone, without the poses", cfg=2.0, fps=25),
        Variant("2.0", "SVI-2.0", "2.1", (Lora("version-2.0/SVI_Wan2.1-I2V-14B_lora_v2.0.safetensors"),),
                "one LoRA for one scene or for a story; your image stays the anchor",
                motion_frames=5, overlap=5, stream=True, prompt_repeat=2),
        Variant("2.0-wan22", "SVI-2.0 (Wan 2.2)", "2.2", _pair(""),
                "SVI 2.0 for the two experts of Wan 2.2", keep_new=False, stream=True, fps=15),
        Variant("2.0-pro", "SVI-2.0 Pro (Wan 2.2)", "2.2", _pair("_pro"),
                "chains latents instead of decoded frames, for livelier motion",
                motion_latents=1, overlap=5, keep_new=False, stream=True, cfg=4.0, fps=15),
    )
}


def identify(name: str) -> Variant | None:
    """The variant of a LoRA file, by its name alone (a path or URL; folders and case aside), or None.

    Knows the authors' names, Kijai's fp16 copies (`SVI_v2_PRO_Wan2.2-I2V-A14B_HIGH_lora_rank_128_fp16`) and WanGP's.
    """
    stem = re.split(r"[\\/]", name.partition("?")[0])[-1].lower().removesuffix(".safetensors")
    words = set(re.split(r"[^a-z0-9]+", re.sub(r"wan[\W_]?2[\W_]?([12])(?!\d)", r"wan2\1", stem)))
    if "svi" not in words:
        return None
    if "wan22" in words:
        return VARIANTS["2.0-pro" if "pro" in words else "2.0-wan22"]
    if "film" in words:
        if "opt" in words:
            return VARIANTS["film-opt"]
        return VARIANTS["film-transitions" if words & {"transition", "transitions"} else "film"]
    for id in ("shot", "tom", "talk", "dance"):
        if id in words:
            return VARIANTS[id]
    return VARIANTS["2.0"] if "wan21" in words else None


def noise(name: str) -> str:
    """The expert of Wan 2.2 that a LoRA file is for, by its name: `high`, `low`, or "" when it does not say."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    return next((expert for expert in ("high", "low") if expert in words), "")
