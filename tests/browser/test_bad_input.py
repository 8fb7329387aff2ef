"""Bad input on a page: one clear sentence each, the drawing as it was, the session alive."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server
from tests.browser.hands import READY, open_scribble, png, sheet_of

pytestmark = pytest.mark.browser


def huge_png() -> bytes:
    """A PNG of a few bytes that claims to have 100 megapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    head = pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


WHOLE = png(Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)))
BAD = {
    "not a picture": (b"these are only words, whatever the name says", "This is not a picture that can be read."),
    "cut off": (WHOLE[: len(WHOLE) // 2], "The picture is cut off or damaged."),
    "100 megapixels": (huge_png(), "The picture has more than 33 megapixels."),
    "empty": (b"", "The file is empty."),
}


def upload(page: Page, data: bytes | Path) -> None:
    """A photo from memory, or a file: large ones take half a minute on their way through the protocol."""
    page.get_by_text("From a photo").click()
    chosen: Any = data if isinstance(data, Path) else {"name": "photo.png", "mimeType": "image/png", "buffer": data}
    page.locator('input[type="file"][aria-label="Photo"]').set_input_files(chosen)


@pytest.mark.parametrize("kind", BAD)
def test_an_upload_that_cannot_be_used_is_refused_in_a_sentence(page: Page, server: Server, kind: str) -> None:
    open_scribble(page, server.url)
    page.wait_for_timeout(1000)
    before = sheet_of(page)
    data, sentence = BAD[kind]
    upload(page, data)
    refusal = page.locator(".photo .problem")
    expect(refusal).to_be_visible()
    expect(refusal).to_contain_text(sentence)
    refusal.get_by_role("button", name="Make it by hand").click()
    expect(page.locator(".rail")).to_be_visible()
    page.wait_for_timeout(500)
    assert np.abs(sheet_of(page).astype(int) - before).mean() < 2


def test_an_upload_of_26_mb_is_refused(page: Page, server: Server, tmp_path: Path) -> None:
    large = tmp_path / "photo.png"
    large.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(26 << 20))
    open_scribble(page, server.url)
    upload(page, large)
    expect(page.get_by_text("The file is larger than 25 MB.")).to_be_visible()
    expect(page.get_by_role("button", name="Generate")).to_be_visible()


def test_a_prompt_of_10000_characters_is_refused_and_kept(page: Page, server: Server) -> None:
    open_scribble(page, server.url)
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill("a house " * 1250)
    prompt.blur()
    expect(page.get_by_text(re.compile("10000 characters; 4000"))).to_be_visible()
    assert len(prompt.input_value()) == 10_000
    page.get_by_role("button", name="Generate").click()
    page.wait_for_timeout(400)
    page.wait_for_selector(READY)
    expect(page.get_by_text(re.compile("10000 characters; 4000"))).to_have_count(1)
    expect(page.locator(".results")).to_have_attribute("data-phase", "idle")  # not the prompt of before


@pytest.mark.parametrize("words", ["<img src=x onerror=alert(1)> a house", "a house 🏠 и дерево"])
def test_html_and_emoji_in_a_prompt_are_only_words(page: Page, server: Server, words: str) -> None:
    warned: list[str] = []
    page.on("dialog", lambda dialog: (warned.append(dialog.message), dialog.dismiss()))
    open_scribble(page, server.url)
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.fill(words)
    prompt.blur()
    page.get_by_role("button", name="Generate").click()
    expect(page.locator('img[src*="/studio/pictures/"]').first).to_be_visible(timeout=120_000)
    page.get_by_role("link", name="Gallery").click()
    expect(page.get_by_text(words).first).to_be_visible()
    assert not warned
