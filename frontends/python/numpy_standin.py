"""Stand-ins for the modules `numpy` and `math` while a function is traced.

It is NumPy in all but the functions that make arrays, which NumPy cannot hand to its guests: they accept
tensors and sizes left open, and give buffers that accept a tensor later (`B = np.zeros((3, 3)); B[0, 1] =
t`). Without a tensor they do what NumPy does.  `math` takes single numbers, and so a tensor of one.
"""

from __future__ import annotations

import math
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.frontends.python.buffer import Buffer
from graphc.ir.op import REGISTRY
from graphc.ir.types import dtype_of
from graphc.tensor import Tensor
from graphc.tensor import functions as f
from graphc.tensor.recording import record
from graphc.tensor.shaping import holds_tensor
from graphc.tensor.sizes import OpenSize


def _sizes(shape: Any) -> tuple[Any, ...]:
    return tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)


def _filled(name: str, value: Any) -> Callable[..., Any]:
    plain: Any = np.zeros if name == "empty" else getattr(np, name)  # an empty array differs between traces

    def make(shape: Any, dtype: Any = None, order: str = "C", **keywords: Any) -> Any:
        if holds_tensor(_sizes(shape)):
            return f.full(_sizes(shape), value, dtype or np.float64)
        return plain(shape, dtype or float, order, **keywords).view(Buffer)

    make.__name__ = name
    return make


def full(shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C", **keywords: Any) -> Any:
    if holds_tensor(_sizes(shape)) or holds_tensor([fill_value]):
        return (
            f.full(_sizes(shape), fill_value, dtype)
            if not isinstance(fill_value, Tensor)
            else _spread(fill_value, shape, dtype)
        )
    return np.full(shape, fill_value, dtype, order, **keywords).view(Buffer)


def _spread(value: Tensor, shape: Any, dtype: Any) -> Any:
    wide = f.broadcast_to(value, _sizes(shape))
    return wide if dtype is None else f.astype(wide, dtype)


def array(object: Any, dtype: Any = None, **keywords: Any) -> Any:
    if not holds_tensor([object]):
        return np.array(object, dtype, **keywords)
    made = f.copy(f.as_tensor(object)) if isinstance(object, Tensor) else f.as_tensor(object)
    return made if dtype is None else f.astype(made, dtype)


def asarray(a: Any, dtype: Any = None, **keywords: Any) -> Any:
    """Refused for a tensor by the tensor itself, as it promises a real array; a list of tensors is stacked."""
    if isinstance(a, (list, tuple)) and holds_tensor(a):
        return array(a, dtype)
    return np.asarray(a, dtype, **keywords)


def arange(*bounds: Any, dtype: Any = None, **keywords: Any) -> Any:
    if not holds_tensor(bounds):
        return np.arange(*bounds, dtype=dtype, **keywords)
    start, stop, step = (0, *bounds, 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    if not all(isinstance(b, (int, np.integer, OpenSize)) for b in (start, stop, step)) or step != 1:
        return np.arange(
            *bounds, dtype=dtype, **keywords
        )  # refuses a size left open, and a tensor, by itself
    ramp = record(
        REGISTRY["iota"], shape=(_dim(stop - start),), axis=0, dtype=dtype_of(np.dtype(dtype or np.int64))
    )
    return ramp if isinstance(start, int) and start == 0 else ramp + start


def _dim(size: Any) -> Any:
    return size.dim if isinstance(size, OpenSize) else int(size)


def eye(N: Any, M: Any = None, k: int = 0, dtype: Any = float, **keywords: Any) -> Any:
    return np.eye(N, M, k, dtype, **keywords)


def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    return (
        f.broadcast_to(f.as_tensor(array), _sizes(shape))
        if holds_tensor([array, *_sizes(shape)])
        else np.broadcast_to(array, shape)
    )


def reshape(a: Any, shape: Any, order: Any = "C") -> Any:
    return (
        f.reshape(f.as_tensor(a), shape, order=order)
        if holds_tensor([a, *_sizes(shape)])
        else np.reshape(a, shape, order)
    )


def joined(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's own, but for a list in which a tensor is nested where NumPy does not look for one."""
    plain = getattr(np, name)

    def join(arrays: Sequence[Any], *arguments: Any, **keywords: Any) -> Any:
        return (
            function(arrays, *arguments, **keywords)
            if holds_tensor(list(arrays))
            else plain(arrays, *arguments, **keywords)
        )

    join.__name__ = name
    return join


def of_a_number(name: str) -> Callable[..., Any]:
    """The function of `math`, also of a tensor without dimensions."""
    plain, function = getattr(math, name), getattr(f, name)

    def call(x: Any) -> Any:
        return function(x) if isinstance(x, Tensor) and x.ndim == 0 else plain(x)

    call.__name__ = name
    return call


class _Kind(type):
    """Makes `isinstance(x, np.ndarray)` say of a stand-in what it says of the array it stands for."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, (np.ndarray, Tensor))

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        return np.ndarray(*arguments, **keywords)

    def __getattr__(cls, name: str) -> Any:
        return getattr(np.ndarray, name)


class ndarray(metaclass=_Kind):
    """`np.ndarray` while tracing."""


class StandIn(types.ModuleType):
    """Looks like a module and is that module, but for the functions of this file."""

    def __init__(self, original: types.ModuleType):
        super().__init__(original.__name__)
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


STANDIN, MATH = StandIn(np), StandIn(math)
for _name in ("exp", "log", "sqrt", "sin", "cos", "tanh", "erf"):
    setattr(MATH, _name, of_a_number(_name))
for _name, _function in {
    "zeros": _filled("zeros", 0),
    "ones": _filled("ones", 1),
    "empty": _filled("empty", 0),
    "full": full,
    "ndarray": ndarray,
    "array": array,
    "asarray": asarray,
    "arange": arange,
    "broadcast_to": broadcast_to,
    "reshape": reshape,
    "concatenate": joined("concatenate", f.concatenate),
    "stack": joined("stack", f.stack),
}.items():
    setattr(STANDIN, _name, _function)


def stand_in(value: Any) -> StandIn | None:
    """What stands in for numpy or math; None for anything else."""
    return STANDIN if value is np else MATH if value is math else None


_lock = threading.Lock()
_replaced: dict[int, tuple[int, dict[str, Any], dict[str, StandIn]]] = {}  # traces, itself, stand-ins by name


@contextmanager
def standing_in(namespaces: Sequence[dict[str, Any]]) -> Iterator[None]:
    """Put the stand-ins where these namespaces have the modules, and those back afterwards, whatever happens."""
    with _lock:
        for space in namespaces:
            count, _, found = _replaced.get(id(space), (0, space, {}))
            found = found or {n: other for n, value in space.items() if (other := stand_in(value))}
            _replaced[id(space)] = (count + 1, space, found)
            space.update(found)
    try:
        yield
    finally:
        with _lock:
            for space in namespaces:
                count, _, found = _replaced.pop(id(space))
                if count > 1:
                    _replaced[id(space)] = (count - 1, space, found)
                else:
                    space.update({n: other._original for n, other in found.items() if space.get(n) is other})
