"""The picture wall, the Jobs drawer and reopening, as a person uses them: on the tests' engine, with pictures made beforehand."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, PngImagePlugin
from playwright.sync_api import Browser, Page, expect

from controlnet_core.domain.document import Raster
from controlnet_core.domain.job import Job
from controlnet_core.storage.gallery_index import Query
from controlnet_core.storage.metadata import to_png
from tests.profiles import Profiles
from tests.soak.server import Running, running
from webapp.application.recipe_builder import Draft
from webapp.application.settings import Settings
from webapp.application.studio import Studio

pytestmark = pytest.mark.browser

WORKSPACE = "ab" * 16
COUNT = 150
WAIT_MS = 60_000


def cross(number: int) -> Raster:
    pixels = np.zeros((256, 256), np.uint8)
    cv2.line(pixels, (20, 20 + number % 200), (230, 230), 255, 6)
    return Raster("mask", pixels)


def fill(data: Path) -> None:
    """A gallery of scribbles, and one picture of two controls."""
    studio = Studio(Settings(data=data, models=data / "models", free_min_bytes=0))
    for number in range(COUNT):
        drafts = [Draft("scribble", cross(number), weight=0.75)]
        if number == COUNT - 2:
            drafts.append(Draft("canny", cross(3)))
        recipe = studio.new_recipe(
            drafts,
            model="paperworld",
            prompt=f"a {'boat' if number % 10 == 0 else 'house'} number {number}",
            negative="dull",
            width=256,
            height=256,
            steps=7,
            seed=number,
        )
        rgb = np.full((256, 256, 3), (number % 256, 120, 200 - number), np.uint8)
        studio.gallery.add(Job(f"job-{number:08d}", "before", recipe, owner=WORKSPACE), [to_png(rgb, recipe)])


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("gallery")
    fill(data)
    with running(data) as here:
        yield here


@pytest.fixture
def page(profiles: Profiles, studio: Running) -> Iterator[Page]:
    with profiles.page(viewport={"width": 1440, "height": 900}) as page:
        page.context.add_cookies([{"name": "studio_workspace", "value": WORKSPACE, "url": studio.url}])
        page.context.set_default_timeout(WAIT_MS)
        yield page


def open_wall(page: Page, studio: Running) -> None:
    page.goto(f"{studio.url}/gallery")
    expect(page.locator(".tile img").first).to_be_visible(timeout=WAIT_MS)


def says(page: Page, text: str) -> None:
    expect(page.locator(".count")).to_have_text(text, timeout=WAIT_MS)


def open_settings(page: Page) -> None:
    page.locator("summary", has_text="Settings").click()


def test_the_wall_scrolls_to_the_end_with_few_elements(page: Page, studio: Running) -> None:
    open_wall(page, studio)
    says(page, f"{COUNT} pictures")
    for _ in range(12):
        page.locator(".scroll").evaluate("one => one.scrollTo(0, one.scrollHeight)")
        page.wait_for_timeout(150)
    expect(page.get_by_role("button", name="a boat number 0", exact=True)).to_be_visible(timeout=WAIT_MS)
    assert page.locator(".tile").count() < 110


def test_search_star_delete_undo_and_download(page: Page, studio: Running) -> None:
    open_wall(page, studio)
    page.get_by_label("Search prompts").fill("BOAT")
    says(page, "15 pictures")
    for number in (0, 1):
        page.locator(".mark.pick").nth(number).click(force=True)
    expect(page.get_by_text("2 chosen")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 2
    page.get_by_role("button", name="Delete", exact=True).click()
    says(page, "13 pictures")
    page.get_by_role("button", name="Undo").click()
    says(page, "15 pictures")
    page.locator("button.look").first.focus()
    page.keyboard.press("f")
    page.get_by_role("button", name="Starred").click()
    says(page, "1 picture")
    page.locator("button.look").first.focus()
    page.keyboard.press("Delete")
    says(page, "0 pictures")
    page.get_by_role("button", name="Bin (1)").click()
    says(page, "1 picture")
    page.locator("button.look").first.click()
    page.get_by_role("button", name="Put back").click()
    says(page, "0 pictures")


def test_keys_press_buttons_and_move_the_slider(page: Page, studio: Running) -> None:
    """The wall's own keys are for pictures: a button or slider that has the focus gets its keys itself."""
    open_wall(page, studio)
    starred = page.get_by_role("button", name="Starred")
    starred.focus()
    page.keyboard.press("Space")
    expect(starred).to_have_attribute("aria-pressed", "true")
    everything = page.get_by_role("button", name="All", exact=True)
    everything.focus()
    page.keyboard.press("Space")
    says(page, f"{COUNT} pictures")
    zoom = page.get_by_role("slider", name="Size of the pictures")
    before = int(zoom.input_value())
    zoom.focus()
    page.keyboard.press("ArrowRight")
    expect(zoom).to_have_value(str(before + 1))
    expect(zoom).to_be_focused()


def test_large_view_by_keys_recipe_compare_and_overlay(page: Page, studio: Running) -> None:
    open_wall(page, studio)
    page.locator("button.look").nth(4).focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Picture")
    expect(dialog.get_by_text("5 of")).to_be_visible()
    expect(dialog.get_by_text("Negative prompt")).to_be_visible()
    expect(dialog.get_by_text("strength 0.75")).to_be_visible()
    page.keyboard.press("o")
    overlay = dialog.locator('.frame > img[src*="/control/0.png"]')
    expect(overlay).to_be_visible()
    dialog.get_by_role("slider", name="Opacity").fill("0.25")
    assert overlay.evaluate("one => one.style.opacity") == "0.25"
    dialog.get_by_role("button", name="Compare").focus()
    page.keyboard.press("c")
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("slider", name="Divider between the two pictures")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert page.evaluate("document.activeElement.shadowRoot?.activeElement?.dataset.index") == "5"


def test_reopen_brings_words_settings_and_drawing_back(page: Page, studio: Running) -> None:
    open_wall(page, studio)
    page.get_by_label("Search prompts").fill("number 7")
    page.get_by_role("button", name="a house number 7", exact=True).click()
    page.get_by_role("button", name="Reopen in its editor").click()
    expect(page.get_by_text("Everything is back as it was made.")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a house number 7", timeout=WAIT_MS)
    page.wait_for_selector(".paper canvas")
    open_settings(page)
    expect(page.get_by_role("spinbutton", name="Seed")).to_have_value("7")
    expect(page.get_by_text("256 × 256").first).to_be_visible()


def test_several_controls_reopen_in_compose(page: Page, studio: Running) -> None:
    open_wall(page, studio)
    page.get_by_role("button", name=f"a house number {COUNT - 2}", exact=True).click()
    page.get_by_role("button", name="Reopen in its editor").click()
    page.wait_for_url("**/compose")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(f"a house number {COUNT - 2}", timeout=WAIT_MS)
    for title in ("Scribble", "Edges"):
        expect(page.get_by_role("button", name=title).first).to_be_visible()


DROP = """([name, bytes, selector]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
  const find = (root) => root.querySelector(selector)
    ?? [...root.querySelectorAll("*")].map((one) => one.shadowRoot && find(one.shadowRoot)).find(Boolean);
  for (const type of ["dragenter", "dragover", "drop"])
    find(document).dispatchEvent(new DragEvent(type, { bubbles: true, composed: true, cancelable: true, dataTransfer: data }));
}"""


def dropped(page: Page, png: bytes, selector: str) -> None:
    page.evaluate(DROP, ["picture.png", list(png), selector])


def a1111() -> bytes:
    info = PngImagePlugin.PngInfo()
    text = "castle on a hill\nNegative prompt: fog\nSteps: 31, Sampler: Euler a, CFG scale: 6.5, Seed: 99, Size: 512x512, Model: x"
    info.add_text("parameters", text)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def test_a_picture_made_here_dropped_on_any_page_comes_back(page: Page, studio: Running) -> None:
    look = Studio(Settings(data=studio.data, models=studio.data / "models", free_min_bytes=0))
    png = look.gallery.find(Query(WORKSPACE, "number 77"), 1)[0].png.read_bytes()
    page.goto(f"{studio.url}/models")
    expect(page.get_by_text("Paperworld").first).to_be_visible(timeout=WAIT_MS)
    dropped(page, png, '[data-testid="stMain"]')
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a house number 77", timeout=WAIT_MS)
    page.wait_for_selector(".paper canvas")
    dropped(page, a1111(), ".stage")
    page.get_by_role("button", name="Bring them back").click()
    filled(page)


def filled(page: Page) -> None:
    """The page has what the picture of another program says."""
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("castle on a hill", timeout=WAIT_MS)
    open_settings(page)
    expect(page.get_by_role("spinbutton", name="Seed")).to_have_value("99")
    expect(page.get_by_label("Negative prompt")).to_have_value("fog")
    expect(page.get_by_role("slider", name="Steps")).to_have_value("31")


@pytest.mark.parametrize("path", ["compose", "gallery", "datasets"])
def test_a_picture_of_another_program_fills_what_it_can(page: Page, studio: Running, path: str) -> None:
    """Compose itself, and from pages that draw nothing the first studio."""
    page.goto(f"{studio.url}/{path}")
    page.get_by_role("button", name="Jobs").first.wait_for()
    dropped(page, a1111(), '[data-testid="stMain"]')
    filled(page)
    assert page.url.endswith("/compose") == (path == "compose")


def jpeg_of_a1111() -> bytes:
    """Settings as they stand in a JPEG: an EXIF user comment in UTF-16."""
    text = "castle on a hill\nNegative prompt: fog\nSteps: 31, Sampler: Euler a, CFG scale: 6.5, Seed: 99, Size: 512x512, Model: x"
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode("utf-16-be")
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def comfy(graph: dict[str, object], name: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text(name, json.dumps(graph), zip=True)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


COMFY = {
    "3": {"class_type": "KSampler", "inputs": {
        "seed": 99, "steps": 31, "cfg": 6.5, "sampler_name": "euler_ancestral", "scheduler": "normal", "denoise": 1.0,
        "positive": ["6", 0], "negative": ["7", 0]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "castle on a hill", "note": "x" * 100_000}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "fog"}},
}  # fmt: skip


def test_every_program_and_kind_of_file_is_read_as_the_command_line_reads_it(page: Page, studio: Running) -> None:
    """A JPEG's EXIF, a compressed graph of 100 kB; and what cannot be read is said."""
    for data, kind in ((jpeg_of_a1111(), "image/jpeg"), (comfy(COMFY, "prompt"), "image/png")):
        page.goto(f"{studio.url}/compose")
        page.get_by_role("button", name="Jobs").first.wait_for()
        page.evaluate(DROP.replace("image/png", kind), ["picture", list(data), '[data-testid="stMain"]'])
        filled(page)
    dropped(page, comfy({"nodes": []}, "workflow"), '[data-testid="stMain"]')
    expect(page.get_by_text("a workflow without the prompt that was run")).to_be_visible()


def accessible(page: Page, where: str) -> None:
    """Axe finds nothing on the page, shadow roots and all."""
    faults = Axe().run(page).response["violations"]
    told = [(fault["id"], node["target"], node["html"][:120]) for fault in faults for node in fault["nodes"]]
    assert not told, f"{where}: {told}"


@pytest.mark.parametrize(("look", "width"), [("light", 1440), ("dark", 900)])
def test_accessibility(browser: Browser, studio: Running, look: Literal["light", "dark"], width: int) -> None:
    # Halfway through an animation nothing has its colours yet.
    context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=look, reduced_motion="reduce")
    context.add_cookies([{"name": "studio_workspace", "value": WORKSPACE, "url": studio.url}])
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    open_wall(page, studio)
    accessible(page, "wall")
    page.locator("button.look").nth(2).click()
    expect(page.get_by_text("Negative prompt")).to_be_visible()
    page.keyboard.press("o")
    expect(page.get_by_role("slider", name="Opacity")).to_be_visible()
    accessible(page, "large")
    page.keyboard.press("o")
    page.keyboard.press("c")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("slider", name="Divider between the two pictures")).to_be_visible()
    accessible(page, "compare")
    page.keyboard.press("Escape")
    page.get_by_label("Search prompts").fill("zebra")
    expect(page.get_by_text("Nothing fits")).to_be_visible()
    page.get_by_role("button", name="Jobs", exact=True).click()
    expect(page.get_by_role("dialog", name="Jobs")).to_be_visible()
    accessible(page, "drawer over an empty wall")
    context.close()


def test_the_drawer_follows_jobs_cancels_and_survives_a_reload(page: Page, studio: Running) -> None:
    page.goto(studio.url)
    page.wait_for_selector(".paper canvas")
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill("slow=3 first")
    prompt.blur()
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("button", name="Jobs, 1 open")).to_be_visible(timeout=WAIT_MS)
    page.reload()
    page.get_by_role("button", name="Jobs, 1 open").click()
    sheet = page.get_by_role("dialog", name="Jobs")
    expect(sheet.get_by_text("Running", exact=True).first).to_be_visible()
    expect(sheet.get_by_text("Step")).to_be_visible(timeout=WAIT_MS)
    accessible(page, "drawer at work")
    sheet.get_by_role("button", name="Cancel").click()
    expect(sheet.get_by_text("Stopped.").first).to_be_visible(timeout=WAIT_MS)
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Jobs", exact=True)).to_be_visible()


def test_its_key_opens_the_drawer_also_while_one_draws(page: Page, studio: Running) -> None:
    page.goto(studio.url)
    page.wait_for_selector(".studio[data-ready]")
    page.locator(".stage").click()
    page.keyboard.press("Alt+j")
    expect(page.get_by_role("dialog", name="Jobs")).to_be_visible()
    page.keyboard.press("Alt+j")
    expect(page.get_by_role("dialog", name="Jobs")).to_be_hidden()


def test_a_job_that_failed_says_why_and_comes_back_to_be_changed(page: Page, studio: Running) -> None:
    page.goto(studio.url)
    page.wait_for_selector(".paper canvas")
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill("a mill, memory is short")
    prompt.blur()
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text("This needs more memory.")).to_be_visible()
    prompt.fill("something else")
    prompt.blur()
    page.get_by_role("link", name="Models").click()
    page.get_by_role("button", name="Jobs").click()
    failed = page.get_by_role("dialog", name="Jobs").locator(".job.failed").first
    expect(failed).to_contain_text("This needs more memory. Make it smaller.")
    failed.get_by_role("button", name="Reopen").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a mill, memory is short")
    page.wait_for_selector(".paper canvas")
