"""The latent space: fixed linear codes of square patches (PCA), whitened.

Nothing is learned by gradient here, so the codes exist before any network does, the same for ever. The shipped
autoencoder speaks this space. Whitening makes every channel as loud as the others, so that a denoiser hears fine channels early.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import ModelError

Codes = NDArray[np.float32]
SHIPPED_BASIS = Path(__file__).with_name("basis-8-24.npz")
"""The basis that the shipped weights speak: another machine would fit one that is turned a little."""


@dataclass(frozen=True)
class Basis:
    """Patches of `side` px: `mean` (P), `axes` (C,P) with orthonormal rows, `scale` (C), the codes' standard deviations."""

    side: int
    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    scale: NDArray[np.float32]

    @property
    def channels(self) -> int:
        """Channels of the codes."""
        return int(self.axes.shape[0])

    def encode(self, picture: Rgb) -> Codes:
        """Codes C,h,w of a picture whose sides are multiples of the patch side."""
        patches = patches_of(picture, self.side)
        codes = (patches - self.mean) @ self.axes.T / self.scale
        height, width = picture.shape[0] // self.side, picture.shape[1] // self.side
        return np.ascontiguousarray(codes.reshape(height, width, -1).transpose(2, 0, 1), dtype=np.float32)

    def decode(self, codes: Codes) -> Rgb:
        """The nearest picture in this basis; blocky where codes are inexact."""
        _, height, width = codes.shape
        flat = codes.transpose(1, 2, 0).reshape(height * width, -1)
        patches = flat * self.scale @ self.axes + self.mean
        grid = patches.reshape(height, width, self.side, self.side, 3).transpose(0, 2, 1, 3, 4)
        picture = grid.reshape(height * self.side, width * self.side, 3)
        return (np.clip(picture * 0.5 + 0.5, 0, 1) * 255 + 0.5).astype(np.uint8)

    def save(self, path: Path) -> None:
        """Write to an .npz file."""
        np.savez(path, side=self.side, mean=self.mean, axes=self.axes, scale=self.scale)

    @classmethod
    def load(cls, path: Path) -> Basis:
        """Read what `save` wrote; raises ModelError for anything else."""
        try:
            with np.load(path) as file:
                return cls(int(file["side"]), file["mean"], file["axes"], file["scale"])
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise ModelError(f"{path.name} is not a latent basis.", "Remove it; training makes a new one.") from error


def patches_of(picture: Rgb, side: int) -> NDArray[np.float32]:
    """N,side*side*3 patches in [-1, 1], row by row."""
    height, width = picture.shape[0] // side, picture.shape[1] // side
    grid = picture.reshape(height, side, width, side, 3).transpose(0, 2, 1, 3, 4)
    return grid.reshape(height * width, -1).astype(np.float32) / 127.5 - 1


def fit(pictures: list[Rgb], side: int = 8, channels: int = 24) -> Basis:
    """The basis of the `channels` strongest axes of the pictures' patches (principal component analysis)."""
    total, count = np.zeros(side * side * 3), 0
    moment = np.zeros((side * side * 3, side * side * 3))
    for picture in pictures:
        patches = patches_of(picture, side)
        total += patches.sum(0)
        moment += patches.T @ patches
        count += len(patches)
    mean = total / count
    values, vectors = np.linalg.eigh(moment / count - np.outer(mean, mean))
    order = np.argsort(values)[::-1][:channels]
    return Basis(
        side,
        mean.astype(np.float32),
        np.ascontiguousarray(vectors[:, order].T).astype(np.float32),
        np.sqrt(values[order]).astype(np.float32),
    )
