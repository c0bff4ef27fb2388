"""What SVI adds to WanGP's handler of the Wan models: custom settings, and the check of a request.

WanGP names used here: the handler (`models/wan/wan_handler.py`) with its `query_model_def`,
`validate_generative_prompt` and `fix_settings`, and the keys of its model definitions.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import wraps
from typing import Any

from .. import __version__
from ..files import explain
from ..text import sentence
from ..variants import CLIP_FRAMES, VARIANTS, identify
from . import source_video
from .check.findings import Finding, check
from .check.telling import (
    for_page,
    running_addresses,
    running_config,
    running_limits,
    running_loras,
    running_outputs,
    tell,
)
from .form import DEFAULTS, custom_settings, update
from .log import say, without
from .media import MediaError
from .plan import ARCHITECTURES, STOCK_MAXIMA, TALKING, rate_of, required

_MAX_CUSTOM_SETTINGS = 5  # that WanGP draws
_MAX_FRAMES = CLIP_FRAMES * 125  # for the slider: ten minutes at 16 frames a second; a sound needs
# no slider
_STOCK_FRAMES = 737  # of WanGP's slider, where a model says nothing


def extend(handler: Any, text_modes: bool) -> None:
    """Wraps three methods of WanGP's handler of the Wan models. `text_modes`: the ways to split a
    prompt have letters (`PW`); before v11.20 they had numbers."""
    query, validate = handler.query_model_def, getattr(handler, "validate_generative_prompt", None)
    fix = getattr(handler, "fix_settings", None)

    @wraps(query)
    def query_model_def(base_model_type: str, model_def: Any, *others: Any, **options: Any) -> Any:
        extra = query(base_model_type, model_def, *others, **options)
        with without("SVI's form"):
            if extra is not None and base_model_type in ARCHITECTURES:
                extra.update(_definition(base_model_type, extra))
        return extra

    # the last request that was reported; kept, so that no other can take its identity
    reported: list[Any] = [None]

    def validate_generative_prompt(base_model_type: str, model_def: Any, inputs: Any, prompt: str,
                                   *others: Any, **options: Any) -> Any:
        """WanGP calls this for every prompt of a request, with the same `inputs`."""
        error = (validate(base_model_type, model_def, inputs, prompt, *others, **options)
                 if validate else None)
        show = tell if reported[0] is not inputs else lambda findings: None
        reported[0] = inputs
        try:
            return error or prepare(base_model_type, model_def or {}, inputs, show)
        except Exception as fault:
            return _unchecked(inputs, fault)

    def fix_settings(base_model_type: str, settings_version: Any, model_def: Any,
                     ui_defaults: Any, *others: Any, **options: Any) -> None:
        if fix is not None:
            fix(base_model_type, settings_version, model_def, ui_defaults, *others, **options)
        with without("the profile"):
            if isinstance(custom := ui_defaults.get("custom_settings"), dict) and (
                    base_model_type in ARCHITECTURES):
                ui_defaults["custom_settings"] = update(custom)
            by_paragraph = ui_defaults.get("multi_prompts_gen_type") == "PW"
            if base_model_type in ARCHITECTURES and by_paragraph and not text_modes:
                ui_defaults["multi_prompts_gen_type"] = 1  # a line per window: the closest it has

    handler.query_model_def = staticmethod(query_model_def)
    handler.validate_generative_prompt = staticmethod(validate_generative_prompt)
    handler.fix_settings = staticmethod(fix_settings)


def _definition(architecture: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """What SVI adds to a model definition. SVI-Talk needs no other overlap than WanGP allows."""
    own, ours = extra.get("custom_settings") or [], custom_settings()
    overlap = (extra.get("sliding_window_defaults") or {}).get("overlap_max", 1)
    frames = extra.get("frames_selection_maximum")
    wider = {} if architecture == TALKING else {"sliding_window_defaults": {
        "overlap_min": 1, "overlap_step": 4, "overlap_default": 1,
        "overlap_max": max(variant.overlap for variant in VARIANTS.values())}}
    return {
        **wider, "frames_selection_maximum": frames or _MAX_FRAMES,
        STOCK_MAXIMA: {"video_length": frames or _STOCK_FRAMES,
                       **({"sliding_window_overlap": overlap} if wider else {})},
        **({"custom_settings": [*own, *ours]}
           if len(own) + len(ours) <= _MAX_CUSTOM_SETTINGS else {}),
    }


def _unchecked(inputs: Any, fault: Exception) -> str:
    """The message after a bug in the check; "" for a video without SVI, which goes on."""
    line = (f"SVI {__version__} could not check these settings, because of a bug "
            f"({type(fault).__name__}: {fault})")
    loras = inputs.get("activated_loras") if isinstance(inputs, Mapping) else None
    if any(identify(str(name)) for name in loras or []):
        return f"{line}. Please report this line; without the SVI LoRA, WanGP works as usual."
    say(f"{line}. Please report this line.")
    return ""


def prepare(architecture: str, model_def: Mapping[str, Any], inputs: dict[str, Any],
            show: Callable[[list[Finding]], None] = tell) -> str:
    """Sets WanGP's settings for SVI, in place -> an error for the user, or "". `show` gets other
    findings; by default, it puts them into the log and onto the page."""
    if source_video.continues(inputs):  # another program may have made a run longer
        source_video.forget()
    checked = check(architecture, model_def, inputs, running_config(), running_outputs(),
                    running_loras(architecture), running_addresses(), running_limits())
    if checked.errors:
        first, *rest = checked.errors
        return for_page(f"SVI: {' '.join([first, *map(sentence, rest)])}")
    show(checked.findings)
    if checked.plan is not None:
        inputs.update(required(checked.plan, inputs))
        return _shorten_source(inputs, rate_of(checked.plan, inputs))
    _make_stock(model_def, inputs)
    return ""


def _shorten_source(inputs: dict[str, Any], fps: Fraction) -> str:
    """Has WanGP read the end of a video that it would cut -> an error for the user, or ""."""
    if (outputs := running_outputs()) is not None:
        try:
            inputs.update(source_video.shortened(inputs, fps, outputs))
        except (MediaError, OSError) as error:
            why = str(error) if isinstance(error, MediaError) else explain(error)
            return for_page(f"SVI: {sentence(why)}. Continue another video, or a part of this one.")
    return ""


def _make_stock(model_def: Mapping[str, Any], inputs: dict[str, Any]) -> None:
    """Without SVI, takes out of the settings what the form has only because of it."""
    if inputs.get("custom_settings") == DEFAULTS:
        inputs["custom_settings"] = None
    stock = model_def.get(STOCK_MAXIMA, {}).get("sliding_window_overlap")
    if stock is not None and (inputs.get("sliding_window_overlap") or 0) > stock:
        say(f"SVI is off, so the windows overlap by {stock} instead of "
            f"{inputs['sliding_window_overlap']}: WanGP allows no more for this model.")
        inputs["sliding_window_overlap"] = stock
