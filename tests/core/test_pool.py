"""Several workers on one queue: who gets which job, one dies and the others go on, and a device that somebody borrows."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlnet_core.domain.errors import StudioError
from controlnet_core.domain.job import Event, Job
from controlnet_core.execution import dispatcher
from controlnet_core.execution.devices import (
    Device,
    borrow,
    devices,
    free_gpu_bytes,
    gpu_memory,
    is_borrowed,
    visible_gpus,
)
from controlnet_core.execution.dispatcher import Dispatcher
from controlnet_core.execution.local_process import LocalProcess
from controlnet_core.execution.port import Broken, Hear, Lost, Ready, Said
from controlnet_core.execution.queue import Queue
from controlnet_core.storage.store import Blobs
from tests.core.test_worker import ENGINE, Shop, open_shop, recipe, until
from webapp.application.settings import Settings

GPUS = ("GPU-aaaa-1", "GPU-bbbb-2", "GPU-cccc-3")


class Port:
    """A worker that does what the test says: another transport than a process."""

    def __init__(self, name: str) -> None:
        self.device = Device(name)
        self.jobs: list[Job] = []
        self.lives = 0
        self.hear: Hear = lambda _said: None

    def start(self, hear: Hear) -> None:
        self.hear, self.lives = hear, self.lives + 1

    def run(self, job: Job) -> None:
        self.jobs.append(job)

    def cancel(self, id: str) -> None:
        self.hear(Event(id, "cancelled"))

    def stop(self) -> None:
        self.hear(Lost("told to"))

    kill = stop

    def ready(self, *loaded: str) -> None:
        self.hear(Ready(self.device.name, loaded))

    def end(self) -> None:
        self.hear(Event(self.jobs[-1].id, "failed", text="Enough.", hint="No more."))


@pytest.fixture
def ports() -> list[Port]:
    return [Port("cuda:0"), Port("cuda:1"), Port("cuda:2")]


@pytest.fixture
def pool(ports: list[Port], tmp_path: Path) -> Iterator[Dispatcher]:
    queue = Queue(tmp_path / "jobs.sqlite", Blobs(tmp_path / "blobs"))
    pool = Dispatcher(
        queue,
        ports,
        keep=lambda _job, _pngs: (),
        tell=lambda _session, _event: None,
        lent=lambda port: is_borrowed(port.device, tmp_path),
    )
    pool.start()
    until(lambda: all(port.lives == 1 for port in ports))
    yield pool
    pool.stop()
    queue.close()


def put(pool: Dispatcher, id: str, **fields: object) -> None:
    pool.queue.submit(Job(id, id, recipe(**fields)))
    pool.wake()


def states(pool: Dispatcher) -> list[str]:
    return [status.state for status in pool.statuses()]


def test_a_job_goes_to_the_worker_that_has_its_model_else_to_the_longest_free(
    pool: Dispatcher, ports: list[Port]
) -> None:
    for port, loaded in zip(ports, ("small", "small", "large"), strict=True):
        port.ready(loaded)
        until(lambda port=port: pool.statuses()[ports.index(port)].state == "ready")
    put(pool, "a", model="large")
    until(lambda: ports[2].jobs)
    put(pool, "b", model="large")  # its worker is busy: no reason to wait
    until(lambda: ports[0].jobs)
    assert states(pool) == ["busy", "ready", "busy"]
    assert [status.job for status in pool.statuses()] == ["b", "", "a"]
    ports[0].end()
    ports[0].ready("small", "large")
    until(lambda: states(pool)[0] == "ready")
    put(pool, "c", model="small")  # two have it: the one that has been free longer
    until(lambda: ports[1].jobs)
    put(pool, "d", model="small")
    until(lambda: len(ports[0].jobs) == 2)
    assert [[job.id for job in port.jobs] for port in ports] == [["b", "d"], ["c"], ["a"]]


def test_jobs_wait_for_a_worker_that_is_up_not_for_one_that_starts(pool: Dispatcher, ports: list[Port]) -> None:
    put(pool, "a")  # nobody is up: it is told that the worker starts
    until(lambda: ports[0].jobs)
    ports[1].ready()
    until(lambda: states(pool)[1] == "ready")
    put(pool, "b")
    until(lambda: ports[1].jobs)
    put(pool, "c")
    ports[1].end()
    ports[1].ready()
    until(lambda: [job.id for job in ports[1].jobs] == ["b", "c"])
    assert not ports[2].jobs


def test_a_worker_that_dies_takes_one_job_with_it(pool: Dispatcher, ports: list[Port]) -> None:
    for port in ports[:2]:
        port.ready()
    until(lambda: states(pool)[:2] == ["ready", "ready"])
    put(pool, "a")
    put(pool, "b")
    until(lambda: ports[0].jobs and ports[1].jobs)
    first = ports[0].jobs[0].id
    ports[0].hear(Lost("a test"))
    until(lambda: ports[0].lives == 2)
    assert pool.queue.get(first).state == "queued"
    assert pool.queue.get(ports[1].jobs[0].id).state == "running"
    ports[1].end()
    ports[1].ready()
    until(lambda: [job.id for job in ports[1].jobs][1:] == [first])


def test_a_borrowed_device_is_left_and_taken_again(pool: Dispatcher, ports: list[Port], tmp_path: Path) -> None:
    for port in ports:
        port.ready()
    put(pool, "a")
    until(lambda: ports[0].jobs)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("controlnet_core.execution.dispatcher.LENT_S", 0.05)
        lent = [borrow(ports[0].device, tmp_path), borrow(ports[2].device, tmp_path)]
        assert all(lent) and borrow(ports[2].device, tmp_path) is None
        pool.wake()
        until(lambda: states(pool) == ["busy", "ready", "lent"])  # what runs is done first
        ports[0].end()
        until(lambda: states(pool) == ["lent", "ready", "lent"])
        put(pool, "b")
        until(lambda: ports[1].jobs)
        for file in lent:
            assert file is not None
            file.close()
        until(lambda: ports[0].lives == ports[2].lives == 2)
        assert states(pool) == ["starting", "busy", "starting"]


def test_a_real_worker_that_is_killed_leaves_the_other_at_work(tmp_path: Path) -> None:
    with open_shop(tmp_path, workers=2) as shop:
        shop.ready()
        shop.put("a", "slow=0.05", steps=60)
        shop.put("b", "slow=0.05", steps=60, session="t")
        until(lambda: "step" in shop.kinds("a") and "step" in shop.kinds("b"))
        os.kill(shop.working("a"), signal.SIGKILL)
        steps = _steps(shop, "b")
        assert shop.over("b").state == "done"
        assert _steps(shop, "b") > steps and shop.kinds("b").count("queued") <= 1
        assert shop.over("a").state == "done"
        assert shop.made() == 2


def _steps(shop: Shop, id: str) -> int:
    return shop.kinds(id).count("step")


# ---- devices


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose nvidia-smi shows three GPUs, with 1, 2 and 3 MiB free of 4; of the last it cannot tell what is used."""
    rows = "\\n".join(f"{n}, {uuid}" for n, uuid in enumerate(GPUS))
    free = "\n".join(f'*"-i {uuid}"*) echo {n + 1} ;;' for n, uuid in enumerate(GPUS))
    used = "\n".join(f'*used*"-i {uuid}"*) echo {told}, 4 ;;' for uuid, told in zip(GPUS, (3, 2, "[N/A]"), strict=True))
    show_gpus(
        f'case "$*" in\n*index,uuid*) printf "{rows}\\n" ;;\n{used}\n{free}\n*) exit 6 ;;\nesac', tmp_path, monkeypatch
    )


def show_gpus(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a script answer where nvidia-smi is asked."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, GPUS),
        ("2,0", (GPUS[2], GPUS[0])),
        ("GPU-bbbb", (GPUS[1],)),
        ("0,7,1", (GPUS[0],)),  # as CUDA does: up to the first that is not there
        ("", ()),
        ("-1", ()),
        ("MIG-12345", ("MIG-12345",)),
    ],
)
@pytest.mark.usefixtures("gpus")
def test_gpus_are_those_that_cuda_shows(visible: str | None, expected: tuple[str, ...]) -> None:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert visible_gpus(environ) == expected
    assert [one.visible for one in devices("", environ)] == list(expected or [""])


@pytest.mark.usefixtures("gpus")
def test_free_memory_is_that_of_the_right_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [free_gpu_bytes(name) >> 20 for name in ("cuda", "cuda:1", "cuda:2", "cuda:3")] == [1, 2, 3, 0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1")
    assert [free_gpu_bytes(name) >> 20 for name in ("cuda:0", "cuda:1", "cuda:2")] == [3, 2, 0]


@pytest.mark.usefixtures("gpus")
def test_what_is_used_of_a_gpu_is_told_where_somebody_can_tell() -> None:
    assert [gpu_memory(visible) for visible in (*GPUS, "GPU-dddd-4")] == [
        (3 << 20, 4 << 20),
        (2 << 20, 4 << 20),
        None,
        None,
    ]


@pytest.mark.parametrize(
    "script", ["exec sleep 60", "echo Unable to determine the device handle >&2; exit 255", "kill -9 $$"]
)
def test_a_driver_that_hangs_or_fails_shows_no_gpus(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlnet_core.execution.devices.ASK_S", 0.5)
    show_gpus(script, tmp_path, monkeypatch)
    assert devices() == (Device(),)
    assert free_gpu_bytes("cuda:0") == 0 and gpu_memory(GPUS[0]) is None


@pytest.mark.usefixtures("gpus")
def test_a_worker_that_sees_one_gpu_is_told_by_that_gpus_number(tmp_path: Path) -> None:
    said: queue.SimpleQueue[Said] = queue.SimpleQueue()
    worker = LocalProcess(ENGINE, devices("cuda:1")[0], log=tmp_path / "studio.log")
    worker.start(said.put)
    ready = said.get(timeout=60)
    worker.stop()
    assert isinstance(ready, Ready) and ready.device == "cuda:1", "its engine calls it otherwise"
    assert isinstance(said.get(timeout=60), Lost)


@pytest.mark.usefixtures("gpus")
def test_a_worker_sees_its_device_and_no_other() -> None:
    found = devices("cuda:2, CPU,1")
    assert [device.name for device in found] == ["cuda:2", "cpu", "cuda:1"]
    assert [device.kind for device in found] == ["cuda", "cpu", "cuda"]
    assert [device.environment["CUDA_VISIBLE_DEVICES"] for device in found] == [GPUS[2], "", GPUS[1]]


def test_workers_on_one_processor_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    assert [device.environment.get("OMP_NUM_THREADS") for device in devices("cpu,cpu")] == ["4", "4"]
    assert "OMP_NUM_THREADS" not in devices("cpu")[0].environment
    assert len({device.key for device in devices("cpu,cpu")}) == 2


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("wanted", "message", "hint"),
    [
        ("cuda:3", "STUDIO_DEVICES names cuda:3, which is not on this machine.", "cuda:0, cuda:1, cuda:2, cpu"),
        ("cpu,9", "STUDIO_DEVICES names 9, which is not on this machine.", "cuda:0, cuda:1, cuda:2, cpu"),
        ("tpu:0", "STUDIO_DEVICES names tpu:0, which is no device.", "Write cpu, or cuda:0"),
        ("cuda:-1", "STUDIO_DEVICES names cuda:-1, which is no device.", "Write cpu, or cuda:0"),
    ],
)
def test_a_device_that_is_not_here_is_refused_in_a_sentence_at_start(
    wanted: str, message: str, hint: str, tmp_path: Path
) -> None:
    from webapp.application.studio import Studio

    with pytest.raises(StudioError) as refused:
        Studio(Settings(tmp_path, tmp_path / "models", devices=wanted)).claim()
    assert refused.value.message == message and hint in refused.value.hint


def test_a_worker_that_joins_is_given_work_and_one_that_is_gone_gives_its_job_to_another(
    pool: Dispatcher, ports: list[Port]
) -> None:
    late = Port("cuda:0 on box2")
    pool.add(late)
    until(lambda: late.lives == 1)
    late.ready("large")
    put(pool, "a", model="large")
    until(lambda: late.jobs)
    late.hear(Lost("its node left the cluster", for_good=True))
    until(lambda: states(pool)[3] == "gone")
    assert pool.statuses()[3].text == "cuda:0 on box2 was lost: its machine left."
    until(lambda: any(port.jobs for port in ports))  # one that starts takes it
    assert late.lives == 1, "it is not started again"
    assert [status.number for status in pool.statuses()] == [0, 1, 2, 3]
    assert pool.statuses()[3].deaths == 1


def test_no_job_goes_to_a_worker_that_cannot_draw_while_another_can_or_may(pool: Dispatcher, ports: list[Port]) -> None:
    ports[0].hear(Broken(StudioError("It has another version.")))
    until(lambda: states(pool)[0] == "broken")
    ports[1].ready()
    until(lambda: states(pool)[1] == "ready")
    put(pool, "a")
    put(pool, "b")
    until(lambda: ports[1].jobs)
    ports[1].end()
    ports[1].ready()
    until(lambda: [job.id for job in ports[1].jobs] == ["a", "b"])
    ports[1].hear(Lost("a test"))
    until(lambda: ports[1].lives == 2)
    until(lambda: len(ports[1].jobs) == 3 or ports[2].jobs)
    assert not ports[0].jobs, "others may draw soon"
    for port in ports[1:]:
        port.hear(Broken(StudioError("Not here, either.")))
    until(lambda: states(pool) == ["broken"] * 3)
    put(pool, "c")
    until(lambda: "c" in [port.jobs[-1].id for port in ports if port.jobs])  # then anybody tries


def test_a_job_that_was_handed_to_workers_already_gone_has_not_run(
    pool: Dispatcher, ports: list[Port], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine goes with all its devices: the job of one is given to the next before anybody knows."""
    monkeypatch.setattr(dispatcher, "PAUSES_S", (0.0,))
    for port in ports:
        port.ready()
    until(lambda: states(pool) == ["ready"] * 3)
    put(pool, "a")
    until(lambda: ports[0].jobs)
    ports[0].hear(Event("a", "step", step=1, steps=2))
    told = [0, 0, 0]

    def lose() -> bool:
        for number, port in enumerate(ports):
            if len(port.jobs) > told[number]:
                told[number] = len(port.jobs)
                port.hear(Lost("the machine"))
        return pool.queue.get("a").over

    until(lose)
    assert pool.queue.get("a").state == "failed", "what nobody ever hears of is not tried for ever"
    assert sum(told) == 1 + dispatcher.UNHEARD_MAX + 1
