"""Weights stored in fewer bits than they are computed with, decoded in registers on their way into a tile.

`fp16`: the nearest half-precision number. `int8`: whole numbers from -127 to 127 with one float32 scale for each column
of B (each output), which multiplies the finished sums. Both are chosen by the user only; what they cost in accuracy
`graphc.precision` measures. Arithmetic stays in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.llvm.emitter import BITS, Function, Reg, constant, vector
from graphc.backends.llvm.target import Target
from graphc.weights import STORED

ELEMENTS = {"fp16": "half", "int8": "i8"}
LINE = 64
HALF_REBIAS = 2.0**112  # from the exponent of a half, moved in place, to that of a float


@dataclass(frozen=True, slots=True)
class Stored:
    """How B lies in memory.

    word         fp16 or int8
    conversions  whether the processor converts halves itself
    """

    word: str
    conversions: bool

    @property
    def element(self) -> str:
        return ELEMENTS[self.word]

    @property
    def bytes(self) -> int:
        return BITS[self.element] // 8

    @property
    def scaled(self) -> bool:
        """Whether columns have a scale."""
        return self.word == "int8"

    def load(self, b: Function, where: Reg, lanes: int) -> Reg:
        """The float32 vector of the numbers stored at `where`."""
        wide, whole = vector("float", lanes), vector("i32", lanes)
        if self.scaled:
            return b.sitofp(b.sext(b.load(where, vector("i8", lanes)), whole), wide)
        if self.conversions:
            return b.fpext(b.load(where, vector("half", lanes)), wide)
        # Sign aside, a half's bits are a float's with another bias; the product is exact, denormals included.
        bits = b.zext(b.load(where, vector("i16", lanes)), whole)
        size = b.bitcast(b.shl(b.and_(bits, 0x7FFF), 13), wide)
        sign = b.shl(b.and_(bits, 0x8000), 16)
        return b.bitcast(b.or_(b.bitcast(b.fmul(size, constant(HALF_REBIAS, wide)), whole), sign), wide)

    def panels_bytes(self, k: int, n: int, width: int) -> int:
        """Bytes of the panels, filled up to a line; the scales follow them."""
        return -(-(-(-n // width) * width * k * self.bytes) // LINE) * LINE

    def packed_bytes(self, k: int, n: int, width: int) -> int:
        """Bytes of everything."""
        return self.panels_bytes(k, n, width) + (-(-n // width) * width * 4 if self.scaled else 0)


def stored_as(word: str, target: Target) -> Stored | None:
    """How weights are stored that the user wants in this form; None for float32.

    >>> from graphc.backends.llvm.target import level
    >>> stored_as("fp16", level("x86-64-v3")).conversions, stored_as("fp16", level("x86-64-v2")).conversions
    (True, False)
    """
    if word == "fp32":
        return None
    assert word in STORED
    return Stored(word, "+f16c" in target.features or not target.triple.startswith("x86_64"))
