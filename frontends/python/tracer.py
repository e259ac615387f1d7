"""The tracer: runs a module or a plain function once with stand-ins for its arrays, and keeps what was done with them.

It runs everything twice and compares: a program that reads the clock, random numbers or state of its own gives another
graph the second time, and is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.errors import GraphcError, NoInputsError, TraceError, UsageError, nearest, raise_all
from graphc.frontends.python.outputs import named_outputs
from graphc.frontends.python.plain_functions import prepared
from graphc.frontends.python.purity import check_same
from graphc.ir.graph import Graph
from graphc.ir.types import TensorType, parse_type
from graphc.ir.verifier import verify
from graphc.nn import Module
from graphc.nn.module import module_paths
from graphc.source import Span
from graphc.tensor import Recording, Tensor, open_trace
from graphc.tensor.recording import here

Ranges = Mapping[str, tuple[int, int | None]]
InputType = str | TensorType


def trace(model: Any, /, inputs: Any = None, *, dims: Any = None, **types: InputType) -> Graph:
    """The graph of a module or function for inputs of the given types, as `x="..."` or as inputs={"x": "..."}.

    A name in a type is a size left open; the same name is the same size.  `dims` gives ranges of sizes, as
    {"N": (1, 4096)}.  Modules behave as in `eval()`.  Arrays the
    graph needs stand in `graph.data`: floating-point ones are parameters, others constants, named as in the program.

    Raises TraceError at the user's line where the program cannot be traced, ShapeError or DTypeError where operands do
    not fit, and UsageError or NoInputsError when the inputs are not those of the function.

    >>> import numpy as np
    >>> def f(x):
    ...     return np.tanh(x) + 1
    >>> trace(f, x="float32[N,3]").output_names
    ('output',)
    >>> trace(f, inputs={"x": "float32[N,3]"}, dims={"N": (2, 8)}).dims
    {'N': (2, 8)}
    """
    given = dict(types)
    # Where they are types, `inputs` and `dims` are names of inputs like any other.
    if isinstance(inputs, str | TensorType):
        given, inputs = {"inputs": inputs, **given}, None
    if isinstance(dims, str | TensorType):
        given, dims = {"dims": dims, **given}, None
    if not isinstance(inputs or {}, Mapping):
        raise UsageError(
            f"inputs={inputs!r} is no dictionary of types", span=here(), fix='inputs={"x": "float32[N,3]"}'
        )
    for name in given.keys() & (inputs or {}).keys():
        raise UsageError(f"input {name} is given twice: by its name and in inputs={{...}}", span=here())
    return trace_graph(model, {**(inputs or {}), **given}, dims=dims)


def trace_graph(
    model: Any,
    inputs: Mapping[str, InputType],
    *,
    dims: Ranges | None = None,
    training: bool = False,
    name: str = "",
) -> Graph:
    """`trace` with all choices: ranges of sizes, training mode, the name of the graph.

    In training, dropout draws from one more input `seed: uint64[]`, and each buffer that changes has its new value as
    an output called `new.` and its name.
    """
    if isinstance(model, Module):
        return trace_twice(model, model, model, inputs, dims=dims, training=training, name=name)
    return trace_twice(model, model, None, inputs, dims=dims, training=training, name=name)


def trace_twice(
    function: Any,
    told: Any,
    root: Module | None,
    inputs: Mapping[str, InputType],
    *,
    dims: Ranges | None,
    training: bool,
    name: str,
) -> Graph:
    """Trace a function whose modules have their paths below `root`; errors tell of `told`, what the user gave."""
    if open_trace() is not None:
        raise UsageError("a trace inside a trace", span=here(), fix="trace the inner function on its own")
    types = _types(inputs)
    where = definition_of(told)

    def once() -> Graph:
        trace = Recording(name or name_of(told), training=training, dims=dims)
        if root is not None:
            trace.paths = module_paths(root)
            note_names(root, trace)
        with prepared(function, root) as prepared_function:
            arguments, keywords = _arguments(function, told, types, trace)
            with trace.running():
                try:
                    result = prepared_function(*arguments, **keywords)
                except Exception as error:
                    if trace.refusals and error is not trace.refusals[0]:
                        raise trace.refusals[0] from error  # NumPy, or the program, made something else of it
                    if not isinstance(error, RecursionError):
                        raise
                    raise TraceError(
                        "the program calls itself too deeply",
                        span=where,
                        fix="use a loop; every call of the function is traced",
                    ) from None
                if trace.refusals:  # the program caught it and went another way than it would with numbers
                    raise trace.refusals[0]
                outputs = named_outputs(result, trace, where)
        return finish(trace, outputs)

    first = once()
    check_same(first, once())
    return verify(first)


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
    return (
        "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name).strip("_") or "graph"
    )


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
        except ValueError as error:
            errors.append(UsageError(f"input {name}: {error}"))
        except TypeError:
            shown = (
                f"an array {given.dtype}{list(given.shape)}" if isinstance(given, np.ndarray) else repr(given)
            )
            fix = f'write its type: {name}="float32[N,3]"'
            errors.append(UsageError(f"input {name}: {shown} is no type", fix=fix))
    raise_all(errors)
    return types


def _arguments(
    function: Any, told: Any, types: Mapping[str, TensorType], trace: Recording
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Stand-ins for the inputs, as the function takes them: in the order of its parameters, then of `types`."""
    parameters = inspect.signature(function.forward if isinstance(function, Module) else function).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    known = [p.name for p in parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    extra = [name for name in types if name not in known]
    missing = [
        name for name in known if name not in types and parameters[name].default is inspect.Parameter.empty
    ]
    if extra and not kinds & {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}:
        raise UsageError(
            f"{name_of(told)} has no input {extra[0]}{nearest(extra[0], known)}",
            span=definition_of(told),
            fix=f"its inputs are {', '.join(known)}" if known else "it takes no inputs",
        )
    if missing:
        raise NoInputsError(
            f"the type of input {missing[0]} is not given",
            span=definition_of(told),
            fix=f'{missing[0]}="float32[N,...]": a dtype and a size for each axis; a letter is a size left open',
        )
    tensors = {name: trace.input(name, types[name]) for name in [n for n in known if n in types] + extra}
    by_position = inspect.Parameter.VAR_POSITIONAL in kinds and inspect.Parameter.VAR_KEYWORD not in kinds
    arguments = [
        tensors.pop(name)
        for name in list(tensors)
        if by_position
        and name in extra
        or name in known
        and (
            parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY
            or bool(extra)
            and by_position
            and parameters[name].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        )
    ]
    return arguments, tensors
