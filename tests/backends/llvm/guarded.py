"""Arrays whose memory ends, on one side or both, at a page that may not be touched."""

import ctypes
import mmap

import numpy as np

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
PAGE = mmap.PAGESIZE
FILL = 0xAB


class Guarded:
    """A copy of an array between two forbidden pages; it touches the end one, or the first one with `at_start`.

    The bytes between the array and the other page hold a pattern that `intact()` looks at.
    """

    def __init__(self, array: np.ndarray, at_start: bool = False) -> None:
        size = array.nbytes
        inner = -(-max(size, 1) // PAGE) * PAGE
        self._map = mmap.mmap(-1, inner + 2 * PAGE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        for forbidden in (base, base + PAGE + inner):
            if _libc.mprotect(forbidden, PAGE, 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        offset = 0 if at_start else inner - size
        self.address = base + PAGE + offset
        self._room = np.frombuffer(self._map, np.uint8, inner, PAGE)
        self._room[:] = FILL
        self._own = slice(offset, offset + size)
        self.array = np.frombuffer(self._map, array.dtype, array.size, PAGE + offset).reshape(array.shape)
        self.array[...] = array

    def dirty(self, byte: int = 0x5A) -> None:
        """Fill the array with garbage."""
        self._room[self._own] = byte

    def intact(self) -> bool:
        """Whether everything around the array is as it was."""
        around = np.delete(self._room, self._own) if self.array.nbytes else self._room
        return bool((around == FILL).all())
