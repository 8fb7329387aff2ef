"""Reads a picture by the true picture of its scene: what it shows where, in closed form. Nothing is trained.

Everything that a true picture shows is known, so a picture need not be understood to be read, only compared: a cell shows what
the most alike cell of the true picture shows, and a joint is where its surroundings are found again. That is stricter than an
eye (a blue car is no red one), and cannot learn to forgive.
"""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from controlnet_core.domain.control import Rgb

Scalar = TypeVar("Scalar", bound=np.generic)
GRID = 4
"""Pictures are read in cells of this many pixels."""
FAR = 0.25
"""How much farther in colour (CIE Lab) a cell may be to be as alike as another that lies one cell nearer: of cells of one
colour, the nearest."""


def cells_of(values: NDArray[Scalar]) -> NDArray[Scalar]:
    """The value at the centre of every cell."""
    return values[GRID // 2 :: GRID, GRID // 2 :: GRID]


def alike(picture: Rgb, truth: Rgb) -> NDArray[np.intp]:
    """h*w: for every cell of `picture`, row by row, the number of the cell of `truth` that is most alike."""
    ours, theirs = _places(picture), _places(truth)
    # |a - b|^2 without |a|^2, which is the same for all b.
    return ((theirs**2).sum(1)[None] - 2 * ours @ theirs.T).argmin(1)


def read(picture: Rgb, truth: Rgb, *maps: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    """What `picture` shows of each of `maps` H,W,... that are true of `truth`, in cells h,w,..."""
    number = alike(picture, truth)
    found = []
    for each in maps:
        cells = cells_of(each)
        found.append(cells.reshape(-1, *cells.shape[2:])[number].reshape(cells.shape))
    return found


def _places(picture: Rgb) -> NDArray[np.float32]:
    """h*w,5: colour (CIE Lab, without thin lines) and position of every cell."""
    smooth = cv2.medianBlur(picture, 5).astype(np.float32) / 255
    lab = cells_of(cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB))
    y, x = np.mgrid[0 : lab.shape[0], 0 : lab.shape[1]].astype(np.float32) * FAR
    return np.concatenate([lab, x[..., None], y[..., None]], 2).reshape(-1, 5).astype(np.float32)


def refound(
    picture: Rgb, truth: Rgb, at: tuple[float, float], half: tuple[float, float], reach: float
) -> tuple[float, float]:
    """Where the piece of `truth` about `at` (x, y), `half` its sides' halves, all in pixels, is in `picture`.

    Returns how far from `at` it fits best, at most about `reach` either way, and how well: normalized correlation, 1 for the
    same, 0 for nothing in common.
    """
    margin = int(max(half) + reach) + 2
    x, y = (round(value) + margin for value in at)
    wide, high, far = max(2, round(half[0])), max(2, round(half[1])), max(1, round(reach))

    def piece(source: Rgb, more: int) -> Rgb:
        padded = np.pad(source, ((margin, margin), (margin, margin), (0, 0)), "edge")
        return padded[max(0, y - high - more) : y + high + more + 1, max(0, x - wide - more) : x + wide + more + 1]

    score = cv2.matchTemplate(piece(picture, far), piece(truth, 0), cv2.TM_CCOEFF_NORMED)
    score = np.where(np.isfinite(score), score, 0)
    row, column = np.unravel_index(int(score.argmax()), score.shape)
    return float(np.hypot(row - far, column - far)), float(score[row, column])
