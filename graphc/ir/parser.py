"""`.gir` text -> Graph.  Every fault is a `GirError` naming the line of the text."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from graphc.errors import GirError
from graphc.ir import dims as _dims
from graphc.ir.builder import Builder, infer_types
from graphc.ir.graph import NOWHERE, Graph, Leaf, Node, Provenance, Value
from graphc.ir.op import REGISTRY, TypeRuleError
from graphc.ir.types import DTYPES, TensorType, parse_type
from graphc.source import Span

_LEAVES: dict[str, Leaf] = {"input": "input", "param": "parameter", "const": "constant"}
_NAME = r"%([A-Za-z0-9_.]+)"
_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|(?:^|\s)//.*$')  # a string stays, a comment goes
_HEADER = re.compile(r"graph\s+([A-Za-z0-9_.]+)\s*(?:\((.*)\))?\s*\{")
_RANGE = re.compile(r"\s*(\w+)\s*:\s*(\d+)\.\.(\d*)\s*")
_LEAF = re.compile(rf"(input|param|const)\s+{_NAME}\s*:\s*(.+)")
_TYPED = re.compile(rf"\s*{_NAME}\s*:\s*(\w+\[[^\]]*\])\s*")
_NODE = re.compile(
    r"(?P<outputs>%[^=]*?)\s*=\s*(?P<op>\w+)(?P<inputs>(?:\s*,?\s*%[A-Za-z0-9_.]+)*)\s*"
    r"(?:\{(?P<attributes>.*?)\})?\s*(?:@\((?P<provenance>.*)\))?\s*"
)
_RESULT = re.compile(rf'\s*{_NAME}(?:\s+as\s+("(?:[^"\\]|\\.)*"))?\s*')
_NESTED = re.compile(
    r"(.*)\s(body) ([A-Za-z0-9_.]+\s*(?:\([^()]*\))?\s*\{)"
)  # the header of a node's own graph
_PROVENANCE = {"module", "role", "forward", "variable", "made_by"}
_DTYPES = {name: d for d in DTYPES for name in (d.short, d.name)}


def parse_graph(text: str) -> Graph:
    """Read one graph.  Types are checked against the ops' rules as they are read."""
    graphs = parse_graphs(text)
    if len(graphs) != 1:
        raise GirError(f"expected one graph, found {len(graphs)}")
    return graphs[0]


def parse_graphs(text: str) -> list[Graph]:
    """Read all graphs of a text; `//` begins a comment."""
    lines = [(i + 1, _COMMENT.sub(r"\1", line).strip()) for i, line in enumerate(text.splitlines())]
    pending = [(number, line) for number, line in lines if line]
    graphs, position = [], 0
    while position < len(pending):
        end = _end(pending, position)
        graphs.append(_graph(pending[position:end]))
        position = end + 1
    return graphs


def _end(lines: list[tuple[int, str]], start: int) -> int:
    """Where the graph that begins at a line is closed; graphs of its nodes are closed before."""
    depth = 1
    for i in range(start + 1, len(lines)):
        depth += lines[i][1].endswith("{")
        depth -= lines[i][1] == "}"
        if depth == 0:
            return i
    raise GirError("the graph is not closed by '}'", lines[start][0])


def _graph(lines: list[tuple[int, str]]) -> Graph:
    number, first = lines[0]
    header = _HEADER.fullmatch(first)
    if not header:
        raise GirError("expected 'graph NAME {'", number)
    dims: dict[str, tuple[int, int | None]] = {}
    for part in (header[2] or "").split(",") if header[2] else []:
        match = _RANGE.fullmatch(part)
        if not match:
            raise GirError(f"{part.strip()!r} is not a range like N: 1..64", number)
        dims[match[1]] = (int(match[2]), int(match[3]) if match[3] else None)
    builder = Builder(header[1])
    values: dict[str, Value] = {}
    position = 1
    while position < len(lines):
        number, line = lines[position]
        position += 1
        own: dict[str, Graph] = {}
        if nested := _NESTED.fullmatch(line):
            end = _end(lines, position - 1)
            line, own = nested[1], {nested[2]: _graph([(number, f"graph {nested[3]}"), *lines[position:end]])}
            position = end + 1
        try:
            if line.startswith("return"):
                return builder.finish(*_results(line, values), dims=dims)
            if leaf := _LEAF.fullmatch(line):
                _define(values, Value(leaf[2], parse_type(leaf[3]), leaf=_LEAVES[leaf[1]]))
                builder.adopt([values[leaf[2]]])
            else:
                builder.append(_node(line, values, own))
        except (ValueError, TypeRuleError) as error:
            raise GirError(str(error), number) from None
    raise GirError("the graph has no 'return'", number)


def _node(line: str, values: dict[str, Value], own: dict[str, Graph]) -> Node:
    match = _NODE.fullmatch(line)
    if not match:
        raise ValueError(f"cannot read {line!r}")
    name = match["op"]
    if name not in REGISTRY:
        raise ValueError(f"there is no op {name!r}")
    op = REGISTRY[name]
    inputs = tuple(_known(values, n) for n in re.findall(_NAME, match["inputs"]))
    attributes = {**op.defaults, **_attributes(match["attributes"] or ""), **own}
    written = [_TYPED.fullmatch(part) for part in _split(match["outputs"])]
    if not all(written):
        raise ValueError(f"cannot read the outputs {match['outputs']!r}")
    names = tuple(w[1] for w in written if w)
    types = tuple(parse_type(w[2]) for w in written if w)
    try:
        derived = infer_types(op, tuple(v.type for v in inputs), attributes)
    except (TypeError, AttributeError, IndexError, OverflowError) as error:
        # A rule met an attribute of another kind than it knows.
        raise ValueError(f"the attributes of {name} do not fit: {error}") from None
    if derived != types:
        raise ValueError(f"{name} gives {_shown(derived)}, but the text says {_shown(types)}")
    node = Node(
        op, inputs, dict(sorted(attributes.items())), types, names, _provenance(match["provenance"] or "")
    )
    for value in node.outputs:
        _define(values, value)
    return node


def _results(line: str, values: dict[str, Value]) -> tuple[list[Value], list[str]]:
    outputs, names = [], []
    for part in _split(line.removeprefix("return")):
        match = _RESULT.fullmatch(part)
        if not match:
            raise ValueError(f"cannot read {part!r}")
        outputs.append(_known(values, match[1]))
        names.append(json.loads(match[2]) if match[2] else match[1])
    return outputs, names


def _attributes(text: str) -> dict[str, Any]:
    call = _expression(f"_({text})")
    assert isinstance(call, ast.Call)
    return {str(keyword.arg): _literal(keyword.value) for keyword in call.keywords}


def _provenance(text: str) -> Provenance:
    if not text:
        return NOWHERE
    fields = _attributes(text)
    at = fields.pop("at", None)
    unknown = sorted(fields.keys() - _PROVENANCE) or ([] if at is None or len(at) == 5 else ["at"])
    if unknown:
        raise ValueError(f"cannot read the provenance {unknown[0]}")
    return Provenance(span=Span(*at) if at else None, **fields)


def _expression(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"cannot read {text!r}") from None


def _literal(tree: ast.expr) -> Any:
    match tree:
        case ast.Constant(value=str(text)):
            # JSON writes a character beyond U+FFFF as two halves, which Python reads as two characters.
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        case ast.Constant(value=bool() | int() | float() | None as value):
            return value
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_literal(item) for item in items)
        case ast.Name(id=name) if name in _DTYPES:
            return _DTYPES[name]
        case ast.Name(id="nan" | "inf" as name):
            return float(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand) if isinstance(_literal(operand), (int, float)):
            return -_literal(operand)
    return _dims._read(tree)


def _split(text: str) -> list[str]:
    """Split at commas outside brackets and quotes."""
    return [part for part in re.findall(r'(?:\[[^\]]*\]|"(?:[^"\\]|\\.)*"|[^,])+', text) if part.strip()]


def _known(values: dict[str, Value], name: str) -> Value:
    if name not in values:
        raise ValueError(f"%{name} is used before it is defined")
    return values[name]


def _define(values: dict[str, Value], value: Value) -> None:
    if value.name in values:
        raise ValueError(f"%{value.name} is defined twice")
    values[value.name] = value


def _shown(types: tuple[TensorType, ...]) -> str:
    return ", ".join(t.gir for t in types)
