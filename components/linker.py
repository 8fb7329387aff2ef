"""Many small ES modules as one, so that a browser asks once instead of eighty times; no module is changed for it.

Each module becomes a function that runs when it is first asked for and returns what the module exports:

    import { a, b as c } from "./x.js";     const { a, b: c } = $link("x.js");
    import * as x from "./x.js";            const x = $link("x.js");
    await import(path)                      await $import(path)
    export function f() {}                  function f() {} ... return { f };

That is the whole of ECMAScript's module syntax that our modules may use, each statement at the start of a line; anything else is
refused, and so are modules that import each other in a circle. Under Node.js and in the tests they stay ordinary modules.
"""

from __future__ import annotations

import json
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

_IMPORT = re.compile(r'^import (\{[^}"]*\}|\* as ([\w$]+)) from "(\.[^"]+)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function\*? ?|class |const )([\w$]+)", re.MULTILINE)
_REST = re.compile(r"^(?:import|export|await)\b.*", re.MULTILINE)
_DYNAMIC = re.compile(r"(?<![\w$.#])import\(")
_RUNTIME = """const $made = {};
function $link(name) {
  return ($made[name] ??= $modules[name](
    async (path) => $link(new URL(path, "file:///" + name).pathname.slice(1)), new URL(name, import.meta.url).href));
}
export { $link as load };
"""


class LinkError(ValueError):
    """A module uses syntax that this linker does not know."""


def link(folder: Path) -> str:
    """One module made of all under `folder`; its only export, `load(name)`, returns the exports of the module at that path.

    Raises LinkError.
    """
    root = folder.resolve()
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.js"))
    graph: dict[str, set[str]] = {}
    parts: list[str] = []
    for name in names:
        body, graph[name] = _linked(root, name)
        if missing := graph[name].difference(names):
            raise LinkError(f"{name} imports {', '.join(sorted(missing))}, which is not there.")
        parts.append(f"{json.dumps(name)}($import, $url) {{\n{body}}},\n")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise LinkError(f"Modules import each other: {' -> '.join(error.args[1])}.") from error
    return f"const $modules = {{\n{''.join(parts)}}};\n{_RUNTIME}"


def _linked(root: Path, name: str) -> tuple[str, set[str]]:
    """The body of the function that a module becomes, and the names of the modules that it imports."""
    path = root / name
    needed: set[str] = set()
    exported: list[str] = []

    def imported(match: re.Match[str]) -> str:
        names, whole, target = match.groups()
        other = (path.parent / target).resolve().relative_to(root).as_posix()
        needed.add(other)
        return f"const {whole or names.replace(' as ', ': ')} = $link({json.dumps(other)});"

    def declared(match: re.Match[str]) -> str:
        exported.append(match[2])
        return match[1] + match[2]

    body = _EXPORT.sub(declared, _IMPORT.sub(imported, path.read_text(encoding="utf-8")))
    if rest := _REST.search(body):
        raise LinkError(f"{name} has a statement that cannot be linked: {rest[0]}")
    body = _DYNAMIC.sub("$import(", body).replace("import.meta.url", "$url")
    return f"{body.rstrip()}\nreturn {{ {', '.join(exported)} }};\n", needed
