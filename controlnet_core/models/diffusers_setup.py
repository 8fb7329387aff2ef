"""The one door to the networks of diffusers and transformers, opened quickly.

Both import what they find installed. Two of these would cost a worker seconds before its first picture: SciPy, for
schedules and losses that nobody asks for, and xformers, which cannot compute without CUDA and says so on the terminal. They
are kept out here, xformers unless it `ATTENDS`; so everything else imports these networks from this module.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any

import diffusers.utils.import_utils
import torch
import transformers.utils

from controlnet_core.domain.options import EngineOptions

_found: Any = diffusers.utils.import_utils
ATTENDS = bool(_found._xformers_available and torch.cuda.is_available() and EngineOptions.from_environment().xformers)
"""Whether xformers computes attention: only on CUDA, where it is installed and STUDIO_ATTENTION asks for it."""
_found._scipy_available = False
_found._xformers_available = ATTENDS
_asked: Any = transformers.utils
_is_scipy_available = _asked.is_scipy_available
_asked.is_scipy_available = lambda: False

from diffusers import (  # noqa: E402
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderTiny,
    ControlNetModel,
    ControlNetUnionModel,
    T2IAdapter,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import Attention, AttnProcessor2_0  # noqa: E402
from transformers import (  # noqa: E402
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

_asked.is_scipy_available = _is_scipy_available


def scheduler(name: str) -> Any:
    """A scheduler's class of diffusers by its name; each is imported when it is asked for."""
    return getattr(diffusers, name)


__all__ = [
    "ATTENDS",
    "Attention",
    "AttnProcessor2_0",
    "AutoencoderDC",
    "AutoencoderKL",
    "AutoencoderTiny",
    "CLIPTextConfig",
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "CLIPVisionConfig",
    "CLIPVisionModelWithProjection",
    "ControlNetModel",
    "ControlNetUnionModel",
    "T2IAdapter",
    "UNet2DConditionModel",
    "scheduler",
]
