"""The scribble editor in a real browser: what is drawn arrives, comes back, and is never lost."""

from __future__ import annotations

import math
import urllib.request
import uuid
from collections.abc import Iterator

import numpy as np
import pytest

from controlnet_core.domain.document import Raster, decode

pytestmark = pytest.mark.browser


class Editor:
    """One tab with one editor in it, driven like a person would."""

    def __init__(self, page, server, slot: str) -> None:
        self.page, self.server, self.slot = page, server, slot
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, query: str = "") -> None:
        self.page.goto(f"{self.server.url}/?slot={self.slot}&height=640{query}")
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_selector(".studio[data-ready]", timeout=60_000)
        self.page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
        box = self.page.locator(".paper").bounding_box()
        self.left, self.top, self.zoom = box["x"], box["y"], box["width"] / self.inside("raster.width")

    def inside(self, what: str):
        """A value of the editor object in the browser."""
        return self.page.evaluate(f"() => {self._studio}.editor.{what}")

    def shell(self, what: str):
        return self.page.evaluate(f"() => {self._studio}.{what}")

    _studio = (
        "[...document.querySelectorAll('*')].map(n => n.shadowRoot?.querySelector('.studio[data-ready]') ?? "
        "(n.matches?.('.studio[data-ready]') ? n : null)).find(Boolean).studio"
    )

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.left + x * self.zoom, self.top + y * self.zoom

    def drag(self, *points: tuple[float, float], steps: int = 6) -> None:
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=steps)
        self.page.mouse.up()

    def saved(self) -> None:
        self.page.wait_for_function(f"() => {self._studio}.sync.state === 'saved' && !{self._studio}.sync.dirty")

    def stored(self) -> Raster:
        """What the server has."""
        self.saved()
        data = urllib.request.urlopen(f"{self.server.url}/test/drawings/{self.slot}").read()
        document = decode(data)
        assert isinstance(document, Raster) and document.kind == "mask"
        return document

    def shown(self) -> np.ndarray:
        """What the editor has."""
        pixels = self.inside("raster.pixels.reduce((text, v) => text + String.fromCharCode(v), '')")
        return np.frombuffer(pixels.encode("latin-1"), np.uint8).reshape(
            self.inside("raster.height"), self.inside("raster.width")
        )


@pytest.fixture
def editor(profiles, server) -> Iterator[Editor]:
    with profiles.page(viewport={"width": 1280, "height": 800}) as page:
        it = Editor(page, server, uuid.uuid4().hex)
        it.open()
        yield it
    assert it.errors == []


def test_a_stroke_arrives_as_it_was_drawn(editor: Editor) -> None:
    editor.drag((100, 256), (400, 256))
    mask = editor.stored().pixels
    assert mask.shape == (512, 512)
    ink = np.argwhere(mask > 127)
    assert abs(ink[:, 0].mean() + 0.5 - 256) < 1 and np.ptp(ink[:, 0]) <= 7, "a 6 px line at y = 256"
    assert abs(ink[:, 1].min() - 97) <= 2 and abs(ink[:, 1].max() - 403) <= 2
    assert ((mask > 0) & (mask < 255)).any(), "soft edges"
    assert editor.page.get_by_text("runs 1", exact=True).is_visible(), "drawing caused a rerun"


def test_every_tool_draws_what_it_says(editor: Editor) -> None:
    press = editor.page.keyboard.press
    editor.drag((250, 480), (260, 480))  # focus
    press("Control+z")
    press("u")
    editor.drag((50, 50), (200, 150))
    press("o")
    editor.drag((300, 50), (400, 150))
    press("g")
    editor.page.mouse.click(*editor.at(350, 100))
    press("n")
    editor.drag((50, 300), (200, 300))
    press("l")
    for point in [(300, 300), (400, 300), (350, 400)]:
        editor.page.mouse.click(*editor.at(*point))
    press("Enter")
    mask = editor.stored().pixels
    assert mask[100, 50] == 255 and mask[100, 125] == 0, "an outlined rectangle"
    assert mask[100, 350] == 255 and abs((mask[45:155, 295:405] > 127).sum() - math.pi * 53**2) < 250, "a filled circle"
    assert mask[300, 120] == 255 and mask[310, 120] == 0, "a line"
    assert mask[300, 350] == 255 and mask[350, 350] == 0, "a closed polygon"
    press("e")
    editor.drag((120, 280), (120, 320))
    assert editor.stored().pixels[300, 120] == 0, "the eraser"
    press("u")
    press("f")
    editor.drag((420, 420), (480, 480))
    assert editor.stored().pixels[450, 450] == 255, "a solid rectangle"


def test_how_closely_the_brush_follows_is_chosen_and_kept(editor: Editor) -> None:
    press = editor.page.keyboard.press
    zigzag = [(60 + 20 * i, 200 + (40 if i % 2 else 0)) for i in range(16)]

    def height(key: str) -> int:
        """Of the zigzag, without its ends, drawn after `key` was pressed in the choice."""
        editor.page.locator(".studio[data-ready]").focus()
        press("j")
        press(key)
        press("Escape")
        editor.drag(*zigzag, steps=3)
        rows = np.argwhere(editor.shown()[:, 160:260] > 127)[:, 0]
        press("Control+z")
        return int(np.ptp(rows))

    exactly, calmly = height("Home"), height("End")
    assert exactly > 1.5 * calmly
    editor.open()
    assert height("ArrowLeft") < exactly, "a step below the most, which a reload has kept"


def test_undo_and_redo_all(editor: Editor) -> None:
    states = [editor.shown()]
    for i in range(6):
        editor.drag((60, 60 + 60 * i), (440, 80 + 60 * i), steps=3)
        states.append(editor.shown())
    for state in reversed(states[:-1]):
        editor.page.keyboard.press("Control+z")
        assert np.array_equal(editor.shown(), state)
    assert editor.shown().max() == 0
    for state in states[1:]:
        editor.page.keyboard.press("Control+Shift+Z")
        assert np.array_equal(editor.shown(), state)
    assert np.array_equal(editor.stored().pixels, states[-1])


def test_keys_work_in_the_editor_and_stay_there(editor: Editor) -> None:
    press = editor.page.keyboard.press
    editor.drag((100, 100), (150, 100))
    editor.page.evaluate("() => { window.heard = []; document.addEventListener('keydown', e => heard.push(e.key)); }")
    for key, tool in [("e", "eraser"), ("g", "fill"), ("h", "hand"), ("b", "brush")]:
        press(key)
        assert editor.shell("tool") == tool
    before = editor.inside("sizes.brush")
    press("]")
    press("]")
    press("[")
    assert editor.inside("sizes.brush") == before + 1
    press("m")
    editor.drag((100, 200), (180, 260))
    mask = editor.stored().pixels.astype(int)
    assert np.abs(mask[150:] - mask[150:, ::-1]).max() <= 1 and mask[150:].any(), "mirrored"
    press("Control+i")
    assert editor.stored().pixels[5, 5] == 255
    press("Control+1")
    assert editor.shell("view.zoom") == 1
    press("Control+0")
    assert editor.shell("view.fitted") is True
    press("r")
    press("c")
    press("Escape")
    press("?")
    assert editor.page.get_by_role("heading", name="Keyboard shortcuts").is_visible()
    press("Escape")
    assert editor.page.get_by_role("dialog").count() == 0
    assert editor.page.evaluate("() => heard") == []
    assert editor.page.get_by_text("runs 1", exact=True).is_visible()


def test_the_other_end_of_a_pen_rubs_out(editor: Editor) -> None:
    editor.drag((100, 256), (400, 256))
    rub = """([x, y, height]) => {
      const stage = STUDIO.stage.element;
      stage.setPointerCapture = () => {};
      const fire = (type, y, button, buttons) => stage.dispatchEvent(new PointerEvent(type, { bubbles: true, composed: true,
        pointerId: 7, pointerType: "pen", pressure: 1, clientX: x, clientY: y, button, buttons }));
      fire("pointerdown", y - height, 5, 32);
      fire("pointermove", y, -1, 32);
      fire("pointermove", y + height, -1, 32);
      fire("pointerup", y + height, 5, 0);
    }""".replace("STUDIO", editor._studio)
    editor.page.evaluate(rub, [*editor.at(250, 256), 40 * editor.zoom])
    mask = editor.stored().pixels
    assert mask[256, 250] == 0 and mask[256, 150] == 255
    assert mask[220:250, 250].max() == 0, "it draws nothing"
    assert editor.shell("tool") == "brush"


def test_escape_in_mid_stroke_leaves_no_trace(editor: Editor) -> None:
    editor.drag((100, 100), (200, 100))
    before = editor.shown()
    editor.page.mouse.move(*editor.at(100, 300))
    editor.page.mouse.down()
    editor.page.mouse.move(*editor.at(300, 320), steps=4)
    assert not np.array_equal(editor.shown(), before)
    editor.page.keyboard.press("Escape")
    editor.page.mouse.up()
    assert np.array_equal(editor.shown(), before)


def test_generate_comes_after_the_last_stroke(editor: Editor) -> None:
    editor.drag((100, 100), (300, 300))
    editor.page.keyboard.press("Control+Enter")
    editor.page.get_by_text("generate 1", exact=True).wait_for()
    assert editor.stored().pixels[200, 200] == 255


def test_reload_and_a_server_that_forgot(editor: Editor) -> None:
    editor.drag((100, 256), (400, 256))
    first = editor.stored().pixels
    editor.page.reload()
    editor.ready()
    assert np.array_equal(editor.shown(), first)
    editor.saved()
    editor.server.stop()
    editor.drag((256, 100), (256, 400))
    editor.page.get_by_text("not saved: reconnecting").wait_for()
    second = editor.shown()
    editor.server.start()  # with nothing in its memory
    assert np.array_equal(editor.stored().pixels, second), "sent again by itself"
    editor.page.reload()
    editor.ready()
    assert np.array_equal(editor.shown(), second)


def test_two_tabs_are_asked_and_lose_nothing(editor: Editor) -> None:
    other = Editor(editor.page.context.new_page(), editor.server, editor.slot)
    other.open()
    editor.drag((50, 50), (450, 50))
    mine = editor.stored().pixels
    other.page.get_by_text("This drawing was changed in another tab.").wait_for()
    assert other.shown().max() == 0, "nothing is replaced by itself"
    other.drag((50, 400), (450, 400))
    other.page.get_by_text("A newer drawing was saved elsewhere.").wait_for()
    assert np.array_equal(decode(editor_bytes(editor)).pixels, mine), "nothing is overwritten by itself"
    theirs = other.shown()
    other.page.get_by_role("button", name="Show the other").last.click()
    other.page.get_by_text("This is the other drawing").wait_for()
    assert np.array_equal(other.shown(), mine)
    other.page.locator("[data-id=undo]").click()
    assert np.array_equal(other.shown(), theirs), "both can be had"


def editor_bytes(editor: Editor) -> bytes:
    return urllib.request.urlopen(f"{editor.server.url}/test/drawings/{editor.slot}").read()


def test_another_canvas_size_keeps_the_drawing(editor: Editor) -> None:
    editor.drag((156, 256), (356, 256))
    before = editor.stored().pixels
    editor.page.locator("[data-id=size]").click()
    editor.page.get_by_role("button", name="Portrait 2:3").click()
    mask = editor.stored().pixels
    assert mask.shape == (512, 320)
    ink = np.argwhere(mask > 127)
    assert abs(ink[:, 0].mean() - 256) < 2 and abs(ink[:, 1].mean() - 160) < 2
    editor.page.locator("[data-id=undo]").click()
    assert np.array_equal(editor.stored().pixels, before)


def test_a_drawing_from_a_file(editor: Editor, tmp_path) -> None:
    from PIL import Image

    for name, paper, ink in [("dark", 255, 0), ("light", 0, 255)]:
        pixels = np.full((300, 300, 3), paper, np.uint8)
        pixels[140:160, 50:250] = ink
        path = tmp_path / f"{name}.png"
        Image.fromarray(pixels).save(path)
        editor.page.locator("[data-id=more]").click()
        with editor.page.expect_file_chooser() as chooser:
            editor.page.locator("[data-id=import]").click()
        chooser.value.set_files(path)
        editor.page.get_by_text("Opened: ").first.wait_for()
        mask = editor.stored().pixels
        assert mask[256, 256] == 255 and mask[100, 100] == 0, name
        editor.page.locator("[data-id=clear]").click()
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not a picture")
    editor.page.locator("[data-id=more]").click()
    with editor.page.expect_file_chooser() as chooser:
        editor.page.locator("[data-id=import]").click()
    chooser.value.set_files(bad)
    editor.page.get_by_text("This file is no picture").wait_for()


def test_the_download_is_the_drawing(editor: Editor, tmp_path) -> None:
    from PIL import Image

    editor.drag((100, 100), (300, 300))
    mask = editor.stored().pixels
    with editor.page.expect_download() as download:
        editor.page.keyboard.press("Control+s")
    path = tmp_path / "drawing.png"
    download.value.save_as(path)
    assert np.array_equal(255 - np.asarray(Image.open(path).convert("L")), mask)


def test_fingers_draw_and_pinch(browser, server) -> None:
    context = browser.new_context(viewport={"width": 1000, "height": 800}, has_touch=True)
    editor = Editor(context.new_page(), server, uuid.uuid4().hex)
    editor.open()
    client = context.new_cdp_session(editor.page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        client.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": fingers})

    touch("Start", editor.at(100, 200))
    for x in range(110, 310, 10):
        touch("Move", editor.at(x, 200))
    touch("End")
    mask = editor.stored().pixels
    assert mask[200, 200] == 255
    zoom = editor.shell("view.zoom")
    a, b = editor.at(200, 300), editor.at(300, 300)
    touch("Start", a)
    touch("Start", a, b)
    for i in range(10):
        touch("Move", (a[0] - 4 * i, a[1]), (b[0] + 4 * i, b[1]))
    touch("End")
    assert editor.shell("view.zoom") > 1.3 * zoom
    assert np.array_equal(editor.shown(), mask), "a pinch leaves no ink"
    context.close()
    assert editor.errors == []
