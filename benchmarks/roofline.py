"""A roofline picture as SVG: what each workload reaches, under what the machine allows (Williams, Waterman and
Patterson, Roofline: an insightful visual performance model, 2009).

Across: floating-point operations for each byte of weights that is read, by a loop in every step.  Up: GFLOP/s.  The
roof is the peak of multiply-adds on the right and, on the left, the bandwidth of the memory that holds the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.limits import Machine
from benchmarks.rows import Row
from graphc.view.dot_text import escape
from graphc.view.theme import DEFAULT as THEME

WIDTH, HEIGHT = 860, 520
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 52, 52
OURS, PEER = "#00594C", "#C2410C"
HOLLOW = f'fill="{THEME.background}" stroke="{PEER}" stroke-width="1.5"'
LETTER, ROW = 6.8, 14

Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Point:
    """A workload: operations per byte, GFLOP/s of graphc and of the best peer."""

    name: str
    intensity: float
    ours: float
    peer: float | None


def points(rows: Sequence[Row], threads: int) -> list[Point]:
    """Rows with this number of threads, from the left; a run too short to compute anything to speak of is left out."""
    found = []
    for row in rows:
        limit = row.limit
        if row.threads != threads or limit is None or not row.ours.counts or limit.flop < 1e5:
            continue
        peer = limit.flop / row.others[0].median / 1e9 if row.others else None
        ours = limit.flop / row.ours.median / 1e9
        found.append(Point(row.workload.name, limit.flop / limit.read, ours, peer))
    return sorted(found, key=lambda p: (p.intensity, p.name))


def picture(rows: Sequence[Row], machine: Machine, threads: int = 1) -> str:
    """The SVG."""
    shown = points(rows, threads)
    xs = [p.intensity for p in shown] or [1.0]
    ys = [y for p in shown for y in (p.ours, p.peer) if y] or [1.0]
    x_range = math.floor(math.log10(min(xs)) * 2) / 2 - 0.25, math.log10(max(xs)) + 0.45
    y_range = math.log10(min(ys)) - 0.2, math.log10(max(*ys, machine.peak(threads))) + 0.2
    scale = _Scale(x_range, y_range)
    taken = [_around(scale, p.intensity, y) for p in shown for y in (p.ours, p.peer) if y]
    title = f"{machine.name}, {threads} thread{'s' if threads > 1 else ''}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' font-family="DejaVu Sans, sans-serif" font-size="12" fill="{THEME.ink}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{THEME.background}"/>',
        f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
        *_axes(scale),
        *_roofs(scale, machine, threads, taken),
        *_points(scale, shown, taken),
        *_legend(),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Scale:
    """Powers of ten to places."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x, self.y = x, y

    def across(self, value: float) -> float:
        return LEFT + (math.log10(value) - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)

    def up(self, value: float) -> float:
        span = HEIGHT - TOP - BOTTOM
        return HEIGHT - BOTTOM - (math.log10(value) - self.y[0]) / (self.y[1] - self.y[0]) * span


def _axes(scale: _Scale) -> Iterator[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for power in range(math.ceil(scale.x[0]), math.floor(scale.x[1]) + 1):
        at = scale.across(10.0**power)
        yield f'<path d="M{at:.1f} {TOP}V{bottom}" stroke="{THEME.line}" stroke-opacity="0.25"/>'
        yield f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{10.0**power:g}</text>'
    for value in (factor * 10**power for power in range(-3, 5) for factor in (1, 2, 5)):
        if scale.y[0] <= math.log10(value) <= scale.y[1]:
            at = scale.up(value)
            yield f'<path d="M{LEFT} {at:.1f}H{right}" stroke="{THEME.line}" stroke-opacity="0.25"/>'
            yield f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>'
    yield f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="{THEME.line}"/>'
    middle = (LEFT + right) // 2
    yield f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">operations per byte of weights</text>'
    middle = (TOP + bottom) // 2
    yield f'<text x="20" y="{middle}" text-anchor="middle" transform="rotate(-90 20 {middle})">GFLOP/s</text>'


def _around(scale: _Scale, intensity: float, rate: float) -> Box:
    """What a point covers."""
    x, y = scale.across(intensity), scale.up(rate)
    return x - 5, y - 5, x + 5, y + 5


def _along(x1: float, y1: float, x2: float, y2: float, text: str, taken: list[Box]) -> tuple[float, float]:
    """Where a text above a slanted line begins so that it lies on nothing; it is taken then."""
    length = math.hypot(x2 - x1, y2 - y1)
    across, up = (x2 - x1) / length, (y2 - y1) / length
    last = max(0, int(length - LETTER * len(text)))

    def boxes(start: int) -> list[Box]:
        found = []
        for step in range(0, int(LETTER * len(text)), 7):
            x, y = x1 + across * (start + step) + 7 * up, y1 + up * (start + step) - 7 * across
            found.append((x - 7, y - 7, x + 7, y + 7))
        return found

    places = [boxes(start) for start in range(14, last, 6)] or [boxes(0)]
    free = [place for place in places if not any(_meet(a, b) for a in place for b in taken)]
    chosen = (free or places)[0]
    taken += chosen
    x, y = chosen[0][0] + 7, chosen[0][1] + 7
    return x + 2 * across, y + 2 * up


def _roofs(scale: _Scale, machine: Machine, threads: int, taken: list[Box]) -> Iterator[str]:
    peak = machine.peak(threads)
    last = scale.across(10 ** scale.x[1])
    knees = []
    memories = [
        ("L2", machine.l2 * threads),
        ("L3", machine.l3 * threads),
        ("memory", machine.memory[threads - 1]),
    ]
    for name, rate in memories:
        knee = peak / rate
        knees.append(knee)
        lowest = max(10 ** scale.x[0], 10 ** scale.y[0] / rate)
        if lowest >= knee:
            continue
        x1, y1, x2, y2 = scale.across(lowest), scale.up(lowest * rate), scale.across(knee), scale.up(peak)
        yield f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{THEME.line}" stroke-width="1.5"/>'
        angle = math.degrees(math.atan2(y2 - y1, x2 - x1))
        text = f"{name} {rate:.0f} GB/s"
        x, y = _along(x1, y1, x2, y2, text, taken)
        turn = f"rotate({angle:.1f} {x:.1f} {y:.1f})"
        yield f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" transform="{turn}">{text}</text>'
    at, first = scale.up(peak), scale.across(max(min(knees), 10 ** scale.x[0]))
    yield f'<path d="M{first:.1f} {at:.1f}H{last:.1f}" stroke="{THEME.line}" stroke-width="1.5"/>'
    text = f"multiply-adds {peak:.0f} GFLOP/s"
    yield f'<text x="{first:.1f}" y="{at - 6:.1f}" font-size="11">{text}</text>'
    taken += [(first, at - 18, first + LETTER * len(text), at), (first, at - 2, last, at + 2)]


def _points(scale: _Scale, shown: Sequence[Point], taken: list[Box]) -> Iterator[str]:
    for point in shown:
        x, y = scale.across(point.intensity), scale.up(point.ours)
        if point.peer:
            below = scale.up(point.peer)
            yield f'<path d="M{x:.1f} {y:.1f}V{below:.1f}" stroke="{OURS}" stroke-opacity="0.5"/>'
            yield f'<circle cx="{x:.1f}" cy="{below:.1f}" r="4" {HOLLOW}/>'
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{OURS}"/>'
    for point in shown:
        x, y = scale.across(point.intensity), scale.up(point.ours)
        text_x, text_y, anchor = _free(x, y, LETTER * len(point.name), taken)
        halo = f'stroke="{THEME.background}" stroke-width="3" paint-order="stroke"'
        if abs(text_y - 4 - y) > ROW:
            to = f"L{text_x:.1f} {text_y - 4:.1f}"
            yield f'<path d="M{x:.1f} {y:.1f}{to}" stroke="{THEME.line}" stroke-opacity="0.4"/>'
        where = f'x="{text_x:.1f}" y="{text_y:.1f}" text-anchor="{anchor}"'
        yield f'<text {where} font-size="11" {halo}>{escape(point.name)}</text>'


def _free(x: float, y: float, width: float, taken: list[Box]) -> tuple[float, float, str]:
    """A place for a name beside a point that lies on nothing yet: (x, baseline, anchor)."""
    for step in range(20):
        for sign in (1, -1) if step else (1,):
            for anchor, left in (("start", x + 8), ("end", x - 8 - width)):
                middle = y + sign * step * 7
                box = (left, middle - ROW / 2, left + width, middle + ROW / 2)
                inside = left >= LEFT and box[2] <= WIDTH - 4 and TOP <= box[1] and box[3] <= HEIGHT - BOTTOM
                if inside and not any(_meet(box, other) for other in taken):
                    taken.append(box)
                    return (left if anchor == "start" else left + width), middle + 4, anchor
    return x + 8, y + 4, "start"


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _legend() -> Iterator[str]:
    x = WIDTH - RIGHT - 220
    yield f'<circle cx="{x}" cy="16" r="4" fill="{OURS}"/><text x="{x + 10}" y="20">graphc</text>'
    yield f'<circle cx="{x + 90}" cy="16" r="4" {HOLLOW}/>'
    yield f'<text x="{x + 100}" y="20">the fastest peer</text>'
