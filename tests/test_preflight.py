"""The check before a run: what is said when, what is not said, and the command line. No WanGP."""

import argparse
import ast
import importlib
import json
import re
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import sounds
import videos

from wan2gp_svi import location
from wan2gp_svi.variants import VARIANTS
from wan2gp_svi.wangp import form_line, last_board, source_video
from wan2gp_svi.wangp.check import command, rules, settings_file, telling
from wan2gp_svi.wangp.check.findings import Checked, Finding, check
from wan2gp_svi.wangp.form import DECIDING, custom_settings
from wan2gp_svi.wangp.handler import extend, prepare
from wan2gp_svi.wangp.plan import ARCHITECTURES, DANCING, DEMO_ONLY, SMALL, make_plan
from wan2gp_svi.wangp.profiles import model as dance_model
from wan2gp_svi.wangp.profiles import profiles

HOME = Path(__file__).parents[1]
PROFILES = {profile.name: profile for profile in profiles()}
SHOT, SHOT_FAST = "SVI Shot Infinite - 50 Steps", "SVI Shot Infinite LightX2V - 4 Steps"
FILM, FILM_FAST = "SVI-Film - 50 Steps", "SVI-Film LightX2V - 4 Steps"
STREAM = "SVI-2.0 Unified - 50 Steps"
WAN22, WAN22_FAST = "SVI-2.0 - 50 Steps", "SVI-2.0 Lightning - 4 Steps"
TALK, DANCE = "SVI-Talk - 50 Steps", "SVI-Dance - 50 Steps"
PRO, PRO_FAST = "SVI-2.0 Pro - 50 Steps", "SVI-2.0 Pro Lightning - 4 Steps"
SERVER = {"attention_mode": "sdpa", "transformer_quantization": "bf16", "vae_config": 0,
          "fit_canvas": 0}
_HEADER = b'{"t": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}'
LORA = len(_HEADER).to_bytes(8, "little") + _HEADER + b"0"  # a whole file
LIGHTX2V = "Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors"
WAN21 = "https://huggingface.co/DeepBeepMeep/Wan2.1/resolve/main/"
PLAIN = {"name": "Wan2.1 Image2video 480p 14B", "URLs": [
    WAN21 + "wan2.1_image2video_480p_14B_mbf16.safetensors",
    WAN21 + "wan2.1_image2video_480p_14B_quanto_mbf16_int8.safetensors"]}


def image(width, height):
    return SimpleNamespace(size=(width, height))


def request(profile=SHOT, **changes):
    """A profile as it is applied, with what the user gives."""
    settings = PROFILES[profile].settings
    custom = {**settings["custom_settings"], **changes.pop("custom", {})}
    return {**settings, "custom_settings": custom, "resolution": "832x480", "video_length": 81,
            "prompt": "a boat", "image_start": [image(1664, 960)], **changes}


def findings(profile=SHOT, *, server=SERVER, model=PLAIN, **changes):
    asked = request(profile, **changes)
    before = json.dumps(asked, default=str)
    architecture = PROFILES[profile].settings["model_type"]
    if architecture == DANCING:
        model = {**dance_model()["model"], "URLs": PLAIN["URLs"]}
        architecture = model["architecture"]
    found = check(architecture, model, asked, server).findings
    assert json.dumps(asked, default=str) == before, "check changes nothing"
    return found


def said(kind, *arguments, **options):
    return {finding.id: finding.text for finding in findings(*arguments, **options)
            if finding.kind == kind}


def warned(*arguments, **options):
    return said("warning", *arguments, **options)


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_as_shipped_has_nothing_against_it(name):
    assert findings(name) == []
    prompts = {"prompt": "a boat\n\na boat on a lake\n\na storm", "video_length": 810}
    counted = ["frames"] * ("Talk" not in name)  # which is as long as its sound, and has none
    assert [finding.id for finding in findings(name, **prompts)] == counted
    assert warned(name, server=None) == {}


# ------------------------------------------------------------------------------------------ refused

@pytest.mark.parametrize(("changes", "id", "fix"), [
    (dict(activated_loras=["svi-shot.safetensors", "svi-tom.safetensors"]), "two-variants",
     "Remove one."),
    (dict(activated_loras=[VARIANTS["2.0-wan22"].loras[0].name]), "wrong-wan",
     "Choose Image2Video 14B of Wan 2.2"),
    (dict(image_prompt_type="T"), "start-image", "choose to start with an image, and add"),
    (dict(image_start=None), "start-image", "add a start image (image_start). To start"),
    (dict(image_start=[]), "start-image", "add a start image (image_start). To start"),
    (dict(image_prompt_type="V", video_source=None), "source-video", "add the video to continue"),
    (dict(image_start="no/such.png"), "start-image", "there is no start image no/such.png"),
    (dict(image_start=["a.png", "b.png", "c.png"]), "start-image",
     "there are 3 start images. Remove all but one"),
    (dict(image_start=[(image(8, 8), None)] * 2, multi_prompts_gen_type=1), "start-image",
     "there are 2 start images"),
    (dict(image_prompt_type="V", video_source="no/such.mp4"), "source-video",
     "there is no video no/such.mp4 to continue"),
    (dict(video_length=81 * 1501), "number-of-frames", "at most 121,500 (1,500 clips)"),
    (dict(video_length=-5), "number-of-frames", "-5 frames are not possible"),
    (dict(video_length="many"), "number-of-frames", "many frames are not possible"),
    (dict(image_prompt_type="SE", image_end=object()), "end-image", "in the storyboard"),
    (dict(video_prompt_type="KI", image_refs=["a.png", "b.png"]), "references",
     'Write "reference = a.png" under [2] of the storyboard'),
    (dict(video_prompt_type="I", image_refs=[(object(), None)]), "references",
     'Write "reference = IMAGE.png" under [2]'),
    (dict(custom_settings={"svi_storyboard": "[9]\nseed = 1"}), "storyboard",
     "clip 9 is not in this video, which has 1 clip"),
    (dict(custom_settings={"svi_storyboard": "seed = 1"}), "storyboard", "such as [1]"),
    (dict(prompt="[/overlap=9, duration=40] a boat"), "window-commands",
     "remove /duration and /overlap from the prompt"),
    (dict(custom={"ref_pad_num": "many"}), "settings", "Set it to auto or a number from -1 to 80"),
])
def test_what_cannot_be_svi_is_refused_with_its_fix(changes, id, fix):
    changes["image_end"] = changes.get("image_end") and None if id != "end-image" else "end.png"
    found = said("error", **changes)
    assert list(found) == [id] and fix in found[id]


def test_several_start_images_are_several_videos_where_no_prompt_is_for_a_window():
    assert not said("error", image_start=[image(8, 8)] * 2, multi_prompts_gen_type="PG")


def test_reference_images_that_wangp_does_not_use_are_no_concern():
    for changes in (dict(image_refs=["a.png"]), dict(video_prompt_type="I", image_refs=None),
                    dict(video_prompt_type="KI", image_refs=[])):
        assert said("error", **changes) == {}


def test_a_pair_without_its_twin_is_refused_and_the_missing_file_named():
    for kept, missing in ((0, 1), (1, 0)):
        pair = VARIANTS["2.0-pro"].loras
        found = said("error", PRO, activated_loras=[pair[kept].url])
        assert f"Add {pair[missing].name}, or apply the profile again" in found["missing-twin"]


def test_wangps_own_svi_is_refused_a_second_one():
    loras = [lora.url for lora in VARIANTS["2.0-pro"].loras]
    found, = check("i2v_2_2_svi2pro", {}, request(activated_loras=loras)).findings
    assert (found.kind, found.id) == ("error", "built-in") and "Remove the SVI LoRAs" in found.text
    assert check("i2v_2_2_svi2pro", {"loras": loras}, request(activated_loras=[])) == Checked(None)


def test_all_refusals_come_at_once_and_in_one_message():
    asked = request(image_prompt_type="", prompt="[/duration=40] a boat", loras_multipliers="0.5")
    kinds = [(finding.kind, finding.id) for finding in check("i2v", PLAIN, asked, SERVER).findings]
    assert kinds == [("error", "start-image"), ("error", "window-commands"),
                     ("warning", "svi-strength")]
    impossible = request(activated_loras=["svi-shot.safetensors", "svi-tom.safetensors"],
                         image_prompt_type="")
    ids = [finding.id for finding in check("i2v", PLAIN, impossible).findings]
    assert ids == ["two-variants", "start-image"]
    message = prepare("i2v", PLAIN, asked)
    assert message.startswith("SVI: choose to start with an image")
    assert " Remove /duration from the prompt: with" in message


def test_a_start_image_is_not_called_a_reference_where_padding_is_grey():
    asked = request(activated_loras=["svi-film-opt-10212025.safetensors"], image_prompt_type="")
    message = prepare("i2v", PLAIN, asked)
    assert message.startswith("SVI: choose to start with an image") and "reference" not in message


def test_the_plan_comes_with_the_findings_and_there_is_none_where_svi_cannot_run_or_is_off():
    asked = request()
    plan = make_plan("i2v", asked["activated_loras"], asked["custom_settings"])
    assert check("i2v", PLAIN, asked, SERVER) == Checked(plan) and plan is not None
    assert check("i2v", PLAIN, request(image_prompt_type=""), SERVER).plan == plan
    two = check("i2v", PLAIN, request(activated_loras=["svi-shot.safetensors",
                                                       "svi-tom.safetensors"]))
    assert two.plan is None and len(two.errors) == 1
    assert check("i2v", PLAIN, request(activated_loras=[])) == Checked(None)


# --------------------------------------------------------------------------------- models and LoRAs

@pytest.mark.parametrize("architecture", ["multitalk", "infinitetalk", "fantasy", "t2v", "vace_14B",
                                          "ti2v_2_2"])
def test_an_svi_lora_on_another_model_is_said(architecture):
    found, = check(architecture, {"name": "This Model"}, request(), SERVER).findings
    assert (found.kind, found.id) == ("warning", "other-model")
    assert "SVI is off" in found.text and "This Model" in found.text
    assert "remove the SVI LoRA" in found.text
    assert ("never published" in found.text) == (architecture == "ti2v_2_2")
    assert check(architecture, {}, request(activated_loras=[LIGHTX2V])) == Checked(None)
    assert check(architecture, {}, request(image_mode=1)) == Checked(None)


def test_a_lora_that_may_be_svi_is_said():
    assert "its name does not say" in warned(activated_loras=["svi_v3.safetensors"])["unknown-lora"]
    both = [PROFILES[SHOT].settings["activated_loras"][0], "my-svi-thing.safetensors"]
    assert "my-svi-thing.safetensors" in warned(activated_loras=both)["unknown-lora"]
    assert warned(activated_loras=["svi_v3.safetensors"], custom={"svi_variant": "shot"}) == {}
    assert warned(activated_loras=["svi_v3.safetensors"], custom={"svi_variant": "off"}) == {}
    assert warned(activated_loras=["svitlana.safetensors"]) == {}


def test_a_renamed_svi_lora_is_known_by_its_keys(tmp_path):
    key = "blocks.0.self_attn.q.lora_A.default.weight"
    for folder, name, keys in (("", "my_lora", f"pipe.dit.{key}"), ("styles", "b", key),
                                ("", "dance2", "dwpose_embedding.0.bias")):
        path = tmp_path / folder / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        header = json.dumps({keys: {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header)
    (tmp_path / "no-lora.safetensors").write_bytes(b"no header")

    def unknown(*names, **custom):
        asked = request(activated_loras=list(names), custom=custom)
        found = check("i2v", PLAIN, asked, SERVER, None, tmp_path)
        return [finding.text.split()[0] for finding in found.findings
                if finding.id == "unknown-lora"]

    assert unknown("my_lora.safetensors") == ["my_lora.safetensors"]
    assert unknown("dance2.safetensors", "svi-shot.safetensors") == ["dance2.safetensors"]
    assert unknown("https://example.org/my_lora.safetensors") == ["my_lora.safetensors"]
    assert unknown("my_lora.safetensors", svi_variant="shot") == []
    assert unknown("my_lora.safetensors", svi_variant="off") == []
    for name in ("styles/b.safetensors", "no-lora.safetensors", "gone.safetensors", LIGHTX2V):
        assert unknown(name) == []


def test_a_variant_without_its_lora_is_said():
    text = warned(activated_loras=[], custom={"svi_variant": "film"})["no-lora"]
    assert "Add svi-film.safetensors" in text
    assert "no-lora" in warned(SHOT_FAST, activated_loras=[LIGHTX2V], loras_multipliers="0.5",
                               custom={"svi_variant": "shot"})
    assert "no-lora" not in warned(activated_loras=["renamed.safetensors"],
                                   custom={"svi_variant": "film"})


def test_an_svi_profile_that_another_one_replaced_is_said():
    custom = {"num_motion_frames": "5", "ref_pad_num": "auto", "svi_run": "auto"}
    text = warned(activated_loras=[LIGHTX2V], loras_multipliers="1", custom=custom)["no-lora"]
    assert text == ("num_motion_frames is set, but SVI is off: no SVI LoRA is active. Apply the "
                    "SVI profile last.")
    assert warned(activated_loras=[LIGHTX2V]) == {}
    assert warned(activated_loras=[], custom={**custom, "svi_variant": "off"}) == {}


@pytest.mark.parametrize(("profile", "custom", "wrong"), [
    (SHOT, {"ref_pad_num": 0}, True), (SHOT, {"num_motion_frames": "5"}, True),
    (FILM, {"ref_pad_num": -1}, True),
    (FILM, {"num_motion_frames": "1"}, True), (SHOT, {"svi_variant": "film"}, True),
    (FILM, {"ref_pad_num": 0}, False),
    (FILM, {"num_motion_frames": "5 cfg"}, True), (STREAM, {"num_motion_frames": "1"}, False),
    (SHOT, {"svi_variant": "shot", "num_motion_frames": "1"}, False),
])
def test_other_conditioning_than_in_training_is_said(profile, custom, wrong):
    found = warned(profile, custom=custom)
    assert list(found) == ["override"] * wrong
    assert not wrong or "to auto" in found["override"]


def test_a_custom_setting_in_the_wrong_place_or_with_a_mistyped_name_is_named():
    assert warned(svi_storyboard="[1]\nseed = 1")["setting-names"] == (
        "\"svi_storyboard\" has no effect where it is. Move it into \"custom_settings\".")
    text = warned(custom={"svi_storybord": "[1]\nseed = 1"})["setting-names"]
    assert '"svi_storybord" is unknown' in text and 'Is it meant to be "svi_storyboard"?' in text
    others = {"svi": {}, "seed_times": "1", "x": 1, "svi_run": "new"}
    assert "setting-names" not in warned(custom=others)


def test_talk_and_dance_run_without_what_they_were_trained_with():
    assert "Multitalk" in warned(activated_loras=["svi-talk.safetensors"])["talk-dance"]
    assert "model SVI-Dance" in warned(activated_loras=["svi-dance.safetensors"])["talk-dance"]


def test_the_720p_weights_are_said():
    urls = [url.replace("480p", "720p") for url in PLAIN["URLs"]]
    assert "480p 14B" in warned(model={"URLs": urls})["weights"]
    assert "weights" in warned(model={"URLs": "i2v_720p"})
    assert "weights" not in warned(WAN22, model={"URLs": ["wan2.2_720p.safetensors"]})


@pytest.mark.parametrize(("urls", "configured", "wrong"), [
    (PLAIN["URLs"], "int8", True), (PLAIN["URLs"], "fp8", True), (PLAIN["URLs"], "bf16", False),
    (PLAIN["URLs"], "", False), ("i2v", "int8", True), ("i2v", "bf16", False),
    (PLAIN["URLs"][:1], "int8", False),
    (["my-finetune-Q4_K_M.gguf"], "bf16", True),
    (["a_mbf16.safetensors", "b_mfp16.safetensors"], "int8", False),
])
def test_quantised_weights_with_film_are_said(urls, configured, wrong):
    server = {**SERVER, "transformer_quantization": configured}
    found = warned(FILM, server=server, model={"URLs": urls})
    assert list(found) == ["quantised"] * wrong
    assert not wrong or "16-bit under Configuration" in found["quantised"]
    assert warned(SHOT, server=server, model={"URLs": urls}) == {}
    if urls is PLAIN["URLs"]:
        assert warned(FILM, server=None) == {}


# ---------------------------------------------------------------------------------------- strengths

def fix(text):
    return text.rpartition("LoRA multipliers to: ")[2]


@pytest.mark.parametrize(("profile", "multipliers", "fixed"), [
    (FILM_FAST, "1 1", "1 0.5"), (FILM_FAST, "1", "1 0.5"), (FILM_FAST, "", "1 0.5"),
    (FILM_FAST, None, "1 0.5"),
    (FILM_FAST, "1|1", "1 0.5"), (FILM_FAST, "1\n# a comment\n0.8", "1 0.5"),
    (FILM_FAST, "1 1,0.2", "1 0.5"), (FILM_FAST, [1, 1.0], "1 0.5"),
    (WAN22_FAST, "1;0 0;1 1;0 0;1", "1;0 0;1 0.5;0 0;1"),
    (WAN22_FAST, "1;0 0;1", "1;0 0;1 0.5;0 0;1"),
    (PRO_FAST, "1;0 0;1 0.5;0 1", "1;0 0;1 0.5;0 0;1"),
])
def test_an_accelerator_at_full_strength_is_said_with_the_multipliers_that_fix_it(
        profile, multipliers, fixed):
    found = warned(profile, loras_multipliers=multipliers)
    assert list(found) == ["accelerator"] and fix(found["accelerator"]) == fixed
    assert warned(profile, loras_multipliers=fixed) == {}


def test_an_accelerator_for_both_experts_is_halved_where_noise_is_high():
    loras = [*PROFILES[WAN22].settings["activated_loras"], LIGHTX2V]
    text = warned(WAN22_FAST, activated_loras=loras, loras_multipliers="1;0 0;1 1")["accelerator"]
    assert "(1 on high noise)" in text and fix(text) == "1;0 0;1 0.5;1"


@pytest.mark.parametrize("multipliers", ["1 1", "", "1 0.8"])
def test_full_strength_on_wan_2_1_is_the_authors_own(multipliers):
    assert warned(SHOT_FAST, loras_multipliers=multipliers) == {}


@pytest.mark.parametrize("multipliers", ["1 0.5", "1 0.5,1", "1 0.6", "1 0", "1\n# was 1\n0.5"])
def test_an_accelerator_at_half_strength_is_not(multipliers):
    assert "accelerator" not in warned(FILM_FAST, loras_multipliers=multipliers)


@pytest.mark.parametrize("name", [
    LIGHTX2V, "Wan2.1_I2V_14B_FusionX_LoRA.safetensors", "fusionix.safetensors",
    "Wan21_CausVid_14B_T2V.safetensors",
    "Wan21_AccVid_T2V_14B_lora_rank32_fp16.safetensors", "self-forcing-i2v.safetensors",
    "Self_Forcing.safetensors",
    "Wan2.2-Lightning_I2V.safetensors",
    "Wan2.2_I2V_A14B_HIGH_4steps_lora_rank64_Seko_V1_forKJ.safetensors",
])
def test_accelerators_are_known_by_their_names(name):
    loras = [*PROFILES[FILM].settings["activated_loras"], name]
    found = warned(FILM_FAST, activated_loras=loras, loras_multipliers="1 1")
    assert list(found) == ["accelerator"] and name in found["accelerator"]


def test_other_loras_are_no_accelerators():
    loras = [*PROFILES[SHOT].settings["activated_loras"], "lightbulb.safetensors",
             "stepladder-style.safetensors"]
    assert warned(activated_loras=loras, loras_multipliers="1 1 1") == {}
    assert warned(activated_loras=["svi-shot-with-lightx2v.safetensors"]) == {}


def test_three_phases_are_read_as_wangp_reads_them():
    """WanGP fills up a missing phase, and switches models after the first or the second."""
    phases = dict(guidance_phases=3, guidance_scale=3.5, model_switch_phase=2)
    assert "accelerator" not in warned(WAN22_FAST, loras_multipliers="1;1;0 0;0;1 0;0.5;0 0;0;1",
                                       **phases)
    assert "accelerator" in warned(WAN22_FAST, loras_multipliers="1;0 0;1 0;1;0 0;1", **phases)
    assert "accelerator" not in warned(WAN22_FAST, loras_multipliers="1;0 0;1 0.5;1 0;1", **phases)
    assert warned(WAN22_FAST, model_switch_phase=2) == {}, "which counts with three phases alone"
    phases["model_switch_phase"] = 1
    assert warned(WAN22_FAST, loras_multipliers="1;0 0;1 0.5;0 0;1", **phases) == {}


def test_an_accelerator_that_the_model_brings_along_is_said():
    fusionix = {"name": "Wan2.1 Image2video 480p FusioniX 14B", "URLs": "i2v",
                "loras": [WAN21 + "loras_accelerators/Wan2.1_I2V_14B_FusionX_LoRA.safetensors"]}
    text = warned(FILM, model=fusionix, num_inference_steps=10, guidance_scale=1)["accelerator"]
    assert "FusionX_LoRA" in text and text.endswith("choose the plain Image2Video 14B of Wan 2.1.")
    loras = [*PROFILES[FILM_FAST].settings["activated_loras"]]
    text = warned(FILM_FAST, model=fusionix, activated_loras=loras,
                  loras_multipliers="1 1")["accelerator"]
    assert fix(text) == "1 0.5", "the user's own alone"
    lower = {**fusionix, "loras_multipliers": ["0.5"]}
    assert warned(FILM, model=lower, num_inference_steps=10, guidance_scale=1) == {}
    assert warned(SHOT, model=fusionix, num_inference_steps=10, guidance_scale=1) == {}
    lightning = {"name": "Wan2.2 Image2video Enhanced Lightning v2 14B",
                 "URLs": ["wan22EnhancedLightning.safetensors"]}
    text = warned(WAN22, model=lightning, num_inference_steps=4, guidance_scale=1)["accelerator"]
    assert "in its weights" in text and "plain Image2Video 14B of Wan 2.2" in text


@pytest.mark.parametrize(("profile", "multipliers", "fixed"), [
    (SHOT, "0.5", "1"), (SHOT, "0", "1"), (SHOT, "1,0.5", "1"), (WAN22, "1 1", "1;0 0;1"),
    (WAN22, "", "1;0 0;1"), (WAN22, "0;1 1;0", "1;0 0;1"), (PRO, "1;0 0;0.8", "1;0 0;1"),
    (WAN22_FAST, "1 1 1 1", "1;0 0;1 0.5;0 0;1"), (SHOT_FAST, "0.5 1", "1 1"),
])
def test_an_svi_lora_at_another_strength_or_on_the_wrong_expert_is_said(
        profile, multipliers, fixed):
    found = warned(profile, loras_multipliers=multipliers)
    assert fix(found["svi-strength"]) == fixed and set(found) <= {"svi-strength", "accelerator"}
    assert warned(profile, loras_multipliers=fixed) == {}


# ----------------------------------------------------------------------------------------- sampling

@pytest.mark.parametrize(("profile", "changes", "id", "fixed"), [
    (SHOT, dict(num_inference_steps=6), "steps", "Use 50 steps"),
    (SHOT, dict(guidance_scale=1), "guidance", "Set it to 5"),
    (PRO, dict(guidance_scale=1.0), "guidance", "Set it to 4"),
    (SHOT_FAST, dict(guidance_scale=5), "guidance", "use 1 to 2"),
    (PRO_FAST, dict(guidance_scale=3.5), "guidance", "use 1 to 2"),
    (SHOT_FAST, dict(loras_multipliers="1 0"), "steps", "Use 50 steps"),
    (PRO, dict(guidance_phases=1, loras_multipliers="1 1"), "phases",
     "Set the guidance phases to 2"),
    (SHOT, dict(sample_solver="dpm++_sde"), "sampler", "choose unipc"),
    (SHOT, dict(sample_solver="euler_a"), "sampler", "choose unipc"),
    (SHOT, dict(sample_solver="lcm"), "sampler", "at most 8 steps, not 50. Choose unipc"),
    (SHOT, dict(sample_solver="causvid"), "sampler", "shift of 5"),
    (SHOT_FAST, dict(sample_solver="euler"), "sampler", "of 4 steps with WanGP's euler, the last"),
    (SHOT, dict(self_refiner_setting=1), "self-refiner", "Turn it off"),
    (SHOT, dict(skip_steps_cache_type="tea"), "step-skipping", "TeaCache"),
    (SHOT, dict(skip_steps_cache_type="mag"), "step-skipping", "Turn step skipping off"),
])
def test_sampling_that_is_known_to_hurt_is_said(profile, changes, id, fixed):
    assert fixed in warned(profile, **changes)[id]


@pytest.mark.parametrize(("profile", "changes"), [
    (SHOT, dict(num_inference_steps=20)), (SHOT, dict(guidance_scale=7)),
    (SHOT_FAST, dict(guidance_scale=2)),
    (SHOT_FAST, dict(sample_solver="lcm", num_inference_steps=8)),
    (SHOT, dict(sample_solver="dpm++")), (SHOT, dict(sample_solver="euler")),
    (SHOT, dict(sample_solver="")), (SHOT, dict(num_inference_steps=None)),
    (SHOT, dict(guidance_scale=None)),
    (SHOT, dict(skip_steps_cache_type=None, self_refiner_setting=None)),
])
def test_sampling_that_is_not_is_not(profile, changes):
    """WanGP's lcm, unlike ComfyUI's, adds no noise."""
    assert warned(profile, **changes) == {}


@pytest.mark.parametrize(("mode", "override", "wrong"), [
    ("sage", "", True), ("sage2", None, True), ("radial", "", True), ("sdpa", "sage3", True),
    ("sage2", "sdpa", False), ("flash", "", False), (None, "", False), ("auto", "", True),
])
def test_sageattention_with_pro_is_said(mode, override, wrong):
    server = {**SERVER, "attention_mode": mode, "auto attention": "sage2"}
    found = warned(PRO, server=server, override_attention=override)
    assert list(found) == ["attention"] * wrong
    assert not wrong or "users report" in found["attention"] and "choose sdpa" in found["attention"]
    assert warned(WAN22, server=server, override_attention=override) == {}
    assert warned(PRO, server={"attention_mode": "auto"}) == {}, "what auto comes to is not known"


# -------------------------------------------------------------------------------------- size, image

@pytest.mark.parametrize(("resolution", "size", "server", "ids"), [
    ("832x480", (1920, 1080), {}, []), ("832x480", (1000, 1000), {}, []), ("832x480", None, {}, []),
    ("1280x720", (1920, 1080), {}, ["720p"]), ("480x832", (1080, 1920), {}, ["vertical"]),
    ("832x480", (1080, 1920), {}, ["vertical"]), ("480x832", (1920, 1080), {}, []),
    ("832x480", (1080, 1920), {"fit_canvas": 1}, ["vertical"]),
    ("832x480", (1080, 1920), {"fit_canvas": 2}, ["image-shape"]),
    ("832x480", (1000, 1000), {"fit_canvas": 2}, ["image-shape"]),
    ("832x480", (1920, 1080), {"fit_canvas": 2}, []),
    ("832x480", (960, 640), {"fit_canvas": 2}, []),
    ("480x832", (1080, 1920), {"fit_canvas": 2}, ["vertical"]),
    ("720x1280", None, {}, ["720p", "vertical"]), ("nonsense", (20, 10), {}, []),
    (None, None, {}, []),
    ("nonsense", (10, 20), {}, ["vertical"]), ("nonsense", (10, 20), {"fit_canvas": 2}, []),
])
def test_sizes_that_svi_was_not_trained_at_are_said(resolution, size, server, ids):
    """By default, WanGP gives a video the shape of its start image, and the resolution's pixels."""
    start = image(*size) if size else None
    assert list(warned(resolution=resolution, image_start=start,
                       server={**SERVER, **server})) == ids


def test_what_is_cut_off_the_start_image_is_told():
    text = warned(image_start=image(1000, 1000), server={"fit_canvas": 2})["image-shape"]
    assert "crops 42% off the start image (1000x1000) for 832x480" in text
    assert warned(PRO, image_start=image(1080, 1920)) == {}, "no fault for Pro"
    text = warned(image_start=image(1080, 1920))["vertical"]
    assert "like the start image" in text
    assert "Extend the sides of the image to about 832x480" in text


def test_the_shape_of_a_video_that_is_continued_is_not_guessed():
    assert warned(image_prompt_type="V", image_start=image(1080, 1920), resolution="480x832") == {}
    assert warned(image_prompt_type="L", image_start=image(1000, 1000),
                  server={"fit_canvas": 2}) == {}


def test_a_start_image_can_be_a_path_or_a_gallery(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    path = tmp_path / "start.png"
    pillow.new("RGB", (20, 40)).save(path)
    for start in (str(path), [path], pillow.open(path), [(pillow.open(path), "caption")]):
        assert "vertical" in warned(image_start=start)
    for start in ("none.png", [], [[]], 7, "", SimpleNamespace(size=3)):
        assert warned(image_start=start) == {}


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_a_start_image_that_cannot_be_read_is_refused(tmp_path, ending):
    pillow = pytest.importorskip("PIL.Image")
    path = tmp_path / f"my picture ü{ending}"
    pillow.effect_noise((99, 66), 60).convert("RGB").save(path)
    assert said("error", image_start=str(path)) == {}
    whole = path.read_bytes()
    for content in (b"a text", b"", whole[: len(whole) // 2]):
        path.write_bytes(content)
        for given in (str(path), [path], [(str(path), None)]):
            text = said("error", image_start=given)["start-image"]
            assert f"the start image {path.name} cannot be read as an image" in text


def test_a_black_picture_is_no_start_image(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    black = pillow.new("RGBA", (832, 480), (0, 0, 0, 255))
    path = tmp_path / "black.png"
    black.save(path)  # the form has paths
    for given in (black, [black], black.convert("RGB"), str(path), [(str(path), None)]):
        assert "start-image" in said("error", image_start=given)
    black.putpixel((7, 7), (0, 0, 1, 255))
    black.save(path)
    for given in (black, str(path)):
        assert said("error", image_start=given) == {}


# ------------------------------------------------------------------------------------------ prompts

@pytest.mark.parametrize(("profile", "mode", "prompt", "said"), [
    (STREAM, "PW", "a\n\nb\n\nc",
     "there are 3 prompts for 2 clips. To use them all, set 243 frames"),
    (STREAM, "PW", "a\n \n# c\nb\n\n", None), (STREAM, "PW", "a\nb\nc\nd", None),
    (STREAM, "W", "a\nb\n\nc", "there are 3 prompts for 2 clips"),
    (STREAM, 1, "a\nb\nc", "there are 3 prompts"),
    (STREAM, "PG", "a\n\nb", "the 2 paragraphs make 2 videos"),
    (STREAM, "G", "a\nb", "the 2 lines make 2 videos"),
    (SHOT, 0, "a\nb", "the 2 lines make 2 videos"),
    (STREAM, "FG", "a\n\nb", "are one prompt for every clip"),
    (STREAM, 2, "a\n\nb", "are one prompt"), (SHOT, "FG", "a\n\nb", None), (STREAM, "G", "a", None),
    (STREAM, "PW", "", None), (STREAM, None, "a\n\nb", None),
])
def test_prompts_that_will_not_be_what_they_look_like_are_said(profile, mode, prompt, said):
    found = warned(profile, multi_prompts_gen_type=mode, prompt=prompt, video_length=157)
    assert list(found) == ["prompts"] * (said is not None)
    assert said is None or said in found["prompts"]


# ------------------------------------------------------------------------------ what is set for SVI

@pytest.mark.parametrize(("changes", "id", "text"), [
    (dict(video_length=162), "frames",
     "161 frames instead of 162: 2 whole clips of 81, and neighbours share 1"),
    (dict(video_length=17), "frames", "81 frames instead of 17: 1 whole clip"),
    (dict(sliding_window_size=129), "window", "81 frames, share 1"),
    (dict(sliding_window_overlap=5), "window", "81 frames, share 1"),
    (dict(sliding_window_discard_last_frames=8), "window", "discard none"),
    (dict(sliding_window_trim_first_frames=4), "window", "discard none"),
    (dict(sliding_window_color_correction_strength=0.3), "colour-correction", "is off"),
])
def test_what_is_set_for_svi_is_told_and_set(changes, id, text):
    found = said("adjustment", **changes)
    assert list(found) == [id] and text in found[id]
    given = request(**changes)
    assert prepare("i2v", PLAIN, given) == "" and check("i2v", PLAIN, given, SERVER).findings == []
    assert list(said("adjustment", **{name: None for name in changes
                                      if name.startswith("sliding_window_tr")})) == []


def test_a_check_that_fails_does_not_keep_a_run_from_starting(monkeypatch):
    def broken(request):
        yield from ()
        raise TypeError("a surprise")

    monkeypatch.setattr(rules, "RULES", (broken, *rules.RULES))
    text = warned(num_inference_steps=6)
    assert list(text) == ["check", "steps"] and "broken: TypeError('a surprise')" in text["check"]
    assert prepare("i2v", PLAIN, request()) == ""


# --------------------------------------------------------------------------- the line in the form

def line(was_on=False, profile=SHOT, **changes):
    asked = request(profile, **changes)
    return form_line.words(check(asked["model_type"], PLAIN, asked, SERVER), asked, was_on)


def test_the_line_in_the_form_counts_clips_frames_and_seconds():
    assert line(video_length=810) == ["SVI-Shot: 10 clips, 801 frames, 50.1 s."]
    assert line(video_length=81) == ["SVI-Shot: 1 clip, 81 frames, 5.1 s."]
    assert line(profile=PRO, video_length=405) == [
        "SVI-2.0 Pro (Wan 2.2): 5 clips, 385 frames, 24.1 s."]


def test_what_continues_a_video_is_counted_without_it():
    more = dict(image_prompt_type="V", video_source="a.mp4", image_start=None)
    assert line(video_length=81, **more)[0] == "SVI-Shot: 1 clip, 80 more frames, 5.0 s."
    assert line(video_length=162, **more)[0] == "SVI-Shot: 2 clips, 160 more frames, 10.0 s."
    for asked, told in ((17, "80 more frames instead of 17: 1 whole clip of 81, which shares 1"),
                        (162, "160 more frames instead of 162: 2 whole clips of 81, each of")):
        assert said("adjustment", video_length=asked, **more)["frames"].startswith(told)


def test_a_loop_has_as_many_frames_as_its_video_everywhere():
    loop = dict(custom={"svi_storyboard": "[3]\nend image = loop"})
    assert line(video_length=240, **loop) == ["SVI-Shot: 3 clips, 240 frames, 15.0 s."]
    assert line(video_length=239, **loop)[1].startswith("Clips are whole, so 239 frames are")
    assert "frames" not in said("adjustment", video_length=240, **loop)
    assert said("adjustment", video_length=243, **loop)["frames"].startswith(
        "240 frames instead of 243: 3 whole clips of 81, and neighbours share 1; a loop ends one")
    given = request(video_length=240, **loop)
    assert prepare("i2v", PLAIN, given) == "" and given["video_length"] == 241  # of WanGP's windows


@pytest.mark.parametrize(("frames", "made", "fix"), [
    (82, 161, " Set 81 for 1 clip."), (33, 81, ""), (89, 161, " Set 81 for 1 clip."),
    (811, 881, " Set 810 for 10 clips.")])
def test_the_line_in_the_form_says_that_frames_are_rounded_up(frames, made, fix):
    first, second = line(video_length=frames)
    assert f" {made} frames" in first
    assert second == f"Clips are whole, so {frames} frames are rounded up.{fix}"


def test_the_line_in_the_form_says_what_prevents_the_video():
    assert line(image_start=None)[1].startswith("Add a start image")
    assert "an end image" in line(image_prompt_type="SE", image_end=True)[1].lower()
    assert line(activated_loras=["svi-shot.safetensors", "svi-tom.safetensors"])[0].startswith(
        "Two SVI LoRAs of different variants are active")
    pair = VARIANTS["2.0-pro"].loras
    assert "is not active" in line(profile=PRO, activated_loras=[pair[0].url])[0]


def test_the_line_in_the_form_says_which_lora_file_is_not_there(tmp_path):
    def said(*names):
        asked = request(activated_loras=names, loras_multipliers="1", video_length=162)
        return form_line.words(check("i2v", PLAIN, asked, SERVER, None, tmp_path), asked, False)

    assert said("https://a.b/svi-shot.safetensors")[1:] == [
        "The LoRA svi-shot.safetensors is not on the disk yet: WanGP downloads it before the first "
        f"clip. Without internet, put it into {tmp_path}."]
    assert said("svi shot ü.safetensors")[1].startswith(
        f"The LoRA svi shot ü.safetensors is not in {tmp_path}, and WanGP does not know")
    (tmp_path / "svi-shot.safetensors").write_bytes(LORA[:-1])
    assert said("svi-shot.safetensors")[1].startswith(
        f"The LoRA {tmp_path / 'svi-shot.safetensors'} is incomplete or no LoRA. Delete it, and")
    (tmp_path / "svi-shot.safetensors").write_bytes(LORA)
    assert len(said("svi-shot.safetensors")) == 1


def test_the_line_in_the_form_says_that_svi_went_off_and_is_empty_if_it_was_never_on():
    stock = {"activated_loras": [LIGHTX2V], "loras_multipliers": "1"}
    assert line(**stock) == [] and line(activated_loras=[]) == []
    assert line(was_on=True, image_mode=1, **stock) == []
    assert line(was_on=True, **stock) == [
        "SVI is off: no SVI LoRA is active. Apply the SVI profile last."]


def test_the_line_in_the_form_says_what_a_variant_chosen_by_hand_rests_on():
    assert line(activated_loras=["mine.safetensors"], custom={"svi_variant": "shot"},
                video_length=162) == ["SVI-Shot: 2 clips, 161 frames, 10.1 s."]
    for wrong, said in ((dict(activated_loras=[], custom={"svi_variant": "shot"}),
                         "SVI-Shot is chosen, but its LoRA is not active"),
                        (dict(custom={"svi_variant": "film"}), "but it was not trained for that"),
                        (dict(activated_loras=["svi-shot.safetensors", "svi_v3.safetensors"]),
                         "svi_v3.safetensors seems to be an SVI LoRA")):
        first, second = line(**wrong, video_length=81)
        assert ": 1 clip, 81 frames" in first and said in second


def test_the_line_in_the_form_names_clips_that_have_one_seed():
    def said(rows, **changes):
        return line(custom={"svi_storyboard": rows}, video_length=243, **changes)[1:]

    assert said("[2-3]\nseed = 5") == ["Clips 2 and 3 have the same seed, 5, so they start from "
                                       "the same noise. Give each its own, or none."]
    assert said("[3]\nseed = 5", seed=5)[0].startswith("Clips 1 and 3 have the same seed")
    assert said("[3]\nseed = 5") == said("[3]\nseed = 5", seed=6) == []
    continued = dict(seed=5, image_prompt_type="V", video_source="", image_start=None)
    assert not any("same seed" in text for text in said("[3]\nseed = 5", **continued))


def test_the_line_in_the_form_names_the_run_that_is_resumed_or_redone():
    assert line(custom={"svi_run": "7f3a"})[1].startswith("This continues run 7f3a.")
    assert line(custom={"svi_run": "7f3a@3"})[1].startswith("This redoes run 7f3a from clip 3.")
    assert len(line(custom={"svi_run": "new"})) == 1


@pytest.mark.parametrize("run", ["7f3a", "7f3a@3", "@", "nöpe"])
def test_the_line_in_the_form_does_not_say_that_it_continues_a_run_that_is_not_there(run, tmp_path):
    asked = request(custom={"svi_run": run})
    checked = check("i2v", PLAIN, asked, SERVER, tmp_path)
    _, error, tip = form_line.words(checked, asked, False)
    assert tip == "For a new video, set \"SVI run\" to auto."
    assert error.startswith(f"There is no run '{run.partition('@')[0]}'")


def filled(state, names, prompt, typed, empty_too, *values):
    """As much as this needs of what WanGP does with the fields of its wizard."""
    macro = "!" + "|".join(f"{name}={value!r}" for name, value in zip(
        names.split("\n"), values, strict=False))
    return f"{macro}\n{typed}" if "{" in typed else typed, ""


def without_variables(prompt, keep_empty_lines):
    macro, _, rest = prompt.partition("\n")
    if not macro.startswith("!"):
        return prompt, ""
    for one in macro[1:].split("|"):
        name, _, value = one.partition("=")
        rest = rest.replace(f"{{{name}}}", ast.literal_eval(value))
    return rest, "unknown variable" if "{" in rest else ""


@pytest.fixture
def form(monkeypatch):
    """As much of WanGP's form as the line needs -> (LoRAs, frames, SVI was on) -> what is shown."""
    gradio = MagicMock(update=lambda **changes: changes)
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    wan = SimpleNamespace(query_model_def=lambda *_: {
        "sliding_window_defaults": {"overlap_max": 1}})
    extend(wan, text_modes=True)
    definitions = {"i2v": wan.query_model_def("i2v", {}), "t2v": {},
                   "multitalk": wan.query_model_def("multitalk", {}),
                   DANCING: dance_model()["model"] | wan.query_model_def("i2v", {})}
    wgp = {"get_base_model_type": lambda model: "i2v" if model == DANCING else model,
           "get_model_def": definitions.__getitem__, "get_max_frames": int,
           "collect_custom_settings_from_inputs": lambda *_: (chosen,),
           "extract_prompt_from_wizard": filled,
           "prompt_parser": SimpleNamespace(process_template=without_variables),
           "compute_video_length_label": lambda fps, frames: f"{fps}: {frames}",
           "get_gen_info": lambda state: {"file_list": made}}
    chosen, made = {}, []
    components = {name: MagicMock() for name in form_line.COMPONENTS}
    parts = [MagicMock(children=None) for _ in form_line.DEFAULTS]

    def rows():
        row = SimpleNamespace(children=parts, parent=MagicMock())
        row.parent.children = [row, gradio.Column.return_value]
        return [row]

    components |= {"tab_id": "generate", "custom_settings_rows": rows(),
                   "prompt_vars": [MagicMock(), MagicMock()]}
    components["state"].value = {"model_type": "i2v"}
    plugin = SimpleNamespace(request_component=lambda name: None)
    before, event = MagicMock(), MagicMock()  # by which WanGP fills its form
    monkeypatch.setattr(form_line, "filling", lambda parts: [(before, event)])
    line = form_line.add(plugin, wgp)
    assert plugin.post_ui_setup(components) == {}
    update, given = (call.kwargs["fn"] for call in gradio.on.call_args_list[:2])

    def images(uploads, *galleries):
        for name in ("image_start", "image_end", "video_source"):
            components[name].GRADIO_CACHE = str(uploads)
        return given(*galleries, *[None] * (3 - len(galleries)))

    def look(loras, frames, was_on="", model="i2v", sound=None, poses=None,
             images=MappingProxyType({"image_start": True}), seed=-1, prompt="one",
             resolution="832x480", guidance=1.0, run="auto", begins="S", typed="", rate="",
             listed=(), variables=MappingProxyType({}), mode="PW", board="auto", edits=None,
             page=None, filled=False):
        chosen.update(svi_run=run, svi_storyboard=board)
        made[:] = listed
        others = [{"guidance_scale": guidance, "force_fps": rate}.get(name) for name in DECIDING
                  if name not in ("loras_multipliers", "num_inference_steps")]
        others += [typed, "on" if typed else "off", "\n".join(variables)]
        values = [*[""] * len(parts), *variables.values(), *[""] * (2 - len(variables))]
        here = edits or update
        state = {} if page is None else page
        state |= {"model_type": "" if edits else model, "edit_model_type": model if edits else ""}
        shown = here(state, was_on, False, images, frames, loras, "1", begins, 0, seed, sound,
                     "A" if model == "multitalk" else "", poses, "V" if model == DANCING else "",
                     resolution, 4, mode, prompt, *others, *values,
                     **({"filled": True} if filled else {}))
        return dict(zip(("row", "line", "was_on", "switch", "settings", "frames", "overlap"), shown,
                        strict=True))

    def edit():
        again = {**components, "tab_id": "edit", "custom_settings_rows": rows()}
        assert plugin.post_ui_setup(again) == {}
        return gradio.on.call_args_list[-2].kwargs["fn"]

    look.given, look.edit, look.before = images, edit, before
    look.gradio, look.line = gradio, line
    return look


def test_the_length_is_that_of_the_rate_that_is_forced_also_in_wangps_label(form):
    for rate, fps, length in (("", 16, "25.1 s"), ("25", 25, "16.0 s"), ("0", 16, "25.1 s"),
                              ("source", 16, "25.1 s")):
        shown = form(["svi-shot.safetensors"], 405, rate=rate)
        assert f"5 clips, 401 frames, {length}." in shown["line"]
        assert shown["frames"]["label"] == f"{fps}: 405"
    assert "label" not in form([], 405)["frames"], "without SVI, the form is WanGP's own"


def test_the_line_says_that_a_video_stops_after_every_clip(form):
    said = "It stops after every clip, so you can look at it."
    for frames, board, stops in ((405, "[all]\npause = yes", True), (405, "auto", False),
                                 (81, "[all]\npause = yes", False)):
        assert (said in form(["svi-shot.safetensors"], frames, board=board)["line"]) is stops


def test_the_form_of_a_job_in_the_queue_has_a_line_of_its_own_and_the_model_of_the_job(form):
    edits = form.edit()
    line = form(["svi-shot.safetensors"], 405, edits=edits)["line"]
    assert "5 clips, 401 frames, 25.1 s." in line
    ids = [call.kwargs["elem_id"] for call in form.gradio.Row.call_args_list]
    assert "svi_line" in ids and "svi_edit_line" in ids and len({*ids}) == len(ids)
    begins = [call.args[0] for call in form.gradio.on.call_args_list if call.kwargs["fn"] is not
              edits and "preprocess" in call.kwargs]
    loaded = [any("load" in str(event) for event in events) for events in begins]
    assert loaded == [True, False], "before the form is filled, nothing is known of its image"
    line = form(["svi-shot.safetensors"], 405, edits=edits, images={})["line"]
    assert "5 clips" in line and "start image" not in line


def test_the_form_says_how_many_prompts_are_for_no_clip(form):
    line = form(["svi-shot.safetensors"], 162, prompt="one\n\ntwo\n\nthree")["line"]
    assert "There are 3 prompts for 2 clips. To use them all, set 243 frames." in line


def test_the_line_knows_the_last_video_of_wangps_list(form, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(source_video, "run_of", lambda inputs, outputs: asked.append(
        source_video.given(inputs)) or SimpleNamespace(name="of-today"))
    monkeypatch.setattr(form_line, "running_outputs", lambda: tmp_path)
    line = form(["svi-shot.safetensors"], 162, begins="L", listed=["a.mp4", "b.mp4"])["line"]
    assert "Run of-today made the video that you continue." in line and asked == ["b.mp4"]


def test_a_new_video_is_announced_when_the_form_is_filled_and_not_before(form):
    event, = form.line.filled
    tell, page = event.then.call_args.args[0], {}
    assert "queue" not in event.then.call_args.kwargs, "gradio shows messages of its queue alone"
    form.line.tell_once_filled(page, "Add a start image")
    assert not form.gradio.Info.called, "WanGP would take an image out again that is added now"
    tell(page)
    form.gradio.Info.assert_called_once_with("Add a start image", duration=20)
    tell(page)
    assert form.gradio.Info.call_count == 1
    form.line.filled = []  # a gradio that does not tell of it
    form.line.tell_once_filled(page, "Add a start image")
    assert form.gradio.Info.call_count == 2


@pytest.fixture
def filled_form(form):
    """Another storyboard fills the form, which has one until then -> what is said."""
    (event,), page = form.line.filled, {}
    tell, fills = event.then.call_args.args[0], form.before.call_args.args[0]
    assert form.before.call_args.args[1][1] is form.line.storyboard
    form(["svi-shot.safetensors"], 405, page=page)

    def said(had, has, model="i2v", frames=405):
        fills(page, had, frames)
        form(["svi-shot.safetensors"], 405, board=has, model=model, page=page)  # a timer's tick
        form(["svi-shot.safetensors"], 405, board=has, model=model, page=page, filled=True)
        form.gradio.Info.reset_mock()
        tell(page)
        return [call.args[0] for call in form.gradio.Info.call_args_list]

    said.boards, said.fills, said.page = last_board.of_page(page), fills, page
    return said


def test_a_form_that_loses_its_storyboard_says_once_how_to_get_it_back(form, filled_form):
    said, boards, rows, others = filled_form, filled_form.boards, "[2]\nseed = 1", "[3]\nseed = 1"
    lost = ("The storyboard is empty now. To fill it again, open \"Storyboard\" in the tab SVI and "
            "press \"Bring back the last storyboard\" (if a run is open there, first \"Back to the "
            "form\").")
    assert said("auto", "auto") == [] == said("auto", rows) and not boards.lost
    assert said(rows, " AUTO ", frames=243) == [lost] and said("", "") == []
    assert boards.lost == [last_board.Board(rows, 243, "i2v")]
    assert said("[1]\nprompt = x", "[1]\nprompt = x") == [] and boards.last("").text == rows
    form.line.tell_once_filled(said.page, "Add a start image.")
    assert said(others, "auto") == [f"Add a start image. {lost}"] and boards.last("").text == others


def test_settings_that_bring_another_storyboard_keep_the_one_before(filled_form):
    """Whatever the tab shows at that moment, and however often WanGP fills its form for it."""
    said, boards, mine, loaded = filled_form, filled_form.boards, "[2]\nprompt = x", "[1]\nseed = 5"
    said.fills(said.page, mine, 162)
    assert said(loaded, loaded) == []
    assert boards.lost == [last_board.Board(mine, 162, "i2v")]
    assert said(loaded, mine) == [] and boards.last("").text == loaded, "it is there again"


def test_the_storyboard_of_another_model_is_kept_behind_and_its_settings_are_none(filled_form):
    said, boards, rows, others = filled_form, filled_form.boards, "[2]\nseed = 1", "[3]\nseed = 1"
    said(rows, "auto")
    assert said(others, "another thing", model="t2v") == [], "the form of that model still has it"
    assert [one.text for one in boards.lost] == [rows, others]
    assert said("another thing", others) == [], "no setting of SVI's"
    assert [one.text for one in boards.lost] == [rows], "it is there again"
    assert said(others, "", model="t2v") == []
    assert said("", "auto")[0].startswith("The storyboard is empty now."), "as New video has it"
    assert [one.text for one in boards.lost] == [others, rows]
    assert said("", "", model="t2v") == [] == said("", "auto"), "once"


def test_the_storyboard_of_a_job_in_the_queue_is_not_the_forms(form):
    page, edits = {}, form.edit()
    form(["svi-shot.safetensors"], 405, board="[2]\nseed = 1", edits=edits, page=page, filled=True)
    assert last_board.of_page(page) == last_board.Boards() and form.before.call_count == 1


def test_the_line_in_the_form_knows_the_image_that_was_added_and_no_other_file(form, tmp_path):
    uploads, other = tmp_path / "uploads", tmp_path / "other.png"
    uploads.mkdir()
    for path in (uploads / "start.png", other):
        path.write_bytes(b"a text")
    loras = ["svi-shot.safetensors"]

    def line(*shown):
        return form(loras, 405, images=form.given(uploads, *shown))["line"]

    def gallery(path):
        return [{"image": {"path": str(path)}, "caption": None}]

    assert "The start image start.png cannot be read" in line(gallery(uploads / "start.png"), [])
    both = gallery(uploads / "start.png") + gallery(other)
    assert "there are 2 start images. Remove all but one" in line(both, [])
    for shown in (gallery(other), gallery(uploads / "../other.png"), gallery("\0"), [{}], "x"):
        assert line(shown, []).endswith("<b>SVI-Shot: 5 clips, 401 frames, 25.1 s.</b>")
    for shown in (None, []):
        assert "Add a start image" in line(shown, [])


@pytest.mark.parametrize("sent", [lambda file: {"video": file, "subtitles": None},
                                  lambda file: file])  # by gradio 5, and by gradio 6
def test_the_line_in_the_form_knows_the_video_that_was_added(form, tmp_path, sent):
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    long = videos.write(uploads / "long.mp4", np.zeros((189, 16, 16, 3), np.uint8), fps=1)

    def line(path):
        images = form.given(uploads, [], [], path and sent({"path": str(path)}))
        return form(["svi-shot.safetensors"], 81, images=images, begins="V")["line"]

    assert "Add the video to continue" in line(None)
    assert "The video long.mp4 lasts 3 min 09 s" in line(long)
    for other in (tmp_path / "other.mp4", uploads / "../long.mp4"):  # nothing is known of these
        assert line(other).endswith("<b>SVI-Shot: 1 clip, 80 more frames, 5.0 s.</b>")


def test_the_line_in_the_form_reads_the_prompt_where_it_is_typed(form):
    """Without WanGP's advanced mode, its own box for the prompt gets it only before a job."""
    loras = ["svi-shot.safetensors"]
    assert "Remove /duration" in form(loras, 405, typed="[/duration=5s] a kite")["line"]
    assert "Remove /duration" not in form(loras, 405, prompt="[/duration=5s]", typed="on")["line"]
    assert "Remove /duration" in form(loras, 405, typed="a {X}\n\na {Y}", variables={
        "X": "kite", "Y": "[/duration=5s]"})["line"]
    spare = form(loras, 162, typed="a {X}\n\nb\n\nc", variables={"X": "kite\n\nd"})["line"]
    assert "There are 4 prompts for 2 clips" in spare
    refused = form(loras, 162, typed="a {Z}\n\nb\n\nc", variables={"X": "kite"})["line"]
    assert "There are 4 prompts for 2 clips" not in refused, "WanGP says what is wrong with it"


def test_the_line_in_the_form_counts_a_dance_and_misses_its_poses(form, tmp_path):
    poses = str(videos.write(tmp_path / "a.mp4", np.zeros((9, 16, 16, 3), np.uint8)))
    loras = [VARIANTS["dance"].loras[0].name]
    shown = form(loras, 162, model=DANCING, poses=poses)["line"]
    assert "SVI-Dance: 2 clips, 161 frames, 6.4 s." in shown and "needs a pose" not in shown
    assert "poses, and the video 161 frames: it starts over where it ends" in shown
    assert "Add a longer one." in shown and "to end with it" not in shown, "it has too few for that"
    assert "SVI-Dance needs a pose video. Add one" in form(loras, 162, model=DANCING)["line"]


def test_the_line_counts_no_clips_of_a_sound_that_is_missing(form):
    loras = [VARIANTS["talk"].loras[0].name]
    for begins in "SVL":
        line = form(loras, 405, model="multitalk", begins=begins)["line"]
        assert "<b>SVI-Talk: as long as its sound.</b>" in line and "needs a sound. Choose" in line
        assert ("cannot continue a video" in line) == (begins != "S")
        assert "Add the video to continue" not in line and "clips" not in line


def test_no_last_video_to_continue_is_said_before_the_model_is_loaded(form, tmp_path, monkeypatch):
    monkeypatch.setattr(form_line, "running_outputs", lambda: tmp_path)
    said = f"There is no last video to continue: {tmp_path} has none. Add a start image, or"
    assert said in form(["svi-shot.safetensors"], 405, begins="L")["line"]
    assert said not in form(["svi-shot.safetensors"], 405, begins="L", listed=["a.mp4"])["line"]
    assert said not in form(["svi-shot.safetensors"], 405)["line"]
    (tmp_path / "b.mp4").touch()
    assert said not in form(["svi-shot.safetensors"], 405, begins="L")["line"]


def test_the_form_is_wangps_own_while_svi_is_off(form, capsys):
    off, on = form([LIGHTX2V], 81), form(["svi-shot.safetensors"], 810)
    assert ".svi_line .pending {opacity: 1 " in on["line"], "it waits for news without a flicker"
    assert off["row"] == {"visible": False} and off["line"] == ""
    assert (off["frames"], off["overlap"]) == ({"maximum": 737}, {"maximum": 2, "value": 1}), (
        "gradio 6 has no slider from 1 to 1")
    assert on["row"] == {"visible": True} and "10 clips, 801 frames" in on["line"]
    assert (on["frames"]["maximum"], on["overlap"]) == (10125, {"maximum": 5})
    assert off["settings"] == on["settings"] == {"visible": False}, "folded away"
    lost = form([LIGHTX2V], 810, on["was_on"])
    said = "<b>SVI is off: no SVI LoRA is active. Apply the SVI profile last.</b>"
    assert lost["line"].endswith(f"</style>{said}"), "its settings can be opened below"
    assert lost["frames"] == {"maximum": 810}, "none that gradio 6 refuses with the user's frames"
    other = form([LIGHTX2V], 81, on["was_on"], model="t2v")
    assert other["row"] == {"visible": False} and other["frames"] == other["overlap"] == {}
    assert other["settings"] == {"visible": True}, "another model's settings"
    assert capsys.readouterr().out == ""
    broken = form([LIGHTX2V], 81, model="unknown")
    assert broken["row"] == {"visible": False} and broken["settings"] == {"visible": True}
    assert "the line in the form does not work" in capsys.readouterr().out


def test_the_line_says_how_long_it_takes_by_a_run_that_was_made_alike(form, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    import torch

    from wan2gp_svi.runs.record import About, Clip
    from wan2gp_svi.runs.store import FOLDER, Store

    monkeypatch.setattr(form_line, "running_outputs", lambda: tmp_path)
    settings = {"model_type": "i2v", "resolution": "832x480", "num_inference_steps": 4}

    def run(**changes):
        about = About("shot", "SVI-Shot", 9, 7, 16.0, ["one"], ["one"], 1, {}, settings | changes)
        made = Store(tmp_path / FOLDER).new(about, {})
        for number in range(3):
            made.add(Clip(number, "one", 7, 80, seconds=100), [], {"m": torch.zeros(1)})
        return made.name

    shot = (["svi-shot.safetensors"], 810)
    assert "About" not in form(*shot)["line"]
    run(resolution="1280x720"), run(num_inference_steps=50), run(model_type="other")
    assert "About" not in form(*shot)["line"]
    pace = "[2]\nsteps = 50"
    run(custom_settings={"svi_storyboard": pace})
    assert "About" not in form(*shot)["line"], "its clips took another time"
    name = run()
    assert form(*shot)["line"].endswith(f"About 17 min, at 2 min a clip as in run {name}.")
    assert "About" not in form(*shot, board=pace)["line"]
    assert "About" not in form(["svi-tom.safetensors"], 810)["line"]


def test_the_line_says_which_run_generate_resumes_or_extends(form, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from loop import WanGP, settings
    from PIL import Image

    monkeypatch.setattr(form_line, "running_outputs", lambda: tmp_path)
    wgp, given = WanGP(tmp_path), settings("shot", 3, prompt="one")

    def line(frames, **changes):
        asked = {"images": {"image_start": given["image_start"]}, "seed": 7,
                 "resolution": given["resolution"]} | changes
        return form(["svi-shot.safetensors"], frames, **asked)["line"]

    def says(does, clips):
        return (f"This {does} run {wgp.run.name}, which has {clips}. For a new video, change the "
                "seed, or set \"SVI run\" to new.")

    def took(clips):  # the loop's are too fast
        for clip in wgp.run.done():
            wgp.run.record(replace(clip, seconds=60))
        return f"About {clips} min, at 60 s a clip as in run {wgp.run.name}."

    assert wgp.generate(given | {"stop_after": 1})
    estimate = took(2)
    assert line(241).endswith(f"{says('resumes', '1 clip')}<br>{estimate}")
    assert line(241, run=wgp.run.name).endswith(estimate)
    assert says("extends", "1 clip") in line(405), "more than the 3 that it was to have"
    assert line(81).endswith(f"No new clip is made: run {wgp.run.name} ends with the 1 clip that "
                             "it has. For a new video, change the seed, or set \"SVI run\" to new.")
    assert wgp.generate(given)
    whole = took(3)
    shown = line(241)
    assert shown.endswith(whole) and "This " not in shown, "it is finished, and this is a new one"
    assert line(405).endswith(f"{says('extends', '3 clips')}<br>{took(2)}")
    assert line(405, run=f"{wgp.run.name}@3").endswith(took(3)), "clip 3 is made again"
    for changes in ({"typed": "{X}", "variables": {"X": "one"}}, {"prompt": "# a note\none"},
                    {"prompt": "one\n# a note", "mode": "FG"}, {"mode": "W"}):
        assert "This extends" in line(405, **changes), changes
    other = Image.new("RGB", given["image_start"].size, "red")
    for changes in ({"seed": 8}, {"prompt": "two"}, {"resolution": "832x480"},
                    {"guidance": 5.0}, {"images": {"image_start": other}},
                    {"images": {"image_start": True}}):
        assert "This extends" not in line(405, **changes), changes
    release = wgp.run.lock()
    assert "This extends" not in line(405), "it is being made"
    release()


def test_the_line_is_renewed_when_a_run_begins_or_ends(form):
    timer = MagicMock()
    form.line.create(form.line.components, [timer])
    line, _ = form.gradio.on.call_args_list[-2:]
    assert timer.tick in line.args[0] and form.line.news == [timer]


def test_the_line_counts_the_clips_of_a_sound(form, tmp_path):
    path = sounds.write(tmp_path / "speech.wav", sounds.speech(200))
    shown = form(["svi-talk.safetensors"], 81, model="multitalk", sound=str(path))
    assert shown["line"].endswith("</style><b>SVI-Talk: 3 clips, 241 frames, 9.6 s.</b>")
    assert shown["frames"]["maximum"] == 10125 and shown["overlap"] == {}, "WanGP's own overlap"
    missing = form(["svi-talk.safetensors"], 81, model="multitalk")["line"]
    assert "SVI-Talk needs a sound" in missing
    assert "<b>An SVI LoRA is active" in form(["svi-shot.safetensors"], 81, model="multitalk"
                                              )["line"]
    assert form([LIGHTX2V], 81, model="multitalk")["frames"] == {"maximum": 737}


# ----------------------------------------------------------------------------------- how it is told

WARNING = Finding("warning", "720p", "too <large> & tall")


def test_findings_go_into_the_log(capsys):
    telling.tell([WARNING, Finding("adjustment", "window", "it is 81")])
    assert capsys.readouterr().out.splitlines() == [
        "[SVI] warning: too <large> & tall (wan2gp_svi/docs/guide.md#720p)",
        "[SVI] adjustment: it is 81 (wan2gp_svi/docs/guide.md#window)"]


@pytest.fixture
def page(monkeypatch):
    """As much of gradio as a warning needs; `event` is None outside of the page's events."""
    shown = []
    importlib.reload(telling)  # as WanGP starts: nothing has been shown
    context = SimpleNamespace(blocks=SimpleNamespace(get=lambda: object()),
                              event_id=SimpleNamespace(get=lambda: "7"))
    monkeypatch.setitem(sys.modules, "gradio",
                        SimpleNamespace(Warning=lambda text: shown.append(text), shown=shown))
    monkeypatch.setitem(sys.modules, "gradio.context", SimpleNamespace(LocalContext=context))
    return SimpleNamespace(shown=shown, context=context)


def test_warnings_are_shown_on_the_page_together_and_once(page):
    other = Finding("warning", "steps", "too few")
    telling.tell([WARNING, Finding("adjustment", "window", "it is 81"), other])
    assert page.shown == ["SVI: too &lt;large&gt; &amp; tall<br>SVI: too few"]
    telling.tell([WARNING, other, Finding("warning", "steps", "far too few")])
    assert page.shown[1:] == ["SVI: far too few"]
    telling.tell([WARNING])
    assert len(page.shown) == 2


def test_without_a_page_nothing_is_shown_and_nothing_fails(page, monkeypatch):
    page.context.event_id.get = lambda: None
    telling.tell([WARNING])
    with monkeypatch.context() as without:
        without.delitem(sys.modules, "gradio.context")
        telling.tell([WARNING])
    assert page.shown == []
    page.context.event_id.get = lambda: "7"
    telling.tell([WARNING])
    assert len(page.shown) == 1, "it is shown when there is a page"


def test_the_configuration_is_that_of_the_running_wangp(monkeypatch):
    monkeypatch.delitem(sys.modules, "wgp", raising=False)
    assert telling.running_config() is None
    running = SimpleNamespace(server_config={"attention_mode": "auto", "vae_config": 1},
                              attention_mode="auto", get_auto_attention=lambda: "sage2")
    monkeypatch.setitem(sys.modules, "__main__", running)
    assert telling.running_config() == {"attention_mode": "auto", "vae_config": 1,
                                        "auto attention": "sage2"}
    assert "auto attention" not in running.server_config
    started = SimpleNamespace(server_config={"attention_mode": "auto"},
                              attention_mode="sdpa")  # --attention sdpa
    monkeypatch.setitem(sys.modules, "wgp", started)
    assert telling.running_config() == {"attention_mode": "sdpa"}


# --------------------------------------------------------------------------------- the command line

def run(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(list(map(str, arguments))))


@pytest.fixture
def saved(tmp_path):
    """-> a file of settings with the path of a picture."""
    picture = tmp_path / "picture.png"
    pytest.importorskip("PIL.Image").new("RGB", (832, 480), "white").save(picture)

    def write(name="settings.json", folder=tmp_path, **changes):
        settings = request(**{"image_start": str(picture), **changes})
        path = folder / name
        path.write_text(json.dumps(settings), encoding="utf-8")
        return path

    return write


@pytest.fixture
def wangp(tmp_path):
    root = tmp_path / "Wan2GP"
    for folder in ("defaults", "finetunes"):
        (root / folder).mkdir(parents=True)
    (root / "wgp.py").touch()
    (root / "wgp_config.json").write_text(json.dumps({**SERVER, "attention_mode": "sage"}))
    (root / "defaults/i2v.json").write_text(json.dumps({"model": {**PLAIN, "architecture": "i2v"}}))
    model = {"name": "720p", "architecture": "i2v",
             "URLs": [WAN21 + "wan2.1_image2video_720p_14B_mbf16.safetensors"]}
    (root / "defaults/i2v_720p.json").write_text(json.dumps({"model": model,
                                                             "resolution": "1280x720"}))
    (root / "finetunes/mine.json").write_text(json.dumps({"model": {"architecture": "i2v",
                                                                    "URLs": "i2v_720p"}}))
    talk = {"architecture": "multitalk", "name": "Talker"}
    (root / "defaults/multitalk.json").write_text(json.dumps({"model": talk}))
    return root


def test_a_file_of_settings_is_checked(saved, capsys):
    assert run(saved(video_length=243, seed=1234)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == ("settings.json: SVI-Shot (svi-shot.safetensors): 3 clips of 81 frames, "
                        "241 frames, 15.1 s. "
                        "Motion frames 1, padding: reference, seeds 1234, 1276, 1318")
    assert lines[1].startswith("  adjustment: 241 frames instead of 243")
    assert lines[-1].startswith("Attention and quantisation were not checked")


def test_the_seeds_of_a_file_are_those_of_its_video_or_not_told(saved, capsys):
    custom = PROFILES[SHOT].settings["custom_settings"]
    for added, seeds in (({}, "1, 43, 85"), ({"svi": {"seeds": [5, 43, 85]}}, "5, 43, 85"),
                         ({"svi": {"seeds": [5]}}, "1, 43, 85"), ({"svi": 7}, "1, 43, 85"),
                         ({"svi_run": "7f3a@2"}, None)):  # clip 1 is as it was
        run(saved(video_length=243, seed=1, custom_settings={**custom, **added}))
        said = capsys.readouterr().out.splitlines()[0]
        assert said.endswith(f"seeds {seeds}") if seeds else "seed" not in said


def test_a_file_that_cannot_be_svi_ends_with_1(saved, capsys):
    assert run(saved(image_prompt_type="", loras_multipliers="0.5")) == 1
    out = capsys.readouterr().out
    assert "  error: choose to start with an image" in out
    assert "  warning: svi-shot.safetensors has a strength" in out
    assert run(saved(activated_loras=["svi-shot.safetensors", "svi-tom.safetensors"])) == 1
    assert "settings.json: cannot run.\n  error: two SVI LoRAs" in capsys.readouterr().out
    assert run(saved(seed=0)) == 0 and "reference, seed 0\n" in capsys.readouterr().out
    assert run(saved(activated_loras=[])) == 0
    assert "settings.json: SVI is off.\n  No problems found." in capsys.readouterr().out


def test_the_models_and_the_configuration_of_a_wangp_count(saved, wangp, capsys):
    assert run(saved(model_type="mine"), "--wangp", wangp) == 0
    out = capsys.readouterr().out
    assert "(wan2gp_svi/docs/guide.md#weights)" in out
    assert "not checked" not in out
    assert run(saved(**PROFILES[PRO].settings), "--wangp", wangp) == 0
    assert "(wan2gp_svi/docs/guide.md#attention)" in capsys.readouterr().out
    settings = json.loads(saved(model_type="i2v_720p").read_text("utf-8"))
    settings.pop("resolution")  # then it is the model's
    bare = wangp / "bare.json"
    bare.write_text(json.dumps(settings))
    assert run(bare, "--wangp", wangp) == 0 and "1280x720 is far above" in capsys.readouterr().out
    assert run(saved(model_type="multitalk"), "--wangp", wangp) == 0
    assert "SVI is off.\n  warning: an SVI LoRA is active" in capsys.readouterr().out


def test_the_picture_of_the_settings_is_looked_for_in_wangp(saved, wangp, capsys):
    pillow = pytest.importorskip("PIL.Image")
    pillow.new("RGB", (20, 40), "white").save(wangp / "start.png")
    path = saved()
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "image_start": "start.png"}))
    assert run(path, "--wangp", wangp) == 0
    assert "the video will be vertical" in capsys.readouterr().out


def test_the_last_video_to_continue_is_the_newest_of_wangps_folder(saved, wangp, capsys):
    (wangp / "wgp_config.json").write_text('{"save_path": "mine"}', encoding="utf-8")
    (wangp / "mine").mkdir()
    path = saved(image_prompt_type="L", video_length=405)
    assert run(path, "--wangp", wangp) == 1
    said = capsys.readouterr().out
    assert f"error: there is no last video to continue: {wangp / 'mine'} has none" in said
    later = json.loads(path.read_text("utf-8"))
    queue = [{"params": {**later, "image_prompt_type": "S"}}, {"params": later}]
    path.with_name("queue.json").write_text(json.dumps(queue), encoding="utf-8")
    assert run(path.with_name("queue.json"), "--wangp", wangp) == 0, "the first may make it"
    assert "warning: there is no last video to continue" in capsys.readouterr().out
    assert "seed" not in said, "they are other ones if the video has them"
    (wangp / "mine/a.mp4").touch()
    assert run(path, "--wangp", wangp) == 0 and "no last video" not in capsys.readouterr().out


def test_a_start_image_that_the_settings_leave_out_is_the_models(saved, wangp, capsys):
    pytest.importorskip("PIL.Image").new("RGB", (832, 480), "white").save(wangp / "start.png")
    settings = json.loads(saved().read_text("utf-8"))
    del settings["image_start"]
    (wangp / "bare.json").write_text(json.dumps(settings))
    assert run(wangp / "bare.json", "--wangp", wangp) == 1
    assert "error: add a start image" in capsys.readouterr().out
    model = json.loads((wangp / "defaults/i2v.json").read_text("utf-8"))
    (wangp / "defaults/i2v.json").write_text(json.dumps({**model, "image_start": "start.png"}))
    assert run(wangp / "bare.json", "--wangp", wangp) == 0, capsys.readouterr().out
    video = wangp / "made.mp4"  # whose image is unknown
    video.write_bytes(b"....udta" + json.dumps(settings).encode())
    (_, made), = settings_file.read(video)
    assert "image_start" not in settings_file.complete(made, wangp)[2]
    assert run(video, "--wangp", wangp) == 0


def test_a_lora_file_that_is_not_there_is_said_with_what_wangp_does(saved, wangp, tmp_path, capsys):
    (wangp / "models/wan").mkdir(parents=True)
    (wangp / "models/wan/wan_handler.py").write_text("def get_lora_dir(): ...", encoding="utf-8")
    folder, other = wangp / "loras/wan_i2v", tmp_path / "elsewhere"
    names = ["svi-shot.safetensors", "mine/a.safetensors", "https://a.b/new.safetensors|mine"]
    given = [saved(activated_loras=names, loras_multipliers="1 1 1"), "--wangp", wangp]
    assert run(*given) == 1
    out = capsys.readouterr().out
    assert f"error: the LoRA svi-shot.safetensors is not in {folder}, and WanGP does not" in out
    assert f"error: the LoRA a.safetensors is not in {folder / 'mine'}, and" in out
    assert "warning: the LoRA new.safetensors is not on the disk yet: WanGP downloads it" in out
    # WanGP notes the addresses that settings name: since 11.77 in this way, and before in that
    for file, key in (("loras_url_cache_v2.json", "loras/wan_i2v|mine/a.safetensors"),
                      ("loras_url_cache.json", "loras/wan_i2v/svi-shot.safetensors")):
        (wangp / file).write_text(json.dumps({key: "https://a.b/c"}), encoding="utf-8")
    assert run(*given) == 0
    assert ("svi-shot.safetensors, a.safetensors, new.safetensors are not on the disk yet: "
            "WanGP downloads them") in capsys.readouterr().out
    other.mkdir()
    for name in ("svi-shot", "a", "new"):
        (other / f"{name}.safetensors").write_bytes(LORA)
    assert run(*given, "--lora-dir", other) == 0
    assert "No problems found" in capsys.readouterr().out


@pytest.mark.parametrize(("changes", "said"), [
    (dict(num_inference_steps=0), "with 0 steps, the video would be noise. Set at least 1."),
    (dict(num_inference_steps=-3), "with -3 steps"),
    (dict(resolution="big"),
     "the resolution must be a width and a height, such as 832x480, not 'big'."),
    (dict(prompt=""), "error: the prompt is empty, and WanGP refuses that. Write one."),
    (dict(prompt=" # a\n#b"), "the prompt is empty"),
    (dict(seed=1234.0), "seed is 1234.0, not a whole number up to 4,294,967,295 or nothing"),
    (dict(seed=2**32), "seed is 4294967296, not a whole number up to"),
    (dict(resolution="-96x64"), "such as 832x480, not '-96x64'"),
    (dict(video_length="many"), "video_length is 'many', not a number"),
])
def test_values_that_the_form_does_not_allow_are_refused(saved, capsys, changes, said):
    assert run(saved(**changes)) == 1
    told = capsys.readouterr()
    assert said in told.out + told.err, told


def test_no_number_of_frames_is_compared_with_none(saved, capsys):
    assert run(saved(video_length=None, seed=5)) == 0
    assert "None" not in capsys.readouterr().out


def test_what_a_file_leaves_empty_is_the_models_own(saved, wangp, capsys):
    model = json.loads((wangp / "defaults/i2v.json").read_text("utf-8"))
    (wangp / "defaults/i2v.json").write_text(json.dumps({**model, "video_length": 405}), "utf-8")
    assert run(saved(video_length=None, seed=5), "--wangp", wangp) == 0
    assert "5 clips of 81 frames, 401 frames" in capsys.readouterr().out


def test_numbers_may_be_written_as_text_as_for_wangp(saved, capsys):
    assert run(saved(video_length="243", seed=5, guidance_scale="5.0")) == 0
    assert "3 clips of 81 frames" in capsys.readouterr().out


def test_a_file_with_two_start_images_is_refused(saved, wangp, capsys):
    pillow = pytest.importorskip("PIL.Image")
    for name in ("a.png", "b.png"):
        pillow.new("RGB", (8, 8), "red").save(wangp / name)
    for given, code in ((["a.png", "b.png"], 1), (["a.png"], 0), ([None, "a.png"], 0)):
        assert run(saved(image_start=given), "--wangp", wangp) == code, given
        assert ("there are 2 start images" in capsys.readouterr().out) == bool(code)


def test_a_file_without_its_picture_is_refused_before_anything_runs(saved, wangp, tmp_path, capsys):
    settings = json.loads(saved().read_text("utf-8"))
    bare = {name: value for name, value in settings.items() if name != "image_start"}
    path = tmp_path / "bare.json"
    for asked in (bare, {**bare, "image_start": ""}, {**bare, "image_start": []}):
        path.write_text(json.dumps(asked))
        assert run(path) == 1 and "error: add a start image" in capsys.readouterr().out
    path.write_text(json.dumps({**bare, "image_start": ["gone.png"]}))
    assert run(path, "--wangp", wangp) == 1
    assert f"there is no start image {wangp / 'gone.png'}" in capsys.readouterr().out
    assert run(path) == 0, "where it would be is not known"
    path.write_text(json.dumps({**bare, "image_prompt_type": "V", "video_source": "gone.mp4"}))
    assert run(path, "--wangp", wangp) == 1 and "no video" in capsys.readouterr().out
    for name, code in (("inside.png", 0), ("gone.png", 1)):
        with zipfile.ZipFile(tmp_path / "queue.zip", "w") as archive:
            archive.writestr("inside.png", b"a picture")
            archive.writestr("queue.json", json.dumps([{"params": {**bare, "image_start": name}}]))
        assert run(tmp_path / "queue.zip", "--wangp", wangp) == code


def test_a_queue_and_a_list_are_checked_one_by_one(saved, tmp_path, capsys):
    good, bad = (json.loads(saved(**changes).read_text("utf-8"))
                 for changes in ({}, {"image_prompt_type": ""}))
    with zipfile.ZipFile(tmp_path / "queue.zip", "w") as archive:
        archive.writestr("queue.json", json.dumps([{"id": 1, "params": bad},
                                                   {"id": 2, "params": good}]))
    assert run(tmp_path / "queue.zip") == 1
    out = capsys.readouterr().out
    assert "queue.zip, 1: SVI-Shot" in out and "queue.zip, 2: SVI-Shot" in out
    assert out.count("error:") == 1
    (tmp_path / "list.json").write_text(json.dumps([good, good]))
    assert run(tmp_path / "list.json") == 0 and "list.json, 2: SVI-Shot" in capsys.readouterr().out


def test_a_video_is_checked_by_its_metadata(saved, tmp_path, capsys):
    settings = json.loads(saved(seed=7, prompt="“a boat” {in} a storm").read_text("utf-8"))
    video = tmp_path / "video.mp4"
    noise = bytes(range(256)) * 20
    video.write_bytes(noise + b'{"model_type": {' + noise + json.dumps(
        {"svi": {"variant": "shot"}, **settings}, ensure_ascii=False).encode() + b"    " + noise)
    assert run(video) == 0
    out = capsys.readouterr().out
    assert "video.mp4: SVI-Shot (svi-shot.safetensors): 1 clip of 81 frames" in out


@pytest.mark.parametrize(("name", "content", "text"), [
    ("none.json", None, "Cannot read none.json: "),
    ("broken.json", b"{", "Cannot read broken.json: "),
    ("empty.mp4", b"", "Cannot read empty.mp4: "),
    ("bare.mp4", b"no settings", "it holds no WanGP settings"),
    ("empty.json", b"[]", "There are no WanGP settings in empty.json"),
    ("other.json", b"{}", "name no model"),
    ("mine.json", b'{"model_type": "mine"}',
     "The model mine is unknown: name WanGP's folder with --wangp"),
    ("bad.zip", b"PK", "Cannot read bad.zip: "),
])
def test_what_cannot_be_checked_is_said_in_a_sentence(name, content, text, tmp_path, monkeypatch,
                                                      capsys):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert run(name) == 1
    error = capsys.readouterr().err
    assert text in error and error.endswith(".\n") and "Traceback" not in error
    assert run(tmp_path / name, "--wangp", tmp_path) == 1
    assert "There is no WanGP in" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------- the guide

GUIDE = (HOME / "docs/guide.md").read_text(encoding="utf-8")


def ids():
    """Every id that is written in the source."""
    makers = ("Finding", "SettingsError")
    for name in ("check/rules", "check/findings", "board", "plan", "form", "matching",
                 "pose_video", "sound", "source_video"):
        source = (HOME / f"wan2gp_svi/wangp/{name}.py").read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            parts = []
            if isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
                parts = node.value.elts[:1]
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in makers:
                parts = node.args[1:2]
            elif isinstance(node, ast.FunctionDef) and node.name == "__init__":
                parts = node.args.defaults
            yield from (part.value for part in parts if isinstance(part, ast.Constant))


def test_the_guide_explains_every_finding():
    explained = re.findall(r'<a id="([a-z0-9-]+)"></a>', GUIDE)
    assert len(explained) == len(set(explained)) and set(explained) == set(ids())


ERRORS = set(re.findall(r'<a id="([a-z0-9-]+)"',
                        GUIDE.partition("\n## Errors")[2].partition("\n## ")[0]))
PAIR = [lora.url for lora in VARIANTS["2.0-wan22"].loras]

#: row of the guide -> what a user does; "profile", "model" and "server" are what is chosen before
ROWS: dict[str, dict] = {
    "two-variants": dict(activated_loras=["svi-shot.safetensors", "svi-tom.safetensors"]),
    "wrong-wan": dict(model="i2v_2_2"),
    "missing-twin": dict(profile=WAN22, activated_loras=PAIR[:1]),
    "start-image": dict(image_start=None),
    "source-video": dict(image_prompt_type="V", video_source="gone.mp4"),
    "source-length": dict(image_prompt_type="V", video_source="long.mp4"),
    "number-of-frames": dict(video_length=10**6),
    "end-image": dict(image_prompt_type="SE", image_end="end.png"),
    "references": dict(video_prompt_type="KI", image_refs=["a.png"]),
    "window-commands": dict(prompt="[/duration=40] a boat"),
    "built-in": dict(profile=WAN22, model="i2v_2_2_svi2pro"),
    "lora-file": dict(activated_loras=["svi-shot.safetensors"]),
    "lora-download": {},
    "settings": dict(custom={"ref_pad_num": "many"}),
    "svi-run": dict(custom={"svi_run": "7f3a"}),
    "other-model": dict(model="multitalk"),
    "unknown-lora": dict(activated_loras=["svi_v3.safetensors"]),
    "no-lora": dict(activated_loras=[LIGHTX2V], custom={"num_motion_frames": "5"}),
    "sound": dict(profile=TALK, audio_guide="gone.wav"),
    "two-speakers": dict(profile=TALK, audio_prompt_type="XA", audio_guide="speech.wav"),
    "continued-talk": dict(profile=TALK, image_prompt_type="VS", audio_guide="speech.wav"),
    "pose-video": dict(profile=DANCE, video_guide="gone.mp4"),
    "pose-shape": dict(profile=DANCE, video_guide="poses.mp4"),
    "pose-length": dict(profile=DANCE, video_guide="poses.mp4", video_length=162),
    "telephone": dict(profile=TALK, audio_guide="telephone.wav"),
    "audio-guidance": dict(profile=TALK, audio_guide="speech.wav", audio_guidance_scale=4),
    "frame-rate": dict(profile=TALK, audio_guide="speech.wav", force_fps="16"),
    "override": dict(custom={"ref_pad_num": "0"}),
    "setting-names": dict(svi_storyboard="[1]\nseed = 1"),
    "talk-dance": dict(activated_loras=["svi-talk.safetensors"]),
    "weights": dict(model="i2v_720p"),
    "quantised": dict(profile=FILM, server={"transformer_quantization": "int8"}),
    "svi-strength": dict(loras_multipliers="0.5"),
    "accelerator": dict(profile=FILM_FAST, loras_multipliers="1 1"),
    "steps": dict(num_inference_steps=4),
    "guidance": dict(guidance_scale=1),
    "phases": dict(profile=WAN22, guidance_phases=1, loras_multipliers="1 0"),
    "sampler": dict(sample_solver="causvid"),
    "self-refiner": dict(self_refiner_setting=1),
    "step-skipping": dict(skip_steps_cache_type="tea"),
    "720p": dict(resolution="1280x720"),
    "vertical": dict(image_start="vertical.png"),
    "image-shape": dict(image_start="vertical.png", server={"fit_canvas": 2}),
    "prompts": dict(profile=STREAM, prompt="a boat\n\na storm"),
    "attention": dict(profile=PRO, server={"attention_mode": "sage"}),
    "frames": dict(video_length=82),
    "window": dict(sliding_window_size=129),
    "colour-correction": dict(sliding_window_color_correction_strength=0.5),
    "motion-amplitude": dict(motion_amplitude=1.3),
    "end-untrained": dict(custom_settings={"svi_storyboard": "[1]\nend image = loop"}),
    "same-seed": dict(video_length=162,
                      custom_settings={"svi_storyboard": "[1-2]\nseed = 5"}),
    "storyboard": dict(custom_settings={"svi_storyboard": "[1]\nreference = no.png"}),
}


@pytest.mark.parametrize("id", ROWS)
def test_a_row_of_the_guide_is_what_wangp_says_and_the_check_of_a_file(id, wangp, monkeypatch,
                                                                       capsys):
    pillow = pytest.importorskip("PIL.Image")
    case = {"image_start": "start.png", **ROWS[id]}
    profile, server = case.pop("profile", SHOT), {**SERVER, **case.pop("server", {})}
    model = case.pop("model", PROFILES[profile].settings["model_type"])
    pillow.new("RGB", (832, 480), "white").save(wangp / "start.png")
    pillow.new("RGB", (480, 832), "white").save(wangp / "vertical.png")
    sounds.write(wangp / "speech.wav", sounds.speech(100))
    sounds.write(wangp / "telephone.wav", sounds.speech(100, 8_000), 8_000)
    videos.write(wangp / "poses.mp4", np.zeros((100, 64, 64, 3), np.uint8), fps=25)
    videos.write(wangp / "long.mp4", np.zeros((200, 16, 16, 3), np.uint8), fps=1)
    (wangp / "wgp_config.json").write_text(json.dumps(server))
    built_in = {"model": {"architecture": "i2v_2_2_svi2pro"}}
    (wangp / "defaults/i2v_2_2_svi2pro.json").write_text(json.dumps(built_in))
    (wangp / "finetunes").mkdir(exist_ok=True)
    (wangp / f"finetunes/{DANCING}.json").write_text(json.dumps(dance_model()))
    settings = request(profile, **case) | {"model_type": model}
    file = wangp / "settings.json"
    file.write_text(json.dumps(settings))
    folder = location.lora_folder(wangp, ARCHITECTURES.get(model, "2.1"))
    folder.mkdir()
    for name in [] if id.startswith("lora-") else settings["activated_loras"]:
        (folder / Path(name).name).write_bytes(LORA)

    assert run(file, "--wangp", wangp) == int(id in ERRORS)
    said, = (line for line in capsys.readouterr().out.splitlines() if f"guide.md#{id})" in line)
    running = SimpleNamespace(server_config=server, save_path=wangp / "outputs",
                              get_lora_dir=lambda model: str(folder))
    monkeypatch.setitem(sys.modules, "wgp", running)
    wan = SimpleNamespace(query_model_def=lambda *_: {})
    extend(wan, text_modes=True)
    error = wan.validate_generative_prompt(*settings_file.complete(settings, wangp), "a boat")
    if id in ERRORS:
        assert error.lower() in f"svi: {said.lower()}".replace("  error: ", "")
    else:
        assert not error and said.strip() in capsys.readouterr().out


def test_a_wangp_that_was_started_for_the_demo_model_refuses_others(monkeypatch):
    running = SimpleNamespace(server_config=SERVER, save_path=".", **{DEMO_ONLY: True})
    monkeypatch.setitem(sys.modules, "wgp", running)
    wan = SimpleNamespace(query_model_def=lambda *_: {})
    extend(wan, text_modes=True)
    for asked in (request(), request(activated_loras=[])):
        error = wan.validate_generative_prompt("i2v", PLAIN, asked, "a boat")
        assert "for the demo model only. Choose the profile SVI-2.0 demo in the tab" in error
        assert not wan.validate_generative_prompt("i2v", {**PLAIN, SMALL: True}, asked, "a boat")


def test_every_row_of_the_guide_was_tried():
    """One that checks itself failing cannot be, by a user's hand."""
    others = {"extend-instead", "demo-only"}  # test_source_video.py, and above
    assert set(re.findall(r'<a id="([a-z0-9-]+)"', GUIDE)) == {*ROWS, *others, "check"}


def test_the_faults_that_were_tried_name_tests_that_are_there():
    named = set(re.findall(r"\btest_\w+", (HOME / "docs/faults.md").read_text(encoding="utf-8")))
    files = [*HOME.glob("tests/test_*.py"), *HOME.glob("tests/wangp/test_*.py")]
    there = {path.stem for path in files} | {
        name for path in files for name in re.findall(r"^def (test_\w+)",
                                                      path.read_text(encoding="utf-8"), re.M)}
    assert len(named) > 10 and named <= there, named - there


def test_profiles_and_guide_know_each_other():
    assert all("docs/guide.md" in profile.settings["help"] for profile in PROFILES.values())
    assert all(setting["id"] in GUIDE for setting in custom_settings())
    assert all(f"**{name.removesuffix(' - 50 Steps')}**" in GUIDE for name in PROFILES
               if name.endswith("50 Steps"))
