"""Who may know whom: each room imports only itself and rooms before it, and the web process never imports torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ["controlnet_core", "annotator", "paperworld", "components", "webapp", "pages"]
HEAVY = {"torch", "diffusers", "transformers", "accelerate", "xformers"}


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The top names of everything that a file imports, at any depth."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_only_the_rooms_before_it(room: str) -> None:
    later = set(ROOMS[ROOMS.index(room) + 1 :])
    assert modules(room), f"{room} is empty"
    broken = {str(path.relative_to(ROOT)): known for path in modules(room) if (known := imported(path) & later)}
    assert not broken


@pytest.mark.parametrize("room", ["controlnet_core", "annotator", "paperworld"])
def test_the_inner_rooms_know_no_streamlit(room: str) -> None:
    assert not [path for path in modules(room) if "streamlit" in imported(path)]


def test_pages_are_thin() -> None:
    """Pages arrange; they hold no arrays, no error handling and no session keys."""
    for path in modules("pages"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert "numpy" not in imported(path), path
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Try)], path
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "session_state"], path


@pytest.mark.parametrize(
    "module", ["annotator", "paperworld", "components", "webapp.services", "webapp.app", "pages.studio"]
)
def test_the_web_process_never_imports_torch(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == ""
