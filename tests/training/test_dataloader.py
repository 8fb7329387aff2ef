"""Batch n is a function of n: shuffled, bucketed, cached or not, shared between processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from controlnet_core.datasets import Example, open_folder
from controlnet_core.datasets.example_circles import Circles
from controlnet_core.domain.errors import InputError, NoSpace
from controlnet_core.models.loading import Base, load_base
from controlnet_core.training.dataloader import ControlDataLoader, Order, bucket_of, buckets
from controlnet_core.training.run import Config


@pytest.fixture(scope="module")
def base(models: Path) -> Base:
    return load_base(models / "checkpoints" / "tiny")


def config(**data: object) -> Config:
    how = {"batch": 3, "prompt_dropout": 0.5, "seed": 7}
    given = {"source": "circles", "size": 64, **data}
    return Config.model_validate({"name": "x", "base": "b", "control": "c", "data": given, "training": how})


def nobody(_done: int, _total: int) -> None: ...


def feed(
    base: Base, pairs: object, indices: range | list[int] | None, folder: Path, **data: object
) -> ControlDataLoader:
    made = ControlDataLoader(base, pairs, indices, config(**data), nearest=False)  # type: ignore[arg-type]
    made.prepare(folder, nobody)
    return made


def test_the_same_batch_at_any_time(base: Base, tmp_path: Path) -> None:
    one = feed(base, Circles(64), range(10), tmp_path / "cache")
    first = [one(number) for number in range(6)]
    again = feed(base, Circles(64), range(10), tmp_path / "cache")
    for number in (5, 0, 3):
        for key, value in again(number).items():
            assert torch.equal(value, first[number][key]), key
    assert not torch.equal(first[0]["noise"], first[1]["noise"])


def test_two_processes_share_the_batches(base: Base, tmp_path: Path) -> None:
    whole = feed(base, Circles(64), range(10), tmp_path / "cache")
    halves = [feed(base, Circles(64), range(10), tmp_path / "cache") for _ in range(2)]
    for place, half in enumerate(halves):
        half.share(place, 2)
    for number in range(3):
        for place in range(2):
            assert torch.equal(halves[place](number)["latents"], whole.make(2 * number + place)["latents"])


@pytest.mark.parametrize("bucketed", [False, True])
def test_cached_or_not_a_batch_is_the_same(base: Base, tmp_path: Path, bucketed: bool) -> None:
    cached = feed(base, Circles(64), range(8), tmp_path / "cache", buckets=bucketed)
    fresh = feed(base, Circles(64), range(8), tmp_path / "none", buckets=bucketed, cache=False)
    assert not (tmp_path / "none").exists()
    for number in range(4):
        ours, theirs = cached(number), fresh(number)
        assert ours.keys() == theirs.keys()
        for key in ("hint", "noise", "times", "weight"):
            assert torch.equal(ours[key], theirs[key]), key
        for key in ("latents", "context"):
            torch.testing.assert_close(ours[key], theirs[key], rtol=2e-3, atol=2e-3)


def test_prompts_are_left_out_as_often_as_asked(base: Base, tmp_path: Path) -> None:
    made = feed(base, Circles(64), range(10), tmp_path / "cache")
    empty = made._embedded("").half().float()
    left_out = [bool(torch.equal(row.flatten(), empty)) for number in range(60) for row in made(number)["context"]]
    assert 0.35 < np.mean(left_out) < 0.65


def test_endless_data_never_comes_again(base: Base, tmp_path: Path) -> None:
    made = feed(base, Circles(64), None, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    np.testing.assert_array_equal(made.make(5)["hint"][1].permute(1, 2, 0) * 255, Circles(64).read(16).source)


class Wide:
    """Pairs of several shapes whose left and right halves tell whether both were cut alike."""

    title = "Wide"
    SHAPES = ((64, 64), (96, 64), (128, 64), (64, 128), (200, 100))

    def __len__(self) -> int:
        return 15

    def name(self, index: int) -> str:
        return str(index)

    def read(self, index: int) -> Example:
        width, height = self.SHAPES[index % 5]
        rgb = np.zeros((height, width, 3), np.uint8)
        rgb[:, : width // 2] = 250
        return Example(rgb, rgb.copy(), f"picture {index}")


def test_buckets_keep_shapes_together(base: Base, tmp_path: Path) -> None:
    made = feed(base, Wide(), range(15), tmp_path / "cache", size=128, buckets=True)
    assert made.order is not None and made.cache is not None
    seen = []
    for number in range(made.order.batches):
        places = made.order(number)
        shapes = {made.cache.shapes[place] for place in places}
        assert len(shapes) == 1
        width, height = shapes.pop()
        batch = made(number)
        assert batch["hint"].shape == (3, 3, height, width)
        assert batch["latents"].shape[2:] == (height // base.vae_scale_factor, width // base.vae_scale_factor)
        assert (batch["hint"].mean((1, 2))[:, : width // 2 - 4] > 0.9).all(), "cut evenly"
        seen += places
    assert set(seen) == set(range(15))


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from([64, 256, 512, 768]))
def test_every_picture_has_a_bucket_near_its_shape(width: int, height: int, size: int) -> None:
    shapes = buckets(size)
    assert (size, size) in shapes
    found = bucket_of(width, height, shapes)
    assert found[0] % 64 == found[1] % 64 == 0 and found[0] * found[1] <= size * size
    assert all(max(shape) <= 2 * min(shape) for shape in shapes)


@given(st.lists(st.sampled_from([(64, 64), (128, 64), (64, 128)]), min_size=1, max_size=60), st.integers(1, 7))
def test_an_epoch_visits_every_pair(shapes: list[tuple[int, int]], batch: int) -> None:
    order = Order(shapes, batch, seed=3)
    for epoch in range(2):
        visited = [order(epoch * order.batches + number) for number in range(order.batches)]
        assert all(len(places) == batch for places in visited)
        assert {place for places in visited for place in places} == set(range(len(shapes)))
        assert all(len({shapes[place] for place in places}) == 1 for places in visited)
    assert Order(shapes, batch, seed=3)(order.batches + 0) == order(order.batches)


def test_a_full_disk_leaves_no_half_cache(base: Base, tmp_path: Path) -> None:
    made = ControlDataLoader(base, Circles(64), range(4), config(), nearest=False)
    with pytest.raises(NoSpace):
        made.prepare(tmp_path / "cache", nobody, free_min_bytes=1 << 60)
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_was_cut_off_is_made_again(base: Base, tmp_path: Path, tutorial: Path) -> None:
    class Killed(Exception): ...

    def die(done: int, _total: int) -> None:
        if done == 5:
            raise Killed

    made = ControlDataLoader(base, open_folder(tutorial), range(10), config(), nearest=False)
    with pytest.raises(Killed):
        made.prepare(tmp_path / "cache", die)
    made.prepare(tmp_path / "cache", nobody)
    assert made.cache is not None and len(made.cache.rows) == 10
    whole = feed(base, open_folder(tutorial), range(10), tmp_path / "other")
    assert torch.equal(made(2)["latents"], whole(2)["latents"])


class Rotting(Circles):
    """Circles of two shapes of which some cannot be read any more."""

    broken: frozenset[int] = frozenset()

    def read(self, index: int) -> Example:
        if index in self.broken:
            raise InputError("The picture is damaged.")
        source, target, prompt = super().read(index)
        return Example(source[:, :64], target[:, :64], prompt) if index % 2 else Example(source, target, prompt)


def test_what_stands_in_for_a_broken_pair_is_a_whole_pair_of_its_shape(base: Base, tmp_path: Path) -> None:
    """Its control with its latents and its text: never one pair's control with another's picture."""
    pairs = Rotting(128)
    made = feed(base, pairs, range(8), tmp_path / "cache", size=192, buckets=True)
    assert made.cache is not None and len(set(made.cache.shapes)) == 2
    pairs.broken = frozenset({2, 3})
    for number in range(6):
        places = made.order(number)  # type: ignore[misc]
        batch = made.make(number)
        for row, place in enumerate(places):
            stands_in = {2: 4, 3: 5}.get(place, place)
            wanted = torch.from_numpy(made._latent(stands_in).astype(np.float32))
            assert torch.equal(batch["latents"][row], wanted)
            hint = made.sized(pairs.read(stands_in), made.cache.shapes[stands_in]).source
            assert np.array_equal((batch["hint"][row].permute(1, 2, 0) * 255).round().numpy(), hint)


def test_texts_leave_the_threads_memory_with_their_batch(base: Base, tmp_path: Path) -> None:
    """Small things that stay between large ones that go would have a training without a cache grow for ever."""
    import gc
    import weakref

    made = feed(base, Circles(64), None, tmp_path / "cache", cache=False)
    kept: list[weakref.ref[torch.Tensor]] = []
    embedded = made._embedded

    def watched(prompt: str) -> torch.Tensor:
        text = embedded(prompt)
        kept.append(weakref.ref(text))
        return text

    made._embedded = watched  # type: ignore[method-assign]
    for number in range(3):
        made.make(number)
    gc.collect()
    assert kept and all(one() is None for one in kept)
