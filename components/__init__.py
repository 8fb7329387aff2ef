"""The studio's own widgets: three editors and the result pane. Plain ES modules, no build step.

`edit` puts an editor on the page, `results` the place where pictures appear. Both draw a frame of fixed height and talk to
the server through routes of ours, so drawing causes no rerun of the page.

**How a drawing travels.** The browser owns the live document, the server a revision number. With every stroke the browser
stores its own copy (IndexedDB, under `slot`) and sends the container of `controlnet_core.domain.document`:

    PUT upload_url    body: container    header X-Rev: the revision that the drawing builds upon
        200 {"rev": N}    stored as revision N (X-Rev + 1, or any greater number)
        409 {"rev": N}    the server holds another revision, N; nothing was stored
    GET upload_url    200, body: container, header X-Rev: its revision

To give an editor a new document Python stores it under a greater revision and passes both to `edit`; an unchanged `rev` leaves
the live drawing alone, whatever bytes come with it. URLs may be relative to the page ("./studio/...").

This package knows nothing of conditions, jobs or models, and only `components.mount` knows Streamlit's component interface.
"""

from components.mount import (
    SIZES,
    EditResult,
    ResultAction,
    ResultPicture,
    Wanted,
    drawer,
    edit,
    results,
    run_on_return,
    wall,
)
from components.version import ASSETS, BUNDLE, assets_version, bundle

__all__ = [
    "ASSETS",
    "BUNDLE",
    "SIZES",
    "EditResult",
    "ResultAction",
    "ResultPicture",
    "Wanted",
    "assets_version",
    "bundle",
    "drawer",
    "edit",
    "results",
    "run_on_return",
    "wall",
]
