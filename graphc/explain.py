"""Explain: what the passes did and how nodes were grouped into kernels, as text.

    after canonicalize: 9 nodes, 2 fewer
      - %neg: f32[N] = neg %x
      ~ %y: f32[N] = add %a, %neg  ->  %sub: f32[N] = sub %a, %x       lenet.py:12

`-` a node that went, `+` a node that came, `~` a node another stands for now.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphc.errors import UsageError
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.partition import Kernel, Partition
from graphc.ir.printer import print_node
from graphc.passes.pipeline import PassLog, Step


def explain(log: PassLog, partition: Partition | None = None, *, only: str | None = None) -> str:
    """The whole story, or that of one pass (`only` its name, or "fuse").

    Raises UsageError when no pass has that name.
    """
    names = [step.name for step in log.steps] + (["fuse"] if partition is not None else [])
    if only is not None and only not in names:
        known = ", ".join(dict.fromkeys(names))
        raise UsageError(f"no pass {only!r} ran", fix=f"those that ran: {known}" if known else "")
    parts, before = [], log.before
    for step in log.steps:
        if only in (None, step.name):
            parts.append("\n".join(explain_step(before, step)))
        before = step.graph
    if partition is not None and only in (None, "fuse"):
        parts.append("\n".join(explain_partition(partition)))
    return "\n\n".join(parts)


def explain_step(before: Graph, step: Step) -> Iterator[str]:
    """A pass: how many nodes, its notes, and every node that changed."""
    told = [f"  note {note}" for note in step.notes] + list(changes(before, step))
    change = len(step.graph.nodes) - len(before.nodes)
    size = (
        f"{abs(change)} {'more' if change > 0 else 'fewer'}"
        if change
        else "as many"
        if told
        else "nothing changed"
    )
    yield f"after {step.name}: {len(step.graph.nodes)} nodes, {size}"
    yield from told


def changes(before: Graph, step: Step) -> Iterator[str]:
    """The nodes of two graphs side by side, only those that differ."""
    after = step.graph
    shared = set(before.nodes) & set(after.nodes)
    alive = set(after.values())
    stands_for: dict[Node, Node] = {}
    for node in before.nodes:
        new = step.mapping.get(node.outputs[0])
        if new is not None and new in alive and new.node is not None and new.node not in shared:
            stands_for.setdefault(new.node, node)
    renamed = {node: new for new, node in stands_for.items()}
    for node in before.nodes:
        if node in shared:
            continue
        if node in renamed:
            if print_node(renamed[node]) != print_node(node):  # else only something further up changed
                yield _line("~", node, f"  ->  {print_node(renamed[node])}")
            continue
        new = step.mapping.get(node.outputs[0])
        yield _line("-", node, f"  ->  %{new.name}" if new is not None and new in alive else "")
    for node in after.nodes:
        if node not in shared and node not in stands_for:
            yield _line("+", node)
    for leaf in after.constants:
        if leaf not in before.constants:
            yield f"  + const %{leaf.name}: {leaf.type.gir}"


def explain_partition(partition: Partition) -> Iterator[str]:
    """The kernels, and for every pair of neighbours in two kernels why they are not one."""
    kernels = len(partition.kernels)
    yield f"fuse: {len(partition.graph.nodes)} nodes in {kernels} kernel{'' if kernels == 1 else 's'}"
    yield from ("  " + line for line in print_partition(partition).splitlines())
    home = {node.name: kernel.name for kernel in partition.kernels for node in kernel.nodes}
    grouped: dict[tuple[str, str], list[str]] = {}
    for refusal in partition.refusals:
        grouped.setdefault((refusal.producer, refusal.reason), []).append(refusal.consumer)
    for (producer, reason), consumers in grouped.items():
        into = ", ".join(f"%{name} ({home[name]})" for name in consumers)
        yield f"  %{producer} ({home[producer]}) is not fused into {into}: {reason}"


def why_not(partition: Partition, producer: str, consumer: str) -> str:
    """Why one value is not computed in the kernel of another that reads it.

    Raises UsageError when there are no such values.
    """
    homes: dict[str, list[Kernel]] = {}
    for kernel in partition.kernels:
        for node in kernel.nodes:
            for value in node.outputs:
                homes.setdefault(value.name, []).append(kernel)
    for name in (producer, consumer):
        if name not in homes:
            raise UsageError(f"no kernel computes %{name}")
    common = [kernel.name for kernel in homes[producer] if kernel in homes[consumer]]
    if common:
        return f"%{producer} and %{consumer} are in one kernel, {common[0]}"
    reasons = [r.reason for r in partition.refusals if (r.producer, r.consumer) == (producer, consumer)]
    if reasons:
        return f"%{producer} is not fused into %{consumer}: {reasons[0]}"
    return f"%{consumer} does not read %{producer}"


def print_partition(partition: Partition) -> str:
    """The kernels as text, one line each node.

    k0 contraction (%x, %w, %b) -> (%relu) {
      %matmul: f32[N,10] = matmul %x, %w
      ...
    }
    """
    lines = []
    for kernel in partition.kernels:
        lines.append(
            f"{kernel.name} {kernel.kind} ({_names(kernel.inputs)}) -> ({_names(kernel.outputs)}) {{"
        )
        lines += [f"  {print_node(node)}" for node in kernel.nodes]
        lines.append("}")
    return "\n".join(lines)


def _names(values: tuple[Value, ...]) -> str:
    return ", ".join(f"%{value.name}" for value in values)


def _line(sign: str, node: Node, rest: str = "") -> str:
    span = node.provenance.span
    return f"  {sign} {print_node(node)}{rest}" + (f"    {span}" if span else "")
