"""What a picture was made from comes back whole: drawing, photo, sliders, words and settings; made again, it is the same.

On an engine whose pictures differ as soon as anything differs.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from controlnet_core.domain.recipe import Recipe
from controlnet_core.storage.gallery import Gallery, Query
from controlnet_core.storage.metadata import to_png
from tests.browser.hands import READY, draw, few_steps, made, open_page, saved, settled
from tests.browser.test_gallery import dropped
from tests.browser.test_photo import choose_photo, photo
from tests.soak.server import Running, running

pytestmark = pytest.mark.browser

Made = tuple[NDArray[np.uint8], Recipe, bytes]
BACK = "Everything is back as it was made."


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("reopening"), engine="tests.browser.witness_engine:build") as here:
        yield here


def write(page: Page, words: str) -> None:
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill(words)
    prompt.blur()
    settled(page)


def open_tab(page: Page, name: str) -> None:
    """A tab of the settings, which are opened if they are not."""
    tab = page.get_by_role("tab", name=name)
    if not tab.is_visible():
        page.locator("summary", has_text="Settings").click()
    tab.click()
    settled(page)


def press(page: Page, name: str, key: str, times: int = 1) -> str:
    """Move a slider by a key; returns what it says then."""
    slider = page.get_by_role("slider", name=name)
    slider.focus()
    for _ in range(times):
        slider.press(key)
    settled(page)
    return slider.input_value()


def take_example(page: Page, title: str) -> None:
    """Replace drawing and words by those of an example."""
    page.get_by_role("button", name="Examples").click()
    page.get_by_role("button", name=title).first.click()
    page.keyboard.press("Escape")
    settled(page)


def open_photo(page: Page) -> None:
    """The panel of the photo that lies under a composition."""
    page.locator(".st-key-compose-photo button").click()


def reopen(page: Page, place: int) -> None:
    """Reopen a picture of the gallery, 0 the newest, in the session that made it."""
    page.get_by_role("link", name="Gallery").click()
    page.locator("button.look").nth(place).click()
    source = page.get_by_role("dialog", name="Picture").locator("img.main").get_attribute("src") or ""
    page.get_by_role("button", name="Reopen in its editor").click()
    expect(page.get_by_text(BACK)).to_be_visible()
    page.wait_for_selector(".studio[data-ready]")
    expect(page.locator(f'img.image[src*="/studio/pictures/{re.findall("[0-9a-f]{32}", source)[-1]}"]')).to_be_visible()
    settled(page)


def same(one: Made, other: Made) -> None:
    """The same recipe to the last value, and the same picture to the last pixel."""
    assert other[1] == one[1]
    assert np.array_equal(other[0], one[0])


def another_photo() -> bytes:
    rgb = np.full((300, 300, 3), 30, np.uint8)
    rgb[40:120, 40:260] = (220, 180, 40)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_drawing_drawn_in_another_way_than_the_usual(page: Page, studio: Running) -> None:
    open_page(page, studio, "pose")
    write(page, "a man on a hill")
    few_steps(page)
    open_tab(page, "Control")
    page.get_by_role("radio", name="1.1").click()
    page.get_by_text("Faces", exact=True).click()
    weight = press(page, "Control strength", "ArrowLeft", 4)
    first = made(page, studio)
    unit = first[1].controls[0]
    assert unit.values == {"style": "1.1", "hands": True, "faces": False}
    assert unit.weight == float(weight)

    page.get_by_test_id("stMain").locator("button", has_text="Reset to defaults").click()
    take_example(page, "A woman in a red dress")
    assert made(page, studio)[1].controls[0].picture != unit.picture

    reopen(page, 1)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a man on a hill")
    open_tab(page, "Control")
    expect(page.get_by_role("radio", name="1.1")).to_be_checked()
    expect(page.get_by_role("switch", name="Faces")).not_to_be_checked()
    expect(page.get_by_role("slider", name="Control strength")).to_have_value(weight)
    same(first, made(page, studio))


def test_a_photo_looked_at_with_other_values_than_the_usual(page: Page, studio: Running) -> None:
    page.goto(f"{studio.url}/canny")
    page.wait_for_selector(READY)
    choose_photo(page, photo())
    expect(page.get_by_text("px, found in")).to_be_visible()
    for name, value in (("Map size", "384"), ("Low threshold", "20"), ("High threshold", "60")):
        page.get_by_label(name).fill(value)
    expect(page.get_by_text("576 × 384 px, found in")).to_be_visible()
    write(page, "a red house")
    few_steps(page)
    first = made(page, studio)
    found = first[1].controls[0].found
    assert found is not None
    assert (found.detector, found.values) == ("canny", {"low": 20, "high": 60})

    page.get_by_test_id("stMain").locator("button", has_text="Reset to defaults").click()
    page.get_by_label("Detector", exact=True).select_option("auto")
    choose_photo(page, another_photo())
    expect(page.get_by_text("384 × 384 px, found in")).to_be_visible()
    settled(page)
    assert made(page, studio)[1].controls[0].found != found

    reopen(page, 1)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a red house")
    expect(page.get_by_text("576 × 384")).to_be_visible()
    page.get_by_role("radio", name="Photo").click()
    expect(page.get_by_label("Detector", exact=True)).to_have_value("canny")
    for name, value in (("Map size", "384"), ("Low threshold", "20"), ("High threshold", "60")):
        expect(page.get_by_label(name)).to_have_value(value)
    expect(page.locator(f'.photo img[src*="/{found.picture}/"]')).to_be_visible()
    same(first, made(page, studio))


def test_several_controls_with_a_photo_under_them(page: Page, studio: Running) -> None:
    open_page(page, studio, "compose")
    page.get_by_role("button", name="Pose", exact=True).click()
    page.locator("summary", has_text="More").click()
    page.get_by_role("radio", name="1.1").click()
    settled(page)
    page.get_by_role("button", name="Add a layer").click()
    page.get_by_role("menuitem", name="Edges").or_(page.get_by_role("option", name="Edges")).first.click()
    page.wait_for_selector('[aria-label="Scribble editor"][data-ready]')
    open_photo(page)
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(
        {"name": "photo.png", "mimeType": "image/png", "buffer": photo()}
    )
    expect(page.get_by_role("slider", name="Low threshold")).to_be_visible()
    low, high = press(page, "Low threshold", "ArrowLeft", 3), press(page, "High threshold", "ArrowLeft", 5)
    page.get_by_role("button", name="Fill the layer from the photo").click()
    settled(page)
    page.keyboard.press("Escape")
    write(page, "somebody beside a house")
    few_steps(page)
    first = made(page, studio)
    units = {unit.control: unit for unit in first[1].controls}
    assert units["pose"].values["style"] == "1.1"
    found = units["canny"].found
    assert found is not None
    assert found.values == {"low": int(low), "high": int(high)} != {"low": 100, "high": 200}

    page.get_by_role("button", name="Remove", exact=True).click()
    take_example(page, "A man in a pink shirt walking")
    write(page, "something else")
    assert len(made(page, studio)[1].controls) == 2

    reopen(page, 1)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("somebody beside a house")
    page.get_by_role("button", name="Pose", exact=True).click()
    settled(page)
    if not page.get_by_role("radio", name="1.1").is_visible():
        page.locator("summary", has_text="More").click()
    expect(page.get_by_role("radio", name="1.1")).to_be_checked()
    page.get_by_role("button", name="Edges", exact=True).click()
    settled(page)
    open_photo(page)
    expect(page.get_by_role("slider", name="Low threshold")).to_have_value(low)
    expect(page.get_by_role("slider", name="High threshold")).to_have_value(high)
    page.keyboard.press("Escape")
    same(first, made(page, studio))


def test_what_was_made_from_noise_and_what_from_a_picture_of_which_a_part_changes(page: Page, studio: Running) -> None:
    open_page(page, studio, "")
    write(page, "a barn")
    few_steps(page)
    plain = made(page, studio)
    open_tab(page, "Picture")
    page.get_by_role("button", name="Use", exact=True).first.click()
    settled(page)
    strength = press(page, "How much changes", "ArrowLeft", 4)
    page.get_by_text("Change only a part", exact=True).click()
    page.wait_for_selector('[aria-label="Scribble editor"][data-ready]')
    settled(page)
    draw(page, [[(0.3, 0.7), (0.5, 0.7)]])
    saved(page)
    changed = made(page, studio)
    source = changed[1].source
    assert source is not None
    assert source.mask is not None
    assert source.strength == float(strength)
    assert plain[1].source is None

    reopen(page, 1)
    same(plain, made(page, studio))
    reopen(page, 1)
    open_tab(page, "Picture")
    expect(page.get_by_role("slider", name="How much changes")).to_have_value(strength)
    same(changed, made(page, studio))


def test_siblings_differ_in_their_seed_alone(page: Page, studio: Running) -> None:
    open_page(page, studio, "seg")
    write(page, "a lake")
    few_steps(page)
    parent = made(page, studio)[1]
    page.get_by_role("link", name="Gallery").click()
    page.locator("button.look").first.click()
    page.get_by_role("dialog", name="Picture").get_by_role("button", name="Vary").click()
    page.keyboard.press("Escape")
    expect(page.locator(".tile", has=page.get_by_role("button", name="a lake", exact=True))).to_have_count(5)
    siblings = [one.recipe for one in Gallery(studio.data / "gallery").find(Query(None, "a lake"), 5)]
    assert len({one.seed for one in siblings}) == 5
    assert {one.model_copy(update={"seed": 0}).to_json() for one in siblings} == {
        parent.model_copy(update={"seed": 0}).to_json()
    }


def test_a_picture_made_here_brings_everything_to_whichever_page_it_is_dropped_on(page: Page, studio: Running) -> None:
    page.goto(f"{studio.url}/canny")
    page.wait_for_selector(READY)
    choose_photo(page, photo())
    expect(page.get_by_text("768 × 512 px, found in")).to_be_visible()
    page.get_by_label("Low threshold").fill("33")
    settled(page)
    write(page, "a shed")
    first = made(page, studio)
    page.get_by_role("link", name="Compose").click()
    page.wait_for_selector(".studio[data-ready]")
    dropped(page, first[2], ".stage")
    page.get_by_role("button", name="Bring them back").click()
    expect(page.get_by_text(BACK)).to_be_visible()
    page.wait_for_url("**/canny")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a shed")
    page.get_by_role("radio", name="Photo").click()
    expect(page.get_by_label("Low threshold")).to_have_value("33")
    same(first, made(page, studio))


def test_a_picture_of_sides_that_no_size_gives_is_made_so_again_until_its_size_is_changed(
    page: Page, studio: Running
) -> None:
    """As of an older studio or another program: 3 : 2 from a square sheet."""
    open_page(page, studio, "")
    few_steps(page)
    recipe = made(page, studio)[1]
    odd = recipe.model_copy(update={"width": 384, "height": 256})
    dropped(page, to_png(np.zeros((256, 384, 3), np.uint8), odd), ".stage")
    page.get_by_role("button", name="Bring them back").click()
    expect(page.get_by_text("Drop it here")).to_have_count(0)
    expect(page.get_by_text(BACK)).to_be_visible()
    page.wait_for_selector(".studio[data-ready]")
    settled(page)
    pixels, again, _ = made(page, studio)
    assert again == odd and pixels.shape == (256, 384, 3)
    press(page, "Size", "ArrowRight")
    press(page, "Size", "ArrowRight")
    assert (made(page, studio)[1].width, made(page, studio)[1].height) == (384, 384)
