"""What a traced function returns becomes the outputs of the graph, each with a name.

A dictionary and a named tuple bring names; other results are called as the program calls them (`return logits`), or
`output`, `output_0`, `output_1` ...
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.errors import TraceError
from graphc.ir.graph import Value
from graphc.source import Span
from graphc.tensor import Recording, Tensor
from graphc.tensor.recording import foreign


def named_outputs(result: Any, trace: Recording, where: Span | None) -> dict[str, Value]:
    """Values by name.  Raises TraceError when something else than tensors is returned, or a name stands twice."""
    parts = list(_flatten(result, ""))
    if not parts:
        raise TraceError(
            "the function returns nothing"
            if result is None
            else f"the function returns an empty {type(result).__name__}",
            span=where,
            fix="return the tensor(s) that are the result",
        )
    inputs = {value.name for value in trace.builder.leaves["input"]}
    values = [_value(part, name, trace, where) for name, part in parts]
    outputs: dict[str, Value] = {}
    own = [name or _variable(value, inputs) for (name, _), value in zip(parts, values)]
    for number, ((name, _), value) in enumerate(zip(parts, values)):
        chosen = own[number]
        if not name and (not chosen or own.count(chosen) > 1):
            chosen = "output" if len(parts) == 1 else f"output_{number}"
        if chosen in outputs:
            raise TraceError(
                f"two outputs are called {chosen!r}", span=where, fix="give each result a name of its own"
            )
        outputs[chosen] = value
    return outputs


def _flatten(result: Any, path: str) -> Any:
    if result is None and not path:
        return
    if isinstance(result, Mapping):
        items: Any = ((str(key), value) for key, value in result.items())
    elif hasattr(result, "_fields"):
        items = zip(result._fields, result)
    elif isinstance(result, (tuple, list)) and not path:
        for item in result:
            if isinstance(item, (tuple, list, Mapping)):
                yield from _flatten(item, "")
            else:
                yield "", item
        return
    elif isinstance(result, (tuple, list)):
        items = ((str(i), item) for i, item in enumerate(result))
    else:
        yield path, result
        return
    for key, value in items:
        yield from _flatten(value, f"{path}.{key}" if path else key)


def _value(part: Any, name: str, trace: Recording, where: Span | None) -> Value:
    traced = getattr(part, "traced", None)
    if traced is not None:
        part = traced
    if isinstance(part, Tensor):
        if part.recording not in (trace, None):
            raise foreign(part)
        return trace.value_of(part)
    if isinstance(part, np.ndarray):
        kind, fix = (
            "a plain array that does not depend on the inputs",
            "return a tensor computed from the inputs",
        )
    else:
        kind, fix = f"a {type(part).__name__}" if part is not None else "None", "return tensors"
    raise TraceError(f"the function returns {kind}" + (f" as {name!r}" if name else ""), span=where, fix=fix)


def _variable(value: Value, inputs: set[str]) -> str:
    variable = value.node.provenance.variable if value.node is not None else value.name
    return "" if variable in inputs else variable
