"""The training page's parts: a new training, and one that runs or ran. What they show comes from a run's files."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import streamlit as st
from pydantic import ValidationError

from controlnet_core.domain import amounts
from controlnet_core.domain.errors import InputError
from controlnet_core.models.catalog import ModelCard
from controlnet_core.training import run as runs
from controlnet_core.training.run import Config, Outline, Point, Run, Samples, Status, Wish
from webapp.application import validation
from webapp.application.studio import Studio
from webapp.application.training_setup import pairs_of
from webapp.application.trainings import starts, suggested
from webapp.ui import share, visitor
from webapp.ui.generate import panels, settings_panel
from webapp.ui.messages import places, plain, told
from webapp.ui.models import choice
from webapp.ui.session import go_to, remember, remembered, set_widget, widget
from webapp.ui.training import curves

REFRESH_S, REFRESH_MAX_S = 2.0, 10.0
LOOKS_SHOWN = 6
SIZES = (64, 128, 192, 256, 384, 512, 768, 1024)
STEPS = (200, 500, 1000, 2000, 4000, 7000, 10_000, 20_000, 50_000, 100_000)
PRECISIONS = {"no": "32 bits", "fp16": "16 bits (fp16)", "bf16": "16 bits (bf16)"}
OPTIMIZERS = {"adamw": "AdamW", "adamw8bit": "AdamW, 8 bits"}
PREVIEWED = 3
BADGES: dict[runs.State, tuple[str, str]] = {
    "starting": ("Starting", "blue"),
    "checking": ("Checking data", "blue"),
    "caching": ("Preparing", "blue"),
    "training": ("Training", "green"),
    "sampling": ("Drawing samples", "green"),
    "waiting": ("Waiting", "orange"),
    "stopped": ("Stopped", "gray"),
    "done": ("Done", "green"),
    "failed": ("Failed", "red"),
}
CSS = """
<style>
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 16px; }
.curve { margin: 0; }
.curve figcaption { display: flex; justify-content: space-between; font-size: 14px; margin-bottom: 4px; }
.curve img { display: block; width: 100%; height: 96px; }
.curve small { display: flex; justify-content: space-between; opacity: .7; font-size: 12px; }
.scroll { overflow-x: auto; }
.sheet { border-collapse: separate; border-spacing: 8px; margin: 0 -8px; }
.sheet th { font-weight: 400; font-size: 13px; text-align: left; padding: 0; opacity: .75; border: 0; white-space: nowrap; }
.sheet td { padding: 0; border: 0; vertical-align: top; }
.sheet img { display: block; width: clamp(84px, 9.5vw, 168px); aspect-ratio: 1; object-fit: contain; border-radius: 6px;
  background: #000; }
.sheet td.words { font-size: 13px; max-width: 160px; vertical-align: middle; opacity: .85; }
</style>
"""


def show(studio: Studio) -> None:
    """Draw the page: what runs, what ran, and the way to a new one."""
    st.html(CSS)
    here = studio.trainings
    known = {run.name: run for run in here.seen(visitor.workspace())}
    opened = remembered("training.open", None)
    if opened is not None:
        set_widget("training.pick", opened)
        remember("training.open", None)
    running = here.running()
    if running is not None and running.name not in known:
        running = None
    names = ["", *known]
    shown = remembered("training.shown", running.name if running else "")
    if shown not in names:  # removed meanwhile, in another tab
        shown = ""
        set_widget("training.pick", shown)
    key = widget("training.pick", shown)
    chosen = st.pills(
        "Trainings",
        names,
        key=key,
        format_func=lambda name: plain(_titled(known[name])) if name in known else "New training",
        label_visibility="collapsed",
    )
    name = validation.choice(chosen or "", names, "The training")
    remember("training.shown", name)
    if name:
        _run(studio, known[name])
    else:
        _new(studio)


def _titled(run: Run) -> str:
    try:
        return run.config().title or run.name
    except InputError:
        return run.name


def _new(studio: Studio) -> None:
    here, catalog = studio.trainings, studio.catalog
    bases = {card.id: card for card in catalog.bases()}
    if not bases:
        st.info("There is no base model on this machine to teach a ControlNet for. The Models page fetches one.")
        return
    left, right = st.columns([3, 2], gap="large")
    with left, told():
        st.subheader("Train a ControlNet")
        st.caption("Pairs of a control picture and what it should become teach a base model a new kind of control.")
        sources = here.sources(visitor.workspace())
        source = st.selectbox(
            "Data", list(sources), format_func=sources.__getitem__, key="training.source",
            help="Folders appear here when they lie in data/datasets. The Data page shows their pairs.",
        )  # fmt: skip
        one, two = st.columns(2, gap="medium")
        base_id = one.selectbox("Base model", list(bases), format_func=lambda id: bases[id].title, key="training.base")
        controls = {key: one for key, one in studio.controls.items() if one.trains}
        control = two.selectbox(
            "Control", list(controls), format_func=lambda key: controls[key].title, key="training.control",
            help="Whose page will offer the new ControlNet.",
        )  # fmt: skip
        title = st.text_input("Name", key="training.title", max_chars=48, placeholder="Circles")
        steps = st.select_slider(
            "Budget in steps", STEPS, value=2000, key="training.steps",
            help="Large networks converge suddenly, often between step 3,000 and 7,000. A miniature needs fewer.",
        )  # fmt: skip
        devices = _devices(studio)
        base = bases[validation.choice(base_id, bases, "The base model")]
        more = _more(studio, base, validation.choice(steps, STEPS, "The budget"))
        asked = _asked(studio, source, base, control, title, steps, more | {"devices": devices})
    with right, told():
        _start(studio, asked)
        _preview(studio, str(source), str(control), base)


def _devices(studio: Studio) -> int:
    """On how many devices of the cluster it trains; 0, this machine alone, where there are not several to choose from."""
    there = len(studio.trainings.lendable())
    if not there:
        return 0
    options = list(range(there + 1))
    chosen = st.selectbox(
        "Train on", options, index=max(1, there - 1), key=f"training.devices.{there}",
        format_func=lambda count: f"{count} device{'s' if count > 1 else ''} of the cluster" if count else "This machine",
        help="Each device takes batches of its own at every step. The nodes have to see the studio's data, its models and the "
        "pairs under the same paths.",
    )  # fmt: skip
    return validation.choice(chosen, options, "The devices")


def _more(studio: Studio, base: ModelCard, steps: int) -> dict[str, Any]:
    """The folded settings, with what suits the base model."""
    start = suggested(base, steps)
    sizes = [one for one in SIZES if one <= studio.catalog.family(base).side_max]
    size = min(base.defaults.width, 512)
    with st.expander("Settings", icon=":material/tune:"):
        one, two, three = st.columns(3, gap="medium")
        key = f"training.{base.id}"
        found: dict[str, Any] = {
            "size": one.selectbox("Size in px", sizes, index=sizes.index(size), key=f"{key}.size"),
            "batch": two.number_input("Batch", 1, 256, int(start["batch"]), key=f"{key}.batch"),
            "accumulate": three.number_input("Batches a step", 1, 256, 1, key=f"{key}.accumulate"),
            "rate": one.number_input("Learning rate", 1e-7, 1e-1, float(start["rate"]), format="%g", key=f"{key}.rate"),
            "prompt_dropout": two.number_input(
                "Empty prompts", 0.0, 1.0, 0.0, 0.1, key=f"{key}.dropout", help="The paper leaves out half of them."
            ),
            "min_snr": three.number_input(
                "Min-SNR gamma", 0.0, 20.0, 0.0, key=f"{key}.snr", help="5 is usual; 0 weighs all noise levels alike."
            ),
            "sample_every": one.selectbox("Samples every", (50, 100, 300, 1000), index=1, key=f"{key}.every"),
            "pairs": two.number_input(
                "Pairs", 0, 1_000_000, 2000, key=f"{key}.pairs", help="Only the first so many; 0 takes all."
            ),
            "held_out": three.number_input(
                "Held out",
                1,
                1000,
                4,
                key=f"{key}.held",
                help="So many pairs are never trained on; the first four are the samples. Where pairs were chosen for it "
                "on the Data page, it is those.",
            ),
            "seed": one.number_input("Seed", 0, 2**32 - 1, 0, key=f"{key}.seed"),
            "precision": two.selectbox(
                "Precision", list(PRECISIONS), format_func=PRECISIONS.__getitem__, key=f"{key}.precision"
            ),
            "optimizer": three.selectbox(
                "Optimizer",
                _optimizers(),
                format_func=OPTIMIZERS.__getitem__,
                key=f"{key}.optimizer",
                help="In 8 bits its moments take a quarter of the memory; offered where bitsandbytes is installed.",
            ),
            "locked": one.toggle("Freeze the base model", True, key=f"{key}.locked"),
            "middle_only": two.toggle("Middle only", False, key=f"{key}.middle"),
            "buckets": three.toggle("Aspect buckets", False, key=f"{key}.buckets"),
            "cache": one.toggle("Cache latents", True, key=f"{key}.cache"),
            "checkpointing": two.toggle("Save memory", False, key=f"{key}.saving", help="Gradient checkpointing."),
            "skip": three.toggle("Skip bad pairs", False, key=f"{key}.skip"),
        }
        others = {card.id: card.title for card in starts(studio.catalog, base)}
        found["start"] = one.selectbox(
            "Start from", ["fresh", *others], format_func=lambda id: others.get(id, "A fresh copy"), key=f"{key}.start"
        )
        found["decoder_rate"] = two.number_input(
            "Decoder's rate", 0.0, 1e-1, float(start["rate"]) / 5, format="%g", key=f"{key}.decoder",
            disabled=bool(found["locked"]),
        )  # fmt: skip
    return found


@cache
def _optimizers() -> list[str]:
    return list(OPTIMIZERS) if find_spec("bitsandbytes") else ["adamw"]


def _asked(
    studio: Studio, source: Any, base: ModelCard, control: Any, title: Any, steps: Any, more: dict[str, Any]
) -> Config | None:
    """The configuration that the form describes. Raises InputError that names what is wrong."""
    written = validation.text(title, 48, "The name").strip()
    name = re.sub(r"[^a-z0-9]+", "-", written.lower()).strip("-")
    if not name:
        return None
    start = suggested(base, int(steps))
    how = {key: more[key] for key in ("batch", "accumulate", "rate", "decoder_rate", "prompt_dropout", "min_snr")}
    how |= {
        key: more[key]
        for key in ("seed", "locked", "middle_only", "checkpointing", "precision", "optimizer", "devices")
    }
    how |= {"steps": steps, **{key: start[key] for key in ("clip", "warmup", "decay", "ema", "awake")}}
    data = {
        "source": validation.choice(source, studio.trainings.sources(visitor.workspace()), "The data"),
        "owner": visitor.workspace() if source == "gallery" else "",
        "bad": "skip" if more["skip"] else "refuse",
    }
    data |= {key: more[key] for key in ("size", "pairs", "held_out", "buckets", "cache")}
    guidance = base.defaults.guidance
    watch = {"sample_every": more["sample_every"], "sample_steps": min(20, base.defaults.steps), "guidance": guidance}
    try:
        return Config.model_validate(
            {
                "name": name,
                "title": written,
                "base": base.id,
                "control": validation.choice(control, studio.controls, "The control"),
                "start": more["start"],
                "data": data,
                "training": how,
                "watch": watch,
            }
        )
    except ValidationError as error:
        raise runs.refusal(error) from error


def _start(studio: Studio, asked: Config | None) -> None:
    here = studio.trainings
    with st.container(border=True):
        st.markdown("**Before it starts**")
        if asked is None:
            st.caption("Give it a name: the new ControlNet will have it.")
        else:
            device = _device(studio)
            cost = here.cost(asked, device)
            said = "measured here" if cost.measured else "a rough guess; after a few steps it is measured"
            several = asked.training.devices
            place = f"on each of {several} devices" if several > 1 else places([device])
            st.markdown(
                f"About **{amounts.size(cost.memory_mib << 20)}** {place} and "
                f"**{amounts.duration(cost.step_s * asked.training.steps)}** "
                f"({amounts.duration(cost.step_s)} a step, {said})."
            )
        where = _where(studio, asked.training.devices if asked is not None else 0)
        st.caption(f"It runs in its own process, also when this page is closed or the studio ends, and {where}.")
        busy = here.running()
        if busy is not None:
            seen = here.owners.sees(busy.name, visitor.workspace())
            st.caption(f"{plain(_titled(busy)) if seen else 'Somebody else'} is training now: one at a time.")
        pressed = st.button(
            "Start training", key="training.start", type="primary", icon=":material/model_training:", width="stretch",
            disabled=asked is None or busy is not None,
        )  # fmt: skip
    if pressed and asked is not None:
        run = here.start(asked, visitor.workspace())
        remember("training.open", run.name)
        st.rerun()


def _where(studio: Studio, devices: int) -> str:
    """What becomes of the devices that pictures are made on."""
    own, there = studio.trainings.device(), len(studio.trainings.lendable())
    if devices and devices >= there:
        return "has all devices of the cluster for itself: pictures wait until it ends"
    if devices:
        return f"has {devices} of the cluster's {there} devices for itself"
    return f"has {own.name} for itself" if own is not None else "pauses while pictures are made"


def _device(studio: Studio) -> str:
    """Where a training would run: "cuda:1", "cpu"."""
    own = studio.trainings.device()
    found = [status.device for status in studio.dispatcher.statuses() if status.device]
    return own.name if own is not None else found[0] if found else "cpu"


def _preview(studio: Studio, source: str, control: str, base: ModelCard) -> None:
    """A few pairs of the data, as they are."""
    asked = {
        "name": "look",
        "base": base.id,
        "control": control,
        "data": {"source": source, "owner": visitor.workspace(), "size": 256},
    }
    pairs, _ = pairs_of(Config.model_validate(asked), studio.trainings.settings)
    if not len(pairs):
        st.info("There is nothing in it yet.")
        return
    for index in range(min(PREVIEWED, len(pairs))):
        one, two, words = st.columns(3, gap="small", vertical_alignment="center")
        try:
            example = pairs.read(index)
        except InputError as error:
            words.caption(plain(f"{pairs.name(index)}: {error.message}"))
            continue
        one.image(example.source, width="stretch")
        two.image(example.target, width="stretch")
        words.caption(plain(example.prompt))


def _run(studio: Studio, run: Run) -> None:
    """One training: live while its process lives."""
    status = run.status()
    live = run.alive() or status.state not in runs.OVER
    # Where steps are long there is no news every two seconds.
    step_s = status.seconds / status.step if status.step else 0.0
    st.fragment(_watched, run_every=min(max(REFRESH_S, step_s), REFRESH_MAX_S) if live else None)(
        studio, run.name, live
    )


def _watched(studio: Studio, name: str, live: bool) -> None:
    with told():
        run = studio.trainings.run(name, visitor.workspace())
        config, status, points = run.config(), run.status(), _outline(run)
        if live and status.state in runs.OVER and not run.alive():
            st.rerun()  # it ended: the page stops asking
        _headline(studio, config, status)
        _buttons(studio, run, config, status)
        if points:
            steps = [point.step for point in points]
            loss = curves.curve("Loss", steps, [point.loss for point in points], log=True, smooth=True)
            norm = curves.curve("Gradient norm", steps, [point.norm for point in points], log=True, smooth=True)
            rate = curves.curve("Learning rate", steps, [point.rate for point in points])
            st.html(f'<div class="curves">{loss}{norm}{rate}</div>')
        looks = run.looks()
        if sheet := _sheet(run, looks, studio.events.stream(visitor.session(), visitor.workspace())):
            st.html(sheet)
            if live and not looks and config.watch.sample_every:
                st.caption("It does not learn from these: it draws them now and then, to show how far it is.")


def _outline(run: Run) -> list[Point]:
    """The curve of a run; this browser's copy grows by what is new."""
    kept: Outline | None = remembered("training.outline", None)
    if kept is None or kept.path.parent != run.folder:
        kept = Outline(run)
        remember("training.outline", kept)
    return kept.update()


def _headline(studio: Studio, config: Config, status: Status) -> None:
    word, colour = BADGES[status.state]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(word, color=colour)  # pyright: ignore[reportArgumentType]
        st.markdown(f"**{plain(config.title or config.name)}**")
        st.caption(_facts(config, status))
    if status.state != "done":
        st.progress(min(1.0, status.step / max(1, config.training.steps)))
    if status.state == "failed":
        st.error(plain(f"{status.text} {status.hint}"), icon=":material/error:")
    elif status.text and status.state != "done":
        st.caption(plain(status.text))
    if status.result:
        _made(studio, config, status.result)


def _made(studio: Studio, config: Config, result: str) -> None:
    """What became of it, and the way to draw with it; nothing where it was removed since."""
    control = studio.controls[config.control]
    if not studio.catalog.has(result):
        return
    st.success(
        f"{plain(config.title or config.name)} is among the ControlNets of {control.title} now.",
        icon=":material/check:",
    )
    if st.button("Draw with it", key="training.draw", type="primary", icon=control.icon):
        choice.use(studio, config.base)
        desk = panels.open_desk(studio, control.key)
        settings_panel.adopt(desk, replace(desk.choices, network=result))
        go_to(control.key)


def _facts(config: Config, status: Status) -> str:
    steps = config.training.steps
    over = status.state in runs.OVER
    facts = [f"step {status.step} of {steps}" if status.step else f"{steps} steps"]
    if status.step:
        facts.append(f"in {amounts.duration(status.seconds)}" if over else f"{amounts.duration(status.seconds)} so far")
    if status.step and status.state in ("training", "sampling", "waiting"):
        facts.append(f"about {amounts.duration(status.seconds / status.step * (steps - status.step))} to go")
    if status.memory_mib:
        facts.append(amounts.size(status.memory_mib << 20))
    return " · ".join([*facts, plain(status.device)] if status.device else facts)


def _buttons(studio: Studio, run: Run, config: Config, status: Status) -> None:
    here = studio.trainings
    with st.container(horizontal=True, vertical_alignment="center"):
        share.toggle(here.owners, run.name, "training")
        if not here.owners.owns(run.name, visitor.workspace()):
            return
        live = run.alive()
        if live and run.wish() == "stop":
            st.button("Stopping…", key="training.stopping", icon=":material/stop:", disabled=True)
        elif live:
            if run.wish() == "wait":
                st.button(
                    "Go on", key="training.go", icon=":material/play_arrow:", on_click=_want, args=(studio, run, "run")
                )
            else:
                st.button(
                    "Pause", key="training.pause", icon=":material/pause:", on_click=_want, args=(studio, run, "wait")
                )
            st.button(
                "Stop and keep", key="training.stop", icon=":material/stop:", on_click=_want, args=(studio, run, "stop"),
                help="Ends it now; what it has learnt becomes a ControlNet.",
            )  # fmt: skip
        elif status.state != "done":
            pressed = st.button(
                "Go on from the checkpoint" if run.checkpoint.exists() else "Start again",
                key="training.resume", type="primary", icon=":material/play_arrow:", disabled=here.running() is not None,
            )  # fmt: skip
            if pressed:
                here.start(config, visitor.workspace())
                st.rerun()
        if not live:
            with st.popover("Remove", icon=":material/delete:"):
                st.caption("Its curve, samples and checkpoint go. A ControlNet that it made stays.")
                if st.button("Remove it for good", key="training.remove", width="stretch"):
                    here.remove(run, visitor.workspace())
                    remember("training.shown", "")
                    remember("training.open", "")
                    st.rerun()


def _want(studio: Studio, run: Run, wish: Wish) -> None:
    with told():
        studio.trainings.want(run, wish, visitor.workspace())


def _sheet(run: Run, looks: list[Samples], stream: str) -> str:
    """The samples as a table: a row for each pair, its control and wanted picture, then the looks.

    `stream` is the token of the visitor's events, by which the pictures are opened.
    """
    if len(looks) > LOOKS_SHOWN:
        stride = (len(looks) - 1) / (LOOKS_SHOWN - 1)
        looks = [looks[round(place * stride)] for place in range(LOOKS_SHOWN)]
    try:
        prompts: list[str] = json.loads((run.folder / "samples" / "prompts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""  # the pairs have not been chosen yet
    heads = ["", "Control", "Wanted", *(f"Step {look.step}" for look in looks)]
    rows = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for index, prompt in enumerate(prompts):
        files = [f"control-{index}", f"target-{index}"]
        files += [look.files[index].stem for look in looks if index < len(look.files)]
        words = html.escape(prompt if len(prompt) < 120 else f"{prompt[:117]}...")
        cells = "".join(
            f'<td><img src="./studio/training/{stream}/{run.name}/{file}.png" alt="{words}" loading="lazy"></td>'
            for file in files
        )
        rows.append(f'<tr><td class="words">{words}</td>{cells}</tr>')
    return f'<div class="scroll"><table class="sheet">{"".join(rows)}</table></div>'
