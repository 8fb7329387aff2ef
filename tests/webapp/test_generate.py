"""`studio generate` with everything a recipe can say: what it writes is what the engine makes of the same recipe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from annotator.seg import palette
from controlnet_core.domain.picture import open_picture, to_png
from controlnet_core.domain.recipe import Recipe
from controlnet_core.storage.gallery import recipe_of
from tests.annotator.test_skeleton_picture import STANDING
from tests.core.small import save_small_model
from webapp import cli, root
from webapp.application.settings import Settings
from webapp.application.studio import Studio

RANDOM = np.random.default_rng(2)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and a models folder with a small model, a ControlNet, a LoRA and an embedding."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("generate")
    for name in ("photo", "edges"):
        (folder / f"{name}.png").write_bytes(to_png(RANDOM.integers(0, 256, (64, 64, 3), np.uint8)))
    mask = np.zeros((64, 64, 3), np.uint8)
    mask[:, :32] = 255
    (folder / "left.png").write_bytes(to_png(mask))
    models = folder / "models"
    save_small_model(models / "checkpoints" / "small")
    (models / "checkpoints" / "small" / "controlnet" / "card.toml").unlink()  # nobody says what it reads
    (models / "controlnet").mkdir()
    (models / "controlnet" / "control").symlink_to(models / "checkpoints" / "small" / "controlnet")
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    (models / "loras").mkdir()
    save_file(
        {f"{layer}.lora_up.weight": torch.randn(32, 2), f"{layer}.lora_down.weight": torch.randn(2, 32)},
        models / "loras" / "style.safetensors",
    )
    (models / "loras" / "tcd-lora.safetensors").write_bytes((models / "loras" / "style.safetensors").read_bytes())
    (models / "embeddings").mkdir()
    save_file({"emb_params": torch.randn(2, 32)}, models / "embeddings" / "calm.safetensors")
    return folder


@pytest.fixture
def here(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    studio = Studio(Settings(data=tmp_path / "data", models=files / "models"))
    monkeypatch.setattr(root, "studio", lambda: studio)
    return studio


def generate(*args: object):
    return CliRunner().invoke(cli.app, ["generate", *map(str, args)])


def test_everything_a_recipe_can_say(files: Path, here: Studio, tmp_path: Path) -> None:
    from controlnet_core.engine import LocalEngine

    control = (
        f"canny={files / 'edges.png'}:0.8:0.0-0.7,mask={files / 'left.png'},mode=prompt,resize=fit,network=control"
    )
    done = generate(
        "--model", "small", "--prompt", "a (red:1.4) calm house", "--negative", "sea", "--added", "", "--control", control,
        "--source", files / "photo.png", "--mask", files / "left.png", "--strength", 0.6, "--blur", 0, "--fill", "noise",
        "--lora", "style:0.5", "--embedding", "calm", "--steps", 4, "--seed", 3, "--variation", "9:0.25", "--eta", 0.5,
        "--size", "64x64", "-n", 2, "--out", tmp_path, "--reference-only", f"{files / 'edges.png'}:0.5:0-0.8",
        "--style-fidelity", 0.2,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    png = (tmp_path / "small-3-10.png").read_bytes()
    recipe = recipe_of(png)
    assert recipe is not None
    (unit,), source = recipe.controls, recipe.source
    assert (unit.weight, unit.end, unit.mode, unit.resize, unit.network) == (0.8, 0.7, "prompt", "fit", "control")
    (reference,) = recipe.references
    assert (reference.kind, reference.weight, reference.end) == ("reference_only", 0.5, 0.8)
    assert (reference.adapter, reference.style_fidelity) == (None, 0.2)
    assert source is not None
    assert (source.strength, source.blur_px, source.fill, source.mask) == (0.6, 0, "noise", unit.mask)
    assert [(lora.key, lora.weight) for lora in recipe.loras] == [("style", 0.5)]
    assert (recipe.embeddings, recipe.eta, recipe.variation_seed) == (("calm",), 0.5, 10)
    assert np.array_equal(open_picture(png)[:, 32:], open_picture((files / "photo.png").read_bytes())[:, 32:])

    engine = LocalEngine(here.catalog, here.controls, "cpu")
    pictures = {digest: open_picture(here.blobs.get(digest)) for digest in recipe.pictures}
    assert np.array_equal(engine.run(recipe, pictures, lambda step: None)[0], open_picture(png))

    again = generate("--recipe", tmp_path / "small-3-10.png", "--out", tmp_path / "again")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again" / "small-3-10.png").read_bytes() == png


A1111 = "a red house\nby the sea\nNegative prompt: fog\nSteps: 3, Sampler: Euler a, CFG scale: 2.5, Seed: 77, Size: 64x64, Model: x"
COMFY = {
    "3": {"class_type": "KSampler", "inputs": {
        "seed": 77, "steps": 3, "cfg": 2.5, "sampler_name": "euler_ancestral", "scheduler": "normal", "denoise": 1.0,
        "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red house\nby the sea"}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "fog"}},
    "8": {"class_type": "LoraLoader", "inputs": {"lora_name": "ink.safetensors"}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "program", "left_out"),
    [({"parameters": A1111}, "A1111", ""), ({"prompt": json.dumps(COMFY)}, "ComfyUI", "the LoRAs ink.safetensors")],
)
def test_settings_of_another_programs_picture_are_taken(
    texts: dict[str, str], program: str, left_out: str, here: Studio, tmp_path: Path
) -> None:
    photo = tmp_path / "theirs.png"
    photo.write_bytes(to_png(np.zeros((8, 8, 3), np.uint8), texts))
    done = generate("--recipe", photo, "--model", "small", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert f"taken from {program}" in done.stderr and left_out in done.stderr
    recipe = recipe_of((tmp_path / "small-77.png").read_bytes())
    assert recipe is not None
    assert (recipe.prompt, recipe.negative, recipe.seed) == ("a red house\nby the sea", "fog", 77)
    assert (recipe.steps, recipe.sampler, recipe.guidance, recipe.width) == (3, "euler_a", 2.5, 64)
    other = generate("--recipe", photo, "--model", "small", "--steps", 1, "--seed", 5, "--out", tmp_path)
    assert other.exit_code == 0, other.output
    recipe = recipe_of((tmp_path / "small-5.png").read_bytes())
    assert recipe is not None and (recipe.steps, recipe.guidance) == (1, 2.5)


def test_a_preset_sets_what_is_not_given_and_adds_its_lora(here: Studio, tmp_path: Path) -> None:
    plain = ("--model", "small", "--size", "64x64", "--seed", 3, "--out", tmp_path)
    for number, (wanted, given, steps, guidance) in enumerate(
        [("tcd", (), 4, 1.0), ("auto", ("--steps", 3, "--guidance", 1.5), 3, 1.5), ("tcd-lora", ("--steps", 1), 1, 1.0)]
    ):
        done = generate(*plain[:-1], tmp_path / str(number), "--preset", wanted, *given)
        assert done.exit_code == 0, done.output
        recipe = recipe_of((tmp_path / str(number) / "small-3.png").read_bytes())
        assert recipe is not None
        assert (recipe.sampler, recipe.steps, recipe.guidance, recipe.eta) == ("tcd", steps, guidance, 0.3)
        assert [(lora.key, lora.weight) for lora in recipe.loras] == [("tcd-lora", 1.0)]
    done = generate(*plain, "--preset", "tcd", "--sampler", "heun", "--spacing", "karras", "--steps", 2)
    assert done.exit_code == 0, done.output
    recipe = recipe_of((tmp_path / "small-3.png").read_bytes())
    assert recipe is not None
    assert (recipe.sampler, recipe.spacing) == ("heun", "karras")
    for wanted, words in (("lightning", "Nothing here is made for Lightning"), ("warp", "no preset called")):
        done = generate(*plain, "--preset", wanted)
        assert done.exit_code == 1
        assert words in done.output


def test_a_control_takes_the_controlnet_that_is_here(files: Path, here: Studio, tmp_path: Path) -> None:
    """A model of no published size has no usual one."""
    plain = ("--model", "small", "--size", "64x64", "--steps", 1, "--seed", 3, "--out", tmp_path)
    done = generate(*plain, "--control", f"canny={files / 'edges.png'}")
    assert done.exit_code == 0, done.output
    recipe = recipe_of((tmp_path / "small-3.png").read_bytes())
    assert recipe is not None
    assert recipe.controls[0].network == "control"


def made(here: Studio, folder: Path, control: str, *more: object) -> tuple[Recipe, str]:
    done = generate(
        "--model", "small", "--size", "64x64", "--steps", 1, "--seed", 3, "--out", folder, "--control", control, *more
    )
    assert done.exit_code == 0, done.output
    recipe = recipe_of((folder / "small-3.png").read_bytes())
    assert recipe is not None
    return recipe, done.output


def test_a_finished_map_is_not_detected_again_and_ink_is_ink(here: Studio, tmp_path: Path) -> None:
    stroke = np.zeros((64, 64, 3), np.uint8)
    stroke[20:24, 8:50] = 255
    white = np.dstack([np.full((64, 64, 3), 255, np.uint8), stroke[:, :, 0]])
    (tmp_path / "white.png").write_bytes(to_png(stroke))
    (tmp_path / "black.png").write_bytes(to_png(255 - stroke))
    Image.fromarray(white).save(tmp_path / "nothing.png")
    for name, how in (("white", ""), ("black", ""), ("nothing", ""), ("white", ",ink=light"), ("black", ",ink=dark")):
        for control in ("scribble", "canny", "lines", "softedge", "lineart"):
            recipe, said = made(here, tmp_path, f"{control}={tmp_path / name}.png{how}")
            (unit,) = recipe.controls
            assert np.array_equal(open_picture(here.blobs.get(unit.picture)), stroke), (name, control)
            assert "Taken as a finished map" in said


def test_poses_as_json_and_as_pictures(here: Studio, tmp_path: Path) -> None:
    body = [n for x, y in STANDING for n in (128 + x, 200 + y, 1)]
    pose = {
        "people": [{"pose_keypoints_2d": body, "face_keypoints_2d": [1] * 207}],
        "canvas_width": 256,
        "canvas_height": 384,
    }
    (tmp_path / "pose.json").write_text(json.dumps(pose))
    recipe, said = made(here, tmp_path, f"pose={tmp_path / 'pose.json'}")
    assert "face of person 1 was left out" in said and recipe.controls[0].document is not None
    drawn = here.blobs.get(recipe.controls[0].picture)
    (tmp_path / "pose.png").write_bytes(drawn)
    again, said = made(here, tmp_path, f"pose={tmp_path / 'pose.png'}")
    assert "skeleton picture" in said and again.controls[0].picture == recipe.controls[0].picture
    assert "1 person" in said and again.controls[0].document is not None


def test_class_numbers_and_a_photo_for_a_map(here: Studio, files: Path, tmp_path: Path) -> None:
    classes = np.full((64, 64), 3, np.uint8)
    classes[:, 32:] = 26
    Image.fromarray(classes).save(tmp_path / "map.png")
    for how, left in (("", 2), (",numbers=1", 2), (",numbers=0", 3)):
        recipe, said = made(here, tmp_path, f"seg={tmp_path / 'map.png'}{how}")
        assert tuple(open_picture(here.blobs.get(recipe.controls[0].picture))[0, 0]) == tuple(palette()[left]), said
    refused = generate("--model", "small", "--control", f"seg={files / 'photo.png'}", "--out", tmp_path)
    assert refused.exit_code == 1 and "looks like a photo" in refused.output


@pytest.mark.parametrize("ink", [255, 0, 120])
def test_masks_painted_on_a_transparent_layer(ink: int, here: Studio, files: Path, tmp_path: Path) -> None:
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:, :32] = 255
    Image.fromarray(np.dstack([np.full((64, 64, 3), ink, np.uint8), alpha])).save(tmp_path / "mask.png")
    more = ("--source", files / "photo.png", "--mask", tmp_path / "mask.png", "--blur", 0)
    recipe, _ = made(here, tmp_path, f"canny={files / 'edges.png'},mask={tmp_path / 'mask.png'}", *more)
    left = open_picture((files / "left.png").read_bytes())
    assert recipe.source is not None
    for digest in (recipe.source.mask, recipe.controls[0].mask):
        assert np.array_equal(open_picture(here.blobs.get(digest or "")), left)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("--control", "scribble=left.png,ink=blue"), "ink must be one of auto, dark, light"),
        (("--control", "canny=x.png,mask=nothing.png"), "nothing.png cannot be read"),
        (("--mask", "left.png"), "Give a --source as well."),
        (("--source", "nothing.png"), "nothing.png cannot be read"),
        (("--lora", "nothing"), "There is no model called 'nothing'."),
        (("--lora", "style:5"), "weight: input should be less than or equal to 2"),
        (("--lora", "style:much"), "is not a LoRA"),
        (("--embedding", "style"), "style is not a textual inversion"),
        (("--vae", "small"), "is not a VAE"),
        (("--variation", "3"), "is not a variation"),
        (("--original-size", "large"), "--original-size is not two numbers. Write it like 1024x768."),
        (("--crop", "0x8"), "models are told no sizes (micro-conditioning)"),
        (("--reference-only", "nothing.png"), "nothing.png cannot be read"),
        (("--recipe", "photo.png"), "carries no recipe"),
        (("--recipe", "nothing.png"), "cannot be read"),
    ],
)
def test_mistakes_are_said_in_a_sentence(args, sentence, files: Path, here: Studio, monkeypatch) -> None:
    monkeypatch.chdir(files)
    model = () if args[0] == "--recipe" else ("--model", "small", "--size", "64x64", "--steps", 1)
    done = generate(*model, *args)
    assert done.exit_code == 1
    assert sentence in done.output
    assert isinstance(done.exception, SystemExit)
