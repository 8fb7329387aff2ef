"""A worker on a node that nobody visits fetches the models that a job needs, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import annotator
from controlnet_core.domain.errors import ModelMissing
from controlnet_core.domain.recipe import Recipe
from controlnet_core.models.catalog import Catalog
from tests.core.hub_server import Hub, serve
from tests.core.small import save_small_model
from webapp.application.engine import StudioEngine

RECIPE = Recipe(model="sd15", prompt="a house", width=64, height=64, steps=1, guidance=1.0, seed=3)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The published base model, small and random."""
    whole = save_small_model(tmp_path / "published", text_width=768, text_layers=2)
    files = {path.relative_to(whole).as_posix(): path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    made = Hub({"stable-diffusion-v1-5/stable-diffusion-v1-5": files})
    server = serve(made)
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("STUDIO_FREE_MB", "0")
    yield made
    server.shutdown()
    server.server_close()


def test_a_node_fetches_what_a_job_needs_once(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = StudioEngine(Catalog(tmp_path / "models"), annotator.controls(), "cpu")
    told: list[tuple[str, int, int]] = []

    def heard(text: str, done: int = 0, total: int = 0) -> None:
        told.append((text, done, total))

    with pytest.raises(ModelMissing):
        engine.run(RECIPE, {}, lambda _step: None, heard)
    assert not hub.requests, "on a machine that somebody sits at, nothing is fetched unasked"
    monkeypatch.setenv("STUDIO_FETCH", "1")
    made = engine.run(RECIPE, {}, lambda _step: None, heard)
    assert made[0].shape == (64, 64, 3)
    fetching = [(done, total) for text, done, total in told if text == "Fetching Stable Diffusion 1.5"]
    assert fetching and fetching[-1][1] > 0
    before = sum(hub.requests.values())
    engine.run(RECIPE, {}, lambda _step: None, heard)
    assert sum(hub.requests.values()) == before
