"""The table of how ops are said in ONNX, by name: functions of the writer, the node and the names of its operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from graphc.ir.graph import Node

if TYPE_CHECKING:
    from graphc.backends.onnx.writer import Writer

Names = Sequence[str]
Handler = Callable[["Writer", Node, Names], Any]

OPERATORS: dict[str, Handler] = {}


def said(*names: str) -> Callable[[Handler], Handler]:
    """Declare how ops are said."""

    def declare(function: Handler) -> Handler:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return declare
