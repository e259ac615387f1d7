"""Which nodes make which box: the forward pass cut into units, each with the backward nodes that mirror it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from graphc.ir.graph import Graph, Value
from graphc.ir.graph import Node as Operation
from graphc.ir.op import Kind as OpKind
from graphc.view.hidden import behind, is_hidden
from graphc.view.modules import Run, repeats, runs_of
from graphc.view.render_ir import Cluster, Ids, safe_id


@dataclass(eq=False)
class Unit:
    """One box of the forward column: an op, a folded module, or several equal modules."""

    id: str
    runs: tuple[Run, ...] = ()  # the modules folded into it; none for a single op
    repeats: bool = False  # whether they only repeat the module before
    nodes: list[Operation] = field(default_factory=list)
    name: str = ""
    cluster: str = ""
    backward: list[Operation] = field(default_factory=list)
    has_gradient: bool = False

    @property
    def mirror(self) -> str:
        """The id of its gradient's box."""
        return f"g-{self.id}"

    @property
    def label(self) -> str:
        if not self.runs:
            return self.nodes[0].op.name
        first, last = self.runs[0].label, self.runs[-1].label
        return first if len(self.runs) == 1 else f"{first} … {last.rpartition('.')[2]}"

    @property
    def operands(self) -> list[Value]:
        """What its nodes read, each once, looking through broadcasts."""
        return list(dict.fromkeys(behind(v) for node in self.nodes for v in node.inputs))

    @property
    def results(self) -> list[Value]:
        return [value for node in self.nodes for value in node.outputs]


class Units:
    """The forward pass of a graph in units.

    depth   module levels that are opened, None for all
    once    of equal neighbouring modules in so many outer levels, only the first is opened
    groups  paths of modules that repeat the one before them: a cluster around each group
    expand  paths of modules that are opened whatever else is folded
    """

    def __init__(
        self,
        graph: Graph,
        *,
        gradients: bool,
        depth: int | None = None,
        once: int = 0,
        groups: Sequence[tuple[str, ...]] = (),
        expand: Collection[str] = (),
    ):
        self.expand = expand
        self.groups = {path: paths for paths in groups for path in paths}
        self.graph = graph
        self.gradient = gradients_of(graph) if gradients else {}
        self.given = frozenset(graph.outputs)
        self.ids = Ids()
        self.clusters: dict[str, Cluster] = {}
        self.all: list[Unit] = []
        self.of: dict[Operation, Unit] = {}
        forward = [node for node in graph.nodes if node.provenance.role == "forward"]
        visible = [node for node in forward if not is_hidden(node)]
        self.readers: dict[Value, list[Operation]] = {}
        for node in visible:
            for operand in node.inputs:
                self.readers.setdefault(behind(operand), []).append(node)
        self.sums = {d for d in self.gradient.values() if d.node and d.node.op.name == "add_n"}
        around = runs_of(visible)
        self._cut(around, depth, repeats(around, once))
        held: dict[Run, int] = {}
        for unit in self.all:
            unit.cluster = self._cluster_of(unit, around[unit.nodes[0]], held)
        for node in reversed(forward):  # what is hidden belongs to who reads it
            if node not in self.of:
                users = [self.of[user] for user in graph.users[node.outputs[0]] if user in self.of]
                if users:
                    self.of[node] = users[0]
        if self.gradient:
            self._assign_backward()

    def _cut(
        self,
        around: dict[Operation, tuple[Run, ...]],
        depth: int | None,
        alike: dict[Run, tuple[Run, ...]],
    ) -> None:
        folded: dict[tuple[Run, ...], Unit] = {}
        for node, runs in around.items():
            key = next((alike[run] for run in runs if run in alike and not self._opens(*alike[run])), ())
            again = bool(key)
            if not key and depth is not None:
                level = depth - 1
                while level < len(runs) and self._opens(runs[level]):
                    level += 1
                if level < len(runs) and len(runs[level].nodes) > 1:
                    key = (runs[level],)
            if not key:
                path = f"{node.provenance.module}.{node.op.name}".lstrip(".")
                unit = Unit(self.ids.new("o", path), name=_name_of(node, runs))
                self.all.append(unit)
            elif key in folded:
                unit = folded[key]
            else:
                unit = folded[key] = Unit(self.ids.new("m", key[0].path), key, again)
                self.all.append(unit)
            unit.nodes.append(node)
            self.of[node] = unit

    def _opens(self, *runs: Run) -> bool:
        """Whether one of these, or a module in one of them, is to be opened."""
        return any(
            path == run.path or path.startswith(f"{run.path}.") for path in self.expand for run in runs
        )

    def boxes_of(self, name: str) -> list[Unit]:
        """The units that compute a value, or that first read a stored array or input, or that a module consists of."""
        value = self.graph.by_name.get(name)
        if value is not None:
            unit = self.producer(value) or self.first_reader(behind(value))
            return [unit] if unit is not None else []
        paths = ((unit, unit.nodes[0].provenance.module) for unit in self.all)
        return [u for u, path in paths if path == name or path.startswith(f"{name}.") or u.id == name]

    def _cluster_of(self, unit: Unit, runs: Sequence[Run], held: dict[Run, int]) -> str:
        """The cluster of the innermost module around a unit that holds several, but not all, units.

        `held` is filled with the number of units in each module.
        """
        parent = ""
        for run in runs:
            if run not in held:
                held[run] = len({self.of[node] for node in run.nodes})
            if run in unit.runs or held[run] < 2 or held[run] == len(self.all):
                continue
            group = self.groups.get(run.path)
            if group and len(group) > 1:
                around = cluster_id(group[0], together=True)
                label = f"{run.label} … {group[-1].rpartition('.')[2]}: +{len(group)} more like the one above"
                self.clusters.setdefault(around, Cluster(around, label, parent))
                parent = around
            identifier = cluster_id(run.path, run.call)
            if identifier not in self.clusters:
                alike = ": +1 more like the one above" if group and len(group) == 1 else ""
                self.clusters[identifier] = Cluster(identifier, run.label + alike, parent)
            parent = identifier
        return parent

    def close(self, folded: Sequence[tuple[str, ...]]) -> None:
        """Mark the clusters that a picture of fewer boxes folds, each given by the paths it stands for."""
        for paths in folded:
            identifier = cluster_id(paths[0], together=len(paths) > 1)
            if identifier in self.clusters:
                self.clusters[identifier] = replace(self.clusters[identifier], closed=True)

    def _assign_backward(self) -> None:
        by_name = {node.name: node for node in self.graph.nodes}
        for node in self.graph.nodes:
            origin: Operation | None = node
            while origin is not None and origin.provenance.role == "backward":
                origin = by_name.get(origin.provenance.forward)
            if (
                node.provenance.role != "backward"
                or node.op.name == "constant"
                or node.outputs[0] in self.sums
            ):
                continue
            if origin in self.of:
                self.of[origin].backward.append(node)
        for unit in self.all:
            arrives = any(value in self.gradient for value in unit.results)
            leaves = any(value in self.gradient for value in unit.operands)
            unit.has_gradient = (arrives and leaves) or bool(unit.backward)

    def first_reader(self, value: Value) -> Unit | None:
        readers = self.readers.get(value)
        return self.of[readers[0]] if readers else None

    def producer(self, value: Value) -> Unit | None:
        """The unit whose box a value comes out of."""
        node = behind(value).node
        return self.of.get(node) if node is not None else None

    def leaving(self, unit: Unit) -> list[Value]:
        """The results of a unit that are read outside of it in the forward pass; at least one."""
        read = (v for v in unit.results if any(self.of[n] is not unit for n in self.readers.get(v, ())))
        found = list(dict.fromkeys([*read, *(v for v in unit.results if v in self.given)]))
        return found or list(unit.nodes[-1].outputs[:1])

    def gradient_sources(self, value: Value) -> list[Unit]:
        """The units whose gradients flow into the gradient of a value."""
        flowing = [
            n for n in self.readers.get(value, ()) if n.op.vjp or n.op.body or n.op.kind is OpKind.CONTROL
        ]
        return list(dict.fromkeys(self.of[n] for n in flowing if any(v in self.gradient for v in n.outputs)))

    def needed(self, unit: Unit) -> list[Value]:
        """Forward values that the gradient of a unit reads."""
        seeds = set(self.gradient.values())
        read = dict.fromkeys(behind(v) for node in unit.backward for v in node.inputs)
        return [v for v in read if (_is_drawn_forward(v.node) if v.node is not None else v not in seeds)]


def cluster_id(path: str, call: int = 1, together: bool = False) -> str:
    """The cluster of one call of a module, or of a group of equal modules that begins with it."""
    if together:
        return safe_id("k", path) + "--on"
    return safe_id("k", path) + (f"--{call}" if call > 1 else "")


def gradients_of(graph: Graph) -> dict[Value, Value]:
    """The gradient of each forward value that has one in the graph."""
    by_name = graph.by_name
    pairs = list(graph.gradients.items())
    for value, name in zip(graph.outputs, graph.output_names, strict=True):
        if name.startswith("grad."):
            pairs.append((name.removeprefix("grad."), value.name))
    return {by_name[v]: by_name[d] for v, d in pairs if v in by_name and d in by_name}


def _is_drawn_forward(node: Operation) -> bool:
    return node.provenance.role == "forward" and not is_hidden(node)


def _name_of(node: Operation, runs: Sequence[Run]) -> str:
    """What the user calls an op: the module it is alone in, or the variable it is assigned to."""
    if runs and len(runs[-1].nodes) == 1:
        return "" if runs[-1].label == node.op.name else runs[-1].label
    variable = node.provenance.variable
    return variable if variable == node.name else ""  # not x_3, the third x
