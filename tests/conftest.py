"""Shared by all tests: where the golden vectors lie, and one Chromium."""

import gc
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.profiles import Profiles

# Several test processes share the cores: threads that spin while they wait would take the time of the other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Where an environment forbids it, every process would compile the studio and the tests anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# By a crowded clock everything is slow; what may take how long is measured in tests/bench.
hypothesis.settings.register_profile("studio", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("studio")

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parent.parent
LONG = {"browser", "components", "paperworld", "soak", "test_wheel.py", "training"}
"""Where tests take longest, in folders and files."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files in turn with short ones, and short ones last.

    Files are dealt out one by one to test processes: so they seldom drive a browser at once, and end together.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    parts = [[], []]
    for path, tests in files.items():
        parts[path.relative_to(ROOT / "tests").parts[0] not in LONG].append(tests)
    items[:] = [item for pair in itertools.zip_longest(*parts, fillvalue=[]) for tests in pair for item in tests]


def pytest_sessionstart() -> None:
    """While the tests are collected, what is imported stays; see below."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What is there by now stays, and is not looked through for garbage each time: with torch that takes 0.2 s."""
    gc.freeze()
    gc.enable()


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


@pytest.fixture(scope="module")
def profiles(browser: "Browser") -> Profiles:
    """Empty browser profiles: no test finds what another one left."""
    return Profiles(browser)
