"""`studio doctor`: what of this machine is right, what is not, and what to do; the first lines of a bug report.

Every check is one `Finding`. Nothing is changed, and nothing leaves the machine.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import socket
import sys
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from controlnet_core.domain import amounts
from webapp.application.settings import ROOT, Settings, home

Grade = Literal["ok", "note", "wrong"]
PACKAGE = "controlnet-studio"
PYTHON_MIN = (3, 11)
MEMORY_MIN = 3 << 30
"""What the embedded model, its server and a browser need together."""
MARKS: dict[Grade, str] = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it is, in a sentence, and what to do when it is not well.

    "note" is worth knowing and hinders nothing.
    """

    about: str
    grade: Grade
    says: str
    cure: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port that the studio would take.")] = 8501,
) -> None:
    """Look at this machine and say what is right, what is wrong and what to do."""
    found = list(findings(Settings.from_environment(), port))
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=1))
    else:
        width = max(len(one.about) for one in found)
        for one in found:
            print(f"{MARKS[one.grade]}  {one.about:<{width}}  {one.says}")
            if one.cure and one.grade != "ok":
                print(f"       {'':<{width}}  -> {one.cure}")
    wrong = sum(one.grade == "wrong" for one in found)
    if not as_json:
        print("\nAll is well: studio run" if not wrong else f"\n{wrong} thing{'s' * (wrong > 1)} to mend first.")
    if wrong:
        raise typer.Exit(1)


def findings(settings: Settings, port: int = 8501) -> Iterator[Finding]:
    """All findings, cheapest first. A check that fails itself is a finding too."""
    checks: list[Callable[[], Finding]] = [
        _studio,
        _python,
        _packages,
        _memory,
        lambda: _folder("drawings", settings.data, settings.free_min_bytes),
        lambda: _folder("models", settings.models, settings.free_min_bytes),
        lambda: _running(settings.data),
        lambda: _port(port),
        _browser,
        lambda: _weights(settings),
        _device,
    ]
    for check in checks:
        try:
            yield check()
        except Exception as error:
            name = getattr(check, "__name__", "check").strip("_")
            yield Finding(name, "wrong", f"Could not be looked at: {type(error).__name__}: {error}")


def _studio() -> Finding:
    try:
        version = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        version = "a clone"
    return Finding("studio", "ok", f"{version}, in {ROOT}" + ("" if home() == ROOT else f"; your files in {home()}"))


def _python() -> Finding:
    said = f"{platform.python_version()} on {platform.system()} {platform.release()}, {platform.machine()}"
    if sys.version_info < PYTHON_MIN:
        return Finding("Python", "wrong", said, f"Install Python {PYTHON_MIN[0]}.{PYTHON_MIN[1]} or newer.")
    return Finding("Python", "ok", said)


def _packages() -> Finding:
    """Whether what is installed is what this version was tested with."""
    wrong: list[str] = []
    for name, pinned in _pinned():
        try:
            have = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        if have.partition("+")[0] != pinned:
            wrong.append(f"{name} is {have} instead of {pinned}")
    if wrong:
        cure = f"pip install -r {ROOT / 'requirements.txt'}" if home() == ROOT else f"pip install --upgrade {PACKAGE}"
        return Finding("packages", "wrong", "; ".join(wrong) + ".", cure)
    return Finding("packages", "ok", "As they were tested.")


def _pinned() -> list[tuple[str, str]]:
    """Name and version of everything that must be there; what a platform may lack (xformers) is not among it."""
    file = ROOT / "requirements.txt"
    clone = file.is_file()
    lines = file.read_text(encoding="utf-8").splitlines() if clone else importlib.metadata.requires(PACKAGE) or []
    plain = [line.split("#")[0].strip() for line in lines]
    split = [line.partition("==") for line in plain if "==" in line and ";" not in line]
    return [(name.strip(), version.strip()) for name, _, version in split]


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    said = f"{amounts.size(memory.available)} of {amounts.size(memory.total)} free, {os.cpu_count()} cores"
    if memory.available < MEMORY_MIN:
        return Finding(
            "memory", "note", said, f"Close other programs: {amounts.size(MEMORY_MIN)} are needed to draw at ease."
        )
    return Finding("memory", "ok", said)


def _folder(name: str, folder: Path, free_min_bytes: int) -> Finding:
    """Whether a folder that need not exist yet can be written to, and has room."""
    place = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(place).free
    said = f"{folder}, {amounts.size(free)} free"
    variable = "STUDIO_DATA" if name == "drawings" else "STUDIO_MODELS"
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding(name, "wrong", f"{said}, but it cannot be written to", f"Name another one: {variable}=FOLDER.")
    if free < free_min_bytes:
        cure = f"Free some space, name another folder ({variable}), or leave less to others (STUDIO_FREE_MB)."
        return Finding(name, "wrong", f"{said}; {amounts.size(free_min_bytes)} stay reserved for other programs", cure)
    return Finding(name, "ok", said)


def _running(data: Path) -> Finding:
    import fcntl

    lock = data / "studio.lock"
    if lock.exists():
        with lock.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                where = file.read()
                said = f"A studio works on these drawings now{where and f', at {where}'}."
                return Finding("running", "note", said, "Use that one, or stop it first.")
    return Finding("running", "ok", "No other studio works on these drawings.")


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return Finding("port", "note", f"{port} is taken.", "The studio takes the next free one by itself.")
    return Finding("port", "ok", f"{port} is free.")


def _browser() -> Finding:
    try:
        found = webbrowser.get()
    except webbrowser.Error:
        return Finding("browser", "note", "None on this machine.", "Open the address that `studio run` prints.")
    return Finding("browser", "ok", getattr(found, "name", "") or type(found).__name__)


def _weights(settings: Settings) -> Finding:
    catalog = settings.catalog()
    bases = [card.title for card in catalog.bases()]
    broken = [card.title for card in catalog.cards() if card.trouble]
    if not bases:
        cure = "Install the studio anew, or fetch one: studio models list names them."
        return Finding("weights", "wrong", "No base model is here.", cure)
    said = f"Base models: {', '.join(bases)}."
    if broken:
        return Finding("weights", "note", f"{said} Cannot be used: {', '.join(broken)}.", "The Models page says why.")
    return Finding("weights", "ok", said)


def _device() -> Finding:
    import torch

    said = f"torch {torch.__version__}"
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
        return Finding(
            "device", "ok", f"{said}, " + ", ".join(f"{one.name} ({amounts.size(one.total_memory)})" for one in names)
        )
    if shutil.which("nvidia-smi"):
        cure = (
            "Install torch 2.13.0 for CUDA (https://pytorch.org) and a driver that fits it, or set STUDIO_DEVICES=cpu."
        )
        return Finding("device", "wrong", f"{said} sees no GPU although a driver is here.", cure)
    if torch.backends.mps.is_available():
        cure = "STUDIO_DEVICES=mps draws on Apple's GPU, which nobody has measured yet."
        return Finding("device", "ok", f"{said}: the CPU draws.", cure)
    return Finding("device", "ok", f"{said}, no GPU: the CPU draws.")
