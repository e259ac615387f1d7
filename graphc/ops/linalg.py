"""Matrix products."""

import numpy as np

from graphc.errors import InnerSizesDiffer
from graphc.ir.builder import broadcast_shapes
from graphc.ir.dims import product as dims_product
from graphc.ir.op import Kind, TypeRuleError, op
from graphc.ops.movement import broadcast_to, reshape, transpose
from graphc.ops.reduction import sum_
from graphc.ops.rules import same_float


def flops(x, w, *, transpose_x=False, transpose_w=False):
    rows = matmul.infer(x, w, transpose_x=transpose_x, transpose_w=transpose_w)
    return rows.size * x.shape[-2 if transpose_x else -1] * 2


def exchanged(x):
    """The last two axes exchanged."""
    rank = x.type.rank
    return transpose(x, permutation=(*range(rank - 2), rank - 1, rank - 2))


def rows(x):
    """All leading axes merged into one."""
    if x.type.rank == 2:
        return x
    return reshape(x, shape=(dims_product(x.shape[:-1]), x.shape[-1]))


@op(
    Kind.CONTRACTION,
    formula="y = x·w",
    symbol="@",
    derivative={0: "{w}ᵀ", 1: "{x}ᵀ"},
    onnx="MatMul",
    flops=flops,
)
class matmul:
    """Matrix product over the last two axes: x[..., m, k] · w[..., k, n] -> y[..., m, n].

    Leading axes are equal, or w has none and serves every one of x.  `transpose_x` and `transpose_w` read an
    operand with its last two axes exchanged, so that neither gradient needs a copy:
    ∂L/∂x = ∂L/∂y · wᵀ and ∂L/∂w = xᵀ · ∂L/∂y.
    """

    defaults = {"transpose_x": False, "transpose_w": False}

    def infer(x, w, *, transpose_x, transpose_w):
        same_float(x.with_shape(()), w.with_shape(()))
        if x.rank < 2 or w.rank < 2:
            raise TypeRuleError("matmul needs matrices: {0} and {1} must have at least 2 dimensions")
        (m, k) = x.shape[-2:][::-1] if transpose_x else x.shape[-2:]
        (k2, n) = w.shape[-2:][::-1] if transpose_w else w.shape[-2:]
        if k != k2:
            raise TypeRuleError(
                f"matmul inner sizes differ: {k} ({{0}}) and {k2} ({{1}})", kind=InnerSizesDiffer
            )
        if w.rank > 2 and x.shape[:-2] != w.shape[:-2]:
            raise TypeRuleError(
                f"matmul batch sizes differ: {list(x.shape[:-2])} ({{0}}) and {list(w.shape[:-2])} ({{1}})"
            )
        return x.with_shape((*x.shape[:-2], m, n))

    def samples():
        rng = np.random.default_rng(11)
        normal = rng.normal
        plain = {"transpose_x": False, "transpose_w": False}
        for m, k, n in ((1, 1, 1), (3, 5, 2), (7, 13, 17), (1, 31, 10), (33, 4, 1)):
            yield (normal(size=(m, k)), normal(size=(k, n))), plain
        yield (normal(size=(5, 3)), normal(size=(5, 2))), {"transpose_x": True, "transpose_w": False}
        yield (normal(size=(3, 5)), normal(size=(2, 5))), {"transpose_x": False, "transpose_w": True}
        yield (normal(size=(5, 3)), normal(size=(2, 5))), {"transpose_x": True, "transpose_w": True}
        yield (normal(size=(2, 3, 5)), normal(size=(2, 5, 4))), plain
        yield (normal(size=(2, 3, 5)), normal(size=(5, 4))), plain
        yield (normal(size=(2, 3, 5)), normal(size=(4, 5))), {"transpose_x": False, "transpose_w": True}
        yield (normal(size=(2, 5, 3)), normal(size=(5, 4))), {"transpose_x": True, "transpose_w": False}
        yield (normal(size=(2, 5, 3)), normal(size=(2, 4, 5))), {"transpose_x": True, "transpose_w": True}
        yield (normal(size=(2, 1, 3, 2)), normal(size=(2, 1, 2, 3))), plain
        for m, k, n in ((0, 3, 2), (3, 0, 2), (2, 3, 0)):
            yield (normal(size=(m, k)), normal(size=(k, n))), plain

    def reference(x, w, *, transpose_x, transpose_w):
        return np.matmul(
            np.swapaxes(x, -1, -2) if transpose_x else x, np.swapaxes(w, -1, -2) if transpose_w else w
        )

    def vjp(ct, x, w, y, *, transpose_x, transpose_w):
        shared = x.type.rank > w.type.rank
        if transpose_x and shared:
            dx = exchanged(matmul(ct, w, transpose_w=not transpose_w))
        elif transpose_x:
            dx = matmul(w, ct, transpose_x=transpose_w, transpose_w=True)
        else:
            dx = matmul(ct, w, transpose_w=not transpose_w)
        if shared:  # one product of all rows instead of a sum of products
            x, ct, transpose_x = rows(exchanged(x) if transpose_x else x), rows(ct), False
        if transpose_w:
            return dx, matmul(ct, x, transpose_x=True, transpose_w=transpose_x)
        return dx, matmul(x, ct, transpose_x=not transpose_x)


@op(
    Kind.COMPOSITE,
    formula="y = x·wᵀ + b",
    symbol="linear",
    derivative={0: "{w}", 1: "{x}ᵀ", 2: "1"},
    onnx="Gemm",
)
class linear:
    """Fully connected layer: x[..., in], w[out, in] and, if given, b[out] -> y[..., out], y = x·wᵀ + b."""

    def infer(x, w, *bias):
        same_float(*(t.with_shape(()) for t in (x, w, *bias)))
        if x.rank < 1 or w.rank != 2:
            raise TypeRuleError("linear needs x[..., in] and a matrix w[out, in]: {0} and {1}")
        if x.shape[-1] != w.shape[1]:
            raise TypeRuleError(
                f"linear: {{0}} has {x.shape[-1]} features, the weight {{1}} reads {w.shape[1]}",
                fix=f"nn.Linear({x.shape[-1]}, {w.shape[0]})" if isinstance(x.shape[-1], int) else "",
                kind=InnerSizesDiffer,
            )
        if bias and bias[0].shape != w.shape[:1]:
            raise TypeRuleError(
                f"the bias {{2}} must have the {w.shape[0]} outputs of {{1}}, it is {bias[0]}"
            )
        return x.with_shape((*x.shape[:-1], w.shape[0]))

    def samples():
        rng = np.random.default_rng(13)
        for shape, out in (((3, 5), 2), ((7, 13), 17), ((1, 31), 1), ((5,), 3), ((2, 3, 4), 5), ((0, 3), 2)):
            x, w, b = rng.normal(size=shape), rng.normal(size=(out, shape[-1])), rng.normal(size=out)
            yield (x, w, b), {}
            yield (x, w), {}

    def reference(x, w, b=None):
        return x @ w.T if b is None else x @ w.T + b

    def body(x, w, b=None):
        y = matmul(x if x.type.rank > 1 else reshape(x, shape=(1, *x.shape)), w, transpose_w=True)
        y = reshape(y, shape=w.shape[:1]) if x.type.rank == 1 else y
        return y if b is None else y + broadcast_to(b, shape=y.shape)

    def vjp(ct, *operands):
        x, w, *bias, _ = operands
        by_rows = rows(ct)
        dx = matmul(by_rows, w)
        dx = reshape(dx, shape=x.shape) if x.type.rank != 2 else dx
        return dx, matmul(by_rows, rows(x), transpose_x=True), *(sum_(by_rows, axes=(0,)) for _ in bias)


def product(x, w):
    """`x @ w` by NumPy's rules: vectors, matrices and stacks of them with broadcasting."""
    from graphc.ir.builder import Builder

    if x.type.rank == 0 or w.type.rank == 0:
        raise TypeRuleError("matmul needs vectors or matrices, not numbers")
    vector_x, vector_w = x.type.rank == 1, w.type.rank == 1
    if vector_x:
        x = reshape(x, shape=(1, *x.shape))
    if vector_w:
        w = reshape(w, shape=(*w.shape, 1))
    if w.type.rank > 2 and x.shape[:-2] != w.shape[:-2]:
        lead = broadcast_shapes([x.shape[:-2], w.shape[:-2]])
        builder = Builder.current()
        x, w = builder.broadcast(x, lead + x.shape[-2:]), builder.broadcast(w, lead + w.shape[-2:])
    y = matmul(x, w)
    if vector_x or vector_w:
        rows = () if vector_x else (y.shape[-2],)
        columns = () if vector_w else (y.shape[-1],)
        y = reshape(y, shape=y.shape[:-2] + rows + columns)
    return y
