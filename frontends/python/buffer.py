"""An array that accepts a tensor: `B = np.zeros((3, 3)); B[0, 1] = t`.

It is an ordinary array until a tensor is written into it.  From then on it stands for a tensor, its own `traced`, and
everything asked of it is asked of that one.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from graphc.errors import TraceError
from graphc.ir.op import REGISTRY
from graphc.ir.types import dtype_of
from graphc.tensor import Tensor, numpy_protocol
from graphc.tensor import functions as f
from graphc.tensor.recording import here, record
from graphc.tensor.shaping import holds_tensor


class Buffer(np.ndarray):
    """An array made by `np.zeros` and its like inside a trace."""

    traced: Tensor | None
    _origin: Buffer | None

    def __array_finalize__(self, source: Any) -> None:
        self.traced = None
        self._views: list[weakref.ref[Buffer]] = []
        self._origin = source if isinstance(source, Buffer) and np.may_share_memory(self, source) else None
        if self._origin is not None:
            self._origin._views.append(weakref.ref(self))

    def __setitem__(self, index: Any, new: Any) -> None:
        if self.traced is None and not holds_tensor(
            [new, *(index if isinstance(index, tuple) else (index,))]
        ):
            super().__setitem__(index, new)
            return
        if self.traced is None:
            if self._origin is not None:
                raise TraceError(
                    "writing a tensor into a part of an array",
                    span=here(),
                    cause="the array it is a part of would not see it",
                    fix="write with one index: B[i, j] = t instead of B[i][j] = t",
                )
            if any(view() is not None for view in self._views):
                raise TraceError(
                    "writing a tensor into an array of which a part is in use",
                    span=here(),
                    cause="that part was taken before, shares its memory and would not see it",
                    fix="take the part after the array is filled",
                )
            constant = np.array(self)
            self.traced = (
                record(REGISTRY["cast"], constant, dtype=dtype_of(constant))
                if constant.any()
                else f.full(constant.shape, 0, constant.dtype)
            )
        self.traced[index] = new

    def __getitem__(self, index: Any) -> Any:
        if self.traced is not None:
            return self.traced[index]
        if holds_tensor(index if isinstance(index, tuple) else (index,)):
            return f.as_tensor(np.array(self))[index]
        return super().__getitem__(index)

    def __array_ufunc__(self, ufunc: Any, method: Any, *inputs: Any, out: Any = None, **keywords: Any) -> Any:
        if any(isinstance(i, Tensor) or getattr(i, "traced", None) is not None for i in inputs):
            inputs = tuple(_plain(i) for i in inputs)
            if out is not None:
                keywords["out"] = out
            return numpy_protocol.array_ufunc(inputs[0], ufunc, method, *inputs, **keywords)
        if out is not None:
            keywords["out"] = tuple(_array(o) for o in out)
            super().__array_ufunc__(ufunc, method, *(_array(i) for i in inputs), **keywords)
            return out[0]
        return super().__array_ufunc__(ufunc, method, *(_array(i) for i in inputs), **keywords)

    def __array_function__(self, function: Any, types: Any, arguments: Any, keywords: Any) -> Any:
        if _any_traced(arguments) or _any_traced(tuple(keywords.values())):
            arguments = _replace(arguments)
            return numpy_protocol.array_function(
                None, function, types, arguments, {k: _replace(v) for k, v in keywords.items()}
            )
        return super().__array_function__(function, types, arguments, keywords)


def _plain(value: Any) -> Any:
    if not isinstance(value, Buffer):
        return value
    return value.traced if value.traced is not None else np.asarray(value)


def _array(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Buffer) else value


def _any_traced(values: Any) -> bool:
    if isinstance(values, (list, tuple)):
        return any(_any_traced(value) for value in values)
    return isinstance(values, Tensor) or getattr(values, "traced", None) is not None


def _replace(values: Any) -> Any:
    if isinstance(values, (list, tuple)):
        return type(values)(_replace(value) for value in values)
    return _plain(values)


def _forward(name: str) -> Any:
    plain = getattr(np.ndarray, name)
    if callable(plain):

        def method(self: Buffer, *arguments: Any, **keywords: Any) -> Any:
            if self.traced is not None:
                return getattr(self.traced, name)(*arguments, **keywords)
            return plain(self, *arguments, **keywords)

        method.__name__ = name
        return method
    return property(
        lambda self: getattr(self.traced, name) if self.traced is not None else plain.__get__(self)
    )


for _name in (
    "T",
    "all",
    "any",
    "argmax",
    "argmin",
    "astype",
    "clip",
    "copy",
    "dot",
    "flatten",
    "item",
    "max",
    "mean",
    "min",
    "ravel",
    "reshape",
    "squeeze",
    "std",
    "sum",
    "swapaxes",
    "tolist",
    "transpose",
    "var",
    "__float__",
    "__int__",
    "__bool__",
    "__array__",
    "__iter__",
):
    setattr(Buffer, _name, _forward(_name))
