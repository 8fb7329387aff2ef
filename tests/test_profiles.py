"""A page that one test after the other gets shows none what another left."""

from __future__ import annotations

from typing import Any

import pytest

from tests.profiles import Profiles

pytestmark = pytest.mark.browser

LEFT = """async () => [localStorage.length, sessionStorage.length, document.cookie, innerWidth,
    (await indexedDB.databases()).length, (await caches.keys()).length]"""
LEAVE = """async () => {
    localStorage.setItem("a", "b");
    sessionStorage.setItem("a", "b");
    document.cookie = "a=b; max-age=1000";
    await caches.open("a");
    await new Promise((done) => { indexedDB.open("a").onsuccess = done; });
}"""
ADDRESSES = ("http://127.0.0.1:9/", "http://127.0.0.2:9/")


def test_it_is_handed_on_empty(profiles: Profiles) -> None:
    had: list[Any] = []
    for _ in range(2):
        with profiles.page(viewport={"width": 800, "height": 600}) as page:
            had.append(page)
            assert len(page.context.pages) == 1 and not page.context.cookies()
            page.route("**/*", lambda route: route.fulfill(body="<p>", content_type="text/html"))
            for address in ADDRESSES:
                page.goto(address)
                assert page.evaluate(LEFT) == [0, 0, "", 800, 0, 0]
                page.evaluate(LEAVE)
            assert page.evaluate(LEFT) == [1, 1, "a=b", 800, 1, 1]
            page.set_viewport_size({"width": 500, "height": 500})
            page.context.add_cookies([{"name": "a", "value": "b", "url": "http://127.0.0.3:9/"}])
            page.context.new_page()
    assert had[0] is had[1]


def test_what_differs_and_what_is_held_is_another_page(profiles: Profiles) -> None:
    small = {"viewport": {"width": 800, "height": 600}}
    with profiles.page(**small) as page, profiles.page(**small) as beside:
        assert beside is not page and beside.context is not page.context
    with profiles.page(**small, before="window.a = 1") as marked, profiles.page(**small) as plain:
        for one, what in ((marked, 1), (plain, None)):
            one.goto("data:text/html,<p>")
            assert one.evaluate("window.a") == what
