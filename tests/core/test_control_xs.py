"""ControlNet-XS: the same as diffusers' own pipelines for SDXL and SD 2.1, and refused where it cannot act."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from controlnet_core.checkpoints.probe import check, judge
from controlnet_core.diffusion import control_xs
from controlnet_core.domain.errors import ModelError, RecipeError
from controlnet_core.domain.recipe import ControlUnit, Reference
from controlnet_core.engine import LocalEngine
from controlnet_core.memory import cache
from controlnet_core.memory.cache import MemoryPlan
from controlnet_core.models import fit
from controlnet_core.models.catalog import Catalog
from controlnet_core.models.loading import load_base, load_network
from tests.core.small import save_small_model
from tests.core.small_xl import save_small_xl
from tests.core.test_sdxl import CONTROLS, LEFT, LEVELS, PICTURE, digest, far, recipe, run, tensor

BASES = {"xl": "StableDiffusionXLControlNetXSPipeline", "two": "StableDiffusionControlNetXSPipeline"}


def _wide(folder: Path) -> Path:
    """Give a small model a U-Net with two layers a block, as all that ControlNet-XS is made for has."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(3)
    UNet2DConditionModel(
        block_out_channels=(16, 32), layers_per_block=2, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=1024, attention_head_dim=2, norm_num_groups=4,
        use_linear_projection=True,
    ).save_pretrained(folder / "unet")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    from diffusers import ControlNetXSAdapter, UNet2DConditionModel

    root = tmp_path_factory.mktemp("xs")
    places = {name: root / "checkpoints" / name for name in BASES}
    two = save_small_model(places["two"], prediction="v_prediction", text_width=1024)
    folders = {"xl": save_small_xl(places["xl"]), "two": _wide(two)}
    for name, folder in folders.items():
        unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        torch.manual_seed(4)
        # As wide as the U-Net: of others, diffusers counts the groups of norms in two ways, unless 32 divides all widths.
        adapter = ControlNetXSAdapter.from_unet(
            unet, size_ratio=1.0, learn_time_embedding=True, time_embedding_mix=0.95,
            conditioning_embedding_out_channels=(4, 4, 4, 4), conditioning_channel_order="bgr" if name == "two" else "rgb",
        )  # fmt: skip
        with torch.no_grad():
            for key, weight in adapter.named_parameters():
                if "base" in key or "cond_embedding.conv_out" in key:  # what begins as zeros
                    torch.nn.init.normal_(weight, std=0.2)
        adapter.save_pretrained(root / "controlnet" / f"{name}-xs")
        (root / "controlnet" / f"{name}-xs" / "card.toml").write_text('controls = ["scribble"]\n')
        (root / "controlnet" / f"{name}-plain").symlink_to(folder / "controlnet")
    return root


@pytest.fixture(scope="module")
def engine(models) -> LocalEngine:
    return LocalEngine(Catalog(models), CONTROLS, "cpu")


def unit(network="xl-xs", **settings) -> ControlUnit:
    return ControlUnit(control="scribble", picture=digest(PICTURE), **{"network": network, "weight": 0.8, **settings})


def theirs(models: Path, base: str, **given):
    """A picture of diffusers' pipeline with the adapter of a base model, uint8 levels as floats, from our noise."""
    import diffusers

    adapter = diffusers.ControlNetXSAdapter.from_pretrained(models / "controlnet" / f"{base}-xs")
    more = {"safety_checker": None} if base == "two" else {}
    pipeline = getattr(diffusers, BASES[base]).from_pretrained(
        models / "checkpoints" / base, controlnet=adapter, **more
    )
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)
    latents = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(11))
    return pipeline(
        "a red house", negative_prompt="sea", guidance_scale=4.0, num_inference_steps=3, width=64, height=64, image=tensor(PICTURE),
        latents=latents, output_type="np", **given,
    ).images[0] * 255  # fmt: skip


@pytest.mark.parametrize("base", BASES)
def test_a_picture_as_diffusers_makes_it(base, engine, models):
    expected = theirs(models, base, controlnet_conditioning_scale=0.8, control_guidance_end=0.7)
    ours = run(engine, model=base, controls=(unit(f"{base}-xs", end=0.7),))[0]
    assert far(ours, expected) <= LEVELS
    assert far(run(engine, model=base)[0].astype(float), ours) > LEVELS


def test_no_weight_is_copied_and_none_is_left_out(models):
    unet = load_base(models / "checkpoints" / "xl").unet
    adapter = load_network(models / "controlnet" / "xl-xs")
    made = control_xs.joined(unet, adapter)
    given = {id(one) for network in (unet, adapter) for one in network.parameters()}
    assert all(id(one) in given for one in made.parameters())
    assert control_xs.joined(unet, adapter) is made


def test_batches_references_and_plans_change_nothing(engine, models, monkeypatch):
    read = Reference(kind="reference_only", picture=digest(PICTURE))
    given = {"model": "two", "controls": (unit("two-xs"),), "references": (read,)}
    both = run(engine, images=2, **given)
    assert np.abs(run(engine, **given, seed=12)[0].astype(int) - both[1]).max() <= 1
    for plan in (MemoryPlan(1, tiled=True, offload="control"), MemoryPlan(1, tiled=True, offload="layer")):
        monkeypatch.setattr(cache, "plans", lambda device, first, plan=plan: [plan])
        assert np.array_equal(run(engine, **given)[0], both[0])


def test_it_is_known_by_what_shows(models, tmp_path):
    assert check(models / "controlnet" / "xl-xs").sentence == "A ControlNet-XS for SDXL."
    assert check(models / "controlnet" / "two-xs").sentence == "A ControlNet-XS for SD 2.1."
    card = Catalog(models).card("xl-xs")
    assert (card.kind, card.family, card.network, card.trouble) == ("controlnet", "sdxl", "xs", "")
    alone = judge("xs.safetensors", {"control_to_base_for_conv_in.weight": (32, 16, 1, 1),
                                     "controlnet_cond_embedding.conv_in.weight": (4, 3, 3, 3)})  # fmt: skip
    assert "without its configuration" in alone.sentence
    makers = judge(
        "xs.safetensors", {"control_model.input_blocks.0.0.weight": (32, 4, 3, 3), "enc_zero_convs_out.0.weight": (1,)}
    )
    assert not makers.ok
    assert "makers' own layout" in makers.sentence
    folder = tmp_path / "whole"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"_class_name": "UNetControlNetXSModel"}))
    save_file({"a": torch.zeros(1)}, folder / "diffusion_pytorch_model.safetensors")
    assert "a U-Net in one" in check(folder).sentence


def test_what_it_cannot_do_is_refused_before_it_is_queued(engine, models):
    catalog = Catalog(models)
    fit.check(recipe(controls=(unit(), unit("xl-plain", weight=0.0))), catalog)
    with pytest.raises(RecipeError, match="beside which no other control can act"):
        fit.check(recipe(controls=(unit("xl-plain"), unit())), catalog)
    with pytest.raises(RecipeError, match="takes no other balance"):
        fit.check(recipe(controls=(unit(mode="control"),)), catalog)
    with pytest.raises(RecipeError, match="takes no mask"):
        fit.check(recipe(controls=(unit(mask=digest(LEFT)),)), catalog)
    with pytest.raises(RecipeError, match=r"two-xs is a ControlNet for SD 2\.1"):
        fit.check(recipe(controls=(unit("two-xs"),)), catalog)
    config = models / "controlnet" / "two-xs" / "config.json"
    narrow = models / "controlnet" / "narrow-xs"
    narrow.mkdir()
    (narrow / "config.json").write_text(json.dumps({**json.loads(config.read_text()), "block_out_channels": [4, 4]}))
    (narrow / "diffusion_pytorch_model.safetensors").symlink_to(config.parent / "diffusion_pytorch_model.safetensors")
    with pytest.raises(ModelError, match="does not fit together"):
        run(engine, model="two", controls=(unit("narrow-xs"),))
