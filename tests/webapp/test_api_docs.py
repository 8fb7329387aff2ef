"""Every example of docs/api.md runs as it stands there, against a real server with the embedded model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from controlnet_core.domain.picture import open_picture
from tests.js.test_node import node
from webapp.application.settings import ROOT
from webapp.application.studio import Studio

TEXT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES: list[tuple[str, str]] = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)


def run(language: str, code: str, url: str, key: str) -> None:
    """Run an example in this folder."""
    if language == "python":
        exec(code, {"URL": url, "KEY": key})
        return
    if language == "sh":
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        command = ["bash", "-euo", "pipefail", "-c", code]
    else:
        assert language == "javascript"
        head = f"const URL = {url!r}, KEY = {key!r};\n"
        command = [node(), "--input-type=module", "-e", head + code]
    env = os.environ | {"URL": url, "KEY": key}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr


def test_there_are_examples() -> None:
    languages = [language for language, _ in EXAMPLES]
    assert languages.count("python") >= 4
    assert {"sh", "javascript"} <= set(languages)


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
    run(*EXAMPLES[number], f"http://127.0.0.1:{served_api[1]}", secret)
    made = open_picture((tmp_path / "made.png").read_bytes())
    assert made.shape == (256, 256, 3)
    assert made.std() > 5
