"""What a page says before Generate: times from this machine's own runs, memory only where it decides."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from controlnet_core.domain.recipe import Recipe, Reference
from controlnet_core.execution.dispatcher import Status
from controlnet_core.memory import plan
from tests.webapp.conftest import WORKSPACE, mask
from webapp.application.choices import Choices, InitImageChoice, ReferenceChoice
from webapp.application.recipe_builder import Draft
from webapp.application.studio import Studio
from webapp.ui.generate import estimate
from webapp.ui.session import GenerationState

SIZE = (64, 64)


def wish(**chosen: object) -> GenerationState:
    return GenerationState("scribble", "a house", replace(Choices(steps=10, guidance=2.0), **chosen), "paperworld")  # type: ignore[arg-type]


def seconds_of(studio: Studio, recipe: Recipe) -> float:
    """Runs a recipe and returns how long it took."""
    job = studio.submit("forecaster", recipe, owner=WORKSPACE)
    end = time.monotonic() + 60
    while not studio.queue.get(job).over and time.monotonic() < end:
        time.sleep(0.02)
    entry = studio.queue.get(job)
    assert entry.state == "done" and entry.started and entry.ended
    return entry.ended - entry.started


def test_times_come_from_runs_of_the_same_shape(studio: Studio) -> None:
    base = studio.catalog.card("paperworld")
    fields = {"model": "paperworld", "width": 64, "height": 64, "steps": 40, "guidance": 2.0, "seed": 1}
    recipe = studio.new_recipe([Draft("scribble", mask())], prompt="slow=0.05", **fields)
    took = seconds_of(studio, recipe)
    controls = [("scribble", None)]
    assert estimate.latest_picture_s(studio, "paperworld") == pytest.approx(took)
    same = estimate.sentence(studio, wish(steps=40), base, SIZE, controls)
    assert same == f"64 × 64 px, {estimate.duration(took)}."
    more = estimate.sentence(studio, wish(steps=40, images=12), base, SIZE, controls)
    assert more == f"64 × 64 px, 12 pictures, {estimate.duration(12 * took)}."
    at = wish(steps=40, images=12)
    at.begin = InitImageChoice("a" * 64, strength=0.5)
    assert estimate.sentence(studio, at, base, SIZE, controls).endswith(f"{estimate.duration(6 * took)}.")
    # A model that looks at pictures itself: a third run beside the two of the guidance.
    looking, base = wish(steps=40, images=1), base.model_copy(update={"family": "sd15"})
    looking.references = [ReferenceChoice("a" * 64), ReferenceChoice("b" * 64, shown=False)]
    assert estimate.sentence(studio, looking, base, SIZE, controls).endswith(f"{estimate.duration(1.5 * took)}.")
    assert (
        estimate.passes(recipe.model_copy(update={"references": (Reference(kind="reference_only", picture="a" * 64),)}))
        == 120
    )
    assert estimate.sentence(studio, wish(), base, SIZE, [*controls, ("pose", None)]) == "64 × 64 px."
    quick = seconds_of(studio, recipe.model_copy(update={"prompt": "slow=0.001", "steps": 40}))
    assert quick < took  # of two runs the first may have loaded the model
    assert estimate.sentence(studio, wish(steps=40), base, SIZE, controls) == f"64 × 64 px, {estimate.duration(quick)}."


def test_memory_is_said_where_it_decides(quiet: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = plan.ModelFacts(controls=(361_279_120,))
    monkeypatch.setattr(estimate, "_facts", lambda *_about: facts)
    monkeypatch.setattr(quiet.dispatcher, "statuses", lambda: (Status("ready", "cuda:1", pid=1),))
    base, controls = quiet.catalog.card("paperworld"), [("scribble", None)]
    said: dict[float, str] = {}
    for gigabytes in (0, 80, 2.6, 0.1):
        monkeypatch.setattr(estimate, "_ROOM", Room(int(gigabytes * 1e9)))
        said[gigabytes] = estimate.sentence(quiet, wish(), base, (512, 512), controls)
    assert said[0] == said[80] == "512 × 512 px."
    assert "2.6 GB are free" in said[2.6] and "moving" in said[2.6]
    assert "make the picture smaller" in said[0.1]


def test_a_model_that_is_missing_says_nothing_here(quiet: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet.dispatcher, "statuses", lambda: (Status("ready", "cpu", pid=1),))
    assert (
        estimate.sentence(quiet, wish(), quiet.catalog.card("sd15"), (512, 512), [("scribble", None)])
        == "512 × 512 px."
    )


class Room:
    """A machine with so many free bytes."""

    def __init__(self, free: int) -> None:
        self.free = free

    def bytes(self, device: str, pid: int) -> int:
        assert (device, pid) == ("cuda:1", 1)
        return self.free


def test_what_a_worker_holds_of_a_gpu_is_what_the_driver_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "7, 300"\necho "8, [N/A]"\necho "7, 20"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert [estimate._held_on_gpu(pid) >> 20 for pid in (7, 8, 9)] == [320, 0, 0]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert estimate._held_on_gpu(7) == 0
