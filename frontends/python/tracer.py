"""The tracer: runs a module or a plain function once with stand-ins for its arrays, and keeps what was done with them.

It runs everything twice and compares: a program that reads the clock, random numbers or state of its own gives another
graph the second time, and is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from graphc.errors import GraphcError, NoInputsError, TraceError, UsageError, nearest, raise_all
from graphc.frontends.python.outputs import named_outputs
from graphc.frontends.python.plain_functions import prepared
from graphc.frontends.python.purity import check_same
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph
from graphc.ir.types import TensorType, parse_type
from graphc.ir.verifier import verify
from graphc.nn import Module
from graphc.nn.module import module_paths
from graphc.source import Span
from graphc.tensor import Recording, Tensor

Ranges = Mapping[str, tuple[int, int | None]]
InputType = str | TensorType


def trace(model: Any, /, **inputs: InputType) -> Graph:
    """The graph of a module or function for inputs of the given types.

    A name in a type is a size left open; the same name is the same size.  Modules behave as in `eval()`.  Arrays the
    graph needs stand in `graph.data`: floating-point ones are parameters, others constants, named as in the program.

    Raises TraceError at the user's line where the program cannot be traced, ShapeError or DTypeError where operands do
    not fit, and UsageError or NoInputsError when the inputs are not those of the function.

    >>> import numpy as np
    >>> def f(x):
    ...     return np.tanh(x) + 1
    >>> trace(f, x="float32[N,3]").output_names
    ('output',)
    """
    return trace_graph(model, inputs)


def trace_graph(
    model: Any,
    inputs: Mapping[str, InputType],
    *,
    dims: Ranges | None = None,
    training: bool = False,
    name: str = "",
) -> Graph:
    """`trace` with all choices: ranges of sizes, training mode, the name of the graph.

    In training, dropout draws from one more input `seed: uint64[]`, and each buffer that changes has its new value as an
    output called `new.` and its name.
    """
    types = _types(inputs)
    if any(isinstance(thing, Builder) for thing in (Builder.active(),)):
        raise UsageError("a trace inside a trace", fix="trace the inner function on its own")
    first = _trace_once(model, types, dims, training, name)
    second = _trace_once(model, types, dims, training, name)
    check_same(first, second)
    return verify(first)


def _trace_once(model: Any, types: Mapping[str, TensorType], dims: Ranges | None, training: bool, name: str) -> Graph:
    trace = Recording(name or name_of(model), training=training, dims=dims)
    with ExitStack() as stack:
        function = stack.enter_context(prepared(model, trace))
        arguments, keywords = _arguments(model, function, types, trace)
        stack.enter_context(trace.running())
        if isinstance(model, Module):
            trace.paths = module_paths(model)
            note_names(model, trace)
        try:
            result = function(*arguments, **keywords)
        except RecursionError:
            raise TraceError(
                "the program calls itself too deeply",
                span=definition_of(model),
                fix="use a loop; each call of the function is traced",
            ) from None
        outputs = named_outputs(result, trace, definition_of(model))
    return finish(trace, outputs)


def finish(trace: Recording, outputs: Mapping[str, Any]) -> Graph:
    """The graph of a trace with these outputs (values by name) and the new values of its buffers."""
    names = [*outputs, *(f"new.{name}" for name in trace.updates)]
    values = [*outputs.values(), *trace.updates.values()]
    ranges = {symbol: r for symbol, r in trace.ranges.items() if r != (0, None)}
    return trace.builder.finish(values, names, dims=ranges, data=trace.data)


def note_names(module: Module, trace: Recording, prefix: str = "") -> None:
    """Tell the trace the names of a module's parameters, buffers and other tensors."""
    for path, child in module.named_modules(prefix):
        for name, value in vars(child).items():
            if isinstance(value, (Tensor, np.ndarray)):
                trace.known.setdefault(id(value), f"{path}.{name}" if path else name)


def name_of(model: Any) -> str:
    """A name for the graph: the function's, or the class of the module."""
    name = getattr(model, "__name__", None) or type(model).__name__
    return "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name).strip("_") or "graph"


def definition_of(model: Any) -> Span | None:
    """Where the function, or the module's forward, is defined."""
    function = inspect.unwrap(type(model).forward if isinstance(model, Module) else model)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return Span(code.co_filename, code.co_firstlineno) if code is not None else None


def _types(inputs: Mapping[str, InputType]) -> dict[str, TensorType]:
    errors: list[GraphcError] = []
    types: dict[str, TensorType] = {}
    for name, given in inputs.items():
        try:
            types[name] = given if isinstance(given, TensorType) else parse_type(given)
        except (ValueError, TypeError) as error:
            errors.append(UsageError(f"input {name}: {error}"))
    raise_all(errors)
    return types


def _arguments(
    model: Any, function: Callable[..., Any], types: Mapping[str, TensorType], trace: Recording
) -> tuple[list[Any], dict[str, Any]]:
    """Stand-ins for the inputs, as the function takes them."""
    signature = inspect.signature(model.forward if isinstance(model, Module) else function)
    parameters = signature.parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    star = next((p.name for p in parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    known = [p.name for p in parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    unknown = [name for name in types if name not in known and not takes_any and star is None]
    missing = [n for n in known if n not in types and parameters[n].default is inspect.Parameter.empty]
    where = definition_of(model)
    if unknown:
        raise UsageError(
            f"{name_of(model)} has no input {unknown[0]}{nearest(unknown[0], known)}",
            span=where,
            fix=f"its inputs are {', '.join(known)}" if known else "it takes no inputs",
        )
    if missing:
        raise NoInputsError(
            f"the type of input {missing[0]} is not given",
            span=where,
            fix=f'{missing[0]}="float32[N,...]": a dtype and a size for each axis; a letter is a size left open',
        )
    positional, keywords = [], {}
    for name in [*(n for n in known if n in types), *(n for n in types if n not in known)]:
        tensor = trace.input(name, types[name])
        kind = parameters[name].kind if name in parameters else None
        if kind is inspect.Parameter.KEYWORD_ONLY or kind is None and star is None:
            keywords[name] = tensor
        elif kind is None or len(positional) == len([n for n in known[: known.index(name)]]):
            positional.append(tensor)
        else:
            keywords[name] = tensor
    return positional, keywords


def inputs_of(model: Any) -> Iterator[str]:
    """Names of the arguments a module or function takes."""
    function = model.forward if isinstance(model, Module) else model
    return (p.name for p in inspect.signature(function).parameters.values())
