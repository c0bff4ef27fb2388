"""What SVI needs of WanGP: every name in one table, and the check that they are there. Nothing of WanGP is run.

WanGP changes every few days. Before hooks go into its files, and when it starts, its files are read as syntax trees:
each hook stands in its function and in the loop, in order; each name is bound on the way to its hook and is not None
there; what SVI calls or stands in for takes the arguments that it is given. A fault switches SVI off, in words.

    check(wangp)            one sentence for each fault; empty when all is there
    of_file, of_others      the same of sources, as plain facts
    missing_optional        optional names that a WanGP lacks

Standard library only. All files together take about 0.4 seconds of one core.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..install.patches import Patch, PatchError, hook_name, hooked, outline, read_series, statements_with, unhooked
from ..install.shipped import Distribution

#: The newest WanGP that was run with SVI, and the newest whose source was read. Kept here alone.
RUN, READ = "12.60", "17.10"
ADVICE = "Get a newer release of SVI for WanGP"
UNAFFECTED = "WanGP itself is not affected"

WGP, ANY2VIDEO, MODEL = HOOKED = ("wgp.py", "models/wan/any2video.py", "models/wan/modules/model.py")
HANDLER, VAE = "models/wan/wan_handler.py", "models/wan/modules/vae.py"
VIDEO, METADATA = "shared/utils/audio_video.py", "shared/utils/video_metadata.py"
PROMPTS, PLUGINS = "shared/utils/prompt_parser.py", "shared/utils/plugins.py"
LOOPS = ("generate_media", "generate_video")  # since v12.21, and before
GENERATE = "wan_model.generate"


# ------------------------------------------------------------------------------------------------------------ the table

@dataclass(frozen=True)
class Name:
    """A name that a hook reads. `since`: the first WanGP that has it, "" for all; `none`: it may be None there.
    Two names with a bar between them: one of them."""

    name: str
    hook: str
    use: str
    since: str = ""
    optional: bool = False
    none: bool = False


@dataclass(frozen=True)
class Other:
    """What another file has: a function with these leading parameters, a class, or any name. `beside`: where it is
    another, SVI works without what it is for, and says so. `alone`: where it is missing, SVI's own does without it."""

    file: str
    name: str
    parameters: tuple[str, ...]
    use: str
    since: str = ""
    optional: bool = False
    beside: bool = False
    alone: bool = False


_LOOP = "before_generate"
NAMES = (
    Name("save_video", "start", "writing a video"),
    # what is asked for
    Name("image_mode", _LOOP, "images are left alone"),
    Name("base_model_type", _LOOP, "which Wan"),
    Name("model_type", _LOOP, "which model, for the run"),
    Name("model_def", _LOOP, "where a model's own LoRAs stand"),
    Name("activated_loras", _LOOP, "which variant"),
    Name("loras_selected", _LOOP, "which LoRA files, for the run", none=True),
    Name("custom_settings", _LOOP, "SVI's settings", since="10.80", optional=True),
    Name("task", _LOOP, "the seed that was asked for", none=True),
    Name("seed", _LOOP, "the seed of clip 1"),
    Name("repeat_no", _LOOP, "which of several videos"),
    Name("fps", _LOOP, "how long the video is"),
    # the window
    Name("window_no", _LOOP, "which clip"),
    Name("total_windows", _LOOP, "how many clips"),
    Name("current_video_length", _LOOP, "frames of the window"),
    Name("reuse_frames", _LOOP, "overlap of the window"),
    Name("default_windows", _LOOP, "WanGP's plan of all windows", since="12.54", optional=True),
    Name("prompt", _LOOP, "prompt of the window"),
    Name("prompts", _LOOP, "all prompts"),
    Name("original_prompts", _LOOP, "the prompts as they were typed", none=True),
    Name("return_latent_slice", _LOOP, "latents for the next clip", none=True),
    # the image or the video that it begins with
    Name("image_start", _LOOP, "the user's image", none=True),
    Name("image_start_tensor", _LOOP, "the reference", none=True),
    Name("image_end_tensor", _LOOP, "an end image is refused", none=True),
    Name("prefix_video", _LOOP, "the video that is continued", none=True),
    Name("video_source", _LOOP, "its file", none=True),
    Name("source_video_frames_count", _LOOP, "its frames"),
    Name("source_video_overlap_frames_count", _LOOP, "its overlap with clip 1", optional=True),
    # where the clips go, and what WanGP is told
    Name("save_path", _LOOP, "where videos go"),
    Name("server_config", _LOOP, "how videos are written"),
    Name("frames_already_processed", _LOOP, "where clips are kept in memory", none=True),
    Name("generate_media|generate_video", _LOOP, "the names of all settings"),
    Name("gen", _LOOP, "gallery and line of progress"),
    Name("send_cmd", _LOOP, "messages to the user"),
    Name("wan_model", _LOOP, "the pipeline"),
    Name("lock", _LOOP, "changes to the gallery, one at a time", optional=True),
    Name("api_return_video_uint8", _LOOP, "a caller wants all frames", since="11.26", optional=True),
    Name("postprocess_audio", _LOOP, "a soundtrack is made", since="11.66", optional=True),
    Name("audio_source", _LOOP, "a soundtrack is given", optional=True),
    Name("WanGP_version", _LOOP, "for messages", optional=True),
    # after the window
    Name("sample", "after_join", "the frames of the clip"),
    Name("frames_already_processed", "after_join", "the clips before", none=True),
    Name("wan_model", "after_join", "the pipeline"),
    Name("stop_current_sample", "after_join", "whether it is the last clip", since="11.52", optional=True),
    Name("configs", "after_save", "the metadata"),
    Name("video_path", "after_save", "the file"),
    Name("wan_model", "after_save", "the pipeline"),
    # in the pipeline's generate, and where LoRAs are loaded
    Name("seed", "seed", "the seed of the clip"),
    Name("self", "seed", "the pipeline"),
    Name("clip_image_start", "clip_vision_frame", "the image that CLIP sees", none=True),
    Name("self", "clip_vision_frame", "the pipeline"),
    Name("msk", "mask", "the mask"),
    Name("self", "mask", "the pipeline"),
    Name("overlapped_latents_frames_num", "injected_latents", "latents that go into the noise"),
    Name("self", "injected_latents", "the pipeline"),
    Name("sd", "lora", "the tensors of a LoRA file"),
    Name("self", "lora", "the model"),
)
_HANDLER = "family_handler."
OTHERS = (
    Other(VIDEO, "save_video", ("tensor", "save_file", "fps"), "writing a video"),
    Other(METADATA, "read_metadata_from_video", ("file_path",), "the settings in a video"),
    Other(METADATA, "extract_source_images", ("video_path",), "the image in a video", optional=True),
    Other(HANDLER, _HANDLER + "query_model_def", ("base_model_type", "model_def"), "SVI's settings in the form"),
    Other(HANDLER, _HANDLER + "validate_generative_prompt", ("base_model_type", "model_def", "inputs", "one_prompt"),
          "the check before a run", optional=True, alone=True),
    Other(HANDLER, _HANDLER + "fix_settings", ("base_model_type", "settings_version", "model_def", "ui_defaults"),
          "profiles in older WanGPs", optional=True, alone=True),
    Other(HANDLER, _HANDLER + "load_model", ("model_filename", "model_type", "base_model_type", "model_def"),
          "the demo model", beside=True),
    Other(HANDLER, _HANDLER + "query_model_files", ("computeList", "base_model_type"), "the demo model", beside=True),
    Other(PROMPTS, "split_prompt_units", ("prompt_text", "multi_prompts_gen_type"), "prompts by paragraph",
          since="11.20", optional=True),
    Other(PLUGINS, "PluginManager", (), "the SVI tab", beside=True),
    Other(PLUGINS, "PluginManager.set_server_config", ("self", "server_config"), "the SVI tab", since="10.52",
          beside=True),
    Other(PLUGINS, "WAN2GPApplication.initialize_plugins", ("self", "wgp_globals"), "the SVI tab", beside=True),
    Other(PLUGINS, "WAN2GPPlugin", (), "the SVI tab", beside=True),
    Other(ANY2VIDEO, "WanVAE", (), "the demo model", beside=True),
    Other(ANY2VIDEO, "T5EncoderModel", (), "the demo model", beside=True),
    Other(ANY2VIDEO, "CLIPModel", (), "the demo model", beside=True),
    Other(ANY2VIDEO, "fl", (), "the demo model", beside=True),
    Other(VAE, "WanVAE.encode", ("self", "videos", "tile_size"), "encoding the conditioning video"),
)


@dataclass(frozen=True)
class Rule:
    """Where a hook stands. Neighbours are statements as ast.unparse spells them, given by their beginning."""

    file: str
    inside: tuple[str, ...]  # class and function; the module is ""
    above: str = ""
    below: str = ""
    opens: str = ""  # the hook is the first statement of a block with this head
    later: str = ""  # an assignment that must come in the same block after it, or further in
    refers: str = ""  # a name that the statement below refers to
    looped: bool = False


_IN_PIPELINE = ("WanAny2V.generate",)
_IMPORT = "try:\n    from wan2gp_svi.wangp import svi\nexcept ImportError:\n    svi = lambda "
_JOINED = "the join of two windows"
_JOIN = "sliding_window and window_no > 1 and (reuse_frames > 0)"
RULES = {
    "start": Rule(WGP, ("",), above=_IMPORT),
    "before_generate": Rule(WGP, LOOPS, refers=GENERATE, looped=True),
    "after_join": Rule(WGP, LOOPS, below="num_frames_generated = ", looped=True),
    "after_save": Rule(WGP, LOOPS, above="configs['generation_time'] = ", looped=True),
    "seed": Rule(ANY2VIDEO, _IN_PIPELINE, below="seed_g.manual_seed(seed)"),
    "clip_vision_frame": Rule(ANY2VIDEO, _IN_PIPELINE, above="clip_image_start, clip_image_end = ",
                              later="lat_y = self.vae.encode([enc]"),
    "mask": Rule(ANY2VIDEO, _IN_PIPELINE, above="msk = msk.transpose(1, 2)[0]"),
    "injected_latents": Rule(ANY2VIDEO, _IN_PIPELINE, above="overlapped_latents_frames_num = "),
    "lora": Rule(MODEL, ("WanModel.preprocess_loras",), below="first = ", opens="def preprocess_loras("),
}
#: what of a file has to be read: the functions and classes that its hooks stand in
_PARTS = {rule.file: frozenset(name.split(".")[0] for one in RULES.values() if one.file == rule.file
                               for name in one.inside if name) for rule in RULES.values()}


# ------------------------------------------------------------------------------------------------------------ the check

def check(wangp: Path, patches: Sequence[Patch] | None = None) -> list[str]:
    """What keeps SVI out of this WanGP, a sentence each, without its full stop: what, where, and what to do."""
    patches = own_patches() if patches is None else patches
    sources = read(wangp, patches)
    try:
        facts = [fact for patch in patches for fact in of_file(sources.get(patch.path), patch)]
        facts += of_others(sources, patches)
    finally:
        outline.cache_clear()
    return [sentence(fact, version(sources.get(WGP))) for fact in facts]


def sentence(fact: str, of: str) -> str:
    """A fault for the user; `of`: WanGP's version."""
    advice = "Update WanGP again" if fact.endswith(("is missing", "is empty")) else ADVICE
    return f"WanGP {of} does not fit: {fact}. {advice}"


def own_patches() -> list[Patch]:
    """The hooks of this release."""
    return read_series(Distribution(Path(__file__).resolve().parents[2], "").patches)


def read(wangp: Path, patches: Iterable[Patch]) -> dict[str, bytes]:
    """All files of WanGP that the contract is about; a file that is not there is left out."""
    names = dict.fromkeys([*(patch.path for patch in patches), *(other.file for other in OTHERS)])
    return {name: (wangp / name).read_bytes() for name in names if (wangp / name).is_file()}


def version(source: bytes | None) -> str:
    """WanGP's version as wgp.py has it, "?" if it does not say."""
    found = re.search(rb"""^WanGP_version *= *["']([^"'\r\n]*)""", source or b"", re.MULTILINE)
    return found[1].decode("latin-1") if found else "?"


def tried(of: str) -> str:
    """How far a WanGP of this version is known. Only the number before the first dot orders versions: behind it they
    have run backwards ("12.3456" came before "12.60")."""
    known = f"newest WanGP that was run: {RUN}; newest that was read: {READ}"
    number, run, read_ = (int(found[0]) if (found := re.match(r"\d+", one)) else 0 for one in (of, RUN, READ))
    if number > read_:
        return f"{known}. WanGP {of} is newer than both"
    return f"{known}. WanGP {of} is newer than what was run" if number > run else known


def of_file(source: bytes | None, patch: Patch) -> list[str]:
    """What is wrong with the hooks of one file, with or without hooks in it; empty when they go in and stand as they
    must."""
    if source is None or not source.strip():
        return [f"{patch.path} is {'missing' if source is None else 'empty'}"]
    try:
        whole = hooked(source, patch)
        if not hooks_of([patch]) & RULES.keys():
            return []
        return [f"{patch.path}: {fault}" for fault in misplaced(outline(whole, _PARTS[patch.path]), patch)]
    except PatchError as error:
        return [str(error)]
    except (SyntaxError, ValueError) as error:
        at = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else error
        return [f"{patch.path}: this Python cannot read it ({at})"]


def of_others(sources: Mapping[str, bytes], patches: Iterable[Patch]) -> list[str]:
    """What is wrong with the functions and classes of other files that SVI calls or stands in for."""
    if "start" not in hooks_of(patches):
        return []
    faults: list[str] = []
    for name in dict.fromkeys(other.file for other in OTHERS):
        others = [other for other in OTHERS if other.file == name and not other.beside]
        faults += _of_other(name, sources.get(name), others) if others else []
    return faults


def hooks_of(patches: Iterable[Patch]) -> set[str]:
    """The names of the hooks that these patches put in."""
    return {hook_name(hunk) for patch in patches for hunk in patch.hunks}


def missing_optional(sources: Mapping[str, bytes], patches: Iterable[Patch]) -> list[str]:
    """What SVI works without: optional names that this WanGP does not have, and what stands beside the clips. Raises
    as `of_file` reports."""
    lost: list[str] = []
    for patch in (patch for patch in patches if hooks_of([patch]) & RULES.keys()):
        tree = outline(hooked(sources[patch.path], patch), _PARTS[patch.path])
        shared = bound(tree.body)
        for place in (place for place in places(tree) if place.hook):
            lost += [f"{row.name} ({row.use})" for row in NAMES if row.hook == place.hook and row.optional
                     and _reached(place, row.name, shared) is GONE]
    others = OTHERS if "start" in hooks_of(patches) else ()
    for other in (other for other in others if other.beside):
        lost += [f"{other.use} ({fault})" for fault in _of_other(other.file, sources.get(other.file), [other])]
    for other in (other for other in others if other.optional and not other.alone):
        source, keep = sources.get(other.file), frozenset({other.name.split(".")[0]})
        if source is None or _find(outline(unhooked(source), keep), other.name) is None:
            lost.append(f"{other.name} ({other.use})")
    return lost


def _of_other(file: str, source: bytes | None, others: Sequence[Other]) -> Iterator[str]:
    if source is None or not source.strip():
        if not all(other.optional for other in others):
            yield f"{file} is {'missing' if source is None else 'empty'}"
        return
    try:
        tree = outline(unhooked(source), frozenset(other.name.split(".")[0] for other in others))
    except (SyntaxError, ValueError):
        yield f"{file}: this Python cannot read it"
        return
    for other in others:
        node = _find(tree, other.name)
        if node is None and not other.optional:
            yield f"{file} has no {other.name} any more, which is needed for {other.use}"
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            has = [one.arg for one in (*node.args.posonlyargs, *node.args.args)][: len(other.parameters)]
            if tuple(has) != other.parameters:
                yield (f"{file}: {other.name} begins with ({', '.join(has)}) and not with "
                       f"({', '.join(other.parameters)}), which is needed for {other.use}")


def _find(tree: ast.Module, name: str) -> ast.AST | None:
    """A function or class by its dotted name; for any other name that the module binds, the module itself."""
    block: Sequence[ast.stmt] = tree.body
    node: ast.AST | None = None
    for part in name.split("."):
        defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        node = next((one for one in reversed(block) if isinstance(one, defined) and one.name == part), None)
        if node is None:
            return tree if "." not in name and name in bound(tree.body) else None
        block = node.body
    return node


# ------------------------------------------------------------------------------------------------- hooks in their place

@dataclass(frozen=True)
class Place:
    """A statement in a syntax tree: `block[index]`, within the nodes `outer`, outermost first; `blocks` are the blocks
    around it and the index in each, innermost first."""

    block: list[ast.stmt]
    index: int
    outer: tuple[ast.AST, ...]
    blocks: tuple[tuple[list[ast.stmt], int], ...] = ()

    @property
    def statement(self) -> ast.stmt:
        return self.block[self.index]

    @property
    def hook(self) -> str:
        """The name of the hook that the statement calls; "" if it is none."""
        match getattr(self.statement, "value", None):
            case ast.Call(func=ast.Name("svi"), args=[ast.Constant(str(name)), *_]):
                return name
        return ""

    @property
    def function(self) -> ast.FunctionDef | None:
        return next((node for node in reversed(self.outer) if isinstance(node, ast.FunctionDef)), None)

    @property
    def loop(self) -> ast.AST | None:
        """The innermost loop around it."""
        return next((node for node in reversed(self.outer) if isinstance(node, (ast.For, ast.While))), None)

    def at(self, offset: int) -> str:
        """A neighbour's text; the same whether or not this Python puts the tuple of an assignment in parentheses."""
        index = self.index + offset
        text = ast.unparse(self.block[index]) if 0 <= index < len(self.block) else ""
        return re.sub(r"^\(([\w, ]+)\) =", r"\1 =", text)

    def keeps(self, rule: Rule) -> bool:
        """Whether the statement stands where the rule says, and what it assigns is used after it."""
        inside = ".".join(node.name for node in self.outer if isinstance(node, (ast.FunctionDef, ast.ClassDef)))
        return (
            inside in rule.inside
            and (not rule.above or self.at(-1).startswith(rule.above))
            and (not rule.below or self.at(1).startswith(rule.below))
            and (not rule.opens or self.index == 0 and ast.unparse(self.outer[-1]).startswith(rule.opens))
            and (not rule.later or self._comes_later(rule.later))
            and (not rule.refers or self._refers_next(rule.refers))
            and (not rule.looped or self.loop is not None)
            and self._used()
        )

    def _comes_later(self, text: str) -> bool:
        after = (node for statement in self.block[self.index + 1 :] for node in ast.walk(statement))
        return any(ast.unparse(node).startswith(text) for node in after if isinstance(node, ast.Assign))

    def _refers_next(self, name: str) -> bool:
        below = self.block[self.index + 1 : self.index + 2]
        return bool(below) and statements_with(below[0], name) == below

    def _used(self) -> bool:
        names = {node.id for node in ast.walk(self.statement) if isinstance(node, ast.Name) and _stores(node)}
        scope = [self.function] if self.function else self.block
        after = (node for statement in scope for node in ast.walk(statement) if isinstance(node, ast.Name))
        return self.function is None or names <= {
            node.id for node in after if not _stores(node) and node.lineno > self.statement.lineno}


def _stores(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def places(tree: ast.Module) -> Iterator[Place]:
    """All statements."""
    todo: list[tuple[ast.AST, tuple[ast.AST, ...], tuple[tuple[list[ast.stmt], int], ...]]] = [(tree, (), ())]
    parts = (ast.stmt, ast.ExceptHandler, ast.match_case)
    while todo:
        node, outer, blocks = todo.pop()
        inner = outer if isinstance(node, ast.Module) else (*outer, node)
        for _, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], parts):
                for at, child in enumerate(value):
                    here = ((value, at), *blocks) if isinstance(child, ast.stmt) else blocks
                    todo.append((child, inner, here))
                    if isinstance(child, ast.stmt):
                        yield Place(value, at, inner, here)


def misplaced(tree: ast.Module, patch: Patch) -> list[str]:
    """What is wrong with the hooks of `patch` in the syntax tree of its file; empty when they stand as they must."""
    everywhere = list(places(tree))
    standing = [place for place in everywhere if place.hook]
    found, wanted = sorted(place.hook for place in standing), sorted(map(hook_name, patch.hunks))
    wanted = [name for name in wanted if not name.startswith("try:")]  # the import alone
    faults = [] if found == wanted else [f"hooks {found}, not {wanted}"]
    tries = [place for place in everywhere if not place.outer and isinstance(place.statement, ast.Try)]
    imports = [place.statement.lineno for place in tries if place.at(0).startswith(_IMPORT)]
    if len(imports) != 1 or any(place.statement.lineno < imports[0] for place in standing):
        faults.append("svi is not imported once, at module level, before the hooks")
    shared = bound(tree.body)
    for place in standing:
        rule = RULES.get(place.hook)
        if rule is None or rule.file != patch.path:
            faults.append(f"{place.hook}: there is no rule for it in {patch.path}")
        elif not place.keeps(rule):
            faults.append(f"{place.hook}: not where it must stand")
        else:
            faults += _names(place, shared)
    return faults or (_out_of_order(everywhere) if patch.path == WGP else [])


def _out_of_order(everywhere: Sequence[Place]) -> list[str]:
    """The stations of one window, if one is missing, in another loop or not in order."""
    hooks = {place.hook: place for place in everywhere if place.hook}
    first = hooks.get("before_generate")
    if first is None:
        return []
    inside = [place for place in everywhere if first.function in place.outer]
    stations = [
        ("the hook before_generate", [first]),
        (f"the statement with {GENERATE}", [place for place in inside if place.block is first.block
                                           and place.index == first.index + 1]),
        (_JOINED, [place for place in inside if isinstance(place.statement, ast.If)
                           and ast.unparse(place.statement.test) == _JOIN]),
        ("the hook after_join", [hooks["after_join"]]),
        ("save_video(tensor=..., save_file=..., fps=...)", [place for place in inside if _saves(place.statement)]),
        ("the hook after_save", [hooks["after_save"]]),
    ]
    # a join in other words is the hook's matter, which looks at what has been joined
    stations = [(what, found) for what, found in stations if found or what != _JOINED]
    faults = [f"{what} is not in generate's loop any more" for what, found in stations
              if not found or any(place.loop is not first.loop for place in found)]
    for (what, found), (then, later) in zip(stations, stations[1:], strict=False):
        if not faults and max(p.statement.lineno for p in found) >= min(p.statement.lineno for p in later):
            faults.append(f"{then} does not come after {what}")
    return faults


def _saves(statement: ast.stmt) -> bool:
    match getattr(statement, "value", None):
        case ast.Call(func=ast.Name("save_video"), args=[], keywords=keywords):
            return {"tensor", "save_file", "fps"} <= {keyword.arg for keyword in keywords}
    return False


# ----------------------------------------------------------------------------------------------------- names on the way

NONE, VALUE, GONE, SAME = "None", "a value", "nothing", ""  # what a statement leaves in a name


def bound(body: Sequence[ast.AST]) -> dict[str, int]:
    """The names that the statements of a function or module bind, and the first line that does."""
    scopes = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    names: dict[str, int] = {}
    todo = list(body)
    while todo:
        node = todo.pop()
        match node:
            case ast.Name(name, ast.Store()) | ast.FunctionDef(name) | ast.ClassDef(name) | ast.arg(name):
                names[name] = min(names.get(name, node.lineno), node.lineno)
            case ast.ImportFrom(names=aliases) | ast.Import(aliases):
                names |= {(alias.asname or alias.name).split(".")[0]: node.lineno for alias in aliases}
        todo += [] if isinstance(node, scopes) else ast.iter_child_nodes(node)
    return names


def _names(place: Place, shared: Mapping[str, int]) -> Iterator[str]:
    """Names of the table, and arguments of the hook, that are not there when the hook is reached."""
    rows = [row for row in NAMES if row.hook == place.hook]
    arguments = {node.id for node in ast.walk(place.statement.value) if isinstance(node, ast.Name)}
    given = arguments - {"svi", "globals", "locals"}
    rows += [Name(name, place.hook, "the hook") for name in sorted(given - {row.name for row in rows})]
    for row in rows:
        values = [_reached(place, name, shared if "globals" in arguments or name in given else {})
                  for name in row.name.split("|")]
        if row.optional or VALUE in values or (NONE in values and row.none):
            continue
        name = row.name.replace("|", " or ")
        wrong = "is None by then" if NONE in values else "is not bound before it"
        yield f"{place.hook}: {name} {wrong}, which is needed for {row.use}"


def _reached(place: Place, name: str, shared: Mapping[str, int]) -> str:
    """What is in a name when a statement is reached: None, a value, or nothing (it is not bound). What an earlier
    branch may have set counts as set; a loop's end is followed by its beginning."""
    for block, index in place.blocks:
        effect = _last(block[:index], name)
        if effect:
            return effect
        holder = next((node for node in place.outer if any(value is block for _, value in ast.iter_fields(node))), None)
        if isinstance(holder, (ast.For, ast.While)) and block is holder.body:
            if isinstance(holder, ast.For) and name in bound([holder.target]):
                return VALUE
            if _last(block[index + 1 :], name) == NONE:
                return NONE  # from the second turn on
        if isinstance(holder, (ast.With, ast.AsyncWith)) and name in bound(holder.items):
            return VALUE
        if isinstance(holder, ast.FunctionDef):
            if name in bound([holder.args]):
                return VALUE
            break
    return VALUE if name in shared and place.function is not None else GONE


def _last(statements: Sequence[ast.stmt], name: str) -> str:
    """What a row of statements leaves in a name; SAME if they leave it alone."""
    return next((effect for statement in reversed(statements) if (effect := _effect(statement, name))), SAME)


def _effect(statement: ast.stmt, name: str) -> str:
    names = vars(statement).get("svi_names")
    if names is None:  # asked for every name: a walk over the statement once, and not each time
        inside = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
        names = {*bound([statement]), *(node.id for node in inside if isinstance(node.ctx, ast.Del))}
        statement.svi_names = names
    if name not in names:
        return SAME
    match statement:
        case ast.Assign(targets, value):
            return next((effect for target in targets if (effect := _stored(target, value, name))), SAME)
        case ast.AnnAssign(target, _, value) if value is not None:
            return _stored(target, value, name)
        case ast.Delete(targets):
            return GONE if any(isinstance(one, ast.Name) and one.id == name for one in targets) else SAME
        case ast.With(items, body) | ast.AsyncWith(items, body):
            return _last(body, name) or (VALUE if name in bound(items) else SAME)
        case ast.Try(body, handlers, otherwise, last):
            sure = _last(last, name) or _last(otherwise, name) or _last(body, name)
            return sure or (VALUE if any(_last(handler.body, name) == VALUE for handler in handlers) else SAME)
        case ast.If(_, body, otherwise):
            branches = [_last(body, name), _last(otherwise, name)]
            if VALUE in branches:
                return VALUE
            return NONE if branches == [NONE, NONE] else SAME
    return VALUE if name in bound([statement]) else SAME


def _stored(target: ast.AST, value: ast.AST, name: str) -> str:
    match target, value:
        case (ast.Name(one), _):
            return SAME if one != name else NONE if _is_none(value) else VALUE
        case (ast.Tuple(targets) | ast.List(targets), ast.Tuple(values) | ast.List(values)) if (
            len(targets) == len(values)
        ):
            pairs = zip(targets, values, strict=True)
            return next((effect for one, other in pairs if (effect := _stored(one, other, name))), SAME)
    return VALUE if name in bound([target]) else SAME


def _is_none(value: ast.AST) -> bool:
    return isinstance(value, ast.Constant) and value.value is None
