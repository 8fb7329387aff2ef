"""Live in a real browser on the embedded model: the picture follows the pen, whatever happens meanwhile."""

from __future__ import annotations

import base64
import io
import re
import signal
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from controlnet_core.domain.picture import resize_to
from tests.browser.conftest import WAIT_MS, Server
from tests.browser.hands import READY, fetched, open_page, paper, saved, settled

pytestmark = pytest.mark.browser

# What is drawn: a zigzag over the empty upper part of the first example.
ZIGZAG = [(0.1 + 0.08 * k, 0.06 if k % 2 else 0.3) for k in range(11)]


@pytest.fixture(scope="module")
def tab(browser: Browser, server: Server) -> Iterator[Page]:
    """A browser on the Scribble page whose live sockets can be cut."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.lines = []  # type: ignore[attr-defined]
    page.silent = False  # type: ignore[attr-defined]

    def through(route: WebSocketRoute) -> None:
        page.lines.append(route)  # type: ignore[attr-defined]
        if page.silent:  # type: ignore[attr-defined]
            return
        there = route.connect_to_server()
        route.on_message(lambda message: None if page.silent else there.send(message))  # type: ignore[attr-defined]
        there.on_message(lambda message: None if page.silent else route.send(message))  # type: ignore[attr-defined]

    page.route_web_socket("**/studio/live/**", through)
    open_page(page, server, "")
    yield page
    context.close()


@pytest.fixture
def live(tab: Page, server: Server) -> Page:
    """The Scribble page with the first example, Live on, its first picture there."""
    open_page(tab, server, "")
    expect(tab.get_by_role("button", name="Generate")).to_be_visible()
    switch = tab.get_by_role("switch", name="Live")
    expect(switch).to_be_visible()
    tab.locator(".studio[data-ready]").focus()
    if not switch.is_checked():  # the page keeps how it was left
        tab.keyboard.press("Shift+L")
    expect(switch).to_be_checked()
    phase(tab, "done")
    return tab


def phase(page: Page, name: str) -> None:
    # A worker may have to start first.
    page.wait_for_selector(f'.results .beat[data-phase="{name}"]', timeout=3 * WAIT_MS)


def picture(page: Page) -> NDArray[np.int64]:
    """The live picture that is shown."""
    data = page.eval_on_selector(".results canvas.live", "canvas => canvas.toDataURL().split(',')[1]")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def drawing(page: Page) -> NDArray[np.uint8]:
    """The ink on the sheet, 0..255, mid-stroke too."""
    found = page.eval_on_selector(
        ".studio[data-ready]",
        "({ studio }) => { const { width, height, pixels } = studio.editor.raster; return [width, height, Array.from(pixels)]; }",
    )
    return np.array(found[2], np.uint8).reshape(found[1], found[0])


def until(true: Callable[[], object], page: Page) -> None:
    deadline = time.monotonic() + WAIT_MS / 1000
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        page.wait_for_timeout(100)


def begin_stroke(page: Page) -> None:
    """Draw the zigzag, and hold the pen on the sheet."""
    sheet = paper(page)
    points = [(sheet["x"] + x * sheet["width"], sheet["y"] + y * sheet["height"]) for x, y in ZIGZAG]
    page.mouse.move(*points[0])
    page.mouse.down()
    for x, y in points[1:]:
        page.mouse.move(x, y, steps=8)


def edges(rgb: NDArray[np.int64]) -> NDArray[np.float64]:
    grey = rgb.mean(axis=2)
    across, down = np.gradient(grey)
    return np.hypot(across, down)


def test_the_picture_follows_before_the_pen_is_lifted(live: Page, server: Server) -> None:
    old, ink_before = picture(live), drawing(live)
    begin_stroke(live)
    ink = drawing(live)
    new_ink = resize_to((ink > ink_before).astype(np.uint8) * 255, old.shape[1], old.shape[0]) > 64
    assert new_ink.sum() > 100
    until(lambda: edges(picture(live))[new_ink].mean() > 2 * edges(old)[new_ink].mean(), live)
    phase(live, "done")  # the pen is still down
    settled_picture = picture(live)
    live.wait_for_timeout(300)
    assert np.array_equal(picture(live), settled_picture), "nothing changes by itself"
    live.mouse.up()
    saved(live)
    # Under the lines, at the opacity that one chooses.
    assert live.locator(".paper canvas.live").count() == 0
    live.get_by_role("slider", name="Under the lines").press("End")
    expect(live.locator(".paper canvas.live")).to_be_visible()
    live.get_by_role("slider", name="Under the lines").press("Home")
    # A film of what is drawn from now on, for whoever asks.
    live.get_by_role("button", name="Record a film").click()
    live.locator(".studio[data-ready]").focus()
    for _ in range(2):
        live.keyboard.press("Control+i")
        live.wait_for_timeout(300)
        phase(live, "done")
    with live.expect_download() as film:
        live.get_by_role("button", name="Stop and download").click()
    assert film.value.suggested_filename == "live.webm"
    data = film.value.path().read_bytes()
    assert data[:4] == b"\x1aE\xdf\xa3" and len(data) > 2000
    # Kept is the very picture that is shown, with its seed, and live goes on after it.
    live.locator(".studio[data-ready]").focus()
    live.keyboard.press("Shift+N")
    until(lambda: not np.array_equal(picture(live), settled_picture), live)
    phase(live, "done")
    shown = picture(live)
    seed = live.locator(".results .beat").get_attribute("data-seed") or ""
    live.get_by_role("button", name="Keep").click()
    kept = live.locator('img.image[src*="/studio/pictures/"]')
    kept.wait_for()
    pixels, recipe, _ = fetched(server, kept.get_attribute("src") or "")
    assert recipe.seed == int(seed) and recipe.images == 1
    assert np.abs(pixels.astype(int) - shown).mean() < 4, "but for the JPEG it is the same"
    live.locator(".studio[data-ready]").focus()
    live.keyboard.press("Control+z")
    live.wait_for_selector(".results canvas.live")


def test_the_last_picture_belongs_to_the_last_of_many_drawings(live: Page) -> None:
    first = picture(live)
    for _ in range(100):
        live.keyboard.press("Control+i")  # inverted and back again
    assert len(live.lines) >= 1  # type: ignore[attr-defined]
    live.keyboard.press("Control+i")
    until(lambda: not np.array_equal(picture(live), first), live)
    live.keyboard.press("Control+i")
    until(lambda: np.array_equal(picture(live), first), live)
    phase(live, "done")
    assert np.array_equal(picture(live), first)


def test_a_cut_line_a_hidden_tab_and_a_killed_worker_end_nothing(live: Page, server: Server) -> None:
    lines: list[WebSocketRoute] = live.lines  # type: ignore[attr-defined]
    before, opened = picture(live), len(lines)
    lines[-1].close(code=4000)
    until(lambda: len(lines) > opened, live)
    phase(live, "done")
    # Nobody looks: the socket is closed, and the next stroke opens it.
    live.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
                  "document.dispatchEvent(new Event('visibilitychange'))")  # fmt: skip
    phase(live, "rest")
    opened = len(lines)
    live.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    live.wait_for_timeout(300)
    assert len(lines) == opened
    live.keyboard.press("Control+i")
    until(lambda: len(lines) > opened and not np.array_equal(picture(live), before), live)
    # The worker dies: another one draws on.
    assert server.process is not None
    for child in psutil.Process(server.process.pid).children(recursive=True):
        if "controlnet_core.execution.worker" in " ".join(child.cmdline()):
            child.send_signal(signal.SIGKILL)
    live.keyboard.press("Control+z")
    until(lambda: np.array_equal(picture(live), before), live)
    phase(live, "done")


def test_a_line_that_is_cut_without_a_word_says_so_and_nothing_drawn_is_lost(live: Page) -> None:
    """As where the network goes: no end of the connection comes, and whoever connects anew hears nothing either."""
    lines: list[WebSocketRoute] = live.lines  # type: ignore[attr-defined]
    beat, before = live.locator(".results .beat"), picture(live)
    begin_stroke(live)
    until(lambda: not np.array_equal(picture(live), before), live)
    phase(live, "done")
    opened, half = len(lines), picture(live)
    live.silent = True  # type: ignore[attr-defined]
    sheet = paper(live)
    live.mouse.move(sheet["x"] + sheet["width"] * 0.5, sheet["y"] + sheet["height"] * 0.9, steps=20)
    expect(beat).to_have_attribute("data-phase", "away", timeout=12_000)
    words = beat.locator(".word")
    expect(words).to_have_text("Line cut, goes on by itself")
    assert words.evaluate("node => node.scrollWidth <= node.clientWidth"), "it is read whole"
    beat.evaluate(
        "beat => { window.said = []; new MutationObserver(() => said.push(beat.dataset.phase))"
        ".observe(beat, {attributes: true, attributeFilter: ['data-phase']}); }"
    )
    until(lambda: len(lines) >= opened + 2, live)  # it tries, and tries again
    live.mouse.move(sheet["x"] + sheet["width"] * 0.9, sheet["y"] + sheet["height"] * 0.5, steps=20)
    live.mouse.up()
    expect(beat).to_have_attribute("data-phase", "away")
    assert np.array_equal(picture(live), half)
    assert live.evaluate("window.said") == [], "nothing is sent through a line on which nobody is heard"
    live.silent = False  # type: ignore[attr-defined]
    phase(live, "done")
    whole = picture(live)
    assert not np.array_equal(whole, half)
    # The same as of the same drawing on a line that was never cut.
    live.keyboard.press("Control+i")
    until(lambda: not np.array_equal(picture(live), whole), live)
    live.keyboard.press("Control+i")
    until(lambda: np.array_equal(picture(live), whole), live)


@pytest.mark.parametrize("path", ["colour", "pose", "seg", "compose"])
def test_it_follows_every_editor_in_mid_drag_and_the_prompt_while_it_is_typed(
    tab: Page, server: Server, path: str
) -> None:
    open_page(tab, server, path)
    tab.get_by_text("Live", exact=True).click()
    expect(tab.get_by_role("switch", name="Live")).to_be_checked()
    phase(tab, "done")
    before, sheet = picture(tab), paper(tab)
    x, y = tab.eval_on_selector(
        ".studio[data-ready]",
        "({ studio: { editor, view } }) => { const joint = editor.people?.[0].body[4];"  # a wrist
        " return joint ? [joint.x / view.width, joint.y / view.height] : [0.3, 0.5]; }",
    )
    tab.mouse.move(sheet["x"] + sheet["width"] * x, sheet["y"] + sheet["height"] * y)
    tab.mouse.down()
    tab.mouse.move(sheet["x"] + sheet["width"] * (x + 0.2), sheet["y"] + sheet["height"] * (y - 0.2), steps=10)
    until(lambda: np.abs(picture(tab) - before).mean() > 0.5, tab)
    tab.mouse.up()
    saved(tab)
    if path != "pose":
        return
    phase(tab, "done")
    drawn = picture(tab)
    field = tab.get_by_label("Prompt", exact=True)
    field.press("End")
    field.press_sequentially(" at night")
    until(lambda: np.abs(picture(tab) - drawn).mean() > 3, tab)  # the field has not been left
    # One that is refused takes nothing away, and the one before it is as good as ever.
    phase(tab, "done")
    said = field.input_value()
    field.fill("x" * 5000)
    phase(tab, "failed")  # while the field has not been left
    field.blur()
    expect(tab.get_by_role("alert").get_by_text("5000 characters")).to_be_visible()
    expect(tab.locator(".results canvas.live")).to_be_visible()
    field.fill(said)
    phase(tab, "done")
    expect(tab.locator(".results canvas.live")).to_be_visible()


def test_it_follows_a_slider_over_a_photo_before_it_is_let_go(tab: Page, server: Server) -> None:
    tab.goto(f"{server.url}/canny")
    tab.locator(".studio.photo button:has(img)").first.click()  # an example
    tab.get_by_text("Live", exact=True).click()
    phase(tab, "done")
    slider = tab.get_by_role("slider", name="High threshold")
    box = slider.bounding_box()
    assert box is not None
    knob = box["x"] + box["width"] * float(slider.input_value()) / float(slider.get_attribute("max") or 1)
    before = picture(tab)
    tab.mouse.move(knob, box["y"] + box["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] / 2, steps=8)
    until(lambda: np.abs(picture(tab) - before).mean() > 0.3, tab)
    halfway = picture(tab)
    tab.mouse.move(box["x"] + 2, box["y"] + box["height"] / 2, steps=8)
    until(lambda: np.abs(picture(tab) - halfway).mean() > 0.3, tab)
    tab.mouse.up()
    phase(tab, "done")


def test_it_follows_a_shape_that_is_dragged_and_the_editor_takes_over(live: Page) -> None:
    live.get_by_text("Shapes", exact=True).click()
    canvas = live.locator("canvas.upper-canvas").first
    canvas.wait_for()
    settled(live)
    phase(live, "done")
    before, box = picture(live), canvas.bounding_box()
    assert box is not None

    def move(x: float, y: float) -> None:
        live.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8)

    move(0.1, 0.1)
    live.mouse.down()
    move(0.5, 0.3)
    until(lambda: np.abs(picture(live) - before).mean() > 0.5, live)
    halfway = picture(live)
    move(0.9, 0.6)
    until(lambda: np.abs(picture(live) - halfway).mean() > 0.5, live)
    live.mouse.up()
    stamp = live.get_by_role("button", name="Stamp onto the drawing")
    expect(stamp).to_be_enabled()
    phase(live, "done")
    with_box = picture(live)
    stamp.click()
    expect(stamp).to_be_disabled()
    live.get_by_text("Draw", exact=True).click()
    live.wait_for_selector(".studio[data-ready]")
    settled(live)
    phase(live, "done")
    assert np.abs(picture(live) - with_box).mean() < 2, "the stamped box is where it was"
    live.locator(".studio[data-ready]").focus()
    live.keyboard.press("Control+i")
    until(lambda: np.abs(picture(live) - with_box).mean() > 2, live)


def test_it_is_on_as_it_was_left_after_another_page_and_a_server_that_was_started_again(
    page: Page, own_server: Server
) -> None:
    open_page(page, own_server, "")
    page.get_by_text("Live", exact=True).click()
    phase(page, "done")
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_role("heading", name=re.compile("^Base models"))).to_be_visible()
    page.get_by_role("link", name="Scribble").click()
    switch = page.get_by_role("switch", name="Live")
    expect(switch).to_be_checked()
    phase(page, "done")
    page.wait_for_timeout(1500)  # what a page is like is kept within a second
    own_server.kill()
    phase(page, "away")
    own_server.start()
    phase(page, "done")
    expect(switch).to_be_checked()
    before = picture(page)
    page.locator(".studio[data-ready]").focus()
    page.keyboard.press("Control+i")
    until(lambda: not np.array_equal(picture(page), before), page)


def test_it_goes_off_again(live: Page) -> None:
    live.locator(".studio[data-ready]").focus()
    live.keyboard.press("Shift+L")
    expect(live.get_by_role("switch", name="Live")).not_to_be_checked()
    live.wait_for_selector(READY)
    settled(live)
    assert live.locator("canvas.live:visible").count() == 0
    opened = len(live.lines)  # type: ignore[attr-defined]
    live.keyboard.press("Control+i")
    saved(live)
    assert len(live.lines) == opened  # type: ignore[attr-defined]
