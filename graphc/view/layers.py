"""Tensor graphs as rows: one row per op or folded module, forward on the left, its gradient on the right.

The right column is the adjoint of the left one: where forward data flows from a to b, the gradient flows
from ∇b to ∇a, and where a value has several readers, an ⊕ adds what comes back.  All backward nodes that
come from one forward op form its one ∇ box.  Broadcasts and constants are not drawn; a constant operand
stands in the box of the op that reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from graphc.ir.cost import parameter_count
from graphc.ir.graph import Graph, Value
from graphc.view.bars import Bars
from graphc.view.chain_rule import ChainRule
from graphc.view.facts import Facts, Known, array_facts, gradient_facts, op_facts
from graphc.view.health import Flow
from graphc.view.hidden import behind, is_constant
from graphc.view.notes import Notes, count, norm, statistics
from graphc.view.numbers import amount, number
from graphc.view.render_ir import (
    Cluster,
    Edge,
    Kind,
    Layout,
    Legend,
    Line,
    Node,
    Picture,
    Role,
    Step,
    Text,
    legend_for,
)
from graphc.view.selection import WHOLE, Part, selected
from graphc.view.story import rows_story
from graphc.view.units import Unit, Units

BUDGET = 150  # boxes that a reader can take in; more are folded by module
OVERLAYS = (
    "shapes",
    "params",
    "flops",
    "bytes",
    "norms",
    "health",
    "time",
    "rule",
    "source",
    "check",
    "code",
)

Values = Mapping[Value, np.ndarray]
Kernels = Mapping[str, tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the boxes are to say.

    show     overlays, of `OVERLAYS`
    known    facts by name of a value; with them the picture is of everything and tells its story
    kernels  by name of a value, the kernel that computes it and the seconds it takes
    """

    values: Values | None = None
    show: Collection[str] = ("shapes",)
    known: Known | None = None
    kernels: Kernels = field(default_factory=dict)


def layers(
    graph: Graph,
    title: str,
    *,
    gradients: bool,
    asked: Asked,
    depth: int | None = None,
    part: Part = WHOLE,
) -> Picture:
    """The picture of a graph in rows, folded at `depth` module levels or, by default, to the budget.

    With facts `known` the picture is of everything, for a page that opens and closes modules itself: with story and
    facts, and the clusters that would be folded marked as closed.
    """
    if part.is_cut:
        rows = _Rows(Units(graph, gradients=gradients), asked, None)
        return selected(rows.picture(title), rows.units, part)
    if asked.known is not None:
        return _opened(graph, title, gradients, asked, depth, part.expand)
    return _folded(graph, title, gradients, asked, depth, part.expand)[0]


def _folded(
    graph: Graph,
    title: str,
    gradients: bool,
    asked: Asked,
    depth: int | None,
    expand: Collection[str],
) -> tuple[Picture, Units]:
    if depth is not None:
        units = Units(graph, gradients=gradients, depth=depth, expand=expand)
        return _Rows(units, asked, depth).picture(title), units
    deepest = max((n.provenance.module.count(".") + 1 for n in graph.nodes if n.provenance.module), default=0)
    ways: list[tuple[int | None, int]] = [(None, once) for once in range(deepest + 1)]
    ways += [(level, deepest) for level in range(deepest - 1, 0, -1)]
    for level, once in ways:
        units = Units(graph, gradients=gradients, depth=level, once=once, expand=expand)
        last = (level, once) == ways[-1]
        if not last and sum(1 + unit.has_gradient for unit in units.all) > BUDGET:
            continue  # with what it reads it has even more boxes
        picture = _Rows(units, asked, level).picture(title)
        if len(picture.nodes) <= BUDGET:
            break
    return picture, units


def _opened(
    graph: Graph,
    title: str,
    gradients: bool,
    asked: Asked,
    depth: int | None,
    expand: Collection[str],
) -> Picture:
    """Everything, with the clusters closed that the folded picture would fold."""
    folded = _folded(graph, title, gradients, Asked(show=asked.show), depth, expand)[1]
    closed = {tuple(run.path for run in unit.runs): unit.repeats for unit in folded.all if unit.runs}
    groups = [paths for paths, repeats in closed.items() if repeats]
    units = Units(graph, gradients=gradients, groups=groups)
    units.close(list(closed))
    return _Rows(units, asked, None).picture(title)


class _Rows:
    def __init__(self, units: Units, asked: Asked, depth: int | None):
        self.values, self.show, self.known = asked.values, asked.show, asked.known
        self.units, self.depth = units, depth
        self.graph, self.gradient, self.ids = units.graph, units.gradient, units.ids
        self.nodes: list[Node] = []
        self.edges: dict[tuple[str, str, Kind], Edge] = {}
        self.rows: list[list[str]] = []
        self.leaf_box: dict[Value, str] = {}
        self.junctions: dict[Value, str] = {}
        self.stubs: dict[Value, str] = {}
        self.seed: tuple[str, str] | None = None
        self.rule = ChainRule(units.graph, units.gradient)
        self.notes = Notes(units, self.rule, asked.values, asked.show, asked.kernels)
        self.flow = Flow(asked.values, units.gradient if "health" in asked.show else {}, units.graph)

    def picture(self, title: str) -> Picture:
        first = self.units.all[0] if self.units.all else None
        on_top = [
            v for v in self.graph.inputs if self.units.first_reader(v) is first and v in self.units.readers
        ]
        on_top = [v for v in on_top if v not in self.gradient.values()]
        gradients = set(self.gradient.values())
        outputs: dict[Unit | None, list[tuple[Value, str]]] = {}
        for value, name in zip(self.graph.outputs, self.graph.output_names, strict=True):
            origin = behind(value).node
            is_forward = origin is None or origin.provenance.role == "forward"
            if value not in gradients and is_forward:
                outputs.setdefault(self.units.producer(value), []).append((value, name))
        for value in [
            *on_top,
            *(behind(v) for v, _ in outputs.get(None, ())),
        ]:  # also what is returned as it came
            if value not in self.leaf_box:
                self._input_row(value)
        for unit in self.units.all:
            self._unit_rows(unit, on_top)
            for value, name in outputs.get(unit, ()):
                self._output_row(value, name, unit)
        for value, name in outputs.get(None, ()):
            self._output_row(value, name, None)
        nodes, edges = tuple(self.nodes), tuple(self.edges.values())
        rows = tuple(tuple(row) for row in self.rows)
        legend = legend_for(nodes, edges)
        if "norms" in self.show and self.values is not None:
            legend += (Legend("bar", "norm on a logarithmic scale"),)
        return Picture(
            title, Layout.ROWS, nodes, edges, self._clusters(), rows, legend, self._notices(), self._story()
        )

    def _story(self) -> tuple[Step, ...]:
        if self.known is None:
            return ()

        def scalar(value: Value) -> str:
            found = self.values.get(value) if self.values is not None else None
            return f" = {number(found)}" if found is not None and found.ndim == 0 else ""

        return rows_story(
            self.units,
            self.rule,
            tuple(self.edges.values()),
            seed=self.seed,
            junctions=self.junctions,
            stubs=self.stubs,
            scalar=scalar,
        )

    def _clusters(self) -> tuple[Cluster, ...]:
        made = tuple(self.units.clusters.values())
        used = {node.cluster for node in self.nodes}
        mirrored = tuple(
            Cluster(f"g-{c.id}", f"∇ {c.label}", c.parent and f"g-{c.parent}", True, closed=c.closed)
            for c in made
        )
        by_id = {c.id: c for c in (*made, *mirrored)}
        for identifier in list(used):
            while identifier:
                used.add(identifier)
                identifier = by_id[identifier].parent
        return tuple(c for c in by_id.values() if c.id in used)

    def _notices(self) -> tuple[str, ...]:
        folded = [unit for unit in self.units.all if unit.runs]
        notices = []
        if folded:
            inside = sum(len(unit.nodes) for unit in folded)
            total = sum(len(unit.nodes) for unit in self.units.all)
            at_depth = f" at depth {self.depth}" if self.depth is not None else ""
            boxes = f"{len(folded)} box{'es' * (len(folded) > 1)}"
            notices.append(f"{inside} of {total} forward ops are folded into {boxes}{at_depth}")
        updates = sum(node.provenance.role == "update" for node in self.graph.nodes)
        if updates:
            notices.append(f"{updates} ops of the parameter update are not shown")
        unread = [v.name for v in self.graph.leaves if v not in self.graph.users or not self.graph.users[v]]
        unread = [name for name in unread if self.graph.by_name[name] not in self.graph.outputs]
        notices += [*self.flow.notices(), *self.notes.notices()]
        if unread:
            notices.append(f"not read by anything: {', '.join(unread[:6])}" + " ..." * (len(unread) > 6))
        return tuple(notices)

    # ---- one row after the other -------------------------------------------------------------------

    def _input_row(self, value: Value) -> None:
        row = [self._leaf(value)]
        self.rows.append(row)
        if value in self.gradient:
            row.append(self._leaf_gradient([value], f"g-{row[0]}", None))
            self._gradient_edges([value], row[1], "")

    def _unit_rows(self, unit: Unit, on_top: Sequence[Value]) -> None:
        operands = unit.operands
        stored = [v for v in operands if v.leaf in ("parameter", "constant")]
        given = [v for v in operands if v.leaf == "input" and v not in on_top and v not in self.leaf_box]
        row: list[str] = []
        for value in given:
            if stored or row:
                self._input_row(value)
            else:
                row.append(self._leaf(value))
        learned = [v for v in (*stored, *(given if row else ())) if v in self.gradient]
        learned = [v for v in learned if self.units.first_reader(v) is unit]
        if stored:
            row.append(self._stored(unit, stored))
            self._edge(row[-1], unit.id)
        for operand in operands:
            producer = self.units.producer(operand)
            if producer is not None and producer is not unit:
                self._edge(producer.id, unit.id)
            elif operand in self.leaf_box:
                self._edge(self.leaf_box[operand], unit.id)
        self.nodes.append(self._forward_node(unit))
        row.append(unit.id)
        self.rows.append(row)
        if unit.has_gradient:
            self.nodes.append(self._mirror_node(unit))
            row.append(unit.mirror)
        if learned:
            stub = self._leaf_gradient(learned, f"g-{row[0]}", unit)
            row.append(stub)
            groups: dict[object, list[Value]] = {}  # one ⊕ for all that comes from the same sides
            for value in learned:
                sides = () if unit.runs else tuple(self.units.gradient_sources(value))
                groups.setdefault(sides, []).append(value)
            for values in groups.values():
                self._gradient_edges(values, stub, _mirrored(unit.cluster), row)
        for value in unit.results:
            self._gradient_edges([value], unit.mirror, _mirrored(unit.cluster))

    def _output_row(self, value: Value, name: str, unit: Unit | None) -> None:
        seed = self.gradient.get(value)
        starts = seed is not None and (seed.node is None or seed.node.op.name == "constant")
        identifier = self.ids.new("r", name)
        lines = (*self._type(value), *self._numbers(value))
        is_loss = starts and value.type.shape == ()
        self.nodes.append(Node(identifier, Role.LOSS if is_loss else Role.OUTPUT, name, lines))
        self._edge(unit.id if unit else self.leaf_box[behind(value)], identifier)
        row = [identifier]
        self.rows.append(row)
        if starts and seed is not None and unit is not None and unit.has_gradient:
            note = f"given as {seed.name}" if seed.node is None else "1, where backward starts"
            row.append(f"g-{identifier}")
            self.nodes.append(Node(row[1], Role.SEED, f"∇{name}", (Line(Text.NOTE, note),), "", True))
            self.seed = row[1], name
            self._edge(identifier, row[1], Kind.GRADIENT)
            self._edge(row[1], unit.mirror, Kind.GRADIENT)

    def _gradient_edges(
        self, values: Sequence[Value], target: str, cluster: str, row: list[str] | None = None
    ) -> None:
        """What flows into the gradients of one box, through one ⊕ where it comes from several sides.

        The ⊕ stands below its target, or in `row` to the left of it: one of its terms comes from that row.
        """
        flowing = [value for value in values if value in self.gradient]
        units = dict.fromkeys(unit for value in flowing for unit in self.units.gradient_sources(value))
        sources = [unit.mirror for unit in units if unit.mirror != target]
        if len(sources) > 1 and any(self.gradient[value] in self.units.sums for value in flowing):
            junction = self.ids.new("a", flowing[0].name)
            self.junctions |= dict.fromkeys(flowing, junction)
            self.nodes.append(Node(junction, Role.ACCUMULATE, "+", (), cluster, True))
            if row is None:
                self.rows.append([junction])
            else:
                row.insert(len(row) - 1, junction)
            self._edge(junction, target, Kind.GRADIENT)
            target = junction
        for source in sources:
            self._edge(source, target, Kind.GRADIENT)

    def _edge(self, source: str, target: str, kind: Kind = Kind.DATA) -> None:
        self.edges.setdefault((source, target, kind), Edge(source, target, kind))

    # ---- boxes -------------------------------------------------------------------------------------

    def _type(self, value: Value) -> list[Line]:
        return [Line(Text.TYPE, str(value.type))] if "shapes" in self.show else []

    def _numbers(self, value: Value | None, gradient: bool = False) -> list[Line]:
        if self.values is None or value is None or value not in self.values:
            return []
        kind = Text.GRADIENT if gradient else Text.VALUE
        array = self.values[value]
        warning = self.flow.warning(value) if gradient else ""
        if "norms" in self.show and array.ndim and np.isfinite(array).all() and (not gradient or array.any()):
            size, sign = norm(array), "∇" if gradient else "·"
            return [Line(kind, f"{self._bars[gradient].of(size)} ‖{sign}‖ {number(size)}{warning}".strip())]
        return [Line(kind, statistics(array, gradient) + warning)]

    @cached_property
    def _bars(self) -> tuple[Bars, Bars]:
        """The scales of values and of gradients."""
        values = self.values or {}
        gradients = set(self.gradient.values())
        computed = (*self.graph.leaves, *(v for unit in self.units.all for v in unit.results))
        drawn = [v for v in (*computed, *gradients) if v in values and v.type.shape and v.dtype.is_float]
        sizes = {v: norm(values[v]) for v in drawn}
        return (
            Bars(size for v, size in sizes.items() if v not in gradients),
            Bars(size for v, size in sizes.items() if v in gradients),
        )

    def _leaf(self, value: Value) -> str:
        identifier = self.leaf_box[value] = self.ids.new("v", value.name)
        lines = (*self._type(value), *self._numbers(value))
        facts = self._array_facts([value])
        self.nodes.append(Node(identifier, Role(value.leaf or "constant"), value.name, lines, facts=facts))
        return identifier

    def _array_facts(self, values: Sequence[Value], gradient: bool = False) -> Facts:
        if self.known is None:
            return ()
        arrays = [self.gradient[v] for v in values] if gradient else values
        return tuple(fact for value in arrays for fact in array_facts(value, self.values))

    def _stored(self, unit: Unit, stored: Sequence[Value]) -> str:
        """Parameters and constants of a unit as one box to its left."""
        lines: list[Line] = []
        if unit.runs:
            elsewhere = all(self.units.first_reader(value) is not unit for value in stored)
            lines = [Line(Text.NAME, count(len(stored), "array") + " (shared)" * elsewhere)]
            lines.append(Line(Text.NOTE, f"{amount(parameter_count(stored))} numbers"))
        else:
            for value in stored:
                shared = "" if self.units.first_reader(value) is unit else " (shared)"
                kind = Text.NAME if value.leaf == "parameter" else Text.CONSTANT
                lines += [Line(kind, _short(value, unit) + shared), *self._type(value), *self._numbers(value)]
        identifier = f"p-{unit.id}"
        role = Role.CONSTANT if all(v.leaf == "constant" for v in stored) else Role.PARAMETER
        facts = self._array_facts(stored)
        self.nodes.append(Node(identifier, role, "", tuple(lines), unit.cluster, facts=facts))
        return identifier

    def _leaf_gradient(self, leaves: Sequence[Value], identifier: str, unit: Unit | None) -> str:
        if unit is not None and unit.runs:
            lines = [Line(Text.NAME, f"∇ of {count(len(leaves), 'array')}")]
        else:
            lines = []
            for value in leaves:
                name = _short(value, unit) if unit is not None else value.name
                lines += [Line(Text.NAME, f"∇{name}"), *self._type(value)]
                lines += self._numbers(self.gradient[value], gradient=True)
                if is_constant(behind(self.gradient[value])):
                    lines.append(Line(Text.NOTE, "0: no path from the loss"))
        cluster = _mirrored(unit.cluster) if unit is not None else ""
        self.stubs |= dict.fromkeys(leaves, identifier)
        facts = self._array_facts(leaves, gradient=True)
        self.nodes.append(Node(identifier, Role.GRADIENT, "", tuple(lines), cluster, True, facts=facts))
        return identifier

    def _forward_node(self, unit: Unit) -> Node:
        results = self.units.leaving(unit)[:2]
        lines = [Line(Text.NAME, unit.name)] if unit.name else []
        lines += [line for value in results for line in (*self._type(value), *self._numbers(value))]
        lines += [Line(Text.NOTE, note) for note in self.notes.forward(unit)]
        span = unit.nodes[0].provenance.span
        role = Role.MODULE if unit.runs else Role.OP
        source = span.name if span else ""
        facts: Facts = ()
        if self.known is not None:
            facts = op_facts(unit.nodes[0], self.rule, self.values, self.known)
        return Node(unit.id, role, unit.label, tuple(lines), unit.cluster, source=source, facts=facts)

    def _mirror_node(self, unit: Unit) -> Node:
        lines = [Line(Text.NAME, unit.name)] if unit.name else []
        arriving = [v for v in self.units.leaving(unit) if v in self.gradient][:1]
        lines += [line for v in arriving for line in self._type(v)]
        lines += [line for v in arriving for line in self._numbers(self.gradient[v], gradient=True)]
        needed = self.units.needed(unit)
        if needed and unit.runs:
            lines.append(Line(Text.NOTE, f"uses {count(len(needed), 'forward value')}"))
        elif needed:
            names = sorted(
                dict.fromkeys(_called(v, unit) for v in needed),
                key=lambda n: (0, n) if n.startswith("its ") else (1, ""),
            )
            inputs = [name for name in names if name.endswith(" input")]
            if len(inputs) > 1:
                names = ["its inputs", *(name for name in names if name not in inputs)]
            more = f", +{len(names) - 2} more" if len(names) > 3 else ""
            lines.append(Line(Text.NOTE, f"uses {', '.join(names[: 2 if more else 3])}{more}"))
        elif not unit.backward:
            lines.append(Line(Text.NOTE, "passes the gradient on"))
        lines += [Line(Text.NOTE, note) for note in self.notes.backward(unit)]
        for value in needed:
            producer = self.units.producer(value)
            far = producer is not None and producer is not unit and value not in unit.operands
            self._edge(producer.id if producer is not None and far else unit.id, unit.mirror, Kind.SAVED)
        facts: Facts = ()
        if self.known is not None:
            facts = gradient_facts(unit.nodes[0], unit.backward, self.rule, self.values, self.known)
        cluster = _mirrored(unit.cluster)
        return Node(unit.mirror, Role.GRADIENT, f"∇{unit.label}", tuple(lines), cluster, True, facts=facts)


def _mirrored(cluster: str) -> str:
    return f"g-{cluster}" if cluster else ""


_ORDINALS = {0: "1st", 1: "2nd", 2: "3rd"}


def _short(value: Value, unit: Unit) -> str:
    """A parameter's name inside of its module."""
    module = unit.nodes[0].provenance.module
    return value.name.removeprefix(f"{module}.") if module else value.name


def _called(value: Value, unit: Unit) -> str:
    """What a unit calls a forward value that its gradient reads."""
    if value.leaf in ("parameter", "constant"):
        return _short(value, unit)
    if value in unit.results:
        return "its output"
    data = [v for v in unit.operands if v.leaf in (None, "input") and not is_constant(v)]
    if value in data:
        return "its input" if len(data) == 1 else f"its {_ORDINALS.get(data.index(value), 'last')} input"
    return value.name
