"""Looks at every pair of a data set before a training does, and names those that cannot be used.

One pair is in memory at a time. What is found: missing, corrupt and unequal pictures, lines that are no pair or far too
long, empty prompts, names that come twice. Also decides which pairs are held out.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from controlnet_core.datasets.layouts import Editable, Lines
from controlnet_core.datasets.pairs import ENDLESS, Pairs
from controlnet_core.domain.errors import InputError

SHOWN_MAX = 1000


@dataclass(frozen=True)
class Problem:
    """A pair that cannot be used: its index, what it is called, and what is wrong, in a sentence."""

    index: int
    name: str
    text: str


@dataclass
class Report:
    """What a check found: how many pairs there are, the numbers of the bad ones, the first problems in words.

    `sizes` counts pictures by width and height.
    """

    count: int = 0
    bad: array[int] = field(default_factory=lambda: array("Q"))
    problems: list[Problem] = field(default_factory=list[Problem])
    sizes: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])

    @property
    def good(self) -> int:
        """How many pairs can be used."""
        return self.count - len(self.bad)

    def usable(self) -> list[int]:
        """The numbers of the pairs that can be used."""
        bad = set(self.bad)
        return [index for index in range(self.count) if index not in bad]


def check(pairs: Pairs, limit: int = 0, on_pair: Callable[[int, int], None] | None = None) -> Report:
    """Read the pairs (the first `limit`, if given) and report; `on_pair(done, all)` may raise to stop."""
    report = Report(count=min(len(pairs), limit or len(pairs)))
    seen: set[bytes] = set()
    for index in range(report.count):
        try:
            example = pairs.read(index)
            height, width = example.target.shape[:2]
            report.sizes[width, height] = report.sizes.get((width, height), 0) + 1
            _once(pairs, index, seen)
        except InputError as error:
            report.bad.append(index)
            if len(report.problems) < SHOWN_MAX:
                report.problems.append(Problem(index, pairs.name(index), error.message))
        if on_pair is not None:
            on_pair(index + 1, report.count)
    return report


def _once(pairs: Pairs, index: int, seen: set[bytes]) -> None:
    if not isinstance(pairs, Lines):
        return  # elsewhere a name is a place, which cannot come twice
    name = pairs.entry(index).name
    digest = blake2b(name.encode(), digest_size=8).digest()
    if digest in seen:
        raise InputError(f"Another line names {name} already.")
    seen.add(digest)


def split(usable: list[int], held_out: int, seed: int, chosen: Collection[int] = ()) -> tuple[list[int], list[int]]:
    """Pairs to train on and pairs held out: those `chosen`, else `held_out` drawn by the seed, the same for the same one.

    Raises InputError when too few are left to train on.
    """
    by_hand = [index for index in usable if index in chosen]
    if by_hand:
        kept = [index for index in usable if index not in chosen]
        if not kept:
            raise InputError("All usable pairs are held out.", "Hold out fewer: a training needs some of them.")
        return kept, by_hand
    if len(usable) <= held_out:
        raise InputError(
            f"{len(usable)} usable pairs are too few to hold out {held_out}.", "Add pairs or hold out fewer."
        )
    order = np.random.default_rng((seed, 0xD1CE)).permutation(len(usable))
    drawn = set(order[:held_out].tolist())
    kept = [index for place, index in enumerate(usable) if place not in drawn]
    return kept, [usable[place] for place in order[:held_out].tolist()]


def held_out(pairs: Pairs, usable: list[int]) -> frozenset[int]:
    """The usable pairs that a person chose to hold out. Raises InputError."""
    names = pairs.held_out() if isinstance(pairs, Editable) else frozenset[str]()
    if not names or not isinstance(pairs, Editable):
        return frozenset()
    return frozenset(index for index in usable if pairs.entry(index).name in names)


def is_endless(pairs: Pairs) -> bool:
    """Whether a data set makes its pairs when asked: nothing to check there."""
    return len(pairs) >= ENDLESS


def lines(report: Report) -> Iterator[str]:
    """A report in words, one line a finding."""
    for problem in report.problems:
        yield f"{problem.name}: {problem.text}"
    more = len(report.bad) - len(report.problems)
    if more > 0:
        yield f"and {more} more"
    sizes = sorted(report.sizes.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{width} x {height} px: {count}" for (width, height), count in sizes[:5])
    yield f"{report.good} of {report.count} pairs can be used" + (f" ({shown})" if shown else "")
