"""Model files that are cut off, damaged or hostile: a sentence each, and nothing in them is run."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

from controlnet_core.domain.errors import ModelError
from tests.soak.row import Row

SLOWEST_S = 1.0
"""Seconds of the processor that any of these files may take."""


def cuts(whole: bytes) -> Iterator[bytes]:
    """The beginning of a file, every 5 % of it."""
    return (whole[: len(whole) * percent // 100] for percent in range(0, 100, 5))


def flips(whole: bytes, times: int, seed: int = 1) -> Iterator[bytes]:
    """A file with one bit of its first kilobytes, where the tensors are described, turned over."""
    rng = random.Random(seed)
    for _ in range(times):
        turned = bytearray(whole)
        turned[rng.randrange(min(len(whole), 3000))] ^= 1 << rng.randrange(8)
        yield bytes(turned)


def check(folder: Path, times: int) -> list[Row]:
    """Read every kind of bad file; `times` bit flips in each kind of container."""
    import torch
    from safetensors.torch import save

    from tests.core.test_loading import archive, hostile

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"t{n}": torch.zeros(3, n + 1) for n in range(40)}
    torch.save(tensors, folder / "whole.pth")
    packed = {".safetensors": save(tensors), ".pth": (folder / "whole.pth").read_bytes()}
    pickles = hostile()
    rows = {
        "cut off": {end: list(cuts(whole)) for end, whole in packed.items()},
        "with a bit turned": {end: list(flips(whole, times)) for end, whole in packed.items()},
        "hostile": {".ckpt": [*pickles, *map(archive, pickles)]},
    }
    with chdir(folder):  # what would be run leaves its mark in the present folder
        return [_row(name, files) for name, files in rows.items()]


def _row(name: str, files: dict[str, list[bytes]]) -> Row:
    from controlnet_core.models.loading import read_tensors
    from tests.core.test_loading import EXECUTED

    total = named = other = 0
    slowest_s = 0.0
    for end, contents in files.items():
        path = Path(f"bad{end}")
        for content in contents:
            path.write_bytes(content)
            total, begun = total + 1, time.process_time()
            try:
                read_tensors(path)
            except ModelError as error:
                named += bool(error.message)
            except Exception:
                other += 1
            slowest_s = max(slowest_s, time.process_time() - begun)
    run = Path(EXECUTED).exists()
    figure = f"{named} refused in words, {other} other errors, {int(run)} run; {slowest_s:.2f} s at most"
    # A turned bit may change no more than a name or a number, which nobody can see.
    right = named == total or "bit" in name
    quick = slowest_s < SLOWEST_S
    return Row(f"model files {name}", f"{total} files", figure, right and quick and not other and not run)
