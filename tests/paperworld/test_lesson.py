"""What a training step of the embedded model learns from, and what it counts as an error."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from paperworld.model.latents import SHIPPED_BASIS, Basis
from paperworld.model.networks import PIXELS, SIZES, WORDS_FIRST, Studio
from paperworld.training.batches import FRESH, WINDOW, WORTH, Batches
from paperworld.world.examples import COLOURED, DEAR, EDGE, HELD_OUT, INSIDE, MIX, PROMPT, SLOTS, example


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
    assert 0.7 / FRESH < np.mean(old) < 1.1 / FRESH


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
    batch = Batches(basis, 4, 0.0)(0)
    assert batch["shown"].any()
    worths = {np.float32(1 + sum(more for bit, more in WORTH.items() if why & bit)) for why in range(16)}
    assert set(batch["loud"].unique().tolist()) <= worths
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
    # A fresh layer says grey, and that is wrong by the colours themselves.
    asked = asked + WORDS_FIRST * batch["colours"].abs().sum() / batch["shown"].sum()
    assert loss.item() == pytest.approx(asked.item(), rel=1e-3)


def test_where_no_colour_is_told_there_is_no_error_of_colours() -> None:
    torch.manual_seed(0)
    studio = Studio(SIZES["cpu"], 40)
    prompt = torch.randn(2, 5, SIZES["cpu"].text)
    none = torch.zeros(2, len(SLOTS), 3)
    assert studio.meant(prompt, none, none.bool()).item() == 0


def test_faces_hands_and_colours_that_have_names_are_worth_more() -> None:
    made = example("pose", HELD_OUT + 5)
    person = made.truth.skeleton.people[0]
    for point in (person.body[0], person.body[4], person.body[7]):
        if 2 < point.x < 253 and 2 < point.y < 253 and point.confidence > 0:
            assert made.loud[round(point.y), round(point.x)] & (INSIDE | DEAR | COLOURED) == INSIDE | DEAR | COLOURED
    assert made.loud[2, 2] in (0, EDGE), "sky"
    hips = person.body[8]
    assert not made.loud[round(hips.y), round(hips.x)] & DEAR
    land = example("depth", HELD_OUT + 2)
    names = [thing.name for thing in land.scene.things]
    for number in {names.index(name) + 1 for name in names if name in ("sea", "hill", "road", "river")}:
        assert not (land.loud[land.truth.things == number] & INSIDE).any(), "a backdrop is no thing"


def test_the_colours_of_things_and_paper_are_known_by_kind() -> None:
    for seed in range(HELD_OUT, HELD_OUT + 6):
        made = example("scribble", seed)
        for slot, colour in zip(SLOTS, made.colours, strict=True):
            kind, _, order = slot.partition(" ")
            kinds = ["person" if thing.doing else thing.name for thing in made.scene.things]
            if order and kinds.count(kind) < int(order):
                assert np.isnan(colour).all()
            else:
                assert np.isnan(colour).all() or np.abs(colour).max() <= 1
        upper = made.truth.picture[:32].mean((0, 1)) / 127.5 - 1
        assert np.allclose(made.colours[SLOTS.index("upper")], upper, atol=1e-3)


def test_attention_in_plain_products_is_the_same() -> None:
    torch.manual_seed(0)
    fused, plain = Studio(SIZES["cpu"], 100).eval(), Studio(SIZES["cpu"], 100).eval()
    plain.load_state_dict(fused.state_dict())
    plain.attend_plainly()
    tokens, hint, noisy = torch.arange(40)[None], torch.rand(1, 48, 8, 8), torch.randn(1, 24, 8, 8)
    with torch.no_grad():
        one, two = (
            each.predict(noisy, torch.tensor([999]), each.text(tokens).last_hidden_state, hint, torch.ones(1))
            for each in (fused, plain)
        )
    assert one.std() > 0 and torch.allclose(one, two, atol=1e-4)
