"""The studio for assistants: a server of the Model Context Protocol (`studio mcp`) with three tools, over the official SDK.

It needs no running studio: it has a worker of its own. What was made or found is numbered, so that a later request can name it
(#2); files are read from one folder alone, and only where whoever starts the server names one.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio
from anyio import to_thread
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field, ValidationError

from controlnet_core.domain import json_input
from controlnet_core.domain.errors import InputError, StudioError
from controlnet_core.domain.picture import UPLOAD_MAX_BYTES, file_too_large
from webapp.api import pictures
from webapp.application.notebook import Control, Map, Picture, Studio

T = TypeVar("T")
KEPT_MAX = 64
"""So many of the last pictures and maps are remembered."""
IMAGES_MAX = 4
_SIZE = re.compile(r"(\d{2,5})x(\d{2,5})")
_NUMBER = re.compile(r"#?(\d{1,6})")
ABOUT = (
    "Draws pictures on this machine. Call list_models first: it names the base models and the conditions that can guide a picture "
    "(edges, depth, poses, maps of classes, ...). detect finds such a map in a picture; make draws from words, guided by maps."
)
Given = Annotated[
    str, Field(description="#n of what was made or found here, base64, a data-URL, or a file's name where allowed")
]


class Made:
    """What was made and found here, by number."""

    def __init__(self, folder: Path | None) -> None:
        """`folder` is where files may be read; None: nowhere."""
        self._folder = folder
        self._lock = threading.Lock()
        self._known: dict[int, Picture] = {}
        self._next = 1

    def keep(self, one: Picture) -> int:
        """Remember it; returns its number."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._known[number] = one
            while len(self._known) > KEPT_MAX:
                del self._known[min(self._known)]
            return number

    def find(self, given: str) -> Picture | bytes:
        """What a request means. Raises InputError."""
        number = _NUMBER.fullmatch(given.strip())
        if number:
            with self._lock:
                found = self._known.get(int(number[1]))
            if found is None:
                raise InputError(f"There is no #{number[1]} here.", "Name one that make or detect gave.")
            return found
        if self._folder is not None and len(given) < 256 and (path := self._inside(given)) is not None:
            if path.stat().st_size > UPLOAD_MAX_BYTES:
                raise file_too_large()
            return path.read_bytes()
        hint = "" if self._folder is None else f" Or name a file in {self._folder}."
        try:
            return pictures.data_of(given)
        except InputError as error:
            raise InputError(error.message, f"Send base64, a data-URL, or #n.{hint}") from error

    def _inside(self, given: str) -> Path | None:
        assert self._folder is not None
        try:
            path = (self._folder / given).resolve()
            return path if path.is_relative_to(self._folder.resolve()) and path.is_file() else None
        except (OSError, ValueError, RuntimeError):  # a name that no file can have, or a link that leads to itself
            return None


class Tools:
    """What an assistant may ask for. `start()` gives the studio that does it; files are read from `folder` alone."""

    def __init__(self, start: Callable[[], Studio], folder: Path | None) -> None:
        self._start = start
        self._known = Made(folder)
        self._there: Studio | None = None

    @asynccontextmanager
    async def lifespan(self, _server: MCPServer[Any]) -> AsyncIterator[None]:
        """The studio's life, which is the server's."""
        self._there = await to_thread.run_sync(self._start)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._there.close)

    async def list_models(self) -> str:
        """The base models of this machine, and the conditions that can guide a picture with what finds each in a photo."""
        models = await self._done(self._studio.models)
        lines = ["Base models:", *(f"- {id}: {title}" for id, title in models.items()), "", "Conditions:"]
        for key, control in self._studio.conditions().items():
            ways = ", ".join(one.key for one in control.detectors if one.reads == "photo")
            lines.append(f"- {key}: {control.title}. {control.help}" + (f" Detectors: {ways}." if ways else ""))
        return "\n".join(lines)

    async def make(
        self,
        ctx: Context,
        prompt: Annotated[str, Field(description="what the picture shows, in English words and phrases")],
        controls: Annotated[
            dict[str, Given] | None,
            Field(
                description="a map for each condition that guides the picture, such as {'scribble': '#2'}; photos are looked at"
            ),
        ] = None,
        negative: Annotated[str | None, Field(description="what it should not show")] = None,
        start_from: Annotated[
            Given | None, Field(description="a picture to change instead of beginning with noise")
        ] = None,
        strength: Annotated[float, Field(ge=0.01, le=1, description="how far to go from that picture")] = 0.75,
        model: Annotated[str, Field(description="a base model of list_models; the first by default")] = "",
        size: Annotated[
            str, Field(description="WIDTHxHEIGHT in pixels, multiples of 64; the model's own by default")
        ] = "",
        images: Annotated[int, Field(ge=1, le=IMAGES_MAX)] = 1,
        steps: Annotated[int | None, Field(ge=1, le=100)] = None,
        seed: Annotated[
            int, Field(ge=-1, lt=2**32, description="-1 draws one; the same seed makes the same picture")
        ] = -1,
    ) -> list[str | Image]:
        """Make pictures from words, guided by maps where they are given; each comes back with its number and its seed."""
        fields: dict[str, Any] = {"negative": negative, "images": images, "steps": steps, "seed": seed, **_sides(size)}
        told = _teller(ctx)

        def work() -> list[Picture]:
            return self._studio.generate(
                prompt,
                control={key: Control(self._known.find(text)) for key, text in (controls or {}).items()},
                start_from=None if start_from is None else self._known.find(start_from),
                strength=strength,
                model=model,
                on_step=told,
                **fields,
            )

        answer: list[str | Image] = []
        for one in await self._done(work):
            recipe = one.recipe
            assert recipe is not None, "what was made here carries its recipe"
            answer += [
                f"#{self._known.keep(one)}: seed {recipe.seed}, {recipe.width} x {recipe.height} px, {recipe.model}",
                Image(data=one.png, format="png"),
            ]
        return answer

    async def detect(
        self,
        condition: Annotated[str, Field(description="a condition of list_models, such as canny, depth or pose")],
        picture: Given,
        detector: Annotated[str, Field(description="one of its detectors; the first that is ready by default")] = "",
    ) -> list[str | Image]:
        """Find a map (edges, depth, a pose, ...) in a picture; it comes back with its number, for `controls` of make."""

        def work() -> Map:
            return self._studio.detect(condition, self._known.find(picture), detector=detector)

        found = await self._done(work)
        return [f"#{self._known.keep(found)}: {condition}", Image(data=found.png, format="png")]

    @property
    def _studio(self) -> Studio:
        assert self._there is not None, "asked before the server's life began"
        return self._there

    async def _done(self, work: Callable[[], T]) -> T:
        """What `work` gives, from a thread; a request that is taken back stops it. Raises ToolError with the studio's sentence."""
        try:
            return await to_thread.run_sync(work, abandon_on_cancel=True)
        except StudioError as error:
            raise ToolError(str(error)) from error
        except anyio.get_cancelled_exc_class():
            self._studio.interrupt()
            raise


class _Server(MCPServer[Any]):
    """Refuses as the rest of the API does: the SDK would tell an assistant what its validator says, line by line."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Context | None = None) -> Any:
        """See `MCPServer.call_tool`."""
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            raise ToolError(json_input.first_fault(error.__cause__, "request")) from error.__cause__


def server(start: Callable[[], Studio], folder: Path | None = None) -> MCPServer[Any]:
    """The server. `start()` gives its studio, which ends with it; files are read from `folder` alone."""
    tools = Tools(start, folder)
    made = _Server(
        "controlnet-studio", title="ControlNet Studio", instructions=ABOUT, lifespan=tools.lifespan, log_level="WARNING"
    )
    made.add_tool(tools.list_models, title="What there is", structured_output=False)
    made.add_tool(tools.make, title="Make pictures", structured_output=False)
    made.add_tool(tools.detect, title="Find a map in a picture", structured_output=False)
    return made


def _teller(ctx: Context) -> Callable[[int, int], None]:
    """Tells a request's progress from the thread that hears the worker, which waits for nobody."""
    loop = asyncio.get_running_loop()

    def told(step: int, steps: int) -> None:
        with suppress(RuntimeError):
            asyncio.run_coroutine_threadsafe(ctx.report_progress(step, steps), loop)

    return told


def _sides(size: str) -> Mapping[str, int]:
    found = _SIZE.fullmatch(size)
    if size and not found:
        raise ToolError(f"{size[:40]!r} is not a size. Write WIDTHxHEIGHT, such as 512x768.")
    return {"width": int(found[1]), "height": int(found[2])} if found else {}
