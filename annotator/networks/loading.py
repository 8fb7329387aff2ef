"""Puts the weights of a detector into its network, on the best device here; pictures become tensors and back.

Nothing is downloaded here and nothing from a file is ever executed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from annotator.weights import locate
from controlnet_core.checkpoints.checkpoint_reader import read_tensors
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import ModelError
from controlnet_core.memory import cache

M = TypeVar("M", bound=nn.Module)
KEPT = 4
"""Networks kept loaded: enough for one pose or depth pipeline and its neighbour."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def device() -> torch.device:
    """The device that detectors run on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def network(card: str, make: Callable[[], M], rename: Callable[[str], str] = str) -> M:
    """The network built by `make` with the weights of `card`: evaluation mode, float32, kept for the next call.

    `rename` turns keys of the file into keys of the network. Raises ModelMissing, or ModelError when they do not fit.
    """
    path = locate(card)
    return cast("M", _network(path, path.stat().st_mtime_ns, make, rename))


def pretrained(card: str, kind: type[Any]) -> Any:
    """A transformers model of class `kind` from the folder of `card`. Raises ModelMissing or ModelError."""
    folder = locate(card)
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{folder.name} has no config.json.", "Download the model again, all of it.")
    return _pretrained(folder, config.stat().st_mtime_ns, kind)


def forget() -> None:
    """Let go of every network that is kept."""
    _network.cache_clear()
    _pretrained.cache_clear()


@lru_cache(maxsize=KEPT)
def _network(path: Path, _changed_ns: int, make: Callable[[], nn.Module], rename: Callable[[str], str]) -> nn.Module:
    tensors = {rename(key): tensor.float() for key, tensor in read_tensors(path).items()}
    module = make()
    wanted = {key: tensor.shape for key, tensor in module.state_dict().items() if not key.endswith("_tracked")}
    wrong = [key for key, shape in wanted.items() if key not in tensors or tensors[key].shape != shape]
    if wrong:
        raise ModelError(f"{path.name} does not fit: {wrong[0]} is missing or has another shape.", "Download it again.")
    module.load_state_dict({key: tensors[key] for key in wanted}, strict=False)
    return module.to(device()).eval().requires_grad_(False)


@lru_cache(maxsize=KEPT)
def _pretrained(folder: Path, _changed_ns: int, kind: type[Any]) -> Any:
    try:
        # Where a folder holds a pickle only, transformers reads it with weights_only, as we would.
        model = kind.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        if cache.is_exhausted(error):
            raise
        raise ModelError(
            f"{folder.name} cannot be loaded: it is incomplete or damaged.", "Download it again."
        ) from error
    return model.to(device()).eval().requires_grad_(False)


def lay_out_channels_last(module: nn.Module) -> None:
    """Order the weights of a convolutional network as CPUs run it faster: the same result in 0.8 to 0.9 of the time.

    Not for networks with instance normalisation or reflected borders, which become slower.
    """
    cast("Any", module).to(memory_format=torch.channels_last)  # the published types leave this form out


def to_tensor(picture: Rgb, scale: float = 255.0, offset: float = 0.0) -> Tensor:
    """uint8 H,W,3 as float32 1,3,H,W on the detectors' device: value / scale - offset."""
    planes = torch.as_tensor(np.ascontiguousarray(picture.transpose(2, 0, 1)), device=device())
    return planes[None].float() / scale - offset


def imagenet_tensor(picture: Rgb) -> Tensor:
    """uint8 H,W,3 as float32 1,3,H,W with the mean and deviation that ImageNet networks expect."""
    tensor = to_tensor(picture)
    mean, std = (tensor.new_tensor(numbers).view(1, 3, 1, 1) for numbers in (IMAGENET_MEAN, IMAGENET_STD))
    return (tensor - mean) / std


def to_array(tensor: Tensor) -> NDArray[np.float32]:
    """A tensor as a float32 array on the CPU."""
    return tensor.float().cpu().numpy()
