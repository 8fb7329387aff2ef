"""The shipped model: it loads with the ordinary classes, its codec is faithful, and its control controls."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from annotator import controls
from controlnet_core.domain.control import values
from controlnet_core.domain.document import Raster
from controlnet_core.domain.errors import ModelError
from controlnet_core.models import loading
from paperworld.evaluation import evaluate, measures
from paperworld.evaluation.benchmark import benchmark, edge_agreement
from paperworld.evaluation.strangers import drawings
from paperworld.model import codec, tokens
from paperworld.model.latents import SHIPPED_BASIS, Basis
from paperworld.model.networks import SIZES, Studio, inherit, wake
from paperworld.model.sampling import SHIPPED, Hint, Painter
from paperworld.world.examples import HELD_OUT, scene_of

FILE_MAX_BYTES = 16 << 20
CODEC_FLOOR_DB = 35.0
DRAWINGS_FLOOR, SLOPE_FLOOR, FLAT_CEILING = 0.7, 30, 1.5
SCENES = 8


@pytest.fixture(scope="module")
def painter() -> Painter:
    torch.set_num_threads(1)
    return Painter.load()


def test_files_are_small_and_whole() -> None:
    sizes = {path.name: path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()}
    assert max(sizes.values()) <= FILE_MAX_BYTES
    assert sum(sizes.values()) <= 30 << 20
    index = json.loads((SHIPPED / "model_index.json").read_text())
    for part in ("vae", "text_encoder", "tokenizer", "unet", "scheduler"):
        assert index[part][0] in ("diffusers", "transformers")
        assert (SHIPPED / part).is_dir()


def test_the_loader_of_every_model_loads_this_one() -> None:
    base = loading.load_base(SHIPPED)
    control = loading.load_control(SHIPPED / "controlnet")
    assert base.vae_scale_factor == SIZES["cpu"].patch
    assert base.channels == SIZES["cpu"].latents == control.config["in_channels"]
    assert base.tokenizer.model_max_length == tokens.LENGTH
    assert base.text_encoder.config.max_position_embeddings == tokens.LENGTH


def test_codec_is_faithful_on_scenes_it_has_not_seen(painter: Painter) -> None:
    pictures = [scene_of(seed)[1].picture for seed in range(HELD_OUT, HELD_OUT + SCENES)]
    assert codec.psnr(painter.vae, pictures) >= CODEC_FLOOR_DB


def test_pictures_follow_their_scribble_and_not_another(painter: Painter) -> None:
    test = benchmark("scribble", SCENES)
    pictures = evaluate.paint(painter, test.prompts, test.controls)
    own = edge_agreement(pictures, test.controls)
    other = edge_agreement(pictures, test.controls[1:] + test.controls[:1])
    assert own > 1.3 * other
    silent = evaluate.paint(painter, test.prompts, [(Hint([control], 0.0),) for control in test.controls])
    assert own > 1.3 * edge_agreement(silent, test.controls)


def test_drawings_from_outside_the_world_come_out_in_one_step(painter: Painter) -> None:
    drawn = drawings()
    controls_ = [each.control for each in drawn]
    pictures = evaluate.paint(painter, [each.prompt for each in drawn], controls_)
    assert edge_agreement(pictures, controls_) > DRAWINGS_FLOOR
    slopes = np.mean([measures.slopes(a, b) for a, b in zip(pictures, controls_, strict=True)], axis=0)
    assert slopes[0] > SLOPE_FLOOR and slopes[1] < FLAT_CEILING, "crisp lines on flat paper"


def test_same_seed_same_picture_whatever_the_batch(painter: Painter) -> None:
    control = benchmark("scribble", 1).controls[0]
    alone = painter.paint(["a red house"], [Hint([control])], steps=2)[0]
    together = painter.paint(["a red house", "a blue boat"], [Hint([control, control])], steps=2)[0]
    assert np.abs(alone.astype(int) - together.astype(int)).max() <= 1


@pytest.mark.parametrize(("width", "height"), [(256, 512), (512, 256)])
def test_other_sizes(painter: Painter, width: int, height: int) -> None:
    blank = np.zeros((height, width, 3), np.uint8)
    assert painter.paint([""], [Hint([blank])], steps=2)[0].shape == (height, width, 3)


def test_a_damaged_model_is_refused_in_a_sentence(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "broken")
    weights = tmp_path / "broken" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="broken holds no embedded model"):
        Painter.load(tmp_path / "broken")


def test_a_training_goes_on_from_narrower_networks_without_a_jump(painter: Painter) -> None:
    size = SIZES["cpu"]
    wider = Studio(replace(size, hint=(*size.hint[:-1], 2 * size.hint[-1])), len(painter.tokenizer))
    inherit(wider, painter, painter.tokenizer.get_vocab())
    with torch.no_grad():
        noisy, prompt = torch.randn(1, size.latents, 32, 32), torch.randn(1, 4, size.text)
        hint = (torch.rand(1, 3, 256, 256) > 0.9).float()
        now, before = (
            control(noisy, torch.tensor(500), prompt, controlnet_cond=hint, return_dict=False)[1]
            for control in (wider.control, painter.control)
        )
    assert torch.allclose(now, before, atol=1e-4 * float(before.abs().max()))


def test_the_codec_is_the_linear_code_in_closed_form() -> None:
    pictures = [scene_of(seed)[1].picture for seed in range(12)]
    basis = Basis.load(SHIPPED_BASIS)
    vae = codec.closed_form(SIZES["cpu"], basis, pictures)
    seen = [scene_of(seed)[1].picture for seed in range(HELD_OUT, HELD_OUT + 3)]
    linear = np.mean([_psnr(picture, basis) for picture in seen])
    # Neighbours help, once there are enough pictures to learn from; twelve are enough not to be worse.
    assert codec.psnr(vae, seen) > linear - 0.5


def _psnr(picture: np.ndarray, basis: Basis) -> float:
    back = basis.decode(basis.encode(picture)).astype(float)
    return float(10 * np.log10(255**2 / np.mean((back - picture) ** 2)))


@pytest.mark.parametrize("side", [256, 384, 512])
@pytest.mark.parametrize("drawing", ["nothing", "all black", "one dot", "a scrawl"])
def test_whatever_is_drawn_gives_a_decent_sheet_of_paper(painter: Painter, drawing: str, side: int) -> None:
    sheet = np.zeros((side, side, 3), np.uint8)
    if drawing == "all black":  # ink everywhere
        sheet[:] = 255
    elif drawing == "one dot":
        cv2.circle(sheet, (side // 2, side // 2), 3, (255, 255, 255), -1)
    elif drawing == "a scrawl":
        points = np.random.default_rng(0).integers(0, side, (40, 1, 2)).astype(np.int32)
        cv2.polylines(sheet, [points], False, (255, 255, 255), 3)
    for prompt in ("", "a turtle"):
        picture = painter.paint([prompt], [Hint([sheet])])[0].astype(int)
        assert picture.mean() > 60, "light enough to be paper"
        flat = np.abs(picture - cv2.medianBlur(picture.astype(np.uint8), 5)).mean()
        assert flat < (14 if drawing in ("a scrawl", "all black") else 5), "paper, not noise"


@pytest.mark.parametrize("prompt", ["", "qwrtz xylophon", "ein rotes Haus am Meer, дом, 家", "a red house " * 100])
def test_any_prompt_gives_a_picture(painter: Painter, prompt: str) -> None:
    picture = painter.paint([prompt], steps=1)[0]
    assert picture.shape == (256, 256, 3)
    assert picture.std() > 5, "not a flat sheet"


def test_a_layout_of_classes_that_the_world_does_not_know_gives_a_picture(painter: Painter) -> None:
    classes = np.full((256, 256), 149, np.uint8)
    classes[128:] = 140
    seg = controls()["seg"]
    control = seg.render(Raster("classes", classes), values(seg.params, {}))
    assert painter.paint(["a house"], [Hint([control])], steps=1)[0].std() > 5


def test_a_control_acts_only_in_its_window(painter: Painter) -> None:
    control = benchmark("scribble", 1).controls[0]

    def painted(*hints: Hint) -> np.ndarray:
        return painter.paint(["a tree"], hints, steps=4, side_px=control.shape[0])[0]

    nothing = painted()
    assert np.array_equal(painted(Hint([control], start=0.5, end=0.5)), nothing)
    assert np.array_equal(painted(Hint([control], start=0.0, end=1.0)), painted(Hint([control])))
    assert not np.array_equal(painted(Hint([control], start=0.5)), nothing)


def test_a_fresh_control_is_audible() -> None:
    torch.manual_seed(0)
    studio = Studio(SIZES["cpu"], 100)
    hints = torch.zeros(2, 3, 64, 64)
    hints[0, :, 20:24] = 1
    hints[1, :, :, 40:44] = 1
    wake(studio, hints)
    with torch.no_grad():
        one, two = studio.control.controlnet_cond_embedding(hints)
    assert (one - two).std() > 0.3


def test_edge_agreement_of_a_picture_with_itself_and_with_nothing() -> None:
    truth = scene_of(HELD_OUT)[1]
    edges = measures.edges_of(truth.picture)
    assert measures.edge_f1(edges, edges) == pytest.approx(1)
    assert measures.edge_f1(edges, np.zeros_like(edges)) == 0
    assert measures.edge_f1(edges, np.roll(edges, 2, axis=0)) > measures.edge_f1(edges, np.roll(edges, 9, axis=0))
