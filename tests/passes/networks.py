"""Small graphs the tests of passes share, as functions that build them."""

from __future__ import annotations

from graphc import ops
from graphc.autodiff import differentiate
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Value
from graphc.ir.types import int64, parse_type
from graphc.ops.reduction import spread
from graphc.ops.statistics import count_of, divide


def mean(x: Value, axes: tuple[int, ...]) -> Value:
    return divide(ops.sum(x, axes=axes), count_of(x, axes))


def cross_entropy(logits: Value, labels: Value) -> Value:
    """Mean over the batch of -log softmax at the label, in primitives."""
    z = logits - ops.stop_gradient(spread(ops.max(logits, axes=(1,)), logits, (1,)))
    log_p = z - spread(ops.log(ops.sum(ops.exp(z), axes=(1,))), z, (1,))
    hot = ops.equal(ops.iota(shape=z.shape, axis=1, dtype=int64), spread(labels, logits, (1,)))
    return mean(-ops.sum(ops.where(hot, log_p, 0.0), axes=(1,)), (0,))


def mlp() -> Graph:
    with Builder("mlp") as b:
        x, t = b.leaf("input", "x", parse_type("f32[N,7]")), b.leaf("input", "t", parse_type("i64[N]"))
        w1, b1 = (
            b.leaf("parameter", "w1", parse_type("f32[5,7]")),
            b.leaf("parameter", "b1", parse_type("f32[5]")),
        )
        w2, b2 = (
            b.leaf("parameter", "w2", parse_type("f32[3,5]")),
            b.leaf("parameter", "b2", parse_type("f32[3]")),
        )
        h = ops.sigmoid(ops.matmul(x, w1, transpose_w=True) + b1)
        loss = cross_entropy(ops.matmul(h, w2, transpose_w=True) + b2, t)
    return b.finish([loss], ["loss"])


def mlp_step() -> Graph:
    """Forward and backward."""
    return differentiate(mlp())


def lenet() -> Graph:
    """Convolution, bias, relu, pooling, flatten, linear."""
    same = {"strides": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    pool = {
        "kernel": (2, 2),
        "strides": (2, 2),
        "padding": ((0, 0), (0, 0)),
        "dilation": (1, 1),
        "ceil": False,
    }
    with Builder("lenet") as b:
        x, t = b.leaf("input", "x", parse_type("f32[N,1,4,4]")), b.leaf("input", "t", parse_type("i64[N]"))
        w, c = (
            b.leaf("parameter", "w", parse_type("f32[2,1,3,3]")),
            b.leaf("parameter", "c", parse_type("f32[2]")),
        )
        v = b.leaf("parameter", "v", parse_type("f32[3,8]"))
        y = ops.relu(ops.conv(x, w, **same) + ops.reshape(c, shape=(2, 1, 1)))
        y, _ = ops.max_pool(y, **pool)
        flat = ops.reshape(y, shape=(x.shape[0], 8))
        loss = cross_entropy(ops.matmul(flat, v, transpose_w=True), t)
    return b.finish([loss], ["loss"])


def lenet_step() -> Graph:
    return differentiate(lenet())


def batch_norm_step() -> Graph:
    """Batch norm with the batch's own statistics, and its gradient."""
    with Builder("batch_norm") as b:
        x = b.leaf("input", "x", parse_type("f64[N,3,2,2]"))
        g, h = b.leaf("parameter", "g", parse_type("f64[3]")), b.leaf("parameter", "h", parse_type("f64[3]"))
        axes = (0, 2, 3)
        centred = x - spread(mean(x, axes), x, axes)
        variance = mean(centred * centred, axes)
        y = centred * spread(1.0 / ops.sqrt(variance + 1e-5), x, axes)
        y = y * ops.reshape(g, shape=(3, 1, 1)) + ops.reshape(h, shape=(3, 1, 1))
    return differentiate(b.finish([y], ["y"]), ["x", "g", "h"])


def layer_norm_step() -> Graph:
    with Builder("layer_norm") as b:
        x, r = b.leaf("input", "x", parse_type("f32[N,4,6]")), b.leaf("input", "r", parse_type("f32[N,4,6]"))
        g, h = b.leaf("parameter", "g", parse_type("f32[6]")), b.leaf("parameter", "h", parse_type("f32[6]"))
        x = ops.tanh(x + r)
        axes = (2,)
        centred = x - spread(mean(x, axes), x, axes)
        y = centred / spread(ops.sqrt(mean(centred * centred, axes) + 1e-5), x, axes) * g + h
        loss = mean(y * y * r, (0, 1, 2))
    return differentiate(b.finish([loss], ["loss"]))


def movements() -> Graph:
    """Movement in front of, between and behind elementwise work and reductions."""
    with Builder("movements") as b:
        x, y = b.leaf("input", "x", parse_type("f32[3,4]")), b.leaf("input", "y", parse_type("f32[4,3]"))
        a = ops.exp(x) * 2.0
        t = ops.transpose(a, permutation=(1, 0)) + y
        s = ops.slice(ops.concat(t, ops.neg(y), axis=0), starts=(1, 0), stops=(7, 3), steps=(2, 1))
        p = ops.pad(ops.reverse(s, axes=(1,)), low=(0, 1), high=(1, 0), interior=(1, 0), value=0.5)
        r = ops.sum(ops.abs(p), axes=(0,))
        q = x + ops.transpose(y, permutation=(1, 0))
        u = ops.tanh(x)
        twice = u + ops.reverse(u, axes=(0,))
        column = ops.reshape(r, shape=(4, 1))
    return b.finish([r, p, q, twice, column], ["r", "p", "q", "twice", "column"])


ALL = (mlp, mlp_step, lenet, lenet_step, batch_norm_step, layer_norm_step, movements)
