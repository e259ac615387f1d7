"""Reverse-mode autodiff, graph to graph.

One sweep from the outputs to the inputs.  Each node's op says, in ops, what its operands'
gradients are; where several paths meet, an `add_n` adds them, and stays visible.  Because rules
are written in ops, the gradient is a graph like any other: it can be differentiated again.

    Griewank and Walther, Evaluating Derivatives, 2nd edition, 2008, chapter 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.errors import InternalError, UsageError
from graphc.ir.builder import Builder
from graphc.ir.composite import body_graph, inline
from graphc.ir.graph import Graph, Node, Provenance, Value
from graphc.ir.op import REGISTRY, Kind, NoGradient
from graphc.ir.rewriter import prune
from graphc.passes.loops import merge_scans, simplify_scans
from graphc.scan_gradient import scan_rule


class NotDifferentiable(UsageError):
    """The gradient that was asked for does not exist.

    Every path from the output to the value passes an op without a derivative: a comparison, a conversion to
    whole numbers, a position.  graphc says so instead of returning 0.  Where 0 is meant, write `stop_gradient`.
    """

    code = "GC0130"


def differentiate(
    graph: Graph, wrt: Sequence[str] | None = None, *, of: str | None = None, keep_outputs: bool = True
) -> Graph:
    """Forward and backward in one graph: the outputs, then the gradient of each value in `wrt`.

    wrt   names of inputs or parameters (any forward value is allowed); the default is all parameters, or all
          floating-point inputs when there are none
    of    name of the output to differentiate; the default is the only one.  A number is differentiated as it is;
          for a tensor output `y` the graph gets one more input `cotangent.y` of its type.

    The gradient of `w` is the output named `grad.w`, of the type of `w`.  Values no path leads to have gradient 0,
    as have those behind a `stop_gradient`.

    Raises UsageError when a name is unknown or cannot have a gradient, and NotDifferentiable when every path from the
    output to a value ends at an op that has none (a comparison, a position).
    """
    target = _target(graph, of)
    if not target.dtype.is_float:
        raise UsageError(
            f"output {of or target.name} is {target.dtype}: only floating-point values have a gradient"
        )
    wanted = _wanted(graph, wrt)
    builder = Builder(graph.name)
    builder.adopt(graph.leaves)
    builder.reserve([value.name for value in graph.values()])
    for node in graph.nodes:
        builder.append(node)
    with builder, builder.at(_backward_of(target)):
        if target.type.shape == ():
            seed = builder.constant(1, target.dtype)
        else:
            seed = builder.leaf("input", f"cotangent.{of or graph.output_names[0]}", target.type)
        found = sweep(graph.nodes, {target: seed}, wanted)
        grads = []
        for value in wanted:
            grad = found.get(value)
            if isinstance(grad, NoGradient):
                raise NotDifferentiable(
                    f"{target.name} has no gradient with respect to {value.name}: {grad.reason}"
                )
            grads.append(grad if grad is not None else builder.constant(0, value.dtype, value.shape))
    outputs = (graph.outputs if keep_outputs else ()) + tuple(grads)
    names = (graph.output_names if keep_outputs else ()) + tuple(f"grad.{value.name}" for value in wanted)
    joint = builder.finish(outputs, names, dims=graph.dims, data=graph.data)
    gradients = {value.name: grad.name for value, grad in found.items() if isinstance(grad, Value)}
    whole = prune(joint.with_(gradients={**graph.gradients, **gradients}))
    return simplify_scans(merge_scans(whole)[0])[0]


def sweep(
    nodes: Sequence[Node], seeds: Mapping[Value, Value], wanted: Sequence[Value]
) -> dict[Value, Value | NoGradient]:
    """The gradients that flow back from `seeds` through `nodes` (in topological order) to `wanted`.

    Emits into the ambient builder.  The result holds every value on the way; one that is missing has gradient 0.
    """
    builder = Builder.current()
    relevant = _reached_from(wanted, nodes)
    paths: dict[Value, list[Value]] = {value: [seed] for value, seed in seeds.items()}
    found: dict[Value, Value | NoGradient] = {}

    def total(value: Value) -> Value | None:
        if value not in found and value in paths:
            terms = paths[value]
            with builder.at(_backward_of(value)):
                found[value] = terms[0] if len(terms) == 1 else REGISTRY["add_n"](*terms)
        result = found.get(value)
        return result if isinstance(result, Value) else None

    for node in reversed(nodes):
        if not any(value in relevant for value in node.outputs):
            continue
        cotangents = [total(value) for value in node.outputs]
        if not any(cotangents):
            _pass_on(node, found, paths)
            continue
        with builder.at(_backward_of(node.outputs[0])):
            gradients = _rule(node, cotangents)
        for operand, gradient in zip(node.inputs, gradients, strict=True):
            if operand not in relevant or gradient is None:
                continue
            if isinstance(gradient, NoGradient):
                # What a gradient rule compares is a kink of the op it belongs to; its slope is 0 beside the kink.
                if operand not in paths and node.provenance.role != "backward":
                    found.setdefault(operand, gradient)
                continue
            if gradient.type != operand.type:
                raise InternalError(f"gradient of {operand!r} through {node!r} has type {gradient.type}")
            if isinstance(found.get(operand), NoGradient):
                del found[operand]
            paths.setdefault(operand, []).append(gradient)
    for value in wanted:
        total(value)
    return found


def _rule(node: Node, cotangents: Sequence[Value | None]) -> Sequence[Value | NoGradient | None]:
    op = node.op
    builder = Builder.current()
    if op.no_gradient:
        return [NoGradient(op.no_gradient)] * len(node.inputs)
    cts = [
        builder.constant(0, v.dtype, v.shape) if ct is None and v.dtype.is_float else ct
        for ct, v in zip(cotangents, node.outputs)
    ]
    if op.kind is Kind.CONTROL:
        return scan_rule(node, cts, sweep)
    if op.vjp is None:
        return _rule_from_body(node, cts)
    result = op.vjp(cts[0] if len(cts) == 1 else tuple(cts), *node.inputs, *node.outputs, **node.attributes)
    return result if isinstance(result, (tuple, list)) else (result,)


def _pass_on(node: Node, found: dict[Value, Value | NoGradient], paths: Mapping[Value, list[Value]]) -> None:
    """What ended behind a node ended for its operands too, unless they have another path."""
    reasons = [gradient for value in node.outputs if isinstance(gradient := found.get(value), NoGradient)]
    if reasons and node.op is not REGISTRY["stop_gradient"]:
        reason = NoGradient(node.op.no_gradient) if node.op.no_gradient else reasons[0]
        for operand in node.inputs:
            if operand not in paths:
                found.setdefault(operand, reason)


def _rule_from_body(node: Node, cotangents: Sequence[Value | None]) -> list[Value | NoGradient | None]:
    if node.op.body is None:
        raise InternalError(f"op {node.op.name} has neither a gradient nor a body")
    body = body_graph(node.op, [v.type for v in node.inputs], node.attributes)
    outputs, nodes = inline(body, node.inputs)
    seeds: dict[Value, Value] = {}
    for value, ct in zip(outputs, cotangents, strict=True):
        if ct is not None:  # the body may return a value twice
            seeds[value] = seeds[value] + ct if value in seeds else ct
    found = sweep(nodes, seeds, node.inputs)
    return [found.get(value) for value in node.inputs]


def _backward_of(value: Value) -> Provenance:
    base = value.node.provenance if value.node is not None else Provenance()
    name = value.node.name if value.node is not None else value.name
    return base.with_(role="backward", forward=name, variable="", made_by="autodiff")


def _reached_from(wanted: Sequence[Value], nodes: Sequence[Node]) -> set[Value]:
    reached = set(wanted)
    for node in nodes:
        if any(value in reached for value in node.inputs):
            reached.update(node.outputs)
    return reached


def _target(graph: Graph, of: str | None) -> Value:
    if of is None:
        if len(graph.outputs) != 1:
            raise UsageError(
                f"{graph.name} has {len(graph.outputs)} outputs; which one is differentiated?",
                fix=f"of={' or of='.join(map(repr, graph.output_names))}",
            )
        return graph.outputs[0]
    if of not in graph.output_names:
        raise UsageError(
            f"{graph.name} has no output {of!r}", fix=f"the outputs are {', '.join(graph.output_names)}"
        )
    return graph.outputs[graph.output_names.index(of)]


def _wanted(graph: Graph, wrt: Sequence[str] | None) -> list[Value]:
    if wrt is None:
        return list(graph.parameters) or [v for v in graph.inputs if v.dtype.is_float]
    wanted = []
    for name in wrt:
        if name not in graph.by_name:
            raise UsageError(f"{graph.name} has no value {name!r} to differentiate by")
        value = graph.by_name[name]
        if not value.dtype.is_float:
            raise UsageError(f"{name} is {value.dtype}: only floating-point values have a gradient")
        wanted.append(value)
    return wanted
