"""What all editors promise alike: nothing is lost or overwritten, whatever happens to tab, server, connection or storage."""

from __future__ import annotations

import io
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from annotator import seg
from controlnet_core.domain.document import Raster, Skeleton, decode, encode
from tests.components.conftest import Server
from tests.profiles import Profiles

pytestmark = pytest.mark.browser

KINDS = ("scribble", "colour", "seg", "pose")
STUDIO = (
    "[...document.querySelectorAll('*')].map(n => n.shadowRoot?.querySelector('.studio[data-ready]') ?? "
    "(n.matches?.('.studio[data-ready]') ? n : null)).find(Boolean).studio"
)
REFUSED = (
    "Object.defineProperty(window, 'indexedDB', { get() { throw new DOMException('denied', 'SecurityError'); } });"
)
FULL = "IDBObjectStore.prototype.put = () => { throw new DOMException('full', 'QuotaExceededError'); };"
RIGHT_WRIST = 4


class Tab:
    """One tab with one editor, changed by a real mouse."""

    def __init__(self, page: Any, server: Server, kind: str, slot: str) -> None:
        self.page, self.server, self.kind, self.slot = page, server, kind, slot
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self) -> Tab:
        self.page.goto(f"{self.server.url}/?kind={self.kind}&slot={self.slot}&height=640")
        return self.ready()

    def ready(self) -> Tab:
        self.page.wait_for_selector(".studio[data-ready]", timeout=60_000)
        self.page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
        return self

    def js(self, what: str) -> Any:
        return self.page.evaluate(f"() => {STUDIO}.{what}")

    def at(self, x: float, y: float) -> tuple[float, float]:
        box, place = self.page.locator(".stage").bounding_box(), self.js(f"view.toStage({x}, {y})")
        return box["x"] + place["x"], box["y"] + place["y"]

    def path(self, step: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """From where to where the hand goes for the step-th change; a wrist is where it was left."""
        if self.kind != "pose":
            return (60, 60 + 40 * step), (450, 80 + 40 * step)
        if not self.js("editor.people.length"):
            self.js("root.focus()")
            self.page.keyboard.press("a")
            self.page.click('[data-preset="standing"]')
            self.page.keyboard.press("Escape")
        wrist = self.js(f"editor.people[0].body[{RIGHT_WRIST}]")
        return (wrist["x"], wrist["y"]), (wrist["x"] - 4 - 3 * step, wrist["y"] - 24)

    def draw(self, step: int, halfway: Callable[[], object] = lambda: None) -> None:
        start, end = (self.at(*point) for point in self.path(step))
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=3)
        halfway()
        self.page.mouse.move(*end, steps=3)
        self.page.mouse.up()

    def shown(self) -> str:
        """The whole drawing, in a form to compare."""
        return self.js(
            "editor.document().people ? JSON.stringify(STUDIO.editor.document()) : ''".replace("STUDIO", STUDIO)
        ) or self.js("editor.document().pixels.reduce((hash, v) => (Math.imul(hash, 31) + v) | 0, 7).toString()")

    def saved(self) -> bytes:
        """What the server has, once it has everything."""
        self.page.wait_for_function(f"() => {STUDIO}.sync.state === 'saved' && !{STUDIO}.sync.dirty")
        return self.kept()

    def kept(self) -> bytes:
        return urllib.request.urlopen(f"{self.server.url}/test/drawings/{self.slot}").read()

    def toast(self, words: str) -> Any:
        found = self.page.locator(".toast", has_text=words).last
        found.wait_for()
        return found

    def drop(self, data: bytes, name: str, kind: str, event: str) -> None:
        """Drop a file on the editor, or paste it."""
        code = """([bytes, name, type, event]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], name, { type }));
            const options = { bubbles: true, composed: true, cancelable: true };
            STUDIO.root.dispatchEvent(event === "drop" ? new DragEvent("drop", { ...options, dataTransfer: data })
                : new ClipboardEvent("paste", { ...options, clipboardData: data }));
        }""".replace("STUDIO", STUDIO)
        self.page.evaluate(code, [list(data), name, kind, event])


@pytest.fixture
def server(seg_server: Server) -> Server:
    return seg_server


@pytest.fixture
def tab(profiles: Profiles, server: Server) -> Iterator[Callable[..., Tab]]:
    """Opens tabs: tab(kind) in an empty browser profile, tab(kind, beside=other) in the other's."""
    tabs: list[Tab] = []
    with ExitStack() as opened:

        def make(kind: str, beside: Tab | None = None, **options: Any) -> Tab:
            if beside:
                page = beside.page.context.new_page()
            else:
                page = opened.enter_context(profiles.page(viewport={"width": 1180, "height": 800}, **options))
                page.context.set_default_timeout(60_000)
            tabs.append(Tab(page, server, kind, beside.slot if beside else uuid.uuid4().hex))
            return tabs[-1].open()

        yield make
    assert [error for it in tabs for error in it.errors] == []


def png(side: int = 96) -> bytes:
    """A picture of two halves, left and right, in the colours of two classes."""
    picture = np.empty((side, side, 3), np.uint8)
    picture[:, : side // 2], picture[:, side // 2 :] = seg.palette()[[12, 4]]
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["colour", "seg", "pose"])
def test_undo_reload_and_a_server_killed_and_started_empty(kind: str, tab: Callable[..., Tab]) -> None:
    editor = tab(kind)
    states = []
    for step in range(4):
        editor.draw(step)
        states.append(editor.shown())
    for state in states[-2::-1]:
        editor.page.keyboard.press("Control+z")
        assert editor.shown() == state
    for _ in states[1:]:
        editor.page.keyboard.press("Control+y")
    assert editor.shown() == states[-1]
    editor.saved()
    editor.page.reload()
    assert editor.ready().shown() == states[-1]
    editor.server.stop()
    editor.draw(5)
    editor.page.get_by_text("not saved: reconnecting").wait_for()
    last = editor.shown()
    assert last != states[-1]
    editor.server.start()
    assert decode(editor.saved())
    editor.page.reload()
    assert editor.ready().shown() == last


@pytest.mark.parametrize("kind", KINDS)
def test_undo_goes_on_after_a_reload_and_after_another_page(kind: str, tab: Callable[..., Tab]) -> None:
    """What can be undone lies in the browser beside the drawing; what came in between is one step of it."""
    editor = tab(kind)
    blank = editor.shown()
    states = []
    for step in range(3):
        editor.draw(step)
        states.append(editor.shown())
    editor.saved()
    editor.page.reload()
    editor.ready()
    editor.js("root.focus()")
    editor.page.keyboard.press("Control+z")
    assert editor.shown() == states[1]
    editor.saved()
    editor.page.goto("about:blank")
    editor.open().js("root.focus()")
    assert editor.shown() == states[1]
    editor.page.keyboard.press("Control+y")
    assert editor.shown() == states[2]
    while editor.js("history.canUndo"):
        editor.page.keyboard.press("Control+z")
    assert editor.shown() == blank


@pytest.mark.parametrize("kind", ["seg", "pose"])
def test_two_tabs_are_asked_and_overwrite_nothing(kind: str, tab: Callable[..., Tab]) -> None:
    one = tab(kind)
    one.draw(0)
    one.saved()
    two = tab(kind, beside=one)
    assert two.shown() == one.shown()
    one.draw(1)
    mine = one.saved()
    two.toast("changed in another tab")
    two.draw(3)
    question = two.toast("A newer drawing was saved elsewhere.")
    assert two.kept() == mine
    theirs = two.shown()
    question.get_by_role("button", name="Show the other").click()
    two.toast("This is the other drawing")
    assert two.shown() == one.shown()
    two.page.locator("[data-id=undo]").click()
    assert two.shown() == theirs


@pytest.mark.parametrize(("kind", "before"), [("scribble", FULL), ("seg", REFUSED), ("pose", REFUSED)])
def test_a_browser_that_stores_nothing_and_a_cut_in_mid_stroke(kind: str, before: str, tab: Callable[..., Tab]) -> None:
    editor = tab(kind, before=before)
    editor.draw(0)
    first = editor.saved()
    context = editor.page.context
    editor.draw(1, halfway=lambda: context.set_offline(True))
    editor.page.get_by_text("not saved: reconnecting").wait_for()
    shown = editor.shown()
    editor.draw(2)
    assert editor.kept() == first
    editor.page.keyboard.press("Control+z")
    assert editor.shown() == shown
    context.set_offline(False)
    assert editor.saved() != first
    editor.page.reload()
    assert editor.ready().shown() == shown


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_in_mid_stroke_waits_for_its_end(kind: str, tab: Callable[..., Tab]) -> None:
    """A detector or another tab may bring a drawing at any time: the stroke is finished, then people are asked."""
    editor = tab(kind)
    editor.draw(0)
    editor.saved()

    def comes() -> None:
        address = f"{editor.server.url}/test/drawings/{editor.slot}"
        there = urllib.request.urlopen(address)
        rev, data = int(there.headers["X-Rev"]), there.read()
        urllib.request.urlopen(urllib.request.Request(address, data, {"X-Rev": str(rev)}, method="PUT")).read()
        told = "([rev, bytes]) => void STUDIO.update({ ...STUDIO.props, rev }, new Uint8Array(bytes))"
        editor.page.evaluate(told.replace("STUDIO", STUDIO), [rev + 1, list(data)])

    half: list[str] = []
    editor.draw(1, halfway=lambda: (comes(), half.append(editor.shown())))
    editor.toast("A newer drawing was saved elsewhere.")
    drawn = editor.shown()
    assert drawn != half[0], "the second half of the stroke is missing"
    editor.page.keyboard.press("Control+z")
    assert editor.shown() != drawn


def test_an_editor_that_goes_leaves_nothing_behind(tab: Callable[..., Tab]) -> None:
    counted = """
      const [make, drop] = [URL.createObjectURL, URL.revokeObjectURL];
      window.held = new Set();
      URL.createObjectURL = (blob) => {
        const url = make.call(URL, blob);
        if (blob.type.startsWith("image/")) held.add(url);
        return url;
      };
      URL.revokeObjectURL = (url) => {
        held.delete(url);
        drop.call(URL, url);
      };
    """
    editor = tab("scribble", before=counted)
    editor.drop(png(), "photo.png", "image/png", "drop")
    editor.toast("photo.png").get_by_role("button", name="Trace over it").click()
    editor.page.locator(".paper > img").wait_for(state="visible")
    assert editor.page.evaluate("held.size") == 1
    editor.js("destroy()")
    assert editor.page.evaluate("held.size") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_of_another_editor_changes_nothing(kind: str, tab: Callable[..., Tab]) -> None:
    editor = tab(kind)
    editor.draw(0)
    editor.saved()
    before = editor.shown()
    foreign = Skeleton(width=64, height=64) if kind != "pose" else Raster("mask", np.zeros((64, 64), np.uint8))
    address = f"{editor.server.url}/test/drawings/{editor.slot}"
    rev = urllib.request.urlopen(address).headers["X-Rev"]
    put = urllib.request.Request(address, encode(foreign), {"X-Rev": rev}, method="PUT")
    urllib.request.urlopen(put).read()
    editor.draw(1)
    after = editor.shown()
    editor.toast("A newer drawing was saved elsewhere.").get_by_role("button", name="Show the other").click()
    editor.toast("belongs to another editor")
    assert editor.shown() == after
    editor.page.keyboard.press("Control+z")
    assert editor.shown() == before


def test_a_picture_to_trace_is_dropped_kept_faded_and_removed(tab: Callable[..., Tab]) -> None:
    editor = tab("pose")
    picture = editor.page.locator(".paper > img")
    assert picture.is_hidden()
    editor.drop(png(), "photo.png", "image/png", "drop")
    picture.wait_for(state="visible")
    editor.page.locator("[data-id=underlay]").click()
    editor.page.locator("[data-id=underlay-opacity]").fill("0.2")
    assert float(picture.evaluate("node => getComputedStyle(node).opacity")) == pytest.approx(0.2)
    editor.page.keyboard.press("Escape")
    editor.page.reload()
    editor.ready()
    picture.wait_for(state="visible")
    assert float(picture.evaluate("node => getComputedStyle(node).opacity")) == pytest.approx(0.2)
    editor.page.locator("[data-id=underlay]").click()
    editor.page.locator("[data-id=remove-underlay]").click()
    assert picture.is_hidden()
    editor.drop(b"no picture", "photo.png", "image/png", "drop")
    editor.toast("no picture that the browser can read")
    assert picture.is_hidden()
    editor.drop(b"{}", "notes.txt", "text/plain", "drop")
    editor.toast("a list called “people” is missing")


@pytest.mark.parametrize(
    ("kind", "opens"), [("scribble", "Open as drawing"), ("colour", "Open as drawing"), ("seg", "Open as map")]
)
def test_a_pasted_picture_asks_what_it_is_and_a_key_opens_files(
    kind: str, opens: str, tab: Callable[..., Tab], tmp_path: Path
) -> None:
    editor = tab(kind)
    blank = editor.shown()
    editor.drop(png(), "", "image/png", "paste")
    editor.toast("A pasted picture").get_by_role("button", name="Cancel").click()
    assert editor.shown() == blank
    editor.drop(png(), "", "image/png", "paste")
    editor.toast("A pasted picture").get_by_role("button", name="Trace over it").click()
    editor.page.locator(".paper > img").wait_for(state="visible")
    assert editor.shown() == blank
    editor.drop(png(), "drawn.png", "image/png", "drop")
    editor.toast("drawn.png").get_by_role("button", name=opens).click()
    editor.toast("Opened")
    assert editor.shown() != blank
    editor.js("root.focus()")
    with editor.page.expect_file_chooser() as chooser:
        editor.page.keyboard.press("Control+o")
    huge = tmp_path / "huge.png"  # a file: bytes would go through two pipes as text
    huge.write_bytes(b"x" * (26 << 20))
    chooser.value.set_files(huge)
    editor.toast("larger than 25 MB")


def test_regions_of_a_picture_get_a_class_by_a_click_and_a_drag(tab: Callable[..., Tab]) -> None:
    editor = tab("seg")
    editor.page.keyboard.press("Tab")
    editor.js("root.focus()")
    editor.page.keyboard.press("w")
    with editor.page.expect_file_chooser() as chooser:
        editor.toast("cut from a picture to trace").get_by_role("button", name="Open a picture").click()
    chooser.value.set_files([{"name": "halves.png", "mimeType": "image/png", "buffer": png()}])
    editor.page.wait_for_function(f"() => {STUDIO}.editor.regions.map")
    before = decode_classes(editor.js("editor.document()"))
    editor.page.locator("[data-id=search]").fill("sea")
    editor.page.locator("[data-id=search]").press("Enter")
    editor.page.mouse.click(*editor.at(100, 100))
    one = decode(editor.saved())
    assert isinstance(one, Raster)
    changed = np.argwhere(one.pixels != before)
    assert 300 < len(changed) < 512 * 512 / 50
    assert changed[:, 1].max() < 262, "the region keeps to its half of the picture"
    assert set(one.pixels[one.pixels != before]) == {26}
    editor.page.mouse.move(*editor.at(300, 50))
    editor.page.mouse.down()
    editor.page.mouse.move(*editor.at(300, 450), steps=12)
    editor.page.mouse.up()
    many = decode(editor.saved())
    assert isinstance(many, Raster)
    assert np.count_nonzero(many.pixels == 26) > 6 * len(changed)
    editor.page.keyboard.press("Control+z")
    editor.page.keyboard.press("Control+z")
    assert np.array_equal(decode_classes(editor.js("editor.document()")), before)


def decode_classes(document: dict[str, Any]) -> np.ndarray:
    pixels = document["pixels"]
    values = [pixels[str(i)] for i in range(len(pixels))] if isinstance(pixels, dict) else list(pixels)
    return np.array(values, np.uint8).reshape(document["height"], document["width"])


@pytest.mark.parametrize("kind", ["seg", "pose"])
def test_fingers_draw_undo_and_pinch(kind: str, tab: Callable[..., Tab]) -> None:
    editor = tab(kind, has_touch=True)
    start, end = (editor.at(*point) for point in editor.path(3))
    blank = editor.shown()
    devtools = editor.page.context.new_cdp_session(editor.page)

    def touch(what: str, *points: tuple[float, float]) -> None:
        fingers = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        devtools.send("Input.dispatchTouchEvent", {"type": f"touch{what}", "touchPoints": fingers})

    touch("Start", start)
    for i in range(1, 8):
        touch("Move", (start[0] + (end[0] - start[0]) * i / 7, start[1] + (end[1] - start[1]) * i / 7))
    touch("End")
    drawn = editor.shown()
    assert drawn != blank
    zoom = editor.js("view.zoom")
    a, b = editor.at(60, 480), editor.at(450, 480)
    touch("Start", a)
    touch("Start", a, b)
    for i in range(10):
        touch("Move", (a[0] - 4 * i, a[1]), (b[0] + 4 * i, b[1]))
    touch("End")
    assert editor.js("view.zoom") > 1.1 * zoom
    assert editor.shown() == drawn, "a pinch leaves no trace"
    editor.page.locator("[data-id=undo]").tap()
    assert editor.shown() == blank
