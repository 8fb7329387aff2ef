"""Whatever a browser sends, a gate returns a safe value or one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlnet_core.domain.errors import InputError
from webapp.application import validation

ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=40)
    | st.binary(max_size=9)
    | st.lists(st.integers(), max_size=3)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)


def test_values_in_range_pass_unchanged() -> None:
    assert validation.text("a house 🏠\nat dusk", 100) == "a house 🏠\nat dusk"
    assert validation.number(3, 0, 10) == 3.0
    assert validation.whole(10, 0, 10) == 10
    assert validation.flag(True) is True
    assert validation.choice("b", ["a", "b"]) == "b"
    assert validation.choice(512, [256, 512]) == 512
    assert validation.colour("2f6fde") == (0x2F, 0x6F, 0xDE)
    assert validation.job_id("0123456789abcdef") == "0123456789abcdef"
    assert validation.workspace("ab" * 16) == "ab" * 16


@pytest.mark.parametrize(
    ("gate", "value"),
    [
        (lambda v: validation.text(v, 4000), "x" * 10_000),
        (lambda v: validation.text(v, 4000), 7),
        (lambda v: validation.number(v, 0, 1), math.nan),
        (lambda v: validation.number(v, 0, 1), math.inf),
        (lambda v: validation.number(v, 0, 1), True),
        (lambda v: validation.number(v, 0, 1), "0.5"),
        (lambda v: validation.whole(v, 1, 12), 1.0),
        (lambda v: validation.whole(v, 1, 12), True),
        (lambda v: validation.whole(v, 1, 12), 13),
        (validation.flag, 1),
        (lambda v: validation.choice(v, ["a"]), ["a"]),
        (lambda v: validation.choice(v, [1]), True),
        (validation.colour, "2F6FDE"),
        (validation.colour, "#2f6fde"),
        (validation.colour, 0x2F6FDE),
        (validation.job_id, "../../x"),
        (validation.job_id, "short"),
    ],
)
def test_everything_else_is_a_sentence(gate: Callable[[Any], object], value: object) -> None:
    with pytest.raises(InputError) as refused:
        gate(value)
    assert refused.value.message.endswith(".")


def test_control_characters_and_broken_surrogates_do_not_pass() -> None:
    assert validation.text("a\x00b\x1b[31m\ud800c", 100) == "ab[31mc"


@pytest.mark.parametrize("value", ["AB" * 16, "ab" * 15, "ab" * 16 + "\n", "../" * 10, "", None, 5, b"ab" * 16])
def test_only_hexadecimal_is_a_workspace(value: object) -> None:
    assert validation.workspace(value) is None


@settings(max_examples=200)
@given(value=ANYTHING)
def test_only_our_error_comes_out(value: object) -> None:
    gate: list[Callable[[Any], object]] = [
        lambda v: validation.text(v, 20).encode(),
        lambda v: validation.number(v, -5, 5),
        lambda v: validation.whole(v, -5, 5),
        validation.flag,
        lambda v: validation.choice(v, ["a", 1, 2.5]),
        validation.colour,
        validation.job_id,
        validation.workspace,
    ]
    for one in gate:
        try:
            one(value)
        except InputError as error:
            assert error.message
