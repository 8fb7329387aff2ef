"""Modules linked into one do what they do alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from components import ASSETS
from components.linker import LinkError, link
from tests.js.test_node import node


def run(script: str, *arguments: str) -> str:
    """What a script prints under Node.js."""
    command = [node(), "--input-type=module", "-e", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def linked(tmp_path: Path, **modules: str) -> Path:
    """The file that some modules, named without their ending, become."""
    folder = tmp_path / "modules"
    for name, text in modules.items():
        path = folder / f"{name.replace('__', '/')}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "all.mjs").write_text(link(folder))
    return tmp_path / "all.mjs"


def test_every_asset_exports_the_same_alone_and_linked(tmp_path: Path) -> None:
    (tmp_path / "all.mjs").write_text(link(ASSETS))
    names = sorted(path.relative_to(ASSETS).as_posix() for path in ASSETS.rglob("*.js"))
    script = """
      const [all, folder, ...names] = process.argv.slice(1);
      const { load } = await import(all);
      const kinds = (module) => Object.keys(module).sort().map((key) => [key, typeof module[key], String(module[key])]);
      const told = {};
      for (const name of names) {
        // Some modules need a browser: they fail alone and linked, or not at all.
        const alone = await import(`${folder}/${name}`).then(kinds, (error) => error.name);
        let one;
        try { one = kinds(load(name)); } catch (error) { one = error.name; }
        told[name] = [JSON.stringify(alone), JSON.stringify(one)];
      }
      console.log(JSON.stringify(told));
    """
    told = json.loads(run(script, str(tmp_path / "all.mjs"), str(ASSETS), *names))
    assert sorted(told) == names
    readable = sum(alone.startswith("[[") for alone, _ in told.values())
    assert readable > 0.8 * len(names)
    for name, (alone, one) in told.items():
        # A function's text names what it imports dynamically, which is the one thing that linking rewrites.
        assert one.replace("$import(", "import(").replace("$url", "import.meta.url") == alone, name


def test_a_module_runs_once_and_only_when_asked_for(tmp_path: Path) -> None:
    path = linked(
        tmp_path,
        first='import { tell, told as list } from "./deep/shared.js";\ntell("first");\nexport const all = list;',
        second='import * as shared from "./deep/shared.js";\nshared.tell("second");\nexport class Second {}',
        never='throw new Error("nobody asked");\nexport function never() {}',
        deep__shared="export const told = [];\nexport function tell(what) {\n  told.push(what);\n}",
        deep__late='export async function late() {\n  return import("../second.js");\n}\nexport const here = import.meta.url;',
    )
    script = """
      const { load } = await import(process.argv[1]);
      const { all } = load("first.js");
      const { late, here } = load("deep/late.js");
      const before = [...all];
      const { Second } = await late();
      console.log(JSON.stringify([before, all, Second === load("second.js").Second, here]));
    """
    here = path.with_name("deep").joinpath("late.js").as_uri()
    assert json.loads(run(script, str(path))) == [["first"], ["first", "second"], True, here]


@pytest.mark.parametrize(
    "text",
    [
        "export default 3;",
        "export let count = 0;",
        'export * from "./other.js";',
        'import other from "./other.js";',
        'import "./other.js";',
        'import { x } from "elsewhere";',
        "await 3;",
    ],
)
def test_what_cannot_be_linked_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(LinkError, match="cannot be linked"):
        linked(tmp_path, one=text, other="export const x = 1;")


def test_a_missing_module_and_a_circle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="not there"):
        linked(tmp_path / "a", one='import { x } from "./other.js";')
    with pytest.raises(LinkError, match="each other"):
        linked(tmp_path / "b", one='import { x } from "./two.js";', two='import { y } from "./one.js";')
