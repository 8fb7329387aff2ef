"""The part of the Data page that makes sets: photos in, pairs of control picture and photo out.

What runs stands in `annotations`; looking through a set, in `pairs`.
"""

from __future__ import annotations

import streamlit as st

from annotator.datasets.dataset import AnnotationPlan
from controlnet_core.domain import amounts
from controlnet_core.domain.control import ControlType, Detector, Value
from controlnet_core.domain.errors import InputError
from webapp.application import validation
from webapp.application.annotations import Made
from webapp.application.studio import Studio
from webapp.ui import share, visitor
from webapp.ui.fields import param_fields
from webapp.ui.messages import plain, told
from webapp.ui.session import remember, remembered

REFRESH_S = 1.0
SIZES = (256, 320, 384, 448, 512, 640, 768, 1024, 0)
TYPES = ["png", "jpg", "jpeg", "webp", "txt", "jsonl", "zip"]


def show(studio: Studio) -> None:
    """Draw the part: a new set, and those that were made."""
    new, made = st.columns([5, 7], gap="large")
    with new, told():
        _new(studio)
    with made:
        st.subheader("Your data sets")
        _list(studio)


def _new(studio: Studio) -> None:
    here = studio.annotations
    st.subheader("New data set")
    st.caption(
        "Every photo becomes a pair: its map under source/, itself under target/, a line with its caption in prompt.json. "
        "Train learns from such sets."
    )
    files = st.file_uploader(
        "Photos, with captions as .txt beside them; or a zip of it all",
        type=TYPES,
        accept_multiple_files=True,
        key=f"datasets.files.{remembered('datasets.round', 0)}",
    )
    workspace = visitor.workspace()
    sources = {path.name: path for path in here.sources(workspace)}
    chosen = ""
    if not files:
        chosen = st.selectbox(
            "or photos on this machine",
            ["", *sources],
            format_func=lambda name: name or "Choose ...",
            key="datasets.source",
            help=f"Folders, zips and JSONL lists in {here.photos} appear here.",
        )
    control, detector = _detector(studio)
    given = _values(control, detector)
    size = st.select_slider(
        "Size of the pairs",
        SIZES,
        value=512,
        format_func=lambda px: f"{px} px" if px else "as the photos",
        key="datasets.size",
        help="The shorter side; the shape is the photo's, in steps of 64 px.",
    )
    caption = st.text_input("Caption of photos that have none", key="datasets.caption", max_chars=300)
    name = st.text_input("Name", key="datasets.name", max_chars=48, placeholder="street-edges")
    if not st.button("Make the data set", type="primary", icon=":material/dataset:", width="stretch"):
        return
    name = validation.text(name, 48, "The name").strip().lower().replace(" ", "-")
    if files:
        source = here.keep(name, [(file.name, file.getvalue()) for file in files], workspace)
    else:
        source = sources[validation.choice(chosen, tuple(sources), "The photos")]
    own, drawn = given
    plan = AnnotationPlan(
        control.key,
        detector.key,
        own,
        drawn,
        validation.choice(size, SIZES, "The size"),
        validation.text(caption, 300, "The caption").strip(),
    )
    here.start(name, source, plan, workspace)
    remember("datasets.round", remembered("datasets.round", 0) + 1)  # the uploader starts empty again
    st.rerun()


def _detector(studio: Studio) -> tuple[ControlType, Detector]:
    controls = {
        key: one
        for key, one in studio.controls.items()
        if one.teaches and any(way.reads == "photo" for way in one.detectors)
    }
    left, right = st.columns(2)
    key = left.selectbox("Control", list(controls), format_func=lambda key: controls[key].title, key="datasets.control")
    control = controls[validation.choice(key, tuple(controls), "The control")]
    ways = {one.key: one for one in control.detectors if one.reads == "photo"}
    catalog = studio.catalog

    def title(key: str) -> str:
        missing = [card for id in ways[key].weights if not catalog.installed(card := catalog.card(id))]
        size = sum(card.size_mib for card in missing)
        return f"{ways[key].title} (downloads {amounts.size(size << 20)})" if missing else ways[key].title

    ready = next((key for key in ways if all(catalog.installed(catalog.card(id)) for id in ways[key].weights)), "")
    index = list(ways).index(ready) if ready else 0
    way = right.selectbox(
        "Detector", list(ways), index=index, format_func=title, key=f"datasets.detector.{control.key}"
    )
    return control, ways[validation.choice(way, tuple(ways), "The detector")]


def _values(control: ControlType, detector: Detector) -> tuple[dict[str, Value], dict[str, Value]]:
    """The values of the detector's parameters, and those of the renderer's."""
    if not detector.params and not control.params:
        return {}, {}
    with st.expander("Parameters", icon=":material/tune:"):
        own = param_fields(f"datasets.{control.key}.{detector.key}", detector.params, {})
        return own, param_fields(f"datasets.{control.key}", control.params, {})


def _list(studio: Studio) -> None:
    here = studio.annotations
    # Asked for again only while something is being made.
    st.fragment(_sets, run_every=REFRESH_S if here.running() else None)(studio)


def _sets(studio: Studio) -> None:
    here = studio.annotations
    was, now = remembered("datasets.running", False), here.running()
    remember("datasets.running", now)
    if was and not now:
        st.rerun()  # the last run has ended: nothing is asked for any more
    made = here.made(visitor.workspace())
    if not made:
        st.caption("None yet. Sets that you make appear here and on the training page.")
    for one in made:
        with st.container(border=True), told():
            _one(studio, one)


def _one(studio: Studio, made: Made) -> None:
    here, run = studio.annotations, studio.annotations.run(made.name)
    alive = run is not None and run.alive
    workspace = visitor.workspace()
    mine = here.owners.owns(made.name, workspace)
    control = studio.controls.get(str(made.plan.get("control")))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{plain(made.name)}**")
        st.caption(plain(" · ".join((*way(control, made), "1 pair" if made.pairs == 1 else f"{made.pairs} pairs"))))
        if alive and mine:
            st.button(
                "Stop", key=f"datasets.stop.{made.name}", icon=":material/stop:", on_click=here.stop,
                args=(made.name, workspace),
            )  # fmt: skip
        share.toggle(here.owners, made.name, "datasets")
        if not alive and mine and made.source is not None:
            st.button(
                "Go on",
                key=f"datasets.resume.{made.name}",
                icon=":material/play_arrow:",
                on_click=_resume,
                args=(
                    studio,
                    made,
                ),
                help="Annotates photos that are new or were skipped.",
            )
    if run is not None and alive:
        st.progress(run.done / run.total if run.total else 0.0, text=plain(run.text))
    elif run is not None and run.problem and not made.skipped:
        raise InputError(run.problem)
    if made.skipped:
        with st.expander(f"{len(made.skipped)} skipped", icon=":material/warning:"):
            st.dataframe([{"Photo": name, "Why": why} for name, why in made.skipped], hide_index=True, width="stretch")


def way(control: ControlType | None, made: Made) -> tuple[str, ...]:
    """What found the maps of a set, by the names that the page gives them; keys of what is not known here any more."""
    key = str(made.plan.get("detector"))
    if control is None:
        return str(made.plan.get("control")), key
    return control.title, next((one.title for one in control.detectors if one.key == key), key)


def _resume(studio: Studio, made: Made) -> None:
    with told():
        studio.annotations.resume(made, visitor.workspace())
