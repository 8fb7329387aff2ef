"""Tokens: the unguessable names under which a session reaches its documents and its events."""

from __future__ import annotations

import secrets

from controlnet_core.domain.errors import InputError


class Unknown(InputError):
    """A token that opens nothing (any more)."""


def fresh() -> str:
    """A token that nobody can guess: 192 random bits, fit for a URL."""
    return secrets.token_urlsafe(24)
