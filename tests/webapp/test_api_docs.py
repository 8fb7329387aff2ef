"""Every Python example of docs/api.md runs as it stands there, against a real server with the embedded model."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from controlnet_core.domain.picture import open_picture
from webapp.application.settings import ROOT
from webapp.application.studio import Studio

TEXT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 2


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_makes_its_picture(
    served_api: tuple[Studio, int],
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawing = np.full((256, 256), 255, np.uint8)
    cv2.rectangle(drawing, (70, 110), (190, 210), 0, 4)
    assert cv2.imwrite(str(tmp_path / "drawing.png"), drawing)
    assert cv2.imwrite(str(tmp_path / "photo.png"), cv2.GaussianBlur(drawing, (0, 0), 1))
    _, secret = served_api[0].keys.create(f"example-{number}")
    monkeypatch.chdir(tmp_path)
    exec(EXAMPLES[number], {"URL": f"http://127.0.0.1:{served_api[1]}", "KEY": secret})
    made = open_picture((tmp_path / "made.png").read_bytes())
    assert made.shape == (256, 256, 3)
    assert made.std() > 5
