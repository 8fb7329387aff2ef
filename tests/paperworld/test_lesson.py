"""What a training step of the embedded model learns from, and what it counts as an error."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from paperworld.model.latents import SHIPPED_BASIS, Basis
from paperworld.model.networks import EDGES, INSIDE, PIXELS, SIZES, Studio
from paperworld.training.batches import FRESH, WINDOW, Batches
from paperworld.world.examples import HELD_OUT, MIX, PROMPT, example


@pytest.fixture(scope="module")
def basis() -> Basis:
    return Basis.load(SHIPPED_BASIS)


@pytest.mark.parametrize("key", list(MIX))
def test_an_example_is_a_function_of_its_numbers(key: str) -> None:
    one, two = example(key, 5), example(key, 5)
    assert np.array_equal(one.truth.picture, two.truth.picture) and np.array_equal(one.control, two.control)
    assert one.caption == two.caption
    assert one.control.shape == one.truth.picture.shape == (256, 256, 3)
    assert one.control.any() == (key != PROMPT)
    assert not np.array_equal(one.truth.picture, example(key, 6).truth.picture)


def test_what_a_hand_draws_is_where_the_picture_has_ink() -> None:
    """The picture follows the drawn line: the point of it all."""
    shares = []
    for seed in range(HELD_OUT, HELD_OUT + 12):
        made = example("scribble", seed)
        ink = made.truth.picture.astype(int).sum(2) < 330
        near = cv2.dilate(ink.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        drawn = made.control.max(2) > 127
        if "night" not in made.caption and drawn.any():
            shares.append(near[drawn].mean())
    assert np.mean(shares) > 0.93


def test_larger_examples_show_the_same() -> None:
    small, large = example("scribble", 9), example("scribble", 9, 512)
    assert large.truth.picture.shape == (512, 512, 3)
    assert large.caption.split(",")[0] == small.caption.split(",")[0], (
        "what it is about; how much is said of the rest may differ"
    )
    half = cv2.resize(large.truth.picture, (256, 256), interpolation=cv2.INTER_AREA)
    assert np.abs(half.astype(int) - small.truth.picture).mean() < 6


def test_batches_are_functions_of_their_number_and_use_examples_again(basis: Basis) -> None:
    first, again = Batches(basis, 4, 0.8, seed=3), Batches(basis, 4, 0.8, seed=3)
    for number in (0, 1, 13):  # the last one of larger pictures
        one, two = first(number), again(number)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert one["codes"].shape == (1, 24, 64, 64) and one["hint"].shape == (1, 3, 512, 512)
    uses: dict[int, int] = {}
    for number in range(2000):
        for index, side in first.numbers(number):
            if side == 256:
                uses[index] = uses.get(index, 0) + 1
    old = [count for index, count in uses.items() if 0 < index < 2000 * 4 * FRESH - 2 * WINDOW]
    assert 2 < np.mean(old) < 4


def test_processes_render_what_one_would(basis: Basis) -> None:
    alone, helped = Batches(basis, 2, 0.8, seed=1), Batches(basis, 2, 0.8, seed=1, workers=1, ahead=1)
    try:
        assert all(torch.equal(a, b) for a, b in zip(alone(0).values(), helped(0).values(), strict=True))
    finally:
        assert helped.pool is not None
        helped.pool.shutdown(cancel_futures=True)


def test_without_a_control_the_words_are_alone(basis: Basis, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = Batches(basis, 24, 0.8)
    monkeypatch.setattr(batches, "_what", lambda index: (PROMPT if index % 2 else "pose", 3))
    batch = batches(0)
    silent = batch["hint"].amax((1, 2, 3)) == 0
    assert silent.any() and not silent.all()
    assert batch["keep"][~silent].min() == 1
    assert 0 < batch["keep"][silent].mean() < 1, "now no control, now an empty sheet"


def test_the_error_is_that_of_codes_and_of_their_pixels(basis: Basis, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batches(basis, 2, 0.0)(0)
    assert set(batch["loud"].unique().tolist()) <= {
        np.float32(x) for x in (1, 1 + INSIDE, 1 + EDGES, 1 + INSIDE + EDGES)
    }
    studio = Studio(SIZES["cpu"], 100)
    wrong = 0.3 * torch.randn_like(batch["codes"])

    def predict(noisy: Tensor, *_: Any) -> Tensor:
        signal, sigma = (batch[name].view(-1, 1, 1, 1) for name in ("signal", "sigma"))
        torch.testing.assert_close(noisy, signal * batch["codes"] + sigma * batch["noise"])
        return batch["codes"] + wrong

    monkeypatch.setattr(studio, "predict", predict)
    batch["tokens"] = batch["tokens"].clamp(max=99)
    with torch.no_grad():
        loss = studio(batch)
    pixels = (torch.einsum("bchw,cp->bhwp", wrong, batch["patterns"]).abs() * batch["loud"]).mean()
    asked = (wrong.square().mean((2, 3)) * batch["weight"]).mean() + PIXELS * pixels
    assert loss.item() == pytest.approx(asked.item(), rel=1e-3)
