"""Photos that lie in shards: rows of Parquet files, and samples of WebDataset's tars. Nothing is unpacked.

    listed(folder / "0001.tar", "0001.tar")     [Found("0001.tar/cat.jpg", "a cat", "0001.tar:1536:20480"), ...]
    reader(folder)("0001.tar:1536:20480")       the file's bytes

A listing reads the captions and where the photos begin, and none of them. What is damaged is listed too, with a place whose
reading says so; the rest of the shard, and other shards, serve all the same.
"""
# pyarrow publishes no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, cast

from annotator.datasets.listing import CAPTION_KEYS, CAPTION_MAX_BYTES, PICTURES, Found, bounded, first, line
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import UPLOAD_MAX_BYTES, file_too_large

SUFFIXES = (".parquet", ".tar")
_TABLE_MAX_BYTES = 64 * 1024
_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "photo", "img", "picture", "target", "bytes")
_ROWS = 8
"""Rows of a Parquet file that are unpacked at a time."""
_BUFFER_BYTES = 1 << 20
"""Read of a Parquet file's column at a time; what is in memory beside is a page, of 1,024 rows where a writer says nothing."""
_LOST = -1
"""The second number of a place that stands for what cannot be read."""


def is_shard(path: str) -> bool:
    """Whether a file is one, by its name."""
    return path.lower().endswith(SUFFIXES)


def listed(path: Path, shard: str) -> list[Found]:
    """The photos of a shard, which people and places call `shard`, in its own order."""
    return list((_rows if path.suffix.lower() == ".parquet" else _samples)(path, shard))


def reader(folder: Path) -> Callable[[str], bytes]:
    """Reads photos of shards below `folder` by their places, fastest in the order of their listing. It raises InputError."""
    opened: dict[str, _Pictures] = {}

    def read(place: str) -> bytes:
        shard, one, two = place.rsplit(":", 2)
        path = folder / shard
        if path.suffix.lower() == ".tar":
            return _cut(path, int(one), int(two))
        if shard not in opened:
            opened.clear()  # one at a time, however many there are
            opened[shard] = _Pictures(path)
        return opened[shard].read(int(one), int(two))

    return read


def _samples(path: Path, shard: str) -> Iterator[Found]:
    """WebDataset's: files that follow each other and have the same name up to its first dot are one sample."""
    key, members, whole = "", list[tarfile.TarInfo](), False
    try:
        with path.open("rb") as data, tarfile.open(fileobj=data, mode="r:") as archive:
            while (member := archive.next()) is not None:
                cast("Any", archive).members = []  # it would keep them all
                if not member.isreg():
                    continue
                name = PurePosixPath(member.name)
                if (its := f"{name.parent}/{name.name.partition('.')[0]}") != key:
                    yield from _sample(data, shard, members)
                    key, members = its, []
                members.append(member)
            data.seek(archive.offset)
            whole = not data.read(tarfile.BLOCKSIZE).strip(b"\0")  # after what is damaged it says no more, either
    except (OSError, tarfile.TarError, ValueError, EOFError, RuntimeError):
        pass
    with path.open("rb") as data:
        yield from _sample(data, shard, members)
    if not whole:
        yield Found(shard, "", f"{shard}:0:{_LOST}")


def _sample(data: Any, shard: str, members: Sequence[tarfile.TarInfo]) -> Iterator[Found]:
    """The photo of a sample; where none is called by the sample's name and a suffix alone, every picture in it."""

    def beginning(member: tarfile.TarInfo, max_bytes: int) -> bytes:
        data.seek(member.offset_data)
        return bytes(data.read(min(member.size, max_bytes)))

    pictures, caption = list[tarfile.TarInfo](), ""
    for member in members:
        suffix = PurePosixPath(member.name).suffix.lower()
        if suffix in PICTURES and not member.issparse():
            pictures.append(member)
        elif suffix == ".txt":
            caption = line(beginning(member, CAPTION_MAX_BYTES))
        elif suffix == ".json" and not caption:
            caption = _caption(beginning(member, _TABLE_MAX_BYTES))
    own = [member for member in pictures if PurePosixPath(member.name).name.count(".") == 1]
    for member in own[:1] or pictures:
        where = member.name.removeprefix("./").lstrip("/")
        yield Found(f"{shard}/{where}", caption, f"{shard}:{member.offset_data}:{member.size}")


def _caption(data: bytes) -> str:
    try:
        told: Any = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    return first(cast("dict[str, object]", told)) if isinstance(told, dict) else ""


def _cut(path: Path, at: int, size: int) -> bytes:
    if size == _LOST:
        raise InputError("It is damaged: what it holds after the photos that were found cannot be read.")
    if size > UPLOAD_MAX_BYTES:
        raise file_too_large()
    try:
        with path.open("rb") as data:
            data.seek(at)
            found = data.read(size)
    except OSError as error:
        raise InputError(f"It cannot be read: {error.strerror or 'no such file'}.") from error
    if len(found) < size:
        raise InputError("It is cut off: the shard ends before it does.")
    return found


def _rows(path: Path, shard: str) -> Iterator[Found]:
    import pyarrow as pa

    def is_text(kind: Any) -> bool:
        return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)

    number = 0
    try:
        file = _open(path)
        _column(file)
        texts = {one.name for one in file.schema_arrow if is_text(one.type)}
        column = next((name for name in (*CAPTION_KEYS, "txt") if name in texts), "")
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            captions = file.read_row_group(group, columns=[column]).column(0) if column else [None] * count
            for row, told in enumerate(captions):
                caption = line(str(told).encode()[:CAPTION_MAX_BYTES]) if told and told.is_valid else ""
                yield Found(f"{shard}/{number:06d}", caption, f"{shard}:{group}:{row}")
                number += 1
    except (InputError, OSError, pa.ArrowException):
        yield Found(shard, "", f"{shard}:0:{_LOST}")


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (OSError, pa.ArrowException) as error:
        raise InputError("It is no Parquet file that can be read.") from error


def _column(file: Any) -> str:
    """The column of pictures: bytes, or a structure that has "bytes", as in Hugging Face's data sets. Raises InputError."""
    import pyarrow as pa

    def is_bytes(kind: Any) -> bool:
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)

    found: dict[str, str] = {}
    for one in file.schema_arrow:
        if is_bytes(one.type):
            found[one.name] = one.name
        elif pa.types.is_struct(one.type) and any(part.name == "bytes" and is_bytes(part.type) for part in one.type):
            found[one.name] = f"{one.name}.bytes"
    best = next((name for name in _COLUMNS if name in found), next(iter(found), ""))
    if not best:
        raise InputError("None of its columns holds pictures: bytes of PNG, JPEG or WebP.")
    return found[best]


class _Pictures:
    """The pictures of a Parquet file, read forward, a few rows at a time."""

    def __init__(self, path: Path) -> None:
        """Raises InputError for what is no Parquet file with pictures."""
        self._file = _open(path)
        self._name = _column(self._file)
        self._group = _LOST
        self._batches: Iterator[Any] = iter(())
        self._first, self._batch = 0, cast("Any", ())

    def read(self, group: int, row: int) -> bytes:
        """The picture of a row of a group. Raises InputError."""
        import pyarrow as pa

        try:
            self._go_to(group, row)
            value: Any = self._batch[row - self._first].as_py()
        except (OSError, pa.ArrowException, StopIteration, IndexError) as error:
            self._group = _LOST
            raise InputError("It cannot be read: the shard is damaged there.") from error
        data: Any = cast("dict[str, Any]", value).get("bytes") if isinstance(value, dict) else value
        if not data:
            raise InputError("The row holds no picture.")
        return bounded(data)

    def _go_to(self, group: int, row: int) -> None:
        if group != self._group or row < self._first:
            self._batches = self._file.iter_batches(_ROWS, row_groups=[group], columns=[self._name], use_threads=False)
            self._group, self._first, self._batch = group, 0, ()
        while row >= self._first + len(self._batch):
            self._first += len(self._batch)
            self._batch = next(self._batches).column(0)
