"""Shared by all tests: where the golden vectors lie, and one Chromium."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Two test processes share the cores: threads that spin while they wait would take the time of the other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parent.parent


def golden_folder() -> Path:
    """The folder that holds `oracles/`, `pictures/` and `weights/`."""
    return Path(os.environ.get("STUDIO_ORACLES", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def golden() -> Path:
    """The golden folder, or a skip that says how to point at it."""
    folder = golden_folder()
    if not (folder / "oracles").is_dir():
        pytest.skip(f"no golden vectors in {folder}: set STUDIO_ORACLES")
    return folder


@pytest.fixture(scope="session")
def oracles(golden: Path) -> Path:
    """The folder of golden vectors."""
    return golden / "oracles"


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """A real Chromium.

    A module's own: while Playwright's synchronous interface is open, its event loop runs in this thread and no test could
    start another with `asyncio.run`.
    """
    from playwright.sync_api import sync_playwright

    from tests.chromium import ARGUMENTS, install

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=install(), args=ARGUMENTS)
        yield launched
        launched.close()
