"""Models in a single file of the original's layout, as people share them: put into the folder while the studio runs, drawn with,
and a ControlNet carried over from one to the other, the two side by side."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Locator, Page, expect

from controlnet_core.domain.recipe import Recipe
from controlnet_core.models.catalog import Catalog
from tests.browser.conftest import ROOT, Server
from tests.browser.hands import ask_for_a_small_house, fetched, made
from tests.browser.test_extras import by_engine
from tests.core.small import save_small_model

pytestmark = pytest.mark.browser

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A studio with a base model and its ControlNet, each one file, their vocabulary, and another base model as a folder."""
    from tests.browser import single_files

    folder = tmp_path_factory.mktemp("single")
    models = folder / "models"
    for kind in ("checkpoints", "controlnet", "tokenizers"):
        (models / kind).mkdir(parents=True)
    (models / "paperworld").symlink_to(ROOT / "models" / "paperworld")
    single_files.save_base(models / "checkpoints" / "Origin.safetensors", seed=1)
    target = save_small_model(
        models / "checkpoints" / "Target", widths=single_files.WIDTHS, text_width=single_files.TEXT_WIDTH, text_layers=2
    )
    shutil.rmtree(target / "controlnet")
    (target / "card.toml").write_text("[defaults]\nwidth = 256\nheight = 256\nsteps = 2\n")
    single_files.save_control(models / "controlnet" / "control_v11p_sd15_scribble.safetensors", seed=3)
    single_files.save_tokenizer(models / "tokenizers" / "clip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_MODELS", str(models))
        patch.setenv("STUDIO_FREE_MB", "0")
        running = Server(folder)
        running.start()
        yield running, models
        running.stop()


def use(page: Page, server: Server, model: str) -> None:
    """Draw with a base model from now on."""
    page.goto(f"{server.url}/models")
    row = page.locator(f'[data-model="{model}"]')
    row.get_by_role("button", name="Use this").click()
    expect(row).to_contain_text("In use")


def shown(server: Server, pane: Locator) -> tuple[Pixels, Recipe]:
    """The picture in a result pane as the gallery has it."""
    image = pane.locator('img.image[src*="/studio/pictures/"]')
    expect(image).to_be_visible(timeout=120_000)
    return fetched(server, image.get_attribute("src") or "")[:2]


def test_a_checkpoint_put_into_the_folder_draws(page: Page, studio: tuple[Server, Path], tmp_path: Path) -> None:
    server, models = studio
    page.goto(f"{server.url}/models")
    expect(page.locator('[data-model="target"]')).to_be_visible()
    shutil.copy(
        models / "checkpoints" / "Origin.safetensors", models / "checkpoints" / "Shared by a friend.safetensors"
    )
    row = page.locator('[data-model="shared-by-a-friend"]')
    expect(row).to_contain_text("SD 1.5")
    # What its network predicts does not show in a file: it is chosen here. A folder says it itself.
    expect(page.locator('[data-model="target"]').get_by_role("combobox")).to_have_count(0)
    predicts = row.get_by_role("combobox", name="What it predicts: Shared by a friend")
    expect(predicts).to_have_value("")
    predicts.select_option("v_prediction")
    expect(row).to_contain_text("predicts the velocity (v).")
    expect(predicts).to_have_value("v_prediction")
    assert Catalog(models).card("shared-by-a-friend").prediction == "v_prediction"
    row.get_by_role("button", name="Use this").click()
    expect(row).to_contain_text("In use")
    ask_for_a_small_house(page)
    pixels, recipe, _ = made(page, server)
    assert (recipe.model, recipe.controls[0].network) == ("shared-by-a-friend", None)
    assert pixels.shape == (256, 256, 3)
    assert pixels.std() > 1
    again = by_engine(server, models, {"as asked": recipe})["as asked"]
    # Another process may use another number of threads, which rounds differently.
    assert np.abs(again.astype(int) - pixels).max() <= 1


def test_a_control_without_a_network_is_refused_once(page: Page, studio: tuple[Server, Path]) -> None:
    """What is missing stands there from the beginning; pressing Generate makes an error of it, not a second sentence."""
    server, _ = studio
    use(page, server, "target")
    page.goto(f"{server.url}/pose")
    sentence = page.get_by_text("needs a ControlNet for Target: download")
    expect(sentence).to_have_count(1)
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("alert").filter(has=sentence)).to_be_visible()
    expect(sentence).to_have_count(1)


def test_a_control_carried_over_stands_beside_the_one_it_was(page: Page, studio: tuple[Server, Path]) -> None:
    server, models = studio
    page.goto(f"{server.url}/models")
    page.get_by_text("New ControlNets").click()
    expect(page.get_by_role("combobox", name="1 · Control")).to_have_value("Scribble, ControlNet 1.1")
    expect(page.get_by_role("combobox", name="2 · What it was trained on")).to_have_value("Origin")
    target = page.get_by_role("combobox", name="3 · Base model to carry it over to")
    target.click()
    page.get_by_role("option", name="Target").click()
    expect(target).to_have_value("Target")
    name = page.get_by_label("Name of the new control").first  # behind it, for a moment, the one of the target before
    expect(name).to_have_value("Scribble, ControlNet 1.1 for Target")
    name.fill("Scribble for Target")
    name.press("Enter")
    expect(page.get_by_text(re.compile("Reads .* and writes .*Scribble for Target"))).to_be_visible()
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_text("is ready: Scribble, ControlNet 1.1, carried over to Target.")).to_be_visible()
    assert (models / "controlnet" / "Scribble for Target.safetensors").is_file()

    page.get_by_role("button", name="Compare", exact=True).click()
    panes = page.locator(".studio.results")
    expect(panes).to_have_count(2)
    (before, asked), (after, other) = (shown(server, panes.nth(index)) for index in (0, 1))
    expect(page.get_by_text("As it was: Scribble, ControlNet 1.1")).to_be_visible()
    expect(page.get_by_text("Carried over: Scribble for Target")).to_be_visible()
    assert (asked.controls[0].network, other.controls[0].network) == ("sd15-scribble-v11", "scribble-for-target")
    assert other.model_copy(update={"controls": asked.controls}) == asked  # one seed, one prompt, one model
    assert asked.model == "target"
    assert other.controls[0].model_copy(update={"network": "sd15-scribble-v11"}) == asked.controls[0]
    for pixels in (before, after):
        assert pixels.shape == (256, 256, 3)
        assert pixels.std() > 1
    assert np.abs(before.astype(int) - after).max() > 1
