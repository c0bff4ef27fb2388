"""What WanGP's handler of the Wan models is taught: SVI's custom settings, and to make a request what SVI needs.

WanGP names used here: the handler (`models/wan/wan_handler.py`) with its `query_model_def`,
`validate_generative_prompt` and `fix_settings`, and the keys of its model definitions.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from ..variants import CLIP_FRAMES
from . import preflight
from .settings import ARCHITECTURES, active_loras, custom_settings, plan, required, sentence

_MAX_CUSTOM_SETTINGS = 5  # that WanGP draws
_MAX_FRAMES = CLIP_FRAMES * 125  # ten minutes at 16 frames a second, for the slider


def extend(handler: Any, text_modes: bool) -> None:
    """Teaches WanGP's handler of the Wan models what SVI needs. `text_modes`: this WanGP names the ways to split a
    prompt by letters (`PW`); before v11.20 they were numbers."""
    query, validate = handler.query_model_def, getattr(handler, "validate_generative_prompt", None)
    fix = getattr(handler, "fix_settings", None)

    @wraps(query)
    def query_model_def(base_model_type, model_def):
        extra = query(base_model_type, model_def)
        if extra is not None and base_model_type in ARCHITECTURES:
            extra["sliding_window_defaults"] = {"overlap_min": 1, "overlap_max": 5, "overlap_step": 4,
                                                "overlap_default": 1}
            extra.setdefault("frames_selection_maximum", _MAX_FRAMES)
            own = extra.get("custom_settings") or []
            if len(own) + len(custom_settings()) <= _MAX_CUSTOM_SETTINGS:
                extra["custom_settings"] = [*own, *custom_settings()]
        return extra

    told: list[Any] = [None]  # the request that was last spoken about; kept, so that no other can take its identity

    def validate_generative_prompt(base_model_type, model_def, inputs, one_prompt):
        """WanGP asks once for every prompt of a request, with the same `inputs`."""
        error = validate(base_model_type, model_def, inputs, one_prompt) if validate else None
        tell = preflight.tell if told[0] is not inputs else lambda findings: None
        told[0] = inputs
        return error or prepare(base_model_type, model_def or {}, inputs, tell)

    def fix_settings(base_model_type, settings_version, model_def, ui_defaults):
        if fix is not None:
            fix(base_model_type, settings_version, model_def, ui_defaults)
        if not text_modes and base_model_type in ARCHITECTURES and ui_defaults.get("multi_prompts_gen_type") == "PW":
            ui_defaults["multi_prompts_gen_type"] = 1  # a line for each window; there were no paragraphs yet

    handler.query_model_def = staticmethod(query_model_def)
    handler.validate_generative_prompt = staticmethod(validate_generative_prompt)
    handler.fix_settings = staticmethod(fix_settings)


def prepare(architecture: str, model_def: Mapping[str, Any], inputs: dict[str, Any],
            tell: Callable[[list[preflight.Finding]], None] | None = None) -> str:
    """Before a run: makes WanGP's settings what SVI needs, in place. Returns the message for the user, or "".

    `tell` is given what else there is to know; by default it goes to the log.
    """
    findings = preflight.check(architecture, model_def, inputs, preflight.running_config())
    refused = [finding.text for finding in findings if finding.kind == "refused"]
    if refused:
        return f"SVI: {' '.join([refused[0], *map(sentence, refused[1:])])}"
    (tell or preflight.tell)(findings)
    if (inputs.get("image_mode") or 0) == 0:
        run = plan(architecture, active_loras(inputs.get("activated_loras"), model_def), inputs.get("custom_settings"))
        if run is not None:
            inputs.update(required(run, inputs))
    return ""
