"""What a box says below its type: numbers, work, health, time, the rule of its gradient."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from graphc.ir.cost import parameter_count, total_flops
from graphc.ir.dims import Dim
from graphc.ir.graph import Node as Operation
from graphc.ir.graph import Value
from graphc.ir.op import Kind as OpKind
from graphc.view.chain_rule import ChainRule
from graphc.view.health import RECTIFIERS, dead_units
from graphc.view.hidden import behind, is_constant
from graphc.view.numbers import amount, duration, factor, number
from graphc.view.units import Unit, Units

SHORT = 32  # characters up to which the entries of an array are written out

Values = Mapping[Value, np.ndarray]


class Notes:
    """The lines that `show` asks for.

    kernels  by name of a value, the kernel that computes it and the seconds it takes
    """

    def __init__(
        self,
        units: Units,
        rule: ChainRule,
        values: Values | None,
        show: Collection[str],
        kernels: Mapping[str, tuple[str, float]],
    ):
        self.units, self.rule, self.values, self.show, self.kernels = units, rule, values, show, kernels
        self.told: set[str] = set()  # kernels whose time already stands in a box

    def forward(self, unit: Unit) -> Iterator[str]:
        """Of a forward box."""
        if unit.repeats:
            each = count(len(unit.runs[0].nodes), "op") + " each" * (len(unit.runs) > 1)
            yield f"+{len(unit.runs)} more like the one above, {each}"
        elif unit.runs:
            yield count(len(unit.nodes), "op")
        elif unit.nodes[0].op.kind is OpKind.CONTROL:
            loop = unit.nodes[0].attributes
            yield f"{count(len(loop['body'].nodes), 'op')} × {loop['length']} steps"
        else:
            yield from constant_operands(unit.nodes[0])
        parameters = parameter_count(v for v in unit.operands if v.leaf == "parameter")
        if "params" in self.show and parameters != 0:
            yield f"{amount(parameters)} parameters"
        if "bytes" in self.show:
            yield f"{_sum_of_bytes(self.units.leaving(unit))} bytes"
        yield from self._health(unit)
        work = total_flops(unit.nodes) if "flops" in self.show else 0
        if work != 0:
            yield f"{amount(work)} FLOP"
        yield from self._time(unit.nodes)
        span = unit.nodes[0].provenance.span
        if "source" in self.show and span is not None:
            yield span.name

    def backward(self, unit: Unit) -> Iterator[str]:
        """Of a gradient's box."""
        if "rule" in self.show and not unit.runs:
            for term in self.rule.terms(unit.nodes[0]):
                yield f"∇{self.rule.name(term.operand)} {'+= ' if term.shared else '= '}{term.text}"
        yield from self._time(unit.backward)

    def notices(self) -> Iterator[str]:
        """What is said of all boxes together."""
        shown = {name: seconds for name, seconds in self.kernels.values() if name in self.told}
        if shown:
            yield f"{duration(sum(shown.values()))} in {count(len(shown), 'kernel')}"

    def _health(self, unit: Unit) -> Iterator[str]:
        if self.values is None or "health" not in self.show or unit.nodes[0].op.name not in RECTIFIERS:
            return
        array = self.values.get(unit.nodes[0].outputs[0])
        if array is not None and array.ndim > 1 and array.size:
            units, dead = dead_units(array)
            if dead:
                yield f"∅ {dead} of {units} units dead"

    def _time(self, nodes: Sequence[Operation]) -> Iterator[str]:
        """The kernels of a box: with the time in the first box a kernel computes something of, then by name."""
        found = dict.fromkeys(
            self.kernels[v.name] for n in nodes for v in n.outputs if v.name in self.kernels
        )
        first = [(name, seconds) for name, seconds in found if name not in self.told]
        if first:
            self.told.update(name for name, _ in first)
            names = first[0][0] if len(first) == 1 else count(len(first), "kernel")
            yield f"{duration(sum(seconds for _, seconds in first))} ({names})"
        elif found:
            yield f"in {', '.join(name for name, _ in found)}"


def statistics(array: np.ndarray, gradient: bool = False) -> str:
    """A tensor in a few numbers, with a warning where they are not healthy; a short one entry by entry.

    >>> statistics(np.array([[1.0, -3.0], [0.0, 2.0]])), statistics(np.arange(99.0))
    ('[[1, −3], [0, 2]]', 'mean 49, max |·| 98')
    """
    if array.size == 0:
        return "empty"
    if array.ndim == 0:
        return ("⚠ " if not np.isfinite(array) else "∇ " if gradient else "") + number(array)
    data = array.astype(np.float64)
    if not np.isfinite(data).all():
        counts = ((int(np.isnan(data).sum()), "NaN"), (int(np.isinf(data).sum()), "Inf"))
        return "⚠ " + ", ".join(f"{count} {word}" for count, word in counts if count)
    if not data.any():
        return "∅ all zero"
    entries = _entries(data) if array.size <= SHORT else ""
    if 0 < len(entries) <= SHORT:
        return ("∇ " if gradient else "") + entries
    if gradient:
        return f"‖∇‖ {number(norm(data))}"
    return f"mean {number(data.mean())}, max |·| {number(np.abs(data).max())}"


def norm(array: np.ndarray) -> float:
    """√(Σ x²) in float64."""
    return float(np.linalg.norm(array.astype(np.float64)))


def _entries(array: np.ndarray) -> str:
    inside = (number(x) if array.ndim == 1 else _entries(x) for x in array)
    return f"[{', '.join(inside)}]"


def constant_operands(node: Operation) -> Iterable[str]:
    """`· + 1`, `max(·, 0)`: an op with its constant operands, a dot for each tensor; nothing without constants."""
    operands = [behind(v) for v in node.inputs]
    if not any(map(is_constant, operands)):
        return []
    texts = [
        number(v.node.attributes["value"]) if v.node is not None and is_constant(v) else "·" for v in operands
    ]
    symbol = node.op.symbol or node.op.name
    if len(texts) == 2 and not symbol.isalpha():
        return [f"{texts[0]} {symbol} {factor(texts[1])}"]
    return [f"{symbol}({', '.join(texts)})"]


def count(number: int, what: str) -> str:
    """
    >>> count(1, "op"), count(2, "op")
    ('1 op', '2 ops')
    """
    return f"{number} {what}{'s' * (number != 1)}"


def _sum_of_bytes(values: Iterable[Value]) -> str:
    total: Dim = 0
    for value in values:
        total = total + value.type.nbytes
    return amount(total)
