"""The first way through: draw with the mouse, say what it is, get a picture that follows the lines."""

from __future__ import annotations

import io
import re
import time

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from controlnet_core.storage.gallery import recipe_of
from tests.browser.conftest import Server
from tests.browser.hands import Stroke, clear, comes_to_show, draw, open_scribble, paper, saved, settled, sheet_of

pytestmark = pytest.mark.browser

HOUSE: list[Stroke] = [
    [(0.3, 0.5), (0.3, 0.8), (0.7, 0.8), (0.7, 0.5), (0.3, 0.5)],
    [(0.25, 0.5), (0.5, 0.22), (0.75, 0.5)],
    [(0.46, 0.8), (0.46, 0.62), (0.54, 0.62), (0.54, 0.8)],
    [(0.0, 0.7), (0.29, 0.7)],
    [(0.71, 0.7), (1.0, 0.7)],
]
SEA: list[Stroke] = [
    [(0.0, 0.45), (1.0, 0.45)],
    [(0.55, 0.6), (0.9, 0.6), (0.84, 0.7), (0.62, 0.7), (0.55, 0.6)],
    [(0.72, 0.6), (0.72, 0.2), (0.88, 0.55), (0.72, 0.55)],
    [(0.1, 0.85), (0.4, 0.88)],
]


def generate(page: Page, server: Server) -> NDArray[np.uint8]:
    """Press Generate, wait for the new picture, fetch it as the browser would."""
    pictures = page.locator('img[src*="/studio/pictures/"]')
    before = pictures.first.get_attribute("src") if pictures.count() else None
    page.get_by_role("button", name="Generate").click()
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        source = pictures.first.get_attribute("src") if pictures.count() else None
        if source and source != before:
            break
        page.wait_for_timeout(200)
    else:
        raise TimeoutError("no picture came")
    cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    answer = httpx.get(f"{server.url}/studio/{source.split('/studio/')[1].split('?')[0]}", cookies=cookies)
    assert answer.status_code == 200
    recipe = recipe_of(answer.content)
    assert recipe is not None
    assert recipe.controls[0].control == "scribble"
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))


def follows(picture: NDArray[np.uint8], strokes: list[Stroke]) -> float:
    """Share of the drawn lines that have an edge of the picture within 4 pixels."""
    height, width = picture.shape[:2]
    drawn = np.zeros((height, width), np.uint8)
    for stroke in strokes:
        points = np.round(np.array(stroke) * (width - 1, height - 1)).astype(np.int32)
        cv2.polylines(drawn, [points], False, 255, 1)
    edges = cv2.Canny(cv2.GaussianBlur(picture, (3, 3), 0), 40, 100)
    distance = cv2.distanceTransform(255 - edges, cv2.DIST_L2, 5)
    return float((distance[drawn > 0] <= 4).mean())


def test_the_picture_follows_the_strokes(page: Page, server: Server) -> None:
    open_scribble(page, server.url)
    made = {}
    for name, strokes, words in (("house", HOUSE, "a red house, hills, sunny day"), ("sea", SEA, "a boat on the sea")):
        clear(page)
        draw(page, strokes)
        saved(page)
        page.get_by_label("Prompt", exact=True).fill(words)
        page.get_by_label("Prompt", exact=True).blur()
        made[name] = generate(page, server)
    assert follows(made["house"], HOUSE) > follows(made["sea"], HOUSE)
    assert follows(made["sea"], SEA) > follows(made["house"], SEA)


def test_the_whole_sheet_is_seen_in_a_low_window_and_nothing_scrolls_in_a_usual_one(page: Page, server: Server) -> None:
    page.set_viewport_size({"width": 1366, "height": 680})
    open_scribble(page, server.url)
    page.wait_for_selector(".studio[data-ready]")
    sheet = paper(page)
    assert sheet["y"] + sheet["height"] < 680
    page.set_viewport_size({"width": 1440, "height": 900})
    expect(page.get_by_text("on the CPU")).to_be_visible()
    page.wait_for_function(
        "(({ scrollHeight, clientHeight }) => scrollHeight === clientHeight)(document.querySelector('[data-testid=stMain]'))"
    )
    assert paper(page)["height"] > sheet["height"]


@pytest.mark.parametrize(
    ("width", "height", "setting"), [(1440, 900, "Steps"), (900, 1100, "Steps"), (1440, 700, "Size")]
)
def test_settings_open_in_view_beside_prompt_and_picture(
    page: Page, server: Server, width: int, height: int, setting: str
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    open_scribble(page, server.url)
    word = page.get_by_text("turtle", exact=True)
    expect(word).to_be_visible()
    expect(page.locator("summary", has_text="Settings")).to_be_in_viewport(ratio=1)
    page.get_by_text("Settings").click()
    for seen in (
        page.get_by_text(setting, exact=True),
        page.get_by_role("button", name="Generate"),
        page.get_by_text("Your picture appears here"),
        page.get_by_text("more under Models"),
    ):
        expect(seen).to_be_in_viewport(ratio=1)
    expect(word).to_be_hidden()
    page.get_by_text("Settings").click()
    expect(word).to_be_visible()


def test_words_of_the_prompt_weigh_more_and_less_by_keys(page: Page, server: Server) -> None:
    open_scribble(page, server.url)
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill("a red house")
    prompt.press("Home")
    for key in ("ArrowRight", "ArrowRight", "Control+ArrowUp", "Control+ArrowUp"):
        prompt.press(key)
    expect(prompt).to_have_value("a (red:1.2) house")
    prompt.press("Control+ArrowDown")
    prompt.blur()
    settled(page)
    expect(prompt).to_have_value("a (red:1.1) house")  # the page has heard of it, and gives it back


def test_a_run_can_be_cancelled(page: Page, server: Server) -> None:
    open_scribble(page, server.url)
    page.get_by_text("Settings").click()
    steps = page.get_by_role("slider", name="Steps")
    steps.focus()
    steps.press("End")
    settled(page)  # else the run may be of one step, and over before anybody can stop it
    page.get_by_role("button", name="Generate").click()
    stop = page.get_by_role("button", name=re.compile("Cancel"))
    stop.click()
    expect(page.get_by_text("Stopped.", exact=True)).to_be_visible()
    expect(page.locator('img[src*="/studio/pictures/"]')).to_have_count(0)


def test_a_picture_in_the_making_is_followed_after_a_reload_and_a_server_that_was_started_again(
    page: Page, own_server: Server
) -> None:
    open_scribble(page, own_server.url)
    page.get_by_text("Settings").click()
    page.get_by_role("slider", name="Steps").press("End")
    settled(page)
    page.get_by_role("button", name="Generate").click()
    result, stop = page.get_by_role("region", name="Result"), page.get_by_role("button", name=re.compile("Cancel"))
    expect(result).to_have_attribute("data-phase", "running")
    page.wait_for_timeout(1500)  # what a page is like is kept within a second
    own_server.kill()
    own_server.start()
    page.reload()
    expect(stop).to_be_visible()
    expect(result).to_have_attribute("data-phase", "running")  # it was begun anew, and is heard of
    page.reload()
    expect(stop).to_be_visible()
    expect(result).to_have_attribute("data-phase", "running")
    stop.click()
    expect(page.get_by_text("Stopped.", exact=True)).to_be_visible()


def test_a_drawing_survives_reload_and_page_switch(page: Page, server: Server) -> None:
    open_scribble(page, server.url)
    clear(page)
    draw(page, HOUSE[:2])
    saved(page)
    before = sheet_of(page)
    page.reload()
    comes_to_show(page, before)
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_role("heading", name=re.compile("^Base models"))).to_be_visible()
    page.get_by_role("link", name="Scribble").click()
    comes_to_show(page, before)
