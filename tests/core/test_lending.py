"""Models that travel to another machine: whole or not at all, once for a machine, within bounds, and the same pictures."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import ModelError, NoSpace, StudioError
from controlnet_core.domain.job import Event, Job
from controlnet_core.domain.lending import Lent
from controlnet_core.domain.recipe import ControlUnit, Lora, Recipe
from controlnet_core.execution.edition import edition
from controlnet_core.execution.port import Ready
from controlnet_core.execution.ray_host import Host, Place, Told, Wanted
from controlnet_core.storage.shelf import Shelf, parcel_of, pieces

RECIPE = Recipe(model="mine", width=64, height=64, steps=2, seed=5)


def model(folder: Path, name: str = "mine", size: int = 1000) -> Path:
    place = folder / name
    (place / "unet").mkdir(parents=True)
    (place / "model_index.json").write_text("{}")
    (place / "empty.txt").touch()
    (place / "unet" / "w.safetensors").write_bytes(os.urandom(size))
    (place / ".cache").write_text("a hub's own")
    return place


def bring(shelf: Shelf, place: Path) -> Path:
    parcel = parcel_of(place)
    receipt = shelf.receive(parcel)
    assert receipt is not None
    with receipt:
        for path, data in pieces(place, parcel):
            receipt.add(path, data)
    with ExitStack() as hold:
        found = shelf.find(parcel, hold)
        assert found is not None
        return found


def left(shelf: Shelf) -> list[str]:
    return sorted(path.name for path in shelf.folder.iterdir() if path.is_dir())


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf", 1 << 20, 0)


def test_a_folder_and_a_file_arrive_as_they_were(shelf: Shelf, tmp_path: Path) -> None:
    place = model(tmp_path)
    found = bring(shelf, place)
    files = ["empty.txt", "model_index.json", "unet/w.safetensors"]
    assert sorted(path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()) == files
    assert all((found / name).read_bytes() == (place / name).read_bytes() for name in files)
    one = tmp_path / "one.safetensors"
    one.write_bytes(b"one")
    assert bring(shelf, one).read_bytes() == b"one"


def test_what_is_broken_off_or_damaged_leaves_nothing(shelf: Shelf, tmp_path: Path) -> None:
    parcel = parcel_of(place := model(tmp_path))
    sent = list(pieces(place, parcel))
    for break_at in range(len(sent)):
        with pytest.raises(ZeroDivisionError), shelf.receive(parcel) as receipt:  # type: ignore[union-attr]
            for path, data in sent[:break_at]:
                receipt.add(path, data)
            raise ZeroDivisionError
        assert left(shelf) == []
    with pytest.raises(ModelError, match="did not arrive"), shelf.receive(parcel) as receipt:  # type: ignore[union-attr]
        for path, data in sent:
            receipt.add(path, data[:-1] + b"!" if len(data) == 1000 else data)
    assert left(shelf) == []
    with shelf.receive(parcel) as late:  # type: ignore[union-attr]
        pass
    with pytest.raises(ModelError, match="not waited for"):
        late.add(*sent[0])
    assert bring(shelf, place).is_dir()


def test_a_process_that_was_killed_while_it_received_is_cleaned_up_after(shelf: Shelf, tmp_path: Path) -> None:
    place = model(tmp_path)
    code = (
        "import os, signal, sys; from pathlib import Path; from controlnet_core.storage.shelf import *;"
        "place, folder = map(Path, sys.argv[1:]); parcel = parcel_of(place);"
        "receipt = Shelf(folder, 1 << 20, 0).receive(parcel); receipt.add(*next(pieces(place, parcel)));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(place), str(shelf.folder)], check=False, timeout=60)
    assert [name[0] for name in left(shelf)] == ["."]
    assert bring(shelf, place).is_dir()
    assert left(shelf) == [parcel_of(place).digest]


def test_the_model_used_longest_ago_makes_room_unless_a_job_needs_it(shelf: Shelf, tmp_path: Path) -> None:
    places = [model(tmp_path, f"m{number}", 400_000) for number in range(4)]
    first, second, third, fourth = map(parcel_of, places)
    with ExitStack() as hold, ExitStack() as both:
        bring(shelf, places[0])
        bring(shelf, places[1])
        assert shelf.find(first, hold)
        bring(shelf, places[2])
        assert left(shelf) == sorted([first.digest, third.digest])
        assert shelf.find(third, both)
        with pytest.raises(NoSpace, match="no room for m3"):
            shelf.receive(fourth)
    bring(shelf, places[3])
    assert left(shelf) == sorted([third.digest, fourth.digest])
    with pytest.raises(NoSpace, match="STUDIO_MODEL_CACHE_GB"):
        Shelf(shelf.folder, 100, 0).receive(second)
    with pytest.raises(NoSpace, match="no room"):
        Shelf(shelf.folder, 1 << 40, 1 << 60).receive(second)


def test_one_brings_it_and_the_others_wait(shelf: Shelf, tmp_path: Path) -> None:
    parcel = parcel_of(place := model(tmp_path))
    brought = queue.SimpleQueue[int]()

    def want(number: int) -> None:
        with ExitStack() as hold:
            while shelf.find(parcel, hold) is None:
                if (receipt := shelf.receive(parcel)) is not None:
                    brought.put(number)
                    with receipt:
                        for path, data in pieces(place, parcel):
                            time.sleep(0.02)
                            receipt.add(path, data)

    threads = [threading.Thread(target=want, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert brought.qsize() == 1


class Desk:
    """What a bridge does for a host, in this process: answers what it asks for."""

    def __init__(self, lent: Lent, spoil: bytes | None = None) -> None:
        self.lent, self.spoil = lent, spoil
        self.asked: list[str] = []
        self.said: list[Told] = []

    def follow(self, host: Host, job: Job) -> Event:
        for said in host.run(job, [self.lent], []):
            self.said.append(said)
            if isinstance(said, Wanted):
                self.asked.append("files" if said.digest else "parcel")
                threading.Thread(target=self.answer, args=(host, said)).start()
        assert isinstance(self.said[-1], Ready)
        return next(said for said in reversed(self.said) if isinstance(said, Event))

    def answer(self, host: Host, wanted: Wanted) -> None:
        parcel = parcel_of(self.lent.place)
        if not wanted.digest:
            host.offer(wanted.id, parcel)
            return
        for path, data in pieces(self.lent.place, parcel):
            if not host.add(wanted.digest, path, self.spoil if self.spoil is not None and data else data):
                return


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("STUDIO_MODEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STUDIO_FREE_MB", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    return Host("tests.core.strokes_engine:build", Place("k", "n", "cpu on box", "cpu", 1), {}, edition())


def test_a_job_has_its_model_sent_once_and_again_only_when_it_changes(host: Host, tmp_path: Path) -> None:
    place = tmp_path / "mine.safetensors"
    place.write_bytes(b"\x01" * 50)
    lent = Lent("mine", "Mine", "{}", place, True)
    seen: list[int] = []
    for number, asked in ((1, ["parcel", "files"]), (1, ["parcel"]), (2, ["parcel", "files"])):
        place.write_bytes(bytes([number]) * 50)
        desk = Desk(lent)
        last = desk.follow(host, Job("a", "s", RECIPE))
        assert (last.kind, desk.asked) == ("done", asked), last
        seen.append(number)
    assert len(left(Shelf(tmp_path / "cache", 0))) == 2
    assert any("Fetching Mine" in said.text for said in desk.said if isinstance(said, Event))


def test_a_model_that_does_not_arrive_fails_the_job_in_a_sentence_that_names_the_node(
    host: Host, tmp_path: Path
) -> None:
    place = tmp_path / "mine.safetensors"
    place.write_bytes(b"\x01" * 50)
    last = Desk(Lent("mine", "Mine", "{}", place, True), spoil=b"\x02" * 50).follow(host, Job("a", "s", RECIPE))
    assert (last.kind, last.text) == ("failed", "cpu on box: mine.safetensors did not arrive as it was sent.")
    assert left(Shelf(tmp_path / "cache", 0)) == []


def test_a_job_is_cancelled_while_its_model_travels(host: Host, tmp_path: Path) -> None:
    place = tmp_path / "mine.safetensors"
    place.write_bytes(b"\x01" * 50)
    happening = host.run(Job("a", "s", RECIPE), [Lent("mine", "Mine", "{}", place, True)], [])
    assert next(happening) == Wanted("mine")
    host.offer("mine", parcel_of(place))
    assert isinstance(wanted := next(happening), Wanted)
    host.cancel("a")
    kinds = [said.kind for said in happening if isinstance(said, Event)]
    assert kinds[-1] == "cancelled"
    assert not host.add(wanted.digest, "", b"\x01" * 50)
    assert left(Shelf(tmp_path / "cache", 0)) == []


def test_a_model_that_the_studio_cannot_read_is_a_sentence(host: Host, tmp_path: Path) -> None:
    happening = host.run(Job("a", "s", RECIPE), [Lent("mine", "Mine", "{}", tmp_path, True)], [])
    assert next(happening) == Wanted("mine")
    host.offer("mine", StudioError("Mine could not be sent.", "Try again."))
    last = [said for said in happening if isinstance(said, Event)][-1]
    assert (last.kind, last.text) == ("failed", "cpu on box: Mine could not be sent.")


def test_pictures_of_lent_models_are_those_of_the_studios_own(small_model: Path, tmp_path: Path) -> None:
    """A checkpoint, a ControlNet, a LoRA, an autoencoder and an inversion of the user's, of which the node has none."""
    import torch
    from safetensors.torch import save_file

    from controlnet_core.engine import LocalEngine
    from controlnet_core.models import lends
    from controlnet_core.models.catalog import Catalog
    from controlnet_core.models.loading import load_base
    from tests.core.small import control_type, save_small_model
    from tests.core.test_lora import kohya, matrices

    folder = tmp_path / "models"
    for name in ("checkpoints", "controlnet", "loras", "embeddings", "vae"):
        (folder / name).mkdir(parents=True)
    (folder / "checkpoints" / "small").symlink_to(small_model)
    (folder / "controlnet" / "mine").symlink_to(small_model / "controlnet")
    (folder / "vae" / "other").symlink_to(save_small_model(tmp_path / "other", seed=9) / "vae")
    save_file(kohya(matrices(load_base(small_model))[0]), folder / "loras" / "style.safetensors")
    save_file({"emb_params": torch.randn(2, 32)}, folder / "embeddings" / "bad.safetensors")
    unit = ControlUnit(control="scribble", picture="0" * 64)
    recipe = Recipe(
        model="small", prompt="a red house", negative="bad", embeddings=("bad",), loras=(Lora(key="style"),), vae="other",
        width=64, height=64, steps=2, guidance=4.0, controls=(unit,),
    )  # fmt: skip
    control = np.kron(np.random.default_rng(1).integers(0, 2, (16, 16, 1)), np.ones((4, 4, 3))).astype(np.uint8) * 255
    controls = {"scribble": control_type("scribble")}
    catalog = Catalog(folder)

    def run(engine: LocalEngine, recipe: Recipe) -> Rgb:
        return engine.run(recipe, {"0" * 64: control}, lambda _step: None)[0]

    here = run(LocalEngine(catalog, controls, "cpu"), recipe)
    named, models = lends.lent(recipe, catalog)
    assert named.controls[0].network == "mine"
    assert [one.id for one in models if one.own] == ["small", "mine", "style", "bad", "other"]
    shelf = Shelf(tmp_path / "shelf", 1 << 30, 0)
    far = LocalEngine(Catalog(tmp_path / "nothing"), controls, "cpu")
    assert [far.has(one) for one in models] == [None] * len(models)
    places = {one.id: (one, bring(shelf, one.place)) for one in models}
    far.lend(places)
    assert np.array_equal(run(far, named), here)
    far.lend({id: places[id] for id in places if id != "style"})
    with pytest.raises(StudioError, match="no model called 'style'"):
        run(far, named)
