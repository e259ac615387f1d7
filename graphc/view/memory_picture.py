"""A memory plan as a `Picture`: a node for each buffer, an edge where a kernel reads one and writes another.

The steps are those of the schedule.  The map itself, time to the right and addresses upward, is drawn by `memory_map`.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.ir.graph import Value
from graphc.ir.partition import Kernel
from graphc.plan.buffers import Buffer
from graphc.plan.plan import Plan, format_bytes
from graphc.view.memory_map import buffer_id, kept_values, turn_of
from graphc.view.render_ir import Cluster, Edge, Layout, Line, Node, Picture, Role, Step, Text, safe_id


def memory_picture(plan: Plan, title: str | None = None) -> Picture:
    """The plan's buffers with their places and lives, and the schedule as a story."""
    clusters, nodes = [], []
    holding: dict[Value | str, Buffer] = {}
    kept = kept_values(plan)
    for region in plan.regions:
        members = [b for b in plan.buffers if b.region == region.name and b.size]
        if not members:
            continue
        grows = "constant size" if region.unit == 1 else f"grows with {region.unit}"
        around = safe_id("region", region.name)
        label = f"{grows}: {format_bytes(region.nbytes)}, lower bound {format_bytes(region.bound)}"
        clusters.append(Cluster(around, label))
        each = "" if region.unit == 1 else f" · {region.unit}"
        nodes += [_node(buffer, around, each, plan, kept) for buffer in members]
        for buffer in members:
            holding |= dict.fromkeys(buffer.values, buffer)
            if buffer.scratch:
                holding[buffer.scratch] = buffer
    read = {kernel: _buffers(kernel.inputs, holding) for kernel in plan.order}
    wrote = {kernel: _buffers((*kernel.outputs, kernel.name), holding) for kernel in plan.order}
    edges = dict.fromkeys((a, b) for k in plan.order for a in read[k] for b in wrote[k] if a != b)
    return Picture(
        title if title is not None else f"{plan.graph.name}: memory plan",
        Layout.MAP,
        tuple(nodes),
        tuple(Edge(a, b) for a, b in edges),
        tuple(clusters),
        notices=(plan.verdict,),
        steps=tuple(_steps(plan, read, wrote)),
    )


def _buffers(values: tuple[Value | str, ...], holding: Mapping[Value | str, Buffer]) -> list[str]:
    return list(dict.fromkeys(buffer_id(holding[value]) for value in values if value in holding))


def _node(buffer: Buffer, region: str, each: str, plan: Plan, kept: set[Value]) -> Node:
    first, last = (min(step, len(plan.order) - 1) for step in (buffer.first, buffer.last))
    place = f"{format_bytes(buffer.size)}{each} at {buffer.offset}{each}"
    life = (
        f"alive from step {first + 1}, {plan.order[first].name}, to step {last + 1}, {plan.order[last].name}"
    )
    lines = [Line(Text.TYPE, place), Line(Text.NOTE, life)]
    if any(value in kept for value in buffer.values):
        lines.append(Line(Text.NOTE, "kept from forward for backward"))
    if buffer.scratch:
        lines.append(Line(Text.NOTE, "working memory of a kernel"))
    facts = tuple(("values", f"{value.name}: {value.type}") for value in buffer.values)
    return Node(buffer_id(buffer), Role.BUFFER, buffer.name, tuple(lines), region, facts=facts)


def _steps(plan: Plan, read: Mapping[Kernel, list[str]], wrote: Mapping[Kernel, list[str]]) -> list[Step]:
    """A step for each kernel that touches the arena; others work in the caller's memory alone."""
    turn = turn_of(plan)
    steps = []
    for number, kernel in enumerate(plan.order):
        touched = [*wrote[kernel], *read[kernel]]
        if not touched:
            continue
        said = f"{kernel.name}: {' '.join(node.op.name for node in kernel.nodes)}"
        for verb, values in (("reads", kernel.inputs), ("writes", kernel.outputs)):
            if values:
                said += f"\n{verb} {', '.join(value.name for value in values)}"
        alive = [
            f"{format_bytes(count)} of {format_bytes(region.nbytes)}"
            + ("" if region.unit == 1 else f" for each of {region.unit}")
            for region in plan.regions
            if (count := _alive(plan, region.name, number))
        ]
        said += f"\nalive: {', '.join(alive) or 'nothing'}"
        steps.append(Step(touched[0], said, tuple(touched[1:]), backward=turn is not None and number >= turn))
    return steps


def _alive(plan: Plan, region: str, step: int) -> int:
    return sum(b.size for b in plan.buffers if b.region == region and b.first <= step <= b.last)
