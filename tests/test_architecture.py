"""Who may know whom: each room imports only itself and rooms before it, and the web process never imports torch."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ["controlnet_core", "annotator", "paperworld", "components", "webapp", "pages", "controlnet_studio"]
FLOORS = {
    "controlnet_core": [
        "domain",
        "storage",
        "families",
        "checkpoints",
        "execution",
        "models",
        "memory",
        "diffusion",
        "engine",
        "datasets",
        "training",
    ],
    "paperworld": ["world", "model", "evaluation", "training"],
    "webapp": ["application", "routes", "api", "ui", "root", "app", "cli", "__main__"],
}
"""Inside a room: each floor knows itself and the floors before it."""
TORCH_FREE = ["domain", "storage", "families", "execution"]
"""Floors of the core that no file of may import torch, at any depth."""
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
def test_no_modules_of_a_room_know_each_other_in_a_circle(room: str) -> None:
    """Not even for their types: whoever reads one need not read the other first."""
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules(room)}
    names = {name.removesuffix(".__init__"): path for path, name in names.items()}
    known: dict[str, set[str]] = {name: set() for name in names}
    for name, path in names.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                known[name] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                parts = {f"{node.module}.{alias.name}" for alias in node.names}
                known[name] |= parts & names.keys() or {node.module}
        known[name] &= names.keys() - {name}
    graphlib.TopologicalSorter(known).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_only_the_rooms_before_it(room: str) -> None:
    later = set(ROOMS[ROOMS.index(room) + 1 :])
    assert modules(room), f"{room} is empty"
    broken = {str(path.relative_to(ROOT)): known for path in modules(room) if (known := imported(path) & later)}
    assert not broken


def floors_known(room: str, source: str) -> set[str]:
    """The floors of `room` that a file's text imports, at any depth."""
    known: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == room else [node.module]
        known |= {name.split(".")[1] for name in names if name.startswith(f"{room}.")}
    return known


def too_high(room: str, floor: str, source: str) -> set[str]:
    """What a file on `floor` of `room` imports although it stands above it."""
    floors = FLOORS[room]
    return floors_known(room, source) & set(floors[floors.index(floor) + 1 :])


@pytest.mark.parametrize("room", FLOORS)
def test_a_floor_knows_only_the_floors_below_it(room: str) -> None:
    broken: dict[str, set[str]] = {}
    for path in modules(room):
        floor = path.relative_to(ROOT / room).parts[0].removesuffix(".py")
        if floor == "__init__":
            continue
        assert floor in FLOORS[room], f"{floor} has no floor in {room}"
        if known := too_high(room, floor, path.read_text(encoding="utf-8")):
            broken[str(path.relative_to(ROOT))] = known
    assert not broken


def test_an_arrow_up_is_caught() -> None:
    assert too_high("controlnet_core", "domain", "def late():\n    from controlnet_core.models import catalog") == {
        "models"
    }
    assert too_high("controlnet_core", "domain", "from controlnet_core import engine") == {"engine"}
    assert too_high("webapp", "application", "import webapp.ui.session") == {"ui"}
    assert not too_high("webapp", "ui", "from webapp.application import studio")
    assert too_high("webapp", "routes", "from webapp.ui.session import widget") == {"ui"}


@pytest.mark.parametrize("floor", TORCH_FREE)
def test_low_floors_import_no_torch(floor: str) -> None:
    heavy = {str(path): found for path in modules(f"controlnet_core/{floor}") if (found := imported(path) & HEAVY)}
    assert not heavy


def test_one_door_to_ray() -> None:
    """Ray is optional, heavy, and ends whoever speaks to it: only the process that does nothing else imports it."""
    door = ROOT / "controlnet_core" / "execution" / "ray_bridge.py"
    known = re.compile(r"""\b(?:import|from) ray\b|import_module\(["']ray\b""")
    assert [path for room in ROOMS for path in modules(room) if known.search(path.read_text("utf-8"))] == [door]


def test_one_door_to_diffusers() -> None:
    """Importing diffusers before `diffusers_setup` would bring in xformers and SciPy: only that module does it."""
    door = ROOT / "controlnet_core" / "models" / "diffusers_setup.py"
    for path in modules("controlnet_core"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        first = [node.module or "" for node in body if isinstance(node, ast.ImportFrom)]
        assert path == door or not [name for name in first if name.split(".")[0] == "diffusers"], path


@pytest.mark.parametrize("room", ["controlnet_core", "annotator", "paperworld"])
def test_the_inner_rooms_know_no_streamlit(room: str) -> None:
    assert not [path for path in modules(room) if "streamlit" in imported(path)]


def test_the_application_knows_no_streamlit() -> None:
    """Neither by name at any depth, nor by anything that it imports."""
    here = modules("webapp/application")
    assert not [path for path in here if "streamlit" in imported(path)]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in here if path.name != "__init__.py"]
    code = (
        f"import sys, importlib; [importlib.import_module(one) for one in {names!r}]; print('streamlit' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("floor", ["application", "routes", "api", "ui"])
def test_no_room_looks_up_the_studio(floor: str) -> None:
    """A studio is passed down; only those who put a process together ask for the process's."""
    assert not [path for path in modules(f"webapp/{floor}") if "root" in floors_known("webapp", path.read_text())]


def test_pages_are_thin() -> None:
    """Pages arrange; they hold no arrays, no error handling and no session keys."""
    for path in modules("pages"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert "numpy" not in imported(path), path
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Try)], path
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "session_state"], path


LIGHT = ["annotator", "paperworld", "components", "webapp.application.studio", "webapp.app", "pages.studio"]


def test_the_web_process_never_imports_torch() -> None:
    """One process imports them in turn and says after each what is there."""
    code = (
        f"import sys, importlib\nfor one in {LIGHT!r}:\n importlib.import_module(one)\n"
        f" print(one, *sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600, check=True
    )
    assert done.stdout.split("\n")[:-1] == LIGHT


READ = re.compile(r"""(?:environ|given)(?:\.get\(|\[)["'](STUDIO_\w+)["'](?!\] =)""")
READERS = {"controlnet_core/domain/options.py", "webapp/application/settings.py"}
BESIDE = {("annotator/weights.py", "STUDIO_MODELS"), ("controlnet_core/execution/ray_host.py", "STUDIO_MODELS")}
"""Below the settings, and where detectors' weights lie on a machine of its own."""


def test_the_environment_is_read_in_two_places() -> None:
    """What computes and where things lie: each variable stands once, in a class that says what it is for."""
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for room in ROOMS
        for path in modules(room)
        for name in READ.findall(path.read_text(encoding="utf-8"))
    }
    assert {place for place, _ in found} >= READERS
    assert {one for one in found if one[0] not in READERS} == BESIDE


def test_no_sentence_for_people_names_a_class() -> None:
    """A class renamed by machine must not take words of the pages along."""
    files = [path for room in ("webapp", "pages") for path in (ROOT / room).rglob("*.py")]
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    names = {
        node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and re.fullmatch(r"[A-Z][a-z]+([A-Z][a-z]+)+", node.name)
    }
    assert "InitImageChoice" in names
    word = re.compile(rf"\b({'|'.join(names)})\b")
    found: list[str] = []
    for path, tree in trees.items():
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        found += [
            f"{path.relative_to(ROOT)}:{node.lineno} {node.value[:60]!r}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
            if " " in node.value and word.search(node.value)
        ]
    assert not found
