"""Colour strokes: what a rendered scene, a photo, and a drawing on paper become on white paper."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import paperworld
from annotator import colour, control, detection, paper
from annotator.colour import CRAYONS, INK, INK_BELOW, PAPER_FROM
from controlnet_core.domain.document import Raster
from controlnet_core.domain.errors import InputError
from paperworld.world.palette import NAMED

COLOUR = control("colour")
SEEDS = (103, 130, 166, 137, 134, 109)
EDITOR = Path(__file__).resolve().parents[2] / "components/assets/editors/colour/sheet.js"


def world(seed, side=256):
    return paperworld.render(paperworld.compose(seed), side, side)


def detected(name, rgb, **values):
    height, width = rgb.shape[:2]
    found = detection.detect(COLOUR, detection.detector(COLOUR, name), rgb, values, width, height)
    assert isinstance(found, Raster) and found.kind == "rgb"
    return found.pixels


def is_ink(sheet):
    return sheet.max(axis=2) < INK_BELOW


def is_paper(sheet):
    return sheet.min(axis=2) >= PAPER_FROM


def photographed(sheet, ground=(236, 232, 222), shade=0.3, noise=3):
    """A drawing as a camera sees it: on paper of a colour, darker towards one corner, soft and noisy."""
    height, width = sheet.shape[:2]
    y, x = np.mgrid[:height, :width]
    light = 1 - shade * (0.6 * x / width + 0.4 * y / height)
    seen = sheet / 255 * np.array(ground) * light[..., None]
    seen = seen + np.random.default_rng(1).normal(0, noise, (height, width, 1))
    return np.clip(cv2.GaussianBlur(seen, (0, 0), 0.7), 0, 255).astype(np.uint8)


def test_the_editor_has_the_same_ink_paper_and_crayons():
    code = EDITOR.read_text(encoding="utf-8")
    assert f"INK = [{', '.join(map(str, INK))}]" in code
    assert re.search(r"INK_BELOW = (\d+)", code)[1] == str(INK_BELOW)
    assert re.search(r"PAPER_FROM = (\d+)", code)[1] == str(PAPER_FROM)
    assert set(CRAYONS) == set(NAMED) and all(CRAYONS[name] == NAMED[name] for name in NAMED)
    assert COLOUR.options()["crayons"] == [{"name": name, "rgb": list(rgb)} for name, rgb in CRAYONS.items()]
    box = np.array([list(CRAYONS.values())], np.uint8)
    assert not is_ink(box).any() and not is_paper(box).any()
    assert np.array_equal(colour.crayon(box), box)


def test_no_colour_becomes_ink_and_what_is_nearly_white_becomes_paper():
    every = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    every[0, :2] = (0, 0, 0), (250, 240, 235)
    made = colour.crayon(every)
    assert not is_ink(made).any()
    assert tuple(made[0, 1]) == (255, 255, 255)
    plain = (every.max(axis=2) >= INK_BELOW + 4) & ~is_paper(every)
    assert np.array_equal(made[plain], every[plain])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_scene_is_its_outlines_coloured_in(seed):
    truth = world(seed)
    sheet = COLOUR.truth_of(truth).pixels
    assert np.array_equal(sheet, COLOUR.truth_of(world(seed)).pixels), "the same scene is the same drawing"
    assert np.array_equal(is_ink(sheet), truth.outlines > 127)
    assert (sheet[is_ink(sheet)] == INK).all()
    coloured = ~is_ink(sheet) & ~is_paper(sheet)
    near = (cv2.dilate(truth.outlines, np.ones((3, 3), np.uint8)) > 0) & ~is_ink(sheet)
    assert coloured[near].mean() > 0.5, "as a bucket fills: up to the lines"
    assert coloured.mean() > 0.4
    away = np.abs(sheet[coloured].astype(int) - truth.picture[coloured]).mean()
    assert away < 25, "they are the colours of the picture there"
    labels = cv2.connectedComponents((truth.outlines <= 127).astype(np.uint8), connectivity=4)[1]
    for label in np.unique(labels[coloured]):
        assert len(np.unique(sheet[coloured & (labels == label)], axis=0)) == 1, "one crayon a region"


def test_what_is_nearly_white_in_a_scene_stays_paper():
    truth = world(SEEDS[0])
    truth.picture[:] = 250
    sheet = COLOUR.truth_of(truth).pixels
    assert (sheet[truth.outlines <= 127] == 255).all()


def test_a_photo_becomes_few_colours_and_lines(golden):
    photo = np.array(Image.open(golden / "pictures" / "house.jpg").convert("RGB"))
    for colours in (2, 6, 16):
        sheet = detected("flat", photo, colours=colours, resolution=512)
        laid = sheet[~is_ink(sheet)].reshape(-1, 3)
        kinds = np.unique(laid, axis=0)
        assert 1 < len(kinds) <= colours
        assert 0.005 < is_ink(sheet).mean() < 0.2
    assert np.array_equal(detected("flat", photo), detected("flat", photo))
    red, sheet = photo[..., 0].astype(int) - photo[..., 2] > 70, detected("flat", photo).astype(int)
    assert red.mean() < 0.05
    assert (sheet[..., 0] - sheet[..., 2])[red].mean() > 40, "a small red roof has a crayon of its own"


def test_flattening_leaves_no_specks():
    rng = np.random.default_rng(2)
    picture = np.full((128, 128, 3), (200, 60, 60), np.uint8)
    picture[:, 64:] = (60, 60, 200)
    picture[rng.integers(0, 128, 40), rng.integers(0, 128, 40)] = (40, 220, 40)
    flat = colour.flattened(picture, 4)
    _, pieces = cv2.connectedComponents((np.abs(flat.astype(int) - flat[10, 10]).max(axis=2) < 8).astype(np.uint8))
    assert pieces.max() == 1
    assert len(np.unique(colour.flattened(np.full((40, 40, 3), 77, np.uint8), 10).reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize(
    ("seed", "ground", "shade"), [(103, (236, 232, 222), 0.3), (130, (250, 250, 250), 0.0), (137, (215, 220, 235), 0.2)]
)
def test_a_photographed_drawing_gets_white_paper_ink_and_its_colours(seed, ground, shade):
    drawn = COLOUR.truth_of(world(seed, 320)).pixels
    near = cv2.dilate(is_ink(drawn).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    drawn[near & ~is_ink(drawn)] = 255  # paper is seen along the lines
    sheet = detected("drawing", photographed(drawn, ground, shade))
    assert (sheet[is_paper(drawn)] == 255).all(axis=1).mean() > 0.6
    lines = cv2.dilate(is_ink(sheet).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert lines[is_ink(drawn)].mean() > 0.9
    # Crayons that are almost paper may become paper in a photo.
    coloured = ~is_ink(drawn) & (drawn.min(axis=2) < 200)
    core = cv2.erode(coloured.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert np.abs(sheet[core].astype(int) - drawn[core]).mean() < 14


def test_lines_on_kraft_paper_and_a_blank_sheet():
    drawn = np.full((256, 256, 3), 255, np.uint8)
    cv2.circle(drawn, (128, 128), 60, INK, 4)
    cv2.circle(drawn, (128, 128), 40, CRAYONS["red"], -1)
    sheet = detected("drawing", photographed(drawn, (196, 164, 120), 0.2))
    assert (sheet[:40] == 255).all() and is_ink(sheet)[128, 186:192].any()
    assert np.abs(sheet[128, 128].astype(int) - CRAYONS["red"]).max() < 30
    with pytest.raises(InputError, match="No drawing"):
        detected("drawing", np.full((64, 64, 3), 250, np.uint8))


def test_what_has_no_light_paper_is_left_as_it_is():
    night = np.random.default_rng(3).integers(0, 60, (64, 64, 3)).astype(np.uint8)
    assert np.array_equal(paper.whitened(night), night)
    assert np.array_equal(paper.whitened(night[:10, :10]), night[:10, :10])
    white = np.full((64, 64, 3), 255, np.uint8)
    white[20:30, 20:30] = CRAYONS["green"]
    assert np.array_equal(paper.whitened(white), white), "white paper is white"


def test_a_drawing_is_read_back_as_it_is():
    sheet = COLOUR.truth_of(world(SEEDS[1])).pixels
    assert np.array_equal(COLOUR.render(Raster("rgb", sheet), {}), sheet)
    reader = next(one for one in COLOUR.detectors if one.reads == "map")
    assert np.array_equal(detected(reader.key, sheet), sheet)
