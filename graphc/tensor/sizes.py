"""A size left open, as the user's program sees it.

`x.shape[0]` of a `float32[N,64]` is such a size.  It can be computed with and handed to `view` or `np.zeros`; what
cannot be known before the model is called, such as `if x.shape[0] == 1`, is refused, not decided in silence.
"""

from __future__ import annotations

from typing import Any, NoReturn

from graphc.errors import BranchError, ConversionError, GraphcError
from graphc.ir.dims import Dim, SymbolicDim, bounds
from graphc.source import user_span

Ranges = dict[str, tuple[int, int | None]]


class OpenSize:
    """A symbolic dimension with Python's arithmetic; comparisons the declared range decides are allowed."""

    __slots__ = ("dim", "ranges")

    def __init__(self, dim: SymbolicDim, ranges: Ranges):
        self.dim, self.ranges = dim, ranges

    def _with(self, dim: Dim) -> Size:
        return open_size(dim, self.ranges)

    def __add__(self, other: Any) -> Any:
        return self._with(self.dim + _plain(other)) if _is_size(other) else NotImplemented

    def __sub__(self, other: Any) -> Any:
        return self._with(self.dim - _plain(other)) if _is_size(other) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return self._with(_plain(other) - self.dim) if _is_size(other) else NotImplemented

    def __mul__(self, other: Any) -> Any:
        return self._with(self.dim * _plain(other)) if _is_size(other) else NotImplemented

    def __floordiv__(self, other: Any) -> Any:
        return self._divided(other, "//")

    def __mod__(self, other: Any) -> Any:
        return self._divided(other, "%")

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Size:
        return self._with(-self.dim)

    def _divided(self, other: Any, sign: str) -> Any:
        if not _is_size(other):
            return NotImplemented
        divisor = _plain(other)
        try:
            return self._with(self.dim // divisor if sign == "//" else self.dim % divisor)
        except ValueError:
            self._refuse(f"the size {self.dim} {sign} {divisor} cannot be written as a size")

    def _compare(self, other: Any, sign: str) -> bool:
        if not _is_size(other):
            return NotImplemented
        difference = self.dim - _plain(other)
        low, high = bounds(difference, self.ranges)
        match sign:
            case "<" if high < 0 or low >= 0:
                return high < 0
            case "<=" if high <= 0 or low > 0:
                return high <= 0
            case "==" if low == high == 0 or low > 0 or high < 0:
                return low == high == 0
        self._refuse(
            f"whether {self.dim} {sign} {_plain(other)} is not known while tracing: the size {self.dim} is left open"
        )

    def __lt__(self, other: Any) -> bool:
        return self._compare(other, "<")

    def __le__(self, other: Any) -> bool:
        return self._compare(other, "<=")

    def __gt__(self, other: Any) -> bool:
        answer = self._compare(other, "<=")
        return answer if answer is NotImplemented else not answer

    def __ge__(self, other: Any) -> bool:
        answer = self._compare(other, "<")
        return answer if answer is NotImplemented else not answer

    def __eq__(self, other: Any) -> bool:
        return self._compare(other, "==")

    def __ne__(self, other: Any) -> bool:
        answer = self._compare(other, "==")
        return answer if answer is NotImplemented else not answer

    def __hash__(self) -> int:
        return hash(self.dim)

    def __bool__(self) -> bool:
        return not self._compare(0, "==")

    def __index__(self) -> int:
        return self._convert()

    def __int__(self) -> int:
        return self._convert()

    def __float__(self) -> float:
        return self._convert()

    def _convert(self) -> int:
        from graphc.tensor.recording import refusal  # it keeps open sizes, so it imports this module

        raise refusal(
            ConversionError(
                f"the size {self.dim} is left open: it is no number while tracing",
                span=user_span(),
                fix="give the input a fixed size, or compute with whole tensors instead of a loop over the axis",
            )
        )

    def _refuse(self, message: str) -> NoReturn:
        from graphc.tensor.recording import refusal

        raise refusal(
            BranchError(
                message,
                span=user_span(),
                fix=f'give the range that decides it, dims={{"{self.dim}": (2, 4096)}}, or a fixed size',
            )
        )

    def __str__(self) -> str:
        return str(self.dim)

    __repr__ = __str__


Size = int | OpenSize


def open_size(dim: Dim, ranges: Ranges) -> Size:
    return dim if isinstance(dim, int) else OpenSize(dim, ranges)


def _is_size(value: Any) -> bool:
    return (
        isinstance(value, (OpenSize, SymbolicDim))
        or hasattr(value, "__index__")
        and not hasattr(value, "shape")
    )


def _plain(value: Any) -> Dim:
    if isinstance(value, OpenSize):
        return value.dim
    return value if isinstance(value, SymbolicDim) else value.__index__()


def dim_of(value: Any, what: str = "a size", kind: type[GraphcError] = ConversionError) -> Dim:
    """The dimension a user's number stands for: an int, a NumPy integer or a size left open."""
    if isinstance(value, OpenSize):
        return value.dim
    if isinstance(value, SymbolicDim):
        return value
    try:
        return int(value.__index__())
    except (AttributeError, TypeError):
        raise kind(f"{what} must be a whole number, not {value!r}", span=user_span()) from None
