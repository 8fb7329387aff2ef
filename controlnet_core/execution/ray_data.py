"""Many rows through a pool of actors, by Ray Data, in their order. For a command, which may end with the cluster it speaks to."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from controlnet_core.domain.errors import StudioError

Mapped = Callable[[list[dict[str, str]], type, tuple[Any, ...]], Iterator[Mapping[str, str]]]
BATCH = 8
BLOCK = 32
"""Rows that travel together: so often something is heard."""


@contextmanager
def pool(address: str, *, gpu: bool = False) -> Generator[Mapped]:
    """A function that takes rows, an actor's class and its arguments, and gives what the class makes of the rows.

    One actor a free core, or, with `gpu` and where there are any, a free GPU; more come with nodes that join. Raises StudioError
    where there is no cluster, or nothing in it is free.
    """
    if find_spec("ray") is None:
        raise StudioError("Ray is not installed here.", "Install it: pip install 'ray==2.60.*'.")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its notes are not for whoever runs a command
    bridge: Any = import_module("controlnet_core.execution.ray_bridge")
    bridge.connect(address)
    try:
        yield lambda rows, worker, given: _mapped(bridge, rows, worker, given, gpu)
    finally:
        bridge.ray.shutdown()


def _mapped(
    bridge: Any, rows: list[dict[str, str]], worker: type, given: tuple[Any, ...], gpu: bool
) -> Iterator[Mapping[str, Any]]:
    free = bridge.ray.available_resources()
    gpus, cores = int(free.get("GPU", 0)) if gpu else 0, int(free.get("CPU", 0))
    if cores < 1:
        raise StudioError(
            "No processor of the cluster is free.",
            "A studio may hold it; stop that, or start a node with more --num-cpus.",
        )
    data = bridge.ray_data()
    for name in ("ray.data", "ray.data._internal"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = data.DataContext.get_current()
    context.enable_progress_bars, context.print_on_execution_start = False, False
    context.execution_options.preserve_order = True
    blocks = max(1, min(len(rows) // BLOCK, 20_000))
    found = data.from_items(rows, override_num_blocks=blocks).map_batches(
        worker,
        fn_constructor_args=given,
        batch_size=BATCH,
        num_cpus=1,
        num_gpus=1 if gpus else 0,
        compute=data.ActorPoolStrategy(min_size=1, max_size=max(1, min(gpus or cores, blocks))),
    )
    yield from found.iter_rows()
