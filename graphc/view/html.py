"""A `Picture` as one page that needs nothing else: no network, no server, no library.

The picture's JSON, the script and the style of `page/` stand in the file.  The content security policy allows the
script and the style by their hashes and nothing else, so that no name of a model can ever become active.  Circuits and
kernels are laid out here; rows are laid out by the page, because modules open and close in it.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from hashlib import sha256
from html import escape
from pathlib import Path

from graphc.view.dot_text import escape as visible
from graphc.view.plain import to_text
from graphc.view.render_ir import Edge, Kind, Layout, Node, Picture, Role, Text
from graphc.view.theme import DARK, Theme

FOLDER = Path(__file__).parent / "page"
SCRIPTS = ("layout.js", "draw.js", "app.js")
COLOURS = [f.name for f in fields(Theme) if f.name not in ("name", "hulls")]
HULLS = 6

# Every colour of this theme is a number that stands for a variable of the page's style.
NUMBERED = Theme(
    name="page",
    **{colour: f"#fe01{number:02x}" for number, colour in enumerate(COLOURS)},
    hulls=tuple(f"#fe02{number:02x}" for number in range(HULLS)),
)


def page(
    picture: Picture,
    theme: Theme,
    layout: Callable[[Picture, Theme], str],
    code: Mapping[str, str] | None = None,
) -> str:
    """The page as text.

    layout  draws a picture as SVG text; asked for circuits and kernels only
    code    LLVM IR by name, which facts of the kind `LLVM IR` refer to
    """
    bare = replace(picture, title="", legend=(), notices=(), steps=())
    style = _variables(theme) + _text("page.css")
    script = (
        '(() => {"use strict";\n' + "".join(map(_text, SCRIPTS)).replace('"use strict";\n', "") + "})();\n"
    )
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "CSP": policy,
        "TITLE": visible(picture.title).replace("&#160;", "graph"),
        "STYLE": style,
        "LEGEND": "".join(_legend(picture)),
        "NOTICES": ". ".join(visible(notice) for notice in picture.notices),
        "SVG": "" if picture.layout is Layout.ROWS else _with_variables(layout(bare, NUMBERED)),
        "TEXT": _as_text(picture) if picture.layout is Layout.ROWS else "",
        "TABLE": "\n".join(table(picture)),
        "PICTURE": _json(picture.to_json()),
        "CODE": _json(json.dumps({name: _packed(text) for name, text in (code or {}).items()})),
        "SCRIPT": script,
    }
    pieces = _text("page.html").split("@")
    return "".join(piece if i % 2 == 0 else parts[piece] for i, piece in enumerate(pieces))


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _as_text(picture: Picture) -> str:
    """The two columns for who reads without JavaScript; the numbers of parameters would push them apart."""
    stored = (Role.PARAMETER, Role.CONSTANT)
    nodes = [
        replace(node, lines=tuple(line for line in node.lines if line.kind is not Text.VALUE))
        if node.role in stored
        else node
        for node in picture.nodes
    ]
    lines = to_text(replace(picture, nodes=tuple(nodes))).splitlines()
    return "<pre>" + "\n".join(map(visible, lines)) + "</pre>"


def _json(text: str) -> str:
    """JSON that cannot end the element it stands in."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode("utf-8"), 9)).decode("ascii")


def _variables(theme: Theme) -> str:
    """The colours of a theme, light, and of the dark theme; a theme that is dark itself stays so."""

    def of(which: Theme) -> str:
        found = {name.replace("_", "-"): getattr(which, name) for name in COLOURS}
        found |= {f"hull-{i}": which.hulls[i % len(which.hulls)] for i in range(HULLS)}
        return "".join(f"--{name}:{colour};" for name, colour in found.items())

    return (
        f":root{{{of(theme)}}}\n"
        f"@media screen{{:root[data-theme=dark]{{{of(DARK)}}}}}\n"
        f"@media screen and (prefers-color-scheme: dark){{:root[data-theme=auto]{{color-scheme:dark;{of(DARK)}}}}}\n"
    )


def _with_variables(svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    for number, colour in enumerate(COLOURS):
        svg = svg.replace(getattr(NUMBERED, colour), f"var(--{colour.replace('_', '-')})")
        assert number < 256
    for number, colour in enumerate(NUMBERED.hulls):
        svg = svg.replace(colour, f"var(--hull-{number})")
    return svg


_SIGNS = {
    "edge-data": "→", "edge-gradient": "⇠", "edge-saved": "▪┈▸", "edge-traffic": "➡", "check": "✓", "bar": "▂▅█",
    "mark-removed": "−", "mark-added": "+", "mark-changed": "~",
    Role.INPUT: "▷", Role.PARAMETER: "◆", Role.CONSTANT: "▫", Role.MODULE: "▤", Role.OUTPUT: "▣", Role.LOSS: "▣",
    Role.CHIP: "∂f/∂x", Role.GRADIENT: "∇x", Role.ACCUMULATE: "⊕",
}  # fmt: skip


def _legend(picture: Picture) -> Iterator[str]:
    for entry in picture.legend:
        back = entry.sample in ("edge-gradient", "gradient", "accumulate")
        look = ' class="back"' if back else ""
        sign = _SIGNS.get(entry.sample, "○")
        yield f"<span><b{look}>{sign}</b> {escape(entry.text)}</span> "


def table(picture: Picture) -> Iterator[str]:
    """The picture as an HTML table: a row for each operation, forward and backward side by side."""
    by_id = {node.id: node for node in picture.nodes}
    into: dict[str, list[Edge]] = {}
    out: dict[str, list[Edge]] = {}
    for edge in picture.edges:
        into.setdefault(edge.target, []).append(edge)
        out.setdefault(edge.source, []).append(edge)
    told: dict[tuple[str, bool], str] = {}
    for step in picture.steps:
        told.setdefault((step.at, step.backward), step.text)
    yield '<div class="scroll" tabindex="0" role="region" aria-label="Operations"><table>'
    yield "<caption>In the order they run; choose a row to find its box.</caption>"
    yield '<thead><tr><th scope="col">Operation</th><th scope="col">Reads</th><th scope="col">Gives</th>'
    told_there = '<th scope="col">Forward</th><th scope="col">Backward</th>' if picture.steps else ""
    yield f"{told_there}</tr></thead><tbody>"
    for node in picture.nodes:
        if node.role not in (Role.OP, Role.MODULE, Role.BUFFER) and not (
            node.backward and node.role is Role.GRADIENT
        ):
            continue
        if node.backward and f"{node.id.removeprefix('g-')}" in by_id:
            continue  # it stands in the row of its operation
        reads = [
            _called(by_id[e.source], into, by_id) for e in into.get(node.id, ()) if e.kind is not Kind.SAVED
        ]
        gives = [line.text for line in node.lines if line.kind in (Text.TYPE, Text.VALUE, Text.NOTE)]
        gives += [
            _circuit_result(by_id[e.target]) for e in out.get(node.id, ()) if picture.layout is Layout.CIRCUIT
        ]
        chips = [by_id[e.source] for e in into.get(node.id, ()) if by_id[e.source].role is Role.CHIP]
        back = [told[chip.id, True] for chip in chips if (chip.id, True) in told]
        mirror = by_id.get(f"g-{node.id}")
        if mirror is not None:
            back.append(told.get((mirror.id, True), ", ".join(line.text for line in mirror.lines)))
        cells = [", ".join(reads), ", ".join(gives)]
        cells += [told.get((node.id, node.backward), "")] if picture.steps else []
        yield (
            f'<tr id="t-{node.id}"><th scope="row">{visible(_title(node))}</th>'
            + "".join(f"<td>{visible(cell)}</td>" for cell in cells)
            + (f'<td class="back">{_broken(back)}</td>' if picture.steps else "")
            + "</tr>"
        )
    yield "</tbody></table></div>"


def _broken(texts: list[str]) -> str:
    return "<br>".join(visible(line) for text in texts for line in text.splitlines())


def _title(node: Node) -> str:
    name = node.text(Text.NAME) if node.label else ""
    return " ".join(part for part in (node.label or node.text(Text.NAME) or node.role.value, name) if part)


def _called(node: Node, into: Mapping[str, list[Edge]], by_id: Mapping[str, Node]) -> str:
    """A node in one word or two: a chip is the wire behind it."""
    while node.role in (Role.CHIP, Role.ACCUMULATE) and into.get(node.id):
        node = by_id[into[node.id][0].source]
    if not node.label and node.role is not Role.OP:
        return ", ".join(
            line.text for line in node.lines if line.kind in (Text.NAME, Text.CONSTANT, Text.VALUE)
        )
    value = node.text(Text.VALUE)
    return f"{_title(node)} = {value}" if value and len(value) < 12 else _title(node)


def _circuit_result(node: Node) -> str:
    return " ".join(
        part for part in (node.label, "=", node.text(Text.VALUE), node.text(Text.GRADIENT)) if part
    )
