"""Runs that start from a picture: as diffusers' pipelines, to the pixel where nothing is to change, on any base model."""

import numpy as np
import pytest
import torch

from controlnet_core.diffusion import vae
from controlnet_core.diffusion.init_image import soft_mask
from controlnet_core.domain.errors import RecipeError
from controlnet_core.domain.recipe import ControlUnit, Recipe, Source
from controlnet_core.engine import LocalEngine
from controlnet_core.models.catalog import Catalog
from controlnet_core.models.diffusers_setup import ControlNetModel, UNet2DConditionModel
from controlnet_core.models.loading import load_base
from tests.core.small import control_type, digest, save_small_model

CONTROLS = {"scribble": control_type("scribble")}
RANDOM = np.random.default_rng(5)
CONTROL, PHOTO = (RANDOM.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(2))
LEFT = np.zeros((64, 64, 3), np.uint8)
LEFT[:, :32] = 255
"""A mask of whole cells: the left half is made anew."""
PICTURES = {digest(picture): picture for picture in (CONTROL, PHOTO, LEFT)}
SAMPLERS = ("ddim", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras", "unipc", "lcm", "tcd")


def recipe(**settings) -> Recipe:
    plain = {"model": "small", "prompt": "a red house", "negative": "sea", "width": 64, "height": 64, "steps": 8}
    unit = ControlUnit(control="scribble", picture=digest(CONTROL), weight=0.8)
    return Recipe(**{**plain, "guidance": 4.0, "seed": 11, "controls": (unit,), **settings})


def source(**settings) -> Source:
    return Source(**{"picture": digest(PHOTO), "strength": 0.5, "blur_px": 0, **settings})


@pytest.fixture(scope="module")
def painter(tmp_path_factory):
    """The small model once more, with a U-Net that sees a mask and what stays: 9 channels."""
    return save_small_model(tmp_path_factory.mktemp("small") / "painter", inpaints=True)


@pytest.fixture(scope="module")
def engine(small_model, painter, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in ("checkpoints", "controlnet"):
        (folder / name).mkdir()
    (folder / "checkpoints" / "small").symlink_to(small_model)
    (folder / "checkpoints" / "painter").symlink_to(painter)
    (folder / "controlnet" / "control").symlink_to(small_model / "controlnet")
    return LocalEngine(Catalog(folder), CONTROLS, "cpu")


def run(engine, **settings) -> np.ndarray:
    return engine.run(recipe(**settings), PICTURES, lambda step: None)[0]


def theirs(folder, kind, *, images, masks=None, strength, guidance=4.0):
    """The same run by one of diffusers' pipelines, from latents that hold no random part."""
    import diffusers

    network = ControlNetModel.from_pretrained(folder / "controlnet")
    pipeline = getattr(diffusers, kind).from_pretrained(folder, controlnet=network, safety_checker=None)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    control = torch.from_numpy(CONTROL.copy()).permute(2, 0, 1)[None].float() / 255
    more = {} if masks is None else {"mask_image": masks}
    return pipeline(
        "a red house", image=images, control_image=control, negative_prompt="sea", num_inference_steps=8,
        guidance_scale=guidance, strength=strength, generator=torch.Generator().manual_seed(11),
        controlnet_conditioning_scale=0.8, output_type="np", height=64, width=64, **more,
    ).images[0]  # fmt: skip


def latents(folder, picture):
    base = load_base(folder)
    with torch.inference_mode():
        return vae.encode(base.vae, vae.from_rgb(picture) * 2 - 1).clone()


@pytest.mark.parametrize("strength", [0.3, 0.75, 1.0])
def test_from_a_picture_as_diffusers_does(strength, engine, small_model):
    kind = "StableDiffusionControlNetImg2ImgPipeline"
    expected = theirs(small_model, kind, images=latents(small_model, PHOTO), strength=strength)
    ours = run(engine, source=source(strength=strength))
    assert np.abs(ours - expected * 255).max() <= 1.01


def test_into_a_mask_as_diffusers_does(engine, small_model, monkeypatch):
    """The part that is made anew, before the rest of the picture is put around it."""
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
    from PIL import Image

    # Their encoding has a random part, ours takes the middle.
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    expected = theirs(
        small_model, "StableDiffusionControlNetInpaintPipeline", images=Image.fromarray(PHOTO),
        masks=torch.from_numpy(LEFT[None, :, :, 0].copy()).float() / 255, strength=0.75,
    )  # fmt: skip
    ours = run(engine, source=source(strength=0.75, mask=digest(LEFT)))
    assert np.abs(ours[:, :32] - expected[:, :32] * 255).max() <= 1.01


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("model", ["small", "painter"])
def test_what_the_mask_leaves_stays_to_the_pixel(sampler, model, engine):
    mask = source(mask=digest(LEFT), strength=0.6)
    made = run(engine, sampler=sampler, model=model, source=mask)
    assert np.array_equal(made[:, 32:], PHOTO[:, 32:])
    assert np.abs(made[:, :32].astype(int) - PHOTO[:, :32]).mean() > 5
    assert np.array_equal(made, run(engine, sampler=sampler, model=model, source=mask))


def test_strength_says_how_many_steps_run(engine):
    for strength, expected in ((0.05, 1), (0.5, 4), (0.8, 6), (1.0, 8)):
        steps = []
        engine.run(recipe(source=source(strength=strength), images=2), PICTURES, steps.append)
        assert [(step.step, step.steps) for step in steps] == [(n, 2 * expected) for n in range(1, 2 * expected + 1)]


def test_little_strength_stays_near_the_picture(engine):
    rebuilt = run(engine, source=source(strength=0.01), steps=100, controls=())
    far = [
        np.abs(run(engine, source=source(strength=s), steps=20).astype(int) - rebuilt).mean() for s in (0.1, 0.5, 0.9)
    ]
    assert far[0] < far[1] < far[2]


def test_masks_are_softened_and_cells_they_touch_are_made_anew(engine):
    soft = soft_mask(LEFT, 8)
    assert soft[0, 31] == pytest.approx(0.5, abs=0.06)
    assert soft[0, 0] == 1
    assert soft[0, 63] == 0
    assert soft_mask(LEFT, 0)[0, 31:33].tolist() == [1, 0]
    made = run(engine, source=source(mask=digest(LEFT), blur_px=8))
    untouched = soft == 0
    assert np.array_equal(made[untouched], PHOTO[untouched])
    assert not np.array_equal(made[:, 33:40], PHOTO[:, 33:40])


def test_noise_as_filling_forgets_what_was_there(engine):
    other = PHOTO.copy()
    other[:, :32] = 255 - other[:, :32]
    pictures = {**PICTURES, digest(other): other}
    traces = {}
    for fill in ("noise", "original"):
        left = [
            engine.run(
                recipe(source=source(picture=digest(one), mask=digest(LEFT), fill=fill, strength=0.6)),
                pictures,
                lambda step: None,
            )[0][:, :32].astype(int)
            for one in (PHOTO, other)
        ]
        traces[fill] = np.abs(left[0] - left[1]).mean()
    # The autoencoder looks over the mask's edge, so a trace of the old filling is left in what is around it.
    assert traces["noise"] < traces["original"] / 2


def test_an_inpainting_model_sees_the_mask_and_what_stays(engine, painter, monkeypatch):
    seen = []
    plain = UNet2DConditionModel.forward

    def watched(self, sample, *rest, **more):
        seen.append(sample.clone())
        return plain(self, sample, *rest, **more)

    monkeypatch.setattr(UNet2DConditionModel, "forward", watched)
    run(engine, model="painter", source=source(mask=digest(LEFT)))
    grey = PHOTO.copy()
    grey[:, :32] = 0
    expected = latents(painter, PHOTO)
    with torch.inference_mode():
        cut = (vae.from_rgb(PHOTO) * 2 - 1) * (torch.from_numpy(LEFT[None, None, :, :, 0].copy()) == 0)
        expected = vae.encode(load_base(painter).vae, cut)
    assert seen[0].shape == (2, 9, 8, 8)
    assert torch.equal(seen[0][0, 4, :, :4], torch.ones(8, 4))
    assert torch.equal(seen[0][1, 4, :, 4:], torch.zeros(8, 4))
    assert torch.allclose(seen[0][:, 5:], expected.expand(2, -1, -1, -1), atol=1e-5)
    seen.clear()
    assert run(engine, model="painter").shape == (64, 64, 3)
    assert torch.equal(seen[0][:, 4], torch.ones(2, 8, 8))


def test_pictures_of_another_size_are_cut_to_shape(engine):
    wide = np.repeat(PHOTO, 2, axis=1)
    small = np.zeros((32, 64, 3), np.uint8)
    pictures = {**PICTURES, digest(wide): wide, digest(small): small}
    made = engine.run(
        recipe(source=source(picture=digest(wide), mask=digest(small), strength=0.5)), pictures, lambda step: None
    )[0]
    assert np.array_equal(made, wide[:, 32:96])


def test_a_picture_that_did_not_come_is_named(engine):
    for missing, words in ((digest(PHOTO), "picture to start from"), (digest(LEFT), "mask")):
        rest = {key: picture for key, picture in PICTURES.items() if key != missing}
        with pytest.raises(RecipeError, match=f"{words} did not come"):
            engine.run(recipe(source=source(mask=digest(LEFT))), rest, lambda step: None)


@pytest.fixture(scope="module")
def unit():
    return ControlUnit(control="scribble", picture=digest(CONTROL), mask=digest(LEFT))


def test_a_control_acts_where_its_mask_is_white(engine, unit):
    """Two complementary masks are the whole control; black everywhere is none; and the halves differ by side."""
    right = 255 - LEFT
    black = np.zeros_like(LEFT)
    pictures = {**PICTURES, digest(right): right, digest(black): black}

    def made(*masks):
        units = tuple(unit.model_copy(update={"mask": mask if mask is None else digest(mask)}) for mask in masks)
        return engine.run(recipe(controls=units, steps=2), pictures, lambda step: None)[0].astype(int)

    whole, none = made(None), made()
    assert np.abs(made(LEFT, right) - whole).max() <= 1
    assert np.array_equal(made(black), none)
    left = np.abs(made(LEFT) - none)
    assert left.mean() > 0
    assert left[:, :32].mean() > left[:, 32:].mean()
