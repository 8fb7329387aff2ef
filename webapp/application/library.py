"""The models of this machine and what is being done with them: downloads in the background, checks, a bin with undo.

Downloads run in threads of this process (network and checksums hold no lock for long), transfers in a process of their own,
because they need torch. Knows no page and speaks no HTTP: `webapp.routes.models` and `webapp.cli.models` do.
"""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from controlnet_core.checkpoints.probe import ModelProbe, check
from controlnet_core.domain import amounts
from controlnet_core.domain.errors import Cancelled, InputError, ModelError, StudioError
from controlnet_core.families import family
from controlnet_core.models import download, hub
from controlnet_core.models.catalog import Catalog, Kind, ModelCard, Prediction, shipped, size_of
from controlnet_core.models.download import DownloadProgress
from webapp.application.settings import ROOT

Phase = Literal["waiting", "running", "done", "failed", "stopped"]
PREDICTS: dict[Prediction, str] = {
    "epsilon": "the noise (epsilon)",
    "v_prediction": "the velocity (v)",
    "sample": "the picture (sample)",
}
OVER: tuple[Phase, ...] = ("done", "failed", "stopped")
AT_ONCE = 2
"""Downloads at a time; more only share the same connection."""
BIN = ".bin"
CHECK_TIMEOUT_S = 300
_FOLDERS: dict[Kind, str] = {
    "base": "checkpoints",
    "controlnet": "controlnet",
    "lora": "loras",
    "embedding": "embeddings",
    "vae": "vae",
    "ip_adapter": "ip_adapters",
    "image_encoder": "image_encoders",
}
ADDABLE: tuple[Kind, ...] = tuple(_FOLDERS)
"""The kinds that a user can add."""
log = logging.getLogger("studio.models")


@dataclass
class ModelTask:
    """Something that is done with a model. `done` of `total` bytes; `speed` in bytes a second, of the last seconds."""

    id: str
    phase: Phase = "waiting"
    done: int = 0
    total: int = 0
    speed: float = 0.0
    text: str = ""
    hint: str = ""
    stop: threading.Event = field(default_factory=threading.Event, repr=False)
    over: threading.Event = field(default_factory=threading.Event, repr=False)

    def __post_init__(self) -> None:
        self._mark = (time.monotonic(), 0)

    def hear(self, progress: DownloadProgress) -> None:
        """Take in how far it is."""
        self.phase, self.done, self.total = "running", progress.done, progress.total
        now, (then, before) = time.monotonic(), self._mark
        if before == 0 or now - then > 2:
            if before and now > then:
                self.speed = max(0.0, (progress.done - before) / (now - then))
            self._mark = (now, progress.done)

    def end(self, phase: Phase, text: str = "", hint: str = "") -> None:
        """Say how it ended."""
        self.text, self.hint, self.phase = text, hint, phase
        self.over.set()

    def told(self) -> dict[str, Any]:
        """As JSON."""
        left = (self.total - self.done) / self.speed if self.speed and self.total else None
        return {
            "id": self.id,
            "phase": self.phase,
            "done": self.done,
            "total": self.total,
            "speed": round(self.speed),
            "left_s": left and round(left),
            "stopping": self.stop.is_set() and self.phase not in OVER,
            "text": self.text,
            "hint": self.hint,
        }


class Library:
    """The models folder of `catalog`, and the work on it. Safe across threads."""

    def __init__(self, catalog: Catalog, free_min_bytes: int, data: Path | None = None) -> None:
        """`data` is where drawings and pictures lie, for the page to say."""
        self.catalog = catalog
        self.free_min_bytes = free_min_bytes
        self.data = data
        self._works: dict[str, ModelTask] = {}
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(AT_ONCE)

    # ---- what there is

    def rows(self) -> list[dict[str, Any]]:
        """Every model as a page shows it."""
        return [self._row(card) for card in self.catalog.cards()]

    def works(self) -> list[dict[str, Any]]:
        """What is being done, and what ended since the start of the program."""
        with self._lock:
            return [work.told() for work in self._works.values()]

    def room(self) -> dict[str, Any]:
        """Where models lie, how much space is left there, and what is in the bin."""
        models = self.catalog.models
        models.mkdir(parents=True, exist_ok=True)
        binned = self._binned()
        return {
            "folder": str(models),
            "data": str(self.data) if self.data else "",
            "free": shutil.disk_usage(models).free,
            "bin": {"count": len(binned), "size": sum(size_of(path) for path in binned)},
        }

    def check(self, card: ModelCard) -> ModelProbe:
        """What the model's files are. Pickles are looked into by another process: this one never imports torch."""
        path = self.catalog.locate(card)
        if path.is_dir() or path.suffix.lower() == ".safetensors":
            return check(path)
        return _checked_elsewhere(path)

    # ---- coming

    def download(self, id: str) -> ModelTask:
        """Begin to download a model, or go on, as `begin` does. Raises ModelMissing."""
        card = self.catalog.card(id)

        def run(work: ModelTask) -> None:
            with self._slots:
                self._fetch(card, work)

        return self.begin(id, run)

    def begin(self, id: str, run: Callable[[ModelTask], None]) -> ModelTask:
        """Run something in the background under an id; the one that runs already when there is one.

        One that was told to stop, and has not stopped yet, is none: the new one begins as soon as that is over.
        """
        with self._lock:
            before = self._works.get(id)
            if before is not None and not before.over.is_set() and not before.stop.is_set():
                return before
            work = self._works[id] = ModelTask(id)
        threading.Thread(target=self._run, args=(work, run, before), name=f"model {id}", daemon=True).start()
        return work

    def work(self, id: str) -> ModelTask | None:
        """The newest work under an id."""
        with self._lock:
            return self._works.get(id)

    def stop(self, id: str) -> None:
        """Stop the work under an id; what came of a download is kept."""
        work = self.work(id)
        if work is not None:
            work.stop.set()

    def discard(self, id: str) -> None:
        """Remove what an interrupted download left. Raises StudioError while it runs."""
        download.discard(self.catalog.card(id), self.catalog.models)
        with self._lock:
            self._works.pop(id, None)

    def set_prediction(self, id: str, prediction: Prediction | None) -> str:
        """Keep what a base model predicts (None: what its file tells); says so in a sentence. Raises InputError, ModelMissing."""
        card = self.catalog.set_prediction(self.catalog.card(id), prediction)
        return f"{card.title} predicts {PREDICTS[card.prediction] if card.prediction else 'what its file tells'}."

    def add(self, text: str, kind: Kind | None = None) -> tuple[ModelCard, str]:
        """Take up a model by what a user pasted: a name or an address of the hub, or a path in the models folder.

        Returns its card and what it is, in a sentence. Asks the hub, so it may take seconds. Raises StudioError.
        """
        text = text.strip().strip("\"'")
        if not text:
            raise InputError("Paste a name such as author/model, an address of the hub, or a path.")
        path = Path(text).expanduser()
        if path.is_absolute() or text.startswith((".", "models/")) or (self.catalog.models / text).exists():
            return self._found(path)
        if kind is not None and kind not in _FOLDERS:
            raise InputError("A model of this kind cannot be added.")
        found = hub.describe(text, kind)
        card = self.catalog.add(found.model_copy(update={"path": f"{_FOLDERS[found.kind]}/{found.path}"}))
        size = f", {amounts.size(card.size_mib << 20)}" if card.size_mib else ""
        return card, f"{card.title}: {KIND_TITLES[card.kind]}{size}, licence {card.licence or 'unknown'}."

    # ---- going

    def delete(self, id: str) -> None:
        """Put a model into the bin. Raises StudioError for one that belongs to the program."""
        card = self.catalog.card(id)
        place = self.catalog.locate(card)
        if not removable(card):
            raise InputError(
                f"{card.title} belongs to the program.", "It stays, and takes no more than a few megabytes."
            )
        home = self.catalog.models / place.relative_to(self.catalog.models).parts[0] / BIN / str(time.time_ns())
        home.mkdir(parents=True)
        (home / "place.txt").write_text(place.relative_to(self.catalog.models).as_posix(), encoding="utf-8")
        place.rename(home / place.name)
        with self._lock:
            self._works.pop(id, None)

    def undo(self) -> str:
        """Bring back what was deleted last; returns its place. Raises InputError when there is nothing (left)."""
        binned = self._binned()
        if not binned:
            raise InputError("The bin is empty.")
        home = max(binned, key=lambda path: path.name)
        try:
            place = self.catalog.models / (home / "place.txt").read_text(encoding="utf-8")
            inside = next(path for path in home.iterdir() if path.name != "place.txt")
        except (OSError, StopIteration) as error:
            raise InputError("What is in the bin cannot be brought back.", f"Look into {home}.") from error
        if place.exists() or not place.resolve().is_relative_to(self.catalog.models.resolve()):
            raise InputError(f"There is another {place.name} by now.", f"The deleted one lies in {home}.")
        place.parent.mkdir(parents=True, exist_ok=True)
        inside.rename(place)
        shutil.rmtree(home, ignore_errors=True)
        return place.relative_to(self.catalog.models).as_posix()

    def empty(self) -> None:
        """Remove what is in the bin for good."""
        for home in self._binned():
            shutil.rmtree(home, ignore_errors=True)

    def _binned(self) -> list[Path]:
        return [path for path in self.catalog.models.glob(f"*/{BIN}/*") if path.is_dir()]

    def _row(self, card: ModelCard) -> dict[str, Any]:
        try:
            place = self.catalog.locate(card)
        except ModelError:
            place = None
        trouble = card.trouble or (self._trouble(card) if place else "")
        lacking = self.catalog.lacks(card) if place and not trouble else None
        begun = download.begun(card, self.catalog.models) if place is None and card.hub else None
        return {
            "id": card.id,
            "title": card.title,
            "kind": card.kind,
            "family": family(card.family).title or card.family.capitalize(),
            "note": card.note,
            "licence": card.licence or "licence unknown",
            "restricted": "non-commercial" in card.licence,
            "size": size_of(place) if place else card.size_mib << 20,
            "here": place is not None,
            "place": self.catalog.shown(place or self.catalog.models / card.path),
            "hub": card.hub,
            "file": card.file,
            "own": card.own or self.catalog.added(card),
            "removable": removable(card),
            "trouble": trouble,
            "lacks": lacking and {"id": lacking.id, "title": lacking.title, "size": lacking.size_mib << 20},
            "predicts": (card.prediction or "") if self.catalog.takes_prediction(card) and not trouble else None,
            "begun": [begun.done, begun.total] if begun and begun.done else None,
        }

    def _trouble(self, card: ModelCard) -> str:
        """What is wrong with a model that is here, as far as its tables of contents tell; "" when nothing is."""
        found = self.catalog.verdict(card) if card.kind in _FOLDERS else ModelProbe(True, "")
        return "" if found.ok else f"{found.sentence} {found.hint}".strip()

    def _fetch(self, card: ModelCard, work: ModelTask) -> None:
        if work.stop.is_set():
            raise Cancelled()
        work.phase, models = "running", self.catalog.models
        download.fetch(card, models, work.hear, work.stop.is_set, free_min_bytes=self.free_min_bytes)
        work.done = work.total
        verdict = self.check(card) if card.kind in _FOLDERS else ModelProbe(True, "")
        if not verdict.ok:
            raise ModelError(verdict.sentence, verdict.hint)
        work.text = verdict.sentence
        lacking = self.catalog.lacks(card)
        if lacking is not None:
            self.download(lacking.id)

    def _found(self, path: Path) -> tuple[ModelCard, str]:
        models = self.catalog.models.resolve()
        parts = path.parts[1:] if path.parts[:1] == ("models",) else path.parts
        full = path.resolve() if path.is_absolute() else (models / Path(*parts)).resolve()
        if not full.is_relative_to(models):
            raise InputError(
                "This lies outside the models folder.",
                f"Move or link it into {models}/checkpoints, controlnet, loras, embeddings, vae or ip_adapters.",
            )
        for card in self.catalog.cards():
            if self.catalog.installed(card) and self.catalog.locate(card).resolve() == full:
                return card, self.check(card).sentence
        if not full.exists():
            raise InputError(f"There is no {full.name} in the models folder.", "Put it there, or look at its name.")
        raise InputError(f"{full.name} is not a model that is known here.", check(full).sentence)

    def _run(self, work: ModelTask, run: Callable[[ModelTask], None], before: ModelTask | None) -> None:
        if before is not None:
            before.over.wait()
        try:
            if work.stop.is_set():
                raise Cancelled("It was stopped.")
            run(work)
            work.end("done", work.text, work.hint)
        except Cancelled as stopped:
            work.end("stopped", stopped.message, stopped.hint)
        except StudioError as error:
            log.info("refused: %s", error)
            work.end("failed", error.message, error.hint)
        except Exception:
            log.exception("%s failed", work.id)
            work.end("failed", "Something went wrong.", "data/studio.log says what it was.")


KIND_TITLES: dict[Kind, str] = {
    "base": "base model",
    "controlnet": "ControlNet",
    "lora": "LoRA",
    "embedding": "textual inversion",
    "vae": "VAE",
    "ip_adapter": "IP-Adapter",
    "image_encoder": "image encoder",
    "detector": "detector",
    "tokenizer": "vocabulary",
}


def removable(card: ModelCard) -> bool:
    """Whether a model may be deleted: not what came with the program."""
    return card.id not in shipped() or bool(card.hub)


def _checked_elsewhere(path: Path) -> ModelProbe:
    import json

    command = [sys.executable, "-m", "webapp", "models", "check", "--json", str(path.resolve())]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=CHECK_TIMEOUT_S, check=False, text=True)
        if done.returncode == -signal.SIGPROF:
            return ModelProbe(
                False, f"{path.name} takes far too long to look into: it is refused.", "Choose another file."
            )
        return ModelProbe(**json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.TimeoutExpired, ValueError, TypeError, IndexError):
        return ModelProbe(False, f"{path.name} could not be looked into.", "data/studio.log may say why.")
