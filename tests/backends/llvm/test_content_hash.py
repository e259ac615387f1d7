"""XXH64 as emitted code against a plain Python one and published values."""

import numpy as np
import pytest

from graphc.backends.llvm.content_hash import P1, P2, P3, P4, P5, content_hash

MASK = 2**64 - 1


def rotate(x: int, bits: int) -> int:
    return (x << bits | x >> (64 - bits)) & MASK


def mix(lane: int, word: int) -> int:
    return rotate((lane + word * P2) & MASK, 31) * P1 & MASK


def plain(data: bytes) -> int:
    """The specification, step by step."""
    at = 0
    if len(data) >= 32:
        lanes = [P1 + P2 & MASK, P2, 0, -P1 & MASK]
        while at + 32 <= len(data):
            for i in range(4):
                lanes[i] = mix(lanes[i], int.from_bytes(data[at + 8 * i : at + 8 * i + 8], "little"))
            at += 32
        h = sum(rotate(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            h = ((h ^ mix(0, lane)) * P1 + P4) & MASK
    else:
        h = P5
    h = (h + len(data)) & MASK
    while at + 8 <= len(data):
        h = (rotate(h ^ mix(0, int.from_bytes(data[at : at + 8], "little")), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= len(data):
        h = (rotate(h ^ int.from_bytes(data[at : at + 4], "little") * P1 & MASK, 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        h = rotate(h ^ byte * P5 & MASK, 11) * P1 & MASK
    h = (h ^ h >> 33) * P2 & MASK
    h = (h ^ h >> 29) * P3 & MASK
    return h ^ h >> 32


@pytest.mark.parametrize(
    ("data", "value"),
    [(b"", 0xEF46DB3751D8E999), (b"a", 0xD24EC4F1A98C6E5B), (b"abc", 0x44BC2CF5AD770999)],
)
def test_published_values(data: bytes, value: int) -> None:
    assert plain(data) == content_hash(data) == value


def test_every_length_and_alignment() -> None:
    data = np.random.default_rng(0).integers(0, 256, 400, np.uint8).tobytes()
    for size in range(130):
        for start in (0, 1, 7):
            part = memoryview(data)[start : start + size]
            assert content_hash(part) == plain(bytes(part)), (start, size)


def test_every_bit_counts() -> None:
    data = bytearray(np.random.default_rng(1).integers(0, 256, 77, np.uint8).tobytes())
    seen = {content_hash(bytes(data))}
    for bit in range(8 * len(data)):
        data[bit // 8] ^= 1 << bit % 8
        seen.add(content_hash(bytes(data)))
        data[bit // 8] ^= 1 << bit % 8
    assert len(seen) == 8 * len(data) + 1
