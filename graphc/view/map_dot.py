"""The memory map as DOT text, for PNG and PDF: its shapes as a background that Graphviz draws with our fonts.

Graphviz turns no text.  Instead of the turned names of the steps, each step that has room shows its kernel, and a list
below says what the kernels do.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence

from graphc.view.theme import Theme

SVG = "{http://www.w3.org/2000/svg}"
NAMES = 4  # columns of the list of kernels
LETTER = 6.2  # points of a letter of that list, generously
ALIGNED = {"start": -1, "middle": 0, "end": 1}
DASHES = {"3,2": "dashed", "5,3": "dashed", "2,2": "dotted"}
APART = 7  # points between the lines of a hatching


def map_dot(svg: str, theme: Theme) -> str:
    """DOT text that is drawn as the map which `memory_map` wrote."""
    root = ET.fromstring(svg)
    wide, high = (float(number) for number in root.get("viewBox", "0 0 1 1").split()[2:])
    turned = [e for e in root.iter(f"{SVG}text") if e.get("transform")]
    names = list(dict.fromkeys(e.text or "" for e in turned))
    columns = max(1, min(NAMES, int(wide / (LETTER * max(map(len, names), default=1)))))
    rows = -(-len(names) // columns)
    total = high + 14 * rows
    pen = _Pen(total)
    for element in root.iter():
        if element.tag == f"{SVG}rect" and element.get("height") and element.get("id") is None:
            pen.rectangle(element, total if element.get("width") == root.get("width", "")[:-2] else 0)
        elif element.tag == f"{SVG}line" and element.get("stroke-opacity") is None:
            pen.line(element)
        elif element.tag == f"{SVG}text" and element not in turned:
            pen.words(element)
    _steps(turned, pen)
    for i, name in enumerate(names):
        pen.text(24 + (i // rows) * wide / columns, high + 14 * (i % rows), name, theme.muted, 9)
    shapes = " +\n    ".join(f'"{operation} "' for operation in pen.made)  # one string may not be very long
    head = f'layout=nop2, pad=0, bgcolor="{theme.background}", _background={shapes}'
    ends = "".join(f' "{n}" [pos="{x:g},{y:g}!"]' for n, x, y in (("a", 0, 0), ("b", wide, total)))
    point = 'node [style=invis, label="", width=0, height=0, fixedsize=true]'
    return f"digraph graphc {{\n  graph [{head}]\n  {point}\n {ends}\n}}\n"


def _steps(turned: Sequence[ET.Element], pen: _Pen) -> None:
    """The kernels below their columns, as many as fit beside each other."""
    beyond: dict[str, float] = {}
    for element in turned:
        name, level = (element.text or "").partition(" ")[0], element.get("y", "0")
        x = float(element.get("x", 0))
        if x < beyond.get(level, 0.0):
            continue
        beyond[level] = x + LETTER * (len(name) + 1)
        pen.text(x, float(level), name, element.get("fill", ""), 9, "middle")


class _Pen:
    """Writes shapes as the operations of the xdot format; y points up there."""

    def __init__(self, high: float):
        self.high = high
        self.made: list[str] = []

    def rectangle(self, e: ET.Element, high: float) -> None:
        x, y, wide, tall = (float(e.get(key, 0)) for key in ("x", "y", "width", "height"))
        tall = high or tall
        fill, stroke = e.get("fill", "none"), e.get("stroke", "none")
        if fill.startswith("url"):
            self._colours("#00000000", "#80808090", e)
            for line in _hatching(x, y, x + wide, y + tall):
                self._points("L", line)
            if stroke == "none":
                return
            fill = "none"
        alpha = round(255 * float(e.get("fill-opacity", 1)))
        colour = "#00000000" if fill == "none" else f"{fill}{alpha:02x}"
        self._colours(colour, "#00000000" if stroke == "none" else stroke, e)
        corners = [(x, y), (x + wide, y), (x + wide, y + tall), (x, y + tall)]
        self._points("p" if fill == "none" else "P", corners)

    def line(self, e: ET.Element) -> None:
        self._colours("", e.get("stroke", "none"), e)
        x, y, u, v = (float(e.get(key, 0)) for key in ("x1", "y1", "x2", "y2"))
        self._points("L", [(x, y), (u, v)])

    def words(self, e: ET.Element) -> None:
        x, y, size = (float(e.get(key, 0)) for key in ("x", "y", "font-size"))
        anchor = e.get("text-anchor", "start")
        self.text(x, y, e.text or "", e.get("fill", ""), size, anchor, e.get("font-weight") == "bold")

    def text(
        self,
        x: float,
        y: float,
        words: str,
        colour: str,
        size: float,
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        face = "DejaVu Sans Bold" if bold else "DejaVu Sans"
        place = f"T {x:g} {self.high - y:g} {ALIGNED[anchor]} 0"
        self.made += [f"c {_string(colour)}", f"F {size:g} {_string(face)}", f"{place} {_string(words)}"]

    def _colours(self, fill: str, stroke: str, e: ET.Element) -> None:
        style = DASHES.get(e.get("stroke-dasharray", ""), "solid")
        pens = [f"S {_string(style)}", f"S {_string('setlinewidth(' + e.get('stroke-width', '1') + ')')}"]
        self.made += [f"c {_string(stroke)}", *([f"C {_string(fill)}"] if fill else []), *pens]

    def _points(self, operation: str, points: Sequence[tuple[float, float]]) -> None:
        spelled = " ".join(f"{x:g} {self.high - y:g}" for x, y in points)
        self.made.append(f"{operation} {len(points)} {spelled}")


def _hatching(left: float, top: float, right: float, bottom: float) -> Iterator[list[tuple[float, float]]]:
    """Lines from lower left to upper right, where x + y is a multiple of what they are apart."""
    step = APART * 2**0.5
    number = int((left + top) / step) + 1
    while number * step < right + bottom:
        total = number * step
        start = (left, total - left) if total - left <= bottom else (total - bottom, bottom)
        end = (right, total - right) if total - right >= top else (total - top, top)
        yield [start, end]
        number += 1


def _string(text: str) -> str:
    """A counted string within a quoted one: neither quotes nor backslashes remain in it."""
    text = (
        re.sub(r"\s", " ", text)
        .replace("\\", "\N{SET MINUS}")
        .replace('"', "\N{RIGHT DOUBLE QUOTATION MARK}")
    )
    return f"{len(text.encode('utf-8'))} -{text}"
