"""Shared by the annotators' tests: golden pictures and deterministic weights."""

import importlib.util

import numpy as np
import pytest


@pytest.fixture(scope="session")
def oracle_tensors(oracles):
    """`oracle_tensors("hed")`: the deterministic weights of a network, as torch tensors."""
    import torch

    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("oracle_weights", oracles / "oracle_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def build(name):
        state = module.build_state_dict(oracles / f"{name}_net.json")
        return {key: torch.from_numpy(np.array(value)) for key, value in state.items()}

    return build


@pytest.fixture
def models(tmp_path, monkeypatch):
    """An empty models folder that detectors look into."""
    (tmp_path / "detectors").mkdir()
    monkeypatch.setenv("STUDIO_MODELS", str(tmp_path))
    return tmp_path
