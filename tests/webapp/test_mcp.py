"""`studio mcp`, spoken with by the official SDK's own client over standard input and output, as an assistant's program does."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controlnet_core.domain.picture import open_picture, to_png
from controlnet_core.storage.gallery import recipe_of
from webapp.application.settings import ROOT

pytestmark = pytest.mark.skipif(find_spec("mcp") is None, reason="the package mcp is not installed")


def photo() -> np.ndarray:
    rgb = np.zeros((256, 256, 3), np.uint8)
    rgb[80:180, 60:200] = (200, 90, 40)
    return rgb


def spoken(say: Callable[[Any], Awaitable[None]], *options: str, **environment: str) -> None:
    """Start the server as a program of its own, and say something to it."""
    from mcp import Client, StdioServerParameters

    env = dict(os.environ) | {"STUDIO_FREE_MB": "0", "PYTHONPATH": str(ROOT)} | environment
    command = StdioServerParameters(command=sys.executable, args=["-m", "webapp", "mcp", *options], env=env)

    async def run() -> None:
        async with Client(command, read_timeout_seconds=180) as client:
            await say(client)

    asyncio.run(run())


def image_of(content: Any) -> bytes:
    assert content.mime_type == "image/png"
    return base64.b64decode(content.data)


async def is_refused(client: Any, outside: Path) -> None:
    async def refused(tool: str, **asked: Any) -> str:
        answer = await client.call_tool(tool, asked)
        assert answer.is_error
        return answer.content[0].text

    assert "no #9 here" in await refused("make", prompt="x", controls={"scribble": "#9"})
    assert "Known" in await refused("make", prompt="x", controls={"nothing": "data:image/png;base64,aGk="})
    for given in (f"../{outside.name}", str(outside), "nothing.png"):
        assert "base64" in await refused("detect", condition="canny", picture=given)
    assert "not a size" in await refused("make", prompt="x", size="large")
    assert "no model called" in await refused("make", prompt="x", model="nothing")
    assert await refused("make", prompt="x", images=99) == (
        "The request cannot be used: images: input should be less than or equal to 4."
    )
    assert await refused("make") == "The request cannot be used: prompt: field required."
    assert "prompt" in await refused("make", prompt="x" * 5000)


async def takes_back(client: Any) -> None:
    slow = asyncio.create_task(client.call_tool("make", {"prompt": "slow=1", "steps": 100}))
    await asyncio.sleep(1)
    slow.cancel()
    quick = await asyncio.wait_for(client.call_tool("make", {"prompt": "afterwards", "steps": 1, "seed": 1}), 60)
    assert quick.content[0].text.startswith("#"), "the device is free: what was taken back has stopped"


def test_an_assistant_looks_around_finds_a_map_and_draws_along_it(tmp_path: Path) -> None:
    """With the tests' engine, which obeys the prompt; what it is asked is a recipe as every other."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "photo.png").write_bytes(to_png(photo()))
    (tmp_path / "outside.png").write_bytes(to_png(photo()))
    steps: list[tuple[float, float | None]] = []

    async def hear(step: float, of: float | None, _words: str | None) -> None:
        steps.append((step, of))

    async def draws(client: Any) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"list_models", "make", "detect"}
        assert "guide" in tools["make"].input_schema["properties"]["controls"]["description"]
        (told,) = (await client.call_tool("list_models", {})).content
        assert "- paperworld: Paperworld" in told.text
        assert "- scribble: " in told.text
        words, found = (await client.call_tool("detect", {"condition": "canny", "picture": "photo.png"})).content
        assert words.text == "#1: canny"
        assert (open_picture(image_of(found)) > 0).any()
        asked = {"prompt": "a red house", "controls": {"canny": "#1"}, "size": "256x256", "steps": 2, "seed": 7}
        words, made = (await client.call_tool("make", asked, progress_callback=hear)).content
        assert words.text == "#2: seed 7, 256 x 256 px, paperworld"
        recipe = recipe_of(image_of(made))
        assert recipe is not None
        assert (recipe.prompt, recipe.controls[0].control) == ("a red house", "canny")
        assert recipe.controls[0].found is not None
        assert steps[-1] == (2, 2)
        sent = "data:image/png;base64," + base64.b64encode(image_of(made)).decode()
        more = {"prompt": "a tree", "start_from": sent, "strength": 0.5, "steps": 2, "images": 2, "seed": 3}
        answer = (await client.call_tool("make", more)).content
        assert [one.text.split(",")[0] for one in answer[::2]] == ["#3: seed 3", "#4: seed 4"]

    async def say(client: Any) -> None:
        await draws(client)
        await is_refused(client, tmp_path / "outside.png")
        await takes_back(client)

    spoken(say, "--folder", str(folder), STUDIO_ENGINE="tests.core.strokes_engine:build")


def test_without_the_package_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from webapp.cli import app
    from webapp.cli import mcp as command

    monkeypatch.setattr(command, "find_spec", lambda _name: None)
    done = CliRunner().invoke(app, ["mcp"])
    assert done.exit_code == 1
    assert "pip install" in done.stderr


def test_a_file_is_read_in_its_folder_alone_and_at_a_pictures_size(tmp_path: Path) -> None:
    from controlnet_core.domain.errors import InputError
    from controlnet_core.domain.picture import UPLOAD_MAX_BYTES
    from webapp.api.mcp import Made

    folder = tmp_path / "pictures"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folder / "in.png").write_bytes(b"shown")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "round.png").symlink_to(folder / "round.png")
    with (folder / "large.png").open("wb") as file:
        file.truncate(UPLOAD_MAX_BYTES + 1)
    made = Made(folder)
    assert made.find("in.png") == b"shown"
    for name in (
        "../secret.png",
        str(tmp_path / "secret.png"),
        "out.png",
        "round.png",
        "a\0b.png",
        "large.png",
        "n" * 255 + ".",
    ):
        with pytest.raises(InputError):
            made.find(name)
