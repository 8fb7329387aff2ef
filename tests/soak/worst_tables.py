"""The worst tables: seconds and memory that the reading process takes, and whether anybody dies of a damaged one."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from controlnet_core.datasets import tables
from controlnet_core.datasets.layouts import open_folder
from controlnet_core.domain.errors import InputError
from tests.soak.row import Row
from tests.training.test_tables import small, written


def check(folder: Path, mutations: int) -> list[Row]:
    """Tables that claim or unpack to very much, then ordinary ones with bytes turned over."""
    return [_greedy(folder / "greedy"), _damaged(folder / "damaged", mutations)]


def _greedy(folder: Path) -> Row:
    rows = pa.table({"text": pa.chunked_array([pa.nulls(1_000_000, pa.string())] * 30)})
    cells = pa.array([b"x" * (1 << 20)] * 700, pa.binary())
    bombs = {
        "rows that are claimed": (rows, {"row_group_size": 1 << 26}),
        "cells that unpack": (
            pa.table({"image": cells, "conditioning_image": cells, "text": ["a"] * 700}),
            {"compression": "zstd", "use_dictionary": False},
        ),
    }
    slowest, largest = (0.0, ""), (0.0, "")
    refused = 0
    for name, (table, how) in bombs.items():
        place = folder / name.replace(" ", "-")
        place.mkdir(parents=True)
        pq.write_table(table, place / "train.parquet", **how)
        tables._process.close()
        begun = time.monotonic()
        try:
            open_folder(place).entry(0)
        except InputError:
            refused += 1
        slowest = max(slowest, (time.monotonic() - begun, name))
        with suppress(psutil.Error, OSError, StopIteration, AttributeError):
            lines = Path(f"/proc/{tables._process._child.pid}/status").read_text().splitlines()  # type: ignore[union-attr]
            peak = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
            largest = max(largest, (peak, name))
    figure = f"{refused} refused; {slowest[0]:.1f} s ({slowest[1]}), {largest[0]:.0f} MB ({largest[1]})"
    right = refused == len(bombs) and largest[0] < 1500 and slowest[0] < 60
    return Row("worst tables", f"{len(bombs)} kinds", figure, right)


def _damaged(folder: Path, mutations: int) -> Row:
    rng, said, read, other = random.Random(3), 0, 0, 0
    for name in ("train.parquet", "train.arrow"):
        folder.mkdir(parents=True, exist_ok=True)
        path = written(folder / name.partition(".")[2], name, small())
        whole = path.read_bytes()
        for _ in range(mutations):
            data = bytearray(whole)
            for _ in range(rng.choice((1, 4, 20))):
                data[rng.randrange(len(data))] = rng.randrange(256)
            path.write_bytes(data)
            try:
                open_folder(path.parent).entry(7)
                read += 1
            except InputError:
                said += 1
            except Exception:
                other += 1
    figure = f"{said} refused in words, {read} read all the same, {other} other errors"
    return Row("damaged tables", f"{2 * mutations} files", figure, not other)
