"""Pictures of graphs and plans: DOT, SVG, PNG, PDF, pages, Mermaid, and tables as text.

    graph ──> make_picture ──> Picture ──> to_dot ──> draw ──> svg, png, pdf
                (what)        (JSON)       (how)    (dot or pygraphviz)

>>> from graphc.view import to_dot
"""

from graphc.view.from_graph import make_picture
from graphc.view.notebook import interactive
from graphc.view.output import render, to_dot, to_html, to_svg
from graphc.view.render_ir import Picture
from graphc.view.theme import THEMES, Theme

__all__ = [
    "THEMES",
    "Picture",
    "Theme",
    "interactive",
    "make_picture",
    "render",
    "to_dot",
    "to_html",
    "to_svg",
]
