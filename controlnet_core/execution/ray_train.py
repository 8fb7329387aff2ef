"""One function in several processes of a Ray cluster that compute together, by Ray Train (torch: nccl on GPUs, gloo elsewhere)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from controlnet_core.domain.errors import StudioError

FAILURES_MAX = 3


def together(
    work: Callable[[Mapping[str, Any]], None],
    given: Mapping[str, Any],
    processes: int,
    folder: Path,
    address: str = "auto",
) -> None:
    """Call `work(given)` in so many processes, each with a GPU where the cluster has so many; again, all of them, when one dies,
    up to `FAILURES_MAX` times. `folder` is for Ray's own notes. Raises StudioError."""
    if find_spec("ray") is None:
        raise StudioError("Ray is not installed here.", "Install it: pip install 'ray==2.60.*'.")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    bridge: Any = import_module("controlnet_core.execution.ray_bridge")
    bridge.connect(address)
    try:
        free = bridge.ray.available_resources()
        gpu = free.get("GPU", 0) >= processes
        if not gpu and free.get("CPU", 0) < processes:
            raise StudioError(
                f"The cluster has no {processes} free processors.",
                "Ask for fewer, or start nodes with more --num-cpus.",
            )
        train, torch = bridge.ray_train()
        trainer = torch.TorchTrainer(
            work,
            train_loop_config=dict(given),
            scaling_config=train.ScalingConfig(num_workers=processes, use_gpu=gpu),
            torch_config=torch.TorchConfig(backend="nccl" if gpu else "gloo"),
            run_config=train.RunConfig(
                storage_path=str(folder), failure_config=train.FailureConfig(max_failures=FAILURES_MAX)
            ),
        )
        try:
            trainer.fit()
        except Exception as error:
            words = " ".join(str(error).split())[:200]
            raise StudioError(
                "The training ended on the cluster.", f"The same command goes on from it. {words}"
            ) from error
    finally:
        bridge.ray.shutdown()
