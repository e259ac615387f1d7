"""Type rules and sample inputs that many ops share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from graphc.errors import DTypeError
from graphc.ir.dims import SymbolicDim
from graphc.ir.op import TypeRuleError
from graphc.ir.types import DType, TensorType, bool_


def same_type(*types: TensorType, **_: Any) -> TensorType:
    """The one type all operands share."""
    for position, other in enumerate(types[1:], 1):
        if other.dtype != types[0].dtype:
            raise TypeRuleError(
                f"dtypes differ: {types[0].dtype} ({{0}}) and {other.dtype} ({{{position}}})",
                f'convert one of them: .astype("{types[0].dtype}")',
                DTypeError,
            )
        if other.shape != types[0].shape:
            raise TypeRuleError(f"shapes differ: {{0}} and {{{position}}}")
    return types[0]


def same_float(*types: TensorType, **_: Any) -> TensorType:
    """The one floating-point type all operands share."""
    if not types[0].dtype.is_float:
        raise TypeRuleError(
            f"needs floating-point numbers, {{0}} is {types[0].dtype}",
            'convert it: .astype("float32")',
            DTypeError,
        )
    return same_type(*types)


def same_number(*types: TensorType, **_: Any) -> TensorType:
    """The one type all operands share, not bool."""
    if types[0].dtype == bool_:
        raise TypeRuleError("needs numbers, {0} is bool", 'convert it: .astype("float32")', DTypeError)
    return same_type(*types)


def comparison(*types: TensorType, **_: Any) -> TensorType:
    return same_type(*types).with_dtype(bool_)


def logical(*types: TensorType, **_: Any) -> TensorType:
    if types[0].dtype != bool_:
        raise TypeRuleError(f"needs booleans, {{0}} is {types[0].dtype}", "compare first: x > 0", DTypeError)
    return same_type(*types)


def fits(value: float, dtype: DType) -> bool:
    """Whether a number is one of a dtype: anything for floats, a whole number in the range for integers.

    >>> from graphc.ir.types import float32, uint8
    >>> fits(0.5, float32), fits(1.0, bool_), fits(256, uint8), fits(-1, uint8), fits(float("nan"), uint8)
    (True, True, False, False, False)
    """
    if dtype.is_float:
        return True
    low, high = (0, 1) if dtype == bool_ else (np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max)
    return low <= value <= high and value == int(value)


def check_dtype(*dtypes: Any) -> None:
    """Raise TypeRuleError for an attribute that is no dtype."""
    for dtype in dtypes:
        if not isinstance(dtype, DType):
            raise TypeRuleError(f"{dtype!r} is no dtype", kind=DTypeError)


def check_shape(shape: Any) -> None:
    """Raise TypeRuleError for an attribute that is no shape; -1 is worked out before a graph is made."""
    plain = isinstance(shape, tuple) and all(type(size) in (int, SymbolicDim) for size in shape)
    if not plain or any(isinstance(size, int) and size < 0 for size in shape):
        raise TypeRuleError(f"{shape!r} is no shape: sizes are whole numbers >= 0")


def samples(
    arity: int, low: float = -2.0, high: float = 2.0, *, away: tuple[float, ...] = (), dtypes: str = "float64"
) -> Callable[[], Iterator[tuple[tuple, dict]]]:
    """Operands of awkward sizes with elements in [low, high], not near the points in `away` (kinks)."""

    def draw() -> Iterator[tuple[tuple, dict]]:
        rng = np.random.default_rng(7)
        for shape in ((), (1,), (7,), (3, 17), (2, 1, 31), (0, 4)):
            for dtype in dtypes.split():
                arrays = tuple(_draw(rng, shape, low, high, away).astype(dtype) for _ in range(arity))
                yield arrays, {}

    return draw


def _draw(
    rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float, away: tuple[float, ...]
) -> np.ndarray:
    x = rng.uniform(low, high, shape)
    for point in away:
        near = np.abs(x - point) < 0.05
        x = np.where(near, point + np.where(x >= point, 0.1, -0.1), x)
    return np.asarray(x)
