"""The API's description: OpenAPI 3.1 as JSON, and the same as a page that needs nothing from anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from pydantic.json_schema import models_json_schema
from starlette.responses import HTMLResponse, JSONResponse, Response

from webapp.api.routing import Operation
from webapp.application.settings import version

PAGE, DOCUMENT = "/api/docs", "/api/openapi.json"
_REFS = "#/components/schemas/{model}"
_REFUSALS = {
    "401": "No key, or an unknown one",
    "403": "The key may not do this",
    "404": "There is nothing here",
    "422": "A field is wrong: the error names it",
    "429": "A limit or the queue is full: try again after Retry-After seconds",
}


def answer(operations: Sequence[Operation], path: str) -> Response:
    """The page or the document."""
    told = described([one for one in operations if one.group])
    return JSONResponse(told) if path == DOCUMENT else HTMLResponse(page(told))


def described(operations: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI document of operations."""
    models = sorted(
        {one for each in operations for one in (each.takes, each.gives) if one}, key=lambda one: one.__name__
    )
    _, schemas = models_json_schema([(one, "validation") for one in models], ref_template=_REFS)
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        paths.setdefault(re.sub(r":\w+}", "}", one.path), {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ControlNet Studio",
            "version": version(),
            "description": "Pictures from drawings, poses, maps and photos. A picture is sent as base64, as a data-URL, as the "
            "digest of what was sent before, or beside the JSON of a multipart form as file:NAME.",
        },
        "security": [{"bearer": []}, {"basic": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.get("$defs", {}),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _operation(one: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if one.gives is not None:
        content = {"application/json": {"schema": {"$ref": _REFS.format(model=one.gives.__name__)}}}
    elif one.media != "application/json":
        content = {one.media: {"schema": {"type": "string"}}}
    names = re.findall(r"{(\w+)(?::\w+)?}", one.path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    parameters += [
        {"name": name, "in": "query", "description": words, "schema": {"type": "string"}} for name, words in one.query
    ]
    told: dict[str, Any] = {
        "summary": one.summary,
        "tags": [one.group],
        "description": f"Needs the scope `{one.scope}`." if one.scope else "Needs no key.",
        "parameters": parameters,
        "responses": {"200": {"description": "What was asked for", "content": content}}
        | {status: {"description": words} for status, words in _REFUSALS.items()},
    }
    if one.takes is not None:
        body = {"application/json": {"schema": {"$ref": _REFS.format(model=one.takes.__name__)}}}
        told["requestBody"] = {"required": True, "content": body}
    return told


def page(told: dict[str, Any]) -> str:
    """The document as a page for people."""
    groups: dict[str, list[str]] = {}
    for path, methods in told["paths"].items():
        for method, one in methods.items():
            groups.setdefault(one["tags"][0], []).append(_section(path, method, one))
    body = "".join(f"<h2>{escape(name)}</h2>{''.join(parts)}" for name, parts in groups.items())
    schemas = "".join(
        # A link into what is folded opens it.
        f"<details><summary><code>{escape(name)}</code></summary>"
        f'<pre id="{escape(name)}">{escape(json.dumps(schema, indent=1))}</pre></details>'
        for name, schema in told["components"]["schemas"].items()
    )
    about = escape(told["info"]["description"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>ControlNet Studio API</title><style>{_STYLE}</style><main><h1>ControlNet Studio API</h1><p>{about} "
        f'Everything in one file: <a href="./openapi.json">openapi.json</a>.</p>{body}<h2>Schemas</h2>{schemas}</main></html>'
    )


def _section(path: str, method: str, one: dict[str, Any]) -> str:
    takes = one.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    content = one["responses"]["200"]["content"]
    gives = next((body["schema"].get("$ref") or kind for kind, body in content.items()), "")
    facts = [("Takes", takes), ("Gives", gives)]
    words = "".join(f"<dt>{label}</dt><dd>{_link(to)}</dd>" for label, to in facts if to)
    words += "".join(
        f"<dt>?{escape(each['name'])}</dt><dd>{escape(each['description'])}</dd>"
        for each in one["parameters"]
        if each["in"] == "query"
    )
    return (
        f'<section><h3><b class="{method}">{method.upper()}</b> <code>{escape(path)}</code></h3>'
        f"<p>{escape(one['summary'])} <small>{escape(one['description'].replace('`', ''))}</small></p><dl>{words}</dl></section>"
    )


def _link(to: str) -> str:
    name = escape(to.rsplit("/", 1)[-1]) if to.startswith("#") else ""
    return f'<a href="#{name}">{name}</a>' if name else f"<code>{escape(to)}</code>"


_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; margin: 0;
  background: light-dark(#f5f3ed, #17181c); color: light-dark(#17181c, #eceae4); }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.5rem 5rem; }
h1 { font-size: 1.9rem; margin: 0 0 .5rem; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; }
section, details { background: light-dark(#fff, #202228); border: 1px solid light-dark(#dedad0, #343741); border-radius: 8px;
  padding: .75rem 1rem; margin: .5rem 0; }
h3 { font-size: 1rem; font-weight: 400; margin: 0; } p { margin: .25rem 0; } small { opacity: .75; }
h3 b { display: inline-block; min-width: 4.5rem; font-size: .8rem; letter-spacing: .04em; color: light-dark(#8a2a10, #ff9d80); }
h3 b.get { color: light-dark(#1f5f8b, #8cc8f2); } code, pre { font: .9rem/1.5 ui-monospace, monospace; }
dl { display: grid; grid-template-columns: max-content 1fr;
  gap: .15rem 1rem; margin: .25rem 0 0; } dt { opacity: .75; } dd { margin: 0; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; scroll-margin-top: 4rem; } summary { cursor: pointer; } a { color: inherit; }
"""
