"""Line charts as SVG text: a loss over steps, a variance over layers.  Written by hand; no tool is needed.

Each line's name stands where the line ends.  Of lines that lie on each other, the upper ones are dashed, so that all
of them show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os import PathLike

from graphc.atomic import write_file
from graphc.errors import UsageError
from graphc.view.dot_text import escape
from graphc.view.theme import DEFAULT, Theme

WIDTH, HEIGHT = 720, 400
LEFT, TOP, BOTTOM = 72, 40, 48
LETTER = 7.5  # width of a letter of a name, generously
ROW = 18  # height of a name
COLOURS = ("#00594C", "#C2410C", "#1D4E89", "#8A5A00", "#7B2D8B", "#4A4F55")
DASHES = ("", "7 5", "2 4", "12 4 2 4")
CLOSE = 2.5  # pixels between lines that look like one
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Points = list[tuple[float, float]]


def line_chart(
    series: Mapping[str, Sequence[float]],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    log: bool = False,
    first: int = 0,
    marks: Mapping[str, tuple[float, float]] | None = None,
    theme: Theme = DEFAULT,
) -> str:
    """An SVG of lines by name; values are at x = first, first + 1, ...

    log     the y axis counts powers of ten; a 0 stands below all of them, at a line of its own
    marks   points (x, y) to be named, such as a minimum

    What cannot be shown is left out: what is not finite, and on a log axis what is negative.  Raises UsageError when
    there is nothing to draw.

    >>> line_chart({"loss": [3.0, 2.0, 1.5]}).startswith("<svg")
    True
    """
    seen = {
        name: [
            (first + i, float(y)) for i, y in enumerate(values) if math.isfinite(y) and not (log and y < 0)
        ]
        for name, values in series.items()
    }
    powers = [math.log10(y) if log else y for line in seen.values() for _, y in line if y or not log]
    if not powers:
        raise UsageError("there is no number to draw")
    xs = [x for line in seen.values() for x, _ in line]
    x_low, x_high = _wider(min(xs), max(xs))
    y_low, y_high = _rounded(*_wider(min(powers), max(powers)), log)
    ticks = {
        y: "10" + f"{round(y)}".translate(RAISED) if log else f"{y:g}" for y in _ticks(y_low, y_high, log)
    }
    if log and any(y == 0 for line in seen.values() for _, y in line):
        y_low -= 0.12 * (y_high - y_low)
        ticks = {y_low: "0", **ticks}
    bottom, end = HEIGHT - BOTTOM, WIDTH - 50 - round(LETTER * max(map(len, seen)))

    def across(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (end - LEFT)

    def up(power: float) -> float:
        return bottom - (power - y_low) / (y_high - y_low) * (bottom - TOP)

    def place(x: float, y: float) -> tuple[float, float]:
        return across(x), up(y if not log else math.log10(y) if y > 0 else y_low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' font-family="DejaVu Sans, sans-serif" font-size="12" fill="{theme.ink}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{theme.background}"/>',
        f'<text x="{LEFT}" y="{TOP - 16}" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for y, text in ticks.items():
        at = up(y)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{end}" stroke="{theme.line}" stroke-opacity="0.3"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
    for x in _positions(x_low, x_high):
        at = across(x)
        parts.append(f'<path d="M{at:.1f} {bottom}v4" stroke="{theme.line}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{x:g}</text>')
    parts.append(f'<path d="M{LEFT} {TOP}V{bottom}H{end}" fill="none" stroke="{theme.line}"/>')
    parts.append(
        f'<text x="{(LEFT + end) // 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_label)}</text>'
    )
    middle = (TOP + bottom) // 2
    parts.append(
        f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">{escape(y_label)}</text>'
    )
    placed = {name: [place(*point) for point in line] for name, line in seen.items()}
    parts += _lines(placed, end)
    for name, point in (marks or {}).items():
        x, y = place(*point)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{theme.background}" stroke="{theme.ink}"/>'
        )
        halo = f'stroke="{theme.background}" stroke-width="4" paint-order="stroke"'
        parts.append(f'<text x="{x:.1f}" y="{y + 24:.1f}" {halo}>{escape(name)}</text>')
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
    marks: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """`line_chart` into a file, which appears whole or not at all."""
    text = line_chart(
        series, title=title, x_label=x_label, y_label=y_label, log=log, first=first, marks=marks
    )
    write_file(path, text)


def _lines(placed: Mapping[str, Points], end: int) -> list[str]:
    """The lines, and their names at the right, each as near to the end of its line as the others allow."""
    parts, drawn = [], list[Points]()
    heights = _spread([line[-1][1] if line else TOP for line in placed.values()])
    for number, (name, line) in enumerate(placed.items()):
        pen = f'stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="2"'
        below = sum(_same(line, other) for other in drawn)
        dash = DASHES[max(below, number // len(COLOURS)) % len(DASHES)]
        pen += f' stroke-dasharray="{dash}"' if dash else ""
        drawn.append(line)
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" {pen}><title>{escape(name)}</title></polyline>')
        if len(line) == 1:
            ((x, y),) = line
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="none" {pen}/>')
        parts.append(f'<path d="M{end + 12} {heights[number]:.1f}h20" {pen}/>')
        parts.append(f'<text x="{end + 38}" y="{heights[number] + 4:.1f}">{escape(name)}</text>')
    return parts


def _same(line: Points, other: Points) -> bool:
    """Whether two lines lie on each other for the most part."""
    heights = dict(other)
    near = sum(x in heights and abs(y - heights[x]) < CLOSE for x, y in line)
    return near > len(line) / 2


def _spread(wanted: Sequence[float]) -> list[float]:
    """Heights in the order that is wanted, at least a row apart, and all of them within the picture."""
    found = list(wanted)
    last = -math.inf
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    for i in order:
        last = found[i] = max(wanted[i], last + ROW)
    limit = float(HEIGHT - BOTTOM)
    for i in reversed(order):
        found[i] = min(found[i], limit)
        limit = found[i] - ROW
    return found


def _wider(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _rounded(low: float, high: float, log: bool) -> tuple[float, float]:
    """The ends of the y axis: 0 where it is near, a whole power of ten where one is just beyond."""
    if not log:
        return (0.0 if 0 < low < high / 4 else low), high
    below, above = math.floor(low), math.ceil(high)
    return (below if low - below < 0.1 else low), (above if above - high < 0.1 else high)


def _ticks(low: float, high: float, whole: bool) -> list[float]:
    """Four to eight round numbers from low to high: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / 8
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    step = max(1.0, step) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _positions(low: float, high: float) -> list[float]:
    """Round whole numbers from low to high, and the first and the last where they have room."""
    inside = _ticks(low, high, whole=True)
    room = (high - low) / 14
    ends = [x for x in (low, high) if x == round(x) and all(abs(x - tick) > room for tick in inside)]
    return sorted({*inside, *ends})
