"""The routes of the gallery and the Jobs drawer, under /studio/:

    GET  gallery/{token}                  results, newest first: ?text= &control= &shelf=all|starred|bin &before=ID &n=60
    POST gallery/{token}/{deed}           {"ids": [...]}: star, unstar, delete, restore; returns the ids that it found
    POST gallery/{token}/settings         body: a picture; {"kind", "text"}: how it was made, see `components.Wanted`
    POST gallery/{token}/empty            remove what is in the bin for good
    POST gallery/{token}/vary             {"id": ID, "images": N}: the same recipe from another seed; returns the job
    POST gallery/{token}/pictures.zip     a form with `ids`, separated by blanks, or the query's fields: PNGs in one file
    GET  pictures/{id}.json               one result, its recipe in words and as it is
    GET  pictures/{id}/control/{n}.png    what the model saw of its control `n` (0-based)
    GET  jobs/{token}                     the jobs of the workspace: running, waiting, over

`token` is that of a session's events; what it opens is its workspace's. The checks before each route stand in `guard`.
"""

from __future__ import annotations

import io
import re
import secrets
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast, get_args
from urllib.parse import parse_qs

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import UPLOAD_MAX_BYTES
from controlnet_core.domain.recipe import SEED_MAX
from controlnet_core.storage.embedded_text import decoded, png_text
from controlnet_core.storage.gallery import Query, Result
from controlnet_core.storage.gallery_index import Shelf
from controlnet_core.storage.metadata import CHUNK, parameters_of
from webapp.application import jobs, validation, views
from webapp.application.recipe_words import described
from webapp.application.studio import Studio
from webapp.routes.guard import JSON_MAX_BYTES, PRIVATE, Endpoint, RateLimit, body, json_body, viewed

PAGE_MAX = 200
IDS_MAX = 4000
SIBLINGS_MAX = 12
DEEDS_PER_S = 10.0
DEEDS_BURST = 40.0
PIECE_BYTES = 1 << 20
YEAR_S = 31_536_000
_SHELVES: tuple[Shelf, ...] = get_args(Shelf)
_ID = re.compile(r"[0-9a-f]{32}")


def table(studio: Callable[[], Studio]) -> list[tuple[str, str, Endpoint]]:
    """Method, path and answer of each route. `studio()` is asked with the first request, not before."""
    return _Endpoints(studio).table()


class _Endpoints:
    """The answers."""

    def __init__(self, studio: Callable[[], Studio]) -> None:
        self._studio = studio
        self._pace = RateLimit(DEEDS_PER_S, DEEDS_BURST)

    def table(self) -> list[tuple[str, str, Endpoint]]:
        return [
            ("GET", "/gallery/{token}", self.page),
            ("POST", "/gallery/{token}/settings", self.settings),
            ("POST", "/gallery/{token}/empty", self.empty),
            ("POST", "/gallery/{token}/vary", self.vary),
            ("POST", "/gallery/{token}/pictures.zip", self.zip),
            ("POST", "/gallery/{token}/{deed}", self.deed),
            ("GET", "/pictures/{id}.json", self.about),
            ("GET", "/pictures/{id}/control/{number:int}.png", self.control),
            ("GET", "/jobs/{token}", self.jobs),
        ]

    async def page(self, request: Request) -> Response:
        _, workspace = self._visitor(request)
        given = request.query_params
        query = _query(workspace, given)
        before = given.get("before", "")
        n = given.get("n", "60")
        if not n.isdecimal() or len(n) > 4 or (before and not _ID.fullmatch(before)):
            raise InputError("This is not a page of the gallery.")
        return viewed(await to_thread.run_sync(self._page, query, min(PAGE_MAX, max(1, int(n))), before))

    def _page(self, query: Query, n: int, before: str) -> views.Wall:
        gallery = self._studio().gallery
        found = gallery.find(query, n + 1, before)
        page = views.Wall(pictures=[views.Tile.of(one) for one in found[:n]], more=len(found) > n)
        if before:
            return page
        shelf = {"total": gallery.count(query), "controls": gallery.controls(query.owner)}
        return page.model_copy(update=shelf | {"binned": gallery.count(Query(query.owner, shelf="bin"))})

    async def deed(self, request: Request) -> Response:
        _, workspace = self._visitor(request)
        self._pace.check(workspace)
        gallery = self._studio().gallery
        deeds: dict[str, Callable[[list[str]], list[str]]] = {
            "star": lambda ids: gallery.star(ids, workspace),
            "unstar": lambda ids: gallery.star(ids, workspace, False),
            "delete": lambda ids: gallery.delete(ids, workspace),
            "restore": lambda ids: gallery.restore(ids, workspace),
        }
        deed = deeds.get(request.path_params["deed"])
        if deed is None:
            raise InputError("The gallery cannot do this.")
        ids = _ids((await json_body(request)).get("ids"))
        return JSONResponse({"ids": await to_thread.run_sync(deed, ids)}, headers=PRIVATE)

    async def settings(self, request: Request) -> Response:
        """What a picture says of how it was made: a recipe of ours, the settings of another program, or nothing."""
        _, workspace = self._visitor(request)
        self._pace.check(workspace)
        data = await body(request, UPLOAD_MAX_BYTES, "picture", "Save it smaller.")
        return JSONResponse(await to_thread.run_sync(_settings_in, data), headers=PRIVATE)

    async def empty(self, request: Request) -> Response:
        _, workspace = self._visitor(request)
        self._pace.check(workspace)
        count = await to_thread.run_sync(self._studio().gallery.empty_bin, float("inf"), workspace)
        return JSONResponse({"count": count}, headers=PRIVATE)

    async def vary(self, request: Request) -> Response:
        session, workspace = self._visitor(request)
        self._pace.check(workspace)
        told = await json_body(request)
        images = validation.whole(told.get("images", 4), 1, SIBLINGS_MAX, "Images")
        id = _ids([told.get("id")])[0]

        def submit() -> str:
            studio = self._studio()
            result = studio.gallery.get(id)
            if result.owner != workspace:
                raise InputError("This picture is somebody else's.", "Open it, and make one of your own.")
            recipe = result.recipe.model_copy(update={"seed": secrets.randbelow(SEED_MAX + 1), "images": images})
            return studio.submit(session, recipe, owner=workspace)

        return JSONResponse({"job": await to_thread.run_sync(submit)}, headers=PRIVATE)

    async def zip(self, request: Request) -> Response:
        _, workspace = self._visitor(request)
        self._pace.check(workspace)
        form = parse_qs((await body(request, JSON_MAX_BYTES, "list", "Choose fewer.")).decode("utf-8", "replace"))
        given = {name: values[0] for name, values in form.items()}
        results = await to_thread.run_sync(self._chosen, workspace, given)
        if not results:
            raise InputError("There is nothing to download.", "Choose some pictures.")
        return StreamingResponse(
            packed(results),
            media_type="application/zip",
            headers=PRIVATE | {"Content-Disposition": 'attachment; filename="studio-pictures.zip"'},
        )

    def _chosen(self, workspace: str, given: dict[str, str]) -> list[Result]:
        gallery = self._studio().gallery
        if "ids" not in given:
            return gallery.find(_query(workspace, given), IDS_MAX)
        found = (gallery.get(id) for id in _ids(given["ids"].split()))
        return [one for one in found if one.owner == workspace]

    async def about(self, request: Request) -> Response:
        studio = self._studio()
        result = await to_thread.run_sync(studio.gallery.get, request.path_params["id"])
        return viewed(views.About.told(result, described(studio, result.recipe)))

    async def control(self, request: Request) -> Response:
        studio = self._studio()
        result = await to_thread.run_sync(studio.gallery.get, request.path_params["id"])
        number = request.path_params["number"]
        if number >= len(result.recipe.controls):
            raise InputError("This picture has no such control.")
        data = await to_thread.run_sync(studio.blobs.get, result.recipe.controls[number].picture)
        return Response(data, media_type="image/png", headers=_KEPT)

    async def jobs(self, request: Request) -> Response:
        _, workspace = self._visitor(request)
        return viewed(await to_thread.run_sync(jobs.jobs, self._studio(), workspace))

    def _visitor(self, request: Request) -> tuple[str, str]:
        return self._studio().events.visitor(request.path_params["token"])


_KEPT = {"Cache-Control": f"private, max-age={YEAR_S}, immutable"}


def packed(results: Sequence[Result]) -> Iterator[bytes]:
    """The PNGs of results as a ZIP file, piece by piece; what was removed meanwhile is left out."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:  # a PNG does not shrink any more
        for result in results:
            try:
                _append(archive, result.png, result.name)
            except OSError:
                continue
            yield pipe.taken()
    yield pipe.taken()


def _append(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    archive.writestr(name, path.read_bytes())


class _Pipe(io.RawIOBase):
    """A file that can only be written, and gives away what was."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        return len(data)

    def taken(self) -> bytes:
        data, self._held = bytes(self._held), bytearray()
        return data


def _settings_in(data: bytes) -> dict[str, str]:
    own = png_text(data, CHUNK)
    if own is not None:
        return {"kind": "studio", "text": decoded(own)}
    text = parameters_of(data)
    return {"kind": "parameters" if text else "", "text": text or ""}


def _query(workspace: str, given: Any) -> Query:
    shelf = given.get("shelf", "all")
    return Query(
        owner=workspace,
        text=validation.text(given.get("text", ""), 400, "The search"),
        control=validation.text(given.get("control", ""), 64, "The control"),
        shelf=validation.choice(shelf, _SHELVES, "The shelf"),
    )


def _ids(value: object) -> list[str]:
    if not isinstance(value, list) or not 0 < len(cast("list[object]", value)) <= IDS_MAX:
        raise InputError(f"This needs 1 to {IDS_MAX} pictures.")
    ids = [one for one in cast("list[object]", value) if isinstance(one, str) and _ID.fullmatch(one)]
    if len(ids) < len(cast("list[object]", value)):
        raise InputError("This is not the number of a picture.")
    return ids
