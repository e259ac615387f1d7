"""What `graphc.compile` and `graphc.load` give: a model that runs, and everything known about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import ArgumentShapeError, DTypeError, UsageError, nearest
from graphc.manifest import Port
from graphc.precision import Precision

if TYPE_CHECKING:
    from graphc.backends.llvm.executable import Executable as Native
    from graphc.ir.graph import Graph, Value
    from graphc.pipeline import Lowered
    from graphc.plan import Plan
    from graphc.profile import Profile


class Executable:
    """A compiled model: call it with arrays, in order or by name.

    name             the model's name; the prefix of its C functions
    graph            the graph as traced
    lowered          the graph after each pass, and its kernels; made when asked for, as the plan is
    plan             where every value lives
    threads          how many a call may use
    inputs, outputs  name, dtype and dimensions of each
    precision        how the weights are stored, and what that costs
    values           inputs that were given beforehand and are constants now

    A call gives the output, or a tuple when there are several.  Arrays of another dtype or shape are an error, never
    cast; arrays with any strides are accepted.  `out=` takes an array, or a tuple of arrays, that the results are
    written to.
    """

    def __init__(
        self,
        name: str,
        graph: Graph,
        lower: Callable[[], Lowered],
        run: Callable[..., Any],
        native: Native | None = None,
        threads: int = 1,
        numerics: str = "default",
    ):
        self.name, self.graph, self.native = name, graph, native
        self.threads, self.numerics, self._lower = threads, numerics, lower
        self.inputs = ports(graph.inputs, [v.name for v in graph.inputs])
        self.outputs = ports(graph.outputs, graph.output_names)
        self.precision = Precision()
        self.values: dict[str, np.ndarray] = {}
        self._run = run
        self._names = [port.name for port in self.inputs]

    def __call__(self, *arrays: Any, out: Any = None, **named: Any) -> Any:
        if named:
            arrays = input_order(self.name, self._names, arrays, named)
        results = self._run(*arrays)
        return results if out is None else copy_out(results, out, self.outputs)

    @cached_property
    def lowered(self) -> Lowered:
        return self._lower()

    @cached_property
    def plan(self) -> Plan:
        from graphc.plan import make_plan

        return make_plan(self.lowered.partition) if self.native is None else self.native.plan

    @property
    def memory(self) -> str:
        """The arena: how large it is, the least it could be, and what it would be without reuse."""
        return self.plan.verdict if self.native is None else self.native.facts.verdict

    @cached_property
    def numpy_source(self) -> str:
        """The model as readable NumPy source."""
        from graphc.backends.numpy_source import numpy_source

        return numpy_source(self.graph)

    @property
    def llvm_ir(self) -> str:
        """The LLVM IR of all kernels, as emitted."""
        return self._native().module.text

    @cached_property
    def assembly(self) -> str:
        """The machine code of all kernels as text."""
        native = self._native()
        target = native.target
        return str(target.machine().emit_assembly(target.optimize(native.module.text)))

    def profile(self, *arrays: Any, threads: int | None = None, seconds: float = 0.5) -> Profile:
        """What each kernel takes on these inputs, beside what this machine could do: print it, or `as_dict()`.

        The same kernels are compiled once more with a clock between them, and run for some time.

        threads  as compiled, by default
        """
        from graphc.profile import profile

        return profile(self._native(), arrays, threads=threads or self.threads, seconds=seconds)

    def _native(self) -> Native:
        if self.native is None:
            raise UsageError(
                f"{self.name} was compiled for NumPy: it has no native code", fix='backend="llvm"'
            )
        return self.native

    def save(
        self, path: str | PathLike[str], *, emit: Sequence[str] | None = None, pictures: bool = False
    ) -> tuple[str, ...]:
        """Write the artefact; returns notes on what could not be written.  See `graphc.artefact.save`."""
        from graphc.artefact import save

        return save(self, Path(path), emit=emit, pictures=pictures)

    def __repr__(self) -> str:
        takes, gives = (
            ", ".join(f"{p.name}: {p.dtype}{_dims(p)}" for p in each) for each in (self.inputs, self.outputs)
        )
        return f"<{self.name}({takes}) -> {gives}; {self.memory}>"


def ports(values: Sequence[Value], names: Sequence[str]) -> tuple[Port, ...]:
    """Name, dtype and dimensions of inputs or outputs."""
    return tuple(
        Port(name, v.dtype.name, tuple(d if isinstance(d, int) else str(d) for d in v.type.shape))
        for name, v in zip(names, values, strict=True)
    )


def input_order(
    name: str, inputs: Sequence[str], arrays: Sequence[Any], named: Mapping[str, Any]
) -> tuple[Any, ...]:
    """Arrays given in order and by name, in the order of the inputs.  Raises UsageError for what does not fit."""
    rest = inputs[len(arrays) :]
    for given in named:
        if given not in rest:
            twice = given in inputs
            raise UsageError(
                f"input {given} is given twice"
                if twice
                else f"{name} has no input {given}{nearest(given, rest)}"
            )
    missing = [each for each in rest if each not in named]
    if missing:
        raise UsageError(f"{name}: no array for input {', '.join(missing)}")
    return (*arrays, *(named[each] for each in rest))


def copy_out(results: Any, out: Any, outputs: Sequence[Port]) -> Any:
    """Copy results into the caller's arrays."""
    got = results if isinstance(results, tuple) else (results,)
    given = out if isinstance(out, tuple) else (out,)
    if len(given) != len(got):
        raise UsageError(f"out= has {len(given)} arrays for {len(got)} outputs")
    for port, result, target in zip(outputs, got, given, strict=True):
        if not isinstance(target, np.ndarray) or target.dtype != result.dtype:
            kind = getattr(target, "dtype", type(target).__name__)
            raise DTypeError(f"out= for {port.name}: expected {result.dtype}, got {kind}")
        if target.shape != result.shape:
            raise ArgumentShapeError(
                f"out= for {port.name}: expected {list(result.shape)}, got {list(target.shape)}"
            )
        if not target.flags.writeable:
            raise UsageError(f"out= for {port.name} is read-only", fix="give an array that can be written to")
    for result, target in zip(got, given, strict=True):
        target[...] = result
    return out


def _dims(port: Port) -> str:
    return f"[{','.join(map(str, port.dims))}]"
