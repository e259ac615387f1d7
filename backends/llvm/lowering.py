"""A kernel of a partition becomes an LLVM function: the kind decides who writes its body."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.backends.llvm import (
    attention,
    blocked_weight_gradient,
    contraction,
    convolution_kernel,
    gates,
    scan_kernel,
    sequential,
)
from graphc.backends.llvm.anchor import place_of_result
from graphc.backends.llvm.blocked import emit_clear_halo
from graphc.backends.llvm.emitter import Module, constant
from graphc.backends.llvm.image_join import emit_image_join, joins_images
from graphc.backends.llvm.indexing import emit_indexing
from graphc.backends.llvm.join import emit_join
from graphc.backends.llvm.kernel_function import KernelFunction, begin
from graphc.backends.llvm.loop_kernel import emit_loop_kernel
from graphc.backends.llvm.max_pooling import windows_of
from graphc.backends.llvm.pooling import emit_pooling, scatters
from graphc.backends.llvm.random import emit_random
from graphc.backends.llvm.row_kernel import emit_row_kernel
from graphc.backends.llvm.storage import image_of
from graphc.backends.llvm.target import Target
from graphc.errors import UnsupportedError
from graphc.ir.dims import Dim
from graphc.ir.graph import Value
from graphc.ir.partition import Kernel
from graphc.ir.printer import print_attribute
from graphc.plan.layout import Layouts


def _convolution(k: KernelFunction) -> None:
    if k.kernel.anchor is not None and k.kernel.anchor.op.name == "conv_dw":
        blocked_weight_gradient.emit_gradient_kernel(k)
    else:
        convolution_kernel.emit_convolution_kernel(k)


def _loops(k: KernelFunction) -> None:
    if joins_images(k.kernel, k.layouts):
        emit_image_join(k)
    else:
        emit_loop_kernel(k)


_BODIES: dict[str, Callable[[KernelFunction], None]] = {
    "loop": _loops,
    "join": emit_join,
    "row": emit_row_kernel,
    "contraction": contraction.emit_contraction,
    "attention": attention.emit_attention,
    "convolution": _convolution,
    "pooling": emit_pooling,
    "indexing": emit_indexing,
    "sequential": sequential.emit_sequential,
    "random": emit_random,
    "gates": gates.emit_gates,
    "scan": lambda k: scan_kernel.emit_scan(k),
}


def lower(
    module: Module,
    target: Target,
    name: str,
    kernel: Kernel,
    symbols: Sequence[str],
    fixed: frozenset[Value] = frozenset(),
    layouts: Layouts | None = None,
    shared: bool = False,
    weights: str = "fp32",
) -> KernelFunction:
    """Add the function of a kernel to a module; see `kernel_function` for its parameters.

    fixed: values whose arrays are known now and never change. layouts: how values lie that are not row-major.
    shared: threads are to share the kernel, if it is of a kind that can be. weights: how those of matrix products are
    stored.
    """
    if kernel.kind not in _BODIES:
        raise UnsupportedError(f"no native code for {kernel.kind} kernels: {kernel!r}")
    shared = shared and _divisible(kernel, target, fixed, layouts or {})
    function = begin(module, target, name, kernel, symbols, fixed, layouts, shared, weights)
    if all(value.type.size == 0 for value in kernel.outputs):
        function.f.ret(constant(0, "i32"))
    else:
        clear_borders(function)
        _BODIES[kernel.kind](function)
    return function


def _divisible(kernel: Kernel, target: Target, fixed: frozenset[Value], layouts: Layouts) -> bool:
    """Whether whoever writes the kernel's body knows how to divide it."""
    match kernel.kind:
        case "loop" | "row" | "contraction" | "gates" | "attention" | "random":
            return True
        case "pooling":
            return not scatters(kernel)
        case "convolution":
            return True
        case "scan":
            return scan_kernel.may_share(kernel, target, fixed)
    return False


def clear_borders(k: KernelFunction) -> None:
    """Zeros around the images a kernel writes: other values may have lain there before."""
    for number, value in enumerate(k.kernel.outputs):
        image = image_of(value, k.layouts)
        if image is not None and any(image.halo):
            clear = emit_clear_halo(k.module, f"{k.f.name}.border{number}", image)
            clear.internal, clear.inline = True, False
            planes = k.f.mul(k.sizes(value.shape[0]), image.blocks)
            ends = constant(0, "i64"), planes
            if k.share:
                used, ends = k.share.used, k.share.of(planes)
                k.share.used = used  # only what computes the interior decides
            k.f.call(clear.name, "void", k.outputs[value], *ends)


def scratch_bytes(kernel: Kernel, target: Target, fixed: frozenset[Value], layouts: Layouts) -> Dim:
    """Working memory a kernel needs, in bytes: what `make_plan` asks."""
    if kernel.kind == "scan":
        return scan_kernel.scratch_bytes(kernel, target, fixed)
    if kernel.kind == "gates":
        return gates.scratch_bytes(kernel, target, fixed)
    if kernel.kind == "sequential":
        return sequential.scratch_bytes(kernel)
    if kernel.kind == "attention":
        return attention.scratch_bytes(kernel, target)
    match kernel.anchor.op.name if kernel.anchor else "":
        case "matmul":
            return contraction.scratch_bytes(kernel, target, fixed)
        case "conv" | "conv_dx":
            return convolution_kernel.scratch_bytes(kernel, target, fixed, layouts)
        case "conv_dw":
            return blocked_weight_gradient.scratch_bytes(kernel, target, layouts)
        case "max_pool_dx" if (
            kernel.anchor is not None and scatters(kernel) and place_of_result(kernel) is None
        ):
            return kernel.anchor.output.type.nbytes
    return 0


def structure(kernel: Kernel, fixed: frozenset[Value], layouts: Layouts) -> str:
    """A text that is equal for kernels that can share one function."""
    numbers = {value: f"{i}{'!' * (value in fixed)}" for i, value in enumerate(kernel.inputs)}
    lines = [kernel.kind, *(f"{numbers[v]}:{v.type.gir}" for v in kernel.inputs)]
    for node in kernel.nodes:
        attributes = ",".join(f"{k}={print_attribute(v)}" for k, v in sorted(node.attributes.items()))
        operands = " ".join(numbers[v] for v in node.inputs)
        for value in node.outputs:
            numbers[value] = str(len(numbers))
        results = " ".join(f"{numbers[v]}:{v.type.gir}" for v in node.outputs)
        anchor = "*" * (node is kernel.anchor)
        lines.append(f"{results}={anchor}{node.op.name}({operands}){{{attributes}}}")
        pool = windows_of(node) if node.op.name == "max_pool_dx" else None
        if pool is not None:
            lines.append(repr(sorted(pool.attributes.items())))
    lines.append(" ".join(numbers[v] for v in kernel.outputs))
    lines += [f"{numbers[v]}:{layouts[v]!r}" for v in (*kernel.inputs, *kernel.outputs) if v in layouts]
    return "\n".join(lines)
