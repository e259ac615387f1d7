"""A 64-bit hash of a weights file, as emitted code, for `NAME_open`.

It is XXH64 with seed 0 (xxHash specification 0.1.1, Yann Collet), so `xxhsum -H64` prints the same number. It
reads as fast as memory delivers, where SHA-256 in portable code would take a second for a few hundred
megabytes at every start; and it is there against a wrong or damaged file, which it misses once in 2^64.
Against a forged one no hash inside the library helps, since whoever can replace the weights can replace the
library beside them: that is what the sha256 in the manifest is for.
"""

import ctypes
import functools
from collections.abc import Callable

from graphc.backends.llvm.emitter import Function, Module, Operand, Reg, constant
from graphc.backends.llvm.features import baseline
from graphc.backends.llvm.jit import Code, emit_object, load
from graphc.backends.llvm.target import host

P1, P2, P3, P4, P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
NAME = "graphc.content_hash"


def content_hash(data: bytes | memoryview) -> int:
    """The hash of some bytes (anything with a contiguous buffer).

    >>> f"{content_hash(b''):016x} {content_hash(b'abc'):016x}"
    'ef46db3751d8e999 44bc2cf5ad770999'
    """
    import numpy as np

    view = np.frombuffer(data, np.uint8)
    function, _code = _compiled()
    return function(view.ctypes.data, len(view))


@functools.cache
def _compiled() -> tuple[Callable[[int, int], int], Code]:
    module = host().module()
    emit_content_hash(module)
    f = module.function("graphc_content_hash", {"data": "ptr", "size": "i64"}, returns="i64")
    f.attributes = baseline(module)
    f.ret(f.call(NAME, "i64", f.data, f.size))
    code = load(emit_object(str(module), host()), ["graphc_content_hash"])
    kind = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_int64)
    return kind(code.address("graphc_content_hash")), code


def emit_content_hash(module: Module) -> str:
    """Write `i64 (ptr data, i64 size)` once; gives its name."""
    if NAME in module.functions:
        return NAME
    f = module.function(NAME, {"data": "ptr", "size": "i64"}, returns="i64", internal=True, inline=False)
    f.attributes = baseline(module)
    h = f.add(_stripes(f), f.size)
    at = f.and_(f.size, -32)
    (h,) = _while_left(f, at, f.and_(f.size, -8), 8, h, _eight)
    (h,) = _while_left(f, f.and_(f.size, -8), f.and_(f.size, -4), 4, h, _four)
    (h,) = _while_left(f, f.and_(f.size, -4), f.size, 1, h, _one)
    h = _times(f, f.xor(h, f.lshr(h, 33)), P2)
    h = _times(f, f.xor(h, f.lshr(h, 29)), P3)
    f.ret(f.xor(h, f.lshr(h, 32)))
    return NAME


def _stripes(f: Function) -> Reg:
    """The hash of the whole 32-byte stripes: four independent lanes, merged at the end."""

    def many() -> list[Reg]:
        first = [constant(_signed(w), "i64") for w in (P1 + P2, P2, 0, -P1)]

        def stripe(at: Reg, lanes: list[Reg]) -> list[Reg]:
            where = f.gep(f.data, at)
            return [
                _round(f, lane, f.load(f.gep(where, 8 * i), "i64", align=1)) for i, lane in enumerate(lanes)
            ]

        lanes = f.fold(0, f.and_(f.size, -32), 32, first, stripe)
        h = _rotate(f, lanes[0], 1)
        for lane, turn in zip(lanes[1:], (7, 12, 18), strict=True):
            h = f.add(h, _rotate(f, lane, turn))
        for lane in lanes:
            h = f.add(_times(f, f.xor(h, _round(f, constant(0, "i64"), lane)), P1), _signed(P4))
        return [h]

    (h,) = f.if_else(f.icmp("uge", f.size, 32), many, lambda: [constant(_signed(P5), "i64")])
    return h


def _while_left(
    f: Function, start: Reg, stop: Reg, step: int, h: Reg, mix: Callable[[Function, Reg, Reg], Reg]
) -> list[Reg]:
    return f.fold(start, stop, step, [h], lambda at, values: [mix(f, values[0], f.gep(f.data, at))])


def _eight(f: Function, h: Reg, where: Reg) -> Reg:
    h = f.xor(h, _round(f, constant(0, "i64"), f.load(where, "i64", align=1)))
    return f.add(_times(f, _rotate(f, h, 27), P1), _signed(P4))


def _four(f: Function, h: Reg, where: Reg) -> Reg:
    h = f.xor(h, _times(f, f.zext(f.load(where, "i32", align=1), "i64"), P1))
    return f.add(_times(f, _rotate(f, h, 23), P2), _signed(P3))


def _one(f: Function, h: Reg, where: Reg) -> Reg:
    h = f.xor(h, _times(f, f.zext(f.load(where, "i8"), "i64"), P5))
    return _times(f, _rotate(f, h, 11), P1)


def _round(f: Function, lane: Reg, word: Reg) -> Reg:
    return _times(f, _rotate(f, f.add(lane, _times(f, word, P2)), 31), P1)


def _times(f: Function, x: Operand, prime: int) -> Reg:
    return f.mul(x, _signed(prime))


def _rotate(f: Function, x: Reg, bits: int) -> Reg:
    return f.intrinsic("fshl", ["i64"], "i64", x, x, constant(bits, "i64"))


def _signed(word: int) -> int:
    word &= 2**64 - 1
    return word - (1 << 64) if word >> 63 else word
