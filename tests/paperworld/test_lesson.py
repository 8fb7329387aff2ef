"""What a training step of the embedded model learns from, and what it counts as an error."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paperworld.model.latents import Basis
from paperworld.model.networks import PIXELS, SIZES, Noise, Studio
from paperworld.training.examples import EMPTY, SIDE_PX, Library, pack
from paperworld.training.train import MIX, Batches

SOMEBODY = pack(np.full((SIDE_PX, SIDE_PX, 3), 200, np.uint8))


def library(folder: Path, shown: dict[str, list[bool]]) -> Library:
    """Scenes of random codes, in which a condition shows something where `shown` says so."""
    count = len(next(iter(shown.values())))
    codes = np.random.default_rng(0).standard_normal((count, SIZES["cpu"].latents, 16, 16)).astype(np.float16)
    controls = {key: [SOMEBODY if here else EMPTY for here in rows] for key, rows in shown.items()}
    captions = [[f"{number} houses"] for number in range(count)]
    shard = {"codes": codes, "captions": captions, "controls": controls}
    (folder / "shard-00000.pickle").write_bytes(pickle.dumps(shard))
    found = Library(folder)
    found.refresh()
    return found


def batches(found: Library, keys: str, size: int) -> Batches:
    channels = SIZES["cpu"].latents
    axes = np.linalg.qr(np.random.default_rng(1).standard_normal((3 * 16 * 16, channels)))[0].T
    basis = Basis(16, np.zeros(3 * 16 * 16, np.float32), axes.astype(np.float32), np.ones(channels, np.float32))
    options = argparse.Namespace(batch=size, repeat=1, ends=0.4, conditions=keys, workers=0)
    return Batches(found, basis, SIZES["cpu"], options, seed=3)


def test_a_condition_is_taught_on_scenes_that_show_it(tmp_path: Path) -> None:
    found = library(tmp_path, {"pose": [False, True, False, False, True], "seg": [True] * 5})
    assert found.showing["pose"] == [1, 4]
    made = batches(found, "pose", 64).make(0)
    rows = torch.stack([torch.tensor(found.codes[row].astype(np.float32)) for row in (1, 4)])
    distances = (made["codes"][:, None] - rows).abs().amax((2, 3, 4)).amin(1)
    assert distances.max() == 0
    blank = made["hint"].amax((1, 2, 3)) == 0
    assert blank.float().mean() < 0.2, "only the few sheets that are emptied on purpose"


def test_a_condition_that_no_scene_shows_is_an_empty_sheet(tmp_path: Path) -> None:
    made = batches(library(tmp_path, {"pose": [False] * 3, "seg": [True] * 3}), "pose", 4).make(0)
    assert made["hint"].max() == 0


@pytest.mark.parametrize("prediction", ["sample", "v_prediction"])
def test_the_error_is_that_of_codes_and_of_their_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prediction: str
) -> None:
    batch = batches(library(tmp_path, {key: [True] * 3 for key in MIX}), "seg", 2).make(0)
    size = SIZES["cpu"].__class__(**{**vars(SIZES["cpu"]), "prediction": prediction})
    batch |= Noise(size, 1, 0.0).draw(batch["codes"], torch.Generator().manual_seed(0))
    studio = Studio(size, 100)
    signal, sigma = (batch[name].view(-1, 1, 1, 1) for name in ("signal", "sigma"))
    wrong = 0.3 * torch.randn_like(batch["codes"])

    def predict(noisy: Tensor, *_: Any) -> Tensor:
        codes = batch["codes"] + wrong
        return codes if prediction == "sample" else (signal * noisy - codes) / sigma

    monkeypatch.setattr(studio, "predict", predict)
    batch["tokens"], batch["empty"] = batch["tokens"].clamp(max=99), batch["empty"].clamp(max=99)
    with torch.no_grad():
        loss = studio(batch)
    squared = wrong if prediction == "sample" else wrong / sigma
    pixels = torch.einsum("bchw,cp->bhwp", wrong, batch["patterns"]).abs().mean()
    asked = (squared.square().mean((2, 3)) * batch["weight"]).mean() + PIXELS * pixels
    assert loss.item() == pytest.approx(asked.item(), rel=1e-3)
