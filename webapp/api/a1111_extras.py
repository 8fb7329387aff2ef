"""POST /sdapi/v1/extra-single-image: a picture enlarged or made smaller, by those of A1111's upscalers that need no network."""

from __future__ import annotations

from typing import Annotated, Any

import cv2
from anyio import to_thread
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from controlnet_core.domain import picture
from controlnet_core.domain.control import Rgb
from controlnet_core.domain.errors import InputError
from controlnet_core.execution import decoder
from controlnet_core.storage.metadata import parameters_of
from webapp.api import pictures
from webapp.api.guard import Caller
from webapp.api.names import nearest
from webapp.api.routing import read
from webapp.application.studio import Studio
from webapp.application.tokens import Unknown

UPSCALERS = {"None": None, "Lanczos": cv2.INTER_LANCZOS4, "Nearest": cv2.INTER_NEAREST}
PIXELS_MAX = 16_000_000
_FACES = ("gfpgan_visibility", "codeformer_visibility", "extras_upscaler_2_visibility")


class Extras(BaseModel):
    """What is read of a request: a factor (`resize_mode` 0), or a size (1) that the picture fills, cut off or within."""

    model_config = ConfigDict(extra="allow", frozen=True)
    image: str
    resize_mode: Annotated[int, Field(ge=0, le=1)] = 0
    upscaling_resize: Annotated[float, Field(gt=0, le=8)] = 2.0
    upscaling_resize_w: Annotated[int, Field(ge=1, le=8192)] = 512
    upscaling_resize_h: Annotated[int, Field(ge=1, le=8192)] = 512
    upscaling_crop: bool = True
    upscaler_1: str = "None"


async def single_image(_studio: Studio, request: Request, _caller: Caller) -> Response:
    """A picture in another size."""
    asked = await read(request, Extras)
    return JSONResponse(await to_thread.run_sync(_made, asked))


def _made(asked: Extras) -> dict[str, Any]:
    for name in _FACES:
        if (asked.model_extra or {}).get(name):
            raise InputError(f"{name} is not done here.", f"Leave it away; upscalers: {', '.join(UPSCALERS)}.")
    known = {name.lower(): name for name in UPSCALERS}
    name = known.get(asked.upscaler_1.lower())
    if name is None:
        raise Unknown(
            f"There is no upscaler called {asked.upscaler_1[:80]!r}.",
            f"Nearest: {nearest(asked.upscaler_1, list(UPSCALERS))}.",
        )
    data = pictures.data_of(asked.image)
    rgb = decoder.decode(data)
    text = parameters_of(data)
    how = UPSCALERS[name]
    if how is not None:
        rgb = _resized(rgb, asked, how)
    said = "" if how is not None else "The upscaler None leaves a picture as it is."
    return {"html_info": said, "image": pictures.encoded(picture.to_png(rgb, {"parameters": text} if text else None))}


def _resized(rgb: Rgb, asked: Extras, how: int) -> Rgb:
    tall, wide = rgb.shape[:2]
    width, height = asked.upscaling_resize_w, asked.upscaling_resize_h
    scale = asked.upscaling_resize
    if asked.resize_mode == 1:
        fits = (width / wide, height / tall)
        scale = max(fits) if asked.upscaling_crop else min(fits)
    else:
        width, height = max(1, round(wide * scale)), max(1, round(tall * scale))
    full = max(1, round(wide * scale)), max(1, round(tall * scale))
    if full[0] * full[1] > PIXELS_MAX:
        raise InputError(
            f"{full[0]} x {full[1]} px are too many.", f"At most {PIXELS_MAX // 1_000_000} megapixels are made."
        )
    made = picture.resize_to(rgb, *full, how)
    if asked.resize_mode == 1 and asked.upscaling_crop:
        left, top = (full[0] - width) // 2, (full[1] - height) // 2
        made = made[max(0, top) : max(0, top) + height, max(0, left) : max(0, left) + width]
    return made
