"""Tensor graphs as rows: one row per op or folded module, forward on the left, its gradient on the right.

The right column is the adjoint of the left one: where forward data flows from a to b, the gradient flows
from ∇b to ∇a, and where a value has several readers, an ⊕ adds what comes back.  All backward nodes that
come from one forward op form its one ∇ box.  Broadcasts and constants are not drawn; a constant operand
stands in the box of the op that reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from graphc.ir.dims import Dim
from graphc.ir.graph import Graph, Value
from graphc.ir.graph import Node as Operation
from graphc.view.cost import flops_of, parameter_count
from graphc.view.modules import Run, runs_of
from graphc.view.numbers import amount, number
from graphc.view.render_ir import Cluster, Edge, Ids, Kind, Layout, Line, Node, Picture, Role, Text, legend_for

BUDGET = 150  # boxes that a reader can take in; more are folded by module
OVERLAYS = ("shapes", "params", "flops", "source")
HIDDEN = ("broadcast_to", "constant")

Values = Mapping[Value, np.ndarray]


def layers(
    graph: Graph,
    title: str,
    *,
    gradients: bool,
    values: Values | None = None,
    show: Collection[str] = ("shapes",),
    depth: int | None = None,
) -> Picture:
    """The picture of a graph in rows, folded at `depth` module levels or, by default, to the budget."""
    deepest = max((node.provenance.module.count(".") + 1 for node in graph.nodes if node.provenance.module), default=0)
    levels = [depth] if depth is not None else [None, *range(deepest, 0, -1)]
    picture = _Rows(graph, values, gradients, show, levels[0]).picture(title)
    for level in levels[1:]:
        if len(picture.nodes) <= BUDGET:
            break
        picture = _Rows(graph, values, gradients, show, level).picture(title)
    return picture


@dataclass(eq=False)
class _Unit:
    """One box of the left column and what belongs to it."""

    id: str
    nodes: list[Operation]
    run: Run | None  # the module that is folded into this unit
    name: str = ""
    cluster: str = ""
    backward: list[Operation] = field(default_factory=list)
    gradient: bool = False  # whether it has a box in the right column

    @property
    def mirror(self) -> str:
        return f"g-{self.id}"


class _Rows:
    def __init__(
        self, graph: Graph, values: Values | None, gradients: bool, show: Collection[str], depth: int | None
    ):
        self.graph, self.values, self.show, self.depth = graph, values, show, depth
        self.ids = Ids()
        self.forward = [node for node in graph.nodes if node.provenance.role == "forward"]
        by_name = graph.by_name
        self.gradient: dict[Value, Value] = {}
        if gradients:
            pairs = [(v, d) for v, d in graph.gradients.items()]
            pairs += [(n.removeprefix("grad."), v.name) for v, n in self._named_outputs() if n.startswith("grad.")]
            self.gradient = {by_name[v]: by_name[d] for v, d in pairs if v in by_name and d in by_name}
        self.nodes: list[Node] = []
        self.edges: dict[tuple[str, str, Kind], Edge] = {}
        self.clusters: dict[str, Cluster] = {}
        self.rows: list[list[str]] = []
        self.units: list[_Unit] = []
        self.unit_of: dict[Operation, _Unit] = {}
        self.box: dict[Value, str] = {}  # the box in the left column that a value comes out of
        self.readers = self._readers()
        self._make_units()
        self._assign_backward()

    def _named_outputs(self) -> list[tuple[Value, str]]:
        return list(zip(self.graph.outputs, self.graph.output_names, strict=True))

    # ---- which nodes make which box --------------------------------------------------------------

    def _readers(self) -> dict[Value, list[Operation]]:
        """The forward nodes that read a value, looking through hidden broadcasts."""
        readers: dict[Value, list[Operation]] = {}
        for node in self.forward:
            if node.op.name not in HIDDEN:
                for operand in node.inputs:
                    readers.setdefault(_behind(operand), []).append(node)
        return readers

    def _make_units(self) -> None:
        visible = [node for node in self.forward if node.op.name not in HIDDEN]
        around = runs_of(visible)
        folded: dict[Run, _Unit] = {}
        for node in visible:
            runs = around[node]
            run = runs[self.depth - 1] if self.depth is not None and 0 < self.depth <= len(runs) else None
            if run is not None and len(run.nodes) > 1:
                if run not in folded:
                    folded[run] = _Unit(self.ids.new("m", run.path), [], run)
                    self.units.append(folded[run])
                unit = folded[run]
                unit.nodes.append(node)
            else:
                name = f"{node.provenance.module}.{node.op.name}".lstrip(".")
                unit = _Unit(self.ids.new("o", name), [node], None, self._name_of(node, runs))
                self.units.append(unit)
            self.unit_of[node] = unit
            for value in node.outputs:
                self.box[value] = unit.id
        for unit in self.units:
            unit.cluster = self._cluster_of(unit, around)
        for node in reversed(self.forward):  # hidden nodes belong to who reads them
            if node not in self.unit_of:
                users = [self.unit_of[user] for user in self.graph.users[node.outputs[0]] if user in self.unit_of]
                if users:
                    self.unit_of[node] = users[0]

    def _name_of(self, node: Operation, runs: Sequence[Run]) -> str:
        if runs and len(runs[-1].nodes) == 1:
            return "" if runs[-1].label == node.op.name else runs[-1].label
        return node.name if node.provenance.variable else ""

    def _cluster_of(self, unit: _Unit, around: Mapping[Operation, tuple[Run, ...]]) -> str:
        """The cluster of the innermost module around a unit that holds several units; makes it and its parents."""
        parent = ""
        for run in around[unit.nodes[0]]:
            inside = {self.unit_of[node] for node in run.nodes}
            if run is unit.run or len(inside) < 2 or len(inside) == len(self.units):
                continue
            identifier = f"{_cluster_id(run)}"
            if identifier not in self.clusters:
                self.clusters[identifier] = Cluster(identifier, run.label, parent)
            parent = identifier
        return parent

    def _assign_backward(self) -> None:
        by_name = {node.name: node for node in self.graph.nodes}
        for node in self.graph.nodes:
            origin: Operation | None = node
            while origin is not None and origin.provenance.role == "backward":
                origin = by_name.get(origin.provenance.forward)
            if node.provenance.role == "backward" and origin in self.unit_of and node.op.name != "constant":
                if node.outputs[0] not in self.accumulations:
                    self.unit_of[origin].backward.append(node)
        for unit in self.units:
            results = [v for node in unit.nodes for v in node.outputs]
            operands = [_behind(v) for node in unit.nodes for v in node.inputs]
            flows = any(v in self.gradient for v in results) and any(v in self.gradient for v in operands)
            unit.gradient = bool(self.gradient) and (flows or bool(unit.backward))

    @property
    def accumulations(self) -> set[Value]:
        return {
            d for d in self.gradient.values() if d.node and d.node.op.name == "add_n" and d.node.provenance.role == "backward"
        }

    # ---- boxes -----------------------------------------------------------------------------------

    def picture(self, title: str) -> Picture:
        on_top = [v for v in self.graph.inputs if self._first_unit(v) is self.units[0]] if self.units else []
        for value in on_top:
            self._input_row(value)
        outputs = [(v, n) for v, n in self._named_outputs() if v not in self.gradient.values()]
        for unit in self.units:
            self._unit_rows(unit, on_top)
            for value, name in outputs:
                if self.box.get(_behind(value)) == unit.id:
                    self._output_row(value, name)
        nodes = tuple(self.nodes)
        edges = tuple(self.edges.values())
        used = {n.cluster for n in nodes}
        clusters = [c for c in self.clusters.values()]
        if self.gradient:
            clusters += [Cluster(f"g-{c.id}", f"∇ {c.label}", c.parent and f"g-{c.parent}", True) for c in clusters]
        kept = _with_parents(clusters, used)
        return Picture(
            title,
            Layout.ROWS,
            nodes,
            edges,
            tuple(kept),
            tuple(tuple(row) for row in self.rows),
            legend_for(nodes, edges),
            self._notices(),
        )

    def _notices(self) -> tuple[str, ...]:
        folded = [unit for unit in self.units if unit.run is not None]
        notices = []
        if folded:
            inside = sum(len(unit.nodes) for unit in folded)
            notices.append(f"{inside} of {sum(len(u.nodes) for u in self.units)} forward ops folded into {len(folded)} modules (depth {self.depth})")
        others = sum(node.provenance.role == "update" for node in self.graph.nodes)
        if others:
            notices.append(f"{others} ops of the parameter update are not shown")
        return tuple(notices)

    def _first_unit(self, value: Value) -> _Unit | None:
        readers = self.readers.get(value)
        return self.unit_of[readers[0]] if readers else None

    def _type(self, value: Value) -> list[Line]:
        return [Line(Text.TYPE, str(value.type))] if "shapes" in self.show else []

    def _numbers(self, value: Value | None, gradient: bool = False) -> list[Line]:
        if self.values is None or value is None or value not in self.values:
            return []
        kind = Text.GRADIENT if gradient else Text.VALUE
        return [Line(kind, statistics(self.values[value], gradient))]

    def _input_row(self, value: Value) -> None:
        identifier = self._leaf(value)
        row = [identifier]
        self.rows.append(row)
        if value in self.gradient:
            row.append(self._leaf_gradient([value], f"g-{identifier}", ""))
            self._accumulate(value, f"g-{identifier}", "")

    def _leaf(self, value: Value, cluster: str = "") -> str:
        identifier = self.ids.new("v", value.name)
        role = Role(value.leaf or "input")
        lines = [*self._type(value), *self._numbers(value)]
        self.nodes.append(Node(identifier, role, value.name, tuple(lines), cluster))
        self.box[value] = identifier
        return identifier

    def _unit_rows(self, unit: _Unit, on_top: Sequence[Value]) -> None:
        operands = dict.fromkeys(_behind(v) for node in unit.nodes for v in node.inputs)
        stored = [v for v in operands if v.leaf in ("parameter", "constant")]
        given = [v for v in operands if v.leaf == "input" and v not in on_top and self._first_unit(v) is unit]
        row: list[str] = []
        for number_, value in enumerate(given):
            identifier = self._leaf(value)
            if number_ == 0 and not stored:
                row.append(identifier)
            else:
                self.rows.append([identifier])
            if value in self.gradient:
                self.rows[-1:] = [self.rows[-1]] if self.rows else []
        if stored:
            row.append(self._stored(unit, stored))
            self._edge(row[-1], unit.id)
        for operand in operands:
            if operand in self.box and self.box[operand] != unit.id and operand not in stored:
                self._edge(self.box[operand], unit.id)
        self.nodes.append(self._unit_node(unit))
        row.append(unit.id)
        self.rows.append(row)
        if unit.gradient:
            self.nodes.append(self._mirror_node(unit))
            row.append(unit.mirror)
        learned = [v for v in (*stored, *given) if v in self.gradient and self._first_unit(v) is unit]
        if learned:
            stub = f"g-{row[0]}"
            row.append(self._leaf_gradient(learned, stub, self._mirrored(unit.cluster)))
            for value in learned:
                self._accumulate(value, stub, self._mirrored(unit.cluster))
        for node in unit.nodes:
            for value in node.outputs:
                self._accumulate(value, unit.mirror, self._mirrored(unit.cluster))

    def _mirrored(self, cluster: str) -> str:
        return f"g-{cluster}" if cluster else ""

    def _stored(self, unit: _Unit, stored: Sequence[Value]) -> str:
        """Parameters and constants of a unit as one box to its left."""
        only_constants = all(v.leaf == "constant" for v in stored)
        lines = []
        if unit.run is not None:
            total = parameter_count(stored)
            lines = [Line(Text.NAME, f"{len(stored)} arrays"), Line(Text.NOTE, f"{amount(total)} numbers")]
        else:
            for value in stored:
                shared = " (shared)" if self._first_unit(value) is not unit else ""
                lines += [Line(Text.NAME, _short(value, unit) + shared), *self._type(value), *self._numbers(value)]
        identifier = f"p-{unit.id}"
        role = Role.CONSTANT if only_constants else Role.PARAMETER
        self.nodes.append(Node(identifier, role, "", tuple(lines), unit.cluster))
        return identifier

    def _leaf_gradient(self, leaves: Sequence[Value], identifier: str, cluster: str) -> str:
        lines = []
        unit = self._first_unit(leaves[0])
        if unit is not None and unit.run is not None and leaves[0].leaf == "parameter":
            lines = [Line(Text.NAME, f"∇ of {len(leaves)} arrays")]
        else:
            for value in leaves:
                name = value.name if unit is None or value.leaf == "input" else _short(value, unit)
                lines += [Line(Text.NAME, f"∇{name}"), *self._type(value)]
                lines += self._numbers(self.gradient[value], gradient=True)
        self.nodes.append(Node(identifier, Role.GRADIENT, "", tuple(lines), cluster, True))
        return identifier

    def _unit_node(self, unit: _Unit) -> Node:
        first = unit.nodes[0]
        results = [v for node in unit.nodes for v in node.outputs if self._leaves(v, unit)]
        lines = [Line(Text.NAME, unit.name)] if unit.name else []
        lines += [line for v in results[:2] for line in self._type(v)]
        lines += [line for v in results[:2] for line in self._numbers(v)]
        if unit.run is not None:
            lines.append(Line(Text.NOTE, f"{len(unit.nodes)} ops"))
        elif _constant_operands(first):
            lines.append(Line(Text.NOTE, _constant_operands(first)))
        if "params" in self.show:
            leaves = dict.fromkeys(_behind(v) for node in unit.nodes for v in node.inputs)
            total = parameter_count([v for v in leaves if v.leaf == "parameter"])
            lines += [Line(Text.NOTE, f"{amount(total)} parameters")] if total else []
        if "flops" in self.show:
            work: Dim = 0
            for node in unit.nodes:
                work = work + flops_of(node)
            lines += [Line(Text.NOTE, f"{amount(work)} FLOP")] if work else []
        span = first.provenance.span
        source = span.name if span is not None else ""
        if "source" in self.show and source:
            lines.append(Line(Text.NOTE, source))
        label = unit.run.label if unit.run is not None else first.op.name
        return Node(unit.id, Role.MODULE if unit.run else Role.OP, label, tuple(lines), unit.cluster, source=source)

    def _mirror_node(self, unit: _Unit) -> Node:
        label = unit.run.label if unit.run is not None else unit.nodes[0].op.name
        lines = [Line(Text.NAME, unit.name)] if unit.name else []
        operands = [v for v in dict.fromkeys(_behind(v) for n in unit.nodes for v in n.inputs) if v.leaf is None]
        towards = [v for v in operands if v in self.gradient and self.box.get(v) != unit.id]
        lines += [line for v in towards[:1] for line in self._type(v)]
        results = [v for node in unit.nodes for v in node.outputs if self._leaves(v, unit)]
        lines += [line for v in results[:1] for line in self._numbers(self.gradient.get(v), gradient=True)]
        needed = self._needed(unit)
        if needed and unit.run is not None:
            lines.append(Line(Text.NOTE, f"uses {len(needed)} forward values"))
        elif needed:
            lines.append(Line(Text.NOTE, "uses " + ", ".join(dict.fromkeys(_called(v, unit) for v in needed))))
        elif not unit.backward:
            lines.append(Line(Text.NOTE, "passes the gradient on"))
        for value in needed:
            near = value in operands or value.leaf is not None or self.box.get(value) == unit.id
            self._edge(unit.id if near else self.box[value], unit.mirror, Kind.SAVED)
        return Node(unit.mirror, Role.GRADIENT, f"∇{label}", tuple(lines), self._mirrored(unit.cluster), True)

    def _needed(self, unit: _Unit) -> list[Value]:
        """Forward values that the gradient of a unit reads."""
        read = (_behind(v) for node in unit.backward for v in node.inputs)
        return [
            v
            for v in dict.fromkeys(read)
            if (v.node.provenance.role == "forward" and v.node.op.name not in HIDDEN if v.node else v not in self.gradient.values())
        ]

    def _leaves(self, value: Value, unit: _Unit) -> bool:
        """Whether a value is read outside of its unit."""
        outside = any(self.unit_of[node] is not unit for node in self.readers.get(value, ()))
        return outside or value in self.graph.outputs or value not in self.readers

    def _accumulate(self, value: Value, target: str, cluster: str) -> None:
        """Edges of the gradient of one value from its readers' gradients, through an ⊕ where they are several."""
        if value not in self.gradient:
            return
        flowing = [self.unit_of[n] for n in self.readers.get(value, ()) if self._flows(n)]
        sources = [unit.mirror for unit in dict.fromkeys(flowing) if unit.mirror != target]
        if len(sources) > 1 and self.gradient[value] in self.accumulations:
            junction = self.ids.new("a", value.name)
            self.nodes.append(Node(junction, Role.ACCUMULATE, "+", (), cluster, True))
            self.rows.append([junction])
            self._edge(junction, target, Kind.GRADIENT)
            target = junction
        for source in sources:
            self._edge(source, target, Kind.GRADIENT)

    def _flows(self, node: Operation) -> bool:
        return bool(node.op.vjp or node.op.body) and any(v in self.gradient for v in node.outputs)

    def _output_row(self, value: Value, name: str) -> None:
        seed = self.gradient.get(value)
        is_seed = seed is not None and (seed.node is None or seed.node.op.name == "constant")
        identifier = self.ids.new("r", name)
        role = Role.LOSS if is_seed else Role.OUTPUT
        lines = [*self._type(value), *self._numbers(value)]
        self.nodes.append(Node(identifier, role, name, tuple(lines)))
        self._edge(self.box[_behind(value)], identifier)
        row = [identifier]
        if is_seed and seed is not None:
            start = f"g-{identifier}"
            note = "1, where backward starts" if seed.node is not None else f"given as {seed.name}"
            self.nodes.append(Node(start, Role.SEED, f"∇{name}", (Line(Text.NOTE, note),), "", True))
            unit = next(u for u in self.units if u.id == self.box[_behind(value)])
            self._edge(identifier, start, Kind.GRADIENT)
            self._edge(start, unit.mirror, Kind.GRADIENT)
            row.append(start)
        self.rows.append(row)

    def _edge(self, source: str, target: str, kind: Kind = Kind.DATA) -> None:
        self.edges.setdefault((source, target, kind), Edge(source, target, kind))


def statistics(array: np.ndarray, gradient: bool = False) -> str:
    """A tensor in a few numbers, with a warning where they are not healthy.

    >>> statistics(np.array([1.0, -3.0]))
    'mean −1, max |·| 3'
    """
    if array.size == 0:
        return "empty"
    if array.ndim == 0:
        return ("∇ " if gradient else "") + number(array)
    data = array.astype(np.float64)
    if not np.isfinite(data).all():
        return f"⚠ {int(np.isnan(data).sum())} NaN, {int(np.isinf(data).sum())} Inf"
    if not data.any():
        return "∅ all zero"
    if gradient:
        return f"‖∇‖ {number(np.linalg.norm(data))}"
    return f"mean {number(data.mean())}, max |·| {number(np.abs(data).max())}"


def _behind(value: Value) -> Value:
    """The value behind hidden broadcasts."""
    while value.node is not None and value.node.op.name == "broadcast_to":
        (value,) = value.node.inputs
    return value


def _short(value: Value, unit: _Unit) -> str:
    """A parameter's name inside of its module."""
    module = unit.nodes[0].provenance.module
    return value.name.removeprefix(f"{module}.") if module else value.name


def _called(value: Value, unit: _Unit) -> str:
    """What a unit calls a forward value that its gradient reads."""
    if value.leaf in ("parameter", "constant"):
        return _short(value, unit)
    if any(value in node.outputs for node in unit.nodes):
        return "its output"
    operands = dict.fromkeys(_behind(v) for node in unit.nodes for v in node.inputs)
    data = [v for v in operands if v.leaf in (None, "input") and not _is_constant(v)]
    return "its input" if data == [value] else value.name


def _is_constant(value: Value) -> bool:
    return value.node is not None and value.node.op.name == "constant"


def _constant_operands(node: Operation) -> str:
    """`· + 1`, `max(·, 0)`: an op's constant operands, with a dot for each tensor."""
    operands = [_behind(v) for v in node.inputs]
    if not any(map(_is_constant, operands)):
        return ""
    texts = [number(v.node.attributes["value"]) if v.node is not None and _is_constant(v) else "·" for v in operands]
    symbol = node.op.symbol
    if len(texts) == 2 and symbol and not symbol.isalpha():
        return f"{texts[0]} {symbol} {texts[1]}"
    return f"{symbol or node.op.name}({', '.join(texts)})"


def _cluster_id(run: Run) -> str:
    from graphc.view.render_ir import safe_id

    return safe_id("k", run.path) + (f"--{run.call}" if run.call > 1 else "")


def _with_parents(clusters: Sequence[Cluster], used: Collection[str]) -> list[Cluster]:
    by_id = {c.id: c for c in clusters}
    kept: set[str] = set()
    for identifier in used:
        while identifier and identifier not in kept:
            kept.add(identifier)
            identifier = by_id[identifier].parent
    return [c for c in clusters if c.id in kept]
