"""Coloured drawings of the world: the picture has the colours that are laid, and its own where paper stays white."""

import numpy as np
import pytest

import paperworld
from annotator.colour import CRAYONS, PAPER_FROM
from paperworld.world import colouring
from paperworld.world.examples import COLOUR, HELD_OUT, example
from paperworld.world.freeform import compose_free
from paperworld.world.palette import NAMED
from paperworld.world.rendering import parts_of

SEEDS = range(HELD_OUT, HELD_OUT + 24)


def test_the_picture_has_the_colours_that_are_laid() -> None:
    far, said_all = [], []
    for seed in SEEDS:
        made = example(COLOUR, seed)
        said = colouring.said(made.control)
        said_all.append(said.mean())
        if said.any():
            far.append(np.abs(made.truth.picture[said].astype(int) - made.control[said]).mean())
    assert np.median(far) < 4 and np.mean(far) < 8, "but for soft shadows, and ink within"
    assert 0.05 < np.mean(said_all) < 0.6, "some of it is left to the words"


@pytest.mark.parametrize("seed", range(8))
def test_what_is_not_coloured_in_is_as_it_was(seed: int) -> None:
    scene = compose_free(seed) if seed % 2 else paperworld.compose(seed)
    made = colouring.coloured_in(scene, np.random.default_rng(seed))
    before = {shape.part: shape.colour for shape in scene.shapes if shape.part not in made.colours}
    after = {shape.part: shape.colour for shape in made.scene.shapes if shape.part not in made.colours}
    assert before == after
    assert all(max(colour) <= 250 and min(colour) < PAPER_FROM for colour in made.colours.values())
    drawn = colouring.drawing(made, paperworld.render(made.scene), np.random.default_rng(seed)).pixels
    parts = parts_of(made.scene, 256, 256)
    for part in set(np.unique(parts)) - set(made.colours):
        inside = drawn[parts == part]
        grey = np.ptp(inside.astype(int), axis=1) <= 4
        assert grey.mean() > 0.6, "white paper and black ink, but for strokes that run a little over their line"


def test_a_drawing_without_lines_colours_every_part_in() -> None:
    bare = 0
    for seed in range(40):
        made = colouring.coloured_in(compose_free(seed), np.random.default_rng(seed))
        if made.bare:
            bare += 1
            assert made.solid and not made.scene.strokes
            forms = {shape.part for shape in made.scene.shapes if shape.thing}
            assert forms <= set(made.colours)
    assert 0 < bare < 14


def test_words_are_not_taught_colours_that_crayons_chose() -> None:
    assert np.isnan(example(COLOUR, HELD_OUT).colours).all()
    assert not np.isnan(example("scribble", HELD_OUT).colours[-1]).any()


def test_the_box_of_crayons_holds_the_colours_that_have_words() -> None:
    assert CRAYONS == NAMED
