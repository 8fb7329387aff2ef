"""The one door to the networks of diffusers and transformers, opened quickly.

Both import what they find installed. What nobody here asks for would cost a worker seconds before its first picture, so it is
kept out while they are imported: SciPy, for schedules and losses; xformers, unless it `ATTENDS`, which cannot compute
without CUDA and says so on the terminal; torch's compiler, unless STUDIO_COMPILE=1 asks for it: they only mark functions for
it; tensors that are spread over machines; and a table of all files of all packages, in which diffusers looks up what `cv2`
is called when it is installed. Everything else imports these networks from this module. Nor is garbage looked for meanwhile:
half a million objects come that all stay, and counting them again and again takes a fifth of the time.
"""
# torch and diffusers publish partial types.
# pyright: reportPrivateImportUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import gc
import importlib.metadata
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_COLLECTS = gc.isenabled()
gc.disable()

import torch  # noqa: E402

from controlnet_core.domain.options import EngineOptions  # noqa: E402

_OPTIONS = EngineOptions.from_environment()


class _Unmarking(ModuleType):
    """Stands where torch's compiler would: each of its marks leaves a function as it is. Its own modules are still found."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        spec = find_spec(name)
        self.__path__ = list(spec.submodule_search_locations or ()) if spec else []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _unmarked


def _unmarked(function: Any = None, *_how: Any, **_more: Any) -> Any:
    return _unmarked if function is None else function


_COMPILER = "torch._dynamo"
_UNMARKS = not (_OPTIONS.compiles or _OPTIONS.xformers) and _COMPILER not in sys.modules
if _UNMARKS:
    sys.modules[_COMPILER] = _Unmarking(_COMPILER)
_packages_distributions = importlib.metadata.packages_distributions
importlib.metadata.packages_distributions = dict

import diffusers.utils.import_utils  # noqa: E402
import transformers.utils  # noqa: E402

importlib.metadata.packages_distributions = _packages_distributions

_found: Any = diffusers.utils.import_utils
_INSTALLED = bool(_found._xformers_available)
ATTENDS = _INSTALLED and torch.cuda.is_available() and _OPTIONS.xformers
"""Whether xformers may compute attention: only on CUDA, where it is installed and asked for when this is imported."""
_found._scipy_available = False
_found._xformers_available = ATTENDS
_asked: Any = transformers.utils
_where: Any = transformers.utils.import_utils
_has_scipy, _is_spread = _asked.is_scipy_available, _asked.is_torch_distributed_available
_asked.is_scipy_available = lambda: False
_asked.is_torch_distributed_available = _where.is_torch_distributed_available = lambda: False

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
from diffusers.models.autoencoders.autoencoder_dc import ResBlock  # noqa: E402
from transformers import (  # noqa: E402
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

_asked.is_scipy_available = _has_scipy
_asked.is_torch_distributed_available = _where.is_torch_distributed_available = _is_spread
if _UNMARKS:
    del sys.modules[_COMPILER]
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
    "ResBlock",
    "T2IAdapter",
    "UNet2DConditionModel",
    "UNetControlNetXSModel",
    "scheduler",
    "take_xformers",
]
