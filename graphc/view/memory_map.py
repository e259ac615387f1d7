"""The memory plan as a map: time to the right, addresses upward, a box for every buffer.

A box spans the steps during which its buffer is alive and the bytes it occupies, so no two boxes may overlap:
the picture is a check of the planner as well.  Below the map stand the bytes alive at each step against the
arena's size and the lower bound.  Written as SVG directly; no layout engine is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphc.ir.graph import Value
from graphc.plan.buffers import Buffer
from graphc.plan.plan import Plan, format_bytes
from graphc.view.dot_text import elide, escape
from graphc.view.hidden import HIDDEN
from graphc.view.render_ir import safe_id
from graphc.view.theme import DEFAULT, Theme

LEFT, RIGHT, TOP = 86.0, 24.0, 96.0
STRIP = 70.0  # height of the chart of live bytes
FONT = 'font-family="DejaVu Sans,Verdana,Geneva,sans-serif"'
LETTER = 0.62  # widest usual letter in ems, so that text stays inside its box


@dataclass(frozen=True, slots=True)
class _Panel:
    """One region of the arena on the page."""

    title: str
    unit: str
    buffers: tuple[Buffer, ...]
    size: int
    bound: int
    top: float
    height: float

    @property
    def bottom(self) -> float:
        return self.top + self.height


def memory_map(
    plan: Plan, theme: Theme = DEFAULT, title: str | None = None, *, names_below: bool = False
) -> str:
    """The plan as SVG text.  `names_below` leaves no room for the turned names of the steps (see `map_dot`)."""
    steps = max(len(plan.order), 1)
    column = min(max(860 / steps, 5.0), 64.0)
    width = LEFT + column * (steps + 1) + RIGHT
    names = _step_names(plan)
    label_room = 16 + 5.2 * max((len(name) for name in names), default=0) if column >= 11 else 18
    label_room = 18 if names_below else label_room
    panels: list[_Panel] = []
    top = TOP
    for region in plan.regions:
        members = tuple(b for b in plan.buffers if b.region == region.name and b.size)
        height = 150.0 if region.unit == 1 else 330.0
        if members:
            heading = "constant size" if region.unit == 1 else f"grows with {region.unit}"
            unit = "" if region.unit == 1 else f" for each of {region.unit}"
            panels.append(_Panel(heading, unit, members, max(region.nbytes, 1), region.bound, top, height))
            top += height + STRIP + label_room + 50
    total = top if panels else TOP + 40
    body = [*_defs(theme), *_heading(plan, theme, title or f"{plan.graph.name}: memory plan", width)]
    kept = kept_values(plan)
    for panel in panels:
        body += _panel(panel, plan, column, names if column >= 11 else [], label_room, kept, theme)
    if not panels:
        body.append(
            _text(
                LEFT,
                TOP + 16,
                "the arena is empty: every value lives in the caller's memory",
                theme.muted,
                11,
            )
        )
    return "\n".join(
        [
            f'<svg role="img" width="{_n(width)}pt" height="{_n(total)}pt" viewBox="0 0 {_n(width)} {_n(total)}" '
            f'xmlns="http://www.w3.org/2000/svg" {FONT}>',
            f"<title>{escape(title or plan.graph.name)}</title>",
            f'<rect width="{_n(width)}" height="{_n(total)}" fill="{theme.background}"/>',
            *body,
            "</svg>",
            "",
        ]
    )


def _defs(t: Theme) -> Iterator[str]:
    yield (
        '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<line x1="0" y1="0" x2="0" y2="7" stroke="{t.line}" stroke-width="1" stroke-opacity="0.55"/></pattern></defs>'
    )


def _heading(plan: Plan, t: Theme, title: str, width: float) -> Iterator[str]:
    yield _text(LEFT, 26, title, t.ink, 15, bold=True)
    yield _text(LEFT, 43, plan.verdict, t.muted, 11)
    x = LEFT
    for sample, words in (
        (f'fill="{t.hulls[0]}" stroke="{t.ink}"', "buffer"),
        ('fill="url(#hatch)" stroke="' + t.ink + '"', "kept from forward for backward"),
        (f'fill="{t.background}" stroke="{t.ink}" stroke-dasharray="3,2"', "working memory of a kernel"),
    ):
        yield f'<rect x="{_n(x)}" y="51" width="16" height="10" {sample}/>'
        yield _text(x + 21, 60, words, t.muted, 10)
        x += 40 + 6.2 * len(words)


def _panel(
    panel: _Panel, plan: Plan, column: float, names: list[str], label_room: float, kept: set[Value], t: Theme
) -> Iterator[str]:
    steps = len(plan.order)
    right = LEFT + column * (steps + 1)

    def x(step: int) -> float:
        return LEFT + column * step

    def y(offset: int) -> float:
        return panel.bottom - panel.height * offset / panel.size

    yield f'<line x1="{_n(LEFT)}" y1="{_n(panel.bottom)}" x2="{_n(right)}" y2="{_n(panel.bottom)}" stroke="{t.line}"/>'
    yield f'<line x1="{_n(LEFT)}" y1="{_n(panel.top)}" x2="{_n(LEFT)}" y2="{_n(panel.bottom)}" stroke="{t.line}"/>'
    yield _text(
        LEFT, panel.top - 6, f"{panel.title}: {format_bytes(panel.size)}{panel.unit}", t.ink, 11, bold=True
    )
    for offset in _levels(panel.size):
        yield _text(LEFT - 6, y(offset) + 3.5, format_bytes(offset), t.muted, 9, anchor="end")
    turn = turn_of(plan)
    if turn is not None:
        yield (
            f'<line class="turn" x1="{_n(x(turn))}" y1="{_n(panel.top)}" x2="{_n(x(turn))}" '
            f'y2="{_n(panel.bottom + STRIP + 20)}" stroke="{t.backward}" stroke-dasharray="5,3"/>'
        )
        yield _text(x(turn) + 3, panel.top - 6, "backward →", t.backward, 9)
    for number, buffer in enumerate(panel.buffers):
        yield from _box(
            buffer,
            number,
            x(buffer.first),
            x(buffer.last + 1),
            y(buffer.offset),
            y(buffer.offset + buffer.size),
            kept,
            t,
        )
    yield from _strip(panel, plan, x, t)
    for step, name in enumerate(names):
        across, down = x(step) + column / 2 + 3, panel.bottom + STRIP + 24
        yield _text(across, down, name, t.muted, 9, anchor="end", turned=True)


def _levels(size: int) -> list[int]:
    """Round offsets to write beside an arena, and its end.

    >>> _levels(45_300), _levels(590), _levels(3)
    ([0, 10000, 20000, 30000, 40000, 45300], [0, 200, 400, 590], [0, 1, 2, 3])
    """
    step = 10 ** max(len(str(size)) - 1, 0)
    step = next(s for s in (step // 5, step // 2, step, 2 * step) if s and size / s <= 5)
    return [offset for offset in range(0, size, step) if size - offset > 0.05 * size] + [size]


def _box(
    buffer: Buffer,
    number: int,
    left: float,
    right: float,
    bottom: float,
    top: float,
    kept: set[Value],
    t: Theme,
) -> Iterator[str]:
    width, height = right - left, bottom - top
    place = f'x="{_n(left)}" y="{_n(top)}" width="{_n(width)}" height="{_n(height)}"'
    if buffer.scratch:
        look = f'fill="{t.background}" stroke="{t.ink}" stroke-dasharray="3,2"'
    else:
        look = f'fill="{t.hulls[number % len(t.hulls)]}" stroke="{t.ink}"'
    yield f'<g id="{buffer_id(buffer)}" class="node buffer"><rect {place} {look} stroke-width="0.8"/>'
    if any(value in kept for value in buffer.values):
        yield f'<rect class="kept" {place} fill="url(#hatch)"/>'
    names = " → ".join(dict.fromkeys(value.name for value in buffer.values)) or buffer.scratch
    letters = int((width - 6) / (9 * LETTER))
    if letters >= 3 and height >= 12:
        yield _text(left + 4, top + 10.5, _cut(names, letters), t.ink, 9)
        size = format_bytes(buffer.size)
        if height >= 24 and len(size) <= letters:
            yield _text(left + 4, top + 21.5, size, t.muted, 8)
    yield "</g>"


def buffer_id(buffer: Buffer) -> str:
    """A buffer's id in the map and in its picture."""
    return safe_id("s", buffer.scratch) if buffer.scratch else safe_id("b", buffer.name)


def _cut(names: str, letters: int) -> str:
    if len(names) <= letters:
        return names
    return elide(names, letters) if letters > 20 else names[: letters - 1] + "…"


def _strip(panel: _Panel, plan: Plan, x: object, t: Theme) -> Iterator[str]:
    """Bytes alive at each step, with the arena's size and the lower bound as lines."""
    assert callable(x)
    base, height = panel.bottom + STRIP + 8, STRIP - 14
    alive = [
        sum(b.size for b in panel.buffers if b.first <= step <= b.last) for step in range(len(plan.order) + 1)
    ]
    for step, count in enumerate(alive):
        tall = height * count / panel.size
        yield (
            f'<rect class="live" x="{_n(x(step) + 0.5)}" y="{_n(base - tall)}" width="{_n(max(x(1) - x(0) - 1, 0.5))}" '
            f'height="{_n(tall)}" fill="{t.line}" fill-opacity="0.45"/>'
        )
    end = x(len(plan.order) + 1)
    yield f'<line x1="{_n(LEFT)}" y1="{_n(base)}" x2="{_n(end)}" y2="{_n(base)}" stroke="{t.line}"/>'
    for size, words, dash in ((panel.size, "arena", ""), (panel.bound, "bound", "2,2")):
        level = base - height * size / panel.size
        yield (
            f'<line x1="{_n(LEFT)}" y1="{_n(level)}" x2="{_n(end)}" y2="{_n(level)}" stroke="{t.forward}" '
            f'stroke-dasharray="{dash or "none"}"/>'
        )
        if not (words == "bound" and height * (panel.size - size) / panel.size < 9):
            yield _text(LEFT - 6, level + 3.5, words, t.forward, 9, anchor="end")
    if (panel.size - panel.bound) * height / panel.size < 9:
        yield _text(
            LEFT - 6,
            base - height + 13,
            "= bound" if panel.size == panel.bound else "≈ bound",
            t.forward,
            9,
            anchor="end",
        )
    yield _text(LEFT - 6, base, "alive", t.muted, 9, anchor="end")


def _step_names(plan: Plan) -> list[str]:
    names = []
    for kernel in plan.order:
        node = kernel.anchor or kernel.nodes[-1]
        names.append(f"{kernel.name} {elide(node.op.name, 20)}")
    return names


def turn_of(plan: Plan) -> int | None:
    """The first step that belongs to the backward pass alone; earlier kernels may already prepare for it."""
    for step, kernel in enumerate(plan.order):
        roles = {node.provenance.role for node in kernel.nodes if node.op.name not in HIDDEN}
        if roles == {"backward"}:
            return step if step else None
    return None


def kept_values(plan: Plan) -> set[Value]:
    """Values written in the forward pass and read in the backward pass."""
    turn = turn_of(plan)
    if turn is None:
        return set()
    written = {value for kernel in plan.order[:turn] for value in kernel.outputs}
    return {value for kernel in plan.order[turn:] for value in kernel.inputs if value in written}


def _text(
    x: float,
    y: float,
    words: str,
    colour: str,
    size: int,
    *,
    bold: bool = False,
    anchor: str = "start",
    turned: bool = False,
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    turn = f' transform="rotate(-90 {_n(x)} {_n(y)})"' if turned else ""
    return (
        f'<text x="{_n(x)}" y="{_n(y)}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}{turn}>'
        f"{escape(words)}</text>"
    )


def _n(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")
