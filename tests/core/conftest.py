"""Shared by the core's tests: golden checkpoints, and small models saved as diffusers folders."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from tests.core.small import save_small_model


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoints(oracles: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The golden checkpoint in its three containers."""
    spec = importlib.util.spec_from_file_location("oracle_weights", oracles / "oracle_weights.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = module.write_checkpoint(oracles / "cldm_v15_tiny.json", folder / "ck.pth")
    return dict(zip(("wrapped", "bare", "safetensors"), paths, strict=True))


@pytest.fixture(scope="session")
def golden_config(oracles: Path) -> dict:
    return json.loads((oracles / "cldm_v15_tiny_config.json").read_text())


@pytest.fixture(scope="session")
def golden_arrays(oracles: Path):
    import torch

    with np.load(oracles / "cldm_v15_tiny.npz") as arrays:
        return {name: torch.from_numpy(arrays[name].copy()) for name in arrays.files}


@pytest.fixture(scope="session")
def hints(golden_config: dict):
    from controlnet_core.models.loading import Hints

    text = golden_config["text_encoder"]
    return Hints(
        heads=golden_config["control_and_unet"]["num_heads"],
        text_heads=text["heads"],
        text_activation=text["activation"],
        scale_factor=golden_config["scale_factor"],
    )


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("small") / "kl")


@pytest.fixture(scope="session")
def small_v_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With cells of 16 px, v-prediction and a terminal signal-to-noise ratio of zero."""
    return save_small_model(tmp_path_factory.mktemp("small") / "dc", "dc", "v_prediction", zero_snr=True)
