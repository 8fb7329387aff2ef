"""Empty browser profiles, of which one test after the other gets the same page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


class Profiles:
    """Hands out pages whose profile is empty, and empties them for the next test.

    In a new profile Chromium compiles the front end anew: until an editor is there that takes 1.9 s of processor time, in a
    page that was emptied 0.7 s.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._free: dict[str, Page] = {}
        self._visited: dict[Page, set[str]] = {}

    @contextmanager
    def page(self, *, before: str = "", **options: Any) -> Iterator[Page]:
        """A page whose profile holds nothing; `before` is a script that runs before any of a page's own.

        The options are those of Playwright's `Browser.new_context`. Whoever changes what outlives a page and is not kept
        by it (media, devtools' emulation) makes a profile of their own.
        """
        key = repr((before, sorted(options.items())))
        page = self._free.pop(key, None) or self._new(before, options)
        yield page
        if key not in self._free and self._emptied(page, options):
            self._free[key] = page
        else:
            page.context.close()

    def _new(self, before: str, options: dict[str, Any]) -> Page:
        context = self._browser.new_context(**options)
        if before:
            context.add_init_script(before)
        page = context.new_page()
        visited = self._visited[page] = set()
        page.on("framenavigated", lambda frame: visited.add(_origin(frame.url)))
        return page

    def _emptied(self, page: Page, options: dict[str, Any]) -> bool:
        """Whether all is gone that a test can have left in the page and its profile."""
        from playwright.sync_api import Error

        context = page.context
        try:
            origins = self._visited[page] | {_origin(other.url) for other in context.pages}
            for other in context.pages:
                if other is not page:
                    other.close()
            context.set_offline(False)
            context.unroute_all()
            page.unroute_all()
            page.goto("about:blank")
            devtools = context.new_cdp_session(page)
            for origin in origins - {""}:
                devtools.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
            devtools.detach()
            context.clear_cookies()
            context.clear_permissions()
            if "viewport" in options:
                page.set_viewport_size(options["viewport"])
        except Error:  # closed, crashed, or nowhere
            return False
        self._visited[page].clear()
        return True


def _origin(url: str) -> str:
    """Of a page on a server; empty for others."""
    return "/".join(url.split("/", 3)[:3]) if url.startswith("http") else ""
