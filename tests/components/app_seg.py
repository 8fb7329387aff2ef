"""A page with the segmentation painter or the map viewer, on the routes of app_scribble.py.

`streamlit run tests/components/app_seg.py`; the query of the page says which editor, slot and size.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from starlette.routing import Route  # noqa: E402
from streamlit.starlette import App  # noqa: E402

from tests.components.app_scribble import asset, drawing, regions  # noqa: E402

app = App(
    Path(__file__).with_name("page_seg.py"),
    routes=[
        Route("/studio/assets/{version}/{path:path}", asset),
        Route("/test/drawings/{slot}", drawing, methods=["GET", "PUT"]),
        Route("/test/drawings/{slot}/regions", regions, methods=["POST"]),
    ],
)
