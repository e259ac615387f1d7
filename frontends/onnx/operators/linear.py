"""Matrix products: MatMul, Gemm, Einsum, Det."""

from __future__ import annotations

from graphc import ops
from graphc.frontends.onnx.call import Call
from graphc.frontends.onnx.errors import OnnxError
from graphc.frontends.onnx.operators.registry import onnx_operator
from graphc.ir.graph import Value
from graphc.ir.types import float64
from graphc.ops.linalg import product
from graphc.tensor import Recording
from graphc.tensor.einsum import einsum as sum_of_products


@onnx_operator("MatMul")
def matmul(call: Call) -> Value:
    return exact_product(call[0], call[1])


def exact_product(x: Value, w: Value) -> Value:
    """The product of matrices, of whole numbers too: exact in float64 up to 2^53."""
    if x.dtype.is_float:
        return product(x, w)
    return ops.cast(product(ops.cast(x, dtype=float64), ops.cast(w, dtype=float64)), dtype=x.dtype)


@onnx_operator("Gemm")
def gemm(call: Call) -> Value:
    """alpha·A·B + beta·C, either matrix transposed."""
    x, w = call[0], call[1]
    if x.type.rank != 2 or w.type.rank != 2:
        raise OnnxError(f"Gemm multiplies matrices; {x.type} and {w.type} are given")
    dtype = x.dtype
    if not dtype.is_float:
        x, w = ops.cast(x, dtype=float64), ops.cast(w, dtype=float64)
    y = ops.matmul(
        x, w, transpose_x=bool(call.attribute("transA")), transpose_w=bool(call.attribute("transB"))
    )
    y = y if call.attribute("alpha") == 1 else y * call.attribute("alpha")
    if call.has(2):
        c = call[2] if dtype.is_float else ops.cast(call[2], dtype=float64)
        if c.type.rank > 2:
            raise OnnxError(f"Gemm adds a matrix; {c.type} is given")
        y = y + (c if call.attribute("beta") == 1 else c * call.attribute("beta"))
    return y if dtype.is_float else ops.cast(y, dtype=dtype)


@onnx_operator("Einsum")
def einsum(call: Call) -> Value:
    """By the function of tensors, recorded into the graph that is being made."""
    recording = Recording("einsum")
    recording.builder, recording.data = call.importer.builder, call.importer.data
    with recording.running():
        result = sum_of_products(call.attribute("equation"), *map(recording.wrap, call.all()))
    value: Value = result.value
    return value


@onnx_operator("Det")
def determinant(call: Call) -> Value:
    """Of small matrices, by the first row: a sum of products."""
    x = call[0]
    if x.type.rank < 2 or x.shape[-1] != x.shape[-2] or not isinstance(x.shape[-1], int):
        raise OnnxError(f"Det needs square matrices, not {x.type}")
    if x.shape[-1] > 5:
        raise call.unsupported(f"a matrix of {x.shape[-1]} rows; up to 5 are supported")
    size = x.shape[-1]
    rows = [[_element(x, i, j) for j in range(size)] for i in range(size)]
    return _expand(rows)


def _element(x: Value, i: int, j: int) -> Value:
    lead = x.type.rank - 2
    taken = ops.slice(
        x,
        starts=(*(0,) * lead, i, j),
        stops=(*x.shape[:-2], i + 1, j + 1),
        steps=(1,) * x.type.rank,
    )
    return ops.reshape(taken, shape=x.shape[:-2])


def _expand(rows: list[list[Value]]) -> Value:
    if len(rows) == 1:
        return rows[0][0]
    total = None
    for j, pivot in enumerate(rows[0]):
        minor = _expand([[v for k, v in enumerate(row) if k != j] for row in rows[1:]])
        term = pivot * minor
        total = term if total is None else (total - term if j % 2 else total + term)
    assert total is not None
    return total
