"""The painter under 1,000 random actions: exactly what NumPy paints, and never a pixel whose colour is no class."""

from __future__ import annotations

import base64
import json
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np

from annotator import seg
from controlnet_core.domain.document import Raster, decode, encode
from tests.components.seg_reference import Reference
from tests.js.test_node import node

HERE = Path(__file__).parent
ACTIONS, WIDTH, HEIGHT, SKY = 1000, 64, 48, 2


def test_a_thousand_random_actions_paint_what_numpy_paints_and_only_classes() -> None:
    told = json.dumps({"seed": 4, "actions": ACTIONS, "width": WIDTH, "height": HEIGHT})
    command = [node(), str(HERE / "seg_actions.mjs"), told]
    lines = subprocess.run(command, capture_output=True, check=True, text=True, timeout=300).stdout.splitlines()
    assert len(lines) == ACTIONS
    known = {tuple(colour) for colour in seg.palette().tolist()}
    reference, kinds = Reference(np.full((HEIGHT, WIDTH), SKY, np.uint8)), Counter[str]()
    for number, line in enumerate(lines):
        action, width, height, packed = json.loads(line)
        painted = np.frombuffer(base64.b64decode(packed), np.uint8).reshape(height, width)
        reference.run(action)
        assert reference.pixels.shape == painted.shape, f"action {number}: {action}"
        wrong = np.argwhere(reference.pixels != painted)
        assert not len(wrong), f"action {number}, {len(wrong)} pixels, first {wrong[0]}: {action}"
        document = decode(encode(Raster("classes", painted)))
        assert isinstance(document, Raster) and np.array_equal(document.pixels, painted)
        colours = {tuple(colour) for colour in np.unique(seg.render(document, {}).reshape(-1, 3), axis=0).tolist()}
        assert colours <= known, f"action {number}: {colours - known}"
        kinds[action["kind"]] += 1
    assert min(kinds.values()) >= 20, kinds
