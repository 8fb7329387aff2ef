"""SDXL on a small random model of its architecture: the same as diffusers' own pipelines, in both layouts."""

from pathlib import Path

import numpy as np
import pytest
import torch

from controlnet_core import families
from controlnet_core.checkpoints import ldm_keys
from controlnet_core.checkpoints.probe import check
from controlnet_core.diffusion.conditioning import Reading, encode, encode_pair
from controlnet_core.domain.errors import ModelError, RecipeError
from controlnet_core.domain.recipe import ControlUnit, MicroConditioning, Recipe, Source
from controlnet_core.engine import LocalEngine
from controlnet_core.models.catalog import Catalog
from controlnet_core.models.loading import load_base
from tests.core.small import control_type, digest
from tests.core.small_xl import config_of, original_unet, save_small_xl, tokenizer, write_single

CONTROLS = {key: control_type(key) for key in ("scribble", "depth")}
RANDOM = np.random.default_rng(3)
PICTURE, OTHER, PHOTO = (RANDOM.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(3))
LEFT = np.zeros((64, 64, 3), np.uint8)
LEFT[:, :32] = 255
PICTURES = {digest(one): one for one in (PICTURE, OTHER, PHOTO, LEFT)}
LEVELS = 2
"""How far a picture may be from that of diffusers, of 255."""


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A models folder with a base model in both layouts and its ControlNet."""
    root = tmp_path_factory.mktemp("xl")
    folder = save_small_xl(root / "checkpoints" / "xl")
    (root / "controlnet").mkdir()
    (root / "controlnet" / "xl-control").symlink_to(folder / "controlnet")
    write_single(folder, root / "checkpoints" / "single.safetensors")
    tokenizer("</s>").save_pretrained(root / "tokenizers" / "clip")
    return root


@pytest.fixture(scope="module")
def folder(models) -> Path:
    return models / "checkpoints" / "xl"


@pytest.fixture(scope="module")
def engine(models) -> LocalEngine:
    return LocalEngine(Catalog(models), CONTROLS, "cpu")


@pytest.fixture(scope="module")
def base(folder):
    return load_base(folder)


def unit(picture=PICTURE, control="scribble", **settings) -> ControlUnit:
    return ControlUnit(control=control, picture=digest(picture), **{"weight": 0.8, "network": "xl-control", **settings})


def recipe(**settings) -> Recipe:
    plain = {"model": "xl", "prompt": "a red house", "negative": "sea", "width": 64, "height": 64, "steps": 3}
    return Recipe(**{**plain, "guidance": 4.0, "seed": 11, **settings})


def run(engine, **settings):
    return engine.run(recipe(**settings), PICTURES, lambda _step: None)


def tensor(picture) -> torch.Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255


def theirs(folder, kind: str, *, controls: int = 0, width=64, height=64, network=None, adapter=None, **given):
    """A picture of diffusers' pipeline, uint8 levels as floats; from our noise unless a generator is given."""
    import diffusers

    more = {} if network is None else {"controlnet": network}
    more |= {} if adapter is None else {"adapter": adapter}
    if controls:
        network = diffusers.ControlNetModel.from_pretrained(folder / "controlnet")
        more["controlnet"] = network if controls == 1 else [network] * controls
    pipeline = getattr(diffusers, kind).from_pretrained(folder, **more)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)
    given = {"prompt": "a red house", "negative_prompt": "sea", "guidance_scale": 4.0, **given}
    if "generator" not in given:
        shape = (1, 4, height // 8, width // 8)
        given["latents"] = torch.randn(shape, generator=torch.Generator().manual_seed(11))
    return pipeline(width=width, height=height, output_type="np", **{"num_inference_steps": 3, **given}).images[0] * 255


def far(ours, expected) -> float:
    return float(np.abs(ours - expected).max())


def test_it_is_known_by_what_shows(models, folder):
    assert check(folder).sentence == "A base model for SDXL."
    assert check(folder / "controlnet").sentence == "A ControlNet for SDXL."
    assert check(models / "checkpoints" / "single.safetensors").sentence == "A base model for SDXL, full precision."
    card = Catalog(models).card("single")
    assert (card.family, card.defaults.width, card.defaults.height, card.trouble) == ("sdxl", 1024, 1024, "")
    assert (card.defaults.added_prompt, card.defaults.negative) == ("", ""), "SD 1.5's words are none of its"
    family = families.family("sdxl")
    assert family.side_max == 2048
    assert all(side % 64 == 0 and side <= 2048 for size in family.aspects for side in size)
    assert family.shape_like(768, 512) == (1216, 832)


@pytest.mark.parametrize("size", [(64, 64), (128, 64)])
def test_a_picture_as_diffusers_makes_it(size, engine, folder):
    width, height = size
    expected = theirs(folder, "StableDiffusionXLPipeline", width=width, height=height)
    assert far(run(engine, width=width, height=height)[0], expected) <= LEVELS


def test_a_control_as_in_diffusers(engine, folder):
    given = {"image": tensor(PICTURE), "controlnet_conditioning_scale": 0.8, "control_guidance_end": 0.7}
    expected = theirs(folder, "StableDiffusionXLControlNetPipeline", controls=1, **given)
    ours = run(engine, controls=(unit(end=0.7),))[0]
    assert far(ours, expected) <= LEVELS
    assert far(run(engine)[0], ours) > 10


def test_two_controls_in_their_windows(engine, folder):
    expected = theirs(
        folder, "StableDiffusionXLControlNetPipeline", controls=2, image=[tensor(PICTURE), tensor(OTHER)],
        controlnet_conditioning_scale=[0.8, 0.5], control_guidance_start=[0.0, 0.3], control_guidance_end=[0.7, 1.0],
    )  # fmt: skip
    ours = run(engine, controls=(unit(end=0.7), unit(OTHER, "depth", weight=0.5, start=0.3)))[0]
    assert far(ours, expected) <= LEVELS


def test_an_empty_negative_prompt_is_zeros_as_in_the_training(engine, folder, base):
    expected = theirs(folder, "StableDiffusionXLPipeline", negative_prompt=None)
    assert far(run(engine, negative="")[0], expected) <= LEVELS
    _, nothing = encode_pair(base, "a house", "", Reading(), (64, 64))
    assert not nothing.context.any()
    assert not nothing.added["text_embeds"].any()
    assert nothing.added["time_ids"].tolist() == [[64, 64, 0, 0, 64, 64]]


def test_micro_conditioning_as_in_diffusers(engine, folder):
    sizes = {"original_size": (900, 1400), "crops_coords_top_left": (200, 30), "target_size": (1024, 768)}
    expected = theirs(folder, "StableDiffusionXLPipeline", **sizes)
    micro = MicroConditioning(original=(1400, 900), crop=(30, 200), target=(768, 1024))
    ours = run(engine, micro_conditioning=micro)[0]
    assert far(ours, expected) <= LEVELS
    assert far(run(engine)[0], ours) > 10
    assert np.array_equal(run(engine)[0], run(engine, micro_conditioning=MicroConditioning())[0])


@pytest.mark.parametrize("skip", [1, 2, 3])
def test_texts_as_diffusers_encodes_them(skip, base, folder):
    """A clip skip of 1 and of 2 is the layer before the last, which SDXL was made for; theirs counts on from there."""
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, unet=None, vae=None)
    more = {"clip_skip": skip - 2} if skip > 2 else {}
    context, _, pooled, _ = pipeline.encode_prompt(
        "a red house", device="cpu", do_classifier_free_guidance=False, **more
    )
    ours = encode(base, ["a red house"], Reading(clip_skip=skip), (64, 128))[0]
    assert torch.allclose(ours.context, context, atol=1e-5)
    assert torch.allclose(ours.added["text_embeds"], pooled, atol=1e-5)
    assert ours.added["time_ids"].tolist() == [[128, 64, 0, 0, 128, 64]]


def test_long_and_weighted_prompts_reach_both_encoders(base):
    plain, heavy, long = encode(base, ["a red house", "a (red:1.4) house", "a red house, " * 40], Reading())
    assert plain.context.shape[1] == long.context.shape[1] == 231  # three windows, the longest prompt's
    changed = (plain.context - heavy.context).abs().amax((0, 1))
    assert (changed[:768] > 0).any()
    assert (changed[768:] > 0).any()
    assert torch.equal(plain.added["text_embeds"], heavy.added["text_embeds"])
    weighted = slice(2, 3)  # after <s> and "a"
    assert not torch.allclose(plain.context[:, weighted], heavy.context[:, weighted])
    assert torch.allclose(plain.context[:, 3:77], heavy.context[:, 3:77], atol=1e-6)


def test_a_single_file_is_the_folder(engine, models, folder):
    both = load_base(models / "checkpoints" / "single.safetensors"), load_base(folder)
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        single, own = (getattr(one, part).state_dict() for one in both)
        assert single.keys() == own.keys()
        assert all(torch.equal(value, own[name]) for name, value in single.items())
    same = ("transformer_layers_per_block", "cross_attention_dim", "addition_time_embed_dim", "addition_embed_type")
    for key in same:
        ours, said = both[0].unet.config[key], config_of(folder, "unet")[key]
        assert (list(ours), list(said)) if isinstance(ours, (list, tuple)) else ours == said
    assert both[0].vae.config["scaling_factor"] == 0.13025
    assert (
        far(run(engine, model="single", controls=(unit(),))[0].astype(float), run(engine, controls=(unit(),))[0]) <= 1
    )


def test_names_are_those_that_diffusers_reads(folder):
    """Our reading of the original's names against diffusers' own conversion."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
    from safetensors.torch import load_file

    own = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    original = {original_unet(name): value for name, value in own.items()}
    converted = convert_ldm_unet_checkpoint(
        {f"{ldm_keys.UNET}{name}": value for name, value in original.items()}, config_of(folder, "unet")
    )
    ours = ldm_keys.unet(original)
    assert ours.keys() == converted.keys() == own.keys()
    assert all(torch.equal(value, ours[name]) for name, value in converted.items())


@pytest.mark.parametrize(("part", "words"), [("0", "first text encoder"), ("1", "second text encoder")])
def test_half_a_pair_of_text_encoders_is_refused(part, words, folder, tmp_path):
    file = write_single(folder, tmp_path / "half.safetensors", leave_out=f"conditioner.embedders.{part}.")
    found = check(file)
    assert not found.ok
    assert words in found.sentence
    with pytest.raises(ModelError):
        load_base(file)


def test_its_autoencoder_does_not_compute_in_float16(folder, models):
    for place in (folder, models / "checkpoints" / "single.safetensors"):
        loaded = load_base(place, torch.float16)
        assert (loaded.unet.dtype, loaded.vae.dtype) == (torch.float16, torch.float32)


def test_sizes_are_those_of_the_family(engine, models):
    assert recipe(width=2048, height=1024).width == 2048
    with pytest.raises(RecipeError, match="larger than"):
        LocalEngine(Catalog(Path("models").resolve()), CONTROLS, "cpu").run(
            recipe(model="paperworld", width=1088), {}, lambda _step: None
        )


@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_from_a_picture_as_in_diffusers(strength, engine, folder, base):
    from controlnet_core.diffusion import vae

    with torch.inference_mode():
        latents = vae.encode(base.vae, vae.from_rgb(PHOTO) * 2 - 1).clone()
    expected = theirs(
        folder, "StableDiffusionXLControlNetImg2ImgPipeline", controls=1, image=latents, control_image=tensor(PICTURE),
        strength=strength, num_inference_steps=5, generator=torch.Generator().manual_seed(11),
        controlnet_conditioning_scale=0.8,
    )  # fmt: skip
    source = Source(picture=digest(PHOTO), strength=strength)
    assert far(run(engine, source=source, steps=5, controls=(unit(),))[0], expected) <= LEVELS
