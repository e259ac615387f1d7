"""Products by seven halves against float64: tails, odd rows, rows that may not meet, guard pages, threads, loops.

The bound of a quarter is that of its products: K * eps * sum |a||b| over the four quarters that meet, with room for
the sums; the usual error is held to what docs/design/strassen.md says.
"""

import ctypes
from dataclasses import replace

import numpy as np
import pytest

import graphc
from graphc import nn
from graphc.backends.llvm.blocking import Gemm
from graphc.backends.llvm.jit import emit_object, load
from graphc.backends.llvm.lint import faults, loops
from graphc.backends.llvm.strassen import emit_halves, emit_sums
from graphc.backends.llvm.strassen_plan import Halves, halves, pack_halves
from graphc.backends.llvm.target import Target, host, level
from graphc.backends.llvm.tile import Tile
from tests.backends.llvm.guarded import Guarded

RUNNABLE = [t for t in (host(), level("x86-64-v3")) if t.triple == host().triple and host().fma]
targets = pytest.mark.parametrize("target", RUNNABLE, ids=lambda t: t.cpu)


def halved(target: Target, m: int, k: int, n: int, rows: int, vectors: int) -> Halves:
    return Halves(Gemm(n, k, m), Tile(rows, vectors, target.lanes("float"), "float"), m, k // 2)


def multiply(target: Target, a: np.ndarray, b: np.ndarray, cut: Halves, at_start: bool) -> np.ndarray:
    """C, in two ranges of tiles and panels, everything between forbidden pages."""
    module = target.module()
    emit_sums(module, "sums", cut, target)
    emit_halves(module, "halves", cut)
    code = load(emit_object(str(module), target), ["sums", "halves"], target)
    pointers = ctypes.c_void_p
    sums = ctypes.CFUNCTYPE(None, pointers, pointers, *[ctypes.c_int64] * 3)(code.address("sums"))
    product = ctypes.CFUNCTYPE(None, *[pointers] * 4, *[ctypes.c_int64] * 4)(code.address("halves"))
    line = np.zeros(-cut.packed_bytes % 4096, np.uint8)  # packed operands begin at a line
    packed = np.concatenate([line, pack_halves(b, cut)])
    made = [a, packed, np.zeros(-(-cut.sums_bytes // 4096) * 4096, np.uint8), np.zeros(4096 * 8, np.uint8)]
    x, w, room, own = (Guarded(each, at_start and each is a) for each in made)
    c = Guarded(np.full((a.shape[0], b.shape[1]), np.nan, np.float32), at_start)
    assert own.array.nbytes >= cut.own_bytes
    right = w.address + len(line)
    unfit = int(packed[-64:].view(np.int64)[0])
    middle = cut.tiles // 2
    for ends in ((0, middle), (middle, cut.tiles)):
        sums(x.address, room.address, unfit, *ends)
    for panels in ((0, cut.panels // 2), (cut.panels // 2, cut.panels)):
        product(room.address, right, c.address, own.address, 0, cut.tiles, *panels)
    assert x.intact() and c.intact()
    return c.array.copy()


def bound(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What all products of the quarters that meet can lose."""
    m, k, n = *a.shape, b.shape[1]
    pairs = -(-m // 2)
    sizes, weights = np.abs(a).astype(np.float64), np.abs(b).astype(np.float64)
    met = sizes[np.minimum(np.arange(pairs) + pairs, m - 1)] + sizes[:pairs]
    left = met[:, : k // 2] + met[:, k // 2 :]
    both = weights[: k // 2] + weights[k // 2 :]
    quarter = (k // 2 + 6) * np.finfo(np.float32).eps * left @ (both[:, : n // 2] + both[:, n // 2 :])
    return np.tile(np.concatenate([quarter, quarter])[: 2 * pairs], 2)[:m]


SHAPES = [(45, 2 * 23, 96, 3, 1), (18, 2 * 32, 96, 3, 3), (3, 2, 32, 2, 1)]


@targets
@pytest.mark.parametrize(("m", "k", "n", "rows", "vectors"), SHAPES)
def test_tails_and_odd_rows(target: Target, m: int, k: int, n: int, rows: int, vectors: int) -> None:
    rows = min(rows, (target.vector_registers - vectors - 1) // vectors)
    vectors = min(vectors, n // 2 // target.lanes("float"))
    cut = halved(target, m, k, n, rows, vectors)
    if cut.depth % cut.tile.lanes and not target.masked_memory:
        pytest.skip("the machine has no masked memory")
    rng = np.random.default_rng(m)
    a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    want = a.astype(np.float64) @ b.astype(np.float64)
    for at_start in (False, True):
        error = np.abs(multiply(target, a, b, cut, at_start) - want)
        assert (error <= bound(a, b)).all()
        scale = np.sqrt(np.mean(want**2))
        assert error.max() <= 4e-7 * np.sqrt(k) * scale + 1e-6


@targets
def test_rows_that_may_not_meet_are_left_alone(target: Target) -> None:
    """A NaN, an infinity, zeros and rows of another size change their own results only."""
    m, k, n = 54, 2 * 41, 64
    cut = halved(target, m, k, n, 3, 1)
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    a[3, 7], a[40, 50], a[11], a[20], a[30] = np.nan, np.inf, 0, a[20] * 1e-20, a[30] * 1e20
    c = multiply(target, a, b, cut, False)
    assert np.isnan(c[3]).all() and not np.isfinite(c[40]).any() and (c[11] == 0).all()
    rest = [r for r in range(m) if r not in (3, 40)]
    want = a[rest].astype(np.float64) @ b.astype(np.float64)
    largest = np.abs(want).max(axis=1, keepdims=True)
    assert np.all(np.abs(c[rest] - want) <= k * np.finfo(np.float32).eps * 8 * largest)


def test_weights_of_unlike_columns_are_not_mixed() -> None:
    cut = halved(host(), 32, 64, 64, 4, 1)
    b = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    assert not pack_halves(b, cut)[-64:].any()
    for column, factor in ((3, 1e-3), (40, 0), (60, np.inf)):
        other = b.copy()
        other[:, column] *= np.float32(factor)
        assert pack_halves(other, cut)[-64:].view(np.int64)[0] == 1
    b[:, 3] *= np.float32(1e-6)
    a = np.random.default_rng(1).standard_normal((32, 64)).astype(np.float32)
    c, want = multiply(host(), a, b, cut, False), a.astype(np.float64) @ b.astype(np.float64)
    assert np.all(np.abs(c - want) <= 64 * 1.2e-7 * 4 * np.abs(want).max(axis=0))


@pytest.mark.parametrize("name", ["x86-64-v4", "x86-64-v3", "aarch64"])
def test_loops_are_clean(name: str) -> None:
    """Cross-compiled: every loop of a tile has its products and no spill."""
    target = level(name)
    chosen = halves(Gemm(768, 768, 128), target)
    assert chosen is not None
    cut = replace(chosen, rows=4 * chosen.tile.rows)  # tiles of one height
    module = target.module()
    emit_halves(module, "halves", cut)
    found = loops(target.assembly(str(module)))
    assert len(found) >= 7
    for loop in found:
        assert not faults(loop, cut.tile), loop


def test_chosen_where_it_pays_and_same_for_any_threads() -> None:
    target = host()
    assert halves(Gemm(512, 784, 4), target) is None and halves(Gemm(32, 784, 64), target) is None
    assert halves(Gemm(512, 783, 64), target) is None
    if target.vector_bits != 512:
        pytest.skip("the sizes are those of a machine with vectors of 512 bits")
    assert halves(Gemm(512, 784, 64), target) is not None

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(784, 512)

        def forward(self, x):
            return nn.functional.relu(self.linear(x))

    layer = Layer().eval()
    x = np.random.default_rng(2).standard_normal((64, 784)).astype(np.float32)
    results = [
        np.asarray(graphc.compile(layer, inputs={"x": "float32[64,784]"}, **options)(x))
        for options in ({"threads": 1}, {"threads": 2}, {"threads": 1, "numerics": "strict"})
    ]
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    state = layer.state_dict()
    want = x.astype(np.float64) @ state["linear.weight"].T.astype(np.float64) + state["linear.bias"]
    scale = np.sqrt(np.mean(want**2))
    assert np.abs(results[0] - np.maximum(want, 0)).max() <= 4e-7 * np.sqrt(784) * scale + 1e-6
