"""Tables of Apache Arrow (*.parquet, *.arrow), read in a process of its own: a damaged one brings the reader down, and a small
one may claim or unpack to anything.

    tables.block_rows(file)                         # rows in each part that is read at a time
    tables.cell_values(file, 3, 17, {"prompt": ("prompt", "text")})   # {"prompt": "a house"}

Only the columns that are asked for are read, and a row is validated before a cell of it is taken.
"""

# pyarrow publishes no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from controlnet_core.domain.errors import InputError
from controlnet_core.execution.confined import Confined, Died, Header, Limits, Parts

ROWS_MAX = 20_000_000
BLOCKS_MAX = 200_000
BLOCK_MAX_BYTES = 512 << 20
CELL_MAX_BYTES = 64 << 20
_AGAIN = "Download it again."
_process = Confined(
    "controlnet_core.datasets.tables:read_here", Limits(cpu_s=10, memory_bytes=1 << 30, wall_s=60, waiting=32), "table"
)


def block_rows(file: Path) -> list[int]:
    """Rows in each part of a table. Raises InputError for one that is damaged or has far too many."""
    told, _ = _call(file, {"do": "rows"})
    rows: Any = told.get("rows")
    if not isinstance(rows, list) or not all(type(one) is int and one >= 0 for one in cast("list[Any]", rows)):
        raise InputError(f"The table {file.name} is damaged.", _AGAIN)
    return cast("list[int]", rows)


def cell_values(file: Path, block: int, row: int, columns: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """For each role of `columns` the cell of the first of its column names that is there: text, bytes, None or a dict of
    "bytes" and "path". Raises InputError.
    """
    asked = {
        "do": "cells",
        "block": block,
        "row": row,
        "columns": {role: list(names) for role, names in columns.items()},
    }
    told, parts = _call(file, asked)

    def value(cell: Any) -> Any:
        if isinstance(cell, dict):
            fields = cast("dict[str, Any]", cell)
            if "part" in fields:
                return bytes(parts[fields["part"]])
            return {key: value(one) for key, one in fields.items()}
        return cell

    return {role: value(cell) for role, cell in told["cells"].items()}


def _call(file: Path, asked: Header) -> tuple[Header, list[bytes]]:
    try:
        about = file.stat()
        told, parts = _process.call(asked | {"file": str(file), "state": [about.st_mtime_ns, about.st_size]})
    except Died as error:
        raise InputError(f"The table {file.name} is damaged: reading it failed.", _AGAIN) from error
    except OSError as error:
        raise InputError(f"The table {file.name} cannot be read: {error.strerror}.") from error
    return told, parts


# ---- the process's own end


def prepare() -> None:
    """Load what reads tables, before memory is limited; with an allocator whose use counts."""
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    import pyarrow.parquet  # noqa: F401  # pyright: ignore[reportUnusedImport]


def read_here(header: Header, parts: list[bytes]) -> tuple[Header, Parts]:
    """Rows of the parts, or the cells of a row."""
    import pyarrow as pa

    file, state = Path(header["file"]), tuple(header["state"])
    try:
        if header["do"] == "rows":
            rows = _rows(file)
            if len(rows) > BLOCKS_MAX or any(one < 0 for one in rows) or sum(rows) > ROWS_MAX:
                raise InputError(f"The table {file.name} claims {sum(rows)} rows.", f"At most {ROWS_MAX:,} are read.")
            return {"rows": rows}, ()
        columns = {
            role: name
            for role, names in header["columns"].items()
            if (name := next((one for one in names if one in _schema(file, state)), None))
        }
        block = _block(file, state, int(header["block"]), tuple(sorted(set(columns.values()))))
        one = block.slice(int(header["row"]), 1)
        try:
            one.validate(full=True)
            row: dict[str, Any] = one.to_pylist()[0]
        except (pa.ArrowException, ValueError) as error:
            raise InputError("The row is damaged.") from error
        back: list[bytes] = []
        return {"cells": {role: _told(row[name], back) for role, name in columns.items()}}, back
    except (pa.ArrowException, OSError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise InputError(f"The table {file.name} is damaged.", _AGAIN) from error


def _told(cell: Any, back: list[bytes]) -> Any:
    if isinstance(cell, bytes):
        if len(cell) > CELL_MAX_BYTES:
            raise ValueError("a cell is too large")
        back.append(cell)
        return {"part": len(back) - 1}
    if isinstance(cell, dict):
        return {
            key: _told(value, back) for key, value in cast("dict[str, Any]", cell).items() if key in ("bytes", "path")
        }
    return cell if cell is None or (isinstance(cell, (str, int, float, bool)) and len(str(cell)) < 1 << 18) else None


def _rows(file: Path) -> list[int]:
    import pyarrow.parquet as pq

    if file.suffix == ".parquet":
        about: Any = pq.ParquetFile(file).metadata
        return [about.row_group(number).num_rows for number in range(min(about.num_row_groups, BLOCKS_MAX + 1))]
    return [batch.num_rows for batch in _batches(file)]


@lru_cache(maxsize=16)
def _schema(file: Path, _state: tuple[int, int]) -> frozenset[str]:
    import pyarrow.parquet as pq

    if file.suffix == ".parquet":
        return frozenset(pq.read_schema(file).names)
    batches = _batches(file)
    return frozenset(batches[0].schema.names) if batches else frozenset()


@lru_cache(maxsize=1)
def _block(file: Path, _state: tuple[int, int], number: int, columns: tuple[str, ...]) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.suffix == ".parquet":
        whole = pq.ParquetFile(file)
        about: Any = whole.metadata.row_group(number)
        if about.total_byte_size > BLOCK_MAX_BYTES:
            raise InputError(
                f"A part of the table {file.name} is larger than {BLOCK_MAX_BYTES >> 20} MB.",
                "Write it with smaller row groups.",
            )
        read: Any = whole.read_row_group(number, columns=list(columns), use_threads=False)
    else:
        read = pa.Table.from_batches([_batches(file)[number].select(list(columns))])
    read.validate()
    return read


def _batches(file: Path) -> list[Any]:
    """The batches of an Arrow file, mapped and not read."""
    import pyarrow as pa

    mapped = pa.memory_map(str(file))
    try:
        reader: Any = pa.ipc.open_stream(mapped)
        return list(reader)
    except pa.ArrowInvalid:
        whole: Any = pa.ipc.open_file(mapped)
        return [whole.get_batch(number) for number in range(min(whole.num_record_batches, BLOCKS_MAX + 1))]
