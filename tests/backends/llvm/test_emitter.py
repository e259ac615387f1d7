"""The emitter: text LLVM accepts, checked types, numbers exact; loops and conditionals that compute."""

import ctypes
import math

import numpy as np
import pytest

from graphc.backends.llvm.emitter import Function, Module, Reg, constant, literal
from graphc.backends.llvm.jit import Code, emit_object, load
from graphc.backends.llvm.target import host, level

V = "<8 x float>"


def run(module: Module, name: str = "f") -> tuple[Code, int]:
    code = load(emit_object(str(module), host()), [name])
    return code, code.address(name)


def apply(emit, *arrays: np.ndarray, out: type = np.float32) -> np.ndarray:
    """`emit(f, x, ...)` on eight lanes."""
    module = host().module()
    names = [f"x{i}" for i in range(len(arrays))]
    f = module.function("f", dict.fromkeys([*names, "out"], "ptr"))
    scalar = {"float32": "float", "float64": "double", "int32": "i32", "int64": "i64"}
    values = [
        f.load(f.parameters[n], f"<8 x {scalar[a.dtype.name]}>") for n, a in zip(names, arrays, strict=True)
    ]
    f.store(emit(f, *values), f.out)
    f.ret()
    code, address = run(module)
    result = np.zeros(8, out)
    pointers = [a.ctypes.data for a in (*arrays, result)]
    ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(pointers))(address)(*pointers)
    del code
    return result


def test_types_are_checked_where_the_instruction_is_written() -> None:
    f = Module().function("f", {"x": "float", "n": "i64"})
    for wrong in (
        lambda: f.fadd(f.x, f.n),
        lambda: f.add(f.x, f.x),
        lambda: f.fadd(f.n, f.n),
        lambda: f.gep(f.n, 4),
        lambda: f.select(f.n, f.x, f.x),
        lambda: f.bitcast(f.x, "i64"),
        lambda: f.add(f.n, 1.5),
        lambda: f.constant([1, 2], "<4 x i32>"),
    ):
        with pytest.raises(TypeError):
            wrong()


def test_a_block_ends_once_and_never_falls_through() -> None:
    module = Module()
    f = module.function("f", {})
    with pytest.raises(ValueError, match="no terminator"):
        str(module)
    with pytest.raises(ValueError, match="falls into"):
        f.begin("next")
    f.ret()
    with pytest.raises(ValueError, match="after the end"):
        f.ret()
    with pytest.raises(ValueError, match="defined already"):
        module.function("f", {})


def test_the_text_is_the_same_every_time() -> None:
    def build() -> str:
        module = level("x86-64-v3").module()
        f = module.function("f", {"p": "ptr", "n": "i64"})
        with f.loop(0, f.n, 8) as i:
            f.store(f.sqrt(f.maximum(f.load(f.gep(f.p, i), V), 0.0)), f.gep(f.p, i))
        f.ret()
        return str(module)

    assert build() == build()


@pytest.mark.parametrize(
    "value", [0.1, -0.0, 1e-45, 3.4028234663852886e38, math.inf, -math.inf, math.nan, 1 / 3]
)
def test_constants_keep_every_bit(value: float) -> None:
    module = host().module()
    f = module.function("f", {}, returns="float")
    f.ret(f.constant(value, "float"))
    code, address = run(module)
    got = np.float32(ctypes.CFUNCTYPE(ctypes.c_float)(address)())
    assert got.tobytes() == np.float32(value).tobytes()
    del code


def test_numbers_too_large_for_the_type_are_refused() -> None:
    with pytest.raises(OverflowError):
        literal(1e39, "float")


def test_extremes_keep_nan_like_numpy() -> None:
    x = np.array([1, -1, np.nan, np.nan, 2, np.inf, -np.inf, 5], np.float32)
    y = np.array([2, -2, 1, np.nan, np.nan, 1, np.nan, 5], np.float32)
    np.testing.assert_array_equal(apply(lambda f, a, b: f.maximum(a, b), x, y), np.maximum(x, y))
    np.testing.assert_array_equal(apply(lambda f, a, b: f.minimum(a, b), x, y), np.minimum(x, y))
    np.testing.assert_array_equal(apply(lambda f, a: f.maximum(a, 0.0), x), np.maximum(x, 0))
    np.testing.assert_array_equal(apply(lambda f, a: f.minimum(1.0, a), x), np.minimum(1, x))


def test_rounding_conversions_and_saturation() -> None:
    x = np.array([0.5, 1.5, -2.5, 1e20, -1e20, np.nan, np.inf, -7.9], np.float32)
    np.testing.assert_array_equal(apply(lambda f, a: f.rint(a), x), np.rint(x))
    np.testing.assert_array_equal(apply(lambda f, a: f.floor(a), x), np.floor(x))
    np.testing.assert_array_equal(apply(lambda f, a: f.ceil(a), x), np.ceil(x))
    whole = apply(lambda f, a: f.fptosi_sat(a, "i32"), x, out=np.int32)
    assert whole.tolist() == [0, 1, -2, 2**31 - 1, -(2**31), 0, 2**31 - 1, -7]


def test_a_multiply_add_rounds_once() -> None:
    x = np.full(8, 1 + 2**-12, np.float32)
    got = apply(lambda f, a: f.fma(a, a, -1.0), x)
    exact = np.float32((1 + 2.0**-12) ** 2 - 1)
    np.testing.assert_array_equal(got, exact)
    assert exact != np.float32(x[0] * x[0]) - np.float32(1)


def test_masked_memory_touches_only_its_lanes() -> None:
    mask = constant([True] * 3 + [False] * 5, "<8 x i1>")
    module = host().module()
    f = module.function("f", {"p": "ptr", "q": "ptr"})
    f.masked_store(f.masked_load(f.p, V, mask), f.q, mask)
    f.ret()
    code, address = run(module)
    p, q = np.arange(8, dtype=np.float32), np.full(8, -1, np.float32)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(address)(p.ctypes.data, q.ctypes.data)
    assert q.tolist() == [0, 1, 2] + [-1] * 5
    del code


def call_integers(f: Function, *values: int) -> int:
    code, address = run(f.module)
    got = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * len(values))(address)(*values)
    del code
    return got


@pytest.mark.parametrize(("start", "stop", "step"), [(0, 10, 1), (3, 20, 4), (5, 5, 1), (7, 2, 1)])
def test_loops_are_ranges(start: int, stop: int, step: int) -> None:
    want = sum(i * i for i in range(start, stop, step))

    def square(f: Function):
        return lambda i, total: [f.add(total[0], f.mul(i, i))]

    f = host().module().function("f", dict.fromkeys(("start", "stop", "step"), "i64"), returns="i64")
    f.ret(*f.fold(f.start, f.stop, f.step, [f.constant(0, "i64")], square(f)))
    assert call_integers(f, start, stop, step) == want
    fixed = host().module().function("f", {}, returns="i64")
    fixed.ret(*fixed.fold(start, stop, step, [fixed.constant(0, "i64")], square(fixed)))
    assert call_integers(fixed) == want


def test_nested_loops_and_conditionals() -> None:
    f = host().module().function("f", {"n": "i64"}, returns="i64")

    def outer(i: Reg, carried: list[Reg]) -> list[Reg]:
        def inner(j: Reg, total: list[Reg]) -> list[Reg]:
            odd = f.icmp("ne", f.and_(f.add(i, j), 1), 0)
            return f.if_else(odd, lambda: [f.add(total[0], j)], lambda: [f.sub(total[0], 1)])

        return f.fold(0, i, 1, carried, inner)

    f.ret(*f.fold(0, f.n, 1, [f.constant(0, "i64")], outer))
    want = 0
    for i in range(9):
        for j in range(i):
            want += j if (i + j) % 2 else -1
    assert call_integers(f, 9) == want


def test_loops_carry_the_wish_to_be_left_alone() -> None:
    module = host().module()
    f = module.function("f", {"p": "ptr", "n": "i64"})
    with f.loop(0, f.n) as i:
        where = f.gep(f.p, f.mul(i, 4))
        f.store(f.fadd(f.load(where, "float"), 1.0), where)
    f.ret()
    text = str(module)
    assert "llvm.loop.vectorize.enable" in text and "llvm.loop.unroll.disable" in text
    assembly = host().assembly(text)
    assert "zmm" not in assembly and "ymm" not in assembly
