"""What NumPy asks of its guests: `np.exp(t)`, `np.dot(w, t)`, `np.concatenate([t, u])` come here.

Each NumPy function stands in a table beside the function of tensors that does its work; what is not in the table is
refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import UnsupportedError
from graphc.ir.op import REGISTRY
from graphc.tensor import functions as f
from graphc.tensor.promotion import elementwise
from graphc.tensor.recording import entry, here, record, refusal


def _logaddexp(x: Any, y: Any) -> Any:
    high = f.maximum(x, y)
    return f.add(high, f.log(f.add(f.exp(f.sub(x, high)), f.exp(f.sub(y, high)))))


UFUNCS: dict[Any, Callable[..., Any]] = {
    np.add: f.add,
    np.subtract: f.sub,
    np.multiply: f.mul,
    np.divide: f.div,
    np.power: f.pow,
    np.float_power: f.pow,
    np.negative: f.neg,
    np.positive: lambda x: x,
    np.absolute: f.abs,
    np.fabs: f.abs,
    np.sign: f.sign,
    np.exp: f.exp,
    np.log: f.log,
    np.sqrt: f.sqrt,
    np.tanh: f.tanh,
    np.sin: f.sin,
    np.cos: f.cos,
    np.square: f.square,
    np.log1p: f.log1p,
    np.expm1: f.expm1,
    np.logaddexp: _logaddexp,
    np.reciprocal: lambda x: f.div(1.0, x),
    np.exp2: f.exp2,
    np.log2: f.log2,
    np.log10: f.log10,
    np.tan: f.tan,
    np.arcsin: f.asin,
    np.arccos: f.acos,
    np.arctan: f.atan,
    np.arctan2: f.atan2,
    np.sinh: f.sinh,
    np.cosh: f.cosh,
    np.arcsinh: f.asinh,
    np.arccosh: f.acosh,
    np.arctanh: f.atanh,
    np.floor: f.floor,
    np.ceil: f.ceil,
    np.rint: f.round,
    np.trunc: f.trunc,
    np.floor_divide: f.floor_divide,
    np.remainder: f.remainder,
    np.fmod: f.fmod,
    np.divmod: lambda x, y: (f.floor_divide(x, y), f.remainder(x, y)),
    np.left_shift: f.shift_left,
    np.right_shift: f.shift_right,
    np.maximum: f.maximum,
    np.minimum: f.minimum,
    np.matmul: f.matmul,
    np.equal: lambda x, y: elementwise("equal", x, y),
    np.not_equal: lambda x, y: elementwise("not_equal", x, y),
    np.less: lambda x, y: elementwise("less", x, y),
    np.less_equal: lambda x, y: elementwise("less_equal", x, y),
    np.greater: lambda x, y: elementwise("greater", x, y),
    np.greater_equal: lambda x, y: elementwise("greater_equal", x, y),
    np.logical_and: f.logical_and,
    np.logical_or: f.logical_or,
    np.logical_not: f.logical_not,
    np.bitwise_and: f.bitwise_and,
    np.bitwise_or: f.bitwise_or,
    np.bitwise_xor: f.bitwise_xor,
    np.logical_xor: f.logical_xor,
    np.invert: f.invert,
    np.isnan: f.isnan,
    np.isinf: f.isinf,
    np.isfinite: f.isfinite,
    np.conjugate: lambda x: x,
}

REDUCE: dict[Any, Callable[..., Any]] = {
    np.add: f.sum,
    np.multiply: f.prod,
    np.maximum: f.max,
    np.minimum: f.min,
}


@entry
def array_ufunc(self: Any, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
    """NumPy's hook for ufuncs, `__array_ufunc__`."""
    out = keywords.pop("out", None)
    dtype = keywords.pop("dtype", None)
    if method == "reduce" and ufunc in REDUCE:
        axis, keepdims = keywords.pop("axis", 0), keywords.pop("keepdims", False)
        result = REDUCE[ufunc](inputs[0], axis, bool(keepdims))
    elif method == "__call__" and ufunc in UFUNCS:
        result = UFUNCS[ufunc](*inputs)
    elif method == "outer" and ufunc is np.multiply:
        result = f.outer(*inputs)
    else:
        raise unsupported(f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}"))
    extra = {key: value for key, value in keywords.items() if value is not None and value is not True}
    if extra:
        raise UnsupportedError(f"np.{ufunc.__name__} with {', '.join(sorted(extra))}=", span=here())
    if dtype is not None:
        result = f.astype(result, dtype)
    return _into(out, result) if out is not None else result


def _into(out: tuple[Any, ...], result: Any) -> Any:
    """`out=`: for a tensor or a traced buffer the new value of it; a plain array cannot hold a tensor."""
    from graphc.tensor import indexing
    from graphc.tensor.tensor import Tensor

    (target,) = out
    if isinstance(target, Tensor):
        return indexing.update(target, result, "out=")
    if hasattr(target, "traced"):
        target[...] = result
        return target
    raise UnsupportedError(
        "writing a traced result into a plain array",
        span=here(),
        fix="use the function's result; an in-place `array += tensor` becomes `array = array + tensor`",
    )


def unsupported(name: str) -> UnsupportedError:
    return refusal(
        UnsupportedError(
            f"{name} of a traced tensor",
            span=here(),
            cause="it has no counterpart among graphc's ops",
            fix="write it with the functions that have one, or compute it outside the traced function",
        )
    )


@entry
def array_function(
    self: Any, function: Any, types: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    """NumPy's hook for other functions, `__array_function__`."""
    chosen = FUNCTIONS.get(function)
    if chosen is None:
        module = getattr(function, "__module__", "numpy").replace("numpy", "np", 1)
        raise unsupported(f"{module}.{function.__name__}")
    try:
        return chosen(*arguments, **keywords)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise UnsupportedError(f"np.{function.__name__}: {error}", span=here()) from None


def _mean(x: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: Any = False) -> Any:
    return f.mean(x, axis, keepdims is True, dtype=dtype)


def _sum(x: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: Any = False) -> Any:
    return f.sum(x, axis, keepdims is True, dtype=dtype)


def _clip(
    x: Any, a_min: Any = None, a_max: Any = None, out: None = None, *, min: Any = None, max: Any = None
) -> Any:
    return f.clamp(x, a_min if a_min is not None else min, a_max if a_max is not None else max)


def _pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Any:
    widths = [(int(a), int(b)) for a, b in np.broadcast_to(np.asarray(pad_width), (x.ndim, 2)).tolist()]
    if mode in ("reflect", "symmetric", "edge", "wrap"):
        return f.extend(x, widths, mode)
    if mode != "constant" or not np.isscalar(constant_values):
        raise UnsupportedError(f"np.pad with mode={mode!r}", span=here(), fix="pad with one constant value")
    return f.pad(x, widths, float(constant_values))  # type: ignore[arg-type]


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if ord not in (None, 2) or ord == 2 and axis is None and x.ndim > 1:
        raise UnsupportedError(f"np.linalg.norm with ord={ord}", span=here(), fix="write the norm out")
    return f.norm(x, axis, keepdims)


def _einsum(*operands: Any, **keywords: Any) -> Any:
    from graphc.tensor.einsum import einsum

    if keywords.keys() - {"optimize"} or not isinstance(operands[0], str):
        raise unsupported("np.einsum in this form")
    return einsum(*operands)


def _where(condition: Any, *choices: Any) -> Any:
    if not choices:
        raise UnsupportedError(
            "np.where with a condition alone: how many places it finds is not known while tracing",
            span=here(),
            fix="give both choices: np.where(condition, x, y)",
        )
    return f.where(condition, *choices)


def _vstack(tensors: Sequence[Any]) -> Any:
    return f.concatenate([f.reshape(t, 1, -1) if t.ndim < 2 else t for t in f.tensors_of(tensors)], 0)


def _hstack(tensors: Sequence[Any]) -> Any:
    parts = f.tensors_of(tensors)
    return f.concatenate(
        [f.reshape(t, 1) if t.ndim == 0 else t for t in parts], 0 if parts[0].ndim < 2 else 1
    )


def _like(value: float) -> Callable[..., Any]:
    def like(x: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None) -> Any:
        return f.full(x.type.shape if shape is None else shape, value, dtype or x.dtype)

    return like


def _full_like(
    x: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None
) -> Any:
    return f.full(x.type.shape if shape is None else shape, fill_value, dtype or x.dtype)


def _expand_dims(x: Any, axis: Any) -> Any:
    return f.unsqueeze(x, axis)


def _diff(x: Any, n: int = 1, axis: int = -1) -> Any:
    for _ in range(n):
        index = [slice(None)] * x.ndim
        upper, lower = index.copy(), index.copy()
        upper[axis], lower[axis] = slice(1, None), slice(None, -1)
        x = x[tuple(upper)] - x[tuple(lower)]
    return x


def _iota_like(shape: Any, axis: int, dtype: Any) -> Any:
    return record(REGISTRY["iota"], shape=shape, axis=axis, dtype=dtype)


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.dot: lambda a, b, out=None: f.dot(a, b),
    np.outer: f.outer,
    np.vdot: lambda a, b: f.sum(f.mul(a, b)),
    np.inner: lambda a, b: f.sum(f.mul(a, b), -1),
    np.sum: _sum,
    np.mean: _mean,
    np.max: lambda x, axis=None, out=None, keepdims=False: f.amax(x, axis, keepdims is True),
    np.min: lambda x, axis=None, out=None, keepdims=False: f.amin(x, axis, keepdims is True),
    np.var: lambda x, axis=None, dtype=None, out=None, ddof=0, keepdims=False: f.var(
        x, axis, keepdims is True, ddof=ddof
    ),
    np.std: lambda x, axis=None, dtype=None, out=None, ddof=0, keepdims=False: f.std(
        x, axis, keepdims is True, ddof=ddof
    ),
    np.argmax: lambda x, axis=None, out=None, keepdims=False: f.argmax(x, axis, keepdims is True),
    np.argmin: lambda x, axis=None, out=None, keepdims=False: f.argmin(x, axis, keepdims is True),
    np.any: lambda x, axis=None, out=None, keepdims=False: f.any(x, axis, keepdims is True),
    np.all: lambda x, axis=None, out=None, keepdims=False: f.all(x, axis, keepdims is True),
    np.prod: lambda x, axis=None, dtype=None, out=None, keepdims=False: f.prod(
        x, axis, keepdims is True, dtype=dtype
    ),
    np.cumsum: lambda x, axis=None, dtype=None, out=None: f.cumsum(x, axis, dtype=dtype),
    np.cumprod: lambda x, axis=None, dtype=None, out=None: f.cumprod(x, axis, dtype=dtype),
    np.sort: lambda x, axis=-1, kind=None, order=None, stable=None: f.in_order(x, axis),
    np.argsort: lambda x, axis=-1, kind=None, order=None, stable=None: f.argsort(x, axis),
    np.tril: lambda x, k=0: f.tril(x, k),
    np.triu: lambda x, k=0: f.triu(x, k),
    np.roll: lambda x, shift, axis=None: f.roll(x, shift, axis),
    np.reshape: lambda x, shape, order="C": f.reshape(x, shape, order=order),
    np.ravel: lambda x, order="C": f.reshape(x, -1),
    np.transpose: lambda x, axes=None: f.permute(x, *(axes if axes is not None else range(x.ndim)[::-1])),
    np.swapaxes: f.swapaxes,
    np.moveaxis: f.moveaxis,
    np.squeeze: lambda x, axis=None: f.squeeze(x, axis=axis),
    np.expand_dims: _expand_dims,
    np.broadcast_to: lambda x, shape, subok=False: f.broadcast_to(x, shape),
    np.concatenate: lambda parts, axis=0, out=None: f.concatenate(parts, axis),
    np.stack: lambda parts, axis=0, out=None: f.stack(parts, axis),
    np.vstack: _vstack,
    np.hstack: _hstack,
    np.split: f.array_split,
    np.tile: lambda x, reps: f.tile(x, reps),
    np.repeat: f.repeat_elements,
    np.flip: lambda x, axis=None: f.flip(x, axis),
    np.pad: _pad,
    np.where: _where,
    np.clip: _clip,
    np.take: f.take,
    np.take_along_axis: lambda x, indices, axis: f.gather(x, axis, indices),
    np.diff: _diff,
    np.zeros_like: _like(0),
    np.ones_like: _like(1),
    np.empty_like: _like(0),
    np.full_like: _full_like,
    np.linalg.norm: _norm,
    np.einsum: _einsum,
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.size: lambda x, axis=None: f.count(x.shape) if axis is None else x.shape[axis],
    np.copy: lambda x, **_: f.copy(x),
    np.atleast_2d: lambda x: f.reshape(x, 1, -1) if x.ndim < 2 else x,
    np.real: lambda x: x,
    np.trace: lambda x: f.sum(f.where(np.eye(x.shape[0], x.shape[1], dtype=bool), x, 0)),
}
