"""Classes, their colours and the words people look for."""

import numpy as np

from annotator import seg
from controlnet_core.domain.document import Raster
from controlnet_core.models.catalog import Catalog
from paperworld.world import labels
from tests.conftest import ROOT


def test_render_and_read_back_every_class():
    indices = np.arange(150, dtype=np.uint8).reshape(10, 15)
    colours = seg.render(Raster("classes", indices), {})
    again, changed, ambiguous = seg.nearest_classes(colours)
    expected = indices.copy()
    expected[expected == 48] = 6  # skyscraper looks like road
    np.testing.assert_array_equal(again, expected)
    assert changed == 0 and ambiguous == 2


def test_stray_colours_move_to_the_nearest_class_and_are_counted():
    colours = seg.palette()[np.full((20, 20), 2)]
    colours[:, :5] = np.clip(colours[:, :5].astype(int) + np.array((3, -4, 2)), 0, 255)
    again, changed, ambiguous = seg.nearest_classes(colours)
    assert (again == 2).all() and changed == 100 and ambiguous == 0


def test_a_photo_of_many_colours_gets_the_truly_nearest():
    rng = np.random.default_rng(2)
    rgb = rng.integers(0, 256, (90, 100, 3)).astype(np.uint8)
    got, changed, _ = seg.nearest_classes(rgb)
    gaps = ((rgb.reshape(-1, 1, 3).astype(int) - seg.palette().astype(int)) ** 2).sum(2)
    assert (gaps[np.arange(9000), got.ravel()] == gaps.min(1)).all()
    assert changed == (gaps.min(1) > 0).sum()


def test_every_class_has_other_words():
    assert all(len(one.synonyms) >= 2 for one in seg.classes())


def test_search_by_meaning():
    first = {"ocean": "sea", "couch": "sofa", "street": "road", "woman": "person", "fridge": "refrigerator",
             "lawn": "grass", "tv": "television receiver", "plane": "airplane", "window": "windowpane"}  # fmt: skip
    for words, name in first.items():
        assert name in [one.name for one in seg.search(words)[:3]], words
    assert seg.search("sea")[0].name == "sea" and seg.search("xyzzy") == [] and len(seg.search(" ")) == 150
    assert seg.search("coffee table")[0].name == "coffee table"


def test_the_embedded_model_says_which_classes_it_has_seen():
    catalog = Catalog(ROOT / "models")
    seen = catalog.classes(catalog.card("paperworld"))
    assert tuple(seen) == labels.SHOWN
    lines = (ROOT / "models" / "paperworld" / "classes.txt").read_text("utf-8").splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [seg.classes()[index].name for index in seen]
    assert catalog.classes(catalog.card("sd15-seg-v11")) == [], "nothing is claimed of models that say nothing"
