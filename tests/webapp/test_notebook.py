"""The studio in a script: no server, a worker of its own, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from controlnet_core.domain.document import Raster
from controlnet_core.domain.errors import StudioError
from controlnet_core.domain.picture import open_picture, to_png
from controlnet_studio import ROOT, Control, Studio
from webapp.application.recipe_builder import Draft

QUICK: dict[str, Any] = {"steps": 2, "seed": 7}


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    """One on the tests' engine, with the models of the clone."""
    os.environ["STUDIO_ENGINE"] = "tests.core.strokes_engine:build"
    try:
        with Studio(models=ROOT / "models", device="cpu") as studio:
            yield studio
    finally:
        del os.environ["STUDIO_ENGINE"]


def square() -> np.ndarray:
    photo = np.zeros((128, 192, 3), np.uint8)
    photo[32:96, 64:128] = 255
    return photo


def test_a_picture_follows_its_control_and_remembers_its_recipe(studio: Studio, tmp_path: Path) -> None:
    classes = np.full((128, 192), 2)
    classes[64:] = 9
    steps: list[tuple[int, int]] = []
    first, second = studio.generate(
        "a hill", control={"seg": classes}, images=2, on_step=lambda *at: steps.append(at), **QUICK
    )
    assert steps[-1] == (2, 2)
    assert first.rgb.shape == (256, 384, 3), "the shape of its control at the model's own size"
    assert first.recipe is not None
    assert second.recipe is not None
    assert (first.recipe.prompt, first.recipe.seed, second.recipe.seed) == ("a hill", 7, 8)
    shown = studio._studio.blobs.get(first.recipe.controls[0].picture)
    drawn = studio._studio.render("seg", Raster("classes", classes.astype(np.uint8)))
    assert np.array_equal(open_picture(shown), drawn)
    second.save(tmp_path / "made.png")
    assert (tmp_path / "made.png").read_bytes() == second.png == second._repr_png_()
    assert np.array_equal(np.asarray(second), second.rgb)


def test_the_same_recipe_as_on_the_pages(studio: Studio) -> None:
    drawing = np.full((256, 256, 3), 255, np.uint8)
    cv2.circle(drawing, (128, 128), 80, (0, 0, 0), 5)
    asked = Control(drawing, weight=0.8, end=0.5)
    (made,) = studio.generate("a moon", control={"scribble": asked}, negative="blurry", **QUICK)
    here = studio._studio
    draft = Draft("scribble", Raster("mask", 255 - drawing[..., 0]), weight=0.8, end=0.5)
    ours = here.builder.for_base(
        here.catalog.card("paperworld"), [draft], prompt="a moon", negative="blurry", width=256, height=256, **QUICK
    )
    assert made.recipe == ours


def test_a_map_is_found_and_used_with_how_it_was_found(studio: Studio) -> None:
    found = studio.detect("canny", square(), low=40, high=90)
    assert (found.rgb > 0).any()
    (made,) = studio.generate("a box", control={"canny": found}, **QUICK)
    assert made.recipe is not None
    (unit,) = made.recipe.controls
    assert unit.found is not None
    assert dict(unit.found.values) == {"low": 40, "high": 90}
    networks = studio.detect("lines", Image.fromarray(square()), detector="mlsd")
    assert networks.control == "lines", "the worker looked"
    with pytest.raises(StudioError, match="map of canny"):
        studio.generate(control={"scribble": found})
    (looked,) = studio.generate("a box", control={"canny": Control(to_png(square()), detector="canny")}, **QUICK)
    assert looked.recipe is not None
    assert looked.recipe.controls[0].found is not None


def test_a_picture_to_start_from_and_a_mask(studio: Studio) -> None:
    half = np.zeros((128, 192), bool)
    half[:, 96:] = True
    (made,) = studio.generate("a tree", start_from=square(), mask=half, strength=0.6, width=64, height=64, **QUICK)
    assert made.recipe is not None
    source = made.recipe.source
    assert source is not None
    assert source.mask is not None
    assert source.strength == 0.6
    assert np.array_equal(open_picture(studio._studio.blobs.get(source.mask))[0, :, 0] == 255, half[0])
    with pytest.raises(StudioError, match="start_from"):
        studio.generate(mask=half)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"control": {"nothing": square()}}, "nothing"),
        ({"control": {"scribble": "nowhere.png"}}, "cannot be read"),
        ({"control": {"scribble": b"hello"}}, "picture"),
        ({"control": {"scribble": np.zeros(5)}}, "H,W"),
        ({"control": {"scribble": np.full((64, 64), 7.5)}}, "no picture"),
        ({"control": {"seg": np.full((64, 64), 999)}}, "no picture"),
        ({"control": {"scribble": np.full((64, 64), "x")}}, "no picture"),
        ({"model": "nothing"}, "no model called"),
        ({"steps": 0}, "steps"),
        ({"evil": 1}, "evil"),
        ({"loras": {"nothing": 1.0}}, "no LoRAs"),
        ({"prompt": "memory", "steps": 4}, "more memory"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(studio: Studio, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(StudioError, match=words):
        studio.generate(**asked)


def test_an_interrupt_stops_the_job(studio: Studio) -> None:
    def interrupt(step: int, _steps: int) -> None:
        if step == 1:
            threading.Timer(0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()

    # As in a script: a server that runs in this process would end its streams for good.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            studio.generate("slow=0.1", steps=100, on_step=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    end = time.monotonic() + 30
    while studio._studio.queue.open():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert studio.generate("afterwards", **QUICK)


LEAVING = """
import sys, psutil
from controlnet_studio import Studio
told = []
for closes in (True, False):
    studio = Studio(device="cpu")
    studio.generate("a hill", steps=1)
    folder = studio._studio.settings.data
    (worker,) = psutil.Process().children()
    if closes:
        studio.close()
        try:
            studio.generate("a hill")
        except Exception as error:
            print(error)
        assert not worker.is_running() and not folder.exists()
    else:
        print(folder, worker.pid, "torch" in sys.modules, "streamlit" in sys.modules)
"""


def test_nothing_is_left_of_it_when_it_is_closed_or_its_process_ends(tmp_path: Path) -> None:
    import psutil

    env = {"STUDIO_ENGINE": "tests.core.strokes_engine:build", "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", LEAVING]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    refusal, told = done.stdout.splitlines()
    assert "closed" in refusal
    folder, worker, *heavy = told.split()
    assert heavy == ["False", "False"]
    assert not Path(folder).exists()
    assert not psutil.pid_exists(int(worker))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_keeps_what_is_made_and_belongs_to_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_ENGINE", "tests.core.strokes_engine:build")
    with Studio(data=tmp_path / "data", device="cpu") as studio:
        with pytest.raises(StudioError, match="already running"):
            Studio(data=tmp_path / "data", device="cpu")
        studio.generate("a hill", **QUICK)
        assert studio.models()["paperworld"] == "Paperworld"
        assert "scribble" in studio.controls()
    assert len(list((tmp_path / "data" / "gallery").glob("*.png"))) == 1
    with pytest.raises(StudioError, match="cuda:99"):
        Studio(device="cuda:99")
