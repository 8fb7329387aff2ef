"""Convolutions of three by three in a quarter of the multiplications, for CPUs.

Winograd's minimal filtering F(4x4, 3x3): every tile of 4 x 4 outputs is a product, point by point, of 6 x 6 transformed
inputs with a 6 x 6 transformed kernel: 36 multiplications instead of 144, done as 36 matrix products (Lavin and Gray,
"Fast Algorithms for Convolutional Neural Networks", https://arxiv.org/abs/1509.09308). Equal to the direct form but for
rounding, about 2e-6 of the result beside its 7e-7. Kernels are transformed anew in every call: that costs little where
it is used and no memory that stays, and a LoRA may change the weights.

At SD 1.5's widths and 512 px, on one thread of a processor with AVX-512, a decoder takes 0.66 of the processor time of
diffusers' own, a guided pass of the U-Net 0.88; a decoded picture moves by 0.015 levels at most. The rest of the U-Net are
matrix products and attention, and convolutions of so few pixels that their kernels would cost more than they save.
"""
# torch publishes partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_OUT, _IN = 4, 6
_TILES = 128
"""Tiles at a time for each thread: what they are transformed into stays in the processor's cache."""
_PIXELS_MIN, _WIDTH_MIN = 2048, 128
"""Below these, transforming kernels and inputs costs more than multiplications do."""
_KERNEL = (
    (1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1),
)  # fmt: skip
_INPUT = (
    (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1),
)  # fmt: skip
_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


def _both_sides(matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """The matrix that does X -> M X M^T to flattened squares X."""
    one = torch.tensor(matrix, dtype=torch.float32)
    return torch.kron(one, one)


_TO_KERNEL, _TO_INPUT, _TO_OUTPUT = _both_sides(_KERNEL), _both_sides(_INPUT), _both_sides(_OUTPUT)


class WinogradConv2d(nn.Conv2d):
    """A convolution of 3 x 3 with stride 1 and padding 1 that takes the short way where it is one."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to (B, D, H, W), in channels_last."""
        return convolved(input, self.weight, self.bias) if _pays(input, self.weight) else super().forward(input)


def hasten(network: nn.Module) -> None:
    """Have the convolutions of a network take the short way; weights, names and configuration stay as they are."""
    for module in network.modules():
        if type(module) is nn.Conv2d and _fits(module):
            module.__class__ = WinogradConv2d


def _fits(conv: nn.Conv2d) -> bool:
    same = conv.kernel_size == (3, 3) and conv.stride == conv.dilation == (1, 1) and conv.padding == (1, 1)
    return same and conv.groups == 1 and conv.padding_mode == "zeros"


def _pays(input: Tensor, weight: Tensor) -> bool:
    count, _, height, width = input.shape
    return (
        input.device.type == "cpu"
        and input.dtype == weight.dtype == torch.float32
        and min(weight.shape[:2]) >= _WIDTH_MIN
        and count * height * width >= _PIXELS_MIN
        and height % _OUT == width % _OUT == 0
        and not torch.is_grad_enabled()
    )


def convolved(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`conv2d` of float32 (B, C, H, W) with (D, C, 3, 3), stride 1 and padding 1; H and W are multiples of 4."""
    count, channels, height, width = input.shape
    made = weight.shape[0]
    down, across = height // _OUT, width // _OUT
    kernels = (_TO_KERNEL @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(_IN * _IN, channels, made)
    pixels = input.permute(0, 2, 3, 1)
    output = input.new_empty(count, down, _OUT, across, _OUT, made)
    # Some rows of a picture at a time, or many pictures when they are small.
    at_once = _TILES * torch.get_num_threads()
    rows, images = max(1, at_once // across), max(1, at_once // (down * across))
    for first in range(0, count, images):
        for top in range(0, down, rows):
            end = min(down, top + rows)
            part = pixels[first : first + images, max(0, _OUT * top - 1) : _OUT * end + 1]
            tiles = _tiles(F.pad(part, (0, 0, 1, 1, int(top == 0), int(end == down))), end - top, across)
            inputs = (_TO_INPUT @ tiles.reshape(_IN * _IN, -1)).view(_IN * _IN, -1, channels)
            products = torch.bmm(inputs, kernels).view(_IN * _IN, -1)
            outputs = (_TO_OUTPUT @ products).view(_OUT, _OUT, len(part), end - top, across, made)
            output[first : first + images, top:end] = outputs.permute(2, 3, 0, 4, 1, 5)
    if bias is not None:
        output += bias
    return output.view(count, height, width, made).permute(0, 3, 1, 2)


def _tiles(padded: Tensor, down: int, across: int) -> Tensor:
    """The overlapping tiles of (B, H + 2, W + 2, C) as a view (6, 6, B, down, across, C)."""
    image, row, column, one = padded.stride()
    shape = (_IN, _IN, len(padded), down, across, padded.shape[-1])
    return padded.as_strided(shape, (row, column, image, _OUT * row, _OUT * column, one))
