"""Which values of a graph lie in blocks of channels: one decision for the whole graph, after fusion.

Convolutions want blocked images. From the images they read and write the layout spreads to everything that
touches the same values and can work on blocks: pooling, elementwise work, concatenation of whole blocks, sums
over pixels. A value is blocked when every kernel that writes or reads it can deal with that; what the caller
sees stays row-major. The border of an image is the widest that a convolution reading it needs, so that no
convolution copies its input.

There is no op for a change of layout: a kernel that meets another layout than it wants converts in its
working memory (convolutions) or finds each element where it lies (all others). The graph, its interpreter and
its proofs know nothing of layouts. A matrix product with constant weights reads a flattened blocked image as
it lies, its weights reordered once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphc.backends.llvm.blocked_weight_gradient import gradient_halo, plan_gradient
from graphc.backends.llvm.convolution_kernel import fused_operands, plan_convolution, planar
from graphc.backends.llvm.correlation import window_halo
from graphc.backends.llvm.kernel_function import packable
from graphc.backends.llvm.target import Target
from graphc.ir.graph import Node, Value
from graphc.ir.op import Kind
from graphc.ir.partition import Kernel, Partition
from graphc.plan.layout import BLOCK, Blocked, Flattened, Layout

Halo = tuple[int, int, int, int]
NO_HALO: Halo = (0, 0, 0, 0)
MOST_GROWTH = 3  # times its own pixels that an image with its border may have
SMALL = 1 << 16  # bytes of a border that never matter
POOLINGS = ("max_pool", "avg_pool", "avg_pool_dx")


def choose_layouts(partition: Partition, target: Target, fixed: frozenset[Value]) -> dict[Value, Layout]:
    """The layout of every value that is not to lie row-major.

    fixed: values whose arrays are known when the model is compiled and never change
    """
    return _Choice(partition, target, fixed).layouts()


class _Choice:
    def __init__(self, partition: Partition, target: Target, fixed: frozenset[Value]) -> None:
        self.graph, self.kernels, self.fixed = partition.graph, partition.kernels, fixed
        self.touching: dict[Value, list[Kernel]] = {}
        for kernel in self.kernels:
            for value in dict.fromkeys((*kernel.inputs, *kernel.outputs)):
                self.touching.setdefault(value, []).append(kernel)
        self.direct = {
            kernel
            for kernel in self.kernels
            if kernel.kind == "convolution" and plan_convolution(kernel, target, fixed, {}) is not None
        }
        self.gradients = {
            kernel
            for kernel in self.kernels
            if kernel.kind == "convolution" and plan_gradient(kernel, target, {}) is not None
        }

    def layouts(self) -> dict[Value, Layout]:
        blocked = self._spread()
        halos = self._halos(blocked)
        found: dict[Value, Layout] = {}
        for value in blocked:
            _, channels, height, width = value.shape
            if height == width == 1 and channels % BLOCK == 0 and halos[value] == NO_HALO:
                continue  # row-major is the same
            found[value] = Blocked(halos[value])
            for kernel in self.touching[value]:
                if kernel.kind == "view":
                    found[kernel.outputs[0]] = Flattened((channels, height, width))
        return found

    def _spread(self) -> list[Value]:
        """The values to block, in the order of the graph."""
        able = {value for value in self.touching if self._able(value)}
        reached: dict[Value, None] = {}
        pending: list[Value] = []

        def reach(values: Iterator[Value] | Sequence[Value]) -> None:
            for value in values:
                if value in able and value not in reached:
                    reached[value] = None
                    pending.append(value)

        for kernel in self.kernels:
            if kernel in self.direct:
                assert kernel.anchor is not None
                images = [] if planar(kernel.anchor) else [kernel.anchor.inputs[0]]
                reach([*images, *fused_operands(kernel)])
            elif kernel in self.gradients:
                assert kernel.anchor is not None
                reach(kernel.anchor.inputs)
        while pending:
            for kernel in self.touching[pending.pop()]:
                if kernel.kind not in ("convolution", "view"):
                    reach([*kernel.inputs, *kernel.outputs])
        return [value for value in self.graph.values() if value in reached]

    def _halos(self, blocked: Sequence[Value]) -> dict[Value, Halo]:
        """The border of each image; operands of one epilogue share theirs with its result."""
        halos = dict.fromkeys(blocked, NO_HALO)
        together = [[v for v in fused_operands(k) if v in halos] for k in self.kernels if k in self.direct]
        for kernel in self.kernels:
            if kernel in self.direct or kernel in self.gradients:
                assert kernel.anchor is not None
                image = kernel.anchor.inputs[0]
                need = window_halo if kernel in self.direct else gradient_halo
                if image in halos and _is_slight(image, need(kernel.anchor)):
                    halos[image] = _widest([halos[image], need(kernel.anchor)])
        changed = True
        while changed:
            changed = False
            for values in together:
                # A flattened image has no border, and nothing that shares its kernel makes it grow one.
                widest = _widest([halos[v] for v in values])
                for value in values:
                    if halos[value] != widest and not self._flattened(value):
                        halos[value], changed = widest, True
        return halos

    def _flattened(self, value: Value) -> bool:
        return any(kernel.kind == "view" for kernel in self.touching[value])

    def _able(self, value: Value) -> bool:
        """Whether a value may be blocked: every kernel that touches it can deal with that."""
        if value.leaf is not None or value in self.graph.outputs or value.type.rank != 4:
            return False
        if not all(isinstance(d, int) and d > 0 for d in value.shape[1:]) or value.shape[1] == 1:
            return False
        return all(self._deals(kernel, value) for kernel in self.touching[value])

    def _deals(self, kernel: Kernel, value: Value) -> bool:
        match kernel.kind:
            case "view":
                return value in kernel.inputs and self._flattens(kernel)
            case "convolution":
                assert kernel.anchor is not None
                if kernel in self.gradients:
                    return value in kernel.anchor.inputs and value not in fused_operands(kernel)
                fused = value in fused_operands(kernel) and value is not kernel.anchor.inputs[1]
                return kernel in self.direct and (value is kernel.anchor.inputs[0] or fused)
            case "pooling":
                assert kernel.anchor is not None
                return kernel.anchor.op.name in POOLINGS
            case "loop" | "row" | "random":
                return _keeps_blocks(kernel)
        return False

    def _flattens(self, view: Kernel) -> bool:
        """Whether a view is a matrix of flattened images that only products with constant weights read."""
        image, matrix = view.inputs[0], view.outputs[0]
        channels = image.shape[1]
        rows = matrix.type.rank == 2 and matrix.shape[0] == image.shape[0]
        if not rows or matrix in self.graph.outputs or not isinstance(channels, int) or channels % BLOCK:
            return False
        for kernel in self.touching[matrix]:
            if kernel is not view and not self._product_of_rows(kernel, matrix):
                return False
        anchors = [k.anchor for k in self.touching[image] if k in self.direct or k in self.gradients]
        return not any(anchor is not None and anchor.inputs[0] is image for anchor in anchors)

    def _product_of_rows(self, kernel: Kernel, matrix: Value) -> bool:
        node = kernel.anchor
        if kernel.kind != "contraction" or node is None or node.op.name != "matmul":
            return False
        x, w = node.inputs
        others = [v for n in kernel.nodes for v in n.inputs if n is not node]
        constant = packable(kernel, w, self.fixed) and w.type.rank == 2
        return x is matrix and not node.attributes["transpose_x"] and constant and matrix not in others


def _widest(halos: Sequence[Halo]) -> Halo:
    top, left, bottom, right = (max(sides, default=0) for sides in zip(*halos)) if halos else NO_HALO
    return top, left, bottom, right


def _is_slight(image: Value, halo: Halo) -> bool:
    """Whether a border is worth its memory; a convolution that wants a wider one copies its images, one at a time."""
    _, channels, height, width = image.shape
    assert isinstance(channels, int) and isinstance(height, int) and isinstance(width, int)
    top, left, bottom, right = halo
    whole = (top + height + bottom) * (left + width + right)
    extra = (whole - height * width) * channels * image.dtype.itemsize
    return whole <= MOST_GROWTH * height * width or extra <= SMALL


def _keeps_blocks(kernel: Kernel) -> bool:
    """Whether a kernel's elements stay in blocks that lie together: channels are not mixed with other axes."""
    full = max((v.type.rank for v in kernel.outputs), default=0)
    return all(_node_keeps_blocks(node) for node in kernel.nodes) and (full == 4 or kernel.kind == "row")


def _node_keeps_blocks(node: Node) -> bool:
    attributes = node.attributes
    if node.op.kind in (Kind.ELEMENTWISE, Kind.CREATION, Kind.RANDOM):
        return True
    if node.op.kind is Kind.REDUCTION:
        axes = attributes["axes"] if "axes" in attributes else (attributes["axis"],)
        return node.inputs[0].type.rank == 4 and 1 not in axes
    match node.op.name:
        case "broadcast_to":
            return True
        case "reshape":
            before, after = ([d for d in v.shape if d != 1] for v in (node.inputs[0], node.output))
            return before == after
        case "concat":
            sizes = [v.shape[1] for v in node.inputs if v.type.rank == 4]
            whole = all(isinstance(size, int) and size % BLOCK == 0 for size in sizes)
            return bool(sizes) and (attributes["axis"] != 1 or whole)
    return False
