"""From WanGP's settings to what SVI does: detection, overrides, errors, and WanGP's handler."""

from types import SimpleNamespace

import pytest

from wan2gp_svi.variants import VARIANTS
from wan2gp_svi.wangp.form import SettingsError, custom_settings
from wan2gp_svi.wangp.handler import extend, prepare
from wan2gp_svi.wangp.plan import active_loras, make_plan

SHOT, FILM = "loras/wan_i2v/svi-shot.safetensors", "svi-film.safetensors"
PAIR = [lora.url for lora in VARIANTS["2.0-wan22"].loras]
PRO = [lora.url for lora in VARIANTS["2.0-pro"].loras]
LIGHTX2V = "Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors"


def inputs(**changes):
    return {"image_mode": 0, "activated_loras": [SHOT], "video_length": 810,
            "sliding_window_size": 129,
            "sliding_window_overlap": 9, "sliding_window_discard_last_frames": 4,
            "image_prompt_type": "S",
            "image_end": None, "motion_amplitude": 1.3,
            "sliding_window_color_correction_strength": 0.5} | changes


def test_the_active_lora_decides():
    assert make_plan("i2v", [LIGHTX2V, SHOT], None).variant == VARIANTS["shot"]
    assert make_plan("i2v", [LIGHTX2V, SHOT], {}).loras == (SHOT,)
    assert make_plan("i2v_2_2", PAIR, {"svi_variant": "auto"}).variant == VARIANTS["2.0-wan22"]


@pytest.mark.parametrize(("architecture", "loras", "custom"), [
    ("i2v", [], None), ("i2v", [LIGHTX2V], {}), ("i2v", [SHOT], {"svi_variant": "off"}),
    ("t2v", [SHOT], None),
    ("hunyuan", [SHOT], {"svi_variant": "nonsense of another model"}),
    ("i2v_2_2_svi2pro", PAIR, None),
])
def test_svi_is_off(architecture, loras, custom):
    assert make_plan(architecture, loras, custom) is None


def test_overrides():
    custom = {"num_motion_frames": "5 cfg", "ref_pad_num": " 3 ", "seed_times": 7}
    plan = make_plan("i2v", [SHOT], custom)
    v = plan.variant
    assert (v.motion_frames, v.overlap, v.ref_pad_num, v.ref_pad_cfg) == (5, 5, 3, True)
    assert (plan.seed(1000, 0), plan.seed(1000, 2)) == (1000, 1014)
    v = make_plan("i2v", [SHOT], {"num_motion_frames": "5"}).variant
    assert (v.motion_frames, v.overlap, v.ref_pad_num, v.ref_pad_cfg) == (5, 5, -1, False)
    assert make_plan("i2v", [SHOT], {"svi_variant": "film"}).variant.id == "film"
    assert make_plan("i2v", [], {"svi_variant": "shot"}).variant.id == "shot"
    auto = {"num_motion_frames": "auto", "ref_pad_num": "", "seed_times": 42.0, "svi_run": " "}
    assert make_plan("i2v", [FILM], auto) == make_plan("i2v", [FILM], None)
    assert make_plan("i2v", [FILM], None).variant == VARIANTS["film"]
    assert make_plan("i2v", [FILM], None).requested_run == "auto"
    assert make_plan("i2v", [FILM], {"svi_run": " 7F3A@5"}).requested_run == "7f3a@5"


@pytest.mark.parametrize(("architecture", "loras", "custom", "said"), [
    ("i2v", [SHOT, FILM], {}, "svi-shot.safetensors and svi-film.safetensors"),
    ("i2v", PAIR, {}, r"for Wan 2\.2, but the chosen model is Wan 2\.1"),
    ("i2v_2_2", [SHOT], {}, r"for Wan 2\.1, but the chosen model is Wan 2\.2"),
    ("i2v", PAIR, {"svi_variant": "shot"}, r"is for Wan 2\.2"),
    ("i2v_2_2", PAIR[:1], {},
     "low noise is not active. Add SVI_Wan2.2-I2V-A14B_low_noise_lora_v2.0.safetensors"),
    ("i2v", [SHOT], {"svi_variant": "schot"},
     r'SVI variant is "schot". Set it to one of: auto, off, shot'),
    ("i2v", [SHOT], {"num_motion_frames": 3}, 'is "3". Set it to auto, 1 or 5'),
    ("i2v", [SHOT], {"ref_pad_num": -2}, 'is "-2". Set it to auto or a number from -1 to 80'),
    ("i2v", [SHOT], {"ref_pad_num": 81}, "-1 to 80"),
    ("i2v", [SHOT], {"ref_pad_num": "1.5"}, "-1 to 80"),
    ("i2v", [SHOT], {"ref_pad_num": "all"}, 'is "all". Set it to auto or a number from -1 to 80'),
    ("i2v", [SHOT], {"seed_times": 0}, "1 to 1,000"),
    ("i2v_2_2", PRO, {"num_motion_frames": "5"}, r"chains latents.*\(num_motion_frames\) to auto"),
    ("i2v_2_2", PRO, {"ref_pad_num": 0}, "chains latents"),
])
def test_what_cannot_be_is_refused(architecture, loras, custom, said):
    with pytest.raises(SettingsError, match=said):
        make_plan(architecture, loras, custom)
    assert prepare(architecture, {}, inputs(activated_loras=loras,
                                            custom_settings=custom)).startswith("SVI: ")


def test_a_run_is_made_ready():
    given = inputs()
    assert prepare("i2v", {}, given) == ""
    assert given["video_length"] == 801 and given["sliding_window_size"] == 81
    assert given["sliding_window_overlap"] == 1
    assert given["sliding_window_discard_last_frames"] == 0 and given["motion_amplitude"] == 1.3
    assert given["sliding_window_color_correction_strength"] == 0
    assert "sliding_window_trim_first_frames" not in given  # this WanGP has no such setting
    again = dict(given)
    assert prepare("i2v", {}, again) == "" and again == given


def test_without_svi_nothing_is_touched():
    for changes in (dict(activated_loras=[]), dict(activated_loras=None), dict(image_mode=1)):
        given = inputs(**changes)
        assert prepare("i2v", {}, given) == "" and given == inputs(**changes)


@pytest.mark.parametrize(("changes", "said"), [
    (dict(image_prompt_type="SE", image_end=object()), "an end image"),
    (dict(image_prompt_type=""), "add a start image"),
    (dict(image_prompt_type=None), "add a start image"),
    (dict(prompt="[/duration=40] a boat"), "remove /duration from the prompt"),
])
def test_what_svi_cannot_do_yet_is_said(changes, said):
    assert said in prepare("i2v", {}, inputs(**changes))


@pytest.mark.parametrize("letter", "VL")
def test_a_video_can_be_continued(letter):
    """WanGP adds the overlap, less one frame, to what is asked for."""
    given = inputs(image_prompt_type=letter, activated_loras=[FILM], video_length=162)
    assert prepare("i2v", {}, given) == "" and given["video_length"] == 157 - 4
    again = dict(given)
    assert prepare("i2v", {}, again) == "" and again == given


def test_an_end_image_that_is_not_used_does_not_matter():
    assert prepare("i2v", {}, inputs(image_end=object())) == ""


def test_wangps_own_svi_is_not_doubled():
    assert "built in" in prepare("i2v_2_2_svi2pro", {}, inputs(activated_loras=PAIR))
    assert prepare("i2v_2_2_svi2pro", {"loras": PAIR}, inputs(activated_loras=[])) == ""


def test_loras_of_the_model_definition_count():
    assert active_loras(None, {"loras": [SHOT]}) == [SHOT]
    assert active_loras(["x"], {"loras": "named elsewhere"}) == ["x"]


def test_the_line_that_tells_what_is_done():
    line = make_plan("i2v", [SHOT], None).describe([1234, 1276, 1318], 16)
    assert line == ("SVI-Shot (svi-shot.safetensors): 3 clips of 81 frames, 241 frames, 15.1 s. "
                    "Motion frames 1, padding: reference, seeds 1234, 1276, 1318")
    line = make_plan("i2v", [FILM], {"ref_pad_num": 2}).describe(range(0, 420, 42), 16)
    assert "padding: reference for 2 frames, then grey, seeds 0, 42, 84, ..., 378" in line
    assert "padding: reference, seed 5" in make_plan("i2v", [SHOT],
                                                     {"ref_pad_num": 80}).describe([5], 16)
    line = make_plan("i2v_2_2", PRO, None).describe([0, 42], 16)
    assert "Motion latents 1, padding: latent zeros" in line


class Handler:
    """As much of WanGP's handler as SVI extends."""

    @staticmethod
    def query_model_def(base_model_type, model_def):
        own = {"sliding_window_defaults": {"overlap_max": 1}}
        return None if base_model_type == "none" else own

    @staticmethod
    def fix_settings(base_model_type, settings_version, model_def, ui_defaults):
        ui_defaults["fixed"] = True


def handler(text_modes=True):
    copy = type("Copy", (Handler,), {})
    extend(copy, text_modes)
    return copy


def test_wangp_is_taught_the_overlap_and_the_custom_settings():
    extra = handler().query_model_def("i2v", {})
    assert extra["sliding_window_defaults"] == {"overlap_min": 1, "overlap_max": 5,
                                                "overlap_step": 4, "overlap_default": 1}
    ids = [setting["id"] for setting in extra["custom_settings"]]
    assert ids == ["svi_variant", "num_motion_frames", "ref_pad_num", "svi_storyboard", "svi_run"]
    assert handler().query_model_def("t2v", {}) == Handler.query_model_def("t2v", {})
    assert handler().query_model_def("none", {}) is None


def test_an_overlap_for_svi_alone_is_wangps_own_again_once_svi_is_off(capsys):
    """As when another profile replaces that of SVI-Film."""
    wangp = handler()
    model_def = wangp.query_model_def("i2v", {})
    off = inputs(activated_loras=[LIGHTX2V], sliding_window_overlap=5)
    assert not wangp.validate_generative_prompt("i2v", model_def, off, "a boat")
    assert off == inputs(activated_loras=[LIGHTX2V], sliding_window_overlap=1)
    assert "the windows overlap by 1 instead of 5" in capsys.readouterr().out
    assert not wangp.validate_generative_prompt("i2v", model_def, off, "a boat")
    assert capsys.readouterr().out == ""
    default = {setting["id"]: setting["default"] for setting in custom_settings()}
    for custom, left in ((default, None), ({**default, "svi_variant": "off"},) * 2):
        off["custom_settings"] = custom
        assert not wangp.validate_generative_prompt("i2v", model_def, off, "a boat")
        assert off["custom_settings"] == left, "what says nothing is not in the video's settings"
    on = inputs(activated_loras=[FILM], sliding_window_overlap=1)
    assert not wangp.validate_generative_prompt("i2v", model_def, on, "a boat")
    assert on["sliding_window_overlap"] == 5


def test_the_defaults_of_the_custom_settings_change_nothing():
    defaults = {setting["id"]: setting["default"] for setting in custom_settings()}
    assert make_plan("i2v", [FILM], defaults) == make_plan("i2v", [FILM], None)


def test_wangp_refuses_with_our_sentence_or_its_own():
    check = handler().validate_generative_prompt
    assert check("i2v", None, inputs(image_prompt_type=""),
                 "a prompt").startswith("SVI: choose to start")
    assert not check("i2v", None, inputs(), "a prompt")
    own = type("Own", (Handler,),
               {"validate_generative_prompt": staticmethod(lambda *_: "no such prompt")})
    extend(own, True)
    assert own.validate_generative_prompt("i2v", {}, inputs(), "x") == "no such prompt"


def test_a_request_is_spoken_about_once_however_many_prompts_it_has(capsys):
    check = handler().validate_generative_prompt
    request = inputs(loras_multipliers="0.5")
    for prompt in ("a boat", "a boat", "a storm"):
        assert not check("i2v", {}, request, prompt)
    lines = capsys.readouterr().out.splitlines()
    assert sum("svi-shot.safetensors has a strength of 0.5" in line for line in lines) == 1
    assert sum("801 frames instead of 810" in line for line in lines) == 1
    assert not check("i2v", {}, dict(request), "a boat")
    assert "has a strength of 0.5" in capsys.readouterr().out, "the next request, same settings"


def test_every_other_wan_model_is_left_alone(capsys):
    check, request = handler().validate_generative_prompt, inputs()
    assert not check("multitalk", {}, request, "a man talks") and request == inputs()
    assert "SVI is off" in capsys.readouterr().out
    assert not check("t2v", {}, inputs(activated_loras=[]), "x") and capsys.readouterr().out == ""


def test_what_speaks_against_a_run_can_be_asked_for():
    found = []
    assert prepare("i2v", {}, inputs(), found.extend) == ""
    assert "frames" in {finding.id for finding in found}
    with pytest.raises(SettingsError) as error:
        make_plan("i2v", PAIR, {})
    assert error.value.id == "wrong-wan" and SettingsError("x").id == "settings"


def test_old_wangps_split_prompts_by_number():
    settings = {"multi_prompts_gen_type": "PW"}
    handler(text_modes=True).fix_settings("i2v", 1, {}, settings)
    assert settings == {"multi_prompts_gen_type": "PW", "fixed": True}
    handler(text_modes=False).fix_settings("i2v", 1, {}, settings)
    assert settings["multi_prompts_gen_type"] == 1


def test_a_handler_without_optional_parts_is_extended_too():
    bare = SimpleNamespace(query_model_def=Handler.query_model_def)
    extend(bare, True)
    assert not bare.validate_generative_prompt("i2v", {}, inputs(), "x")
    bare.fix_settings("i2v", 1, {}, {})
