"""The wizard for new ControlNets on the Models page: three choices, what it takes, progress, then the two side by side."""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import get_args

import streamlit as st

import components
from controlnet_core.domain import amounts
from controlnet_core.domain.errors import InputError
from controlnet_core.domain.recipe import PROMPT_MAX, SEED_MAX
from controlnet_core.models.catalog import Catalog, ModelCard
from webapp.application import making, validation
from webapp.application.library import OVER, ModelTask
from webapp.application.making import Cost, Making, Tool
from webapp.application.recipe_builder import Draft
from webapp.application.studio import Studio
from webapp.ui import visitor
from webapp.ui.drawing.sources import first_document
from webapp.ui.messages import plain, told
from webapp.ui.session import page_state, widget

TOOLS: dict[Tool, str] = {
    "transfer": "Carry a control over to another model",
    "extract": "Take the control out of a checkpoint",
    "add-control": "Begin a fresh control for training",
}
HELP: dict[Tool, str] = {
    "transfer": "A ControlNet follows best on the model that it was trained on. This moves its copied weights by what "
    "another model of the family differs: control + target - origin. No training, no GPU.",
    "extract": "Full checkpoints such as control_sd15_canny.pth carry a base model beside the control. This writes the "
    "control alone: a quarter of the size.",
    "add-control": "A control that has learned nothing yet: the base model's encoder, copied, with connections at zero.",
}
LACKING: dict[Tool, str] = {
    "extract": "There is no checkpoint with a control in it on this machine. Put one such as control_sd15_canny.pth into "
    "models/controlnet.",
    "add-control": "There is no base model on this machine. Download or add one under Models.",
}
PANE_HEIGHT = "420px"


@dataclass
class Bench:
    """The state of the wizard in one session. `made` is what was begun last, `jobs` are those of the comparison."""

    made: Making | None = None
    jobs: list[str] = field(default_factory=list[str])
    aspect: tuple[int, int] = (1, 1)


def wizard(studio: Studio) -> None:
    """Draw it."""
    at = page_state("making", Bench)
    tool = st.segmented_control(
        "What to make",
        list(TOOLS),
        format_func=TOOLS.__getitem__,
        key=widget("making.tool", "transfer"),
        label_visibility="collapsed",
        required=True,
    )
    with told():
        chosen = validation.choice(tool, get_args(Tool), "The tool")
        st.caption(HELP[chosen])
        wanted = _choices(studio, chosen)
        if wanted is not None:
            _offer(studio, at, wanted)
    if at.made is not None:
        _outcome(studio, at)


def _choices(studio: Studio, tool: Tool) -> Making | None:
    """The choices, numbered; None when this machine lacks something for them, which is said."""
    cards = [card for card in _catalog(studio).cards() if not card.trouble and _catalog(studio).installed(card)]
    bases = [card for card in cards if card.kind == "base"]
    controls = [card for card in cards if card.kind == "controlnet" and card.network == "controlnet"]
    if tool == "transfer":
        return _transfer(bases, controls)
    if tool == "extract":
        source = _pick("Checkpoint", [card for card in (*controls, *bases) if _holds_both(studio, card)], "extract")
    else:
        source = _pick("Base model", bases, "fresh")
    if source is None:
        st.info(LACKING[tool], icon=":material/info:")
        return None
    name, half = _name(f"{source.title} control", f"{tool}.{source.id}")
    return Making(tool, source.id, name=name, half=half)


def _holds_both(studio: Studio, card: ModelCard) -> bool:
    """Whether there are base model and control in one file; of pickles, which are not opened here, the size tells."""
    place, found = _catalog(studio).locate(card), _catalog(studio).verdict(card)
    large = card.kind == "controlnet" and place.is_file() and place.stat().st_size > 2 << 30
    return found.kind == "base" and found.control if found.kind else large


def _transfer(bases: list[ModelCard], controls: list[ModelCard]) -> Making | None:
    families = Counter(base.family for base in bases)
    # What has somewhere to go comes first: the embedded model is the only one of its family.
    fitting = sorted((card for card in controls if families[card.family]), key=lambda card: families[card.family] < 2)
    with st.container(horizontal=True, gap="medium"):
        control = _pick("1 · Control", fitting, "control")
        family = [base for base in bases if control and base.family == control.family]
        origin = _origin(sorted(family, key=lambda base: base.own))
        # Whoever comes here has a model of their own in mind.
        others = sorted((base for base in family if base.id != origin), key=lambda base: not base.own)
        target = _pick("3 · Base model to carry it over to", others, "target")
    if control is None or target is None:
        st.info(
            "This needs a ControlNet and two base models of its family on this machine: the one that it was trained on "
            "and the one to carry it over to. Download or add them under Models.",
            icon=":material/info:",
        )
        return None
    name, half = _name(f"{control.title} for {target.title}", f"{control.id}.{target.id}")
    return Making("transfer", control.id, target.id, origin, name, half)


def _origin(bases: list[ModelCard]) -> str:
    titles = {**{base.id: base.title for base in bases}, making.INSIDE: "The base model inside its own file"}
    chosen = st.selectbox(
        "2 · What it was trained on",
        list(titles),
        format_func=lambda id: titles.get(id, ""),
        key="making.origin",
        help="For the published ControlNets of SD 1.5 that is Stable Diffusion 1.5. Full checkpoints carry it inside.",
    )
    return validation.choice(chosen, tuple(titles), "What it was trained on")


def _pick(label: str, cards: list[ModelCard], key: str) -> ModelCard | None:
    known = {card.id: card for card in cards}
    chosen = st.selectbox(
        label,
        list(known),
        format_func=lambda id: known[id].title if id in known else "",
        key=f"making.{key}",
        placeholder="None on this machine",
    )
    return known[validation.choice(chosen, tuple(known), label)] if chosen is not None else None


def _name(suggested: str, about: str) -> tuple[str, bool]:
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        key = f"making.name.{about}"
        name = st.text_input("Name of the new control", suggested.replace("/", " ")[:80], key=key, max_chars=80)
        half = st.toggle("Half precision", key="making.half", help="Half the size; pictures hardly change.")
    return validation.text(name, 80, "The name").strip(), half is True


def _offer(studio: Studio, at: Bench, wanted: Making) -> None:
    library = studio.library
    work = library.work(at.made.id) if at.made else None
    busy = work is not None and work.phase not in OVER
    try:
        found = making.cost(library, wanted)
    except InputError as error:
        if not (at.made and at.made.name == wanted.name):  # it is there because it was just made
            st.caption(f":material/info: {plain(str(error))}")
        return
    st.caption(_sentence(studio, found))
    if st.button("Make it", key="making.begin", type="primary", icon=":material/play_arrow:", disabled=busy):
        making.begin(library, wanted)
        at.made, at.jobs = wanted, []
        st.rerun()


def _sentence(studio: Studio, found: Cost) -> str:
    place = found.place.relative_to(_catalog(studio).models)
    return plain(
        f"Reads {amounts.size(found.reads)} and writes {amounts.size(found.writes)} "
        f"into models/{place} ({amounts.size(found.free)} free); "
        f"about {amounts.duration(found.seconds)} in the background, with less than 1 GB of memory."
    )


def _outcome(studio: Studio, at: Bench) -> None:
    """How the making goes, then what came of it."""
    assert at.made is not None
    work = studio.library.work(at.made.id)
    if work is None:
        return
    if work.phase not in OVER:
        _progress(studio, at.made.id)
    elif work.phase == "failed":
        st.error(plain(f"{work.text} {work.hint}".strip()), icon=":material/error:")
    elif work.phase == "stopped":
        st.info("Stopped; nothing was written.", icon=":material/info:")
    else:
        _made(studio, at, at.made, work)


@st.fragment(run_every=0.5)
def _progress(studio: Studio, id: str) -> None:
    work = studio.library.work(id)
    if work is None or work.phase in OVER:
        st.rerun()
        return
    share = work.done / work.total if work.total else 0.0
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(share, "Stopping" if work.stop.is_set() else f"{share:.0%}" if share else "Starting")
        if st.button("Stop", key="making.stop", icon=":material/stop:", disabled=work.stop.is_set()):
            studio.library.stop(id)


def _made(studio: Studio, at: Bench, done: Making, work: ModelTask) -> None:
    card = _catalog(studio).card(work.text)
    st.success(f"**{plain(card.title)}** is ready: {plain(card.note)}", icon=":material/check:")
    if done.tool != "transfer":
        return
    st.markdown("##### Before and after, at one seed")
    target = _catalog(studio).card(done.target)
    conditions = _conditions(studio, done.source)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Drawing",
            list(conditions),
            format_func=lambda key: studio.controls[key].title if key in studio.controls else "",
            key=f"making.{card.id}.drawing",
        )
        key = validation.choice(chosen, tuple(conditions), "The drawing")
        prompt = st.text_input("Prompt", key=widget(f"making.{card.id}.{key}.prompt", conditions[key]))
        seed = st.number_input("Seed", -1, SEED_MAX, step=1, key=widget(f"making.{card.id}.seed", -1))
        pressed = st.button("Compare", key=f"making.{card.id}.compare", type="primary", icon=":material/compare:")
    if pressed:
        seed = validation.whole(seed, -1, SEED_MAX, "The seed")
        seed = secrets.randbelow(SEED_MAX + 1) if seed == -1 else seed
        _compare(
            studio, at, (done.source, card.id), target, key, validation.text(prompt, PROMPT_MAX, "The prompt"), seed
        )
    if at.jobs:
        _panes(studio, at, (_catalog(studio).card(done.source).title, card.title))


def _conditions(studio: Studio, control: str) -> dict[str, str]:
    """Conditions that the control may be for, its own first, with the prompt of their first example."""
    own = studio.catalog.card(control).controls
    order = sorted(studio.controls.values(), key=lambda one: one.key not in own)
    return {one.key: first_document(one, 512, 512)[1] for one in order}


def _compare(
    studio: Studio, at: Bench, networks: tuple[str, str], target: ModelCard, control: str, prompt: str, seed: int
) -> None:
    start = target.defaults
    document = first_document(studio.controls[control], start.width, start.height)[0]
    at.aspect, at.jobs = (start.width, start.height), []
    for network in networks:
        recipe = studio.builder.for_base(target, [Draft(control, document, network=network)], prompt=prompt, seed=seed)
        at.jobs.append(studio.submit(visitor.session(), recipe, owner=visitor.workspace()))


def _panes(studio: Studio, at: Bench, titles: tuple[str, str]) -> None:
    stream = studio.events.stream(visitor.session(), visitor.workspace())
    words = ("As it was", "Carried over")
    for column, job, title, word in zip(st.columns(2, gap="medium"), at.jobs, titles, words, strict=True):
        with column:
            st.markdown(f"**{word}**: {plain(title)}")
            components.results(
                key=f"making.pane.{word}",
                events_url=f"./studio/events/{stream}",
                cancel_url=f"./studio/jobs/{stream}/cancel/{job}",
                job=job,
                aspect=at.aspect,
                height=PANE_HEIGHT,
                actions=(),
            )


def _catalog(studio: Studio) -> Catalog:
    return studio.catalog
