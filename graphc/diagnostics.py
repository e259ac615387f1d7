"""Draws an error: what, where with a caret under the exact columns, the shapes by name, why, what to do.

Plain text by default; `color=True` adds ANSI colours.  Nothing in here raises: a source file that has gone
or a hostile name in it must not hide the error it belongs to.
"""

from __future__ import annotations

import os
import traceback
import unicodedata
from collections.abc import Mapping
from types import TracebackType
from typing import IO

from graphc.errors import Fact, GraphcError, SeveralErrors
from graphc.source import Span, is_internal

_STYLES = {"error": "1;31", "place": "1;34", "caret": "1;31", "name": "1", "dim": "2", "fix": "1;32"}
_WIDEST_SOURCE = 100
_TAB = 4


def draw(error: GraphcError, *, color: bool = False, heading: str = "error ") -> str:
    """The error as text, without a final newline.

    >>> print(draw(GraphcError("no such thing", fix="another thing")))
    error GC0000: no such thing
      fix: another thing
    """
    if isinstance(error, SeveralErrors):
        parts = [draw(each, color=color, heading=heading) for each in error.errors]
        return "\n\n".join([*parts, f"{len(parts)} errors"])
    pen = _Pen(color)
    lines = [
        pen("error", f"{heading}{error.code}:") + " " + pen("name", printable(error.message, newlines=True))
    ]
    if error.span is not None:
        lines += _draw_span(error.span, "-->", "", pen)
    elif error.where:
        lines.append(f"  {pen('place', '-->')} {printable(error.where)}")
    for label in error.labels:
        lines += _draw_span(label.span, " + ", label.text, pen)
    lines += _draw_facts(error.facts, pen)
    if error.cause:
        lines.append(f"  {pen('dim', 'why:')} {printable(error.cause, newlines=True)}")
    if error.fix:
        lines.append(f"  {pen('fix', 'fix:')} {printable(error.fix, newlines=True)}")
    if debug_level():
        lines += ["", *"".join(traceback.format_tb(error.__traceback__)).splitlines()]
    return "\n".join(lines)


def debug_level() -> int:
    """`GRAPHC_DEBUG` as a number; 0 when it is not set."""
    text = os.environ.get("GRAPHC_DEBUG", "")
    return int(text) if text.isdecimal() else int(bool(text))


def wants_color(stream: IO[str], choice: str = "auto", environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to colour what is written to the stream.

    `--color always|never` wins; then `NO_COLOR` (https://no-color.org: set and not empty) and
    `TERM=dumb` say no; else a terminal says yes.
    """
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def user_traceback(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without graphc's own frames, unless `GRAPHC_DEBUG` is set or nothing else is left."""
    if debug_level():
        return trace
    kept = []
    step = trace
    while step is not None:
        if not is_internal(step.tb_frame.f_code.co_filename):
            kept.append(step)
        step = step.tb_next
    result: TracebackType | None = None
    for step in reversed(kept):
        result = TracebackType(result, step.tb_frame, step.tb_lasti, step.tb_lineno)
    return result or trace


def printable(text: str, *, newlines: bool = False) -> str:
    """The text with control and bidirectional characters as escapes, so that it cannot forge a message."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(character, newlines) for character in text)


def _visible(character: str, newlines: bool) -> str:
    if character == "\n" and newlines:
        return "\n       "  # a continued line stands under its own text
    if character == " " or character.isprintable():
        return character
    number = ord(character)
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )


class _Pen:
    """Puts a named style around text, or nothing when there are no colours."""

    def __init__(self, color: bool) -> None:
        self.color = color

    def __call__(self, style: str, text: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.color and text else text


def _draw_span(span: Span, arrow: str, text: str, pen: _Pen) -> list[str]:
    place = printable(str(span))
    source = span.text
    if not source.strip():
        tail = f"   {printable(text)}" if text else ""
        return [f"  {pen('place', arrow)} {place}{tail}"]
    shown, before, width = _excerpt(span, source)
    margin = len(f"  {arrow} {place}   ")
    lines = [f"  {pen('place', arrow)} {place}   {shown}"]
    if width or text:
        note = f" {printable(text)}" if text else ""
        lines.append(" " * (margin + before) + pen("caret", "^" * width) + pen("dim", note))
    return lines


def _excerpt(span: Span, source: str) -> tuple[str, int, int]:
    """The source line as shown, the cells before the caret and the cells it spans (0: columns unknown)."""
    indent = len(source) - len(source.lstrip())
    if span.column < 0:
        return _clip(_cells(source[indent:]), 0, 0)
    start = max(indent, span.column)
    end = span.end_column if span.end_line == span.line else len(source.rstrip())
    before = len(_cells(source[indent:start]))
    width = max(1, len(_cells(source[start:end])))
    return _clip(_cells(source[indent:].rstrip()), before, width)


def _cells(text: str) -> list[str]:
    """One entry a terminal cell: an empty one follows a wide character, a combining one joins its base."""
    cells: list[str] = []
    for character in text:
        if character == "\t":
            cells += [" "] * _TAB
        elif not character.isprintable():
            cells += list(_visible(character, False))
        elif unicodedata.combining(character) and cells:
            cells[-1] += character
        else:
            cells.append(character)
            if unicodedata.east_asian_width(character) in "WF":
                cells.append("")
    return cells


def _clip(cells: list[str], before: int, width: int) -> tuple[str, int, int]:
    """A long line shortened around the caret."""
    if len(cells) <= _WIDEST_SOURCE:
        return "".join(cells), before, width
    first = max(0, min(before - 20, len(cells) - _WIDEST_SOURCE))
    last = min(len(cells), first + _WIDEST_SOURCE)
    head = "..." if first else ""
    tail = "..." if last < len(cells) else ""
    return (
        head + "".join(cells[first:last]) + tail,
        before - first + len(head),
        min(width, last - before),
    )


def _draw_facts(facts: list[Fact], pen: _Pen) -> list[str]:
    rows = [(printable(fact.name), printable(fact.type), printable(fact.note)) for fact in facts]
    name_width = max((len(name) for name, _, _ in rows), default=0)
    type_width = max((len(type_) for _, type_, _ in rows), default=0)
    lines = []
    for name, type_, note in rows:
        padded = type_.ljust(type_width) + "   " + note if note else type_
        lines.append(f"  {pen('name', name)}{' ' * (name_width - len(name))}  {padded}".rstrip())
    return lines
