"""PyTorch: eager, and compiled by inductor with frozen weights; float64 eager is the reference for all answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import STEPS
from benchmarks.weights import parameters
from benchmarks.workloads import Workload
from graphc.bench.serve import Contender, NotOffered


def module(workload: Workload) -> Any:
    """The workload's torch.nn.Module with its arrays."""
    import torch

    net = workload.model("torch")
    state = net.state_dict()
    arrays = parameters({name: tuple(t.shape) for name, t in state.items() if t.dtype == torch.float32})
    net.load_state_dict({**state, **{name: torch.from_numpy(array) for name, array in arrays.items()}})
    return net.train(workload.trains)


def build(workload: Workload, threads: int, compiled: bool = False) -> Contender:
    import torch

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    if compiled:
        _check_compiler()
    net, x = module(workload), torch.from_numpy(workload.input())
    if workload.trains:
        return _step(workload, net, x, compiled)
    if not compiled:

        def call() -> Any:
            with torch.inference_mode():
                return net(x)

        return Contender(call, [call().numpy()])
    import torch._inductor.config as config

    if workload.entry == "Sequence":
        raise NotOffered("torch.compile leaves an LSTM to eager")
    # Frozen weights are constants: batch normalisation is folded, matrices are packed.  The answer has the
    # whole road behind it before anything is timed.
    with config.patch(freezing=True), torch.no_grad():
        fast = torch.compile(net)
        answer = fast(x).numpy()

    def frozen() -> Any:
        with torch.no_grad():
            return fast(x)

    return Contender(frozen, [answer])


def _check_compiler() -> None:
    import shutil

    if not any(shutil.which(name) for name in ("g++", "clang++")):
        raise NotOffered("inductor needs a C++ compiler, g++ or clang++")


def _step(workload: Workload, net: Any, x: Any, compiled: bool) -> Contender:
    import torch

    y = torch.from_numpy(workload.target_array())
    loss = workload.loss_function("torch")
    first = {name: t.clone() for name, t in net.state_dict().items()}
    optimizer = torch.optim.SGD(net.parameters(), lr=workload.rate, fused=not compiled)

    def forward(x: Any, y: Any) -> Any:
        return loss(net(x), y)

    forward = torch.compile(forward) if compiled else forward

    def step() -> Any:
        optimizer.zero_grad()
        value = forward(x, y)
        value.backward()
        optimizer.step()
        return value.item()

    def reset() -> None:
        with torch.no_grad():
            for name, t in net.state_dict().items():
                t.copy_(first[name])

    return Contender(step, [np.asarray(step()) for _ in range(STEPS)], reset)


def reference(workload: Workload) -> list[np.ndarray]:
    """The answer in float64."""
    import torch

    net, x = module(workload).double(), torch.from_numpy(workload.input()).double()
    if not workload.trains:
        with torch.no_grad():
            return [net(x).numpy()]
    y = torch.from_numpy(workload.target_array())
    y = y.double() if y.is_floating_point() else y
    loss, optimizer = workload.loss_function("torch"), torch.optim.SGD(net.parameters(), lr=workload.rate)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        value = loss(net(x), y)
        value.backward()
        optimizer.step()
        losses.append(np.asarray(value.item()))
    return losses
