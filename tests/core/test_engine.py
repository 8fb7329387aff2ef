"""The engine on small random models: what a recipe asks for is what happens, and nothing else."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file, save_file

from controlnet_core import engine as engine_module
from controlnet_core.diffusion import denoiser
from controlnet_core.domain.errors import Cancelled, ModelMissing, OutOfMemory, RecipeError, StudioError
from controlnet_core.domain.recipe import ControlUnit, Recipe
from controlnet_core.engine import LocalEngine
from controlnet_core.models.catalog import Catalog
from tests.core.small import TOKENS, control_type, digest, save_small_model

SAMPLERS = ("ddim", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras", "unipc", "lcm", "tcd")


CONTROLS = {
    "scribble": control_type("scribble"),
    "normal": control_type("normal"),
    "depth": control_type("depth"),
    "seg": control_type("seg", nearest=True),
}


PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
PICTURES = {digest(PICTURE): PICTURE}


def unit(control: str = "scribble", **settings) -> ControlUnit:
    return ControlUnit(control=control, picture=digest(PICTURE), **settings)


def recipe(**settings) -> Recipe:
    plain = {"model": "small", "prompt": "a red house", "negative": "sea", "width": 64, "height": 64, "steps": 4}
    return Recipe(**{**plain, "guidance": 4.0, **settings})


def models_folder(folder: Path, model: Path) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "controlnet").mkdir()
    (folder / "checkpoints" / "small").symlink_to(model)
    (folder / "controlnet" / "control").symlink_to(model / "controlnet")
    return folder


@pytest.fixture(scope="module")
def engine(small_model, tmp_path_factory):
    folder = models_folder(tmp_path_factory.mktemp("models") / "kl", small_model)
    return LocalEngine(Catalog(folder), CONTROLS, "cpu")


@pytest.fixture(scope="module")
def v_engine(small_v_model, tmp_path_factory):
    folder = models_folder(tmp_path_factory.mktemp("models") / "tiny", small_v_model)
    return LocalEngine(Catalog(folder), CONTROLS, "cpu")


def quiet(_step) -> None: ...


def run(engine, **settings):
    return engine.run(recipe(**settings), PICTURES, quiet)


def count_control_runs(monkeypatch) -> list[int]:
    runs: list[int] = []
    plain = denoiser.residuals

    def counted(network, seen, *rest):
        runs.append(len(seen))
        return plain(network, seen, *rest)

    monkeypatch.setattr(denoiser, "residuals", counted)
    return runs


def test_same_seed_same_picture_and_seeds_count_up(engine):
    first = run(engine, seed=5, images=3, controls=(unit(),))
    again = run(engine, seed=6, images=2, controls=(unit(),))
    assert all(picture.shape == (64, 64, 3) and picture.dtype == np.uint8 for picture in first)
    assert np.array_equal(first[1], again[0])
    assert np.array_equal(first[2], again[1])
    assert not np.array_equal(first[0], first[1])


def test_batches_change_nothing(engine, monkeypatch):
    alone = run(engine, seed=1, images=3, sampler="euler_a", controls=(unit(),))
    monkeypatch.setattr(engine_module.cache, "plans", lambda device, first: [engine_module.cache.MemoryPlan(batch=3)])
    together = run(engine, seed=1, images=3, sampler="euler_a", controls=(unit(),))
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_on_both_kinds_of_model(sampler, engine, v_engine):
    for one in (engine, v_engine):
        steps = []
        (picture,) = one.run(recipe(sampler=sampler, controls=(unit(),)), PICTURES, steps.append)
        assert picture.shape == (64, 64, 3)
        assert picture.std() > 0
        assert [(step.step, step.steps) for step in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
        assert np.array_equal(picture, one.run(recipe(sampler=sampler, controls=(unit(),)), PICTURES, quiet)[0])


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_as_many_steps_as_asked(steps, engine):
    seen = []
    engine.run(recipe(steps=steps, guidance=1.0), {}, seen.append)
    assert [step.step for step in seen] == list(range(1, steps + 1))


def test_text_guidance_weight_and_eta_decide_the_picture(engine):
    plain = run(engine, controls=(unit(),))[0]
    changes = (
        {"prompt": "a blue tree"},
        {"added_prompt": "sea"},
        {"negative": "tree"},
        {"guidance": 2.0},
        {"eta": 1.0},
        {"controls": (unit(weight=0.5),)},
        {"controls": (unit(mode="prompt"),)},
        {"controls": (unit(mode="control"),)},
        {"controls": (unit("normal"),)},
        {"controls": (unit(), unit("seg", weight=0.5))},
    )
    for change in changes:
        assert not np.array_equal(plain, run(engine, **{"controls": (unit(),), **change})[0]), change


def test_weight_zero_and_two_halves(engine):
    assert np.array_equal(run(engine)[0], run(engine, controls=(unit(weight=0.0),))[0])
    whole = run(engine, controls=(unit(),))[0]
    halves = run(engine, controls=(unit(weight=0.5), unit(weight=0.5)))[0]
    assert np.abs(whole.astype(int) - halves.astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("window", "runs"), [((0.0, 1.0), 10), ((0.0, 0.5), 5), ((0.5, 1.0), 5), ((0.25, 0.75), 4), ((1.0, 1.0), 0)]
)
def test_a_step_outside_the_window_does_not_run_the_control(window, runs, engine, monkeypatch):
    seen = count_control_runs(monkeypatch)
    run(engine, steps=10, controls=(unit(start=window[0], end=window[1]),))
    assert seen == [2] * runs


def test_what_runs_on_which_half(engine, monkeypatch):
    seen = count_control_runs(monkeypatch)
    run(engine, steps=2, controls=(unit(mode="control"), unit(mode="prompt")))
    assert seen == [1, 2, 1, 2]
    seen.clear()
    run(engine, steps=2, guidance=1.0, controls=(unit(weight=0.0), unit()))
    assert seen == [1, 1]


def test_the_same_as_diffusers(engine, small_model):
    """Against StableDiffusionControlNetPipeline: same noise, prompt and control, so the same picture."""
    from diffusers import DDIMScheduler, StableDiffusionControlNetPipeline

    network = ControlNetModel.from_pretrained(small_model / "controlnet")
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(small_model, controlnet=network, safety_checker=None)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    latent = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(11))
    control = torch.from_numpy(PICTURE.copy()).permute(2, 0, 1)[None].float() / 255
    theirs = pipeline(
        "a red house", control, negative_prompt="sea", num_inference_steps=10, guidance_scale=4.0, latents=latent,
        controlnet_conditioning_scale=0.8, control_guidance_end=0.5, output_type="np",
    ).images[0]  # fmt: skip
    ours = run(engine, seed=11, steps=10, controls=(unit(weight=0.8, end=0.5),))[0]
    assert np.abs(ours - theirs * 255).max() <= 1.01


def test_preview_shows_where_it_goes(engine, v_engine):
    for one in (engine, v_engine):
        steps = []
        one.run(recipe(width=128), {}, steps.append)
        previews = [step.preview() for step in steps]
        assert all(preview.shape == (64, 128, 3) and preview.dtype == np.uint8 for preview in previews)
        assert not np.array_equal(previews[0], previews[-1])


def test_stopping_leaves_the_engine_usable(engine):
    expected = run(engine, controls=(unit(),))[0]

    def stop(step) -> None:
        if step.step == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        engine.run(recipe(controls=(unit(),)), PICTURES, stop)
    assert np.array_equal(run(engine, controls=(unit(),))[0], expected)


def test_loading_is_announced_once(small_model, tmp_path):
    engine = LocalEngine(Catalog(models_folder(tmp_path / "models", small_model)), CONTROLS, "cpu")
    heard: list[str] = []
    for _ in range(2):
        engine.run(recipe(steps=1, controls=(unit(),)), PICTURES, quiet, heard.append)
    assert heard == ["Loading small ...", "Loading control ..."]


def test_impossible_recipes_are_refused_in_a_sentence(engine, small_v_model, tmp_path):
    with pytest.raises(ModelMissing, match="no model called"):
        run(engine, model="nothing")
    with pytest.raises(RecipeError, match="cannot make pictures by itself"):
        run(engine, model="control")
    with pytest.raises(RecipeError, match="no control called"):
        run(engine, controls=(unit("unheard"),))
    with pytest.raises(RecipeError, match="no ControlNet for Depth"):
        run(engine, controls=(unit("depth"),))
    with pytest.raises(RecipeError, match="not a ControlNet"):
        run(engine, controls=(unit(network="small"),))
    with pytest.raises(RecipeError, match="did not come with"):
        engine.run(recipe(controls=(unit(),)), {}, quiet)
    with pytest.raises(ModelMissing, match=r"not on this machine.*Download"):
        run(engine, model="sd15")


def test_a_control_of_another_family_is_refused(small_model, small_v_model, tmp_path):
    folder = models_folder(tmp_path / "models", small_model)
    (folder / "controlnet" / "other").symlink_to(small_v_model / "controlnet")
    engine = LocalEngine(Catalog(folder), CONTROLS, "cpu")
    with pytest.raises(RecipeError, match="another kind of model"):
        run(engine, controls=(unit(network="other"),))


def test_models_that_were_replaced_are_loaded_again(tmp_path):
    """A base model trained on, or a file that came anew under its old name: the next picture is of the new one."""
    folder = models_folder(tmp_path / "models", save_small_model(tmp_path / "one"))
    engine = LocalEngine(Catalog(folder), CONTROLS, "cpu")
    first = run(engine)[0]
    assert np.array_equal(run(engine)[0], first)
    other = save_small_model(tmp_path / "other", seed=8)
    (tmp_path / "one").rename(tmp_path / "old")
    other.rename(tmp_path / "one")
    second = run(engine)[0]
    assert not np.array_equal(second, first)
    expected = LocalEngine(Catalog(folder), CONTROLS, "cpu")
    assert np.array_equal(second, run(expected)[0])


def test_an_engine_knows_when_its_device_is_gone(small_model, tmp_path, monkeypatch):
    engine = LocalEngine(Catalog(models_folder(tmp_path / "models", small_model)), CONTROLS, "cpu")
    assert engine.works()

    def gone(_device):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    engine.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "synchronize", gone)
    assert not engine.works()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _device: None)
    assert engine.works()


def test_models_of_earlier_runs_go_before_a_run_does_with_less(small_model, tmp_path, monkeypatch):
    folder = models_folder(tmp_path / "models", small_model)
    (folder / "checkpoints" / "other").symlink_to(small_model)
    engine = LocalEngine(Catalog(folder), CONTROLS, "cpu")
    run(engine, model="other", controls=(unit(),))
    expected = run(engine)[0]
    plain, asked = engine_module.vae.decode, []

    def crowded(vae, latents):
        asked.append(bool(vae.use_tiling))
        if len(engine._models._held) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return plain(vae, latents)

    monkeypatch.setattr(engine_module.vae, "decode", crowded)
    assert np.array_equal(run(engine)[0], expected)
    assert asked == [False, False], "the same plan again, with room"


def test_out_of_memory_walks_down_and_the_next_run_works(small_model, tmp_path, monkeypatch):
    engine = LocalEngine(Catalog(models_folder(tmp_path / "models", small_model)), CONTROLS, "cpu")
    expected = run(engine)[0]
    plain, asked = engine_module.vae.decode, []

    def failing(vae, latents):
        asked.append(bool(vae.use_tiling))
        if len(asked) <= failures:
            raise torch.OutOfMemoryError("out of memory")
        return plain(vae, latents)

    monkeypatch.setattr(engine_module.vae, "decode", failing)
    failures = 1
    assert np.array_equal(run(engine)[0], expected)
    assert asked == [False, True]
    asked.clear()
    failures = 9
    with pytest.raises(OutOfMemory, match="needs more memory"):
        run(engine)
    monkeypatch.undo()
    assert np.array_equal(run(engine)[0], expected)


def test_a_single_file_runs_with_the_vocabulary_of_clip(checkpoints, small_model, tmp_path):
    """The golden checkpoint as a community file: base model and control out of one file, tokenizer beside it."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "controlnet").mkdir()
    (tmp_path / "checkpoints" / "own.safetensors").symlink_to(checkpoints["safetensors"])
    (tmp_path / "controlnet" / "control.pth").symlink_to(checkpoints["wrapped"])
    engine = LocalEngine(Catalog(tmp_path), CONTROLS, "cpu")
    wanted = recipe(model="own", steps=2, controls=(unit(network="control"),))
    with pytest.raises(ModelMissing, match=r"vocabulary of CLIP is not on this machine.*tokenizers/clip"):
        engine.run(wanted, PICTURES, quiet)
    (tmp_path / "tokenizers").mkdir()
    (tmp_path / "tokenizers" / "clip").symlink_to(small_model / "tokenizer")
    before, after = (
        engine.run(wanted.model_copy(update={"prompt": text}), PICTURES, quiet)[0] for text in (TOKENS[3], TOKENS[4])
    )
    assert before.shape == (64, 64, 3)
    assert not np.array_equal(before, after)


def test_a_decoder_that_yields_no_numbers_is_an_error_and_no_black_picture(small_model, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(small_model, broken)
    (weights,) = (broken / "vae").glob("*.safetensors")
    tensors = load_file(weights)
    name = next(name for name in tensors if name.startswith("decoder") and name.endswith("bias"))
    save_file({**tensors, name: torch.full_like(tensors[name], torch.nan)}, weights)
    engine = LocalEngine(Catalog(models_folder(tmp_path / "models", broken)), CONTROLS, "cpu")
    with pytest.raises(StudioError, match="no number") as caught:
        run(engine, steps=1)
    assert "another VAE" in caught.value.hint
