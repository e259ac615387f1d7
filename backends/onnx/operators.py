"""Each op in ONNX's words, by name: a function of the writer, the node and the names of its operands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import helper

from graphc.backends.onnx.writer import Writer
from graphc.errors import UnsupportedError
from graphc.ir.dims import Dim
from graphc.ir.graph import Node
from graphc.ops.pooling import divisors
from graphc.ops.windows import span

Names = Sequence[str]
Handler = Callable[[Writer, Node, Names], Any]

SAME = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "add": "Add", "add_n": "Sum", "asin": "Asin", "asinh": "Asinh",
    "atan": "Atan", "atanh": "Atanh", "bitwise_and": "BitwiseAnd", "bitwise_not": "BitwiseNot",
    "bitwise_or": "BitwiseOr", "bitwise_xor": "BitwiseXor", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh", "div": "Div",
    "equal": "Equal", "erf": "Erf", "exp": "Exp", "floor": "Floor", "greater": "Greater",
    "greater_equal": "GreaterOrEqual", "isinf": "IsInf", "isnan": "IsNaN", "less": "Less",
    "less_equal": "LessOrEqual", "log": "Log", "logical_and": "And", "logical_not": "Not", "logical_or": "Or",
    "logical_xor": "Xor", "maximum": "Max", "minimum": "Min", "mul": "Mul", "neg": "Neg", "pow": "Pow",
    "round": "Round", "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "sinh": "Sinh", "softplus": "Softplus",
    "sqrt": "Sqrt", "stop_gradient": "Identity", "sub": "Sub", "tan": "Tan", "tanh": "Tanh", "where": "Where",
}  # fmt: skip
"""Ops with the same meaning in ONNX, without attributes."""

OPERATORS: dict[str, Handler] = {}


def said(*names: str) -> Callable[[Handler], Handler]:
    """Declare how ops are said."""

    def declare(function: Handler) -> Handler:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return declare


def is_direct(node: Node) -> bool:
    """Whether a composite has an operator of its own; some only in one form."""
    match node.op.name:
        case "layer_norm":
            return len(node.inputs) > 1
        case "linear":
            return node.inputs[0].type.rank == 2
    return node.op.name in OPERATORS


@said(*SAME)
def same(w: Writer, node: Node, x: Names) -> str:
    return str(w.add(SAME[node.op.name], x, node.name))


@said("relu")
def relu(w: Writer, node: Node, x: Names) -> str:
    if node.output.dtype.is_float:
        return str(w.add("Relu", x, node.name))
    return str(w.add("Max", [*x, w.constant(0, node.output.dtype.numpy)], node.name))


@said("not_equal")
def not_equal(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Not", [w.add("Equal", x)], node.name))


@said("isfinite")
def isfinite(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Not", [w.add("Or", [w.add("IsInf", x), w.add("IsNaN", x)])], node.name))


@said("trunc")
def trunc(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Mul", [w.add("Sign", x), w.add("Floor", [w.add("Abs", x)])], node.name))


@said("exp2")
def exp2(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Pow", [w.constant(2, node.output.dtype.numpy), *x], node.name))


@said("log2")
def log2(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Div", [w.add("Log", x), w.constant(math.log(2), node.output.dtype.numpy)], node.name))


@said("fmod")
def fmod(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Mod", x, node.name, fmod=1))


@said("remainder")
def remainder(w: Writer, node: Node, x: Names) -> str:
    if not node.output.dtype.is_float:
        return str(w.add("Mod", x, node.name, fmod=0))
    zero = w.constant(0, node.output.dtype.numpy)
    rest = w.add("Mod", x, fmod=1)
    differs = w.add("Less", [w.add("Mul", [w.add("Sign", [rest]), w.add("Sign", [x[1]])]), zero])
    return str(w.add("Where", [differs, w.add("Add", [rest, x[1]]), rest], node.name))


@said("floor_divide")
def floor_divide(w: Writer, node: Node, x: Names) -> str:
    if node.output.dtype.is_float:
        return str(w.add("Floor", [w.add("Div", x)], node.name))
    return str(w.add("Div", [w.add("Sub", [x[0], w.add("Mod", x, fmod=0)]), x[1]], node.name))


@said("cast")
def cast(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Cast", x, node.name, to=helper.np_dtype_to_tensor_dtype(node.output.dtype.numpy)))


@said("leaky_relu")
def leaky_relu(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("LeakyRelu", x, node.name, alpha=float(node.attributes["slope"])))


@said("elu")
def elu(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Elu", x, node.name, alpha=float(node.attributes["alpha"])))


@said("softmax", "log_softmax")
def softmax(w: Writer, node: Node, x: Names) -> str:
    op = "Softmax" if node.op.name == "softmax" else "LogSoftmax"
    return str(w.add(op, x, node.name, axis=node.attributes["axis"]))


# --- reductions

REDUCTIONS = {
    "sum": "ReduceSum",
    "max": "ReduceMax",
    "min": "ReduceMin",
    "prod": "ReduceProd",
    "mean": "ReduceMean",
    "logsumexp": "ReduceLogSumExp",
}


@said(*REDUCTIONS)
def reduction(w: Writer, node: Node, x: Names) -> str:
    axes = node.attributes["axes"]
    if not axes:
        return str(w.add("Identity", x, node.name))
    return str(w.add(REDUCTIONS[node.op.name], [*x, w.ints(axes)], node.name, keepdims=0))


@said("argmax", "argmin")
def position(w: Writer, node: Node, x: Names) -> str:
    op = "ArgMax" if node.op.name == "argmax" else "ArgMin"
    return str(w.add(op, x, node.name, axis=node.attributes["axis"], keepdims=0))


@said("cumsum")
def cumsum(w: Writer, node: Node, x: Names) -> str:
    a = node.attributes
    axis = w.constant(np.array(a["axis"], np.int64))
    return str(
        w.add("CumSum", [*x, axis], node.name, exclusive=int(a["exclusive"]), reverse=int(a["reverse"]))
    )


@said("argsort")
def argsort(w: Writer, node: Node, x: Names) -> str:
    a = node.attributes
    count = w.add("Reshape", [w.size(node.inputs[0].shape[a["axis"]]), w.ints([1])])
    _, index = w.add(
        "TopK", [*x, count], node.name, 2, axis=a["axis"], largest=int(a["descending"]), sorted=1
    )
    return str(index)


# --- movement


@said("reshape")
def reshape(w: Writer, node: Node, x: Names) -> str:
    shape = node.attributes["shape"]
    open_sizes = [axis for axis, size in enumerate(shape) if not isinstance(size, int)]
    if len(open_sizes) == 1 and 0 not in shape:
        sizes = w.ints([-1 if axis in open_sizes else size for axis, size in enumerate(shape)])
    else:
        sizes = w.sizes(shape)
    return str(w.add("Reshape", [*x, sizes], node.name, allowzero=1 if 0 in shape else None))


@said("transpose")
def transpose(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Transpose", x, node.name, perm=list(node.attributes["permutation"]) or None))


@said("broadcast_to")
def broadcast_to(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Expand", [*x, w.sizes(node.attributes["shape"])], node.name))


@said("concat")
def concat(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Concat", x, node.name, axis=node.attributes["axis"]))


@said("reverse")
def reverse(w: Writer, node: Node, x: Names) -> str:
    axes = node.attributes["axes"]
    if not axes:
        return str(w.add("Identity", x, node.name))
    many = len(axes)
    bounds = [w.ints([-1] * many), w.ints([-(2**62)] * many), w.ints(axes), w.ints([-1] * many)]
    return str(w.add("Slice", [*x, *bounds], node.name))


@said("slice")
def slice_(w: Writer, node: Node, x: Names) -> str:
    a = node.attributes
    if not a["starts"]:
        return str(w.add("Identity", x, node.name))
    axes = range(len(a["starts"]))
    bounds = [w.sizes(a["starts"]), w.sizes(a["stops"]), w.ints(list(axes)), w.sizes(a["steps"])]
    return str(w.add("Slice", [*x, *bounds], node.name))


@said("pad")
def pad(w: Writer, node: Node, x: Names) -> str:
    """Zeros between neighbours come first: each element gets an axis of its own, which is filled up."""
    a, value = node.attributes, node.inputs[0]
    fill = w.constant(a["value"], node.output.dtype.numpy)
    name, shape = x[0], list(value.shape)
    for axis, between in enumerate(a["interior"]):
        if not between or shape[axis] == 0:
            continue
        single = w.add("Unsqueeze", [name, w.ints([axis + 1])])
        widths = [0] * (2 * (len(shape) + 1))
        widths[len(shape) + 1 + axis + 1] = between
        filled = w.add("Pad", [single, w.ints(widths), fill])
        wide: list[Dim] = [n * (between + 1) if i == axis else n for i, n in enumerate(shape)]
        merged = w.add("Reshape", [filled, w.sizes(wide)])
        shape[axis] = wide[axis] - between
        name = w.add("Slice", [merged, w.ints([0]), w.sizes([shape[axis]]), w.ints([axis])])
    if not any((*a["low"], *a["high"])):
        return str(w.add("Identity", [name], node.name))
    return str(w.add("Pad", [name, w.sizes((*a["low"], *a["high"])), fill], node.name))


# --- products


@said("matmul")
def matmul(w: Writer, node: Node, x: Names) -> str:
    names = list(x)
    for i, flag in enumerate(("transpose_x", "transpose_w")):
        rank = node.inputs[i].type.rank
        if node.attributes[flag]:
            order = [*range(rank - 2), rank - 1, rank - 2]
            names[i] = w.add("Transpose", [names[i]], perm=order)
    return str(w.add("MatMul", names, node.name))


@said("linear")
def linear(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Gemm", x, node.name, transB=1))


@said("conv")
def conv(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Conv", x, node.name, **_windows(node.attributes), group=node.attributes["groups"]))


def _windows(a: Any) -> dict[str, Any]:
    found = {
        "strides": list(a["strides"]),
        "pads": [low for low, _ in a["padding"]] + [high for _, high in a["padding"]],
    }
    if "dilation" in a:
        found["dilations"] = list(a["dilation"])
    if "kernel" in a:
        found["kernel_shape"] = list(a["kernel"])
    return found


@said("conv_dx")
def conv_dx(w: Writer, node: Node, x: Names) -> str:
    kernel = node.inputs[1].shape[2:]
    return _transposed(w, node, x, kernel, node.attributes["dilation"], node.attributes["groups"])


def _transposed(
    w: Writer, node: Node, x: Names, kernel: Sequence[Dim], dilation: Sequence[int], groups: int
) -> str:
    """A transposed convolution of the node's size; what the stride leaves open is added as zeros."""
    a = node.attributes
    counts = node.inputs[0].shape[2:]
    more = [
        size - ((n - 1) * s + span(k, d) - low - high)
        for size, n, s, k, d, (low, high) in zip(
            a["size"], counts, a["strides"], kernel, dilation, a["padding"], strict=True
        )
    ]
    if any(not isinstance(m, int) or m < 0 for m in more):
        raise UnsupportedError("ONNX: a transposed convolution of this size", span=node.provenance.span)
    windows = _windows({**a, "dilation": dilation, "kernel": kernel})
    if all(isinstance(m, int) and m < s for m, s in zip(more, a["strides"], strict=True)):
        return str(w.add("ConvTranspose", x, node.name, **windows, group=groups, output_padding=more))
    bare = w.add("ConvTranspose", x, **windows, group=groups)
    return str(w.add("Pad", [bare, w.ints([0] * (2 + len(more)) + [0, 0] + more)], node.name))


@said("conv_dw")
def conv_dw(w: Writer, node: Node, x: Names) -> str:
    """A convolution of x by c, with batch and channels exchanged, and stride and dilation too."""
    a = node.attributes
    rank, groups = len(a["kernel"]), a["groups"]
    swap = [1, 0, *range(2, 2 + rank)]
    outputs = []
    for group in range(groups):
        parts = []
        for name, value in zip(x, node.inputs, strict=True):
            channels = value.shape[1]
            if not isinstance(channels, int):
                raise UnsupportedError("ONNX: an open number of channels", span=node.provenance.span)
            share = channels // groups
            if groups > 1:
                bounds = [w.ints([group * share]), w.ints([(group + 1) * share]), w.ints([1])]
                name = w.add("Slice", [name, *bounds])
            parts.append(w.add("Transpose", [name], perm=swap))
        pads = [low for low, _ in a["padding"]] + [high for _, high in a["padding"]]
        full = w.add("Conv", parts, strides=list(a["dilation"]), dilations=list(a["strides"]), pads=pads)
        axes = list(range(2, 2 + rank))
        cut = w.add("Slice", [full, w.ints([0] * rank), w.ints(a["kernel"]), w.ints(axes)])
        outputs.append(w.add("Transpose", [cut], perm=swap))
    return str(outputs[0] if groups == 1 else w.add("Concat", outputs, node.name, axis=0))


# --- pooling


@said("max_pool")
def max_pool(w: Writer, node: Node, x: Names) -> tuple[str, str]:
    y, index = w.add(
        "MaxPool", x, node.name, 2, **_windows(node.attributes), ceil_mode=int(node.attributes["ceil"])
    )
    plane = w.size(_product(node.inputs[0].shape[2:]))
    return y, w.add("Mod", [index, plane], fmod=0)


def _product(sizes: Sequence[Dim]) -> Dim:
    from graphc.ir.dims import product

    return product(sizes)


@said("max_pool_dx")
def max_pool_dx(w: Writer, node: Node, x: Names) -> str:
    shape = node.output.shape
    flat: tuple[Dim, ...] = (*shape[:2], _product(shape[2:]))
    counts = (*shape[:2], _product(node.inputs[0].shape[2:]))
    zeros = w.add("Expand", [w.constant(0, node.output.dtype.numpy), w.sizes(flat)])
    c, index = (w.add("Reshape", [name, w.sizes(counts)]) for name in x[:2])
    plane = w.add("ScatterElements", [zeros, index, c], axis=2, reduction="add")
    return str(w.add("Reshape", [plane, w.sizes(shape)], node.name))


@said("avg_pool")
def avg_pool(w: Writer, node: Node, x: Names) -> str:
    """As a sum by convolution and a division, since readers differ in what counts at the end of `ceil`."""
    a = node.attributes
    if not a["ceil"]:
        include = int(a["count_include_pad"])
        if include or not any(n for pair in a["padding"] for n in pair):
            return str(w.add("AveragePool", x, node.name, **_windows(a), count_include_pad=include))
    sizes, channels = node.inputs[0].shape[2:], node.inputs[0].shape[1]
    if not all(isinstance(n, int) for n in (*sizes, channels)):
        raise UnsupportedError(
            "ONNX: average pooling of this kind over an open size", span=node.provenance.span
        )
    dtype = node.output.dtype.numpy
    ones = w.constant(np.ones((channels, 1, *a["kernel"]), dtype))
    highs = [
        max((n - 1) * s + k - low - size, 0)
        for n, s, k, (low, _), size in zip(
            node.output.shape[2:], a["strides"], a["kernel"], a["padding"], sizes, strict=True
        )
    ]
    pads = [low for low, _ in a["padding"]] + highs
    total = w.add("Conv", [*x, ones], strides=list(a["strides"]), pads=pads, group=channels)
    count = divisors(sizes, a["kernel"], a["strides"], a["padding"], a["ceil"], a["count_include_pad"], dtype)
    return str(w.add("Div", [total, w.constant(count)], node.name))


@said("avg_pool_dx")
def avg_pool_dx(w: Writer, node: Node, x: Names) -> str:
    a, channels = node.attributes, node.output.shape[1]
    if not all(isinstance(n, int) for n in (*a["size"], channels)) or a["ceil"]:
        raise UnsupportedError(
            "ONNX: the gradient of average pooling of this kind", span=node.provenance.span
        )
    dtype = node.output.dtype.numpy
    count = divisors(a["size"], a["kernel"], a["strides"], a["padding"], False, a["count_include_pad"], dtype)
    share = w.add("Div", [x[0], w.constant(count)])
    ones = w.constant(np.ones((channels, 1, *a["kernel"]), dtype))
    return _transposed(w, node, [share, ones], a["kernel"], (1,) * len(a["kernel"]), channels)


# --- indexing


@said("gather")
def gather(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Gather", [x[0], _positions(w, node, x[1])], node.name, axis=node.attributes["axis"]))


def _positions(w: Writer, node: Node, name: str) -> str:
    """Positions as int64; ONNX knows int32 and int64 only."""
    if node.inputs[1].dtype.name in ("int32", "int64"):
        return name
    return str(w.add("Cast", [name], to=helper.np_dtype_to_tensor_dtype(np.dtype(np.int64))))


@said("gather_elements")
def gather_elements(w: Writer, node: Node, x: Names) -> str:
    return str(
        w.add("GatherElements", [x[0], _positions(w, node, x[1])], node.name, axis=node.attributes["axis"])
    )


@said("scatter_elements")
def scatter_elements(w: Writer, node: Node, x: Names) -> str:
    zeros = w.add("Expand", [w.constant(0, node.output.dtype.numpy), w.sizes(node.output.shape)])
    operands = [zeros, _positions(w, node, x[1]), x[0]]
    return str(w.add("ScatterElements", operands, node.name, axis=node.attributes["axis"], reduction="add"))


@said("scatter_add")
def scatter_add(w: Writer, node: Node, x: Names) -> str:
    zeros = w.add("Expand", [w.constant(0, node.output.dtype.numpy), w.sizes(node.output.shape)])
    return _scattered(w, node, zeros, x[1], x[0], "add")


@said("scatter")
def scatter(w: Writer, node: Node, x: Names) -> str:
    how = {"set": "none"}.get(node.attributes["how"], node.attributes["how"])
    return _scattered(w, node, x[0], x[1], x[2], how)


def _scattered(w: Writer, node: Node, data: str, index: str, updates: str, how: str) -> str:
    """Slices put to positions of one axis: that axis first, as ScatterND wants it."""
    axis, rank = node.attributes["axis"], node.output.type.rank
    many = node.inputs[1].type.rank
    to_front = [axis, *(i for i in range(rank) if i != axis)]
    places = list(range(axis, axis + many))
    wide = rank - 1 + many
    first = [*places, *(i for i in range(wide) if i not in places)]
    index = w.add("Unsqueeze", [_positions(w, node, index), w.ints([many])])
    rows = w.add("Transpose", [updates], perm=first or None)
    moved = w.add("Transpose", [data], perm=to_front or None)
    done = w.add("ScatterND", [moved, index, rows], reduction=how)
    return str(w.add("Transpose", [done], node.name, perm=[to_front.index(i) for i in range(rank)]))


# --- made from nothing


@said("constant")
def constant(w: Writer, node: Node, x: Names) -> str:
    return w.constant(node.attributes["value"], node.output.dtype.numpy)


@said("iota")
def iota(w: Writer, node: Node, x: Names) -> str:
    a, dtype = node.attributes, node.output.dtype.numpy
    axis, shape = a["axis"], a["shape"]
    zero, one = w.constant(np.array(0, np.int64)), w.constant(np.array(1, np.int64))
    ramp = w.add("Range", [zero, w.size(shape[axis]), one])
    ramp = w.add("Cast", [ramp], to=helper.np_dtype_to_tensor_dtype(dtype))
    line = w.add("Reshape", [ramp, w.ints([-1 if i == axis else 1 for i in range(len(shape))])])
    return str(w.add("Expand", [line, w.sizes(shape)], node.name))


@said("dim_size")
def dim_size(w: Writer, node: Node, x: Names) -> str:
    kind = helper.np_dtype_to_tensor_dtype(node.output.dtype.numpy)
    return str(w.add("Cast", [w.size(node.attributes["dim"])], node.name, to=kind))


# --- normalisation


@said("batch_norm")
def batch_norm(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("BatchNormalization", x, node.name, epsilon=float(node.attributes["epsilon"])))


@said("layer_norm")
def layer_norm(w: Writer, node: Node, x: Names) -> str:
    a = node.attributes
    return str(w.add("LayerNormalization", x, node.name, axis=a["axis"], epsilon=float(a["epsilon"])))
