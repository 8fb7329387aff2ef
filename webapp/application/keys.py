"""Keys of the API: who may use the studio from a script, what for, and how much.

A key is shown once, when it is made; only its SHA-256 is kept (it has 256 random bits, so nothing is gained by a slower hash).
The file is read anew whenever it changes, so `studio keys` works beside a running server.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from controlnet_core.domain.errors import InputError, StudioError
from controlnet_core.storage import store

Scope = Literal["read", "make", "train", "watch"]
"""read: models, conditions, own pictures and jobs. make: pictures, maps, documents.
train: trainings. watch: figures of the server."""
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "studio_"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,47}")


class ApiKey(BaseModel):
    """One key. `pictures_per_hour` and `seconds_per_day` (of the device) bound its use; None does not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    hash: str
    scopes: frozenset[Scope]
    created: float
    pictures_per_hour: int | None = Field(None, ge=1)
    seconds_per_day: int | None = Field(None, ge=1)

    @property
    def session(self) -> str:
        """Whose turn its jobs take in the queue."""
        return f"key-{self.hash[:16]}"

    @property
    def owner(self) -> str:
        """The workspace of its pictures: a gallery of its own."""
        return hashlib.sha256(f"workspace of key {self.hash}".encode()).hexdigest()[:32]


_FILE = TypeAdapter(list[ApiKey])


class Keys:
    """The keys in one file. Safe across threads; a change of another process is seen at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, ApiKey] = {}

    def all(self) -> list[ApiKey]:
        """Every key, the oldest first. Raises StudioError for a file that cannot be read: then nobody may enter."""
        with self._lock:
            return sorted(self._read().values(), key=lambda key: key.created)

    def create(
        self,
        name: str,
        scopes: Iterable[str] = ("read", "make"),
        *,
        pictures_per_hour: int | None = None,
        seconds_per_day: int | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which is told this once. Raises InputError for a name that is taken or none."""
        if not _NAME.fullmatch(name):
            raise InputError(
                "A key's name has letters, digits, blanks and - _ .", "For example: studio keys create bot"
            )
        asked = set(scopes)
        wrong = sorted(asked - set(SCOPES))
        if wrong or not asked:
            raise InputError(f"{wrong[0] if wrong else ''!r} is no scope.", f"Known: {', '.join(SCOPES)}.")
        secret = PREFIX + secrets.token_urlsafe(32)
        try:
            key = ApiKey(
                name=name,
                hash=_hash(secret),
                scopes=frozenset(scope for scope in SCOPES if scope in asked),
                created=time.time(),
                pictures_per_hour=pictures_per_hour,
                seconds_per_day=seconds_per_day,
            )
        except ValidationError as error:
            raise InputError("A limit is a whole number of at least 1.") from error
        with self._lock:
            keys = self._read()
            if any(one.name == name for one in keys.values()):
                raise InputError(f"There is a key called {name} already.", "Choose another name, or revoke it first.")
            self._write([*keys.values(), key])
        return key, secret

    def revoke(self, name: str) -> None:
        """End a key at once; its pictures stay. Raises InputError when there is none of this name."""
        with self._lock:
            keys = self._read()
            left = [key for key in keys.values() if key.name != name]
            if len(left) == len(keys):
                raise InputError(f"There is no key called {name}.", "studio keys list names them.")
            self._write(left)

    def find(self, secret: str) -> ApiKey | None:
        """The key of a secret; None for any other text."""
        with self._lock:
            return self._read().get(_hash(secret))

    def __bool__(self) -> bool:
        """Whether there are any."""
        with self._lock:
            return bool(self._read())

    def _read(self) -> dict[str, ApiKey]:
        try:
            seen = self.path.stat()
        except FileNotFoundError:
            self._stamp, self._keys = None, {}
            return self._keys
        stamp = (seen.st_mtime_ns, seen.st_ino)
        if stamp != self._stamp:
            try:
                self._keys = {key.hash: key for key in _FILE.validate_json(self.path.read_bytes())}
            except (ValidationError, OSError) as error:
                raise StudioError(f"The keys in {self.path} cannot be read.", "Mend the file or remove it.") from error
            self._stamp = stamp
        return self._keys

    def _write(self, keys: list[ApiKey]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Few bytes: they are written even where a picture would find no room.
        store.write(self.path, _FILE.dump_json(keys, indent=1), free_min_bytes=0)
        self.path.chmod(0o600)
        self._stamp = None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def keys_file(data: Path) -> Path:
    """Where the keys of a data folder lie."""
    return data / "api-keys.json"
