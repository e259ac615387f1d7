"""A backend that runs kernels exactly as the docstring of graphc/passes/fuse.py reads: `element(v, i)` and loops.

Slow and simple; it proves that the contract is enough, and that nothing in a kernel is computed twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from graphc.interpret import run_node
from graphc.ir.dims import substitute
from graphc.ir.graph import Node, Value, bind_attributes
from graphc.ir.op import Kind
from graphc.ir.partition import Kernel, Partition
from graphc.passes.attention import attention_of
from graphc.passes.fuse import row_space
from graphc.passes.gates import parts_of

CREATION = ("constant", "iota", "dim_size")
ANCHORED = ("contraction", "convolution", "pooling", "random")


def run(
    partition: Partition, leaves: Mapping[Value, np.ndarray], bindings: Mapping[str, int]
) -> dict[Value, np.ndarray]:
    """Every value the kernels write, and the leaves."""
    memory = dict(leaves)
    for kernel in partition.kernels:
        inputs = {value: memory[value] for value in kernel.inputs}
        outputs = run_kernel(kernel, inputs, bindings)
        assert outputs.keys() == set(kernel.outputs) and kernel.outputs, kernel
        assert not outputs.keys() & memory.keys(), f"{kernel} writes something twice"
        memory.update(outputs)
    return memory


def run_kernel(
    kernel: Kernel, inputs: Mapping[Value, np.ndarray], bindings: Mapping[str, int]
) -> dict[Value, np.ndarray]:
    match kernel.kind:
        case "view":
            (node,) = kernel.nodes
            assert node.op.name == "reshape"
            return {kernel.outputs[0]: inputs[node.inputs[0]].reshape(shape_of(kernel.outputs[0], bindings))}
        case "indexing" | "sequential" | "join" | "composite" | "scan":
            (node,) = kernel.nodes
            return _whole(node, inputs, bindings, kernel)
        case "attention":
            assert attention_of(kernel.nodes) is not None
            return _in_order(kernel, inputs, bindings)
        case "gates":
            return _by_parts(kernel, inputs, bindings)
    elements = Elements(kernel, inputs, bindings)
    if kernel.kind in ANCHORED:
        return elements.anchored()
    assert kernel.anchor is None
    return elements.loop() if kernel.kind == "loop" else elements.rows()


def shape_of(value: Value, bindings: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(substitute(dim, bindings) for dim in value.type.shape)


def _whole(node: Node, inputs, bindings, kernel: Kernel) -> dict[Value, np.ndarray]:
    results = run_node(node, [inputs[v] for v in node.inputs], bindings)
    return {v: a for v, a in zip(node.outputs, results) if v in kernel.outputs}


def _by_parts(kernel: Kernel, inputs, bindings) -> dict[Value, np.ndarray]:
    """Each element of the results from the elements of the product in its column of every part."""
    count, width = parts_of(kernel)
    anchor, whole = kernel.anchor.outputs[0], _in_order(kernel, inputs, bindings)
    (product_,) = run_node(kernel.anchor, [inputs[v] for v in kernel.anchor.inputs], bindings)
    rng = np.random.default_rng(0)
    for column in {0, width - 1}:
        other = np.array(product_)
        other[..., [c for c in range(count * width) if c % width != column]] = rng.normal()
        values = {**inputs, anchor: other}
        for node in kernel.nodes:
            if node is not kernel.anchor:
                values.update(zip(node.outputs, run_node(node, [values[v] for v in node.inputs], bindings)))
        for v in kernel.outputs:
            assert v.type.shape == (*anchor.shape[:-1], width)
            np.testing.assert_array_equal(values[v][..., column], whole[v][..., column])
    return whole


def _in_order(kernel: Kernel, inputs, bindings) -> dict[Value, np.ndarray]:
    values = dict(inputs)
    for node in kernel.nodes:
        values.update(zip(node.outputs, run_node(node, [values[v] for v in node.inputs], bindings)))
    return {v: values[v] for v in kernel.outputs}


def is_unit_reshape(node: Node) -> bool:
    before, after = ([d for d in v.shape if d != 1] for v in (node.inputs[0], node.outputs[0]))
    return node.op.name == "reshape" and before == after


class Elements:
    """`element(v, i)` for one kernel, with a count of the indices each node is evaluated at."""

    def __init__(self, kernel: Kernel, inputs: Mapping[Value, np.ndarray], bindings: Mapping[str, int]):
        self.kernel, self.inputs, self.bindings = kernel, inputs, bindings
        self.inside = {value for node in kernel.nodes for value in node.outputs}
        self.known: dict[Value, np.generic] = {}  # reductions of the current row, results of the anchor
        self.seen: dict[Node, tuple[int, ...]] = {}
        self.now: dict[tuple[Value, tuple[int, ...]], np.generic] = {}

    def point(self) -> None:
        """A new point of the index space."""
        self.seen.clear()
        self.now.clear()

    def element(self, v: Value, i: tuple[int, ...]) -> np.ndarray:
        if v in self.known:
            return self.known[v]
        if (v, i) not in self.now:
            self.now[v, i] = np.asarray(self._element(v, i))
        return self.now[v, i]

    def _element(self, v: Value, i: tuple[int, ...]) -> np.ndarray:
        if v not in self.inside:
            return self.inputs[v][i]
        node = v.node
        attributes = bind_attributes(node.attributes, self.bindings)
        shapes = [shape_of(x, self.bindings) for x in node.inputs]
        name = node.op.name
        cheap = name in (*CREATION, "broadcast_to") or is_unit_reshape(node) or v.type.rank == 0
        if not cheap:
            assert self.seen.setdefault(node, i) == i, (
                f"{node!r} is evaluated at {self.seen[node]} and at {i}"
            )
        if node.op.kind is Kind.ELEMENTWISE:
            operands = [self.element(x, i) for x in node.inputs]
            return node.op.reference(*operands, **attributes)
        match name:
            case "constant" | "dim_size":
                return node.op.reference(**attributes)
            case "iota":
                return np.asarray(i[attributes["axis"]], attributes["dtype"].numpy)
            case "broadcast_to":
                inner = i[len(i) - len(shapes[0]) :] if shapes[0] else ()
                return self.element(
                    node.inputs[0], tuple(0 if n == 1 else k for n, k in zip(shapes[0], inner))
                )
            case "reshape":
                assert is_unit_reshape(node), f"{node!r} in {self.kernel}"
                wide = iter([k for k, d in zip(i, v.type.shape) if d != 1])
                return self.element(
                    node.inputs[0], tuple(0 if d == 1 else next(wide) for d in node.inputs[0].shape)
                )
            case "transpose":
                inner = [0] * len(i)
                for a, axis in enumerate(attributes["permutation"]):
                    inner[axis] = i[a]
                return self.element(node.inputs[0], tuple(inner))
            case "slice":
                starts, steps = attributes["starts"], attributes["steps"]
                return self.element(node.inputs[0], tuple(s + k * t for s, k, t in zip(starts, i, steps)))
            case "reverse":
                turned = (
                    n - 1 - k if a in attributes["axes"] else k for a, (n, k) in enumerate(zip(shapes[0], i))
                )
                return self.element(node.inputs[0], tuple(turned))
            case "pad":
                inner = []
                for k, low, between, size in zip(i, attributes["low"], attributes["interior"], shapes[0]):
                    j = k - low
                    if j < 0 or j % (between + 1) or j // (between + 1) >= size:
                        return np.asarray(attributes["value"], v.type.dtype.numpy)
                    inner.append(j // (between + 1))
                return self.element(node.inputs[0], tuple(inner))
            case "concat":
                axis, start = attributes["axis"], 0
                for x, shape in zip(node.inputs, shapes):
                    if i[axis] < start + shape[axis]:
                        return self.element(x, (*i[:axis], i[axis] - start, *i[axis + 1 :]))
                    start += shape[axis]
        raise AssertionError(f"{node!r} does not belong in {self.kernel}")

    def empty(self) -> dict[Value, np.ndarray]:
        return {v: np.empty(shape_of(v, self.bindings), v.dtype.numpy) for v in self.kernel.outputs}

    def loop(self) -> dict[Value, np.ndarray]:
        outputs = self.empty()
        (space,) = {tuple(d for d in v.shape if d != 1) for v in outputs}
        flat = {v: a.reshape([n for n, d in zip(a.shape, v.shape) if d != 1]) for v, a in outputs.items()}
        sizes = next(iter(flat.values())).shape
        assert len(space) == len(sizes)
        for point in product(*map(range, sizes)):
            self.point()
            for v, a in flat.items():
                a[point] = self.element(v, unsqueezed(v, point))
        return outputs

    def anchored(self) -> dict[Value, np.ndarray]:
        anchor, outputs = self.kernel.anchor, self.empty()
        assert anchor is not None and not (
            set(anchor.inputs) & {v for n in self.kernel.epilogue for v in n.outputs} - set(self.inputs)
        )
        shape = anchor.outputs[0].shape
        for node in self.kernel.epilogue:
            maps = node.op.name in (*CREATION, "broadcast_to") or is_unit_reshape(node)
            assert maps or (node.op.kind is Kind.ELEMENTWISE and node.outputs[0].shape in (shape, ())), node
        results = run_node(anchor, [self.inputs[v] for v in anchor.inputs], self.bindings)
        for v in outputs:
            assert v.type.shape == shape
        for point in np.ndindex(results[0].shape):
            self.point()
            self.known = {v: a[point] for v, a in zip(anchor.outputs, results)}
            for v, a in outputs.items():
                a[point] = self.element(v, point)
        return outputs

    def rows(self) -> dict[Value, np.ndarray]:
        outputs = self.empty()
        shape, axes = row_space(self.kernel)
        reductions = [node for node in self.kernel.nodes if node.op.kind is Kind.REDUCTION]
        for node in reductions:
            same = [d for d in node.inputs[0].shape if d != 1] == [d for d in shape if d != 1]
            assert same, f"{node!r} reduces another shape in {self.kernel}"
        sizes = tuple(substitute(d, self.bindings) for d in shape)
        kept = [a for a in range(len(shape)) if a not in axes]
        row_shape = [d for a, d in enumerate(shape) if a in kept and d != 1]
        full_shape = [d for d in shape if d != 1]
        for row in product(*(range(sizes[a]) if shape[a] != 1 else range(1) for a in kept)):
            at = dict(zip(kept, row))
            full = [
                tuple(p) for p in product(*([at[a]] if a in at else range(n) for a, n in enumerate(sizes)))
            ]
            self.known = {}
            for node in reductions:  # in order of the graph, so that those of lower depth come first
                column = []
                for point in full:
                    self.point()
                    wide = tuple(k for k, d in zip(point, shape) if d != 1)
                    column.append(self.element(node.inputs[0], unsqueezed(node.inputs[0], wide)))
                self.known[node.output] = reduce(node, np.array(column, node.inputs[0].dtype.numpy), shape)
            wide_row = tuple(at[a] for a in kept if shape[a] != 1)
            for v, a in outputs.items():
                is_row = v.node in reductions or [d for d in v.shape if d != 1] != full_shape
                if is_row:
                    assert [d for d in v.shape if d != 1] == row_shape, (v, self.kernel)
                    self.point()
                    a[unsqueezed(v, wide_row)] = self.element(v, unsqueezed(v, wide_row))
            for point in full:
                self.point()
                wide = tuple(k for k, d in zip(point, shape) if d != 1)
                for v, a in outputs.items():
                    if v.node not in reductions and [d for d in v.shape if d != 1] == full_shape:
                        a[unsqueezed(v, wide)] = self.element(v, unsqueezed(v, wide))
        return outputs


def reduce(node: Node, column: np.ndarray, shape) -> np.ndarray:
    attributes = {"axis": 0} if "axis" in node.attributes else {"axes": (0,)}
    return node.op.reference(column, **attributes)


def unsqueezed(value: Value, wide: tuple[int, ...]) -> tuple[int, ...]:
    rest = iter(wide)
    return tuple(0 if d == 1 else next(rest) for d in value.shape)
