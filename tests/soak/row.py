"""One line of the table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What was tried, how often, what came out; `passed` None means that it could not be tried here, `figure` then says why."""

    name: str
    amount: str
    figure: str
    passed: bool | None

    def __str__(self) -> str:
        mark = {True: "ok", False: "FAILED", None: "skipped"}[self.passed]
        return f"{self.name:<34} {self.amount:<28} {self.figure:<66} {mark}"
