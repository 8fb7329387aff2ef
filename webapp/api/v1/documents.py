"""Documents of /api/v1: what editors store (drawings, poses, maps), kept, read back, and drawn as a ControlNet sees them."""

from __future__ import annotations

from anyio import to_thread
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from annotator.finished import is_json
from annotator.formats import openpose_json
from controlnet_core.domain import document as documents
from controlnet_core.domain import picture
from controlnet_core.domain.control import Value
from controlnet_core.domain.errors import InputError
from webapp.api.guard import Caller
from webapp.api.routing import Operation, given, read
from webapp.api.v1.common import V1, Asked, Digest
from webapp.application import views
from webapp.application.studio import Studio
from webapp.routes.guard import body


class Document(views.View):
    """A document that is kept; `said` names what of a pose was left out."""

    digest: str
    kind: str
    width: int
    height: int
    said: list[str] = Field([])


class RenderRequest(Asked):
    """A document and how it is drawn."""

    control: str
    document: Digest
    values: dict[str, Value] = Field({})


async def put_document(studio: Studio, request: Request, caller: Caller) -> Response:
    """Keep a document: the body is a container as the editors store it, or people as OpenPose JSON."""
    data = await body(request, 8 << 20, "document", "Make it smaller.")

    def keep() -> Document:
        lost: tuple[str, ...] = ()
        if is_json(data):
            document, lost = openpose_json.read_with_losses(data)
        else:
            document = documents.decode(data)
        digest = studio.blobs.put(documents.encode(document))
        studio.belongings.give(caller.owner, digest)
        return Document(
            digest=digest, kind=document.kind, width=document.width, height=document.height, said=list(lost)
        )

    return given(await to_thread.run_sync(keep))


async def get_document(studio: Studio, request: Request, caller: Caller) -> Response:
    """A document as it is stored; people as OpenPose JSON with ?form=openpose."""
    digest = studio.belongings.check(caller.owner, request.path_params["digest"], "document")
    data = await to_thread.run_sync(studio.blobs.get, digest)
    document = documents.decode(data)
    if request.query_params.get("form") == "openpose":
        if not isinstance(document, documents.Skeleton):
            raise InputError("There are no people in this document.", "Leave form=openpose away.")
        return Response(openpose_json.write(document), media_type="application/json")
    return Response(data, media_type="application/octet-stream")


async def render(studio: Studio, request: Request, caller: Caller) -> Response:
    """A document as a ControlNet sees it, PNG."""
    asked = await read(request, RenderRequest)

    def drawn() -> bytes:
        document = documents.decode(studio.blobs.get(studio.belongings.check(caller.owner, asked.document, "document")))
        return picture.to_png(studio.render(asked.control, document, asked.values))

    return Response(await to_thread.run_sync(drawn), media_type="image/png")


OPERATIONS: list[Operation] = [
    Operation("POST", f"{V1}/documents", put_document, "Keep a document: a container or OpenPose JSON (the body)", "make",
              gives=Document, group="Maps and documents"),
    Operation("GET", f"{V1}/documents/{{digest}}", get_document, "A document", "read", media="application/octet-stream",
              query=(("form", "openpose: people as OpenPose JSON"),), group="Maps and documents"),
    Operation("POST", f"{V1}/render", render, "A document as a ControlNet sees it", "make", takes=RenderRequest,
              media="image/png", group="Maps and documents"),
]  # fmt: skip
