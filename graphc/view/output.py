"""The doors of this package: a graph, partition, plan or picture in, a file or text out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

from graphc.atomic import write_file
from graphc.errors import UsageError
from graphc.plan.plan import Plan
from graphc.view import draw
from graphc.view.dot import layout_cost
from graphc.view.dot import to_dot as picture_to_dot
from graphc.view.dot_text import escape
from graphc.view.from_graph import Choices, Drawable, make_picture
from graphc.view.plain import to_mermaid, to_text
from graphc.view.render_ir import Picture
from graphc.view.theme import DEFAULT, THEMES, Theme

SUFFIXES = (".svg", ".png", ".pdf", ".html", ".dot", ".json", ".mmd", ".txt")
COST = 10_000  # layout cost above which a layout is refused: it would take longer than anyone waits


def render(
    thing: Drawable | Picture,
    path: str | os.PathLike[str],
    *,
    theme: str | Theme = DEFAULT,
    timeout: float = draw.TIMEOUT,
    code: Mapping[str, str] | None = None,
    **choices: Unpack[Choices],
) -> Path:
    """Draw a graph into a file; its suffix says how: .svg, .png, .pdf, .html, .dot, .json, .mmd (Mermaid) or .txt.

    theme    default, dark, cs231n, blue-orange or print
    code     LLVM IR by name, for a page whose facts refer to it
    choices  the arguments of `make_picture`

    The file appears whole or not at all.  Returns its path.

    Raises UsageError for a view, theme or suffix that does not exist, MissingToolError when no layout engine is
    installed (.dot, .json, .mmd, .txt and the page of a graph in rows need none), PictureTooLarge when there is too
    much to lay out.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"cannot write {target.name!r}", fix=f"end its name in one of {', '.join(SUFFIXES)}")
    if suffix == ".html":
        choices = {"known": {}, **choices}
    write_file(target, _written(thing, suffix, theme_of(theme), timeout, code, choices))
    return target


def to_dot(thing: Drawable | Picture, *, theme: str | Theme = DEFAULT, **choices: Unpack[Choices]) -> str:
    """The picture as DOT text; needs no layout engine.  `choices` are the arguments of `make_picture`."""
    return picture_to_dot(_picture(thing, choices), theme_of(theme))


def to_svg(
    thing: Drawable | Picture,
    *,
    theme: str | Theme = DEFAULT,
    timeout: float = draw.TIMEOUT,
    **choices: Unpack[Choices],
) -> str:
    """The picture as SVG text, for notebooks and pages.  `choices` are the arguments of `make_picture`."""
    data = _written(thing, ".svg", theme_of(theme), timeout, None, choices)
    return data if isinstance(data, str) else data.decode("utf-8")


def to_html(
    thing: Drawable | Picture,
    *,
    theme: str | Theme = DEFAULT,
    timeout: float = draw.TIMEOUT,
    code: Mapping[str, str] | None = None,
    **choices: Unpack[Choices],
) -> str:
    """The picture as the text of a page that needs nothing else.  `choices` are the arguments of `make_picture`."""
    data = _written(thing, ".html", theme_of(theme), timeout, code, {"known": {}, **choices})
    return data if isinstance(data, str) else data.decode("utf-8")


def theme_of(theme: str | Theme) -> Theme:
    """A theme by name.  Raises UsageError naming those there are."""
    if isinstance(theme, Theme):
        return theme
    if theme not in THEMES:
        raise UsageError(f"there is no theme {theme!r}", fix=f"choose one of {', '.join(THEMES)}")
    return THEMES[theme]


def _picture(thing: Drawable | Picture, choices: Choices) -> Picture:
    return thing if isinstance(thing, Picture) else make_picture(thing, **choices)


def _written(
    thing: Drawable | Picture,
    suffix: str,
    theme: Theme,
    timeout: float,
    code: Mapping[str, str] | None,
    choices: Choices,
) -> str | bytes:
    """A picture in the form a suffix stands for."""
    if choices.get("view") == "memory":
        return _memory(thing, suffix, theme, choices.get("title"))
    picture = _picture(thing, choices)
    match suffix:
        case ".json":
            return picture.to_json()
        case ".dot":
            return picture_to_dot(picture, theme)
        case ".mmd":
            return to_mermaid(picture)
        case ".txt":
            return to_text(picture)
        case ".html":
            from graphc.view.html import page

            return page(picture, theme, lambda p, t: _drawn(p, "svg", t, timeout).decode("utf-8"), code)
    return _drawn(picture, suffix[1:], theme, timeout)


def _drawn(picture: Picture, form: str, theme: Theme, timeout: float) -> bytes:
    cost = layout_cost(picture)
    if cost > COST:
        raise draw.PictureTooLarge(
            f"{len(picture.nodes):,} boxes and {len(picture.edges):,} edges are too many to lay out",
            fix="fold modules with depth=1, draw view='forward', or write .dot",
        )
    data = draw.draw(picture_to_dot(picture, theme), form, timeout=timeout)
    if form != "svg":
        return data
    title = escape(picture.title).replace("&#160;", "graph")
    text = data.decode("utf-8").replace("<title>graphc</title>", f"<title>{title}</title>", 1)
    return text.replace("<svg ", '<svg role="img" ', 1).encode("utf-8")


def _memory(thing: Drawable | Picture, suffix: str, theme: Theme, title: str | None) -> str:
    if not isinstance(thing, Plan):
        raise UsageError("the memory view needs a memory plan", fix="give the Plan of a compiled model")
    if suffix != ".svg":
        raise UsageError(
            f"the memory view is written as .svg, not {suffix}", fix="end the file's name in .svg"
        )
    from graphc.view.memory_map import memory_map

    return memory_map(thing, theme, title)
