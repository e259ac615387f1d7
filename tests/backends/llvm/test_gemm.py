"""Matrix products against float64 at prime extents, tails, strides and pieces; and the promise about bits.

The bound is that of a chain of K fused multiply-adds, K * eps * sum |a||b|, which holds for any order.
"""

import ctypes
import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest

from graphc.backends.llvm.batched import Batch, emit_batched
from graphc.backends.llvm.blocking import Blocking, Gemm, blocking, panel_tile, panels, row_tiles
from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.gemm import emit_gemm
from graphc.backends.llvm.jit import Code, emit_object, load
from graphc.backends.llvm.lint import faults, loops
from graphc.backends.llvm.packing import emit_pack_b, pack_b, packed_bytes
from graphc.backends.llvm.target import Target, host, level
from graphc.backends.llvm.tile import Epilogue, Tile, tiles

DTYPES = {"float": np.float32, "double": np.float64}
RUNNABLE = [t for t in (host(), level("x86-64-v3")) if t.triple == host().triple and host().fma]
targets = pytest.mark.parametrize("target", RUNNABLE, ids=lambda t: t.cpu)


def memory(shape: tuple[int, ...], dtype: type, fill: float = np.nan) -> np.ndarray:
    """An array aligned to a page, which kernels may ask of packed operands."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(count + 4096, np.uint8)
    start = -raw.ctypes.data % 4096
    array = raw[start : start + count].view(dtype).reshape(shape)
    array[...] = fill
    return array


def aligned(values: np.ndarray) -> np.ndarray:
    array = memory(values.shape, values.dtype.type)
    array[...] = values
    return array


@functools.lru_cache(8)
def compiled(text: str, target: Target, name: str) -> Code:
    return load(emit_object(text, target), [name], target)


def run(text: str, target: Target, name: str, *arguments: np.ndarray | int) -> None:
    """Compile and call once; arrays go as pointers."""
    code = compiled(text, target, name)
    types = [ctypes.c_int64 if isinstance(a, int) else ctypes.c_void_p for a in arguments]
    plain = [a if isinstance(a, int) else a.ctypes.data for a in arguments]
    ctypes.CFUNCTYPE(None, *types)(code.address(name))(*plain)


def within_bound(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    k = a.shape[-1]
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    bound = max(k, 1) * np.finfo(c.dtype).eps * (np.abs(wide_a) @ np.abs(wide_b))
    if c.dtype == np.float64:
        bound *= 2  # the reference rounds as well
    assert np.all(np.abs(c - wide_a @ wide_b) <= bound)


def multiply(
    target: Target,
    a: np.ndarray,
    b: np.ndarray,
    spec: Gemm,
    cut: Blocking | None = None,
    epilogue: Epilogue | None = None,
    **operands: np.ndarray,
) -> np.ndarray:
    """C by the emitted kernel; `a` is passed as the memory it is a view of."""
    cut = cut or blocking(spec, target)
    module = target.module()
    emit_gemm(module, "gemm", spec, target, epilogue, dict.fromkeys(operands, "ptr readonly"), cut)
    m, k = a.shape
    n = b.shape[1]
    c = memory((m, spec.c_stride or n), a.dtype.type)
    guard = memory((cut.scratch + 64,), np.uint8, fill=77)
    b = aligned(pack_b(b, cut.tile.width)) if spec.b_stride is None else b
    whole = (0, cut.blocks(m), 0, panels(n, cut.tile))
    run(str(module), target, "gemm", a, b, c, guard, m, k, *whole, *operands.values())
    assert np.all(guard[cut.scratch :] == 77)
    assert np.all(np.isnan(c[:, n:]))
    return c[:, :n]


def operands(m: int, n: int, k: int, element: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(m * 10007 + n * 101 + k)
    dtype = DTYPES[element]
    return rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)


@targets
@pytest.mark.parametrize("element", DTYPES)
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [
        (1, 1, 1),
        (1, 257, 61),
        (7, 13, 3),
        (31, 37, 41),
        (61, 97, 1),
        (197, 53, 29),
        (13, 131, 127),
        (5, 16, 0),
    ],
)
def test_prime_extents(target: Target, element: str, m: int, n: int, k: int) -> None:
    a, b = operands(m, n, k, element)
    for spec in (Gemm(n, k, None, element), Gemm(n, k, m, element)):
        within_bound(multiply(target, a, b, spec), a, b)


@targets
@pytest.mark.parametrize("element", DTYPES)
def test_every_tile_and_every_remainder(target: Target, element: str) -> None:
    """All widths of tile; for each, all numbers of rows up to two tiles, through one kernel."""
    for tile in tiles(target, element):
        n, k = tile.width * 2 + tile.lanes + 3, 23
        spec = Gemm(n, k, None, element)
        cut = Blocking(tile, tile.rows * 2, None, False, 0)
        a, b = operands(2 * tile.rows, n, k, element)
        whole = multiply(target, a, b, spec, cut)
        within_bound(whole, a, b)
        module = target.module()
        emit_gemm(module, "gemm", spec, target, cut=cut)
        code = compiled(str(module), target, "gemm")
        kernel = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 6)(code.address("gemm"))
        packed = aligned(pack_b(b, tile.width))
        for m in range(2 * tile.rows):
            c = memory((m + 1, n), DTYPES[element])
            kernel(a.ctypes.data, packed.ctypes.data, c.ctypes.data, 0, m, k, 0, 1, 0, panels(n, tile))
            np.testing.assert_array_equal(c[:m], whole[:m])
            assert np.all(np.isnan(c[m]))


@targets
def test_bits_depend_on_nothing_but_the_row(target: Target) -> None:
    """M, the tile, the cut of the contraction, copies, and the ranges of threads leave every bit alone."""
    m, n, k = 53, 150, 517
    a, b = operands(m, n, k, "float")
    spec = Gemm(n, k)
    cut = blocking(spec, target)
    want = multiply(target, a, b, spec, cut)
    within_bound(want, a, b)
    narrow = Tile(3, 1, target.lanes("float"), "float")
    for other in (
        replace(cut, tile=narrow, block=12),
        replace(cut, piece=128, block=cut.tile.rows),
        replace(cut, piece=100, copy_a=True, block=2 * cut.tile.rows, scratch=2 * cut.tile.rows * 128 * 4),
    ):
        np.testing.assert_array_equal(multiply(target, a, b, spec, other), want)
    for row in (0, 17, 52):
        np.testing.assert_array_equal(multiply(target, a[row : row + 1], b, spec), want[row : row + 1])

    cut = replace(cut, block=cut.tile.rows)
    module = target.module()
    emit_gemm(module, "gemm", spec, target, cut=cut)
    c, packed = memory((m, n), np.float32), aligned(pack_b(b, cut.tile.width))
    blocks, columns = cut.blocks(m), panels(n, cut.tile)
    for i, j in itertools.product(range(2), range(2)):
        rows = (0, 2) if i == 0 else (2, blocks)
        part = (0, 1) if j == 0 else (1, columns)
        run(str(module), target, "gemm", a, packed, c, packed, m, k, *rows, *part)
    np.testing.assert_array_equal(c, want)


@targets
@pytest.mark.parametrize(("m", "n", "k"), [(45, 270, 512), (30, 200, 300)])
def test_transposed_and_strided_operands(target: Target, m: int, n: int, k: int) -> None:
    """A given as (K, M); A with gaps; C with gaps: in place and copied, each."""
    a, b = operands(m, n, k, "float")
    turned = np.ascontiguousarray(a.T)
    spec = Gemm(n, k, None, a_strides=(1, m))
    natural = blocking(spec, target)
    for cut in (natural, replace(natural, copy_a=False, scratch=0)):
        within_bound(multiply(target, turned.T, b, spec, cut), a, b)
    spaced = np.full((m, 2 * k + 5), np.nan, np.float32)
    spaced[:, : 2 * k : 2] = a
    spec = Gemm(n, k, None, a_strides=(2 * k + 5, 2), c_stride=n + 3)
    within_bound(multiply(target, spaced[:, : 2 * k : 2], b, spec), a, b)
    aliased = np.full((m, 1024), np.nan, np.float32)
    aliased[:, :k] = a
    spec = Gemm(n, k, m, a_strides=(1024, 1))
    within_bound(multiply(target, aliased[:, :k], b, spec), a, b)


@targets
@pytest.mark.parametrize("k", [0, 1, 130, 700])
def test_a_contraction_known_at_run_time(target: Target, k: int) -> None:
    """The gradient of weights: A transposed, both extents of C fixed, the batch contracted."""
    m, n = 40, 75
    a, b = operands(m, n, k, "float")
    turned = np.ascontiguousarray(a.T)
    spec = Gemm(n, None, m, a_strides=(1, m))
    cut = replace(blocking(spec, target), piece=256)
    within_bound(multiply(target, turned.T, b, spec, cut), a, b)


@targets
@pytest.mark.parametrize("m", [1, 2, 9])
def test_b_in_place(target: Target, m: int) -> None:
    n, k = 35 + 8 * target.lanes("float"), 19
    a, b = operands(m, n, k, "float")
    within_bound(multiply(target, a, b, Gemm(n, k, None, b_stride=n)), a, b)


@targets
@pytest.mark.parametrize("piece", [None, 16])
def test_epilogue(target: Target, piece: int | None) -> None:
    """Bias, scale per row, residual and activation, once each, also when the contraction is cut."""
    m, n, k = 19, 83, 40
    a, b = operands(m, n, k, "float")
    rng = np.random.default_rng(5)
    bias, residual = rng.standard_normal(n).astype(np.float32), rng.standard_normal((m, n)).astype(np.float32)
    scale = rng.standard_normal(m).astype(np.float32)

    def epilogue(f: Function, acc, site):
        scaled = f.fmul(acc, site.per_row(f.scale))
        return f.maximum(f.fadd(f.fadd(scaled, site.per_column(f.bias)), site.like_output(f.residual)), 0.0)

    spec = Gemm(n, k)
    cut = replace(blocking(spec, target), piece=piece)
    plain = multiply(target, a, b, spec)
    got = multiply(target, a, b, spec, cut, epilogue, bias=bias, residual=residual, scale=scale)
    np.testing.assert_array_equal(got, np.maximum(plain * scale[:, None] + bias + residual, np.float32(0)))


@targets
@pytest.mark.parametrize("element", DTYPES)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("fixed", [False, True])
def test_packing_at_run_time(target: Target, element: str, transposed: bool, fixed: bool) -> None:
    for n, k in ((1, 1), (3, 40), (70, 37), (96, 32)):
        tile = panel_tile(target, n, element)
        _, b = operands(1, n, k, element)
        source = np.ascontiguousarray(b.T) if transposed else b
        module = target.module()
        emit_pack_b(module, "pack", target, tile, n, k if fixed else None, source.shape[1], transposed)
        want = pack_b(b, tile.width)
        assert want.nbytes == packed_bytes(k, n, tile.width, element)
        packed = memory(want.shape, DTYPES[element])
        run(str(module), target, "pack", source, packed, k, 0, panels(n, tile))
        np.testing.assert_array_equal(packed, want)


@targets
def test_attention_scores_in_one_batch(target: Target) -> None:
    """Q K^T of every head of every sample, straight from (sample, token, head, channel) arrays."""
    samples, tokens, heads, channels = 2, 23, 3, 20
    rng = np.random.default_rng(1)
    q, key = (rng.standard_normal((samples, tokens, heads, channels)).astype(np.float32) for _ in range(2))
    row = heads * channels
    spec = Gemm(tokens, channels, tokens, a_strides=(row, 1))
    cut = blocking(spec, target)
    module = target.module()
    kernel = emit_gemm(module, "scores", spec, target, cut=cut)
    pack = emit_pack_b(module, "pack", target, cut.tile, tokens, channels, row, transposed=True)
    step = (tokens * row, channels)
    batch = Batch((heads,), step, step, (heads * tokens * tokens, tokens * tokens))
    emit_batched(module, "batched", kernel, spec, cut, batch, pack=pack)
    scores = memory((samples, heads, tokens, tokens), np.float32)
    packed = memory((packed_bytes(channels, tokens, cut.tile.width, "float"),), np.uint8, fill=0)
    for start, stop in ((0, 4), (4, 6)):
        run(str(module), target, "batched", q, key, scores, packed, packed, tokens, channels, start, stop)
    within_bound(scores, q.transpose(0, 2, 1, 3), key.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("m", range(1, 60))
def test_row_tiles_cover_the_rows(m: int) -> None:
    for tallest in (1, 2, 3, 6, 9, 14):
        heights = row_tiles(m, tallest)
        assert sum(heights) == m and max(heights) <= tallest


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v4", "aarch64"])
@pytest.mark.parametrize("element", DTYPES)
def test_kernels_compile_to_clean_loops(name: str, element: str) -> None:
    """Cross-compiled: in the whole kernel, every loop that is a tile has its products and no spill."""
    target = level(name)
    spec = Gemm(8 * 32, 512, 28 * 6, element)
    cut = blocking(spec, target)
    module = target.module()
    emit_gemm(module, "gemm", spec, target, cut=cut)
    found = loops(target.assembly(str(module)))
    assert found
    for loop in found:
        heights = set(row_tiles(cut.block, cut.tile.rows))
        heights |= set(row_tiles(spec.m % cut.block or cut.block, cut.tile.rows))
        assert any(not faults(loop, cut.tile.with_rows(height)) for height in heights), loop
