"""From a plan to something that can be called: object bytes, weights, and the function.

`compile_plan` makes an `Executable`: bytes and facts only, fit for a file. `Executable.load` links the object into this
process, lays the weights out and gives a Python function.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.backends.llvm import cache as _cache
from graphc.backends.llvm.call import Checked, bind
from graphc.backends.llvm.jit import Code, emit_object, load
from graphc.backends.llvm.kernel_function import Fault
from graphc.backends.llvm.module import NativeModule, build_module
from graphc.backends.llvm.target import Target, host
from graphc.plan import Plan

HUGE = 4 << 20  # bytes from which the weights ask for huge pages


@dataclass(frozen=True, slots=True)
class Executable:
    """A compiled plan. `image` is a relocatable object with `NAME_run`."""

    module: NativeModule
    image: bytes
    data: Mapping[str, np.ndarray]

    def weights(self) -> NDArray[np.uint8]:
        """The weights as `NAME_run` expects them, aligned to a page."""
        memory = mmap.mmap(-1, max(self.module.weights_bytes, 1))
        if self.module.weights_bytes >= HUGE:
            try:
                memory.madvise(mmap.MADV_HUGEPAGE)
            except (AttributeError, OSError):  # a wish only, and not every kernel grants it
                pass
        blob = np.frombuffer(memory, np.uint8)
        for piece in self.module.pieces:
            array = self.data[piece.name]
            if piece.packing is not None:
                array = piece.packing.apply(array)
            flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            blob[piece.offset : piece.offset + piece.size] = flat
        return blob

    def load(self, threads: int = 1, *, checked: bool = False) -> Callable[..., Any]:
        """The function: takes the input arrays in order, gives the output array or a tuple of them.

        checked: the plain Python road through ctypes, which checks every argument itself.
        """
        code = load(self.image, [self.module.entry], self.module.target)
        weights = self.weights()
        handle = (ctypes.c_void_p * 1)(weights.ctypes.data)
        keep = _Kept(code, weights, handle)
        run, context = code.address(self.module.entry), ctypes.addressof(handle)
        signature = self.module.signature
        if checked:
            return Checked(signature, run, context, keep, threads, self.error)
        return bind(signature, run, context, keep=keep, threads=threads, error=self.error)

    def error(self, status: int) -> Exception:
        """The exception for a status of `NAME_run`."""
        fault: Fault = self.module.faults[status - 1]
        node = fault.node
        return fault.kind(f"{node.name}: {fault.message}", span=node.provenance.span)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What must live as long as the function."""

    code: Code
    weights: NDArray[np.uint8]
    handle: Any


def compile_plan(
    plan: Plan,
    data: Mapping[str, np.ndarray] | None = None,
    *,
    target: Target | None = None,
    name: str = "",
    cache: _cache.Cache | None = None,
) -> Executable:
    """Compile a plan for a machine.

    data    arrays of parameters and constants; `plan.graph.data` by default
    target  the machine, this one by default
    name    prefix of the exported symbol, the graph's name by default
    cache   where objects are kept between processes; None compiles always
    """
    target = target or host()
    data = plan.graph.data if data is None else data
    module = build_module(plan, target, data, name)
    key = _cache.key(module.text, repr(target), _llvm_version())
    image = cache.get(key) if cache else None
    if image is None:
        image = emit_object(module.text, target)
        if cache:
            cache.put(key, image)
    return Executable(module, image, data)


def _llvm_version() -> str:
    import llvmlite
    from llvmlite import binding

    return f"{llvmlite.__version__} {binding.llvm_version_info}"
