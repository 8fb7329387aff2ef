"""HED, holistically nested edges (Xie and Tu 2015), in the layout of ControlNet's `ControlNetHED.pth`."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from annotator.networks import loading
from controlnet_core.domain.control import Rgb

_BLOCKS = ((3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3))
"""Channels in, channels out and convolutions of the five blocks."""


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int, layers: int) -> None:
        super().__init__()
        widths = [inside, *[outside] * layers]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.projection = nn.Conv2d(outside, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for conv in self.convs:
            x = F.relu(conv(x))
        return x, self.projection(x)


class Hed(nn.Module):
    """RGB 0..255, float32 1,3,H,W -> five side outputs (logits, 1,1,h,w), finest first, each half the size of the last."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.zeros(1, 3, 1, 1))
        for number, shape in enumerate(_BLOCKS, start=1):
            self.add_module(f"block{number}", _Block(*shape))
        loading.lay_out_channels_last(self)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """Run the network."""
        x, sides = rgb - self.norm, list[Tensor]()
        for number in range(1, len(_BLOCKS) + 1):
            if number > 1:
                x = F.max_pool2d(x, 2, 2)
            x, side = self.get_submodule(f"block{number}")(x)
            sides.append(side)
        return sides


def edges(sides: list[NDArray[np.float32]], height: int, width: int) -> NDArray[np.uint8]:
    """Side outputs (h,w each) as one edge map: enlarged, averaged, then the logistic function, truncated to 8 bits."""
    enlarged = [np.asarray(cv2.resize(side, (width, height), interpolation=cv2.INTER_LINEAR)) for side in sides]
    mean = np.mean(np.stack(enlarged, axis=2), axis=2).astype(np.float64)
    return (255.0 / (1.0 + np.exp(-mean))).clip(0, 255).astype(np.uint8)


@torch.inference_mode()
def detect(picture: Rgb) -> NDArray[np.uint8]:
    """The edge map of a uint8 RGB picture, uint8 H,W."""
    # A picture smaller than 16 px would vanish in the four halvings.
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, max(16 - height, 0)), (0, max(16 - width, 0)), (0, 0)), mode="edge")
    sides = loading.network("hed", Hed)(loading.to_tensor(padded, scale=1.0))
    return edges([loading.to_array(side)[0, 0] for side in sides], *padded.shape[:2])[:height, :width]
