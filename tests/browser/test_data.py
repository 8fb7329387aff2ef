"""The Data page in a real browser: pairs of a set, each with its map in the editor."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server
from tests.browser.hands import READY

pytestmark = pytest.mark.browser

SIDE = 256


def lines(at: int) -> NDArray[np.uint8]:
    """A control picture: a white bar across at row `at` on black."""
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[at : at + 8, 32:-32] = 255
    return picture


def write(path: Path, picture: NDArray[np.uint8]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())


@pytest.fixture
def sets(server: Server) -> Iterator[Path]:
    """Where the studio's data sets lie; there are none before a test and after it."""
    folder = server.data / "datasets"
    assert not folder.exists() or not any(folder.iterdir())
    yield folder
    shutil.rmtree(folder)


def opened(page: Page, server: Server, pair: int) -> None:
    """Open a pair of the only set."""
    page.goto(f"{server.url}/datasets")
    page.get_by_text("Look through").click()
    page.locator(f".st-key-pairs-open-{pair} button").click()  # lists have a button "Open" too
    page.wait_for_selector(".studio[data-ready]")
    page.wait_for_selector(READY)


def test_two_tabs_keep_the_maps_of_two_pairs(page: Page, server: Server, sets: Path) -> None:
    """What one tab opens must not become what the other keeps."""
    folder = sets / "bars"
    for side in ("source", "target"):
        (folder / side).mkdir(parents=True)
    for index, row in enumerate((60, 180)):
        write(folder / "source" / f"{index}.png", lines(row))
        write(folder / "target" / f"{index}.png", np.full((SIDE, SIDE, 3), 40 * index, np.uint8))
        (folder / "target" / f"{index}.txt").write_text("a bar")
    other = page.context.new_page()
    opened(page, server, 0)
    opened(other, server, 1)
    page.get_by_role("button", name="Keep the map").click()
    expect(page.get_by_text("The map is kept.")).to_be_visible()
    kept = np.asarray(Image.open(folder / "source" / "0.png").convert("L"))
    rows = np.flatnonzero(kept.max(axis=1) > 127)
    assert abs(rows.mean() - 63.5) < 2, "the map of the other pair was kept"
    assert np.array_equal(np.asarray(Image.open(folder / "source" / "1.png")), lines(180))
    assert other.get_by_text("changed in another tab").count() == 0


def test_pairs_without_words_by_choice(page: Page, server: Server, sets: Path) -> None:
    folder = sets / "silent"
    for side in ("source", "target"):
        (folder / side).mkdir(parents=True)
        write(folder / side / "0.png", lines(60))
    (folder / "target" / "0.txt").write_text("")
    page.goto(f"{server.url}/datasets")
    page.get_by_text("Look through").click()
    page.get_by_role("button", name="Check every pair").click()
    expect(page.get_by_text("1 of 1 pairs cannot be used")).to_be_visible()
    page.get_by_text("Pairs without a prompt are wanted").click()
    page.get_by_role("button", name="Check every pair").click()
    expect(page.get_by_text("All 1 pairs can be used")).to_be_visible()
