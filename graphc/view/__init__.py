"""Pictures of graphs and plans: DOT, SVG, PNG, PDF, pages, Mermaid, and tables as text.

    graph ──> make_picture ──> Picture ──> to_dot ──> draw ──> svg, png, pdf
                (what)        (JSON)       (how)    (dot or pygraphviz)

>>> from graphc.view import to_dot
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphc.view.from_graph import make_picture
    from graphc.view.notebook import interactive
    from graphc.view.output import render, render_frames, to_dot, to_html, to_networkx, to_svg
    from graphc.view.render_ir import Picture
    from graphc.view.theme import THEMES, Theme

# Each name is imported when it is first asked for: an engine can be started before anything is drawn.
_LATER = {
    "THEMES": "theme",
    "Picture": "render_ir",
    "Theme": "theme",
    "interactive": "notebook",
    "make_picture": "from_graph",
    "render": "output",
    "render_frames": "output",
    "to_dot": "output",
    "to_html": "output",
    "to_networkx": "output",
    "to_svg": "output",
}

__all__ = [
    "THEMES",
    "Picture",
    "Theme",
    "interactive",
    "make_picture",
    "render",
    "render_frames",
    "to_dot",
    "to_html",
    "to_networkx",
    "to_svg",
]


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = found
    return found
