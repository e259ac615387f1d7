"""vmap of every op equals the op sample by sample, whichever operands have a batch."""

import numpy as np
import pytest

from graphc import vmap
from graphc.batching import ONE_BY_ONE, batched
from graphc.errors import UnsupportedError
from graphc.interpret import interpret
from graphc.ir.builder import Builder
from graphc.ir.dims import symbol
from graphc.ir.op import REGISTRY, Kind
from graphc.ir.types import TensorType
from tests.ops.sampling import declared

BATCH = 3
OPS = [pytest.param(op, id=name) for name, op in sorted(REGISTRY.items()) if op.kind is not Kind.CREATION]


def variants(a, count=BATCH):
    """Other arrays of the same type whose elements an op takes as well: those of `a` in another order."""
    a = np.asarray(a)
    if a.size == 1:
        more = {"f": 0.01, "b": 0}.get(a.dtype.kind, 0)
        return np.stack([(a * (1 + more * k)).astype(a.dtype) for k in range(count)])
    # Positions along several axes stay together: rows of them change places.
    return np.stack([np.roll(a, k, 0 if a.dtype.kind in "iu" else None) for k in range(count)])


def choices(count):
    """Which operands have a batch: all, and each alone."""
    return dict.fromkeys([tuple(range(count)), *((i,) for i in range(count))])


def repeated(case, chosen, size=BATCH):
    """The graph of a case with a batch axis on the chosen operands; the other inputs stay."""
    with Builder("batch") as builder:
        narrow = [builder.leaf("input", f"x{i}", v.type) for i, v in enumerate(case.graph.inputs)]
        types = [TensorType(v.dtype, (size, *v.shape)) for v in narrow]
        wide = {narrow[i]: builder.leaf("input", f"w{i}", types[i]) for i in chosen}
        outputs = builder.emit(case.op, narrow, case.graph.nodes[0].attributes)
        values = batched(builder.nodes, outputs, wide, size, None)
    return builder.finish(values, [f"y{i}" for i in range(len(values))])


@pytest.mark.parametrize("op", OPS)
def test_a_batch_is_sample_after_sample(op):
    for case in declared(op):
        if case.op.name == "max_pool_dx":
            continue  # positions must be those of its pooling: below
        for chosen in choices(len(case.arrays)):
            batches = {i: variants(case.arrays[i]) for i in chosen}
            graph = repeated(case, chosen)
            with np.errstate(all="ignore"):
                found = interpret(graph, [*case.arrays, *(batches[i] for i in chosen)])
                for k in range(BATCH):
                    arrays = [batches[i][k] if i in chosen else a for i, a in enumerate(case.arrays)]
                    for y, z in zip(found, interpret(case.graph, arrays), strict=True):
                        np.testing.assert_allclose(y[k], z, rtol=1e-12, atol=1e-13)


def test_max_pool_dx():
    for case in declared(REGISTRY["max_pool_dx"]):
        c, positions = case.arrays
        cs = np.stack([c, c * 2, -c])
        for chosen, wide in (((0,), [cs]), ((0, 1), [cs, np.stack([positions] * 3)])):
            (found,) = interpret(repeated(case, chosen), [c, positions, *wide])
            for k in range(BATCH):
                (wanted,) = interpret(case.graph, [cs[k], positions])
                np.testing.assert_allclose(found[k], wanted, rtol=1e-13)


@pytest.mark.parametrize("op", OPS)
def test_a_batch_whose_size_is_open(op):
    """The same graph with N for the batch, where no sample needs code of its own."""
    case = next(c for c in declared(op) if all(a.size for a in c.arrays))
    size = symbol("B")
    for chosen in choices(len(case.arrays)):
        try:
            graph = repeated(case, chosen, size)
        except UnsupportedError as error:
            kernels = op.kind is Kind.CONVOLUTION and (1 in chosen or op.name == "conv_dw")
            seeds = "rule for random_bits" in error.message or "rule for uniform" in error.message
            assert kernels or seeds, (op.name, chosen)
            continue
        batches = [variants(case.arrays[i]) for i in chosen]
        if case.op.name == "max_pool_dx" and 1 in chosen:
            batches[-1] = np.stack([case.arrays[1]] * BATCH)
        with np.errstate(all="ignore"):
            found = interpret(graph, [*case.arrays, *batches])
            fixed = interpret(repeated(case, chosen), [*case.arrays, *batches])
        for y, z in zip(found, fixed, strict=True):
            np.testing.assert_allclose(y, z, rtol=1e-12, atol=1e-13)


def test_more_samples_than_are_written_out():
    case = next(iter(declared(REGISTRY["random_bits"])))
    with pytest.raises(
        UnsupportedError, match=f"vmap has no rule for random_bits .* {ONE_BY_ONE + 1} samples"
    ):
        repeated(case, (0,), ONE_BY_ONE + 1)


def test_out_of_range_positions_of_a_sample_are_refused():
    from graphc.ops.indexing import IndexOutOfRange

    x, places = np.arange(8.0).reshape(2, 4), np.array([[0, -4], [3, 4]])
    with pytest.raises(IndexOutOfRange):
        vmap(lambda x, i: np.take(x, i))(x, places)
    assert vmap(lambda x, i: np.take(x, i))(x, places - 1 + (places == -4)).tolist() == [
        [3.0, 0.0],
        [6.0, 7.0],
    ]


def test_gradients_of_each_image():
    import graphc.nn.functional as F
    from graphc import grad

    rng = np.random.default_rng(3)
    images, w = rng.normal(size=(4, 1, 2, 6, 6)), rng.normal(size=(3, 2, 3, 3))

    def loss(w, x):
        return (F.max_pool2d(F.relu(F.conv2d(x, w, padding=1)), 2) ** 2).sum()

    each = vmap(grad(loss), in_axes=(None, 0))(w, images)
    for one, x in zip(each, images):
        np.testing.assert_allclose(one, grad(loss)(w, x), rtol=1e-10, atol=1e-12)
