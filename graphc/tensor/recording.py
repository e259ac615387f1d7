"""Recording: turns what is done with tensors into nodes of a graph.

There is one way in, `record(function, *operands)`: it finds the graph being built, gives each operand its value there,
notes where in the user's program this happens, and wraps the result.  Inside a trace the graph is that of the trace.
Outside, nodes hold on to their operands and are run when a number is asked for (`graphc.tensor.lazy`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from graphc.errors import ConversionError, DTypeError, ForeignTraceError, GraphcError, TraceError
from graphc.ir.builder import Builder
from graphc.ir.dims import Dim, bounds, linear_in, symbols_of
from graphc.ir.graph import Leaf, Provenance, Role, Value
from graphc.ir.op import TypeRuleError
from graphc.ir.types import TensorType, dtype_of, parse_type
from graphc.source import Span, frame_span, user_frame, user_frames
from graphc.tensor.naming import variable_of
from graphc.tensor.sizes import OpenSize, Ranges

if TYPE_CHECKING:
    from graphc.tensor.tensor import Tensor

_current: ContextVar[Recording | None] = ContextVar("recording", default=None)


class Recorder:
    """What tensors are recorded into.  `builder` makes the nodes; the two kinds of recorder know their leaves."""

    def __init__(self, builder: Builder):
        self.builder = builder
        self.modules: list[str] = []  # paths of the modules that are running, outermost first
        self.scopes: list[str] = [""]  # of these, the ones whose `forward` the user wrote
        self.paths: dict[int, str] = {}  # known paths, by identity of the module
        self.outside: FrameType | None = None  # the user's frame that asked for the trace, not a part of it
        self.role: Role = "forward"
        self.span: Span | None = None  # the line to note, when it is not that of the frame
        self.depth = 0  # > 0 inside a function of graphc's own, whose last result alone gets the user's name

    def value_of(self, operand: Tensor | np.ndarray) -> Value:
        raise NotImplementedError

    def wrap(self, value: Value) -> Tensor:
        raise NotImplementedError

    def mark(self) -> int:
        """The number of nodes so far."""
        return len(self.builder.nodes)

    def name_result(self, result: Any, first: int) -> None:
        """Call a result made since the mark `first` as the user calls it."""
        value: Value | None = getattr(result, "_value", None)
        node = value.node if value is not None else None
        if value is None or node is None or len(node.outputs) > 1 or node not in self.builder.nodes[first:]:
            return
        frame = user_frame()
        variable = "" if frame is self.outside else variable_of(frame)
        if variable:
            node.provenance = node.provenance.with_(variable=variable)
            scope = self.scopes[-1]
            self.builder.rename(value, f"{scope}.{variable}" if scope else variable)

    def enter(self, path: str, is_user_code: bool) -> None:
        self.modules.append(path)
        if is_user_code:
            self.scopes.append(path)

    def leave(self, is_user_code: bool) -> None:
        self.modules.pop()
        if is_user_code:
            self.scopes.pop()

    @contextmanager
    def within(self, path: str) -> Iterator[None]:
        """What is recorded inside belongs to the module of this path."""
        self.enter(path, False)
        try:
            yield
        finally:
            self.leave(False)

    @property
    def module(self) -> str:
        return self.modules[-1] if self.modules else ""


class Recording(Recorder):
    """An open trace: the graph so far, its leaves, and what must not be forgotten beside its outputs.

    training  layers like dropout behave as in training; otherwise every module behaves as in `eval()`
    updates   name of a buffer -> its new value: batch statistics
    known     names of tensors and arrays that may turn up, by identity
    refusals  what was refused where the plain program would have gone on; one that is caught still ends the trace
    """

    def __init__(
        self, name: str, *, training: bool = False, dims: Mapping[str, tuple[int, int | None]] | None = None
    ):
        super().__init__(Builder(name))
        self.training = training
        self.dims = dict(dims or {})
        self.ranges: Ranges = {}
        self.data: dict[str, np.ndarray] = {}
        self.known: dict[int, str] = {}
        self.updates: dict[str, Value] = {}
        self.open = True
        self.refusals: list[GraphcError] = []
        self.streams = 0  # draws of random numbers so far
        self._held: dict[int, tuple[Any, Value]] = {}  # holds the object, so that its identity stays its own
        self._seed: Tensor | None = None

    def input(self, name: str, type: TensorType) -> Tensor:
        for symbol in type.symbols:
            self.ranges[symbol] = self.dims.get(symbol, (0, None))
        return self.wrap(self.builder.leaf("input", name, type))

    def require(self, dim: Dim, least: int) -> bool:
        """Narrow the range of a symbol without a declared one so that `dim` >= `least`; False when it cannot be."""
        if bounds(dim, self.ranges)[0] >= least:
            return True
        symbols = symbols_of(dim)
        line = linear_in(dim, symbols[0]) if len(symbols) == 1 else None
        if line is None or line[0] <= 0 or symbols[0] in self.dims:
            return False
        slope, offset = line
        self.ranges[symbols[0]] = (-((offset - least) // slope), self.ranges[symbols[0]][1])
        return True

    def seed(self) -> Tensor:
        """The seed of this call's random numbers: one more input, made when first asked for."""
        if self._seed is None:
            self._seed = self.input("seed", parse_type("uint64"))
        return self._seed

    def update(self, buffer: Tensor, new: Tensor) -> None:
        """From here on the buffer has a new value: one more output, which the training step writes back."""
        name = self.known.get(id(buffer)) or buffer.name or _name_of(buffer)[0] or "buffer"
        leaf = self.value_of(buffer)
        if new.type != leaf.type:
            raise TraceError(f"the buffer {name} is {leaf.type}, its new value {new.type}", span=here())
        self.updates[name] = new.value
        self._held[id(buffer)] = (buffer, new.value)

    def wrap(self, value: Value) -> Tensor:
        from graphc.tensor.tensor import Tensor

        return Tensor.of_value(value, self)

    def value_of(self, operand: Tensor | np.ndarray) -> Value:
        if isinstance(operand, np.ndarray):
            return self._leaf_of_array(operand)
        if operand.recording is self:
            return operand.value
        if operand.recording is not None:
            raise foreign(operand)
        held = self._held.get(id(operand))
        if held is None:
            name = self.known.get(id(operand)) or operand.name or _name_of(operand)[0]
            kind: Leaf = "parameter" if operand.requires_grad else "constant"
            held = self._hold(operand, kind, name or kind, operand.held_array())
        return held[1]

    def _leaf_of_array(self, array: np.ndarray) -> Value:
        held = self._held.get(id(array))
        if held is None:
            name, is_local = _name_of(array)
            name = self.known.get(id(array)) or name
            kind: Leaf = "parameter" if name and not is_local and array.dtype.kind == "f" else "constant"
            held = self._hold(array, kind, name or kind, np.array(array))
        return held[1]

    def _hold(self, owner: Any, kind: Leaf, name: str, array: np.ndarray) -> tuple[Any, Value]:
        leaf = self.builder.leaf(kind, name, TensorType(supported_dtype(array), array.shape))
        self.data[leaf.name] = array
        held = self._held[id(owner)] = (owner, leaf)
        return held

    def leaf_of(self, operand: object) -> Value | None:
        """The leaf that stands for a tensor or array from outside; None when the graph does not use it."""
        held = self._held.get(id(operand))
        return held[1] if held else None

    @contextmanager
    def running(self) -> Iterator[Recording]:
        """Everything done with tensors inside is recorded here."""
        token = _current.set(self)
        self.outside = user_frame()
        try:
            yield self
        finally:
            _current.reset(token)
            self.outside = None
            self.open = False


def open_trace() -> Recording | None:
    """The trace that is open here, if any."""
    return _current.get()


def recorder() -> Recorder:
    """The open trace, or the recorder of lazy tensors."""
    trace = _current.get()
    if trace is not None:
        return trace
    from graphc.tensor.lazy import lazy_recorder

    return lazy_recorder()


def record(function: Callable[..., Any], *operands: Any, **attributes: Any) -> Any:
    """Apply an op, or a function made of ops, to tensors, arrays and numbers; the result as tensor(s).

    All nodes made carry the user's line and module.  The result is called as the user calls it.
    """
    target = recorder()
    builder = target.builder
    frame = user_frame()
    values = [_operand(target, operand) for operand in operands]
    span = target.span or (frame_span(frame) if frame else None)
    where = Provenance(span, target.module, target.role)
    first = target.mark()
    with builder, builder.at(where):
        try:
            result = function(*values, **attributes)
        except TypeRuleError as error:
            raise error.kind(error.message, span=where.span, fix=error.fix) from None
    if not isinstance(result, Value):
        return tuple(target.wrap(value) for value in result)
    wrapped = target.wrap(result)
    if not target.depth:
        target.name_result(wrapped, first)
    return wrapped


F = TypeVar("F", bound=Callable[..., Any])


def entry(function: F) -> F:
    """For functions a user calls that record several nodes: only the last one gets the user's name for the result."""

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        target = recorder()
        if target.depth:
            return function(*arguments, **keywords)
        first = target.mark()
        target.depth = 1
        try:
            result = function(*arguments, **keywords)
        finally:
            target.depth = 0
        target.name_result(result, first)
        return result

    return cast(F, call)


def entries(namespace: dict[str, Any]) -> None:
    """Make all public functions of a module entries."""
    for name, function in namespace.items():
        if (
            isinstance(function, FunctionType)
            and not name.startswith("_")
            and function.__module__ == namespace["__name__"]
        ):
            namespace[name] = entry(function)


def _operand(target: Recorder, operand: Any) -> Any:
    from graphc.tensor.tensor import Tensor

    if isinstance(operand, (Tensor, np.ndarray)):
        return target.value_of(operand)
    if isinstance(operand, (bool, int, float, np.generic, OpenSize)):
        return operand
    raise TraceError(f"a {type(operand).__name__} is no tensor, array or number", span=here())


def here() -> Any:
    """The user's expression that is being evaluated."""
    frame = user_frame()
    return frame_span(frame) if frame else None


def supported_dtype(array: np.ndarray) -> Any:
    try:
        return dtype_of(array)
    except ValueError as error:
        raise DTypeError(str(error), span=here(), fix='convert it first: .astype("float32")') from None


def foreign(tensor: Tensor) -> GraphcError:
    """The error for a tensor of another trace, with the place where it was made."""
    value, owner = tensor.value, tensor.recording
    state = "whose trace is over" if owner is not None and not owner.open else "of another trace"
    made = value.node.provenance.span if value.node is not None else None
    return ForeignTraceError(
        f"{value.name} is a tensor {state}",
        span=here(),
        facts=[(value.name, str(value.type))],
        labels=[(made, "it was made here")] if made else [],
        cause="it has no numbers, only a place in the graph of its own trace",
        fix="pass it as an argument, or return it and use the result",
    )


def refused_conversion(tensor: Tensor, what: str, fix: str) -> GraphcError:
    name = tensor.shown_name
    return refusal(
        ConversionError(
            f"{what} needs the numbers of {name}, and there are none while tracing",
            span=here(),
            facts=[(name, str(tensor.type))],
            fix=fix,
        )
    )


E = TypeVar("E", bound=GraphcError)


def refusal(error: E) -> E:
    """Note in the open trace that the program cannot be traced, even if it catches the error and goes another way."""
    trace = open_trace()
    if trace is not None:
        trace.refusals.append(error)
    return error


def _name_of(wanted: object) -> tuple[str, bool]:
    """The name the user's running functions know an object by, and whether it is a local variable.

    A variable of an enclosing function, a global, or an attribute of `self` is not local.
    """
    for frame in user_frames(2):
        code = frame.f_code
        for name, value in frame.f_locals.items():
            if value is wanted:
                return name, name not in code.co_freevars and code.co_name != "<module>"
        for value in frame.f_locals.values() if code.co_varnames[:1] == ("self",) else ():
            for name, part in getattr(value, "__dict__", {}).items():
                if part is wanted:
                    return name, False
        for name, value in frame.f_globals.items():
            if value is wanted:
                return name, False
        for name, owner in frame.f_globals.items():
            if not isinstance(owner, ModuleType):
                for part, value in getattr(owner, "__dict__", {}).items():
                    if value is wanted:
                        return f"{name}.{part}", False
    return "", True
