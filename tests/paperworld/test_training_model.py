"""The shipped model: it loads with the ordinary classes, its codec is faithful, and its control controls."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

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
from paperworld.model import codec, tokens
from paperworld.model.latents import fit
from paperworld.model.networks import SIZES, Studio, amplify, inherit, wake
from paperworld.model.sampling import SHIPPED, Hint, Painter
from paperworld.training.examples import HELD_OUT, scene_of

FILE_MAX_BYTES = 16 << 20
CODEC_FLOOR_DB = 29.3
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
    values = []
    for seed in range(HELD_OUT, HELD_OUT + SCENES):
        picture = scene_of(seed)[1].picture
        x = torch.from_numpy(picture.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        with torch.no_grad():
            y = painter.vae.decode(painter.vae.encode(x).latent).sample
        back = (y[0].permute(1, 2, 0).clamp(-1, 1).numpy() + 1) * 127.5
        values.append(10 * np.log10(255**2 / np.mean((back - picture) ** 2)))
    assert np.mean(values) >= CODEC_FLOOR_DB


def test_pictures_follow_their_scribble_and_not_another(painter: Painter) -> None:
    test = benchmark("scribble", SCENES)
    pictures = evaluate.paint(painter, test.prompts, test.exact, steps=4)
    own = edge_agreement(pictures, test.exact)
    other = edge_agreement(pictures, test.exact[1:] + test.exact[:1])
    assert own > 1.3 * other
    silent = evaluate.paint(painter, test.prompts, [(Hint([control], 0.0),) for control in test.exact], steps=4)
    assert own > 1.3 * edge_agreement(silent, test.exact)


def test_same_seed_same_picture_whatever_the_batch(painter: Painter) -> None:
    control = benchmark("scribble", 1).exact[0]
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
    inherit(wider, painter)
    amplify(wider.control, size.gain)
    with torch.no_grad():
        noisy, prompt = torch.randn(1, size.latents, 16, 16), torch.randn(1, 4, size.text)
        hint = (torch.rand(1, 3, 256, 256) > 0.9).float()
        now, before = (
            control(noisy, torch.tensor(500), prompt, controlnet_cond=hint, return_dict=False)[1]
            for control in (wider.control, painter.control)
        )
    assert torch.allclose(now, before, atol=1e-4 * float(before.abs().max()))


def test_untrained_codec_already_is_the_linear_code() -> None:
    pictures = [scene_of(seed)[1].picture for seed in range(12)]
    basis = fit(pictures, channels=SIZES["cpu"].latents)
    vae = codec.build(SIZES["cpu"])
    codec.begin(vae, basis, scenes=12)
    seeds = range(HELD_OUT, HELD_OUT + 3)
    linear = np.mean([_psnr(scene_of(seed)[1].picture, basis) for seed in seeds])
    vae.eval()
    # Neighbours help, once there are enough pictures to learn from; twelve are enough not to be worse.
    assert codec.psnr(vae, seeds, basis) > linear - 0.3
    assert codec.psnr(vae, seeds) > linear - 0.5


def _psnr(picture: np.ndarray, basis: object) -> float:
    back = basis.decode(basis.encode(picture)).astype(float)  # type: ignore[attr-defined]
    return float(10 * np.log10(255**2 / np.mean((back - picture) ** 2)))


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


def test_an_amplified_control_is_as_loud_as_a_stronger_one(painter: Painter) -> None:
    control = benchmark("scribble", 1).exact[0]
    strong = painter.paint(["a tree"], [Hint([control], 1.5)], steps=2)[0]
    louder = copy.deepcopy(painter)
    amplify(louder.control, 1.5)
    assert np.abs(louder.paint(["a tree"], [Hint([control])], steps=2)[0].astype(int) - strong.astype(int)).max() <= 1


def test_a_control_acts_only_in_its_window(painter: Painter) -> None:
    control = benchmark("scribble", 1).exact[0]

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
