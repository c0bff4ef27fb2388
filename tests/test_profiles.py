"""The shipped profiles are those that the table of variants gives, and SVI accepts each."""

import json
from pathlib import Path

import numpy as np
import pytest
import videos

from wan2gp_svi import chain
from wan2gp_svi.variants import VARIANTS
from wan2gp_svi.wangp.handler import prepare
from wan2gp_svi.wangp.plan import DANCING, make_plan
from wan2gp_svi.wangp.profiles import model, profiles, table, write

SHIPPED = Path(__file__).parents[1] / "profiles"
ALL = {f"{profile.folder}/{profile.name}": profile for profile in profiles()}


def test_shipped_profiles_are_what_the_generator_writes(tmp_path):
    made = {path.relative_to(tmp_path): path.read_bytes() for path in write(tmp_path / "profiles")}
    shipped = {path.relative_to(SHIPPED.parent): path.read_bytes()
               for folder in (SHIPPED, SHIPPED.parent / "finetunes")
               for path in folder.rglob("*.json")}
    assert made == shipped, "run: python -m wan2gp_svi.wangp.profiles"


@pytest.mark.parametrize("profile", ALL.values(), ids=ALL)
def test_a_profile_is_accepted_as_its_variant_and_prepared_as_it_says(profile, tmp_path):
    settings = json.loads(profile.text())
    architecture, offers = settings["model_type"], {}
    if architecture == DANCING:
        architecture, offers = model()["model"]["architecture"], model()["model"]
        settings["video_guide"] = str(videos.write(tmp_path / "poses.mp4", np.zeros(
            (401, 16, 16, 3), np.uint8), videos.EXACT, 25))
    assert make_plan(architecture, settings["activated_loras"],
                     settings["custom_settings"]).variant == profile.variant
    given = dict(settings)
    assert prepare(architecture, offers, given) == ""
    frames = chain.length(5, profile.variant.overlap)
    assert given == settings | {"video_length": frames}, "as it is but for the frames: 5 clips"
    assert settings["guidance_scale"] == (profile.variant.cfg if profile.recipe.steps == 50
                                          else profile.recipe.cfg)


@pytest.mark.parametrize("profile", ALL.values(), ids=ALL)
def test_a_profile_has_one_strength_for_each_lora(profile):
    strengths = profile.settings["loras_multipliers"].split()
    assert len(strengths) == len(profile.settings["activated_loras"])
    phases = profile.settings["guidance_phases"]
    assert all(strength.count(";") == (1 if phases == 2 else 0) for strength in strengths)


def test_the_model_for_dance_opens_with_its_profile():
    made, profile = model(), ALL["wan_i2v/SVI-Dance - 50 Steps"].settings
    assert made["model"]["guide_preprocessing"]["selection"] == ["V", "PV", "OV"]
    assert {name: made[name] for name in profile.keys() & made.keys()
            } == {name: profile[name] for name in profile.keys() & made.keys()}
    assert profile.keys() - made.keys() == {"model_type", "help"}
    assert (made["guidance_scale"], made["force_fps"], made["resolution"]) == (2.0, "25", "672x384")


def test_the_profiles_users_look_for():
    assert "wan_i2v/SVI Shot Infinite - 50 Steps" in ALL
    assert "wan_i2v/SVI-2.0 Unified - 50 Steps" in ALL
    used = {profile.variant.id for profile in ALL.values()}
    assert used == set(VARIANTS) - {"film"}
    pro = "wan_2_2/SVI-2.0 Pro Lightning - 4 Steps"
    shot = "wan_i2v/SVI Shot Infinite LightX2V - 4 Steps"
    assert ALL[pro].settings["loras_multipliers"] == "1;0 0;1 0.5;0 0;1"
    assert ALL[shot].settings["loras_multipliers"] == "1 0.5"


def test_the_profile_for_beginners_is_the_first_of_ours_in_wangps_list():
    names = sorted((f"{profile.name}.json" for profile in ALL.values()
                    if profile.folder == "wan_i2v"), key=str.lower)  # as WanGP sorts them
    assert names[0] == "SVI Shot Infinite - 50 Steps.json"


def test_the_readme_shows_the_table_of_the_variants():
    assert table() in (SHIPPED.parent / "README.md").read_text(encoding="utf-8"), table()
