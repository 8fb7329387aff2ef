"""The command line in real processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from annotator import tile
from controlnet_core.domain.document import Raster
from controlnet_core.domain.picture import open_picture, to_png
from controlnet_core.storage.gallery import recipe_of
from webapp import cli, root
from webapp.application.recipe_builder import Draft
from webapp.application.settings import ROOT, Settings
from webapp.application.studio import Studio
from webapp.cli.generate import _draft


def studio(*args: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "webapp", *map(str, args)],
        cwd=ROOT,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("way", ["webapp", "controlnet_studio"])
def test_windows_is_told_what_it_needs_in_one_sentence(way: str) -> None:
    """Started as on Windows, where Python has no fcntl."""
    as_there = (
        "import runpy, sys; sys.modules['fcntl'] = None; sys.platform = 'win32'; "
        f"sys.argv = ['studio', 'run']; runpy.run_module({way!r}, run_name='__main__')"
    )
    told = subprocess.run([sys.executable, "-c", as_there], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    assert "WSL 2" in told.stderr and len(told.stderr.splitlines()) == 1


def test_annotate_one_picture_as_opencv_does(golden: Path, tmp_path: Path) -> None:
    photo = golden / "pictures" / "dog.jpg"
    done = studio("annotate", "canny", photo, tmp_path / "dog.png", "--low", "50", "--high=120")
    assert done.returncode == 0, done.stderr
    made = open_picture((tmp_path / "dog.png").read_bytes())
    edges = cv2.Canny(open_picture(photo.read_bytes()), 50, 120)
    assert np.array_equal(made, np.repeat(edges[..., None], 3, 2))


def test_annotate_a_folder_makes_a_data_set_and_goes_on_after_a_bad_file(golden: Path, tmp_path: Path) -> None:
    photos = tmp_path / "in"
    photos.mkdir()
    (photos / "dog.jpg").write_bytes((golden / "pictures" / "dog.jpg").read_bytes())
    (photos / "bad.png").write_bytes(b"not a picture")
    (photos / "notes.txt").write_text("no picture")
    done = studio("annotate", "scribble", photos, tmp_path / "out", "--detector", "gradient", "--strength", "2")
    assert done.returncode == 1
    assert (tmp_path / "out" / "prompt.json").read_text().count("\n") == 1
    assert (tmp_path / "out" / "source" / "dog.png").is_file()
    assert "bad.png: " in done.stderr
    assert "1 of 2 pictures" in done.stderr
    assert "Traceback" not in done.stderr
    again = studio("annotate", "scribble", photos, tmp_path / "out", "--detector", "gradient")
    assert "made in another way" in again.stderr


def test_a_picture_is_reworked_and_its_holes_stay_holes(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tile shrinks and enlarges; inpaint takes a file's transparency, and a mask beside it."""
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    photo = open_picture((golden / "pictures" / "dog.jpg").read_bytes())
    cutout = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    cutout[:64, :, 3] = 0
    (tmp_path / "cutout.png").write_bytes(to_png(cutout))
    for key, args in (("tile", ("--rate", "4")), ("inpaint", ())):
        root.studio.cache_clear()
        done = CliRunner().invoke(
            cli.app, ["annotate", key, str(tmp_path / "cutout.png"), str(tmp_path / f"{key}.png"), *args]
        )
        assert done.exit_code == 0, done.stderr
    coarse = open_picture((tmp_path / "tile.png").read_bytes())
    assert np.array_equal(coarse, tile.coarser(open_picture((tmp_path / "cutout.png").read_bytes()), 4))
    assert np.array_equal(open_picture((tmp_path / "inpaint.png").read_bytes(), alpha=True), cutout)
    mask = np.zeros_like(photo)
    mask[:, :64] = 255
    (tmp_path / "mask.png").write_bytes(to_png(mask))
    here = root.studio()
    draft = _draft(
        here, here.catalog.card("paperworld"), f"inpaint={tmp_path / 'cutout.png'},hole={tmp_path / 'mask.png'}"
    )
    root.studio.cache_clear()
    assert isinstance(draft.given, Raster)
    holes = draft.given.pixels[..., 3] == 0
    assert holes[:64].all() and holes[:, :64].all() and not holes[64:, 64:].any()


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("annotate", "nothing", "x.png", "y.png"), "There is no control called 'nothing'."),
        (("annotate", "canny", "x.png", "y.png"), "There is no x.png."),
        (
            ("annotate", "canny", "pyproject.toml", "y.png", "--low", "999"),
            "Low threshold must be a number from 1 to 255.",
        ),
        (
            ("annotate", "canny", "pyproject.toml", "y.png", "--low", "x"),
            "Low threshold must be a number from 1 to 255.",
        ),
        (("annotate", "canny", "pyproject.toml", "y.png", "--loud", "3"), "There is no option '--loud' here."),
        (("annotate", "canny", "pyproject.toml", "y.png"), "This is not a picture that can be read."),
        (("annotate", "canny", "pyproject.toml", "y.png", "--detector", "x"), "canny has no detector called 'x'."),
        (("annotate", "canny", "x.png", "y.png", "--size", "1025"), "--size 1025 is too large. Choose at most 1024."),
        (("annotate", "inpaint", "docs", "out"), "Inpaint is no map of a picture"),
        (("generate", "--control", "scribble=webapp/ui/icon.png,hole=x.png"), "Scribble knows no hole."),
        (
            ("generate", "--control", "tile=webapp/ui/icon.png"),
            "has no ControlNet for Tile: use Stable Diffusion 1.5",
        ),
        (("generate", "--control", "scribble"), "'scribble' is not a control."),
        (("generate", "--control", "scribble=nothing.png"), "nothing.png cannot be read"),
        (("generate", "--size", "12"), "'12' is not a size."),
        (("generate", "--model", "nothing"), "There is no model called 'nothing'."),
    ],
)
def test_mistakes_are_one_sentence(
    args: tuple[str, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if args[0] == "generate" and "--model" not in args:
        args = (*args, "--model", "paperworld")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path))
    root.studio.cache_clear()
    done = CliRunner().invoke(cli.app, args)
    root.studio.cache_clear()
    assert done.exit_code == 1
    assert done.stderr.startswith("studio: ")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_models_are_listed() -> None:
    done = studio("models", "list")
    assert done.returncode == 0
    assert re.search(r"^base +installed +paperworld +\d+ MB +Paperworld  \(Apache-2.0\)$", done.stdout, re.MULTILINE)


def test_a_data_set_says_whether_empty_captions_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for side in ("source", "target"):
        (tmp_path / "set" / side).mkdir(parents=True)
        (tmp_path / "set" / side / "0.png").write_bytes(to_png(np.full((64, 64, 3), 90, np.uint8)))
    (tmp_path / "set" / "target" / "0.txt").write_text("")
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path))

    def check(*more: str) -> int:
        return CliRunner().invoke(cli.app, ["dataset", "check", str(tmp_path / "set"), *more]).exit_code

    assert check() == 1
    assert check("--empty-captions") == 0
    assert check() == 0, "the choice stays with the folder"
    assert check("--no-empty-captions") == 1


def wait_for(child: subprocess.Popen[str], pattern: str, seen: list[str]) -> re.Match[str]:
    assert child.stdout is not None
    end = time.monotonic() + 60
    while time.monotonic() < end:
        line = child.stdout.readline()
        assert line, seen
        seen.append(line)
        if found := re.search(pattern, line):
            return found
    raise AssertionError(seen)


def test_run_serves_finds_a_free_port_and_ends_cleanly(tmp_path: Path) -> None:
    """Takes the next port, says so, announces itself, refuses a second studio, and ends within ten seconds of Ctrl-C."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        env = {"STUDIO_DATA": str(tmp_path), "STUDIO_ENGINE": "tests.core.strokes_engine:build"}
        command = [sys.executable, "-m", "webapp", "run", "--port", str(port), "--no-browser"]
        with subprocess.Popen(
            command, cwd=ROOT, env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as child:
            seen: list[str] = []
            try:
                used = int(wait_for(child, rf"Port {port} is taken, using (\d+)", seen)[1])
                assert used > port
                url = wait_for(child, r"ready at (http://127\.0\.0\.1:\d+/) in [\d.]+ s", seen)[1]
                assert url == f"http://127.0.0.1:{used}/"
                with urllib.request.urlopen(url, timeout=10) as page:
                    assert page.status == 200
                    assert "studio_workspace=" in page.headers["set-cookie"]
                wait_for(child, "worker is ready on paper", seen)
                second = studio("run", "--port", str(used + 1), "--no-browser", **env)
                assert second.returncode == 1
                assert f"already running on {tmp_path}, at {url}." in second.stderr
                begun = time.monotonic()
                child.send_signal(signal.SIGINT)
                child.wait(10)
                assert time.monotonic() - begun < 10
                assert child.returncode == 0
                rest = child.stdout.read() if child.stdout else ""
                assert "The studio has stopped." in rest
                assert "Traceback" not in rest + "".join(seen)
            finally:
                if child.poll() is None:
                    child.kill()


@pytest.mark.slow
def test_generate_makes_the_pixels_that_the_page_makes(tmp_path: Path) -> None:
    """One drawing, once through the command line and once through queue and worker, with the model that is shipped."""
    here = Studio(Settings(data=tmp_path / "data"))
    if not here.catalog.bases():
        pytest.skip("no base model in models/")
    ink = np.full((256, 256, 3), 255, np.uint8)
    cv2.polylines(
        ink, [np.array([[60, 200], [60, 120], [128, 60], [196, 120], [196, 200]], np.int32)], True, (0, 0, 0), 5
    )
    (tmp_path / "house.png").write_bytes(to_png(ink))
    options = ["--prompt", "a red house", "--steps", "3", "--seed", "11", "--size", "256x256", "-n", "2", "--model"]
    model = here.catalog.bases()[0]
    control = f"scribble={tmp_path / 'house.png'}:0.8:0-0.9"
    done = studio(
        "generate", "--control", control, *options, model.id, "--out", tmp_path / "out", STUDIO_DATA=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    photo = here.photos.keep((tmp_path / "house.png").read_bytes())
    drawing = here.photos.find(here.photos.detection("scribble", "drawing", photo, shorter=256))
    assert drawing is not None
    here.start()
    try:
        start = model.defaults
        recipe = here.new_recipe(
            [Draft("scribble", drawing, weight=0.8, end=0.9)],
            model=model.id,
            prompt="a red house",
            added_prompt=start.added_prompt,
            negative=start.negative,
            width=256,
            height=256,
            images=2,
            steps=3,
            guidance=start.guidance,
            sampler=start.sampler,
            seed=11,
        )
        job = here.submit("s", recipe)
        end = time.monotonic() + 120
        while not here.queue.get(job).over and time.monotonic() < end:
            time.sleep(0.1)
        entry = here.queue.get(job)
        assert entry.state == "done", entry.text
        for id, seed in zip(entry.kept, (11, 12), strict=True):
            by_page = here.gallery.get(id).png.read_bytes()
            by_hand = (tmp_path / "out" / f"{model.id}-{seed}.png").read_bytes()
            assert recipe_of(by_hand) == recipe_of(by_page)
            assert np.array_equal(open_picture(by_hand), open_picture(by_page))
    finally:
        here.stop()
