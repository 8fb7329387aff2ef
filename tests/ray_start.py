"""Ray's own command, patient: `python -m tests.ray_start start --head ...` starts a node on a crowded machine, too.

Ray gives its helper processes fifteen seconds to name their ports, and a node thirty to come up, neither of which can be told
otherwise. Here the ports are chosen before, and the clock by which a node is given up runs slow. The rest is Ray as it is.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

from tests.ports import free_port

SLOWER = 10
PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


class _SlowClock:
    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        return time.monotonic() / SLOWER


def main() -> None:
    node: Any = import_module("ray._private.node")
    raylet: Any = import_module("ray._raylet")
    node.time = _SlowClock()
    start = node.Node.start_raylet

    def start_raylet(self: Any, *given: Any, **more: Any) -> None:
        for name in PORTS:
            port = free_port()
            setattr(self._ray_params, name, port)
            raylet.persist_port(self._session_dir, self._node_id, name, port)
        start(self, *given, **more)

    node.Node.start_raylet = start_raylet
    import_module("ray.scripts.scripts").main()


if __name__ == "__main__":
    main()
