"""Pictures that become others: holes painted over one, and what the pages say where no model reads them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server
from tests.browser.hands import READY, draw, open_page, saved, settled

pytestmark = pytest.mark.browser

READ = """(root) => {
  const { width, height, pixels } = root.studio.editor.document();
  const at = (x, y) => [...pixels.subarray(4 * (Math.floor(y * height) * width + Math.floor(x * width))).subarray(0, 4)];
  return { inside: at(0.5, 0.5), outside: at(0.1, 0.9) };
}"""


def paint_page(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/inpaint")
    page.wait_for_selector(READY)
    page.get_by_role("radio", name="Paint").click()
    page.wait_for_selector('[aria-label="Inpaint editor"][data-ready]')


def read(page: Page) -> dict[str, Any]:
    """Two pixels of the document in the editor, RGBA: within the stroke of the test, and away from it."""
    return page.locator(".studio[data-ready]").evaluate(READ)


def test_a_hole_is_painted_undone_and_kept(page: Page, server: Server) -> None:
    paint_page(page, server)
    before = read(page)
    assert before["inside"][3] == before["outside"][3] == 255
    draw(page, [[(0.3, 0.5), (0.7, 0.5)]])
    saved(page)
    painted = read(page)
    assert painted["inside"] == [*before["inside"][:3], 0], "a hole that keeps the colours under it"
    assert painted["outside"] == before["outside"]
    page.get_by_role("button", name="Undo").first.click()
    assert read(page) == before
    page.get_by_role("button", name="Redo").first.click()
    assert read(page) == painted
    saved(page)
    page.reload()
    page.wait_for_selector(READY)
    page.get_by_role("radio", name="Paint").click()
    page.wait_for_selector('[aria-label="Inpaint editor"][data-ready]')
    assert read(page) == painted


@pytest.mark.parametrize("path", ["inpaint", "tile", "shuffle", "ip2p"])
def test_what_no_network_reads_is_said_once_and_offered(page: Page, server: Server, path: str) -> None:
    page.goto(f"{server.url}/{path}")
    page.wait_for_selector(READY)
    page.wait_for_selector(".studio")
    settled(page)
    said = page.get_by_text(re.compile("Paperworld has no ControlNet for .*: use Stable Diffusion 1.5"))
    expect(said).to_have_count(1)
    offer = page.get_by_role("button", name=re.compile("Download Stable Diffusion 1.5 and .*GB"))
    expect(offer).to_be_visible()
    if path != "inpaint":
        return
    page.get_by_text("Live", exact=True).click()  # neither it nor Generate says the same again, or takes the offer away
    settled(page)
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("alert").filter(has=said)).to_be_visible()
    expect(said).to_have_count(1)
    expect(offer).to_be_visible()


def test_reworking_has_a_menu_of_its_own(page: Page, server: Server) -> None:
    open_page(page, server, "")
    page.get_by_text("Rework", exact=True).first.click()
    page.get_by_text("Instruct", exact=True).first.click()
    page.wait_for_url(re.compile("/ip2p$"))
    expect(page.get_by_placeholder("make it winter")).to_be_visible()
