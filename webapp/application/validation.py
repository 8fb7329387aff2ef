"""Gates for values that a browser sent: each returns a safe value or raises InputError with one sentence.

A web client can send any type to any widget, whatever the page shows; nothing from a widget is used before it passed
one of these. Pictures have a gate of their own, `controlnet_core.domain.picture.open_picture`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection
from typing import TypeVar

from controlnet_core.domain.errors import InputError

T = TypeVar("T")
_WORKSPACE = re.compile(r"[0-9a-f]{32}")
COOKIE = "studio_workspace"
"""The cookie that names a browser's workspace."""
_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_COLOUR = re.compile(r"[0-9a-f]{6}")
_KEPT = ("\n", "\t")


def text(value: object, max_length: int, name: str = "The text") -> str:
    """A text of at most `max_length` characters, without control characters."""
    if not isinstance(value, str):
        raise InputError(f"{name} must be a text.")
    if len(value) > max_length:
        raise InputError(f"{name} has {len(value)} characters; {max_length} are allowed.", "Shorten it.")
    # Cc: control characters, Cs: halves of a surrogate pair, which no file can hold.
    return "".join(one for one in value if one in _KEPT or unicodedata.category(one) not in ("Cc", "Cs"))


def number(value: object, low: float, high: float, name: str = "The value") -> float:
    """A finite number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{name} must be a number from {low:g} to {high:g}.")
    if not low <= value <= high:
        raise InputError(f"{name} must lie between {low:g} and {high:g}.")
    return float(value)


def span(value: object, low: float, high: float, name: str = "The range") -> tuple[float, float]:
    """Two numbers in [low, high], the smaller one first."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise InputError(f"{name} must be two numbers from {low:g} to {high:g}.")
    begin, end = (number(one, low, high, name) for one in value)
    return min(begin, end), max(begin, end)


def sides(value: object, low: int, high: int, name: str = "The size") -> tuple[int, int] | None:
    """Two whole numbers in [low, high], written as 1024x768, with spaces and with "×" too; None for an empty text."""
    written = text(value, 40, name).strip().lower().replace("×", "x")
    if not written:
        return None
    match = re.fullmatch(r"(\d{1,6})\s*x\s*(\d{1,6})", written)
    if match is None:
        raise InputError(f"{name} is not two numbers.", "Write it like 1024x768.")
    return whole(int(match[1]), low, high, name), whole(int(match[2]), low, high, name)


def whole(value: object, low: int, high: int, name: str = "The value") -> int:
    """A whole number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} must be a whole number from {low} to {high}.")
    if not low <= value <= high:
        raise InputError(f"{name} must lie between {low} and {high}.")
    return value


def flag(value: object, name: str = "The switch") -> bool:
    """On or off."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be on or off.")
    return value


def choice(value: object, among: Collection[T], name: str = "The choice") -> T:
    """One of `among`."""
    for one in among:
        if type(value) is type(one) and value == one:
            return one
    raise InputError(f"{name} is not one that is offered here.", "Choose from the list.")


def colour(value: object) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of six hexadecimal digits."""
    if not isinstance(value, str) or not _COLOUR.fullmatch(value):
        raise InputError("A colour must be six hexadecimal digits.")
    red, green, blue = bytes.fromhex(value)
    return red, green, blue


def job_id(value: object) -> str:
    """The id of a job, made by a client: 8 to 64 letters, digits, - and _."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InputError("A job's id has 8 to 64 letters, digits, - and _.")
    return value


def workspace(value: object) -> str | None:
    """A workspace's id (32 hexadecimal digits) from a cookie; None for anything else."""
    return value if isinstance(value, str) and _WORKSPACE.fullmatch(value) else None
