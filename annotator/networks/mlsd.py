"""M-LSD, straight line segments (Gu et al. 2021), large and tiny, in the layout of the released PyTorch weights.

The network gives, at half the input size, a map of line centres and for each pixel the displacements to both ends.
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from annotator.networks import loading
from controlnet_core.domain.control import Rgb

Segments = NDArray[np.float32]

SEGMENTS_MAX = 200
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
"""MobileNetV2: expansion, channels, blocks, stride; the tiny network has no last stage."""


class _Conv(nn.Sequential):
    """Convolution, normalisation, ReLU6. Stride 2 pads right and bottom alone, as TensorFlow does."""

    def __init__(self, inside: int, outside: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        padding = 0 if stride == 2 else kernel // 2
        conv = nn.Conv2d(inside, outside, kernel, stride, padding, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outside), nn.ReLU6())
        self.pads = stride == 2

    def forward(self, input: Tensor) -> Tensor:
        x = F.pad(input, (0, 1, 0, 1)) if self.pads else input
        for layer in self:
            x = layer(x)
        return x


class _Inverted(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        layers: list[nn.Module] = [_Conv(inside, wide, kernel=1)] if expansion > 1 else []
        layers.append(_Conv(wide, wide, stride=stride, groups=wide))
        self.conv = nn.Sequential(*layers, nn.Conv2d(wide, outside, 1, bias=False), nn.BatchNorm2d(outside))
        self.adds = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class _Backbone(nn.Module):
    """MobileNetV2 on four channels; gives the last feature map of every stage."""

    def __init__(self, stages: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Conv(4, 32, stride=2)]
        inside = 32
        self.ends: list[int] = []
        for expansion, outside, count, stride in _STAGES[:stages]:
            for number in range(count):
                layers.append(_Inverted(inside, outside, stride if number == 0 else 1, expansion))
                inside = outside
            self.ends.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        kept: list[Tensor] = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.ends:
                kept.append(x)
        return kept


def _unit(inside: int, outside: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, kernel, padding=kernel // 2 * dilation, dilation=dilation)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU())


class _Join(nn.Module):
    """Brings a finer and a coarser map to the same size and width and puts them side by side."""

    def __init__(self, fine: int, coarse: int, width: int, enlarges: bool) -> None:
        super().__init__()
        self.conv1 = _unit(coarse, width, 1)
        self.conv2 = _unit(fine, width, 1)
        self.enlarges = enlarges

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        coarse = self.conv1(coarse)
        if self.enlarges:
            coarse = F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=True)
        return torch.cat((self.conv2(fine), coarse), dim=1)


class _Mix(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv1 = _unit(inside, inside, 3)
        self.conv2 = _unit(inside, outside, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x) + x)


class _Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _unit(64, 64, 3, dilation=5)
        self.conv2 = _unit(64, 64, 3)
        self.conv3 = nn.Conv2d(64, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(x)))


class Mlsd(nn.Module):
    """Float32 1,4,H,W (RGB and ones, / 127.5 - 1; sides multiples of 16) -> 1,9,H/2,W/2.

    Channel 0 is the logit of a line's centre, 1..4 are the displacements to its ends (x, y, x, y) in output pixels.
    """

    def __init__(self, large: bool) -> None:
        super().__init__()
        self.backbone = _Backbone(5 if large else 4)
        self.large = large
        # The published keys number the blocks on from the backbone's.
        joins = ((64, 96, 64), (32, 64, 64), (24, 64, 64), (16, 64, 64)) if large else ((32, 64, 64), (24, 64, 32))
        self.first = 15 if large else 12
        for number, (fine, coarse, width) in enumerate(joins):
            block = self.first + 2 * number
            self.add_module(f"block{block}", _Join(fine, coarse, width, enlarges=not (large and number == 0)))
            self.add_module(f"block{block + 1}", _Mix(2 * width, 64))
        self.joins = len(joins)
        self.add_module(f"block{self.first + 2 * self.joins}", _Head())
        loading.lay_out_channels_last(self)

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        maps = self.backbone(x)
        x = maps.pop()
        for number in range(self.joins):
            block = self.first + 2 * number
            x = self.get_submodule(f"block{block}")(maps.pop(), x)
            x = self.get_submodule(f"block{block + 1}")(x)
        x = self.get_submodule(f"block{self.first + 2 * self.joins}")(x)[:, 7:]
        return x if self.large else F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


def centres(output: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The up to 200 best local maxima of the centre map: positions (N,2: y x) and scores 0..1, best first."""
    heat = torch.sigmoid(output[:, :1].float())
    heat = heat * (F.max_pool2d(heat, 3, stride=1, padding=1) == heat)
    scores, places = torch.topk(heat.flatten(), min(SEGMENTS_MAX, heat.numel()))
    width = output.shape[-1]
    return torch.stack((places // width, places % width), dim=1).cpu().numpy(), scores.cpu().numpy()


def decode(output: Tensor, score: float, distance: float, size: tuple[int, int], seen: tuple[int, int]) -> Segments:
    """Segments of a network output (1,>=5,h,w) as N,4: x1 y1 x2 y2 in pixels of a picture of `size` (height, width).

    `seen` is the height and width that the network saw. Kept are maxima above `score` whose ends lie more than
    `distance` apart, in output pixels.
    """
    places, scores = centres(output)
    ends = output[0, 1:5].float().cpu().numpy()[:, places[:, 0], places[:, 1]].T
    long_enough = np.hypot(ends[:, 0] - ends[:, 2], ends[:, 1] - ends[:, 3]) > distance
    keep = (scores > score) & long_enough
    # Output pixels are two input pixels wide.
    to_picture = np.array([size[1] / seen[1], size[0] / seen[0]] * 2, np.float64) * 2
    found = (places[keep][:, [1, 0, 1, 0]] + ends[keep]) * to_picture
    return found.astype(np.float32)


@torch.inference_mode()
def detect(picture: Rgb, card: str, score: float, distance: float) -> Segments:
    """Segments (N,4, pixels) of a uint8 RGB picture with the network behind `card`; N may be 0."""
    model = loading.network(card, _large if card == "mlsd-large" else _tiny)
    height, width = picture.shape[:2]
    return decode(model(network_input(picture)), score, distance, (height, width), seen_size(height, width))


def seen_size(height: int, width: int) -> tuple[int, int]:
    """Height and width at which a picture goes through the network: its own, to the nearest multiple of 16."""
    return max(round(height / 16), 2) * 16, max(round(width / 16), 2) * 16


def network_input(picture: Rgb) -> Tensor:
    """A uint8 RGB picture with its fourth channel of ones, float32 1,4,H,W at `seen_size`."""
    height, width = seen_size(*picture.shape[:2])
    small = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    stacked = np.dstack([small, np.ones_like(small[:, :, :1])])
    return loading.to_tensor(stacked, scale=127.5, offset=1.0).contiguous(memory_format=torch.channels_last)


_large = partial(Mlsd, large=True)
_tiny = partial(Mlsd, large=False)
