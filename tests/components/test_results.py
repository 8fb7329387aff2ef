"""The result pane in a real browser: queue, progress, preview, pictures, failure, cancelling."""

from __future__ import annotations

import base64
import io
import json
import urllib.request
import uuid
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Route

pytestmark = pytest.mark.browser


class Pane:
    """One tab with the result pane, watching one job."""

    def __init__(self, page, server) -> None:
        self.page, self.server, self.job = page, server, uuid.uuid4().hex

    def open(self, query: str = "", job: bool = True) -> None:
        self.page.goto(f"{self.server.url}/?{f'job={self.job}' if job else ''}{query}")
        self.page.wait_for_selector(".results", timeout=60_000)

    def tell(self, kind: str, **fields: object) -> None:
        body = json.dumps({"job": self.job, "kind": kind, **fields}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.server.url}/test/tell", body)).read()

    def see(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for(timeout=10_000)

    def frame(self) -> dict[str, float]:
        return self.page.locator(".results .frame").bounding_box()


@pytest.fixture
def pane(profiles, results_server) -> Iterator[Pane]:
    with profiles.page(viewport={"width": 1280, "height": 800}) as page:
        yield Pane(page, results_server)


def jpeg() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 80, 30)).save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_empty_says_what_to_do(pane: Pane) -> None:
    pane.open(job=False)
    pane.see("Your picture appears here")
    assert not pane.page.get_by_role("button", name="Cancel").is_visible()


def test_from_queue_to_picture_in_one_place(pane: Pane) -> None:
    pane.open()
    pane.tell("queued", ahead=2)
    pane.see("Waiting: 2 ahead")
    place = pane.frame()
    pane.tell("loading", text="Loading Paperworld")
    pane.see("Loading Paperworld")
    pane.tell("step", step=5, steps=20, preview=jpeg())
    pane.see("Step 5 of 20")
    assert pane.page.get_by_role("progressbar").get_attribute("aria-valuenow") == "25"
    assert pane.page.locator(".ghost").evaluate("image => image.decode().then(() => image.naturalWidth)") == 32
    pane.tell("done", pictures=["./test/picture/one"], seconds=3.21)
    pane.see("heard: finished 0")
    assert pane.page.locator(".image").evaluate("image => image.decode().then(() => image.naturalWidth)") == 512
    assert pane.frame() == place, "something jumped"
    pane.page.get_by_role("button", name="Keep this seed").click()
    pane.see(f"keep 0 {pane.job}")
    pane.page.get_by_role("button", name="Lay the control over it").click()
    assert pane.page.locator(".control").is_visible()
    with pane.page.expect_download() as download:
        pane.page.get_by_role("button", name="Download PNG").click()
    assert Image.open(download.value.path()).size == (512, 512)


def test_the_preview_stays_until_the_picture_is_there(pane: Pane) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    pane.page.route("**/test/picture/slow", hold)
    pane.open()
    pane.tell("step", step=19, steps=20, preview=jpeg())
    pane.see("Step 19 of 20")
    with pane.page.expect_request("**/test/picture/slow"):
        pane.tell("done", pictures=["./test/picture/slow"], seconds=1)
    pane.see("heard: finished 0")
    assert pane.page.locator(".ghost").is_visible()
    held[0].continue_()
    pane.page.locator(".ghost").wait_for(state="hidden")
    assert pane.page.locator(".image").evaluate("image => image.complete && image.naturalWidth") == 512


def test_siblings(pane: Pane) -> None:
    pane.open("&images=3")
    place = pane.frame()
    pane.tell("done", pictures=[f"./test/picture/{name}" for name in "abc"])
    pane.page.get_by_role("option", name="Picture 3").click()
    pane.see(f"open 2 {pane.job}")
    assert pane.page.get_by_role("option", name="Picture 3").get_attribute("aria-selected") == "true"
    assert pane.page.locator(".image").get_attribute("src").endswith("/picture/c")
    assert pane.frame() == place
    pane.page.get_by_role("button", name="Use as photo").click()
    pane.see(f"photo 2 {pane.job}")


def test_the_keys_stay_where_they_were(pane: Pane) -> None:
    """Buttons are made anew with every change: whoever pressed one by keyboard goes on from there."""
    pane.open("&images=2")
    pane.tell("step", step=1, steps=2)
    stop = pane.page.get_by_role("button", name="Cancel")
    stop.focus()
    pane.tell("done", pictures=[f"./test/picture/{name}" for name in "ab"])
    pane.page.get_by_role("option", name="Picture 2").wait_for()
    pane.page.wait_for_function("document.activeElement.shadowRoot?.activeElement?.matches('.results')")
    pane.page.get_by_role("option", name="Picture 2").press("Enter")
    pane.see(f"open 1 {pane.job}")
    focused = "document.activeElement.shadowRoot?.activeElement?.dataset.id === '%s'"
    pane.page.wait_for_function(focused % "picture-1")
    overlay = pane.page.get_by_role("button", name="Lay the control over it")
    overlay.press("Enter")
    pane.page.wait_for_function(focused % "overlay")
    assert overlay.get_attribute("aria-pressed") == "true"
    pane.page.keyboard.press("o")
    assert not pane.page.locator(".control").is_visible()


def test_failure_in_words(pane: Pane) -> None:
    pane.open()
    pane.tell("failed", text="There is too little memory for 1024 px.", hint="Choose <b>768</b> px.")
    pane.see("There is too little memory for 1024 px.")
    pane.see("Choose <b>768</b> px.")


def test_cancel(pane: Pane) -> None:
    pane.open()
    pane.tell("step", step=1, steps=50)
    pane.page.get_by_role("button", name="Cancel").click()
    pane.see(f"cancelled 0 {pane.job}")
    pane.see("Your picture appears here")


def test_other_jobs_are_not_ours(pane: Pane) -> None:
    pane.open()
    own, pane.job = pane.job, "somebody-else"
    pane.tell("failed", text="Not for you")
    pane.job = own
    pane.tell("queued", ahead=0)
    pane.see("Next in line")
    assert pane.page.get_by_text("Not for you").count() == 0


def test_two_pictures_under_one_divider(pane: Pane) -> None:
    pane.open("&images=3")
    pane.tell("done", pictures=[f"./test/picture/{name}" for name in "abc"])
    divider = pane.page.get_by_role("slider", name="Divider between the two pictures")
    pane.page.get_by_role("option", name="Picture 1").wait_for()
    assert not divider.is_visible()
    pane.page.get_by_role("option", name="Picture 3").click(modifiers=["Shift"])
    assert pane.page.locator(".compare .before").get_attribute("src").endswith("/picture/c")
    assert pane.page.locator(".compare .after").get_attribute("src").endswith("/picture/a")
    box = pane.frame()
    pane.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    pane.page.mouse.down()
    pane.page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 60, steps=4)
    pane.page.mouse.up()
    assert divider.get_attribute("aria-valuenow") == "25"
    divider.press("ArrowRight")
    assert divider.get_attribute("aria-valuenow") == "27"
    divider.press("End")
    assert divider.get_attribute("aria-valuenow") == "100"
    divider.press("c")
    assert not divider.is_visible()


def test_the_divider_follows_a_finger(browser, results_server) -> None:
    context = browser.new_context(viewport={"width": 900, "height": 1100}, has_touch=True)
    pane = Pane(context.new_page(), results_server)
    pane.open("&images=2")
    pane.tell("done", pictures=[f"./test/picture/{name}" for name in "ab"])
    pane.page.get_by_role("button", name="Compare with the one before").click()
    box = pane.frame()
    pane.page.touchscreen.tap(box["x"] + box["width"] * 0.8, box["y"] + 40)
    assert (
        pane.page.get_by_role("slider", name="Divider between the two pictures").get_attribute("aria-valuenow") == "80"
    )
    context.close()
