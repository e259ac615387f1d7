"""Channel-blocked layouts through whole graphs: numbers against float64, what is blocked, and what stays as
it was.

The bound is that of the sums of products: the network with all weights and inputs replaced by their absolute
values gives sum |a||b| over all paths, and each path gathers one rounding for each step of the chains it goes
through.
"""

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import graphc.nn.functional as F
from graphc import nn
from graphc.api import graph_of
from graphc.backends.llvm.executable import compile_partition, compile_plan, native_plan
from graphc.backends.llvm.target import Target, host, level
from graphc.interpret import interpret
from graphc.ir.graph import Graph
from graphc.ir.parser import parse_graph
from graphc.ir.printer import print_graph
from graphc.passes.fuse import fuse
from graphc.passes.pipeline import inference_passes, run_passes
from graphc.plan import make_plan
from graphc.plan.check import PlanError, check_plan
from graphc.plan.layout import Blocked, Flattened
from graphc.tensor.shaping import concatenate

EXAMPLES = Path(__file__).parents[3] / "examples"


def optimized(model, inputs) -> Graph:
    return run_passes(graph_of(model, inputs), inference_passes()).graph


def wide(graph: Graph) -> Graph:
    """The graph in float64."""
    data = {name: np.asarray(array, np.float64) for name, array in graph.data.items()}
    return parse_graph(print_graph(graph).replace("f32", "f64")).with_(data=data)


def steps(graph: Graph) -> int:
    """The most roundings on a path: the products of every contraction and the other operations, added up."""
    total = 0
    for node in graph.nodes:
        total += 2
        if node.op.name == "conv":
            total += int(np.prod(node.inputs[1].shape[1:]))
        elif node.op.name == "matmul":
            total += int(node.inputs[1].shape[0])
        elif node.op.name in ("avg_pool", "sum"):
            total += int(np.prod(node.inputs[0].shape[2:]))
    return total


def check(graph: Graph, sizes=(1, 3), target: Target | None = None) -> dict:
    """Native code against float64, with the layouts it was given."""
    executable = compile_partition(fuse(graph), target=target)
    function = executable.load()
    exact, rng = wide(graph), np.random.default_rng(7)
    positive = exact.with_(data={name: np.abs(array) for name, array in exact.data.items()})
    for n in sizes:
        arrays = [
            rng.standard_normal([d if isinstance(d, int) else n for d in v.shape]).astype(np.float32)
            for v in graph.inputs
        ]
        function(*(np.full_like(a, np.nan) for a in arrays))  # what lay in the workspace must not matter
        found = function(*arrays)
        found = found if isinstance(found, tuple) else (found,)
        right = interpret(exact, [a.astype(np.float64) for a in arrays])
        most = interpret(positive, [np.abs(a).astype(np.float64) for a in arrays])
        for y, r, m in zip(found, right, most, strict=True):
            assert np.all(np.abs(y - r) <= steps(graph) * np.finfo(np.float32).eps * m)
    return dict(executable.plan.layouts)


class Chain(nn.Module):
    """Two convolutions, a residual, pooling, and a classifier on what is flattened."""

    def __init__(self, inputs, channels, kernel=3, stride=1, groups=1, pool="max", bias=True, size=9):
        super().__init__()
        self.first = nn.Conv2d(inputs, channels, 3, padding=1, bias=bias)
        self.second = nn.Conv2d(
            channels, channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias
        )
        self.pool, self.residual = pool, stride == 1 and kernel % 2 == 1
        size = -(-size // stride) if kernel % 2 else (size + 2 * (kernel // 2) - kernel) // stride + 1
        self.size = size // 2 if pool else size
        self.last = nn.Linear(channels * self.size**2, 5)

    def forward(self, x):
        x = F.relu(self.first(x))
        y = self.second(x)
        y = F.relu(y + x) if self.residual else F.relu(y)
        if self.pool:
            y = (F.max_pool2d if self.pool == "max" else F.avg_pool2d)(y, 2)
        return self.last(y.flatten(1))


CHAINS = {
    "gray": Chain(1, 16),
    "few channels": Chain(3, 5, kernel=5),  # rows fill vectors better
    "three channels": Chain(3, 9, kernel=5),
    "odd": Chain(17, 31, stride=2),
    "even kernel": Chain(16, 32, kernel=2, stride=2),
    "grouped": Chain(5, 32, groups=2),
    "small groups": Chain(3, 24, groups=4),
    "depthwise": Chain(16, 20, groups=20),
    "average": Chain(3, 48, pool="avg"),
    "no pooling": Chain(3, 17, pool=""),
    "pointwise": Chain(33, 48, kernel=1, stride=2, bias=False),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains(name):
    model = CHAINS[name]
    inputs = model.first.weight.shape[1]
    layouts = check(optimized(model, {"x": f"float32[N,{inputs},9,9]"}))
    assert any(isinstance(layout, Blocked) for layout in layouts.values()) == (
        name not in ("few channels", "small groups")
    )


@given(
    st.sampled_from([1, 3, 5, 16, 17, 31]),
    st.sampled_from([1, 3, 16, 17, 31, 32, 48]),
    st.sampled_from([1, 2, 3, 5]),
    st.integers(1, 3),
    st.sampled_from(["", "max", "avg"]),
    st.integers(6, 13),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_chain(inputs, channels, kernel, stride, pool, size):
    model = Chain(inputs, channels, kernel, stride, 1, pool, size=size)
    graph = optimized(model, {"x": f"float32[N,{inputs},{size},{size}]"})
    before = print_graph(graph)
    check(graph, sizes=(2,))
    assert print_graph(graph) == before  # a layout belongs to the plan; the graph knows nothing of it


class PoolAndSquare(nn.Module):
    """A maximum that is read as it is and squared, by something that shares its kernel."""

    def __init__(self, channels):
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, 40, 1), nn.Conv2d(40, 24, 1)
        self.third = nn.Conv2d(40, 24, 1)

    def forward(self, x):
        y = F.max_pool2d(self.first(x).relu(), 3, 2, 1)
        return self.second(y * y * 0.5 + y) + self.third(y)


def test_a_maximum_with_an_epilogue():
    graph = optimized(PoolAndSquare(20), {"x": "float32[N,20,13,11]"})
    assert any(k.kind == "pooling" and k.epilogue for k in fuse(graph).kernels)
    check(graph)
    same = compile_partition(fuse(graph))
    x = np.random.default_rng(0).normal(size=(2, 20, 13, 11)).astype(np.float32)
    np.testing.assert_array_equal(same.load(threads=1)(x), same.load(threads=2)(x))


class Pool(nn.Module):
    """A maximum between two convolutions that change nothing."""

    def __init__(self, channels, kernel, stride, padding, ceil):
        super().__init__()
        one = np.ones((channels, 1, 1, 1), np.float32)
        self.before, self.after = (
            nn.Conv2d(channels, channels, 1, groups=channels, bias=False) for _ in "xy"
        )
        self.before.weight, self.after.weight = nn.Parameter(one), nn.Parameter(one)
        self.window = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil}

    def forward(self, x):
        return self.after(F.max_pool2d(self.before(x), **self.window))


@pytest.mark.parametrize(
    "window", [(2, 2, 0, False), (3, 2, 1, False), (3, 1, 1, False), (3, 2, 0, True), (2, 3, 1, True)]
)
@pytest.mark.parametrize("channels", [16, 21])
def test_maximum_of_windows(channels, window):
    model = Pool(channels, *window)
    graph = optimized(model, {"x": f"float32[N,{channels},8,7]"})
    rng = np.random.default_rng(4)
    x = rng.standard_normal((3, channels, 8, 7)).astype(np.float32)
    x[rng.random(x.shape) < 0.05] = np.nan
    x[rng.random(x.shape) < 0.05] = -np.inf
    partition = fuse(graph)
    assert len(native_plan(partition).layouts) == 2
    y = compile_partition(partition).load()(x)
    np.testing.assert_array_equal(y, interpret(graph, [x])[0])


class Branches(nn.Module):
    """Inception's shape: branches side by side, joined along the channels; some joints fall inside a block."""

    def __init__(self, *widths):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.branches = [
            nn.Conv2d(16, width, 2 * (i % 2) + 1, padding=i % 2) for i, width in enumerate(widths)
        ]
        for i, branch in enumerate(self.branches):
            setattr(self, f"branch{i}", branch)
        self.after = nn.Conv2d(sum(widths), 8, 3, stride=2)

    def forward(self, x):
        x = F.relu(self.stem(x))
        joined = concatenate([F.relu(branch(x)) for branch in self.branches], 1)
        return self.after(joined * 0.5).mean((2, 3))


@pytest.mark.parametrize("cpu", ["x86-64-v2", "x86-64-v3"])
@pytest.mark.parametrize("name", ["odd", "depthwise", "average"])
def test_other_machines(name, cpu):
    target = level(cpu)
    if target.triple != host().triple or not host().fma:
        pytest.skip("this machine cannot run that code")
    inputs = CHAINS[name].first.weight.shape[1]
    check(optimized(CHAINS[name], {"x": f"float32[N,{inputs},9,9]"}), (2,), target)


def test_a_single_channel_is_not_blown_up_to_a_block():
    assert not check(optimized(Chain(1, 1), {"x": "float32[N,1,9,9]"}))


def test_concatenation_of_whole_blocks_stays_blocked():
    layouts = check(optimized(Branches(16, 32, 16), {"x": "float32[N,3,8,8]"}))
    shapes = [value.shape[1] for value, layout in layouts.items() if isinstance(layout, Blocked)]
    assert shapes.count(64) == 1 and 32 in shapes


def test_concatenation_of_parts_of_blocks():
    check(optimized(Branches(5, 16, 24), {"x": "float32[N,3,8,8]"}))


class Gate(nn.Module):
    """Everything an epilogue may read: channels, pixels, images, numbers, one value as two results."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 20, 3, padding=1)
        self.squeeze = nn.Conv2d(20, 20, 1)
        self.scale = nn.Parameter(np.linspace(0.5, 2, 20, dtype=np.float32).reshape(20, 1, 1))
        self.rows = nn.Parameter(np.linspace(0.1, 1, 6, dtype=np.float32).reshape(6, 1))

    def forward(self, x, each):
        y = self.conv(x) * self.scale + self.rows
        y = y * each.reshape(-1, 1, 1, 1) * 0.25
        gate = self.squeeze(y).mean((2, 3), keepdim=True)
        return y, y * gate


def test_epilogues_read_anything():
    check(optimized(Gate(), {"x": "float32[N,3,6,7]", "each": "float32[N]"}))


def test_an_activation_with_many_instructions_runs_over_the_finished_result():
    class Smooth(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 18, 3, padding=1), nn.Conv2d(18, 16, 3, padding=1)

        def forward(self, x):
            return F.gelu(self.b(F.gelu(self.a(x))))

    graph = optimized(Smooth(), {"x": "float32[N,3,7,7]"})
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 7)).astype(np.float32)
    y = compile_partition(fuse(graph)).load()(x)
    (right,) = interpret(wide(graph), [x.astype(np.float64)])
    # |gelu'| < 1.13; the sums before it have at most 27 and 162 products of size below 4.
    assert np.all(np.abs(y - right) <= (27 + 162 + 8) * 4 * 1.13**2 * np.finfo(np.float32).eps)


def test_layouts_change_no_number_beyond_rounding_and_nothing_of_the_graph():
    graph = optimized(CHAINS["odd"], {"x": "float32[N,17,9,9]"})
    partition = fuse(graph)
    plain, blocked = make_plan(partition), native_plan(partition)
    assert not plain.layouts and blocked.layouts and plain.graph is blocked.graph is graph


def test_what_the_caller_sees_is_row_major():
    graph = optimized(nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)), {"x": "float32[N,3,9,9]"})
    plan = native_plan(fuse(graph))
    assert not {*graph.inputs, *graph.outputs, *graph.parameters} & plan.layouts.keys()
    with pytest.raises(PlanError, match="row-major"):
        make_plan(plan.partition, layouts={graph.outputs[0]: Blocked()})


def test_the_border_is_what_the_widest_reader_needs():
    class Readers(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 16, 1)
            self.a, self.b = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 5, padding=2, stride=2)

        def forward(self, x):
            x = self.stem(x)
            return self.a(x).mean((2, 3)) + self.b(x).mean((2, 3))

    layouts = check(optimized(Readers(), {"x": "float32[N,3,8,8]"}))
    # Column 8 is the last that a window of five meets at stride 2: one beyond the image.
    assert Blocked((2, 2, 1, 1)) in layouts.values()


def test_a_border_wider_than_the_image_belongs_to_the_reader_alone():
    model = nn.Sequential(
        nn.Conv2d(3, 64, 1), nn.ReLU(), nn.Conv2d(64, 16, 3, padding=24, dilation=24), nn.Conv2d(16, 8, 3)
    )
    layouts = check(optimized(model, {"x": "float32[N,3,14,14]"}))
    assert set(layouts.values()) == {Blocked()}


def test_a_flattened_image_is_read_as_it_lies():
    layouts = check(optimized(CHAINS["gray"], {"x": "float32[N,1,9,9]"}))
    assert Flattened((16, 4, 4)) in layouts.values()


def test_the_checker_refuses_a_view_of_a_border():
    graph = optimized(CHAINS["gray"], {"x": "float32[N,1,9,9]"})
    plan = native_plan(fuse(graph))
    view = next(kernel for kernel in plan.order if kernel.kind == "view")
    for layouts in ({view.inputs[0]: Blocked((1, 1, 1, 1))}, {view.inputs[0]: Blocked()}):
        broken = {**plan.layouts, **layouts}
        if layouts[view.inputs[0]] == Blocked():
            del broken[view.outputs[0]]
        with pytest.raises(PlanError, match="layout"):
            make_plan(plan.partition, layouts=broken)


def test_graphs_without_convolutions_have_no_layouts():
    graph = optimized(lambda x: F.relu(x).mean((2, 3)), {"x": "float32[N,16,4,4]"})
    assert not native_plan(fuse(graph)).layouts


def example(name: str) -> dict:
    nn.init.manual_seed(0)
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_lenet():
    model = example("lenet")
    model = model["model"] if isinstance(model["model"], nn.Module) else model["model"]()
    check(optimized(model, example("lenet")["inputs"]))


def test_small_residual_network():
    model = example("networks/resnet")["ResNet"](width=16)
    layouts = check(optimized(model, {"x": "float32[N,3,64,64]"}))
    assert len(layouts) == 21


@pytest.mark.parametrize("name", ["alexnet", "networks/resnet"])
def test_large_examples(name):
    found = example(name)
    graph = optimized(found["model"](), found["inputs"])
    plan = native_plan(fuse(graph))
    check_plan(plan)
    function = compile_plan(plan).load()
    x = np.random.default_rng(3).standard_normal((1, *graph.inputs[0].shape[1:])).astype(np.float32)
    y, (right,) = function(x), interpret(graph, [x])
    # Both are float32; the bound of absolute values is far above what a network of this depth shows.
    scale = np.abs(right).max()
    assert np.abs(y - right).max() <= np.sqrt(steps(graph)) * np.finfo(np.float32).eps * scale * 10
