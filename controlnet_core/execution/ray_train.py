"""One function in several processes of a Ray cluster that compute together, by Ray Train (torch: nccl on GPUs, gloo elsewhere)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from controlnet_core.domain.errors import StudioError

FAILURES_MAX = 3
WAIT_S = 600.0
_LOOK_S = 0.5
_SEE_S = 60.0


def together(
    work: Callable[[Mapping[str, Any]], None],
    given: Mapping[str, Any],
    processes: int,
    folder: Path,
    address: str = "auto",
    say: Callable[[str], None] = lambda _text: None,
    wait_s: float = WAIT_S,
) -> None:
    """Call `work(given)` in so many processes, each with a GPU where the cluster has so many; again, all of them, when one dies,
    up to `FAILURES_MAX` times.

    `folder`, which every node has to see, is for Ray's own notes. Devices that are taken are waited for, as long as `wait_s`;
    `say` hears of it, and may raise. Raises StudioError.
    """
    if find_spec("ray") is None:
        raise StudioError("Ray is not installed here.", "Install it: pip install 'ray==2.60.*'.")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    bridge: Any = import_module("controlnet_core.execution.ray_bridge")
    bridge.connect(address)
    try:
        gpu = _are_free(bridge.ray, processes, say, wait_s)
        _check_seen(bridge, folder)
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


def _are_free(ray: Any, processes: int, say: Callable[[str], None], wait_s: float) -> bool:
    """Wait for so many devices; whether they are GPUs."""
    gpu = ray.cluster_resources().get("GPU", 0) >= processes
    kind, words = ("GPU", "GPUs") if gpu else ("CPU", "processors")
    there, end = ray.cluster_resources().get(kind, 0), time.monotonic() + wait_s
    while ray.available_resources().get(kind, 0) < processes:
        if there < processes or time.monotonic() > end:
            raise StudioError(
                f"The cluster has no {processes} free {words}.", "Ask for fewer, or start nodes with more --num-cpus."
            )
        say(f"Waiting for {processes} free {words} of the cluster")
        time.sleep(_LOOK_S)
    return gpu


def _check_seen(bridge: Any, folder: Path) -> None:
    """Raise StudioError where a node does not see the folder: nobody would ever hear of its training."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / "seen"
    mark.touch()

    def sees(path: str) -> bool:
        return Path(path).is_file()

    asked = bridge.ray.remote(num_cpus=0)(sees)
    nodes = [node for node in bridge.ray.nodes() if node["Alive"]]
    answers = [asked.options(scheduling_strategy=bridge.on_node(node["NodeID"])).remote(str(mark)) for node in nodes]
    try:
        seen = bridge.ray.get(answers, timeout=_SEE_S)
    except bridge.errors.RayError as error:
        raise StudioError("The nodes of the cluster do not answer.", "studio.log says more.") from error
    blind = sorted({str(node["NodeManagerHostname"]) for node, found in zip(nodes, seen, strict=True) if not found})
    if blind:
        raise StudioError(
            f"{', '.join(blind)} cannot see {folder.parent}.",
            "Every node of the cluster has to see the studio's data, its models and the pairs under the same paths. "
            "This machine alone trains without.",
        )
