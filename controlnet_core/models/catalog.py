"""Which models there are, and where: the cards shipped with the program and the user's own files.

A card describes a model whether it is on this machine or not. Cards stand in `cards/*.toml`, one file a kind; files
that a user puts into models/checkpoints, controlnet, loras, embeddings or vae become cards at the next question, and a
folder's own `card.toml` says more of it than its name does. Does not load models (`loading`) and imports no torch; downloads
would fill the place that `locate` looks at.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from controlnet_core.checkpoints.probe import Kind, ModelProbe, Network, check
from controlnet_core.checkpoints.safetensors_header import sniff
from controlnet_core.domain.control import Feed
from controlnet_core.domain.errors import InputError, ModelError, ModelMissing, RecipeError
from controlnet_core.domain.recipe import Key
from controlnet_core.domain.samplers import Sampler, Spacing
from controlnet_core.families import UNKNOWN, Family, families, family
from controlnet_core.models import presets
from controlnet_core.storage import store

__all__ = ["Catalog", "Defaults", "Kind", "ModelCard", "shipped"]

TOKENIZER = "clip-tokenizer"
"""The card of the vocabulary that single-file checkpoints need."""
CARDS = Path(__file__).parent / "cards"
SUFFIXES = (".safetensors", ".pth", ".ckpt", ".pt", ".bin")
_FOREIGN = (".gguf",)
"""Of models that do not run here: they are shown, and called what they are."""
_OWN: dict[str, Kind] = {
    "checkpoints": "base",
    "controlnet": "controlnet",
    "loras": "lora",
    "embeddings": "embedding",
    "vae": "vae",
    "ip_adapters": "ip_adapter",
    "image_encoders": "image_encoder",
}
_UNION: tuple[tuple[str, ...], ...] = (
    ("pose",), ("depth",), ("scribble", "softedge"), ("canny", "lines", "lineart", "lineart_anime"), ("normal",), ("seg",),
    ("tile",), ("inpaint",),
)  # fmt: skip
"""The conditions by the number under which the published union ControlNets know them, as their README says: xinsir's union has
the first six, its ProMax all eight."""
_UNION_TYPES = (6, 8)
_V_PREDICTION = re.compile(r"(?<![a-z])v[-_ ]?pred", re.IGNORECASE)
_KEY = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
Prediction = Literal["epsilon", "v_prediction", "sample"]
"""What a U-Net says of a noisy latent: its noise, its velocity v = alpha noise - sigma clean, or the clean latent."""
_CARD_MAX_BYTES = 64 * 1024
DEPTH = 3
"""How many folders deep a user's files are looked for."""


class Defaults(BaseModel):
    """What a page starts with for a base model: what its card says, else what suits its family; see `_defaults`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    width: int = 512
    height: int = 512
    steps: int = 20
    guidance: float = 9.0
    sampler: Sampler = "ddim"
    spacing: Spacing = "model"
    eta: float = 0.0
    added_prompt: str = UNKNOWN.added_prompt
    negative: str = UNKNOWN.negative


def _listed(given: object) -> object:
    """One condition may stand by itself."""
    return ((given,) if given else ()) if isinstance(given, str) else given


class ModelCard(BaseModel):
    """One model: what it is, where it lies here and where it comes from.

    `path` is relative to the models folder and names a folder or a file; without a suffix, a file of that name with
    any of `SUFFIXES` serves too. `hub` is a Hugging Face repository, `file` what to take from it (a file or a
    subfolder; "" is all of it). `family` ties ControlNets to base models.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: Key
    title: str
    kind: Kind
    family: str = ""
    path: str
    hub: str = ""
    file: str = ""
    size_mib: Annotated[int, Field(ge=0)] = 0
    sha256: str = ""
    licence: str = ""
    note: str = ""
    words: str = ""
    """File beside the model that lists the words it knows, one a line; "" when it knows the language."""
    classes: str = ""
    """File beside the model that lists the ADE20K classes it has seen (index and name, one a line); "" when unknown."""
    prediction: Prediction | None = None
    """What the network predicts, where a single file cannot tell."""
    defaults: Defaults = Defaults()
    controls: Annotated[tuple[Key, ...], BeforeValidator(_listed)] = Field(
        default=(), validation_alias=AliasChoices("controls", "control")
    )
    """The conditions that a ControlNet reads; none when nobody has said."""
    feed: dict[Key, Feed] = {}
    """How a ControlNet wants the colours of a condition, where that is not as they are."""
    pooled: bool = False
    """Whether what a ControlNet says is averaged over the picture and kept off the unconditional half of the guidance:
    the shuffle network's way. A folder's own configuration says so too."""
    network: Network = "controlnet"
    """What kind of network carries the conditions: a ControlNet, one that is told the condition, or a T2I-Adapter."""
    types: dict[Key, Annotated[int, Field(ge=0, lt=64)]] = {}
    """The number by which a union ControlNet knows each condition."""
    encoder: str = ""
    """The card of the image encoder that an IP-Adapter was made with."""
    preset: str = ""
    """The preset (`presets`) that a base model or LoRA of few steps is made for."""
    trouble: str = ""
    """Why a file of the user's cannot be used; "" when it can, or when nobody has looked inside (pickles)."""
    own: bool = False
    """Whether it is a file of the user's rather than a card of the program's."""


@cache
def shipped() -> dict[str, ModelCard]:
    """The cards that come with the program, by id, in the order of their files."""
    found: dict[str, ModelCard] = {}
    for path in sorted(CARDS.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("card", []):
            card = ModelCard.model_validate(entry)
            if card.id in found:
                raise ValueError(f"two cards are called {card.id!r}")
            start = _defaults(entry.get("defaults"), family(card.family), None)
            found[card.id] = card.model_copy(update={"defaults": start}) if card.kind == "base" else card
    return found


class Catalog:
    """All cards, seen from one models folder."""

    def __init__(self, models: Path, embedded: Path | None = None) -> None:
        """`embedded` is a second folder, never written to, in which the program's own cards are looked for too."""
        self.models = models
        self.embedded = embedded
        self._lent: dict[str, tuple[ModelCard, Path]] = {}

    def lend(self, models: Mapping[str, tuple[ModelCard, Path]]) -> None:
        """Know these models by their ids, wherever they lie, before all others; until the next call."""
        self._lent = dict(models)

    def cards(self) -> list[ModelCard]:
        """Every card: those of the program, those added from the hub, then the user's own files."""
        known = self._known()
        return [*known.values(), *self._own(known)]

    def card(self, id: str) -> ModelCard:
        """The card called `id`. Raises ModelMissing."""
        known = self._known()
        if id in known:
            return known[id]
        for card in self._own(known):
            if card.id == id:
                return card
        raise ModelMissing(f"There is no model called {id!r}.", "Choose one of the installed models.")

    def add(self, card: ModelCard) -> ModelCard:
        """Keep a card that the user wrote; returns it under an id that is free. Raises InputError for a place outside."""
        if not (self.models / card.path).resolve().is_relative_to(self.models.resolve()):
            raise InputError("A model's place must be inside the models folder.")
        twin = next((one for one in self._known().values() if (one.hub, one.file) == (card.hub, card.file)), None)
        if twin is not None and card.hub:
            return twin
        taken = {one.id for one in self.cards() if one.path != card.path}
        card = card.model_copy(update={"id": _free_id(card.id, taken)})
        data = card.model_dump_json(exclude_defaults=True, indent=1).encode()
        store.write(self.models / "cards" / f"{card.id}.json", data, free_min_bytes=0)
        return card

    def forget(self, card: ModelCard) -> None:
        """Remove a card that the user added; its files stay. Cards of the program stay."""
        (self.models / "cards" / f"{card.id}.json").unlink(missing_ok=True)

    def set_prediction(self, card: ModelCard, prediction: Prediction | None) -> ModelCard:
        """Keep what the U-Net of a user's single file predicts; None: what its tensors tell. Raises InputError, ModelMissing.

        Models of OpenCLIP exist in both kinds and look the same from outside.
        """
        place = self.locate(card)
        if not self.takes_prediction(card):
            raise InputError(
                f"What {card.title} predicts is known.",
                "Only a base model of yours that is a single file has to be told.",
            )
        if self.added(card):
            told = card.model_copy(update={"prediction": prediction})
            data = told.model_dump_json(exclude_defaults=True, indent=1).encode()
            store.write(self.models / "cards" / f"{card.id}.json", data, free_min_bytes=0)
        else:
            about = {key: value for key, value in _about(place).items() if isinstance(value, str)}
            about = {**about, "prediction": prediction or ""}
            lines = [f"{key} = {json.dumps(value)}" for key, value in about.items() if value]
            store.write(_about_file(place), ("\n".join(lines) + "\n").encode(), free_min_bytes=0)
        return self.card(card.id)

    def takes_prediction(self, card: ModelCard) -> bool:
        """Whether a person may say what a model predicts: a base model of the user's in a single file, which is here."""
        place = self._find(card) if card.kind == "base" and (card.own or self.added(card)) else None
        return place is not None and not place.is_dir()

    def added(self, card: ModelCard) -> bool:
        """Whether a card was added by the user."""
        return (self.models / "cards" / f"{card.id}.json").is_file()

    def bases(self) -> list[ModelCard]:
        """The base models that are installed and can be used."""
        return [card for card in self.cards() if card.kind == "base" and not card.trouble and self.installed(card)]

    def base(self, key: str | None = None) -> ModelCard:
        """The base model `key`, by default the first that is here. Raises ModelMissing."""
        if key:
            return self.card(key)
        bases = self.bases()
        if not bases:
            raise ModelMissing(
                "There is no base model on this machine.", "Download one: studio models list names them."
            )
        return bases[0]

    def installed(self, card: ModelCard) -> bool:
        """Whether the model lies on this machine."""
        return self._find(card) is not None

    def has(self, id: str) -> bool:
        """Whether there is a model called `id`, and it lies on this machine."""
        try:
            return self.installed(self.card(id))
        except ModelMissing:
            return False

    def networks(self, control: str, family: str) -> list[ModelCard]:
        """The ControlNets that may carry a condition for base models of a family, here or not, the best first.

        Those that are known to read it, as their cards come; then those of which nobody has said what they read. A family
        that cannot be told may fit. What cannot be used at all is left out.
        """
        found = [
            card
            for card in self.cards()
            if card.kind == "controlnet"
            and card.family in ("", family)
            and (not card.controls or control in card.controls)
            and not card.trouble
        ]
        return sorted(found, key=lambda card: (not card.controls, card.family != family))

    def network(self, control: str, family: str, name: str | None = None) -> ModelCard | None:
        """The ControlNet that carries a condition for a family: the one called `name`, else the usual one, None without any.

        The usual one is the first whose card names both, here or not. Raises ModelMissing for a name that is not known,
        RecipeError for that of something else.
        """
        if name is None:
            fits = (card for card in self.networks(control, family) if control in card.controls)
            return next((card for card in fits if card.family == family), None)
        card = self.card(name)
        if card.kind != "controlnet":
            raise RecipeError(f"{card.title} is not a ControlNet.", "Choose a ControlNet for the control.")
        return card

    def carriers(self, control: str) -> list[tuple[ModelCard, ModelCard]]:
        """The base models with a ControlNet for a condition, each with its usual one: those that are all here come first."""
        pairs = [
            (base, network)
            for base in self.cards()
            if base.kind == "base" and not base.trouble and (network := self.network(control, base.family))
        ]
        return sorted(pairs, key=lambda pair: sum(not self.installed(card) for card in pair))

    def locate(self, card: ModelCard) -> Path:
        """The folder or file of a model. Raises ModelMissing with a sentence that says where to get it and put it."""
        found = self._find(card)
        if found is not None:
            return found
        place = self.models / card.path
        if card.hub:
            source = f"{card.file} of {card.hub}" if card.file else card.hub
            raise ModelMissing(
                f"{card.title} is not on this machine.",
                f"Download it on the Models page, with `studio models download {card.id}`, or by hand: {source} to {place}.",
                card.id,
            )
        raise ModelMissing(f"{card.title} is not on this machine.", f"Put it into {place}.")

    def shown(self, place: Path) -> str:
        """A model's place as people read it: below the models folder, else in full."""
        below = place.is_relative_to(self.models)
        return (place.relative_to(self.models) if below else place).as_posix()

    def verdict(self, card: ModelCard) -> ModelProbe:
        """What the model's files are, looked at once for each state of them; nothing of a pickle. Raises ModelMissing."""
        return _verdict(self.locate(card))

    def lacks(self, card: ModelCard) -> ModelCard | None:
        """What a model that is here needs beside its own files and does not find: a single file's vocabulary, an encoder."""
        if card.kind == "ip_adapter" and card.encoder and self.installed(card):
            encoder = self.card(card.encoder)
            return None if self.installed(encoder) else encoder
        if card.kind != "base" or not self.installed(card) or self.locate(card).is_dir():
            return None
        vocabularies = (self.card(encoder.vocabulary) for encoder in self.family(card).text)
        return next((words for words in vocabularies if not self.installed(words)), None)

    def family(self, card: ModelCard) -> Family:
        """The facts of a model's architecture."""
        return family(card.family)

    def words(self, card: ModelCard) -> list[str]:
        """The words that a model of limited vocabulary knows; empty when it knows the language (or says nothing)."""
        return self._lines(card, card.words)

    def classes(self, card: ModelCard) -> list[int]:
        """Indices of the segmentation classes that a model was trained on; empty when nothing is known of that."""
        return [int(line.split()[0]) for line in self._lines(card, card.classes)]

    def _lines(self, card: ModelCard, name: str) -> list[str]:
        found = self._find(card)
        if not name or found is None or not (found / name).is_file():
            return []
        return (found / name).read_text(encoding="utf-8").splitlines()

    def _find(self, card: ModelCard) -> Path | None:
        if card.id in self._lent:
            return self._lent[card.id][1]
        place = self.models / card.path
        if place.exists():
            return place
        if self.embedded is not None and not card.own and (self.embedded / card.path).exists():
            return self.embedded / card.path
        if card.id == TOKENIZER:
            # Every model of the published families has the same words: a folder of one lends them.
            lent = sorted((self.models / "checkpoints").glob("*/tokenizer/vocab.json"))
            return next((file.parent for file in lent if (file.parent / "merges.txt").is_file()), None)
        written = (suffix for plain in SUFFIXES for suffix in (plain, plain.upper()))
        return next((file for suffix in written if (file := place.with_name(place.name + suffix)).is_file()), None)

    def _known(self) -> dict[str, ModelCard]:
        known = dict(shipped())
        for path in sorted((self.models / "cards").glob("*.json")):
            card = _read_card(path, path.stat().st_mtime_ns)
            if card is not None and card.id == path.stem and (card.hub or self.installed(card)):
                known.setdefault(card.id, self._recognised(card))
        return known | {id: card for id, (card, _) in self._lent.items()}

    def _recognised(self, card: ModelCard) -> ModelCard:
        """A card that was added by its name alone, with what its name says, and the family that its files show once here."""
        told_network = card.kind != "controlnet" or bool(card.types) or card.network != "controlnet"
        place = None if card.family and told_network else self._find(card)
        found = _verdict(place) if place is not None else None
        key = card.family or (found.family if found is not None else "")
        if found is not None and not told_network:
            types = union_types(found.types)
            more = {"controls": card.controls or tuple(types), "feed": card.feed or (UNION_FEED if types else {})}
            card = card.model_copy(update={"network": found.network, "types": types, **more})
        preset = None
        if not card.preset and card.kind in ("base", "lora"):
            preset = presets.recognised(f"{card.hub} {card.file} {card.title}", card.kind)
        if key == card.family and preset is None:
            return card
        told = card.defaults.model_dump(exclude_unset=True)
        start = _defaults(told, family(key), preset if card.kind == "base" else None)
        return card.model_copy(
            update={"family": key, "defaults": start, "preset": preset.key if preset else card.preset}
        )

    def _own(self, known: dict[str, ModelCard]) -> list[ModelCard]:
        taken = {card.path for card in known.values()}
        cards: dict[str, ModelCard] = {}
        for folder, kind in _OWN.items():
            for path in _models_below(self.models / folder, DEPTH):
                where = path.relative_to(self.models).as_posix()
                if where in taken or where.removesuffix(path.suffix) in taken:
                    continue
                id = _free_id(path.stem if path.is_file() else path.name, known.keys() | cards.keys())
                cards[id] = _own_card(id, path, where, kind)
        titles = Counter((card.kind, card.title) for card in cards.values())
        return [
            card
            if titles[card.kind, card.title] == 1
            else card.model_copy(update={"title": f"{card.title} ({card.path.partition('/')[2]})"})
            for card in cards.values()
        ]


def _predicts(path: Path, told: object, found: ModelProbe) -> Prediction | None:
    """What a base model predicts, where somebody says so: whoever owns it, its metadata, or its name, as in model-vpred.

    The mark in the file itself is left out by many who change such a model; without any of these it draws nothing but noise.
    """
    if path.is_dir():
        return None
    known: tuple[Prediction, ...] = get_args(Prediction)
    for one in known:
        if one == told:
            return one
    return found.prediction or ("v_prediction" if _V_PREDICTION.search(path.stem) else None)


def _own_card(id: str, path: Path, where: str, kind: Kind) -> ModelCard:
    about, found = _about(path), _verdict(path)
    if found.kind not in (None, "detector") and not (kind == "controlnet" and found.control):
        kind = found.kind  # a full checkpoint among the ControlNets serves as one
    name = _name_of(path)
    twin = _published(name) if kind == "controlnet" else None
    preset = presets.recognised(f"{path.stem} {found.called}", kind) if kind in ("base", "lora") else None
    types = {} if not found.types else about.get("types") or union_types(found.types)
    trouble = "" if found.ok else f"{found.sentence} {found.hint}".strip()
    if found.types and not (types and max(types.values()) < found.types):
        trouble = (
            f"This is a ControlNet for {found.types} kinds of condition, and which ones is not known. "
            f"Say it in its card.toml, as in types = {{ canny = 3 }}, with numbers below {found.types}."
        )
    return ModelCard(
        id=id,
        title=about.get("title") or name,
        kind=kind,
        family=about.get("family") or found.family,
        path=where,
        size_mib=size_of(path) >> 20,
        licence=about.get("licence") or "your own file",
        note=about.get("note", ""),
        words=about.get("words", ""),
        prediction=_predicts(path, about.get("prediction"), found) if kind == "base" else None,
        controls=(about.get("controls") or tuple(types) or (twin.controls if twin else said_by(name)))
        if kind == "controlnet"
        else (),
        feed=about.get("feed") or (UNION_FEED if types else twin.feed if twin else {}),
        network=found.network,
        types=types,
        encoder=found.encoder,
        pooled=bool(twin and twin.pooled),
        defaults=_defaults(
            about.get("defaults"), family(about.get("family") or found.family), preset if kind == "base" else None
        ),
        preset=preset.key if preset else "",
        trouble=trouble,
        own=True,
    )


_NAMELESS = re.compile(r"(diffusion_)?(pytorch_)?model([._-]?fp16)?|controlnet|weights", re.IGNORECASE)
"""Names of files that say nothing: diffusers calls every network so."""
_WORDS = {
    "openpose": "pose", "hed": "softedge", "pidinet": "softedge", "mlsd": "lines", "hough": "lines", "segmentation": "seg",
    "normalbae": "normal", "midas": "depth", "lineartanime": "lineart_anime",
}  # fmt: skip
"""Words for conditions in the names of other people's files."""
UNION_FEED: dict[str, Feed] = {"inpaint": "black"}
"""How the published union ControlNets want their colours, where that is not as they are."""


def union_types(count: int) -> dict[str, int]:
    """The number of each condition in a union ControlNet of so many kinds; empty when none like it is published."""
    listed = _UNION[:count] if count in _UNION_TYPES else ()
    return {control: number for number, controls in enumerate(listed) for control in controls}


def _name_of(path: Path) -> str:
    """What a model is called: its folder or file; the folder around a file whose own name every model has."""
    if path.is_dir():
        return path.name
    return path.parent.name if _NAMELESS.fullmatch(path.stem) and path.parent.name not in _OWN else path.stem


def said_by(name: str) -> tuple[str, ...]:
    """The condition that a ControlNet's name says, as my-canny-fp16 does; none where it says several, or nothing."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    known = {control for card in shipped().values() for control in card.controls}
    found = (known & words) | {control for word, control in _WORDS.items() if word in words and control in known}
    return tuple(found) if len(found) == 1 else ()


def _published(name: str) -> ModelCard | None:
    """The published ControlNet that a file is by its name, as control_v11p_sd15_scribble_fp16; None for other names."""
    fits = [card for card in shipped().values() if card.hub and card.controls and name.startswith(Path(card.path).name)]
    return max(fits, key=lambda card: len(card.path), default=None)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return stamp_of(path)[0]


def stamp_of(path: Path) -> tuple[int, int]:
    """Bytes of a model, and when the newest of its files was written: with either, it is another model."""
    stats = list(_stats(path)) if path.is_dir() else [path.stat()]
    return sum(one.st_size for one in stats), max((one.st_mtime_ns for one in stats), default=0)


def _stats(folder: Path | os.DirEntry[str]) -> Iterator[os.stat_result]:
    """Of all files below a folder; asked for every picture, so without a `Path` for each."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _stats(entry)
            elif entry.is_file():  # no link to nowhere
                yield entry.stat()


def _models_below(folder: Path, depth: int) -> list[Path]:
    """Files and folders of models in a folder and, `depth` levels deep, in folders that are no models themselves."""
    found: list[Path] = []
    for path in sorted(folder.glob("*")):
        if _is_model(path):
            found.append(path)
        elif depth > 0 and path.is_dir() and not path.name.startswith("."):
            found += _models_below(path, depth - 1)
    return found


@lru_cache(maxsize=1024)
def _read_card(path: Path, _changed_ns: int) -> ModelCard | None:
    try:
        return ModelCard.model_validate_json(path.read_bytes()[:_CARD_MAX_BYTES])
    except (OSError, ValueError):
        return None


def _is_model(path: Path) -> bool:
    if path.name.startswith("."):
        return False  # being written
    if path.is_dir():
        return (path / "model_index.json").is_file() or (path / "config.json").is_file()
    return path.suffix.lower() in (*SUFFIXES, *_FOREIGN) and path.is_file()  # a link may lead nowhere


def _about_file(path: Path) -> Path:
    """Where more is said of a model than its name does: `card.toml` in a folder, NAME.card.toml beside a file."""
    return path / "card.toml" if path.is_dir() else path.with_name(f"{path.stem}.card.toml")


def _about(path: Path) -> dict[str, Any]:
    """What a model's own `card.toml` says of it: texts, `controls`, `feed` and `defaults`. A damaged one says nothing."""
    try:
        with _about_file(path).open("rb") as file:
            found = tomllib.loads(file.read(_CARD_MAX_BYTES).decode())
    except (OSError, ValueError, RecursionError):
        return {}
    texts = {key: value for key, value in found.items() if isinstance(value, str) and len(value) <= 1000}
    if Path(texts.get("words", "")).name != texts.get("words", ""):
        texts.pop("words", None)
    types = _types(found.get("types"))
    return {
        **texts,
        "controls": _keys(found) or tuple(types),
        "feed": _feeds(found.get("feed")),
        "types": types,
        "defaults": found.get("defaults"),
    }


def _keys(found: dict[str, Any]) -> tuple[str, ...]:
    """The conditions that a `card.toml` names: `control = "canny"` or `controls = ["canny", "lines"]`."""
    given = _listed(found.get("controls") or found.get("control") or ())
    keys = cast("Sequence[object]", given) if isinstance(given, (list, tuple)) else ()
    return tuple(key for key in keys if isinstance(key, str) and _KEY.fullmatch(key))


def _types(given: object) -> dict[str, int]:
    """The numbers of conditions that a `card.toml` gives for a union ControlNet; what can be none is left out."""
    pairs = cast("dict[str, object]", given) if isinstance(given, dict) else {}
    return {
        key: number for key, number in pairs.items() if _KEY.fullmatch(key) and type(number) is int and 0 <= number < 64
    }


def _feeds(given: object) -> dict[str, Any]:
    pairs = cast("dict[str, object]", given) if isinstance(given, dict) else {}
    return {key: feed for key, feed in pairs.items() if feed in get_args(Feed)}


def _defaults(given: object, known: Family, preset: presets.Preset | None) -> Defaults:
    """What a model starts with: as its family does, or as a model of few steps is run, and what is said of it itself."""
    width, height = known.native
    usual = Defaults(
        width=width, height=height, guidance=known.guidance, added_prompt=known.added_prompt, negative=known.negative
    )
    usual = usual.model_copy(update=preset.fields if preset else {})
    told = cast("dict[str, object]", given) if isinstance(given, dict) else {}
    try:
        return Defaults.model_validate({**usual.model_dump(), **told})
    except ValueError:
        return usual


def _free_id(name: str, taken: set[str]) -> str:
    plain = re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-_.")[:56] or "model"
    id, number = plain, 2
    while id in taken:
        id, number = f"{plain}-{number}", number + 1
    return id


def _verdict(path: Path) -> ModelProbe:
    stamps = [
        path.stat(),
        *((path / part).stat() for part in ("unet", "vae", *_encoders()) if (path / part).is_dir()),
    ]
    return _verdict_at(path, tuple((stamp.st_mtime_ns, stamp.st_size) for stamp in stamps))


@cache
def _encoders() -> tuple[str, ...]:
    """The folders in which text encoders lie, of every family."""
    return tuple(dict.fromkeys(one.part for known in families().values() for one in known.text))


@lru_cache(maxsize=1024)
def _verdict_at(path: Path, _stamps: tuple[tuple[int, int], ...]) -> ModelProbe:
    if path.is_dir() or path.suffix.lower() == ".safetensors":
        return check(path)
    try:
        sniff(path)
    except ModelError as error:
        return ModelProbe(False, error.message, error.hint)
    # Pickles need torch to be looked into: what they are shows when they are checked or loaded.
    return ModelProbe(True, "")
