"""A family is one file: recognised, asked and obeyed everywhere, named nowhere else."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from controlnet_core import families
from controlnet_core.checkpoints.probe import check
from controlnet_core.checkpoints.transfer import hint_widths
from controlnet_core.diffusion.conditioning import Conditioning, joined
from controlnet_core.diffusion.cuda_graphs import refill
from controlnet_core.diffusion.denoiser import Denoiser
from controlnet_core.domain.errors import InputError, RecipeError
from controlnet_core.domain.recipe import Recipe
from controlnet_core.engine import LocalEngine
from controlnet_core.families import Traits
from controlnet_core.models.catalog import Catalog, shipped
from controlnet_core.models.diffusers_setup import AutoencoderKL
from controlnet_core.models.loading import load_base, vae_dtype, vae_of_file, vae_of_folder
from tests.core.small import save_small_model

ROOT = Path(__file__).resolve().parents[2]
TOY = """
from controlnet_core.families.base import Family, Latent, TextEncoder

FAMILY = Family(
    key="toy", title="Toy", context_width=32, text=(TextEncoder(width=32),), native=(64, 64), side_max=128,
    latent=Latent(scale=0.5, shift=0.25, force_upcast=True), supports=frozenset({"negative"}),
)
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A family that comes as one file."""
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "toy_family.py").write_text(TOY)
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(folder)])
    families.families.cache_clear()
    yield families.family("toy")
    families.families.cache_clear()


def test_a_family_is_one_file(toy, tmp_path):
    """Found, recognised by probe, catalog and loader, and obeyed by the engine: sizes, capabilities."""
    folder = save_small_model(tmp_path / "models" / "checkpoints" / "mine")
    assert check(folder).sentence == "A base model for Toy."
    catalog = Catalog(tmp_path / "models")
    card = catalog.card("mine")
    assert (card.family, catalog.family(card)) == ("toy", toy)
    assert load_base(folder).family is toy
    engine = LocalEngine(catalog, {}, "cpu")
    recipe = Recipe(model="mine", width=128, height=64, steps=1)
    assert engine.run(recipe, {}, lambda _step: None)[0].shape == (64, 128, 3)
    with pytest.raises(RecipeError, match="192 x 64 px is larger than Toy"):
        engine.run(recipe.model_copy(update={"width": 192}), {}, lambda _step: None)
    with pytest.raises(RecipeError, match="Toy models read one layer"):
        engine.run(recipe.model_copy(update={"clip_skip": 2}), {}, lambda _step: None)


def test_without_the_file_it_is_a_model_of_no_published_size(tmp_path):
    folder = save_small_model(tmp_path / "mine")
    assert "no published size" in check(folder).sentence
    assert load_base(folder).family is families.UNKNOWN


@pytest.mark.parametrize(("key", "width"), [("sd15", 768), ("sd21", 1024), ("paperworld", 128)])
def test_published_families_by_what_shows(key, width):
    channels = families.family(key).latent.channels
    assert families.recognised(Traits(width, channels)).key == key
    assert families.recognised(Traits(width)).key == key
    assert families.recognised(Traits(width, channels + 1)).key == ""


def test_cards_agree_with_their_families():
    """Every card names a family that is there, starts at its native size and within its bounds."""
    for card in shipped().values():
        assert not card.family or card.family in families.families(), card.id
        if card.kind == "base":
            family = families.family(card.family)
            # A model of few steps may have been made at another size than its family.
            assert card.preset or (card.defaults.width, card.defaults.height) == family.native
            assert max(family.native) <= family.side_max
            assert (card.defaults.added_prompt, card.defaults.negative) == (family.added_prompt, family.negative)
    for family in families.families().values():
        assert not family.preview or family.preview in shipped()
        assert all(encoder.vocabulary in shipped() for encoder in family.text)


def test_the_embedded_model_is_as_its_family_says():
    base = load_base(ROOT / "models" / "paperworld")
    latent = base.family.latent
    assert base.family.key == "paperworld"
    assert (base.channels, base.vae_scale_factor) == (latent.channels, latent.vae_scale_factor)
    assert base.vae.config["scaling_factor"] == latent.scale


def test_families_are_named_in_their_files_and_on_cards_alone():
    """Nobody compares a family's name; conditions name the ControlNets of theirs, and pages the model that is there first.

    The edition names a folder of modules, which is called as the family is.
    """
    names = set(families.families())
    allowed = re.compile(
        r"controlnet_core/families/|annotator/|paperworld/|webapp/ui/models/choice.py|webapp/cli/|controlnet_core/execution/edition.py"
    )
    found: list[str] = []
    for room in ("controlnet_core", "webapp", "pages"):
        for path in sorted((ROOT / room).rglob("*.py")):
            where = path.relative_to(ROOT).as_posix()
            tree = ast.parse(path.read_text(encoding="utf-8"))
            literals = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} & names
            if literals and not allowed.match(where):
                found.append(f"{where}: {literals}")
    assert not found


def test_a_file_is_scaled_as_its_family_is(toy):
    """Of a single file no tensor tells how latents are scaled, and whether float16 is too little for it."""
    folder = Path("autoencoder.safetensors")
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    tensors = AutoencoderKL(block_out_channels=(32, 32), **blocks).state_dict()
    vae = vae_of_file(folder, tensors, torch.float16, family=toy)
    assert (vae.config["scaling_factor"], vae.config["shift_factor"]) == (0.5, 0.25)
    assert vae.dtype == torch.float32
    assert vae_of_file(folder, tensors, torch.float16, family=families.family("sd15")).dtype == torch.float16
    assert vae_dtype({"force_upcast": True}, torch.bfloat16) == torch.bfloat16


def test_a_folder_that_says_so_itself_is_believed(toy, tmp_path):
    folder = save_small_model(tmp_path / "mine") / "vae"
    config = (folder / "config.json").read_text()
    for word, dtype in (("true", torch.float32), ("false", torch.float16)):
        (folder / "config.json").write_text(re.sub(r'"force_upcast": \w+', f'"force_upcast": {word}', config))
        assert vae_of_folder(folder, torch.float16, toy).dtype == dtype
    (folder / "config.json").write_text(re.sub(r'"force_upcast": \w+,', "", config))
    assert vae_of_folder(folder, torch.float16, toy).dtype == torch.float32
    assert vae_of_folder(folder, torch.float16, replace(toy, latent=families.Latent())).dtype == torch.float16


@pytest.mark.parametrize("told", ["epsilon", "v_prediction"])
def test_a_file_of_openclip_is_told_what_it_predicts(told, tmp_path):
    """Kept beside the file, read at the next question, and taken back; a folder says it itself."""
    place = tmp_path / "checkpoints" / "mine.safetensors"
    place.parent.mkdir(parents=True)
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(1)}, place)
    catalog = Catalog(tmp_path)
    assert catalog.card("mine").prediction is None
    assert catalog.set_prediction(catalog.card("mine"), told).prediction == told
    assert Catalog(tmp_path).card("mine").prediction == told
    assert [card.id for card in catalog.cards() if card.own] == ["mine"]
    assert catalog.set_prediction(catalog.card("mine"), None).prediction is None
    save_small_model(tmp_path / "checkpoints" / "folder")
    with pytest.raises(InputError, match="What folder predicts is known"):
        catalog.set_prediction(catalog.card("folder"), told)


def test_the_layers_that_read_a_control_picture_follow_the_width_of_the_base():
    assert hint_widths(3) == hint_widths(3, 320) == [16, 32, 96, 256]
    assert hint_widths(4, 64) == [4, 8, 20, 52, 52]


def given(seed: int) -> Conditioning:
    generator = torch.Generator().manual_seed(seed)
    context = torch.randn(1, 77, 32, generator=generator)
    return Conditioning(context, {"text_embeds": torch.randn(1, 8, generator=generator), "time_ids": torch.ones(1, 6)})


def test_conditions_are_joined_with_all_that_was_added():
    both = joined([given(0), given(1)], 3)
    assert both.context.shape == (6, 77, 32) and both.added["text_embeds"].shape == (6, 8)
    assert torch.equal(both[slice(-3, None)].added["text_embeds"][2], given(1).added["text_embeds"][0])
    assert both.unet_kwargs()["added_cond_kwargs"].keys() == {"text_embeds", "time_ids"}
    assert Conditioning(both.context).unet_kwargs()["added_cond_kwargs"] is None


def test_a_recorded_step_gets_everything_that_was_added(tmp_path):
    """What is filled in before a replay follows from the conditions: nothing that a family adds can be forgotten."""
    unet = load_base(save_small_model(tmp_path / "mine")).unet
    old, new = (Denoiser(unet, given(seed), given(seed + 1), 5.0) for seed in (0, 2))
    read = old._conditioning(2)  # what the steps read
    refill(old, new)
    for mine, other in zip(old.tensors(), new.tensors(), strict=True):
        assert torch.equal(mine, other)
    assert torch.equal(read.added["text_embeds"], new._conditioning(2).added["text_embeds"])
    assert np.prod(read.context.shape) > 0
