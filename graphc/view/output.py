"""The doors of this package: a graph, partition, plan or picture in, a file or text out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from graphc.atomic import write_file
from graphc.errors import UsageError
from graphc.plan.plan import Plan
from graphc.view import draw
from graphc.view.dot import layout_cost
from graphc.view.dot import to_dot as picture_to_dot
from graphc.view.dot_text import escape
from graphc.view.from_graph import Choices, Drawable, make_picture
from graphc.view.plain import to_mermaid, to_text
from graphc.view.plain import to_networkx as picture_to_networkx
from graphc.view.render_ir import Picture
from graphc.view.theme import DEFAULT, THEMES, Theme

if TYPE_CHECKING:
    import networkx

SUFFIXES = (".svg", ".png", ".pdf", ".html", ".dot", ".json", ".mmd", ".txt")
COST = 10_000  # layout cost above which a layout is refused: it would take longer than anyone waits


def render(
    thing: Drawable | Picture,
    path: str | os.PathLike[str],
    *,
    theme: str | Theme = DEFAULT,
    timeout: float = draw.TIMEOUT,
    code: Mapping[str, str] | None = None,
    step: int | None = None,
    **choices: Unpack[Choices],
) -> Path:
    """Draw a graph into a file; its suffix says how: .svg, .png, .pdf, .html, .dot, .json, .mmd (Mermaid) or .txt.

    theme    default, dark, cs231n, blue-orange or print
    code     LLVM IR by name, for a page whose facts refer to it
    step     a step of the story, from 1: what is known then, as a .svg, .png, .pdf or .dot (see `render_frames`)
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
    if step is not None:
        return _frame(_story(thing, choices), step, target, theme_of(theme), timeout)
    if suffix == ".html":
        choices = {"known": {}, **choices}
    write_file(target, _written(thing, suffix, theme_of(theme), timeout, code, choices))
    return target


def render_frames(
    thing: Drawable | Picture,
    folder: str | os.PathLike[str],
    *,
    form: str = "svg",
    theme: str | Theme = DEFAULT,
    timeout: float = draw.TIMEOUT,
    **choices: Unpack[Choices],
) -> list[Path]:
    """Each step of the story as a picture of its own: `000.svg` is the whole, `001.svg` the first op, and so on.

    form     svg, png, pdf or dot
    choices  the arguments of `make_picture`

    Nothing moves from one to the next.  Returns the paths.  Raises what `render` raises, and UsageError for a picture
    without steps.
    """
    picture = _story(thing, choices)
    digits = max(3, len(str(len(picture.steps))))
    Path(folder).mkdir(parents=True, exist_ok=True)
    return [
        _frame(picture, step, Path(folder) / f"{step:0{digits}}.{form}", theme_of(theme), timeout)
        for step in range(len(picture.steps) + 1)
    ]


def _story(thing: Drawable | Picture, choices: Choices) -> Picture:
    if choices.get("view") == "memory":
        raise UsageError(
            "the memory map is one picture", fix="its page steps through it: end the name in .html"
        )
    return _picture(thing, {"known": {}, **choices})


def _frame(picture: Picture, step: int, target: Path, theme: Theme, timeout: float) -> Path:
    from graphc.view.frames import frame_dot

    form = target.suffix.lower()[1:]
    if form not in (*draw.FORMATS, "dot"):
        raise UsageError(f"a step is not written as .{form}", fix="choose svg, png, pdf or dot")
    dot = frame_dot(picture, step, theme)
    write_file(target, dot if form == "dot" else _laid_out(picture, dot, form, timeout))
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


def to_networkx(thing: Drawable | Picture, **choices: Unpack[Choices]) -> networkx.MultiDiGraph:
    """The picture as a networkx MultiDiGraph (see `graphc.view.plain`): what is drawn, folded as it is drawn.

    `choices` are the arguments of `make_picture`.  `graphc.to_networkx` gives the graph itself, op by op.
    """
    if choices.get("view") == "memory":
        return picture_to_networkx(_memory_picture(thing, choices.get("title")))
    return picture_to_networkx(_picture(thing, choices))


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
        return _memory(thing, suffix, theme, timeout, choices.get("title"))
    picture = _picture(thing, choices)
    match suffix:
        case ".json" | ".mmd" | ".txt":
            return _as_text(picture, suffix)
        case ".dot":
            return picture_to_dot(picture, theme)
        case ".html":
            return _page(picture, theme, lambda p, t: _drawn(p, "svg", t, timeout).decode("utf-8"), code)
    return _drawn(picture, suffix[1:], theme, timeout)


def _as_text(picture: Picture, suffix: str) -> str:
    return {".json": Picture.to_json, ".mmd": to_mermaid, ".txt": to_text}[suffix](picture)


def _page(
    picture: Picture,
    theme: Theme,
    layout: Callable[[Picture, Theme], str],
    code: Mapping[str, str] | None,
) -> str:
    from graphc.view.html import page

    return page(picture, theme, layout, code)


def _drawn(picture: Picture, form: str, theme: Theme, timeout: float) -> bytes:
    return _laid_out(picture, picture_to_dot(picture, theme), form, timeout)


def _laid_out(picture: Picture, dot: str, form: str, timeout: float) -> bytes:
    if layout_cost(picture) > COST:
        raise draw.PictureTooLarge(
            f"{len(picture.nodes):,} boxes and {len(picture.edges):,} edges are too many to lay out",
            fix="fold modules with depth=1, draw view='forward', or write .dot",
        )
    data = draw.draw(dot, form, timeout=timeout)
    if form != "svg":
        return data
    title = escape(picture.title).replace("&#160;", "graph")
    text = data.decode("utf-8").replace("<title>graphc</title>", f"<title>{title}</title>", 1)
    return text.replace("<svg ", '<svg role="img" ', 1).encode("utf-8")


def _memory(
    thing: Drawable | Picture, suffix: str, theme: Theme, timeout: float, title: str | None
) -> str | bytes:
    """The map as a picture; the picture's own text in the forms that are text."""
    from graphc.view.map_dot import map_dot
    from graphc.view.memory_map import memory_map

    plan, picture = _plan(thing), _memory_picture(thing, title)
    match suffix:
        case ".svg":
            return memory_map(plan, theme, title)
        case ".html":
            picture = replace(picture, notices=())  # the map says it
            return _page(picture, theme, lambda _, t: memory_map(plan, t, title), None)
        case ".json" | ".mmd" | ".txt":
            return _as_text(picture, suffix)
    dot = map_dot(memory_map(plan, theme, title, names_below=True), theme)
    return dot if suffix == ".dot" else draw.draw(dot, suffix[1:], timeout=timeout)


def _memory_picture(thing: Drawable | Picture, title: str | None) -> Picture:
    from graphc.view.memory_picture import memory_picture

    return memory_picture(_plan(thing), title)


def _plan(thing: Drawable | Picture) -> Plan:
    if not isinstance(thing, Plan):
        raise UsageError("the memory view needs a memory plan", fix="give the Plan of a compiled model")
    return thing
