"""Tensor: one type for both moods.

Inside a trace a tensor is a handle on a value of the graph.  Outside, it is data, or a computation on data that is
recorded like any other and run when a number is asked for.  Methods have the names of PyTorch and NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from graphc.errors import BranchError, ForeignTraceError, ShapeError, TraceError, UsageError
from graphc.ir.arithmetic import Arithmetic
from graphc.ir.graph import Value
from graphc.ir.types import TensorType, dtype_of
from graphc.tensor import functions as f
from graphc.tensor import indexing, numpy_protocol
from graphc.tensor.promotion import elementwise
from graphc.tensor.recording import Recording, here, open_trace, refusal, refused_conversion, supported_dtype
from graphc.tensor.sizes import OpenSize, Size, open_size


class Tensor(Arithmetic):
    """A tensor.  Make one with `graphc.tensor(data)`; a trace makes its own.

    >>> import graphc
    >>> x = graphc.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([[2., 4.],
            [6., 8.]])
    """

    __slots__ = (
        "__weakref__",
        "_array",
        "_home",
        "_value",
        "base",
        "grad",
        "name",
        "owned",
        "recording",
        "requires_grad",
        "views",
    )
    __array_priority__ = 1000
    _array: np.ndarray | None

    def __init__(self, data: Any, requires_grad: bool = False, name: str = ""):
        """A tensor of a copy of the data.  Raises DTypeError when its dtype is not supported."""
        array = data.array if isinstance(data, Tensor) else np.asarray(data)
        dtype = supported_dtype(array)
        if requires_grad and not dtype.is_float:
            raise UsageError(f"only floating-point tensors have a gradient, this one is {dtype}", span=here())
        self._start(name, requires_grad)
        self._array = _own(array)

    def _start(self, name: str = "", requires_grad: bool = False) -> None:
        self._array = None
        self._home: np.ndarray | None = None  # memory of a training step these numbers live in
        self._value: Value | None = None
        self.recording: Recording | None = None
        self.base: Any = None  # weak reference to the tensor whose memory NumPy would share with this one
        self.views: list[Any] = []  # weak references to those that would share this one's
        self.owned = False  # a copy the program made: it may be written to even where it is still the value of an input
        self.grad: Tensor | None = None
        self.name = name
        self.requires_grad = requires_grad

    @staticmethod
    def of_value(value: Value, owner: Recording | None) -> Tensor:
        """A handle on a value of a trace, or of the lazy graph when there is no owner."""
        tensor = Tensor.__new__(Tensor)
        tensor._start()
        tensor._value, tensor.recording = value, owner
        return tensor

    @staticmethod
    def of_array(array: np.ndarray, requires_grad: bool = False, name: str = "") -> Tensor:
        """A tensor that takes over an array nobody writes to any more."""
        tensor = Tensor.__new__(Tensor)
        tensor._start(name, requires_grad)
        tensor._array = array
        return tensor

    # What it is ------------------------------------------------------------------------------------------------

    @property
    def type(self) -> TensorType:
        if self._value is not None:
            return self._value.type
        assert self._array is not None
        return TensorType(dtype_of(self._array), self._array.shape)

    @property
    def value(self) -> Value:
        """The value of the graph it stands for."""
        if self._value is None:
            from graphc.tensor.lazy import held

            self._value = held(self)
        return self._value

    @property
    def is_leaf(self) -> bool:
        """Whether it is data rather than the result of a computation."""
        return self.recording is None and (self._value is None or self._value.node is None)

    @property
    def shape(self) -> tuple[Size, ...]:
        ranges = self.recording.ranges if self.recording is not None else {}
        return tuple(open_size(dim, ranges) for dim in self.type.shape)

    @property
    def ndim(self) -> int:
        return self.type.rank

    def dim(self) -> int:
        return self.type.rank

    @property
    def dtype(self) -> np.dtype:
        return self.type.dtype.numpy

    @property
    def size(self) -> Any:
        """NumPy's `x.size`, the number of elements, and PyTorch's `x.size()` and `x.size(dim)`."""
        return f.size_of(self.shape)

    def numel(self) -> Size:
        return f.count(self.shape)

    @property
    def nbytes(self) -> Size:
        return f.count(self.shape) * self.type.dtype.itemsize

    @property
    def itemsize(self) -> int:
        return self.type.dtype.itemsize

    @property
    def shown_name(self) -> str:
        trace = open_trace()
        known = trace.known.get(id(self), "") if trace is not None else ""
        return self.name or known or (self._value.name if self._value is not None else "the tensor")

    # Numbers out of it -----------------------------------------------------------------------------------------

    @property
    def array(self) -> np.ndarray:
        """Its numbers, read-only.

        Raises ConversionError inside a trace, for a parameter too: the graph would keep the number it has today.
        """
        return self._now("reading it", _KEEP)

    def held_array(self) -> np.ndarray:
        """The numbers, for the recorder that makes a leaf of them."""
        return self._numbers("reading it", _KEEP)

    @property
    def data(self) -> np.ndarray:
        return self.array

    @data.setter
    def data(self, data: Any) -> None:
        if not self.is_leaf:
            raise UsageError(
                "only a tensor of data, not the result of a computation, can be given other data"
            )
        array = np.asarray(data.array if isinstance(data, Tensor) else data)
        supported_dtype(array)
        home = self._home
        if home is not None and (home.dtype, home.shape) == (array.dtype, array.shape):
            self.before_change()
            home[...] = array
        else:
            self._array, self._home, self._value = _own(array), None, None

    def assign(self, data: Any) -> None:
        """Give a tensor of data other data of its type."""
        array = np.asarray(data)
        if TensorType(supported_dtype(array), array.shape) != self.type:
            raise ShapeError(
                f"{self.shown_name} is {self.type}, it got {array.dtype}{list(array.shape)}", span=here()
            )
        self.data = array

    def live_in(self, array: np.ndarray) -> None:
        """From now on be the numbers of this array, which somebody else changes: a compiled training step.

        The array takes over the numbers of the tensor; so does whatever the tensor is given later.
        """
        if self._home is array:
            return
        array[...] = self.array
        view = array.view()
        view.flags.writeable = False
        self._array, self._home, self._value = view, array, None

    def before_change(self) -> None:
        """Results that were recorded but not computed yet keep the numbers as they are now."""
        if self._value is None:
            return
        from graphc.tensor.lazy import Held

        if isinstance(self._value, Held):
            self._value.array, self._value = np.array(self._array), None

    def _numbers(self, what: str, fix: str) -> np.ndarray:
        if self.recording is not None and not self.recording.open:
            raise ForeignTraceError(
                f"{self.shown_name} is a tensor whose trace is over: it has no numbers",
                span=here(),
                fix="return it, and use the result of the compiled model",
            )
        if self.recording is not None:
            raise refused_conversion(self, what, fix)
        if self._array is None:
            from graphc.tensor.lazy import evaluate

            self._array = evaluate([self.value])[0]
        return self._array

    def _now(self, what: str, fix: str) -> np.ndarray:
        """The numbers for Python to decide by; inside a trace not even those of a parameter, which training changes."""
        if open_trace() is not None and (self.recording is None):
            raise refused_conversion(self, what, fix)
        return self._numbers(what, fix)

    def numpy(self) -> np.ndarray:
        return self._now("t.numpy()", "trace with the tensor itself")

    def detach(self) -> Tensor:
        """The same values; no gradient flows back through it."""
        return f.stop_gradient(self)

    def cpu(self) -> Self:
        return self

    def clone(self) -> Tensor:
        """The same values in a tensor of their own, which may be written to."""
        trace = open_trace()
        copy = Tensor.of_value(self.value if trace is None else trace.value_of(self), trace)
        copy.owned = True
        return copy

    def item(self) -> Any:
        return self._now("t.item()", _KEEP).item()

    def tolist(self) -> Any:
        return self._now("t.tolist()", _KEEP).tolist()

    def __float__(self) -> float:
        return float(self._now("float(t)", _KEEP).item())

    def __int__(self) -> int:
        return int(self._now("int(t)", _KEEP).item())

    def __round__(self, digits: int | None = None) -> Any:
        return round(self._now("round(t)", _KEEP).item(), digits)

    def __trunc__(self) -> int:
        return int(self._now("math.trunc(t)", _KEEP))

    def __floor__(self) -> int:
        return math.floor(self._now("math.floor(t)", _KEEP))

    def __ceil__(self) -> int:
        return math.ceil(self._now("math.ceil(t)", _KEEP))

    def __complex__(self) -> complex:
        return complex(self._now("complex(t)", _KEEP).item())

    def __index__(self) -> int:
        numbers = self._now(
            "using a tensor as an index",
            "take elements with `take(x, i, axis)`, or make the index a plain number",
        )
        return numbers.__index__()

    def __bool__(self) -> bool:
        if self.recording is not None and self.recording.open or open_trace() is not None:
            raise refusal(
                BranchError(
                    f"a branch on {self.shown_name}, which has no value while tracing",
                    span=here(),
                    facts=[(self.shown_name, str(self.type))],
                    fix="compute both sides and choose: graphc.where(condition, a, b); combine conditions with & | ~",
                )
            )
        return bool(self._numbers("a branch", ""))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._now("np.asarray(t)", _ARRAY), dtype=dtype)

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a tensor without dimensions")
        size = self.shape[0]
        return size if isinstance(size, int) else size.__index__()

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("iteration over a tensor without dimensions")
        return (self[i] for i in range(len(self)))

    def __hash__(self) -> int:
        if self.recording is not None:
            raise refusal(
                TraceError(
                    f"{self.shown_name} cannot be a key: equal values would have to be the same key",
                    span=here(),
                    facts=[(self.shown_name, str(self.type))],
                    fix="use a plain number or a name as the key, or id(t) for the object itself",
                )
            )
        return id(self)

    def __contains__(self, item: Any) -> bool:
        return bool((self == item).any())

    def __format__(self, specification: str) -> str:
        if not specification:
            return str(self)
        numbers = self._now("a formatted number", "print the result of the compiled model instead")
        return format(numbers.item() if numbers.ndim == 0 else numbers, specification)

    def __repr__(self) -> str:
        if self.recording is not None:
            return f"Tensor({self.shown_name}: {self.type})"
        note = ", requires_grad=True" if self.requires_grad and self.is_leaf else ""
        return f"{np.array2string(self.array, separator=', ', prefix='tensor(')}".join(
            ("tensor(", f"{note})")
        )

    def __copy__(self) -> Tensor:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self.recording is not None:
            return self  # a place in a graph: there is nothing to copy
        copy = type(self).__new__(type(self))
        copy._start(self.name, self.requires_grad)
        copy._array = _own(self._now("copy.deepcopy(t)", _KEEP))
        copy.grad = None if self.grad is None else Tensor(self.grad)
        return copy

    # Operators: the arithmetic ones come from Arithmetic ---------------------------------------------------------

    def _apply(self, name: str, *operands: Any) -> Any:
        if name == "matmul":
            return f.matmul(*operands) if f.are_tensors(operands) else NotImplemented
        if name == "pow":
            return f.pow(*operands)
        return elementwise(name, *operands)

    def __eq__(self, other: Any) -> Any:
        return elementwise("equal", self, other)

    def __ne__(self, other: Any) -> Any:
        return elementwise("not_equal", self, other)

    def __and__(self, other: Any) -> Any:
        return f.bitwise_and(self, other)

    def __or__(self, other: Any) -> Any:
        return f.bitwise_or(self, other)

    def __xor__(self, other: Any) -> Any:
        return f.bitwise_xor(self, other)

    def __invert__(self) -> Any:
        return f.invert(self)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __lshift__(self, other: Any) -> Any:
        return elementwise("shift_left", self, other)

    def __rshift__(self, other: Any) -> Any:
        return elementwise("shift_right", self, other)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __pos__(self) -> Self:
        return self

    def __iadd__(self, other: Any) -> Self:
        return indexing.update(self, self + other, "+=")

    def __isub__(self, other: Any) -> Self:
        return indexing.update(self, self - other, "-=")

    def __imul__(self, other: Any) -> Self:
        return indexing.update(self, self * other, "*=")

    def __itruediv__(self, other: Any) -> Self:
        return indexing.update(self, self / other, "/=")

    def __ifloordiv__(self, other: Any) -> Self:
        return indexing.update(self, self // other, "//=")

    def __imod__(self, other: Any) -> Self:
        return indexing.update(self, self % other, "%=")

    def __ipow__(self, other: Any) -> Self:
        return indexing.update(self, self**other, "**=")

    def __getitem__(self, index: Any) -> Tensor:
        return indexing.take(self, index)

    def __setitem__(self, index: Any, new: Any) -> None:
        indexing.write(self, index, new)

    def backward(self, gradient: Any = None) -> None:
        """Fill `.grad` of every leaf that requires a gradient, adding to what is there.

        A number is differentiated as it is; a larger tensor needs `gradient`, of its own shape.  Where nothing requires
        a gradient, as at a prompt, all tensors of floating-point data get one.
        """
        from graphc.tensor.lazy import backward

        backward(self, gradient)

    def zero_grad(self) -> None:
        self.grad = None

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        self.requires_grad, self._value = requires_grad, None if self.is_leaf else self._value
        return self

    __array_ufunc__ = numpy_protocol.array_ufunc
    __array_function__ = numpy_protocol.array_function

    # Methods; functions.py says what each does -------------------------------------------------------------------

    T, mT = property(f.transposed), property(f.matrix_transposed)
    view, reshape, flatten, ravel = f.reshape, f.reshape, f.flatten, f.flatten
    transpose, permute, swapaxes = f.transpose, f.permute, f.swapaxes
    squeeze, unsqueeze, expand, expand_as = f.squeeze, f.unsqueeze, f.expand, f.expand_as
    sum, mean, var, std, max, min, amax, amin = f.sum, f.mean, f.var, f.std, f.max, f.min, f.amax, f.amin
    argmax, argmin, any, all, norm = f.argmax, f.argmin, f.any, f.all, f.norm
    exp, log, sqrt, tanh, sigmoid, relu, abs = f.exp, f.log, f.sqrt, f.tanh, f.sigmoid, f.relu, f.abs
    sin, cos, square, neg, erf, sign = f.sin, f.cos, f.square, f.neg, f.erf, f.sign
    tan, asin, acos, atan, atan2 = f.tan, f.asin, f.acos, f.atan, f.atan2
    sinh, cosh, asinh, acosh, atanh = f.sinh, f.cosh, f.asinh, f.acosh, f.atanh
    exp2, expm1, log2, log10, log1p = f.exp2, f.expm1, f.log2, f.log10, f.log1p
    floor, ceil, round, trunc = f.floor, f.ceil, f.round, f.trunc
    floor_divide, remainder, fmod = f.floor_divide, f.remainder, f.fmod
    isnan, isinf, isfinite = f.isnan, f.isinf, f.isfinite
    add, sub, mul, div, pow = f.add, f.sub, f.mul, f.div, f.pow
    softmax, log_softmax, clamp, clip = f.softmax, f.log_softmax, f.clamp, f.clamp
    matmul, mm, bmm, dot = f.matmul, f.matmul, f.matmul, f.dot
    astype, to, type_as, copy, contiguous = f.astype, f.to, f.type_as, f.copy, f.contiguous
    chunk, split, unbind, gather, take = f.chunk, f.split, f.unbind, f.gather, f.take
    prod, cumsum, cumprod = f.prod, f.cumsum, f.cumprod
    sort, argsort, topk = f.sort, f.argsort, f.topk
    scatter, scatter_add, index_add, index_copy = f.scatter, f.scatter_add, f.index_add, f.index_copy
    tril, triu, roll = f.tril, f.triu, f.roll
    masked_fill, where, repeat, flip = f.masked_fill, f.where_self, f.tile, f.flip


# PyTorch's conversions; inside the class these names would hide the types.
for _name in ("float32", "float64", "int64", "int32", "bool"):
    _short = {"float32": "float", "float64": "double", "int64": "long", "int32": "int", "bool": "bool"}[_name]
    setattr(Tensor, _short, f.conversion(_name))

_KEEP = "keep computing with the tensor, return it, and convert the result of the compiled model"
_ARRAY = "NumPy's functions accept the tensor itself; what has no such form can be computed outside the traced function"


def _own(array: np.ndarray) -> np.ndarray:
    copy = np.array(array, order="C")
    copy.flags.writeable = False
    return copy


def tensor(data: Any, requires_grad: bool = False, name: str = "") -> Tensor:
    """A tensor of a copy of the data: numbers, nested lists, an array.

    >>> a = tensor(-2.0, requires_grad=True)
    >>> b = tensor(3.0)
    >>> c = a * b + a.exp()
    >>> print(f"{c:.4f}")
    -5.8647
    """
    if isinstance(data, Tensor) and open_trace() is not None:
        return data.clone()
    return Tensor(data, requires_grad, name)


__all__ = ["OpenSize", "Tensor", "tensor"]
