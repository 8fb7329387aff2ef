"""Trainings killed, resumed, crowded out, told to wait, fed with rubbish; and several processes at once."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import annotator
from controlnet_core.datasets import open_folder
from controlnet_core.datasets.example_circles import Circles
from controlnet_core.datasets.layouts import Editable
from controlnet_core.domain import picture
from controlnet_core.domain.errors import InputError, NoSpace, OutOfMemory, StudioError
from controlnet_core.models.catalog import Catalog
from controlnet_core.training.loop import read
from controlnet_core.training.run import Config, Run, Status, parse, to_toml
from tests.training.conftest import ROOT, add_pair
from webapp.application import training_setup
from webapp.application.settings import Settings
from webapp.application.training_setup import Busy, pairs_of

PATIENCE_S = 300


def config(source: Path | str, name: str = "mine", **training: object) -> Config:
    how = {"steps": 30, "batch": 2, "rate": 1e-3, "ema": 0.9, "prompt_dropout": 0.3} | training
    return Config.model_validate(
        {
            "name": name,
            "title": "Mine",
            "base": "tiny",
            "control": "scribble",
            "data": {"source": str(source), "size": 64, "held_out": 2},
            "training": how,
            "watch": {"save_steps": 5, "sample_every": 0, "samples": 1, "sample_steps": 2, "guidance": 2.0},
        }
    )


class Studio:
    """The folders of a studio, and trainings in this process or in one of their own."""

    def __init__(self, folder: Path, models: Path) -> None:
        self.folder = folder
        shutil.copytree(models, folder / "models")
        self.settings = Settings(data=folder / "data", models=folder / "models", free_min_bytes=0)
        self.catalog = Catalog(self.settings.models)
        self.said: list[str] = []

    def run(self, config: Config) -> Run:
        return Run(self.settings.data / "training" / config.name)

    def train(self, config: Config) -> Status:
        from controlnet_core.training.trainer import Surroundings, run_training

        run = self.run(config)
        run.create(config)
        pairs, held = pairs_of(config, self.settings)
        around = Surroundings(
            self.catalog, annotator.control(config.control), pairs, held, say=self.said.append, free_min_bytes=0
        )
        try:
            return run_training(run, around)
        finally:
            run.release()

    def start(self, config: Config, *launcher: str) -> subprocess.Popen[str]:
        file = self.folder / f"{config.name}.toml"
        file.write_text(to_toml(config))
        data, models = str(self.settings.data), str(self.settings.models)
        where = {"STUDIO_DATA": data, "STUDIO_MODELS": models, "STUDIO_FREE_MB": "0", "OMP_NUM_THREADS": "1"}
        where["ACCELERATE_USE_CPU"] = "true"
        command = [sys.executable, "-m", *launcher, "webapp", "train", str(file)]
        return subprocess.Popen(
            command, cwd=ROOT, env=os.environ | where, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )


@pytest.fixture
def studio(tmp_path: Path, models: Path) -> Studio:
    return Studio(tmp_path / "studio", models)


def wait_for(what: str, happened: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < limit, f"waited in vain for {what}"
        time.sleep(0.02)


def losses(run: Run) -> list[float]:
    points = run.curve()
    assert [point.step for point in points] == list(range(1, len(points) + 1))
    return [point.loss for point in points]


def test_who_only_looks_does_not_keep_a_training_from_starting(studio: Studio, tutorial: Path) -> None:
    run = studio.run(config(tutorial))
    run.create(config(tutorial))
    run.claim()
    run.release()
    with (run.folder / "trainer.lock").open() as looking:  # as `alive` does, in the very moment of the start
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.05, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        run.claim()
    with pytest.raises(StudioError, match="training already"):
        studio.run(config(tutorial)).claim()
    run.release()


def test_a_training_in_half_precision_shows_samples(studio: Studio, tutorial: Path) -> None:
    """The base model is loaded in half precision then, the ControlNet is not."""
    asked = config(tutorial, steps=2, precision="bf16")
    asked = asked.model_copy(update={"watch": asked.watch.model_copy(update={"sample_every": 1})})
    assert studio.train(asked).state == "done"
    assert [look.step for look in studio.run(asked).looks()] == [0, 1, 2]


@pytest.mark.parametrize("awake", [False, True])
def test_killed_and_resumed_it_takes_the_same_steps(studio: Studio, tutorial: Path, awake: bool) -> None:
    straight, killed = config(tutorial, "straight", awake=awake), config(tutorial, "killed", awake=awake)
    assert studio.train(straight).state == "done"
    whole = losses(studio.run(straight))
    assert len(whole) == 30 and all(np.isfinite(whole))

    process, run = studio.start(killed), studio.run(killed)
    wait_for("a few steps after a checkpoint", lambda: len(run.curve()) >= 12)
    process.kill()
    process.communicate()
    assert run.status().state == "stopped" and "process ended" in run.status().text
    assert 10 <= read(run.checkpoint)["step"] < 30
    assert losses(run) == pytest.approx(whole[: len(losses(run))], rel=1e-6)
    status = studio.train(killed)
    assert losses(run) == pytest.approx(whole, rel=1e-6)
    assert status.state == "done" == run.status().state
    ours, theirs = read(run.checkpoint), read(studio.run(straight).checkpoint)
    for part in ("module", "average"):
        assert ours[part].keys() == theirs[part].keys()
        for name, value in ours[part].items():
            np.testing.assert_allclose(value, theirs[part][name], rtol=1e-4, atol=1e-6)
    card = studio.catalog.card(status.result)
    assert (card.title, card.controls, card.kind) == ("Mine (killed)", ("scribble",), "controlnet")


def test_wait_go_on_and_stop_and_keep(studio: Studio, tutorial: Path) -> None:
    run = studio.run(config(tutorial))
    thread = threading.Thread(target=studio.train, args=(config(tutorial, steps=100_000),))
    thread.start()
    wait_for("steps", lambda: len(run.curve()) >= 3)
    assert run.alive() and run.status().state == "training"
    run.want("wait")
    wait_for("the pause", lambda: run.status().state == "waiting")
    before = len(run.curve())
    time.sleep(0.5)
    assert len(run.curve()) == before and run.status().text == "Paused."
    run.want("run")
    wait_for("more steps", lambda: len(run.curve()) > before)
    run.want("stop")
    thread.join(PATIENCE_S)
    status = run.status()
    assert status.state == "stopped" and studio.catalog.card(status.result).controls == ("scribble",)
    assert read(run.checkpoint)["step"] == len(run.curve()) == status.step
    assert not run.alive()


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """Writing more than `size` bytes fails as on a full disk (EFBIG instead of ENOSPC)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_stops_it_with_the_last_checkpoint_whole(studio: Studio, tutorial: Path) -> None:
    studio.train(config(tutorial, steps=5))
    run = studio.run(config(tutorial))
    before = run.checkpoint.read_bytes()
    with small_disk(len(before) // 2), pytest.raises(NoSpace, match="no room for the checkpoint of step 10"):
        studio.train(config(tutorial, steps=20))
    assert run.status().state == "failed" and "last checkpoint is whole" in run.status().hint
    assert run.checkpoint.read_bytes() == before and not list(run.folder.glob("*.part"))
    assert studio.train(config(tutorial, steps=20)).state == "done"
    assert len(losses(run)) == 20


def test_a_device_that_is_too_small_is_said_with_what_to_do(
    studio: Studio, tutorial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from controlnet_core.training.controlnet_loss import ControlNetLoss

    def full(*_given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(ControlNetLoss, "forward", full)
    with pytest.raises(OutOfMemory, match="more memory than its device has"):
        studio.train(config(tutorial))
    status = studio.run(config(tutorial)).status()
    assert status.state == "failed" and "batch" in status.hint and "CUDA" not in status.text


def test_bad_pairs_are_refused_or_skipped_before_the_first_step(studio: Studio, tutorial: Path) -> None:
    add_pair(tutorial, "empty", prompt="")
    (tutorial / "target" / "3.png").write_bytes(b"no picture")
    asked = config(tutorial, steps=2)
    with pytest.raises(InputError, match=r"2 of 11 pairs cannot be used; line 4: The picture target/3\.png"):
        studio.train(asked)
    assert "line 11: The prompt is empty." in studio.said
    assert studio.run(asked).status().state == "failed" and not studio.run(asked).curve()
    skipping = asked.model_copy(update={"name": "skips", "data": asked.data.model_copy(update={"bad": "skip"})})
    assert studio.train(skipping).state == "done"
    split = json.loads((studio.run(skipping).folder / "split.json").read_text())
    assert sorted(split["trained"] + split["held_out"]) == [0, 1, 2, 4, 5, 6, 7, 8, 9] and len(split["held_out"]) == 2


def test_what_is_held_out_is_decided_once(studio: Studio, tutorial: Path) -> None:
    pairs, asked = open_folder(tutorial), config(tutorial, steps=2)
    assert isinstance(pairs, Editable)
    pairs.hold_out(4, True, free_min_bytes=0)
    studio.train(asked)
    kept = studio.run(asked).folder / "split.json"
    assert json.loads(kept.read_text()) == {"trained": [0, 1, 2, 3, 5, 6, 7, 8, 9], "held_out": [4]}
    pairs.hold_out(5, True, free_min_bytes=0)
    studio.train(config(tutorial, steps=4))
    assert json.loads(kept.read_text())["held_out"] == [4]
    assert len(losses(studio.run(asked))) == 4


def test_a_gallery_that_grows_leaves_a_training_its_pictures(studio: Studio) -> None:
    from controlnet_core.domain.job import Job
    from controlnet_core.domain.recipe import ControlUnit, Recipe
    from controlnet_core.storage.gallery import Gallery, to_png
    from controlnet_core.storage.store import Blobs

    blobs = Blobs(studio.settings.data / "blobs", free_min_bytes=0)
    gallery = Gallery(studio.settings.data / "gallery", free_min_bytes=0)

    def make(number: int) -> None:
        source, target, prompt = Circles(128).read(number)
        unit = ControlUnit(control="scribble", picture=blobs.put(picture.to_png(source)))
        recipe = Recipe(model="tiny", prompt=prompt, controls=(unit,), width=128, height=128, seed=number)
        gallery.add(Job(f"job-{number:08d}", "me", recipe), [to_png(target, recipe)])

    for number in range(6):
        make(number)
    asked = config("gallery")
    run = studio.run(asked)
    run.create(asked)
    before = training_setup.data_of(asked, studio.settings, run)[0]
    make(6)
    after = training_setup.data_of(asked, studio.settings, run)[0]
    assert [after.name(index) for index in range(len(after))] == [before.name(index) for index in range(6)]
    assert len(pairs_of(asked, studio.settings)[0]) == 7


def test_adam_in_8_bits_is_refused_at_once_where_it_is_not_there(
    studio: Studio, tutorial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    asked = config(tutorial, optimizer="adamw8bit")
    with pytest.raises(StudioError, match="bitsandbytes"):
        studio.train(asked)
    assert not (studio.run(asked).folder / "split.json").exists(), "before anything long has begun"


def test_samples_give_way_too(studio: Studio, tutorial: Path) -> None:
    """Between two sample pictures as between two steps; and the seconds waited are nobody's."""
    from controlnet_core.training.trainer import Surroundings, run_training

    asked = config(tutorial, steps=2)
    asked = asked.model_copy(update={"watch": asked.watch.model_copy(update={"sample_every": 2, "samples": 2})})
    run = studio.run(asked)
    run.create(asked)
    waits: list[tuple[int, str]] = []

    def busy() -> str:
        made = len(list(run.samples().glob("step-000002-*.png")))
        if made == 1 and len(waits) < 3:
            waits.append((made, run.status().state))
            return "Somebody makes a picture."
        return ""

    pairs, held = pairs_of(asked, studio.settings)
    around = Surroundings(studio.catalog, annotator.control("scribble"), pairs, held, busy=busy, free_min_bytes=0)
    status = run_training(run, around)
    run.release()
    assert waits == [(1, "sampling"), (1, "waiting"), (1, "waiting")]
    assert status.state == "done" and [len(look.files) for look in run.looks()] == [2, 2]


def test_a_pair_that_breaks_later_is_replaced_by_its_neighbour(studio: Studio, tutorial: Path) -> None:
    asked = config(tutorial, steps=3)
    studio.train(asked)
    for index in range(3):
        (tutorial / "source" / f"{index}.png").write_bytes(b"rotten")
    assert studio.train(config(tutorial, steps=12)).state == "done"
    assert len(losses(studio.run(asked))) == 12


def test_an_unlocked_decoder_is_published_with_its_base(studio: Studio, tutorial: Path) -> None:
    import torch

    from controlnet_core.models.loading import load_base

    status = studio.train(config(tutorial, steps=2, locked=False, decoder_rate=1e-3))
    assert status.state == "done"
    card = studio.catalog.card("mine-base")
    before = load_base(studio.settings.models / "checkpoints" / "tiny").unet.state_dict()
    after = load_base(studio.catalog.locate(card)).unet.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"up_blocks", "conv_norm_out", "conv_out"}


def test_pictures_larger_than_the_family_makes_are_refused_before_anything_is_loaded(models: Path) -> None:
    from controlnet_core.training import trainer

    asked = config("circles")
    asked = asked.model_copy(update={"data": asked.data.model_copy(update={"size": 2048})})
    with pytest.raises(StudioError, match=r"2048 x 2048 px is larger .* 1024 px or smaller"):
        trainer._networks(asked, Catalog(models))


@pytest.mark.slow
def test_two_processes_train_one_network(studio: Studio, tutorial: Path) -> None:
    """Two processes of one batch each take the steps of one process with both batches."""
    one_machine = ("--num_machines", "1", "--main_process_port", "0", "--num_cpu_threads_per_process", "1")
    launch = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", *one_machine, "-m")
    shared = {"steps": 6, "prompt_dropout": 0.0, "ema": 0.0}
    two, one = config(tutorial, "two", **shared), config(tutorial, "one", accumulate=2, **shared)
    process = studio.start(two, *launch)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    assert studio.run(two).status().device == f"2 x cpu on {socket.gethostname().partition('.')[0]}"
    studio.train(one)
    np.testing.assert_allclose(losses(studio.run(two)), losses(studio.run(one)), rtol=1e-3)


def test_pictures_go_first(tmp_path: Path) -> None:
    from controlnet_core.domain.job import Job
    from controlnet_core.domain.recipe import Recipe
    from controlnet_core.execution.queue import Queue
    from controlnet_core.storage.store import Blobs
    from webapp.application.studio import Studio as Services

    settings = Settings(data=tmp_path, free_min_bytes=0)
    busy = Busy(tmp_path)
    assert busy() == ""
    queue = Queue(tmp_path / "jobs.sqlite", Blobs(tmp_path / "blobs", free_min_bytes=0))
    job = Job("a" * 16, "session", Recipe(model="paperworld", width=64, height=64))
    queue.submit(job)
    assert busy() == "", "nobody runs a studio here: its old jobs hold nobody up"
    services = Services(settings)
    services.claim()
    assert "picture" in busy()
    assert queue.claim() is not None and "picture" in busy()
    queue.done(job.id, ())
    assert busy() == ""


def test_a_training_of_other_data_does_not_go_into_the_same_folder(studio: Studio, tutorial: Path) -> None:
    run = studio.run(config(tutorial))
    run.create(config(tutorial))
    run.create(config(tutorial, steps=99))
    assert run.config().training.steps == 99
    with pytest.raises(InputError, match="another name"):
        run.create(config("circles"))


def test_a_configuration_survives_its_file(tutorial: Path) -> None:
    one = config(tutorial, min_snr=5.0)
    assert parse(to_toml(one)) == one


@pytest.mark.parametrize(
    "text", ["", "name = 3", "[[[", 'name = "x"\nbase = "b"\ncontrol = "c"\nbatch = 3', "a = nan", "\0", "x" * 70_000]
)
def test_a_wrong_configuration_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(InputError):
        parse(text)


def test_circles_as_built_in_data_with_samples(studio: Studio) -> None:
    asked = config("circles", steps=4)
    data = asked.data.model_copy(update={"pairs": 6})
    asked = asked.model_copy(update={"data": data, "watch": asked.watch.model_copy(update={"sample_every": 2})})
    assert studio.train(asked).state == "done"
    run = studio.run(asked)
    assert [look.step for look in run.looks()] == [0, 2, 4]
    assert {path.name for path in run.samples().iterdir()} >= {"control-0.png", "target-0.png", "prompts.json"}
    assert json.loads((run.samples() / "prompts.json").read_text()) == [Circles(64, 10_000_000).circle(0).prompt]
