"""The editors' types, as `make check` has them checked; and that what is checked is enough to find a mistake."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.js.test_node import node

COMPONENTS = Path(__file__).resolve().parents[2] / "components"
TSC = COMPONENTS / "node_modules/typescript/bin/tsc"

pytestmark = pytest.mark.skipif(not TSC.is_file(), reason="the type checker is not here; `make check` installs it")


def checked(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [node(), str(TSC), "-p", str(project)], capture_output=True, text=True, timeout=120, check=False
    )


def test_all_modules_are_clean() -> None:
    for project in (COMPONENTS, COMPONENTS / "tsconfig.strict.json"):
        done = checked(project)
        assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("pane.capsule(1, 2, 3);", "Expected 6 arguments"),
        ('pane.polygon([{ x: 1, y: "2" }]);', "not assignable to type 'number'"),
        ("pane.circle(1, 2);", "Property 'circle' does not exist"),
        ("pane.rect[0] += 1;", "possibly 'null'"),
        ("new Stroke(pane, { size: '6' });", "not assignable to type 'number'"),
    ],
)
def test_a_mistake_is_found(tmp_path: Path, mistake: str, said: str) -> None:
    where = (COMPONENTS / "assets").as_posix()
    (tmp_path / "mistake.js").write_text(
        f'import {{ Coverage }} from "{where}/canvas/raster.js";\n'
        f'import {{ Stroke }} from "{where}/canvas/strokes.js";\n'
        f"const pane = new Coverage(8, 8);\nStroke.name;\n{mistake}\n"
    )
    config = {
        "extends": (COMPONENTS / "tsconfig.strict.json").as_posix(),
        "include": ["mistake.js", f"{COMPONENTS.as_posix()}/types.d.ts"],
    }
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    done = checked(tmp_path)
    assert done.returncode != 0
    assert "mistake.js(5," in done.stdout and said in done.stdout, done.stdout
