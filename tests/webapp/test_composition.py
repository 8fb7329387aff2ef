"""Compositions, layers and settings as data: what they become in a recipe, and what survives."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from controlnet_core.domain import document as documents
from controlnet_core.domain.document import MISSING, Person, Point, Raster, Skeleton
from controlnet_core.domain.errors import InputError, ModelMissing, RecipeError
from controlnet_core.domain.picture import open_picture
from controlnet_core.domain.recipe import Found, Lora, MicroConditioning, Recipe, Reference, Source
from controlnet_core.families import UNKNOWN, Family, family
from controlnet_core.models.catalog import ModelCard
from tests.webapp.conftest import WORKSPACE, mask
from tests.webapp.test_library import CONTROL, safetensors
from webapp.application import validation
from webapp.application.choices import (
    Choices,
    InitImageChoice,
    Networks,
    ReferenceChoice,
    called,
    fitting,
    networks_for,
)
from webapp.application.layers import layer_png, placed
from webapp.application.recipe_words import described
from webapp.application.settings import ROOT
from webapp.application.studio import Studio
from webapp.ui import page_state_store, visitor
from webapp.ui.compose import canvas_panel, layers_panel, reference_panel, state
from webapp.ui.compose.state import FRAMES, LAYERS_MAX, Composition
from webapp.ui.gallery import reopen
from webapp.ui.generate import live, panels, references
from webapp.ui.session import GenerationState

EMPTY_KEPT = b"{not json"


@pytest.fixture
def at(quiet: Studio, monkeypatch: pytest.MonkeyPatch) -> Iterator[Composition]:
    """The composition of a newcomer, in a browser and tab of its own, on a machine with the embedded model."""
    quiet.settings.models.mkdir()
    (quiet.settings.models / "paperworld").symlink_to(ROOT / "models" / "paperworld")
    monkeypatch.setattr(visitor, "workspace", lambda: WORKSPACE)
    monkeypatch.setattr(visitor, "session", lambda: "a-tab-of-the-tests")
    yield state.load(quiet)
    quiet.pages.close()


def test_a_newcomer_finds_a_layout_and_people_that_fit(quiet: Studio, at: Composition) -> None:
    assert [layer.control for layer in at.layers] == ["pose", "seg"]
    assert at.layer is at.layers[0]
    assert at.prompt
    recipe = panels.recipe_of(quiet, replace(at, model="paperworld"), state.drafts(quiet, at, base(quiet)), at.frame)
    assert [unit.control for unit in recipe.controls] == ["pose", "seg"]
    people = open_picture(quiet.blobs.get(recipe.controls[0].picture)).max(axis=2) > 0
    person = documents.decode(quiet.blobs.get(recipe.controls[1].document or ""))
    assert isinstance(person, Raster)
    assert (person.pixels[people] == 12).mean() > 0.8  # ADE20K's "person"


def test_layers_come_go_and_move(quiet: Studio, at: Composition) -> None:
    first = state.add(quiet, at, "scribble")
    second = state.add(quiet, at, "scribble")
    assert first and second and first.slot != second.slot
    assert len(at.layers) == LAYERS_MAX
    assert state.add(quiet, at, "depth") is None
    assert at.layer is second
    state.move(at, second.slot, 1)
    assert at.layers[:2] == [first, second]
    state.move(at, first.slot, -1)
    assert at.layers[0] is first
    drawn = mask(3, at.frame[0])
    state.put(quiet, first, drawn)
    state.remove(at, first.slot)
    assert first not in at.layers
    again = state.add(quiet, at, "scribble")
    assert again and again.slot == first.slot
    back = quiet.documents.latest(state.token(quiet, again, at.frame))[1]
    assert isinstance(back, Raster) and np.array_equal(back.pixels, drawn.pixels)
    for layer in list(at.layers):
        state.remove(at, layer.slot)
    assert at.layer is None and state.drafts(quiet, at, base(quiet)) == []


@pytest.mark.parametrize("key", ["sd15", "sd21", "sdxl", "paperworld"])
def test_frames_suit_the_family(key: str) -> None:
    one = family(key)
    offered = state.frames(one)
    assert list(offered) == list(FRAMES)
    if key in ("sd15", "paperworld"):
        assert offered == FRAMES
    else:
        assert offered["Square"] == one.native
    for name, (width, height) in offered.items():
        one.check_size(width, height)
        assert width % 64 == height % 64 == 0
        assert (width > height, width < height) == (name.startswith("Landscape"), name.startswith("Portrait"))
    if one.aspects:
        assert set(offered.values()) <= {one.native, *one.aspects}


def test_every_document_follows_the_frame(quiet: Studio, at: Composition) -> None:
    at.layers[0].masked = True
    at.frame = FRAMES["Portrait 2:3"]
    state.align(quiet, at)
    for layer in at.layers:
        document = quiet.documents.latest(state.token(quiet, layer, at.frame))[1]
        assert (document.width, document.height) == at.frame
    revs = [quiet.documents.read(state.token(quiet, layer, at.frame))[0] for layer in at.layers]
    state.align(quiet, at)
    assert revs == [quiet.documents.read(state.token(quiet, layer, at.frame))[0] for layer in at.layers]


def test_a_layer_acts_where_its_mask_is_painted(quiet: Studio, at: Composition) -> None:
    layer = at.layers[0]
    assert state.mask_of(quiet, layer, at.frame) is None
    layer.masked = True
    assert state.mask_of(quiet, layer, at.frame) is None  # nothing painted: everywhere
    painted = np.zeros(at.frame[::-1], np.uint8)
    painted[:100] = 255
    token = state.token(quiet, layer, at.frame, mask=True)
    quiet.documents.replace(token, documents.encode(Raster("mask", painted)))
    (first, second) = state.drafts(quiet, at, base(quiet))
    assert first.mask is not None and second.mask is None
    assert np.array_equal(open_picture(quiet.blobs.get(first.mask))[:, :, 0], painted)


def test_a_layer_that_is_left_out_is_not_in_the_recipe(quiet: Studio, at: Composition) -> None:
    at.layers[0].shown = False
    assert [draft.control for draft in state.drafts(quiet, at, base(quiet))] == ["seg"]


def test_a_page_comes_back_as_it_was_left(quiet: Studio, at: Composition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_state_store, "remembered", lambda _name, default: default)
    at.choices.loras = {"ink": 0.5}
    at.begin = InitImageChoice("a" * 64, strength=0.4, masked=True)
    at.layers[1].weight = 0.35
    at.references = [ReferenceChoice("b" * 64, 0.7, kind="reference_only", shown=False)]
    at.choices.micro = MicroConditioning(crop=(8, 0))
    state.remove(at, at.layers[0].slot)
    page_state_store.keep(quiet, state.KEY, at)
    assert state.load(quiet) == at
    quiet.pages.put(WORKSPACE, state.KEY, 1, EMPTY_KEPT)
    assert page_state_store.recall(quiet, state.KEY, Composition) is None
    assert page_state_store.recall(quiet, "never", GenerationState) is None


def test_the_photo_lies_in_the_frame_for_every_detector(quiet: Studio, at: Composition) -> None:
    studio = quiet
    photo = np.zeros((90, 300, 3), np.uint8)
    photo[:, 150:] = 255
    at.photo = studio.photos.keep(cv2.imencode(".png", photo)[1].tobytes())
    digest = state.photo_in_frame(quiet, at)
    assert digest is not None
    framed = open_picture(studio.blobs.get(digest))
    assert framed.shape == (*at.frame[::-1], 3)
    assert framed[:, : at.frame[0] // 2 - 4].max() == 0  # filled and cropped about its middle
    detection = studio.photos.detection("canny", "canny", digest, size=at.frame)
    found = studio.photos.find(detection)
    assert isinstance(found, Raster)
    assert (found.width, found.height) == at.frame
    assert (found.pixels[:, at.frame[0] // 2 - 3 : at.frame[0] // 2 + 3] > 0).any()


def test_references_are_layers_that_come_go_and_move(quiet: Studio, at: Composition) -> None:
    layer = at.layers[0]
    for colour in (10, 20, 30):
        state.add_reference(at)
        references.show(
            quiet, at, len(at.references) - 1, cv2.imencode(".png", np.full((9, 9, 3), colour, np.uint8))[1].tobytes()
        )
    first, second, third = at.references
    assert at.layer is None and at.reference == 2
    state.move_reference(at, 2, -1)
    assert at.references == [first, third, second] and at.reference == 1
    references.toggle(at, 0)
    assert [one.acts for one in at.references] == [False, True, True]
    state.remove_reference(at, 1)
    assert len(at.references) == 2 and at.reference == 1
    state.restore(at)
    assert at.references[1] == third and at.reference == 1
    state.remove_reference(at, 2)
    state.remove(at, layer.slot)
    assert layer not in at.layers
    state.restore(at)
    assert at.layers[0] is layer is at.layer
    state.restore(at)  # nothing is removed any more
    assert len(at.references) == 2
    for _ in range(5):
        state.add_reference(at)
    assert len(at.references) == references.REFERENCES_MAX


def test_a_reference_is_used_as_the_model_can(quiet: Studio, at: Composition, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an IP-Adapter a model looks at the picture itself. Where it cannot, as the embedded one, that is said."""
    at.references = [
        ReferenceChoice("a" * 64, 0.7, style_fidelity=0.2),
        ReferenceChoice("b" * 64, shown=False),
        ReferenceChoice(),
    ]
    said = "Paperworld models take no reference pictures. The reference is left out."
    assert (made_by(quiet, at).references, references.left_out(quiet, at, base(quiet))) == ((), said)
    monkeypatch.setattr(quiet.catalog, "family", lambda _card: UNKNOWN)
    (reference,) = made_by(quiet, at).references
    assert reference == Reference(kind="reference_only", picture="a" * 64, weight=0.7, style_fidelity=0.2)
    assert references.left_out(quiet, at, base(quiet)) == ""
    monkeypatch.setattr(quiet.catalog, "family", lambda _card: Family("", "Deaf", supports=frozenset()))
    assert made_by(quiet, at).references == ()
    assert references.left_out(quiet, at, base(quiet)) == (
        "Deaf models take no reference pictures. The reference is left out."
    )
    with pytest.raises(RecipeError, match="Deaf models take no reference pictures"):
        reference_panel.add(quiet, at)


def test_live_says_why_it_rests(quiet: Studio, at: Composition, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    at.live = True
    monkeypatch.setattr(live.st, "caption", said.append)
    layer = at.layers[0]

    def rests() -> str:
        assert canvas_panel.prepare_live(quiet, at, lambda: made_by(quiet, at), possible=True) is None
        return said.pop()

    state.add_reference(at)
    assert "it follows the pen. Choose a layer" in rests()
    at.chosen, layer.shown = layer.slot, False
    assert "this layer is left out" in rests()
    layer.shown, at.view = True, "sees"
    assert "Choose Draw" in rests()
    at.view = "draw"
    assert canvas_panel.prepare_live(quiet, at, lambda: made_by(quiet, at), possible=True) is not None


def test_what_sdxl_is_told_of_sizes_comes_into_its_recipes_alone(quiet: Studio) -> None:
    chosen = Choices(micro=MicroConditioning(original=(4096, 2048), crop=(0, 64)))
    for family_key, told in (("sdxl", chosen.micro), ("sd15", None)):
        assert chosen.fields(quiet.catalog, card("mine", "base", family_key), "")["micro_conditioning"] == told
    assert Choices().fields(quiet.catalog, card("mine", "base", "sdxl"), "")["micro_conditioning"] is None


@pytest.mark.parametrize(("given", "found"), [("", None), ("4096x2048", (4096, 2048)), (" 0 × 64 ", (0, 64))])
def test_two_sides_are_read(given: str, found: tuple[int, int] | None) -> None:
    assert validation.sides(given, 0, 8192) == found


@pytest.mark.parametrize("given", ["4096", "a x b", "-1x5", "9000x1", 7])
def test_two_sides_that_are_none_say_so(given: object) -> None:
    with pytest.raises(InputError):
        validation.sides(given, 0, 8192)


def made_by(quiet: Studio, at: Composition) -> Recipe:
    return panels.recipe_of(quiet, replace(at, model="paperworld"), state.drafts(quiet, at, base(quiet)), at.frame)


def test_how_controls_were_found_and_drawn_comes_back(
    quiet: Studio, at: Composition, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = quiet
    photo = np.zeros((300, 300, 3), np.uint8)
    photo[100:200, 100:200] = 255
    at.photo = studio.photos.keep(cv2.imencode(".png", photo)[1].tobytes())
    at.choices.seed = 7
    (people,) = (layer for layer in at.layers if layer.control == "pose")
    plain = made_by(quiet, at).controls[at.layers.index(people)]
    people.params = {"style": "1.1"}
    edges = state.add(quiet, at, "canny")
    assert edges is not None
    canvas_panel.detect(quiet, at, edges, "canny", {"low": 40, "high": 90})
    recipe = made_by(quiet, at)
    found, drawn = recipe.controls[at.layers.index(edges)], recipe.controls[at.layers.index(people)]
    framed = state.photo_in_frame(quiet, at)
    assert framed
    assert found.found == Found(detector="canny", picture=framed, values={"low": 40, "high": 90})
    assert drawn.values == {"style": "1.1", "hands": True, "faces": True}
    assert (drawn.document, drawn.found) == (plain.document, None)
    assert drawn.picture != plain.picture
    words = dict(described(studio, recipe))
    assert words["Pose"].endswith("drawing style 1.1")
    assert "from a photo by Canny" in words["Edges"]

    later = state.load(quiet)
    later.choices.seed = 7
    for layer in later.layers:
        state.put(quiet, layer, Skeleton(width=512, height=512) if layer.control == "pose" else mask(1, 512))
    state.put(quiet, edges, mask(2, 512))
    assert studio.photo_detections.found(state.token(quiet, edges, at.frame)) is None  # drawn by hand now
    monkeypatch.setattr(layers_panel, "open_composition", lambda _studio: later)
    quiet.submit("a-tab-of-the-tests", recipe, owner=WORKSPACE)
    missing: list[str] = []
    reopen._composition(quiet, recipe, missing)  # pyright: ignore[reportPrivateUsage]
    assert missing == []
    assert later.photo == framed
    assert made_by(quiet, later).controls == recipe.controls
    look = studio.photo_detections.of(state.token(quiet, later.layers[0], later.frame))
    assert (look.photo, look.detector, look.values["canny"]) == (later.photo, "canny", {"low": 40, "high": 90})


def test_a_recipe_of_before_or_of_elsewhere_reopens_with_what_is_known(
    quiet: Studio, at: Composition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers_panel, "open_composition", lambda _studio: at)
    recipe = made_by(quiet, at)
    quiet.submit("a-tab-of-the-tests", recipe, owner=WORKSPACE)
    strange = {
        "seg": {"values": {"gone": 3}, "found": Found(detector="gone", picture="a" * 64)},
        "pose": {"values": {"style": "9.9"}},
    }
    units = [unit.model_copy(update={"values": {}}) for unit in recipe.controls]
    missing: list[str] = []
    reopen._composition(quiet, recipe.model_copy(update={"controls": tuple(units)}), missing)  # pyright: ignore[reportPrivateUsage]
    assert missing == []
    assert made_by(quiet, at).controls == recipe.controls
    units = [unit.model_copy(update=strange[unit.control]) for unit in units]
    reopen._composition(quiet, recipe.model_copy(update={"controls": tuple(units)}), missing)  # pyright: ignore[reportPrivateUsage]
    assert missing == ["how its drawing was drawn", "the photo that it was found in"]
    assert [unit.picture for unit in made_by(quiet, at).controls] == [unit.picture for unit in recipe.controls]


def test_a_recipe_of_somebody_else_opens_none_of_their_pictures(
    quiet: Studio, at: Composition, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, photo = "e" * 32, cv2.imencode(".png", np.full((300, 300, 3), 70, np.uint8))[1].tobytes()
    digest = quiet.photos.keep(photo, theirs)
    recipe = made_by(quiet, at)
    unit = recipe.controls[0].model_copy(
        update={"found": Found(detector="canny", picture=digest), "mask": digest, "control": "canny"}
    )
    recipe = recipe.model_copy(update={"controls": (unit, recipe.controls[1]), "source": Source(picture=digest)})
    quiet.submit("their-tab", recipe, owner=theirs)
    monkeypatch.setattr(layers_panel, "open_composition", lambda _studio: at)
    missing: list[str] = []
    reopen._composition(quiet, recipe, missing)  # pyright: ignore[reportPrivateUsage]
    assert at.photo is None
    assert missing == ["its drawing", "a mask", "its drawing"]
    assert reopen._start(quiet, recipe.source or Source(picture=digest), at, missing) is None  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(visitor, "workspace", lambda: theirs)
    missing.clear()
    reopen._composition(quiet, recipe, missing)  # pyright: ignore[reportPrivateUsage]
    assert (at.photo, missing) == (digest, [])


def test_models_that_are_not_here_any_more_are_named(quiet: Studio, at: Composition) -> None:
    units = tuple(unit.model_copy(update={"network": "lost-network"}) for unit in made_by(quiet, at).controls[:1])
    lost = {"model": "lost-model", "loras": (Lora(key="lost-lora"),), "vae": "lost-vae", "controls": units}
    missing: list[str] = []
    reopen._use_model(quiet, made_by(quiet, at).model_copy(update=lost), missing)  # pyright: ignore[reportPrivateUsage]
    assert missing == ["the model lost-model", "lost-lora", "lost-network", "lost-vae"]


def test_a_job_comes_back_to_its_own_workspace_alone(
    quiet: Studio, at: Composition, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio, recipe = quiet, made_by(quiet, at)
    job = studio.submit("a-tab-of-the-tests", recipe, owner=WORKSPACE)
    assert reopen.asked(quiet, job) == recipe
    monkeypatch.setattr(visitor, "workspace", lambda: "f" * 32)
    with pytest.raises(InputError, match="no such job"):
        reopen.asked(quiet, job)


def base(quiet: Studio) -> ModelCard:
    return quiet.catalog.card("paperworld")


# ---- bringing documents into a frame


@pytest.mark.parametrize("resize", ["stretch", "crop", "fit"])
@pytest.mark.parametrize("kind", ["mask", "classes", "rgb"])
def test_rasters_come_into_a_frame(kind: documents.RasterKind, resize: str) -> None:
    pixels = np.zeros((60, 120, 3) if kind == "rgb" else (60, 120), np.uint8)
    pixels[20:40, 50:70] = 7
    result = placed(Raster(kind, pixels), 128, 128, resize)  # type: ignore[arg-type]
    assert isinstance(result, Raster)
    assert (result.kind, result.width, result.height) == (kind, 128, 128)
    assert result.pixels[64, 64].max() == 7
    if kind == "classes":
        assert set(np.unique(result.pixels)) == {0, 7}


@hypothesis_settings(max_examples=60)
@given(
    size=st.tuples(st.integers(64, 900), st.integers(64, 900)),
    frame=st.tuples(st.integers(64, 1024), st.integers(64, 1024)),
    resize=st.sampled_from(["stretch", "crop", "fit"]),
)
def test_people_move_as_pictures_do(size: tuple[int, int], frame: tuple[int, int], resize: str) -> None:
    width, height = size
    points = (Point(x=width / 2, y=height / 2), Point(x=0, y=0), Point(x=width, y=height), *[MISSING] * 15)
    before = Skeleton(width=width, height=height, people=(Person(body=points),))
    after = placed(before, *frame, resize)  # type: ignore[arg-type]
    assert isinstance(after, Skeleton)
    assert (after.width, after.height) == frame
    middle, corner, other = after.people[0].body[:3]
    assert (middle.x, middle.y) == pytest.approx((frame[0] / 2, frame[1] / 2))
    assert after.people[0].body[5] == MISSING
    wide, tall = other.x - corner.x, other.y - corner.y
    if resize == "stretch":
        assert (wide, tall) == pytest.approx(frame)
    else:
        assert wide / tall == pytest.approx(width / height)
        inside = wide <= frame[0] + 1e-6 and tall <= frame[1] + 1e-6
        covers = wide >= frame[0] - 1e-6 and tall >= frame[1] - 1e-6
        assert inside if resize == "fit" else covers


def test_layers_are_clear_where_nothing_is() -> None:
    strokes = np.zeros((8, 8, 3), np.uint8)
    strokes[2] = 255
    layer = pixels_of(layer_png(strokes, "mask", (10, 20, 30)))
    assert layer.shape == (8, 8, 4)
    assert layer[2, 0].tolist() == [10, 20, 30, 255]
    assert layer[0, 0, 3] == 0
    people = np.zeros((8, 8, 3), np.uint8)
    people[3, 3] = (200, 0, 0)
    layer = pixels_of(layer_png(people, "skeleton", (1, 2, 3)))
    assert layer[3, 3].tolist() == [200, 0, 0, 200]
    assert pixels_of(layer_png(people, "rgb", (1, 2, 3))).shape == (8, 8, 3)


def test_a_layer_on_white_paper_is_clear_where_nothing_is_drawn_and_looks_the_same_on_white():
    sheet = np.full((8, 8, 3), 255, np.uint8)
    sheet[0], sheet[1, :4], sheet[1, 4:], sheet[2] = (20, 20, 24), (206, 66, 58), (244, 240, 230), (140, 140, 141)
    layer = pixels_of(layer_png(sheet, "rgb", (1, 2, 3), 255))
    assert layer.shape == (8, 8, 4)
    assert (layer[3:, :, 3] == 0).all() and (layer[1, :4, 3] == 255).all()
    share = layer[..., 3:].astype(float) / 255
    assert np.abs(layer[..., :3] * share + 255 * (1 - share) - sheet).max() <= 1


def pixels_of(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)))


# ---- settings


def card(id: str, kind: str, family: str = "sd15") -> ModelCard:
    return ModelCard.model_validate({"id": id, "title": id, "kind": kind, "family": family, "path": f"{kind}/{id}"})


def test_embeddings_are_called_by_name() -> None:
    cards = [card("easynegative", "embedding"), card("old-ink", "embedding")]
    assert called("a house, (EasyNegative:1.2)", cards) == ["easynegative"]
    assert called("old-ink, a house.", cards) == ["old-ink"]
    assert called("easy negative, bold-ink", cards) == []


def test_what_a_model_cannot_use_stays_out_of_its_recipe(quiet: Studio) -> None:
    chosen = Choices(loras={"ink": 0.5}, vae="other", clip_skip=2)
    fields = chosen.fields(quiet.catalog, quiet.catalog.card("paperworld"), "a house")
    assert (fields["loras"], fields["vae"]) == ((), None)


def test_installed_loras_of_the_family_are_used(quiet: Studio) -> None:
    place = quiet.settings.models / "loras"
    place.mkdir(parents=True)
    (place / "ink.pt").write_bytes(b"\x80\x02")
    header = b'{"lora_unet_x.oft_blocks":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (place / "oft.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert [one.id for one in fitting(quiet.catalog, card("mine", "base"), "lora")] == ["ink"]  # an OFT cannot be used
    chosen = Choices(loras={"ink": 0.5, "gone": 1.0})
    (lora,) = chosen.fields(quiet.catalog, card("mine", "base"), "")["loras"]
    assert (lora.key, lora.weight) == ("ink", 0.5)
    assert Choices(loras={"ink": 0.0}).fields(quiet.catalog, card("mine", "base"), "")["loras"] == ()


# ---- which ControlNet carries a control


@pytest.fixture
def dream(quiet: Studio, at: Composition, monkeypatch: pytest.MonkeyPatch) -> ModelCard:
    """A base model of the user's, of SD 1.5's shape, in use; without any ControlNet."""
    place = quiet.settings.models / "checkpoints" / "dream.safetensors"
    place.parent.mkdir(parents=True)
    inside = {
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [8, 768],
        "model.diffusion_model.input_blocks.0.0.weight": [8, 4, 3, 3],
        "first_stage_model.decoder.conv_in.weight": [1],
        "cond_stage_model.transformer.text_model.final_layer_norm.weight": [1],
    }
    place.write_bytes(safetensors(inside))
    found = quiet.catalog.card("dream")
    assert (found.kind, found.family, found.trouble) == ("base", "sd15", "")
    monkeypatch.setattr(panels, "model_card", lambda _studio: found)
    return found


def put_network(quiet: Studio, name: str) -> None:
    place = quiet.settings.models / "controlnet" / f"{name}.safetensors"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(CONTROL)


def offered(quiet: Studio, base: ModelCard, control: str = "scribble") -> Networks:
    return networks_for(quiet.catalog, base, quiet.control(control))


def test_without_a_controlnet_nothing_is_queued(quiet: Studio, at: Composition, dream: ModelCard) -> None:
    """One sentence says what to download; a control that does nothing needs none."""
    at.choices.size = 256
    put_network(quiet, "control_v11p_sd15_openpose")
    assert offered(quiet, dream, "pose").titles == {"": "Pose, ControlNet 1.1 (the usual one)"}
    with pytest.raises(ModelMissing) as caught:
        layers_panel.recipe(quiet, at)
    assert str(caught.value) == (
        "Segmentation needs a ControlNet for dream: download Segmentation, ControlNet 1.1 on the Models page."
    )
    panels.generate(quiet, at, lambda: layers_panel.recipe(quiet, at))
    assert at.job is None
    assert quiet.queue.open(visitor.session()) == []
    (seg,) = (layer for layer in at.layers if layer.control == "seg")
    seg.weight = 0.0
    assert [unit.network for unit in layers_panel.recipe(quiet, at).controls] == [None, None]
    base = dream.model_copy(update={"family": "sd21"})
    assert "train one on the Train page" in offered(quiet, base, "pose").lack
    with pytest.raises(ModelMissing, match="put one into models/controlnet"):
        offered(quiet, base, "pose").chosen(None)


def test_the_usual_controlnet_is_named_when_it_is_here(quiet: Studio, at: Composition, dream: ModelCard) -> None:
    """Where it is not, one that reads the same condition comes first, then one of which nobody knows what it reads."""
    assert offered(quiet, dream).titles == {}
    put_network(quiet, "a-friends")
    put_network(quiet, "control_v11p_sd15_openpose_fp16")
    assert list(offered(quiet, dream).titles) == ["a-friends"]
    put_network(quiet, "control_v11p_sd15_scribble_fp16")
    present = offered(quiet, dream)
    assert list(present.titles) == ["control_v11p_sd15_scribble_fp16", "a-friends"]
    assert present.chosen(None) == "control_v11p_sd15_scribble_fp16"
    assert present.chosen("a-friends") == "a-friends"
    assert present.chosen("gone") == "control_v11p_sd15_scribble_fp16"
    assert present.note == (
        "The usual one, Scribble, ControlNet 1.1, is not on this machine: download it on the Models page."
    )
    put_network(quiet, "control_v11p_sd15_scribble")
    present = offered(quiet, dream)
    assert next(iter(present.titles.items())) == ("", "Scribble, ControlNet 1.1 (the usual one)")
    assert (present.chosen(None), present.chosen("a-friends"), present.note) == (None, "a-friends", "")
    assert list(offered(quiet, dream, "pose").titles) == ["control_v11p_sd15_openpose_fp16", "a-friends"]
    assert list(offered(quiet, base(quiet)).titles) == [""]  # the embedded model has its own


REWORKED = {
    "inpaint": "control_v11p_sd15_inpaint",
    "tile": "control_v11f1e_sd15_tile",
    "shuffle": "control_v11e_sd15_shuffle",
    "ip2p": "control_v11e_sd15_ip2p",
}


def test_conditions_that_rework_a_picture_are_layers_like_others(
    quiet: Studio, at: Composition, dream: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filled from the photo, brought to another frame, carried by their own networks, and back from the recipe."""
    photo = np.random.default_rng(4).integers(0, 255, (12, 16, 3), np.uint8)
    photo = cv2.resize(photo, (320, 240), interpolation=cv2.INTER_CUBIC)
    at.photo = quiet.photos.keep(cv2.imencode(".png", photo[..., ::-1])[1].tobytes())
    at.choices.size = 256
    for layer in list(at.layers):
        state.remove(at, layer.slot)
    for control, name in REWORKED.items():
        put_network(quiet, name)
        layer = state.add(quiet, at, control)
        assert layer is not None and layer.resize == "crop"
        canvas_panel.detect(quiet, at, layer, quiet.control(control).detectors[0].key, {})
        assert not state.is_empty(quiet, layer, at.frame)

    hole = next(layer for layer in at.layers if layer.control == "inpaint")
    drawn = quiet.documents.latest(state.token(quiet, hole, at.frame))[1]
    assert isinstance(drawn, Raster)
    pixels = drawn.pixels.copy()
    pixels[200:300, 200:300, 3] = 0
    state.put(quiet, hole, Raster("rgba", pixels))

    at.frame = FRAMES["Landscape 3:2"]
    state.align(quiet, at)
    recipe = layers_panel.recipe(quiet, at)
    units = {unit.control: unit for unit in recipe.controls}
    assert {control: unit.network for control, unit in units.items()} == dict.fromkeys(REWORKED)
    assert list(units) == list(reversed(REWORKED)), "the topmost layer is the first"
    for control, unit in units.items():
        made = open_picture(quiet.blobs.get(unit.picture), alpha=control == "inpaint")
        assert made.shape[:2] == at.frame[::-1], control
        assert unit.document is not None
        if control == "inpaint":
            assert 0.02 < (made[..., 3] == 0).mean() < 0.08, "the hole came along"
        else:
            assert unit.found is not None and made.std() > 5

    later = state.load(quiet)
    later.choices = replace(at.choices)
    monkeypatch.setattr(layers_panel, "open_composition", lambda _studio: later)
    quiet.submit("a-tab-of-the-tests", recipe, owner=WORKSPACE)
    missing: list[str] = []
    reopen._composition(quiet, recipe, missing)  # pyright: ignore[reportPrivateUsage]
    assert missing == []
    assert layers_panel.recipe(quiet, later).controls == recipe.controls
