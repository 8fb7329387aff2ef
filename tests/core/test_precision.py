"""In how many bits models compute: as asked, else as the device does best, and in fewer where memory is short."""

import numpy as np
import pytest
import torch

from controlnet_core.domain.errors import RecipeError
from controlnet_core.domain.recipe import ControlUnit, Recipe
from controlnet_core.engine import LocalEngine
from controlnet_core.memory import cache, precision
from controlnet_core.memory import plan as preflight
from controlnet_core.memory.plan import ModelFacts, estimate, ladder, needed
from controlnet_core.models.catalog import Catalog
from tests.core.small import control_type, digest

CONTROLS = {"scribble": control_type("scribble")}
PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
GB = 10**9


@pytest.fixture
def able(monkeypatch):
    """A processor that multiplies bfloat16, and nobody who asks for anything."""
    monkeypatch.setattr(precision, "_processor", lambda: frozenset({"avx512_bf16"}))
    monkeypatch.delenv("STUDIO_PRECISION", raising=False)


@pytest.fixture
def engine(small_model, tmp_path):
    for name in ("checkpoints", "controlnet"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoints" / "small").symlink_to(small_model)
    (tmp_path / "controlnet" / "control").symlink_to(small_model / "controlnet")
    return LocalEngine(Catalog(tmp_path), CONTROLS, "cpu")


def recipe(**settings) -> Recipe:
    return Recipe(**{"model": "small", "width": 512, "height": 512, "guidance": 9.0, **settings})


def drawn(engine: LocalEngine) -> np.ndarray:
    """A picture with a control in it, as levels."""
    unit = ControlUnit(control="scribble", picture=digest(PICTURE))
    asked = recipe(width=64, height=64, steps=2, controls=(unit,))
    previews = []
    pictures = engine.run(asked, {digest(PICTURE): PICTURE}, lambda step: previews.append(step.preview()))
    assert len(previews) == 2
    return pictures[0].astype(float)


def loaded(engine: LocalEngine) -> set[torch.dtype]:
    """The dtypes of all weights that the engine holds."""
    held = [value for value, _size in engine._models._held.values()]
    bases = [one.base for one in held if hasattr(one, "base")]
    networks = [one for one in held if isinstance(one, torch.nn.Module)]
    networks += [part for base in bases for part in (base.unet, base.vae, base.text_encoder)]
    return {parameter.dtype for network in networks for parameter in network.parameters()}


def test_the_processor_is_asked_once_and_unknown_systems_have_nothing(tmp_path):
    (tmp_path / "x86").write_text("processor\t: 0\nflags\t\t: fpu avx512_bf16 sse\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    (tmp_path / "arm").write_text("processor : 0\nFeatures : fp asimd bf16\n")
    assert "avx512_bf16" in precision._processor(tmp_path / "x86")
    assert "bf16" in precision._processor(tmp_path / "arm")
    assert precision._processor(tmp_path / "none") == frozenset()


def test_what_is_usual(monkeypatch):
    assert precision.usual("cpu", 4 * GB) == "float32"
    assert precision.usual("cuda", 4 * GB) == "float16"
    assert precision.usual("cuda", 1 << 20) == "float32"
    monkeypatch.setattr(precision, "_processor", frozenset)
    assert precision.native("cuda", "bfloat16")
    assert precision.native("cpu", "float32")
    assert not precision.native("cpu", "bfloat16")


def test_a_word_that_is_no_precision_is_refused_in_a_sentence(engine, monkeypatch):
    monkeypatch.setenv("STUDIO_PRECISION", "bf16")
    with pytest.raises(RecipeError, match=r"STUDIO_PRECISION is 'bf16'.*float32, bfloat16, float16"):
        drawn(engine)


def test_bfloat16_halves_what_models_take_and_changes_little(engine, monkeypatch, able):
    whole = drawn(engine)
    assert loaded(engine) == {torch.float32}
    monkeypatch.setenv("STUDIO_PRECISION", "bfloat16")
    again = LocalEngine(engine.catalog, CONTROLS, "cpu")
    halved = drawn(again)
    assert loaded(again) == {torch.bfloat16}
    assert 0 < np.abs(whole - halved).mean() < 6
    big = ModelFacts(controls=(361_279_120,))
    assert needed(recipe(), big, "cpu", ladder("cpu")[0]) < 0.6 * 4 * big.weights + GB
    assert [plan.name for plan in ladder("cpu")] == ["resident", "tiled"]


def test_too_little_memory_for_float32_computes_in_bfloat16_and_says_so(able, monkeypatch):
    facts = ModelFacts(controls=(361_279_120,))
    found = estimate(recipe(), facts, "cpu", 5 * GB)
    assert found.plan and (found.plan.name, found.plan.precision) == ("bfloat16", "bfloat16")
    assert "and 5.0 GB are free; computing in bfloat16, which changes the picture a little, it takes 3." in found.text
    assert found.notable
    assert not estimate(recipe(), facts, "cpu", 64 * GB).notable
    monkeypatch.setenv("STUDIO_PRECISION", "float32")
    assert estimate(recipe(), facts, "cpu", 5 * GB).plan is None
    monkeypatch.delenv("STUDIO_PRECISION")
    monkeypatch.setattr(precision, "_processor", frozenset)
    assert estimate(recipe(), facts, "cpu", 5 * GB).plan is None


def test_a_processor_that_cannot_is_told_about(monkeypatch):
    monkeypatch.setattr(precision, "_processor", frozenset)
    monkeypatch.setenv("STUDIO_PRECISION", "bfloat16")
    found = estimate(recipe(), ModelFacts(), "cpu", 64 * GB)
    assert found.notable
    assert found.text.endswith("no instructions for bfloat16: it saves memory, but takes far longer.")
    assert not estimate(recipe(), ModelFacts(), "cuda", 64 * GB).notable


def test_the_engine_changes_precision_down_the_ladder_and_back(engine, able, monkeypatch):
    whole = drawn(engine)
    plain = cache.room
    monkeypatch.setattr(cache, "room", lambda device: 1)
    assert preflight.chosen(recipe(), engine.catalog, "cpu", 1) == "bfloat16"
    drawn(engine)
    assert loaded(engine) == {torch.bfloat16}
    monkeypatch.setattr(cache, "room", plain)
    assert (drawn(engine) == whole).all()
    assert loaded(engine) == {torch.float32}
