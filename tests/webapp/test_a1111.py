"""The A1111 shape, spoken by unchanged clients from the registry with a real server that has the embedded model."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import webuiapi
from PIL import Image

from annotator.detection import detector
from controlnet_core.domain import picture
from controlnet_core.domain.picture import open_picture, to_png
from controlnet_core.domain.samplers import SAMPLER_TITLES
from controlnet_core.storage.gallery import recipe_of
from controlnet_core.storage.metadata import read_parameters
from tests.webapp.conftest import mask
from webapp.api import a1111_options, a1111_units
from webapp.application.recipe_builder import Draft
from webapp.application.studio import Studio

SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 2, "seed": 7, "cfg_scale": 1.5, "sampler_name": "DDIM"}
INFO = {
    "prompt": str, "all_prompts": list, "negative_prompt": str, "seed": int, "all_seeds": list, "subseed": int,
    "subseed_strength": (int, float), "width": int, "height": int, "sampler_name": str, "cfg_scale": (int, float),
    "steps": int, "batch_size": int, "restore_faces": bool, "sd_model_name": str, "sd_model_hash": str, "infotexts": list,
    "extra_generation_params": dict, "index_of_first_image": int, "styles": list, "job_timestamp": str, "clip_skip": int,
    "is_using_inpainting_conditioning": bool, "version": str, "seed_resize_from_w": int,
}  # fmt: skip


@pytest.fixture(scope="module")
def studio(served_api: tuple[Studio, int]) -> Studio:
    return served_api[0]


@pytest.fixture(scope="module")
def client(served_api: tuple[Studio, int]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{served_api[1]}", timeout=180) as client:
        yield client


@pytest.fixture(scope="module")
def api(served_api: tuple[Studio, int]) -> webuiapi.WebUIApi:
    """The client that most scripts use."""
    return webuiapi.WebUIApi(port=served_api[1])


def b64(rgb: np.ndarray) -> str:
    return base64.b64encode(to_png(rgb)).decode()


def pixels(text: str) -> np.ndarray:
    return open_picture(base64.b64decode(text))


def photo() -> np.ndarray:
    rgb = np.zeros((256, 256, 3), np.uint8)
    rgb[80:180, 60:200] = (200, 90, 40)
    return rgb


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.json()["error"] == "HTTPException"
    return answer.json()["detail"]


# ---- webuiapi, unchanged


def test_webuiapi_makes_a_picture_and_reads_it_back(api: webuiapi.WebUIApi) -> None:
    assert api.has_controlnet
    made = api.txt2img(prompt="a red house", negative_prompt="blurry", batch_size=2, **SMALL)
    assert [one.size for one in made.images] == [(64, 64)] * 2
    assert made.info["all_seeds"] == [7, 8]
    assert made.info["prompt"] == "a red house"
    read = api.png_info(made.images[0])
    assert "a red house" in str(read.info)
    assert "paperworld" in api.util_get_current_model()


def test_webuiapi_changes_a_part_of_a_picture(api: webuiapi.WebUIApi) -> None:
    image = Image.fromarray(photo()).resize((64, 64))
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, 32:] = 255
    made = api.img2img(
        images=[image], mask_image=Image.fromarray(half), inpainting_fill=1, mask_blur=0, denoising_strength=0.6,
        prompt="a tree", inpaint_full_res=False, **SMALL,
    )  # fmt: skip
    result = np.asarray(made.image.convert("RGB"), int)
    assert np.abs(result[:, :24] - np.asarray(image, int)[:, :24]).max() <= 1, "what is not masked stays"
    assert made.info["denoising_strength"] == 0.6


@pytest.mark.parametrize("ink", [0, 255])
def test_a_mask_on_a_transparent_layer_is_its_alpha(client: httpx.Client, studio: Studio, ink: int) -> None:
    half = np.full((64, 64, 4), ink, np.uint8)
    half[:, :32, 3] = 0
    half[:, 32:, 3] = 255
    text = base64.b64encode(to_png(half)).decode()
    unit = {"image": b64(photo()), "module": "canny", "effective_region_mask": text}
    asked = SMALL | {
        "prompt": "a tree", "init_images": [b64(photo())], "mask": text, "inpainting_fill": 1,
        "alwayson_scripts": {"controlnet": {"args": [unit]}},
    }  # fmt: skip
    made = client.post("/sdapi/v1/img2img", json=asked)
    assert made.status_code == 200, made.text
    recipe = recipe_of(base64.b64decode(made.json()["images"][0]))
    assert recipe is not None and recipe.source is not None
    for digest in (recipe.source.mask, recipe.controls[0].mask):
        seen = open_picture(studio.blobs.get(digest or ""))
        assert (seen[:, 32:] == 255).all() and not seen[:, :32].any()


def test_a_finished_map_is_read_and_what_it_was_taken_for_is_named(client: httpx.Client, studio: Studio) -> None:
    stroke = np.zeros((64, 64), np.uint8)
    stroke[20:26, 8:56] = 255
    light, dark = np.dstack([stroke] * 3), np.dstack([255 - stroke] * 3)
    clear = base64.b64encode(to_png(np.dstack([np.full_like(light, 255), stroke]))).decode()
    for sent, module, named in (
        (b64(light), "none", False),
        (b64(dark), "none", True),
        (clear, "none", True),
        (b64(dark), "invert (from white bg & black line)", False),
    ):
        unit = {"image": sent, "module": module, "union_control_type": "Scribble"}
        asked = SMALL | {"prompt": "a house", "alwayson_scripts": {"controlnet": {"args": [unit]}}}
        made = client.post("/sdapi/v1/txt2img", json=asked)
        assert made.status_code == 200, made.text
        recipe = recipe_of(base64.b64decode(made.json()["images"][0]))
        assert recipe is not None
        assert np.array_equal(open_picture(studio.blobs.get(recipe.controls[0].picture)), light)
        told = json.loads(made.json()["info"])["extra_generation_params"].get("Corrected", "")
        assert ("taken as a finished map" in told) == named, told


def test_webuiapi_uses_two_controlnet_units(api: webuiapi.WebUIApi, studio: Studio) -> None:
    names = api.controlnet_model_list()
    assert names
    (network,) = [name for name in names if "control" in name]
    image = Image.fromarray(photo())
    units = [
        webuiapi.ControlNetUnit(
            image=image, module="canny", model=network, weight=0.8, threshold_a=50, threshold_b=150
        ),
        webuiapi.ControlNetUnit(image=image, module="none", model=network, guidance_end=0.5, union_control_type="Depth")
        if "union_control_type" in webuiapi.ControlNetUnit.__init__.__code__.co_varnames
        else webuiapi.ControlNetUnit(image=image, module="canny", model=network, guidance_end=0.5),
    ]
    made = api.txt2img(prompt="a house", controlnet_units=units, **SMALL)
    assert len(made.images) == 1 + 2, "the detected maps come behind the pictures"
    recipe = recipe_of(base64.b64decode(made.json["images"][0]))
    assert recipe is not None
    first, second = recipe.controls
    assert (first.control, first.weight, first.resize) == ("canny", 0.8, "fit")
    assert first.found is not None
    assert dict(first.found.values) == {"low": 50, "high": 150}
    assert second.end == 0.5
    assert np.array_equal(np.asarray(made.images[1].convert("RGB")), open_picture(studio.blobs.get(first.picture)))


def test_webuiapi_finds_edges_and_knows_what_there_is(api: webuiapi.WebUIApi) -> None:
    found = api.controlnet_detect([Image.fromarray(photo())], module="canny")
    assert (np.asarray(found.image.convert("RGB")) > 0).any()
    assert "canny" in api.controlnet_module_list()
    assert api.controlnet_version() == 3
    assert "Euler a" in [one["name"] for one in api.get_samplers()]
    assert api.get_progress()["progress"] == 0
    api.util_set_model("paperworld")
    api.util_wait_for_ready()
    assert api.get_cmd_flags() == {}
    assert api.get_loras() == []


def test_webuiapi_sends_a_key_as_its_password(served_api: tuple[Studio, int]) -> None:
    studio, port = served_api
    _, secret = studio.keys.create("webuiapi")
    keyed = webuiapi.WebUIApi(port=port, username="anybody", password=secret)
    made = keyed.txt2img(prompt="a boat", **SMALL)
    (key,) = (one for one in studio.keys.all() if one.name == "webuiapi")
    assert [one.recipe.prompt for one in studio.gallery.recent(5, key.owner)] == ["a boat"]
    assert made.images


# ---- sd-backend-client, unchanged: it checks every answer


def test_sd_backend_client_takes_every_answer(served_api: tuple[Studio, int]) -> None:
    from sd_backend_client.api.a1111_webservice import A1111Webservice

    service = A1111Webservice(f"http://127.0.0.1:{served_api[1]}")
    asked = [
        name
        for name in ("get_options", "get_models", "get_samplers", "get_vae", "get_upscalers", "get_latent_upscale_modes",
                     "get_loras", "get_scripts", "get_styles", "get_hypernetworks", "get_controlnet_models",
                     "get_controlnet_modules", "get_controlnet_control_types", "get_controlnet_settings",
                     "get_controlnet_version", "get_script_info", "progress_check")
        if hasattr(service, name)
    ]  # fmt: skip
    assert len(asked) >= 8, sorted(name for name in dir(service) if not name.startswith("_"))
    for name in asked:
        assert getattr(service, name)() is not None, name


# ---- what the answers say


def test_info_is_whole_and_names_what_was_not_done(client: httpx.Client) -> None:
    asked = SMALL | {
        "width": 70,
        "restore_faces": True,
        "styles": ["old"],
        "future_field": 3,
        "scheduler": "Exponential",
    }
    told = client.post("/sdapi/v1/txt2img", json=asked | {"tiling": False, "hr_upscaler": "Latent"}).json()
    info = json.loads(told["info"])
    for name, kind in INFO.items():
        assert isinstance(info[name], kind), name
    notes = info["extra_generation_params"]
    assert notes["Corrected"] == "size 70x64 to 64x64"
    for name in ("restore_faces", "styles", "future_field", "scheduler Exponential"):
        assert name in notes["Ignored"]
    assert "tiling" not in notes["Ignored"]
    assert "hr_upscaler" not in notes["Ignored"]


@pytest.mark.parametrize(
    ("sampler", "scheduler", "found"),
    [
        ("DPM++ SDE", "Karras", ("dpmpp_sde", "karras")),
        ("DPM++ 2M SDE", "exponential", ("dpmpp_2m_sde", "exponential")),
        ("Euler", "SGM Uniform", ("euler", "sgm_uniform")),
        ("DPM2 a", "Automatic", ("dpm2_a", "model")),
        ("Heun", None, ("heun", "model")),
        ("DPM++ 2M Karras", "Automatic", ("dpmpp_2m_karras", "model")),
    ],
)
def test_samplers_and_schedulers_by_their_names(
    client: httpx.Client, sampler: str, scheduler: str | None, found: tuple[str, str]
) -> None:
    asked = SMALL | {"prompt": "a house", "sampler_name": sampler, "scheduler": scheduler}
    told = json.loads(client.post("/sdapi/v1/txt2img", json=asked).json()["info"])
    assert told["extra_generation_params"] == {}
    assert found[0] in SAMPLER_TITLES and told["sampler_name"] == dict(SAMPLER_TITLES)[found[0]]
    fields = read_parameters(told["infotexts"][0])
    assert (fields["sampler"], fields.get("spacing", "model")) == found
    known = {one["name"] for one in client.get("/sdapi/v1/schedulers").json()}
    assert {"automatic", "karras", "exponential", "sgm_uniform", "beta"} == known


def test_the_same_recipe_makes_the_same_pixels_as_our_own_api(client: httpx.Client, studio: Studio) -> None:
    edges = studio.render("scribble", mask(1, 64))
    unit = {"image": b64(edges), "module": "none", "model": "None", "union_control_type": "Scribble", "resize_mode": 0}
    scripts = {"ControlNet": {"args": [unit]}}
    told = client.post("/sdapi/v1/txt2img", json=SMALL | {"prompt": "a house", "alwayson_scripts": scripts}).json()
    ours = studio.builder.for_base(
        studio.catalog.card("paperworld"), [Draft("scribble", mask(1, 64))], prompt="a house", negative="",
        added_prompt="", width=64, height=64, steps=2, seed=7, guidance=1.5, sampler="ddim",
    )  # fmt: skip
    entry = studio.wait(studio.submit("page", ours, owner="ab" * 16), 120)
    page = open_picture(studio.gallery.get(entry.kept[0]).png.read_bytes())
    assert np.array_equal(pixels(told["images"][0]), page)
    assert "without a model" in json.loads(told["info"])["extra_generation_params"]["Corrected"]


@pytest.mark.parametrize(
    ("wrong", "status", "words"),
    [
        ({"sampler_name": "Euler z"}, 404, "Euler"),
        ({"override_settings": {"sd_model_checkpoint": "dreamshaper"}}, 404, "paperworld"),
        ({"prompt": "<lora:ink:0.5>"}, 404, "LoRA"),
        ({"enable_hr": True}, 422, "second pass"),
        ({"script_name": "x/y plot"}, 422, "Scripts"),
        ({"batch_size": -1}, 422, "batch_size"),
        ({"batch_size": 100}, 422, "batch_size"),
        (
            {"batch_size": 10**4000, "n_iter": 10**4000},
            422,
            "batch_size",
        ),  # their product has too many digits to be said
        ({"width": 10**4000}, 422, "width"),
        ({"steps": "many"}, 422, "steps"),
        ({"width": 100_000}, 422, "100000 px"),
        ({"prompt": "x" * 5000}, 422, "prompt"),
        ({"alwayson_scripts": {"controlnet": {"args": [{"image": "/etc/passwd", "module": "canny"}]}}}, 422, "base64"),
        ({"alwayson_scripts": {"controlnet": {"args": [{"image": "aGk=", "module": "cany"}]}}}, 404, "canny"),
        ({"alwayson_scripts": {"controlnet": {"args": [{"enabled": True}]}}}, 422, "no image"),
        (
            {"alwayson_scripts": {"controlnet": {"args": [{"image": "aGk=", "ipadapter_input": ["x"]}]}}},
            422,
            "ipadapter",
        ),
        ({"alwayson_scripts": {"controlnet": {"args": [{}] * 1000}}}, 422, "at most 4"),
        ({"alwayson_scripts": {"controlnet": {"args": [3]}}}, 422, "JSON object"),
    ],
)
def test_what_cannot_be_done_is_said(client: httpx.Client, wrong: dict[str, Any], status: int, words: str) -> None:
    assert words.lower() in refused(client.post("/sdapi/v1/txt2img", json=SMALL | wrong), status).lower()


def test_no_picture_of_a_client_is_opened_in_the_web_process(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are decoded in a process of its own, which may be killed; here the web process's own reader is broken."""
    sent = base64.b64encode(to_png(photo(), {"Comment": "as it was sent"})).decode()

    def trap(data: bytes, **_how: Any) -> np.ndarray:
        assert base64.b64encode(data).decode() != sent, "opened here"
        return read(data, **_how)

    read = picture.open_picture
    monkeypatch.setattr(picture, "open_picture", trap)
    unit = {"image": sent, "module": "none", "union_control_type": "Scribble", "effective_region_mask": sent}
    asked = SMALL | {"init_images": [sent], "mask": sent, "alwayson_scripts": {"controlnet": {"args": [unit]}}}
    assert client.post("/sdapi/v1/img2img", json=asked).status_code == 200
    for path, body in (
        ("/sdapi/v1/extra-single-image", {"image": sent}),
        ("/controlnet/detect", {"controlnet_input_images": [sent], "controlnet_module": "canny"}),
        ("/controlnet/detect", {"controlnet_input_images": [sent], "controlnet_module": "invert"}),
    ):
        assert client.post(path, json=body).status_code == 200, path


def test_a_picture_to_start_from_is_needed(client: httpx.Client) -> None:
    assert "Init image not found" in refused(client.post("/sdapi/v1/img2img", json=SMALL), 404)
    refused(client.post("/sdapi/v1/img2img", json=SMALL | {"init_images": ["../../x.png"]}), 422)
    refused(client.post("/controlnet/detect", json={"controlnet_module": "canny"}), 422)
    refused(client.post("/sdapi/v1/png-info", json={}), 422)


def test_every_module_has_its_detector(studio: Studio, client: httpx.Client) -> None:
    for control, way in a1111_units.MODULES.values():
        if control:
            assert detector(studio.control(control), way).reads == "photo"
    told = client.get("/controlnet/module_list").json()
    sliders = told["module_detail"]["canny"]["sliders"]
    assert [one["value"] for one in sliders] == [512, 100, 200]
    for name, one in told["module_detail"].items():
        assert all(slider["name"] == "Resolution" for slider in one["sliders"][:1]), name
    types = client.get("/controlnet/control_types").json()["control_types"]
    assert types["Canny"]["default_option"] == "canny"


def test_options_are_each_callers_own_and_outlive_the_server(
    served_api: tuple[Studio, int], client: httpx.Client, tmp_path: Path
) -> None:
    studio, port = served_api
    _, secret = studio.keys.create("chooser")
    keyed = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {secret}"}, timeout=60)
    (key,) = (one for one in studio.keys.all() if one.name == "chooser")
    assert keyed.post(
        "/sdapi/v1/options", json={"CLIP_stop_at_last_layers": 2, "sd_model_checkpoint": "paperworld"}
    ).is_success
    assert keyed.post("/sdapi/v1/options", json={"samples_format": "jpg", "sd_vae": "None"}).is_success
    assert keyed.get("/sdapi/v1/options").json()["CLIP_stop_at_last_layers"] == 2
    assert client.get("/sdapi/v1/options").json()["CLIP_stop_at_last_layers"] == 1
    studio.pages.flush()
    again = Studio(studio.settings)
    assert a1111_options.chosen(again, key.owner).sd_model_checkpoint == "paperworld"
    assert json.loads(keyed.post("/sdapi/v1/txt2img", json=SMALL).json()["info"])["clip_skip"] == 1, (
        "the model knows none"
    )
    wrong = [{"sd_model_checkpoint": "dreamshaper"}, {"sd_vae": "nothing"}, {"CLIP_stop_at_last_layers": 99}]
    for asked, status in zip(wrong, (404, 404, 422), strict=True):
        refused(keyed.post("/sdapi/v1/options", json=asked), status)
    assert keyed.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == "paperworld", "nothing of it was taken"


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"upscaler_1": "Lanczos"}, (128, 64)),
        ({"upscaler_1": "nearest", "upscaling_resize": 0.5}, (32, 16)),
        ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 96, "upscaling_resize_h": 96}, (96, 96)),
        ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 96, "upscaling_resize_h": 96,
          "upscaling_crop": False}, (96, 48)),
        ({}, (64, 32)),
    ],
)  # fmt: skip
def test_a_single_picture_is_resized(client: httpx.Client, asked: dict[str, Any], size: tuple[int, int]) -> None:
    png = to_png(np.ascontiguousarray(photo()[:32, :64]), {"parameters": "a hill"})
    told = client.post("/sdapi/v1/extra-single-image", json={"image": base64.b64encode(png).decode()} | asked).json()
    made = Image.open(io.BytesIO(base64.b64decode(told["image"])))
    assert made.size == size
    assert made.info["parameters"] == "a hill"
    assert bool(told["html_info"]) == (not asked)


def test_what_is_no_resizing_is_said(client: httpx.Client) -> None:
    image = {"image": b64(photo())}
    for asked, status, words in (
        ({"upscaler_1": "R-ESRGAN 4x+"}, 404, "Lanczos"),
        ({"gfpgan_visibility": 1}, 422, "gfpgan"),
        ({"upscaler_1": "Lanczos", "upscaling_resize": 1e9}, 422, "upscaling_resize"),
        (
            {"upscaler_1": "Lanczos", "upscaling_resize_w": 8192, "upscaling_resize_h": 8192, "resize_mode": 1},
            422,
            "megapixels",
        ),
        ({"image": "../x.png"}, 422, "base64"),
    ):
        assert words in refused(client.post("/sdapi/v1/extra-single-image", json=image | asked), status)


def test_poses_are_drawn_from_json(client: httpx.Client) -> None:
    body = [value for k in range(18) for value in (20 + 4 * k, 30 + 3 * k, 1)]
    people = {"people": [{"pose_keypoints_2d": body}], "canvas_width": 128, "canvas_height": 128}
    told = client.post("/controlnet/render_openpose_json", json=[people]).json()
    assert (pixels(told["images"][0]) > 0).any()


def test_progress_is_told_and_interrupt_stops(client: httpx.Client) -> None:
    told: list[httpx.Response] = []
    asked = SMALL | {"width": 256, "height": 256, "steps": 100}
    thread = threading.Thread(target=lambda: told.append(client.post("/sdapi/v1/txt2img", json=asked)))
    thread.start()
    end = time.monotonic() + 120
    while (seen := client.get("/sdapi/v1/progress").json())["progress"] == 0:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert seen["state"]["sampling_steps"] == 100
    assert 0 < seen["progress"] < 1
    assert client.post("/sdapi/v1/interrupt").json() == {}
    thread.join(60)
    assert told[0].status_code == 200
    assert told[0].json()["images"] == []
    assert client.get("/sdapi/v1/progress").json()["state"]["job_count"] == 0


def test_our_pngs_carry_their_settings(client: httpx.Client) -> None:
    told = client.post("/sdapi/v1/txt2img", json=SMALL | {"prompt": "a sunny hill"}).json()
    image = Image.open(io.BytesIO(base64.b64decode(told["images"][0])))
    assert image.info["parameters"] == json.loads(told["info"])["infotexts"][0]
    read = client.post("/sdapi/v1/png-info", json={"image": told["images"][0]}).json()
    assert read["info"].startswith("a sunny hill")
