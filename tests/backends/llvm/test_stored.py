"""Weights in fewer bits: decoded exactly, multiplied like float32, and never silently wrong.

fp16: the product has the very bits of the float32 product with the rounded weights. int8: the sums are those of whole
numbers, so the bound is that of the chain of K multiply-adds and one more rounding for the scale.
"""

import ctypes
from dataclasses import replace

import numpy as np
import pytest

import graphc
from graphc import nn
from graphc.backends.llvm.blocking import Gemm, blocking, panels
from graphc.backends.llvm.gemm import emit_gemm
from graphc.backends.llvm.jit import emit_object, load
from graphc.backends.llvm.packing import pack_stored
from graphc.backends.llvm.stored import Stored, stored_as
from graphc.backends.llvm.target import host, level
from graphc.errors import UsageError, WeightsError
from graphc.precision import Precision, deviation, split_weights
from tests.backends.llvm.guarded import Guarded
from tests.backends.llvm.test_gemm import RUNNABLE, multiply, operands, run, within_bound

EVERY = [*RUNNABLE, *([level("x86-64-v2")] if host().triple.startswith("x86_64") else [])]
everywhere = pytest.mark.parametrize("target", EVERY, ids=lambda t: t.cpu)
SHAPES = [(1, 257, 61), (1, 512, 96), (7, 13, 3), (31, 37, 41), (61, 97, 1), (40, 53, 1100)]


@everywhere
def test_every_half_is_decoded_exactly(target):
    stored = stored_as("fp16", target)
    module = target.module()
    f = module.function("decode", {"x": "ptr", "y": "ptr"})
    with f.loop(0, 65536, 8) as i:
        f.store(stored.load(f, f.gep(f.x, f.mul(i, 2)), 8), f.gep(f.y, f.mul(i, 4)), 4)
    f.ret()
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    every = np.where(np.isfinite(every), every, np.float16(0))
    got = np.empty(65536, np.float32)
    run(str(module), target, "decode", every, got)
    np.testing.assert_array_equal(got.view(np.uint32), every.astype(np.float32).view(np.uint32))


def product(target, a, b, word, m):
    """The kernel's sums, before any scale, with the packed weights between guard pages."""
    n, k = b.shape[1], b.shape[0]
    stored = stored_as(word, target)
    spec = Gemm(n, k, m, stored=stored)
    cut = blocking(spec, target)
    module = target.module()
    emit_gemm(module, "gemm", spec, target, cut=cut)
    code = load(emit_object(str(module), target), ["gemm"], target)
    kernel = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 6)(code.address("gemm"))
    packed = pack_stored(b, cut.tile.width, stored)
    rest = np.zeros(-len(packed) % 64, np.uint8)
    buffers = [Guarded(x) for x in (a, np.concatenate([rest, packed]), np.zeros((len(a), n), np.float32))]
    scratch = np.zeros(cut.scratch + 64, np.uint8)
    kernel(
        buffers[0].address, buffers[1].address + len(rest), buffers[2].address, scratch.ctypes.data,
        len(a), k, 0, cut.blocks(len(a)), 0, panels(n, cut.tile),
    )  # fmt: skip
    assert all(buffer.intact() for buffer in buffers)
    return buffers[2].array.copy(), packed, cut, stored


@everywhere
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_halves_give_the_bits_of_their_float32_values(target, m, n, k):
    a, b = operands(m, n, k, "float")
    rounded = b.astype(np.float16).astype(np.float32)
    got, *_ = product(target, a, b, "fp16", None)
    np.testing.assert_array_equal(got, multiply(target, a, rounded, Gemm(n, k, None)))
    fixed, *_ = product(target, a, b, "fp16", m)
    np.testing.assert_array_equal(fixed, got)


@everywhere
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_bytes_are_summed_as_whole_numbers(target, m, n, k):
    a, b = operands(m, n, k, "float")
    got, packed, cut, stored = product(target, a, b, "int8", m)
    at = stored.panels_bytes(k, n, cut.tile.width)
    scale = packed[at : at + 4 * n].view(np.float32)
    np.testing.assert_array_equal(scale, np.abs(b).max(axis=0) / np.float32(127))
    whole = np.rint(b / scale)
    assert np.abs(whole).max() == 127
    within_bound(got, a, whole)
    # A weight is off by at most half a step of its column.
    assert np.all(np.abs(whole * scale - b) <= scale * (0.5 + 1e-6))


def test_a_column_of_zeros_has_no_scale():
    stored = stored_as("int8", host())
    packed = pack_stored(np.zeros((3, 5), np.float32), 16, stored)
    assert not packed.any()


@pytest.mark.parametrize("word", ["fp16", "int8"])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Tanh])
def test_a_model_with_stored_weights(word, activation):
    """Bias, activation (short and long epilogues), tails; against float64 with the stored values of the weights."""
    graphc.manual_seed(3)
    net = nn.Sequential(nn.Linear(61, 97), activation(), nn.Linear(97, 7, bias=False))
    got = graphc.compile(net, {"x": "float32[N,61]"}, weights=word)
    same = [graphc.compile(net, {"x": "float32[N,61]"}, weights=word, threads=2), got]
    arrays = {name: _as_stored(value, word) for name, value in net.state_dict().items()}
    exact = graphc.compile(net, {"x": "float32[N,61]"}, weights=arrays)
    for batch in (1, 3, 37):
        x = np.random.default_rng(batch).normal(size=(batch, 61)).astype(np.float32)
        results = [model(x) for model in same]
        np.testing.assert_array_equal(results[0], results[1])
        # Two chains of at most 97 multiply-adds and an activation of slope at most 1.13.
        size = np.abs(x) @ np.abs(arrays["0.weight"]).T + np.abs(arrays["0.bias"])
        bound = 2 * (97 + 16) * np.finfo(np.float32).eps * 1.13 * (size @ np.abs(list(arrays.values())[-1]).T)
        assert np.all(np.abs(results[0] - exact(x)) <= bound)
    assert got.precision.weights == word and 0 < got.precision.deviation < (2e-3 if word == "fp16" else 5e-2)


@pytest.mark.parametrize("word", ["fp16", "int8"])
@pytest.mark.parametrize(("kind", "width"), [("LSTM", 32), ("LSTM", 37), ("GRU", 96)])
def test_recurrent_layers_with_stored_weights(kind, width, word):
    """Whole panels, a narrow one, woven ones: the loop reads stored weights, and computes what they stand for."""
    graphc.manual_seed(3)
    net = getattr(nn, kind)(5, width)
    x = np.random.default_rng(width).normal(size=(7, 2, 5)).astype(np.float32)
    arrays = {name: _as_stored(value, word) for name, value in net.state_dict().items()}
    results = []
    for rows in (1, 2):
        given = np.ascontiguousarray(x[:, :rows])
        inputs = {"input": f"float32[7,{rows},5]"}
        got = graphc.compile(net, inputs, weights=word)
        exact = graphc.compile(net, inputs, weights=arrays)
        assert 0 < got.precision.deviation < (2e-3 if word == "fp16" else 5e-2)
        results.append(got(given)[0])
        if word == "fp16":
            for a, b in zip(got(given), exact(given), strict=True):
                np.testing.assert_array_equal(a, b)
        # Sums of width + 7 terms below 1, scaled once; functions of 4 ulp; errors of earlier steps are damped.
        np.testing.assert_allclose(
            got(given)[0], exact(given)[0], rtol=0, atol=7 * 4 * (width + 40) * 2.0**-24
        )
    np.testing.assert_array_equal(results[0], results[1][:, :1])


def _as_stored(value, word):
    if value.ndim != 2:
        return value
    if word == "fp16":
        return value.astype(np.float16).astype(np.float32)
    scale = np.abs(value).max(axis=1, keepdims=True) / np.float32(127)
    return (np.rint(value / scale) * scale).astype(np.float32)


def test_sharing_changes_no_bit():
    """Large enough for two threads to divide each product."""
    graphc.manual_seed(1)
    net = nn.Sequential(nn.Linear(512, 1031), nn.ReLU(), nn.Linear(1031, 512))
    for rows in (1, 64):
        x = np.random.default_rng(0).normal(size=(rows, 512)).astype(np.float32)
        for word in ("fp16", "int8"):
            one, two = (
                graphc.compile(net, {"x": f"float32[{rows},512]"}, weights=word, threads=n) for n in (1, 2)
            )
            np.testing.assert_array_equal(one(x), two(x))


@pytest.mark.parametrize(
    ("name", "instruction"), [("x86-64-v3", "vcvtph2ps"), ("x86-64-v4", "vcvtph2ps"), ("aarch64", "fcvtl")]
)
def test_the_processor_converts_halves_where_it_can(name, instruction):
    target = level(name)
    module = target.module()
    emit_gemm(module, "gemm", Gemm(64, 64, 8, stored=stored_as("fp16", target)), target)
    text = target.assembly(str(module))
    assert instruction in text and "__extendhfsf2" not in text and "gnu_h2f" not in text


def test_a_processor_without_half_precision_calls_nothing():
    target = level("x86-64-v2")
    module = target.module()
    emit_gemm(module, "gemm", Gemm(64, 64, 8, stored=stored_as("fp16", target)), target)
    text = target.assembly(str(module))
    assert "__extendhfsf2" not in text and "gnu_h2f" not in text


def test_numbers_that_cannot_be_stored_are_refused():
    net = nn.Linear(3, 2)
    for bad, words in ((np.inf, ("fp16", "int8")), (70000.0, ("fp16",))):
        net.weight.data = np.full((2, 3), bad, np.float32)
        for word in words:
            with pytest.raises(WeightsError):
                graphc.compile(net, {"x": "float32[N,3]"}, weights=word)
    graphc.compile(net, {"x": "float32[N,3]"}, weights="int8")


def test_what_may_be_said_of_weights(tmp_path):
    net = nn.Linear(3, 2)
    arrays = {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(2, np.float32)}
    both = graphc.compile(net, {"x": "float32[N,3]"}, weights=(arrays, "fp16"))
    np.testing.assert_array_equal(both(np.ones((1, 3), np.float32)), [[3, 3]])
    assert both.precision == Precision("fp16", 0.0)
    assert graphc.compile(net, {"x": "float32[N,3]"}).precision == Precision()
    with pytest.raises(UsageError):
        graphc.compile(net, {"x": "float32[N,3]"}, weights="fp16", backend="numpy")
    with pytest.raises(UsageError):
        split_weights((None, "fp8"))


def test_an_artefact_keeps_the_form_and_the_loss(tmp_path):
    graphc.manual_seed(2)
    net = nn.Sequential(nn.Linear(19, 31), nn.ReLU(), nn.Linear(31, 5))
    x = np.random.default_rng(5).normal(size=(3, 19)).astype(np.float32)
    model = graphc.compile(net, {"x": "float32[N,19]"}, weights="int8")
    model.save(tmp_path / "net.graphc")
    loaded = graphc.load(tmp_path / "net.graphc")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.manifest.weights == "int8"
    assert float(loaded.manifest.weights_deviation) == pytest.approx(model.precision.deviation, rel=1e-2)


def test_deviation():
    exact = {"x": np.array([4.0, -8.0])}
    assert deviation(lambda x: x + 0.5, lambda x: x, exact) == 0.5 / 8
    assert deviation(lambda x: x * np.inf, lambda x: x, exact) == np.inf
    whole = np.arange(2)
    assert deviation(lambda x: (x, whole), lambda x: (x, whole + 1), exact) == 0


def test_stored_sizes():
    stored = Stored("int8", False)
    assert stored.panels_bytes(3, 17, 16) == 128 and stored.packed_bytes(3, 17, 16) == 128 + 32 * 4
    assert replace(stored, word="fp16").packed_bytes(3, 17, 16) == 192
