"""Random numbers: a function of a seed and a counter, so that every backend draws the same bits.

Element i of stream s under a seed is the block cipher Threefry2x32 with 20 rounds, keyed with the seed, of the counter
(i, s).  There is no state: drawing again with the same seed gives the same numbers, which is how a gradient finds the
mask of its dropout.

    Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011.
"""

import math

import numpy as np

from graphc.errors import DTypeError
from graphc.ir.dims import product
from graphc.ir.op import Kind, TypeRuleError, op
from graphc.ir.types import TensorType, dtype_of, uint32, uint64
from graphc.ops.rules import check_dtype, check_shape

RANDOM = Kind.RANDOM
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA  # the constant of the key schedule for 32-bit words


def threefry2x32(
    key: tuple[np.ndarray, np.ndarray], counter: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Threefry2x32 with 20 rounds, on arrays of uint32 words.

    >>> zero = np.zeros(1, np.uint32)
    >>> [f"{word[0]:08x}" for word in threefry2x32((zero, zero), (zero, zero))]
    ['6b200159', '99ba4efe']
    """
    k0, k1 = key
    schedule = (k0, k1, k0 ^ k1 ^ np.uint32(PARITY))
    x0, x1 = counter[0] + k0, counter[1] + k1
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = ((x1 << np.uint32(rotation)) | (x1 >> np.uint32(32 - rotation))) ^ x0
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def words(seed, shape, stream):
    """Both words of each element's block, as flat arrays."""
    counter = np.arange(math.prod(shape), dtype=np.uint32), np.array([stream], np.uint32)
    key = np.array([seed & np.uint64(0xFFFFFFFF), seed >> np.uint64(32)]).astype(np.uint32)
    return threefry2x32((key[:1], key[1:]), counter)


def uniform_numbers(seed, shape, stream, dtype):
    """Numbers in [0, 1) out of 24 bits (float32) or 53 bits (float64) of each block."""
    a, b = words(seed, shape, stream)
    if dtype == np.float32:
        return (a >> np.uint32(8)).astype(np.float32).reshape(shape) * np.float32(2.0**-24)
    high, low = (a >> np.uint32(5)).astype(np.float64), (b >> np.uint32(6)).astype(np.float64)
    return ((high * 2.0**26 + low) * 2.0**-53).reshape(shape)


def check_draw(seed, shape, stream):
    if seed.dtype != uint64 or seed.rank != 0:
        raise TypeRuleError(
            f"the seed {{0}} must be one uint64 number, it is {seed}", 'seed.astype("uint64")', DTypeError
        )
    if not (isinstance(stream, int) and 0 <= stream < 2**32):
        raise TypeRuleError(f"stream {stream} must be a whole number in [0, 2**32)")
    check_shape(shape)
    count = product(shape)
    if isinstance(count, int) and count > 2**32:
        raise TypeRuleError(f"a stream has 2**32 numbers, {count} were asked for")


def draws():
    yield (np.uint64(0).reshape(()),), {"shape": (7,), "stream": 0}
    yield (np.asarray(2**64 - 1, np.uint64),), {"shape": (3, 17), "stream": 5}
    yield (np.asarray(0x123456789ABCDEF, np.uint64),), {"shape": (), "stream": 2**32 - 1}
    yield (np.asarray(1, np.uint64),), {"shape": (0, 3), "stream": 0}


@op(
    RANDOM,
    formula="y = bits(seed, i)",
    symbol="🎲",
    no_gradient="random bits do not depend on anything smoothly",
)
class random_bits:
    """Uniform 32-bit words: y[i] is the first word of Threefry2x32(seed; i, stream), i the row-major position.

    seed uint64[] (its low word is the first word of the key) -> uint32[shape].
    """

    defaults = {"stream": 0}

    def infer(seed, *, shape, stream):
        check_draw(seed, shape, stream)
        return TensorType(uint32, shape)

    samples = draws

    def reference(seed, *, shape, stream):
        return words(seed, shape, stream)[0].reshape(shape)


@op(
    RANDOM,
    formula="y = uniform(seed, i)",
    symbol="🎲",
    no_gradient="random numbers do not depend on the seed smoothly",
)
class uniform:
    """Uniform numbers in [0, 1), all multiples of 2**-24 (float32) or 2**-53 (float64).

    With the two words (a, b) of Threefry2x32(seed; i, stream): float32 takes the upper 24 bits of a;
    float64 the upper 27 bits of a followed by the upper 26 bits of b.
    """

    defaults = {"stream": 0}

    def infer(seed, *, shape, stream, dtype):
        check_draw(seed, shape, stream)
        check_dtype(dtype)
        if not dtype.is_float:
            raise TypeRuleError(f"uniform numbers are floating-point numbers, not {dtype}", kind=DTypeError)
        return TensorType(dtype, shape)

    def samples():
        for seed, attributes in draws():
            for dtype in ("float32", "float64"):
                yield seed, {**attributes, "dtype": dtype_of(dtype)}

    def reference(seed, *, shape, stream, dtype):
        return uniform_numbers(seed, shape, stream, dtype.numpy)
