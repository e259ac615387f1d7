"""The largest error of the float32 vector functions over all 2^32 inputs, against float64.

    python benchmarks/exhaustive_ulp.py [exp tanh ...]       (about a minute a function on one core)

The reference is NumPy's float64 function, or the emitted float64 one where NumPy has none (erf, sigmoid):
either is exact enough to count float32 errors in hundredths of a unit in the last place. `pow` has two
arguments and is not here.
"""

import ctypes
import sys
import time
from collections.abc import Callable

import numpy as np

from graphc.backends.llvm.emitter import Function, Module, Reg, vector
from graphc.backends.llvm.jit import Code, emit_object, load
from graphc.backends.llvm.target import host
from graphc.backends.llvm.vector_math import UNARY

CHUNK = 1 << 22
Array = np.ndarray


def loop(module: Module, name: str, emit: Callable[[Function, Reg], Reg], element: str, size: int) -> None:
    """`name(n, x, y)`: a full vector at a time; n a multiple of 16."""
    lanes = host().vector_bits // (8 * size)
    f = module.function(name, {"n": "i64", "x": "ptr", "y": "ptr"})
    with f.loop(0, f.n, lanes) as i:
        at = f.mul(i, size)
        f.store(emit(f, f.load(f.gep(f.x, at), vector(element, lanes))), f.gep(f.y, at))
    f.ret()


def compiled() -> tuple[dict[str, Callable[[Array], Array]], Code]:
    module = host().module()
    for name, emit in UNARY.items():
        loop(module, f"{name}_32", emit, "float", 4)
        loop(module, f"{name}_64", emit, "double", 8)
    names = [f"{name}_{bits}" for name in UNARY for bits in (32, 64)]
    code = load(emit_object(str(module), host()), names)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)

    def callable_of(name: str) -> Callable[[Array], Array]:
        function = kind(code.address(name))

        def call(x: Array) -> Array:
            y = np.empty_like(x)
            function(len(x), x.ctypes.data, y.ctypes.data)
            return y

        return call

    return {name: callable_of(name) for name in names}, code


def ulps(y: Array, true: Array) -> Array:
    """|y - true| in units in the last place of float32 at `true`; inf where one is NaN and the other is
    not."""
    size = np.abs(true)
    exponent = np.maximum(np.frexp(size)[1] - 1, -126)
    error = np.abs(y.astype(np.float64) - true) / np.ldexp(1.0, exponent - 23)
    largest = 3.4028235677973366e38  # from here on the nearest float32 is inf
    same = (np.isnan(y) & np.isnan(true)) | (
        np.isinf(y) & (size >= largest) & (np.signbit(y) == np.signbit(true))
    )
    same |= (y == 0) & (true == 0) & (np.signbit(y) == np.signbit(true))
    error[same] = 0
    error[np.isnan(error)] = np.inf
    return error


def main(names: list[str]) -> None:
    functions, _code = compiled()
    for name in names or list(UNARY):
        reference: Callable[[Array], Array] = getattr(np, name, None) or functions[f"{name}_64"]
        if name == "rsqrt":
            reference = lambda x: 1 / np.sqrt(x)  # noqa: E731
        began, worst, where, wrong, over = time.perf_counter(), 0.0, 0.0, 0, 0
        for start in range(0, 1 << 32, CHUNK):
            x = np.arange(start, start + CHUNK, dtype=np.uint32).view(np.float32)
            with np.errstate(all="ignore"):
                error = ulps(functions[f"{name}_32"](x), reference(x.astype(np.float64)))
            wrong += int(np.isinf(error).sum())
            over += int((error > 1).sum())
            place = int(np.argmax(error))
            if error[place] > worst:
                worst, where = float(error[place]), float(x[place])
        seconds = time.perf_counter() - began
        print(
            f"{name:8} {worst:.3f} ULP at {where!r} ({where.hex()}), {over / 2**32:.2%} over 1 ULP, "
            f"{wrong} wrong specials, {seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
