"""What other programs write into their pictures, as fields of a `Recipe`: A1111 and its kin, ComfyUI, InvokeAI, NovelAI, Fooocus,
SwarmUI.

    settings = read(text_in(texts(data)))
    settings.fields["prompt"], settings.left_out    # {...}, ("the sampler DPM fast",)

What is missing, unknown or out of range is left out and named. Models, networks and LoRAs are not looked up: their names mean
other files elsewhere.
"""

# What others write has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pydantic import ValidationError

from controlnet_core.domain.recipe import PROMPT_MAX, SIDE_MAX, SIDE_MIN, SIDE_STEP, Recipe
from controlnet_core.domain.samplers import named
from controlnet_core.storage.embedded_text import EXIF, TEXT_MAX_BYTES, as_json

PARAMETERS_MAX = 64 * 1024
"""Characters of an A1111 text that are read."""
_STEPS = re.compile(r"^Steps: {0,4}\d", re.MULTILINE)
_STEPS_ANYWHERE = re.compile(r"\bSteps: {0,4}\d{1,4}, {0,4}[A-Z]")
_NEGATIVE = re.compile(r"^Negative prompt:", re.MULTILINE)
# Every repetition is bounded: a text from outside must not cost more than its length.
_FIELD = re.compile(r'([\w /-]{1,40}): {0,4}("(?:\\.|[^"\\]){0,2000}"|[^,\n]{0,2000})(?:,|\n|$)', re.DOTALL)
_LORA = re.compile(r"<(?:lora|lyco|hypernet):([^<>:]{0,200})[^<>]{0,200}>")
_SPACES = re.compile(r"[ \t]{1,100}\n")
_SIZE = re.compile(r"\(?(\d{1,5})\s{0,2}[x,×]\s{0,2}(\d{1,5})\)?")
_DREAM = re.compile(r'"(?P<prompt>[^"]{0,8000})"(?P<flags>(?: -[a-zA-Z] ?[\w.+-]{1,40})+)')
_NUMBERS: dict[str, tuple[str, type[int] | type[float]]] = {
    "steps": ("steps", int),
    "cfg scale": ("guidance", float),
    "seed": ("seed", int),
    "clip skip": ("clip_skip", int),
    "eta": ("eta", float),
}
_SEEDS = ("seed", "noise_seed")
_NODES_MAX = 5000


@dataclass(frozen=True)
class Settings:
    """What a picture of another program says: its `program`, `fields` of a recipe, and what had to be left out, in words."""

    program: str
    fields: dict[str, Any]
    left_out: tuple[str, ...] = ()


@dataclass
class _Raw:
    """Settings as they were found, before it is known what fits."""

    program: str
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    left_out: list[str] = field(default_factory=list[str])


def text_in(found: Mapping[str, str]) -> str | None:
    """Of all texts in a picture the one that `read` reads; None when no program wrote its settings there."""
    for name in ("parameters", "prompt", "invokeai_metadata", "sd-metadata", "Dream", "dream"):
        text = found.get(name, "")
        if name == "prompt" and not _is_object(text):
            continue
        if text:
            return text
    comment = as_json(found.get("Comment", ""))
    if isinstance(comment, dict) and ("uc" in comment or "sampler" in comment):
        if "Description" in found:
            comment.setdefault("prompt", found["Description"])
        return json.dumps(comment)
    if "workflow" in found and _is_object(found["workflow"]):
        return found["workflow"]
    told = found.get(EXIF, "")
    return told if _STEPS.search(told) or _STEPS_ANYWHERE.search(told) or _is_object(told) else None


def _is_object(text: str) -> bool:
    return text.lstrip().startswith("{")


def read(text: str) -> Settings | None:
    """The settings in a text that `text_in` found, or that a person has pasted; None when it says nothing.

    Sizes are brought to multiples of 64 from 64 to 2048 px, in proportion.
    """
    text = text[:TEXT_MAX_BYTES].strip("\ufeff").strip()
    content: Any = as_json(text) if _is_object(text) else None
    if isinstance(content, dict):
        raw = _of_object(cast("dict[str, Any]", content))
    elif dream := _DREAM.match(text):
        raw = _dream(dream)
    else:
        raw = _infotext(text)
    return _settings(raw)


def _infotext(text: str) -> _Raw:
    """The text of A1111: the prompt, a line that begins with "Negative prompt:", and one that begins with "Steps:".

    Only at the beginning of a line are these words marks; but a text that was pasted in one line has no others.
    """
    raw = _Raw("A1111")
    if len(text) > PARAMETERS_MAX:
        text = text[-PARAMETERS_MAX:]
        raw.left_out.append("the beginning of a text of more than 64 KiB")
    marks = list(_STEPS.finditer(text))
    one_line = not marks and "\n" not in text
    at = marks[-1].start() if marks else None
    if one_line and (last := list(_STEPS_ANYWHERE.finditer(text))):
        at = last[-1].start()
    words, fields = (text, "") if at is None else (text[:at], text[at:])
    negative = _NEGATIVE.search(words)
    cut = negative.span() if negative else None
    if cut is None and one_line and at is not None and (place := words.find("Negative prompt:")) >= 0:
        cut = (place, place + len("Negative prompt:"))
    prompt, refused = (words, "") if cut is None else (words[: cut[0]], words[cut[1] :])
    named: dict[str, str] = {}
    for name, value in _FIELD.findall(fields):
        named.setdefault(name.strip().casefold(), value.strip().strip('"'))
    raw.values |= {"prompt": prompt, "negative": refused}
    raw.values |= {kept: named.get(name) for name, (kept, _) in _NUMBERS.items()}
    raw.values |= {"sampler": named.get("sampler"), "schedule": named.get("schedule type"), "size": named.get("size")}
    return raw


def _of_object(content: dict[str, Any]) -> _Raw:
    nodes = content.get("nodes")
    if isinstance(nodes, list):
        raw = _Raw("ComfyUI")
        raw.left_out.append("a workflow without the prompt that was run")
        return raw
    if any(isinstance(node, dict) and "class_type" in node for node in list(content.values())[:_NODES_MAX]):
        return _comfy(content)
    if "image" in content and isinstance(content["image"], dict):  # InvokeAI 1 and 2
        return _invoke({**content, **content["image"]})
    if "positive_prompt" in content or "app_version" in content:
        return _invoke(content)
    if "uc" in content or "scale" in content:
        return _novel(content)
    return _plain(content)


def _comfy(graph: dict[str, Any]) -> _Raw:
    """The graph that ComfyUI has run: the sampler that begins from nothing, and whatever leads to it."""
    raw = _Raw("ComfyUI")
    nodes = {str(key): node for key, node in list(graph.items())[:_NODES_MAX] if isinstance(node, dict)}
    inputs = {key: node["inputs"] for key, node in nodes.items() if isinstance(node.get("inputs"), dict)}
    samplers = [one for one in inputs.values() if "positive" in one and ("steps" in one or "sampler_name" in one)]
    first = next(
        (one for one in samplers if _plain_number(one.get("denoise"), 1.0) == 1.0), samplers[0] if samplers else {}
    )
    whole = [first, *([] if first else list(inputs.values()))]

    def value(*names: str) -> Any:
        for one in whole:
            for name in names:
                if (found := _traced_value(inputs, one.get(name), name)) is not None:
                    return found
        return None

    raw.values |= {
        "prompt": _traced_text(inputs, first.get("positive") or first.get("conditioning"), "positive") if first else None,
        "negative": _traced_text(inputs, first.get("negative"), "negative") if first else None,
        "steps": value("steps"),
        "guidance": value("cfg"),
        "seed": value(*_SEEDS),
        "sampler": value("sampler_name"),
        "schedule": value("scheduler"),
    }  # fmt: skip
    if not first:
        written = [one["text"] for one in inputs.values() if isinstance(one.get("text"), str)]
        raw.values["prompt"] = max(written, key=len, default=None)
        if len(written) > 1:
            raw.left_out.append("which of its texts is the negative prompt")
    size = next((one for one in inputs.values() if "batch_size" in one and "width" in one and "height" in one), None)
    if size:
        raw.values["size"] = f"{size['width']}x{size['height']}"
    loras = [str(one["lora_name"]) for one in inputs.values() if isinstance(one.get("lora_name"), str)]
    if loras:
        raw.left_out.append(f"the LoRAs {', '.join(loras[:4])}")
    return raw


def _ways(inputs: Mapping[str, Any], link: Any) -> Iterator[dict[str, Any]]:
    if isinstance(link, list) and len(link) == 2 and str(link[0]) in inputs:
        yield inputs[str(link[0])]


def _traced_value(inputs: Mapping[str, Any], link: Any, name: str, depth: int = 0) -> Any:
    """A number or word, or what the node that it is linked to holds under its name, or as its only value."""
    if not isinstance(link, (list, dict)):
        return link
    for node in _ways(inputs, link) if depth < 20 else ():
        for key in (name, *_SEEDS, "value", "int", "float", "Value", "Number"):
            if key in node and (found := _traced_value(inputs, node[key], name, depth + 1)) is not None:
                return found
    return None


def _traced_text(inputs: Mapping[str, Any], link: Any, role: str, depth: int = 0) -> str | None:
    """The words that a conditioning comes from, through whatever was put between."""
    if isinstance(link, str):
        return link
    for node in _ways(inputs, link) if depth < 40 else ():
        for key in ("text", "text_g", "clip_l", "t5xxl", role, "conditioning", "conditioning_1", "conditioning_to", "prompt",
                    "string", "value", "Text", "string_field", "samples"):  # fmt: skip
            if key in node and (found := _traced_text(inputs, node[key], role, depth + 1)):
                return found
    return None


def _invoke(content: dict[str, Any]) -> _Raw:
    prompt: Any = content.get("positive_prompt", content.get("prompt"))
    if isinstance(prompt, list):  # version 2: [{"prompt": "...", "weight": 1.0}]
        prompt = ", ".join(str(one["prompt"]) for one in prompt if isinstance(one, dict) and "prompt" in one)
    negative = content.get("negative_prompt")
    if isinstance(prompt, str) and negative is None:  # version 2 wrote what is unwanted in square brackets
        unwanted = re.findall(r"\[([^\[\]]{1,2000})\]", prompt)
        prompt, negative = re.sub(r"\s{0,4}\[[^\[\]]{1,2000}\]", "", prompt), ", ".join(unwanted)
    return _Raw("InvokeAI", {
        "prompt": prompt, "negative": negative, "steps": content.get("steps"), "seed": content.get("seed"),
        "guidance": content.get("cfg_scale"), "sampler": content.get("scheduler", content.get("sampler")),
        "size": f"{content.get('width')}x{content.get('height')}",
    })  # fmt: skip


def _novel(content: dict[str, Any]) -> _Raw:
    return _Raw("NovelAI", {
        "prompt": content.get("prompt") or _caption(content.get("v4_prompt")),
        "negative": content.get("uc") or _caption(content.get("v4_negative_prompt")),
        "steps": content.get("steps"), "seed": content.get("seed"), "guidance": content.get("scale"),
        "sampler": content.get("sampler"), "schedule": content.get("noise_schedule"),
        "size": f"{content.get('width')}x{content.get('height')}",
    })  # fmt: skip


def _caption(given: Any) -> Any:
    """The words of NovelAI 4, which has more beside them: where each person stands."""
    caption = given.get("caption") if isinstance(given, dict) else None
    return caption.get("base_caption") if isinstance(caption, dict) else None


def _plain(content: dict[str, Any]) -> _Raw:
    """An object with the usual names: Fooocus, SwarmUI, Easy Diffusion, Draw Things, SD.Next."""
    swarm = content.get("sui_image_params")
    program = "Fooocus" if "fooocus_scheme" in content or "base_model" in content else "another program"
    if isinstance(swarm, dict):
        program, content = "SwarmUI", swarm

    def one(*names: str) -> Any:
        return next((content[name] for name in names if content.get(name) not in (None, "")), None)

    size = one("resolution", "size") or f"{one('width', 'W')}x{one('height', 'H')}"
    return _Raw(program, {
        "prompt": one("prompt", "c", "Prompt"), "negative": one("negative_prompt", "negativePrompt", "negativeprompt", "uc"),
        "steps": one("steps", "num_inference_steps"), "seed": one("seed"), "size": size,
        "guidance": one("guidance_scale", "cfg_scale", "cfgScale", "cfgscale", "scale"), "sampler": one("sampler", "sampler_name"),
        "schedule": one("scheduler"), "clip_skip": one("clip_skip", "clipSkip"),
    })  # fmt: skip


def _dream(match: re.Match[str]) -> _Raw:
    flags = dict(re.findall(r"-([a-zA-Z]) ?([\w.+-]{1,40})", match["flags"]))
    return _Raw("InvokeAI", {
        "prompt": match["prompt"], "steps": flags.get("s"), "seed": flags.get("S"), "guidance": flags.get("C"),
        "sampler": flags.get("A"), "size": f"{flags.get('W')}x{flags.get('H')}",
    })  # fmt: skip


def _settings(raw: _Raw) -> Settings | None:
    found: dict[str, Any] = {}
    for name, what in (("prompt", "prompt"), ("negative", "negative prompt")):
        written = raw.values.get(name)
        if isinstance(written, str):
            found[name] = _words(written, what, raw.left_out)
    for name, kind in _NUMBERS.values():
        given = raw.values.get(name)
        number = _number(given, kind)
        if number is not None and _fits(name, number):
            found[name] = number
        elif given not in (None, ""):
            raw.left_out.append(f"{name.replace('_', ' ')} {str(given)[:40]}")
    sampler, schedule = (str(raw.values.get(name) or "").strip() for name in ("sampler", "schedule"))
    if sampler and (known := named(sampler, schedule)):
        found["sampler"] = known.sampler
        if known.spacing != "model":
            found["spacing"] = known.spacing
        if known.ignored:
            raw.left_out.append(f"the schedule {known.ignored[:40]}")
    elif sampler:
        raw.left_out.append(f"the sampler {sampler[:40]}")
    size = _SIZE.fullmatch(str(raw.values.get("size") or "").strip())
    if size is not None:
        found["width"], found["height"] = sides_within(SIDE_MAX, int(size[1]), int(size[2]))
    kept = {name: value for name, value in found.items() if value not in (None, "")}
    return Settings(raw.program, kept, tuple(raw.left_out)) if kept or raw.left_out else None


def _words(written: str, what: str, left_out: list[str]) -> str:
    loras = [name for name in dict.fromkeys(_LORA.findall(written)) if name]
    if loras:
        left_out.append(f"the LoRAs {', '.join(loras[:4])}")
    plain = _SPACES.sub("\n", _LORA.sub("", written)).strip()
    if len(plain) > PROMPT_MAX:
        cut = plain[:PROMPT_MAX]
        at = max(cut.rfind(mark) for mark in (",", "\n"))
        left_out.append(f"the end of a {what} of {len(plain)} characters ({PROMPT_MAX} can be used)")
        plain = cut[: at if at > PROMPT_MAX // 2 else PROMPT_MAX].rstrip(" ,\n")
    return plain


def _number(given: object, kind: type[int] | type[float]) -> int | float | None:
    if isinstance(given, bool) or not isinstance(given, (int, float, str)):
        return None
    try:
        return kind(given)
    except (ValueError, OverflowError):
        return None


def _plain_number(given: object, default: float) -> float:
    return float(given) if isinstance(given, (int, float)) else default


def sides_within(side_max: int, width: int, height: int) -> tuple[int, int]:
    """Width and height as a recipe may have them, of at most `side_max` pixels, in proportion."""
    scale = min(1.0, side_max / max(width, height, 1))
    wide, tall = (min(side_max, max(SIDE_MIN, round(side * scale / SIDE_STEP) * SIDE_STEP)) for side in (width, height))
    return wide, tall


def _fits(field: str, value: object) -> bool:
    try:
        Recipe.model_validate({"model": "any", "width": 64, "height": 64, field: value})
    except ValidationError:
        return False
    return True
