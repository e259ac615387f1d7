"""SHA-256 of long contents, by several threads.

The hash of a content is the hash of the hashes of its chunks, which depends on no number of threads. NumPy and hashlib
let other threads run meanwhile.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from graphc.machine import cores

CHUNK = 4 << 20  # bytes

T = TypeVar("T")
Buffer = bytes | memoryview


def digest(*parts: Buffer) -> bytes:
    """The hash of some bytes, one after the other.

    >>> digest(b"ab", b"c") == digest(b"abc") != digest(b"ab")
    True
    """
    return digest_of(list(_chunks(parts)), _hashed)


def digest_of(chunks: Sequence[T], hashed: Callable[[T], bytes]) -> bytes:
    """The hash of what `hashed` gives for each chunk."""
    if len(chunks) <= 1:
        found = [hashed(chunk) for chunk in chunks]
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(cores().allowed, len(chunks))) as pool:
            found = list(pool.map(hashed, chunks))
    return hashlib.sha256(b"".join(found)).digest()


def _hashed(chunk: list[memoryview]) -> bytes:
    hasher = hashlib.sha256()
    for piece in chunk:
        hasher.update(piece)
    return hasher.digest()


def _chunks(parts: Sequence[Buffer]) -> Iterator[list[memoryview]]:
    """The content in chunks, each as the pieces of the parts it is made of."""
    chunk: list[memoryview] = []
    room = CHUNK
    for part in parts:
        view = memoryview(part)
        while len(view):
            chunk.append(view[:room])
            view = view[room:]
            room -= len(chunk[-1])
            if not room:
                yield chunk
                chunk, room = [], CHUNK
    if chunk:
        yield chunk
