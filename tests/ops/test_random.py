"""Random bits against the vectors published with the generator, and the floats made of them."""

import numpy as np
import pytest

from graphc.ir.types import float32, float64
from graphc.ops.random import random_bits, threefry2x32, uniform


def word(value):
    return np.array([value], np.uint32)


# Random123 1.09, kat_vectors, threefry2x32 with 20 rounds: counter, key, result.
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_published_vectors(counter, key, expected):
    words = threefry2x32(tuple(map(word, key)), tuple(map(word, counter)))
    assert tuple(int(w[0]) for w in words) == expected


def test_element_i_of_stream_s_is_the_block_of_counter_i_s():
    seed = np.uint64(0x03707344_13198A2E)  # the low word is the first word of the key
    bits = random_bits.reference(seed, shape=(5,), stream=0x85A308D3)
    block = threefry2x32((word(0x13198A2E), word(0x03707344)), (word(3), word(0x85A308D3)))
    assert bits[3] == block[0][0]


def test_a_shape_is_a_view_of_the_same_numbers():
    flat = random_bits.reference(np.uint64(9), shape=(12,), stream=1)
    assert np.array_equal(random_bits.reference(np.uint64(9), shape=(3, 4), stream=1), flat.reshape(3, 4))


@pytest.mark.parametrize(("dtype", "bits"), [(float32, 24), (float64, 53)])
def test_uniform_numbers_are_even_and_below_one(dtype, bits):
    y = uniform.reference(np.uint64(3), shape=(100_000,), stream=0, dtype=dtype)
    assert y.dtype == dtype.numpy
    assert y.min() >= 0 and y.max() < 1
    assert np.array_equal(y * 2.0**bits, np.floor(y * 2.0**bits))
    # The mean of n uniform numbers has standard deviation 1/sqrt(12 n); five of them is never met by chance.
    assert abs(float(y.mean(dtype=np.float64)) - 0.5) < 5 / np.sqrt(12 * y.size)
    counts = np.histogram(y, bins=64, range=(0, 1))[0]
    chi2 = float(((counts - y.size / 64) ** 2 / (y.size / 64)).sum())
    assert chi2 < 63 + 5 * np.sqrt(2 * 63)


def test_streams_and_seeds_differ():
    draws = [
        random_bits.reference(np.uint64(seed), shape=(1000,), stream=stream)
        for seed in (0, 1, 2**32)
        for stream in (0, 1)
    ]
    for i, a in enumerate(draws):
        for b in draws[:i]:
            assert (a == b).sum() <= 1
