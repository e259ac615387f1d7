"""Gates: a matrix product whose columns are cut into equal parts, with the elementwise work on the parts.

    z = x·w + b;  i, f, g, o = chunk(z, 4);  c' = σ(f)·c + σ(i)·tanh(g) ...

As one kernel the parts of z that belong to one element of the results are computed side by side, and z is never
stored.  This runs after fusion has grouped everything else: the product with its epilogue is one kernel then, what
reads the parts another.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.ir.dims import product
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind
from graphc.ir.partition import Kernel

MOST = 8  # parts
LARGE = 1 << 18  # numbers of x that are read again for every few columns; of more, blocks are better


def parts_of(kernel: Kernel) -> tuple[int, int]:
    """(number of parts, columns of each) of a kernel of kind gates."""
    assert kernel.anchor is not None
    columns, part = kernel.anchor.output.shape[-1], kernel.outputs[0].shape[-1]
    assert isinstance(columns, int) and isinstance(part, int)
    return columns // part, part


def join_gates(graph: Graph, kernels: list[Kernel], most: int) -> list[Kernel]:
    """Kernels with those pairs joined that are a product and what reads its parts; `most` nodes in one."""
    readers: dict[Value, list[Kernel]] = {}
    for kernel in kernels:
        for value in kernel.inputs:
            readers.setdefault(value, []).append(kernel)
    position = {node: i for i, node in enumerate(graph.nodes)}
    joined: dict[Kernel, Kernel] = {}
    dropped: set[Kernel] = set()
    for kernel in kernels:
        consumer = _consumer(graph, kernel, readers)
        if consumer is None or consumer in joined:
            continue
        nodes = tuple(sorted({*kernel.nodes, *consumer.nodes}, key=position.__getitem__))
        if len(nodes) > most:
            continue
        (z,) = kernel.outputs
        inputs = dict.fromkeys((*kernel.inputs, *(v for v in consumer.inputs if v is not z)))
        whole = Kernel(consumer.name, "gates", kernel.anchor, nodes, tuple(inputs), consumer.outputs)
        joined[consumer] = whole
        dropped.add(kernel)
    if not joined:
        return kernels
    kept = [joined.get(kernel, kernel) for kernel in kernels if kernel not in dropped]
    return [replace(kernel, name=f"k{n}") for n, kernel in enumerate(kept)]


def _consumer(graph: Graph, kernel: Kernel, readers: dict[Value, list[Kernel]]) -> Kernel | None:
    """The kernel that reads the parts of a product's result, when nobody else reads it and nothing is in the way."""
    if kernel.kind != "contraction" or len(kernel.outputs) != 1:
        return None
    (z,) = kernel.outputs
    who = readers.get(z, [])
    if z in graph.outputs or len(who) != 1 or who[0].kind != "loop":
        return None
    columns = z.shape[-1]
    depth = kernel.anchor.inputs[0].shape[-1] if kernel.anchor else None
    shapes = {v.shape for v in who[0].outputs}
    if len(shapes) != 1 or not isinstance(columns, int) or not isinstance(depth, int):
        return None
    rows = product(z.shape[:-1])
    if isinstance(rows, int) and rows * depth > LARGE:
        return None
    if not all(isinstance(size, int) for size in z.shape[1:-1]):
        return None  # rows are counted through all axes, and divided again by sizes that are known
    if not any(node.op.kind is Kind.ELEMENTWISE for node in who[0].nodes):
        return None  # parts that are only taken apart, as queries, keys and values
    (shape,) = shapes
    width = shape[-1] if shape else 0
    fits = isinstance(width, int) and width > 1 and shape == (*z.shape[:-1], width) and columns % width == 0
    if not fits or not 2 <= columns // width <= MOST or kernel.anchor is None:
        return None
    anchor = kernel.anchor
    plain = anchor.inputs[1].type.rank == 2 and not anchor.attributes["transpose_x"]
    return who[0] if plain and _read_by_parts(who[0], z, width) else None


def _read_by_parts(kernel: Kernel, z: Value, width: int) -> bool:
    """Whether z is only read through slices that are whole parts, and these at the index of the results."""
    derived: set[Value] = {z}
    for node in kernel.nodes:
        if not any(value in derived for value in node.inputs):
            continue
        if node.inputs == (z,):
            if not _is_part(node, z, width):
                return False
        elif node.op.kind is not Kind.ELEMENTWISE or z in node.inputs:
            return False
        derived.update(node.outputs)
    return True


def _is_part(node: Node, z: Value, width: int) -> bool:
    if node.op.name != "slice":
        return False
    starts, stops, steps = (node.attributes[name] for name in ("starts", "stops", "steps"))
    whole = starts[:-1] == (0,) * (z.type.rank - 1) and stops[:-1] == z.shape[:-1]
    return bool(whole and set(steps) == {1} and starts[-1] % width == 0 and stops[-1] - starts[-1] == width)
