"""The pages' side of a training: its process, found again after a restart; its cost, curves, pictures; the command line."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from controlnet_core.domain.errors import InputError, NoSpace
from controlnet_core.execution.devices import Device, borrow
from controlnet_core.models.catalog import Catalog
from controlnet_core.training.run import Outline, Point, Run, Status
from tests.training.test_runs import Studio, config, wait_for
from webapp.application.trainings import SD15, Sizes, Trainings, chosen, estimated, suggested
from webapp.cli import app
from webapp.ui.training import curves

EMBEDDED = Sizes(4_533_304, 1_786_312, 16, 64)


@pytest.fixture
def studio(tmp_path: Path, models: Path) -> Studio:
    return Studio(tmp_path / "studio", models)


def trainings(studio: Studio) -> Trainings:
    return Trainings(studio.settings, Catalog(studio.settings.models))


def test_a_training_outlives_the_server_that_started_it(studio: Studio, tutorial: Path) -> None:
    first = trainings(studio)
    assert first.running() is None and first.all() == []
    run = first.start(config(tutorial, steps=100_000))
    assert run.alive(), "from its first moment on, before its process has said a word"
    with pytest.raises(InputError, match="is training"):
        first.start(config(tutorial, "other"))
    wait_for("steps", lambda: len(run.curve()) >= 3)
    pid = run.status().pid
    assert os.getsid(pid) != os.getsid(0), "a terminal's Ctrl-C does not reach it"
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)

    again = trainings(studio)  # as after a restart: nothing but files
    found = again.running()
    assert found is not None and found.name == "mine" and found.status().state == "training"
    found.want("stop")
    wait_for("the end", lambda: not found.alive())
    assert again.running() is None and found.status().state == "stopped"
    assert [card.title for card in again.catalog.cards() if card.own and card.kind == "controlnet"] == ["Mine"]


def test_a_stop_while_its_process_starts_is_heard(studio: Studio, tutorial: Path) -> None:
    run = trainings(studio).start(config(tutorial, steps=100_000))
    run.want("stop")
    wait_for("the end", lambda: not run.alive())
    assert run.status().state == "stopped" and "before the first step" in run.status().text
    assert not run.curve() and not run.status().result, "nothing was learnt, so nothing is kept"


def test_names_from_a_browser_stay_in_their_folder(studio: Studio) -> None:
    for name in ("..", "../../etc", "a/b", "", "gone", "A", "x" * 60):
        with pytest.raises(InputError):
            trainings(studio).run(name)


def test_a_training_needs_room(studio: Studio, tutorial: Path) -> None:
    from dataclasses import replace

    crowded = Trainings(replace(studio.settings, free_min_bytes=1 << 60), studio.catalog)
    with pytest.raises(NoSpace):
        crowded.start(config(tutorial))


def test_costs_grow_with_what_is_asked_and_shrink_with_what_saves(studio: Studio) -> None:
    def cost(**training: object) -> tuple[int, float]:
        asked = config("circles", **training)
        large = asked.model_copy(update={"base": "paperworld", "data": asked.data.model_copy(update={"size": 256})})
        found = Trainings(studio.settings, Catalog(Path("models").resolve())).cost(large, "cpu")
        assert not found.measured
        return found.memory_mib, found.step_s

    memory, step = cost(batch=8)
    assert 300 < memory < 1500 and 0.05 < step < 5, "the embedded model trains on a laptop"
    assert 4 * step < cost(batch=64)[1] < 8 * step, "all but what a step takes whatever its size"
    assert cost(batch=64)[0] > memory > cost(batch=8, checkpointing=True)[0]
    assert cost(batch=8, ema=0.0)[0] < memory < cost(batch=8, locked=False)[0]


@pytest.mark.parametrize(
    ("sizes", "size", "batch", "memory_gb", "seconds"),
    [
        # What docs/training.md tells of one core: Stable Diffusion 1.5's widths with the rest of the model, the embedded one.
        (SD15, 512, 1, 12.3, 34.3),
        (EMBEDDED, 256, 8, None, 0.33),
        (EMBEDDED, 192, 8, None, 0.18),
        (EMBEDDED, 128, 8, 0.59, 0.11),
    ],
)
def test_estimates_are_those_that_were_measured(
    sizes: Sizes, size: int, batch: int, memory_gb: float | None, seconds: float
) -> None:
    asked = config("circles", batch=batch, ema=0.99 if sizes is EMBEDDED else 0.0)
    asked = asked.model_copy(update={"data": asked.data.model_copy(update={"size": size})})
    memory_mib, step_s = estimated(sizes, asked, "cpu", cores=1)
    assert step_s == pytest.approx(seconds, rel=0.25)
    if memory_gb is not None:
        assert memory_mib / 1024 == pytest.approx(memory_gb, rel=0.25)
    assert estimated(sizes, asked, "cpu", cores=2)[1] < step_s < estimated(sizes, asked, "cpu", cores=1)[1] * 1.01


def test_costs_are_measured_once_something_has_run(studio: Studio, tutorial: Path) -> None:
    studio.train(config(tutorial, steps=12))
    found = trainings(studio).cost(config(tutorial, batch=4), "cpu")
    points = studio.run(config(tutorial)).curve()
    assert found.measured and found.step_s == pytest.approx(2 * points[-1].seconds / 12, rel=1.0)


def test_what_suits_a_model() -> None:
    catalog = Catalog(Path("models").resolve())
    assert suggested(catalog.card("sd15"), 5000)["rate"] == 1e-5
    assert suggested(catalog.card("paperworld"), 5000)["rate"] > 1e-4
    assert [bool(suggested(catalog.card(key), 5000)["awake"]) for key in ("sd15", "paperworld")] == [False, True]


def drawing(html: str) -> ElementTree.Element:
    found = re.search(r"base64,([^\"]+)", html)
    assert found
    return ElementTree.fromstring(base64.b64decode(found[1]))


def test_curves_show_every_extreme_and_stay_small() -> None:
    values = [2.0 / (1 + step / 100) for step in range(5000)]
    html = curves.curve("Loss", list(range(1, 5001)), values, log=True, smooth=True)
    lines = drawing(html).findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 2 and len(html) < 20_000
    heights = [float(point.split(",")[1]) for point in lines[1].attrib["points"].split()]
    assert heights == sorted(heights), "what falls, falls on the page"
    assert (
        curves.curve("<b>", [1], [float("nan")]) == '<figure class="curve"><figcaption>&lt;b&gt;</figcaption></figure>'
    )
    assert (
        "polyline"
        in base64.b64decode(re.findall(r"base64,([^\"]+)", curves.curve("x", [3], [0.0], log=True))[0]).decode()
    )


def test_an_outline_follows_a_curve_in_few_points(tmp_path: Path) -> None:
    run = Run(tmp_path)
    outline = Outline(run, 8)
    assert outline.update() == []
    points = [Point(step, 100.0 - step, float(step), 1e-3, step / 2) for step in range(1, 101)]
    run.add(points[:5])
    assert outline.update() == points[:5]
    with (tmp_path / "curve.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # in the middle of a line
    assert outline.update() == points[:5]
    with (tmp_path / "curve.jsonl").open("a") as file:
        file.write('ss": 94.0, "norm": 6.0, "rate": 0.001, "seconds": 3.0}\n')
    run.add([Point(7, float("nan"), 7.0, 1e-3, 3.5), *points[7:]])
    found = outline.update()
    assert len(found) <= 9 and found[-1].step == 100 and found == outline.update()
    assert [one.step for one in found[:-1]] == [16, 32, 48, 64, 80, 96]
    assert found[0].norm == pytest.approx(8.5) and found[1].loss == pytest.approx(100 - 24.5)
    assert 88 < found[0].loss < 95, "what is not finite does not count"
    assert run.latest(3) == points[-3:] and run.latest(1000)[0].step == 1
    run.rewind(4)
    assert outline.update() == points[:4], "a training that goes on from a checkpoint writes it anew"


def test_smoothing_has_no_bias_at_the_start() -> None:
    assert curves.smoothed([5.0] * 300) == pytest.approx([5.0] * 300)


def test_a_dead_process_is_said(studio: Studio, tutorial: Path) -> None:
    run = studio.run(config(tutorial))
    run.create(config(tutorial))
    run.tell(Status(state="training", step=3, steps=9, pid=4))
    assert run.status().state == "stopped" and "process ended" in run.status().text
    (run.folder / "status.json").write_text("{")
    assert run.status() == Status()
    (run.folder / "wish").write_text("rm -rf")
    assert run.wish() == "run"


def test_the_command_line_checks_data_and_makes_the_tutorials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_FREE_MB", "0")
    folder = str(tmp_path / "fill")
    runner = CliRunner()
    assert runner.invoke(app, ["dataset", "circles", folder, "-n", "5", "--size", "64"]).exit_code == 0
    whole = runner.invoke(app, ["dataset", "check", folder])
    assert whole.exit_code == 0 and "5 of 5 pairs can be used" in whole.output
    (tmp_path / "fill" / "source" / "2.png").unlink()
    broken = runner.invoke(app, ["dataset", "check", folder])
    assert broken.exit_code == 1 and "line 3: The control picture source/2.png is missing." in broken.output
    assert runner.invoke(app, ["dataset", "circles", folder]).exit_code == 1
    nothing = runner.invoke(app, ["train", str(tmp_path / "no.toml")])
    assert nothing.exit_code == 1 and "cannot be read" in nothing.output


def test_samples_are_served_and_nothing_else(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    from webapp.application.studio import Studio as Services
    from webapp.routes.guard import guarded
    from webapp.routes.training import table

    asked = config("circles", steps=1)
    run = studio.run(asked)
    run.create(asked)
    (run.samples() / "control-0.png").write_bytes(b"png")
    (run.folder / "secret.png").write_bytes(b"secret")
    services = Services(studio.settings)
    routes = [guarded(*route) for route in table(lambda: services)]
    client = TestClient(Starlette(routes=routes))
    stream = services.events.stream("tab", "ab" * 16)
    assert client.get(f"/training/{stream}/mine/control-0.png").content == b"png"
    for path in ("mine/target-0", "mine/secret", "mine/..%2Fsecret", "other/control-0", "..%2Fmine/control-0"):
        assert client.get(f"/training/{stream}/{path}.png").status_code in (400, 404), path
    services.trainings.owners.note("mine", "cd" * 16)
    assert client.get(f"/training/{stream}/mine/control-0.png").status_code == 400, "it is somebody's now"
    theirs = services.events.stream("another", "cd" * 16)
    assert client.get(f"/training/{theirs}/mine/control-0.png").content == b"png"
    services.trainings.owners.share("mine", "cd" * 16, True)
    assert client.get(f"/training/{stream}/mine/control-0.png").content == b"png"
    assert client.get("/training/nobody/mine/control-0.png").status_code == 404


def test_a_training_is_its_workspaces_until_it_is_shared(studio: Studio) -> None:
    here, mine, theirs = trainings(studio), "ab" * 16, "cd" * 16
    for name in ("mine", "old"):
        studio.run(config("circles", name, steps=1)).create(config("circles", name, steps=1))
    here.owners.note("mine", mine)
    assert [run.name for run in here.seen(theirs)] == ["old"], "what nobody is noted for is everybody's"
    assert {run.name for run in here.seen(mine)} == {"mine", "old"}
    for refused in (
        lambda: here.run("mine", theirs),
        lambda: here.start(config("circles", "mine", steps=1), theirs),
        lambda: here.remove(here.run("mine", mine), theirs),
        lambda: here.owners.share("mine", theirs, True),
    ):
        with pytest.raises(InputError):
            refused()
    here.owners.share("mine", mine, True)
    assert {run.name for run in here.seen(theirs)} == {"mine", "old"}
    with pytest.raises(InputError, match="somebody else"):
        here.remove(here.run("mine", theirs), theirs)
    here.remove(here.run("mine", mine), mine)
    assert here.owners.owns("mine", theirs), "the name is free again"
    (studio.settings.data / "datasets" / "photos-of-mine").mkdir(parents=True)
    here.set_owners.note("photos-of-mine", mine)
    assert "photos-of-mine" in here.sources(mine).values()
    assert "photos-of-mine" not in here.sources(theirs).values()


def test_a_training_takes_devices_of_one_kind_from_a_cluster_that_has_several(studio: Studio, tutorial: Path) -> None:
    there: list[Device] = []
    here = Trainings(studio.settings, Catalog(studio.settings.models), cluster=lambda: there)
    assert not here.lendable()
    with pytest.raises(InputError, match="2 devices of a cluster, and none can be had"):
        here.start(config(tutorial, devices=2))
    there += [Device("cpu on a"), Device("cuda:0 on b"), Device("cuda:1 on b")]
    with borrow(there[1], studio.settings.data):  # type: ignore[union-attr]
        assert here.lendable() == [there[0], there[2]]
    with pytest.raises(InputError, match="4 devices of a cluster, and 3 can be had"):
        here.start(config(tutorial, devices=4))
    assert not here.all()
    assert chosen(there, 2) == there[1:]
    assert chosen(there, 3) == there
