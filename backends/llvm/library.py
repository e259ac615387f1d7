"""A shared library loaded from bytes that have been checked.

The bytes go to a sealed file in memory and that is what the dynamic linker opens, so nobody can change the
file between the check of its hash and its use, and a library replaced on disk does not pull pages from under
running code.
"""

import ctypes
import fcntl
import os
from collections.abc import Sequence

from graphc.backends.llvm.jit import Code
from graphc.errors import ArtefactError


def open_library(
    image: bytes, names: Sequence[str], what: str = "the library", *, perhaps: Sequence[str] = ()
) -> Code:
    """Load a library and find its functions, and those it has `perhaps`; unloaded when the `Code` goes.

    The bytes are code: only those whose hash has been compared with a manifest the user trusts may come here.
    Raises ArtefactError when they cannot be loaded or a name is missing.
    """
    try:
        owner = _Library(image)
    except OSError as error:
        raise ArtefactError(f"{what} cannot be loaded: {error}", fix="compile the model again") from error
    addresses = {name: owner.find(name) for name in names}
    lacking = [name for name, address in addresses.items() if not address]
    if lacking:
        raise ArtefactError(f"{what} has no {', '.join(lacking)}", fix="compile the model again")
    addresses |= {name: owner.find(name) for name in perhaps}
    return Code(owner, {name: address for name, address in addresses.items() if address})


class _Library:
    """An open library and its file in memory.

    The file stays open as long as the library is: the dynamic linker knows a library by its path, and the
    path holds the file's number, which must not come to mean another file.
    """

    def __init__(self, image: bytes) -> None:
        self._file = os.memfd_create("graphc", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._handle = None
        with open(self._file, "wb", closefd=False) as file:
            file.write(image)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self._file, fcntl.F_ADD_SEALS, seals)
        process = ctypes.CDLL(None)
        self._close = process.dlclose
        self._close.argtypes = [ctypes.c_void_p]
        self._find = process.dlsym
        self._find.argtypes, self._find.restype = [ctypes.c_void_p, ctypes.c_char_p], ctypes.c_void_p
        self._handle = ctypes.CDLL(f"/proc/self/fd/{self._file}", mode=os.RTLD_NOW | os.RTLD_LOCAL)._handle

    def find(self, name: str) -> int | None:
        address: int | None = self._find(self._handle, name.encode())
        return address

    def __del__(self) -> None:
        if self._handle is not None:
            self._close(self._handle)
        os.close(self._file)
