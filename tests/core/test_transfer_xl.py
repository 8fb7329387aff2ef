"""Transfer, fresh controls and the original's layout for SDXL: by the formula in both layouts, and what is made loads again."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from controlnet_core.checkpoints.probe import check
from controlnet_core.checkpoints.transfer import TransferOptions, add_control, extract, transfer
from controlnet_core.domain.errors import ModelError
from controlnet_core.models.loading import load_control
from controlnet_core.training import export
from tests.core.small_xl import save_small_xl, write_single

NOW = TransferOptions(free_min_bytes=0)
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> Path:
    """Two models of SDXL's architecture in both layouts, the first with its ControlNet."""
    root = tmp_path_factory.mktemp("bases")
    for name, seed in (("one", 7), ("two", 8)):
        write_single(save_small_xl(root / name, seed=seed), root / f"{name}.safetensors")
    return root


def test_transfer_is_the_formula_in_both_layouts(bases, tmp_path):
    control = bases / "one" / "controlnet"
    of_folders = load_file(transfer(control, bases / "one", bases / "two", tmp_path / "f", NOW).path / WEIGHTS)
    singles = (bases / "one.safetensors", bases / "two.safetensors")
    of_files = load_file(transfer(control, *singles, tmp_path / "s", NOW).path / WEIGHTS)
    trained = load_file(control / WEIGHTS)
    origin, target = (load_file(bases / name / "unet" / WEIGHTS) for name in ("one", "two"))
    for name, weight in trained.items():
        expected = weight + target[name] - origin[name] if name in origin else weight
        assert torch.equal(of_folders[name], expected)
        assert torch.equal(of_files[name], expected)
    assert "add_embedding.linear_1.weight" in origin
    assert check(tmp_path / "f").sentence == "A ControlNet for SDXL."


def test_a_fresh_control_is_that_of_diffusers(bases, tmp_path):
    """Told of sizes as its base is: what it reads of them is copied, too."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    theirs = ControlNetModel.from_unet(UNet2DConditionModel.from_pretrained(bases / "one" / "unet"))
    made = (
        add_control(bases / "one", tmp_path / "fresh", NOW).path,
        add_control(bases / "one.safetensors", tmp_path / "fresh.safetensors", NOW).path,
    )
    folder, file = (load_control(path) for path in made)
    for ours in (folder, file):
        assert ours.config["addition_embed_type"] == "text_time"
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        for name, weight in theirs.state_dict().items():
            if not name.startswith("controlnet_cond"):
                assert torch.equal(ours.state_dict()[name], weight), name
    told = ("transformer_layers_per_block", "addition_time_embed_dim", "projection_class_embeddings_input_dim")
    assert all(folder.config[key] == theirs.config[key] for key in told)


def test_the_originals_layout_there_and_back(bases, tmp_path):
    """Exported under the original's names it is the same network, and can be carried over as a whole checkpoint."""
    wide = add_control(bases / "one.safetensors", tmp_path / "fresh.safetensors", NOW).path
    fresh = load_control(wide)
    named = tmp_path / "named.safetensors"
    export.save(fresh, named, "original")
    again = load_control(named)
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in fresh.state_dict().items())
    whole = tmp_path / "whole.safetensors"
    transfer(named, bases / "one.safetensors", bases / "two.safetensors", whole, NOW, full=True)
    assert check(whole).sentence == "A base model with a ControlNet in it for SDXL, full precision."
    alone = load_file(extract(whole, tmp_path / "alone.safetensors", NOW).path)
    name = "control_model.label_emb.0.0.weight"
    origin, target = (load_file(bases / f"{one}.safetensors") for one in ("one", "two"))
    twin = "model.diffusion_model.label_emb.0.0.weight"
    assert torch.equal(alone[name], origin[twin] + target[twin] - origin[twin])
    with pytest.raises(ModelError, match="full checkpoint can only be made of files in the original layout"):
        transfer(
            bases / "one" / "controlnet", bases / "one", bases / "two", tmp_path / "no.safetensors", NOW, full=True
        )
