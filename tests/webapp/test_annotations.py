"""Data sets in the making: real processes, stopped and gone on with; uploads kept under safe names."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import annotator
from annotator.datasets.dataset import AnnotationPlan
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import to_png
from webapp.application.annotations import Annotations, Made
from webapp.application.settings import Settings
from webapp.ui.datasets.making import way

PLAN = AnnotationPlan("canny", "canny", {"low": 50, "high": 100}, {}, 256, "a box")


def until(true: Callable[[], object], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def photo(seed: int) -> bytes:
    rgb = np.zeros((64, 96, 3), np.uint8)
    rgb[10:50, 10 + seed : 60 + seed] = 200
    return to_png(rgb)


@pytest.fixture
def here(tmp_path: Path) -> Annotations:
    return Annotations(Settings(data=tmp_path / "data", models=tmp_path / "models", free_min_bytes=0))


def only(here: Annotations) -> Made:
    (made,) = here.made()
    return made


def test_photos_become_a_set_and_new_ones_are_added(here: Annotations) -> None:
    files = [("a.png", photo(1)), ("../b.png", photo(2)), ("b.txt", b"two boxes"), ("bad.png", b"no picture")]
    source = here.keep("boxes", files)
    assert sorted(path.name for path in source.iterdir()) == ["a.png", "b.png", "b.txt", "bad.png"]
    here.start("boxes-edges", source, PLAN)
    with pytest.raises(InputError, match="being made already"):
        here.start("boxes-edges", source, PLAN)
    until(lambda: not here.running())
    made = only(here)
    assert (made.name, made.pairs, [name for name, _ in made.skipped]) == ("boxes-edges", 2, ["bad.png"])
    assert (made.source, made.caption) == (source, "a box")
    until(lambda: (run := here.run("boxes-edges")) is not None and run.problem)
    prompts = made.folder / "prompt.json"
    prompts.write_text(prompts.read_text().replace("a box", "one box"))
    (source / "bad.png").write_bytes(photo(3))
    here.resume(made)
    until(lambda: not here.running())
    assert (only(here).pairs, only(here).skipped) == (3, [])
    rows = map(json.loads, prompts.read_text().splitlines())
    assert [row["prompt"] for row in rows] == ["one box", "two boxes", "a box"]


def test_a_run_can_be_stopped_and_gone_on_with(here: Annotations) -> None:
    source = here.keep("many", [(f"{k}.png", photo(k % 30)) for k in range(300)])
    here.start("many", source, PLAN)
    run = here.run("many")
    assert run is not None
    until(lambda: run.done >= 3 or not run.alive)
    here.stop("many")
    assert not run.alive
    assert run.problem == ""
    pairs = only(here).pairs
    assert 3 <= pairs < 300
    assert len(list((here.folder / "many" / "target").glob("*.png"))) in (pairs, pairs + 1)


def test_a_problem_is_a_sentence(here: Annotations) -> None:
    source = here.keep("boxes", [("a.png", photo(1))])
    here.start("set", source, AnnotationPlan("canny", "nothing", {}, {}, 256))
    until(lambda: (run := here.run("set")) is not None and run.problem)
    assert here.run("set").problem.startswith("canny has no detector called 'nothing'.")  # pyright: ignore
    assert only(here).pairs == 0


def test_a_set_and_its_photos_are_their_workspaces_until_shared(
    here: Annotations, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = "ab" * 16, "cd" * 16
    sleeping = [subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    waiting = iter(sleeping)
    monkeypatch.setattr(here, "_spawn", lambda *_: next(waiting))
    try:
        source = here.keep("boxes", [("a.png", photo(1))], mine)
        here.start("set", source, PLAN, mine)
        assert (here.sources(mine), here.sources(theirs), here.sources()) == ([source], [], [])
        assert ([one.name for one in here.made(mine)], here.made(theirs)) == (["set"], [])
        for refused in (
            lambda: here.start("set", source, PLAN, theirs),
            lambda: here.start("copy", source, PLAN, theirs),
            lambda: here.keep("boxes", [("b.png", photo(2))], theirs),
            lambda: here.stop("set", theirs),
        ):
            with pytest.raises(InputError):
                refused()
        here.owners.share("set", mine, True)
        (seen,) = here.made(theirs)
        assert (seen.name, seen.source) == ("set", None), "the photos are not shared with it"
        with pytest.raises(InputError, match="somebody else"):
            here.start("set", here.keep("own", [("a.png", photo(1))], theirs), PLAN, theirs)

        # Runs are processes: one of each workspace, two in all.
        with pytest.raises(InputError, match="A set of yours is being made"):
            here.start("second", source, PLAN, mine)
        here.start("theirs", here.photos / "own", PLAN, theirs)
        third = here.keep("third", [("a.png", photo(1))], "ef" * 16)
        with pytest.raises(InputError, match="As many sets as may be"):
            here.start("third", third, PLAN, "ef" * 16)
    finally:
        for child in sleeping:
            child.kill()


@pytest.mark.parametrize("name", ["", "../x", "a b", "A", "x" * 60])
def test_names_are_safe(here: Annotations, name: str) -> None:
    with pytest.raises(InputError, match="name"):
        here.keep(name, [("a.png", photo(1))])


def test_photos_come_from_their_folder_alone(here: Annotations, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    with pytest.raises(InputError, match="not here any more"):
        here.start("set", tmp_path / "secret", PLAN)
    with pytest.raises(InputError, match="no photos"):
        here.keep("words", [("a.exe", b"x")])
    with pytest.raises(InputError, match="alone"):
        here.keep("two", [("a.zip", b"x"), ("b.png", photo(1))])


def test_a_set_says_what_found_its_maps_as_the_page_that_made_it(tmp_path: Path) -> None:
    made = Made("walk", tmp_path, {"control": "scribble", "detector": "gradient"}, 2, [], None)
    assert way(annotator.controls()["scribble"], made) == ("Scribble", "Contours")
    assert way(None, made) == ("scribble", "gradient")
