"""Colour strokes on the studio's own pages: from a photo into the editor, coloured further, kept, made into a picture; with shapes,
and as a layer of a composition."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from annotator.colour import CRAYONS, INK, INK_BELOW
from tests.browser.conftest import Server
from tests.browser.hands import drag_a_box, open_page, saved, settled
from tests.browser.test_editors import STUDIO, js
from tests.browser.test_photo import choose_photo, photo

pytestmark = pytest.mark.browser


def drawn(page: Page) -> NDArray[np.uint8]:
    """The drawing in the editor, H,W,3."""
    width, height, pixels = page.evaluate(
        f"() => {{ const {{ width, height, pixels }} = {STUDIO}.editor.document(); return [width, height, Array.from(pixels)]; }}"
    )
    return np.array(pixels, np.uint8).reshape(height, width, 3)


def click(page: Page, x: float, y: float) -> None:
    """A click at a place of the document."""
    box, place = page.locator(".stage").first.bounding_box(), js(page, f"view.toStage({x}, {y})")
    assert box is not None
    page.mouse.click(box["x"] + place["x"], box["y"] + place["y"])


def keys(page: Page, *pressed: str) -> None:
    js(page, "root.focus()")
    for key in pressed:
        page.keyboard.press(key)


def picture_at(page: Page, address: str) -> NDArray[np.uint8]:
    answer = page.request.get(address)
    assert answer.ok, answer.status
    return np.asarray(Image.open(io.BytesIO(answer.body())).convert("RGB"))


def test_a_photo_is_coloured_in_opens_in_the_editor_and_stays(page: Page, server: Server) -> None:
    open_page(page, server, "colour")
    expect(page.get_by_role("link", name="Colour strokes")).to_be_visible()
    page.get_by_role("radio", name="From a photo").click()
    expect(page.get_by_text("Drop a photo here")).to_be_visible()
    choose_photo(page, photo())
    expect(page.locator(".rail")).to_be_visible()
    expect(page.get_by_role("button", name="Canvas size")).to_have_text("768 × 512")
    found = drawn(page)
    assert (found[20:100, 20:100] == found[20, 20]).all() and abs(int(found[20, 20, 0]) - 225) < 8, "the wall is flat"
    assert abs(found[400, 250].astype(int) - (40, 80, 60)).max() < 12, "a thing has its colour"
    lines = found.max(axis=2) < INK_BELOW
    assert lines[300, 180:205].any() and not lines[20:100, 20:100].any(), "and a line around it"
    keys(page, "g", "1")
    click(page, 250, 400)
    saved(page)
    filled = drawn(page)
    assert tuple(filled[400, 250]) == CRAYONS["red"] and np.array_equal(filled[:100], found[:100])
    page.reload()
    page.wait_for_selector(".studio[data-ready]")
    assert np.array_equal(drawn(page), filled)
    keys(page, "Control+z")
    assert np.array_equal(drawn(page), found), "undone after a reload"


def test_what_the_model_sees_is_the_drawing_itself(page: Page, server: Server) -> None:
    open_page(page, server, "colour")
    keys(page, "Control+Delete", "u", "3")
    box, start, end = (
        page.locator(".stage").first.bounding_box(), js(page, "view.toStage(100, 100)"), js(page, "view.toStage(400, 300)"),
    )  # fmt: skip
    assert box is not None
    page.mouse.move(box["x"] + start["x"], box["y"] + start["y"])
    page.mouse.down()
    page.mouse.move(box["x"] + end["x"], box["y"] + end["y"], steps=5)
    page.mouse.up()
    saved(page)
    sheet = drawn(page)
    assert (
        tuple(sheet[200, 200]) == CRAYONS["yellow"]
        and tuple(sheet[200, 100]) == INK
        and tuple(sheet[50, 50]) == (255,) * 3
    )
    page.get_by_role("button", name="Generate").click()
    page.locator(".results img.image:visible").first.wait_for(timeout=180_000)
    seen: list[Any] = []
    page.on("request", lambda request: seen.append(request.url) if "/control/" in request.url else None)
    page.locator(".results [data-id=overlay], .results button[aria-label*='control']").first.click()
    page.wait_for_timeout(1000)
    assert seen, "no control picture was asked for"
    control = picture_at(page, seen[-1]).astype(int)
    fitted = np.asarray(Image.fromarray(sheet).resize(control.shape[1::-1], Image.Resampling.BOX)).astype(int)
    assert np.abs(control - fitted).max() <= 2


def test_shapes_are_stamped_as_ink(page: Page, server: Server) -> None:
    open_page(page, server, "colour")
    keys(page, "Control+Delete", "g", "4")
    click(page, 300, 300)
    saved(page)
    assert (drawn(page) == CRAYONS["green"]).all()
    page.get_by_text("Shapes", exact=True).click()
    drag_a_box(page)
    stamp = page.get_by_role("button", name="Stamp onto the drawing")
    expect(stamp).to_be_enabled()
    stamp.click()
    expect(stamp).to_be_disabled()
    page.get_by_text("Draw", exact=True).click()
    page.wait_for_selector(".studio[data-ready]")
    settled(page)
    stamped = drawn(page)
    inked = np.argwhere(stamped.max(axis=2) < INK_BELOW)
    assert np.abs(inked.min(axis=0) - 128).max() < 8 and np.abs(inked.max(axis=0) - 384).max() < 8
    assert (stamped[150:360, 150:360] == CRAYONS["green"]).all() and (stamped[:100] == CRAYONS["green"]).all()


def test_a_layer_of_a_composition_begins_as_white_paper(page: Page, server: Server) -> None:
    open_page(page, server, "compose")
    page.get_by_role("button", name="Add a layer").click()
    page.get_by_role("menuitem", name="Colour strokes").or_(
        page.get_by_role("option", name="Colour strokes")
    ).first.click()
    page.wait_for_selector('[aria-label="Colour editor"][data-ready]')
    assert (drawn(page) == 255).all()
    keys(page, "g", "5")
    click(page, 50, 50)
    saved(page)
    assert (drawn(page) == CRAYONS["blue"]).all()
