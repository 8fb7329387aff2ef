"""What programs of others send, to a real server with the embedded model: clients unchanged where one can be installed, else what
they send, written down (Open WebUI, SillyTavern, the Photopea plug-in)."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from sd_backend_client.api.a1111_webservice import A1111Webservice
from sd_backend_client.api.shared_data.controlnet.controlnet_model import ControlNetModel
from sd_backend_client.api.shared_data.controlnet.controlnet_preprocessor import PreprocessorParams
from sd_backend_client.api.shared_data.controlnet.controlnet_unit import ControlNetUnit
from sd_backend_client.api.shared_data.generation_handle import GenerationStatus
from sd_backend_client.api.webui.diffusion_request_body import DiffusionRequestBody

from controlnet_core.domain.picture import open_picture, to_png
from controlnet_core.storage.gallery import recipe_of
from tests.js.test_node import node
from tests.webapp.conftest import serving
from webapp.application.settings import ROOT
from webapp.application.studio import Studio

SMALL: dict[str, Any] = {"width": 64, "height": 64, "steps": 2, "cfg_scale": 1.5}


@pytest.fixture(scope="module")
def studio(served_api: tuple[Studio, int]) -> Studio:
    return served_api[0]


@pytest.fixture(scope="module")
def url(served_api: tuple[Studio, int]) -> str:
    return f"http://127.0.0.1:{served_api[1]}"


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    """One that sends the Basic head of an empty pair, as SillyTavern and Open WebUI do where no key was typed."""
    with httpx.Client(base_url=url, timeout=180, headers={"Authorization": "Basic Og=="}) as client:
        yield client


def photo(side: int = 256) -> np.ndarray:
    rgb = np.zeros((side, side, 3), np.uint8)
    rgb[side // 4 : side * 3 // 4, side // 4 : side * 3 // 4] = (200, 90, 40)
    return rgb


def b64(rgb: np.ndarray) -> str:
    return base64.b64encode(to_png(rgb)).decode()


# ---- sd-backend-client, unchanged: it checks every answer


@pytest.fixture(scope="module")
def backend(url: str) -> A1111Webservice:
    return A1111Webservice(url)


def test_sd_backend_client_makes_pictures_of_words_pictures_and_masks(backend: A1111Webservice) -> None:
    assert backend.get_capabilities().controlnet
    made = backend.submit_txt2img(DiffusionRequestBody(prompt="a red house", seed=7, batch_size=2, **SMALL)).wait(120)
    assert [one.size for one in made.images] == [(64, 64)] * 2
    assert made.seeds == [7, 8]
    start = Image.fromarray(photo(64))
    again = backend.submit_img2img(
        DiffusionRequestBody(prompt="a tree", seed=7, init_images=[start], denoising_strength=0.5, **SMALL)
    ).wait(120)
    assert again.images[0].size == (64, 64)
    half = np.zeros((64, 64), np.uint8)
    half[:, 32:] = 255
    asked = DiffusionRequestBody(
        prompt="a tree",
        seed=7,
        init_images=[start],
        mask=Image.fromarray(half),
        mask_blur=0,
        denoising_strength=0.6,
        **SMALL,
    )
    part = np.asarray(backend.submit_inpaint(asked).wait(120).images[0].convert("RGB"), int)
    assert np.abs(part[:, :24] - photo(64)[:, :24]).max() <= 1


def test_sd_backend_client_finds_maps_and_uses_two_units(backend: A1111Webservice) -> None:
    known = {one.name: one for one in backend.get_controlnet_preprocessors()}
    assert backend.get_controlnet_type_categories()
    canny = PreprocessorParams(typedef=known["canny"], parameter_values={})
    found = backend.controlnet_preprocessor_preview(Image.fromarray(photo()), None, canny)
    assert (np.asarray(found.convert("RGB")) > 0).any()
    (network,) = [name for name in backend.get_controlnet_models().model_list if "control" in name]
    unit = ControlNetUnit(image=Image.fromarray(photo()), preprocessor=canny, model=ControlNetModel(network))
    body = DiffusionRequestBody(prompt="a house", seed=7, controlnet_units=[unit, unit], **SMALL)
    made = backend.submit_txt2img(body).wait(120)
    assert len(made.images) == 1
    assert len(made.control_maps) == 2
    larger = backend.upscale(Image.fromarray(photo(64)), 128, 96)
    assert larger["images"][0].size == (128, 96)


def test_sd_backend_client_watches_and_cancels(backend: A1111Webservice) -> None:
    body = DiffusionRequestBody(prompt="a hill", steps=100, width=256, height=256, cfg_scale=1.5)
    handle = backend.submit_txt2img(body)
    end = time.monotonic() + 120
    while not (handle.poll().progress or 0) > 0:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert handle.cancel()
    while not handle.poll().status.is_terminal:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert handle.poll().status is GenerationStatus.CANCELLED


# ---- what others send, written down


def test_open_webui_lists_chooses_and_makes(client: httpx.Client, studio: Studio) -> None:
    models = client.get("/sdapi/v1/sd-models").json()
    assert [{"id": one["title"], "name": one["model_name"]} for one in models]
    options = client.get("/sdapi/v1/options").json()
    options["sd_model_checkpoint"] = models[0]["title"]
    assert client.post("/sdapi/v1/options", json=options).status_code == 200
    asked = {
        "prompt": "a red house",
        "batch_size": 1,
        "width": 64,
        "height": 64,
        "steps": 2,
        "negative_prompt": "blurry",
    }
    told = client.post("/sdapi/v1/txt2img", json=asked).json()
    assert Image.open(io.BytesIO(base64.b64decode(told["images"][0]))).size == (64, 64)
    assert json.loads(told["info"])["negative_prompt"] == "blurry"
    _, secret = studio.keys.create("open-webui")
    keyed = {"Authorization": f"Bearer {secret}"}
    asked = {"model": "paperworld", "prompt": "a boat", "n": 1, "size": "64x64", "response_format": "b64_json"}
    told = client.post("/v1/images/generations?api-version=1", json=asked, headers=keyed).json()
    assert open_picture(base64.b64decode(told["data"][0]["b64_json"])).shape == (64, 64, 3)
    form = {"model": "paperworld", "prompt": "a boat", "n": "1", "size": "64x64", "response_format": "b64_json"}
    files = [("image[]", ("image.png", to_png(photo(64)), "image/png"))] * 2
    told = client.post("/v1/images/edits", data=form, files=files, headers=keyed).json()
    assert open_picture(base64.b64decode(told["data"][0]["b64_json"])).shape == (64, 64, 3)
    assert told["ignored"] == ["all pictures but the first"]


def test_sillytavern_looks_around_makes_and_interrupts(client: httpx.Client) -> None:
    assert client.get("/sdapi/v1/options").is_success
    upscalers = [one["name"] for one in client.get("/sdapi/v1/upscalers").json()]
    assert upscalers[0] == "None"
    assert client.get("/sdapi/v1/latent-upscale-modes").json()[0]["name"]
    assert isinstance(client.get("/sdapi/v1/sd-vae").json(), list)
    assert not client.get("/sdapi/v1/sd-modules").is_success, "that would be Forge"
    assert [one["name"] for one in client.get("/sdapi/v1/samplers").json()]
    assert [one["name"] for one in client.get("/sdapi/v1/schedulers").json()]
    title = client.get("/sdapi/v1/sd-models").json()[0]["title"]
    assert client.post("/sdapi/v1/options", json={"sd_model_checkpoint": title}).is_success
    idle = client.get("/sdapi/v1/progress").json()
    assert (idle["progress"], idle["state"]["job_count"]) == (0.0, 0)
    asked = {
        "url": "http://127.0.0.1:7860", "auth": "", "prompt": "a hill", "negative_prompt": "", "sampler_name": "Euler a",
        "scheduler": "Automatic", "steps": 2, "cfg_scale": 1.5, "width": 64, "height": 64, "restore_faces": False,
        "enable_hr": False, "hr_upscaler": "Latent", "hr_scale": 1, "hr_additional_modules": [], "denoising_strength": 0.7,
        "hr_second_pass_steps": 0, "seed": 5, "clip_skip": 1, "save_images": True, "send_images": True, "do_not_save_grid": False,
        "do_not_save_samples": False,
        "override_settings": {"CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic", "forge_additional_modules": []},
        "override_settings_restore_afterwards": True,
    }  # fmt: skip
    told = client.post("/sdapi/v1/txt2img", json=asked).json()
    assert told["images"]
    assert json.loads(told["info"])["seed"] == 5
    assert client.post("/sdapi/v1/interrupt").json() == {}


def test_the_photopea_plug_in_draws_from_its_own_page(url: str, studio: Studio) -> None:
    page = "https://photopea.example"
    object.__setattr__(studio.settings, "api_origins", (page,))
    head = {"Origin": page, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    try:
        with httpx.Client(base_url=url, headers=head, timeout=180) as client:
            preflight = client.options(
                "/sdapi/v1/txt2img",
                headers={
                    "Access-Control-Request-Headers": "content-type",
                    "Access-Control-Request-Private-Network": "true",
                },
            )
            assert preflight.headers["access-control-allow-headers"] == "content-type"
            assert preflight.headers["access-control-allow-private-network"] == "true"
            for name in (
                "samplers",
                "sd-models",
                "loras",
                "upscalers",
                "sd-vae",
                "embeddings",
                "hypernetworks",
                "options",
            ):
                answer = client.get(f"/sdapi/v1/{name}")
                assert answer.is_success, name
                assert answer.headers["access-control-allow-origin"] == page
            told = {
                name: client.get(f"/controlnet/{name}").json()
                for name in ("model_list", "module_list", "control_types")
            }
            assert client.get("/controlnet/version").json()["version"]
            assert client.get("/controlnet/settings").json()["control_net_max_models_num"] == 4
            details = told["module_list"]["module_detail"]
            for name, one in told["control_types"]["control_types"].items():
                assert set(one["module_list"]) <= set(details), name
            (network,) = [name for name in told["model_list"]["model_list"] if "control" in name]
            unit = {
                "batch_images": "", "control_mode": 0, "enabled": True, "guidance_end": 1.0, "guidance_start": 0.0,
                "image": {"image": "data:image/png;base64," + b64(photo(64)), "mask": None}, "input_mode": 0, "low_vram": False,
                "model": network, "module": "canny", "output_dir": "", "pixel_perfect": False, "processor_res": 512,
                "resize_mode": 1, "threshold_a": 64, "threshold_b": 64, "weight": 1.0, "linkedLayerName": "",
            }  # fmt: skip
            common = {
                "batch_size": 1, "n_iter": 1, "sampler_name": "", "prompt": "a house", "negative_prompt": "", "seed": -1,
                "seed_enable_extras": False, "seed_resize_from_h": 0, "seed_resize_from_w": 0, "subseed": -1,
                "override_settings": {}, "override_settings_restore_afterwards": False, "do_not_save_grid": False,
                "do_not_save_samples": False, "s_churn": 0, "s_min_uncond": 0, "s_noise": 1.0, "s_tmax": None, "s_tmin": 0.0,
                "script_args": [], "script_name": None, "styles": [], "subseed_strength": 0,
                "alwayson_scripts": {"ControlNet": {"args": [unit]}},
            }  # fmt: skip
            words = {
                "restore_faces": False, "enable_hr": False, "hr_negative_prompt": "", "hr_prompt": "", "hr_resize_x": 0,
                "hr_resize_y": 0, "hr_scale": 2.0, "hr_second_pass_steps": 0, "hr_upscaler": "Latent",
                "denoising_strength": 0.75, "tiling": False,
            }  # fmt: skip
            made = client.post("/sdapi/v1/txt2img", json=SMALL | common | words).json()
            assert len(made["images"]) == 2
            half = np.zeros((64, 64, 3), np.uint8)
            half[:, 32:] = 255
            start = {
                "init_images": ["data:image/png;base64," + b64(photo(64))], "mask": "data:image/png;base64," + b64(half),
                "denoising_strength": 0.75, "initial_noise_multiplier": 1.0, "inpaint_full_res": 1, "inpaint_full_res_padding": 32,
                "inpainting_fill": 1, "inpainting_mask_invert": 0, "mask_blur_x": 4, "mask_blur_y": 4, "resize_mode": 0,
            }  # fmt: skip
            made = client.post("/sdapi/v1/img2img", json=SMALL | common | start).json()
            assert len(made["images"]) == 2
            noted = json.loads(made["info"])["extra_generation_params"]
            assert "initial_noise" not in str(noted)
            assert "inpaint_full_res" in noted["Ignored"]
            found = client.post(
                "/controlnet/detect", json={"controlnet_module": "canny", "controlnet_input_images": [b64(photo())]}
            )
            assert found.json()["images"]
    finally:
        object.__setattr__(studio.settings, "api_origins", ())
    with httpx.Client(base_url=url, headers=head) as client:
        assert client.get("/sdapi/v1/options").status_code == 403, "named no more"


# ---- whoever waits for an answer


@pytest.mark.parametrize(
    "sent",
    [
        httpx.Request(
            "POST", "http://x/sdapi/v1/txt2img", json={"prompt": "goes", "steps": 100, "width": 256, "height": 256}
        ),
        httpx.Request(
            "POST",
            "http://x/v1/images/edits",
            data={"prompt": "goes", "size": "256x256", "studio": '{"steps": 100, "start_from": {"strength": 1.0}}'},
            files={"image": ("a.png", to_png(photo()), "image/png")},
        ),
    ],
    ids=["A1111", "OpenAI"],
)
def test_who_goes_away_takes_the_job_along(studio: Studio, url: str, sent: httpx.Request) -> None:
    end = time.monotonic() + 120
    connection = HTTPConnection(url.removeprefix("http://"), timeout=120)
    connection.request("POST", sent.url.path, sent.read(), {"Content-Type": sent.headers["content-type"]})
    while not (waiting := [entry for entry in studio.queue.open() if entry.state == "running"]):
        assert time.monotonic() < end
        time.sleep(0.02)
    connection.close()
    while not studio.queue.get(waiting[0].id).over:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert studio.queue.get(waiting[0].id).state == "cancelled"


# ---- two in JavaScript


def test_javascript_clients_draw(url: str, studio: Studio) -> None:
    """modelfusion by the A1111 shape (it sends no key: this machine's programs need none), openai by OpenAI's."""
    here = ROOT / "tests" / "clients"
    if not (here / "node_modules" / "openai").is_dir():
        pytest.skip("no JavaScript clients of others: make clients")
    _, secret = studio.keys.create("javascript")
    done = subprocess.run(
        [node(), str(here / "draw.mjs"), url, secret], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    for name in ("modelfusion", "openai", "edited"):
        assert open_picture(base64.b64decode(told[name])).shape == (64, 64, 3), name
    recipe = recipe_of(base64.b64decode(told["modelfusion"]))
    assert recipe is not None
    assert (recipe.prompt, recipe.negative, recipe.seed, recipe.sampler) == (
        "a red house",
        "blurry",
        7,
        "dpmpp_2m_karras",
    )
    assert told["models"] == ["paperworld"]
    assert told["refused"][0] == 404
    assert "Nearest: paperworld" in told["refused"][1]


# ---- clients with an environment of their own


@pytest.fixture(scope="module")
def quick_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same API before the tests' engine."""
    with serving(tmp_path_factory.mktemp("quick"), engine="tests.core.strokes_engine:build") as (_, port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def theirs() -> Path:
    """The interpreter that has them."""
    folder = Path(os.environ.get("STUDIO_CLIENTS", ROOT / ".venv-clients"))
    if not (folder / "bin" / "python").exists():
        pytest.skip("no environment with the clients of others: make clients")
    return folder / "bin" / "python"


def said(python: Path, code: str, *given: str) -> Any:
    """What a client's code prints, JSON in its last line."""
    done = subprocess.run(
        [str(python), "-c", code, *given], capture_output=True, text=True, timeout=300, check=False, cwd=python.parent
    )
    if done.returncode and "ModuleNotFoundError" in done.stderr.splitlines()[-1]:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


EASYAI = """
import asyncio, json, sys
from PIL import Image, ImageDraw
from easyai import ControlNetUnit, EasyAPI
api = EasyAPI(baseurl=sys.argv[1] + "/sdapi/v1", sampler="Euler a")
photo = Image.new("RGB", (64, 64))
ImageDraw.Draw(photo).rectangle((16, 16, 48, 48), fill=(200, 90, 40))
half = Image.new("L", (64, 64))
half.paste(255, (32, 0, 64, 64))
small = dict(width=64, height=64, steps=2, cfg_scale=1.5, seed=7, use_async=True)
(network,) = [name for name in api.controlnet_model_list() if "control" in name]

async def main():
    made = await api.txt2img(prompt="a red house", batch_size=2, **small)
    part = await api.img2img(
        prompt="a tree", images=[photo], mask_image=half, mask_blur=0, inpainting_fill=1, denoising_strength=0.6, **small
    )
    units = [ControlNetUnit(photo, module="canny", model=network) for _ in range(2)]
    two = await api.txt2img(prompt="a house", controlnet_units=units, **small)
    found = await api.custom_post("controlnet/detect", use_async=True,
        payload={"controlnet_module": "canny", "controlnet_input_images": [__import__("easyai.image").image.b64_img(photo)]})
    left = part.image.convert("RGB").crop((0, 0, 24, 64)), photo.crop((0, 0, 24, 64))
    return {
        "seeds": made.info["all_seeds"], "sizes": [one.size for one in made.images], "two": len(two.images),
        "found": found.image.getbbox() is not None,
        "kept": max(abs(a - b) for a, b in zip(*(one.tobytes() for one in left))),
    }

told = asyncio.run(main())
told |= {"controlnet": api.has_controlnet, "version": api.controlnet_version(), "idle": api.get_progress()["progress"]}
api.interrupt()
print(json.dumps(told))
"""


def test_easyai_draws(theirs: Path, url: str) -> None:
    """Its synchronous way asks a Response for `status`, which no server can mend: it is used as it works, asynchronously."""
    told = said(theirs, EASYAI, url)
    assert told["seeds"] == [7, 8]
    assert told["sizes"] == [[64, 64]] * 2
    assert (told["two"], told["version"], told["idle"]) == (3, 3, 0)
    assert told["found"]
    assert told["controlnet"]
    assert told["kept"] <= 1


SD_PROMPT_READER = """
import json, sys
from sd_prompt_reader.image_data_reader import ImageDataReader
found = ImageDataReader(sys.argv[1])
print(json.dumps([found.tool, found.positive, found.negative, found.parameter]))
"""


def test_sd_prompt_reader_reads_our_pngs(theirs: Path, client: httpx.Client, tmp_path: Path) -> None:
    asked = SMALL | {"prompt": "a sunny hill", "negative_prompt": "blurry, grey", "seed": 7, "sampler_name": "DDIM"}
    told = client.post("/sdapi/v1/txt2img", json=asked).json()
    (tmp_path / "made.png").write_bytes(base64.b64decode(told["images"][0]))
    assert recipe_of((tmp_path / "made.png").read_bytes()) is not None
    tool, positive, negative, settings = said(theirs, SD_PROMPT_READER, str(tmp_path / "made.png"))
    assert tool == "A1111 webUI"
    assert positive.strip() == "a sunny hill"
    assert negative.strip() == "blurry, grey"
    assert (settings["seed"], settings["sampler"], settings["steps"], settings["size"]) == ("7", "DDIM", "2", "64x64")


IMAGE_GENERATION_MCP = """
import asyncio, json, sys
from image_generation_mcp.providers.sd_webui import SdWebuiImageProvider
from image_generation_mcp.providers.types import InputImage

async def main():
    provider = SdWebuiImageProvider(sys.argv[1])
    known = await provider.discover_capabilities()
    heard = []
    made = await provider.generate("a hill", aspect_ratio="3:2", model=known.models[0].model_id,
                                   progress_callback=lambda share, text: heard.append(share))
    again = await provider.generate("a tree", aspect_ratio="3:2", strength=0.5,
                                    reference_images=[InputImage(made.image_data, "image/png")])
    await provider.aclose()
    return [known.degraded, [one.model_id for one in known.models], made.provider_metadata, again.provider_metadata,
            len(heard), made.image_data[:4].hex()]

print(json.dumps(asyncio.run(main())))
"""


def test_image_generation_mcp_draws(theirs: Path, quick_api: str) -> None:
    """It always asks for 30 steps at 768 px: here of the tests' engine, which takes no time for them."""
    degraded, models, made, again, heard, head = said(theirs, IMAGE_GENERATION_MCP, quick_api)
    assert not degraded
    assert models == ["paperworld"]
    assert (made["model"], made["size"]) == ("paperworld", "768x512")
    assert isinstance(made["seed"], int)
    assert again["edited"]
    assert heard >= 1
    assert head == "89504e47"
