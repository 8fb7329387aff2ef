"""Documents survive their container, and nothing else gets through it."""

import contextlib
import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlnet_core.domain.document import MISSING, Person, Point, Raster, Skeleton, decode, encode
from controlnet_core.domain.errors import InputError


def packed(header: bytes, pixels: bytes = b"") -> bytes:
    return b"CNSD1" + struct.pack("<I", len(header)) + header + pixels


@pytest.mark.parametrize("kind", ["mask", "classes", "rgb"])
def test_rasters_round_trip(kind):
    rng = np.random.default_rng(1)
    shape = (17, 31, 3) if kind == "rgb" else (17, 31)
    pixels = rng.integers(0, 256, shape).astype(np.uint8)
    got = decode(encode(Raster(kind, pixels[:, ::-1])))  # also from memory that is not contiguous
    assert isinstance(got, Raster) and got.kind == kind and (got.width, got.height) == (31, 17)
    np.testing.assert_array_equal(got.pixels, pixels[:, ::-1])


points = st.builds(
    Point, x=st.floats(-1e5, 1e5), y=st.floats(-1e5, 1e5), confidence=st.floats(0, 1, allow_subnormal=False)
)
people = st.builds(
    Person,
    body=st.tuples(*[points] * 18),
    left_hand=st.none() | st.tuples(*[points] * 21),
    hidden=st.frozensets(st.integers(0, 17)),
    ghosts=st.frozensets(st.integers(0, 17)),
)


@settings(max_examples=25)
@given(st.builds(Skeleton, width=st.integers(1, 2048), height=st.integers(1, 2048), people=st.tuples(people)))
def test_skeletons_round_trip(skeleton):
    assert decode(encode(skeleton)) == skeleton


def test_drawn_needs_presence_acceptance_and_visibility():
    body = [Point(x=1, y=1)] * 18
    body[3] = MISSING
    person = Person(body=tuple(body), hidden=frozenset({4}), ghosts=frozenset({5}))
    assert [index for index in range(18) if not person.drawn(index)] == [3, 4, 5]


def test_pixels_are_never_inflated_beyond_the_announcement():
    bomb = zlib.compress(b"\0" * (64 << 20))
    with pytest.raises(InputError):
        decode(packed(b'{"kind":"mask","width":8,"height":8}', bomb))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"CNSD1", b"PNG" * 10, b"CNSD1\xff\xff\xff\xff{}", packed(b"not json"), packed(b"[]"), packed(b"{}"),
        packed(b'{"kind":"mask","width":2,"height":2}', zlib.compress(b"123")),
        packed(b'{"kind":"mask","width":2,"height":2}', zlib.compress(b"12345")),
        packed(b'{"kind":"mask","width":2,"height":2}', zlib.compress(b"1234")[:-2]),
        packed(b'{"kind":"mask","width":true,"height":1}', zlib.compress(b"1")),
        packed(b'{"kind":"mask","width":4096,"height":1}', zlib.compress(b"1" * 4096)),
        packed(b'{"kind":"skeleton","width":5,"height":5,"people":[{"body":[]}]}'),
        packed(b'{"kind":"skeleton","width":5,"height":5,"extra":1}'),
        packed(b'{"kind":"skeleton","width":NaN,"height":5}'),
        packed(b"[" * 100_000),
    ],
)  # fmt: skip
def test_refusals(data):
    with pytest.raises(InputError):
        decode(data)


@settings(max_examples=200)
@given(st.data())
def test_only_our_error_escapes(data):
    good = encode(Raster("classes", np.arange(64, dtype=np.uint8).reshape(8, 8)))
    header = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "width", "people"]), inner)
        ),
        max_leaves=5,
    )
    choice = data.draw(st.sampled_from(["flip", "cut", "header"]))
    if choice == "header":
        raw = packed(json.dumps(data.draw(header)).encode(), good[-20:])
    else:
        at = data.draw(st.integers(0, len(good) - 1))
        raw = good[:at] if choice == "cut" else good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1 :]
    with contextlib.suppress(InputError):
        decode(raw)
