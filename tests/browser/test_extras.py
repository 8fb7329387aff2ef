"""A base model of the user's with everything that can be added to it, chosen on the page; made again elsewhere, it is the same.

And what a picture is to be like, as layers of Compose.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

import annotator
from controlnet_core.domain.picture import open_picture
from controlnet_core.domain.recipe import Lora, Recipe, Reference
from controlnet_core.models.catalog import Catalog
from controlnet_core.storage.store import Blobs
from tests.browser.conftest import ROOT, Server
from tests.browser.hands import (
    ask_for_a_small_house,
    choose,
    few_steps,
    made,
    open_page,
    png,
    press,
    settled,
)
from tests.core.small import save_small_model

pytestmark = pytest.mark.browser

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A studio on small random models in the forms that people share: two layers, and texts as wide as SD 1.5's."""
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file

    from controlnet_core.models.loading import load_base
    from tests.core.test_lora import kohya, matrices
    from tests.core.test_references import adapter_of, save_encoder

    folder = tmp_path_factory.mktemp("extras")
    models, spare = folder / "models", folder / "spare"
    base = save_small_model(models / "checkpoints" / "tiny", text_width=768, text_layers=2)
    save_small_model(spare, text_width=768, text_layers=2, seed=9)
    for kind in ("controlnet", "vae", "loras", "embeddings"):
        (models / kind).mkdir()
    (models / "paperworld").symlink_to(ROOT / "models" / "paperworld")
    (base / "controlnet").rename(models / "controlnet" / "control_v11p_sd15_scribble")
    # As folders: what single files do not say (groups of 32 channels) does not hold for models as small as these.
    (spare / "controlnet").rename(models / "controlnet" / "From a friend")
    (spare / "vae").rename(models / "vae" / "vivid")
    save_file(kohya(matrices(load_base(base))[0]), models / "loras" / "Ink Style.safetensors")
    save_encoder(models / "image_encoders" / "clip-vit-h")
    (models / "ip_adapters").mkdir()
    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    save_file(adapter_of(unet, "plain"), models / "ip_adapters" / "Mood.safetensors")
    save_file({"emb_params": torch.randn(2, 768)}, models / "embeddings" / "calm-night.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_MODELS", str(models))
        running = Server(folder)
        running.start()
        yield running, models
        running.stop()


def use_tiny(page: Page) -> None:
    """On the Models page: draw with the user's own base model."""
    row = page.locator('[data-model="tiny"]')
    row.get_by_role("button", name="Use this").click()
    expect(row).to_contain_text("In use")


def test_everything_that_a_model_takes_is_in_its_picture(page: Page, studio: tuple[Server, Path]) -> None:
    server, models = studio
    page.goto(f"{server.url}/models")
    use_tiny(page)
    ask_for_a_small_house(page)
    seed = page.get_by_role("spinbutton", name="Seed")
    seed.fill("11")
    seed.press("Enter")
    settled(page)
    plain, before, _ = made(page, server)
    assert (before.model, before.seed, before.controls[0].network) == ("tiny", 11, None)

    page.get_by_role("tab", name="Control").click()
    settled(page)
    usual = "Scribble, ControlNet 1.1 (the usual one)"
    expect(page.get_by_role("combobox", name="ControlNet")).to_have_value(usual)
    choose(page, "ControlNet", "From a friend")
    page.get_by_role("tab", name="Extras").click()
    settled(page)
    press(page, "Clip skip", ["ArrowRight"], "2")
    choose(page, "VAE", "vivid")
    choose(page, "LoRAs", "Ink Style")
    press(page, "Ink Style", ["ArrowLeft"] * 4, "0.8")
    page.get_by_text("calm-night", exact=True).click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("a red house, calm-night")
    settled(page)
    pixels, recipe, file = made(page, server)
    assert recipe.loras == (Lora(key="ink-style", weight=0.8),)
    assert (recipe.embeddings, recipe.prompt) == (("calm-night",), "a red house, calm-night")
    assert (recipe.vae, recipe.clip_skip, recipe.controls[0].network) == ("vivid", 2, "from-a-friend")
    assert (
        recipe.model_copy(
            update={
                "loras": (),
                "embeddings": (),
                "vae": None,
                "clip_skip": 1,
                "prompt": before.prompt,
                "controls": before.controls,
            }
        )
        == before
    )
    assert not np.array_equal(pixels, plain)

    assert np.array_equal(by_command_line(server, models, file), pixels)
    found = by_engine(server, models, without_each(recipe))
    # Another process may use another number of threads, which rounds differently.
    assert np.abs(found.pop("nothing").astype(int) - pixels).max() <= 1
    for what, other in found.items():
        assert np.abs(other.astype(int) - pixels).max() > 1, f"{what} changes nothing"


def add_layer(page: Page, title: str) -> None:
    page.get_by_role("button", name="Add a layer").click()
    page.get_by_role("menuitem", name=title).or_(page.get_by_role("option", name=title)).first.click()
    settled(page)


def upload(page: Page, colour: tuple[int, int, int]) -> None:
    picture = png(Image.new("RGB", (96, 64), colour))
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(
        {"name": "mood.png", "mimeType": "image/png", "buffer": picture}
    )
    settled(page)


def click(page: Page, name: str) -> None:
    """Press a button; of several that are called so, the last."""
    page.get_by_role("button", name=name, exact=True).last.click()
    settled(page)


def test_what_a_picture_is_to_be_like_is_a_layer_of_compose(page: Page, studio: tuple[Server, Path]) -> None:
    """Seen as the model can; added, weighed, left out, removed, brought back, kept, and reopened from its picture."""
    server, _ = studio
    open_page(page, server, "compose")
    add_layer(page, "Reference picture")
    expect(page.get_by_text("Paperworld models take no reference pictures")).to_be_visible()
    page.get_by_role("link", name="Models").click()
    use_tiny(page)
    page.get_by_role("link", name="Compose").click()
    page.wait_for_selector(".studio[data-ready]")
    click(page, "Pose")
    click(page, "Remove")
    add_layer(page, "Scribble")
    few_steps(page, 2)
    press(page, "Size", ["Home"], "0")

    add_layer(page, "Reference picture")
    upload(page, (200, 60, 20))
    expect(page.get_by_alt_text("Reference 1", exact=True)).to_be_visible()
    press(page, "How much it counts", ["ArrowRight"] * 6, "0.9")
    press(page, "Acts from, to — end", ["ArrowLeft"] * 4, "0.8")
    _, recipe, file = made(page, server)
    (reference,) = recipe.references
    assert reference == Reference(picture=reference.picture, adapter="mood", weight=0.9, end=0.8)
    assert np.asarray(open_picture(Blobs(server.data / "blobs").get(reference.picture)))[0, 0].tolist() == [200, 60, 20]
    assert [unit.control for unit in recipe.controls] == ["scribble", "seg"]

    add_layer(page, "Reference picture")
    page.get_by_role("radio", name="Reference-only").click()
    settled(page)
    click(page, "Segmentation")  # the drawing, from the canvas
    click(page, "Move up")
    click(page, "Leave out Reference 2")
    _, second, _ = made(page, server)
    (drawn,) = second.references
    assert (drawn.picture, drawn.kind, drawn.adapter) == (second.controls[1].picture, "reference_only", None)
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_role("button", name="Bring the reference back").click()
    expect(page.get_by_role("button", name="Reference 2", exact=True)).to_be_visible()
    page.wait_for_timeout(1500)  # what a page keeps is written within a second
    page.reload()
    expect(page.get_by_role("button", name="Use Reference 2 again")).to_be_visible()

    page.get_by_role("link", name="Gallery").click()
    page.locator("button.look").nth(1).click()
    page.get_by_role("button", name="Reopen in its editor").click()
    page.wait_for_url("**/compose")
    page.get_by_role("button", name="Reference 1", exact=True).click()
    expect(page.get_by_role("slider", name="How much it counts")).to_have_value("0.9")
    expect(page.get_by_role("button", name="Reference 2", exact=True)).to_have_count(0)
    again, remade, _ = made(page, server)
    assert remade.references == recipe.references
    assert np.array_equal(again, open_picture(file))


def without_each(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe as it is, and without one thing at a time."""
    units = tuple(unit.model_copy(update={"network": None}) for unit in recipe.controls)
    changes: dict[str, dict[str, object]] = {
        "nothing": {},
        "the LoRA": {"loras": ()},
        "its weight": {"loras": (Lora(key="ink-style", weight=1.0),)},
        "the embedding": {"embeddings": ()},
        "the VAE": {"vae": None},
        "clip skip": {"clip_skip": 1},
        "the ControlNet": {"controls": units},
    }
    return {what: recipe.model_copy(update=change) for what, change in changes.items()}


def by_engine(server: Server, models: Path, recipes: dict[str, Recipe]) -> dict[str, Pixels]:
    from controlnet_core.engine import LocalEngine

    engine, blobs = LocalEngine(Catalog(models), annotator.controls(), "cpu"), Blobs(server.data / "blobs")
    return {
        what: engine.run(one, {digest: open_picture(blobs.get(digest)) for digest in one.pictures}, lambda _step: None)[
            0
        ]
        for what, one in recipes.items()
    }


def by_command_line(server: Server, models: Path, file: bytes) -> Pixels:
    out = server.data / "again"
    (server.data / "picture.png").write_bytes(file)
    command = [
        sys.executable,
        "-m",
        "webapp",
        "generate",
        "--recipe",
        str(server.data / "picture.png"),
        "--out",
        str(out),
    ]
    places = {"STUDIO_DATA": str(server.data), "STUDIO_MODELS": str(models), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **places}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (written,) = out.iterdir()
    assert written.read_bytes() == file
    return open_picture(written.read_bytes())
