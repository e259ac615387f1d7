"""Element by element: arithmetic, functions of one number, comparisons, logic, conversion."""

from __future__ import annotations

import math
from functools import reduce

from graphc import ops
from graphc.frontends.onnx.call import Call
from graphc.frontends.onnx.errors import OnnxError
from graphc.frontends.onnx.operators.registry import onnx_operator
from graphc.ir.builder import Builder, broadcast_shapes
from graphc.ir.graph import Value
from graphc.ir.types import bool_, float64

UNARY = {
    "Abs": "abs",
    "Acos": "acos",
    "Acosh": "acosh",
    "Asin": "asin",
    "Asinh": "asinh",
    "Atan": "atan",
    "Atanh": "atanh",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "Log": "log",
    "Neg": "neg",
    "Not": "logical_not",
    "Round": "round",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Tan": "tan",
}


@onnx_operator(*UNARY)
def unary(call: Call) -> Value:
    return getattr(ops, UNARY[call.name])(call[0])


def both(call: Call) -> tuple[Value, Value]:
    """Two operands; before opset 7 the second one is laid along the axes of the first that are named."""
    x, y = call[0], call[1]
    if call.version >= 7 or not call.attribute("broadcast", 0):
        return x, y
    axis = call.attribute("axis")
    if axis is not None and y.type.rank:
        after = x.type.rank - (axis % x.type.rank) - y.type.rank
        if after < 0:
            raise OnnxError(f"{call.name}: axis {axis} leaves no room for {y.type}")
        y = ops.reshape(y, shape=(*y.shape, *(1,) * after))
    return x, y


BINARY = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "And": "logical_and",
    "Or": "logical_or",
    "Xor": "not_equal",
    "Equal": "equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
}


@onnx_operator(*BINARY)
def binary(call: Call) -> Value:
    x, y = both(call)
    if call.name in ("And", "Or", "Xor") and x.dtype != bool_:
        raise OnnxError(f"{call.name} takes booleans, not {x.dtype}")
    return getattr(ops, BINARY[call.name])(x, y)


@onnx_operator("Div")
def divide(call: Call) -> Value:
    """Quotient; of whole numbers it is cut off towards zero."""
    x, y = both(call)
    if x.dtype.is_float:
        return ops.div(x, y)
    quotient = ops.floor_divide(x, y)
    if x.dtype.kind == "uint":
        return quotient
    rest = ops.remainder(x, y)
    cut = ops.logical_and(ops.not_equal(rest, 0), ops.less(quotient, 0))
    return ops.where(cut, quotient + 1, quotient)


@onnx_operator("Mod")
def modulo(call: Call) -> Value:
    """Remainder: with the sign of the divisor, or with `fmod` of the dividend."""
    x, y = call[0], call[1]
    return ops.fmod(x, y) if call.attribute("fmod") else ops.remainder(x, y)


@onnx_operator("Pow")
def power(call: Call) -> Value:
    x, y = both(call)
    if x.dtype.is_float:
        return ops.pow(x, y if y.dtype == x.dtype else ops.cast(y, dtype=x.dtype))
    if (
        not y.dtype.is_float
        and call.is_known(1)
        and call.known(1).size == 1
        and 0 <= int(call.known(1).flat[0]) <= 4
    ):
        exponent = int(call.known(1).flat[0])
        if exponent:
            shape = broadcast_shapes([x.shape, y.shape])
            return Builder.current().broadcast(reduce(ops.mul, [x] * exponent), shape)
    result = ops.pow(ops.cast(x, dtype=float64), ops.cast(y, dtype=float64))
    return ops.cast(result, dtype=x.dtype)


@onnx_operator("Max", "Min", "Sum", "Mean")
def several(call: Call) -> Value:
    values = call.all()
    join = {"Max": ops.maximum, "Min": ops.minimum}.get(call.name, ops.add)
    result = reduce(join, values)
    return result / float(len(values)) if call.name == "Mean" else result


@onnx_operator("Reciprocal")
def reciprocal(call: Call) -> Value:
    return 1.0 / call[0]


@onnx_operator("BitwiseNot")
def bitwise_not(call: Call) -> Value:
    return ops.bitwise_not(call[0])


@onnx_operator("BitShift")
def shift(call: Call) -> Value:
    left = call.attribute("direction") == "LEFT"
    return (ops.shift_left if left else ops.shift_right)(call[0], call[1])


@onnx_operator("IsNaN")
def is_nan(call: Call) -> Value:
    return ops.not_equal(call[0], call[0])


@onnx_operator("IsInf")
def is_infinite(call: Call) -> Value:
    x = call[0]
    up, down = ops.equal(x, math.inf), ops.equal(x, -math.inf)
    match bool(call.attribute("detect_positive")), bool(call.attribute("detect_negative")):
        case True, True:
            return ops.logical_or(up, down)
        case True, False:
            return up
        case False, True:
            return down
    return ops.logical_and(up, down)


@onnx_operator("Where")
def where(call: Call) -> Value:
    return ops.where(call[0], call[1], call[2])


@onnx_operator("Cast")
def cast(call: Call) -> Value:
    return ops.cast(call[0], dtype=call.dtype("to"))


@onnx_operator("CastLike")
def cast_like(call: Call) -> Value:
    return ops.cast(call[0], dtype=call[1].dtype)


@onnx_operator("Identity")
def identity(call: Call) -> Value:
    return call.operands[0]  # type: ignore[return-value]


@onnx_operator("Clip")
def clip(call: Call) -> Value:
    """Elements kept between two bounds; when they cross, the upper one wins."""
    x = call[0]
    if call.version < 11:
        low, high = call.attribute("min"), call.attribute("max")
        x = x if low is None or low == -math.inf else ops.maximum(x, low)
        return x if high is None or high == math.inf else ops.minimum(x, high)
    x = ops.maximum(x, call[1]) if call.has(1) else x
    return ops.minimum(x, call[2]) if call.has(2) else x
