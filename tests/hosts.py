"""A minimal WanGP that fits the contract: every name in its tables and the lines around every hook,
nothing else."""

from pathlib import Path

from wan2gp_svi.wangp import contract

JOIN = ("num_frames_generated = guide_start_frame - (source_video_frames_count - "
        "source_video_overlap_frames_count) ")


def wgp(version: str = "12.60", *, call: str = "samples = wan_model.generate(") -> str:
    """wgp.py; `call` is the line that calls the pipeline."""
    names = [row.name for row in contract.NAMES if row.hook == "before_generate"
             and "|" not in row.name]
    arguments = ", ".join(name for name in names
                          if name not in ("wan_model", "server_config", "save_path"))
    return f'''\
from shared.utils.audio_video import save_video
global_queue_ref = []
WanGP_version = "{version}"
wan_model, server_config, save_path = None, {{}}, "outputs"

def generate_media({arguments}):
    global wan_model
    guide_start_frame = 0
    while True:
        stop_current_sample = False
        while True:
            window_no += 1
            try:
                {call}
                    input_prompt=prompt, latents=return_latent_slice)
            except Exception:
                raise
            sample = samples
            if prefix_video is not None and window_no == 1:
                sample = prefix_video + sample
            elif sliding_window and window_no > 1 and reuse_frames > 0:
                sample = sample[:, reuse_frames:]
            {JOIN}
            frames_already_processed = [frames_already_processed, sample, num_frames_generated]
            video_path = "a.mp4"
            save_video(tensor=sample, save_file=video_path, fps=fps)
            configs = {{}}
            configs["generation_time"] = round(end_time-start_time)
            record(configs, video_path)
'''


ANY2VIDEO = '''\
from .modules.vae import WanVAE
from .modules.t5 import T5EncoderModel
from .modules.clip import CLIPModel
from shared.utils import files_locator as fl
class WanAny2V:
    def generate(self, seed, image_start, image_end, preframes_count, frame_num, audio_proj):
        seed_g.manual_seed(seed)
        clip_image_start, clip_image_end = image_start, image_end
        lat_y = self.vae.encode([enc], 0)[0]
        msk = torch.ones(1)
        msk = msk.transpose(1, 2)[0]
        overlapped_latents_frames_num = int(1 + (preframes_count-1) // 4)
        return clip_image_start, msk, overlapped_latents_frames_num
'''
MODEL = '''\
class WanModel(ModelMixin, ConfigMixin):
    def preprocess_loras(self, model_type, sd):
        first = next(iter(sd), None)
        return sd, first
'''


def files(version: str = "12.60") -> dict[str, str]:
    """All files that the contract covers."""
    made = {contract.WGP: wgp(version), contract.ANY2VIDEO: ANY2VIDEO, contract.MODEL: MODEL}
    for other in contract.OTHERS:
        if other.file in (contract.ANY2VIDEO,):
            continue
        *inside, name = other.name.split(".")
        lines = made.setdefault(other.file, "")
        head = f"class {inside[0]}:\n" if inside and f"class {inside[0]}:" not in lines else ""
        indent = "    " if inside else ""
        own = (f"def {name}({', '.join(other.parameters)}): ...\n"
               if other.parameters else f"class {name}:\n    x = 1\n")
        made[other.file] = lines + head + indent + own
    return made


def write(root: Path, version: str = "12.60", **changes: str) -> Path:
    for name, text in (files(version) | changes).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    (root / "profiles").mkdir(exist_ok=True)
    return root
