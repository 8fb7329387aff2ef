"""New ControlNets from what is on this machine: what it would take, and doing it in a process of its own.

The arithmetic is `controlnet_core.checkpoints.transfer`'s, which needs torch; so this starts `studio models transfer` (or extract,
add-control), hears its progress and puts a card on what was made.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from controlnet_core.domain.errors import Cancelled, InputError, ModelError
from controlnet_core.models.catalog import ModelCard, size_of
from controlnet_core.models.download import DownloadProgress
from webapp.application.library import Library, ModelTask
from webapp.application.settings import ROOT

Tool = Literal["transfer", "extract", "add-control"]
PREFIX = "making "
"""What the works of the library are called that make something, before its name."""
INSIDE = "inside"
"""Instead of an origin: the base model inside the control's own file."""
START_S = 10
BYTES_PER_S = 250e6
"""About what a disk and one core do together; printed as a rough time alone."""
END_S = 10
_NAME = re.compile(r"[A-Za-z0-9][\w .()+,-]{0,80}")


@dataclass(frozen=True)
class Making:
    """What shall be made: `source` is the control, or the base model of a fresh one; `name` that of the result."""

    tool: Tool
    source: str
    target: str = ""
    origin: str = ""
    name: str = ""
    half: bool = False

    @property
    def id(self) -> str:
        """What its work is called."""
        return f"{PREFIX}{self.name}"


@dataclass(frozen=True)
class Cost:
    """What making takes: bytes read, written and free, seconds, roughly; where the result will lie."""

    reads: int
    writes: int
    free: int
    seconds: float
    place: Path


def cost(library: Library, making: Making) -> Cost:
    """Look at what making would take. Raises InputError and ModelError when it cannot be."""
    catalog = library.catalog
    if not _NAME.fullmatch(making.name):
        raise InputError("This cannot be the name of a model.", "Use letters, digits, blanks and - _ . ( ) + ,")
    source = catalog.locate(catalog.card(making.source))
    suffix = "" if source.is_dir() else ".safetensors"
    place = catalog.models / "controlnet" / f"{making.name}{suffix}"
    if place.exists():
        raise InputError(f"There is a {place.name} already.", "Choose another name.")
    control = _control_bytes(source) if making.tool != "add-control" else _base_bytes(source) * 0.42
    reads = control
    if making.tool == "transfer":
        reads *= 1 if making.origin == INSIDE else 2
        reads += control
    catalog.models.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(catalog.models).free
    writes = control / 2 if making.half else control
    return Cost(round(reads), round(writes), free, START_S + (reads + writes) / BYTES_PER_S, place)


def begin(library: Library, making: Making) -> ModelTask:
    """Make it in the background; the same name twice is one. Raises InputError and ModelError when it cannot be."""
    place = cost(library, making).place
    command = [sys.executable, "-m", "webapp", "models", making.tool, *_arguments(library, making, place), "--watched"]
    return library.begin(making.id, lambda work: _run(library, making, place, command, work))


def _arguments(library: Library, making: Making, place: Path) -> Iterator[str]:
    catalog = library.catalog
    yield str(catalog.locate(catalog.card(making.source)))
    if making.tool == "transfer":
        yield str(catalog.locate(catalog.card(making.target)))
    yield str(place)
    if making.tool == "transfer":
        yield "--from"
        yield INSIDE if making.origin == INSIDE else str(catalog.locate(catalog.card(making.origin)))
    if making.half:
        yield "--half"


def _run(library: Library, making: Making, place: Path, command: list[str], work: ModelTask) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin and process.stdout and process.stderr
        said: list[str] = []
        errors = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
        errors.start()
        ended = threading.Event()
        threading.Thread(target=_stop_when_told, args=(process, work.stop, ended), daemon=True).start()
        total = max(1, cost_of_output(library, making))
        for line in process.stdout:
            with suppress(ValueError):
                work.hear(DownloadProgress(round(float(line) * total), total))
        process.wait()
        ended.set()
        errors.join(1)
    if work.stop.is_set() and process.returncode:
        raise Cancelled()
    if process.returncode:
        words = next((line for line in reversed(said) if line.startswith("studio: ")), "")
        raise ModelError(words.removeprefix("studio: ").strip() or "It failed.", "" if words else "Is memory short?")
    card = library.catalog.add(_card(library, making, place))
    work.text = card.id


def cost_of_output(library: Library, making: Making) -> int:
    """Bytes of the result, roughly: what progress is counted in."""
    source = library.catalog.locate(library.catalog.card(making.source))
    return round(_control_bytes(source)) >> making.half


def _stop_when_told(process: subprocess.Popen[str], stop: threading.Event, ended: threading.Event) -> None:
    while not ended.wait(0.1):
        if not stop.is_set():
            continue
        with suppress(OSError, ValueError):
            if process.stdin:
                process.stdin.close()  # it stops by itself and cleans up
        if not ended.wait(END_S):
            process.kill()
        return


def _card(library: Library, making: Making, place: Path) -> ModelCard:
    catalog = library.catalog
    source = catalog.card(making.source)
    family, what = source.family, f"Taken out of {source.title}."
    if making.tool == "transfer":
        target = catalog.card(making.target)
        family, what = target.family or source.family, f"{source.title}, carried over to {target.title}."
    elif making.tool == "add-control":
        what = f"Fresh and untrained, for {source.title}: changes no picture yet."
    key = re.sub(r"[^a-z0-9_.-]+", "-", making.name.lower()).strip("-_.")[:56] or "control"
    return ModelCard(
        id=key,
        title=making.name,
        kind="controlnet",
        family=family,
        path=place.relative_to(catalog.models).as_posix(),
        size_mib=size_of(place) >> 20,
        licence=source.licence,
        note=what,
        controls=source.controls,
        feed=source.feed,
        pooled=source.pooled,
    )


def _control_bytes(path: Path) -> float:
    # A full checkpoint has the control beside everything else: a quarter of it.
    size = size_of(path)
    return size if path.is_dir() or size < 2 << 30 else size * 0.253


def _base_bytes(path: Path) -> float:
    return size_of(path / "unet") if (path / "unet").is_dir() else size_of(path) * 0.8
