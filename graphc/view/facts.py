"""What is known of a box beside what is drawn in it: the details a page shows when the box is chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from graphc.ir.cost import flops_of
from graphc.ir.graph import Node as Operation
from graphc.ir.graph import Value
from graphc.source import Span
from graphc.view.chain_rule import ChainRule, forward_text
from graphc.view.numbers import amount, number

Facts = tuple[tuple[str, str], ...]
Known = Mapping[
    str, Facts
]  # by name of a value: what others know of it, as its NumPy line, its kernel, its place
Values = Mapping[Value, np.ndarray]


def op_facts(node: Operation, rule: ChainRule, values: Values | None, known: Known) -> Facts:
    """Of a forward op."""
    op, span = node.op, node.provenance.span
    found = [
        ("computes", forward_text(node, rule.name)),
        ("op", f"{op.name}: {op.doc.partition(chr(10))[0]}"),
    ]
    if node.attributes and op.name != "constant":
        found.append(
            ("attributes", ", ".join(f"{k} = {_plain(v)}" for k, v in sorted(node.attributes.items())))
        )
    found += [fact for value in node.outputs for fact in array_facts(value, values)]
    if op.kinks:
        found.append(("at a kink", op.kinks))
    if flops_of(node) != 0:
        found.append(("work", f"{amount(flops_of(node))} FLOP"))
    found += _place(node)
    if span is not None:
        found.append(("source", f"{span.name}: {_line(span)}"))
    return (*found, *_known(node.outputs, known))


def gradient_facts(
    node: Operation, backward: Sequence[Operation], rule: ChainRule, values: Values | None, known: Known
) -> Facts:
    """Of what an op sends back."""
    found = []
    for term in rule.terms(node):
        sign = " += " if term.shared else " = "
        found.append(("chain rule", f"∇{rule.name(term.operand)}{sign}{term.text}"))
        found += [("shape", note) for note in term.notes]
        found += [fact for fact in array_facts(term.value, values) if fact[0] != "output"]
    made = [n.op.name for n in backward]
    if made:
        found.append(("backward ops", ", ".join(made)))
    found += _place(node)
    return (*found, *_known([v for n in backward for v in n.outputs], known))


def array_facts(value: Value, values: Values | None) -> Facts:
    """Type, bytes and, where there are numbers, statistics."""
    found = [("output", f"{value.name}: {value.type}, {amount(value.type.nbytes)} bytes")]
    if values is not None and value in values:
        found.append(("values", spread(values[value])))
    return tuple(found)


def spread(array: np.ndarray) -> str:
    """A tensor in numbers.

    >>> spread(np.array([1.0, -3.0, 0.0, 2.0]))
    'min −3, mean 0, max 2, deviation 1.871, norm 3.742, 25 % zero'
    """
    if array.size == 0:
        return "empty"
    if array.ndim == 0:
        return number(array)
    data = array.astype(np.float64)
    finite = data[np.isfinite(data)]
    missing = data.size - finite.size
    if finite.size == 0:
        return f"{missing} of {data.size} not finite"
    parts = [("min", finite.min()), ("mean", finite.mean()), ("max", finite.max())]
    parts += [("deviation", finite.std()), ("norm", np.linalg.norm(finite))]
    text = ", ".join(f"{word} {number(x)}" for word, x in parts)
    zeros = 100 * (finite.size - np.count_nonzero(finite)) / finite.size
    text += f", {number(zeros)} % zero" if zeros else ""
    return text + (f", {missing} not finite" if missing else "")


def _place(node: Operation) -> Iterable[tuple[str, str]]:
    return [("module", node.provenance.module)] if node.provenance.module else []


def _line(span: Span) -> str:
    """The user's line; of Python files only, because a graph may come from a file that names another."""
    readable = span.file.endswith(".py") and "\0" not in span.file
    return span.text.strip() if readable else ""


def _known(values: Iterable[Value], known: Known) -> Facts:
    return tuple(dict.fromkeys(fact for value in values for fact in known.get(value.name, ())))


def _plain(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    return str(value).replace("'", "")
