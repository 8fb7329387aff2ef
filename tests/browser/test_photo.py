"""From a photo to an editable map in one click: the photo view, its divider and sliders, and all maps of a photo."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

import annotator
from tests.browser.conftest import Server
from tests.browser.hands import READY, open_scribble

pytestmark = pytest.mark.browser


def photo(paper: int = 225) -> bytes:
    rgb = np.full((240, 360, 3), paper, np.uint8)
    rgb[60:200, 90:270] = (40, 80, 60)
    rgb[100:150, 150:210] = (200, 60, 40)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()


def choose_photo(page: Page, data: bytes) -> None:
    page.locator('input[type="file"][aria-label="Photo"]').set_input_files(
        {"name": "photo.png", "mimeType": "image/png", "buffer": data}
    )


def map_of(page: Page) -> np.ndarray:
    """The map as the browser shows it, grey."""
    data = page.locator(".photo img.map").evaluate(
        """async (image) => {
          await image.decode();
          const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
          canvas.getContext("2d").drawImage(image, 0, 0);
          return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data)
            .filter((_, index) => index % 4 === 0);
        }"""
    )
    return np.array(data)


def test_a_photo_becomes_a_map_that_follows_the_slider_and_opens_in_its_editor(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/canny")
    page.wait_for_selector(READY)
    expect(page.get_by_text("Drop a photo here")).to_be_visible()
    choose_photo(page, photo())
    expect(page.get_by_text("768 × 512 px, found in")).to_be_visible()
    expect(page.get_by_text("Drop a photo here")).to_be_hidden()
    edges = (map_of(page) > 0).sum()
    assert 500 < edges < 5000
    divider = page.get_by_role("slider", name="Divider between photo and map")
    expect(divider).to_have_attribute("aria-valuenow", "50")
    divider.focus()
    page.keyboard.press("ArrowLeft")
    expect(divider).to_have_attribute("aria-valuenow", "48")
    before = page.locator(".photo img.map").get_attribute("src")
    high, low = (page.get_by_label(f"{side} threshold") for side in ("High", "Low"))
    low.fill("255")
    high.fill("255")
    expect(page.locator(".photo img.map")).not_to_have_attribute("src", before or "")
    page.get_by_role("button", name="Edit the map").click()
    expect(page.locator(".rail")).to_be_visible()
    expect(page.get_by_role("button", name="Canvas size")).to_have_text("768 × 512")
    page.get_by_role("radio", name="Photo").click()
    expect(page.get_by_label("High threshold")).to_have_value("255")
    page.get_by_role("button", name="Bring back what was drawn before").click()
    expect(page.get_by_text("Your earlier drawing is back.")).to_be_visible()


def test_whoever_edits_while_a_photo_is_read_edits_its_map(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/canny")
    page.wait_for_selector(READY)
    expect(page.get_by_text("Drop a photo here")).to_be_visible()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/studio/photos/*", hold)
    choose_photo(page, photo())
    expect(page.get_by_text("Reading the photo…")).to_be_visible()
    expect(page.get_by_text("Drop a photo here")).to_be_hidden()
    page.get_by_role("button", name="Edit the map").click()
    page.wait_for_timeout(200)
    held.pop().continue_()
    expect(page.locator(".rail")).to_be_visible()
    expect(page.get_by_role("button", name="Canvas size")).to_have_text("768 × 512")


def test_a_scribble_from_a_pasted_photo_opens_in_its_editor_by_itself(page: Page, server: Server) -> None:
    open_scribble(page, server.url)
    page.get_by_role("radio", name="From a photo").click()
    expect(page.get_by_text("Drop a photo here")).to_be_visible()
    page.evaluate(
        """(bytes) => {
          const clipboardData = new DataTransfer();
          clipboardData.items.add(new File([new Uint8Array(bytes)], "a.png", { type: "image/png" }));
          document.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
        }""",
        list(photo()),
    )
    expect(page.locator(".rail")).to_be_visible()
    expect(page.get_by_role("button", name="Canvas size")).to_have_text("768 × 512")


def test_an_example_stands_in_for_a_photo_and_brings_its_prompt(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/canny")
    page.wait_for_selector(READY)
    example = page.locator(".invite .gallery button").nth(1)
    caption = example.get_attribute("aria-label") or "none"
    example.click()
    expect(page.get_by_text("512 × 512 px, found in")).to_be_visible()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(caption)


@pytest.fixture
def without_a_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """A studio whose hub does not answer."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    running = Server(tmp_path)
    running.start()
    yield running
    running.stop()


def test_a_network_that_cannot_come_is_said_and_another_way_offered(page: Page, without_a_hub: Server) -> None:
    page.goto(f"{without_a_hub.url}/softedge")
    page.wait_for_selector(READY)
    choose_photo(page, photo())
    page.get_by_label("Detector", exact=True).select_option("hed")
    page.get_by_role("button", name="Download 28 MB and detect").click()
    problem = page.locator(".photo .problem")
    expect(problem).to_contain_text("HED soft edges cannot be downloaded", timeout=240_000)
    problem.get_by_role("button", name="Use Gradient").click()
    expect(page.get_by_text("768 × 512 px, found in")).to_be_visible()


def test_another_photo_is_looked_at_although_a_network_still_looks_at_the_first(page: Page, server: Server) -> None:
    """The queue of networks goes on with the new photo; nobody waits for the old one's map."""
    asked: list[str] = []

    def never(route: Route) -> None:
        asked.append(route.request.url.rsplit("/", 3)[1])
        route.fulfill(json={"job": f"job-of-nobody-{len(asked)}"})

    page.goto(f"{server.url}/maps")
    page.wait_for_selector(READY)
    expect(page.get_by_role("heading", name="All maps")).to_be_visible()
    choose_photo(page, photo())
    page.route(re.compile(r"/studio/maps/[^/]+/[0-9a-f]{64}/pose/"), never)
    card = page.locator("article[data-control=pose]")
    card.get_by_role("button", name="Download").click()
    expect(card.get_by_role("progressbar")).to_be_visible()
    choose_photo(page, photo(40))
    card.get_by_role("button", name="Download").click()
    expect(card.get_by_role("progressbar")).to_be_visible()
    assert len(asked) == len(set(asked)) == 2


def test_all_maps_of_a_photo_lead_to_an_editor_and_to_a_picture(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/maps")
    page.wait_for_selector(READY)
    choose_photo(page, photo())
    cards = page.locator("article[data-control]")
    maps = [one.key for one in annotator.controls().values() if one.group != "rework"]
    expect(cards).to_have_count(len(maps))
    for control in ("scribble", "colour", "canny", "lines", "softedge", "lineart", "lineart_anime"):
        expect(page.locator(f"article[data-control={control}] .shown img")).to_be_visible()
    expect(page).to_have_title("All maps · ControlNet Studio")
    page.reload()  # the photo stays
    expect(cards).to_have_count(len(maps))
    expect(page.locator("article[data-control=pose]").get_by_role("button", name="Download")).to_be_visible()
    page.get_by_role("button", name="Edit the Edges map").click()
    expect(page.locator(".rail")).to_be_visible()
    expect(page.get_by_role("button", name="Canvas size")).to_have_text("768 × 512")
    page.go_back()
    page.get_by_role("button", name="Generate from the Soft edge map").click()
    expect(page.locator('img[src*="/studio/pictures/"]').first).to_be_visible(timeout=180_000)
