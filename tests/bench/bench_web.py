"""The web side, as a person meets it: first page, time from pen to Python, and what an idle studio costs.

Prints one JSON line a measurement. The first page is compared with a bare Streamlit page served by the same Streamlit, in turns
within one run, because absolute times depend on the machine and its mood.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser.conftest import Server  # noqa: E402
from tests.chromium import ARGUMENTS, install  # noqa: E402
from tests.ports import free_port  # noqa: E402

READY = '[data-testid="stApp"][data-test-script-state="notRunning"]'
BARE = 'import streamlit as st\nst.title("Hello")\nst.text_area("Prompt")\nst.button("Generate")\n'
ROUNDS = 5
STROKES = 25
IDLE_S = 20.0


def tell(name: str, **figures: float) -> None:
    """Print one measurement."""
    print(json.dumps({"bench": name} | {key: round(value, 3) for key, value in figures.items()}), flush=True)


def bare_server(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A Streamlit server with four lines of page."""
    script, port = folder / "bare.py", free_port()
    script.write_text(BARE, encoding="utf-8")
    command = [sys.executable, "-m", "streamlit", "run", str(script), f"--server.port={port}", "--server.headless=true"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    while True:
        try:
            httpx.get(f"{url}/_stcore/health", timeout=2).raise_for_status()
            return process, url
        except httpx.HTTPError:
            time.sleep(0.2)


def first_page_s(browser: Browser, url: str, awaited: str) -> float:
    """Seconds from an empty browser to a page that can be used."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    begin = time.perf_counter()
    page.goto(url)
    page.wait_for_selector(READY)
    page.wait_for_selector(awaited)
    seconds = time.perf_counter() - begin
    context.close()
    return seconds


def pen_to_python_ms(browser: Browser, url: str) -> list[float]:
    """From the end of a stroke at 512 px to the server's answer that it has the drawing."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(url)
    page.wait_for_selector(".paper canvas")
    page.wait_for_timeout(1500)
    page.evaluate(
        """() => {
            window.lifted = [];
            window.addEventListener('pointerup', () => { window.lifted.push(performance.now()); }, true);
        }"""
    )
    box = page.locator(".paper").bounding_box()
    assert box is not None
    for stroke in range(STROKES):
        y = box["y"] + box["height"] * (0.1 + 0.8 * stroke / STROKES)
        page.mouse.move(box["x"] + 20, y)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 20, y + 8, steps=10)
        page.mouse.up()
        page.wait_for_timeout(350)
    times: list[float] = page.evaluate(
        """() => {
            const sent = performance.getEntriesByType('resource').filter((one) => one.name.includes('/documents/'));
            return window.lifted.flatMap((at) => {
                const answer = sent.find((one) => one.startTime >= at);
                return answer ? [answer.responseEnd - at] : [];
            });
        }"""
    )
    page.context.close()
    return times


def main() -> None:
    """Measure everything once."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        bare, bare_url = bare_server(Path(folder))
        studio = Server(Path(folder))
        studio.start()
        browser = playwright.chromium.launch(executable_path=install(), args=ARGUMENTS)
        try:
            pairs = [
                (first_page_s(browser, studio.url, ".paper canvas"), first_page_s(browser, bare_url, "textarea"))
                for _ in range(ROUNDS + 1)
            ][1:]
            ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
            tell("first_page", seconds=ours, bare_streamlit_seconds=theirs, ratio=ours / theirs)
            times = pen_to_python_ms(browser, studio.url)
            tell("pen_to_python_512", median_ms=statistics.median(times), worst_ms=max(times), strokes=len(times))
            assert studio.process is not None
            web = psutil.Process(studio.process.pid)
            time.sleep(5)
            before, begin = sum(web.cpu_times()[:2]), time.perf_counter()
            time.sleep(IDLE_S)
            share = (sum(web.cpu_times()[:2]) - before) / (time.perf_counter() - begin)
            tell("idle_web", core_percent=100 * share, rss_mib=web.memory_info().rss / 2**20)
        finally:
            browser.close()
            studio.stop()
            bare.terminate()


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
