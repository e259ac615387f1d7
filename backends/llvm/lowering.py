"""A kernel of a partition becomes an LLVM function: the kind decides who writes its body."""

from __future__ import annotations

from collections.abc import Callable

from graphc.backends.llvm.emitter import Module
from graphc.backends.llvm.kernel_function import KernelFunction, begin
from graphc.backends.llvm.contraction import emit_contraction
from graphc.backends.llvm.loop_kernel import emit_loop_kernel
from graphc.backends.llvm.target import Target
from graphc.errors import UnsupportedError
from graphc.ir.partition import Kernel

_BODIES: dict[str, Callable[[KernelFunction], None]] = {
    "loop": emit_loop_kernel,
    "contraction": emit_contraction,
    "convolution": emit_contraction,
}


def lower(module: Module, target: Target, name: str, kernel: Kernel, symbols: tuple[str, ...]) -> None:
    """Add the function of a kernel to a module; see `kernel_function` for its parameters."""
    if kernel.kind not in _BODIES:
        raise UnsupportedError(f"no native code for {kernel.kind} kernels: {kernel!r}")
    _BODIES[kernel.kind](begin(module, target, name, kernel, symbols))
