"""The colour editor in a real browser: crayons go under the ink, the bucket stops at lines, and all of it arrives."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annotator.colour import CRAYONS, INK
from controlnet_core.domain.document import Raster, decode
from tests.components.test_every_editor import STUDIO, Tab

pytestmark = pytest.mark.browser

PAPER = (255, 255, 255)


class Desk(Tab):
    """A tab with the colour editor; places are document pixels."""

    def drag(self, *points: tuple[float, float], steps: int = 6) -> None:
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=steps)
        self.page.mouse.up()

    def click(self, x: float, y: float, **how: Any) -> None:
        self.page.mouse.click(*self.at(x, y), **how)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def box(self) -> None:
        """A closed line in ink."""
        self.js("root.focus()")
        self.press("u", "f")
        self.drag((100, 100), (300, 300))

    def stored(self) -> np.ndarray:
        document = decode(self.saved())
        assert isinstance(document, Raster) and document.kind == "rgb"
        return document.pixels


@pytest.fixture
def desk(profiles, seg_server) -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []
    with profiles.page(viewport={"width": 1280, "height": 800}) as page:
        page.context.set_default_timeout(60_000)

        def make() -> Desk:
            made.append(Desk(page, seg_server, "colour", uuid.uuid4().hex))
            return made[-1].open()  # type: ignore[return-value]

        yield make
    assert [error for one in made for error in one.errors] == []


def test_lines_are_ink_and_a_crayon_goes_under_them(desk: Callable[..., Desk]) -> None:
    it = desk()
    it.drag((60, 240), (450, 276))
    line = it.stored()
    column = line[:, 250].max(axis=1).astype(int)
    on = int(column.argmin())
    assert tuple(line[on, 250]) == INK and tuple(line[on - 20, 250]) == PAPER
    edge = np.flatnonzero((column > 60) & (column < 220))
    assert edge.size, "soft edges"
    it.press("c", "w", "1")
    it.drag((250, 150), (250, 350))
    both = it.stored()
    assert tuple(both[on, 250]) == INK, "the line is on top"
    assert tuple(both[200, 250]) == tuple(both[320, 250]) == CRAYONS["red"]
    assert (both[edge, 250, 1] <= CRAYONS["red"][1]).all(), "no white along the line"


def test_a_crayon_stays_within_the_lines_where_it_begins(desk: Callable[..., Desk]) -> None:
    it = desk()
    it.box()
    it.press("c", "3")
    it.drag((200, 200), (420, 200))
    drawn = it.stored()
    assert tuple(drawn[200, 280]) == CRAYONS["yellow"] and tuple(drawn[200, 400]) == PAPER
    it.press("w")
    it.drag((200, 250), (420, 250))
    assert tuple(it.stored()[250, 400]) == CRAYONS["yellow"]


def test_the_bucket_fills_between_lines_and_over_colours_only_with_shift(desk: Callable[..., Desk]) -> None:
    it = desk()
    it.box()
    it.press("g", "5")
    it.click(200, 200)
    filled = it.stored()
    inside = filled[104:297, 104:297].reshape(-1, 3)
    assert (inside == CRAYONS["blue"]).all(), "all of it, up to the line"
    assert (filled[:90] == 255).all() and (filled[:, 320:] == 255).all(), "and nothing outside"
    it.press("c", "2")
    it.drag((150, 200), (180, 200))
    it.press("g", "4")
    it.click(250, 250)
    kept = it.stored()
    assert tuple(kept[200, 165]) == CRAYONS["orange"] and tuple(kept[250, 250]) == CRAYONS["green"]
    it.page.keyboard.down("Shift")
    it.click(250, 250)
    it.page.keyboard.up("Shift")
    it.press("1")
    it.page.keyboard.down("Shift")
    it.click(250, 250)
    it.page.keyboard.up("Shift")
    assert (it.stored()[104:297, 104:297] == CRAYONS["red"]).all()


def test_undo_eraser_and_no_colour(desk: Callable[..., Desk]) -> None:
    it = desk()
    it.box()
    lines = it.shown()
    it.press("g", "1")
    it.click(200, 200)
    filled = it.shown()
    it.press("Control+z")
    assert it.shown() == lines
    it.press("Control+y")
    assert it.shown() == filled
    it.press("e")
    it.drag((100, 200), (200, 200))
    rubbed = it.stored()
    assert tuple(rubbed[200, 100]) == tuple(rubbed[200, 150]) == PAPER, "lines and colours"
    it.press("Control+z", "g", "0")
    it.click(200, 200)
    bare = it.stored()
    assert tuple(bare[200, 200]) == PAPER and tuple(bare[200, 100]) == INK, "no colour leaves the line"
    it.press("Control+Delete")
    assert (it.stored() == 255).all()


def test_colours_are_taken_from_the_sheet_the_box_and_anywhere(desk: Callable[..., Desk]) -> None:
    it = desk()
    it.box()
    it.page.get_by_role("button", name="Purple").click()
    assert it.js("tool") == "rectangle", "a shape is coloured in with it"
    it.press("g")
    it.click(200, 200)
    it.page.locator("[data-id=own-colour]").evaluate(
        "node => { node.value = '#000000'; node.dispatchEvent(new Event('change', { bubbles: true })); }"
    )
    it.press("c")
    it.drag((400, 400), (420, 420))
    own = it.stored()[410, 410]
    assert own.max() >= 45, "never as dark as ink"
    recent = it.page.get_by_role("group", name="Used last").get_by_role("button")
    assert recent.count() == 1 and recent.get_attribute("data-colour") == "#" + bytes(own).hex()
    it.click(200, 200, button="right")
    assert tuple(it.js("editor.colour")) == CRAYONS["purple"]
    it.press("x")
    assert it.js("editor.colour") == own.tolist()
    it.press("i")
    it.click(200, 200)
    assert tuple(it.js("editor.colour")) == CRAYONS["purple"] and it.js("tool") == "crayon"


def test_lines_are_lines_again_after_a_reload(desk: Callable[..., Desk]) -> None:
    it = desk()
    it.drag((100, 100), (300, 110), (290, 300), (110, 290), (101, 96))
    it.saved()
    it.page.reload()
    it.ready()
    it.js("root.focus()")
    it.press("g", "1")
    it.click(200, 200)
    filled = it.stored()
    assert tuple(filled[200, 200]) == CRAYONS["red"] and tuple(filled[400, 400]) == PAPER
    white = (filled[130:270, 130:270].min(axis=2) > 200).sum()
    assert white == 0


def test_a_picture_of_another_size_becomes_the_drawing(desk: Callable[..., Desk]) -> None:
    it = desk()
    picture = np.full((300, 600, 4), 255, np.uint8)
    picture[100:200, 100:300, :3] = CRAYONS["green"]
    picture[:, 500:, 3] = 0
    buffer = io.BytesIO()
    Image.fromarray(picture, "RGBA").save(buffer, "PNG")
    it.drop(buffer.getvalue(), "drawn.png", "image/png", "drop")
    it.toast("drawn.png").get_by_role("button", name="Open as drawing").click()
    it.toast("Opened")
    opened = it.stored()
    assert opened.shape == (320, 576, 3)
    assert tuple(opened[160, 190]) == CRAYONS["green"] and (opened[:, 500:] == 255).all(), "clear is white"
    it.page.get_by_role("button", name="Canvas size").click()
    it.page.locator("[data-id=shape-1-1]").click()
    square = it.stored()
    assert square.shape == (576, 576, 3) and (square[0] == 255).all(), "what is added is paper"


def test_it_can_be_used_on_a_narrow_page(desk: Callable[..., Desk]) -> None:
    it = desk()
    it.page.set_viewport_size({"width": 620, "height": 800})
    it.page.wait_for_function(f"() => {STUDIO}.root.classList.contains('narrow')")
    it.page.get_by_role("button", name="Green").click()
    assert tuple(it.js("editor.colour")) == CRAYONS["green"] and it.js("tool") == "crayon"
    panel, stage = (it.page.locator(one).bounding_box() for one in (".panel", ".stage"))
    assert panel["y"] >= stage["y"] + stage["height"] - 1, "the box lies under the sheet"
    it.drag((100, 200), (300, 200))
    assert tuple(it.stored()[200, 200]) == CRAYONS["green"]
