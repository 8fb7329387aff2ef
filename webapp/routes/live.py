"""The one websocket of ours, under /studio/: live/{token}, a drawing in the making and the pictures that follow it.

To the server, whatever changes a drawing is binary: length of a header (uint32 little-endian), the header as JSON, bytes.

    {"rev": 1}                                    the bytes are the drawing's container, which is revision 1
    {"rev": 2, "on": 1, "rects": [[0,0,64,64]]}   the pixels of those parts, packed by zlib; x0, y0, x1, y1, ends excluded

and everything else is JSON: {"kind": "prompt", "text": ...}, {"kind": "seed"} for the next one. From the server come the fields
of `application.live.News` as JSON; kind "picture" is binary, framed in the same way, its bytes a JPEG; and where it has nothing
to say for BEAT_S, {"kind": "here"}: a line that is silent for longer is cut, whatever a browser thinks. What cannot be used is
answered with {"kind": "refused", "error", "hint", "again"}; where "again" is true the whole drawing has to come. Who sends what
is no message at all, or more than a hand can draw, hears why and is cut off.

Who may open it at all, the `gate` has looked at before; here it must be the browser whose drawing it is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any, cast

import anyio
from anyio import to_thread
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from controlnet_core.domain import json_input
from controlnet_core.domain.errors import InputError, StudioError
from webapp.application import validation
from webapp.application.events import Listener
from webapp.application.live import REV_MAX, LiveDrawing, News, Rect, Skipped
from webapp.application.studio import Studio
from webapp.routes.guard import Foreign, RateLimit, TooFast, TooLarge

MESSAGE_MAX_BYTES = 8 << 20
VALUES_MAX = 10_000
"""In the JSON of a message: the places of 64 changed parts, or a prompt with its commas."""
"""Of one message: a whole drawing, as saving it allows."""
MESSAGES_PER_S = 150.0
MESSAGES_BURST = 300.0
BYTES_PER_S = 16 << 20
"""Of one socket in the long run; a whole drawing of any size may come at once."""
IDLE_S = 150.0
"""A socket on which nobody says anything for so long is closed; the page closes its own after a minute."""
BEAT_S = 2.0
REFUSALS_MAX = 20
POLICY, LARGE = 1008, 1009
log = logging.getLogger("studio.live")


def table(studio: Callable[[], Studio]) -> list[WebSocketRoute]:
    """The route."""
    pace, weight = RateLimit(MESSAGES_PER_S, MESSAGES_BURST), RateLimit(BYTES_PER_S, 2.0 * BYTES_PER_S)

    async def endpoint(socket: WebSocket) -> None:
        await socket.accept()
        await _Line(socket, studio(), pace, weight).serve()

    return [WebSocketRoute("/live/{token}", endpoint)]


class _Line:
    """One open socket."""

    def __init__(self, socket: WebSocket, studio: Studio, pace: RateLimit, weight: RateLimit) -> None:
        self._socket, self._studio = socket, studio
        self._pace, self._weight = pace, weight
        self._token = socket.path_params["token"]
        self._refusals = 0

    async def serve(self) -> None:
        """Until one of both goes."""
        news: Listener[News] = Listener({})

        def tell(told: News) -> None:
            news.put("picture" if told.kind == "picture" else "state", told)

        try:
            self._check_browser()
            drawing = self._studio.live.open(self._token, tell)
        except StudioError as error:
            await self._refuse(error)
            await self._close(POLICY)
            return
        try:
            async with anyio.create_task_group() as group:

                async def bring() -> None:
                    await self._bring(news)
                    group.cancel_scope.cancel()

                group.start_soon(bring)
                await self._take(drawing)
                group.cancel_scope.cancel()
        finally:
            drawing.close(tell)
            with anyio.CancelScope(shield=True):
                await self._close(1000)

    def _check_browser(self) -> None:
        workspace, _ = self._studio.documents.place_of(self._token)
        known = validation.workspace(self._socket.cookies.get(validation.COOKIE))
        if known not in (None, workspace):
            raise Foreign("This drawing belongs to another browser.", "Reload the page.")

    async def _bring(self, news: Listener[News]) -> None:
        """Bring what is new; of pictures that come faster than the line takes them, the newest."""
        with suppress(WebSocketDisconnect, RuntimeError):  # the other side is gone: whoever listens hears it
            while True:
                found = await news.get(BEAT_S)
                if not found:
                    await self._socket.send_text(_HERE)
                for told in found:
                    if told.kind == "picture":
                        await self._socket.send_bytes(_framed(told))
                    else:
                        await self._socket.send_text(_json(told))
                    if told.kind == "over":
                        return

    async def _take(self, drawing: LiveDrawing) -> None:
        """Take what comes, until it ends or is too much."""
        while True:
            try:
                message = await asyncio.wait_for(self._socket.receive(), IDLE_S)
            except TimeoutError:
                return
            if message["type"] != "websocket.receive":
                return
            data, text = message.get("bytes"), message.get("text")
            try:
                await self._take_one(drawing, data if data is not None else text or "")
            except (TooLarge, TooFast) as error:
                await self._refuse(error)
                await self._close(LARGE if isinstance(error, TooLarge) else POLICY)
                return
            except StudioError as error:
                await self._refuse(error, again=isinstance(error, Skipped))
                self._refusals += 1
                if self._refusals >= REFUSALS_MAX:
                    await self._close(POLICY)
                    return
            except Exception:
                reference = secrets.token_hex(4)
                log.exception("a live message failed, reference %s", reference)
                await self._refuse(
                    StudioError(
                        "Something went wrong on the server.", f"studio.log says what it was, under {reference}."
                    )
                )
                await self._close(1011)
                return

    async def _take_one(self, drawing: LiveDrawing, message: bytes | str) -> None:
        if len(message) > MESSAGE_MAX_BYTES:
            raise TooLarge("The drawing is larger than 8 MB.", "Make the canvas smaller.")
        self._pace.check(self._token)
        self._weight.check(self._token, len(message))
        if isinstance(message, str):
            _order(drawing, message)
            return
        header, body = _unframed(message)
        rev = validation.whole(header.get("rev"), 1, REV_MAX, "The revision")
        if "on" not in header:
            await to_thread.run_sync(drawing.begin, rev, body)
            return
        on = validation.whole(header["on"], 0, REV_MAX, "The revision")
        await to_thread.run_sync(drawing.change, rev, on, _rects(header.get("rects")), body)

    async def _refuse(self, error: StudioError, again: bool = False) -> None:
        words = {"kind": "refused", "error": error.message, "hint": error.hint, "again": again}
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.send_text(json.dumps(words))

    async def _close(self, code: int) -> None:
        if self._socket.application_state is not WebSocketState.DISCONNECTED:
            with suppress(WebSocketDisconnect, RuntimeError):
                await self._socket.close(code)


def _order(drawing: LiveDrawing, message: str) -> None:
    told = _object(message)
    kind = validation.choice(told.get("kind"), ("prompt", "seed"), "This message")
    if kind == "prompt":
        drawing.say(told.get("text"))
    else:
        drawing.next_seed()


def _unframed(message: bytes) -> tuple[dict[str, Any], bytes]:
    if len(message) < 4:
        raise InputError("This message cannot be read.")
    (length,) = struct.unpack_from("<I", message)
    if length > len(message) - 4:
        raise InputError("This message cannot be read.")
    return _object(message[4 : 4 + length]), message[4 + length :]


def _object(text: str | bytes) -> dict[str, Any]:
    json_input.check_value_count(text, VALUES_MAX, "This message")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("This message cannot be read.") from error
    if not isinstance(told, dict):
        raise InputError("This message cannot be read.")
    return cast("dict[str, Any]", told)


def _rects(told: object) -> list[Rect]:
    rects: list[Rect] = []
    for one in cast("list[object]", told) if isinstance(told, list) else []:
        if not isinstance(one, list) or len(one) != 4 or not all(type(side) is int for side in one):
            raise InputError("A part of a change is four whole numbers.", "Send the whole drawing.")
        rects.append((one[0], one[1], one[2], one[3]))
    return rects


_HERE = json.dumps({"kind": "here"})


def _json(told: News) -> str:
    fields = asdict(told)
    del fields["picture"]
    return json.dumps(fields)


def _framed(told: News) -> bytes:
    header = _json(told).encode()
    return struct.pack("<I", len(header)) + header + told.picture
