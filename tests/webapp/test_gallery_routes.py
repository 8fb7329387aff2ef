"""The gallery's routes: what belongs to a workspace is found, changed and packed by it alone."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from controlnet_core.domain.job import Job
from controlnet_core.storage.metadata import recipe_of, to_png
from tests.webapp.conftest import WORKSPACE, mask
from webapp.application.jobs import Throughput
from webapp.application.recipe_builder import Draft
from webapp.application.settings import Settings
from webapp.application.studio import Studio
from webapp.routes import gallery, table

OTHER = "cd" * 16
FIELDS = {"model": "paperworld", "width": 64, "height": 64, "steps": 3}
RGB = np.zeros((64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Studio, list[str]]]:
    """A studio whose worker is not started, with five pictures of one workspace and one of another."""
    folder: Path = tmp_path_factory.mktemp("shelf")
    studio = Studio(Settings(data=folder / "data", models=folder / "models", free_min_bytes=0))
    ids: list[str] = []
    for seed in range(6):
        recipe = studio.new_recipe([Draft("scribble", mask(seed))], prompt=f"boat <b>{seed}</b>", seed=seed, **FIELDS)
        owner = WORKSPACE if seed < 5 else OTHER
        ids += studio.gallery.add(Job(f"job-{seed:08d}", "s", recipe, owner=owner), [to_png(RGB, recipe)])
    yield studio, ids
    studio.close()


@pytest.fixture
def client(shelf: tuple[Studio, list[str]]) -> TestClient:
    app = Starlette(routes=table.routes(lambda: shelf[0]))
    return TestClient(app, base_url="http://localhost", headers={"Origin": "http://localhost"})


@pytest.fixture
def where(shelf: tuple[Studio, list[str]]) -> str:
    return f"/studio/gallery/{shelf[0].events.stream('mine', WORKSPACE)}"


def seeds(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return [one["seed"] for one in answer.json()["pictures"]]


def test_pages_search_and_counts(client: TestClient, where: str, shelf: tuple[Studio, list[str]]) -> None:
    first = client.get(where, params={"n": 2})
    assert seeds(first) == [4, 3]
    told = first.json()
    assert (told["more"], told["total"], told["controls"], told["binned"]) == (True, 5, {"scribble": 5}, 0)
    assert seeds(client.get(where, params={"n": 9, "before": told["pictures"][-1]["id"]})) == [2, 1, 0]
    assert seeds(client.get(where, params={"text": "BOAT <b>3"})) == [3]
    assert seeds(client.get(where, params={"control": "pose"})) == []
    assert set(told["pictures"][0]) >= {"id", "url", "name", "prompt", "width", "height", "starred"}


@pytest.mark.parametrize(
    "query", [{"n": "x"}, {"n": "99999"}, {"before": "../x"}, {"shelf": "else"}, {"text": "x" * 500}]
)
def test_a_wrong_question_is_a_sentence(client: TestClient, where: str, query: dict[str, str]) -> None:
    answer = client.get(where, params=query)
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")


def test_deeds_reach_ones_own_pictures_alone(client: TestClient, where: str, shelf: tuple[Studio, list[str]]) -> None:
    studio, ids = shelf
    assert client.post(f"{where}/star", json={"ids": [ids[0], ids[5]]}).json() == {"ids": [ids[0]]}
    assert seeds(client.get(where, params={"shelf": "starred"})) == [0]
    assert client.post(f"{where}/delete", json={"ids": ids}).json() == {"ids": ids[:5]}
    assert not studio.gallery.get(ids[5]).deleted
    assert seeds(client.get(where)) == []
    assert seeds(client.get(where, params={"shelf": "bin"})) == [4, 3, 2, 1, 0]
    assert client.post(f"{where}/restore", json={"ids": ids[:5]}).json() == {"ids": ids[:5]}
    assert client.post(f"{where}/unstar", json={"ids": ids[:1]}).json() == {"ids": ids[:1]}
    assert seeds(client.get(where)) == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"ids": "x"}',
        b'{"ids": []}',
        b'{"ids": [1]}',
        b'{"ids": ["../x"]}',
        b"[" * 9000,
    ],
)
def test_a_wrong_deed_changes_nothing(client: TestClient, where: str, body: bytes) -> None:
    assert client.post(f"{where}/delete", content=body).status_code == 400
    assert client.post(f"{where}/burn", json={"ids": ["0" * 32]}).status_code == 400
    assert len(seeds(client.get(where))) == 5


def test_another_sites_page_and_unknown_tokens_are_refused(client: TestClient, where: str) -> None:
    for deed in ("star", "delete", "empty", "vary", "pictures.zip"):
        foreign = client.post(f"{where}/{deed}", json={"ids": ["0" * 32]}, headers={"Origin": "http://evil.example"})
        assert foreign.status_code == 403
    assert client.get("/studio/gallery/nothing").status_code == 404
    assert client.get("/studio/jobs/nothing").status_code == 404
    assert client.post(f"{where}/delete", content=b"x" * (1 << 19)).status_code == 413


def test_too_many_deeds_are_slowed_down(
    shelf: tuple[Studio, list[str]], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "DEEDS_PER_S", 0.01)
    monkeypatch.setattr(gallery, "DEEDS_BURST", 3.0)
    app = TestClient(Starlette(routes=table.routes(lambda: shelf[0])), base_url="http://localhost")
    headers = {"Origin": "http://localhost"}
    answers = [app.post(f"{where}/star", json={"ids": ["0" * 32]}, headers=headers).status_code for _ in range(5)]
    assert answers == [200] * 3 + [429] * 2


def test_a_zip_holds_ones_own_pngs_with_their_recipes(
    client: TestClient, where: str, shelf: tuple[Studio, list[str]]
) -> None:
    _, ids = shelf
    for form, wanted in (({"ids": " ".join(ids[1:])}, [1, 2, 3, 4]), ({"text": "boat"}, [0, 1, 2, 3, 4])):
        answer = client.post(f"{where}/pictures.zip", data=form)
        assert answer.headers["content-disposition"].startswith("attachment")
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            recipes = [recipe_of(archive.read(name)) for name in archive.namelist()]
        assert sorted(one.seed for one in recipes if one) == wanted
    assert client.post(f"{where}/pictures.zip", data={"ids": ids[5]}).status_code == 400


def test_a_recipe_in_words_and_its_control(client: TestClient, shelf: tuple[Studio, list[str]]) -> None:
    studio, ids = shelf
    about = client.get(f"/studio/pictures/{ids[2]}.json").json()
    words = dict(about["words"])
    assert (words["Prompt"], words["Seed"], words["Size"], words["Scribble"]) == (
        "boat <b>2</b>",
        "2",
        "64 × 64 px",
        "strength 1",
    )
    assert json.loads(about["recipe"])["seed"] == 2
    control = client.get(f"/studio/pictures/{ids[2]}/control/0.png")
    assert control.content == studio.blobs.get(studio.gallery.get(ids[2]).recipe.controls[0].picture)
    assert client.get(f"/studio/pictures/{ids[2]}/control/1.png").status_code == 400
    assert client.get(f"/studio/pictures/{'0' * 32}.json").status_code == 400


def test_vary_queues_siblings_for_this_session(client: TestClient, where: str, shelf: tuple[Studio, list[str]]) -> None:
    studio, ids = shelf
    told = client.post(f"{where}/vary", json={"id": ids[3], "images": 3})
    entry = studio.queue.get(told.json()["job"])
    assert (entry.session, entry.owner, entry.state) == ("mine", WORKSPACE, "queued")
    recipe, before = json.loads(entry.recipe), json.loads(studio.gallery.get(ids[3]).recipe.to_json())
    assert recipe["images"] == 3
    assert {**recipe, "images": 1, "seed": 3} == before
    for wrong in ({"id": ids[3], "images": 99}, {"id": "x"}, {}):
        assert client.post(f"{where}/vary", json=wrong).status_code == 400
    strangers = f"/studio/gallery/{studio.events.stream('theirs', OTHER)}"
    assert client.post(f"{strangers}/vary", json={"id": ids[3], "images": 1}).status_code == 400


def test_the_drawer_lists_what_waits_with_its_wait(
    client: TestClient, where: str, shelf: tuple[Studio, list[str]]
) -> None:
    studio, _ = shelf
    stream = where.rpartition("/")[2]
    for entry in studio.queue.open():
        studio.queue.cancel(entry.id)
    done = studio.submit("mine", studio.new_recipe([], **FIELDS), owner=WORKSPACE)
    assert client.get(f"/studio/jobs/{stream}").json()["open"][0]["wait_s"] is not None  # nobody is ahead
    studio.queue.claim()
    studio.queue.done(done, ())
    others = studio.submit("theirs", studio.new_recipe([], **FIELDS | {"steps": 30}), owner=OTHER)
    mine = studio.submit("mine", studio.new_recipe([], prompt="x" * 50, **FIELDS), owner=WORKSPACE)
    told = client.get(f"/studio/jobs/{stream}").json()
    (job,) = told["open"]
    assert (job["id"], job["ahead"], job["prompt"], job["state"]) == (mine, 1, "x" * 50, "queued")
    assert done in [one["id"] for one in told["over"]]
    assert others not in json.dumps(told)
    pace = Throughput.of(studio.queue.ended())
    ahead = pace.run_s(studio.queue.get(others))
    assert ahead is not None
    assert job["wait_s"] == pytest.approx(ahead, abs=0.1)


def test_a_job_is_cancelled_from_another_tab_of_the_same_browser_only(
    client: TestClient, shelf: tuple[Studio, list[str]]
) -> None:
    studio, _ = shelf
    job = studio.submit("before the reload", studio.new_recipe([], **FIELDS), owner=OTHER)
    stranger, same = studio.events.stream("stranger", WORKSPACE), studio.events.stream("after the reload", OTHER)
    assert client.post(f"/studio/jobs/{stranger}/cancel/{job}").status_code == 400
    assert studio.queue.get(job).state == "queued"
    assert client.post(f"/studio/jobs/{same}/cancel/{job}").json() == {"state": "cancelled"}


def test_a_picture_is_asked_how_it_was_made(client: TestClient, shelf: tuple[Studio, list[str]], where: str) -> None:
    studio, ids = shelf
    own = client.post(f"{where}/settings", content=studio.gallery.get(ids[0]).png.read_bytes())
    assert own.status_code == 200 and own.json()["kind"] == "studio" and '"boat' in own.json()["text"]
    plain = client.post(f"{where}/settings", content=b"\xff\xd8 no picture")
    assert plain.json() == {"kind": "", "text": ""}
    assert client.post("/studio/gallery/nobody/settings", content=b"x").status_code == 404
