"""GET /models: every model that is known, and whether it is on this machine."""

from __future__ import annotations

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from webapp.api.guard import Caller
from webapp.api.routing import Operation, given
from webapp.api.v1.common import V1
from webapp.application import views
from webapp.application.studio import Studio


class ModelView(views.View):
    """A model; `here` says whether it is on this machine, `preset` which preset of few steps it is made for ("": none)."""

    id: str
    title: str
    kind: str
    family: str
    controls: list[str]
    licence: str
    note: str
    preset: str
    here: bool


class Models(views.View):
    """Every model that is known."""

    models: list[ModelView]


async def models(studio: Studio, _request: Request, _caller: Caller) -> Response:
    """Every model."""

    def listed() -> Models:
        return Models(
            models=[
                ModelView(
                    id=card.id,
                    title=card.title,
                    kind=card.kind,
                    family=card.family,
                    controls=list(card.controls),
                    licence=card.licence,
                    note=card.note,
                    preset=card.preset,
                    here=studio.catalog.installed(card),
                )
                for card in studio.catalog.cards()
            ]
        )

    return given(await to_thread.run_sync(listed))


OPERATIONS: list[Operation] = [
    Operation("GET", f"{V1}/models", models, "Every model, and whether it is here", "read", gives=Models,
              group="What there is"),
]  # fmt: skip
