"""Convolution and pooling in ONNX's words, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.backends.onnx.registry import Names, said
from graphc.backends.onnx.writer import Writer
from graphc.errors import UnsupportedError
from graphc.ir.dims import Dim, product
from graphc.ir.graph import Node
from graphc.ops.pooling import divisors
from graphc.ops.windows import span


@said("conv")
def conv(w: Writer, node: Node, x: Names) -> str:
    return str(w.add("Conv", x, node.name, **_windows(node.attributes), group=node.attributes["groups"]))


def _windows(a: Any) -> dict[str, Any]:
    found = {
        "strides": list(a["strides"]),
        "pads": [low for low, _ in a["padding"]] + [high for _, high in a["padding"]],
    }
    if "dilation" in a:
        found["dilations"] = list(a["dilation"])
    if "kernel" in a:
        found["kernel_shape"] = list(a["kernel"])
    return found


@said("conv_dx")
def conv_dx(w: Writer, node: Node, x: Names) -> str:
    kernel = node.inputs[1].shape[2:]
    return _transposed(w, node, x, kernel, node.attributes["dilation"], node.attributes["groups"])


def _transposed(
    w: Writer, node: Node, x: Names, kernel: Sequence[Dim], dilation: Sequence[int], groups: int
) -> str:
    """A transposed convolution of the node's size; what the stride leaves open is added as zeros."""
    a = node.attributes
    counts = node.inputs[0].shape[2:]
    more = [
        size - ((n - 1) * s + span(k, d) - low - high)
        for size, n, s, k, d, (low, high) in zip(
            a["size"], counts, a["strides"], kernel, dilation, a["padding"], strict=True
        )
    ]
    if any(not isinstance(m, int) or m < 0 for m in more):
        raise UnsupportedError("ONNX: a transposed convolution of this size", span=node.provenance.span)
    windows = _windows({**a, "dilation": dilation, "kernel": kernel})
    if all(isinstance(m, int) and m < s for m, s in zip(more, a["strides"], strict=True)):
        return str(w.add("ConvTranspose", x, node.name, **windows, group=groups, output_padding=more))
    bare = w.add("ConvTranspose", x, **windows, group=groups)
    return str(w.add("Pad", [bare, w.ints([0] * (2 + len(more)) + [0, 0] + more)], node.name))


@said("conv_dw")
def conv_dw(w: Writer, node: Node, x: Names) -> str:
    """A convolution of x by c, with batch and channels exchanged, and stride and dilation too."""
    a = node.attributes
    rank, groups = len(a["kernel"]), a["groups"]
    swap = [1, 0, *range(2, 2 + rank)]
    outputs = []
    for group in range(groups):
        parts = []
        for name, value in zip(x, node.inputs, strict=True):
            channels = value.shape[1]
            if not isinstance(channels, int):
                raise UnsupportedError("ONNX: an open number of channels", span=node.provenance.span)
            share = channels // groups
            if groups > 1:
                bounds = [w.ints([group * share]), w.ints([(group + 1) * share]), w.ints([1])]
                name = w.add("Slice", [name, *bounds])
            parts.append(w.add("Transpose", [name], perm=swap))
        pads = [low for low, _ in a["padding"]] + [high for _, high in a["padding"]]
        full = w.add("Conv", parts, strides=list(a["dilation"]), dilations=list(a["strides"]), pads=pads)
        axes = list(range(2, 2 + rank))
        cut = w.add("Slice", [full, w.ints([0] * rank), w.ints(a["kernel"]), w.ints(axes)])
        outputs.append(w.add("Transpose", [cut], perm=swap))
    return str(outputs[0] if groups == 1 else w.add("Concat", outputs, node.name, axis=0))


def _exact(node: Node) -> tuple[list[int], bool]:
    """Widths of padding that make exactly as many windows as there are, and whether readers must round up instead."""
    a, sizes = node.attributes, node.inputs[0].shape[2:]
    dilation = a.get("dilation", (1,) * len(a["kernel"]))
    lows = [low for low, _ in a["padding"]]
    if not a["ceil"]:
        return [*lows, *(high for _, high in a["padding"])], False
    rows = list(zip(sizes, node.outputs[0].shape[2:], a["kernel"], a["strides"], dilation, lows, strict=True))
    highs = [
        max(0, (count - 1) * s + span(k, d) - low - size) if isinstance(size, int) else k
        for size, count, k, s, d, low in rows
    ]
    if any(high >= k for high, k in zip(highs, a["kernel"], strict=True)):
        return [*lows, *(high for _, high in a["padding"])], True
    return [*lows, *highs], False


@said("max_pool")
def max_pool(w: Writer, node: Node, x: Names) -> tuple[str, str]:
    """With positions only when they are read: runtimes have a faster way without."""
    if node.inputs[0].dtype.name not in ("float32", "float64", "int8", "uint8"):
        raise UnsupportedError(f"ONNX: max pooling of {node.inputs[0].dtype}", span=node.provenance.span)
    pads, ceil = _exact(node)
    how = {**_windows(node.attributes), "pads": pads, "ceil_mode": int(ceil) or None}
    if node.outputs[1] not in w.read:
        return str(w.add("MaxPool", x, node.name, **how)), ""
    y, index = w.add("MaxPool", x, node.name, 2, **how)
    plane = w.scalar(product(node.inputs[0].shape[2:]))
    return y, w.add("Mod", [index, plane], fmod=0)


@said("max_pool_dx")
def max_pool_dx(w: Writer, node: Node, x: Names) -> str:
    shape = node.output.shape
    flat: tuple[Dim, ...] = (*shape[:2], product(shape[2:]))
    counts = (*shape[:2], product(node.inputs[0].shape[2:]))
    zeros = w.add("Expand", [w.constant(0, node.output.dtype.numpy), w.sizes(flat)])
    c, index = (w.add("Reshape", [name, w.sizes(counts)]) for name in x[:2])
    plane = w.add("ScatterElements", [zeros, index, c], axis=2, reduction="add")
    return str(w.add("Reshape", [plane, w.sizes(shape)], node.name))


@said("avg_pool")
def avg_pool(w: Writer, node: Node, x: Names) -> str:
    """Where windows may lie in the padding alone, or hang over a padding that counts: a convolution and a division."""
    a = node.attributes
    include = int(a["count_include_pad"])
    pads, ceil = _exact(node)
    hangs = bool(a["ceil"]) and pads != [low for low, _ in a["padding"]] + [high for _, high in a["padding"]]
    if (
        not ceil
        and not (include and hangs)
        and all(n < k for n, k in zip(pads, (*a["kernel"],) * 2, strict=True))
    ):
        how = {**_windows(a), "pads": pads, "count_include_pad": include}
        return str(w.add("AveragePool", x, node.name, **how))
    sizes, channels = node.inputs[0].shape[2:], node.inputs[0].shape[1]
    if not all(isinstance(n, int) for n in (*sizes, channels)):
        raise UnsupportedError(
            "ONNX: average pooling of this kind over an open size", span=node.provenance.span
        )
    dtype = node.output.dtype.numpy
    ones = w.constant(np.ones((channels, 1, *a["kernel"]), dtype))
    highs = [
        max((n - 1) * s + k - low - size, 0)
        for n, s, k, (low, _), size in zip(
            node.output.shape[2:], a["strides"], a["kernel"], a["padding"], sizes, strict=True
        )
    ]
    pads = [low for low, _ in a["padding"]] + highs
    total = w.add("Conv", [*x, ones], strides=list(a["strides"]), pads=pads, group=channels)
    count = divisors(sizes, a["kernel"], a["strides"], a["padding"], a["ceil"], a["count_include_pad"], dtype)
    return str(w.add("Div", [total, w.constant(count)], node.name))


@said("avg_pool_dx")
def avg_pool_dx(w: Writer, node: Node, x: Names) -> str:
    a, channels = node.attributes, node.output.shape[1]
    if not all(isinstance(n, int) for n in (*a["size"], channels)) or a["ceil"]:
        raise UnsupportedError(
            "ONNX: the gradient of average pooling of this kind", span=node.provenance.span
        )
    dtype = node.output.dtype.numpy
    count = divisors(a["size"], a["kernel"], a["strides"], a["padding"], False, a["count_include_pad"], dtype)
    share = w.add("Div", [x[0], w.constant(count)])
    ones = w.constant(np.ones((channels, 1, *a["kernel"]), dtype))
    return _transposed(w, node, [share, ones], a["kernel"], (1,) * len(a["kernel"]), channels)
