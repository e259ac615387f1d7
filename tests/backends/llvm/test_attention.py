"""Attention kernels against float64: odd lengths, tails, masks, layouts, guard pages; the same bits on two threads.

The bound follows the errors through: a score is a chain of d multiply-adds, off by at most delta; a power is off by
the factor 1 + 2 delta and some roundings, and sums of s such numbers, above and below the line, by s roundings more.
"""

import math

import numpy as np
import pytest

import graphc
from graphc import nn
from graphc.backends.llvm.attention_layout import lay_out
from graphc.backends.llvm.target import host, level
from graphc.interpret import evaluate
from graphc.nn import functional as F
from graphc.passes.attention import attention_of
from tests.backends.llvm.running import compile_kernel, run_kernel
from tests.passes.partitions import check_partition

SHAPES = [  # heads, rows, keys, depth, columns
    (1, 1, 1, 1, 1), (2, 1, 17, 5, 3), (3, 7, 13, 5, 7), (2, 29, 31, 16, 16), (1, 61, 53, 19, 37), (2, 5, 16, 3, 1),
    (1, 97, 131, 64, 64), (2, 41, 33, 48, 48),
]  # fmt: skip
RUNS = [
    cpu
    for cpu in ("native", "x86-64-v2", "x86-64-v3")
    if cpu == "native" or level(cpu).triple == host().triple
]


def arrays(n, heads, rows, keys, depth, columns, dtype=np.float32):
    rng = np.random.default_rng(rows * 101 + keys)
    q, k, v = ((n, heads, rows, depth), (n, heads, keys, depth), (n, heads, keys, columns))
    return [rng.normal(size=shape).astype(dtype) for shape in (q, k, v)]


def types(q, k, v, dtype="float32", n="N"):
    return {
        name: f"{dtype}[{','.join(map(str, (n, *x.shape[1:])))}]"
        for name, x in zip("qkv", (q, k, v), strict=True)
    }


def check(got, q, k, v, mask=0.0):
    eps = np.finfo(got.dtype).eps
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    depth, keys = q.shape[-1], k.shape[-2]
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(depth) + mask
    with np.errstate(invalid="ignore"):
        power = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights = power / power.sum(axis=-1, keepdims=True)
    want = weights @ v
    size = np.abs(q) @ np.swapaxes(np.abs(k), -1, -2) / math.sqrt(depth)
    seen = np.where(np.isfinite(scores), scores, 0)
    delta = (depth + 4) * eps * size.max() + 2 * eps * np.abs(seen).max()
    factor = 2 * (2 * delta + (keys + 8) * eps) + 2 * eps * np.ptp(seen)
    bound = 1.1 * factor * (weights @ np.abs(v)) + np.finfo(got.dtype).tiny
    nan = np.isnan(want)
    np.testing.assert_array_equal(np.isnan(got), nan)
    assert np.all(np.abs(got - want)[~nan] <= bound[~nan])


def kinds(model):
    return [kernel.kind for kernel in model.lowered.partition.kernels]


def plain(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize("cpu", RUNS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_float64(shape, cpu):
    q, k, v = arrays(3, *shape)
    model = graphc.compile(plain, types(q, k, v), cpu=cpu)
    assert kinds(model).count("attention") == (shape[2] > 1)  # the softmax of one number is 1
    for n in (1, 3):
        check(model(q[:n], k[:n], v[:n]), q[:n], k[:n], v[:n])


@pytest.mark.parametrize("shape", SHAPES[2:5], ids=str)
def test_float64(shape):
    q, k, v = arrays(2, *shape, dtype=np.float64)
    got = graphc.compile(plain, types(q, k, v, "float64"))(q, k, v)
    want = graphc.compile(plain, types(q, k, v, "float64"), backend="numpy")(q, k, v)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shape", [SHAPES[3], SHAPES[4], (3, 197, 197, 64, 64)], ids=str)
def test_two_threads_and_the_instruction_set_change_no_bit(shape):
    q, k, v = arrays(2, *shape)
    models = [graphc.compile(plain, types(q, k, v), threads=n) for n in (1, 2)]
    one = models[0](q, k, v)
    np.testing.assert_array_equal(models[1](q, k, v), one)
    np.testing.assert_array_equal(models[0](q[:1], k[:1], v[:1]), one[:1])
    if "x86-64-v3" in RUNS and host().fma:
        np.testing.assert_array_equal(graphc.compile(plain, types(q, k, v), cpu="x86-64-v3")(q, k, v), one)


@pytest.mark.parametrize("numerics", ["strict", "default"])
def test_masks(numerics):
    heads, rows, keys = 2, 23, 37
    q, k, v = arrays(2, heads, rows, keys, 8, 8)
    rng = np.random.default_rng(1)
    causal = np.where(np.arange(keys) <= np.arange(rows)[:, None], 0.0, -np.inf).astype(np.float32)
    sparse = np.where(rng.uniform(size=(rows, keys)) < 0.5, 0.0, -np.inf).astype(np.float32)
    sparse[3] = -np.inf  # nothing may be read: NaN, as the formula says
    additive = rng.normal(size=(rows, keys)).astype(np.float32)
    for mask in (causal, sparse, additive):

        def masked(q, k, v, mask=mask):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

        model = graphc.compile(masked, types(q, k, v), numerics=numerics)
        assert "attention" in kinds(model)
        check(model(q, k, v), q, k, v, mask.astype(np.float64))

    def by_position(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    model = graphc.compile(by_position, types(q, k, v), numerics=numerics)
    assert "attention" in kinds(model)
    check(model(q, k, v), q, k, v, causal.astype(np.float64))


def test_a_mask_given_at_run_time():
    q, k, v = arrays(2, 2, 11, 19, 8, 8)
    mask = np.random.default_rng(3).uniform(size=(2, 1, 1, 19)) < 0.7

    def masked(q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    model = graphc.compile(masked, {**types(q, k, v), "mask": "bool[N,1,1,19]"})
    assert "attention" in kinds(model)
    check(model(q, k, v, mask), q, k, v, np.where(mask, 0.0, -np.inf))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("cross", [False, True])
def test_multihead_attention(batch_first, cross):
    """Heads cut out of one product, moved into place and back: no kernel but the products and the attention."""
    graphc.manual_seed(4)
    net = nn.MultiheadAttention(24, 3, batch_first=batch_first, dtype=np.float32)
    shape = "float32[N,7,24]" if batch_first else "float32[7,N,24]"
    other = shape.replace("7", "11")

    def alone(x):
        return net(x, x, x, need_weights=False)[0]

    def both(x, y):
        return net(x, y, y, need_weights=False)[0]

    inputs = {"x": shape, "y": other} if cross else {"x": shape}
    model = graphc.compile(both if cross else alone, inputs)
    rng = np.random.default_rng(9)
    given = [
        rng.normal(size=[int(d) if d != "N" else 2 for d in t[8:-1].split(",")]) for t in inputs.values()
    ]
    given = [x.astype(np.float32) for x in given]
    assert kinds(model).count("attention") == 1
    if batch_first and not cross:
        assert [k for k in kinds(model) if k != "view"] == ["contraction", "attention", "contraction"]
    want = evaluate(model.graph, dict(zip(inputs, given)))[model.graph.outputs[0]]
    np.testing.assert_allclose(model(*given), want, rtol=2e-5, atol=2e-6)
    check_partition(model.lowered.partition, dict(zip(inputs, given)))


def test_weights_that_are_returned_stay_apart():
    net = nn.MultiheadAttention(8, 2, batch_first=True)
    model = graphc.compile(lambda x: net(x, x, x), {"x": "float32[N,5,8]"})
    x = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
    assert "attention" not in kinds(model)
    for got, value in zip(model(x), model.graph.outputs):
        np.testing.assert_allclose(got, evaluate(model.graph, {"x": x})[value], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    "model",
    [
        lambda q, k, v: F.softmax(q @ k.swapaxes(-1, -2), -2) @ v,  # over the rows
        lambda q, k, v: F.softmax(q @ k.swapaxes(-1, -2), -1).swapaxes(-1, -2) @ q,
        lambda q, k, v: (F.softmax(q @ k.swapaxes(-1, -2), -1) @ v) * 2.0 + q,
        lambda q, k, v: F.softmax((q * 2.0) @ (k * k).swapaxes(-1, -2) * 0.5, -1) @ (v + 1.0),
        lambda q, k, v: F.softmax(q @ k, -1) @ v,
        lambda q, k, v: F.softmax(q @ q.swapaxes(-1, -2), -1) @ q,
    ],
)
def test_neighbours_of_the_pattern(model):
    """Square operands, so that every product fits; whether or not it is one kernel, the numbers are right."""
    rng = np.random.default_rng(2)
    given = {name: rng.normal(size=(2, 3, 19, 19)).astype(np.float32) / 4 for name in "qkv"}
    compiled = graphc.compile(model, dict.fromkeys("qkv", "float32[N,3,19,19]"))
    (output,) = compiled.graph.outputs
    leaves = {v.name: given[v.name] for v in compiled.graph.inputs}
    want = evaluate(compiled.graph, {name: x.astype(np.float32) for name, x in leaves.items()})[output]
    got = compiled(**{name: given[name] for name in leaves})
    np.testing.assert_allclose(got, want, rtol=5e-5, atol=5e-6)
    check_partition(compiled.lowered.partition, leaves)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
@pytest.mark.parametrize("at_start", [False, True])
def test_nothing_around_the_arrays_is_touched(shape, at_start):
    q, k, v = arrays(1, *shape)
    model = graphc.compile(plain, types(q, k, v, n="1"))
    (kernel,) = [kernel for kernel in model.lowered.partition.kernels if kernel.kind == "attention"]
    given = dict(zip("qkv", (q, k, v)))
    values = evaluate(model.lowered.graph, given)
    (got,) = run_kernel(
        compile_kernel(kernel), kernel, {x: values[x] for x in kernel.inputs}, at_start=at_start
    )
    np.testing.assert_array_equal(got.ravel(), model(q, k, v).ravel())


def test_the_layout_of_working_memory():
    q, k, v = arrays(1, 3, 197, 197, 64, 64)
    model = graphc.compile(plain, types(q, k, v))
    (kernel,) = [kernel for kernel in model.lowered.partition.kernels if kernel.kind == "attention"]
    layout = lay_out(kernel, level("x86-64-v4"))
    assert attention_of(kernel.nodes) is not None
    assert (layout.blocks, layout.height, layout.tile.rows, layout.line) == (8, 25, 13, 208)
    places = [0, layout.values_at, layout.query_at, layout.scores_at, layout.sums_at, layout.end]
    assert places == sorted(set(places)) and all(at % 64 == 0 for at in places)
