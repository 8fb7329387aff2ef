"""Compose: several controls in one frame, drawn with the mouse, in one picture; and back again after a reload."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Server
from tests.browser.hands import (
    READY,
    Stroke,
    choose,
    comes_to_show,
    draw,
    few_steps,
    made,
    open_page,
    png,
    press,
    saved,
    settled,
    sheet_of,
)

pytestmark = pytest.mark.browser

LINE: list[Stroke] = [[(0.1, 0.2), (0.9, 0.2)]]
BLOT: list[Stroke] = [[(0.3, 0.7), (0.5, 0.7)]]


def blob(server: Server, digest: str | None, mode: str = "L") -> NDArray[np.uint8]:
    assert digest is not None
    return np.asarray(Image.open(server.data / "blobs" / digest[:2] / digest).convert(mode))


def layer(page: Page, title: str) -> Locator:
    return page.get_by_role("button", name=title, exact=True)


def add_edges_of_a_photo(page: Page) -> None:
    """Put a photo of a box under all layers, and its edges into a new one."""
    page.get_by_role("button", name="Add a layer").click()
    page.get_by_role("menuitem", name="Edges").or_(page.get_by_role("option", name="Edges")).first.click()
    page.wait_for_selector('[aria-label="Scribble editor"][data-ready]')
    page.locator(".st-key-compose-photo button").click()
    photo = Image.new("RGB", (400, 200), (250, 250, 250))
    photo.paste((20, 60, 20), (150, 50, 250, 150))
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(
        {"name": "box.png", "mimeType": "image/png", "buffer": png(photo)}
    )
    page.get_by_role("button", name="Fill the layer from the photo").click()
    page.keyboard.press("Escape")
    pixels = "root => root.studio.editor.document().pixels.filter(v => v).length"
    root = page.locator('[aria-label="Scribble editor"]')
    deadline = time.monotonic() + 60
    while root.evaluate(pixels) < 500:  # the box's outline, about 1000 px long
        assert time.monotonic() < deadline, "nothing was found"
        page.wait_for_timeout(200)


def test_two_controls_make_one_picture_and_stay(page: Page, server: Server) -> None:
    open_page(page, server, "compose")
    expect(layer(page, "Pose")).to_be_visible()
    expect(layer(page, "Segmentation")).to_be_visible()
    page.get_by_role("button", name="Add a layer").click()
    page.get_by_role("menuitem", name="Scribble").or_(page.get_by_role("option", name="Scribble")).first.click()
    expect(layer(page, "Scribble")).to_be_visible()
    page.wait_for_selector('[aria-label="Scribble editor"][data-ready]')
    assert page.locator(".paper .layers img").count() == 2  # the other two lie under it
    draw(page, LINE)
    saved(page)
    page.get_by_role("button", name="Leave out Segmentation").click()
    settled(page)
    few_steps(page)
    picture, recipe, _ = made(page, server)
    assert picture.shape == (recipe.height, recipe.width, 3)
    assert [unit.control for unit in recipe.controls] == ["scribble", "pose"]
    inked = blob(server, recipe.controls[0].picture)
    height, width = inked.shape
    assert (inked[round(0.2 * height), round(0.15 * width) : round(0.85 * width)] > 128).mean() > 0.95
    assert (inked > 128).mean() < 0.05

    drawn = sheet_of(page)
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_role("link", name="Models")).to_be_visible()
    page.get_by_role("link", name="Compose").click()
    comes_to_show(page, drawn)
    page.reload()
    page.wait_for_selector(READY)
    comes_to_show(page, drawn)
    expect(page.get_by_role("button", name="Use Segmentation again")).to_be_visible()
    expect(page.locator('img.image[src*="/studio/pictures/"]')).to_be_visible()


def test_a_control_acts_where_it_is_painted(page: Page, server: Server) -> None:
    open_page(page, server, "compose")
    page.get_by_text("Only in a part").click()
    expect(page.get_by_text("Where it acts", exact=True)).to_be_visible()
    page.wait_for_selector('[aria-label="Scribble editor"][data-ready]')
    draw(page, BLOT)
    saved(page)
    few_steps(page)
    _, recipe, _ = made(page, server)
    pose = next(unit for unit in recipe.controls if unit.control == "pose")
    mask = blob(server, pose.mask)
    height, width = mask.shape
    assert mask[round(0.7 * height), round(0.4 * width)] > 200
    assert mask[: height // 2].max() == 0
    assert all(unit.mask is None for unit in recipe.controls if unit.control != "pose")
    page.get_by_text("What the model sees").click()
    expect(page.locator(".seen figure")).to_have_count(2)
    expect(page.locator(".seen img.veil")).to_have_count(1)


def test_strengths_are_compared_and_one_is_taken(page: Page, server: Server) -> None:
    open_page(page, server, "compose")
    few_steps(page, 2)
    page.get_by_role("button", name="Compare strengths").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    settled(page)
    expect(dialog).to_have_count(0)
    page.get_by_role("button", name="Compare strengths").click()
    counts = dialog.get_by_role("slider", name="How many")
    counts.nth(1).focus()
    counts.nth(1).press("Home")
    settled(page)
    counts.nth(0).focus()
    counts.nth(0).press("Home")
    counts.nth(0).press("ArrowRight")
    dialog.get_by_role("button", name=re.compile("Make 2 pictures")).click()
    expect(dialog.locator("button.cell:not([disabled])")).to_have_count(2, timeout=240_000)
    dialog.get_by_role("button", name="Use strength 0.5, end 100%").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("slider", name="Control strength")).to_have_value("0.5")


def test_three_layers_act_each_in_its_part_and_time(page: Page, server: Server) -> None:
    """Two that are drawn and one that is found in a photo; each with a mask, a window and a balance of its own."""
    open_page(page, server, "compose")
    add_edges_of_a_photo(page)
    wanted = {
        "Edges": (0.2, "Balanced", "balanced", 4, 0.8),
        "Pose": (0.5, "Prompt first", "prompt", 8, 0.6),
        "Segmentation": (0.8, "Control first (guess mode)", "control", 10, 0.5),
    }
    for title, (height, balance, _, presses, end) in wanted.items():
        layer(page, title).click()
        settled(page)
        press(page, "Acts from, to — end", ["ArrowLeft"] * presses, f"{end:g}")
        if balance != "Balanced":
            choose(page, "Balance", balance)
        page.get_by_text("Only in a part").click()
        page.wait_for_selector('[class*="mask-editor"] [aria-label="Scribble editor"][data-ready]')
        settled(page)
        draw(page, [[(0.2, height), (0.8, height)]])
        saved(page)
    page.get_by_text("What the model sees").click()
    expect(page.locator(".seen figure")).to_have_count(3)
    expect(page.locator(".seen img.veil")).to_have_count(3)
    few_steps(page)
    _, recipe, _ = made(page, server)
    assert [unit.control for unit in recipe.controls] == ["canny", "pose", "seg"]
    assert recipe.controls[0].found is not None
    for unit, (height, _, mode, _, end) in zip(recipe.controls, wanted.values(), strict=True):
        assert (unit.mode, unit.end, unit.start) == (mode, end, 0)
        mask = blob(server, unit.mask)
        rows = np.flatnonzero((mask > 128).any(axis=1)) / mask.shape[0]
        assert height - 0.1 < rows.min() < height < rows.max() < height + 0.1


def test_a_layer_is_filled_from_the_photo(page: Page, server: Server) -> None:
    open_page(page, server, "compose")
    add_edges_of_a_photo(page)
    root = page.locator('[aria-label="Scribble editor"]')
    assert root.evaluate("root => root.studio.editor.document().width") == 512
