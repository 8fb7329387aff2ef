"""Everything the studio can refuse or fail at, as one tree.

    StudioError
    |-- InputError        something from outside (picture, document, upload) cannot be used
    |-- RecipeError       a recipe asks for something that is not possible
    |-- ModelError        a model file is missing, damaged, hostile or of the wrong kind
    |   |-- ModelMissing  ... it is simply not on this machine
    |   `-- DownloadError ... and could not be fetched
    |-- QueueFull         too much work is waiting
    |-- OutOfMemory       the device has too little memory for the recipe
    |-- NoSpace           the disk is too full to keep something
    |-- Busy              another program holds a file of ours; trying again helps
    |-- WorkerLost        the worker process died and took the job with it
    `-- Cancelled         the user asked to stop

The core raises these and nothing else on purpose; one place in `webapp` turns them into text. `message` is one sentence
that says what happened, `hint` one that says what to do.
"""

from __future__ import annotations

WORDS_MAX = 1000
"""Characters of a message, and of a hint: a name that somebody sent may be much longer."""


class StudioError(Exception):
    """An error with words for the user: `message` says what happened, `hint` what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message, self.hint = _bounded(message), _bounded(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[type[StudioError], tuple[str, str]]:
        # Both parts survive the pipe between worker and web process.
        return (type(self), (self.message, self.hint))


class InputError(StudioError):
    """A picture, document or upload that cannot be used."""


class RecipeError(StudioError):
    """A recipe that asks for something impossible."""


class ModelError(StudioError):
    """A model file that cannot be used: damaged, hostile or of another kind."""


class ModelMissing(ModelError):
    """A model that is not on this machine; `model` is its card's id where it can be fetched."""

    def __init__(self, message: str, hint: str = "", model: str = "") -> None:
        super().__init__(message, hint)
        self.model = model


class DownloadError(ModelError):
    """A model that could not be fetched: no connection, no permission, or not there."""


class QueueFull(StudioError):
    """The bounded queue has no place left."""


class OutOfMemory(StudioError):
    """The device ran out of memory and no cheaper plan was left."""


class NoSpace(StudioError):
    """The disk has too little room left to keep something safely."""


class Busy(StudioError):
    """Another program holds a file that is needed: it is worth trying again."""


class WorkerLost(StudioError):
    """The worker process died during the job."""


class Cancelled(StudioError):
    """The user stopped the job; raised by `on_step` callbacks to leave the sampling loop."""

    def __init__(self, message: str = "Stopped.", hint: str = "") -> None:
        super().__init__(message, hint)


def _bounded(words: str) -> str:
    half = WORDS_MAX // 2 - 3
    return words if len(words) <= WORDS_MAX else f"{words[:half]} ... {words[-half:]}"
