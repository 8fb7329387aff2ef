"""The screenshots of README and site, taken from a running studio, so that they are never old.

    python docs/scripts/screenshots.py [OUT]

Starts a studio on an empty data folder, draws the first example's picture and photographs the pages at 1440 x 900 px. The film
of Live (live.webp) is a house that is drawn from nothing: every shot shows the picture that followed the pen so far, before it is
lifted.
"""

from __future__ import annotations

import io
import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.chromium import ARGUMENTS, install  # noqa: E402
from tests.ports import free_port  # noqa: E402

WAIT_MS = 120_000
PAGES = {
    "scribble": "",
    "colour": "colour",
    "pose": "pose",
    "segmentation": "seg",
    "compose": "compose",
    "gallery": "gallery",
    "models": "models",
}
DRAWS = ("scribble", "colour", "pose", "segmentation")


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
                film(page, f"http://127.0.0.1:{port}/", out / "live.webp")
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


Stroke = list[tuple[float, float]]
SHOT_MS, LAST_MS = 420, 2600


def house() -> list[Stroke]:
    """The strokes of a house, a tree and a sun, in shares of the sheet."""

    def ring(x: float, y: float, r: float) -> Stroke:
        return [(x + r * math.cos(a / 8 * math.pi), y + r * math.sin(a / 8 * math.pi)) for a in range(17)]

    return [
        [(0.3, 0.48), (0.3, 0.64), (0.3, 0.8), (0.46, 0.8), (0.62, 0.8), (0.62, 0.64), (0.62, 0.48)],
        [(0.26, 0.5), (0.36, 0.38), (0.46, 0.27), (0.56, 0.38), (0.66, 0.5), (0.46, 0.5), (0.26, 0.5)],
        [(0.42, 0.8), (0.42, 0.63), (0.5, 0.63), (0.5, 0.8)],
        ring(0.82, 0.2, 0.08),
        [(0.81, 0.82), (0.81, 0.66)],
        ring(0.81, 0.56, 0.1),
    ]


def film(page: Page, url: str, path: Path) -> None:
    """Draw the house live, with the picture under the lines."""
    page.goto(url)
    page.wait_for_selector(".studio[data-ready]")
    page.get_by_label("Prompt", exact=True).fill("a red house with a green tree on a meadow")
    page.get_by_label("Prompt", exact=True).blur()
    page.wait_for_timeout(1500)
    page.get_by_role("button", name=re.compile("^Clear")).click()
    page.get_by_text("Live", exact=True).click()
    done(page)
    under = page.get_by_role("slider", name="Under the lines")
    for _ in range(9):
        under.press("ArrowRight")
    sheet = page.locator(".paper").bounding_box()
    assert sheet is not None
    shots: list[Image.Image] = []
    for stroke in house():
        points = [(sheet["x"] + x * sheet["width"], sheet["y"] + y * sheet["height"]) for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        every = max(1, len(points) // 4)
        for number, (x, y) in enumerate(points[1:], 1):
            page.mouse.move(x, y, steps=12)
            if number % every == 0:
                done(page)
                shots.append(shot(page))
        page.mouse.up()
    page.mouse.move(sheet["x"] + 4, sheet["y"] + 4)
    done(page)
    shots.append(shot(page))
    lasts = [SHOT_MS] * (len(shots) - 1) + [LAST_MS]
    shots[0].save(path, save_all=True, append_images=shots[1:], duration=lasts, loop=0, quality=72, method=4)


def done(page: Page) -> None:
    """The picture of the newest drawing is there."""
    page.wait_for_timeout(250)
    page.wait_for_selector('.results .beat[data-phase="done"]')


def shot(page: Page) -> Image.Image:
    """Editor and result, at two thirds of their size."""
    seen = Image.open(io.BytesIO(page.screenshot(clip={"x": 0, "y": 56, "width": 1440, "height": 800})))
    return seen.convert("RGB").resize((960, 533), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
