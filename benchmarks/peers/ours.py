"""graphc: the public interface, a NumPy array in and a new one out."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import STEPS
from benchmarks.weights import parameters
from benchmarks.workloads import Workload
from graphc.bench.serve import Contender


def with_arrays(workload: Workload) -> tuple[Any, dict[str, np.ndarray]]:
    """The workload's module with its arrays, and the arrays."""
    net = workload.model("graphc")
    state = net.state_dict()
    arrays = parameters({name: array.shape for name, array in state.items() if array.dtype == np.float32})
    net.load_state_dict({**state, **arrays})
    return net, arrays


def compiled(workload: Workload, net: Any, threads: int = 1) -> Any:
    """Its module compiled for its input."""
    import graphc

    weights = None if workload.stored == "fp32" else workload.stored
    inputs = {"x": _type(workload.input())}
    return graphc.compile(net.eval(), inputs=inputs, threads=threads, weights=weights)


def step(workload: Workload, net: Any, threads: int = 1) -> Any:
    """Its training step compiled."""
    import graphc

    return graphc.compile_step(
        net,
        workload.loss_function("graphc"),
        graphc.optim.SGD(net.parameters(), lr=workload.rate),
        {"x": _type(workload.input())},
        {"y": _type(workload.target_array())},
        threads=threads,
    )


def build(workload: Workload, threads: int) -> Contender:
    net, arrays = with_arrays(workload)
    x = workload.input()
    if workload.trains:
        return _trained(step(workload, net, threads), arrays, x, workload.target_array())
    run = compiled(workload, net, threads)
    return Contender(lambda: run(x), [run(x)])


def _trained(step: Any, arrays: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> Contender:
    def reset() -> None:
        for name, array in arrays.items():
            step.arrays[name][...] = array

    losses = [np.asarray(step(x, y)) for _ in range(STEPS)]
    return Contender(lambda: step(x, y), losses, reset)


def _type(array: np.ndarray) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"
