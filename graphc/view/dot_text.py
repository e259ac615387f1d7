"""The words of DOT text: escaped labels, attributes, tables, signs."""

from __future__ import annotations

import unicodedata

from graphc.view.render_ir import Line, Role, Text
from graphc.view.theme import Theme

# Points of small text.  Graphviz measures a letter in whole pixels of 1/96 inch: at 10 points it takes digits for 6 %
# narrower than they are drawn, and text touches its box; at 11 the errors of DejaVu's letters and digits cancel out.
SMALL = 11
LONGEST = 48  # characters of a user's name that are drawn; the picture's JSON keeps all

GLYPH = {
    Role.INPUT: "▷",
    Role.PARAMETER: "◆",
    Role.CONSTANT: "▫",
    Role.OUTPUT: "▣",
    Role.LOSS: "▣",
    Role.MODULE: "▤",
}


def escape(text: str) -> str:
    """Any text as the content of an HTML-like label; control and format characters become visible.

    >>> escape('<b>"x" & y')
    '&lt;b&gt;&quot;x&quot; &amp; y'
    """
    seen = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in _HIDDEN else c for c in text)
    for raw, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        seen = seen.replace(raw, entity)
    return seen if seen.strip() else "&#160;"


def elide(text: str, longest: int = LONGEST) -> str:
    """A user's name short enough to draw: the middle goes, the ends tell names apart."""
    return text if len(text) <= longest else f"{text[: longest - 16]}…{text[-15:]}"


_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def font(text: str, colour: str, size: float = 0, tags: str = "") -> str:
    inner = escape(text)
    for tag in tags:
        inner = f"<{tag}>{inner}</{tag}>"
    points = f' POINT-SIZE="{size:g}"' if size else ""
    return f'<FONT COLOR="{colour}"{points}>{inner}</FONT>'


def attributes(**values: str | float) -> str:
    parts = []
    for name, value in values.items():
        text = str(value)
        parts.append(f"{name}={text}" if text.startswith("<") else f'{name}="{text}"')
    return " [" + ", ".join(parts) + "]" if parts else ""


def table(rows: list[str], padding: int = 0, more: str = "") -> str:
    head = f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="{padding}"{more}>'
    return "<" + head + "".join(f"<TR>{row}</TR>" for row in rows) + "</TABLE>>"


def quoted(identifier: str) -> str:
    """One of our own ids; its alphabet needs no escaping."""
    return f'"{identifier}"'


def line_of(line: Line, t: Theme, size: float) -> str:
    match line.kind:
        case Text.VALUE:
            return font(line.text, t.forward, size)
        case Text.GRADIENT | Text.PRODUCT:
            return font(line.text, t.backward, size, "I")
        case Text.DERIVATIVE:
            return font(line.text, t.muted, size, "I")
        case Text.NAME:
            return font(line.text, t.ink, size)
        case _:
            return font(line.text, t.muted, size)
