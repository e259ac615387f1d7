"""Object bytes to code that runs in this process.

The same object serves here and on disk. LLVM's JITLink places it, one contiguous block for code and
constants, so that the small code model always reaches; libc and libm symbols come from the process. Code
lives as long as its `Code` object: whoever keeps an address keeps that object.
"""

import functools
import itertools
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graphc.backends.llvm import target as target_module
from graphc.backends.llvm.cache import Cache
from graphc.backends.llvm.cache import key as cache_key
from graphc.backends.llvm.signature import ABI_VERSION
from graphc.backends.llvm.target import Target, host

_lock = threading.Lock()
_engines: dict[Target, Any] = {}
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Code:
    """Loaded machine code; addresses are valid while this object lives."""

    _owner: Any
    _addresses: Mapping[str, int]

    def address(self, name: str) -> int:
        """Where the function or constant `name` lies; KeyError when it was not asked for at loading."""
        return self._addresses[name]

    def has(self, *names: str) -> bool:
        """Whether it knows the addresses of all of these."""
        return all(self._addresses.get(name) for name in names)


def emit_object(text: str, target: Target, cache: Cache | None = None) -> bytes:
    """Compile a module's IR to a relocatable object, the same bytes for the same text, target and LLVM.

    cache: looked up first and filled afterwards; None compiles always.
    """
    if cache is None:
        return bytes(target.machine().emit_object(target.optimize(text)))
    key = object_key(text, target)
    image = cache.get(key)
    if image is None:
        image = emit_object(text, target)
        cache.put(key, image)
    return image


def object_key(text: str, target: Target) -> str:
    """The cache key of an object: the IR, the machine, the passes, and the versions of everything that
    compiles."""
    import llvmlite
    from llvmlite import binding

    versions = f"{ABI_VERSION} {llvmlite.__version__} {binding.llvm_version_info}"
    machine = "\n".join([target.triple, target.cpu, *target.features])
    return cache_key(versions, _passes(), machine, text)


@functools.cache
def _passes() -> bytes:
    # The pass pipeline is part of what decides the object, and stands in this file.
    return Path(target_module.__file__).read_bytes()


def load(
    objects: bytes | Sequence[bytes],
    names: Sequence[str],
    target: Target | None = None,
    imports: Mapping[str, int] | None = None,
) -> Code:
    """Link objects among themselves and into the process; `names` are the symbols whose addresses are wanted.

    imports: addresses of symbols that the process does not export by name. Raises RuntimeError naming the
    symbol when one is missing. Only objects made by `emit_object` (or read back from the cache, which checks
    their hash) may come here: LLVM does not check what it is given.

    >>> from graphc.backends.llvm.target import host
    >>> module = host().module()
    >>> f = module.function("seven", {}, returns="i32")
    >>> f.ret(f.constant(7, "i32"))
    >>> import ctypes
    >>> code = load(emit_object(str(module), host()), ["seven"])
    >>> ctypes.CFUNCTYPE(ctypes.c_int32)(code.address("seven"))()
    7
    """
    from llvmlite import binding

    engine = _engine(target or host())
    builder = binding.JITLibraryBuilder()
    for image in [objects] if isinstance(objects, bytes) else objects:
        builder.add_object_img(image)
    builder.add_current_process()
    for name, address in (imports or {}).items():
        builder.import_symbol(name, address)
    for name in names:
        builder.export_symbol(name)
    tracker = builder.link(engine, f"graphc{next(_numbers)}")
    return Code(tracker, {name: int(tracker[name]) for name in names})


def _engine(target: Target) -> Any:
    """The linker for a target, made once and never closed: code may be running when the interpreter ends."""
    from llvmlite import binding

    with _lock:
        if target not in _engines:
            _engines[target] = binding.create_lljit_compiler(target.machine(), use_jit_link=True)
        return _engines[target]
