"""Photos to make a data set from: a folder, a zip or a JSONL of them, each with the caption that came along.

Lists and reads; decodes no picture and writes nothing. Files inside a zip are read from it and never unpacked.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from controlnet_core.domain.errors import InputError
from controlnet_core.domain.picture import UPLOAD_MAX_BYTES

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
CAPTION_MAX_BYTES = 16 * 1024
LISTING_MAX_BYTES = 32 * 1024**2
"""Of all tables of captions together: a quarter of a million lines."""
COUNT_MAX = 1_000_000
_DAMAGED = (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, KeyError, EOFError, ValueError, zlib.error)
_TABLES = ("metadata.jsonl", "captions.jsonl")
_FILE_KEYS = ("file_name", "image", "target", "file", "path")
_TEXT_KEYS = ("text", "prompt", "caption")


@dataclass(frozen=True)
class Photo:
    """One photo: `name` is its own among all of them and safe as a file name; `read()` gives the file's bytes.

    `read` raises InputError when the file is not there or too large. `caption` is "" when there is none.
    """

    name: str
    where: str
    read: Callable[[], bytes]
    caption: str = ""


def photos(source: Path) -> list[Photo]:
    """The photos of a folder (with its subfolders), a .zip, a .jsonl or one picture file, in the order of their names.

    Captions: a .txt of the same name beside the photo, or `text`, `prompt` or `caption` of its line in metadata.jsonl (of
    the JSONL itself, whose lines name the photos relative to it). Raises InputError when there is nothing of the kind.
    """
    if source.is_dir():
        found = _folder(source)
    elif source.suffix.lower() == ".zip":
        found = _zip(source)
    elif source.suffix.lower() in (".jsonl", ".json"):
        found = _lines(source)
    elif source.is_file():
        found = [(source.name, lambda: _bounded(source), "")]
    else:
        raise InputError(f"There is no {source}.")
    if not found:
        raise InputError(f"There are no pictures in {source}.", "PNG, JPEG and WebP are read.")
    names = _names([where for where, _, _ in found])
    return [Photo(name, where, read, caption) for name, (where, read, caption) in zip(names, found, strict=True)]


def reader(source: Path) -> Callable[[str], bytes]:
    """Reads a photo of `source` by its `where`, on any machine that sees the same files. It raises InputError, as `Photo.read`."""
    if source.is_dir():
        return lambda where: _bounded(source / where)
    if source.suffix.lower() == ".zip":
        return lambda where: _inside(source, where, UPLOAD_MAX_BYTES)
    if source.suffix.lower() in (".jsonl", ".json"):
        return lambda where: _bounded(_below(source.parent, where))
    return lambda _where: _bounded(source)


_Found = list[tuple[str, Callable[[], bytes], str]]


def _folder(folder: Path) -> _Found:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES)
    table: dict[str, str] = {}
    for name in _TABLES:
        if (folder / name).is_file():
            table |= {where: caption for where, caption in _table((folder / name).read_bytes()) if caption}

    def caption(path: Path) -> str:
        beside = path.with_suffix(".txt")
        if beside.is_file():
            return _text(beside.read_bytes()[:CAPTION_MAX_BYTES])
        return table.get(path.relative_to(folder).as_posix(), "")

    return [(path.relative_to(folder).as_posix(), lambda path=path: _bounded(path), caption(path)) for path in files]


def _zip(path: Path) -> _Found:
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
                    rows = _table(data)
                    table |= {(folder / where).as_posix(): caption for where, caption in rows if caption}
            found: _Found = []
            for name in sorted(members):
                if PurePosixPath(name).suffix.lower() not in SUFFIXES or "__MACOSX" in name:
                    continue
                beside = members.get(PurePosixPath(name).with_suffix(".txt").as_posix())
                text = _text(_beginning(archive, beside, CAPTION_MAX_BYTES)) if beside else table.get(name, "")
                found.append((name, lambda name=name: _inside(path, name, UPLOAD_MAX_BYTES), text))
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


def _inside(path: Path, name: str, max_bytes: int) -> bytes:
    try:
        # Never inflate more than is allowed: a few kilobytes can hold gigabytes.
        with zipfile.ZipFile(path) as archive, archive.open(name) as member:
            data = member.read(max_bytes + 1)
    except _DAMAGED as error:
        raise InputError("It cannot be unpacked.") from error
    return _not_too_large(data, max_bytes)


def _lines(path: Path) -> _Found:
    if not path.is_file():
        raise InputError(f"There is no {path}.")
    with path.open("rb") as file:
        rows = _table(file.read(LISTING_MAX_BYTES))
    return [(where, lambda where=where: _bounded(_below(path.parent, where)), caption) for where, caption in rows]


def _below(folder: Path, where: str) -> Path:
    """The file that a line names, which lies in the list's own folder. Raises InputError."""
    try:
        found = (folder / where).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError("It is no name of a file.") from error
    if not found.is_relative_to(folder.resolve()):
        raise InputError("It names a file outside of its folder.")
    return found


def _table(data: bytes) -> list[tuple[str, str]]:
    """File names and captions of a JSONL; lines that say nothing of the kind are skipped."""
    rows: list[tuple[str, str]] = []
    for line in data.splitlines()[:COUNT_MAX]:
        try:
            told: Any = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(told, dict):
            continue
        fields = cast(dict[str, Any], told)
        where = _first(fields, _FILE_KEYS)
        if where:
            rows.append((where, _first(fields, _TEXT_KEYS)))
    return rows


def _first(fields: dict[str, Any], keys: Iterable[str]) -> str:
    return next((fields[key].strip() for key in keys if isinstance(fields.get(key), str)), "")


def _bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return _not_too_large(file.read(UPLOAD_MAX_BYTES + 1), UPLOAD_MAX_BYTES)
    except OSError as error:
        raise InputError(f"It cannot be read: {error.strerror or 'no such file'}.") from error


def _not_too_large(data: bytes, max_bytes: int) -> bytes:
    if len(data) > max_bytes:
        raise InputError(f"The file is larger than {max_bytes >> 20} MB.")
    return data


def _text(data: bytes) -> str:
    return " ".join(data.decode("utf-8", "replace").split())


def _names(paths: list[str]) -> list[str]:
    """A name for each path: its stem, with its folders before and its suffix behind where that is needed to tell it apart."""
    parts = [PurePosixPath(path.replace("\\", "/")) for path in paths]
    plain = [
        _safe("__".join(part for part in (*path.parent.parts, path.stem) if part not in ("/", ".."))) for path in parts
    ]
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


def _safe(name: str) -> str:
    return "".join(one if one.isalnum() or one in "-_ ." else "_" for one in name).strip(" .")[:120] or "photo"
