"""Where things lie on this machine, from the environment. Reads no files and makes no folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import platformdirs

from controlnet_core.execution.queue import QUEUED_MAX
from controlnet_core.models.catalog import Catalog
from controlnet_core.storage.store import FREE_MIN_BYTES

ROOT = Path(__file__).resolve().parents[2]
"""Where the rooms lie: the clone, or the package that pip installed."""
EMBEDDED = ROOT / "models"
"""Where the models that come with the program lie."""


def home() -> Path:
    """Where drawings and models of the user go by default: the clone itself; installed, the platform's folder for data."""
    return ROOT if (ROOT / "pyproject.toml").is_file() else platformdirs.user_data_path("controlnet-studio", False)


def version() -> str:
    """The version of what is installed; "0" in a clone."""
    try:
        return metadata.version("controlnet-studio")
    except metadata.PackageNotFoundError:
        return "0"


@dataclass(frozen=True)
class Settings:
    """STUDIO_DATA: drawings, jobs, gallery, log (default data/ in `home`); STUDIO_MODELS: models (default models/ there);
    STUDIO_FREE_MB: space on the disk that is left to others (default 2048); STUDIO_DEVICES: where pictures are made, a worker
    each ("cuda:0,cuda:1", "cpu"; default every GPU, else the processor); STUDIO_ENGINE: import path of what builds a
    worker's engine; STUDIO_API: 1 lets this machine's programs use the API without a key; STUDIO_API_ORIGINS: pages of other
    sites that may use it, separated by blanks; STUDIO_RAY: the Ray cluster on whose devices pictures are made ("auto", HOST:PORT);
    STUDIO_FETCH: 1 lets workers fetch models that a job needs (a node of a cluster, which nobody visits);
    STUDIO_QUEUED_MAX: jobs that may wait (default 64).
    """

    data: Path = field(default_factory=lambda: home() / "data")
    models: Path = field(default_factory=lambda: home() / "models")
    free_min_bytes: int = FREE_MIN_BYTES
    engine: str = "webapp.application.engine:build"
    devices: str = ""
    api: bool = False
    api_origins: tuple[str, ...] = ()
    ray: str = ""
    fetch: bool = False
    queued_max: int = QUEUED_MAX

    @classmethod
    def from_environment(cls, given: Mapping[str, str] = os.environ) -> Settings:
        """The settings that the environment asks for."""
        free, queued = given.get("STUDIO_FREE_MB", ""), given.get("STUDIO_QUEUED_MAX", "")
        return cls(
            data=Path(given.get("STUDIO_DATA") or home() / "data").resolve(),
            models=Path(given.get("STUDIO_MODELS") or home() / "models").resolve(),
            free_min_bytes=int(free) << 20 if free.isdecimal() else cls.free_min_bytes,
            engine=given.get("STUDIO_ENGINE") or cls.engine,
            devices=given.get("STUDIO_DEVICES", ""),
            api=given.get("STUDIO_API", "") == "1",
            api_origins=tuple(given.get("STUDIO_API_ORIGINS", "").split()),
            ray=given.get("STUDIO_RAY", "").strip(),
            fetch=given.get("STUDIO_FETCH", "") == "1",
            queued_max=max(1, int(queued)) if queued.isdecimal() else cls.queued_max,
        )

    def catalog(self) -> Catalog:
        """The models of this machine: those in the models folder, and those that came with an installed program."""
        return Catalog(self.models, embedded=EMBEDDED if home() != ROOT else None)

    @property
    def log(self) -> Path:
        """Where details of failures go."""
        return self.data / "studio.log"
