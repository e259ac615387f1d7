"""The doors of this package: a graph, partition, plan or picture in, a file or text out."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from graphc.atomic import write_file
from graphc.errors import UsageError
from graphc.plan.plan import Plan
from graphc.view import draw, memory_map
from graphc.view.dot import layout_cost
from graphc.view.dot import to_dot as picture_to_dot
from graphc.view.dot_text import escape
from graphc.view.from_graph import Drawable, Style, View, make_picture
from graphc.view.layers import Values
from graphc.view.render_ir import Picture
from graphc.view.theme import DEFAULT, THEMES, Theme

SUFFIXES = (".svg", ".png", ".pdf", ".dot", ".json")
COST = 10_000  # layout cost above which a layout is refused: it would take longer than anyone waits


def render(
    thing: Drawable | Picture,
    path: str | os.PathLike[str],
    *,
    view: View = "auto",
    values: Values | None = None,
    theme: str | Theme = DEFAULT,
    show: Collection[str] = ("shapes",),
    depth: int | None = None,
    style: Style = "auto",
    title: str | None = None,
    timeout: float = draw.TIMEOUT,
) -> Path:
    """Draw a graph into a file; its suffix says how: .svg, .png, .pdf, .dot or .json.

    The other arguments are those of `make_picture`; `theme` is one of default, dark, cs231n, blue-orange, print.
    The file appears whole or not at all.  Returns its path.

    Raises UsageError for a view, theme or suffix that does not exist, MissingToolError when no layout engine is
    installed (.dot and .json need none), PictureTooLarge when there is too much to lay out.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"cannot write {target.name!r}", fix=f"end its name in one of {', '.join(SUFFIXES)}")
    if view == "memory":
        write_file(target, _memory(thing, suffix, theme, title))
        return target
    picture = _picture(thing, view, values, show, depth, style, title)
    if suffix == ".json":
        write_file(target, picture.to_json())
    elif suffix == ".dot":
        write_file(target, picture_to_dot(picture, theme_of(theme)))
    else:
        write_file(target, _drawn(picture, suffix[1:], theme_of(theme), timeout))
    return target


def to_dot(
    thing: Drawable | Picture,
    *,
    view: View = "auto",
    values: Values | None = None,
    theme: str | Theme = DEFAULT,
    show: Collection[str] = ("shapes",),
    depth: int | None = None,
    style: Style = "auto",
    title: str | None = None,
) -> str:
    """The picture as DOT text; needs no layout engine."""
    return picture_to_dot(_picture(thing, view, values, show, depth, style, title), theme_of(theme))


def to_svg(
    thing: Drawable | Picture,
    *,
    view: View = "auto",
    values: Values | None = None,
    theme: str | Theme = DEFAULT,
    show: Collection[str] = ("shapes",),
    depth: int | None = None,
    style: Style = "auto",
    title: str | None = None,
    timeout: float = draw.TIMEOUT,
) -> str:
    """The picture as SVG text, for notebooks and pages."""
    if view == "memory":
        return _memory(thing, ".svg", theme, title)
    picture = _picture(thing, view, values, show, depth, style, title)
    return _drawn(picture, "svg", theme_of(theme), timeout).decode("utf-8")


def theme_of(theme: str | Theme) -> Theme:
    """A theme by name.  Raises UsageError naming those there are."""
    if isinstance(theme, Theme):
        return theme
    if theme not in THEMES:
        raise UsageError(f"there is no theme {theme!r}", fix=f"choose one of {', '.join(THEMES)}")
    return THEMES[theme]


def _picture(
    thing: Drawable | Picture,
    view: View,
    values: Values | None,
    show: Collection[str],
    depth: int | None,
    style: Style,
    title: str | None,
) -> Picture:
    if isinstance(thing, Picture):
        return thing
    return make_picture(thing, view, values=values, show=show, depth=depth, style=style, title=title)


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


def _memory(thing: Drawable | Picture, suffix: str, theme: str | Theme, title: str | None) -> str:
    if not isinstance(thing, Plan):
        raise UsageError("the memory view needs a memory plan", fix="give the Plan of a compiled model")
    if suffix != ".svg":
        raise UsageError(
            f"the memory view is written as .svg, not {suffix}", fix="end the file's name in .svg"
        )
    return memory_map.memory_map(thing, theme_of(theme), title)
