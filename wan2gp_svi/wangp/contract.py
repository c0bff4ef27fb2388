"""What SVI needs of WanGP, in tables, and the check that it is there. No WanGP code runs.

WanGP changes every few days. So its source is read before the hooks go in, and at each start of
WanGP: each hook must stand in its place, each name that a hook reads must be set there, and each
function that SVI calls or replaces must take the same arguments. If not, SVI is off and says why.

    check               what keeps SVI out of a WanGP, in sentences for the user
    missing_optional    what SVI works without in a WanGP

Standard library only. Reading all files takes about 0.4 seconds.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from ..install.patches import (
    TOO_DEEP,
    Hunk,
    Patch,
    PatchError,
    fault,
    hook_name,
    hooked,
    outline,
    read_series,
    statements_with,
    unhooked,
)
from ..install.syntax import NONE, SET, UNSET, Place, bound, held_at, places, stores

#: The newest WanGP that was run with SVI, and the newest whose source was read.
RUN, READ = "12.60", "17.10"
OLDEST = 9  #: the first WanGP that has what SVI needs
ADVICE = "Get a newer release of SVI for WanGP, unless you edited that file: then undo the edit"
_RESTORE = "Update WanGP again, or restore that file"
UNAFFECTED = "WanGP itself is not affected"

WGP, ANY2VIDEO, MODEL = HOOKED = (
    "wgp.py", "models/wan/any2video.py", "models/wan/modules/model.py")
HANDLER, VAE = "models/wan/wan_handler.py", "models/wan/modules/vae.py"
VIDEO, METADATA = "shared/utils/audio_video.py", "shared/utils/video_metadata.py"
MULTITALK = "models/wan/multitalk/multitalk.py"
WHOLEBODY, LOCATOR = "preprocessing/dwpose/wholebody.py", "shared/utils/files_locator.py"
PROMPTS, PLUGINS = "shared/utils/prompt_parser.py", "shared/utils/plugins.py"
LOOPS = ("generate_media", "generate_video")  # the loop over clips: since 12.21, and before
PIPELINE = ("WanAny2V.generate",)


# ------------------------------------------------------------------------------------- the tables

@dataclass(frozen=True)
class Name:
    """A name that a hook reads from its `scope`, or an argument of it. `none`: it may be None."""

    name: str
    hook: str
    use: str
    optional: bool = False
    none: bool = False


@dataclass(frozen=True)
class Other:
    """A function that must begin with these parameters, a class, or another name of a file.

    keywords: more parameters of the function, in any order
    optional: SVI works without it
    own: SVI has its own where it is missing
    beside: only `use` needs it, and SVI works without that
    """

    file: str
    name: str
    parameters: tuple[str, ...]
    use: str
    optional: bool = False
    own: bool = False
    beside: bool = False
    keywords: frozenset[str] = frozenset()


_LOOP = "before_generate"
NAMES = (
    # what is asked for
    Name("image_mode", _LOOP, "whether an image is asked for"),
    Name("base_model_type", _LOOP, "the kind of Wan"),
    Name("model_type", _LOOP, "the model of the run"),
    Name("model_def", _LOOP, "the LoRAs of the model itself"),
    Name("activated_loras", _LOOP, "the variant"),
    Name("loras_selected", _LOOP, "the LoRA files of the run", none=True),
    Name("custom_settings", _LOOP, "SVI's settings", optional=True),  # since 10.80
    Name("task", _LOOP, "the seed that was asked for", none=True),
    Name("seed", _LOOP, "the seed of clip 1"),
    Name("repeat_no", _LOOP, "the number of the video"),
    Name("fps", _LOOP, "the length in seconds"),
    # the window
    Name("window_no", _LOOP, "the number of the clip"),
    Name("total_windows", _LOOP, "the number of clips"),
    Name("current_video_length", _LOOP, "the length of the clip"),
    Name("reuse_frames", _LOOP, "the overlap of the clip"),
    Name("default_windows", _LOOP, "WanGP's plan of all clips", optional=True),  # since 12.54
    Name("prompt", _LOOP, "the prompt of the clip"),
    Name("prompts", _LOOP, "all prompts"),
    Name("original_prompts", _LOOP, "the prompts as typed", none=True),
    Name("return_latent_slice", _LOOP, "latents for the next clip", none=True),
    # the image or the video to start from
    Name("image_start", _LOOP, "the start image", none=True),
    Name("image_start_tensor", _LOOP, "the reference", none=True),
    Name("image_end_tensor", _LOOP, "the end image, which SVI refuses", none=True),
    Name("prefix_video", _LOOP, "the video to continue", none=True),
    Name("video_source", _LOOP, "the file of the video to continue", none=True),
    Name("source_video_frames_count", _LOOP, "the length of the video to continue"),
    Name("source_video_overlap_frames_count", _LOOP, "its overlap with clip 1", optional=True),
    # where the clips go, and what WanGP shows
    Name("save_path", _LOOP, "the folder for videos"),
    Name("server_config", _LOOP, "how videos are written"),
    Name("frames_already_processed", _LOOP, "the clips in memory", none=True),
    Name("gen", _LOOP, "the gallery and the progress"),
    Name("send_cmd", _LOOP, "messages on the page"),
    Name("wan_model", _LOOP, "the pipeline"),
    Name("lock", _LOOP, "safe changes of the gallery", optional=True),
    Name("api_return_video_uint8", _LOOP, "callers that want all frames", optional=True),  # 11.26
    Name("postprocess_audio", _LOOP, "soundtracks that WanGP makes", optional=True),  # since 11.66
    Name("audio_source", _LOOP, "soundtracks that you add", optional=True),
    Name("audio_guide", _LOOP, "the sound that a person speaks", optional=True, none=True),
    Name("original_audio_guide", _LOOP, "the same, as you gave it", optional=True, none=True),
    Name("video_guide", _LOOP, "the pose video", optional=True, none=True),
    Name("video_prompt_type", _LOOP, "whether there is one", optional=True, none=True),
    Name("WanGP_version", _LOOP, "messages", optional=True),
    # after the window
    Name("frames_already_processed", "after_join", "the clips before", none=True),
    Name("stop_current_sample", "after_join", "ending early", optional=True),  # since 11.52
    Name("clip_image_start", "clip_vision_frame", "the image that CLIP sees", none=True),
)
DEMO, TAB, SELFTEST = "the demo model", "the SVI tab", "the self-test"
TALK, FOUND = "SVI-Talk", "SVI-Dance with the video of a person"
_OF_MODEL = ("base_model_type", "model_def")
OTHERS = (
    Other(VIDEO, "save_video", ("tensor", "save_file", "fps"), "writing a video"),
    Other(METADATA, "read_metadata_from_video", ("file_path",), "the settings in a video"),
    Other(METADATA, "extract_source_images", ("video_path",), "the image in a video",
          optional=True),
    Other(HANDLER, "family_handler.query_model_def", _OF_MODEL, "SVI's settings in the form"),
    Other(HANDLER, "family_handler.validate_generative_prompt",
          (*_OF_MODEL, "inputs", "one_prompt"), "the check before a run", own=True),
    Other(HANDLER, "family_handler.fix_settings",
          ("base_model_type", "settings_version", "model_def", "ui_defaults"),
          "profiles in older WanGPs", own=True),
    Other(HANDLER, "family_handler.load_model",
          ("model_filename", "model_type", *_OF_MODEL), DEMO, beside=True),
    Other(HANDLER, "family_handler.query_model_files",
          ("computeList", "base_model_type"), DEMO, beside=True),
    Other(PROMPTS, "split_prompt_units", ("prompt_text", "multi_prompts_gen_type"),
          "prompts by paragraph", optional=True),  # since 11.20
    Other(PLUGINS, "PluginManager.set_server_config", ("self", "server_config"),
          TAB, beside=True),  # since 10.52
    Other(PLUGINS, "WAN2GPApplication.initialize_plugins", ("self", "wgp_globals"),
          TAB, beside=True),
    Other(PLUGINS, "WAN2GPPlugin", (), TAB, beside=True),
    *(Other(ANY2VIDEO, name, (), DEMO, beside=True)
      for name in ("WanVAE", "T5EncoderModel", "CLIPModel", "fl")),
    Other(VAE, "WanVAE.encode", ("self", "videos", "tile_size"), "encoding the conditioning video"),
    Other(ANY2VIDEO, "WanAny2V.generate", ("self",), TALK, beside=True,
          keywords=frozenset({"frame_num", "audio_proj"})),
    Other(MULTITALK, "audio_prepare_single", ("audio_path", "sample_rate", "duration"), TALK,
          beside=True),
    Other(MULTITALK, "custom_init", ("device", "wav2vec"), TALK, beside=True),
    Other(MULTITALK, "get_embedding", ("speech_array", "wav2vec_feature_extractor",
                                       "audio_encoder", "sr", "device", "fps"), TALK, beside=True),
    Other(MULTITALK, "get_window_audio_embeddings",
          ("full_audio_embs", "audio_start_idx", "clip_length"), TALK, beside=True),
    Other(MULTITALK, "fl", (), TALK, beside=True),
    Other(WHOLEBODY, "Wholebody.__init__", ("self", "onnx_det", "onnx_pose", "device"), FOUND,
          beside=True),
    Other(WHOLEBODY, "Wholebody.__call__", ("self", "ori_img"), FOUND, beside=True),
    Other(LOCATOR, "locate_file", ("file_name",), FOUND, beside=True),
    Other(WGP, "_parse_settings_json", ("filename", "state"), SELFTEST, beside=True),
    Other(WGP, "process_tasks_cli", ("queue", "state"), SELFTEST, beside=True),
    *(Other(file, name, (), SELFTEST, beside=True) for file, name in (
        (WGP, "WAN2GPApplication"), (ANY2VIDEO, "T5EncoderModel"), (ANY2VIDEO, "CLIPModel"),
        (VAE, "WanVAE_"), (VAE, "_video_vae"))),
)

#: hook -> the functions that it may stand in, beside its patch's anchor; "" is the module
RULES = {
    "start": ("",),
    "before_generate": LOOPS,
    "after_join": LOOPS,
    "after_save": LOOPS,
    "seed": PIPELINE,
    "clip_vision_frame": PIPELINE,
    "mask": PIPELINE,
    "injected_latents": PIPELINE,
    "lora": ("WanModel.preprocess_loras",),
}
_FIRST = ("lora",)  # hooks that are the first statement of their function
_LATER = {"clip_vision_frame": "lat_y = self.vae.encode([enc]"}  # what must come after a hook
_IMPORT = "try:\n    from wan2gp_svi.wangp import svi\nexcept ImportError:\n    svi = lambda "
_JOIN = "sliding_window and window_no > 1 and (reuse_frames > 0)"


# -------------------------------------------------------------------------------------- the check

@dataclass(frozen=True)
class Fault:
    """What keeps SVI out of a WanGP. `half_updated`: a file is missing or empty."""

    text: str
    half_updated: bool = False

    def __str__(self) -> str:
        return self.text


def check(wangp: Path, patches: Sequence[Patch] | None = None) -> list[str]:
    """What keeps SVI out of this WanGP: sentences that say what to do, without a full stop."""
    patches = own_patches() if patches is None else patches
    sources = read(wangp, patches)
    faults = [one for patch in patches for one in of_file(sources.get(patch.path), patch)]
    faults += of_others(sources, patches)
    outline.cache_clear()
    _names_in.cache_clear()
    of = version(sources.get(WGP))
    return [f"WanGP {of} is not compatible with SVI: {one}. "
            f"{advice(of, one.half_updated)}" for one in faults]


def advice(of: str, half_updated: bool = False) -> str:
    """What to do about a WanGP of this version into which the hooks do not fit."""
    if 0 < _number(of) < OLDEST:
        return f"Update WanGP to {OLDEST}.0 or newer"
    return _RESTORE if half_updated else ADVICE


def own_patches() -> list[Patch]:
    """The hooks of this release."""
    from ..install.shipped import Distribution  # git's filter has no such module

    return read_series(Distribution(Path(__file__).resolve().parents[2], "").patches)


def hooks_of(patches: Iterable[Patch]) -> set[str]:
    """The names of the hooks in these patches."""
    return {hook_name(hunk) for patch in patches for hunk in patch.hunks}


def read(wangp: Path, patches: Iterable[Patch]) -> dict[str, bytes]:
    """The files of WanGP that the contract is about; missing ones are left out."""
    names = dict.fromkeys([*(patch.path for patch in patches), *(other.file for other in OTHERS)])
    return {name: (wangp / name).read_bytes() for name in names if (wangp / name).is_file()}


def version(source: bytes | None) -> str:
    """The version that wgp.py names, "?" if none."""
    found = re.search(rb"""^WanGP_version *= *["']([^"'\r\n]*)""", source or b"", re.MULTILINE)
    return found[1].decode("latin-1") if found else "?"


def tried(of: str) -> str:
    """How far a WanGP of this version was tried. Only the number before the first dot orders
    versions: "12.3456" came before "12.60"."""
    known = f"newest WanGP that SVI was run with: {RUN}; newest whose source was read: {READ}"
    number, run, read_ = map(_number, (of, RUN, READ))
    if number > read_:
        return f"{known}. WanGP {of} is newer than both"
    return f"{known}. WanGP {of} is newer than what was run" if number > run else known


def _number(of: str) -> int:
    """The number before the first dot of a version, 0 if there is none."""
    return int(re.sub(r"\D.*", "", of) or 0)


def of_file(source: bytes | None, patch: Patch) -> list[Fault]:
    """What is wrong with the hooks of one file, whether or not `source` has them already."""
    if source is None or not source.strip():
        return [_absent(patch.path, source)]
    try:
        whole = hooked(source, patch)
        if not hooks_of([patch]) & RULES.keys():
            return []
        return [Fault(f"{patch.path}: {one}") for one in misplaced(outlined(whole, patch), patch)]
    except PatchError as error:
        return [Fault(str(error))]
    except (SyntaxError, ValueError, RecursionError):
        return [_unreadable(patch.path, source)]


def outlined(source: bytes, patch: Patch) -> ast.Module:
    """The syntax tree of a file, without the functions that have no hooks. Raises SyntaxError."""
    names = {one for hook in hooks_of([patch]) for one in RULES.get(hook, ())}
    return outline(source, frozenset(name.split(".")[0] for name in names))


def of_others(sources: Mapping[str, bytes], patches: Iterable[Patch]) -> list[Fault]:
    """What is wrong with the functions and classes that SVI calls or replaces."""
    if "start" not in hooks_of(patches):
        return []
    looks = [(other, *_look_at(other, sources)) for other in OTHERS if not other.beside]
    return list(dict.fromkeys(one for other, one, missing in looks
                              if one and not (missing and (other.optional or other.own))))


def missing_beside(sources: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """What does not work beside the clips, such as the self-test, and why."""
    looks = [(other.use, _look_at(other, sources)[0]) for other in OTHERS if other.beside]
    return [(use, str(one)) for use, one in looks if one]


def missing_optional(sources: Mapping[str, bytes], patches: Iterable[Patch]) -> list[str]:
    """What SVI works without in this WanGP. Raises PatchError or SyntaxError."""
    lost: list[str] = []
    for patch in (patch for patch in patches if hooks_of([patch]) & RULES.keys()):
        tree = outlined(hooked(sources[patch.path], patch), patch)
        lost += [f"{row.name} ({row.use})" for place in places(tree) if place.hook
                 for row, held in lacking(place, bound(tree.body))
                 if row.optional and held == UNSET]
    if "start" in hooks_of(patches):
        lost += [f"{use}, which does not work in this WanGP ({why})"
                 for use, why in missing_beside(sources)]
        lost += [f"{other.name} ({other.use})" for other in OTHERS
                 if other.optional and _look_at(other, sources)[1]]
    return list(dict.fromkeys(lost))  # two names may be missing for one reason


#: file -> the functions and classes of it that are looked at
_PARTS = {file: frozenset(other.name.split(".")[0] for other in OTHERS if other.file == file)
          for file in {other.file for other in OTHERS}}


def _look_at(other: Other, sources: Mapping[str, bytes]) -> tuple[Fault | None, bool]:
    """What is wrong with it, and whether it is missing."""
    source = sources.get(other.file)
    if source is None or not source.strip():
        return _absent(other.file, source), True
    try:
        tree = outline(unhooked(source), _PARTS[other.file])
    except (SyntaxError, ValueError):
        return _unreadable(other.file, source), False
    node, needed = _find(tree, other.name), "" if other.beside else f", needed for {other.use}"
    if node is None:
        return Fault(f"{other.file} has no {other.name}{needed}"), True
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        first = [*node.args.posonlyargs, *node.args.args][: len(other.parameters)]
        if (takes := tuple(one.arg for one in first)) != other.parameters:
            return Fault(f"{other.file}: {other.name} takes ({', '.join(takes)}) instead of "
                         f"({', '.join(other.parameters)}){needed}"), False
        if lost := other.keywords - {one.arg for one in (*node.args.args, *node.args.kwonlyargs)}:
            return Fault(f"{other.file}: {other.name} does not take {', '.join(sorted(lost))}"
                         f"{needed}"), False
    return None, False


def _absent(file: str, source: bytes | None) -> Fault:
    return Fault(f"{file} is {'missing' if source is None else 'empty'}", half_updated=True)


def _unreadable(file: str, source: bytes) -> Fault:
    return Fault(f"{file}: this Python cannot read it ({fault(source) or TOO_DEEP})")


def _find(tree: ast.Module, name: str) -> ast.AST | None:
    """A function or class by its dotted name; the module for another name that it binds."""
    node: ast.AST = tree
    for part in name.split("."):
        found = [one for one in getattr(node, "body", ()) if getattr(one, "name", "") == part]
        if not found:
            return tree if name in bound(tree.body) else None
        node = found[-1]
    return node


# ----------------------------------------------------------------------------- hooks in their place

def misplaced(tree: ast.Module, patch: Patch) -> list[str]:
    """What is wrong with the hooks of `patch` in the syntax tree of its file."""
    everywhere = list(places(tree))
    standing = [place for place in everywhere if place.hook]
    hunks = {name: hunk for hunk in patch.hunks if (name := hook_name(hunk)) in RULES}
    if sorted(place.hook for place in standing) != sorted(hunks):
        return [f"its hooks are {', '.join(place.hook for place in standing)}"]
    imports = [one.lineno for one in tree.body
               if isinstance(one, ast.Try) and ast.unparse(one).startswith(_IMPORT)]
    if len(imports) != 1 or any(place.statement.lineno < imports[0] for place in standing):
        return ["svi is not imported once, before the hooks"]
    wrong = [place.hook for place in standing if not _is_right(place, hunks[place.hook])]
    if wrong:
        return [f"the hook {hook} is not in its place" for hook in wrong]
    shared = bound(tree.body)
    unmet = [(place.hook, row, held) for place in standing
             for row, held in lacking(place, shared) if not row.optional]
    return [f"the hook {hook} needs {row.name} ({row.use}), which {held} there"
            for hook, row, held in unmet] or _disorder(everywhere)


def _is_right(place: Place, hunk: Hunk) -> bool:
    """Whether a hook stands where it must, and what it sets is used after it."""
    hook, below = place.hook, place.block[place.index + 1 :]
    later = [ast.unparse(node) for one in below for node in ast.walk(one)
             if isinstance(node, ast.Assign)] if hook in _LATER else []
    return (
        place.inside in RULES[hook]
        and (RULES[hook] is not LOOPS or place.loop is not None)
        and (hook not in _FIRST or place.index == 0)
        and (hook not in _LATER or any(one.startswith(_LATER[hook]) for one in later))
        and _is_beside_anchor(place, hunk)
        and _is_used(place)
    )


def _is_beside_anchor(place: Place, hunk: Hunk) -> bool:
    if hunk.statement:
        below = place.block[place.index + 1 : place.index + 2]
        return bool(below) and statements_with(below[0], hunk.statement.name) == below
    own = len(ast.parse("\n".join(hunk.texts)).body)
    beside = {one.anchor: place.index + 1 if one.before else place.index - own
              for one in (hunk, *hunk.others)}
    return any(0 <= at < len(place.block)
               and ast.unparse(place.block[at]) == ast.unparse(ast.parse(anchor))
               for anchor, at in beside.items())


def _is_used(place: Place) -> bool:
    if place.function is None:
        return True
    names = _names_in(place.function)
    line = place.statement.lineno
    stored = {name.id for name in names if stores(name) and name.lineno == line}
    return stored <= {name.id for name in names if not stores(name) and name.lineno > line}


@lru_cache(maxsize=1)  # a function with several hooks is long
def _names_in(function: ast.FunctionDef) -> list[ast.Name]:
    return [node for node in ast.walk(function) if isinstance(node, ast.Name)]


def lacking(place: Place, shared: Container[str]) -> Iterator[tuple[Name, str]]:
    """The names that a hook needs and does not find, and what they hold there.

    shared: the names of the module
    """
    names = [node for node in ast.walk(place.statement) if isinstance(node, ast.Name)]
    reads = {node.id for node in names if not stores(node)}
    arguments = reads - {"svi", "globals", "locals"}
    rows = [row for row in NAMES if row.hook == place.hook]
    rows += [Name(name, place.hook, "its argument")
             for name in sorted(arguments - {row.name for row in rows})]
    here = held_at(place)
    for row in rows:
        is_global = row.name in shared and ("globals" in reads or row.name in arguments)
        held = here.get(row.name, SET if place.function and is_global else UNSET)
        if held != SET and not (row.none and held == NONE):
            yield row, held


def _disorder(everywhere: Sequence[Place]) -> list[str]:
    """What is wrong with the order of hooks, join and save in the loop over clips."""
    first = next((place for place in everywhere if place.hook == "before_generate"), None)
    if first is None:
        return []
    stations = sorted((place.statement.lineno, name + " outside" * (place.loop is not first.loop))
                      for place in everywhere
                      if place.function is first.function and (name := _station(place)))
    order = [name for name, _ in groupby(name for _, name in stations)]
    wanted = ["before_generate", "the join", "after_join", "save_video", "after_save"]
    if "the join" not in order:  # written another way: the hook itself looks at what was joined
        wanted.remove("the join")
    return [] if order == wanted else [
        f"the loop over clips has {', '.join(order)}, and it must have {', '.join(wanted)}"]


def _station(place: Place) -> str:
    match place.statement:
        case ast.If(test) if ast.unparse(test) == _JOIN:
            return "the join"
        case ast.Expr(ast.Call(ast.Name("save_video"), [], keywords)) if (
                {"tensor", "save_file", "fps"} <= {keyword.arg for keyword in keywords}):
            return "save_video"
    return place.hook
