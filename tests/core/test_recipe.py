"""Recipes: every valid one runs, every other one is refused with the name of the wrong field, and old ones stay."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlnet_core.domain.errors import RecipeError
from controlnet_core.domain.recipe import RECIPE_MAX_BYTES, ControlUnit, Found, Lora, Recipe, Source, parse
from controlnet_core.domain.samplers import SPACINGS
from controlnet_core.engine import LocalEngine
from controlnet_core.models.catalog import Catalog
from controlnet_core.storage import gallery
from tests.core.small import control_type, digest

CONTROLS = {"scribble": control_type("scribble")}
PICTURES = {
    digest(picture): picture
    for picture in (np.random.default_rng(n).integers(0, 256, (64, 64 + 16 * n, 3), np.uint8) for n in range(3))
}
PLAIN = {"model": "small", "prompt": "a red house", "width": 64, "height": 64}


@pytest.fixture(scope="module")
def engine(small_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in ("checkpoints", "controlnet"):
        (folder / name).mkdir()
    (folder / "checkpoints" / "small").symlink_to(small_model)
    (folder / "controlnet" / "control").symlink_to(small_model / "controlnet")
    return LocalEngine(Catalog(folder), CONTROLS, "cpu")


digests = st.sampled_from(sorted(PICTURES))
shares = st.floats(0, 1)
values = st.dictionaries(
    st.from_regex(r"[a-z_]{1,8}", fullmatch=True).map("p".__add__),
    st.booleans() | st.integers(-999, 999) | st.floats(-9, 9) | st.text(max_size=9),
    max_size=4,
)
units = st.builds(
    lambda window, **rest: ControlUnit(control="scribble", start=min(window), end=max(window), **rest),
    window=st.tuples(shares, shares),
    picture=digests,
    mask=st.none() | digests,
    weight=st.floats(0, 2),
    mode=st.sampled_from(["balanced", "prompt", "control"]),
    resize=st.sampled_from(["stretch", "crop", "fit"]),
    values=values,
    found=st.none() | st.builds(Found, detector=st.just("canny"), picture=digests, values=values),
)
sources = st.builds(
    Source,
    picture=digests,
    mask=st.none() | digests,
    strength=st.floats(0.01, 1),
    blur_px=st.integers(0, 64),
    fill=st.sampled_from(["original", "noise"]),
    resize=st.sampled_from(["stretch", "crop", "fit"]),
)
paces = st.sampled_from([(sampler, spacing) for sampler, spacings in SPACINGS.items() for spacing in spacings])
recipes = st.builds(
    lambda pace, **more: Recipe(sampler=pace[0], spacing=pace[1], **more),
    pace=paces,
    version=st.sampled_from([1, 2]),
    model=st.just("small"),
    prompt=st.text(alphabet="red house (sea:1.2), [tree] \\", max_size=200),
    added_prompt=st.sampled_from(["", "blue"]),
    negative=st.text(alphabet="sea ()", max_size=20),
    controls=st.lists(units, max_size=4).map(tuple),
    width=st.sampled_from([64, 128]),
    height=st.sampled_from([64, 128]),
    images=st.integers(1, 2),
    steps=st.integers(1, 4),
    guidance=st.sampled_from([0.0, 1.0, 1.5, 30.0]),
    seed=st.integers(0, 2**32 - 1),
    eta=shares,
    source=st.none() | sources,
    clip_skip=st.just(1),
    variation_seed=st.integers(0, 2**32 - 1),
    variation_strength=st.sampled_from([0.0, 0.3, 1.0]),
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(recipe=recipes)
def test_every_valid_recipe_runs_and_survives_the_way_through_json(engine, recipe):
    assert parse(recipe.to_json()) == recipe
    steps = []
    pictures = engine.run(recipe, PICTURES, steps.append)
    assert [picture.shape for picture in pictures] == [(recipe.height, recipe.width, 3)] * recipe.images
    assert steps[-1].step == steps[-1].steps
    # The last picture alone is the same again: what a gallery keeps makes it.
    (alone,) = engine.run(gallery.alone(recipe, recipe.images - 1), PICTURES, lambda step: None)
    assert np.abs(alone.astype(int) - pictures[-1]).max() <= 1


WRONG = {
    "version": [0, 3, "2", None],
    "model": ["", "../etc", "A" * 70, 5],
    "prompt": ["x" * 4001, 7],
    "width": [0, 63, 65, 2112, 64.0, "64"],
    "height": [-64, 1090],
    "images": [0, 13, 1.5],
    "steps": [0, 101],
    "guidance": [-1, 31, float("nan"), float("inf")],
    "sampler": ["plms", ""],
    "spacing": ["karras", "uniform", 1],
    "seed": [-1, 2**32],
    "eta": [-0.1, 1.1],
    "loras": [[{"key": "a", "weight": 3}], [{"key": "a", "strength": 1}], [{"key": "a"}] * 9],
    "embeddings": [["../a"], ["a"] * 17, "a"],
    "clip_skip": [0, 13],
    "vae": ["", "a/b"],
    "variation_seed": [-1],
    "variation_strength": [1.5],
    "source": [
        {"picture": "0" * 63}, {"picture": "0" * 64, "strength": 0}, {"picture": "0" * 64, "blur_px": 65},
        {"picture": "0" * 64, "fill": "grey"}, {"picture": "0" * 64, "mask": "white"}, {},
    ],
    "controls": [
        [{"control": "a", "picture": "0" * 64, "weight": 2.5}], [{"control": "a", "picture": "0" * 64, "mask": 1}],
        [{"control": "a", "picture": "0" * 64, "start": 0.9, "end": 0.1}], [{"control": "a", "picture": "0" * 64}] * 5,
    ],
    "controls.0": [
        [{"control": "a", "picture": "0" * 64, **more}]
        for more in (
            {"values": {"../x": 1}}, {"values": {"a": [1]}}, {"values": {"a": float("nan")}}, {"values": {"a": "x" * 201}},
            {"values": {f"a{n}": 1 for n in range(33)}}, {"found": {"detector": "canny"}},
            {"found": {"detector": "canny", "picture": "0" * 64, "photo": "0" * 64}},
        )
    ],
    "references": [
        [{"picture": "0" * 64, "adapter": "a", "kind": "style"}],
        [{"picture": "0" * 64, "kind": "reference_only", "style_fidelity": 1.5}],
    ],
    "references.0": [
        [{"picture": "0" * 64}], [{"picture": "0" * 64, "kind": "reference_only", "adapter": "a"}],
        [{"picture": "0" * 64, "adapter": "a", "start": 0.9, "end": 0.1}],
    ],
    "micro_conditioning": [{"original": [64]}, {"crop": [0, -1]}, {"target": [64, 9000]}, {"score": 6}],
    "unknown": [1],
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_a_wrong_field_is_named(field, value):
    with pytest.raises(RecipeError, match=field):
        parse(json.dumps({**PLAIN, field.partition(".")[0]: value}))


@given(text=st.binary(max_size=200) | st.text(max_size=200))
def test_anything_else_is_refused_too(text):
    with pytest.raises(RecipeError):
        parse(text)


def test_a_recipe_is_small():
    told = json.dumps(PLAIN)
    assert parse(told + " " * (RECIPE_MAX_BYTES - len(told))) == parse(told)
    with pytest.raises(RecipeError, match="64 KiB"):
        parse(told + " " * (RECIPE_MAX_BYTES + 1 - len(told)))


def test_each_lora_and_embedding_once():
    with pytest.raises(ValueError, match="loras must name each one once"):
        Recipe(**PLAIN, loras=(Lora(key="a"), Lora(key="a", weight=0.5)))
    with pytest.raises(ValueError, match="embeddings must name each one once"):
        Recipe(**PLAIN, embeddings=("a", "a"))


OLD = (
    '{"version":1,"model":"small","prompt":"a (red:2) house","added_prompt":"","negative":"sea","controls":[{"control":'
    '"scribble","picture":"%s","weight":0.8,"start":0.0,"end":0.5,"mode":"control","resize":"stretch"}],"width":64,'
    '"height":64,"images":1,"steps":3,"guidance":4.0,"sampler":"ddim","seed":11,"eta":0.0}'
)


def test_old_recipes_take_their_words_letter_by_letter(engine):
    recipe = parse(OLD % sorted(PICTURES)[0])
    newer = recipe.model_copy(update={"version": 2})
    plain = recipe.model_copy(update={"prompt": "a red house"})
    made, weighted, unweighted = (
        engine.run(one, PICTURES, lambda step: None)[0]
        for one in (recipe, newer, plain.model_copy(update={"version": 2}))
    )
    assert not np.array_equal(made, weighted)
    assert np.array_equal(unweighted, engine.run(plain, PICTURES, lambda step: None)[0])


def test_how_a_control_was_made_decides_no_pixel(engine):
    """So a recipe from before it was noted, or one by hand, makes what the page makes."""
    old = parse(OLD % sorted(PICTURES)[0])
    assert (old.controls[0].values, old.controls[0].found) == ({}, None)
    told = {
        "values": {"style": "1.1", "hands": False},
        "found": Found(detector="canny", picture="f" * 64, values={"low": 50}),
    }
    new = old.model_copy(update={"controls": (old.controls[0].model_copy(update=told),)})
    assert new.pictures == old.pictures
    made, again = (engine.run(one, PICTURES, lambda step: None)[0] for one in (old, parse(new.to_json())))
    assert np.array_equal(made, again)


def test_what_a_recipe_needs_and_calls_it():
    first, second, third = sorted(PICTURES)
    unit = ControlUnit(control="seg", picture=first, mask=second)
    recipe = Recipe(**PLAIN, controls=(unit, unit), source=Source(picture=third, mask=first))
    assert recipe.pictures == (first, second, third)
    assert [recipe.role(one) for one in recipe.pictures] == [
        "picture of the seg control",
        "mask of the seg control",
        "picture to start from",
    ]


def test_variations_lie_between_two_seeds(engine):
    def made(**more):
        return engine.run(Recipe(**PLAIN, steps=2, **more), PICTURES, lambda step: None)

    plain, other = made(seed=5)[0], made(seed=9)[0]
    whole = made(seed=5, variation_seed=9, variation_strength=1.0)[0]
    assert np.abs(whole.astype(int) - other).max() <= 1
    few = made(seed=5, variation_seed=9, variation_strength=0.1, images=2)
    many = made(seed=5, variation_seed=9, variation_strength=0.6, images=2)
    near, far = (np.abs(one[0].astype(int) - plain).mean() for one in (few, many))
    assert 0 < near < far
    assert not np.array_equal(few[0], few[1])
    assert np.array_equal(few[1], made(seed=5, variation_seed=10, variation_strength=0.1)[0])
