"""A studio on a folder of its own, with the tests' engine behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from controlnet_core.domain.document import Raster, encode
from webapp.application.settings import Settings
from webapp.application.studio import Studio

WORKSPACE = "ab" * 16


def mask(seed: int = 0, side: int = 64) -> Raster:
    return Raster("mask", np.random.default_rng(seed).integers(0, 2, (side, side), np.uint8) * 255)


def container(seed: int = 0, side: int = 64) -> bytes:
    return encode(mask(seed, side))


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Studio]:
    """A studio whose worker is not started."""
    studio = Studio(Settings(data=tmp_path / "data", models=tmp_path / "models"))
    yield studio
    studio.close()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio at work on a small engine."""
    folder = tmp_path_factory.mktemp("studio")
    studio = Studio(Settings(data=folder / "data", models=folder / "models", engine="tests.core.strokes_engine:build"))
    studio.start()
    yield studio
    studio.stop()
