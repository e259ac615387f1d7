"""Windows that do not fit: rows and columns at the end of an image that a convolution or a pooling never reads."""

from __future__ import annotations

from graphc.ir.graph import Node
from graphc.ops.windows import unread

WINDOWED = ("conv", "max_pool", "avg_pool")
AXES = {1: ("element",), 2: ("row", "column"), 3: ("plane", "row", "column")}


def unread_note(node: Node) -> str:
    """What a note says about elements no window reads; "" when all are read, or a size is left open.

    The size (N + 2P - F)/S + 1 is rounded down where it is not whole.  What is lost of the padding is not worth a word.
    """
    if node.op.name not in WINDOWED:
        return ""
    attributes = node.attributes
    sizes, counts = node.inputs[0].type.shape[2:], node.outputs[0].type.shape[2:]
    kernel = attributes.get("kernel") or node.inputs[1].type.shape[2:]
    dilation = attributes.get("dilation") or (1,) * len(kernel)
    lost, sums = [], []
    rows = zip(
        AXES[len(sizes)], sizes, counts, kernel, attributes["strides"], attributes["padding"], dilation
    )
    for axis, size, count, k, stride, (low, high), d in rows:
        if not (isinstance(size, int) and isinstance(count, int) and isinstance(k, int)):
            continue
        missed = unread(size, count, k, stride, low, d)
        if missed:
            lost.append(f"the last {axis}" if missed == 1 else f"the last {missed} {axis}s")
            padded = f" + {low + high}" if low or high else ""
            formula = f"({size}{padded} - {d * (k - 1) + 1})/{stride} + 1 is not whole"
            if formula not in sums:
                sums.append(formula)
    if not lost:
        return ""
    name = node.provenance.module or node.provenance.variable or node.name
    verb = "is" if len(lost) == 1 and lost[0].count(" ") == 2 and not lost[0].endswith("s") else "are"
    whole = " x ".join(map(str, sizes))
    return f"{name}: {' and '.join(lost)} of {whole} {verb} never read: {', '.join(sums)}"
