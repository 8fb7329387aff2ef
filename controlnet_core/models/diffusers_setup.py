"""The one door to the networks of diffusers and transformers, opened quickly.

Both import what they find installed. Two of these would cost a worker seconds before its first picture: SciPy, for
schedules and losses that nobody asks for, and xformers, which cannot compute without CUDA and says so on the terminal. They
are kept out here, xformers unless it `ATTENDS`; so everything else imports these networks from this module. Nor is garbage
looked for meanwhile: half a million objects come that all stay, and counting them again and again takes a fifth of the time.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import gc
from typing import Any

_COLLECTS = gc.isenabled()
gc.disable()

import diffusers.utils.import_utils  # noqa: E402
import torch  # noqa: E402
import transformers.utils  # noqa: E402

from controlnet_core.domain.options import EngineOptions  # noqa: E402

_found: Any = diffusers.utils.import_utils
_INSTALLED = bool(_found._xformers_available)
ATTENDS = _INSTALLED and torch.cuda.is_available() and EngineOptions.from_environment().xformers
"""Whether xformers may compute attention: only on CUDA, where it is installed and asked for when this is imported."""
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
    ControlNetXSAdapter,
    T2IAdapter,
    UNet2DConditionModel,
    UNetControlNetXSModel,
)
from diffusers.models.attention import BasicTransformerBlock  # noqa: E402
from diffusers.models.attention_processor import Attention, AttnProcessor2_0  # noqa: E402
from transformers import (  # noqa: E402
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

_asked.is_scipy_available = _is_scipy_available
if _COLLECTS:
    gc.enable()


def take_xformers(network: Any) -> str:
    """Have xformers compute the attention of a network; returns why not, where it cannot, and then changes nothing."""
    if not _INSTALLED:
        return "it is not installed"
    if not ATTENDS:
        return "there is no GPU for it"
    try:
        network.enable_xformers_memory_efficient_attention()
    except Exception as error:  # built for another torch, or for other GPUs: it has an error of its own for each
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return ""


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
    "BasicTransformerBlock",
    "CLIPTextConfig",
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "CLIPVisionConfig",
    "CLIPVisionModelWithProjection",
    "ControlNetModel",
    "ControlNetUnionModel",
    "ControlNetXSAdapter",
    "T2IAdapter",
    "UNet2DConditionModel",
    "UNetControlNetXSModel",
    "scheduler",
    "take_xformers",
]
