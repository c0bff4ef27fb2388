"""Keys of LoRA files, and which variant a file is."""

import pytest
import torch

from wan2gp_svi import lora
from wan2gp_svi.variants import VARIANTS, identify, noise

LAYERS = [*(f"{attn}.{name}" for attn in ("self_attn", "cross_attn") for name in "qkvo"),
          "ffn.0", "ffn.2"]


def keys(prefix: str, suffix: str, blocks: int = 2) -> list[str]:
    return [f"{prefix}blocks.{n}.{layer}.lora_{side}{suffix}.weight"
            for n in range(blocks) for layer in LAYERS for side in "AB"]


def tensors(names: list[str]) -> dict[str, torch.Tensor]:
    return {name: torch.full((1, 1), float(i)) for i, name in enumerate(names)}


def test_the_authors_keys_become_the_loaders_and_tensors_are_not_touched():
    given = tensors(keys("pipe.dit.", ".default"))
    cleaned = lora.clean(given, blocks=2)
    assert list(cleaned.lora) == keys("diffusion_model.", "")
    assert all(a is b for a, b in zip(given.values(), cleaned.lora.values(), strict=True))
    assert (cleaned.layers, cleaned.wanted, cleaned.pose) == (20, 20, {})


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "transformer."])
def test_clean_keys_stay(prefix):
    given = tensors(keys(prefix, ""))
    assert lora.clean(given).lora == given
    assert not lora.is_authors(given)


def test_default_alone_is_taken_out():
    assert list(lora.clean(tensors(keys("", ".default"))).lora) == keys("", "")


def test_the_pose_network_of_dance_is_set_aside():
    given = tensors(keys("pipe.dit.", ".default") + ["dwpose_embedding.0.bias"])
    cleaned = lora.clean(given)
    assert list(cleaned.pose) == ["0.bias"] and len(cleaned.lora) == 40
    assert lora.is_authors(["dwpose_embedding.0.bias"])


@pytest.mark.parametrize(("names", "said"), [
    (["blocks.0.self_attn.q.diff"], "blocks.0.self_attn.q.diff"),
    (keys("pipe.dit.", "", 3), r"pipe\.dit\.blocks\.2\..*17 more"),  # a block too many
    (["pipe.dit.blocks.0.ffn.0.lora_A.default.weight"], r"blocks\.0\.ffn\.0 \(only lora_A\)"),
    ([], "the file is empty"),
    (["lora_unet_blocks_0_ffn_0.lora_down.weight"], "lora_unet_blocks_0"),
])
def test_a_file_that_is_something_else_is_refused_by_its_first_stray_keys(names, said):
    with pytest.raises(ValueError, match=said):
        lora.clean(tensors(names), blocks=2)


def test_the_layers_of_any_spelling_are_counted():
    for names in (keys("", ".default"), keys("diffusion_model.", ""), keys("pipe.dit.", ".default"),
                  [key.replace("lora_A", "lora_down") for key in keys("", "")]):
        assert len(lora.layers([*names, "blocks.0.norm3.diff", "blocks.0.ffn.0.alpha"], 2)) == 20
        assert len(lora.layers(names, 1)) == 10


def test_the_keys_for_clips_image_are_told_from_all_others():
    image = ["diffusion_model.blocks.0.cross_attn.k_img.lora_down.weight",
             "blocks.3.cross_attn.norm_k_img.diff", "blocks.3.cross_attn.v_img.diff_b",
             "img_emb.proj.1.lora_up.weight"]
    assert lora.for_image([*image, *keys("", ""), "blocks.0.cross_attn.norm_k.diff"]) == set(image)


def test_a_partial_file_is_counted():
    cleaned = lora.clean(tensors(keys("pipe.dit.", "")[:6]), blocks=2)
    assert (cleaned.layers, cleaned.wanted) == (3, 20)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_the_authors_files_are_known(variant):
    for file in variant.loras:
        for name in (file.url, file.name, file.name.upper(), f"x/{file.name}",
                     rf"C:\WanGP\loras\wan_i2v\{file.name}"):
            assert identify(name) is variant, name
        assert noise(file.name) == file.noise
        folder = "https://huggingface.co/vita-video-gen/svi-model/resolve/main/version-"
        assert file.url.startswith(folder)


@pytest.mark.parametrize(("name", "id"), [
    ("SVI_v2_PRO_Wan2.2-I2V-A14B_HIGH_lora_rank_128_fp16.safetensors", "2.0-pro"),
    ("SVI_v2_PRO_Wan2.2-I2V-A14B_LOW_lora_rank_128_fp16.safetensors", "2.0-pro"),
    ("SVI_Wan2.2-I2V-A14B_high_noise_lora_v2.0_pro.safetensors", "2.0-pro"),
    ("svi-shot_lora_rank_128_fp16.safetensors", "shot"),
    ("svi-film-opt-10212025_lora_rank_128_fp16.safetensors", "film-opt"),
    ("SVI_v2_Wan2.1-I2V-14B_lora_rank_128_fp16.safetensors", "2.0"),
    ("svi_wan21_v2.safetensors", "2.0"),
    ("Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors", None),
    ("svi_pro_high_noise.safetensors", "2.0-pro"),
    ("SVI2Pro_high.safetensors", "2.0-pro"),
    ("SVI2Pro_LOW.safetensors", "2.0-pro"),
    ("svi_v2_high.safetensors", "2.0-wan22"),
    ("my-svip-wan2.1.safetensors", None),
    ("svitlana_high.safetensors", None),
    ("svi-something.safetensors", None),
    ("a svi-shot folder/other.safetensors", None),
    ("", None),
])
def test_copies_under_other_names(name, id):
    assert identify(name) is (VARIANTS[id] if id else None)
