"""Loops in native code against float64: prime extents, no step and one, guard pages, threads, packed weights."""

import numpy as np
import pytest

import graphc
from graphc import nn
from graphc.autodiff import differentiate
from graphc.backends.llvm import calls, module, runnable
from graphc.backends.llvm.executable import compile_plan, native_plan
from graphc.backends.llvm.gates import plan_gates
from graphc.backends.llvm.target import host, level
from graphc.interpret import interpret
from graphc.ir.graph import Graph
from graphc.ir.partition import Kernel
from graphc.ir.specialize import as_inputs, specialize
from graphc.passes.fuse import fuse
from graphc.pipeline import lower
from tests.backends.llvm.running import compile_kernel, run_kernel
from tests.test_scan import WRT, arrays, cell, traced

RUNNABLE = [t for t in (host(), level("x86-64-v3")) if t.triple == host().triple and host().fma]
targets = pytest.mark.parametrize("target", RUNNABLE, ids=lambda t: t.cpu)
KINDS = ["RNN", "LSTM", "GRU"]


def layer(
    kind: str, width: int, steps: int | str, batch: int | str, dtype: str = "float32", **options
) -> Graph:
    graphc.manual_seed(width)
    net = getattr(nn, kind)(5, width, **options)
    net = net.double() if dtype == "float64" else net
    return graphc.trace(net, input=f"{dtype}[{steps},{batch},5]")


def drawn(steps: int, batch: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng([steps, batch]).normal(size=(steps, batch, 5)).astype(dtype)


def close(found, graph: Graph, x: np.ndarray, width: int) -> None:
    """Against float64: every step adds the error of its sums and functions, and damps what came before.

    A gate is a sum of width + 7 terms of size below 1, each rounded once, then functions of 4 ulp; the state has size
    below 1 and every step at most passes its error on.
    """
    wide = graph_in_float64(graph)
    bound = (width + 40) * 2.0**-24 * max(len(x), 1) * 4
    for a, b in zip(found, interpret(wide, [x.astype(np.float64)]), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=bound)


def graph_in_float64(graph: Graph) -> Graph:
    from graphc.ir.parser import parse_graph
    from graphc.ir.printer import print_graph

    text = print_graph(graph).replace("f32", "f64").replace("float32", "float64")
    data = {name: array.astype(np.float64) for name, array in graph.data.items()}
    return parse_graph(text).with_(data=data)


def check(target, kind: str, width: int, shapes) -> None:
    for steps, batch in shapes:
        graph = layer(kind, width, steps, batch)
        run = compile_plan(native_plan(lower(graph).partition, target=target), target=target).load()
        x = drawn(steps, batch)
        close(run(x), graph, x, width)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [1, 7, 13, 17, 31, 32])
def test_layers_of_prime_widths(kind: str, width: int) -> None:
    check(host(), kind, width, [(3, 1), (5, 7)])


@targets
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_other_vectors(target, kind: str) -> None:
    check(target, kind, 19, [(2, 1), (2, 3)])


@pytest.mark.parametrize("kind", KINDS)
def test_an_open_number_of_steps(kind: str) -> None:
    graph = layer(kind, 13, "T", 2, bidirectional=True)
    run = graphc.compile(graph)
    for steps in (0, 1, 2, 11):
        x = drawn(steps, 2)
        close(run(x), graph, x, 13)


@pytest.mark.parametrize("kind", KINDS)
def test_an_open_batch(kind: str) -> None:
    """One code for a single row and for many; no bit of a row depends on how many there are."""
    graph = layer(kind, 19, 4, "N", num_layers=2)
    run = graphc.compile(graph)
    x = drawn(4, 29)
    whole = run(x)
    close(whole, graph, x, 19)
    for rows in (0, 1, 2, 3, 6, 7, 15):
        for a, b in zip(run(np.ascontiguousarray(x[:, :rows])), whole, strict=True):
            np.testing.assert_array_equal(a, b[:, :rows])


def the_loop(graph: Graph) -> Kernel:
    (kernel,) = (k for k in lower(graph, training=True).partition.kernels if k.kind == "scan")
    return kernel


@pytest.mark.parametrize("at_start", [False, True])
@pytest.mark.parametrize(
    ("kind", "width", "batch"), [("LSTM", 7, 1), ("LSTM", 17, 3), ("GRU", 31, 2), ("RNN", 13, 7)]
)
def test_nothing_beyond_the_arrays_is_touched(kind: str, width: int, batch: int, at_start: bool) -> None:
    for steps in (0, 5):
        graph = specialize(layer(kind, width, "T", batch, dtype="float64"), {"T": steps})
        kernel = the_loop(graph)
        values = {v: np.random.default_rng(1).normal(size=v.shape) for v in kernel.inputs}
        function = compile_kernel(kernel)
        found = run_kernel(function, kernel, values, at_start=at_start)
        alone = as_inputs(graph_of(kernel), [])
        wanted = dict(zip(alone.output_names, interpret(alone, {v.name: values[v] for v in kernel.inputs})))
        for value, array in zip(kernel.outputs, found, strict=True):
            np.testing.assert_allclose(array, wanted[value.name], rtol=1e-12, atol=1e-13)


def graph_of(kernel: Kernel) -> Graph:
    """The kernel's node as a graph of its own."""
    from graphc.ir.builder import Builder

    (node,) = kernel.nodes
    with Builder("alone") as builder:
        leaves = {v: builder.leaf("input", v.name, v.type) for v in kernel.inputs}
        outputs = builder.emit(node.op, [leaves[v] for v in node.inputs], node.attributes)
    pairs = [(o, v.name) for o, v in zip(outputs, node.outputs) if v in kernel.outputs]
    return builder.finish([o for o, _ in pairs], [name for _, name in pairs])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("length", "batch"), [("T", 2), (5, "N"), (5, 2), (0, 2), (1, 2)])
def test_loops_of_any_body_and_their_gradients(reverse: bool, length, batch) -> None:
    graph = traced(cell(reverse), length, batch)
    given = arrays(length if isinstance(length, int) else 5)
    for each in (graph, differentiate(graph, WRT, of="loss")):
        found = graphc.compile(each)(*given.values())
        for a, b in zip(found, interpret(each, given), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_states_that_change_places() -> None:
    """A state that is another one, an element of the sequence, or what it was; results that are states as they were."""

    def run(x, a, b, c):
        return graphc.scan(lambda s, u: ((s[1], s[0], u, s[3] + u), (s[0], s[2], u, s[3])), (a, b, c, c), x)

    graph = graphc.trace(run, x="float64[T,3]", a="float64[3]", b="float64[3]", c="float64[3]")
    native = graphc.compile(graph)
    rng = np.random.default_rng(0)
    for steps in (0, 1, 2, 5):
        given = [rng.normal(size=(steps, 3)), *rng.normal(size=(3, 3))]
        for a, b in zip(native(*given), interpret(graph, given), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_loop_in_a_loop() -> None:
    w = np.random.default_rng(1).normal(size=(3, 3))

    def run(x, h):
        def outer(c, rows):
            c, _ = graphc.scan(lambda d, u: (np.tanh(d @ w + u), None), c, rows)
            return c, c * 2

        return graphc.scan(outer, h, x)

    graph = graphc.trace(run, x="float64[4,T,3]", h="float64[3]")
    native, rng = graphc.compile(graph), np.random.default_rng(2)
    for steps in (0, 1, 5):
        given = [rng.normal(size=(4, steps, 3)), rng.normal(size=3)]
        for a, b in zip(native(*given), interpret(graph, given), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits_for_any_number_of_threads(kind: str, monkeypatch) -> None:
    monkeypatch.setattr(runnable, "allowed", lambda threads: threads)
    monkeypatch.setattr(calls, "KERNEL", 0.0)
    monkeypatch.setattr(module, "RUN", 0.0)
    net = getattr(nn, kind)(5, 37, bidirectional=True)

    def loss(x):
        return (net(x)[0] ** 2).sum()

    for batch in (1, 3, "N"):
        graph = differentiate(graphc.trace(loss, x=f"float32[6,{batch},5]"))
        native = compile_plan(native_plan(lower(graph, training=True).partition))
        x = drawn(6, batch if isinstance(batch, int) else 9)
        first, *others = ([y.tobytes() for y in native.load(threads)(x)] for threads in (1, 2, 3))
        assert all(other == first for other in others)


def test_an_index_out_of_range_in_a_loop_is_reported() -> None:
    from graphc.ops.indexing import IndexOutOfRange

    table = np.arange(6.0).reshape(3, 2)

    def run(i, h):
        return graphc.scan(lambda c, k: (c + nn.functional.embedding(k, table), c), h, i)[0]

    native = graphc.compile(graphc.trace(run, i="int64[T]", h="float64[2]"))
    np.testing.assert_array_equal(native(np.array([0, 2, 1]), np.zeros(2)), table.sum(0))
    with pytest.raises(IndexOutOfRange):
        native(np.array([0, 3, 1]), np.zeros(2))


@pytest.mark.parametrize(("kind", "parts"), [("LSTM", 4), ("GRU", 3)])
def test_cells_are_one_kernel(kind: str, parts: int) -> None:
    """The product is never stored: the body of a layer without gradients is one kernel."""
    (node,) = the_loop(layer(kind, 32, 5, 1)).nodes
    (kernel,) = fuse(node.attributes["body"]).kernels
    assert kernel.kind == "gates"
    assert plan_gates(kernel, host(), frozenset()).parts == parts
