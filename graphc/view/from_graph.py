"""Graph, partition or plan -> `Picture`: chooses which picture a view of it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal, TypedDict, get_args

from graphc.errors import UsageError
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.partition import Partition
from graphc.plan.plan import Plan
from graphc.view import circuit
from graphc.view.facts import Known
from graphc.view.layers import OVERLAYS, Asked, Kernels, Values, layers
from graphc.view.loops import opened
from graphc.view.render_ir import Picture
from graphc.view.selection import Part, keep

View = Literal["auto", "forward", "backward", "joint", "fusion", "memory"]
Style = Literal["auto", "circuit", "layers"]
Drawable = Graph | Partition | Plan


class Choices(TypedDict, total=False):
    """The arguments of `make_picture`, for those who hand them on."""

    view: View
    values: Values | None
    show: Collection[str]
    depth: int | None
    style: Style
    title: str | None
    known: Known | None
    expand: Collection[str]
    focus: str
    hops: int
    grad_path_of: str
    between: tuple[str, str] | None
    times: Mapping[str, float] | None
    kernels: Kernels


def make_picture(
    thing: Drawable,
    view: View = "auto",
    *,
    values: Values | None = None,
    show: Collection[str] = ("shapes",),
    depth: int | None = None,
    style: Style = "auto",
    title: str | None = None,
    known: Known | None = None,
    expand: Collection[str] = (),
    focus: str = "",
    hops: int = 2,
    grad_path_of: str = "",
    between: tuple[str, str] | None = None,
    times: Mapping[str, float] | None = None,
    kernels: Kernels = MappingProxyType({}),
) -> Picture:
    """The picture of a graph.

    view    forward: what the model computes.  joint: with the gradients of `differentiate` beside it.  backward: the
            gradients alone.  fusion: which ops run as one kernel (needs a Partition or Plan).  auto: joint when there
            are gradients.
    values  arrays by value, from `graphc.interpret.evaluate`: numbers in a circuit, statistics of tensors
    show    of shapes, params, flops, bytes, norms, health, time, rule (of each gradient) and source; and check: finite
            differences beside the gradients of a circuit
    depth   module levels that are opened; the default opens as many as stay readable
    style   circuit (scalars only) or layers; auto takes the circuit for small scalar graphs
    expand  paths of modules that are opened although others are folded
    focus   a value, array or module: only what lies within `hops` edges of it
    grad_path_of  a parameter or input: only the way from it to the loss, and the way its gradient comes back
    between  two values, arrays or modules: only the ways from the first to the second, and back for the gradient
    times   seconds by name of a kernel, for the fusion view
    kernels  for the other views, by name of a value: the kernel that computes it, and the seconds that kernel takes
    known   facts by name of a value, may be empty: the picture for a page, of everything, with its story

    Raises UsageError when the view does not fit the graph.
    """
    unknown = sorted(set(show) - set(OVERLAYS))
    if unknown:
        raise UsageError(f"cannot show {unknown[0]!r}", fix=f"choose from {', '.join(OVERLAYS)}")
    if view not in get_args(View):
        raise UsageError(f"there is no view {view!r}", fix=f"choose one of {', '.join(get_args(View))}")
    if depth is not None and depth < 1:
        raise UsageError(
            f"depth {depth} shows nothing", fix="depth=1 shows the outermost modules as one box each"
        )
    graph = graph_of(thing)
    if view == "memory":
        raise UsageError(
            "the memory view is not a graph", fix="write it with render(plan, 'memory.svg', view='memory')"
        )
    if view == "fusion":
        if isinstance(thing, Graph):
            raise UsageError(
                "the fusion view needs a fused graph", fix="give the Partition or the Plan of the graph"
            )
        from graphc.view import fusion

        partition = thing.partition if isinstance(thing, Plan) else thing
        return fusion.kernels(partition, title or f"{graph.name}: kernels", show, times)
    notices: tuple[str, ...] = ()
    if _is_higher_order(graph):
        graph, values = _as_one_program(graph, values)
        notices, view = ("derivatives of derivatives: everything is drawn as one program",), "forward"
    has_gradients = any(node.provenance.role == "backward" for node in graph.nodes)
    if view in ("backward", "joint") and not has_gradients:
        raise UsageError(
            f"{graph.name} has no backward nodes to draw",
            fix="draw graphc.differentiate(graph), or view='forward'",
        )
    gradients = has_gradients and view != "forward"
    if not has_gradients:
        graph, values = opened(graph, values)
    if style == "circuit" and not circuit.suits(graph):
        raise UsageError(
            f"{graph.name} is not a graph of at most {circuit.LIMIT} numbers",
            fix="style='layers' draws tensors",
        )
    name = title if title is not None else graph.name
    part = Part(tuple(expand), focus, hops, grad_path_of, between)
    if style != "layers" and view != "backward" and circuit.suits(graph) and not part.is_cut:
        drawn = circuit.circuit(graph, name, values, gradients, "check" in show, known)
    else:
        drawn = layers(
            graph,
            name,
            gradients=gradients,
            asked=Asked(values, show, known, kernels),
            depth=depth,
            part=part,
        )
        if style == "auto" and circuit.is_scalar(graph) and not circuit.suits(graph):
            notices += (f"more than {circuit.LIMIT} ops: drawn in rows instead of as a circuit",)
    if view == "backward":
        drawn = _backward_half(drawn)
    return replace(drawn, notices=drawn.notices + notices)


def graph_of(thing: Drawable) -> Graph:
    """The graph itself, or the one a partition or plan is of."""
    return thing if isinstance(thing, Graph) else thing.graph


def _is_higher_order(graph: Graph) -> bool:
    """Whether a gradient was differentiated again: then there is no one forward pass to mirror."""
    differentiated = (graph.by_name.get(name) for name in graph.gradients)
    return any(
        v is not None and v.node is not None and v.node.provenance.role == "backward" for v in differentiated
    )


def _as_one_program(graph: Graph, values: Values | None) -> tuple[Graph, Values | None]:
    """The same graph with every node in the forward pass, and the values it had."""
    new: dict[Value, Value] = {leaf: leaf for leaf in graph.leaves}
    nodes = []
    for node in graph.nodes:
        types, names = tuple(v.type for v in node.outputs), tuple(v.name for v in node.outputs)
        provenance = node.provenance.with_(role="forward", forward="")
        inputs = tuple(new[v] for v in node.inputs)
        nodes.append(Node(node.op, inputs, node.attributes, types, names, provenance))
        new.update(zip(node.outputs, nodes[-1].outputs, strict=True))
    outputs = tuple(new[v] for v in graph.outputs)
    flat = graph.with_(nodes=tuple(nodes), outputs=outputs, gradients={})
    return flat, values and {new[v]: array for v, array in values.items() if v in new}


def _backward_half(picture: Picture) -> Picture:
    """The right column alone, in the order it is computed."""
    half = keep(picture, {node.id for node in picture.nodes if node.backward})
    clusters = tuple(c for c in half.clusters if c.backward)
    return replace(half, rows=tuple(reversed(half.rows)), clusters=clusters)
