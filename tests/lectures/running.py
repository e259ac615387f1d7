"""Runs one function the four ways there are, and compares: interpreter, generated NumPy, native code, lazy tensors.

The bound on a difference is that of float64 sums: eps times the terms of the longest one, times the largest number.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import graphc
from graphc.frontends.python.tracer import trace_graph
from graphc.interpret import interpret

BACKENDS = ("numpy", "llvm")
EPS = float(np.finfo(np.float64).eps)


def types_of(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The type of each array, all sizes fixed."""
    return {name: f"{a.dtype}[{','.join(map(str, a.shape))}]" for name, a in arrays.items()}


def close(result: Any, expected: Any, terms: int = 64) -> None:
    """Equal up to the rounding of sums of so many terms."""
    expected = np.asarray(expected)
    result = np.asarray(result)
    assert result.shape == expected.shape, (result.shape, expected.shape)
    bound = terms * EPS * max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(result, expected, rtol=0, atol=bound)


def everywhere(
    graph: graphc.Graph, arrays: Mapping[str, np.ndarray], terms: int = 64
) -> dict[str, np.ndarray]:
    """The outputs of a graph by name: from the interpreter, once both backends have given the same."""
    expected = interpret(graph, arrays)
    given = [arrays[value.name] for value in graph.inputs]
    for backend in BACKENDS:
        results = graphc.compile(graph, backend=backend)(*given)
        results = results if isinstance(results, tuple) else (results,)
        for result, value in zip(results, expected, strict=True):
            close(result, value, terms)
    return dict(zip(graph.output_names, expected, strict=True))


def value_and_gradients(
    function: Callable[..., Any], wrt: tuple[str, ...] = (), **arrays: Any
) -> dict[str, Any]:
    """Value and gradients of a function of float64 arrays, by name: `output`, `grad.x` ...; the same everywhere.

    Lazy tensors are asked too, for the gradients of the inputs.
    """
    inputs = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    graph = trace_graph(function, types_of(inputs))
    results = everywhere(graphc.differentiate(graph, wrt=[*inputs, *wrt]), inputs)
    tensors = {name: graphc.tensor(array, requires_grad=True) for name, array in inputs.items()}
    output = function(**tensors)
    output.backward()
    close(output, results["output"])
    for name, tensor in tensors.items():
        close(tensor.grad, results[f"grad.{name}"])
    return results


def output(function: Callable[..., Any], **arrays: Any) -> np.ndarray:
    """What a function of float64 arrays gives; the same everywhere."""
    inputs = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    (result,) = everywhere(trace_graph(function, types_of(inputs)), inputs).values()
    close(function(**{name: graphc.tensor(array) for name, array in inputs.items()}), result)
    return result
