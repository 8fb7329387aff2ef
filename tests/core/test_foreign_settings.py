"""Pictures of other programs: where their settings stand in a file, and what they say."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from controlnet_core.domain.recipe import Recipe
from controlnet_core.storage import foreign_settings
from controlnet_core.storage.embedded_text import texts
from controlnet_core.storage.metadata import parameters, parameters_of, read_parameters

RGB = np.full((8, 8, 3), 90, np.uint8)
INFOTEXT = "a cat\nNegative prompt: ugly\nSteps: 28, Sampler: Euler a, CFG scale: 7.5, Seed: 5, Size: 512x768"
EXPECTED = {
    "prompt": "a cat", "negative": "ugly", "steps": 28, "sampler": "euler_a", "guidance": 7.5, "seed": 5,
    "width": 512, "height": 768,
}  # fmt: skip


def read(text: str) -> foreign_settings.Settings:
    found = foreign_settings.read(text)
    assert found is not None
    return found


def png(**text: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, value in text.items():
        info.add_text(name, value)
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def with_chunk(kind: bytes, data: bytes, *, after: bool = False) -> bytes:
    plain = png()
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    at = plain.index(b"IEND") - 4 if after else 33
    return plain[:at] + chunk + plain[at:]


def exif(comment: bytes = b"", **tags: str) -> Image.Exif:
    made = Image.Exif()
    made[0x0131] = "a program"
    if comment:
        made.get_ifd(0x8769)[0x9286] = comment
    for tag, text in tags.items():
        made[int(tag.removeprefix("t"), 16)] = text
    return made


def photo(kind: str, made: Image.Exif) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, kind, exif=made)
    return buffer.getvalue()


ZIPPED = zlib.compress(INFOTEXT.encode())
HOLDERS = {
    "tEXt": with_chunk(b"tEXt", b"parameters\0" + INFOTEXT.encode()),
    "zTXt": with_chunk(b"zTXt", b"parameters\0\0" + ZIPPED),
    "iTXt": with_chunk(b"iTXt", b"parameters\0\0\0en\0Parameter\0" + INFOTEXT.encode()),
    "iTXt, compressed": with_chunk(b"iTXt", b"parameters\0\1\0\0\0" + ZIPPED),
    "after the pixels": with_chunk(b"tEXt", b"parameters\0" + INFOTEXT.encode(), after=True),
    "PNG, EXIF": photo("PNG", exif(b"UNICODE\0" + INFOTEXT.encode("utf-16-be"))),
    "JPEG, big-endian": photo("JPEG", exif(b"UNICODE\0" + INFOTEXT.encode("utf-16-be"))),
    "JPEG, little-endian": photo("JPEG", exif(b"UNICODE\0" + INFOTEXT.encode("utf-16-le"))),
    "JPEG, ASCII": photo("JPEG", exif(b"ASCII\0\0\0" + INFOTEXT.encode())),
    "JPEG, no code": photo("JPEG", exif(b"\0" * 8 + INFOTEXT.encode())),
    "WebP": photo("WEBP", exif(b"UNICODE\0" + INFOTEXT.encode("utf-16-be"))),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_settings_are_found_wherever_they_stand(holder: str) -> None:
    assert read_parameters(parameters_of(HOLDERS[holder]) or "") == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_letters_are_those_that_were_written(encoding: str) -> None:
    text = "une forêt, 森"[: None if encoding == "utf-8" else 9]
    assert parameters_of(with_chunk(b"tEXt", b"parameters\0" + text.encode(encoding))) == text
    assert (
        parameters_of(photo("JPEG", exif(b"UNICODE\0" + (text + "\nSteps: 2").encode("utf-16-be"))))
        == text + "\nSteps: 2"
    )


def test_what_inflates_without_end_and_ordinary_photos_say_nothing() -> None:
    bomb = zlib.compress(b"x" * 40_000_000)
    for kind, head in ((b"zTXt", b"parameters\0\0"), (b"iTXt", b"parameters\0\1\0\0\0")):
        assert parameters_of(with_chunk(kind, head + bomb)) is None
    assert parameters_of(photo("JPEG", exif(t0x010E="A beach", t0x010F="Nikon", t0x0110="D750"))) is None
    assert parameters_of(png(Software="Paint", Comment="made by hand")) is None


@settings(max_examples=150)
@given(st.sampled_from(list(HOLDERS.values())), st.integers(0, 2**30), st.binary(max_size=6), st.integers(0, 40))
def test_damaged_files_never_raise(data: bytes, at: int, patch: bytes, cut: int) -> None:
    at %= len(data)
    for damaged in (data[:at] + patch + data[at + len(patch) :], data[: len(data) - cut], data[:at]):
        assert isinstance(texts(damaged), dict)


@pytest.mark.parametrize(
    "text",
    [
        INFOTEXT + "\nTemplate: a __beast__\nNegative Template: bad",
        INFOTEXT + ', Hires prompt: "more,\ncat", Version: v1.9',
        INFOTEXT + "\n\nsaved by somebody, on a Monday: late",
        INFOTEXT.replace("\n", "\r\n"),
        "\ufeff" + INFOTEXT,
        INFOTEXT + ', Lora hashes: "one: 12, two: 34"\nTime taken: 3.1 sec.',
        "a cat Negative prompt: ugly Steps: 28, Sampler: Euler a, CFG scale: 7.5, Seed: 5, Size: 512x768",
    ],
)
def test_lines_after_the_settings_and_lines_in_them_change_nothing(text: str) -> None:
    assert read(text).fields == EXPECTED


def test_a_negative_prompt_begins_a_line() -> None:
    words = 'a sign that says "Negative prompt: none"\nsecond line'
    assert read(words + "\n" + INFOTEXT.split("\n", 1)[1]).fields["prompt"] == words
    assert "negative" not in read(words + "\nSteps: 20, Seed: 1").fields
    assert (
        read("a cat\nSteps: many, as in a stair\nSteps: 20, Seed: 1").fields["prompt"]
        == "a cat\nSteps: many, as in a stair"
    )


def test_what_is_left_out_is_named() -> None:
    found = read(f"{'a red house, ' * 400}<lora:ink:0.8>\nSteps: 900, Sampler: DPM fast, Seed: 4")
    assert found.fields["prompt"].endswith("a red house") and 3900 < len(found.fields["prompt"]) <= 4000
    told = "; ".join(found.left_out)
    for word in ("LoRAs ink", "the end of a prompt of 5199 characters", "steps 900", "the sampler DPM fast"):
        assert word in told
    assert found.fields["seed"] == 4 and "steps" not in found.fields


def graph(**changes: object) -> str:
    nodes = {
        "3": {"class_type": "KSampler", "inputs": {
            "seed": ["20", 0], "steps": 25, "cfg": 6.5, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0,
            "model": ["4", 0], "positive": ["11", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "dream.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["21", 0], "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "ugly", "clip": ["4", 1]}},
        "11": {"class_type": "ControlNetApply", "inputs": {"conditioning": ["6", 0], "strength": 1.0, "image": ["12", 0]}},
        "20": {"class_type": "Seed", "inputs": {"seed": 77}, "is_changed": [float("nan")]},
        "21": {"class_type": "PrimitiveString", "inputs": {"value": "a cat by the sea"}},
        "30": {"class_type": "LoraLoader", "inputs": {"lora_name": "ink.safetensors", "model": ["4", 0]}},
        "31": {"class_type": "KSampler", "inputs": {
            "seed": 1, "steps": 8, "cfg": 2, "sampler_name": "euler", "scheduler": "normal", "denoise": 0.4, "positive": ["6", 0],
            "negative": ["7", 0], "latent_image": ["3", 0]}},
    }  # fmt: skip
    return json.dumps({**nodes, **changes})


@pytest.mark.parametrize("holder", ["PNG", "WebP"])
def test_comfyui(holder: str) -> None:
    data = png(prompt=graph(), workflow="{}") if holder == "PNG" else photo(
        "WEBP", exif(t0x010F='workflow:{"nodes": []}', t0x0110=f"prompt:{graph()}")
    )  # fmt: skip
    found = read(parameters_of(data) or "")
    assert found.program == "ComfyUI" and "ink.safetensors" in found.left_out[0]
    assert found.fields == {
        "prompt": "a cat by the sea", "negative": "ugly", "steps": 25, "guidance": 6.5, "seed": 77,
        "sampler": "dpmpp_2m_karras", "width": 512, "height": 768,
    }  # fmt: skip


def test_comfyui_graphs_that_go_in_circles_or_hold_only_the_drawing_of_one() -> None:
    circle = {"class_type": "CLIPTextEncode", "inputs": {"text": ["6", 0]}}
    assert "prompt" not in read(graph(**{"6": circle})).fields
    drawn = read(parameters_of(png(workflow='{"nodes": [{"id": 1}], "links": []}')) or "")
    assert drawn.fields == {} and "workflow" in drawn.left_out[0]


@pytest.mark.parametrize(
    ("data", "program"),
    [
        (png(invokeai_metadata=json.dumps({
            "app_version": "4.2", "positive_prompt": "a cat", "negative_prompt": "ugly", "steps": 28, "scheduler": "euler_a",
            "cfg_scale": 7.5, "seed": 5, "width": 512, "height": 768})), "InvokeAI"),
        (png(**{"sd-metadata": json.dumps({"model": "stable diffusion", "image": {
            "prompt": [{"prompt": "a cat [ugly]", "weight": 1.0}], "steps": 28, "sampler": "k_euler_a", "cfg_scale": 7.5, "seed": 5,
            "width": 512, "height": 768}})}), "InvokeAI"),
        (png(Software="NovelAI", Description="a cat", Comment=json.dumps({
            "steps": 28, "sampler": "k_euler_ancestral", "seed": 5, "scale": 7.5, "uc": "ugly",
            "width": 512, "height": 768})), "NovelAI"),
        (png(Software="NovelAI", Comment=json.dumps({
            "steps": 28, "sampler": "k_euler_ancestral", "seed": 5, "scale": 7.5, "width": 512, "height": 768,
            "v4_prompt": {"caption": {"base_caption": "a cat", "char_captions": []}},
            "v4_negative_prompt": {"caption": {"base_caption": "ugly"}}})), "NovelAI"),
        (png(parameters=json.dumps({
            "prompt": "a cat", "negative_prompt": "ugly", "steps": 28, "sampler": "euler_ancestral", "seed": "5",
            "guidance_scale": 7.5, "resolution": "(512, 768)", "base_model": "x"})), "Fooocus"),
        (png(parameters=json.dumps({"sui_image_params": {
            "prompt": "a cat", "negativeprompt": "ugly", "model": "x", "seed": 5, "steps": 28, "cfgscale": 7.5, "width": 512,
            "height": 768, "sampler": "euler_ancestral", "scheduler": "normal"}, "sui_extra_data": {}})), "SwarmUI"),
    ],
    ids=["InvokeAI", "InvokeAI 2", "NovelAI", "NovelAI 4", "Fooocus", "SwarmUI"],
)  # fmt: skip
def test_programs_that_write_json(data: bytes, program: str) -> None:
    found = read(parameters_of(data) or "")
    assert found.program == program and found.fields == EXPECTED


def test_invokeai_1() -> None:
    found = read(parameters_of(png(Dream='"a cat" -s 28 -S 5 -W 512 -H 768 -C 7.5 -A k_euler_a')) or "")
    assert found.fields == {name: value for name, value in EXPECTED.items() if name != "negative"}


NAMES = [
    "3", "inputs", "class_type", "positive", "text", "steps", "seed", "width", "height", "batch_size", "image", "prompt", "uc",
    "nodes", "lora_name", "denoise", "v4_prompt", "caption", "base_caption", "sui_image_params", "scale",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=200)
@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4) | JSON)
def test_any_json_gives_fields_that_a_recipe_takes(content: object) -> None:
    found = foreign_settings.read(json.dumps(content))
    for name, value in (found.fields if found else {}).items():
        assert foreign_settings._fits(name, value)


@pytest.mark.parametrize(
    ("sampler", "schedule", "found"),
    [
        ("DPM++ SDE Karras", "", ("dpmpp_sde", "karras")),
        ("DPM++ 2M SDE", "Exponential", ("dpmpp_2m_sde", "exponential")),
        ("DPM++ 2M", "Karras", ("dpmpp_2m_karras", "model")),
        ("Euler", "SGM Uniform", ("euler", "sgm_uniform")),
        ("Euler", "Beta", ("euler", "beta")),
        ("dpmpp_2m_sde_gpu", "karras", ("dpmpp_2m_sde", "karras")),
        ("DPM2 a", "", ("dpm2_a", "model")),
        ("DPM2 a Karras", "", ("dpm2_a", "karras")),
        ("dpm_2", "sgm_uniform", ("dpm2", "sgm_uniform")),
        ("Heun", "Automatic", ("heun", "model")),
        ("k_dpm_2_a", "", ("dpm2_a", "model")),
    ],
)
def test_samplers_and_schedules_by_the_names_of_other_programs(sampler, schedule, found) -> None:
    text = (
        f"a house\nSteps: 20, Sampler: {sampler}, " + (f"Schedule type: {schedule}, " if schedule else "") + "Seed: 1"
    )
    fields = read_parameters(text)
    assert (fields["sampler"], fields.get("spacing", "model")) == found
    ours = Recipe(model="any", width=64, height=64, sampler=found[0], spacing=found[1])
    again = read_parameters(parameters(ours))
    assert (again["sampler"], again.get("spacing", "model")) == found


def test_a_schedule_that_a_sampler_does_not_take_is_named() -> None:
    found = read("a house\nSteps: 20, Sampler: Euler a, Schedule type: Karras, Seed: 1")
    assert found is not None
    assert found.fields["sampler"] == "euler_a" and "spacing" not in found.fields
    assert found.left_out == ("the schedule Karras",)
