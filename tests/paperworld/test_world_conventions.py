"""What is neither drawn nor said is the same everywhere: free forms, people alone, layouts, and what words compose."""

import re

import numpy as np
import pytest

import paperworld
from paperworld.world.caption import one_of, standing_before
from paperworld.world.drawings import NAMED_MAKERS
from paperworld.world.forms import ANONYMOUS
from paperworld.world.freeform import compose_free
from paperworld.world.labels import FORM, GRASS
from paperworld.world.layouts import class_colours, compose_layout
from paperworld.world.palette import CREAM, NAMED, PALETTES, TERRACOTTA
from paperworld.world.portraits import compose_people
from paperworld.world.spoken import compose_spoken
from paperworld.world.stages import PLACES, stage
from paperworld.world.words import THINGS, TIMES_SAID

COMPOSERS = (compose_free, compose_people, compose_layout, compose_spoken)


@pytest.mark.parametrize("compose", COMPOSERS)
def test_scenes_are_functions_of_their_seed_and_say_only_words_of_the_world(compose) -> None:
    known = set(paperworld.WORDS)
    for seed in range(30):
        one, two = compose(seed), compose(seed)
        assert one.said == two.said is not None
        assert np.array_equal(paperworld.render(one, 64, 64).picture, paperworld.render(two, 64, 64).picture)
        strange = [word for word in one.said.replace(",", "").split() if word not in known]
        assert len(strange) <= (1 if compose is compose_free else 0), one.said


def test_without_words_a_form_is_terracotta_on_cream() -> None:
    silent = [scene for scene in map(compose_free, range(120)) if scene.said == ""]
    assert len(silent) >= 5
    for scene in silent:
        colours = {shape.colour for shape in scene.shapes if shape.label == FORM}
        assert scene.shapes[0].colour == CREAM
        assert PALETTES["day"].tint(TERRACOTTA) in colours


def test_the_said_colour_is_that_of_the_form() -> None:
    named = found = 0
    for seed in range(80):
        scene = compose_free(seed)
        for thing in {thing.colour for thing in scene.things if thing.colour}:
            named += 1
            assert re.search(rf"\b{thing}\b", scene.said or ""), scene.said
            tinted = scene.palette.tint(NAMED[thing])
            found += any(shape.colour == tinted for shape in scene.shapes)
    assert named > 40 and found == named


def test_most_forms_have_a_colour_said_and_half_show_one_large_form() -> None:
    scenes = [compose_free(seed) for seed in range(200)]
    assert np.mean([bool(scene.things[0].colour) for scene in scenes]) > 0.65
    large = 0
    for scene in scenes:
        everything = np.concatenate([shape.points for shape in scene.shapes if shape.label == FORM])
        extent = everything.max(0) - everything.min(0)
        large += len(scene.things) == 1 and extent.max() > 0.6
        assert everything.min() > -0.08 and everything.max() < 1.08, "forms keep off the frame"
    assert large / len(scenes) > 0.45


@pytest.mark.parametrize("name", list(NAMED_MAKERS))
def test_every_thing_with_a_name_has_a_colour_of_its_own_and_stays_in_its_frame(name: str) -> None:
    assert name in THINGS and THINGS[name] in NAMED
    for seed in range(6):
        form = NAMED_MAKERS[name](np.random.default_rng(seed))
        assert form.pieces and all(piece.points.shape[1] == 2 for piece in form.pieces)
        points = np.concatenate([*(piece.points for piece in form.pieces), *form.strokes])
        assert np.abs(points).max() < 2.2


def test_nameless_forms_are_drawn_as_often_as_they_should() -> None:
    assert sum(ANONYMOUS.values()) == pytest.approx(1)
    for maker in ANONYMOUS:
        assert maker(np.random.default_rng(0)).pieces


@pytest.mark.parametrize("place", PLACES)
def test_a_stage_is_the_same_whatever_the_chance(place: str) -> None:
    one, two = (stage(np.random.default_rng(seed), "sunset", place)[0] for seed in (0, 1))
    for a, b in zip(one.shapes, two.shapes, strict=True):
        assert np.array_equal(a.points, b.points) and a.colour == b.colour


def test_a_class_has_one_colour_and_neighbours_differ() -> None:
    colours = class_colours(PALETTES["day"], "summer")
    assert len(colours) == 149  # the sky is a gradient
    for seed in range(10):
        scene = compose_layout(seed)
        own = class_colours(scene.palette, scene.season)
        assert all(shape.colour == own[shape.label] for shape in scene.shapes[1:] if shape.label != 2)


def test_people_have_faces_of_ink_and_say_what_they_wear() -> None:
    for seed in range(20):
        scene = compose_people(seed)
        people = [thing for thing in scene.things if thing.wears]
        assert len(people) == len(scene.bodies) >= 1
        for thing in people:
            if thing.colour != "red" or thing.wears == "dress":
                assert thing.colour in (scene.said or "")


def test_a_light_alone_stands_in_the_country() -> None:
    lights = {phrase: time for time, phrases in TIMES_SAID.items() for phrase in phrases}
    found = 0
    for seed in range(60):
        time = one_of(np.random.default_rng(seed), tuple(PALETTES))
        sheet, words = stage(np.random.default_rng(seed), time)
        if words in lights:
            found += 1
            assert lights[words] == time
            assert [shape.label for shape in sheet.shapes[1:]] == [GRASS]
    assert found >= 4
    assert standing_before("a red house", "sunny day") == "a red house, sunny day"
    assert standing_before("a red house", "on a meadow") == "a red house on a meadow"
    assert standing_before("", "sunny day") == "sunny day" and standing_before("a cup", "") == "a cup"
