"""A model whose shapes depend on the values of some inputs: compiled for the values of a call, when it comes.

Graphs are static, so every set of values has a graph of its own.  The compiled ones are kept, the last used longest.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

import numpy as np

from graphc.errors import UsageError
from graphc.executable import Executable, input_order
from graphc.frontends.onnx import OnnxModel
from graphc.frontends.onnx.errors import NeedsValue
from graphc.ir.types import TensorType
from graphc.manifest import Port
from graphc.precision import Precision

KEPT = 16

Build = Callable[..., Executable]
Special = Callable[[Mapping[str, Any]], Executable]


def compiled(source: OnnxModel, values: Mapping[str, Any], build: Build) -> Executable:
    """The model compiled for these values; a ByValue when they do not say all that shapes depend on."""

    def special(more: Mapping[str, Any]) -> Executable:
        found = {**values, **more}
        executable = build(source.graph(found))
        executable.values = {name: np.asarray(value) for name, value in found.items()}
        return executable

    try:
        return special({})
    except NeedsValue as needed:
        types = {name: kind for name, kind in needed.types.items() if name not in values}
        return ByValue(source.name, types, needed.inputs, special)


class ByValue(Executable):
    """Called like any compiled model; the first call with new values compiles for them.

    depends   the inputs whose values are needed, as far as is known: a shape may turn out to depend on more
    kept      how many compiled models are kept; then the one not used for longest is forgotten

    `specialized(shape=[2, 3])` is the model for these values, which has one input less, and can be saved and drawn.
    """

    def __init__(
        self,
        name: str,
        types: Mapping[str, TensorType],
        depends: tuple[str, ...],
        special: Special,
        kept: int = KEPT,
    ):
        self.name, self.depends, self.kept = name, depends, kept
        self.inputs = tuple(
            Port(key, t.dtype.name, tuple(d if isinstance(d, int) else str(d) for d in t.shape))
            for key, t in types.items()
        )
        self.precision = Precision()
        self._names = list(types)
        self._special = special
        self._compiled: OrderedDict[tuple[Any, ...], Executable] = OrderedDict()
        self._lock = Lock()

    def __call__(self, *arrays: Any, out: Any = None, **named: Any) -> Any:
        arrays = input_order(self.name, self._names, arrays, named)
        if len(arrays) != len(self._names):
            raise UsageError(f"{self.name} takes {len(self._names)} arrays, not {len(arrays)}")
        given = dict(zip(self._names, arrays))
        executable = self._for(given)
        return executable(*(given[port.name] for port in executable.inputs), out=out)

    def specialized(self, **values: Any) -> Executable:
        """The model in which inputs have these values.  Raises NeedsValue when others are needed too."""
        return self._special(values)

    def _for(self, given: Mapping[str, Any]) -> Executable:
        """The model for the values in a call, compiled now if it is not there."""
        while True:
            values = {name: np.asarray(given[name]) for name in self.depends}
            key = (self.depends, *((v.dtype.str, v.shape, _digest(v)) for v in values.values()))
            with self._lock:
                if key in self._compiled:
                    self._compiled.move_to_end(key)
                    return self._compiled[key]
            try:
                executable = self._special(values)
            except NeedsValue as needed:
                more = tuple(name for name in needed.inputs if name not in self.depends)
                if not more:
                    raise
                self.depends = (*self.depends, *more)
                continue
            with self._lock:
                self._compiled[key] = executable
                while len(self._compiled) > self.kept:
                    self._compiled.popitem(last=False)
            return executable

    def __getattr__(self, name: str) -> Any:
        if name == "outputs" and self._compiled:
            return next(reversed(self._compiled.values())).outputs
        if name in ("graph", "lowered", "plan", "native", "threads", "outputs"):
            raise UsageError(
                f"{self.name} has no {name} before the values of {', '.join(self.depends)} are known",
                cause="shapes depend on them",
                fix=f"take it from .specialized({self.depends[0]}=...)",
            )
        raise AttributeError(name)

    def __repr__(self) -> str:
        takes = ", ".join(f"{p.name}: {p.dtype}[{','.join(map(str, p.dims))}]" for p in self.inputs)
        return f"<{self.name}({takes}), compiled for each value of {', '.join(self.depends)}>"


def _digest(array: np.ndarray) -> bytes:
    return hashlib.sha256(array.tobytes()).digest()
