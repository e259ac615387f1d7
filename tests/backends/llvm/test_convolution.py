"""Direct convolution against a float64 einsum over windows: strides, padding, dilation, groups, odd extents.

The bound is that of the chain of products of one output: K * eps * sum |x||w|.
"""

import ctypes
from dataclasses import replace

import numpy as np
import pytest

from graphc.backends.llvm.blocked import BLOCK, Image, emit_clear_halo, emit_convert
from graphc.backends.llvm.convolution import emit_convolution
from graphc.backends.llvm.convolution_plan import Convolution, Tiling, pack_weights, tiling
from graphc.backends.llvm.emitter import Function
from graphc.backends.llvm.jit import emit_object, load
from graphc.backends.llvm.lint import faults, loops
from graphc.backends.llvm.target import Target, host, level
from graphc.backends.llvm.tile import Epilogue

DTYPES = {"float": np.float32, "double": np.float64}
RUNNABLE = [t for t in (host(), level("x86-64-v3")) if t.triple == host().triple and host().fma]
targets = pytest.mark.parametrize("target", RUNNABLE, ids=lambda t: t.cpu)


def memory(size: int, fill: int = 0xFF) -> np.ndarray:
    """Bytes at a page's start; all ones make every float a NaN."""
    raw = np.full(size + 4096, fill, np.uint8)
    return raw[-raw.ctypes.data % 4096 :][:size]


def run(text: str, target: Target, name: str, *arguments: np.ndarray | int) -> None:
    code = load(emit_object(text, target), [name], target)
    types = [ctypes.c_int64 if isinstance(a, int) else ctypes.c_void_p for a in arguments]
    plain = [a if isinstance(a, int) else a.ctypes.data for a in arguments]
    ctypes.CFUNCTYPE(None, *types)(code.address(name))(*plain)


def lay_out(x: np.ndarray, image: Image) -> np.ndarray:
    """(N, C, H, W) in the memory of an image; NaN where nothing may be read."""
    n = len(x)
    data = memory(n * image.bytes).view(x.dtype)
    top, left, bottom, right = image.halo
    view = data.reshape(n, image.blocks, top + image.height + bottom, left + image.width + right, image.block)
    view[..., :, :, :] = np.nan
    for c in range(image.channels):
        plane = view[:, c // image.block, :, :, c % image.block]
        plane[...] = 0
        plane[:, top : top + image.height, left : left + image.width] = x[:, c]
    return data


def read_back(data: np.ndarray, image: Image, n: int) -> np.ndarray:
    top, left, bottom, right = image.halo
    view = data.reshape(n, image.blocks, top + image.height + bottom, left + image.width + right, image.block)
    inside = view[:, :, top : top + image.height, left : left + image.width]
    plain = np.moveaxis(inside, -1, 2).reshape(n, -1, image.height, image.width)
    assert np.all(plain[:, image.channels :] == 0)
    return plain[:, : image.channels]


def reference(x: np.ndarray, w: np.ndarray, spec: Convolution) -> np.ndarray:
    """The sum over windows in float64."""
    x, w = x.astype(np.float64), w.astype(np.float64)
    top, left, bottom, right = spec.halo
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    height, width = spec.result.height, spec.result.width
    (sh, sw), (dh, dw), g = spec.stride, spec.dilation, spec.groups
    n = len(x)
    y = np.zeros((n, g, w.shape[0] // g, height, width))
    grouped = w.reshape(g, w.shape[0] // g, *w.shape[1:])
    for p in range(spec.kernel[0]):
        for q in range(spec.kernel[1]):
            part = padded[:, :, p * dh : p * dh + (height - 1) * sh + 1 : sh]
            part = part[..., q * dw : q * dw + (width - 1) * sw + 1 : sw].reshape(n, g, -1, height, width)
            y += np.einsum("ngchw,goc->ngohw", part, grouped[..., p, q])
    return y.reshape(n, -1, height, width)


def convolve(
    target: Target,
    x: np.ndarray,
    w: np.ndarray,
    spec: Convolution,
    cut: Tiling | None = None,
    epilogue: Epilogue | None = None,
    **operands: np.ndarray,
) -> np.ndarray:
    cut = cut or tiling(spec, target)
    module = target.module()
    emit_convolution(module, "conv", spec, target, epilogue, dict.fromkeys(operands, "ptr readonly"), cut)
    n = len(x)
    y = memory(n * spec.result.bytes).view(x.dtype)
    packed = pack_weights(w, spec, cut.tile.width)
    weights = memory(packed.nbytes).view(x.dtype)
    weights[:] = packed.reshape(-1)
    rows, columns = n * cut.row_groups(spec), cut.panels(spec)
    # Two calls, as two threads would share the rows.
    for row0, row1 in ((0, rows // 2), (rows // 2, rows)):
        arguments = [lay_out(x, spec.source), weights, y, row0, row1, 0, columns, *operands.values()]
        run(str(module), target, "conv", *arguments)
    return read_back(y, spec.result, n)


def case(
    inputs: int,
    outputs: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    block: int = BLOCK,
    element: str = "float",
) -> Convolution:
    """The convolution whose result has the usual extents."""
    height, width = (
        (size[i] + padding[i] + padding[i + 2] - (kernel[i] - 1) * dilation[i] - 1) // stride[i] + 1
        for i in range(2)
    )
    source = Image(inputs, *size, halo=padding, block=block, element=element)
    result = Image(outputs, height, width, element=element)
    return Convolution(source, result, kernel, stride, padding[:2], dilation, groups)


def data(spec: Convolution, n: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(spec.source.channels * 1009 + spec.result.channels)
    dtype = DTYPES[spec.source.element]
    x = rng.standard_normal((n, spec.source.channels, spec.source.height, spec.source.width)).astype(dtype)
    w = rng.standard_normal((spec.result.channels, spec.group_channels[0], *spec.kernel)).astype(dtype)
    return x, w


def check(target: Target, spec: Convolution) -> None:
    x, w = data(spec)
    y = convolve(target, x, w, spec)
    chain = spec.group_channels[0] * spec.kernel[0] * spec.kernel[1]
    bound = 2 * chain * np.finfo(y.dtype).eps * reference(np.abs(x), np.abs(w), spec)
    assert np.all(np.abs(y - reference(x, w, spec)) <= bound)


SAME = (1, 1, 1, 1)
CASES = {
    "3x3": case(32, 64, (14, 14), (3, 3), padding=SAME),
    "primes": case(17, 19, (11, 13), (3, 5), padding=(1, 2, 1, 2)),
    "narrow": case(16, 32, (7, 7), (3, 3), padding=SAME),
    "tiny": case(5, 7, (3, 2), (3, 2), padding=SAME),
    "one pixel": case(24, 33, (3, 3), (3, 3)),
    "1x1": case(48, 80, (9, 9), (1, 1)),
    "1x1 stride 2": case(40, 48, (15, 15), (1, 1), stride=(2, 2)),
    "stem": case(3, 64, (35, 37), (7, 7), stride=(2, 2), padding=(3, 3, 3, 3), block=3),
    "plain": case(1, 6, (28, 28), (5, 5), block=1),
    "stride": case(20, 16, (19, 23), (3, 3), stride=(2, 3), padding=SAME),
    "dilation": case(18, 48, (17, 15), (3, 3), padding=(2, 3, 2, 3), dilation=(2, 3)),
    "uneven padding": case(16, 16, (10, 9), (2, 2), padding=(0, 0, 1, 1)),
    "whole groups": case(64, 96, (8, 9), (3, 3), padding=SAME, groups=2),
    "many whole groups": case(64, 64, (5, 5), (3, 3), padding=SAME, groups=4),
    "small groups": case(24, 40, (6, 7), (3, 3), padding=SAME, groups=4),
    "depthwise": case(37, 37, (9, 8), (3, 3), padding=SAME, groups=37),
    "depthwise, two each": case(10, 20, (9, 8), (3, 3), stride=(2, 2), padding=SAME, groups=10),
    "wide groups": case(36, 60, (5, 4), (1, 3), groups=3),
    "double": case(20, 40, (9, 16), (3, 3), padding=SAME, element="double"),
    "double depthwise": case(20, 20, (9, 16), (3, 3), padding=SAME, groups=20, element="double"),
}


@targets
@pytest.mark.parametrize("name", CASES)
def test_against_the_sum_over_windows(target: Target, name: str) -> None:
    check(target, CASES[name])


@targets
def test_result_with_a_border_for_the_next_one(target: Target) -> None:
    spec = case(16, 20, (6, 5), (3, 3), padding=SAME)
    spec = replace(spec, result=replace(spec.result, halo=(1, 2, 3, 1)))
    check(target, spec)


@targets
def test_epilogue_of_bias_residual_and_activation(target: Target) -> None:
    for spec in (CASES["primes"], CASES["depthwise"]):
        x, w = data(spec)
        rng = np.random.default_rng(3)
        plain = convolve(target, x, w, spec)
        bias = rng.standard_normal(spec.result.channels).astype(np.float32)
        residual = rng.standard_normal(plain.shape).astype(np.float32)

        def epilogue(f: Function, acc, site):
            biased = f.fadd(acc, site.per_column(f.bias))
            return f.maximum(f.fadd(biased, site.like_output(f.residual)), 0.0)

        laid = lay_out(residual, spec.result)
        got = convolve(target, x, w, spec, None, epilogue, bias=bias, residual=laid)
        want = np.maximum(plain + bias[:, None, None] + residual, np.float32(0))
        np.testing.assert_array_equal(got, want)


@targets
def test_a_group_keeps_its_own_infinities(target: Target) -> None:
    """Groups that share a vector must not see each other's values, not even times zero."""
    spec = CASES["small groups"]
    x, w = data(spec)
    poisoned = x.copy()
    poisoned[:, 0] = np.nan
    clean, got = convolve(target, x, w, spec), convolve(target, poisoned, w, spec)
    own = spec.group_channels[1]
    assert np.all(np.isnan(got[:, :own]))
    np.testing.assert_array_equal(got[:, own:], clean[:, own:])


def test_bits_do_not_depend_on_the_tile_or_the_batch() -> None:
    spec = CASES["3x3"]
    x, w = data(spec)
    want = convolve(host(), x, w, spec)
    if len(RUNNABLE) > 1:
        np.testing.assert_array_equal(convolve(RUNNABLE[1], x, w, spec), want)
    np.testing.assert_array_equal(convolve(host(), x[1:], w, spec), want[1:])


@pytest.mark.parametrize("channels", [1, 3, 16, 37])
@targets
def test_conversions_between_plain_and_blocked(target: Target, channels: int) -> None:
    n, height, width = 2, 5, 21
    x = np.random.default_rng(0).standard_normal((n, channels, height, width)).astype(np.float32)
    plain = Image(channels, height, width, block=1)
    layouts = [plain, Image(channels, height, width), Image(channels, height, width, halo=(1, 2, 0, 3))]
    if channels == 3:
        layouts.append(Image(channels, height, width, halo=SAME, block=3))
    for source in layouts:
        for destination in layouts:
            if source.block != destination.block and 1 not in (source.block, destination.block):
                with pytest.raises(ValueError, match="no conversion"):
                    emit_convert(target.module(), "convert", target, source, destination)
                continue
            module = target.module()
            emit_convert(module, "convert", target, source, destination)
            emit_clear_halo(module, "clear", destination)
            out = memory(n * destination.bytes).view(np.float32)
            planes = n * max(source, destination, key=lambda i: i.block).blocks
            run(str(module), target, "convert", lay_out(x, source), out, 0, planes)
            run(str(module), target, "clear", out, 0, n * destination.blocks)
            if destination.block == source.block and channels % BLOCK:
                out[np.isnan(out)] = 0  # the channels that fill up a block are copied as they are
            np.testing.assert_array_equal(out, np.nan_to_num(lay_out(x, destination)))


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v4", "aarch64"])
def test_kernels_compile_to_clean_loops(name: str) -> None:
    """The run over a window row and a block of channels is one loop of products, no spill."""
    target = level(name)
    spec = case(64, 64, (28, 28), (3, 3), padding=SAME)
    cut = tiling(spec, target)
    module = target.module()
    emit_convolution(module, "conv", spec, target, cut=cut)
    found = loops(target.assembly(str(module)))
    assert found
    heights = {width * cut.span for width in cut.widths}
    for loop in found:
        assert any(not faults(loop, cut.tile.with_rows(height)) for height in heights), loop


def test_a_border_too_small_is_refused() -> None:
    spec = case(16, 16, (8, 8), (3, 3), padding=SAME)
    with pytest.raises(ValueError, match="border"):
        replace(spec, source=replace(spec.source, halo=(1, 1, 1, 0)))
    with pytest.raises(ValueError, match="divide"):
        case(16, 16, (8, 8), (3, 3), groups=3)
