"""Line charts as SVG text: a loss over steps, a variance over layers.  Written by hand; no tool is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os import PathLike

from graphc.atomic import write_file
from graphc.errors import UsageError
from graphc.view.dot_text import escape
from graphc.view.theme import DEFAULT, Theme

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 72, 150, 40, 48
COLOURS = ("#00594C", "#C2410C", "#1D4E89", "#8A5A00", "#7B2D8B", "#4A4F55")
DASHES = ("", "6 3", "2 3", "8 3 2 3")  # a second code beside the colour


def line_chart(
    series: Mapping[str, Sequence[float]],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    log: bool = False,
    first: int = 0,
    theme: Theme = DEFAULT,
) -> str:
    """An SVG of lines by name; values are at x = first, first + 1, ...

    log   the y axis counts powers of ten; what is not above 0 is left out, as is what is not finite

    Raises UsageError when there is nothing to draw.

    >>> line_chart({"loss": [3.0, 2.0, 1.5]}).startswith("<svg")
    True
    """
    lines = {
        name: [
            (first + i, math.log10(y) if log else float(y)) for i, y in enumerate(values) if _shown(y, log)
        ]
        for name, values in series.items()
    }
    points = [point for line in lines.values() for point in line]
    if not points:
        raise UsageError("there is no number to draw")
    x_low, x_high = _wider(min(x for x, _ in points), max(x for x, _ in points))
    y_low, y_high = _wider(min(y for _, y in points), max(y for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' font-family="DejaVu Sans, sans-serif" font-size="12" fill="{theme.ink}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{theme.background}"/>',
        f'<text x="{LEFT}" y="{TOP - 16}" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    bottom, end = HEIGHT - BOTTOM, WIDTH - RIGHT
    for y in _ticks(y_low, y_high, whole=log):
        _, at = place(x_low, y)
        text = f"1e{round(y)}" if log else f"{y:g}"
        parts.append(f'<path d="M{LEFT} {at:.1f}H{end}" stroke="{theme.line}" stroke-opacity="0.3"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
    for x in _ticks(x_low, x_high, whole=True):
        at, _ = place(x, y_low)
        parts.append(f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{x:g}</text>')
    parts.append(f'<path d="M{LEFT} {TOP}V{bottom}H{end}" fill="none" stroke="{theme.line}"/>')
    parts.append(
        f'<text x="{(LEFT + end) // 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_label)}</text>'
    )
    middle = (TOP + bottom) // 2
    parts.append(
        f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">{escape(y_label)}</text>'
    )
    for number, (name, line) in enumerate(lines.items()):
        pen = f'stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="2"'
        dash = DASHES[number // len(COLOURS) % len(DASHES)]
        pen += f' stroke-dasharray="{dash}"' if dash else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        parts.append(f'<polyline points="{path}" fill="none" {pen}><title>{escape(name)}</title></polyline>')
        at = TOP + 10 + 18 * number
        parts.append(f'<path d="M{end + 12} {at}h20" {pen}/>')
        parts.append(f'<text x="{end + 38}" y="{at + 4}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def save_chart(
    path: str | PathLike[str],
    series: Mapping[str, Sequence[float]],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    log: bool = False,
    first: int = 0,
) -> None:
    """`line_chart` into a file, which appears whole or not at all."""
    write_file(path, line_chart(series, title=title, x_label=x_label, y_label=y_label, log=log, first=first))


def _shown(y: float, log: bool) -> bool:
    return math.isfinite(y) and (not log or y > 0)


def _wider(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float, whole: bool) -> list[float]:
    """About five round numbers from low to high: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    step = max(1.0, step) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]
