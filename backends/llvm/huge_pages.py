"""Memory for weights: aligned to a page, in huge pages when there is much of it, and how a file gets there."""

from __future__ import annotations

import hashlib
import mmap
import os
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from graphc.backends.llvm.digest import CHUNK

if TYPE_CHECKING:
    from concurrent.futures import Future

# Bytes from which huge pages are asked for: a loop that reads all of them misses the first TLB else.
HUGE = 1 << 20
PAGE = 2 << 20  # bytes of a huge page


def page_memory(size: int) -> NDArray[np.uint8]:
    """So many bytes, aligned to a page; many of them to a huge one."""
    if size < HUGE:
        return np.frombuffer(mmap.mmap(-1, max(size, 1)), np.uint8)
    memory = mmap.mmap(-1, (-(-size // PAGE) + 1) * PAGE)
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except (AttributeError, OSError):  # a wish only, and not every kernel grants it
        pass
    everything = np.frombuffer(memory, np.uint8)
    start = -everything.ctypes.data % PAGE
    return everything[start : start + size]


def read_hashed(file: BinaryIO, start: int, size: int) -> tuple[NDArray[np.uint8], str]:
    """`size` bytes of a file from `start` on, and the sha256 of all of it.

    A long file is read once, straight to where the bytes stay; another thread hashes what was read before.  Bytes that
    a short file lacks are 0.
    """
    if os.fstat(file.fileno()).st_size <= CHUNK:
        content = file.read()
        blob = page_memory(size)
        found = np.frombuffer(content, np.uint8)[start : start + size]
        blob[: len(found)] = found
        return blob, hashlib.sha256(content).hexdigest()
    from concurrent.futures import ThreadPoolExecutor

    blob = page_memory(size)
    digest = hashlib.sha256()
    rest = [memoryview(bytearray(CHUNK)), memoryview(bytearray(CHUNK))]
    with ThreadPoolExecutor(1) as pool:
        hashing: Future[None] | None = None
        at = 0
        while True:
            if at < start:
                view = rest[0][: min(CHUNK, start - at)]
            elif at < start + size:
                view = blob.data[at - start :][:CHUNK]
            else:
                view = rest[0]
            count = file.readinto(view)  # type: ignore[attr-defined]
            if hashing is not None:
                hashing.result()
            if not count:
                return blob, digest.hexdigest()
            hashing = pool.submit(digest.update, view[:count])
            at += count
            rest.reverse()  # what is being hashed is not read over
