"""Each op in ONNX's words, by name: a function of the writer, the node and the names of its operands."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto, helper

from graphc.backends.onnx import indexing, loops, windows
from graphc.backends.onnx.absorb import turns
from graphc.backends.onnx.registry import OPERATORS, Names, said
from graphc.backends.onnx.writer import Writer
from graphc.ir.dims import Dim
from graphc.ir.graph import Node

__all__ = ["OPERATORS", "indexing", "loops", "windows"]

SAME = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "add": "Add", "asin": "Asin", "asinh": "Asinh",
    "atan": "Atan", "atanh": "Atanh", "bitwise_and": "BitwiseAnd", "bitwise_not": "BitwiseNot",
    "bitwise_or": "BitwiseOr", "bitwise_xor": "BitwiseXor", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh", "div": "Div",
    "equal": "Equal", "erf": "Erf", "exp": "Exp", "floor": "Floor", "isinf": "IsInf", "isnan": "IsNaN", "log": "Log",
    "logical_and": "And", "logical_not": "Not", "logical_or": "Or",
    "logical_xor": "Xor", "maximum": "Max", "minimum": "Min", "mul": "Mul", "neg": "Neg", "pow": "Pow",
    "round": "Round", "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "sinh": "Sinh", "softplus": "Softplus",
    "sqrt": "Sqrt", "sub": "Sub", "tan": "Tan", "tanh": "Tanh", "where": "Where",
}  # fmt: skip
"""Ops with the same meaning in ONNX, without attributes."""

END = (1 << 63) - 1


ORDER = {"less": "Less", "less_equal": "LessOrEqual", "greater": "Greater", "greater_equal": "GreaterOrEqual"}


@said(*ORDER)
def order(w: Writer, node: Node, x: Names) -> str:
    return str(w.add(ORDER[node.op.name], _numbers(w, node, x), node.name))


def _numbers(w: Writer, node: Node, x: Names) -> list[str]:
    """Truth values as 0 and 1: ONNX does not order them."""
    if node.inputs[0].dtype.name != "bool":
        return list(x)
    return [w.add("Cast", [name], to=TensorProto.UINT8) for name in x]


@said("add_n")
def add_n(w: Writer, node: Node, x: Names) -> str:
    """ONNX's Sum is for floating-point numbers only."""
    if node.output.dtype.is_float:
        return str(w.add("Sum", x, node.name))
    total = x[0]
    for name in x[1:]:
        total = w.add("Add", [total, name])
    return total


@said("stop_gradient")
def unchanged(w: Writer, node: Node, x: Names) -> str:
    return x[0]


@said("silu")
def silu(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Mul", [*x, w.add("Sigmoid", x)], node.name))


@said("gelu")
def gelu(w: Writer, node: Node, x: Names) -> str:
    """One operator from opset 20 on; before, in the form that runtimes know to be a GELU."""
    kind, dtype = node.attributes["approximate"], node.output.dtype.numpy
    if w.opset >= 20:
        return str(w.add("Gelu", x, node.name, approximate=kind))
    half, one = w.constant(0.5, dtype), w.constant(1, dtype)
    if kind == "tanh":
        cube = w.add("Mul", [w.add("Pow", [*x, w.constant(3, dtype)]), w.constant(0.044715, dtype)])
        inner = w.add("Mul", [w.add("Add", [*x, cube]), w.constant(math.sqrt(2 / math.pi), dtype)])
        share = w.add("Add", [w.add("Tanh", [inner]), one])
        return str(w.add("Mul", [w.add("Mul", [*x, half]), share], node.name))
    share = w.add("Add", [w.add("Erf", [w.add("Div", [*x, w.constant(math.sqrt(2), dtype)])]), one])
    return str(w.add("Mul", [w.add("Mul", [*x, share]), half], node.name))


def clip(w: Writer, node: Node, x: Names) -> str:
    """A minimum of a maximum with two numbers; the lower one is 0 when it is left out."""
    limits = x[1:] if len(x) == 3 else (w.constant(0, node.output.dtype.numpy), x[1])
    return str(w.add("Clip", [x[0], *limits], node.name))


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
    differ = w.add("Not", [w.add("Equal", [w.add("Mod", x, fmod=0), w.add("Mod", x, fmod=1)])])
    less = w.add("Cast", [differ], to=helper.np_dtype_to_tensor_dtype(node.output.dtype.numpy))
    return str(w.add("Sub", [w.add("Div", x), less], node.name))


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
    if not axes and node.op.name != "logsumexp":
        return x[0]
    return str(
        w.add(REDUCTIONS[node.op.name], [*x, w.ints(axes)], node.name, keepdims=0, noop_with_empty_axes=1)
    )


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
    count = w.size(node.inputs[0].shape[a["axis"]])
    _, index = w.add(
        "TopK",
        [*_numbers(w, node, x), count],
        node.name,
        2,
        axis=a["axis"],
        largest=int(a["descending"]),
        sorted=1,
    )
    return str(index)


# --- movement


@said("reshape")
def reshape(w: Writer, node: Node, x: Names) -> str:
    """An open size is left out of the shape where it is that of the operand's axis, or the only one left."""
    given, shape = node.inputs[0].shape, node.attributes["shape"]
    if shape == given:
        return x[0]
    sizes: list[Dim] = list(shape)
    if 0 not in shape:
        sizes = [
            0 if not isinstance(size, int) and axis < len(given) and size == given[axis] else size
            for axis, size in enumerate(shape)
        ]
        left = [axis for axis, size in enumerate(sizes) if not isinstance(size, int)]
        if len(left) == 1:
            sizes[left[0]] = -1
        elif left:
            sizes = list(shape)
    return str(w.add("Reshape", [*x, w.sizes(sizes)], node.name, allowzero=1 if 0 in shape else None))


@said("transpose")
def transpose(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Transpose", x, node.name, perm=list(node.attributes["permutation"]) or None))


@said("broadcast_to")
def broadcast_to(w: Writer, node: Node, x: Names) -> str:
    """A size that stays is written as 1, so that an open one need not be worked out."""
    given, shape = node.inputs[0].shape, node.attributes["shape"]
    if shape == given:
        return x[0]
    kept = (*[None] * (len(shape) - len(given)), *given)
    sizes = [1 if size == before else size for size, before in zip(shape, kept, strict=True)]
    return str(w.add("Expand", [*x, w.sizes(sizes)], node.name))


@said("concat")
def concat(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Concat", x, node.name, axis=node.attributes["axis"]))


@said("reverse")
def reverse(w: Writer, node: Node, x: Names) -> str:
    axes = node.attributes["axes"]
    if not axes:
        return x[0]
    many = len(axes)
    bounds = [w.ints([-1] * many), w.ints([-(2**62)] * many), w.ints(axes), w.ints([-1] * many)]
    return str(w.add("Slice", [*x, *bounds], node.name))


@said("slice")
def slice_(w: Writer, node: Node, x: Names) -> str:
    """Only the axes that are cut; an open end is written as one behind every end."""
    rows = zip(*(node.attributes[key] for key in ("starts", "stops", "steps")), strict=True)
    cut = [
        (axis, start, END if stop == size and not isinstance(size, int) else stop, step)
        for axis, ((start, stop, step), size) in enumerate(zip(rows, node.inputs[0].shape, strict=True))
        if (start, stop, step) != (0, size, 1)
    ]
    if not cut:
        return x[0]
    axes, starts, stops, steps = zip(*cut, strict=True)
    bounds = [w.sizes(starts), w.sizes(stops), w.ints(axes)]
    if any(step != 1 for step in steps):
        bounds.append(w.sizes(steps))
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
        return name
    return str(w.add("Pad", [name, w.sizes((*a["low"], *a["high"])), fill], node.name))


# --- products


@said("matmul")
def matmul(w: Writer, node: Node, x: Names) -> str:
    a, names = node.attributes, list(x)
    flags = a["transpose_x"], a["transpose_w"]
    if any(flags) and not turns(node):
        return str(w.add("Gemm", x, node.name, transA=int(flags[0]) or None, transB=int(flags[1]) or None))
    for i in turns(node):
        rank = node.inputs[i].type.rank
        names[i] = w.turned(node.inputs[i], x[i], (*range(rank - 2), rank - 1, rank - 2))
    return str(w.add("MatMul", names, node.name))


@said("linear")
def linear(w: Writer, node: Node, x: Names) -> str:
    if not turns(node):
        return str(w.add("Gemm", x, node.name, transB=1))
    operands = [x[0], w.turned(node.inputs[1], x[1], (1, 0))]
    if len(x) == 2:
        return str(w.add("MatMul", operands, node.name))
    return str(w.add("Add", [w.add("MatMul", operands), x[2]], node.name))


# --- made from nothing


@said("constant")
def constant(w: Writer, node: Node, x: Names) -> str:
    return w.constant(node.attributes["value"], node.output.dtype.numpy)


@said("iota")
def iota(w: Writer, node: Node, x: Names) -> str:
    a, dtype = node.attributes, node.output.dtype.numpy
    axis, shape = a["axis"], a["shape"]
    if all(isinstance(size, int) for size in shape) and math.prod(shape) <= 4096:
        return w.constant(node.op.reference(**a))  # type: ignore[misc]
    zero, one = w.constant(np.array(0, np.int64)), w.constant(np.array(1, np.int64))
    ramp = w.add("Range", [zero, w.scalar(shape[axis]), one])
    ramp = w.add("Cast", [ramp], to=helper.np_dtype_to_tensor_dtype(dtype))
    line = w.add("Reshape", [ramp, w.ints([-1 if i == axis else 1 for i in range(len(shape))])])
    return str(w.add("Expand", [line, w.sizes(shape)], node.name))


@said("dim_size")
def dim_size(w: Writer, node: Node, x: Names) -> str:
    kind = helper.np_dtype_to_tensor_dtype(node.output.dtype.numpy)
    return str(w.add("Cast", [w.scalar(node.attributes["dim"])], node.name, to=kind))


# --- normalisation


@said("batch_norm")
def batch_norm(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("BatchNormalization", x, node.name, epsilon=float(node.attributes["epsilon"])))


@said("layer_norm")
def layer_norm(w: Writer, node: Node, x: Names) -> str:
    a, value = node.attributes, node.output
    names = list(x)
    if len(names) == 1:
        one = w.constant(1, value.dtype.numpy)
        names.append(w.add("Expand", [one, w.sizes(value.shape[a["axis"] :])]))
    return str(w.add("LayerNormalization", names, node.name, axis=a["axis"], epsilon=float(a["epsilon"])))
