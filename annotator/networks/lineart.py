"""The line art networks of ControlNet 1.1: a residual generator (fine, coarse) and a U-Net (anime).

The first is the generator of "informative drawings" (Chan, Durand and Isola 2022), the second a pix2pix U-Net (Isola et
al. 2017); both in the layout of the published files. They draw dark on white; `detect` turns that over.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from annotator.networks import loading
from controlnet_core.domain.control import Rgb


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        half = (nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width))
        other = (nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width))
        self.conv_block = nn.Sequential(*half, nn.ReLU(), *other)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def _down(width: int) -> list[nn.Module]:
    return [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.InstanceNorm2d(2 * width), nn.ReLU()]


def _up(width: int) -> list[nn.Module]:
    conv = nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1)
    return [conv, nn.InstanceNorm2d(width // 2), nn.ReLU()]


class Drawing(nn.Module):
    """RGB 0..1, float32 1,3,H,W (sides multiples of 4) -> brightness 0..1 of a line drawing, 1,1,H,W."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.model0 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(3, 64, 7), nn.InstanceNorm2d(64), nn.ReLU())
        self.model1 = nn.Sequential(*_down(64), *_down(128))
        self.model2 = nn.Sequential(*(_Residual(256) for _ in range(blocks)))
        self.model3 = nn.Sequential(*_up(256), *_up(128))
        self.model4 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(64, 1, 7), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        for part in (self.model0, self.model1, self.model2, self.model3, self.model4):
            x = part(x)
        return x


class _Level(nn.Module):
    """One level of the U-Net: down, what lies below, up, and a bridge past all of it (but for the outermost)."""

    def __init__(self, outside: int, inside: int, below: nn.Module | None, outermost: int = 0) -> None:
        super().__init__()
        self.bridged = not outermost
        down = nn.Conv2d(outermost or outside, inside, 4, stride=2, padding=1)
        up = nn.ConvTranspose2d(inside if below is None else 2 * inside, outside, 4, stride=2, padding=1)
        if outermost:
            layers = [down, below, nn.ReLU(), up, nn.Tanh()]
        elif below is None:
            layers = [nn.LeakyReLU(0.2), down, nn.ReLU(), up, nn.InstanceNorm2d(outside)]
        else:
            above = [nn.LeakyReLU(0.2), down, nn.InstanceNorm2d(inside)]
            layers = [*above, below, nn.ReLU(), up, nn.InstanceNorm2d(outside)]
        self.model = nn.Sequential(*(layer for layer in layers if layer is not None))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.model(x)), dim=1) if self.bridged else self.model(x)


class AnimeDrawing(nn.Module):
    """RGB -1..1, float32 1,3,H,W (sides multiples of 256) -> brightness -1..1 of a line drawing, 1,1,H,W."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        level = _Level(width * 8, width * 8, None)
        for _ in range(3):
            level = _Level(width * 8, width * 8, level)
        for factor in (4, 2, 1):
            level = _Level(width * factor, width * factor * 2, level)
        self.model = _Level(1, width, level, outermost=3)

    def forward(self, x: Tensor) -> Tensor:
        """Run the network."""
        return self.model(x)


@torch.inference_mode()
def detect(picture: Rgb, card: str) -> NDArray[np.uint8]:
    """Line art of a uint8 RGB picture with the weights of `card`: light on black, uint8 H,W."""
    height, width = picture.shape[:2]
    # Two halvings need multiples of 4; reflection in the first layer and the blocks needs some pixels to reflect.
    whole = (max(math.ceil(height / 4) * 4, 16), max(math.ceil(width / 4) * 4, 16))
    tensor = F.pad(loading.to_tensor(picture), (0, whole[1] - width, 0, whole[0] - height), mode="replicate")
    paper = loading.to_array(loading.network(card, Drawing)(tensor))[0, 0, :height, :width]
    return 255 - (paper * 255.0).clip(0, 255).astype(np.uint8)


@torch.inference_mode()
def detect_anime(picture: Rgb) -> NDArray[np.uint8]:
    """Anime line art of a uint8 RGB picture: light on black, uint8 H,W."""
    height, width = picture.shape[:2]
    whole = (256 * math.ceil(width / 256), 256 * math.ceil(height / 256))
    enlarged = np.asarray(cv2.resize(picture, whole, interpolation=cv2.INTER_CUBIC), np.uint8)
    model = loading.network("lineart-anime", AnimeDrawing, _without_module)
    paper = loading.to_array(model(loading.to_tensor(enlarged, scale=127.5, offset=1.0)))[0, 0] * 127.5 + 127.5
    paper = np.asarray(cv2.resize(paper, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    return 255 - paper.clip(0, 255).astype(np.uint8)


def _without_module(key: str) -> str:
    # The file was saved from a data-parallel wrapper.
    return key.removeprefix("module.")
