"""GET /conditions: every condition, the JSON schema of its parameters, and its detectors."""

from __future__ import annotations

from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from controlnet_core.domain.control import ControlType, Param
from webapp.api.guard import Caller
from webapp.api.routing import Operation, given
from webapp.api.v1.common import V1
from webapp.application import views
from webapp.application.studio import Studio


class DetectorView(views.View):
    """A detector: `ready` says whether its networks are on this machine, `parameters` is a JSON schema."""

    key: str
    title: str
    help: str
    reads: Literal["photo", "map"]
    ready: bool
    parameters: dict[str, Any]


class ConditionView(views.View):
    """A condition: the kind of its document, its renderer's parameters as JSON schema, and its detectors."""

    key: str
    title: str
    help: str
    document: str
    parameters: dict[str, Any]
    detectors: list[DetectorView]


class Conditions(views.View):
    """Every condition."""

    conditions: list[ConditionView]


async def conditions(studio: Studio, _request: Request, _caller: Caller) -> Response:
    """Every condition with its parameters."""
    return given(Conditions(conditions=[_condition(studio, one) for one in studio.controls.values()]))


def _condition(studio: Studio, one: ControlType) -> ConditionView:
    installed = studio.catalog.installed
    return ConditionView(
        key=one.key,
        title=one.title,
        help=one.help,
        document=one.document,
        parameters=schema(one.params),
        detectors=[
            DetectorView(
                key=way.key,
                title=way.title,
                help=way.help,
                reads=way.reads,
                ready=all(installed(studio.catalog.card(card)) for card in way.weights),
                parameters=schema(way.params),
            )
            for way in one.detectors
        ],
    )


def schema(params: tuple[Param, ...]) -> dict[str, Any]:
    """Parameters as JSON schema."""
    properties: dict[str, Any] = {}
    for one in params:
        told: dict[str, Any] = {"title": one.title, "default": one.default}
        if one.help:
            told["description"] = one.help
        if one.choices:
            told |= {"type": "string", "enum": list(one.choices)}
        elif isinstance(one.default, bool):
            told["type"] = "boolean"
        else:
            told |= {"type": "integer" if isinstance(one.default, int) else "number"}
            told |= {"minimum": one.low, "maximum": one.high}
        properties[one.key] = told
    return {"type": "object", "properties": properties, "additionalProperties": False}


OPERATIONS: list[Operation] = [
    Operation("GET", f"{V1}/conditions", conditions, "Every condition, its parameters and detectors", "read",
              gives=Conditions, group="What there is"),
]  # fmt: skip
