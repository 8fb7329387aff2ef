"""Asks the Hugging Face hub for models: which files make one up, and the bytes of each, in the words of `huggingface_hub`.

The environment decides as everywhere: HF_ENDPOINT (a mirror), HF_TOKEN, HF_HOME (the cache), HF_HUB_OFFLINE. Failures are a
`DownloadError` where trying again is of no use and `Cut` where it may be. Writes nothing: that is `download`. Imports the
hub's library when it is first needed: it takes half a second.
"""

# The hub's library publishes partial types.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import os
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from controlnet_core.checkpoints.safetensors_header import ORDINARY
from controlnet_core.domain.errors import DownloadError
from controlnet_core.models.catalog import SUFFIXES, Kind, ModelCard

TIMEOUT_S = 10.0
CONFIG_MAX_BYTES = 1 << 20
CARRIERS = ("ControlNetModel", "ControlNetUnionModel", "ControlNetXSAdapter", "T2IAdapter")
"""The classes of diffusers that carry a condition."""
_NAMELESS = ("pytorch_lora_weights", "diffusion_pytorch_model", "pytorch_model", "model")
"""Names of files that say nothing about the model."""
_ADDRESS = re.compile(
    r"(?:https?://|(?=(?:www\.)?(?:huggingface\.co|hf\.co|civitai\.com|github\.com|modelscope\.cn)/))(?P<host>[^/]+)/?",
    re.IGNORECASE,
)
"""An address, also one that was copied without its beginning."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository. `sha256` of its bytes or `git`, git's SHA-1 of it; "" where the hub does not say."""

    name: str
    size: int
    sha256: str = ""
    git: str = ""


@dataclass(frozen=True)
class DownloadPlan:
    """What makes up a model: files of one revision of a repository, by their names there."""

    hub: str
    revision: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def names_of(card: ModelCard) -> list[str]:
    """The files that a card takes from its repository; empty for what `wanted` chooses."""
    return [name.strip() for name in card.file.split(",") if name.strip()]


class Cut(Exception):
    """A transfer that ended early and may go on; with `start_again` from the beginning."""

    def __init__(self, reason: str, *, start_again: bool = False) -> None:
        super().__init__(reason)
        self.start_again = start_again


@dataclass(frozen=True)
class Answer:
    """Bytes of a file from `offset` on."""

    offset: int
    chunks: Iterator[bytes]


class Repository:
    """Requests to the hub, in the words of `huggingface_hub`; every failure is one of ours, or `Cut`."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"

    def plan(self, names: Sequence[str]) -> DownloadPlan:
        """What to fetch: the files `names` (those of "folder/" when it ends so), or what makes up the model."""
        if _offline():
            return self._cached_plan(names)
        try:
            info = self.info()
        except Cut as cut:
            try:
                return self._cached_plan(names)
            except DownloadError:
                raise DownloadError(
                    f"{self.card.title} cannot be downloaded: {cut}.", self._by_hand("Look at the connection")
                ) from cut
        known = {one.rfilename: one for one in info.siblings or [] if _is_inside(one.rfilename)}
        files: list[RemoteFile] = []
        for name in self._select(list(known), names):
            one, lfs = known[name], known[name].lfs
            if one.size is None:
                raise DownloadError(f"The hub does not say how large {name} of {self.card.hub} is.", self._by_hand())
            files.append(RemoteFile(name, one.size, lfs.sha256 if lfs else "", "" if lfs else one.blob_id or ""))
        return DownloadPlan(self.card.hub, info.sha or "main", tuple(files))

    def info(self) -> Any:
        """What the hub says of the repository: revision, files with sizes and checksums, licence. Raises Cut."""
        from huggingface_hub import HfApi

        with self._explained():
            return HfApi(endpoint=self.endpoint).model_info(self.card.hub, files_metadata=True, timeout=TIMEOUT_S)

    def class_name(self) -> str:
        """The class that the repository's config.json is for; "" when it does not say."""
        plan = DownloadPlan(self.card.hub, "main", ())
        try:
            with self.open(plan, RemoteFile("config.json", 0), 0) as answer:
                data = b""
                for chunk in answer.chunks:
                    data += chunk
                    if len(data) > CONFIG_MAX_BYTES:
                        return ""
            return str(dict(json.loads(data)).get("_class_name", ""))
        except (Cut, ValueError, TypeError, RecursionError):
            return ""

    @contextmanager
    def open(self, plan: DownloadPlan, file: RemoteFile, offset: int) -> Generator[Answer]:
        """The bytes of a file from `offset` on, or from 0 where the server cannot. Raises Cut when it does not answer."""
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers

        if _offline():
            raise DownloadError(f"{self.card.title} cannot be downloaded: HF_HUB_OFFLINE is set.", self._by_hand())
        url = hf_hub_url(plan.hub, file.name, revision=plan.revision, endpoint=self.endpoint)
        # "identity": a compressed answer has other offsets than the file.
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        with self._explained(), get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_S) as response:
            if response.status_code == 416:
                raise Cut("the server does not have the rest of the file", start_again=True)
            self._check(response)
            if "text/html" in response.headers.get("content-type", ""):
                raise DownloadError(
                    f"A web page came instead of {file.name}.",
                    "Perhaps this network wants a login first: open any page in the browser, then download it again.",
                )
            if response.status_code != 206:  # the server does not know how to go on
                yield Answer(0, response.iter_bytes())
                return
            begins = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
            if begins is None or int(begins[1]) != offset:
                raise Cut("the server sent another part of the file", start_again=True)
            yield Answer(offset, response.iter_bytes())

    def _select(self, known: list[str], names: Sequence[str]) -> list[str]:
        named = [
            one for name in names for one in (_below(known, name) if name.endswith("/") else [name]) if one in known
        ]
        chosen = named if names else wanted(known)
        missing = [name for name in names if name not in chosen and not name.endswith("/")]
        if missing or not chosen:
            raise DownloadError(
                f"{missing[0] if missing else 'A model'} is not in {self.card.hub} (any more).", self._by_hand()
            )
        return chosen

    def _cached_plan(self, names: Sequence[str]) -> DownloadPlan:
        """What the hub's cache on this machine has of a repository."""
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(self.card.hub, local_files_only=True))
        except (OSError, ValueError) as error:
            reason = "HF_HUB_OFFLINE is set" if _offline() else "the hub cannot be reached"
            raise DownloadError(f"{self.card.title} cannot be downloaded: {reason}.", self._by_hand()) from error
        known = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        chosen = self._select(known, names)
        if not any(name.endswith(SUFFIXES) for name in chosen) and self.card.kind != "tokenizer":
            raise DownloadError(f"The hub's cache on this machine has no weights of {self.card.hub}.", self._by_hand())
        sizes = tuple(RemoteFile(name, (folder / name).stat().st_size) for name in chosen)
        return DownloadPlan(self.card.hub, folder.name, sizes)

    @contextmanager
    def _explained(self) -> Generator[None]:
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

        try:
            yield
        except HfHubHTTPError as error:
            self._check(error.response)
            raise Cut(f"{self._host()} answered with an error") from error
        except OfflineModeIsEnabled as error:
            raise DownloadError(
                f"{self.card.title} cannot be downloaded: HF_HUB_OFFLINE is set.", self._by_hand()
            ) from error
        except HFValidationError as error:
            raise DownloadError(
                f"{self.card.hub!r} is not a name of the hub.", "Names look like author/model."
            ) from error
        except httpx2.TimeoutException as error:
            raise Cut(f"{self._host()} does not answer") from error
        except httpx2.ConnectError as error:
            raise Cut(f"{self._host()} cannot be reached") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise Cut(f"the connection to {self._host()} was cut") from error
        except ValueError as error:  # no JSON
            raise DownloadError(
                f"{self._host()} did not answer as the hub does.",
                "Perhaps this network wants a login first: open any page in the browser, then download it again.",
            ) from error

    def _check(self, response: Any) -> None:
        """Raise what a status means: DownloadError when trying again is of no use, Cut when it may be."""
        status, code = response.status_code, response.headers.get("x-error-code", "")
        page = f"{self.endpoint}/{self.card.hub}"
        if status < 400:
            return
        if code == "GatedRepo" or status == 403:
            raise DownloadError(
                f"{self.card.title} is given only to those who accept its terms.",
                f"Accept them at {page}, then start the studio with your access token in HF_TOKEN.",
            )
        if status == 401:
            raise DownloadError(
                f"{self.card.hub} does not exist, or is private.",
                f"Look at {page}; for a private model start the studio with your access token in HF_TOKEN.",
            )
        if status == 404:
            raise DownloadError(f"{self.card.title} is not at {self.card.hub} (any more).", self._by_hand())
        if status in (408, 429) or status >= 500:
            busy = "asks us to wait" if status == 429 else f"has trouble of its own ({status})"
            raise Cut(f"{self._host()} {busy}")
        raise DownloadError(f"{self._host()} refuses the download ({status}).", self._by_hand())

    def _by_hand(self, first: str = "") -> str:
        files = ", ".join(names_of(self.card))
        source = f"{files} of {self.card.hub}" if files else self.card.hub
        advice = f"put {source} into models/{self.card.path} by hand."
        return f"{first}, or {advice}" if first else advice[0].upper() + advice[1:]

    def _host(self) -> str:
        return re.sub(r"^https?://", "", self.endpoint)


def wanted(names: Sequence[str]) -> list[str]:
    """Which files of a repository make up its model: configurations, vocabulary and one set of weights a folder.

    safetensors before pickles and full before half precision, as `loading` looks for them; no weights for other
    frameworks, no safety checker, no second copy of the whole model in one file.
    """
    diffusers = "model_index.json" in names
    chosen: list[str] = []
    for folder in sorted({str(PurePosixPath(name).parent) for name in names}):
        inside = [name for name in names if str(PurePosixPath(name).parent) == folder]
        whole = folder == "." or (diffusers and "/" not in folder)
        if not whole or folder in ("safety_checker", "feature_extractor") or folder.startswith("vae_"):
            continue  # some keep an older autoencoder beside the one in use
        chosen += [name for name in inside if name.endswith((".json", ".txt", ".model")) and not _is_index(name)]
        if not (diffusers and folder == "."):
            chosen += _weights(inside)
    return sorted(chosen)


def _weights(names: Sequence[str]) -> list[str]:
    stems = ("diffusion_pytorch_model", "model", "pytorch_model")
    for suffix in (r"\.safetensors", r"\.fp16\.safetensors", r"-\d+-of-\d+\.safetensors", r"\.bin", r"\.fp16\.bin"):
        for stem in stems:
            found = [name for name in names if re.fullmatch(stem + suffix, PurePosixPath(name).name)]
            if found:
                return found
    return []


def _is_index(name: str) -> bool:
    # Lists of parts in other formats; the safetensors parts are found by their names.
    return name.endswith((".bin.index.json", ".msgpack.index.json", ".h5.index.json"))


def cached(plan: DownloadPlan, name: str) -> Path | None:
    """A file of a plan in the hub's cache on this machine."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(plan.hub, name, revision=plan.revision)
    return Path(found).resolve() if isinstance(found, str) else None


def _offline() -> bool:
    from huggingface_hub import constants

    named = os.environ.get("HF_HUB_OFFLINE", "").upper()
    return constants.HF_HUB_OFFLINE or named in ("1", "ON", "YES", "TRUE")


def _below(known: Sequence[str], folder: str) -> list[str]:
    """What of a folder, written with a slash at its end, makes up a model; all of it where that cannot be told."""
    inside = [name.removeprefix(folder) for name in known if name.startswith(folder)]
    return [f"{folder}{name}" for name in wanted(inside) or inside]


def _is_inside(name: str) -> bool:
    """Whether a name from the hub stays below the folder that it is put into."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and name.isprintable()


def describe(text: str, kind: Kind | None = None) -> ModelCard:
    """A card for a model of the hub by its name ("author/model", "author/model/file") or address.

    `kind` where the user says it; else the repository has to. The card's `path` is a name without a folder. Raises
    DownloadError when there is nothing usable.
    """
    hub, file = _parsed(text)
    stand_in = ModelCard(id="model", title=hub, kind="base", path="model", hub=hub, file=file)
    repository = Repository(stand_in)
    if _offline():
        raise DownloadError("The hub cannot be asked: HF_HUB_OFFLINE is set.", "Put the files into the models folder.")
    try:
        info = repository.info()
    except Cut as cut:
        raise DownloadError(f"The hub cannot be asked: {cut}.", "Look at the connection and try again.") from cut
    names = {one.rfilename: one.size or 0 for one in info.siblings or [] if _is_inside(one.rfilename)}
    if file and file not in names:
        raise DownloadError(f"{file} is not in {hub}.", f"It has {_listed(names)}.")
    if not file:
        kind, file = _kind_of(repository, hub, names, kind)
    if kind is None:
        raise DownloadError(f"What {file} is does not show from outside.", "Choose what it is, and add it again.")
    own = hub.partition("/")[2]
    name = PurePosixPath(file).name if file else own
    if PurePosixPath(name).stem in _NAMELESS:
        name = own + PurePosixPath(name).suffix
    title = PurePosixPath(name).stem if file else name
    size = sum(names[one] for one in ([file] if file else wanted(list(names))))
    data: Any = info.card_data
    return ModelCard(
        id=re.sub(r"[^a-z0-9_.-]+", "-", title.lower()).strip("-_.")[:56] or "model",
        title=title,
        kind=kind,
        path=name,
        hub=hub,
        file=file,
        size_mib=size >> 20,
        licence=str(data.get("license") or "") if data else "",
        note=f"From {hub}.",
    )


def _parsed(text: str) -> tuple[str, str]:
    """Repository and file of what a user pasted."""
    address = _ADDRESS.match(text.strip())
    if address is not None and address["host"].lower() not in _own_hosts():
        raise DownloadError(
            f"{address['host'][:80]} is not the Hugging Face hub, and models are fetched from there alone.",
            "Download the file in your browser, and put it into its place in the models folder: loras, checkpoints, vae...",
        )
    text = text.strip()[address.end() if address else 0 :].partition("?")[0].partition("#")[0].strip("/")
    parts = text.split("/")
    if len(parts) < 2 or not all(re.fullmatch(r"[\w.-]{1,96}", part) for part in parts[:2]):
        raise DownloadError(f"{text[:80]!r} is not a name of the hub.", "Names look like author/model.")
    rest = parts[4:] if len(parts) > 3 and parts[2] in ("blob", "resolve", "tree") else parts[2:]
    return "/".join(parts[:2]), "/".join(rest)


def _own_hosts() -> set[str]:
    """The names that the hub goes by: its own, and those of a mirror that somebody has set up."""
    mirror = urlsplit(os.environ.get("HF_ENDPOINT", "")).netloc.lower()
    return {"huggingface.co", "www.huggingface.co", "hf.co", "hf-mirror.com", *([mirror] if mirror else [])}


def _kind_of(repository: Repository, hub: str, names: dict[str, int], kind: Kind | None) -> tuple[Kind | None, str]:
    """What a repository is, and which of its files: "" for those that `wanted` chooses."""
    if "model_index.json" in names:
        return "base", ""
    if "pytorch_lora_weights.safetensors" in names:
        return "lora", "pytorch_lora_weights.safetensors"
    if "config.json" in names and any("diffusion_pytorch_model" in name for name in names):
        named = repository.class_name()
        found: Kind | None = "controlnet" if named in CARRIERS else None
        found = "vae" if named.startswith("Autoencoder") else found
        if found is None:
            raise DownloadError(
                f"{hub} is a {named or 'network of an unknown kind'}, which does not run here.",
                ORDINARY,
            )
        return found, ""
    files = [name for name in names if name.endswith(SUFFIXES)]
    if len(files) != 1:
        raise DownloadError(
            f"{hub} has {'several models' if files else 'no model'} in it.",
            f"Name one of its files: {hub}/{files[0]}, ... ({_listed(names)})." if files else "",
        )
    return kind, files[0]


def _listed(names: dict[str, int]) -> str:
    files = [name for name in names if name.endswith(SUFFIXES)]
    return ", ".join(files[:6]) + (" ..." if len(files) > 6 else "") if files else "no model files"
