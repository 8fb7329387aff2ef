"""The one module that knows Streamlit's Components v2 (1.67).

What it works around: inline modules are blobs, so they cannot import by relative path: a three-line bootstrap imports the
real modules from our own route, where all of them are one file. Bytes reach the browser only as the whole of `data`: settings
and document travel as one buffer. Component state is resent with every rerun: there is none, only triggers. What a browser
sends may be anything: it is checked here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import streamlit as st
from streamlit.components.v2 import component

from components.version import BUNDLE, assets_version
from controlnet_core.domain.control import EditorKind
from controlnet_core.domain.document import SIDE_MAX_PX
from controlnet_core.domain.recipe import SEED_MAX

ActionKind = Literal["keep", "vary", "reopen", "photo", "open", "finished", "cancelled"]
ACTIONS: tuple[ActionKind, ...] = ("keep", "vary", "reopen", "photo", "open", "finished", "cancelled")
REV_MAX = 2**53 - 1
TEXT_MAX = 1 << 20
SIZES = {"min": 256, "max": SIDE_MAX_PX, "step": 64}
"""The sides that a canvas may have, in pixels: what the option `sizes` of an editor is unless a page knows better."""
RUN_EVERY_S = 24 * 3600

_BOOTSTRAP = """export default async function (component) {
  const { load } = await import(new URL("./studio/assets/%s/%s", document.baseURI));
  return load("%s.js").mount(component);
}"""


@dataclass(frozen=True)
class EditResult:
    """What an editor tells the page. `generate` is true in the one run that Ctrl+Enter caused.

    `rev` is the revision that the browser knows the server to have; without news, the one that was passed in. `seed` is that of
    a live picture that is to be kept: then `generate` is true, too.
    """

    rev: int
    generate: bool = False
    seed: int | None = None


@dataclass(frozen=True)
class ResultPicture:
    """A finished picture: where the browser gets it, and what its actions need.

    `url` serves the PNG with its recipe inside, `name` is the file name for downloading.
    """

    url: str
    name: str = "picture.png"
    seed: int | None = None


@dataclass(frozen=True)
class ResultAction:
    """What was pressed in the result pane, once: a kind of `ACTIONS` and the picture's index in the strip.

    "finished" and "cancelled" come by themselves when `job` ends, "open" when another picture of the strip is looked at.
    """

    kind: ActionKind
    picture: int = 0
    job: str | None = None


@dataclass(frozen=True)
class SheetAction:
    """What was pressed in a contact sheet: "adopt" the cell with that index, "stop", or "over", which comes by itself."""

    kind: Literal["adopt", "stop", "over"]
    cell: int = 0


def edit(
    kind: EditorKind,
    *,
    key: str,
    document: bytes,
    rev: int,
    upload_url: str,
    slot: str,
    height: str = "720px",
    options: Mapping[str, Any] | None = None,
    on_live: Callable[[], None] | None = None,
) -> EditResult:
    """Put an editor on the page.

    `document` is the container of `controlnet_core.domain.document.encode` at revision `rev`; it is loaded when the editor
    appears and when `rev` grows. `upload_url` and the way a drawing is saved: see the package. `slot` names the drawing
    in the browser's own storage; the same slot brings the same drawing back after a reload. `options` go to the editor as
    they are (JSON): common to all are "name" (for downloads), "underlay" (URL of a picture to trace) and "sizes" ({"min",
    "max", "step"} of the canvas in pixels); "live" ({"on", "url"}) has the drawing sent to that address while it is made.
    `height` is a length of CSS. `on_live` hears, before the run that it causes, that the key for Live was pressed.
    """
    props = {
        "kind": kind,
        "rev": rev,
        "upload_url": upload_url,
        "slot": slot,
        "height": height,
        "options": dict(options or {}),
    }
    mounted = _component("editors/mount", assets_version())(
        key=key,
        data=pack(props, document),
        height="content",
        on_generate_change=_nothing,
        on_keep_change=_nothing,
        on_live_change=on_live or _nothing,
    )
    seed, told = _seed(mounted.get("keep")), mounted.get("generate")
    if seed is not None:
        return EditResult(rev, generate=True, seed=seed)
    if told is None:
        return EditResult(rev)
    return EditResult(told if type(told) is int and 0 <= told <= REV_MAX else rev, generate=True)


def _seed(told: object) -> int | None:
    """The seed that a browser sent, as {"seed": N}; None for anything else."""
    seed = cast(dict[str, object], told).get("seed") if isinstance(told, dict) else None
    return seed if type(seed) is int and 0 <= seed <= SEED_MAX else None


def results(
    *,
    key: str,
    events_url: str | None = None,
    cancel_url: str | None = None,
    job: str | None = None,
    pictures: Sequence[ResultPicture] = (),
    control_url: str | None = None,
    aspect: tuple[int, int] = (1, 1),
    images: int = 1,
    height: str = "720px",
    empty: tuple[str, str] = ("Your picture appears here", "Say what it is to show, and press Generate."),
    actions: Sequence[ActionKind] = ("keep", "vary", "reopen", "photo"),
    live: str | None = None,
) -> ResultAction | None:
    """Put the result pane on the page; returns what was pressed in it, in the one run that the press caused.

    While `job` is set, the pane listens to `events_url` (server-sent events whose data is JSON with the fields of
    `controlnet_core.domain.job.Event`: `preview` base64 JPEG, `pictures` URLs or objects like ResultPicture) and shows queue,
    progress, previews and the outcome by itself. `pictures` is what to show when no job runs. `control_url` serves the
    control picture for the overlay. `aspect` (width, height) and the number of `images` keep the place of the next
    pictures free. `live` is the address of a drawing whose live pictures are shown here, as its editor has it.
    """
    data = {
        "events_url": events_url,
        "cancel_url": cancel_url,
        "job": job,
        "pictures": [asdict(picture) for picture in pictures],
        "control_url": control_url,
        "aspect": list(aspect),
        "images": images,
        "height": height,
        "empty": list(empty),
        "actions": list(actions),
        "live": live,
    }
    mounted = _component("panels/results/results", assets_version())(
        key=key, data=data, height="content", on_action_change=_nothing
    )
    return read_action(mounted.get("action"))


def photo(
    *, key: str, data: Mapping[str, Any], on_example: Callable[[str], None], on_keep: Callable[[int], None]
) -> Literal["", "changed", "edit"]:
    """Put the photo view on the page: a photo and its map under a divider, beside a detector's parameters.

    `data` are its settings, see `webapp.ui.drawing.photo`. Returns what happened, in the one run that it caused: the drawing was
    "changed" on the server, or somebody wants to "edit" it. `on_example` hears, before that run, the name of the example
    that was taken as the photo, unchecked; `on_keep` the seed of a live picture that is to be kept.
    """

    def heard() -> None:
        state = st.session_state.get(key) or {}
        told = state.get("changed") or state.get("edit")
        if isinstance(told, dict) and isinstance(name := cast(dict[str, Any], told).get("example"), str) and name:
            on_example(name)

    def keeps() -> None:
        seed = _seed((st.session_state.get(key) or {}).get("keep"))
        if seed is not None:
            on_keep(seed)

    mounted = _component("panels/photo/photo", assets_version())(
        key=key,
        data=dict(data),
        height="content",
        on_changed_change=heard,
        on_edit_change=heard,
        on_keep_change=keeps,
    )
    return "edit" if mounted.get("edit") is not None else "changed" if mounted.get("changed") is not None else ""


def shapes(*, key: str, data: Mapping[str, Any], on_keep: Callable[[int], None]) -> None:
    """Have the canvas of movable shapes that is on the page followed by live pictures.

    `data`: "live" as an editor's option of that name, "document_url" and "rev" of the drawing beneath, and a number, "shapes", that
    changes with the shapes. `on_keep` hears, before the run that it causes, the seed of a live picture that is to be kept.
    """

    def keeps() -> None:
        seed = _seed((st.session_state.get(key) or {}).get("keep"))
        if seed is not None:
            on_keep(seed)

    _component("panels/shapes/shapes", assets_version())(
        key=key, data=dict(data), height="content", on_keep_change=keeps
    )


def maps(*, key: str, data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Put all maps of one photo on the page. `data`: see `webapp.ui.drawing.maps`.

    Returns what was wanted of a map, in the one run that it caused: {"kind", "control", "detector", "photo"}, unchecked.
    """
    mounted = _component("panels/maps/maps", assets_version())(
        key=key, data=dict(data), height="content", on_wanted_change=_nothing
    )
    wanted = mounted.get("wanted")
    return cast(Mapping[str, Any], wanted) if isinstance(wanted, dict) else None


def task(*, key: str, events_url: str, cancel_url: str, job: str) -> bool:
    """Put one line on the page that follows a job: what it waits for, how far it is, and Cancel.

    `events_url` and `cancel_url` as for `results`. Returns True in the one run that the job's end caused.
    """
    data = {"events_url": events_url, "cancel_url": cancel_url, "job": job}
    mounted = _component("panels/task/task", assets_version())(
        key=key, data=data, height="content", on_ended_change=_nothing
    )
    return mounted.get("ended") == job


@dataclass(frozen=True)
class Wanted:
    """What the wall or the drawer wants from the page, once: to "reopen" the gallery's picture `id`, to bring back what the
    "job" `id` was to make, or to take what a dropped file holds: `text`, a recipe of ours ("studio") or the settings of
    another program ("parameters").
    """

    kind: Literal["reopen", "job", "studio", "parameters"]
    id: str = ""
    text: str = ""


def wall(*, key: str, gallery_url: str, events_url: str, controls: Mapping[str, str]) -> Wanted | None:
    """Put the picture wall on the page. `controls` are the conditions' titles by key; it fetches everything else by itself."""
    data = {"gallery_url": gallery_url, "events_url": events_url, "controls": dict(controls)}
    mounted = _component("panels/gallery/wall", assets_version())(
        key=key, data=data, height="content", on_action_change=_nothing
    )
    return read_wanted(mounted.get("action"))


def models(*, key: str, models_url: str, chosen: str) -> str | None:
    """Put the models on the page: what is here and what could be, to find, fetch, check and delete.

    `chosen` is the id of the base model in use. Returns the id of the one that shall be used, in the run that the press
    caused; everything else goes by `models_url`.
    """
    data = {"models_url": models_url, "chosen": chosen}
    mounted = _component("panels/models/models", assets_version())(
        key=key, data=data, height="content", on_use_change=_nothing
    )
    told = mounted.get("use")
    return told if isinstance(told, str) and len(told) <= 64 else None


def drawer(*, key: str, jobs_url: str, events_url: str, settings_url: str, open_jobs: Sequence[str]) -> Wanted | None:
    """Put the Jobs drawer's button on the page, and have it take what is dropped there. `open_jobs` run or wait now.

    A picture that is dropped is POSTed to `settings_url`, which answers with the `kind` and `text` of a `Wanted`.
    """
    data = {"jobs_url": jobs_url, "events_url": events_url, "settings_url": settings_url, "open": list(open_jobs)}
    mounted = _component("panels/jobs/drawer", assets_version())(
        key=key, data=data, height="content", on_action_change=_nothing
    )
    return read_wanted(mounted.get("action"))


def read_wanted(told: object) -> Wanted | None:
    """What a browser wants; None for anything that is nothing of the kind."""
    if not isinstance(told, dict):
        return None
    fields = cast(dict[str, object], told)
    kind, id, text = fields.get("kind"), fields.get("id", ""), fields.get("text", "")
    if not isinstance(id, str) or not isinstance(text, str) or len(id) > 64 or len(text) > TEXT_MAX:
        return None
    if kind not in ("reopen", "job", "studio", "parameters"):
        return None
    return Wanted(cast(Literal["reopen", "job", "studio", "parameters"], kind), id, text)


def sheet(*, key: str, sheet: Mapping[str, Any]) -> SheetAction | None:
    """Put a contact sheet on the page; returns what was pressed in it, in the one run that the press caused.

    `sheet` (JSON) has "id", "events_url" as for `results`, "columns" and "rows" (their names), "corner" (a word on both),
    "ratio" (width / height of a picture), "over", and "cells" row by row: {"job", "state", "url", "text", "label"}.
    """
    mounted = _component("panels/sheet/sheet", assets_version())(
        key=key, data=dict(sheet), height="content", on_action_change=_nothing
    )
    return read_sheet_action(mounted.get("action"), len(sheet["cells"]))


def read_sheet_action(told: object, cells: int) -> SheetAction | None:
    """The action that a browser sent for a sheet of so many cells; None for anything that is not one."""
    if not isinstance(told, dict):
        return None
    fields = cast(dict[str, object], told)
    kind, cell = fields.get("kind"), fields.get("cell", 0)
    if type(cell) is not int or not 0 <= cell < cells or kind not in ("adopt", "stop", "over"):
        return None
    return SheetAction(cast(Literal["adopt", "stop", "over"], kind), cell)


def read_action(told: object) -> ResultAction | None:
    """The action that a browser sent; None for anything that is not one."""
    if not isinstance(told, dict):
        return None
    fields = cast(dict[str, object], told)
    kind, picture, job = fields.get("kind"), fields.get("picture", 0), fields.get("job")
    if kind not in ACTIONS or type(picture) is not int or not 0 <= picture < 1000:
        return None
    return ResultAction(cast(ActionKind, kind), picture, job if isinstance(job, str) and len(job) <= 200 else None)


def pack(props: Mapping[str, Any], document: bytes) -> bytes:
    """Settings and document as one buffer: length of the settings (uint32 little-endian), settings as JSON, document."""
    text = json.dumps(props, allow_nan=False).encode()
    return struct.pack("<I", len(text)) + text + document


def run_on_return() -> None:
    """Have the browser ask for a run of the whole page whenever it comes back to the server.

    A server that was started again knows neither the page's fragments, so that it ignores whatever is pressed in them, nor the
    addresses that it gave to editors and panes. Streamlit's page asks for a run by itself only where something runs at
    intervals, so something does.
    """
    st.fragment(_nothing, run_every=RUN_EVERY_S)()


@lru_cache(maxsize=16)
def _component(module: str, version: str) -> Any:
    name = module.replace("/", "_")
    return component(f"studio_{name}_{version}", js=_BOOTSTRAP % (version, BUNDLE, module))


def _nothing() -> None:
    """Streamlit wants a callback for every trigger; the result carries what was told."""
