"""The Models page in a real browser, with a hub on a real socket behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from controlnet_core.models.sets import starter_sets
from tests.browser.conftest import ROOT, Server
from tests.core.hub_server import Hub, serve
from tests.webapp.test_library import CONTROL, FLUX, SET_FILES

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    config = b'{"_class_name": "ControlNetModel", "cross_attention_dim": 768}'
    made = Hub({"me/control": {"config.json": config, "diffusion_pytorch_model.safetensors": CONTROL}, **SET_FILES})
    server = serve(made)
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def studio(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A studio with a models folder of its own and that hub."""
    folder = tmp_path_factory.mktemp("models")
    models = folder / "models"
    models.mkdir()
    (models / "paperworld").symlink_to(ROOT / "models" / "paperworld")
    patch = pytest.MonkeyPatch()
    patch.setenv("STUDIO_MODELS", str(models))
    patch.setenv("STUDIO_FREE_MB", "0")
    patch.setenv("HF_ENDPOINT", hub.url)
    patch.setenv("STUDIO_ENGINE", "tests.core.strokes_engine:build")  # nobody draws here
    running = Server(folder)
    running.start()
    yield running, models
    running.stop()
    patch.undo()


def test_from_a_pasted_name_to_a_model_and_back(page: Page, studio: tuple[Server, Path], hub: Hub) -> None:
    """Added, fetched with progress, stopped, gone on with, checked, deleted, undone: each in the row itself."""
    server, models = studio
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{server.url}/models")
    row = page.locator('[data-model="control"]')
    expect(page.locator('[data-model="sd15"]')).to_contain_text("CreativeML OpenRAIL-M")
    hub.pause_s = 0.25
    page.get_by_role("button", name="Add a model").click()
    page.get_by_label("Name, address or path").fill("https://huggingface.co/me/control")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(row.get_by_role("progressbar")).to_have_attribute("aria-valuenow", re.compile(r"[1-9]\d"))
    row.get_by_role("button", name="Stop").click()
    expect(row).to_contain_text("stopped at")
    hub.pause_s = 0
    row.get_by_role("button", name="Go on").click()
    expect(row).to_contain_text("controlnet/control")
    row.get_by_role("button", name="Check").click()
    expect(row).to_contain_text("A ControlNet for SD 1.5.")
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(row.get_by_role("button", name="Download")).to_be_visible()
    assert not (models / "controlnet" / "control").exists()
    page.get_by_role("button", name="Undo").click()
    expect(row).to_contain_text("controlnet/control")
    assert (models / "controlnet" / "control").is_dir()
    assert errors == []


def test_files_in_the_folder_appear_by_themselves_and_say_what_they_are(
    page: Page, studio: tuple[Server, Path]
) -> None:
    server, models = studio
    page.goto(f"{server.url}/models")
    expect(page.locator('[data-model="paperworld"]')).to_be_visible()
    (models / "controlnet").mkdir(exist_ok=True)
    (models / "controlnet" / "from a friend.safetensors").write_bytes(CONTROL)
    (models / "controlnet" / "large.safetensors").write_bytes(FLUX)
    expect(page.locator('[data-model="from-a-friend"]')).to_contain_text("SD 1.5")
    expect(page.locator('[data-model="large"]')).to_contain_text("Flux")
    page.get_by_label("Find a model").fill("friend")
    expect(page.locator("[data-model]")).to_have_count(1)
    page.get_by_label("Find a model").fill("")
    chip = page.get_by_role("button", name=re.compile("^LoRAs"))
    chip.focus()
    chip.press("Enter")
    expect(chip).to_have_attribute("aria-pressed", "true")
    expect(chip).to_be_focused()


def test_the_base_model_in_use_survives_a_reload(page: Page, studio: tuple[Server, Path]) -> None:
    server, models = studio
    second = models / "checkpoints" / "second"
    second.parent.mkdir(exist_ok=True)
    second.symlink_to((ROOT / "models" / "paperworld").resolve())
    page.goto(f"{server.url}/models")
    row = page.locator('[data-model="second"]')
    row.get_by_role("button", name="Use this").click()
    expect(row).to_contain_text("In use")
    page.wait_for_timeout(1500)  # what a page keeps is written within a second
    page.reload()
    expect(row).to_contain_text("In use")
    page.get_by_text("New ControlNets").click()
    page.get_by_text("Begin a fresh control for training").click()
    expect(page.get_by_text(re.compile("Reads .* and writes .* into models/controlnet"))).to_be_visible()


def test_a_starter_set_comes_with_one_click(page: Page, studio: tuple[Server, Path], hub: Hub) -> None:
    """Its size stands on the button; it comes as one, stops, and goes on where it was."""
    server, models = studio
    held = [models / card.path for card in starter_sets()["sd15-draw"].parts]
    held = [place for place in held if not place.stem.startswith(("control_v11p_sd15_scribble", "lcm"))]
    for place in held:
        place.mkdir(parents=True)
    page.goto(f"{server.url}/models")
    row = page.locator('[data-set="sd15-draw"]')
    expect(row).to_contain_text("Scribble, ControlNet 1.1")
    hub.pause_s = 0.25
    row.get_by_role("button", name="Download the rest (1.6 GB)").click()
    expect(row.get_by_role("progressbar")).to_have_attribute("aria-valuenow", re.compile(r"\d+"))
    expect(page.locator('[data-model="sd15-scribble-v11"]').get_by_role("button", name="Stop")).to_be_visible()
    row.get_by_role("button", name="Stop").press("Enter")
    # At once, while it still stops; the stop may be before the first byte.
    go_on = row.get_by_role("button", name=re.compile("^(Go on|Download the rest)"))
    expect(go_on).to_be_focused()
    go_on.press("Enter")
    hub.pause_s = 0
    expect(page.locator('[data-model="sd15-scribble-v11"]')).to_contain_text("in controlnet/control_v11p_sd15_scribble")
    expect(row.get_by_role("button")).to_have_count(0)
    page.reload()
    expect(page.locator('[data-set="sdxl-draw"]')).to_be_visible()
    page.get_by_role("button", name=re.compile("^Starter sets")).click()
    expect(row.get_by_label("on this machine")).to_be_visible()
    for place in held:
        place.rmdir()
