"""Threads behind the C interface: the same bits, started by the first run, ended by close, safe after a fork."""

import ctypes
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from graphc.backends.llvm import aot, calls, module
from graphc.backends.llvm.c_api import exported_names
from graphc.backends.llvm.executable import compile_plan, native_plan
from graphc.backends.llvm.jit import load
from graphc.backends.llvm.library import open_library
from graphc.backends.llvm.target import host
from graphc.ir.parser import parse_graph
from graphc.passes.fuse import fuse
from tests.backends.llvm.test_threads import threads_of_this_process

CHAIN = """graph chain(N: 0..) {
  input %x: f32[N,64]
  param %w: f32[64,256]
  %y: f32[N,256] = matmul %x, %w {transpose_w=False, transpose_x=False}
  %r: f32[N,256] = tanh %y
  return %r as "r"
}"""


class Model:
    """The chain through its C interface, from LLVM's loader or from a library."""

    def __init__(self, folder, linked: bool) -> None:
        graph = parse_graph(CHAIN)
        w = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)
        native = compile_plan(native_plan(fuse(graph.with_(data={"w": w}))))
        names = exported_names(native.facts.signature)
        if linked:
            made = aot.link_shared([native.image], "chain", names, host().triple)
            if made.image is None:
                pytest.skip(made.note)
            self.code = open_library(made.image, names)
        else:
            self.code = load(native.image, names)
        pointer, i32, i64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64

        def function(part: str, result, *types):
            return ctypes.CFUNCTYPE(result, *types)(self.code.address(f"chain_{part}"))

        self._open = function("open", i32, ctypes.c_char_p, ctypes.POINTER(pointer))
        self.close = function("close", None, pointer)
        self._run = function("run", i32, pointer, i64, pointer, pointer, pointer, i32)
        self._workspace = function("workspace", ctypes.c_size_t, pointer, i64)
        self.weights = folder / "weights.safetensors"
        self.weights.write_bytes(native.weights_file())

    def open(self) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        assert self._open(os.fsencode(self.weights), ctypes.byref(handle)) == 0
        return handle

    def run(self, handle: ctypes.c_void_p, x: np.ndarray, threads: int) -> bytes:
        y = np.empty((len(x), 256), np.float32)
        room = np.empty(self._workspace(handle, len(x)) + 64, np.uint8)
        start = -(-room.ctypes.data // 64) * 64
        assert self._run(handle, len(x), x.ctypes.data, y.ctypes.data, start, threads) == 0
        return y.tobytes()


@pytest.fixture(params=["loader", "library"])
def model(request, tmp_path, monkeypatch) -> Model:
    monkeypatch.setattr(calls, "KERNEL", 0.0)
    monkeypatch.setattr(module, "RUN", 0.0)
    return Model(tmp_path, request.param == "library")


X = np.random.default_rng(1).normal(size=(97, 64)).astype(np.float32)


def test_any_number_gives_the_same_bits(model: Model) -> None:
    handle, before = model.open(), threads_of_this_process()
    expected = model.run(handle, X, 1)
    assert threads_of_this_process() == before
    for threads in (2, 3, 5, 2):
        for n in (97, 1, 0, 13):
            assert model.run(handle, X[:n], threads) == expected[: n * 1024]
    assert threads_of_this_process() == before + 4
    model.close(handle)
    assert threads_of_this_process() == before


def test_handles_come_and_go(model: Model) -> None:
    before = threads_of_this_process()
    for number in range(20):
        handles = [model.open() for _ in range(2)]
        results = [model.run(handle, X, 1 + number % 3) for handle in handles]
        assert results[0] == results[1]
        for handle in handles:
            model.close(handle)
    assert threads_of_this_process() == before


def states() -> dict[str, str]:
    """What each thread of this process does: R runs, S sleeps."""
    found = {}
    for task in os.listdir("/proc/self/task"):
        found[task] = Path(f"/proc/self/task/{task}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return found


def test_members_sleep_between_runs(model: Model) -> None:
    """Those that have nothing to do wait in the kernel."""
    handle, before = model.open(), set(states())
    model.run(handle, X, 3)
    members = set(states()) - before
    assert len(members) == 2
    while any(states()[member] != "S" for member in members):
        os.sched_yield()
    assert model.run(handle, X, 3) == model.run(handle, X, 1)
    model.close(handle)


def test_callers_side_by_side_and_forks(model: Model) -> None:
    """Many short runs from several threads on one handle, with children made in between."""
    handle = model.open()
    expected = model.run(handle, X, 1)
    wrong = []

    def call(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(150):
            n, threads = int(random.integers(0, 98)), int(random.integers(1, 5))
            if model.run(handle, X[:n], threads) != expected[: n * 1024]:
                wrong.append(seed)

    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong
    for _ in range(5):
        child = os.fork()
        if child == 0:
            same = threads_of_this_process() == 1
            same &= all(model.run(handle, X, 3) == expected for _ in range(10))
            same &= threads_of_this_process() == 3
            model.close(handle)
            os._exit(0 if same and threads_of_this_process() == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert model.run(handle, X, 4) == expected
    child = os.fork()
    if child == 0:
        model.close(handle)  # without a run: the members are the parent's
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    model.close(handle)
