"""Trained weights leave in three forms and come back the same; what is published is a card at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from controlnet_core.checkpoints import ldm_keys
from controlnet_core.domain.errors import ModelError
from controlnet_core.models.catalog import Catalog
from controlnet_core.models.loading import Hints, load_base, load_control
from controlnet_core.training import export
from controlnet_core.training.controlnet_loss import fresh


def equal(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    mine, others = ours.state_dict(), theirs.state_dict()
    assert mine.keys() == others.keys()
    for name, value in mine.items():
        assert torch.equal(value, others[name]), name


def original_like() -> ControlNetModel:
    """A ControlNet laid out as the original's, at a tenth of its width."""
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64), layers_per_block=2, cross_attention_dim=16, attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 4, 8, 16))


@pytest.mark.parametrize("form", ["folder", "file", "original"])
def test_every_form_comes_back_the_same(tmp_path: Path, form: export.Form) -> None:
    control = original_like()
    for value in control.parameters():
        torch.nn.init.normal_(value)
    path = tmp_path / ("out" if form == "folder" else "out.safetensors")
    export.save(control, path, form)
    equal(load_control(path, hints=Hints(heads=2)), control)
    assert [one.name for one in tmp_path.iterdir()] == [path.name], "nothing half-written stays"


def test_the_originals_names_match_its_checkpoints(oracles: Path) -> None:
    named = json.loads((oracles / "cldm_v15_tiny.json").read_text())["tensors"]
    wanted = {key: shape for key, shape in named.items() if key.startswith(ldm_keys.CONTROL)}
    assert wanted
    renamed = ldm_keys.unet(ldm_keys.part({key: torch.zeros(shape) for key, shape in wanted.items()}, ldm_keys.CONTROL))
    found = export.to_original(renamed)
    assert {key: list(value.shape) for key, value in found.items()} == wanted


def test_other_depths_have_no_original_names(models: Path) -> None:
    control = fresh(load_base(models / "checkpoints" / "tiny"))
    tensors = {name: value for name, value in control.state_dict().items() if "blocks.5" not in name}
    with pytest.raises(ModelError, match="eighth"):
        export.to_original(tensors)


def test_a_file_that_could_not_be_read_again_is_not_written(models: Path, tmp_path: Path) -> None:
    control = fresh(load_base(models / "checkpoints" / "tiny"))  # whose group norms no shape tells
    for form in ("file", "original"):
        with pytest.raises(ModelError, match="folder"):
            export.save(control, tmp_path / "out.safetensors", form)
    assert not list(tmp_path.iterdir())


def test_what_is_published_is_a_card_at_once(models: Path, tmp_path: Path) -> None:
    control = fresh(load_base(models / "checkpoints" / "tiny"))
    catalog = Catalog(tmp_path)
    assert not [card for card in catalog.cards() if card.own]
    export.publish(
        control, tmp_path / "controlnet" / "mine", {"title": 'My "own"', "family": "paperworld", "control": "scribble"}
    )
    card = catalog.card("mine")
    assert (card.title, card.kind, card.family, card.controls) == (
        'My "own"',
        "controlnet",
        "paperworld",
        ("scribble",),
    )
    equal(load_control(catalog.locate(card)), control)


def test_a_changed_base_is_published_whole(models: Path, tmp_path: Path) -> None:
    base = load_base(models / "checkpoints" / "tiny")
    with torch.no_grad():
        base.unet.conv_out.bias.fill_(0.5)
    about = {"title": "Tiny (base)", "family": "tiny", "words": "words.txt", "defaults": {"width": 64, "height": 64}}
    export.publish_base(base, tmp_path / "checkpoints" / "mine-base", about, ["house", "tree"])
    catalog = Catalog(tmp_path)
    card = catalog.card("mine-base")
    assert catalog.words(card) == ["house", "tree"]
    assert (card.defaults.width, card.family) == (64, "tiny")
    again = load_base(catalog.locate(card))
    equal(again.unet, base.unet)
    equal(again.text_encoder, base.text_encoder)
    assert again.schedule["prediction_type"] == base.schedule["prediction_type"] and again.tokenizer is not None
