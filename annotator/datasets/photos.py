"""Photos to make a data set from: a folder, a zip, a JSONL or shards of them, each with the caption that came along.

Lists and reads; decodes no picture and writes nothing. What lies in a zip or a shard (`shards`) is read there, never unpacked.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, cast

from annotator.datasets import shards
from annotator.datasets.listing import CAPTION_MAX_BYTES, Found, bounded, first, line
from annotator.datasets.listing import PICTURES as SUFFIXES
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import UPLOAD_MAX_BYTES

LISTING_MAX_BYTES = 32 * 1024**2
"""Of all tables of captions inside a folder or zip together: a quarter of a million lines."""
COUNT_MAX = 2_000_000
MANY = (".zip", ".jsonl", ".json", *shards.SUFFIXES)
"""Files that hold or name many photos."""
_DAMAGED = (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, KeyError, EOFError, ValueError, zlib.error)
_TABLES = ("metadata.jsonl", "captions.jsonl")
_FILE_KEYS = ("file_name", "image", "target", "file", "path")
_LINE_MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class Photo:
    """One photo: `name` is its own among all of them and safe as a file name; `read()` gives the file's bytes.

    `read` raises InputError when the file is not there or too large. `caption` is "" when there is none. `place` is what
    the source's `reader` finds it by.
    """

    name: str
    where: str
    read: Callable[[], bytes]
    caption: str = ""
    place: str = ""


def photos(source: Path) -> list[Photo]:
    """The photos of a folder (with its subfolders), a .zip, a .jsonl, a .parquet, a .tar or one picture file, in the order of
    their names; those of shards, which a folder may hold too, in the shards' own order.

    Captions: a .txt of the same name beside the photo, or `text`, `prompt` or `caption` of its line in metadata.jsonl (of
    the JSONL itself, whose lines name the photos relative to it), of its Parquet row, of the .json of its WebDataset sample.
    Raises InputError when there is nothing of the kind, or more than is to be listed.
    """
    suffix = source.suffix.lower()
    if source.is_dir():
        found = _folder(source)
    elif suffix == ".zip":
        found = _zip(source)
    elif suffix in (".jsonl", ".json"):
        found = _lines(source)
    elif not source.is_file():
        raise InputError(f"There is no {source}.")
    elif shards.is_shard(source.name):
        found = shards.listed(source, source.name)
    elif source.name.lower().endswith((".tar.gz", ".tgz")):
        raise InputError(f"{source.name} is compressed as a whole.", "Unpack it to a .tar: gunzip does.")
    else:
        found = [Found(source.name, "", source.name)]
    if not found:
        raise InputError(f"There are no pictures in {source}.", "PNG, JPEG and WebP are read.")
    if len(found) > COUNT_MAX:
        raise InputError(
            f"{source} holds {len(found)} pictures, and {COUNT_MAX} are taken at a time.", "Take it in several parts."
        )
    names, read = _names([one.where for one in found]), reader(source)
    return [
        Photo(name, one.where, partial(read, one.place), one.caption, one.place)
        for name, one in zip(names, found, strict=True)
    ]


def reader(source: Path) -> Callable[[str], bytes]:
    """Reads a photo of `source` by its `place`, on any machine that sees the same files. It raises InputError, as `Photo.read`.

    Fastest in the order of the listing; not safe across threads.
    """
    suffix = source.suffix.lower()
    if source.is_dir():
        inside = shards.reader(source)
        return lambda place: _file(source / place) if place.lower().endswith(SUFFIXES) else inside(place)
    if suffix == ".zip":
        return _Zip(source).read
    if suffix in (".jsonl", ".json"):
        return lambda place: _file(_below(source.parent, place))
    if shards.is_shard(source.name):
        return shards.reader(source.parent)
    return lambda _place: _file(source)


def _folder(folder: Path) -> list[Found]:
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and (path.suffix.lower() in SUFFIXES or shards.is_shard(path.name))
    )
    table: dict[str, str] = {}
    for name in _TABLES:
        if (folder / name).is_file():
            with (folder / name).open("rb") as lines:
                table |= {
                    where: caption for where, caption in _table(lines.read(LISTING_MAX_BYTES).splitlines()) if caption
                }

    def caption(path: Path) -> str:
        beside = path.with_suffix(".txt")
        if beside.is_file():
            return line(beside.read_bytes()[:CAPTION_MAX_BYTES])
        return table.get(path.relative_to(folder).as_posix(), "")

    found: list[Found] = []
    for path in files:
        where = path.relative_to(folder).as_posix()
        found += shards.listed(path, where) if shards.is_shard(where) else [Found(where, caption(path), where)]
    return found


def _zip(path: Path) -> list[Found]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {one.filename: one for one in archive.infolist() if not one.is_dir()}
            table: dict[str, str] = {}
            left = LISTING_MAX_BYTES
            for name, member in members.items():
                if PurePosixPath(name).name in _TABLES and left > 0:
                    folder = PurePosixPath(name).parent
                    data = _beginning(archive, member, left)
                    left -= len(data)
                    rows = _table(data.splitlines())
                    table |= {(folder / where).as_posix(): caption for where, caption in rows if caption}
            found: list[Found] = []
            for name in sorted(members):
                if PurePosixPath(name).suffix.lower() not in SUFFIXES or "__MACOSX" in name:
                    continue
                beside = members.get(PurePosixPath(name).with_suffix(".txt").as_posix())
                text = line(_beginning(archive, beside, CAPTION_MAX_BYTES)) if beside else table.get(name, "")
                found.append(Found(name, text, name))
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path.name} is not a zip that can be read.", "Pack it again, without a password.") from error
    return found


def _beginning(archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_bytes: int) -> bytes:
    """The first bytes of a member; none of one that is damaged: a caption less ends no run."""
    try:
        with archive.open(member) as file:
            return file.read(max_bytes)
    except _DAMAGED:
        return b""


class _Zip:
    """A zip that stays open: its list of files is long."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._archive: zipfile.ZipFile | None = None

    def read(self, name: str) -> bytes:
        """The file `name`. Raises InputError."""
        try:
            if self._archive is None:
                self._archive = zipfile.ZipFile(self._path)
            # Never inflate more than is allowed: a few kilobytes can hold gigabytes.
            with self._archive.open(name) as member:
                data = member.read(UPLOAD_MAX_BYTES + 1)
        except _DAMAGED as error:
            raise InputError("It cannot be unpacked.") from error
        return bounded(data)


def _lines(path: Path) -> list[Found]:
    if not path.is_file():
        raise InputError(f"There is no {path}.")
    with path.open("rb") as file:
        lines = iter(partial(file.readline, _LINE_MAX_BYTES), b"")
        return [Found(where, caption, where) for where, caption in _table(lines)]


def _below(folder: Path, where: str) -> Path:
    """The file that a line names, which lies in the list's own folder. Raises InputError."""
    try:
        found = (folder / where).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError("It is no name of a file.") from error
    if not found.is_relative_to(folder.resolve()):
        raise InputError("It names a file outside of its folder.")
    return found


def _table(lines: Iterable[bytes]) -> list[tuple[str, str]]:
    """File names and captions of a JSONL; lines that say nothing of the kind are skipped."""
    rows: list[tuple[str, str]] = []
    for one in lines:
        try:
            told: Any = json.loads(one)
        except (ValueError, RecursionError):
            continue
        if not isinstance(told, dict):
            continue
        fields = cast(dict[str, Any], told)
        where = first(fields, _FILE_KEYS)
        if where:
            rows.append((where, first(fields)))
    return rows


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return bounded(file.read(UPLOAD_MAX_BYTES + 1))
    except OSError as error:
        raise InputError(f"It cannot be read: {error.strerror or 'no such file'}.") from error


def _names(paths: list[str]) -> list[str]:
    """A name for each path: its stem, with its folders before and its suffix behind where that is needed to tell it apart."""
    parts = [PurePosixPath(path.replace("\\", "/")) for path in paths]
    plain = [_safe("__".join(filter(None, map(_plain, (*path.parent.parts, path.stem))))) for path in parts]
    often = Counter(plain)
    names = [
        name if often[name] == 1 else f"{name}-{path.suffix.lower().lstrip('.')}"
        for name, path in zip(plain, parts, strict=True)
    ]
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        if seen[name] > 1:
            names[index] = f"{name}-{seen[name]}"
    return names


def _plain(folder: str) -> str:
    """A folder's name, or a shard's without its suffix; "" for those that lead up."""
    return "" if folder in ("/", "..") else PurePosixPath(folder).stem if shards.is_shard(folder) else folder


def _safe(name: str) -> str:
    return "".join(one if one.isalnum() or one in "-_ ." else "_" for one in name).strip(" .")[:120] or "photo"
