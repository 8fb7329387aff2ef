"""The web app's composition root: Streamlit's pages and our own routes in one ASGI app.

`streamlit run webapp/app.py`, `uvicorn webapp.app:app` and `python -m webapp` all serve this `app`.
"""

from __future__ import annotations

import gc
import logging
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # `streamlit run` puts only this file's folder there
    sys.path.insert(0, str(ROOT))

from starlette.middleware import Middleware  # noqa: E402
from streamlit import config  # noqa: E402
from streamlit.config_option import ConfigOption  # noqa: E402
from streamlit.starlette import App  # noqa: E402

from controlnet_core.storage import log_file  # noqa: E402
from webapp.api import a1111, metrics, openai, v1  # noqa: E402
from webapp.api.door import Door  # noqa: E402
from webapp.root import studio  # noqa: E402
from webapp.routes import connections, frontend  # noqa: E402
from webapp.routes.origin import option  # noqa: E402
from webapp.routes.table import middleware, routes  # noqa: E402
from webapp.ui import theme  # noqa: E402


@asynccontextmanager
async def lifespan(_app: App) -> AsyncIterator[dict[str, Any] | None]:
    """Start the worker in the background, so that its model is warm by the time of the first drawing; stop it at the end."""
    studio().start()
    _log_servers()
    # Streamlit looks for garbage after every run of a page. What is here by now stays: 40 ms less of all threads waiting each time.
    gc.freeze()
    try:
        yield None
    finally:
        studio().stop()


def _log_servers() -> None:
    """What the servers below say goes into the log, which bounds it: not to a terminal that nobody reads, over and over."""
    known = [
        name for name in logging.root.manager.loggerDict if name.split(".")[0] in ("streamlit", "uvicorn", "websockets")
    ]
    log_file.write_to(studio().settings.log, ["studio"], alone=[*known, "asyncio"])


def on_script_error(error: Exception) -> bool:
    """Log what no page expected and say so in a sentence; the browser never sees a traceback."""
    from webapp.ui.messages import unexpected

    unexpected(error)
    return True


def _configure() -> None:
    """Have Streamlit's settings be the studio's in whatever folder it was started; what somebody said otherwise stands."""
    if Path.cwd() == ROOT:  # Streamlit reads them itself, and would call what it is told later an update
        return
    for key, value in _options(tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))):
        if config.get_where_defined(key) == ConfigOption.DEFAULT_DEFINITION:
            config.set_option(key, value, str(ROOT))


def _options(table: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _options(value, f"{above}{name}.")  # pyright: ignore[reportUnknownArgumentType]
        else:
            yield f"{above}{name}", value


_configure()
connections.install()
app = App(
    ROOT / "pages" / "home.py",
    routes=routes(studio),
    middleware=[
        Middleware(
            Door,
            studio=studio,
            operations=[*v1.OPERATIONS, *a1111.OPERATIONS, *openai.OPERATIONS, *metrics.OPERATIONS],
            base=lambda: option("server.baseUrlPath"),
            words=[*a1111.WORDS, *openai.WORDS],
        ),
        *middleware(),
        Middleware(frontend.Dressed, dress=theme.dressed),
    ],
    lifespan=lifespan,
    on_script_error=on_script_error,
)
