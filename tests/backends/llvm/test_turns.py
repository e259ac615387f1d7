"""Kernels that take turns: which ones may, and the same bits as without."""

import numpy as np
import pytest

from graphc import nn, ops
from graphc.backends.llvm import calls, module, runnable, turns
from graphc.backends.llvm.executable import compile_plan, native_plan
from graphc.ir.builder import Builder
from graphc.ir.types import parse_type
from graphc.passes.fuse import fuse
from tests.backends.llvm.test_executable import as_tuple
from tests.backends.llvm.test_layouts import optimized


@pytest.fixture(autouse=True)
def everything(monkeypatch) -> None:
    """More threads than cores, and nothing too small for them or for turns."""
    monkeypatch.setattr(runnable, "allowed", lambda threads: threads)
    monkeypatch.setattr(calls, "KERNEL", 0.0)
    monkeypatch.setattr(module, "RUN", 0.0)
    monkeypatch.setattr(turns, "WORTH", 0)


def network(channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, channels, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(channels, 20, 3, padding=1), nn.Sigmoid(),
        nn.MaxPool2d(3, stride=2, padding=1), nn.AvgPool2d(2, stride=1),
    )  # fmt: skip


def together(plan) -> list[list[str]]:
    return [
        [k.anchor.op.name if k.anchor else k.kind for k in chain]
        for chain in turns.chains(plan)
        if len(chain) > 1
    ]


@pytest.mark.parametrize("samples", ["N", "24", "7", "1"])
@pytest.mark.parametrize("channels", [6, 16])
def test_turns_change_no_bit(samples: str, channels: int, monkeypatch) -> None:
    graph = optimized(network(channels), {"x": f"float32[{samples},1,19,23]"})
    plan = native_plan(fuse(graph))
    assert (together(plan) != []) == (samples != "1")
    found = []
    for near in (1 << 14, 1 << 18, 0):
        # Turns of few samples, of more, and none at all.
        monkeypatch.setattr(turns, "NEAR", near)
        native = compile_plan(plan)
        functions = [native.load(threads) for threads in (1, 2, 3)]
        results = []
        for n in (0, 1, 2, 24, 48, 64, 37) if samples == "N" else (int(samples),):
            x = np.random.default_rng(n).normal(size=(n, 1, 19, 23)).astype(np.float32)
            results += [[y.tobytes() for y in as_tuple(f(x))] for f in functions]
        found.append(results)
    first = found[0]
    assert all(other == first for other in found)
    for start in range(0, len(first), 3):
        assert first[start] == first[start + 1] == first[start + 2]


def pooled(follow) -> list[list[str]]:
    """What follows two poolings of 8 images of 8 channels, so that axes can be taken for each other."""
    with Builder("axes") as b:
        x = b.leaf("input", "x", parse_type("f32[8,8,32,32]"))
        attributes = {"kernel": (2, 2), "strides": (2, 2), "padding": ((0, 0), (0, 0)), "ceil": False}
        y, _ = ops.max_pool(x, dilation=(1, 1), **attributes)
        z = follow(y)
        r, _ = ops.max_pool(z, dilation=(1, 1), **attributes)
    return together(native_plan(fuse(b.finish([r], ["r"]))))


def test_samples_that_change_places_end_a_chain() -> None:
    assert pooled(lambda y: y) == [["max_pool", "max_pool"]]
    assert pooled(ops.relu) == [["max_pool", "max_pool"]]
    # Only what comes after it may take turns with a kernel that reads samples elsewhere.
    moves = [
        lambda y: ops.reverse(y, axes=(2,)),
        lambda y: ops.reverse(y, axes=(0,)),
        lambda y: ops.transpose(y, permutation=(1, 0, 2, 3)),
    ]
    assert [pooled(move) for move in moves] == [[["loop", "max_pool"]]] * 3


def test_memory_that_is_used_again_ends_a_chain() -> None:
    """Three equal images in a row need two places; the third may not write where the first is still read."""
    with Builder("again") as b:
        x = b.leaf("input", "x", parse_type("f32[8,8,32,32]"))
        attributes = {"kernel": (3, 3), "strides": (1, 1), "padding": ((1, 1), (1, 1)), "ceil": False}
        for _ in range(4):
            x, _ = ops.max_pool(x, dilation=(1, 1), **attributes)
    plan = native_plan(fuse(b.finish([x], ["y"])))
    assert together(plan) == [["max_pool", "max_pool"], ["max_pool", "max_pool"]]
