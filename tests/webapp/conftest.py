"""A studio on a folder of its own, with the tests' engine behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware

from controlnet_core.domain.document import Raster, encode
from webapp.api import a1111, openai, v1
from webapp.api.door import Door
from webapp.application.settings import ROOT, Settings
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


@contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[tuple[Studio, int]]:
    """A studio at work with the embedded model's files, and the port of its API, open for this machine's programs."""
    (folder / "models").mkdir()
    (folder / "models" / "paperworld").symlink_to(ROOT / "models" / "paperworld")
    studio = Studio(Settings(data=folder / "data", models=folder / "models", api=True, **settings))
    studio.start()
    operations = [*v1.OPERATIONS, *a1111.OPERATIONS, *openai.OPERATIONS]
    door = Middleware(Door, studio=lambda: studio, operations=operations, words=[*a1111.WORDS, *openai.WORDS])
    server = uvicorn.Server(uvicorn.Config(Starlette(middleware=[door]), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield studio, server.servers[0].sockets[0].getsockname()[1]
    finally:
        studio.close()
        server.should_exit = True
        thread.join(10)
        studio.stop()


@pytest.fixture(scope="package")
def served_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Studio, int]]:
    """`serving` with the embedded model: one for all modules that speak with it; each leaves an empty queue."""
    with serving(tmp_path_factory.mktemp("served")) as found:
        yield found
