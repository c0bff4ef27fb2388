"""What WanGP's handler of the Wan models is taught: SVI's custom settings, and to make a request what SVI needs.

WanGP names used here: the handler (`models/wan/wan_handler.py`) with its `query_model_def`,
`validate_generative_prompt` and `fix_settings`, and the keys of its model definitions.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

from .. import __version__
from ..text import sentence
from ..variants import CLIP_FRAMES, identify
from .check.findings import Finding, check
from .check.telling import running_config, tell
from .clip import say
from .form import custom_settings
from .plan import ARCHITECTURES, active_loras, plan, required

_MAX_CUSTOM_SETTINGS = 5  # that WanGP draws
_MAX_FRAMES = CLIP_FRAMES * 125  # ten minutes at 16 frames a second, for the slider


def extend(handler: Any, text_modes: bool) -> None:
    """Teaches WanGP's handler of the Wan models what SVI needs. `text_modes`: this WanGP names the ways to split a
    prompt by letters (`PW`); before v11.20 they were numbers."""
    query, validate = handler.query_model_def, getattr(handler, "validate_generative_prompt", None)
    fix = getattr(handler, "fix_settings", None)

    @wraps(query)
    def query_model_def(base_model_type, model_def, *others, **options):
        extra = query(base_model_type, model_def, *others, **options)
        with _harmless():
            if extra is not None and base_model_type in ARCHITECTURES:
                extra.update(_taught(extra))
        return extra

    told: list[Any] = [None]  # the request that was last spoken about; kept, so that no other can take its identity

    def validate_generative_prompt(base_model_type, model_def, inputs, one_prompt, *others, **options):
        """WanGP asks once for every prompt of a request, with the same `inputs`."""
        error = validate(base_model_type, model_def, inputs, one_prompt, *others, **options) if validate else None
        show = tell if told[0] is not inputs else lambda findings: None
        told[0] = inputs
        try:
            return error or prepare(base_model_type, model_def or {}, inputs, show)
        except Exception as fault:
            return _cannot_check(inputs, fault)

    def fix_settings(base_model_type, settings_version, model_def, ui_defaults, *others, **options):
        if fix is not None:
            fix(base_model_type, settings_version, model_def, ui_defaults, *others, **options)
        with _harmless():
            paragraphs = base_model_type in ARCHITECTURES and ui_defaults.get("multi_prompts_gen_type") == "PW"
            if paragraphs and not text_modes:
                ui_defaults["multi_prompts_gen_type"] = 1  # a line for each window; there were no paragraphs yet

    handler.query_model_def = staticmethod(query_model_def)
    handler.validate_generative_prompt = staticmethod(validate_generative_prompt)
    handler.fix_settings = staticmethod(fix_settings)


def _taught(extra: Mapping[str, Any]) -> dict[str, Any]:
    """What a model definition says of SVI's clips and settings, beside what it says already."""
    own, ours = extra.get("custom_settings") or [], custom_settings()
    return {
        "sliding_window_defaults": {"overlap_min": 1, "overlap_max": 5, "overlap_step": 4, "overlap_default": 1},
        "frames_selection_maximum": extra.get("frames_selection_maximum", _MAX_FRAMES),
        **({"custom_settings": [*own, *ours]} if len(own) + len(ours) <= _MAX_CUSTOM_SETTINGS else {}),
    }


@contextlib.contextmanager
def _harmless() -> Iterator[None]:
    """What goes wrong inside is told, and WanGP goes on without it."""
    try:
        yield
    except Exception as fault:
        say(f"something is wrong in SVI {__version__} ({type(fault).__name__}: {fault}). Please report this line.")


def _cannot_check(inputs: Any, fault: Exception) -> str:
    """What is wrong here must keep nobody from making a video without SVI."""
    line = (f"SVI {__version__} cannot check these settings, because of a fault of its own ({type(fault).__name__}: "
            f"{fault})")
    loras = inputs.get("activated_loras") if isinstance(inputs, Mapping) else None
    if any(identify(str(name)) for name in loras or []):
        return f"{line}. Please report this line, or take the SVI LoRA out to make a video without SVI."
    say(f"{line}. Please report this line.")
    return ""


def prepare(architecture: str, model_def: Mapping[str, Any], inputs: dict[str, Any],
            show: Callable[[list[Finding]], None] = tell) -> str:
    """Before a run: makes WanGP's settings what SVI needs, in place. Returns the message for the user, or "".

    `show` is given what else there is to know; by default it goes to the log.
    """
    findings = check(architecture, model_def, inputs, running_config())
    refused = [finding.text for finding in findings if finding.kind == "refused"]
    if refused:
        return f"SVI: {' '.join([refused[0], *map(sentence, refused[1:])])}"
    show(findings)
    if (inputs.get("image_mode") or 0) == 0:
        run = plan(architecture, active_loras(inputs.get("activated_loras"), model_def), inputs.get("custom_settings"))
        if run is not None:
            inputs.update(required(run, inputs))
    return ""
