"""OpenAI's picture API, spoken by its own unchanged client with a real server that has the embedded model."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from controlnet_core.domain import picture as pictures
from controlnet_core.domain.picture import open_picture, to_png
from controlnet_core.storage.gallery import recipe_of
from tests.webapp.conftest import mask
from webapp.api import openai as shape
from webapp.application.recipe_builder import Draft
from webapp.application.studio import Studio

QUICK = {"steps": 2, "seed": 7}
SMALL: dict[str, Any] = {"size": "64x64", "extra_body": {"studio": QUICK}}


@pytest.fixture(scope="module")
def studio(served_api: tuple[Studio, int]) -> Studio:
    return served_api[0]


@pytest.fixture(scope="module")
def url(served_api: tuple[Studio, int]) -> str:
    return f"http://127.0.0.1:{served_api[1]}/v1"


@pytest.fixture(scope="module")
def client(url: str, studio: Studio) -> Iterator[openai.OpenAI]:
    _, secret = studio.keys.create("openai")
    with openai.OpenAI(base_url=url, api_key=secret, max_retries=0) as client:
        yield client


def made(answer: openai.types.ImagesResponse) -> list[bytes]:
    return [base64.b64decode(one.b64_json or "") for one in answer.data or []]


def file(*bands: np.ndarray) -> tuple[str, bytes, str]:
    return "a.png", to_png(np.dstack(bands)), "image/png"


def coloured() -> np.ndarray:
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[16:48, 16:48] = (200, 90, 40)
    return rgb


def test_pictures_are_made_and_carry_their_recipe(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a red house", n=2, model="paperworld", **SMALL)
    first, second = made(answer)
    assert answer.size == "64x64"
    assert time.time() - answer.created < 60
    assert open_picture(first).shape == (64, 64, 3)
    assert [one.model_extra for one in answer.data or []] == [{"seed": 7}, {"seed": 8}]
    recipe = recipe_of(second)
    assert recipe is not None
    assert (recipe.prompt, recipe.seed, recipe.steps, recipe.model) == ("a red house", 8, 2, "paperworld")
    assert not answer.model_extra


def test_the_same_recipe_makes_the_same_pixels_as_the_page(client: openai.OpenAI, studio: Studio) -> None:
    edges = base64.b64encode(to_png(studio.render("scribble", mask(1, 64)))).decode()
    asked = QUICK | {"controls": [{"control": "scribble", "picture": edges, "weight": 0.8}]}
    answer = client.images.generate(prompt="a house", size="64x64", extra_body={"studio": asked})
    base = studio.catalog.card("paperworld")
    draft = Draft("scribble", mask(1, 64), weight=0.8)
    ours = studio.builder.for_base(base, [draft], prompt="a house", width=64, height=64, **QUICK)
    entry = studio.wait(studio.submit("page", ours, owner="ab" * 16), 120)
    page = studio.gallery.get(entry.kept[0]).png.read_bytes()
    assert np.array_equal(open_picture(made(answer)[0]), open_picture(page))


def test_what_is_transparent_in_the_mask_is_drawn_anew(client: openai.OpenAI) -> None:
    keep = np.full((64, 64), 255, np.uint8)
    keep[:, 32:] = 0
    extra = {"studio": '{"steps": 2, "seed": 7, "start_from": {"blur_px": 0}}'}
    picture = file(coloured())
    answer = client.images.edit(image=picture, mask=file(coloured(), keep), prompt="a tree", extra_body=extra)
    (png,) = made(answer)
    recipe = recipe_of(png)
    assert recipe is not None
    assert recipe.source is not None
    assert (recipe.source.strength, recipe.source.blur_px) == (1.0, 0)
    assert answer.size == "256x256", "as large as the model draws"
    small = {"size": "64x64", "extra_body": extra}
    masked = made(client.images.edit(image=[picture], mask=file(coloured(), keep), prompt="a tree", **small))[0]
    alone = made(client.images.edit(image=file(coloured(), keep), prompt="a tree", **small))[0]
    for one in (masked, alone):
        kept, drawn = (open_picture(one).astype(int) - coloured())[:, :24], open_picture(one)[:, 36:]
        assert np.abs(kept).max() <= 1
        assert (drawn != coloured()[:, 36:]).any()


def test_no_picture_to_edit_is_opened_in_the_web_process(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are decoded in a process that may be killed; here the web process's own readers refuse what was sent."""
    keep = np.full((64, 64), 255, np.uint8)
    keep[:, 32:] = 0
    # As another program writes them: what the studio encodes anew, and opens here, has other bytes.
    flat = [cv2.IMWRITE_PNG_COMPRESSION, 0]
    bands = coloured(), np.dstack([coloured(), keep])
    sent = [cv2.imencode(".png", each, flat)[1].tobytes() for each in bands]

    def trapped(read: Callable[..., Any]) -> Callable[..., Any]:
        def trap(data: bytes, **how: Any) -> Any:
            assert data not in sent, "opened here"
            return read(data, **how)

        return trap

    for name in ("open_picture", "open_layers", "open_mask"):
        monkeypatch.setattr(pictures, name, trapped(getattr(pictures, name)))
    whole, holed = (("sent.png", data, "image/png") for data in sent)
    edit: Any = client.images.edit
    for given in ({"image": whole, "mask": holed}, {"image": holed}):
        assert made(edit(prompt="a tree", size="64x64", extra_body={"studio": '{"steps": 1}'}, **given))


def test_without_a_mask_the_whole_picture_changes_to_a_degree(client: openai.OpenAI) -> None:
    extra = {"studio": '{"steps": 4, "seed": 7, "start_from": {"strength": 0.3}}'}
    answer = client.images.edit(
        image=[file(coloured())] * 2, prompt="a tree", size="64x64", extra_body=extra, input_fidelity="high"
    )
    recipe = recipe_of(made(answer)[0])
    assert recipe is not None
    assert recipe.source is not None
    assert recipe.source.strength == 0.3
    assert answer.model_extra == {"ignored": ["all pictures but the first", "input_fidelity"]}


def test_formats_and_addresses(client: openai.OpenAI, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for form in ("jpeg", "webp"):
        answer = client.images.generate(prompt="a hill", output_format=form, output_compression=80, **SMALL)
        assert answer.output_format == form
        assert Image.open(io.BytesIO(made(answer)[0])).format == form.upper()
    answer = client.images.generate(prompt="a hill", response_format="url", **SMALL)
    address = (answer.data or [])[0].url or ""
    assert address.startswith(url)
    opened = httpx.get(address)
    assert opened.headers["content-type"] == "image/png"
    assert recipe_of(opened.content) is not None, "nobody needs a key for it"
    until, signature, name = address.rsplit("/", 1)[1].split(".", 2)
    for wrong in (
        f"{int(until) + 9}.{signature}.{name}",
        f"{until}.{signature}.x{name}",
        "x",
        "1.2",
        f"{'9' * 40}.a.b",
    ):
        assert httpx.get(f"{url}/images/files/{wrong}").status_code == 404
    monkeypatch.setattr(shape, "LINK_S", -1)
    late = (client.images.generate(prompt="a hill", response_format="url", **SMALL).data or [])[0].url or ""
    assert "for an hour" in httpx.get(late).json()["error"]["message"]


def test_what_is_not_done_is_named(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = SMALL | {"size": "70x64", "quality": "high", "style": "vivid", "moderation": "low"}
    answer = client.images.generate(prompt="a hill", background="opaque", user="me", extra_query={}, **asked)
    told = {"corrected": ["size 70x64 to 64x64"], "ignored": ["quality", "style"]}
    assert answer.model_extra == told


def test_models_are_listed(client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.object) == ("paperworld", "model")
    assert client.models.retrieve("paperworld") == model
    with pytest.raises(openai.NotFoundError, match="Nearest: paperworld"):
        client.models.retrieve("gpt-image-2")


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"model": "dall-e-3"}, openai.NotFoundError, "paperworld"),
        ({"n": 11}, openai.BadRequestError, "n: "),
        ({"n": -1}, openai.BadRequestError, "n: "),
        ({"n": "many"}, openai.BadRequestError, "n: "),
        ({"size": "large"}, openai.BadRequestError, "WIDTHxHEIGHT"),
        ({"size": "99999x64"}, openai.BadRequestError, "99999 px"),
        ({"prompt": "x" * 5000}, openai.BadRequestError, "prompt"),
        ({"prompt": None}, openai.BadRequestError, "prompt"),
        ({"background": "transparent"}, openai.BadRequestError, "Transparent"),
        ({"output_format": "svg"}, openai.BadRequestError, "output_format"),
        ({"stream": True}, openai.BadRequestError, "not streamed"),
        ({"extra_body": {"studio": {"evil": 1}}}, openai.BadRequestError, "evil"),
        ({"extra_body": {"studio": {"prompt": "x"}}}, openai.BadRequestError, "no place"),
        ({"extra_body": {"studio": 3}}, openai.BadRequestError, "studio"),
        ({"extra_body": {"studio": {"controls": [{"control": "canny", "photo": "/etc/passwd"}]}}},
         openai.BadRequestError, "base64"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_as_openai_says_it(
    client: openai.OpenAI, wrong: dict[str, Any], error: type[openai.APIStatusError], words: str
) -> None:
    with pytest.raises(error) as refused:
        client.images.generate(**({"prompt": "a hill"} | SMALL | wrong))
    assert words in refused.value.message
    assert isinstance(refused.value.body, dict)
    assert refused.value.body["type"] == "invalid_request_error"


def test_what_cannot_be_edited_is_said(client: openai.OpenAI, url: str) -> None:
    def edit(**asked: Any) -> str:
        with pytest.raises(openai.BadRequestError) as refused:
            client.images.edit(**({"image": file(coloured()), "prompt": "a tree"} | SMALL | {"extra_body": {}} | asked))
        return refused.value.message

    assert "another size" in edit(mask=("m.png", to_png(np.zeros((32, 64, 4), np.uint8))))
    assert "transparent nowhere" in edit(mask=file(coloured()))
    assert "picture" in edit(image=("a.png", b"hello"))
    assert "no json" in edit(extra_body={"studio": "{"})
    assert "start_from says" in edit(extra_body={"studio": '{"start_from": {"picture": "x"}}'})
    for body in (
        {"json": {"prompt": "x"}},
        {"files": {"mask": b"x"}},
        {"data": {"image": "../x.png"}, "files": {"x": b""}},
    ):
        answer = httpx.post(f"{url}/images/edits", **body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["message"]


def test_it_is_described_with_everything_else(url: str) -> None:
    told = httpx.get(url.removesuffix("/v1") + "/api/openapi.json").json()
    assert "studio" in told["components"]["schemas"]["ImageRequest"]["properties"]
    assert told["paths"]["/v1/images/files/{name}"]["get"]["description"] == "Needs no key."
    assert "/v1/models/{name}" in told["paths"]


def test_who_may_not_is_told_so(url: str, studio: Studio) -> None:
    with pytest.raises(openai.AuthenticationError, match="not known"):
        openai.OpenAI(base_url=url, api_key="sk-wrong").models.list()
    _, reads = studio.keys.create("openai-reader", ("read",))
    with pytest.raises(openai.PermissionDeniedError, match="may not make"):
        openai.OpenAI(base_url=url, api_key=reads).images.generate(prompt="x", **SMALL)
    _, bounded = studio.keys.create("openai-bounded", pictures_per_hour=1)
    client = openai.OpenAI(base_url=url, api_key=bounded, max_retries=0)
    client.images.generate(prompt="x", **SMALL)
    with pytest.raises(openai.RateLimitError, match="made 1 of its 1") as refused:
        client.images.generate(prompt="x", **SMALL)
    assert int(refused.value.response.headers["retry-after"]) > 3000
