"""Tables that are damaged or claim very much: a sentence each, and the process that asks goes on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from controlnet_core.datasets import tables
from controlnet_core.datasets.layouts import open_folder
from controlnet_core.domain.errors import InputError


def small() -> Any:
    """A table of 40 pairs."""
    cell = {"bytes": b"\x89PNG" + bytes(200), "path": "a.png"}
    return pa.table(
        {"image": [cell] * 40, "conditioning_image": [cell] * 40, "text": [f"house {n}" for n in range(40)]}
    )


def written(folder: Path, name: str, table: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    if name.endswith(".parquet"):
        pq.write_table(table, path, row_group_size=10)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=10)
    return path


@pytest.mark.parametrize("name", ["train.parquet", "train.arrow"])
def test_a_damaged_table_is_a_sentence_and_nobody_dies(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "whole", name, small())
    whole, rng = path.read_bytes(), random.Random(5)
    ordinary = open_folder(tmp_path / "whole")
    assert (len(ordinary), ordinary.entry(33).prompt) == (40, "house 33")
    refused = 0
    for turn in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 4, 20))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if turn % 6 == 0:
            data = data[: rng.randrange(len(data))]
        path.write_bytes(data)
        try:
            found = open_folder(tmp_path / "whole")
            for index in range(0, min(len(found), 40), 9):
                found.entry(index)
        except InputError as error:
            assert str(error).endswith(".")
            refused += 1
    assert refused > 5
    path.write_bytes(whole)
    assert open_folder(tmp_path / "whole").entry(7).prompt == "house 7"


def test_rows_that_are_only_claimed_are_not_believed(tmp_path: Path) -> None:
    """One byte, said to be there for each of thirty million rows: 40 kB on disk."""
    count = tables.ROWS_MAX + 10_000_000
    many = pa.table({"text": pa.chunked_array([pa.nulls(1_000_000, pa.string())] * (count // 1_000_000))})
    pq.write_table(many, tmp_path / "train.parquet", row_group_size=1 << 26)
    assert (tmp_path / "train.parquet").stat().st_size < 1 << 20
    with pytest.raises(InputError, match="rows"):
        open_folder(tmp_path)


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    """A part of a table that says it is larger than half a gigabyte, from a file of a few hundred kilobytes."""
    text = pa.array([b"x" * (1 << 20)] * 700, pa.binary())
    pq.write_table(
        pa.table({"image": text, "conditioning_image": text, "text": ["a"] * 700}),
        tmp_path / "train.parquet", compression="zstd", use_dictionary=False,
    )  # fmt: skip
    assert (tmp_path / "train.parquet").stat().st_size < 4 << 20
    found = open_folder(tmp_path)
    with pytest.raises(InputError, match="larger than 512 MB"):
        found.entry(0)


def test_a_cell_of_more_than_any_picture_is_not_brought(tmp_path: Path) -> None:
    large = tables.CELL_MAX_BYTES + 1
    pq.write_table(pa.table({"image": pa.array([bytes(large), b"small"], pa.binary())}), tmp_path / "train.parquet")
    with pytest.raises(InputError, match="is damaged"):
        tables.cell_values(tmp_path / "train.parquet", 0, 0, {"image": ("image",)})
    assert tables.cell_values(tmp_path / "train.parquet", 0, 1, {"image": ("image",)}) == {"image": b"small"}
