"""Names from outside are shown as they are: what Streamlit renders as Markdown gets them through `plain`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

UI = Path(__file__).resolve().parents[2] / "webapp" / "ui"
MARKED = {
    "badge", "button", "caption", "checkbox", "error", "expander", "info", "markdown", "metric", "number_input", "pills",
    "popover", "radio", "segmented_control", "select_slider", "slider", "subheader", "success", "text_input", "toast", "toggle",
    "warning", "write",
}  # fmt: skip
CHOSEN = {"pills", "radio", "segmented_control"}
"""Their options are Markdown too."""
OWN = {"control", "example", "param", "part", "detector", "one", "key"}
"""What of ours has a title: conditions, detectors and their parameters."""


def outside(node: ast.AST) -> bool:
    """Whether an expression is a name that somebody else gave to a model, a training, a file."""
    if isinstance(node, ast.Attribute) and node.attr in ("title", "name", "prompt", "text", "message"):
        return isinstance(node.value, ast.Name) and node.value.id not in OWN | {"st", "status"}
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Name) and node.value.id == "titles"
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_titled"


def bare(node: ast.AST) -> list[ast.AST]:
    """The names in an expression that do not pass `plain`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("plain", "_facts"):
        return []
    if outside(node):
        return [node]
    return [found for child in ast.iter_child_nodes(node) for found in bare(child)]


@pytest.mark.parametrize("path", sorted(UI.rglob("*.py")), ids=lambda path: path.relative_to(UI).as_posix())
def test_no_name_is_rendered_as_markdown(path: Path) -> None:
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in MARKED):
            continue
        shown = [
            *call.args[:1],
            *(word.value for word in call.keywords if word.arg in ("label", "help", "body", "format_func", "text")),
        ]
        found = [ast.unparse(one) for expression in shown for one in bare(expression)]
        assert not found, f"{path.name}:{call.lineno} renders {found} as Markdown"
        if call.func.attr in CHOSEN and len(call.args) > 1 and not isinstance(call.args[1], ast.List):
            names = {word.arg: ast.unparse(word.value) for word in call.keywords}
            own = "param." in ast.unparse(call.args[1]) or ast.unparse(call.args[1]).isupper()
            assert own or "format_func" in names, f"{path.name}:{call.lineno} renders its options as Markdown"


def test_plain_shows_every_character_as_it_is() -> None:
    def page() -> None:
        import streamlit as st

        from webapp.ui.messages import plain

        st.pills("x", ["**bold** [a](b) :red[c] `d` $e$ <b>f</b> ![g](h)"], format_func=plain)

    (shown,) = AppTest.from_function(page).run().get("pills")[0].proto.options
    text = shown.content
    assert "**bold**" not in text and "\\*\\*bold\\*\\*" in text and "\\[a\\]" in text and "\\<b\\>" in text


def test_a_text_that_was_refused_is_there_again_after_another_page() -> None:
    def page() -> None:
        import streamlit as st

        from controlnet_core.domain.errors import InputError
        from webapp.ui.session import remember, remembered, text_widget, typed

        if st.radio("page", ["here", "elsewhere"]) == "elsewhere":
            return
        kept = remembered("kept", "a house")
        written = st.text_area("words", key=text_widget("words", kept))
        try:
            remember("kept", typed("words", written, kept, 12, "The prompt"))
        except InputError as error:
            st.error(str(error))

    here = AppTest.from_function(page).run()
    assert here.text_area[0].value == "a house"
    here.text_area[0].set_value("a house by the sea").run()
    assert "18 characters" in here.error[0].value
    here.radio[0].set_value("elsewhere").run()
    here.radio[0].set_value("here").run()
    assert here.text_area[0].value == "a house by the sea" and here.error
    here.text_area[0].set_value("a barn").run()
    here.radio[0].set_value("elsewhere").run()
    here.radio[0].set_value("here").run()
    assert here.text_area[0].value == "a barn" and not here.error
