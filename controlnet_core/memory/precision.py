"""In how many bits models compute: what STUDIO_PRECISION asks for and what a processor has instructions for. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from controlnet_core.domain.errors import RecipeError
from controlnet_core.domain.options import EngineOptions

Precision = Literal["float32", "bfloat16", "float16"]
BYTES: Mapping[Precision, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
SMALL_BYTES = 800 << 20
"""Models below this size run in float32 on a GPU too: they are quick anyway, and equal to the CPU's pictures."""
_INSTRUCTIONS: Mapping[Precision, set[str]] = {
    "bfloat16": {"avx512_bf16", "amx_bf16", "bf16"},
    "float16": {"avx512_fp16", "amx_fp16", "fphp"},
}
"""Any of which, as Linux calls them on x86 and ARM, multiplies numbers of such few bits at full speed."""


def asked() -> Precision | None:
    """What STUDIO_PRECISION asks for; None where it is unset or "auto". Raises RecipeError for any other word."""
    word = EngineOptions.from_environment().precision
    if word in ("", "auto"):
        return None
    for known in get_args(Precision):
        if word == known:
            return known
    raise RecipeError(
        f"STUDIO_PRECISION is {word!r}, which is not a precision.", f"Known: auto, {', '.join(get_args(Precision))}."
    )


def usual(device: str, file_bytes: int) -> Precision:
    """What a model of some size computes in on a kind of device ("cpu", "cuda") when nobody asks for anything."""
    return "float32" if device == "cpu" or file_bytes < SMALL_BYTES else "float16"


def native(device: str, precision: Precision) -> bool:
    """Whether a kind of device computes in a precision as it is, instead of by detours that cost more than they save."""
    return device != "cpu" or precision == "float32" or not _INSTRUCTIONS[precision].isdisjoint(_processor())


@cache
def _processor(file: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The instructions that this machine's processor has; none where its system does not tell."""
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    told = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(told, "").split())
