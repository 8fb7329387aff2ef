"""Small curves as pictures inside HTML, readable on light and dark pages. Knows numbers, not trainings."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence

WIDTH, HEIGHT, PAD = 320, 96, 6
POINTS_MAX = 240
COLOUR = "#D8613A"


def smoothed(values: Sequence[float], share: float = 0.02) -> list[float]:
    """A running mean over about `share` of the values, without bias at the beginning."""
    momentum = 1 - 1 / max(1.0, len(values) * share)
    mean, weight, result = 0.0, 0.0, list[float]()
    for value in values:
        mean, weight = momentum * mean + (1 - momentum) * value, momentum * weight + (1 - momentum)
        result.append(mean / weight)
    return result


def curve(title: str, steps: Sequence[int], values: Sequence[float], *, log: bool = False, smooth: bool = False) -> str:
    """One curve with its title, last value and range, as HTML.

    With `log` the height is logarithmic, with `smooth` the values stand pale behind their running mean.
    """
    kept = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
    if not kept:
        return f'<figure class="curve"><figcaption>{html.escape(title)}</figcaption></figure>'
    mean = smoothed([value for _, value in kept]) if smooth else [value for _, value in kept]
    rows = _thinned([(step, value, middle) for (step, value), middle in zip(kept, mean, strict=True)])
    low, high = min(value for _, value, _ in rows), max(value for _, value, _ in rows)
    scale = _scale(low, high, log)
    first, last = rows[0][0], rows[-1][0]

    def path(column: int) -> str:
        return " ".join(
            f"{PAD + (row[0] - first) / max(1, last - first) * (WIDTH - 2 * PAD):.1f},"
            f"{PAD + (1 - scale(row[column])) * (HEIGHT - 2 * PAD):.1f}"
            for row in rows
        )

    line = '<polyline fill="none" stroke-linejoin="round" vector-effect="non-scaling-stroke"'
    pale = f'{line} stroke="{COLOUR}" stroke-opacity="0.35" stroke-width="1" points="{path(1)}"/>' if smooth else ""
    drawing = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none">'
        f'{pale}{line} stroke="{COLOUR}" stroke-width="2" points="{path(2)}"/></svg>'
    )
    # As a picture: pages take no SVG from HTML that was put into them.
    source = base64.b64encode(drawing.encode()).decode()
    return (
        f'<figure class="curve"><figcaption>{html.escape(title)}<b>{_short(rows[-1][2])}</b></figcaption>'
        f'<img src="data:image/svg+xml;base64,{source}" alt="{html.escape(title)} over steps">'
        f"<small><span>step {first}</span><span>{_short(low)} to {_short(high)}</span><span>{last}</span></small></figure>"
    )


def _scale(low: float, high: float, log: bool) -> _Scale:
    if log and low > 0:
        return _Scale(math.log(low), math.log(high), log=True)
    return _Scale(low, high, log=False)


class _Scale:
    def __init__(self, low: float, high: float, log: bool) -> None:
        self.low, self.span, self.log = low, high - low, log

    def __call__(self, value: float) -> float:
        """Height in [0, 1]."""
        shown = math.log(value) if self.log else value
        return (shown - self.low) / self.span if self.span > 0 else 0.5


def _thinned(rows: list[tuple[int, float, float]]) -> list[tuple[int, float, float]]:
    """At most `POINTS_MAX` of the rows, evenly, with the last one."""
    stride = max(1, math.ceil(len(rows) / POINTS_MAX))
    return [*rows[:-1:stride], rows[-1]]


def _short(value: float) -> str:
    return f"{value:.3g}"
