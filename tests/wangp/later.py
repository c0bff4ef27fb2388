"""Imitations of WanGPs newer than 12.60: trees of 12.60, edited to behave like them at SVI's hooks.

The edits are our own: the newer files were read to learn what they do, and none of their lines is
here. Only what the hooks and the tests meet is imitated. Left out:

- a last window whose frames do not fill its latents: 12.60 rounds up and trims, later ones may
  round to the nearest (their frame_scheduler.py could not be read); SVI's windows are whole
- the VAE upsampler that works before frames are joined, and its new arguments
- the one queue for all browsers and its service
- the settings that a form skips when it reads them from a video
- the VRAM allocators of 17.0
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LATER = ("13.0", "13.141", "17.10")
BASE = "12.60"  # key in trees.COMMITS of the version that is edited


class AnchorLost(Exception):
    """The anchor of an edit is not in the tree exactly once. The message names it."""


@dataclass(frozen=True)
class Edit:
    """One difference from 12.60.

    imitates    what a later WanGP does
    since       the first version in LATER that does it
    file        in the tree
    anchor      text that occurs once, in 12.60 or after the edits before this one
    text        its replacement; VERSION stands for the version
    lines       0: the text replaces the anchor within its line.
                n: the anchor is a whole line, and the text replaces n lines from there on
    """

    imitates: str
    since: str
    file: str
    anchor: str
    text: str
    lines: int = 0

    def apply(self, source: str, version: str) -> str:
        text = self.text.replace("VERSION", version)
        if not self.lines:
            self._once(source.count(self.anchor))
            return source.replace(self.anchor, text)
        every = source.splitlines(keepends=True)
        found = [number for number, line in enumerate(every) if line.rstrip() == self.anchor]
        self._once(len(found))
        every[found[0] : found[0] + self.lines] = [text]
        return "".join(every)

    def _once(self, count: int) -> None:
        if count != 1:
            raise AnchorLost(f"{self.file} has {self.anchor.strip()!r} {count} times instead of "
                             f"once, so it cannot be edited ({self.imitates})")


WGP, WAN = "wgp.py", "models/wan/wan_handler.py"
EDITS = (
    Edit("its version", "13.0", WGP, 'WanGP_version = "12.60"', 'WanGP_version = "VERSION"'),
    Edit("what 12.60 lacks", "13.0", WGP, "from collections import defaultdict", """\
from collections import defaultdict
from shared.later import call_with_default_device, lora_folder, share_galleries, unknown_settings
""", 1),

    # the plan of the windows
    Edit("the planner knows of frames that the first window shares with an image or a video",
         "13.0", "shared/utils/frame_scheduler.py", "def clone_loras_slists(slists):", '''\
_plan_without_source = build_default_window_plan


def build_default_window_plan(*, total_frames, first_window_overlap=0,
                              first_window_available_overlap=None, initial_shared_frames=0, step,
                              overlap_offset=1, **keywords):
    """total_frames counts initial_shared_frames of the source: so many fewer are made."""
    shared = first_window_overlap
    if first_window_available_overlap is not None:
        shared = min(shared, first_window_available_overlap)
    shared = _floor_overlap(shared, step, overlap_offset)
    made = max(1, total_frames - min(initial_shared_frames, shared))
    windows = _plan_without_source(total_frames=made + shared, step=step,
                                   overlap_offset=overlap_offset, **keywords)
    windows[0]["overlap_frames"] = shared
    windows[0]["output_frames"] -= shared
    return windows


def clone_loras_slists(slists):'''),
    Edit("the first window shares 1 frame with an image, up to the default overlap with a video",
         "13.0", WGP,
         "default_windows_template = build_default_window_plan(total_frames=current_video_length,",
         """\
source_frames = estimate_first_window_overlap_frames(
            None if fake_start_image else image_start, video_source, keep_frames_video_source, fps)
        default_windows_template = build_default_window_plan(
            first_window_overlap=1 if video_source is None else max(1, default_reuse_frames),
            first_window_available_overlap=source_frames, initial_shared_frames=1,
            total_frames=current_video_length,"""),
    Edit("a continued video is not made longer by the overlap", "13.0", WGP,
         "if test_any_sliding_window(model_type) and video_source is not None: "
         "current_video_length +=  sliding_window_overlap - 1", ""),
    Edit("a single window that shares frames is a sliding window", "13.0", WGP,
         "    default_windows = [dict(window) for window in default_windows_template]", """\
    default_windows = [dict(window) for window in default_windows_template]
    if default_windows:
        sliding_window = len(default_windows) > 1 or default_windows[0]["overlap_frames"] != 0
""", 1),
    Edit("so it is in the loop", "13.0", WGP,
         "                sliding_window = len(default_windows) > 1",
         "                sliding_window = reuse_frames != 0 or len(default_windows) > 1\n", 1),
    Edit("the frames to make are those of the plan", "13.0", WGP,
         "default_requested_frames_to_generate = current_video_length",
         "default_requested_frames_to_generate = sum(one['output_frames'] for one in "
         "default_windows)"),

    # what the loop does with the frames
    Edit("an abort while frames are interpolated leaves the loop before the frames are "
         "counted and saved", "13.0", WGP,
         "previous_last_frame if sliding_window and window_no > 1 else None, "
         "temporal_upsampling, fps)", """\
previous_last_frame if sliding_window and window_no > 1 else None, temporal_upsampling, fps)
                    abort = abort or sample is None or gen.get("abort", False)
                    if abort: break"""),
    Edit("a statement between the last reset and the call", "13.141", WGP,
         "                overridden_inputs = None", """\
                overridden_inputs = None
                if vae_upsampler_handler is None:
                    vae_upsampler_session = None
""", 1),
    Edit("the result is let go as soon as the frames are taken out of it", "13.141", WGP,
         "                sample = samples.cpu()", """\
                sample = samples.cpu()
                samples = None
""", 1),
    Edit("frames stay where they were decoded, and in floats if they are", "17.10", WGP,
         "                sample = samples.cpu()", "                sample = samples\n", 1),
    Edit("only sound, images and HDR are fetched at once", "17.10", WGP,
         'samples = samples.to("cpu")',
         'samples = samples.cpu() if audio_only or is_image or sample_is_hdr else samples'),
    Edit("the motion frames are fetched alone", "17.10", WGP,
         "sample[:, -next_overlap_frames:].clone()",
         "sample[:, -next_overlap_frames:].cpu().clone()"),
    Edit("frames are fetched as 8 bit, before they are joined", "17.10", WGP,
         "sample = convert_video_tensor_to_uint8_chunked(sample)",
         "sample = convert_video_tensor_to_uint8_chunked(sample).cpu()"),
    Edit("nothing is joined to a single source frame", "17.10", WGP,
         "sample = torch.cat([ prefix_video[:, :-source_video_overlap_frames_count], "
         "sample], dim = 1)", "pass"),
    Edit("the pipeline is called by a helper", "17.10", WGP, "samples = wan_model.generate(",
         "samples = call_with_default_device(model_def, model_type, wan_model.generate,"),
    Edit("which leaves out torch's default device for image-to-video", "17.10", WAN,
         'extra_model_def["i2v_class"] = i2v =  test_class_i2v(base_model_type)', """\
extra_model_def["device_explicit"] = base_model_type in ("i2v", "i2v_2_2")
        extra_model_def["i2v_class"] = i2v =  test_class_i2v(base_model_type)"""),
    Edit("more windows are taken over under a lock", "17.10", WGP,
         '            new_extra_windows = gen.get("extra_windows",0)', """\
            with gen_lock:
                new_extra_windows, gen["extra_windows"] = gen.get("extra_windows", 0), 0
""", 2),

    # galleries
    Edit("the galleries belong to all browsers", "13.0", WGP, 'cache = state.get("gen", None)',
         'cache = state["gen"] = share_galleries(state.get("gen"), lock)'),
    Edit("and keep every video", "13.0", WGP,
         'gen["file_list"], gen["file_settings_list"], gen["selected"] = '
         "truncate_list(file_list, file_settings_list, choice)", "pass"),
    Edit("and every sound", "13.0", WGP,
         'gen["audio_file_list"], gen["audio_file_settings_list"], gen["audio_selected"] = '
         "truncate_list(audio_file_list, audio_file_settings_list, audio_choice)", "pass"),
    Edit("a gallery brought back after a restart has absolute paths; here it has "
         "them from the start", "13.0",
         "shared/utils/media_recording.py", "for no, path in enumerate(paths):",
         "for no, path in enumerate(map(os.path.abspath, paths)):"),

    # settings, LoRAs, packages
    Edit("a setting that WanGP does not know is an error", "13.141", WGP,
         "        return None, None, None, None, error", """\
        return None, None, None, None, error

    unknown = unknown_settings(inputs, generate_media)
    if unknown: return err(unknown)
""", 1),
    Edit("so no model has a default that is none", "13.141", WAN,
         '"audio_prompt_type": "A",\n                "adaptive_switch" : 1,',
         '"audio_prompt_type": "A",'),
    Edit("a third guide", "13.141", WGP, "    plugin_data=None,",
         "    plugin_data=None,\n    video_guide3=None,\n    audio_guide3=None,\n", 1),
    Edit("the handler names the folder of its LoRAs", "13.141", WAN,
         "    def get_lora_dir(base_model_type, args, lora_root):", """\
    def get_lora_dir(base_model_type):
        args, lora_root = None, ""
""", 1),
    *(Edit("so it does for its relatives", "13.141", f"models/wan/{name}_handler.py",
           "return wan_family_handler.get_lora_dir(base_model_type, args, lora_root)",
           'return f"{lora_root}/{wan_family_handler.get_lora_dir(base_model_type)}"')
      for name in ("df", "ovi")),
    Edit("and WanGP finds it", "13.141", WGP,
         "lora_dir = get_dir(base_model_type, args, lora_root)",
         "lora_dir = lora_folder(get_dir, base_model_type, args, lora_root)"),
    Edit("mmgp has no version of its own", "17.10", WGP, 'target_mmgp_version = "3.7.12"', "", 1),
    Edit("and none is asked for", "17.10", WGP, "from importlib.metadata import version", "", 5),
)


def make(tree: Path, version: str, python: str = sys.executable) -> Path:
    """Edits a tree of 12.60 in place -> the tree.

    version     one of LATER
    python      the Python whose mmgp becomes a folder of the tree in versions that have it there
    """
    sources: dict[Path, str] = {}
    for edit in EDITS:
        if LATER.index(edit.since) <= LATER.index(version):
            path = tree / edit.file
            source = sources[path] if path in sources else path.read_text(encoding="utf-8")
            sources[path] = edit.apply(source, version)
    for path, source in sources.items():
        path.write_text(source, encoding="utf-8", newline="\n")
    shutil.copyfile(HERE / "later_helpers.py", tree / "shared/later.py")
    if version == "17.10":
        shutil.copytree(_folder_of_mmgp(python), tree / "mmgp",
                        ignore=shutil.ignore_patterns("__pycache__"))
    return tree


def _folder_of_mmgp(python: str) -> Path:
    look = ("import importlib.util; "
            "print(importlib.util.find_spec('mmgp').submodule_search_locations[0])")
    return Path(subprocess.run([python, "-c", look], capture_output=True, encoding="utf-8",
                               check=True).stdout.strip())
