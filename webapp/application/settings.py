"""Where things lie on this machine, from the environment. Reads no files and makes no folders."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controlnet_core.storage.store import FREE_MIN_BYTES

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Settings:
    """STUDIO_DATA: drawings, jobs, gallery, log (default data/); STUDIO_MODELS: models (default models/);
    STUDIO_FREE_MB: space on the disk that is left to others (default 2048); STUDIO_ENGINE: import path of what builds the
    worker's engine.
    """

    data: Path = ROOT / "data"
    models: Path = ROOT / "models"
    free_min_bytes: int = FREE_MIN_BYTES
    engine: str = "webapp.application.engine:build"

    @classmethod
    def from_environment(cls, given: Mapping[str, str] = os.environ) -> Settings:
        """The settings that the environment asks for."""
        free = given.get("STUDIO_FREE_MB", "")
        return cls(
            data=Path(given.get("STUDIO_DATA") or cls.data).resolve(),
            models=Path(given.get("STUDIO_MODELS") or cls.models).resolve(),
            free_min_bytes=int(free) << 20 if free.isdecimal() else cls.free_min_bytes,
            engine=given.get("STUDIO_ENGINE") or cls.engine,
        )

    @property
    def log(self) -> Path:
        """Where details of failures go."""
        return self.data / "studio.log"
