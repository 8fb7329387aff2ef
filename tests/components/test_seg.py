"""The segmentation painter and the map viewer in a real browser; their PNGs against Pillow."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from annotator import seg
from controlnet_core.domain.document import Raster, decode
from tests.components.conftest import Server
from tests.profiles import Profiles

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / "components" / "assets"
SKY, GRASS, SEA, ROAD, SKYSCRAPER = 2, 9, 26, 6, 48
SIDE = 512


# ---- PNGs, without a browser


def node(script: str, *arguments: str) -> bytes:
    program = shutil.which("node")
    if not program:
        pytest.skip("node is not installed")
    done = subprocess.run(
        [program, "--input-type=module", "-e", script, *arguments], cwd=ROOT, capture_output=True, check=True
    )
    return done.stdout


def test_pillow_reads_our_pngs_index_for_index(tmp_path: Path) -> None:
    indices = np.random.default_rng(3).integers(0, 150, (61, 83)).astype(np.uint8)
    (tmp_path / "indices").write_bytes(indices.tobytes())
    script = f"""
        import {{ readFileSync, writeFileSync }} from "node:fs";
        import {{ encodePng }} from "{ASSETS.as_uri()}/editors/seg/png.js";
        const palette = Uint8Array.from(JSON.parse(process.argv[2]).flat());
        const pixels = new Uint8Array(readFileSync(process.argv[1] + "/indices"));
        const rgb = Uint8Array.from([...pixels].flatMap((i) => [...palette.subarray(3 * i, 3 * i + 3)]));
        writeFileSync(process.argv[1] + "/indexed.png", await encodePng({{ width: 83, height: 61, pixels, palette }}));
        writeFileSync(process.argv[1] + "/colours.png", await encodePng({{ width: 83, height: 61, pixels: rgb }}));
    """
    node(script, str(tmp_path), json.dumps(seg.palette().tolist()))
    indexed, colours = Image.open(tmp_path / "indexed.png"), Image.open(tmp_path / "colours.png")
    indexed.verify()
    indexed = Image.open(tmp_path / "indexed.png")
    assert (indexed.mode, colours.mode) == ("P", "RGB")
    assert np.array_equal(np.asarray(indexed), indices)
    assert np.array_equal(np.asarray(indexed.convert("RGB")), seg.palette()[indices])
    assert np.array_equal(np.asarray(colours), seg.palette()[indices])


@pytest.mark.parametrize(("mode", "bits"), [("P", 1), ("P", 2), ("P", 4), ("P", 8), ("L", 1), ("L", 8)])
def test_we_read_pillows_pngs(tmp_path: Path, mode: str, bits: int) -> None:
    values = np.random.default_rng(bits).integers(0, 2**bits, (37, 41)).astype(np.uint8)
    values = np.sort(values, axis=1)  # smooth rows make the encoder use its row filters
    if mode == "P":
        picture = Image.fromarray(values, "P")
        picture.putpalette(list(range(256)) * 3)
        picture.save(tmp_path / "it.png", bits=bits)
    else:
        Image.fromarray(values * 255 if bits == 1 else values, "L").convert("1" if bits == 1 else "L").save(
            tmp_path / "it.png"
        )
    script = f"""
        import {{ readFileSync }} from "node:fs";
        import {{ decodePng }} from "{ASSETS.as_uri()}/editors/seg/png.js";
        const png = await decodePng(new Uint8Array(readFileSync(process.argv[1])));
        process.stdout.write(JSON.stringify([png.kind, png.width, png.height]) + "\\n");
        process.stdout.write(Buffer.from(png.pixels));
    """
    head, _, pixels = node(script, str(tmp_path / "it.png")).partition(b"\n")
    assert json.loads(head) == ["indexed" if mode == "P" else "grey", 41, 37]
    wanted = values * 255 if mode == "L" and bits == 1 else values
    assert pixels == wanted.tobytes()


def test_repair_in_the_browser_and_in_python_agree(tmp_path: Path) -> None:
    noisy = np.random.default_rng(5).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    noisy[:20] = seg.palette()[np.random.default_rng(6).integers(0, 150, (20, 50))]
    (tmp_path / "rgba").write_bytes(np.dstack([noisy, np.full((40, 50), 255, np.uint8)]).tobytes())
    script = f"""
        import {{ readFileSync }} from "node:fs";
        import {{ ClassTable }} from "{ASSETS.as_uri()}/editors/seg/classes.js";
        import {{ mapFromRgba }} from "{ASSETS.as_uri()}/editors/seg/repair.js";
        const classes = JSON.parse(readFileSync("annotator/ade20k.json")).classes;
        const rgba = new Uint8Array(readFileSync(process.argv[1]));
        const map = mapFromRgba({{ rgba, width: 50, height: 40 }}, new ClassTable(classes));
        const shared = map.shared.reduce((sum, {{ count }}) => sum + count, 0);
        process.stdout.write(JSON.stringify([[...map.pixels], map.changed, shared]));
    """
    pixels, changed, shared = json.loads(node(script, str(tmp_path / "rgba")))
    wanted, wanted_changed, wanted_shared = seg.nearest_classes(noisy)
    assert np.array_equal(np.array(pixels, np.uint8).reshape(40, 50), wanted)
    assert (changed, shared) == (wanted_changed, wanted_shared)


def test_the_noise_of_a_jpeg_is_cleaned_alike_in_the_browser_and_in_python(tmp_path: Path) -> None:
    """Both take the class of the nearest sure pixel; between two that are as near either is right."""
    drawn = np.full((96, 128), 2, np.uint8)
    drawn[40:] = 6
    cv2.circle(drawn, (50, 45), 25, 12, -1)
    encoded = cv2.imencode(".jpg", seg.palette()[drawn][:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
    rgb = np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[:, :, ::-1])
    (tmp_path / "rgba").write_bytes(np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]).tobytes())
    script = f"""
        import {{ readFileSync }} from "node:fs";
        import {{ ClassTable }} from "{ASSETS.as_uri()}/editors/seg/classes.js";
        import {{ cleaned, mapFromRgba }} from "{ASSETS.as_uri()}/editors/seg/repair.js";
        const classes = JSON.parse(readFileSync("annotator/ade20k.json")).classes;
        const rgba = new Uint8Array(readFileSync(process.argv[1]));
        const map = mapFromRgba({{ rgba, width: 128, height: 96 }}, new ClassTable(classes));
        process.stdout.write(JSON.stringify([[...cleaned(map).pixels], [...map.unsure]]));
    """
    pixels, unsure = (
        np.array(one, np.uint8).reshape(96, 128) for one in json.loads(node(script, str(tmp_path / "rgba")))
    )
    read = seg.read_colours(rgb)
    assert np.array_equal(unsure.astype(bool), read.unsure)
    assert (pixels != read.cleaned()).mean() < 0.01
    assert (pixels != drawn).mean() < 0.1 * (read.classes != drawn).mean() + 0.02


# ---- the editors in a browser


class Tab:
    """One tab with one editor in it, driven like a person would."""

    def __init__(self, page: Any, server: Server, kind: str) -> None:
        self.page, self.server, self.kind, self.slot = page, server, kind, uuid.uuid4().hex
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, query: str = "") -> None:
        self.page.goto(f"{self.server.url}/?kind={self.kind}&slot={self.slot}&side={SIDE}{query}")
        self.ready()

    def ready(self) -> None:
        self.page.wait_for_selector(".studio[data-ready]", timeout=60_000)
        self.page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
        self.place()

    def place(self) -> None:
        box = self.page.locator(".paper").bounding_box()
        size = self.page.locator("[data-id=size]").inner_text().split(" × ")
        self.left, self.top, self.zoom = box["x"], box["y"], box["width"] / int(size[0])

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.left + x * self.zoom, self.top + y * self.zoom

    def click(self, x: float, y: float, **options: Any) -> None:
        self.page.mouse.click(*self.at(x, y), **options)

    def drag(self, *points: tuple[float, float], steps: int = 6) -> None:
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=steps)
        self.page.mouse.up()

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def take(self, words: str) -> None:
        """Find a class and take it."""
        self.page.locator("[data-id=search]").fill(words)
        self.page.locator("[data-id=search]").press("Enter")

    def text(self, identity: str) -> str:
        return self.page.locator(f"[data-id={identity}]").inner_text()

    def stored(self) -> NDArray[np.uint8]:
        """What the server has, once it has everything."""
        self.page.wait_for_timeout(60)
        self.page.wait_for_selector('.save[data-state="saved"]')
        document = decode(urllib.request.urlopen(f"{self.server.url}/test/drawings/{self.slot}").read())
        assert isinstance(document, Raster)
        return document.pixels

    def shown(self) -> NDArray[np.uint8]:
        """The colours on the canvas, H,W,3."""
        code = """canvas => { const {width, height} = canvas;
            const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
            let text = ""; for (let i = 0; i < data.length; i += 8190) text += String.fromCharCode(...data.subarray(i, i + 8190));
            return [width, height, btoa(text)]; }"""
        width, height, text = self.page.locator(".paper > canvas").first.evaluate(code)
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3]

    def drop_file(self, data: bytes, name: str = "map.png", kind: str = "image/png") -> None:
        """Choose a file through "Open as map…"."""
        self.page.locator("[data-id=more]").click()
        with self.page.expect_file_chooser() as chosen:
            self.page.locator("[data-id=import]").click()
        chosen.value.set_files([{"name": name, "mimeType": kind, "buffer": data}])

    def downloaded(self, keys: str) -> bytes:
        with self.page.expect_download() as waiting:
            self.keys(keys)
        return Path(waiting.value.path()).read_bytes()


@pytest.fixture
def tab(profiles: Profiles, seg_server: Server) -> Iterator[Callable[..., Tab]]:
    """Opens tabs, each in a browser profile of its own: tab("seg"), tab("view", width=900)."""
    tabs: list[Tab] = []
    with ExitStack() as opened:

        def make(kind: str, query: str = "", width: int = 1280, height: int = 900, **options: Any) -> Tab:
            viewport = {"width": width, "height": height}
            page = opened.enter_context(profiles.page(viewport=viewport, **options))
            page.context.set_default_timeout(60_000)
            tabs.append(Tab(page, seg_server, kind))
            tabs[-1].open(query)
            return tabs[-1]

        yield make
    assert [error for it in tabs for error in it.errors] == []


@pytest.fixture
def painter(tab: Callable[..., Tab]) -> Tab:
    return tab("seg")


def png(picture: NDArray[np.uint8], **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.mark.browser
def test_painting_with_two_classes_filling_undo_redo_and_coming_back(painter: Tab) -> None:
    painter.take("ocean")
    assert painter.text("class-in-hand") == "sea"
    painter.drag((0, 300), (512, 300))
    first = painter.stored()
    assert first[300, 256] == SEA and first[280, 256] == GRASS and first[100, 100] == SKY
    assert np.count_nonzero(first == SEA) == pytest.approx(32 * SIDE, rel=0.02)
    painter.take("sand")
    painter.keys("g")
    painter.click(256, 480)
    second = painter.stored()
    assert second[480, 10] == 46 and second[270, 10] == GRASS and second[300, 256] == SEA
    painter.keys("Control+z")
    assert np.array_equal(painter.stored(), first)
    painter.keys("Control+Shift+z")
    assert np.array_equal(painter.stored(), second)
    painter.page.reload()
    painter.ready()
    assert np.array_equal(painter.shown(), seg.palette()[second])
    assert painter.text("class-in-hand") == "sand"


@pytest.mark.browser
def test_every_tool_leaves_nothing_but_class_colours(painter: Tab) -> None:
    known = {tuple(colour) for colour in seg.palette().tolist()}
    painter.take("tree")
    painter.keys("m")
    painter.drag((60, 400), (200, 330))
    painter.take("house")
    painter.keys("m", "u")
    painter.drag((100.3, 200.7), (222.2, 333.3))
    painter.keys("o")
    painter.drag((300, 120), (450, 260))
    painter.keys("n")
    painter.drag((20, 20), (490, 77))
    painter.take("boat")
    painter.keys("l")
    for corner in [(300, 400), (420, 380), (460, 470), (300, 400)]:
        painter.click(*corner)
    painter.keys("b", "q")
    painter.drag((30, 480), (200, 470), (250, 440))
    map_ = painter.stored()
    shown = painter.shown()
    assert {tuple(colour) for colour in np.unique(shown.reshape(-1, 3), axis=0).tolist()} <= known
    assert np.array_equal(shown, seg.palette()[map_])
    names = {int(index) for index in np.unique(map_)}
    assert names == {SKY, GRASS, 4, 25, 76}
    assert map_[365, 130] == map_[365, 382] == 4  # mirrored
    assert map_[420, 400] == 76 and map_[190, 375] == 25


@pytest.mark.browser
def test_replacing_picking_and_swapping(painter: Tab) -> None:
    painter.click(100, 100, button="right")
    assert painter.text("class-in-hand") == "sky"
    painter.keys("x")
    assert painter.text("class-in-hand") == "grass"
    painter.take("lake")
    painter.keys("g")
    painter.page.keyboard.down("Shift")
    painter.click(100, 400)
    painter.page.keyboard.up("Shift")
    assert set(np.unique(painter.stored())) == {SKY, 128}
    painter.page.keyboard.down("Alt")
    painter.click(100, 100)
    painter.page.keyboard.up("Alt")
    assert painter.text("class-in-hand") == "sky"
    painter.page.mouse.move(*painter.at(100, 400))
    assert painter.text("class-under-pointer") == "lake"
    painter.page.mouse.move(*painter.at(100, 100))
    assert painter.text("class-under-pointer") == "sky"


@pytest.mark.browser
def test_the_palette_shows_shares_favourites_and_what_the_model_knows(tab: Callable[..., Tab]) -> None:
    painter = tab("seg", "&trained=2,9,26")
    rows = painter.page.locator("[data-id=in-use] .row")
    assert [text.split("\n") for text in rows.all_inner_texts()] == [["sky", "50 %"], ["grass", "50 %"]]
    listed = painter.page.locator(".classes section:not([data-id]) .name").all_inner_texts()
    assert listed[:4] == ["sky", "grass", "sea", "wall"] and len(listed) == 150
    painter.take("sea")
    painter.keys("s")
    painter.keys("Control+Delete")
    assert rows.all_inner_texts()[0].split("\n") == ["sea", "100 %"]
    painter.take("wall")
    painter.page.reload()
    painter.ready()
    painter.page.locator(".stage").hover()
    painter.click(5, 5, button="right")
    painter.take("wall")
    painter.keys("1")
    assert painter.text("class-in-hand") == "sea"
    assert painter.page.locator("[data-id=favourites] .name").all_inner_texts() == ["sea"]


@pytest.mark.browser
def test_an_indexed_png_goes_out_and_comes_back_exactly(painter: Tab) -> None:
    painter.take("skyscraper")
    painter.drag((100, 60), (100, 260))
    painter.take("road")
    painter.drag((0, 500), (512, 500))
    before = painter.stored()
    assert {ROAD, SKYSCRAPER} <= set(np.unique(before))
    indexed, colours = painter.downloaded("Control+s"), painter.downloaded("Control+Shift+s")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(indexed))), before)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(colours)).convert("RGB")), seg.palette()[before])
    painter.keys("Control+Delete")
    assert set(np.unique(painter.stored())) == {ROAD}
    painter.drop_file(indexed)
    painter.page.get_by_text("Every pixel already was a class").wait_for()
    assert np.array_equal(painter.stored(), before)


@pytest.mark.browser
def test_a_noisy_colour_map_is_repaired_and_the_shared_colour_asked(painter: Tab) -> None:
    classes = np.full((256, 384), SKY, np.uint8)
    classes[128:] = SKYSCRAPER
    picture = seg.palette()[classes].copy()
    picture[:10, :10] += 3
    painter.drop_file(png(picture))
    painter.page.get_by_text("100 pixels (0.1 %) were no class").wait_for()
    assert painter.text("size") == "384 × 256"
    assert set(np.unique(painter.stored())) == {SKY, ROAD}
    painter.page.locator(".toast button", has_text="skyscraper").click()
    assert np.array_equal(painter.stored(), classes)


@pytest.mark.browser
def test_files_that_are_no_maps_change_nothing(painter: Tab) -> None:
    before = painter.shown()
    painter.drop_file(b"\x89PNG\r\n\x1a\n" + b"nonsense" * 10)
    painter.page.locator(".toast", has_text="PNG is damaged").wait_for()
    painter.drop_file(b"hello", "map.jpg", "image/jpeg")
    painter.page.locator(".toast", has_text="no picture that the browser can read").wait_for()
    photo = np.random.default_rng(1).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    painter.drop_file(png(photo))
    painter.page.locator(".toast", has_text="looks like a photo").get_by_text("Cancel").click()
    assert np.array_equal(painter.shown(), before)
    assert painter.page.locator("[data-id=undo]").is_disabled()


@pytest.mark.browser
def test_another_canvas_size_and_a_layout_keep_to_classes(painter: Tab) -> None:
    painter.page.locator("[data-id=layouts]").click()
    painter.page.locator("[data-id=layout-house]").click()
    painter.page.locator("[data-id=size]").click()
    painter.page.locator("[data-id=shape-2-3]").click()
    painter.page.keyboard.press("Escape")
    map_ = painter.stored()
    assert map_.shape[0] > map_.shape[1]
    assert set(np.unique(map_)) == {SKY, GRASS, 4, 8, 14, 25, 52}
    painter.keys("Control+z", "Control+z")
    assert painter.stored().shape == (SIDE, SIDE) and set(np.unique(painter.stored())) == {SKY, GRASS}


@pytest.mark.browser
def test_a_finger_paints(tab: Callable[..., Tab]) -> None:
    painter = tab("seg", width=900, height=1100, has_touch=True)
    painter.take("sea")
    painter.page.touchscreen.tap(*painter.at(256, 100))
    map_ = painter.stored()
    assert map_[100, 256] == SEA and 600 < np.count_nonzero(map_ == SEA) < 1000


@pytest.mark.browser
def test_a_map_is_opened_inverted_stretched_and_saved(tab: Callable[..., Tab]) -> None:
    viewer = tab("view")
    depth = np.random.default_rng(2).integers(40, 200, (256, 320, 1)).astype(np.uint8).repeat(3, axis=2)
    depth[0, 0], depth[-1, -1] = 40, 199
    viewer.drop_file(png(depth))
    viewer.page.get_by_text("Opened.").wait_for()
    assert np.array_equal(viewer.stored(), depth)
    viewer.keys("Control+i")
    assert np.array_equal(viewer.stored(), 255 - depth)
    viewer.keys("Control+z")
    assert np.array_equal(viewer.stored(), depth)
    viewer.page.locator("[data-id=levels]").click()
    viewer.page.locator("[data-id=auto]").click()
    viewer.page.locator("[data-id=apply]").click()
    stretched = viewer.stored()
    assert (stretched.min(), stretched.max()) == (0, 255)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(viewer.downloaded("Control+s")))), stretched)
    viewer.page.reload()
    viewer.ready()
    assert np.array_equal(viewer.shown(), stretched)
