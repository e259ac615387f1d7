"""Threads: the same bits for any number of them, after a fork, and with callers side by side."""

import ctypes
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from graphc.backends.llvm import calls, module, runnable, team
from graphc.backends.llvm.executable import compile_plan, native_plan
from graphc.backends.llvm.jit import emit_object, load
from graphc.backends.llvm.placement import emit_apart
from graphc.backends.llvm.target import host
from graphc.backends.llvm.weight_gradient import plan_weight_gradient
from graphc.errors import UsageError
from graphc.ir.graph import Graph
from graphc.ir.parser import parse_graph
from graphc.ops.indexing import IndexOutOfRange
from graphc.passes.expand import expand
from graphc.passes.fuse import fuse
from tests.backends.llvm.test_executable import arrays, as_tuple
from tests.backends.llvm.test_layouts import CHAINS, example, optimized
from tests.backends.llvm.test_plane_convolution import CASES, graph_of
from tests.passes import networks

MATMUL = """graph product(N: 0..) {{
  input %x: f32[N,{k}]
  input %w: f32[{k},{n}]
  %y: f32[N,{n}] = matmul %x, %w {{transpose_w=False, transpose_x=False}}
  %r: f32[N,{n}] = relu %y
  return %r as "r"
}}"""


@pytest.fixture(autouse=True)
def everything(monkeypatch):
    """More threads than cores, and no kernel or run too small for them."""
    monkeypatch.setattr(runnable, "allowed", lambda threads: threads)
    monkeypatch.setattr(calls, "KERNEL", 0.0)
    monkeypatch.setattr(module, "RUN", 0.0)


def compiled(graph: Graph):
    graph = expand(graph)[0]
    weights = arrays(graph, graph.parameters, 0, np.random.default_rng(0))
    data = dict(zip((v.name for v in graph.parameters), weights, strict=True))
    graph = graph.with_(data={**graph.data, **data})
    return graph, compile_plan(native_plan(fuse(graph)))


@pytest.mark.parametrize("network", networks.ALL, ids=lambda f: f.__name__)
def test_networks_have_the_same_bits(network) -> None:
    graph, native = compiled(network())
    same_bits(graph, native, (1, 3, 64))


def same_bits(graph: Graph, native, sizes) -> None:
    functions = [native.load(threads) for threads in (1, 2, 3)]
    for n in sizes:
        inputs = arrays(graph, graph.inputs, n, np.random.default_rng(n))
        first, *others = ([y.tobytes() for y in as_tuple(f(*inputs))] for f in functions)
        assert all(other == first for other in others)


@pytest.mark.parametrize("name", CHAINS)
def test_convolutions_have_the_same_bits(name) -> None:
    """Images are converted in working memory, divided whole, by rows and by panels."""
    inputs = CHAINS[name].first.weight.shape[1]
    graph = optimized(CHAINS[name], {"x": f"float32[N,{inputs},9,9]"})
    same_bits(graph, compile_plan(native_plan(fuse(graph))), (1, 3, 7))


def test_a_residual_network_has_the_same_bits() -> None:
    graph = optimized(example("networks/resnet")["ResNet"](width=16), {"x": "float32[N,3,64,64]"})
    same_bits(graph, compile_plan(native_plan(fuse(graph))), (1, 5))


# channels, size, outputs, kernel, strides, padding, dilation, groups: images in blocks of channels
BLOCKED = [
    (48, (9, 11), 32, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (20, (13, 13), 37, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1),
    (3, (17, 19), 40, (5, 5), (2, 2), ((2, 2), (2, 2)), (1, 1), 1),
]


@pytest.mark.parametrize("name", ["conv", "conv_dx", "conv_dw"])
@pytest.mark.parametrize("case", [*CASES, *BLOCKED])
def test_gradients_of_convolutions_have_the_same_bits(case, name) -> None:
    """Plain planes divided by images and by rows, weights by parts of the batch and by channels."""
    for long in (False, True):
        graph = graph_of(case, name, "f32", long)
        same_bits(graph, compile_plan(native_plan(fuse(graph))), (0, 1, 2, 23))


def test_weights_too_many_for_parts_have_the_same_bits() -> None:
    case = (40, (31,), 70, (9,), (1,), ((4, 4),), (1,), 1)
    graph = graph_of(case, "conv_dw", "f32", False)
    (node, *_) = graph.nodes
    assert (plan := plan_weight_gradient(node, host())) is not None and plan.parts == 1
    same_bits(graph, compile_plan(native_plan(fuse(graph))), (0, 1, 23))


@pytest.mark.parametrize(("k", "n"), [(1024, 96), (37, 700), (300, 1), (2050, 33)])
def test_products_have_the_same_bits(k: int, n: int) -> None:
    graph, native = compiled(parse_graph(MATMUL.format(k=k, n=n)))
    functions = [native.load(threads) for threads in (1, 2, 3, 5)]
    for m in (0, 1, 2, 97, 300):
        inputs = arrays(graph, graph.inputs, m, np.random.default_rng(m))
        expected = functions[0](*inputs).tobytes()
        assert [f(*inputs).tobytes() == expected for f in functions] == [True] * 4


def product():
    graph, native = compiled(parse_graph(MATMUL.format(k=64, n=256)))
    return native, arrays(graph, graph.inputs, 64, np.random.default_rng(0))


def threads_of_this_process() -> int:
    return len(os.listdir("/proc/self/task"))


def test_callers_side_by_side() -> None:
    native, inputs = product()
    function = native.load(2)
    expected = native.load(1)(*inputs).tobytes()
    wrong = []

    def call() -> None:
        for _ in range(200):
            if function(*inputs).tobytes() != expected:
                wrong.append(threading.get_ident())

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_fork_after_a_run() -> None:
    native, inputs = product()
    function = native.load(2)
    expected = function(*inputs).tobytes()
    for _ in range(5):
        child = os.fork()
        if child == 0:
            same = threads_of_this_process() == 1
            same &= all(function(*inputs).tobytes() == expected for _ in range(10))
            os._exit(0 if same and threads_of_this_process() == 2 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert function(*inputs).tobytes() == expected


def test_fork_while_others_run() -> None:
    native, inputs = product()
    function = native.load(3)
    expected = native.load(1)(*inputs).tobytes()
    done, wrong = threading.Event(), []

    def call() -> None:
        while not done.is_set():
            if function(*inputs).tobytes() != expected:
                wrong.append(threading.get_ident())

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for _ in range(10):
        child = os.fork()
        if child == 0:
            os._exit(0 if all(function(*inputs).tobytes() == expected for _ in range(10)) else 1)
        assert os.waitpid(child, 0)[1] == 0
    done.set()
    for caller in callers:
        caller.join()
    assert not wrong


def test_members_are_made_by_the_first_run_and_shared() -> None:
    code = """
import os
from tests.backends.llvm import test_threads as t
from graphc.backends.llvm import calls, runnable, module
runnable.allowed, calls.KERNEL, module.RUN = (lambda threads: threads), 0.0, 0.0
before = t.threads_of_this_process()
native, inputs = t.product()
one, two = native.load(1), native.load(2)
one(*inputs)
assert t.threads_of_this_process() == before
two(*inputs)
assert t.threads_of_this_process() == before + 1
t.product()[0].load(2)(*inputs)
assert t.threads_of_this_process() == before + 1
"""
    # One thread only from NumPy's side, so that what is counted is ours.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_faults_are_told() -> None:
    graph = parse_graph("""graph rows(N: 0..) {
  input %x: f32[1000,64]
  input %i: i64[N]
  %t: f32[1000,64] = tanh %x
  %y: f32[N,64] = gather %t, %i {axis=0}
  %r: f32[N,64] = exp %y
  return %r as "r"
}""")
    native = compile_plan(native_plan(fuse(graph)))
    x = np.random.default_rng(0).normal(size=(1000, 64)).astype(np.float32)
    good, bad = np.arange(300), np.array([5, 1000, 7])
    expected = native.load(1)(x, good).tobytes()
    function = native.load(3)
    for _ in range(20):
        assert function(x, good).tobytes() == expected
        with pytest.raises(IndexOutOfRange, match="size of 1000"):
            function(x, bad)


def test_denormals_are_treated_as_the_caller_has_it() -> None:
    """Members take over the control register of the thread they work for."""
    torch = pytest.importorskip("torch")
    graph = parse_graph(
        'graph half() {\n  input %x: f32[4096]\n  %y: f32[4096] = mul %x, %x\n  return %y as "y"\n}'
    )
    native = compile_plan(native_plan(fuse(graph)))
    x = np.full(4096, 1e-20, np.float32)
    function = native.load(2)
    assert np.all(function(x) > 0)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor keeps denormals always")
    try:
        assert np.all(function(x) == 0)
    finally:
        torch.set_flush_denormal(False)
    assert np.all(function(x) > 0)


def test_threads_are_bounded() -> None:
    assert team.allowed(1) == 1
    assert 1 <= team.allowed(10**6) <= team.cores().allowed
    with pytest.raises(UsageError):
        team.allowed(0)


@pytest.mark.parametrize("n", [3, 21])
def test_training_steps_have_the_same_bits(n: int) -> None:
    import graphc
    from graphc import nn, optim
    from graphc.nn import functional as F

    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, 1, 13, 17)).astype(np.float32), rng.integers(0, 7, n)

    def trained(threads: int) -> list[bytes]:
        graphc.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 18, 3, padding=1), nn.BatchNorm2d(18),
            nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1), nn.Flatten(), nn.Linear(18 * 3 * 4, 7),
        )  # fmt: skip
        step = graphc.compile_step(
            net, F.cross_entropy, optim.Adam(net.parameters(), lr=0.01), threads=threads
        )
        losses = [step(x, y) for _ in range(3)]
        return [np.array(losses).tobytes(), *(array.tobytes() for array in step.arrays.values())]

    one, *others = [trained(threads) for threads in (1, 2, 3)]
    assert all(other == one for other in others)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_members_keep_off_the_callers_core() -> None:
    """The caller is moved from core to core, in the end with no other allowed: the bits stay the same."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core")
    graph, native = compiled(parse_graph(MATMUL.format(k=64, n=256)))
    inputs = arrays(graph, graph.inputs, 8, np.random.default_rng(0))
    alone, shared = native.load(1), native.load(2)
    want = alone(*inputs)
    try:
        for core in cores[:2] * 2:
            os.sched_setaffinity(0, {core})
            for _ in range(20):
                np.testing.assert_array_equal(shared(*inputs), want)
    finally:
        os.sched_setaffinity(0, cores)


def test_a_member_leaves_the_core_it_is_told() -> None:
    """The emitted function itself, in a thread of its own: its affinity afterwards has every core but this one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("one core")
    ir = host().module()
    name = emit_apart(
        ir, host().triple.split("-")[0], team.SYSTEM_CALLS[host().triple.split("-")[0]][1], team._system_call
    )
    f = ir.function("entry", {"place": "ptr"})
    f.call(name, "void", f.place)
    f.ret()
    code = load(emit_object(str(ir), host()), ["entry"], host())
    entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(code.address("entry"))
    seen: list[set[int]] = []

    def work() -> None:
        os.sched_setaffinity(0, {cores[0]})
        for core in (cores[1], cores[0]):
            entry(ctypes.byref(ctypes.c_int32(core)))
            seen.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [{cores[0]}, set(cores) - {cores[0]}]
