"""Notes: what a pass did that a person should hear of, with the user's line and the equation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from graphc.ir.graph import Node
from graphc.source import Span


@dataclass(frozen=True, slots=True)
class Note:
    """One rewrite worth telling.

    made_by   the pass
    equation  left side = right side
    reason    why the right side is better
    span      the user's line, if known
    node      name of the value that was rewritten, in the graph the pass was given
    """

    made_by: str
    equation: str
    reason: str
    span: Span | None
    node: str

    def __str__(self) -> str:
        where = f"{self.span}: " if self.span else ""
        return f"{where}%{self.node}: {self.equation}" + (f"  ({self.reason})" if self.reason else "")


_collector: ContextVar[list[Note] | None] = ContextVar("notes", default=None)


@contextmanager
def collecting() -> Iterator[list[Note]]:
    """Collect the notes passes make inside."""
    notes: list[Note] = []
    token = _collector.set(notes)
    try:
        yield notes
    finally:
        _collector.reset(token)


def note(made_by: str, equation: str, reason: str, node: Node) -> None:
    """Tell what was done to a node; nobody may be listening."""
    notes = _collector.get()
    if notes is not None:
        notes.append(Note(made_by, equation, reason, node.provenance.span, node.name))
