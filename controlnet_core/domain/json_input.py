"""JSON from outside: refused before it is read where it is too much, and in one sentence where its fields are wrong."""

from __future__ import annotations

from pydantic import ValidationError

from controlnet_core.domain.errors import InputError

_PIECE = 1 << 18


def check_value_count(data: str | bytes, most: int, name: str) -> None:
    """Raise InputError where JSON has more than `most` values, before it is read: a reader holds up all threads meanwhile.

    Commas and brackets are counted, in texts too, so a few long texts count for little.
    """
    count = 0
    for begin in range(0, len(data), _PIECE):
        end = begin + _PIECE
        if isinstance(data, str):
            count += data.count(",", begin, end) + data.count("[", begin, end) + data.count("{", begin, end)
        else:
            count += data.count(b",", begin, end) + data.count(b"[", begin, end) + data.count(b"{", begin, end)
        if count > most:
            raise InputError(f"{name} has more than {most} values.", "Leave out what is not needed.")


def first_fault(error: ValidationError, what: str) -> str:
    """The first problem of a validation of `what`, in a sentence that names the field."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part)[:80] for part in first["loc"]) or f"the {what}"
    return f"The {what} cannot be used: {where}: {first['msg'].lower()}."
