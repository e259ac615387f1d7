"""Handlers by operator: `@onnx_operator("Relu")` above a function of a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.frontends.onnx.call import Call
from graphc.ir.graph import Value

Handler = Callable[[Call], Any]

HANDLERS: dict[tuple[str, str], Handler] = {}
"""By domain ('' is ONNX's own) and name; a handler gives one value, or one for each output (None where absent)."""


def onnx_operator(*names: str, domain: str = "") -> Callable[[Handler], Handler]:
    """Declare the handler of operators."""

    def declare(function: Handler) -> Handler:
        for name in names:
            if (domain, name) in HANDLERS:
                raise TypeError(f"{name} has two handlers")
            HANDLERS[domain, name] = function
        return function

    return declare


Values = Value | Sequence[Value | None]
