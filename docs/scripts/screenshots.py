"""The screenshots of README and site, taken from a running studio, so that they are never old.

    python docs/scripts/screenshots.py [OUT]

Starts a studio on an empty data folder, draws the first example's picture and photographs the pages at 1440 x 900 px.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.chromium import ARGUMENTS, install  # noqa: E402
from tests.ports import free_port  # noqa: E402

WAIT_MS = 120_000
PAGES = {
    "scribble": "",
    "pose": "pose",
    "segmentation": "seg",
    "compose": "compose",
    "gallery": "gallery",
    "models": "models",
}
DRAWS = ("scribble", "pose", "segmentation")


def main(out: Path) -> None:
    """Take all pictures."""
    with tempfile.TemporaryDirectory() as data:
        port = free_port()
        command = [sys.executable, "-m", "webapp", "run", "--no-browser", "--port", str(port)]
        server = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "STUDIO_DATA": data}, stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            for line in server.stdout:
                if line.startswith("ready at"):
                    break
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=install(), args=ARGUMENTS)
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                page.set_default_timeout(WAIT_MS)
                for name, path in PAGES.items():
                    take(page, f"http://127.0.0.1:{port}/{path}", out / f"{name}-1440x900-light.png", name in DRAWS)
                browser.close()
        finally:
            server.terminate()
            server.wait(30)


def take(page: Page, url: str, file: Path, draw: bool) -> None:
    """One page; where it draws, with its picture."""
    page.goto(url)
    page.wait_for_load_state("networkidle")
    if draw:
        button = page.get_by_role("button", name=re.compile("^Generate"))
        expect(button).to_be_enabled(timeout=WAIT_MS)
        page.wait_for_timeout(3000)
        button.click()
        expect(page.locator('img[src*="/studio/pictures/"]').first).to_be_visible(timeout=WAIT_MS)
        page.mouse.move(0, 0)  # no tooltip over the words
    page.wait_for_timeout(2000)
    page.screenshot(path=file)
    print(file, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
