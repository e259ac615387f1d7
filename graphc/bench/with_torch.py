"""A graph run by PyTorch, op by op in eager mode: the same ops with PyTorch's own functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphc.backends.onnx.absorb import conv_biases
from graphc.bench.opened import lazily_spread, opened
from graphc.bench.serve import NotOffered
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind
from graphc.ops.pooling import laid_out

Function = Callable[..., Any]
KNOWN = ("linear", "gelu", "softmax", "log_softmax", "layer_norm", "batch_norm", "elu", "silu")


def functions() -> dict[str, Function]:
    """Op name -> a function of its operands as tensors and its attributes."""
    import torch
    import torch.nn.functional as F

    # fmt: off
    same = ["abs", "add", "sub", "mul", "div", "neg", "exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "erf",
            "sign", "pow", "maximum", "minimum", "relu", "where", "logical_and", "logical_or", "logical_not"]
    # fmt: on
    table: dict[str, Function] = {name: getattr(torch, name) for name in same}
    table |= {
        "equal": torch.eq, "not_equal": torch.ne, "less": torch.lt, "less_equal": torch.le,
        "greater": torch.gt, "greater_equal": torch.ge,
        "stop_gradient": lambda x: x,
        "add_n": lambda *xs: sum(xs[1:], xs[0]),
        "cast": lambda x, *, dtype: x.to(getattr(torch, dtype.name)),
        "reshape": lambda x, *, shape: x.reshape(shape),
        "transpose": lambda x, *, permutation: x.permute(permutation),
        "broadcast_to": lambda x, *, shape: x.expand(shape),
        "slice": lambda x, *, starts, stops, steps: x[tuple(map(slice, starts, stops, steps))],
        "concat": lambda *xs, axis: torch.cat(xs, axis),
        "reverse": lambda x, *, axes: x.flip(axes),
        "sum": lambda x, *, axes: x.sum(axes) if axes else x,
        "max": lambda x, *, axes: x.amax(axes) if axes else x,
        "min": lambda x, *, axes: x.amin(axes) if axes else x,
        "argmax": lambda x, *, axis: x.argmax(axis),
        "argmin": lambda x, *, axis: x.argmin(axis),
        "gather": lambda x, indices, *, axis: _gather(x, indices, axis),
        "gather_elements": lambda x, indices, *, axis: x.gather(axis, indices.long() % x.shape[axis]),
        "linear": F.linear, "silu": F.silu, "gelu": F.gelu, "elu": lambda x, *, alpha: F.elu(x, alpha),
        "softmax": lambda x, *, axis: x.softmax(axis),
        "log_softmax": lambda x, *, axis: x.log_softmax(axis),
        "layer_norm": lambda x, w=None, b=None, *, axis, epsilon: F.layer_norm(x, x.shape[axis:], w, b, epsilon),
        "batch_norm": lambda x, scale, shift, mean, variance, *, epsilon: F.batch_norm(
            x, mean, variance, scale, shift, eps=epsilon
        ),
        "matmul": lambda x, w, *, transpose_x, transpose_w: torch.matmul(
            x.mT if transpose_x else x, w.mT if transpose_w else w
        ),
        "conv": _conv, "pad": _pad, "max_pool": _max_pool, "avg_pool": _avg_pool,
    }  # fmt: skip
    return table


def run_with_torch(graph: Graph, arrays: Mapping[str, np.ndarray]) -> Callable[[], list[Any]]:
    """A function that runs the graph on these inputs.  Raises NotOffered for an op without a counterpart."""
    import torch

    table = functions()
    graph = opened(graph, KNOWN)
    biases, spread = conv_biases(graph), lazily_spread(graph)
    absorbed = {conv for conv, _ in biases.values()}
    held: dict[Value, Any] = {
        v: torch.from_numpy(np.array(graph.data[v.name])) for v in (*graph.parameters, *graph.constants)
    }
    held |= {v: torch.from_numpy(np.array(arrays[v.name])) for v in graph.inputs}
    steps: list[tuple[Function, tuple[Value, ...], Mapping[str, Any], Node]] = []
    for node in graph.nodes:
        if node.op.kind is Kind.CREATION:
            held[node.output] = torch.from_numpy(np.asarray(node.op.reference(**node.attributes)))  # type: ignore[misc]
        elif node in biases:
            conv, bias = biases[node]
            steps.append((table["conv"], (*conv.inputs, bias), conv.attributes, node))
        elif node in spread:
            steps.append((_identity, node.inputs, {}, node))
        elif node not in absorbed:
            if node.op.name not in table:
                raise NotOffered(f"no PyTorch function for {node.op.name}")
            steps.append((table[node.op.name], node.inputs, node.attributes, node))

    def run() -> list[Any]:
        values = dict(held)
        with torch.inference_mode():
            for function, operands, attributes, node in steps:
                values[node.outputs[0]] = function(*(values[v] for v in operands), **attributes)
        return [values[v] for v in graph.outputs]

    for node in graph.nodes:
        if any(graph.users[v] or v in graph.outputs for v in node.outputs[1:]):
            raise NotOffered(f"PyTorch gives {node.op.name} another second output")
    return run


def _identity(x: Any) -> Any:
    return x


def _gather(x: Any, indices: Any, axis: int) -> Any:
    return x[(*(slice(None),) * axis, indices.long())]  # counts negative indices from the end


def _symmetric(x: Any, padding: Any, value: float = 0.0) -> tuple[Any, list[int]]:
    """What is left of the padding when both sides pad alike; otherwise the image padded beforehand."""
    import torch.nn.functional as F

    if all(low == high for low, high in padding):
        return x, [low for low, _ in padding]
    return F.pad(x, [w for pair in reversed(padding) for w in pair], value=value), [0] * len(padding)


def _conv(x: Any, w: Any, bias: Any = None, *, strides: Any, padding: Any, dilation: Any, groups: int) -> Any:
    import torch

    x, padding = _symmetric(x, padding)
    function = getattr(torch, f"conv{x.ndim - 2}d")
    return function(x, w, bias, strides, padding, dilation, groups)


def _pad(x: Any, *, low: Any, high: Any, interior: Any, value: float) -> Any:
    import torch.nn.functional as F

    if any(interior):
        raise NotOffered("PyTorch has no padding between elements")
    return F.pad(x, [w for pair in reversed(list(zip(low, high))) for w in pair], value=value)


def _max_pool(x: Any, *, kernel: Any, strides: Any, padding: Any, dilation: Any, ceil: bool) -> Any:
    import torch.nn.functional as F

    _, widths = laid_out(x.shape[2:], kernel, strides, padding, dilation, ceil)
    widths = padding if ceil and all(low == high for low, high in padding) else widths[2:]
    x, widths = _symmetric(x, widths, -float("inf"))
    function = getattr(F, f"max_pool{x.ndim - 2}d")
    if any(2 * w > k for w, k in zip(widths, kernel)):  # PyTorch pads by half a window at most
        x, widths = (
            F.pad(x, [w for w in reversed(widths) for _ in (0, 1)], value=-float("inf")),
            [0] * len(widths),
        )
    return function(x, kernel, strides, widths, dilation, ceil)


def _avg_pool(x: Any, *, kernel: Any, strides: Any, padding: Any, ceil: bool, count_include_pad: bool) -> Any:
    import torch.nn.functional as F

    if any(low != high for low, high in padding):
        raise NotOffered("PyTorch pads an average alike on both sides")
    function = getattr(F, f"avg_pool{x.ndim - 2}d")
    return function(x, kernel, strides, [low for low, _ in padding], ceil, count_include_pad)
