"""Gives an autoencoder its first weights so that, untrained, it already is a linear code (`latents`), decoded in its best
linear way: every cell from its own codes and those of its eight neighbours.

The decoder of AutoencoderDC unfolds cells by pixel shuffling. Its first convolution is set to the least-squares solution
(neighbours know where a line goes on, which is half a decibel and softer block borders), every unfolding to the exact
linear map from a cell to its four quarters, every residual block to the identity. Training then only has to do what is
not linear. (A decoder from random weights was 8 dB behind the linear one after ten minutes.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from paperworld.model.latents import Basis, Codes

LOUD = 32.0
"""A constant channel this loud turns the final RMS normalisation into a constant factor."""
LIFT = 2.0
"""Raises pixels above zero, where the final rectifier lets them pass."""


def invert(vae: Any, basis: Basis, pictures: Tensor, codes: Tensor) -> None:
    """Set `vae` to `basis`; `pictures` B,3,H,W and their `codes` (unscaled) fit the decoder's first layer and the encoder's
    last one."""
    with torch.no_grad():
        for module in vae.modules():
            if type(module).__name__ == "ResBlock":
                module.norm.weight.zero_()
                module.norm.bias.zero_()
        _decoder(vae, basis, pictures, codes)
        _encoder(vae, pictures, codes)


def _decoder(vae: Any, basis: Basis, pictures: Tensor, codes: Tensor) -> None:
    decoder, scale = vae.decoder, float(vae.config["scaling_factor"])
    mean = basis.mean.astype(np.float64)[:, None]
    # What the channels of a cell mean: `pixels` (side*side*3, channels) and a mean picture.
    pixels = _best_linear(decoder.conv_in, codes.double() / scale, _cells(pictures, basis.side) - mean[:, 0])
    side = basis.side
    for block in reversed(decoder.up_blocks[1:-1]):
        pixels, mean, side = _unfold_once(block[0], pixels, mean, side, last=side == 4)
    norm = decoder.norm_out
    norm.weight.fill_(LOUD / norm.weight.shape[0] ** 0.5)
    norm.bias.fill_(LIFT)
    order = np.zeros((12, 12))
    for pixel in range(4):
        for colour in range(3):
            order[colour * 4 + pixel, pixel * 3 + colour] = 1
    _linear(decoder.conv_out.conv, order, np.full(12, -LIFT))


def _cells(pictures: Tensor, side: int) -> np.ndarray:
    """N,side*side*3 pixels of the cells of pictures B,3,H,W."""
    batch, _, height, width = pictures.shape
    grid = pictures.reshape(batch, 3, height // side, side, width // side, side).permute(0, 2, 4, 3, 5, 1)
    return grid.reshape(-1, side * side * 3).double().numpy()


def _best_linear(conv: Any, codes: Tensor, cells: np.ndarray) -> np.ndarray:
    """Set a 3x3 convolution of codes to the strongest directions of the least-squares estimate of `cells`.

    Returns what its channels mean (side*side*3, channels): reduced-rank regression (Izenman 1975).
    """
    near = F.unfold(codes, 3, padding=1).transpose(1, 2).reshape(len(cells), -1).numpy()
    near = np.concatenate([near, np.ones((len(near), 1))], 1)
    moment = near.T @ near
    ridge = 1e-4 * len(near) * np.eye(len(moment))
    solution = np.linalg.solve(moment + ridge, near.T @ cells)
    axes = np.linalg.eigh(solution.T @ moment @ solution)[1][:, ::-1][:, : conv.weight.shape[0]]
    kernel = torch.from_numpy((solution @ axes).T)
    conv.weight.copy_(kernel[:, :-1].reshape(conv.weight.shape))
    conv.bias.copy_(kernel[:, -1])
    return axes


def _unfold_once(
    up: Any, pixels: np.ndarray, mean: np.ndarray, side: int, last: bool
) -> tuple[np.ndarray, np.ndarray, int]:
    """Set one unfolding; returns what the channels of the quarters mean."""
    quarters, means = _quarters(pixels, side), _quarters(mean, side)
    width, size = up.conv.weight.shape[0] // 4, quarters[0].shape[0]
    if size < width:
        finer = np.eye(size)
    else:
        # Quarters lie in the span of the restricted axes; its strongest directions are enough.
        finer = np.linalg.svd(np.concatenate([*quarters, *means], 1), full_matrices=False)[0][:, :width]
    maps = [finer.T @ quarter for quarter in quarters]
    biases = [finer.T @ each[:, 0] for each in means]
    if last:
        maps = [np.pad(each, ((0, 1), (0, 0))) for each in maps]
        biases = [np.append(each, LOUD) for each in biases]
    _shuffled(up, maps, biases)
    return finer, np.zeros((size, 1)), side // 2


def _encoder(vae: Any, pictures: Tensor, codes: Tensor) -> None:
    encoder = vae.encoder
    _linear(encoder.conv_in.conv, np.eye(3), np.zeros(3))
    x = encoder.conv_in(pictures)
    for block in encoder.down_blocks[1:]:
        for layer in block:
            if type(layer).__name__ == "DCDownBlock2d":
                _strongest(layer.conv, x)
            x = layer(x)
    flat = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]).double()
    wanted = (codes / float(vae.config["scaling_factor"])).permute(0, 2, 3, 1).reshape(-1, codes.shape[1]).double()
    known = torch.cat([flat, torch.ones(len(flat), 1)], 1)
    ridge = 1e-6 * len(known) * torch.eye(known.shape[1])
    solution = torch.linalg.solve(known.T @ known + ridge, known.T @ wanted).numpy()
    _linear(encoder.conv_out, solution[:-1].T, solution[-1])


def _strongest(conv: Any, x: Tensor) -> None:
    # Keep the strongest directions of the channels; unshuffling then gathers the four pixels.
    flat = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]).double()
    vectors = torch.linalg.eigh(flat.T @ flat).eigenvectors.flip(1)
    kept = min(conv.weight.shape[0], vectors.shape[1])
    _linear(conv, vectors[:, :kept].T.numpy(), np.zeros(kept))


def _quarters(columns: Codes | np.ndarray, side: int) -> list[np.ndarray]:
    """Rows of `columns` are the pixels (side*side*3) of a cell; returns the rows of its four quarters."""
    half = side // 2
    grid = columns.reshape(2, half, 2, half, 3, -1)
    return [grid[row, :, column].reshape(half * half * 3, -1) for row in range(2) for column in range(2)]


def _linear(conv: Any, matrix: np.ndarray, bias: np.ndarray) -> None:
    """Make a 3x3 convolution the pixelwise map `matrix` (out, in), zero elsewhere."""
    conv.weight.zero_()
    rows, columns = matrix.shape
    conv.weight[:rows, :columns, 1, 1] = torch.as_tensor(matrix, dtype=conv.weight.dtype)
    if conv.bias is not None:
        conv.bias.zero_()
        conv.bias[: len(bias)] = torch.as_tensor(bias, dtype=conv.bias.dtype)


def _shuffled(up: Any, quarters: list[np.ndarray], biases: list[np.ndarray]) -> None:
    """Make an unfolding block map a cell to `quarters`, taking back what its shortcut adds."""
    conv: Any = up.conv
    conv.weight.zero_()
    conv.bias.zero_()
    for phase, quarter in enumerate(quarters):
        rows, columns = quarter.shape
        conv.weight[phase : 4 * rows : 4, :columns, 1, 1] = torch.as_tensor(quarter, dtype=conv.weight.dtype)
        conv.bias[phase : 4 * rows : 4] = torch.as_tensor(biases[phase], dtype=conv.weight.dtype)
    for out in range(conv.weight.shape[0]):
        conv.weight[out, out // int(up.repeats), 1, 1] -= 1
