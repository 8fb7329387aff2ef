"""What the environment asks of whatever computes pictures: the one place where the engine's variables are read. No torch.

    EngineOptions.from_environment().plan   # "offload" under STUDIO_PLAN=offload

Workers and trainings are processes with an environment of their own, so each reads its own, and a page that estimates reads the
studio's. Where things lie is said elsewhere: `webapp.application.settings`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EngineOptions:
    """`precision` (STUDIO_PRECISION) and `plan` (STUDIO_PLAN) are words as they stand there, "" for whatever fits;
    `memory.precision` and `memory.plan` say which there are. `graphs` is False under STUDIO_GRAPHS=0: steps are not recorded on
    GPUs. STUDIO_COMPILE=1 has torch compile the networks, STUDIO_ATTENTION=xformers takes its attention on CUDA, and
    STUDIO_STREAMS=1 runs ControlNets beside the U-Net's encoder there.
    """

    precision: str = ""
    plan: str = ""
    graphs: bool = True
    compiles: bool = False
    xformers: bool = False
    streams: bool = False

    @classmethod
    def from_environment(cls, given: Mapping[str, str] = os.environ) -> EngineOptions:
        """The options that an environment asks for."""
        return cls(
            precision=given.get("STUDIO_PRECISION", ""),
            plan=given.get("STUDIO_PLAN", ""),
            graphs=given.get("STUDIO_GRAPHS", "1") != "0",
            compiles=given.get("STUDIO_COMPILE") == "1",
            xformers=given.get("STUDIO_ATTENTION") == "xformers",
            streams=given.get("STUDIO_STREAMS") == "1",
        )


@dataclass(frozen=True)
class SentModels:
    """Where a machine keeps models that it was sent. STUDIO_MODEL_CACHE: the folder (default ~/.cache/controlnet-studio/models);
    STUDIO_MODEL_CACHE_GB: how much of them (default 50); STUDIO_FREE_MB: what of the disk is left to others (default 2048).
    """

    folder: Path
    max_bytes: int = 50 << 30
    free_min_bytes: int = 2048 << 20

    @classmethod
    def from_environment(cls, given: Mapping[str, str] = os.environ) -> SentModels:
        """The options that an environment asks for."""
        usual = Path(given.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "controlnet-studio" / "models"
        most, free = given.get("STUDIO_MODEL_CACHE_GB", ""), given.get("STUDIO_FREE_MB", "")
        return cls(
            Path(given.get("STUDIO_MODEL_CACHE") or usual),
            int(most) << 30 if most.isdecimal() else cls.max_bytes,
            int(free) << 20 if free.isdecimal() else cls.free_min_bytes,
        )
