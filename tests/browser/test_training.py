"""From data to a model that draws, in the browser: trained, made to wait by a picture, kept, chosen, used."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from controlnet_core.storage.gallery import recipe_of
from controlnet_core.training.run import Run, to_toml
from tests.browser.conftest import ROOT, Server

pytestmark = pytest.mark.browser

PATIENCE_S = 300


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Server]:
    """A studio of the test's own, with the embedded model in a models folder of its own."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "paperworld").symlink_to(ROOT / "models" / "paperworld")
    patch = pytest.MonkeyPatch()
    patch.setenv("STUDIO_MODELS", str(models))
    patch.setenv("STUDIO_FREE_MB", "0")
    patch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait take the time of the picture's
    running = Server(tmp_path)
    running.start()
    yield running
    for run in (tmp_path / "training").glob("*"):
        Run(run).want("stop")
        wait_for("the training's end", lambda run=run: not Run(run).alive())
    running.stop()
    patch.undo()


def wait_for(what: str, happened: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < limit, f"waited in vain for {what}"
        time.sleep(0.05)


def queued(server: Server) -> bool:
    """Whether a picture waits or is being made."""
    with closing(sqlite3.connect(f"file:{server.data / 'jobs.sqlite'}?mode=ro", uri=True)) as jobs:
        return bool(jobs.execute("SELECT 1 FROM job WHERE state IN ('queued', 'running')").fetchone())


def start(page: Page, url: str, name: str) -> None:
    """Fill in the form of the Train page for a small training, and press its button."""
    page.goto(f"{url}/train")
    page.get_by_label("Name", exact=True).fill(name)
    page.locator("summary", has_text="Settings").click()
    page.get_by_role("combobox", name="Size in px").click()
    page.get_by_role("option", name="64", exact=True).click()
    for label, value in (("Batch", "1"), ("Pairs", "20")):
        field = page.get_by_role("spinbutton", name=label, exact=True)
        field.fill(value)
        field.press("Enter")
    button = page.get_by_role("button", name="Start training")
    expect(button).to_be_enabled()
    expect(page.get_by_text(re.compile("on the CPU"))).to_be_visible()
    button.click()


def queue_a_picture(page: Page, url: str) -> None:
    """Ask for a large picture of many steps on the first condition's page."""
    page.goto(url)
    page.wait_for_selector(".paper canvas")
    page.get_by_text("Settings").click()
    steps = page.get_by_role("slider", name="Steps")
    steps.focus()
    steps.press("End")
    page.get_by_role("button", name="Generate").click()


def test_a_training_waits_while_a_picture_is_made_and_learns_the_same(
    page: Page, studio: Server, tmp_path: Path
) -> None:
    server = studio
    start(page, server.url, "Polite")
    run = Run(server.data / "training" / "polite")
    expect(page.get_by_text("Training", exact=True)).to_be_visible(timeout=PATIENCE_S * 1000)
    wait_for("steps", lambda: len(run.curve()) >= 3)

    drawer = page.context.new_page()
    queue_a_picture(drawer, server.url)
    wait_for("the training to wait", lambda: run.status().state == "waiting")
    before = len(run.curve())
    expect(page.get_by_text("Waiting", exact=True)).to_be_visible()
    expect(page.get_by_text("A picture is being made; training goes on after it.")).to_be_visible()
    while (steps := len(run.curve()), queued(server))[1]:
        assert steps == before, "not a step is taken while a picture is made"
        page.wait_for_timeout(50)
    expect(drawer.locator('img[src*="/studio/pictures/"]').first).to_be_visible()
    wait_for("further steps", lambda: len(run.curve()) >= before + 5)
    drawer.close()

    expect(page.get_by_text("Training", exact=True)).to_be_visible()
    page.get_by_role("button", name="Stop and keep").click()
    expect(page.get_by_text(re.compile("is among the ControlNets of Scribble now"))).to_be_visible()
    taken = [point.loss for point in run.curve()]

    alone = run.config().model_copy(update={"name": "alone", "title": "Alone"})
    file = tmp_path / "alone.toml"
    file.write_text(to_toml(alone))
    undisturbed = Run(server.data / "training" / "alone")
    where = {"STUDIO_DATA": str(server.data), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "webapp", "train", str(file)]
    with (tmp_path / "alone.txt").open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | where, stdout=out, stderr=out)
        wait_for("as many steps", lambda: len(undisturbed.curve()) >= len(taken) or process.poll() is not None)
        process.terminate()
        process.wait(PATIENCE_S)
    assert [point.loss for point in undisturbed.curve()[: len(taken)]] == pytest.approx(taken, rel=1e-5)

    draw_with_it(page)
    pictures = server.data / "gallery"
    wait_for("its picture", lambda: len(list(pictures.glob("*.png"))) == 2)
    newest = max(pictures.glob("*.png"), key=lambda path: path.stat().st_mtime_ns)
    recipe = recipe_of(newest.read_bytes())
    assert recipe is not None and recipe.controls[0].network == run.name

    # A training that is over can be removed; what it made stays.
    remove(page, server.url)
    assert not run.folder.exists()
    assert list((tmp_path / "models").rglob("polite*"))


def remove(page: Page, url: str) -> None:
    """Remove the training that the Train page showed last, while another tab looks at it, too."""
    other = page.context.new_page()
    other.goto(f"{url}/train")
    other.get_by_test_id("stButtonGroup").get_by_role("radio", name="Polite").click()
    expect(other.get_by_role("button", name="Remove")).to_be_visible()
    page.get_by_role("link", name="Train").click()
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Remove it for good").click()
    expect(page.get_by_text("Before it starts")).to_be_visible()
    other.get_by_role("link", name="Gallery").click()
    expect(other.get_by_placeholder("Search prompts")).to_be_visible()
    other.get_by_role("link", name="Train").click()
    expect(other.get_by_text("Before it starts")).to_be_visible()


def draw_with_it(page: Page) -> None:
    """From a training that is over to the page of its condition, and there ask for a picture of one step."""
    page.get_by_role("button", name="Draw with it").click()
    page.wait_for_selector(".paper canvas")
    page.get_by_text("Settings").click()
    steps = page.get_by_role("slider", name="Steps")
    steps.focus()
    steps.press("Home")
    page.get_by_role("tab", name="Control").click()
    expect(page.get_by_role("combobox", name="ControlNet")).to_have_value("Polite")
    page.get_by_role("button", name="Generate").click()
