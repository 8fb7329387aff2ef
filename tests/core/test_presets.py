"""Models and LoRAs of few steps: recognised by their names, run as their makers say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from controlnet_core.domain.errors import RecipeError
from controlnet_core.domain.recipe import Recipe
from controlnet_core.models import presets
from controlnet_core.models.catalog import Catalog, ModelCard, shipped
from controlnet_core.models.quick import made_for, quick_ways
from tests.core.test_catalog import base_tensors

LORA = {
    f"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_{way}.weight": torch.zeros(shape)
    for way, shape in (("down", (4, 768)), ("up", (320, 4)))
}


@pytest.mark.parametrize(
    ("name", "kind", "key", "steps"),
    [
        ("sdxl_lightning_4step", "base", "lightning", 4),
        ("sdxl_lightning_8step_lora", "lora", "lightning", 8),
        ("dreamshaperXL_lightningDPMSDE", "base", "lightning", 4),
        ("sd_xl_turbo_1.0_fp16", "base", "turbo", 1),
        ("Hyper-SD15-8steps-lora", "lora", "hyper", 8),
        ("Hyper-SDXL-8steps-CFG-lora", "lora", "hyper_cfg", 8),
        ("Hyper-SD15-12steps-CFG-lora", "lora", "hyper_cfg", 12),
        ("Hyper-SD15-1step-lora", "lora", "hyper_1", 1),
        ("realisticVisionV60B1_v51HyperVAE", "base", "hyper", 4),
        ("dmd2_sdxl_4step_lora", "lora", "dmd2", 4),
        ("bigLust_v16_dmd2", "base", "dmd2", 4),
        ("lcm-lora-sdv1-5", "lora", "lcm", 4),
        ("LCM_Dreamshaper_v7", "base", "lcm", 4),
        ("TCD-SD15-LoRA", "lora", "tcd", 4),
    ],
)
def test_names_as_people_give_them(name, kind, key, steps):
    found = presets.recognised(name, kind)
    assert found is not None
    assert (found.key, found.steps[0]) == (key, steps)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("hyperrealism_v3", "lora"),
        ("hyper detail slider", "lora"),
        ("lightning strike effect", "lora"),
        ("realisticVisionV51", "base"),
        ("hyperrealistic_mix", "base"),
        ("calcmania", "lora"),
    ],
)
def test_names_that_only_sound_so(name, kind):
    assert presets.recognised(name, kind) is None


@pytest.mark.parametrize("key", presets.presets())
def test_every_preset_is_a_recipe(key):
    found = presets.preset(key)
    recipe = Recipe(model="any", width=64, height=64, **found.fields)
    assert (recipe.sampler, recipe.steps) == (found.sampler, found.steps[0])
    assert found.source.startswith("https://")
    assert found.models or found.loras


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(RecipeError) as caught:
        presets.preset("warp")
    assert "lightning" in caught.value.hint


def test_cards_of_few_steps_name_a_preset_that_there_is():
    named = {card.id: card.preset for card in shipped().values() if card.preset}
    assert named["lcm-lora-sd15"] == "lcm"
    assert named["hyper-sd15-1step-lora"] == "hyper_1"
    assert set(named.values()) <= presets.presets().keys()


def test_own_files_of_few_steps_bring_the_settings_of_their_makers(tmp_path: Path):
    for folder in ("checkpoints", "loras"):
        (tmp_path / folder).mkdir()
    save_file(base_tensors(768), tmp_path / "checkpoints" / "paper_lightning_8steps.safetensors")
    save_file(base_tensors(768), tmp_path / "checkpoints" / "plain.safetensors")
    save_file(LORA, tmp_path / "loras" / "fast.safetensors", {"modelspec.title": "TCD LoRA for SD 1.5"})
    save_file(LORA, tmp_path / "loras" / "Hyper-SD15-2steps-lora.safetensors")
    catalog = Catalog(tmp_path)
    made = catalog.card("paper_lightning_8steps")
    assert (made.preset, made.defaults.sampler, made.defaults.spacing) == ("lightning", "euler", "sgm_uniform")
    assert (made.defaults.steps, made.defaults.guidance) == (8, 1.0)
    assert catalog.card("plain").defaults.steps == 20
    assert catalog.card("fast").preset == "tcd"

    loras = [card for card in catalog.cards() if card.kind == "lora" and card.own]
    found = quick_ways(catalog.card("plain"), loras)
    assert [(one.preset.key, one.title, one.lora and one.lora.id) for one in found] == [
        ("hyper", "Hyper-SD, 2 steps", "hyper-sd15-2steps-lora"), ("tcd", "TCD, 4 steps", "fast"),
    ]  # fmt: skip
    assert [(one.preset.key, one.lora) for one in quick_ways(made, loras)] == [("lightning", None)]


def test_a_models_own_card_wins_over_the_preset(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    save_file(base_tensors(768), tmp_path / "checkpoints" / "my_turbo.safetensors")
    (tmp_path / "checkpoints" / "my_turbo.card.toml").write_text("defaults = { steps = 3 }\n")
    start = Catalog(tmp_path).card("my_turbo").defaults
    assert (start.steps, start.sampler, start.guidance) == (3, "euler_a", 1.0)


def test_what_was_added_from_the_hub_is_recognised_too(tmp_path: Path):
    catalog = Catalog(tmp_path)
    file = "sdxl_lightning_2step_lora.safetensors"
    catalog.add(
        ModelCard(id="fast", title="Fast", kind="lora", path="loras/fast.safetensors", hub="someone/x", file=file)
    )
    found = made_for(catalog.card("fast"))
    assert found is not None
    assert (found.key, found.steps[0]) == ("lightning", 2)
    turbo = ModelCard(id="quick-turbo", title="T", kind="base", path="checkpoints/t", hub="a/sdxl-turbo", family="sdxl")
    catalog.add(turbo)
    start = catalog.card("quick-turbo").defaults
    assert (start.steps, start.sampler, start.width) == (1, "euler_a", 1024)
