"""Where commands put pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import open_picture
from webapp.cli.outputs import Output

ROOT = Path(__file__).resolve().parents[2]


def test_a_folder_a_file_and_several(tmp_path: Path) -> None:
    assert Output.of(str(tmp_path), 2).write("a.png", 0, b"x", 0) == str(tmp_path / "a.png")
    named = Output.of(str(tmp_path / "house.PNG"), 2)
    assert [named.write("a.png", index, b"x", 0) for index in (0, 1)] == [
        str(tmp_path / "house.PNG"),
        str(tmp_path / "house-2.PNG"),
    ]
    assert Output.of(str(tmp_path / "new.folder.png" / "deep"), 1).write("b.png", 0, b"x", 0).endswith("deep/b.png")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_permissions_that_the_user_gives(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        Output.of(str(tmp_path), 1).write("a.png", 0, b"x", 0)
    finally:
        os.umask(before)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o666 & ~mask


def test_what_cannot_be_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="takes one picture, not 3"):
        Output.of("-", 3)
    with pytest.raises(InputError, match=r"house\.png"):
        Output.of("house.jpg", 1)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with pytest.raises(InputError, match="terminal"):
        Output.of("-", 1)


def test_a_map_goes_through_a_pipe(tmp_path: Path) -> None:
    photo = ROOT / "docs" / "scribble-1440x900-light.png"
    words = ["annotate", "canny", str(photo), "-"]
    done = subprocess.run(
        [sys.executable, "-m", "webapp", *words],
        cwd=ROOT,
        env={**os.environ, "STUDIO_DATA": str(tmp_path)},
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert open_picture(done.stdout).ndim == 3
    assert b"standard output" in done.stderr
