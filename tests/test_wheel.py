"""What pip installs: one package, with the embedded model, that draws outside of any clone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what is checked out."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def studio(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed command, in an environment of its own that borrows the libraries of this one but not its rooms."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-deps", "--quiet"]
    done = subprocess.run([*pip, str(wheel)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "bin" / "studio"


def surroundings(folder: Path) -> dict[str, str]:
    """An environment as a new user has it: a home of their own, nothing of this project's in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STUDIO_", "PYTHON", "XDG_"))}
    return kept | {"HOME": str(folder), "XDG_DATA_HOME": str(folder / "share"), "HF_HUB_OFFLINE": "1"}


def test_the_wheel_holds_one_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert [name for name in top if not name.endswith(".dist-info")] == ["controlnet_studio"]
    for needed in (".streamlit/config.toml", "pages/home.py", "controlnet_core/models/cards/models.toml"):
        assert f"controlnet_studio/{needed}" in names
    assert any(name.startswith("controlnet_studio/models/paperworld/unet/") for name in names)
    assert not [name for name in names if "__pycache__" in name or "node_modules" in name or "/tests/" in name]


def test_installed_it_is_an_import(studio: Path, tmp_path: Path) -> None:
    code = "from controlnet_studio import ROOT, Studio; import webapp; print(Studio.__name__, ROOT, webapp.__file__)"
    command = [str(studio.parent / "python"), "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path, env=surroundings(tmp_path), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    name, root, file = done.stdout.split()
    assert name == "Studio"
    assert Path(root).name == "controlnet_studio"
    assert Path(file).is_relative_to(root), "not a clone that lies about"


def test_an_index_would_take_it(wheel: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", str(wheel)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_installed_it_draws(studio: Path, tmp_path: Path) -> None:
    drawing = np.full((256, 256), 255, np.uint8)
    cv2.circle(drawing, (128, 128), 80, 0, 4)
    assert cv2.imwrite(str(tmp_path / "drawing.png"), drawing)
    words = ["generate", "--control", "scribble=drawing.png", "--prompt", "a red house", "--out", "made"]
    done = subprocess.run(
        [str(studio), *words],
        cwd=tmp_path,
        env=surroundings(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = cv2.imread(str(next((tmp_path / "made").glob("*.png"))))
    assert made is not None
    assert made.shape == (256, 256, 3)
    assert made.std() > 5


def test_installed_it_serves_its_page(studio: Path, tmp_path: Path) -> None:
    """The page answers, the worker draws, and what is kept lies in the user's own data folder."""
    server = subprocess.Popen(
        [str(studio), "run", "--no-browser", "--port", "8790"],
        cwd=tmp_path,
        env=surroundings(tmp_path) | {"STUDIO_FREE_MB": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        told, until = "", time.monotonic() + 120
        while "worker is ready" not in told and time.monotonic() < until:
            told += server.stdout.readline()
        assert "worker is ready on cpu" in told or "worker is ready on cuda" in told, told
        found = re.search(r"ready at (\S+) ", told)
        assert found
        with urllib.request.urlopen(found[1], timeout=10) as answer:
            assert answer.status == 200
        assert (tmp_path / "share" / "controlnet-studio" / "data" / "jobs.sqlite").is_file()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)
