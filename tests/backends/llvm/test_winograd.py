"""Winograd convolutions: their matrices, their numbers against float64 at every edge, and when they are chosen.

Two bounds hold at once: componentwise, that of the sums of products that the algorithm forms,
|A| ((|G||w||G'|) * (|B||d||B'|)) |A'| times the roundings on a path; and for normal data the budget of the
default numerics, 5e-5 of the root mean square for F(4, 3) and that of the plain sum for F(2, 3).
"""

import ctypes
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from graphc import nn
from graphc.api import compile, graph_of
from graphc.backends.llvm import convolution_kernel, jit
from graphc.backends.llvm.convolution_kernel import plan_convolution
from graphc.backends.llvm.convolution_plan import Convolution, tiling
from graphc.backends.llvm.executable import compile_plan, native_plan
from graphc.backends.llvm.lint import faults, loops
from graphc.backends.llvm.lowering import lower, scratch_bytes
from graphc.backends.llvm.target import Target, host, level
from graphc.backends.llvm.winograd import F2, F4, Form, input_matrix, matrix, output_matrix, weight_matrix
from graphc.backends.llvm.winograd_kernel import emit_winograd
from graphc.backends.llvm.winograd_plan import best, choose, cycles, direct_cost, pack, suits
from graphc.interpret import interpret
from graphc.ir.graph import Graph
from graphc.passes.fuse import fuse
from graphc.pipeline import lower as lower_graph
from tests.backends.llvm.guarded import Guarded
from tests.backends.llvm.test_convolution import case
from tests.backends.llvm.test_convolution_kernel import graph_of as one_convolution
from tests.backends.llvm.test_layouts import optimized, wide

FORMS = [F2, F4]
forms = pytest.mark.parametrize("form", FORMS, ids=str)
RUNNABLE = [t for t in (host(), level("x86-64-v3")) if t.triple == host().triple and host().fma]
targets = pytest.mark.parametrize("target", RUNNABLE, ids=lambda t: t.cpu)
SAME = ((1, 1), (1, 1))
# channels, size, outputs, kernel, stride, padding, dilation, groups
CASES = {
    "whole": (16, (8, 8), 16, (3, 3), (1, 1), SAME, (1, 1), 1),
    "primes": (17, (11, 13), 19, (3, 3), (1, 1), SAME, (1, 1), 1),
    "uneven padding": (20, (7, 5), 37, (3, 3), (1, 1), ((2, 0), (0, 1)), (1, 1), 1),
    "wide padding": (16, (3, 4), 16, (3, 3), (1, 1), ((2, 2), (2, 2)), (1, 1), 1),
    "no padding": (33, (9, 6), 64, (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "one window": (40, (3, 3), 24, (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "one pixel": (64, (1, 1), 32, (3, 3), (1, 1), SAME, (1, 1), 1),
    "many tiles": (16, (37, 41), 48, (3, 3), (1, 1), SAME, (1, 1), 1),
    "groups": (64, (7, 9), 96, (3, 3), (1, 1), SAME, (1, 1), 2),
}  # fmt: skip


@pytest.fixture
def forced(monkeypatch):
    """Makes every convolution that has the form take it."""

    def force(form: Form) -> None:
        def chosen(spec, cut, images, target):
            return best(spec, form, images, target) if suits(spec) else None

        monkeypatch.setattr(convolution_kernel, "choose", chosen)

    return force


def product(rows: list[list[Fraction]], columns: list[list[Fraction]]) -> list[list[Fraction]]:
    return [[sum(a * b for a, b in zip(row, column)) for column in zip(*columns)] for row in rows]


@forms
def test_programs_are_the_matrices_of_the_points(form: Form) -> None:
    assert matrix(form.inputs, form.size, form.size) == input_matrix(form.points)
    assert matrix(form.outputs, form.size, form.m) == output_matrix(form.points, form.m)


@forms
def test_the_matrices_are_a_convolution(form: Form) -> None:
    """Exactly: y[i] = sum over k of g[k] d[i + k] for all unit vectors g and d."""
    a, b = output_matrix(form.points, form.m), input_matrix(form.points)
    g = [[Fraction(x).limit_denominator(1000) for x in row] for row in weight_matrix(form.points)]
    for k in range(3):
        through = product(a, [[row[k] * value for value in line] for row, line in zip(g, b, strict=True)])
        assert through == [[Fraction(j == i + k) for j in range(form.size)] for i in range(form.m)]


def majorant(graph: Graph, arrays: list[np.ndarray], form: Form) -> np.ndarray:
    """The bound of a graph of one convolution with bias and residual: sums of magnitudes, times roundings times eps."""
    x, *rest = (np.abs(a).astype(np.float64) for a in arrays)
    node = next(n for n in graph.nodes if n.op.name == "conv")
    w, c = (np.abs(graph.data[name]).astype(np.float64) for name in ("w", "c"))
    m, size, groups = form.m, form.size, node.attributes["groups"]
    (top, bottom), (left, right) = node.attributes["padding"]
    height, width = node.output.shape[2:]
    down, across = -(-height // m), -(-width // m)
    before = ((0, 0), (0, 0), (top, bottom + down * m), (left, right + across * m))
    padded = np.pad(x, before)
    a, b, g = (
        np.abs(np.array(each, float))
        for each in (output_matrix(form.points, m), input_matrix(form.points), weight_matrix(form.points))
    )
    u = np.einsum("ip,ocpq,jq->ijoc", g, w, g).reshape(size, size, groups, -1, w.shape[1])
    y = np.zeros((len(x), w.shape[0], down * m, across * m))
    for i, j in np.ndindex(down, across):
        d = padded[:, :, i * m : i * m + size, j * m : j * m + size]
        v = np.einsum("ip,ncpq,jq->ijnc", b, d, b).reshape(size, size, len(x), groups, w.shape[1])
        products = np.einsum("ijgoc,ijngc->ijngo", u, v).reshape(size, size, len(x), w.shape[0])
        y[:, :, i * m : (i + 1) * m, j * m : (j + 1) * m] = np.einsum("pi,ijno,qj->nopq", a, products, a)
    total = y[:, :, :height, :width] + c[:, None, None] + sum(rest)
    # Products of the contraction, two transforms of at most `size` sums on either side, weights rounded once, epilogue.
    return (w.shape[1] + 4 * size + 4) * np.finfo(np.float32).eps * total


def check(graph: Graph, exact: Graph, function, form: Form, sizes=(0, 1, 3)) -> None:
    data = {name: array.astype(np.float64) for name, array in graph.data.items()}
    budget = 5e-5 if form is F4 else 4e-7 * np.sqrt(9 * graph.data["w"].shape[1])
    for n in sizes:
        rng = np.random.default_rng(n)
        shapes = [[n if not isinstance(d, int) else d for d in v.shape] for v in graph.inputs]
        arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        function(*(np.full_like(a, np.nan) for a in arrays))  # what lay in the workspace must not matter
        y = function(*arrays)
        (z,) = interpret(exact, [a.astype(np.float64) for a in arrays], data)
        assert (np.abs(y - z) <= majorant(graph, arrays, form)).all()
        if n:
            assert np.abs(y - z).max() <= budget * np.sqrt(np.mean(z**2)) + 1e-6


@targets
@forms
@pytest.mark.parametrize("name", CASES)
def test_against_float64(forced, name: str, form: Form, target: Target) -> None:
    forced(form)
    graph = one_convolution(CASES[name], "f32", True)
    partition = fuse(graph)
    plan = plan_convolution(partition.kernels[0], target, frozenset(graph.parameters), {})
    assert plan is not None and plan.winograd is not None and plan.winograd.form is form
    function = compile_plan(native_plan(partition, target=target), target=target).load()
    check(graph, one_convolution(CASES[name], "f64", True), function, form)


@forms
@pytest.mark.parametrize("at_start", [False, True], ids=["end", "start"])
@pytest.mark.parametrize("name", ["primes", "uneven padding", "one pixel", "groups"])
def test_nothing_beyond_the_arrays_is_touched(forced, name: str, at_start: bool, form: Form) -> None:
    """Inputs, weights, result and working memory between pages that may not be touched."""
    forced(form)
    graph, target, n = one_convolution(CASES[name], "f32", False), host(), 2
    (kernel,) = fuse(graph).kernels
    fixed = frozenset(graph.parameters)
    module = target.module()
    made = lower(module, target, "kernel", kernel, ("N",), fixed)
    entry = module.function("entry", {key: p.type for key, p in made.f.parameters.items()}, returns="i32")
    entry.ret(entry.call("kernel", "i32", *entry.parameters.values()))
    code = jit.load(jit.emit_object(str(module), target), ["entry"], target)
    rng, memory = np.random.default_rng(1), []
    for value in kernel.inputs:
        array = graph.data.get(value.name)
        if array is None:
            array = rng.normal(size=[n, *value.shape[1:]]).astype(np.float32)
        packing = made.packed.get(value)
        packed = array if packing is None else packing.apply(array)
        assert packing is None or packed.nbytes == packing.nbytes
        memory.append(Guarded(np.ascontiguousarray(packed), at_start))
    (value,) = kernel.outputs
    memory.append(Guarded(np.zeros((n, *value.shape[1:]), np.float32), at_start))
    scratch = scratch_bytes(kernel, target, fixed, {})
    memory.append(Guarded(np.full(scratch // 4, np.nan, np.float32), at_start))
    types = [ctypes.c_void_p] * len(memory) + [ctypes.c_int64]
    status = ctypes.CFUNCTYPE(ctypes.c_int32, *types)(code.address("entry"))(*(m.address for m in memory), n)
    assert status == 0 and all(m.intact() for m in memory)
    x = memory[[v.name for v in kernel.inputs].index("x")].array.astype(np.float64)
    data = {name: array.astype(np.float64) for name, array in graph.data.items()}
    (z,) = interpret(one_convolution(CASES[name], "f64", False), [x], data)
    assert (np.abs(memory[-2].array - z) <= majorant(graph, [x], form)).all()


class Chain(nn.Module):
    """Blocked images between convolutions, with a border and a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels, 40, 3, padding=1)
        self.b = nn.Conv2d(40, 40, 3, padding=1)
        self.c = nn.Conv2d(40, 32, 5, padding=2)

    def forward(self, x):
        y = self.a(x).relu()
        return self.c((self.b(y) + y).relu())


@forms
@pytest.mark.parametrize("size", [(14, 14), (9, 31)])
def test_images_that_stay_in_blocks(forced, form: Form, size: tuple[int, int]) -> None:
    forced(form)
    graph = optimized(Chain(24), {"x": f"float32[N,24,{size[0]},{size[1]}]"})
    function = compile_plan(native_plan(fuse(graph))).load()
    for n in (1, 2, 5):
        x = np.random.default_rng(n).normal(size=(n, 24, *size)).astype(np.float32)
        function(np.full_like(x, np.nan))
        (z,) = interpret(wide(graph), [x.astype(np.float64)])
        # Two Winograd layers and a sum of 1000 products.
        assert np.abs(function(x) - z).max() <= 2e-4 * np.sqrt(np.mean(z**2))


@forms
def test_a_batch_changes_no_bit(forced, form: Form) -> None:
    forced(form)
    graph = one_convolution(CASES["primes"], "f32", False)
    function = compile_plan(native_plan(fuse(graph))).load()
    x = np.random.default_rng(0).normal(size=(7, 17, 11, 13)).astype(np.float32)
    every = function(x)
    for i in range(7):
        np.testing.assert_array_equal(function(x[i : i + 1])[0], every[i])


VGG = case(256, 256, (56, 56), (3, 3), padding=(1, 1, 1, 1))


def form_of(spec: Convolution, target: Target, images: int | None = 1) -> Form | None:
    plan = choose(spec, tiling(spec, target), images, target)
    return plan.form if plan else None


def test_large_layers_are_f4_and_strict_ones_f2() -> None:
    assert form_of(VGG, host()) is F4
    assert form_of(VGG, replace(host(), strict=True)) is F2


@pytest.mark.parametrize(
    "spec",
    [
        case(256, 256, (57, 57), (3, 3), (2, 2), padding=(1, 1, 1, 1)),
        case(256, 256, (56, 56), (1, 1)),
        case(256, 256, (56, 56), (3, 3), padding=(2, 2, 2, 2), dilation=(2, 2)),
        case(3, 64, (56, 56), (3, 3), padding=(1, 1, 1, 1), block=3),
        case(64, 64, (56, 56), (3, 3), padding=(1, 1, 1, 1), groups=64),
        case(64, 64, (56, 56), (3, 3), padding=(1, 1, 1, 1), element="double"),
    ],
    ids=["stride", "1x1", "dilation", "stem", "depthwise", "double"],
)  # fmt: skip
def test_what_has_no_form(spec: Convolution) -> None:
    assert form_of(spec, host()) is None


def test_the_model_counts_waste_and_weights() -> None:
    """A tile that hangs over the edge costs what a whole one does; weights that come from memory take their time."""
    target = host()
    even, odd = (case(128, 128, (n, n), (3, 3), padding=(1, 1, 1, 1)) for n in (28, 29))
    plans = [best(spec, F4, 1, target) for spec in (even, odd)]
    assert all(plans)
    assert cycles(plans[1], 1, target) > 1.2 * cycles(plans[0], 1, target)
    deep = case(2048, 2048, (2, 2), (3, 3), padding=(1, 1, 1, 1))
    heavy = best(deep, F4, 1, target)
    assert heavy is not None and cycles(heavy, 1, target) > direct_cost(deep, tiling(deep, target), 1)


def forms_used(executable) -> list[Form]:
    plan, found = executable.plan, []
    fixed = frozenset(plan.graph.parameters) | frozenset(plan.graph.constants)
    for kernel in plan.order:
        if kernel.kind == "convolution":
            direct = plan_convolution(kernel, executable.native.module.target, fixed, plan.layouts)
            if direct and direct.winograd:
                found.append(direct.winograd.form)
    return found


def test_strict_numerics_use_no_f4() -> None:
    model, inputs = nn.Conv2d(64, 64, 3, padding=1), {"x": "float32[1,64,56,56]"}
    assert forms_used(compile(model, inputs, cache=False)) == [F4]
    strict = compile(model, inputs, numerics="strict", cache=False)
    assert F4 not in forms_used(strict)
    graph = graph_of(model, inputs)
    x = np.random.default_rng(0).normal(size=(1, 64, 56, 56)).astype(np.float32)
    (z,) = interpret(wide(lower_graph(graph).graph), [x.astype(np.float64)])
    assert np.abs(strict(x) - z).max() <= 4e-7 * 24 * np.sqrt(np.mean(z**2)) + 1e-6


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v4", "aarch64"])
@forms
def test_products_compile_to_clean_loops(name: str, form: Form) -> None:
    target = level(name)
    plan = best(case(64, 64, (28, 28), (3, 3), padding=(1, 1, 1, 1)), form, 1, target)
    assert plan is not None
    module = target.module()
    stages = emit_winograd(module, "conv", plan, target)
    for stage in (stages.enter, stages.multiply, stages.leave):
        stage.internal = False
    found = [loop for loop in loops(target.assembly(str(module))) if loop.function == stages.multiply.name]
    assert found and all(not faults(loop, plan.tile) for loop in found)


def test_weights_are_rounded_once() -> None:
    plan = best(case(32, 48, (14, 14), (3, 3), padding=(1, 1, 1, 1)), F4, 1, host())
    assert plan is not None
    w = np.random.default_rng(0).normal(size=(48, 32, 3, 3)).astype(np.float32)
    packed = pack(w, plan)
    assert packed.dtype == np.float32 and packed.nbytes == plan.weights_bytes
    g = np.array(weight_matrix(F4.points))
    u = (g @ w[37, 5].astype(np.float64) @ g.T).astype(np.float32).reshape(-1)
    panel, lane = divmod(37, plan.tile.width)
    np.testing.assert_array_equal(packed[panel, :, 5, lane], u)
