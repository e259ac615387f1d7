"""The fusion view: which ops run as one kernel, and what crosses memory between kernels.

A hull per kernel with a badge (`k7 row: 4 ops, 1 read, 1 write`) which stands on each of its ops too, so that
colour is not the only code.  A thick edge goes through memory and says how many bytes; a thin one stays in registers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from graphc.ir.cost import flops_of
from graphc.ir.graph import Node as Operation
from graphc.ir.graph import Value
from graphc.ir.partition import Kernel, Partition
from graphc.view.hidden import is_hidden
from graphc.view.layers import BUDGET
from graphc.view.numbers import amount, duration
from graphc.view.render_ir import (
    Cluster,
    Edge,
    Ids,
    Kind,
    Layout,
    Line,
    Node,
    Picture,
    Role,
    Step,
    Text,
    legend_for,
    safe_id,
)


def kernels(
    partition: Partition,
    title: str,
    show: Collection[str] = ("shapes",),
    times: Mapping[str, float] | None = None,
) -> Picture:
    """The kernels of a partition with their ops, or one box a kernel when there are too many ops.

    `times` has the seconds each kernel takes, by its name.
    """
    drawn = sum(len(_visible(kernel)) for kernel in partition.kernels)
    opened = drawn + len(partition.graph.leaves) <= BUDGET
    return _Kernels(partition, show, opened, times or {}).picture(title)


def _is_backward(node: Operation | None) -> bool:
    return node is not None and node.provenance.role == "backward"


def _visible(kernel: Kernel) -> list[Operation]:
    """The ops of a kernel that are drawn: constants and broadcasts only when the kernel is there to write them."""
    written = set(kernel.outputs)
    return [n for n in kernel.nodes if not is_hidden(n) or written.intersection(n.outputs)]


def badge(kernel: Kernel) -> str:
    """`k7 loop: 4 ops, 1 read, 1 write`"""
    count = len(_visible(kernel))
    reads, writes = len(kernel.inputs), len(kernel.outputs)
    return (
        f"{kernel.name} {kernel.kind}: {count} op{'s' * (count != 1)}, "
        f"{reads} read{'s' * (reads != 1)}, {writes} write{'s' * (writes != 1)}"
    )


class _Kernels:
    def __init__(self, partition: Partition, show: Collection[str], opened: bool, times: Mapping[str, float]):
        self.partition, self.show, self.opened, self.times = partition, show, opened, times
        self.total = sum(times.values())
        self.ids = Ids()
        self.nodes: list[Node] = []
        self.edges: dict[tuple[str, str, Kind], Edge] = {}
        self.box: dict[Value, str] = {}  # the box that wrote a value to memory
        self.clusters: list[Cluster] = []
        self.steps: list[Step] = []
        names = zip(partition.graph.outputs, partition.graph.output_names, strict=True)
        self.noted = {
            value: name for value, name in names if _is_backward(value.node)
        }  # said in the op's box

    def picture(self, title: str) -> Picture:
        graph = self.partition.graph
        read = {value for kernel in self.partition.kernels for value in kernel.inputs}
        for value in graph.leaves:
            if value in graph.outputs or (value in read and value.leaf == "input"):
                self.box[value] = self._leaf(value)
        for number, kernel in enumerate(self.partition.kernels):
            before = len(self.nodes)
            self._opened(kernel, number) if self.opened else self._closed(kernel)
            self._tell(kernel, [node.id for node in self.nodes[before:]])
        for value, name in zip(graph.outputs, graph.output_names, strict=True):
            if value in self.noted:
                continue
            end = self.ids.new("r", name)
            self.nodes.append(Node(end, Role.OUTPUT, name, self._type(value)))
            self._edge(self.box[value], end, Kind.TRAFFIC, value)
        nodes, edges = tuple(self.nodes), tuple(self.edges.values())
        ops = sum(len(_visible(k)) for k in self.partition.kernels)
        notice = f"{ops} ops in {len(self.partition.kernels)} kernels"
        notice += "" if self.opened else ", one box a kernel"
        return Picture(
            title,
            Layout.FLOW,
            nodes,
            edges,
            tuple(self.clusters),
            (),
            legend_for(nodes, edges),
            (notice,),
            tuple(self.steps),
        )

    def _tell(self, kernel: Kernel, boxes: list[str]) -> None:
        """A kernel is a step of the story: what it reads from memory and writes to it."""
        if not boxes:
            return
        reads = ", ".join(v.name for v in kernel.inputs) or "nothing"
        sizes = ", ".join(f"{v.name} ({amount(v.type.nbytes)} bytes)" for v in kernel.outputs)
        sources = {e.source for e in self.edges.values() if e.target in boxes and e.source not in boxes}
        backward = all(map(_is_backward, _visible(kernel)))
        text = f"{badge(kernel)}{self._time(kernel, ', ')}\nreads {reads}\nwrites {sizes}"
        self.steps.append(Step(boxes[0], text, (*boxes[1:], *sorted(sources)), (), backward))

    def _type(self, value: Value) -> tuple[Line, ...]:
        return (Line(Text.TYPE, str(value.type)),) if "shapes" in self.show else ()

    def _leaf(self, value: Value) -> str:
        identifier = self.ids.new("v", value.name)
        self.nodes.append(Node(identifier, Role(value.leaf or "input"), value.name, self._type(value)))
        return identifier

    def _time(self, kernel: Kernel, before: str = "") -> str:
        """`12.3 µs, 40 %`, or nothing when it was not measured."""
        seconds = self.times.get(kernel.name)
        if seconds is None or not self.total:
            return ""
        return f"{before}{duration(seconds)}, {100 * seconds / self.total:.0f} %"

    def _opened(self, kernel: Kernel, number: int) -> None:
        own: dict[Value, str] = {}
        members = _visible(kernel)
        hull = safe_id("k", kernel.name) if len(members) > 1 else ""
        if hull:
            self.clusters.append(Cluster(hull, badge(kernel) + self._time(kernel, ", "), group=number))
        inside = {v for node in kernel.nodes for v in node.outputs}
        for node in members:
            path = f"{kernel.name}.{node.provenance.module}.{node.op.name}".replace("..", ".")
            identifier = self.ids.new("o", path)
            note = kernel.name if hull else f"{kernel.name} {kernel.kind}{self._time(kernel, ': ')}"
            sources = dict.fromkeys(v for operand in node.inputs for v in _sources(operand, own, inside))
            lines = [*self._type(node.outputs[0]), *self._notes(sources, node.outputs), Line(Text.NOTE, note)]
            if "flops" in self.show and flops_of(node) != 0:
                lines.append(Line(Text.NOTE, f"{amount(flops_of(node))} FLOP"))
            backward = _is_backward(node)
            role = Role.GRADIENT if backward else Role.OP
            self.nodes.append(Node(identifier, role, node.op.name, tuple(lines), hull, backward))
            for value in sources:
                if value in own:
                    self._edge(own[value], identifier, Kind.DATA, value)
                elif value in self.box:
                    self._edge(self.box[value], identifier, Kind.TRAFFIC, value)
            own |= dict.fromkeys(node.outputs, identifier)
        self.box |= {value: own[value] for value in kernel.outputs}

    def _notes(self, read: Iterable[Value], written: Iterable[Value]) -> list[Line]:
        """Stored arrays an op reads and gradients it returns: as text, because their edges would cross the page."""
        glyphs = {"parameter": "◆", "constant": "▫"}
        lines = [Line(Text.NOTE, f"{glyphs[v.leaf]} {v.name}") for v in read if v.leaf in glyphs]
        return lines + [Line(Text.NOTE, f"▣ {self.noted[v]}") for v in written if v in self.noted]

    def _closed(self, kernel: Kernel) -> None:
        identifier = safe_id("o", kernel.name)
        members = _visible(kernel)
        names = " ".join(node.op.name for node in members[:6]) + (
            f" +{len(members) - 6} more" if len(members) > 6 else ""
        )
        lines = [Line(Text.NAME, kernel.kind), Line(Text.NOTE, names)]
        if self.times:
            lines.append(Line(Text.NOTE, self._time(kernel)))
        lines += [line for value in kernel.outputs[:2] for line in self._type(value)]
        lines += self._notes(kernel.inputs, kernel.outputs)[:4]
        backward = all(map(_is_backward, members))
        role = Role.GRADIENT if backward else Role.OP
        self.nodes.append(Node(identifier, role, kernel.name, tuple(lines), "", backward))
        for value in kernel.inputs:
            if value in self.box:
                self._edge(self.box[value], identifier, Kind.TRAFFIC, value)
        self.box |= dict.fromkeys(kernel.outputs, identifier)

    def _edge(self, source: str, target: str, kind: Kind, value: Value) -> None:
        label = (
            f"{amount(value.type.nbytes)} bytes" if kind is Kind.TRAFFIC and value.node is not None else ""
        )
        self.edges.setdefault((source, target, kind), Edge(source, target, kind, label))


def _operands(value: Value) -> tuple[Value, ...]:
    return value.node.inputs if value.node is not None else ()


def _sources(operand: Value, own: dict[Value, str], inside: set[Value]) -> list[Value]:
    """What is drawn behind an operand: itself, or what a hidden op of this kernel reads."""
    found: list[Value] = []
    pending = [operand]
    while pending:
        value = pending.pop()
        hidden = value not in own and value in inside and value.node is not None and is_hidden(value.node)
        if hidden:
            pending.extend(_operands(value))
        else:
            found.append(value)
    return found
