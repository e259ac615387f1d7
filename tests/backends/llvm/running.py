"""Run one kernel natively, its arrays between guard pages."""

import ctypes
from collections.abc import Mapping

import numpy as np

from graphc.backends.llvm import jit
from graphc.backends.llvm.lowering import lower, scratch_bytes
from graphc.backends.llvm.target import Target, host
from graphc.ir.composite import body_graph, inline
from graphc.ir.dims import substitute
from graphc.ir.graph import Graph, Value
from graphc.ir.op import Kind
from graphc.ir.partition import Kernel
from graphc.ir.rewriter import rewrite
from tests.backends.llvm.guarded import Guarded

KINDS = {
    Kind.ELEMENTWISE: "loop",
    Kind.MOVEMENT: "loop",
    Kind.CREATION: "loop",
    Kind.REDUCTION: "row",
    Kind.CONTRACTION: "contraction",
    Kind.CONVOLUTION: "convolution",
    Kind.POOLING: "pooling",
    Kind.INDEXING: "indexing",
    Kind.SEQUENTIAL: "sequential",
    Kind.RANDOM: "random",
    Kind.CONTROL: "scan",
}


def whole(graph: Graph, kind: str | None = None) -> Kernel:
    """All of a graph as one kernel."""
    anchors = [n for n in graph.nodes if n.op.kind not in (Kind.ELEMENTWISE, Kind.MOVEMENT, Kind.CREATION)]
    kind = kind or (KINDS[anchors[0].op.kind] if anchors else "loop")
    anchor = anchors[0] if anchors and kind != "row" else None
    read = {v for n in graph.nodes for v in n.inputs if v.leaf is not None}
    inputs = tuple(v for v in graph.leaves if v in read)
    return Kernel("k0", kind, anchor, graph.nodes, inputs, tuple(dict.fromkeys(graph.outputs)))


def compile_kernel(kernel: Kernel, symbols: tuple[str, ...] = (), target: Target | None = None):
    """The kernel's code; a function pointer taking addresses and sizes."""
    target = target or host()
    module = target.module()
    lower(module, target, "kernel", kernel, symbols)
    entry = module.functions["kernel"]
    types = [p.type for p in entry.parameters.values()]
    names = list(entry.parameters)
    f = module.function("entry", dict(zip(names, types)), returns="i32")
    f.ret(f.call("kernel", "i32", *f.parameters.values()))
    code = jit.load(jit.emit_object(str(module), target), ["entry"], target)
    c_types = [ctypes.c_void_p if t == "ptr" else ctypes.c_int64 for t in types]
    function = ctypes.CFUNCTYPE(ctypes.c_int32, *c_types)(code.address("entry"))
    function.code = code
    return function


def scratch_of(kernel, sizes, target=None):
    """Working memory of a kernel for these sizes."""
    return substitute(scratch_bytes(kernel, target or host(), frozenset(), {}), sizes)


def run_kernel(
    function,
    kernel: Kernel,
    arrays: Mapping[Value, np.ndarray],
    sizes: Mapping[str, int] | None = None,
    target: Target | None = None,
    at_start: bool = False,
) -> list[np.ndarray]:
    """The kernel's outputs; checks that the inputs and everything around the buffers are untouched."""
    sizes = dict(sizes or {})
    inputs = [Guarded(np.ascontiguousarray(arrays[v]), at_start) for v in kernel.inputs]
    outputs = []
    for value in kernel.outputs:
        shape = tuple(substitute(d, sizes) for d in value.shape)
        outputs.append(Guarded(np.zeros(shape, value.dtype.numpy), at_start))
        outputs[-1].dirty()
    scratch = scratch_of(kernel, sizes, target)
    working = Guarded(np.zeros(-(-scratch // 64) * 64, np.uint8), at_start)
    status = function(
        *(b.address for b in inputs), *(b.address for b in outputs), working.address,
        *(sizes[s] for s in sorted(sizes)),
    )  # fmt: skip
    for value, buffer in zip(kernel.inputs, inputs):
        assert buffer.intact() and buffer.array.tobytes() == np.ascontiguousarray(arrays[value]).tobytes()
    assert all(buffer.intact() for buffer in (*outputs, working))
    if status:
        raise RuntimeError(f"status {status}")
    return [buffer.array.copy() for buffer in outputs]


def expanded(graph: Graph) -> Graph:
    """The graph with every composite opened."""
    while any(node.op.is_composite for node in graph.nodes):
        graph, _ = rewrite(graph, _open, "test")
    return graph


def _open(node, operands):
    if not node.op.is_composite:
        return None
    outputs, _ = inline(body_graph(node.op, [v.type for v in operands], node.attributes), operands)
    return outputs
