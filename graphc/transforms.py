"""Transformations of functions, with JAX's names: grad, value_and_grad, vjp, jvp, hessian, vmap, jit, stop_gradient.

Each takes a function of arrays and gives a function of arrays.  There is one way they work: while something is traced,
the function is recorded into that trace and its nodes are differentiated, or repeated for a batch, on the spot.  Called
with arrays, a transformed function is traced itself and run.  So they nest in any order.

Arguments and results may be tuples, lists and dictionaries of arrays.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.api import compile as compile_graph
from graphc.autodiff import NotDifferentiable, sweep
from graphc.batching import batched
from graphc.errors import ShapeError, UsageError
from graphc.frontends.python.plain_functions import prepared
from graphc.frontends.python.tracer import trace_graph
from graphc.interpret import interpret
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import REGISTRY, NoGradient
from graphc.ir.rewriter import prune
from graphc.ir.types import TensorType, dtype_of
from graphc.nn import Module
from graphc.tensor import Recording, Tensor, open_trace
from graphc.tensor import functions as f
from graphc.tensor.recording import here, record
from graphc.tensor.trees import leaves_of, like

Function = Callable[..., Any]
stop_gradient = f.stop_gradient


# Tracing and running -------------------------------------------------------------------------------------------------


def _transformed(rule: Function, function: Function, run: Callable[[Graph], Function]) -> Function:
    """A function that applies `rule` inside of a trace, and outside traces itself, once for each kind of arguments."""
    made: dict[Any, tuple[Function, list[Any]]] = {}

    @functools.wraps(function, updated=())
    def call(*arguments: Any) -> Any:
        if open_trace() is not None:
            return rule(*arguments)
        arrays = [_array(leaf) for leaf in leaves_of(arguments)]
        key = repr(like(arguments, [str(TensorType(dtype_of(a), a.shape)) for a in arrays]))
        if key not in made:
            shape: list[Any] = []

            def flat(**tensors: Tensor) -> dict[str, Any]:
                result = rule(*like(arguments, list(tensors.values())))
                shape[:] = [result]
                return {f"y{i}": f.as_tensor(leaf) for i, leaf in enumerate(leaves_of(result))}

            types = {f"x{i}": TensorType(dtype_of(a), a.shape) for i, a in enumerate(arrays)}
            graph = prune(trace_graph(flat, types, name=getattr(function, "__name__", "") or "f"))
            made[key] = run(graph), [like(shape[0], range(len(leaves_of(shape[0]))))]
        compiled, (tree,) = made[key]
        results = compiled(*arrays)
        return like(tree, [r[()] for r in (results if isinstance(results, tuple) else (results,))])

    return call


def _interpreted(graph: Graph) -> Function:
    return lambda *arrays: interpret(graph, arrays)


def _array(leaf: Any) -> np.ndarray:
    return leaf.array if isinstance(leaf, Tensor) else np.asarray(leaf)


def _trace() -> Recording:
    trace = open_trace()
    assert trace is not None
    return trace


def _recorded(function: Function, arguments: Sequence[Any]) -> Any:
    """Call the user's function in the open trace."""
    if isinstance(function, Module):
        return function(*arguments)
    with prepared(function, None) as copy:
        return copy(*arguments)


def _fresh(tree: Any) -> Any:
    """The same tensors as values of their own, which only the function that gets them depends on."""
    tensors = [f.as_tensor(leaf) for leaf in leaves_of(tree)]
    return like(tree, [record(REGISTRY["reshape"], t, shape=t.type.shape) for t in tensors])


def _pulled(
    nodes: Sequence[Node], outputs: Sequence[Tensor], seeds: Sequence[Any], inputs: Sequence[Tensor]
) -> list[Tensor]:
    """Gradients of Σ outputs·seeds by the inputs, recorded into the open trace."""
    trace = _trace()
    with trace.builder:
        starts: dict[Value, Value] = {}
        for output, seed in zip(outputs, seeds, strict=True):
            value, start = trace.value_of(output), trace.value_of(f.as_tensor(seed))
            if start.type != value.type:
                raise ShapeError(f"the cotangent of {value.type} is {start.type}", span=here())
            starts[value] = starts[value] + start if value in starts else start
        wanted = [trace.value_of(t) for t in inputs]
        found = sweep(nodes, starts, wanted)
        results = []
        for value in wanted:
            gradient = found.get(value)
            if isinstance(gradient, NoGradient):
                raise NotDifferentiable(f"there is no gradient: {gradient.reason}", span=here())
            if gradient is None:
                gradient = trace.builder.constant(0, value.dtype, value.shape)
            results.append(trace.wrap(gradient))
    return results


def _forward(
    function: Function, arguments: tuple[Any, ...], chosen: tuple[int, ...]
) -> tuple[Any, Any, list[Node]]:
    """(result, the chosen arguments as fresh tensors, the nodes between) of a call in the open trace."""
    if not all(-len(arguments) <= i < len(arguments) for i in chosen):
        raise UsageError(f"argnums={chosen}, the function got {len(arguments)} arguments", span=here())
    places = [i % len(arguments) for i in chosen]
    fresh = {i: _fresh(arguments[i]) for i in places}
    for leaf in (leaf for tree in fresh.values() for leaf in leaves_of(tree)):
        if not leaf.type.dtype.is_float:
            raise UsageError(
                f"a gradient by {leaf.type}: only floating-point values have one",
                span=here(),
                fix="pass 2.0, not 2",
            )
    mark = _trace().mark()
    result = _recorded(function, [fresh.get(i, argument) for i, argument in enumerate(arguments)])
    return result, tuple(fresh[i] for i in places), _trace().builder.nodes[mark:]


# Transformations -----------------------------------------------------------------------------------------------------


def value_and_grad(function: Function, argnums: int | tuple[int, ...] = 0) -> Function:
    """A function that returns (function(*args), gradient by the arguments `argnums`).

    >>> value_and_grad(lambda x: (x * x).sum())(np.array([1.0, 3.0]))
    (np.float64(10.0), array([2., 6.]))
    """
    chosen = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def rule(*arguments: Any) -> Any:
        result, inputs, nodes = _forward(function, arguments, chosen)
        if not isinstance(result, Tensor) or result.ndim or not result.type.dtype.is_float:
            shown = str(result.type) if isinstance(result, Tensor) else type(result).__name__
            raise ShapeError(
                f"the function returns {shown}, not one number", span=here(), fix="sum it up, or use vjp"
            )
        one = f.full((), 1.0, result.dtype)
        gradients = like(inputs, _pulled(nodes, [result], [one], leaves_of(inputs)))
        return result, gradients[0] if isinstance(argnums, int) else gradients

    return _transformed(rule, function, _interpreted)


def grad(function: Function, argnums: int | tuple[int, ...] = 0) -> Function:
    """The gradient of a function that returns one number, by the arguments `argnums`.

    >>> d = grad(np.tanh)
    >>> float(d(0.0)), float(grad(grad(lambda x: x * x * x))(2.0))
    (1.0, 12.0)
    """
    both = value_and_grad(function, argnums)
    return _transformed(lambda *arguments: both(*arguments)[1], function, _interpreted)


def vjp(function: Function, *primals: Any) -> tuple[Any, Function]:
    """(function(*primals), a function from a cotangent of the result to the gradients by all primals).

    >>> y, pull = vjp(lambda x, w: x @ w, np.ones((1, 2)), np.eye(2))
    >>> pull(np.array([[1.0, 2.0]]))[0]
    array([[1., 2.]])
    """
    if open_trace() is None:
        result = _transformed(lambda *p: vjp(function, *p)[0], function, _interpreted)(*primals)
        pulled = _transformed(lambda ct, *p: vjp(function, *p)[1](ct), function, _interpreted)
        return result, lambda cotangent: pulled(cotangent, *primals)
    result, inputs, nodes = _forward(function, primals, tuple(range(len(primals))))

    def pull(cotangent: Any) -> Any:
        seeds, outputs = leaves_of(cotangent), leaves_of(result)
        if len(seeds) != len(outputs):
            raise UsageError(f"{len(seeds)} cotangents for {len(outputs)} results", span=here())
        return like(inputs, _pulled(nodes, outputs, seeds, leaves_of(inputs)))

    return result, pull


def jvp(function: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """(function(*primals), its derivative along the tangents), by two reverse sweeps.

    The gradients are linear in the cotangent; their derivative by it is the derivative along the tangents.

    >>> y, dy = jvp(lambda x: x * x, [3.0], [1.0])
    >>> float(y), float(dy)
    (9.0, 6.0)
    """
    primals, tangents = tuple(primals), tuple(tangents)
    if len(leaves_of(primals)) != len(leaves_of(tangents)):
        raise UsageError("as many tangents as primals are needed", span=here() if open_trace() else None)
    if open_trace() is None:
        run = _transformed(lambda p, t: jvp(function, p, t), function, _interpreted)
        result: tuple[Any, Any] = run(primals, tangents)
        return result
    mark = _trace().mark()
    y, inputs, nodes = _forward(function, primals, tuple(range(len(primals))))
    outputs = leaves_of(y)
    cotangents = [_fresh(f.full(t.type.shape, 0.0, t.dtype)) for t in outputs]
    gradients = _pulled(nodes, outputs, cotangents, leaves_of(inputs))
    along = _pulled(_trace().builder.nodes[mark:], gradients, leaves_of(tangents), cotangents)
    return y, like(y, along)


def hessian(function: Function, argnum: int = 0) -> Function:
    """The matrix of second derivatives [*x, *x] of a function that returns one number.

    >>> hessian(lambda x: x[0] * x[0] * x[1])(np.array([2.0, 3.0])).tolist()
    [[6.0, 4.0], [4.0, 0.0]]
    """
    slope = grad(function, argnum)

    def rule(*arguments: Any) -> Any:
        x = f.as_tensor(arguments[argnum])
        size = x.type.size
        if not isinstance(size, int):
            raise ShapeError(f"the Hessian by {x.type} of open size", span=here())
        _, pull = vjp(slope, *arguments)
        rows = []
        for i in range(size):
            unit = np.zeros(size, x.dtype)
            unit[i] = 1
            rows.append(pull(f.reshape(f.as_tensor(unit), x.type.shape))[argnum])
        if not rows:
            return f.full((*x.type.shape, *x.type.shape), 0.0, x.dtype)
        return f.reshape(f.stack(rows, 0), (*x.type.shape, *x.type.shape))

    return _transformed(rule, function, _interpreted)


def vmap(function: Function, in_axes: int | None | tuple[int | None, ...] = 0, out_axes: int = 0) -> Function:
    """The function for a batch: it is recorded for one sample, and its nodes are repeated with one axis more.

    in_axes   the batch axis of each argument, None for one that all samples share
    out_axes  where the batch axis of the results stands

    Raises UnsupportedError at an op there is no rule for.

    >>> vmap(lambda x, w: np.tanh(x @ w), in_axes=(0, None))(np.zeros((5, 3)), np.ones((3, 2))).shape
    (5, 2)
    """

    def rule(*arguments: Any) -> Any:
        axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(arguments)
        if len(axes) != len(arguments):
            raise UsageError(f"in_axes={in_axes} for {len(arguments)} arguments", span=here())
        trace = _trace()
        samples, mapping, sizes = [], {}, set()
        for argument, axis in zip(arguments, axes):
            if axis is None:
                samples.append(argument)
                continue
            leaves = []
            for leaf in leaves_of(argument):
                tensor = f.moveaxis(f.as_tensor(leaf), axis, 0)
                sizes.add(tensor.type.shape[0])
                sample = _fresh(f.full(tensor.type.shape[1:], 0, tensor.dtype))
                mapping[trace.value_of(sample)] = trace.value_of(tensor)
                leaves.append(sample)
            samples.append(like(argument, leaves))
        if len(sizes) != 1:
            raise ShapeError(
                f"vmap over axes of sizes {', '.join(map(str, sorted(sizes, key=str))) or 'none'}",
                span=here(),
            )
        (size,) = sizes
        mark = trace.mark()
        result = _recorded(function, samples)
        outputs = [trace.value_of(f.as_tensor(leaf)) for leaf in leaves_of(result)]
        with trace.builder:
            values = batched(trace.builder.nodes[mark:], outputs, mapping, size, here())
        return like(result, [f.moveaxis(trace.wrap(v), 0, out_axes) for v in values])

    return _transformed(rule, function, _interpreted)


def jit(function: Function, *, backend: str = "llvm", threads: int = 1) -> Function:
    """The function compiled to native code, once for each kind of arguments.

    >>> float(jit(lambda x: x * 2, backend="numpy")(3.0))
    6.0
    """
    rule: Function = lambda *arguments: _recorded(function, arguments)  # noqa: E731
    return _transformed(rule, function, lambda graph: compile_graph(graph, backend=backend, threads=threads))
