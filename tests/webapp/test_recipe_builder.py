"""One builder of recipes: a control as document, as finished picture, or as photo with a detector."""

from __future__ import annotations

import numpy as np
import pytest

from controlnet_core.domain import document as documents
from controlnet_core.domain import picture
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import InputError, ModelMissing, RecipeError
from controlnet_core.domain.recipe import Found
from controlnet_core.families import UNKNOWN, family
from controlnet_core.models import fit
from tests.webapp.conftest import WORKSPACE, mask
from webapp.application.recipe_builder import Draft, Finished, Photo
from webapp.application.settings import ROOT
from webapp.application.studio import Studio

SIZE = {"model": "paperworld", "width": 64, "height": 64}


def square() -> Rgb:
    """A photo with one white square, 300 x 300 px."""
    photo = np.zeros((300, 300, 3), np.uint8)
    photo[100:200, 100:200] = 255
    return photo


@pytest.fixture
def embedded(quiet: Studio) -> Studio:
    """A studio with the embedded model."""
    quiet.settings.models.mkdir()
    (quiet.settings.models / "paperworld").symlink_to(ROOT / "models" / "paperworld")
    return quiet


def test_a_finished_picture_is_used_as_it_is(quiet: Studio) -> None:
    edges = quiet.render("scribble", mask())
    (drawn,) = quiet.builder.recipe([Draft("scribble", mask())], **SIZE).controls
    (finished,) = quiet.builder.recipe([Draft("scribble", Finished(edges))], **SIZE).controls
    assert finished.picture == drawn.picture
    assert (finished.document, finished.found) == (None, None)


def test_a_photo_is_looked_at_and_says_so(quiet: Studio) -> None:
    photo = quiet.photos.keep(picture.to_png(square()))
    (unit,) = quiet.builder.recipe([Draft("canny", Photo(photo, values={"low": 40}))], **SIZE).controls
    assert unit.found == Found(detector="canny", picture=photo, values={"low": 40, "high": 200})
    known = quiet.photos.find(quiet.photos.detection("canny", "canny", photo, {"low": 40}))
    assert known is not None
    assert quiet.blobs.get(unit.document or "") == documents.encode(known)
    (small,) = quiet.builder.recipe([Draft("canny", Photo(photo, size=(256, 320)))], **SIZE).controls
    assert picture.open_picture(quiet.blobs.get(small.picture)).shape == (320, 256, 3)


def test_what_a_network_finds_is_waited_for(studio: Studio) -> None:
    dark = np.full((64, 64, 3), 255, np.uint8)
    dark[:32] = 0
    asked = Draft("lines", Photo(studio.photos.keep(picture.to_png(dark)), "mlsd", size=(64, 64)))
    with pytest.raises(InputError, match="as a job of its own"):
        studio.builder.recipe([asked], **SIZE)
    (unit,) = studio.builder_for("a client", WORKSPACE).recipe([asked], **SIZE).controls
    assert unit.found is not None
    assert unit.found.detector == "mlsd"
    found = documents.decode(studio.blobs.get(unit.document or ""))
    assert isinstance(found, documents.Raster)
    assert (found.pixels[:32] == 255).all()
    assert studio.photos.find(studio.photos.detection("lines", "mlsd", unit.found.picture, size=(64, 64))) is not None


def test_what_is_not_given_is_what_the_model_suggests(embedded: Studio) -> None:
    card = embedded.catalog.card("paperworld")
    made = embedded.builder.for_base(card, [Draft("scribble", mask())], prompt="a house", steps=None, guidance=2.5)
    assert (made.model, made.steps, made.guidance) == ("paperworld", card.defaults.steps, 2.5)
    assert (made.width, made.height, made.sampler) == (card.defaults.width, card.defaults.height, card.defaults.sampler)
    assert made.negative == card.defaults.negative


def test_a_control_that_nothing_carries_is_said_and_one_that_does_nothing_is_not(quiet: Studio) -> None:
    card = quiet.catalog.card("sd15")
    with pytest.raises(ModelMissing, match="Scribble"):
        quiet.builder.for_base(card, [Draft("scribble", mask())])
    (idle,) = quiet.builder.for_base(card, [Draft("scribble", mask(), weight=0.0)]).controls
    assert idle.network is None
    (named,) = quiet.builder.for_base(card, [Draft("scribble", mask(), network="of-mine")]).controls
    assert named.network == "of-mine"


def test_a_wrong_start_is_named(quiet: Studio) -> None:
    image = quiet.builder.kept(square())
    assert quiet.builder.source(image, strength=0.5).picture == image
    with pytest.raises(RecipeError, match="strength"):
        quiet.builder.source(image, strength=2)
    with pytest.raises(RecipeError, match="blur_px"):
        quiet.builder.source(image, blur_px=-1)


@pytest.mark.parametrize(
    ("canvas", "shorter", "size"),
    [((512, 512), 256, (256, 256)), ((1024, 256), 512, (1024, 512)), ((100, 3000), 64, (64, 1024))],
)
def test_a_picture_has_the_canvas_shape_within_bounds(
    canvas: tuple[int, int], shorter: int, size: tuple[int, int]
) -> None:
    assert UNKNOWN.picture_size(*canvas, shorter) == size


@pytest.mark.parametrize(
    ("canvas", "side", "size"),
    [
        ((768, 512), 1024, (1216, 832)),
        ((512, 512), 1024, (1024, 1024)),
        ((100, 3000), 1024, (640, 1536)),
        ((768, 512), 512, (640, 448)),
        ((768, 512), 960, (1152, 768)),
        ((768, 512), 1088, (1344, 896)),
    ],
)
def test_a_family_with_shapes_of_its_own_makes_those_at_its_own_size_and_is_read_back(
    canvas: tuple[int, int], side: int, size: tuple[int, int]
) -> None:
    sdxl = family("sdxl")
    assert sdxl.picture_size(*canvas, side) == size
    assert sdxl.picture_size(*canvas, sdxl.size_of(*size)) == size


def test_a_reference_names_what_looks_at_it_or_says_what_is_missing(embedded: Studio) -> None:
    image = embedded.photos.keep(picture.to_png(square()))
    catalog = embedded.catalog
    with pytest.raises(RecipeError, match="Paperworld models take no reference pictures"):
        embedded.builder.reference(catalog.card("paperworld"), image)
    alone = embedded.builder.reference(catalog.card("sdxl"), image, kind="reference_only", style_fidelity=1.0)
    assert (alone.kind, alone.adapter, alone.style_fidelity) == ("reference_only", None, 1.0)
    with pytest.raises(ModelMissing, match="download IP-Adapter for SDXL on the Models page"):
        embedded.builder.reference(catalog.card("sdxl"), image)
    place = embedded.settings.models / catalog.card("ip-adapter-sdxl").path
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x")
    made = embedded.builder.reference(catalog.card("sdxl"), image, weight=0.4, end=0.5)
    assert (made.adapter, made.weight, made.end, made.picture) == ("ip-adapter-sdxl", 0.4, 0.5, image)
    with pytest.raises(RecipeError, match="weight"):
        embedded.builder.reference(catalog.card("sdxl"), image, weight=7)
    recipe = embedded.builder.recipe([], model="sdxl", width=64, height=64, references=(made,))
    with pytest.raises(ModelMissing, match="Image encoder, CLIP ViT-H is not on this machine"):
        fit.check(recipe, catalog)
