"""Data sets on disk, read where they lie:

    the original tutorial's       prompt.json, one line {"source", "target", "prompt"} a pair, beside the pictures
    two folders                   source/ (or control, conditioning_images) and target/ (or images); equal names make a
                                  pair, its prompt is a .txt beside the target, or beside the source
    Hugging Face, image folder    metadata.jsonl or metadata.csv with file_name, conditioning_image_file_name and text
    Hugging Face, table           *.parquet or *.arrow with pictures in two columns and text in a third

prompt.json may also be one JSON array of such objects, a caption end in .caption, paths have backslashes, and names be in
capitals.

Pairs that a person chose to hold out stand in held-out.txt, a name a line: what a line of prompt.json calls its picture, or
the name that two files share. Of tables that say which part of a set they are, those called train are taken.

Only positions are held in memory, 8 bytes a pair, never lines or pictures. The library `datasets` is not needed.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from controlnet_core.datasets import tables
from controlnet_core.datasets.pairs import PROMPT_MAX, Listed, PairFiles, checked_prompt
from controlnet_core.domain.errors import InputError, NoSpace
from controlnet_core.storage import store

LINE_MAX_BYTES = 64 * 1024
"""A line of a data set is a few hundred bytes; more than this is no line but a mistake."""
LIST_MAX_BYTES = 64 << 20
"""A list that is no file of lines is held in memory."""
HELD_OUT = "held-out.txt"
EMPTY_PROMPTS = "empty-prompts.txt"
"""Stands in a folder whose pairs may have no words; see `Editable.allow_empty_prompts`."""
_BLOCK_BYTES = 1 << 20
_CAPTIONS = (".txt", ".caption")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_SOURCES = ("source", "control", "controls", "conditioning", "conditioning_images", "conditioning_image", "hint")
_TARGETS = ("target", "targets", "images", "image")
_KEYS = {
    "source": ("source", "conditioning_image_file_name", "conditioning_image", "control_file_name", "control"),
    "target": ("target", "file_name", "image_file_name", "image"),
    "prompt": ("prompt", "text", "caption"),
}


def open_folder(folder: Path) -> Listed:
    """The data set in a folder, whatever its layout. Raises InputError that says which layouts are known."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.", "Choose the folder of a data set.")
    if listed := _one_of(folder, ("prompt.json", "metadata.jsonl")):
        return _listed(listed)
    configured = sorted({table.parent for table in folder.glob("*/train/*.parquet")})
    for split in (folder, folder / "train", folder / "data", *configured):
        if split.is_dir() and (listed := _one_of(split, ("metadata.jsonl", "metadata.csv"))):
            return _listed(listed)
        tables = sorted([*split.glob("*.parquet"), *split.glob("*.arrow")])
        if tables:
            # On the hub one folder holds all parts of a set: nobody wants to train on what it is tested with.
            return Table(folder, [table for table in tables if table.name.startswith("train")] or tables)
    source, target = _one_of(folder, _SOURCES, folders=True), _one_of(folder, _TARGETS, folders=True)
    if source and target:
        return Folders(folder, source, target)
    raise InputError(
        f"{folder} holds no data set of a known layout.",
        "Known: prompt.json with source/ and target/; two folders of equal names; metadata.jsonl or metadata.csv; "
        "parquet files.",
    )


def _listed(file: Path) -> Editable:
    with file.open("rb") as stream:
        begins = stream.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if _is_csv(file):
        return Whole(file.parent, file.name)
    if begins == b"[":
        with suppress(InputError):  # else its lines say, each by itself, what is wrong with them
            return Whole(file.parent, file.name)
    return Lines(file.parent, file.name)


class Editable(Listed):
    """A data set whose pairs lie as files in a folder: their prompts can be changed, and pairs held out by hand."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder.name)
        self.folder = folder
        self.empty_prompts = (folder / EMPTY_PROMPTS).is_file()

    def allow_empty_prompts(self, allowed: bool, *, free_min_bytes: int = store.FREE_MIN_BYTES) -> None:
        """Let pairs without words be learnt from, or not; the choice stays with the folder. Raises NoSpace."""
        if allowed:
            store.write(
                self.folder / EMPTY_PROMPTS, b"Pairs without words are used here.\n", free_min_bytes=free_min_bytes
            )
        else:
            (self.folder / EMPTY_PROMPTS).unlink(missing_ok=True)
        self.empty_prompts = allowed

    def inside(self, name: str) -> Path:
        """The file of the folder that a list calls `name`. Raises InputError for one outside of it."""
        if "\\" in name and not (self.folder / name).exists():
            name = name.replace("\\", "/")  # written on Windows
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder.resolve()):
            raise InputError("It names a file outside of its folder.")
        return path

    def set_prompt(self, index: int, prompt: str, *, free_min_bytes: int = store.FREE_MIN_BYTES) -> None:
        """Give pair `index` another prompt; all else stays byte for byte. Raises InputError and NoSpace."""
        raise NotImplementedError

    def held_out(self) -> frozenset[str]:
        """The names (`PairFiles.name`) of the pairs that were chosen to be held out. Raises InputError."""
        try:
            return frozenset((self.folder / HELD_OUT).read_text(encoding="utf-8").splitlines()) - {""}
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError) as error:
            raise InputError(f"{HELD_OUT} cannot be read.", "It has the name of a pair in each line.") from error

    def hold_out(self, index: int, held: bool, *, free_min_bytes: int = store.FREE_MIN_BYTES) -> None:
        """Hold pair `index` out, or train on it again. Raises InputError and NoSpace."""
        name = self.entry(index).name
        names = self.held_out() | {name} if held else self.held_out() - {name}
        text = "".join(f"{name}\n" for name in sorted(names))
        store.write(self.folder / HELD_OUT, text.encode(), free_min_bytes=free_min_bytes)


class Lines(Editable):
    """One JSON object a line, beside the pictures that it names."""

    def __init__(self, folder: Path, file: str) -> None:
        super().__init__(folder)
        self.file = folder / file
        with self.file.open("rb") as stream:
            self.offsets = array("Q", _line_starts(stream))

    def __len__(self) -> int:
        return len(self.offsets)

    def name(self, index: int) -> str:
        """The line's number: what it names may be unreadable."""
        return f"line {index + 1}"

    def entry(self, index: int) -> PairFiles:
        """See `Listed.entry`."""
        with self.file.open("rb") as stream:
            stream.seek(self.offsets[index])
            line = stream.readline(LINE_MAX_BYTES + 1)
        known = _object(line)
        target = _field(known, "target")
        return PairFiles(target, self.inside(_field(known, "source")), self.inside(target), _prompt(known))

    def set_prompt(self, index: int, prompt: str, *, free_min_bytes: int = store.FREE_MIN_BYTES) -> None:
        """See `Editable.set_prompt`."""
        with self.file.open("rb") as stream:
            stream.seek(self.offsets[index])
            line = stream.readline(LINE_MAX_BYTES + 1)
            fields = _object(line)
            key = next((key for key in _KEYS["prompt"] if key in fields), _KEYS["prompt"][0])
            fields[key] = checked_prompt(prompt)
            end = self.offsets[index] + len(line.rstrip(b"\r\n"))
            part = self.file.with_name(f".{self.file.name}.part")
            written = json.dumps(fields, ensure_ascii=False).encode()
            _spliced(self.file, part, self.offsets[index], end, written, free_min_bytes)
        with self.file.open("rb") as stream:
            self.offsets = array("Q", _line_starts(stream))


class Whole(Editable):
    """A list that is read as a whole, beside the pictures that it names: a table of CSV, or one array of JSON."""

    def __init__(self, folder: Path, file: str) -> None:
        super().__init__(folder)
        self.file = folder / file
        self.delimiter = ","
        self.rows = self._read()

    def _read(self) -> list[Any]:
        if self.file.stat().st_size > LIST_MAX_BYTES:
            raise InputError(f"{self.file.name} is larger than 64 MB.", "Write it as lines of JSON: metadata.jsonl.")
        try:
            text = self.file.read_text(encoding="utf-8-sig")
            if _is_csv(self.file):
                self.delimiter = _delimiter(text)
                return list(csv.DictReader(io.StringIO(text), delimiter=self.delimiter))
            return list(json.loads(text))
        except (OSError, ValueError, RecursionError, csv.Error) as error:
            raise InputError(f"{self.file.name} cannot be read.", "It is no list of pairs.") from error

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """The row's number."""
        return f"row {index + 1}"

    def entry(self, index: int) -> PairFiles:
        """See `Listed.entry`."""
        row = self.rows[index]
        if not isinstance(row, dict):
            raise InputError("The row is no pair.")
        known = cast("dict[str, Any]", row)
        target = _field(known, "target")
        return PairFiles(target, self.inside(_field(known, "source")), self.inside(target), _prompt(known))

    def set_prompt(self, index: int, prompt: str, *, free_min_bytes: int = store.FREE_MIN_BYTES) -> None:
        """See `Editable.set_prompt`."""
        row = self.rows[index]
        if not isinstance(row, dict):
            raise InputError("The row is no pair.")
        row[next((key for key in _KEYS["prompt"] if key in row), _KEYS["prompt"][0])] = checked_prompt(prompt)
        if _is_csv(self.file):
            out = io.StringIO(newline="")
            how: dict[str, Any] = {"delimiter": self.delimiter, "lineterminator": "\n"}
            writer = csv.DictWriter(out, list(self.rows[0]), extrasaction="ignore", **how)
            writer.writeheader()
            writer.writerows(self.rows)
            text = out.getvalue()
        else:
            text = json.dumps(self.rows, ensure_ascii=False, indent=0)
        store.write(self.file, text.encode(), free_min_bytes=free_min_bytes)


class Folders(Editable):
    """Two folders; files whose names are equal up to the suffix are a pair."""

    def __init__(self, folder: Path, source: Path, target: Path) -> None:
        super().__init__(folder)
        self.source, self.target = source, target
        self.files: dict[Path, dict[str, list[str]]] = {source: {}, target: {}}
        for side, files in self.files.items():
            for path in _pictures(side):
                files.setdefault(path.stem, []).append(path.name)
        self.stems = sorted({stem for files in self.files.values() for stem in files})
        captions = (path for side in (source, target) for path in side.iterdir() if path.suffix.lower() in _CAPTIONS)
        self.captions = {path.stem: path for path in captions if path.suffix not in _CAPTIONS}  # such as .TXT

    def __len__(self) -> int:
        return len(self.stems)

    def name(self, index: int) -> str:
        """The name that the two files share."""
        return self.stems[index]

    def entry(self, index: int) -> PairFiles:
        """See `Listed.entry`."""
        stem = self.stems[index]
        source, target = self._file(self.source, stem), self._file(self.target, stem)
        caption = self._caption(stem)
        try:
            with caption.open(encoding="utf-8-sig") as file:
                prompt = file.read(PROMPT_MAX + 1).strip()
        except FileNotFoundError:
            prompt = ""
        except (OSError, ValueError) as error:
            raise InputError(f"The prompt {caption.name} cannot be read.") from error
        return PairFiles(stem, source, target, prompt)

    def set_prompt(self, index: int, prompt: str, *, free_min_bytes: int = store.FREE_MIN_BYTES) -> None:
        """See `Editable.set_prompt`."""
        written = checked_prompt(prompt).encode() + b"\n"
        store.write(self._caption(self.stems[index]), written, free_min_bytes=free_min_bytes)

    def _caption(self, stem: str) -> Path:
        files = [side / f"{stem}{suffix}" for side in (self.target, self.source) for suffix in _CAPTIONS]
        return next((file for file in files if file.is_file()), self.captions.get(stem, files[0]))

    def _file(self, side: Path, stem: str) -> Path:
        found = self.files[side].get(stem, [])
        if len(found) > 1:
            raise InputError(f"There are {len(found)} files called {stem} in {side.name}.", "Keep one of them.")
        return side / (found[0] if found else f"{stem}.png")


class Table(Listed):
    """Tables of Apache Arrow, as the library `datasets` and the Hugging Face hub keep them."""

    def __init__(self, folder: Path, files: list[Path]) -> None:
        super().__init__(folder.name)
        self.folder, self.files = folder, files
        self.blocks = [(file, number, rows) for file in files for number, rows in enumerate(tables.block_rows(file))]
        self.ends = array("Q")
        for _, _, rows in self.blocks:
            self.ends.append(rows + (self.ends[-1] if self.ends else 0))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def name(self, index: int) -> str:
        """The row's number."""
        return f"row {index + 1}"

    def entry(self, index: int) -> PairFiles:
        """See `Listed.entry`."""
        block = bisect_right(self.ends, index)
        file, number, rows = self.blocks[block]
        row = tables.cell_values(file, number, index - (self.ends[block] - rows), _KEYS)
        return PairFiles(
            f"row {index + 1}", self._bytes(row, "source"), self._bytes(row, "target"), _text(row.get("prompt", ""))
        )

    def _bytes(self, row: dict[str, Any], role: str) -> bytes | Path:
        value = row.get(role)
        if isinstance(value, dict):
            cell = cast("dict[str, Any]", value)
            value = cell.get("bytes") or cell.get("path")
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return self.folder / Path(value).name
        raise InputError(f"The row has no {role} picture.", f"Columns are called {' or '.join(_KEYS[role])}.")


def _prompt(fields: dict[str, Any]) -> str:
    """The prompt among the fields of a pair, as it is. Raises InputError when it is no text."""
    return _text(next((fields[key] for key in _KEYS["prompt"] if key in fields), ""))


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError("The prompt is not a text.")
    return value


def _field(fields: dict[str, Any], role: str) -> str:
    value = next((fields[key] for key in _KEYS[role] if key in fields), None)
    if not isinstance(value, str) or not value or "\0" in value:
        raise InputError(f"It does not name its {role}.")
    return value


def _object(line: bytes) -> dict[str, Any]:
    """The JSON object of a line. Raises InputError when it is none, or far too long for one."""
    if len(line) > LINE_MAX_BYTES:
        raise InputError(f"The line is longer than {LINE_MAX_BYTES >> 10} KiB.", "Each pair is a line of its own.")
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError("The line is not JSON.") from error
    if not isinstance(fields, dict):
        raise InputError("The line is not a JSON object.")
    return cast("dict[str, Any]", fields)


def _line_starts(stream: BinaryIO) -> Iterator[int]:
    """Where lines that hold something start, in one pass and one block of memory."""
    at, start, blank = 0, 0, True
    while block := stream.read(_BLOCK_BYTES):
        position = 0
        while (end := block.find(b"\n", position)) >= 0:
            if not (blank and not block[position:end].strip()):
                yield start
            position, start, blank = end + 1, at + end + 1, True
        blank = blank and not block[position:].strip()
        at += len(block)
    if not blank:
        yield start


def _spliced(file: Path, part: Path, start: int, end: int, middle: bytes, free_min_bytes: int) -> None:
    """Replace the bytes from `start` to `end` of a file of any length, all or nothing."""
    try:
        if shutil.disk_usage(file.parent).free < free_min_bytes + file.stat().st_size:
            raise OSError("too little space")
        with file.open("rb") as old, part.open("wb") as new:
            left = start
            while left and (block := old.read(min(left, _BLOCK_BYTES))):
                new.write(block)
                left -= len(block)
            new.write(middle)
            old.seek(end)
            shutil.copyfileobj(old, new, _BLOCK_BYTES)
            new.flush()
            os.fsync(new.fileno())
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise NoSpace(f"{file.name} could not be written.", "Free some space and try again.") from error


def _delimiter(text: str) -> str:
    """What stands between the columns: where decimals have a comma, spreadsheets write semicolons."""
    head = text.partition("\n")[0]
    return max(",;\t", key=head.count)


def _one_of(folder: Path, names: tuple[str, ...], *, folders: bool = False) -> Path | None:
    """The first of `names` that a file of the folder, or a folder in it, has in small letters or capitals."""
    there = {
        path.name.lower(): path for path in folder.iterdir() if path.name.lower() in names and path.is_dir() == folders
    }
    return next((there[name] for name in names if name in there), None)


def _is_csv(file: Path) -> bool:
    return file.suffix.lower() == ".csv"


def _pictures(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix.lower() in _PICTURES)
