"""Inpaint, tile, shuffle and instruct on small networks of SD 1.5's family: what diffusers' pipeline makes of the same."""

import json

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, DDIMScheduler, StableDiffusionControlNetPipeline

import annotator
from annotator import detection
from controlnet_core import engine as engine_module
from controlnet_core.domain import picture
from controlnet_core.domain.document import Raster
from controlnet_core.domain.recipe import ControlUnit, Recipe
from controlnet_core.engine import LocalEngine
from controlnet_core.execution.queue import pictures_of
from controlnet_core.models.catalog import Catalog
from controlnet_core.models.loading import load_control
from controlnet_core.storage.store import Blobs
from tests.core.small import save_small_model

SIDE = 64
PHOTO = np.kron(np.random.default_rng(8).integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
PLACES = {
    "inpaint": "control_v11p_sd15_inpaint",
    "tile": "control_v11f1e_sd15_tile",
    "shuffle": "control_v11e_sd15_shuffle",
    "ip2p": "control_v11e_sd15_ip2p",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A models folder as the Models page fills it: a base model of SD 1.5's family and the ControlNets where they are published."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "checkpoints").mkdir()
    model = save_small_model(folder / "checkpoints" / "small", text_width=768)
    control = model / "controlnet"
    (control / "card.toml").unlink()
    for key, name in PLACES.items():
        network = ControlNetModel.from_pretrained(control)
        for parameter, weight in network.controlnet_cond_embedding.named_parameters():
            if parameter.endswith("weight"):  # so that a hole is told from black
                weight.data *= 4
        if key == "shuffle":  # as its published configuration
            network.register_to_config(global_pool_conditions=True)
        network.save_pretrained(folder / "controlnet" / name)
    return folder


@pytest.fixture(scope="module")
def engine(models):
    return LocalEngine(Catalog(models), annotator.controls(), "cpu")


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path / "blobs", free_min_bytes=0)


def document_of(key, **values):
    """What the condition makes of the photo; for inpaint, with a hole."""
    one = annotator.control(key)
    document = detection.detect(one, one.detectors[0], PHOTO, values, SIDE, SIDE)
    if key == "inpaint":
        assert isinstance(document, Raster)
        pixels = document.pixels.copy()
        pixels[16:40, 8:56, 3] = 0
        document = Raster("rgba", pixels)
    return document


def recipe_of(key, blobs, document, **settings):
    one = annotator.control(key)
    digest = blobs.put(picture.to_png(one.render(document, {})))
    unit = ControlUnit(control=key, picture=digest, **settings)
    plain = {"model": "small", "prompt": "a red house", "negative": "sea", "width": SIDE, "height": SIDE}
    return Recipe(**plain, steps=8, guidance=4.0, seed=11, controls=(unit,))


def ours(engine, recipe, blobs):
    return engine.run(recipe, pictures_of(recipe, blobs), lambda _step: None)[0]


def theirs(models, key, hint):
    network = ControlNetModel.from_pretrained(models / "controlnet" / PLACES[key])
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(
        models / "checkpoints" / "small", controlnet=network, safety_checker=None
    )
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    latent = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(11))
    made = pipeline(
        "a red house", hint, negative_prompt="sea", num_inference_steps=8, guidance_scale=4.0, latents=latent,
        output_type="np",
    )  # fmt: skip
    return made.images[0] * 255


def condition(key, document):
    """The condition as diffusers' examples build it: pixels / 255, for inpaint -1 where the mask is white."""
    pixels = document.pixels
    hint = pixels[..., :3].astype(np.float32) / 255
    if key == "inpaint":
        hint[pixels[..., 3] == 0] = -1.0
    return torch.from_numpy(hint).permute(2, 0, 1)[None]


@pytest.mark.parametrize(
    ("key", "values"), [("inpaint", {}), ("tile", {"rate": 4.0}), ("shuffle", {"seed": 3}), ("ip2p", {})]
)
def test_the_same_as_diffusers(key, values, engine, models, blobs):
    document = document_of(key, **values)
    made = ours(engine, recipe_of(key, blobs, document), blobs)
    assert np.abs(made - theirs(models, key, condition(key, document))).max() <= 1.01
    assert np.abs(made.astype(int) - ours(engine, recipe_of(key, blobs, document, weight=0.0), blobs)).max() > 3, (
        "it acts"
    )


def test_a_hole_is_not_black(engine, blobs):
    document = document_of("inpaint")
    black = document.pixels.copy()
    black[black[..., 3] == 0] = (0, 0, 0, 255)
    one, other = (ours(engine, recipe_of("inpaint", blobs, kind), blobs) for kind in (document, Raster("rgba", black)))
    assert np.abs(one.astype(int) - other).max() > 3


def test_a_single_file_of_the_shuffle_network_is_averaged_over_the_picture_too(
    checkpoints, models, blobs, tmp_path, monkeypatch
):
    """Its tensors cannot say so: the card does."""
    for folder in ("checkpoints", "controlnet", "tokenizers"):
        (tmp_path / folder).mkdir()
    (tmp_path / "checkpoints" / "small.safetensors").symlink_to(checkpoints["safetensors"])
    (tmp_path / "tokenizers" / "clip").symlink_to(models / "checkpoints" / "small" / "tokenizer")
    for name in (PLACES["shuffle"], PLACES["tile"]):
        (tmp_path / "controlnet" / f"{name}.pth").symlink_to(checkpoints["wrapped"])
    loaded: list[bool] = []

    def spied(*given):
        network = load_control(*given)
        loaded.append(network.config["global_pool_conditions"])
        return network

    monkeypatch.setattr(engine_module, "load_network", spied)
    alone = LocalEngine(Catalog(tmp_path), annotator.controls(), "cpu")
    for key in ("shuffle", "tile"):
        recipe = recipe_of(key, blobs, document_of(key), network=f"sd15-{key}-v11")
        ours(alone, recipe.model_copy(update={"steps": 1}), blobs)
    assert loaded == [True, False]


def test_where_a_mask_keeps_an_averaged_control_off(engine, blobs):
    """What it says is the same everywhere, and the mask says where: half a mask is neither all nor nothing."""
    document = document_of("shuffle")
    half = np.zeros((SIDE, SIDE, 3), np.uint8)
    half[:, : SIDE // 2] = 255
    masks = [blobs.put(picture.to_png(mask)) for mask in (np.full_like(half, 255), half, np.zeros_like(half))]
    everywhere, left, nowhere = (
        ours(engine, recipe_of("shuffle", blobs, document, mask=mask), blobs).astype(int) for mask in masks
    )
    assert np.array_equal(everywhere, ours(engine, recipe_of("shuffle", blobs, document), blobs))
    assert np.abs(left - everywhere).max() > 1 and np.abs(left - nowhere).max() > 1


def test_alpha_says_something_in_control_pictures_alone(engine, blobs):
    """A transparent picture to start from, and other conditions' pictures, are seen over white."""
    rgba = np.dstack([PHOTO, np.full((SIDE, SIDE), 255, np.uint8)])
    rgba[:32, :, 3] = 0
    white = picture.hwc3(rgba)
    made = []
    for file in (picture.to_png(rgba), picture.to_png(white)):
        digest = blobs.put(file)
        unit = ControlUnit(control="tile", picture=digest)
        recipe = Recipe.model_validate_json(
            json.dumps(
                {
                    "model": "small", "width": SIDE, "height": SIDE, "steps": 2, "seed": 1,
                    "controls": [unit.model_dump()], "source": {"picture": digest, "strength": 0.5},
                }
            )
        )  # fmt: skip
        made.append(ours(engine, recipe, blobs))
    assert np.array_equal(*made)
