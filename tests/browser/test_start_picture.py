"""Starting from a picture: the whole of it changed a little, and a painted part of it made anew."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server
from tests.browser.hands import Stroke, draw, few_steps, made, open_page, png, saved, settled
from tests.browser.test_compose import blob

pytestmark = pytest.mark.browser

LEFT: list[Stroke] = [[(0.1, y / 20), (0.3, y / 20)] for y in range(4, 17, 2)]


def test_a_picture_is_changed_a_little_then_in_a_part(page: Page, server: Server) -> None:
    open_page(page, server, "")
    few_steps(page, 6)
    first, _, _ = made(page, server)
    page.get_by_role("tab", name="Picture").click()
    page.get_by_role("button", name="Use", exact=True).first.click()
    strength = page.get_by_role("slider", name="How much changes")
    expect(strength).to_have_value("0.75")
    strength.focus()
    for _ in range(9):
        strength.press("ArrowLeft")
    settled(page)
    second, recipe, _ = made(page, server)
    assert recipe.source is not None
    assert np.array_equal(blob(server, recipe.source.picture, "RGB"), first)
    assert recipe.source.strength == pytest.approx(0.3)
    assert recipe.source.mask is None
    assert apart(first, second) < 40

    page.get_by_text("Change only a part").click()
    page.wait_for_selector('[aria-label="Scribble editor"][data-ready] .layers img')
    draw(page, LEFT)
    saved(page)
    third, recipe, _ = made(page, server)
    assert recipe.source is not None
    mask = blob(server, recipe.source.mask)
    height, width = mask.shape
    assert mask[height // 2, width // 5] > 200
    assert mask[:, width // 2 :].max() == 0
    half = first.shape[1] // 2
    assert np.array_equal(third[:, half:], first[:, half:])
    assert apart(third[:, : half // 2], first[:, : half // 2]) > 0.3  # where nothing was made anew: not at all
    page.get_by_role("button", name="Back to the drawing").first.click()
    page.wait_for_selector('[aria-label="Scribble editor"][data-ready]')
    expect(page.locator(".paper .layers img")).to_have_count(0)


def test_nothing_painted_is_said(page: Page, server: Server) -> None:
    open_page(page, server, "")
    page.get_by_text("Settings", exact=True).click()
    page.get_by_role("tab", name="Picture").click()
    photo = png(Image.new("RGB", (300, 200), (40, 90, 160)))
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": photo}
    )
    page.get_by_text("Change only a part").click()
    page.wait_for_selector('[aria-label="Scribble editor"][data-ready] .layers img')
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text("Nothing is painted yet.")).to_be_visible()


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """Mean distance of two pictures, in levels of 255."""
    return float(np.abs(first.astype(int) - second).mean())
