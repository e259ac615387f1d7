"""A line chart as SVG, written by hand: the loss over the epochs needs no plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 48
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
)  # Okabe and Ito: told apart by all eyes


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers, steps of 1, 2 or 5 times a power of ten, that cover [low, high].

    >>> ticks(0.03, 0.97)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low or abs(high) or 1.0
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(k * power for k in (1, 2, 5, 10) if k * power >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = max(math.ceil(high / step - 1e-9), first + 1)
    return [round(i * step, 12) for i in range(first, last + 1)]


def line_chart(
    series: Mapping[str, Sequence[float]], *, title: str = "", x: str = "epoch", y: str = "loss"
) -> str:
    """The SVG of lines over 1, 2, 3 ...; numbers that are not finite leave a gap.

    >>> "polyline" in line_chart({"loss": [2.0, 1.0, 0.5]})
    True
    """
    finite = [v for values in series.values() for v in values if math.isfinite(v)]
    length = max((len(values) for values in series.values()), default=1)
    rows = ticks(min([0.0, *finite]), max(finite, default=1.0))
    low, high = rows[0], rows[-1]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(i: int) -> float:
        return LEFT + (right - LEFT) * (i / (length - 1) if length > 1 else 0.5)

    def down(value: float) -> float:
        return bottom - (bottom - TOP) * (value - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="{escape(title or y, quote=True)}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    for value in rows:
        level = down(value)
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{level:.1f}" y2="{level:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{level + 4:.1f}" text-anchor="end">{value:g}</text>')
    columns = range(length) if length <= 8 else [int(t) - 1 for t in ticks(1, length) if 1 <= t <= length]
    for i in columns:
        parts.append(f'<text x="{across(i):.1f}" y="{bottom + 18}" text-anchor="middle">{i + 1}</text>')
    parts.append(
        f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x)}</text>'
    )
    parts.append(
        f'<text transform="translate(16 {(TOP + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(y)}</text>'
    )
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        for run in _runs(values):
            points = " ".join(f"{across(i):.1f},{down(values[i]):.1f}" for i in run)
            if len(run) == 1:
                parts.append(
                    f'<circle cx="{points.split(",")[0]}" cy="{points.split(",")[1]}" r="3" fill="{colour}"/>'
                )
            else:
                parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        level = TOP + 4 + 18 * number
        parts.append(f'<rect x="{right - 150}" y="{level - 9}" width="16" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{right - 128}" y="{level - 2}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _runs(values: Sequence[float]) -> list[list[int]]:
    """Stretches of finite numbers."""
    runs: list[list[int]] = [[]]
    for i, value in enumerate(values):
        if math.isfinite(value):
            runs[-1].append(i)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
