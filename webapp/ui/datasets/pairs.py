"""Looking through a data set: its pairs, those that cannot be used by name, one pair with its map in the editor.

Data sets are made in `making`; what a pair is, and what is wrong with one, says `controlnet_core.datasets`.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import streamlit as st

import components
from controlnet_core.datasets import Pairs, checks
from controlnet_core.datasets.layouts import Editable
from controlnet_core.datasets.pairs import PROMPT_MAX, decoded
from controlnet_core.domain import document as documents
from controlnet_core.domain import picture
from controlnet_core.domain.control import ControlType, values
from controlnet_core.domain.errors import Cancelled, InputError, StudioError
from controlnet_core.storage import store
from controlnet_core.training.run import Config
from webapp.application import validation
from webapp.application.studio import Studio
from webapp.application.training_setup import pairs_of
from webapp.application.trainings import BUILT_IN
from webapp.ui import visitor
from webapp.ui.messages import plain, refuse, told
from webapp.ui.session import remember, remembered

SHOWN = 12
COLUMNS = 6
REFRESH_S = 1.0
EDITOR_HEIGHT = "560px"


@dataclass
class Look:
    """A check under way: how far it is, and what it found in the end."""

    total: int
    done: int = 0
    report: checks.Report | None = None
    error: StudioError | None = None
    stopped: bool = field(default=False, repr=False)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.report is not None or self.error is not None


class RunningCheck:
    """Checks of data sets, each in a thread of its own; the last one of a set is remembered. Safe across threads."""

    def __init__(self) -> None:
        self._looks: dict[str, Look] = {}
        self._lock = threading.Lock()

    def of(self, source: str) -> Look | None:
        """The last check of a set."""
        return self._looks.get(source)

    def start(self, source: str, pairs: Pairs) -> None:
        """Check a set, unless that is going on already."""
        with self._lock:
            look = self._looks.get(source)
            if look is None or look.over:
                look = self._looks[source] = Look(len(pairs))
                threading.Thread(target=self._check, args=(look, pairs), name="check", daemon=True).start()

    def forget(self, source: str) -> None:
        """A set has changed: what was found does not count any more."""
        look = self._looks.pop(source, None)
        if look is not None:
            look.stopped = True

    def _check(self, look: Look, pairs: Pairs) -> None:
        def count(done: int, _total: int) -> None:
            look.done = done
            if look.stopped:
                raise Cancelled()

        try:
            look.report = checks.check(pairs, on_pair=count)
        except StudioError as error:
            look.error = error


@cache
def _checks() -> RunningCheck:
    return RunningCheck()


def show(studio: Studio) -> None:
    """Draw the part of the Data page that looks through a set."""
    sources = studio.trainings.sources(visitor.workspace())
    folders = [source for source in sources if source not in BUILT_IN]
    controls = studio.controls
    left, middle, right = st.columns([5, 4, 2], gap="medium", vertical_alignment="bottom")
    source = left.selectbox("Data set", [*folders, *BUILT_IN], format_func=sources.__getitem__, key="pairs.source")
    source = validation.choice(source, sources, "The data set")
    key = middle.selectbox(
        "Control", list(controls), format_func=lambda key: controls[key].title, key="pairs.control",
        disabled=source == "circles",
        help="Whose editor opens a map; for the picture world and the gallery, whose maps are shown.",
    )  # fmt: skip
    control = controls[validation.choice(key, controls, "The control")]
    pairs = _opened(studio, source, control.key)
    if not len(pairs):
        run = studio.annotations.run(Path(source).name) if source not in BUILT_IN else None
        words = "It is in the making." if run is not None and run.alive else "It holds no pairs."
        if source == "gallery":
            words = "Pictures that you make with this control appear here."
        st.info(words, icon=":material/dataset:")
        return
    chosen = remembered("pairs.chosen", None)
    mine = studio.annotations.owners.owns(Path(source).name, visitor.workspace())
    if chosen is not None and chosen[0] == source and chosen[1] < len(pairs) and isinstance(pairs, Editable) and mine:
        _one(studio, source, pairs, chosen[1], control)
        return
    endless = checks.is_endless(pairs)
    last = 999 if endless else (len(pairs) - 1) // SHOWN
    asked = right.number_input("Page" if endless else f"Page of {last + 1}", 1, last + 1, 1, key=f"pairs.page.{source}")
    page = validation.whole(asked, 1, last + 1, "The page") - 1
    if isinstance(pairs, Editable) and mine:
        with told():
            _wordless(studio, source, pairs)
    if not endless:
        _found(_check_of(source, control.key), pairs)
    _many(source, pairs, range(page * SHOWN, min(len(pairs), (page + 1) * SHOWN)), mine)


def _wordless(studio: Studio, source: str, pairs: Editable) -> None:
    """Whether pairs without words may be learnt from."""
    allowed = st.toggle(
        "Pairs without a prompt are wanted", pairs.empty_prompts, key=f"pairs.wordless.{source}",
        help="Else a pair without words counts as damaged: usually its caption was forgotten.",
    )  # fmt: skip
    if validation.flag(allowed) != pairs.empty_prompts:
        pairs.allow_empty_prompts(allowed, free_min_bytes=studio.settings.free_min_bytes)
        _checks().forget(source)


def _check_of(source: str, control: str) -> str:
    """Under what a check is remembered: the gallery is another one for every workspace and condition."""
    return f"gallery {visitor.workspace()} {control}" if source == "gallery" else source


def _opened(studio: Studio, source: str, control: str) -> Pairs:
    asked = {
        "name": "look",
        "base": "any",
        "control": control,
        "data": {"source": source, "owner": visitor.workspace(), "size": 256},
    }
    return pairs_of(Config.model_validate(asked), studio.trainings.settings)[0]


def _found(source: str, pairs: Pairs) -> None:
    look = _checks().of(source)
    live = look is not None and not look.over
    st.fragment(_report, run_every=REFRESH_S if live else None)(source, pairs, live)


def _report(source: str, pairs: Pairs, live: bool) -> None:
    look = _checks().of(source)
    if live != (look is not None and not look.over):
        st.rerun()  # the page begins, or ends, to ask again and again
    if look is None:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{len(pairs)} pairs**")
            st.button(
                "Check every pair", key="pairs.check", icon=":material/fact_check:",
                on_click=_checks().start, args=(source, pairs),
            )  # fmt: skip
        return
    if not look.over:
        st.progress(look.done / max(1, look.total), text=f"Looked at {look.done} of {look.total} pairs")
        return
    if look.report is None:
        refuse(look.error or StudioError("The check was stopped."))
        return
    report = look.report
    if not report.bad:
        sizes = ", ".join(f"{width} x {height} px" for width, height in list(report.sizes)[:4])
        st.success(f"All {report.count} pairs can be used ({sizes}).", icon=":material/check:")
        return
    with st.expander(
        f"{len(report.bad)} of {report.count} pairs cannot be used", icon=":material/warning:", expanded=True
    ):
        rows = [{"Pair": problem.name, "What is wrong": problem.text} for problem in report.problems]
        st.dataframe(rows, hide_index=True, width="stretch", height=min(280, 38 * (len(rows) + 1)))


def _many(source: str, pairs: Pairs, numbers: range, mine: bool) -> None:
    """A page of pairs; what is `mine` may be opened and changed."""
    held = pairs.held_out() if isinstance(pairs, Editable) else frozenset[str]()
    for start in range(numbers.start, numbers.stop, COLUMNS):
        columns = st.columns(COLUMNS, gap="medium")
        for column, index in zip(columns, range(start, min(start + COLUMNS, numbers.stop)), strict=False):
            with column:
                _tile(source, pairs, index, held, mine)


def _tile(source: str, pairs: Pairs, index: int, held: frozenset[str], mine: bool) -> None:
    try:
        example = pairs.read(index)
    except InputError as error:
        st.warning(plain(f"{pairs.name(index)}: {error.message}"))
    else:
        one, two = st.columns(2, gap="small")
        one.image(example.source, width="stretch")
        two.image(example.target, width="stretch")
        st.caption(plain(example.prompt if len(example.prompt) < 90 else f"{example.prompt[:87]}..."))
    if isinstance(pairs, Editable):
        with st.container(horizontal=True, vertical_alignment="center"):
            if mine:
                st.button(
                    "Open", key=f"pairs.open.{index}", type="tertiary", icon=":material/edit:",
                    on_click=remember, args=("pairs.chosen", (source, index)),
                )  # fmt: skip
            if held and _name_of(pairs, index) in held:
                st.caption("held out")


def _name_of(pairs: Editable, index: int) -> str:
    try:
        return pairs.entry(index).name
    except InputError:
        return ""


def _one(studio: Studio, source: str, pairs: Editable, index: int, control: ControlType) -> None:
    """One pair, large: its map in the editor, its picture, its prompt, and whether it is held out."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "All pairs", icon=":material/arrow_back:", type="tertiary", on_click=remember, args=("pairs.chosen", None)
        )
        st.markdown(f"**{plain(pairs.name(index))}**")
    left, right = st.columns([8, 5], gap="medium")
    free = studio.settings.free_min_bytes
    try:
        entry, held = pairs.entry(index), pairs.held_out()
    except InputError as error:
        refuse(error)
        return
    with left, told():
        _map(studio, source, pairs, index, control)
    with right, told():
        if isinstance(entry.target, Path) and entry.target.is_file():
            st.image(decoded(entry.target, "picture"), width="stretch")
        written = st.text_area("Prompt", entry.prompt, key=f"pairs.prompt.{source}.{index}", height=96)
        if st.button("Keep the prompt", icon=":material/save:", key="pairs.keep.prompt"):
            pairs.set_prompt(index, validation.text(written, PROMPT_MAX, "The prompt"), free_min_bytes=free)
            _checks().forget(source)
            st.toast("The prompt is kept.")
        was = entry.name in held
        now = st.toggle(
            "Hold it out", was, key=f"pairs.held.{source}.{index}",
            help="It is never trained on; samples show it. Once you choose pairs, no others are held out.",
        )  # fmt: skip
        if now != was:
            pairs.hold_out(index, now, free_min_bytes=free)


def _map(studio: Studio, source: str, pairs: Editable, index: int, control: ControlType) -> None:
    """The map as a document in its condition's editor, where a map can be read back."""
    entry = pairs.entry(index)
    assert isinstance(entry.source, Path)
    rgb = decoded(entry.source, "control picture")
    reader = next((one for one in control.detectors if one.reads == "map" and not one.weights), None)
    side = max(rgb.shape[:2])
    if reader is None or control.editor == "view" or side > documents.SIDE_MAX_PX:
        st.image(rgb, width="stretch")
        st.caption(f"Maps of {control.title} cannot be read back into an editor.")
        return
    # A slot for each pair: tabs share what a workspace has in a slot, and each may look at another pair.
    slot = f"pair-{control.key}-{hashlib.sha256(f'{source} {index}'.encode()).hexdigest()[:16]}"
    place = (source, index, control.key)
    given = values(reader.params, reader.reading)
    container = documents.encode(reader.run(rgb, given))
    token = visitor.open_document(studio, slot, container)
    if remembered("pairs.place", None) != place:
        studio.documents.replace(token, container)
        remember("pairs.place", place)
    rev, data = studio.documents.read(token)
    components.edit(
        control.editor,
        key=f"pairs.editor.{slot}",
        document=data,
        rev=rev,
        upload_url=f"./studio/documents/{token}",
        slot=slot,
        height=EDITOR_HEIGHT,
        options={"name": f"pair-{index + 1}", "document_kind": control.document, **control.options()},
    )
    if st.button("Keep the map", icon=":material/save:", key="pairs.keep.map", type="primary"):
        drawn = studio.render(control.key, studio.documents.latest(token)[1], {})
        if drawn.shape != rgb.shape:
            raise InputError("The map must stay as large as its picture.", "Undo the change of size.")
        store.write(entry.source, picture.to_png(drawn), free_min_bytes=studio.settings.free_min_bytes)
        _checks().forget(source)
        st.toast("The map is kept.")
