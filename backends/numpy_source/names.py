"""Identifiers for the generated source: the user's names where Python allows them."""

from __future__ import annotations

import builtins
import keyword
import re

from graphc.ir.graph import Graph, Value


class Names:
    """Gives each value an identifier of its own; `conv1.weight` becomes `conv1_weight`."""

    def __init__(self, graph: Graph, reserved: set[str]):
        self._taken = set(reserved) | set(keyword.kwlist) | set(keyword.softkwlist) | set(dir(builtins))
        self._of: dict[Value, str] = {}
        for value in graph.values():
            if value.node is None or value.node.provenance.role == "forward":
                self._of[value] = self.fresh(value.name)
        for value in reversed(
            list(graph.values())
        ):  # of values that share a gradient, the one nearest the loss
            gradient = graph.value(graph.gradients[value.name]) if value.name in graph.gradients else None
            if gradient is not None and gradient not in self._of:
                self._of[gradient] = self.fresh(f"d_{value.name}")

    def __getitem__(self, value: Value) -> str:
        if value not in self._of:
            self._of[value] = self.fresh(value.name)
        return self._of[value]

    def call(self, value: Value, name: str) -> None:
        """Know a value by the name of another."""
        self._of[value] = name

    def fresh(self, hint: str) -> str:
        base = re.sub(r"\W", "_", hint, flags=re.ASCII)
        if not base or base[0].isdigit() or base.startswith("__"):
            base = f"v{base}"
        name, count = base, 1
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name


def dimension_names(graph: Graph) -> list[tuple[str, Value, int]]:
    """(symbol, input, axis) for each symbol: where the generated function reads its size."""
    found: dict[str, tuple[str, Value, int]] = {}
    for value in graph.inputs:
        for axis, dim in enumerate(value.type.shape):
            if not isinstance(dim, int) and str(dim).isidentifier():
                found.setdefault(str(dim), (str(dim), value, axis))
    return [found[name] for name in sorted(found)]
