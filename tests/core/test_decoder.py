"""Pictures from outside: little time and memory each, or a sentence; other formats are nobody's."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from controlnet_core.domain import picture
from controlnet_core.domain.errors import InputError
from controlnet_core.execution import decoder
from controlnet_core.execution.confined import ANSWER_MAX_BYTES, Busy, Confined, Died, Limits, _receive
from tests.hostile_pictures import KINDS, SIDE, hostile

ROOT = Path(__file__).resolve().parents[2]


def peak_mb(confined: Confined) -> int:
    """The most memory that a process has had."""
    assert confined._child is not None
    lines = Path(f"/proc/{confined._child.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10


READ = {"a clear WebP", "a clear PNG", "a turned JPEG", "a JPEG of four inks", "a noisy WebP", "a PNG of 16 bits"}
"""What people may have, large as it is; all others are refused."""


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_worst_pictures_take_little_or_are_refused(kind: str) -> None:
    data = hostile(kind)
    assert len(data) <= picture.UPLOAD_MAX_BYTES
    reader = decoder._for(data)
    before = reader._child
    try:
        rgb = decoder.decode(data, longest=3072)
        assert kind in READ and rgb.ndim == 3 and 3000 <= max(rgb.shape[:2]) <= 3072
    except InputError as error:
        assert kind not in READ and str(error).endswith(".") and "Traceback" not in str(error)
    if reader._child is not None:
        assert peak_mb(reader) <= 400
        used = psutil.Process(reader._child.pid).cpu_times()
        if reader._child is not before:  # its whole life was this picture, and the start of the program
            assert used.user + used.system <= decoder.CPU_S + 3


def test_large_ones_are_read_in_full_where_somebody_wants_that() -> None:
    assert decoder.decode(hostile("a turned JPEG")).shape == (SIDE, SIDE, 3)


def test_it_decodes_as_everybody_does() -> None:
    rng = np.random.default_rng(3)
    rgba = Image.fromarray(rng.integers(0, 256, (70, 90, 4), np.uint8))
    for format, how in (
        ("PNG", {}),
        ("WEBP", {"lossless": True, "exact": True}),
        ("JPEG", {}),
        ("WEBP", {"quality": 70}),
    ):
        image = rgba.convert("RGB") if format == "JPEG" else rgba
        buffer = io.BytesIO()
        image.save(buffer, format, **how)
        wanted = picture.hwc3(np.array(Image.open(io.BytesIO(buffer.getvalue())).convert(image.mode)))
        assert np.array_equal(decoder.decode(buffer.getvalue()), wanted), format
        assert np.array_equal(picture.open_picture(buffer.getvalue()), wanted), format


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("turned", range(1, 9))
def test_all_formats_come_out_upright(format: str, turned: int) -> None:
    from PIL import ImageOps

    image = Image.fromarray(np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((16, 16), np.uint8)))
    exif = Image.Exif()
    exif[0x0112] = turned
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(buffer.getvalue()))).convert("RGB"))
    assert np.array_equal(picture.open_picture(buffer.getvalue()), wanted)


def test_a_process_that_dies_is_a_sentence_and_the_next_picture_is_read() -> None:
    data = picture.to_png(np.zeros((8, 8, 3), np.uint8))
    decoder.decode(data)
    child = decoder._small._child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    child.wait(10)
    assert decoder.decode(data).shape == (8, 8, 3)


def test_what_runs_away_is_ended() -> None:
    waiting: list[threading.Thread] = []
    confined = Confined("tests.core.runaway:endless", Limits(0.5, 128 << 20, wall_s=6, waiting=2))
    try:
        for wish, words, wall_s in (("spin", "too long", 60), ("sleep", "too long", 6), ("crash", "damaged", 60)):
            confined.limits = replace(confined.limits, wall_s=wall_s)  # what spins is ended by its processor time
            begun = time.monotonic()
            with pytest.raises(Died, match=words):
                confined.call({"do": wish})
            assert time.monotonic() - begun < 30
        confined.limits = replace(confined.limits, wall_s=6)
        with pytest.raises(InputError, match="memory"):
            confined.call({"do": "eat"})
        assert confined.call({"do": ""}, [b"x"]) == ({"fine": True}, [b"x"])

        def sleep() -> None:
            with suppress(InputError):
                confined.call({"do": "sleep"})

        waiting = [threading.Thread(target=sleep, daemon=True) for _ in range(3)]
        for one in waiting:
            one.start()
        time.sleep(0.5)
        with pytest.raises(Busy):
            confined.call({"do": ""})
    finally:
        confined.limits = Limits(0.5, 128 << 20, wall_s=0.1)
        for one in waiting:
            one.join(30)
        confined.close()


def test_a_process_that_was_taken_over_gets_neither_time_nor_memory() -> None:
    """What it answers is bounded in the web process too."""
    own, other = socket.socketpair()
    with own, other:
        head = json.dumps({"parts": [1 << 40]}).encode()
        other.sendall(struct.pack("<I", len(head)) + head)
        with pytest.raises(ValueError, match="large"):
            _receive(own, ANSWER_MAX_BYTES, time.monotonic() + 5)
        other.sendall(struct.pack("<I", 1 << 30))
        with pytest.raises(ValueError, match="long"):
            _receive(own, ANSWER_MAX_BYTES, time.monotonic() + 5)
    own, other = socket.socketpair()
    ended = threading.Event()

    def drip() -> None:
        other.sendall(struct.pack("<I", 1000))
        with suppress(OSError):
            while not ended.wait(0.05):
                other.sendall(b" ")

    dripping = threading.Thread(target=drip, daemon=True)
    with own, other:
        dripping.start()
        own.settimeout(5)
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            _receive(own, ANSWER_MAX_BYTES, begun + 0.5)
        assert time.monotonic() - begun < 5
        ended.set()
        dripping.join()


ELSEWHERE = """
import io, sys
import webapp.app, streamlit as st
from PIL import Image, EpsImagePlugin, GifImagePlugin, TiffImagePlugin
Image.init()
assert sorted(Image.OPEN) == ["JPEG", "PNG", "WEBP"], sorted(Image.OPEN)
data = sys.stdin.buffer.read()
for opened in (lambda: Image.open(io.BytesIO(data)).load(), lambda: st.image(data)):
    try:
        opened()
    except Exception as error:
        assert "identify" in str(error), repr(error)
    else:
        raise SystemExit("it was opened")
"""


def test_no_other_format_is_opened_by_anybody_in_the_process(tmp_path: Path) -> None:
    """Among Pillow's readers some start programs: EPS does."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    here = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "STUDIO_DATA": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], check=False, input=eps, env=here, cwd=ROOT, capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert not (tmp_path / "started").exists()


def test_the_shapes_canvas_passes_the_gate() -> None:
    """What the browser says the canvas looks like is read as any upload is."""
    from webapp.ui.drawing import shapes
    from webapp.ui.session import ConditionPage

    desk = ConditionPage.__new__(ConditionPage)
    ink = np.zeros((40, 60, 4), np.uint8)
    ink[10:20, 5:50, 3] = 200
    buffer = io.BytesIO()
    Image.fromarray(ink).save(buffer, "PNG")

    class Drawn:
        """The component's answer, as its package hands it on; that registers itself with a running server only."""

        def __init__(self, url: object) -> None:
            self.url, self.json_data = url, {"objects": [{}]}

        @property
        def image_bytes(self) -> bytes:
            return base64.b64decode(self.url.split(";base64,", 1)[1])  # type: ignore[attr-defined]

    def drawn(data: bytes | None, url: object = None) -> Drawn:
        return Drawn("data:image/png;base64," + base64.b64encode(data).decode() if data is not None else url)

    shapes._take(desk, drawn(buffer.getvalue()))
    assert desk.shapes is not None and np.abs(desk.shapes.astype(int) - ink[:, :, 3]).max() <= 1
    for bad in (
        drawn(b"%!PS-Adobe-3.0 EPSF-3.0"),
        drawn(hostile("a clear PNG")),
        drawn(None, 7),
        drawn(None, "x"),
        drawn(b""),
    ):
        with pytest.raises(InputError):
            shapes._take(desk, bad)
