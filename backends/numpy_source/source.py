"""Graph -> the text of a Python file that computes it with NumPy alone.

One statement per op, under the names of the user's source, with its file and line as a comment.
Broadcasting that NumPy does by itself is left out, and constants are written as numbers.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from copy import copy
from functools import reduce

from graphc.backends.numpy_source import expressions
from graphc.backends.numpy_source.names import Names, dimension_names
from graphc.ir.builder import broadcast_shapes
from graphc.ir.composite import body_graph
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind, Op, TypeRuleError
from graphc.ir.rewriter import rewrite
from graphc.ops.control import split
from graphc.passes.loops import in_bodies

_READER = '''def load_weights(path=None):
    """Arrays by name from a safetensors file (https://github.com/huggingface/safetensors)."""
    path = Path(path or Path(__file__).with_name("weights.safetensors"))
    blob = path.read_bytes()
    length = int.from_bytes(blob[:8], "little")
    dtypes = {"F32": np.float32, "F64": np.float64, "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
              "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64, "BOOL": np.bool_}
    header = json.loads(blob[8:8 + length])
    arrays = {}
    for name, entry in header.items():
        if name in ("__metadata__", "graphc.native"):  # the second is what native code reads
            continue
        start, stop = (8 + length + offset for offset in entry["data_offsets"])
        arrays[name] = np.frombuffer(blob[start:stop], dtypes[entry["dtype"]]).reshape(entry["shape"])
    return arrays
'''  # fmt: skip


LONGEST_SUM = 8  # terms written as a + b + ...; Python's parser nests each


def numpy_source(graph: Graph, function: str = "forward") -> str:
    """A Python file with the function `forward(x, ..., weights=None)`.

    It returns the output, or a tuple of outputs in the order of `OUTPUTS`.  Parameters and constants come
    from `weights`, a dict of arrays by name; by default `weights.safetensors` beside the file.
    """
    return _Writer(_without_bodies(graph), function).text()


def statements(graph: Graph) -> dict[str, str]:
    """The statement of `numpy_source` that computes each value, by its name; what is written in place has none."""
    writer = _Writer(_without_bodies(graph), "forward")
    return {
        value.name: line
        for node in writer.graph.nodes
        if not writer._hidden(node)
        for line in writer._statement(node)
        for value in node.outputs
    }


def _without_bodies(graph: Graph) -> Graph:
    """Composites without a reference of their own are opened; those with one stay whole."""
    graph, _ = in_bodies(graph, lambda body: (_without_bodies(body), {}))
    while any(node.op.reference is None and node.op.body is not None for node in graph.nodes):

        def open_body(node: Node, operands: tuple[Value, ...]):  # type: ignore[no-untyped-def]
            if node.op.reference is not None or node.op.body is None:
                return None
            from graphc.ir.composite import inline

            return inline(body_graph(node.op, [v.type for v in operands], node.attributes), operands)[0]

        graph, _ = rewrite(graph, open_body, "open")
    return graph


class _Writer:
    def __init__(self, graph: Graph, function: str):
        self.graph, self.function = graph, function
        self.helpers: dict[str, str] = {}
        self.constants: dict[str, str] = {}
        self.modules: set[str] = set()
        ops = {node.op.name: node.op for node in _all_nodes(graph)}
        for op in ops.values():
            if op.reference is not None:
                needs = expressions.needs(op.reference)
                self.helpers |= needs.functions
                self.constants |= needs.constants
                self.modules |= needs.modules
        symbols = {name for name, _, _ in dimension_names(graph)}
        called = {name for name, op in ops.items() if not expressions.written_in_place(op.reference)}
        reserved = {
            "np",
            "json",
            "Path",
            "weights",
            "load_weights",
            function,
            *symbols,
            *self.helpers,
            *called,
        }
        self.names = Names(graph, reserved)
        self.inline = self._inlined()

    def within(self, body: Graph) -> _Writer:
        """A writer for the body of a loop of this graph."""
        inner = copy(self)
        inner.graph = body
        inner.inline = inner._inlined()
        return inner

    def text(self) -> str:
        graph = self.graph
        arguments = [self.names[v] for v in graph.inputs]
        stored = graph.parameters + graph.constants
        body: list[str] = []
        if stored:
            arguments.append("weights=None")
            body += ["weights = load_weights() if weights is None else weights"]
            body += [f'{self.names[v]} = weights["{v.name}"]' for v in stored]
        body += [f"{symbol} = {self.names[v]}.shape[{axis}]" for symbol, v, axis in dimension_names(graph)]
        body += self._statements()
        results = [ast.unparse(self._operand(v)) for v in graph.outputs]
        body.append("return " + (results[0] if len(results) == 1 else f"({', '.join(results)})"))
        signature = [f"{self.names[v]}: {v.type}" for v in graph.inputs]
        doc = [f'"""{", ".join(signature) or "no inputs"} -> {", ".join(_results(graph))}"""']
        lines = [f'"""{graph.name}: NumPy source generated by graphc."""', ""]
        modules = self.modules | ({"json"} if stored else set())
        imports = [f"import {name}" for name in sorted(modules)] + (
            ["from pathlib import Path"] if stored else []
        )
        lines += [*imports, ""] if imports else []
        lines += ["import numpy as np", "", f"OUTPUTS = {tuple(graph.output_names)!r}", ""]
        lines += [f"{name} = {value}" for name, value in sorted(self.constants.items())]
        for source in ([_READER] if stored else []) + list(self.helpers.values()):
            lines += ["", source.rstrip("\n"), ""]
        lines += ["", '@np.errstate(all="ignore")', f"def {self.function}({', '.join(arguments)}):"]
        lines += ["    " + line for line in doc + body]
        return "\n".join(lines) + "\n"

    def _loop(self, node: Node) -> list[str]:
        """A `for` loop; the carry lives in variables, results are put into arrays."""
        attributes, names = node.attributes, self.names
        body, carries, length = attributes["body"], attributes["carries"], attributes["length"]
        state, sequences, fixed = split(body.inputs, carries=carries, sequences=attributes["sequences"])
        given = dict(zip(body.inputs, node.inputs, strict=True))
        for value in fixed:
            names.call(value, names[given[value]])
        inner, t = self.within(body), names.fresh("t")
        used = [v in self.graph.outputs or bool(self.graph.users[v]) for v in node.outputs]
        lines = [f"{names[v]} = {names[given[v]]}" for v in state]
        for wanted, value in zip(used[carries:], node.outputs[carries:]):
            shape, dtype = expressions.literal(value.type.shape), expressions.literal(value.dtype)
            if wanted:
                lines.append(f"{names[value]} = np.empty({ast.unparse(shape)}, {ast.unparse(dtype)})")
        steps = f"range({ast.unparse(expressions.literal(length))})"
        steps = f"reversed({steps})" if attributes["reverse"] else steps
        inside = [f"{names[v]} = {names[given[v]]}[{t}]" for v in sequences]
        inside += inner._statements()
        results = [ast.unparse(inner._operand(v)) for v in body.outputs]
        for wanted, value, result in zip(used[carries:], node.outputs[carries:], results[carries:]):
            inside += [f"{names[value]}[{t}] = {result}"] if wanted else []
        if carries:
            inside.append(f"{', '.join(names[v] for v in state)} = {', '.join(results[:carries])}")
        lines.append(f"for {t} in {steps}:" + self._note(node))
        lines += ["    " + line for line in inside or ["pass"]]
        lines += [f"{names[v]} = {names[s]}" for on, v, s in zip(used, node.outputs, state) if on]
        return lines

    def _statements(self) -> list[str]:
        return [line for node in self.graph.nodes if not self._hidden(node) for line in self._statement(node)]

    def _statement(self, node: Node) -> list[str]:
        if node.op.kind is Kind.CONTROL:
            return self._loop(node)
        used = [v for v in node.outputs if self.graph.users[v] or v in self.graph.outputs] or node.outputs[:1]
        value = self._value(node)
        if len(used) == 1 and len(node.outputs) > 1:
            value = ast.Subscript(value, ast.Constant(used[0].index), ast.Load())
        else:
            used = list(node.outputs)
        targets = [self.names[v] for v in used]
        return [f"{', '.join(targets)} = {ast.unparse(value)}" + self._note(node)]

    def _note(self, node: Node) -> str:
        """The user's line, as a comment."""
        span = node.provenance.span
        note = span.name if span is not None else ""
        if node.provenance.role == "backward":
            note = f"gradient of {node.provenance.forward}" + (f", {note}" if note else "")
        elif node.provenance.role == "update":
            note = "update" + (f", {note}" if note else "")
        note = note.encode("unicode_escape").decode("ascii")
        return f"  # {note}" if note else ""

    def _value(self, node: Node) -> ast.expr:
        if node.op.name == "constant":
            return self._number(node)
        operands = [self._operand(v, node) for v in node.inputs]
        assert node.op.reference is not None
        if node.op.name == "matmul":
            return _matmul(node, operands)
        if node.op.name == "add_n" and len(operands) <= LONGEST_SUM:
            return reduce(lambda total, term: ast.BinOp(total, ast.Add(), term), operands)
        value = expressions.expression(node.op.reference, operands, node.attributes)
        if value is None:
            value = self._call(node.op, operands, node.attributes)
        return value

    def _call(self, op: Op, operands: list[ast.expr], attributes: Mapping[str, object]) -> ast.expr:
        assert op.reference is not None
        self.helpers.setdefault(op.name, expressions.helper_definition(op.reference, op.name))
        keywords = [ast.keyword(k, expressions.argument(v)) for k, v in sorted(attributes.items())]
        return ast.Call(ast.Name(op.name, ast.Load()), operands, keywords)

    def _operand(self, value: Value, user: Node | None = None) -> ast.expr:
        node = value.node
        if (
            user is not None
            and node is not None
            and node.op.name == "broadcast_to"
            and (user, value) in self.inline
        ):
            return self._operand(node.inputs[0], user)
        if node is not None and node.op.name == "constant" and (user, value) in self.inline:
            return expressions.literal(node.attributes["value"])
        return ast.Name(self.names[value], ast.Load())

    def _number(self, node: Node) -> ast.expr:
        dtype, value = node.attributes["dtype"], node.attributes["value"]
        return ast.Call(expressions.literal(dtype), [expressions.literal(value)], [])

    def _inlined(self) -> set[tuple[Node | None, Value]]:
        """(user, operand) pairs where NumPy broadcasts by itself or a plain number has the right dtype."""
        found: set[tuple[Node | None, Value]] = set()
        for user in self.graph.nodes:
            if user.op.kind is not Kind.ELEMENTWISE:
                continue
            bare = [_bare(v) for v in user.inputs]
            try:
                implicit = broadcast_shapes([v.type.shape for v in bare]) == user.outputs[0].type.shape
            except TypeRuleError:
                continue
            arrays = [v for v in bare if not _is_constant(v)]
            typed = (
                any(v.type.dtype == user.outputs[0].dtype for v in arrays)
                or user.outputs[0].dtype.kind == "bool"
            )
            for value, plain in zip(user.inputs, bare):
                if implicit:
                    found.update((user, each) for each in _broadcasts(value))
                if implicit and _is_constant(plain) and arrays and typed and user.op.name != "cast":
                    found.add((user, plain))
        return found

    def _hidden(self, node: Node) -> bool:
        """Nodes every use of which is written in place."""
        return node.op.name in ("broadcast_to", "constant") and self._in_place(node.output, node.output)

    def _in_place(self, value: Value, through: Value) -> bool:
        """Whether every use of `through`, the value or a broadcast of it, writes the value itself in place."""
        if through in self.graph.outputs:
            return False
        for user in self.graph.users[through]:
            further = user.op.name == "broadcast_to" and self._in_place(value, user.output)
            if not further and (user, value) not in self.inline:
                return False
        return True


def _all_nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of a graph and of the bodies of its loops."""
    for node in graph.nodes:
        yield node
        if node.op.kind is Kind.CONTROL:
            yield from _all_nodes(node.attributes["body"])


def _broadcasts(value: Value) -> list[Value]:
    """The value and what it is a broadcast of, as far as these are broadcasts themselves."""
    found = []
    while value.node is not None and value.node.op.name == "broadcast_to":
        found.append(value)
        value = value.node.inputs[0]
    return found


def _bare(value: Value) -> Value:
    """What is broadcast."""
    repeated = _broadcasts(value)
    last = repeated[-1].node if repeated else None
    return value if last is None else last.inputs[0]


def _is_constant(value: Value) -> bool:
    return value.node is not None and value.node.op.name == "constant"


def _matmul(node: Node, operands: list[ast.expr]) -> ast.expr:
    """`x @ w.T`, as people write it."""
    sides = []
    for operand, value, flag in zip(operands, node.inputs, ("transpose_x", "transpose_w")):
        if node.attributes[flag]:
            operand = ast.Attribute(operand, "T" if value.type.rank == 2 else "mT", ast.Load())
        sides.append(operand)
    return ast.BinOp(sides[0], ast.MatMult(), sides[1])


def _results(graph: Graph) -> list[str]:
    return [f"{name}: {v.type}" for name, v in zip(graph.output_names, graph.outputs, strict=True)]
