"""Graph -> `.gir` text.

    graph mlp(N: 1..64) {
      input %x: f32[N,64]
      param %w: f32[10,64]
      const %m: f32[10]
      %linear: f32[N,10] = linear %x, %w
      return %linear as "logits"
    }

A graph that is the attribute of a node stands behind it: `%y: f32[N] = scan %x {...} body step { ... }`.
Text is exact: `parse_graph(print_graph(g, provenance=True))` is `g` again, arrays aside.
"""

from __future__ import annotations

import json
import math
from typing import Any

from graphc.ir.graph import NOWHERE, Graph, Node, Provenance
from graphc.ir.types import DType

_LEAF = {"input": "input", "parameter": "param", "constant": "const"}


def print_graph(graph: Graph, *, provenance: bool = False) -> str:
    """The graph as `.gir` text; with `provenance` every node also says where it comes from."""
    ranges = ", ".join(
        f"{name}: {low}..{'' if high is None else high}" for name, (low, high) in sorted(graph.dims.items())
    )
    lines = [f"graph {graph.name}" + (f"({ranges})" if ranges else "") + " {"]
    lines += [f"  {_LEAF[v.leaf or 'input']} %{v.name}: {v.type.gir}" for v in graph.leaves]
    for node in graph.nodes:
        lines += ["  " + line for line in print_node(node, provenance=provenance).splitlines()]
    results = (
        f"%{v.name} as {json.dumps(n)}" for v, n in zip(graph.outputs, graph.output_names, strict=True)
    )
    lines += ["  return " + ", ".join(results), "}"]
    return "\n".join(lines)


def print_node(node: Node, *, provenance: bool = False) -> str:
    """One node as `%y: f32[N] = tanh %x`."""
    outputs = ", ".join(f"%{v.name}: {v.type.gir}" for v in node.outputs)
    inputs = ", ".join(f"%{v.name}" for v in node.inputs)
    text = f"{outputs} = {node.op.name}" + (f" {inputs}" if inputs else "")
    plain = {k: v for k, v in sorted(node.attributes.items()) if not isinstance(v, Graph)}
    if plain:
        text += " {" + ", ".join(f"{k}={print_attribute(v)}" for k, v in plain.items()) + "}"
    if provenance and node.provenance != NOWHERE:
        text += f" @({print_provenance(node.provenance)})"
    for key, value in node.attributes.items():
        if isinstance(value, Graph):
            text += f" {key} " + print_graph(value, provenance=provenance).removeprefix("graph ")
    return text


def print_attribute(value: Any) -> str:
    match value:
        case DType():
            return value.short
        case str():
            return json.dumps(value)
        case float() if math.isnan(value) or math.isinf(value):
            return str(value)
        case Graph():
            return print_graph(value)
        case tuple():
            inner = ", ".join(print_attribute(item) for item in value)
            return f"({inner},)" if len(value) == 1 else f"({inner})"
    return str(value)


def print_provenance(provenance: Provenance) -> str:
    parts = []
    if provenance.span is not None:
        s = provenance.span
        parts.append(f"at=({json.dumps(s.file)}, {s.line}, {s.column}, {s.end_line}, {s.end_column})")
    for key in ("module", "role", "forward", "variable", "made_by"):
        value = getattr(provenance, key)
        if value != getattr(NOWHERE, key):
            parts.append(f"{key}={json.dumps(value)}")
    return ", ".join(parts)
