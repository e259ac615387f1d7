"""A plain function as a Module: the floating-point arrays it knows become parameters, so that it can be trained."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphc.errors import UsageError
from graphc.frontends.python.plain_functions import Known, prepared
from graphc.frontends.python.tracer import InputType, definition_of, name_of, trace_graph
from graphc.nn import Module, Parameter
from graphc.tensor import open_trace


class FunctionModule(Module):
    """What `as_module` returns."""

    def __init__(self, function: Callable[..., Any], inputs: Mapping[str, InputType]):
        super().__init__()
        self.__name__ = name_of(function)
        self._function, self._known = function, Known()
        for identity, (name, array) in _used(function, inputs).items():
            parameter = Parameter(np.array(array))
            self.register_parameter(name, parameter)
            self._known[identity] = array, parameter
        if not self._known:
            raise UsageError(
                f"{name_of(function)} has nothing to train",
                span=definition_of(function),
                cause="what can be trained are the floating-point arrays that a function computes with",
            )

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        with prepared(self._function, None, self._known) as function:
            return function(*inputs, **keywords)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}{list(p.shape)}" for name, p in self.named_parameters())
        return f"FunctionModule({self.__name__}: {shapes})"


def _used(function: Callable[..., Any], inputs: Mapping[str, InputType]) -> dict[int, tuple[str, np.ndarray]]:
    """Name in the graph, and array, of each floating-point array the function computes with; by identity."""
    found: dict[int, tuple[str, np.ndarray]] = {}

    @functools.wraps(function)
    def noted(*arguments: Any, **keywords: Any) -> Any:
        known, trace = Known(), open_trace()
        assert trace is not None
        with prepared(function, None, known) as copy:
            result = copy(*arguments, **keywords)
        for identity, (array, tensor) in known.items():
            leaf = trace.leaf_of(tensor)
            if leaf is not None:
                found[identity] = leaf.name, array
        return result

    trace_graph(noted, inputs)
    return found


def as_module(function: Callable[..., Any], **inputs: InputType) -> FunctionModule:
    """A Module that computes what a plain function does; its parameters are the arrays the function knows, by name.

    It starts from copies of them: training leaves the function's own arrays as they are.  Raises UsageError when there
    are none.

    >>> import numpy as np, graphc
    >>> W, b = np.eye(3), np.zeros(3)
    >>> def f(x):
    ...     return np.tanh(x @ W + b)
    >>> net = graphc.as_module(f, x="float64[N,3]")
    >>> [name for name, _ in net.named_parameters()]
    ['W', 'b']
    """
    return FunctionModule(function, inputs)
