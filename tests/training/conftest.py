"""Shared by the training's tests: a small model, a small data set in the tutorial's layout, a catalog that holds both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from accelerate.state import AcceleratorState

from controlnet_core.datasets.example_circles import Circles
from controlnet_core.domain import picture
from tests.core.conftest import one_thread  # noqa: F401 - a fixture that is used by itself
from tests.core.small import save_small_model

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """A process trains once and keeps its precision; here many trainings share one."""
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with one small base, `tiny`."""
    folder = tmp_path_factory.mktemp("models")
    save_small_model(folder / "checkpoints" / "tiny")
    return folder


@pytest.fixture
def tutorial(tmp_path: Path) -> Path:
    """Ten circles of 64 px in the tutorial's layout."""
    folder = tmp_path / "fill"
    Circles(64).write(folder, 10, free_min_bytes=0)
    return folder


def add_pair(folder: Path, name: str, prompt: str = "a red house", size: tuple[int, int] = (64, 64)) -> None:
    """One more pair, as a line of prompt.json."""
    blank = picture.to_png(np.zeros((size[1], size[0], 3), np.uint8))
    for side in ("source", "target"):
        (folder / side / f"{name}.png").write_bytes(blank)
    add_line(folder, {"source": f"source/{name}.png", "target": f"target/{name}.png", "prompt": prompt})


def add_line(folder: Path, fields: object) -> None:
    """One more line of prompt.json."""
    with (folder / "prompt.json").open("a") as file:
        file.write(json.dumps(fields) + "\n")
