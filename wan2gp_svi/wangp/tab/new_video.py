"""A new video: buttons that set WanGP's form for a profile of SVI, and open it or the desk.

WanGP names used here: `get_default_prompt` of wgp.py, its example of a prompt, if there is one.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ... import location
from ...files import read_json
from ...runs.record import StoreError
from ...text import sentence
from ...variants import identify
from ..form import OFF
from ..form_line import FormLine
from ..plan import DANCING, DEMO_ONLY, SMALL, first_image, is_blank
from . import actions
from .helpers import gr, on, to_form

FIRST = "SVI Shot Infinite LightX2V - 4 Steps"  #: the fast profile for beginners
DEMO = "SVI-2.0 demo"  #: the same for the demo model


class NewVideo:
    """`wgp` are the variables of wgp.py; `plugin` has the components of WanGP's page."""

    def __init__(self, plugin: Any, wgp: Mapping[str, Any], line: FormLine):
        self.plugin, self.wgp, self.line = plugin, wgp, line
        self.offered = profiles(location.HOME, bool(wgp.get(DEMO_ONLY)))
        shown = getattr(plugin.state, "value", None) or {}  # the form that the page opens with
        self.picked = gr.State(False)  # by the user, who is not overruled
        with gr.Row(equal_height=True):
            self.chosen = gr.Dropdown(
                [*self.offered], value=first(self.offered, shown.get("model_type")), scale=3,
                label="Profile", show_label=False, container=False, min_width=240,
                elem_id="svi_profile")
            self.button = gr.Button("New video", variant="primary", scale=1, min_width=120,
                                    elem_id="svi_new")
            self.stage = gr.Button("New storyboard", scale=1, min_width=120,
                                   elem_id="svi_new_storyboard")

    def connect(self, desk: Any, opened: Callable[..., Any]) -> None:
        """Has "New video" open WanGP's form, and "New storyboard" the desk, if there is one.
        `opened`: the event of the tab, which chooses a profile for the form's model."""
        plugin = self.plugin
        on(self.chosen.input, lambda: True, None, [self.picked])
        on(opened, self._choose, [plugin.state, self.picked], [self.chosen])
        given = [plugin.state, self.chosen]
        form = [plugin.save_form_trigger, plugin.refresh_form_trigger, plugin.model_choice_target]
        on(self.button.click, partial(self._work, lambda: [to_form(plugin)]), given,
           [plugin.main_tabs, *form])
        self.stage.visible = desk is not None
        if desk is not None:
            shown = [desk.part, desk.state, desk.note, desk.body, desk.more]

            def opens() -> list[Any]:
                loading = desk.loading()
                return [loading[one] for one in shown]

            def work(state: dict[str, Any], name: str | None) -> Iterator[tuple[Any, ...]]:
                if name is not None and is_off(self.offered[name]):
                    raise StoreError(f"only SVI has storyboards, and \"{name}\" works without SVI. "
                                     "Press New video instead, or choose another profile")
                yield from self._work(opens, state, name)

            on(self.stage.click, work, given, [*shown, *form])

    def _choose(self, state: Mapping[str, Any], picked: bool) -> Any:
        return gr.skip() if picked else first(self.offered, state.get("model_type"))

    def _work(self, opens: Callable[[], list[Any]], state: dict[str, Any], name: str | None
              ) -> Iterator[tuple[Any, ...]]:
        """Sets the form; `opens` gives the values of what is shown with it."""
        if name is None:
            raise StoreError("choose a profile first")
        saved, opened = actions.form_saved(state), opens()
        yield *[gr.skip()] * len(opened), next(saved), gr.skip(), gr.skip()
        next(saved)
        fill, switch = apply(self.wgp, state, self.offered[name])
        model = switch.partition("|")[0] if switch else state["model_type"]
        self.line.tell_once_filled(state, f"The form is set for \"{name}\". "
                                          f"{next_steps(self.wgp, state, model)}")
        yield *opened, gr.skip(), fill or gr.skip(), switch or gr.skip()


def next_steps(wgp: Mapping[str, Any], state: Mapping[str, Any], model: str) -> str:
    """What is left to do in the form: WanGP's own example of a prompt is not the user's, but the
    demo model's is that of its picture."""
    filled, example = state["all_settings"][model], wgp["get_default_settings"](model).get("prompt")
    variants = filter(None, map(identify, filled.get("activated_loras") or []))
    variant = next(variants, None)
    images = filled.get("image_start")
    steps = (["add a start image"] if is_blank(first_image(images)) else
             ["remove all start images but one"] if isinstance(images, list) and len(images) > 1
             else [])
    if variant and variant.talks and not filled.get("audio_guide"):
        steps.append("add a sound")
    if variant and variant.poses and not filled.get("video_guide"):
        steps.append("add a pose video")
    if filled.get("prompt") in (None, "", None if model == SMALL else example):
        steps.append("write a prompt")
    left = "".join(f"{step}, " for step in steps)
    return sentence(f"{left}and press Generate." if steps else "press Generate.")


def first(offered: Collection[str], model: Any) -> str | None:
    """The profile to begin with on a form for `model`."""
    wanted = (DEMO, FIRST) if model == SMALL else (FIRST, DEMO)
    return next((name for name in wanted if name in offered), None)


def profiles(wangp: Path, demo_only: bool = False) -> dict[str, Path]:
    """SVI's profiles in WanGP by their names, and those of the demo model if it is there;
    `demo_only`: these alone."""
    others = () if demo_only else ("wan_i2v/SVI*.json", "wan_2_2/SVI*.json")
    patterns = (*others, f"{SMALL}/*.json")
    return {path.stem: path for pattern in patterns
            for path in sorted((wangp / "profiles").glob(pattern))}


def is_off(profile: Path) -> bool:
    """Whether a profile turns SVI off; one that cannot be read is left to `apply`."""
    settings = read_json(profile)
    chosen = settings.get("custom_settings") if isinstance(settings, dict) else None
    return isinstance(chosen, dict) and chosen.get("svi_variant") == OFF


def apply(wgp: Mapping[str, Any], state: dict[str, Any], profile: Path
          ) -> tuple[str | None, str | None]:
    """Lays a profile over the settings of its model, or of the form's model if that is one of the
    same kind. Returns what `actions.fill` does. Raises StoreError."""
    settings, base = read_json(profile), wgp["get_base_model_type"]
    if not isinstance(settings, dict):
        raise StoreError(f"{profile} is missing or damaged: run install.py again")
    wanted, current = settings.get("model_type"), state["model_type"]
    actions.check_model(wgp, wanted)
    fits = (base(current) == base(wanted) and SMALL not in (current, wanted)
            and DANCING not in (current, wanted))
    listed = str(Path(profile.parent.name, profile.name))  # so WanGP's list shows it as chosen
    # the bar marks a profile's LoRAs: WanGP's Apply replaces those before it, and keeps all others
    strengths = settings.get("loras_multipliers") or ""
    filled = actions.fill(wgp, state, profile, current if fits else wanted, lset_name=listed,
                          loras_multipliers=strengths and f"{strengths}|")
    if wanted == SMALL:
        _replace_example(wgp, state["all_settings"][SMALL])
    return filled


def _replace_example(wgp: Mapping[str, Any], settings: dict[str, Any]) -> None:
    """The demo model knows only prompts of its own world. WanGP's example is none of them, and
    stands in its form if that was saved while WanGP changed the model."""
    example = wgp.get("get_default_prompt")
    own = read_json(location.HOME / "finetunes" / f"{SMALL}.json")
    if callable(example) and isinstance(own, dict) and settings.get("prompt") in (
            "", example(True), example(False)):
        settings["prompt"] = own.get("prompt", "")
