"""The editors on the studio's own pages: for everybody's eyes and keys, against a killed server and against a hostile browser."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import WAIT_MS, Server
from tests.browser.hands import READY, clear, comes_to_show, draw, open_scribble, sheet_of
from tests.browser.test_first_way import HOUSE

pytestmark = pytest.mark.browser

STUDIO = (
    "[...document.querySelectorAll('*')].map(n => n.shadowRoot?.querySelector('.studio[data-ready]') ?? "
    "(n.matches?.('.studio[data-ready]') ? n : null)).find(Boolean).studio"
)
PATHS = {"scribble": "", "colour": "colour", "seg": "seg", "pose": "pose"}
LOOKS: list[tuple[Literal["light", "dark"], int]] = [("light", 1440), ("dark", 1440), ("light", 900)]
HOSTILE = [
    "1e999",
    "-1",
    "NaN",
    "'x'.repeat(100000)",
    "{ rev: { a: [] } }",
    "[1, 2]",
    "true",
    "null",
    "'<img onerror=1>'",
]


def opened(page: Page, server: Server, kind: str) -> Page:
    page.goto(f"{server.url}/{PATHS[kind]}")
    page.wait_for_selector(".studio[data-ready]")
    page.wait_for_selector(READY)
    return page


def js(page: Page, what: str) -> Any:
    return page.evaluate(f"() => {STUDIO}.{what}")


def drawing(page: Page) -> str:
    """The drawing as text to compare."""
    return page.evaluate(
        f"() => {{ const {{ pixels, people }} = {STUDIO}.editor.document(); "
        "return people ? JSON.stringify(people) : String(pixels.reduce((hash, v) => (Math.imul(hash, 31) + v) | 0, 7)); }"
    )


def stroke(page: Page, kind: str, step: int) -> None:
    """Draw, or move a wrist, with the mouse."""
    box = page.locator(".stage").first.bounding_box()
    assert box is not None
    start, end = {"x": 60, "y": 60 + 40 * step}, {"x": 450, "y": 70 + 40 * step}
    if kind == "pose":
        start = js(page, "editor.people[0].body[4]")
        end = {"x": start["x"] - 5 - step, "y": start["y"] + 12}
    places = [js(page, f"view.toStage({place['x']}, {place['y']})") for place in (start, end)]
    page.mouse.move(box["x"] + places[0]["x"], box["y"] + places[0]["y"])
    page.mouse.down()
    page.mouse.move(box["x"] + places[1]["x"], box["y"] + places[1]["y"], steps=5)
    page.mouse.up()


def saved(page: Page) -> None:
    told = f"() => {STUDIO}.sync.state === 'saved' && !{STUDIO}.sync.dirty"
    page.wait_for_function(told, polling=200, timeout=3 * WAIT_MS)


@pytest.mark.parametrize("kind", PATHS)
def test_an_accessibility_check_finds_nothing(browser: Browser, server: Server, kind: str) -> None:
    """In both looks and on a narrow window: pages follow when they change."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    context.set_default_timeout(WAIT_MS)
    page = opened(context.new_page(), server, kind)
    if kind == "pose":
        page.locator("[data-person]").first.click()
    page.locator("[data-id=more]").first.click()
    grounds = {}
    for look, width in LOOKS:
        page.emulate_media(color_scheme=look)
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(600)
        grounds[look] = page.get_by_test_id("stApp").evaluate("one => getComputedStyle(one).backgroundColor")
        faults = Axe().run(page).response["violations"]
        told = [(fault["id"], node["target"], node["html"][:120]) for fault in faults for node in fault["nodes"]]
        assert not told, f"{kind}, {look}, {width} px: {told}"
    assert grounds["light"] != grounds["dark"], "the page did not follow"
    context.close()


def test_a_killed_server_and_other_pages_lose_nothing(own_server: Server, page: Page) -> None:
    kept = {}
    for kind in ("scribble", "colour", "seg", "pose"):
        opened(page, own_server, kind)
        stroke(page, kind, 0)
        saved(page)
        kept[kind] = drawing(page)
    own_server.kill()
    stroke(page, "pose", 3)
    page.get_by_text("not saved: reconnecting").wait_for()
    assert drawing(page) != kept["pose"]
    kept["pose"] = drawing(page)
    own_server.start()
    saved(page)  # by the open tab itself, without a reload
    assert drawing(page) == kept["pose"], "drawn while nobody answered"
    page.get_by_role("button", name="Generate").click()
    page.locator(".results button.stop:visible, .results img.image:visible").first.wait_for()
    for kind in ("seg", "colour", "scribble", "pose"):
        opened(page, own_server, kind)
        assert drawing(page) == kept[kind], kind
    expect(page.get_by_text("on the CPU")).to_be_visible()  # the line says it by itself once the worker is up
    expect(page.get_by_text("warming up")).to_have_count(0)


def test_what_was_drawn_while_nobody_answered_survives_a_reload(page: Page, own_server: Server) -> None:
    open_scribble(page, own_server.url)
    clear(page)
    draw(page, HOUSE[:1])
    expect(page.get_by_text("saved", exact=True)).to_be_visible()
    page.wait_for_timeout(1200)
    before = sheet_of(page)
    own_server.kill()
    draw(page, HOUSE[1:2])  # drawn while nobody answers
    unsaved = sheet_of(page)
    assert np.abs(unsaved.astype(int) - before).mean() > 0.1
    own_server.start()
    page.reload()
    comes_to_show(page, unsaved)


@pytest.mark.parametrize("kind", ["scribble", "seg", "pose"])
def test_whatever_a_browser_claims_the_drawing_stays(kind: str, page: Page, server: Server) -> None:
    opened(page, server, kind)
    stroke(page, kind, 1)
    saved(page)
    before = drawing(page)
    for value in HOSTILE:
        js(page, f"tell('generate', {value})")
        js(page, f"tell('no such event', {value})")
        page.wait_for_timeout(150)
    page.evaluate(
        """() => new Promise((done) => {
            const socket = new WebSocket(location.origin.replace("http", "ws") + "/_stcore/stream");
            socket.onopen = () => {
                const noise = [new Uint8Array(5000).fill(255), new Uint8Array([10, 255, 255, 255, 15])];
                for (const data of ["{}", "\\0", ...noise]) socket.send(data);
                setTimeout(() => { socket.close(); done(); }, 300);
            };
            socket.onerror = () => done();
        })"""
    )
    page.wait_for_selector(READY)
    assert page.locator('[data-testid="stException"]').count() == 0
    assert drawing(page) == before
    stroke(page, kind, 4)
    saved(page)
    after = drawing(page)
    assert after != before
    opened(page, server, kind)
    assert drawing(page) == after
