"""The studio behind the pages: recipes, rendering, detectors, one owner of a data folder, no torch."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from annotator.detection import canvas_size
from controlnet_core.domain import picture
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.detection import Detection
from controlnet_core.domain.document import Raster, decode, encode
from controlnet_core.domain.errors import InputError, QueueFull, RecipeError, StudioError
from tests.webapp.conftest import WORKSPACE, mask
from webapp.application.recipe_builder import Draft
from webapp.application.settings import ROOT, Settings
from webapp.application.studio import Studio

FIELDS = {"model": "paperworld", "width": 64, "height": 64, "steps": 3}


@pytest.mark.parametrize(
    "module",
    ["webapp.application.studio", "webapp.routes.table", "webapp.cli", "controlnet_core.execution.dispatcher"],
)
def test_the_web_process_imports_no_torch(module: str) -> None:
    code = (
        f"import sys, {module}; print([name for name in ('torch', 'diffusers', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    plain = Settings.from_environment({})
    assert (plain.data, plain.models) == (ROOT / "data", ROOT / "models")
    given = Settings.from_environment({"STUDIO_DATA": str(tmp_path), "STUDIO_FREE_MB": "5", "STUDIO_ENGINE": "a:b"})
    assert (given.data, given.free_min_bytes, given.engine) == (tmp_path, 5 << 20, "a:b")
    assert given.log == tmp_path / "studio.log"


def test_a_recipe_names_what_was_rendered_and_drawn(quiet: Studio) -> None:
    draft = Draft("scribble", mask(), weight=0.5, end=0.8, mode="control")
    recipe = quiet.new_recipe([draft], prompt="a house", seed=7, **FIELDS)
    (unit,) = recipe.controls
    assert (unit.control, unit.weight, unit.end, unit.mode, recipe.seed) == ("scribble", 0.5, 0.8, "control", 7)
    assert np.array_equal(picture.open_picture(quiet.blobs.get(unit.picture)), quiet.render("scribble", mask()))
    drawn = decode(quiet.blobs.get(unit.document or ""))
    assert isinstance(drawn, Raster)
    assert np.array_equal(drawn.pixels, mask().pixels)
    assert quiet.new_recipe([draft], prompt="a house", seed=7, **FIELDS) == recipe


def test_seed_minus_one_draws_one(quiet: Studio) -> None:
    assert len({quiet.new_recipe([], **FIELDS).seed for _ in range(5)}) == 5


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"width": 63}, "width"),
        ({"steps": float("nan")}, "steps"),
        ({"prompt": "x" * 10_000}, "prompt"),
        ({"evil": 1}, "evil"),
    ],
)
def test_a_wrong_field_is_named(quiet: Studio, wrong: dict[str, object], named: str) -> None:
    with pytest.raises(RecipeError, match=named):
        quiet.new_recipe([], **FIELDS | wrong)


def test_a_wrong_weight_control_or_document_is_a_sentence(quiet: Studio) -> None:
    for draft in (Draft("scribble", mask(), weight=3), Draft("nothing", mask()), Draft("pose", mask())):
        with pytest.raises(StudioError) as refused:
            quiet.new_recipe([draft], **FIELDS)
        assert refused.value.message.endswith(".")


def kept(studio: Studio, rgb: Rgb) -> str:
    return studio.photos.keep(picture.to_png(rgb))


def test_an_instant_detector_finds_and_is_remembered(quiet: Studio, golden: Path) -> None:
    photo = quiet.photos.keep((golden / "pictures" / "dog.jpg").read_bytes())
    detection = quiet.photos.detection("canny", "canny", photo, {"low": 50})
    first = quiet.photos.find(detection)
    assert isinstance(first, Raster)
    assert 0.01 < (first.pixels > 0).mean() < 0.5
    assert quiet.photos.find(quiet.photos.detection("canny", "canny", photo, {"low": 50})) is first
    other = quiet.photos.find(quiet.photos.detection("canny", "canny", photo, {"low": 120}))
    assert isinstance(other, Raster)
    assert (other.pixels > 0).sum() < (first.pixels > 0).sum()


def test_a_detector_with_weights_never_runs_here(quiet: Studio) -> None:
    photo = kept(quiet, np.zeros((64, 64, 3), np.uint8))
    heavy = next(one for one in quiet.control("depth").detectors if one.weights)
    assert quiet.photos.find(quiet.photos.detection("depth", heavy.key, photo)) is None
    with pytest.raises(InputError, match="no detector called"):
        quiet.photos.detection("canny", "nothing", photo)
    with pytest.raises(InputError, match="Low threshold"):
        quiet.photos.detection("canny", "canny", photo, {"low": 9999})
    with pytest.raises(InputError):
        quiet.photos.detection("canny", "canny", "0" * 64)


@pytest.mark.parametrize(
    ("height", "width"), [(100, 3000), (3000, 100), (2500, 2500), (1, 5000), (1, 1), (64, 64), (100, 8000)]
)
def test_photos_of_any_size_become_documents_that_a_canvas_can_have(quiet: Studio, height: int, width: int) -> None:
    photo = np.zeros((height, width, 3), np.uint8)
    photo[:, width // 2 :] = 255
    detection = quiet.photos.detection("depth", "as_is", kept(quiet, photo)) if width > 1 else None
    wide, tall = (detection.width, detection.height) if detection else canvas_size(height, width, 512)
    assert wide % 64 == tall % 64 == 0
    assert 256 <= min(wide, tall) <= max(wide, tall) <= 1024
    if detection:
        found = quiet.photos.find(detection)
        assert found is not None
        assert (found.width, found.height) == (wide, tall)


def test_what_a_worker_found_lies_in_the_drawing_it_is_for(studio: Studio) -> None:
    dark = np.full((64, 64, 3), 255, np.uint8)
    dark[:32] = 0
    work = Detection(control="lines", detector="mlsd", picture=kept(studio, dark), width=64, height=64, values={})
    token = studio.documents.open("56" * 16, "looker", "lines", encode(mask()))
    other = studio.documents.open("12" * 16, "somebody", "lines", encode(mask()))
    before = studio.documents.read(token)[0]
    studio.submit("looker", work, owner="56" * 16, slot="lines")
    studio.submit("looker", work, owner="34" * 16, slot="lines")
    end = time.monotonic() + 20
    while studio.documents.stored("34" * 16, "lines") is None and time.monotonic() < end:
        time.sleep(0.02)
    rev, found = studio.documents.latest(token)
    assert isinstance(found, Raster)
    assert rev > before
    assert (found.pixels[:32] == 255).all()
    assert not found.pixels[32:].any()
    assert studio.photos.find(work) is not None
    assert studio.documents.read(other)[0] == 1
    assert studio.documents.stored("34" * 16, "lines") == encode(found)


def test_submitting_twice_is_one_job_and_bounds_hold(studio: Studio) -> None:
    recipe = studio.new_recipe([Draft("scribble", mask())], prompt="slow=0.05", **FIELDS | {"steps": 30})
    ids = [studio.submit("busy", recipe, owner=WORKSPACE, id=f"job-number-{k // 2}") for k in range(8)]
    assert len(set(ids)) == 4
    with pytest.raises(QueueFull):
        studio.submit("busy", recipe)
    with pytest.raises(InputError):
        studio.submit("busy", recipe, id="../x")
    for id in set(ids):
        studio.cancel(id, "busy")
    end = time.monotonic() + 10
    while studio.queue.open("busy") and time.monotonic() < end:
        time.sleep(0.02)
    assert {entry.state for entry in studio.queue.of(WORKSPACE)} == {"cancelled"}


def test_pictures_belong_to_the_workspace(studio: Studio) -> None:
    recipe = studio.new_recipe([], prompt="", **FIELDS)
    job = studio.submit("painter", recipe, owner="cd" * 16)
    end = time.monotonic() + 20
    while not studio.queue.get(job).over and time.monotonic() < end:
        time.sleep(0.02)
    (result,) = studio.gallery.recent(5, owner="cd" * 16)
    assert result.recipe == recipe
    (shown,) = studio.pictures([result.id, "0" * 32])
    assert (shown.seed, shown.url) == (recipe.seed, f"./studio/pictures/{result.id}.png")


def test_one_studio_to_a_data_folder(studio: Studio) -> None:
    other = Studio(studio.settings)
    with pytest.raises(StudioError, match="already running"):
        other.start()


def test_what_a_crash_left_is_swept_at_the_start(tmp_path: Path) -> None:
    studio = Studio(Settings(data=tmp_path, models=tmp_path, engine="tests.core.strokes_engine:build"))
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / ".part-1").write_bytes(b"half")
    studio.start()
    begun = time.monotonic()
    studio.stop()
    assert time.monotonic() - begun < 10
    assert list((tmp_path / "gallery").iterdir()) == []
    Studio(studio.settings).claim()


def test_what_pages_remember_is_written_at_the_end(studio: Studio) -> None:
    studio.pages.put(WORKSPACE, "scribble", 1, b"{}")
    studio.stop()
    assert Studio(studio.settings).pages.get(WORKSPACE, "scribble") == (1, b"{}")
