"""What the components' Python side checks and packs."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import components
from components.mount import ACTIONS, SheetAction, pack, read_action, read_sheet_action
from controlnet_core.domain import control
from controlnet_core.domain.document import Raster, decode
from tests.js.test_node import node

ROOT = Path(__file__).resolve().parents[2]


def test_settings_and_document_travel_as_one_buffer() -> None:
    buffer = pack({"slot": "ä", "rev": 3}, b"\x00\xffdocument")
    (length,) = struct.unpack_from("<I", buffer)
    assert json.loads(buffer[4 : 4 + length]) == {"slot": "ä", "rev": 3}
    assert buffer[4 + length :] == b"\x00\xffdocument"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["kind", "picture", "job", "cell"]), inner)
    ),
    max_leaves=8,
)


@given(JSON)
def test_a_hostile_browser_sends_no_action(told: object) -> None:
    action = read_action(told)
    assert action is None or (action.kind in ACTIONS and 0 <= action.picture < 1000)


@given(JSON, st.integers(1, 36))
def test_a_hostile_browser_adopts_no_cell(told: object, cells: int) -> None:
    action = read_sheet_action(told, cells)
    assert action is None or (action.kind in ("adopt", "stop", "over") and 0 <= action.cell < cells)


def test_a_cell_is_adopted() -> None:
    assert read_sheet_action({"kind": "adopt", "cell": 3}, 4) == SheetAction("adopt", 3)
    for bad in ({"kind": "adopt", "cell": 4}, {"kind": "adopt", "cell": True}, {"kind": "eat", "cell": 0}, [], "stop"):
        assert read_sheet_action(bad, 4) is None


def test_an_action_is_read() -> None:
    action = read_action({"kind": "vary", "picture": 2, "job": "j1"})
    assert action == components.ResultAction("vary", 2, "j1")
    for bad in ({"kind": "delete"}, {"kind": "vary", "picture": True}, {"kind": "vary", "picture": -1}, [], "vary"):
        assert read_action(bad) is None


def test_every_kind_of_editor_is_the_same_everywhere() -> None:
    kinds = set(get_args(control.EditorKind))
    folders = {
        path.parent.name for path in (components.ASSETS / "editors").glob("*/*.js") if path.stem == path.parent.name
    }
    assert kinds == folders
    declared = re.search(r"^type EditorKind = (.*);$", (ROOT / "components/types.d.ts").read_text(), re.MULTILINE)
    assert declared is not None and kinds == set(re.findall(r'"(\w+)"', declared[1]))


def test_the_version_follows_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from components import version as module

    shutil.copytree(components.ASSETS, tmp_path / "assets")
    monkeypatch.setattr(module, "ASSETS", tmp_path / "assets")
    first = module.assets_version()
    assert first == module.assets_version() and len(first) == 12
    (tmp_path / "assets" / "canvas" / "raster.js").write_text("export {};")
    assert module.assets_version() != first


def test_python_reads_what_the_browser_writes() -> None:
    script = """
      import { encode } from "./components/assets/canvas/document.js";
      const pixels = Uint8Array.from({ length: 40 * 30 }, (_, i) => (i * 7) % 256);
      process.stdout.write(await encode({ kind: "mask", width: 40, height: 30, pixels }));
    """
    done = subprocess.run([node(), "--input-type=module", "-e", script], cwd=ROOT, capture_output=True, check=True)
    document = decode(done.stdout)
    assert isinstance(document, Raster)
    assert np.array_equal(document.pixels.ravel(), np.arange(1200) * 7 % 256)
