"""Control sweeps: as ordinary jobs, a few at a time, at one seed; stopped by people and by closed tabs."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from controlnet_core.domain.errors import InputError, QueueFull
from controlnet_core.domain.recipe import Recipe
from tests.webapp.conftest import WORKSPACE, mask
from webapp.application.recipe_builder import Draft
from webapp.application.studio import Studio
from webapp.application.sweep import CELLS_MAX, IN_FLIGHT_MAX, Sweep, spread, varied
from webapp.ui.generate.estimate import duration, passes


def recipe_of(studio: Studio, prompt: str = "a house", **fields: object) -> Recipe:
    given = {"model": "paperworld", "width": 64, "height": 64, "steps": 2, "images": 3, "seed": 5} | fields
    return studio.new_recipe([Draft("scribble", mask(), start=0.5)], prompt=prompt, **given)  # type: ignore[arg-type]


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_sheet_fills_a_few_jobs_at_a_time(studio: Studio) -> None:
    listeners = studio.events.subscribers
    sweep = Sweep(studio, "sweeper", WORKSPACE, recipe_of(studio), 0, (0.5, 1.0), (0.4, 0.7, 1.0))
    sweep.start()
    most = 0

    def over() -> bool:
        nonlocal most
        most = max(most, len(studio.queue.open("sweeper")))
        return sweep.over

    until(over)
    assert most <= IN_FLIGHT_MAX
    assert [cell.state for cell in sweep.cells] == ["done"] * 6
    made = [studio.gallery.get(cell.picture).recipe for cell in sweep.cells]
    assert {(one.seed, one.images) for one in made} == {(5, 1)}
    assert [(one.controls[0].weight, one.controls[0].end) for one in made] == [
        (weight, end) for weight in (0.5, 1.0) for end in (0.4, 0.7, 1.0)
    ]
    assert all(one.controls[0].start <= one.controls[0].end for one in made)
    assert studio.events.subscribers == listeners


def test_stopping_leaves_out_what_has_not_come(studio: Studio) -> None:
    sweep = Sweep(studio, "stopper", WORKSPACE, recipe_of(studio, "slow=0.05", steps=30), 0, (0.5, 1.0), (0.5, 1.0))
    sweep.start()
    until(lambda: bool(studio.queue.open("stopper")))
    sweep.stop()
    until(lambda: sweep.over)
    assert {cell.state for cell in sweep.cells} == {"left out"}
    assert studio.queue.open("stopper") == []


def test_one_cancelled_picture_ends_the_sheet(studio: Studio) -> None:
    sweep = Sweep(studio, "closer", WORKSPACE, recipe_of(studio, "slow=0.05", steps=30), 0, (0.5, 1.0), (0.5, 1.0))
    sweep.start()
    for entry in studio.queue.open("closer"):
        studio.cancel(entry.id, "closer")
    until(lambda: sweep.over)
    assert "done" not in {cell.state for cell in sweep.cells}


def test_a_full_queue_is_said(studio: Studio) -> None:
    recipe = recipe_of(studio, "slow=0.05", steps=30)
    held = [studio.submit("full", recipe) for _ in range(4)]
    listeners = studio.events.subscribers
    with pytest.raises(QueueFull):
        Sweep(studio, "full", WORKSPACE, recipe, 0, (0.5,), (1.0,)).start()
    assert studio.events.subscribers == listeners
    for id in held:
        studio.cancel(id, "full")


def test_too_much_or_nothing_is_refused(quiet: Studio) -> None:
    recipe = recipe_of(quiet)
    steps = tuple(k / 100 for k in range(CELLS_MAX + 1))
    for unit, weights, ends in ((0, steps, (1.0,)), (0, (), (1.0,)), (1, (1.0,), (1.0,)), (-1, (1.0,), (1.0,))):
        with pytest.raises(InputError):
            Sweep(quiet, "s", WORKSPACE, recipe, unit, weights, ends)


def test_values_are_spread_evenly() -> None:
    assert spread(0.5, 1.5, 3) == (0.5, 1.0, 1.5)
    assert spread(0.4, 1.0, 4) == (0.4, 0.6, 0.8, 1.0)
    assert spread(0.4, 1.0, 1) == (1.0,)
    assert spread(0.7, 0.7, 5) == (0.7,)


def test_only_the_unit_is_varied(quiet: Studio) -> None:
    recipe = recipe_of(quiet)
    other = varied(recipe, 0, 0.25, 0.3)
    assert (other.controls[0].weight, other.controls[0].end, other.controls[0].start) == (0.25, 0.3, 0.3)
    assert other.controls[0].picture == recipe.controls[0].picture
    assert Recipe.model_validate_json(other.to_json()) == other


def test_times_in_words() -> None:
    assert [duration(seconds) for seconds in (0.4, 4.2, 33, 200)] == [
        "about a second",
        "about 4 s",
        "about 35 s",
        "about 3 minutes",
    ]


def test_passes_count_what_the_network_does(quiet: Studio) -> None:
    assert passes(recipe_of(quiet, steps=20, images=2)) == 80
    assert passes(recipe_of(quiet, steps=20, images=1, guidance=1.0)) == 20
