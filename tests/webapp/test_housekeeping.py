"""What is removed once a day, and what never is."""

from __future__ import annotations

import os
import time

import pytest

from controlnet_core.domain import picture
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.job import Job
from controlnet_core.storage.gallery import to_png
from tests.webapp.conftest import WORKSPACE, mask
from webapp.application.housekeeping import BIN_S, BLOB_S, JOB_S, Removed
from webapp.application.recipe_builder import Draft
from webapp.application.studio import Studio

FIELDS = {"model": "paperworld", "width": 64, "height": 64, "steps": 3}
DAY_S = 24 * 3600.0


def age(studio: Studio) -> None:
    """Make every blob as old as blobs can be."""
    for path in studio.blobs.folder.rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1))


def made(studio: Studio, seed: int) -> tuple[str, list[str]]:
    """A picture in the gallery; its id and the digests that it names."""
    recipe = studio.new_recipe([Draft("scribble", mask(seed))], **FIELDS)
    rgb = picture.open_picture(studio.blobs.get(recipe.controls[0].picture))
    (id,) = studio.gallery.add(Job(f"job-{seed:08d}", "s", recipe, owner=WORKSPACE), [to_png(rgb, recipe)])
    return id, [recipe.controls[0].picture, recipe.controls[0].document or ""]


def test_what_a_picture_names_stays_until_the_bin_is_emptied(quiet: Studio) -> None:
    id, digests = made(quiet, 1)
    age(quiet)
    now = time.time()
    assert quiet.housekeeping.round(now) == Removed()
    quiet.gallery.delete([id], WORKSPACE)
    assert quiet.housekeeping.round(now + BIN_S - 60) == Removed()
    assert all(digest in quiet.blobs for digest in digests)
    quiet.gallery.restore([id], WORKSPACE)
    assert quiet.housekeeping.round(now + 2 * BIN_S) == Removed()
    quiet.gallery.delete([id], WORKSPACE)
    gone = quiet.housekeeping.round(now + BIN_S + 60)
    assert (gone.pictures, gone.blobs) == (1, 2)
    assert not any(digest in quiet.blobs for digest in digests)
    with pytest.raises(InputError):
        quiet.gallery.get(id)


def test_what_a_waiting_job_or_a_page_names_is_never_removed(quiet: Studio) -> None:
    waiting = quiet.new_recipe([Draft("scribble", mask(2))], **FIELDS)
    quiet.submit("s", waiting, owner=WORKSPACE)
    remembered = quiet.blobs.put(b"a photo that a page starts from")
    pages = quiet.settings.data / "pages" / WORKSPACE
    pages.mkdir(parents=True)
    (pages / "scribble.doc").write_bytes(bytes(8) + f'{{"begin": {{"picture": "{remembered}"}}}}'.encode())
    lost = quiet.blobs.put(b"what nobody names")
    age(quiet)
    quiet.blobs.touch(lost)
    assert quiet.housekeeping.round(time.time()).blobs == 0  # put just now
    age(quiet)
    assert quiet.housekeeping.round(time.time() + 300 * DAY_S).blobs == 1
    assert lost not in quiet.blobs
    assert remembered in quiet.blobs
    job = quiet.queue.claim()
    assert job is not None
    assert set(job.pictures) == set(waiting.pictures)


def test_jobs_are_forgotten_after_a_quarter_and_their_pictures_kept(quiet: Studio) -> None:
    job = quiet.submit("s", quiet.new_recipe([], **FIELDS), owner=WORKSPACE)
    quiet.queue.claim()
    quiet.queue.done(job, ())
    still = quiet.submit("s", quiet.new_recipe([], **FIELDS), owner=WORKSPACE)
    now = time.time()
    assert quiet.housekeeping.round(now + JOB_S - 60).jobs == 0
    assert quiet.housekeeping.round(now + JOB_S + 60).jobs == 1
    assert [entry.id for entry in quiet.queue.of(WORKSPACE)] == [still]


def test_blobs_of_a_job_that_ended_stay_for_a_week(quiet: Studio) -> None:
    recipe = quiet.new_recipe([Draft("scribble", mask(3))], **FIELDS)
    job = quiet.submit("s", recipe, owner=WORKSPACE)
    quiet.queue.cancel(job)
    age(quiet)
    assert quiet.housekeeping.round(time.time() + BLOB_S - 60).blobs == 0
    assert quiet.housekeeping.round(time.time() + BLOB_S + 60).blobs == 2


def test_it_ends_when_the_studio_does(quiet: Studio) -> None:
    quiet.housekeeping.start()
    begun = time.monotonic()
    quiet.housekeeping.stop()
    assert time.monotonic() - begun < 5
