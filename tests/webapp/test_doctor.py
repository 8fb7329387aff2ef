"""`studio doctor` on machines that are well and machines that are not."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from webapp import cli
from webapp.application.settings import ROOT, Settings
from webapp.cli import doctor


def seen(settings: Settings, port: int = 0) -> dict[str, doctor.Finding]:
    return {one.about: one for one in doctor.findings(settings, port or free_port())}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def well(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data", models=ROOT / "models", free_min_bytes=0)


def test_a_machine_that_is_well(tmp_path: Path) -> None:
    found = seen(well(tmp_path))
    assert [one.about for one in found.values() if one.grade == "wrong"] == []
    assert "Paperworld" in found["weights"].says
    assert "torch 2." in found["device"].says
    assert not (tmp_path / "data").exists(), "looking changes nothing"


def test_what_is_wrong_is_said_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_pinned", lambda: [("numpy", "0.1"), ("no-such-package", "1.0")])
    monkeypatch.setattr(doctor, "PYTHON_MIN", (99, 0))
    settings = Settings(data=tmp_path / "data", models=tmp_path / "empty", free_min_bytes=1 << 60)
    found = seen(settings)
    for about in ("Python", "packages", "drawings", "models", "weights"):
        assert found[about].grade == "wrong", about
        assert found[about].cure, about
    assert "numpy is" in found["packages"].says
    assert "no-such-package is missing" in found["packages"].says


def test_a_port_and_a_folder_that_others_hold_are_notes(tmp_path: Path) -> None:
    settings = well(tmp_path)
    settings.data.mkdir()
    with socket.socket() as taken, (settings.data / "studio.lock").open("w") as lock:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("http://127.0.0.1:8501/draw/")
        lock.flush()
        found = seen(settings, taken.getsockname()[1])
    assert found["port"].grade == "note"
    assert found["running"].grade == "note"
    assert found["running"].says == "A studio works on these drawings now, at http://127.0.0.1:8501/draw/."


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_driver_without_a_pytorch_that_sees_its_gpu_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = doctor._device()
    assert (found.grade, "sees no GPU although a driver is here" in found.says) == ("wrong", True)
    assert "STUDIO_DEVICES=cpu" in found.cure


def test_a_check_that_fails_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(settings: Settings) -> doctor.Finding:
        raise RuntimeError("no catalogue today")

    monkeypatch.setattr(doctor, "_weights", fails)
    said = [one for one in doctor.findings(well(tmp_path), free_port()) if "no catalogue today" in one.says]
    assert [one.grade for one in said] == ["wrong"]


def test_the_command_and_its_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("STUDIO_MODELS", str(tmp_path / "nothing"))
    monkeypatch.setenv("STUDIO_FREE_MB", "0")
    told = CliRunner().invoke(cli.app, ["doctor", "--json", "--port", str(free_port())])
    assert told.exit_code == 1
    rows = {row["about"]: row for row in json.loads(told.stdout)}
    assert rows["weights"]["grade"] == "wrong"
    monkeypatch.setenv("STUDIO_MODELS", str(ROOT / "models"))
    told = CliRunner().invoke(cli.app, ["doctor", "--port", str(free_port())])
    assert told.exit_code == 0, told.stdout
    assert "All is well" in told.stdout
