"""What a person does on a page, for all tests in a browser: open it, draw, choose, wait, press Generate."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Sequence

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, TimeoutError, expect

from controlnet_core.domain.recipe import Recipe
from controlnet_core.storage.gallery import recipe_of
from tests.browser.conftest import Server
from tests.soak.server import Running

READY = '[data-testid="stApp"][data-test-script-state="notRunning"]'
Stroke = Sequence[tuple[float, float]]


def open_scribble(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_selector(READY)
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    page.wait_for_selector(".paper canvas")


def open_page(page: Page, server: Server | Running, path: str) -> None:
    page.goto(f"{server.url}/{path}")
    page.wait_for_selector(READY)
    page.wait_for_selector(".studio[data-ready]")


def drag_a_box(page: Page) -> None:
    """A shape over the middle half of the Shapes canvas."""
    canvas = page.locator("canvas.upper-canvas").first
    canvas.wait_for()
    box = canvas.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.75 * box["height"], steps=8)
    page.mouse.up()


def settled(page: Page) -> None:
    """What was asked for last has been drawn."""
    page.wait_for_timeout(400)
    page.wait_for_selector(READY)


def paper(page: Page) -> dict[str, float]:
    """Where the sheet lies on the screen, in CSS pixels."""
    box = page.locator(".paper").bounding_box()
    assert box is not None
    assert box["width"] > 300
    return dict(box)


def draw(page: Page, strokes: list[Stroke]) -> None:
    sheet = paper(page)
    for stroke in strokes:
        points = [(sheet["x"] + x * sheet["width"], sheet["y"] + y * sheet["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for x, y in points[1:]:
            page.mouse.move(x, y, steps=12)
        page.mouse.up()


def clear(page: Page) -> None:
    page.get_by_role("button", name=re.compile("^Clear")).click()


def saved(page: Page) -> None:
    expect(page.get_by_text("saved", exact=True)).to_be_visible()


def sheet_of(page: Page) -> NDArray[np.uint8]:
    """What the sheet shows, from a screenshot, with the pointer out of the way."""
    page.mouse.move(2, 2)
    sheet = paper(page)
    shot = page.screenshot(clip={key: sheet[key] for key in ("x", "y", "width", "height")})
    grey = np.asarray(Image.open(io.BytesIO(shot)).convert("L"))
    return cv2.resize(grey, (128, 128), interpolation=cv2.INTER_AREA)


def comes_to_show(page: Page, wanted: NDArray[np.uint8]) -> None:
    """Wait until the sheet shows a drawing; a note may lie over it for a moment."""
    page.wait_for_selector(".paper canvas")
    deadline = time.monotonic() + 60
    while (difference := np.abs(sheet_of(page).astype(int) - wanted).mean()) >= 2:
        assert time.monotonic() < deadline, f"the sheet differs by {difference:.1f} levels"
        page.wait_for_timeout(300)


def few_steps(page: Page, steps: int = 3) -> None:
    """Open the settings and take only a few steps."""
    page.get_by_text("Settings", exact=True).click()
    slider = page.get_by_role("slider", name="Steps")
    slider.focus()
    slider.press("Home")
    for _ in range(steps - 1):
        slider.press("ArrowRight")
    expect(slider).to_have_value(str(steps))
    settled(page)


def press(page: Page, name: str, keys: list[str], value: str) -> None:
    """Move a slider by keys to what it then says."""
    slider = page.get_by_role("slider", name=name)
    slider.focus()
    for key in keys:
        slider.press(key)
    expect(slider).to_have_value(value)
    settled(page)


def choose(page: Page, label: str, option: str) -> None:
    """Take an option of a list of the settings; a list closes when the page moves under it, and is opened again."""
    wanted = page.get_by_role("option", name=option)
    deadline = time.monotonic() + 120
    while True:
        assert time.monotonic() < deadline, f"{label} does not offer {option}"
        if not wanted.is_visible():
            page.get_by_role("combobox", name=label).click()
        try:
            wanted.click(timeout=2000)
            break
        except TimeoutError:
            continue
    page.keyboard.press("Escape")  # a list of several stays open
    page.mouse.move(2, 2)  # else the help of what lay under the list opens
    settled(page)


def ask_for_a_small_house(page: Page) -> None:
    """On the Scribble page: a prompt, 256 px and two steps; the settings stay open."""
    page.get_by_role("link", name="Scribble").click()
    page.wait_for_selector(".studio[data-ready]")
    page.get_by_label("Prompt", exact=True).fill("a red house")
    page.get_by_label("Prompt", exact=True).blur()
    settled(page)
    page.locator("summary", has_text="Settings").click()
    settled(page)
    press(page, "Size", ["Home"], "0")  # the first of the sizes: 256 px
    press(page, "Steps", ["Home", "ArrowRight"], "2")


def made(page: Page, server: Server | Running) -> tuple[NDArray[np.uint8], Recipe, bytes]:
    """Press Generate and fetch what comes: the pixels, the recipe inside, the file."""
    pictures = page.locator('img.image[src*="/studio/pictures/"]')
    before = pictures.first.get_attribute("src") if pictures.count() else None
    page.get_by_role("button", name="Generate").click()
    deadline = time.monotonic() + 240
    source = None
    while not source or source == before:
        assert time.monotonic() < deadline, "no picture came"
        page.wait_for_timeout(200)
        source = pictures.first.get_attribute("src") if pictures.count() else None
    return fetched(server, source)


def fetched(server: Server | Running, source: str) -> tuple[NDArray[np.uint8], Recipe, bytes]:
    """The picture at the address that an image of a page has: the pixels, the recipe inside, the file."""
    file = httpx.get(f"{server.url}/studio/{source.split('/studio/')[1].split('?', maxsplit=1)[0]}").content
    recipe = recipe_of(file)
    assert recipe is not None
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB")), recipe, file


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
