"""Where something is to run."""

from __future__ import annotations


class NodeAffinitySchedulingStrategy:
    """On one node."""

    def __init__(self, node_id: str, *, soft: bool) -> None:
        self.node_id, self.soft = node_id, soft
