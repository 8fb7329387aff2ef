"""Shapes mode: a box drawn with the mouse stays movable until it is stamped onto the drawing."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Server
from tests.browser.hands import clear, drag_a_box, open_scribble, saved, sheet_of

pytestmark = pytest.mark.browser


def test_a_box_is_stamped_onto_the_drawing(page: Page, server: Server) -> None:
    open_scribble(page, server.url)
    clear(page)
    saved(page)
    blank = sheet_of(page)
    page.get_by_text("Shapes", exact=True).click()
    page.locator("canvas.upper-canvas").first.wait_for()
    stamp = page.get_by_role("button", name="Stamp onto the drawing")
    expect(stamp).to_be_disabled()
    drag_a_box(page)
    expect(stamp).to_be_enabled()
    stamp.click()
    expect(stamp).to_be_disabled()
    page.get_by_text("Draw", exact=True).click()
    page.wait_for_selector(".paper canvas")
    page.wait_for_timeout(1500)
    darker = blank.astype(int) - sheet_of(page) > 60
    rows, columns = np.nonzero(darker)
    assert abs(rows.min() - 32) <= 3
    assert abs(rows.max() - 96) <= 3
    assert abs(columns.min() - 32) <= 3
    assert abs(columns.max() - 96) <= 3
    assert not darker[40:88, 40:88].any()
