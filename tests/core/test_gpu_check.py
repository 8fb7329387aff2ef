"""A GPU on which nothing can be computed is said in a sentence before anything is loaded; a Mac's GPU is a device like others."""

from __future__ import annotations

import platform

import pytest
import torch

from controlnet_core.domain.errors import RecipeError, StudioError
from controlnet_core.domain.recipe import Recipe
from controlnet_core.engine import LocalEngine
from controlnet_core.execution.devices import Device, devices
from controlnet_core.memory import gpu, plan, precision
from controlnet_core.memory.plan import ModelFacts
from controlnet_core.models.catalog import Catalog

CUDA, APPLE = torch.device("cuda:0"), torch.device("mps")
KERNELS = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
"""Of a PyTorch for CUDA 13."""


@pytest.mark.parametrize(
    ("card", "runs"),
    [
        ((6, 1), False),  # GTX 10xx
        ((7, 0), False),  # V100
        ((7, 5), True),  # RTX 20xx
        ((8, 9), True),  # RTX 40xx
        ((9, 0), True),  # H100, H200
        ((12, 0), True),  # RTX 50xx
        ((13, 1), True),  # what comes later compiles the newest again
    ],
)
def test_kernels_that_a_card_runs(card: tuple[int, int], runs: bool) -> None:
    assert gpu.has_kernels(card, KERNELS) == runs
    assert gpu.has_kernels((12, 0), ("sm_90a",)) is False
    assert gpu.has_kernels(card, ()), "a PyTorch that tells nothing is let have its way"


def card(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    """A machine with a card of a compute capability."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(KERNELS))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device=None: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device=None: "NVIDIA GeForce")


def test_a_card_that_is_too_old_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, (6, 1))
    with pytest.raises(StudioError, match=r"nothing that runs on NVIDIA GeForce.*sm_75") as refused:
        gpu.check(CUDA)
    assert "STUDIO_DEVICES=cpu" in refused.value.hint
    monkeypatch.setattr(torch.version, "hip", "7.0")  # AMD's cards have other names
    gpu.check(CUDA)


def test_cards_before_ampere_are_not_asked_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, (7, 5))
    gpu.check(CUDA)
    gpu.check_precision(CUDA, "float16")
    with pytest.raises(RecipeError, match="does not compute in bfloat16"):
        gpu.check_precision(CUDA, "bfloat16")
    card(monkeypatch, (8, 6))
    gpu.check_precision(CUDA, "bfloat16")
    card(monkeypatch, (9, 0))
    monkeypatch.setattr(torch.version, "hip", "7.0")  # AMD numbers its cards otherwise; all of them do
    gpu.check_precision(CUDA, "bfloat16")


def test_of_two_cards_the_one_that_computes_is_asked_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, (8, 6))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5) if device.index else (8, 6))
    gpu.check_precision(CUDA, "bfloat16")
    with pytest.raises(RecipeError, match="does not compute in bfloat16"):
        gpu.check_precision(torch.device("cuda:1"), "bfloat16")


@pytest.mark.parametrize("device", ["cuda", "mps"])
@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="a GPU is here")
def test_a_device_that_pytorch_does_not_see_is_no_riddle(device: str, tmp_path: object) -> None:
    with pytest.raises(StudioError, match=r"sees no(ne| GPU)") as refused:
        LocalEngine(Catalog(tmp_path), {}, device)  # pyright: ignore
    assert "STUDIO_DEVICES=cpu" in refused.value.hint


def test_a_macs_gpu_is_named_mps_and_other_machines_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTORCH_ENABLE_MPS_FALLBACK", raising=False)
    for system, machine in (("Linux", "aarch64"), ("Darwin", "x86_64")):
        monkeypatch.setattr(platform, "system", lambda system=system: system)
        monkeypatch.setattr(platform, "machine", lambda machine=machine: machine)
        with pytest.raises(StudioError, match="the GPU of a Mac with Apple silicon"):
            devices("mps")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert devices("mps") == (Device("mps"),)
    assert Device("mps").kind == "mps"
    assert Device("mps").environment == {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "0")
    assert Device("mps").environment == {}


def test_a_macs_memory_is_one_and_its_models_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUDIO_PRECISION", raising=False)
    assert [one.name for one in plan.ladder("mps")] == ["resident", "tiled"]
    assert precision.usual("mps", 4 << 30) == "float16"
    assert not plan.records("mps") and not plan.forks("mps")
    assert plan.room("mps") > 0
    asked = Recipe(model="m", width=512, height=512, guidance=7.0)
    here, there = (plan.needed(asked, ModelFacts(), kind, plan.ladder(kind)[0]) for kind in ("cpu", "mps"))
    assert 0.4 * here < there < 0.6 * here
