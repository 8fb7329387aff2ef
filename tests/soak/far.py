"""Workers in a Ray cluster of two nodes on this machine: jobs that are killed with their actor or their node, and cancelled."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

from tests.core.test_ray import FarShop, open_far_shop
from tests.core.test_worker import until
from tests.ray_nodes import Cluster
from tests.soak.kills import IN_WORKER
from tests.soak.row import Row

JOBS, SESSIONS = 40, 4
STEP_S = 0.05
PATIENCE_S = 600.0


def check(folder: Path, kills: int, nodes: int) -> list[Row]:
    """`kills` actors die at each phase, and `nodes` nodes."""
    if not (Path(sys.executable).parent / "ray").is_file():
        return [Row("ray", "", "ray is not installed: pip install ray==2.60.*", None)]
    folder.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(health_check_period_ms=300, health_check_failure_threshold=3)
    try:
        with patch.dict(os.environ, cluster.environment):
            cluster.add()
            cluster.add()
            with open_far_shop(folder, cluster.address, "tests.soak.engine:build") as shop:
                _both_ready(shop)
                parts: list[Callable[[], Row]] = [
                    partial(_many, shop),
                    partial(_claims, shop, cluster, kills),
                    *(partial(_phases, shop, phase, kills, folder) for phase in IN_WORKER),
                    partial(_cancels, shop, kills),
                    partial(_nodes, shop, cluster, nodes),
                ]
                return list(_rows(parts))
    finally:
        cluster.close()


def _rows(parts: Sequence[Callable[[], Row]]) -> Iterator[Row]:
    """What each part finds, up to the first that breaks off."""
    for part in parts:
        try:
            yield part()
        except Exception as error:
            yield Row("ray", "", f"{part.func.__name__}: {type(error).__name__}: {error}", False)  # pyright: ignore
            return


def _both_ready(shop: FarShop, look: Callable[[], object] = lambda: None) -> None:
    """Wait for two workers that can draw, looking after the cluster; what they say for themselves where that is in vain."""
    end = time.monotonic() + PATIENCE_S
    while (states := [status.state for status in shop.statuses]).count("ready") != 2:
        said = [f"{status.state} {status.text}".strip() for status in shop.statuses if status.state != "gone"]
        assert "broken" not in states and time.monotonic() < end, f"not two workers: {'; '.join(said)}"
        look()
        time.sleep(0.02)


def _own(shop: FarShop, name: str) -> FarShop:
    _both_ready(shop)
    return replace(shop, tag=f"{name}-")


def _wrong(shop: FarShop, ids: list[str]) -> tuple[int, int]:
    """How many of the jobs did not end well, and how many ended twice or have other pictures than one."""
    lost = sum(shop.over(id, PATIENCE_S).state != "done" for id in ids)
    doubled = sum(shop.kinds(id).count("done") != 1 or len(shop.entry(id).kept) != 1 for id in ids)
    return lost, doubled + abs(shop.made() - len(ids))


def _row(name: str, amount: str, wrong: tuple[int, int], ran: bool = True) -> Row:
    return Row(name, amount, f"{wrong[0]} jobs lost, {wrong[1]} doubled", ran and wrong == (0, 0))


def _many(whole: FarShop) -> Row:
    shop = _own(whole, "many")
    ids = [f"j{number}" for number in range(JOBS)]
    for number, id in enumerate(ids):
        shop.put(id, f"slow={STEP_S}", session=f"s{number % SESSIONS}")
    return _row("ray: two actors", f"{JOBS} jobs of {SESSIONS} sessions", _wrong(shop, ids))


def _claims(whole: FarShop, cluster: Cluster, times: int) -> Row:
    shop, ids = _own(whole, "claim"), [f"j{number}" for number in range(times)]
    killed = 0
    for id in ids:
        _both_ready(shop)
        shop.put(id, f"slow={STEP_S}")
        until(lambda id=id: shop.entry(id).state != "queued", PATIENCE_S)
        killed += _kill(cluster.actors())
        shop.over(id, PATIENCE_S)
    return _row("ray: kill -9 of the actors at claim", f"{killed} kills", _wrong(shop, ids), killed >= times)


def _phases(whole: FarShop, phase: str, times: int, folder: Path) -> Row:
    shop, marks = _own(whole, phase), [folder / f"{phase}{number}" for number in range(times)]
    ids = [f"j{number}" for number in range(times)]
    for id, mark in zip(ids, marks, strict=True):
        shop.put(id, f"die-{phase}={mark}")
    wrong = _wrong(shop, ids)
    killed = sum(mark.exists() for mark in marks)
    return _row(f"ray: kill -9 of an actor at {phase}", f"{killed} kills", wrong, killed == times)


def _cancels(whole: FarShop, times: int) -> Row:
    shop, took = _own(whole, "cancel"), [0.0]
    for number in range(times):
        id = f"j{number}"
        shop.put(id, f"slow={STEP_S}", steps=100)
        until(lambda id=id: "step" in shop.kinds(id), PATIENCE_S)
        begun = time.monotonic()
        shop.cancel(id)
        assert shop.over(id).state == "cancelled"
        took.append(time.monotonic() - begun)
    figure = f"{max(took):.2f} s at most, steps of {STEP_S} s"
    return Row("ray: cancel", f"{times} jobs", figure, max(took) < 1.0)


def _nodes(whole: FarShop, cluster: Cluster, times: int) -> Row:
    shop, ids = _own(whole, "node"), [f"{half}{number}" for number in range(times) for half in "ab"]
    for number in range(times):
        for half in "ab":
            shop.put(f"{half}{number}", f"slow={4 * STEP_S}", session=half)
        mine = [f"{half}{number}" for half in "ab"]
        until(lambda mine=mine: all("step" in shop.kinds(id) for id in mine), PATIENCE_S)
        cluster.kill(len(cluster.nodes) - 1)
        for id in mine:
            shop.over(id, PATIENCE_S)
        cluster.add()
        _both_ready(shop, lambda: cluster.living() >= 2 or cluster.add())
    return _row("ray: kill -9 of a node", f"{times} nodes", _wrong(shop, ids))


def _kill(pids: list[int]) -> int:
    killed = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed
