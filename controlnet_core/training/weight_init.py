"""First weights and first directions for a fresh ControlNet of a small base, where the original's are too quiet to learn.

Two things are all but inaudible there. A condition embedding of many thin layers, started at random, passes on a
thousandth of what its picture holds. And a text encoder that saw few texts keeps words apart by directions in which its
output hardly varies, which gradient descent finds last. `embedding` and `text_basis` mend them; the zero convolutions
stay, so the first picture is the base's own all the same. The recipe of the original knows neither.
"""

# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from controlnet_core.models.diffusers_setup import ControlNetModel

BATCHES = 32
"""How many of a training's first batches the two are fitted to."""
_WHISPER = 0.02
"""Directions of a text quieter than this share of its loudness are not made louder still: rounding lives there."""
_QUIET = 1e-2


@torch.no_grad()
def embedding(control: ControlNetModel, hints: Tensor) -> None:
    """Start a condition embedding as patch extraction, every layer at unit variance on `hints` (B,3,H,W) in [0, 1].

    Strided taps fan brightness out into channels, one phase of the pixels each; channels beyond them stay random.
    """
    layers: Any = control.controlnet_cond_embedding
    x, bright = hints, 1
    for layer in (layers.conv_in, *layers.blocks):
        bright = _extract(layer, bright)
        x = F.silu(_at_unit_variance(layer, x))
    nn.init.normal_(layers.conv_out.weight, std=0.02)
    _at_unit_variance(layers.conv_out, x)


def text_basis(texts: Tensor) -> Tensor:
    """The symmetric matrix (n,n) that makes texts (..., n) white: the inverse root of their second moment.

    Weights that learn in it (`loop.Group.basis`) hear every direction of the texts equally loud. It is the input's half
    of Martens & Grosse, "Optimizing Neural Networks with Kronecker-factored Approximate Curvature" (2015).
    """
    rows = texts.reshape(-1, texts.shape[-1]).double()
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    floor = (_WHISPER**2 * values.mean()).clamp_min(1e-12)
    return ((vectors * (values.clamp_min(0) + floor).rsqrt()) @ vectors.T).float()


def _extract(layer: Any, bright: int) -> int:
    # Channels 0..bright-1 carry brightness, one phase each; returns how many do behind this layer.
    wide, narrow = layer.weight.shape[:2]
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.stride[0] == 1:
        count = min(bright, wide)
        layer.weight[:count] *= 0.1
        for index in range(count):
            if narrow == 3:
                layer.weight[index, :, 1, 1] += 0.6
            else:
                layer.weight[index, index, 1, 1] += 1
        return count
    taps = [(index, phase) for phase in range(4) for index in range(bright)][:wide]
    layer.weight[: len(taps)] *= 0.1
    for channel, (index, phase) in enumerate(taps):
        layer.weight[channel, index, 1 + phase // 2, 1 + phase % 2] += 1
    return len(taps)


def _at_unit_variance(layer: Any, x: Tensor) -> Tensor:
    spread = layer(x).std((0, 2, 3)).clamp_min(_QUIET)
    layer.weight.div_(spread.view(-1, 1, 1, 1))
    return layer(x)
