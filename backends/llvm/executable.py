"""From a plan to something that can be called: object bytes, weights, and the function.

`compile_plan` makes an `Executable`: bytes and facts only, fit for a file. `Executable.load` links the object into this
process, lays the weights out and gives a Python function.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.backends.llvm import cache as _cache
from graphc.backends.llvm.c_api import FAULT, make_handle, status_error
from graphc.backends.llvm.call import Checked, bind
from graphc.backends.llvm.features import required
from graphc.backends.llvm.huge_pages import HUGE, page_memory
from graphc.backends.llvm.jit import Code, emit_object, load
from graphc.backends.llvm.kernel_function import Fault
from graphc.backends.llvm.layouts import choose_layouts
from graphc.backends.llvm.lowering import scratch_bytes
from graphc.backends.llvm.module import NativeModule, Piece, build_module
from graphc.backends.llvm.target import Target, host
from graphc.backends.llvm.team import allowed, process_team
from graphc.backends.llvm.variants import Variant, with_names
from graphc.errors import UsageError
from graphc.ir.partition import Partition
from graphc.machine import cores
from graphc.plan import Plan, make_plan


@dataclass(frozen=True, slots=True)
class Executable:
    """A compiled plan. `image` is a relocatable object with `NAME_run`."""

    plan: Plan
    module: NativeModule
    image: bytes
    data: Mapping[str, np.ndarray]
    public: Mapping[str, np.ndarray]

    def weights(self) -> NDArray[np.uint8]:
        """The weights as `NAME_run` expects them, aligned to a page."""
        blob = page_memory(self.module.weights_bytes)

        def put(piece: Piece) -> None:
            array = self.data[piece.name]
            if piece.packing is not None:
                array = piece.packing.apply(array)
            flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            blob[piece.offset : piece.offset + piece.size] = flat

        if len(blob) < HUGE:
            for piece in self.module.pieces:
                put(piece)
        else:  # NumPy lets other threads run while it copies
            with ThreadPoolExecutor(cores().allowed) as pool:
                deque(pool.map(put, self.module.pieces), maxlen=0)
        return blob

    def load(
        self, threads: int = 1, *, checked: bool = False, weights: NDArray[np.uint8] | None = None
    ) -> Callable[..., Any]:
        """The function: takes the input arrays in order, gives the output array or a tuple of them.

        threads: how many work on a run at most; bounded by the cores this process may use. The results are the same.
        weights: what `weights()` gave, for a caller who reads or changes them too.
        checked: the plain Python road through ctypes, which checks every argument itself.
        """
        threads = allowed(threads)
        code = load(self.image, [self.module.entry], self.module.target)
        weights = self.weights() if weights is None else weights
        handle = make_handle(weights.ctypes.data, team=process_team() if threads > 1 else 0)
        keep = _Kept(code, weights, handle)
        run, context = code.address(self.module.entry), ctypes.addressof(handle)
        signature = self.module.signature
        if checked:
            return Checked(signature, run, context, keep, threads, self.error)
        cache = _cache.default()
        return bind(signature, run, context, keep=keep, threads=threads, error=self.error, cache=cache)

    def error(self, status: int) -> Exception:
        """The exception for a status of `NAME_run`."""
        if status < FAULT:
            return status_error(self.module.signature, required(self.module.target.features), status)
        fault: Fault = self.module.faults[status - FAULT]
        node = fault.node
        return fault.kind(f"{node.name}: {fault.message}", span=node.provenance.span)

    def weights_file(self) -> bytes:
        """The weights as a file for `NAME_open`, with the user's arrays behind them; empty when there are none."""
        if self.module.file is None:
            raise UsageError("code that trains its weights has no weights file")
        if not (self.module.weights_bytes or self.public):
            return b""
        native = self.weights()[: self.module.weights_bytes]
        return self.module.file.content(native, self.public, self.module.identity)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What must live as long as the function."""

    code: Code
    weights: NDArray[np.uint8]
    handle: Any


def native_plan(
    partition: Partition, *, target: Target | None = None, donate: Mapping[str, str] | None = None
) -> Plan:
    """`make_plan` with the layouts and the working memory native kernels want on this machine."""
    leaves = {v.name: v for v in (*partition.graph.parameters, *partition.graph.constants)}
    fixed = frozenset(v for name, v in leaves.items() if name not in (donate or {}).values())
    machine = target or host()
    layouts = choose_layouts(partition, machine, fixed)
    return make_plan(
        partition,
        scratch=lambda kernel: scratch_bytes(kernel, machine, fixed, layouts),
        donate=donate,
        layouts=layouts,
    )


def compile_plan(
    plan: Plan,
    data: Mapping[str, np.ndarray] | None = None,
    *,
    target: Target | None = None,
    name: str = "",
    public: Mapping[str, np.ndarray] | None = None,
    cache: _cache.Cache | None = None,
    weights: str = "fp32",
    variants: Sequence[Variant] = (),
) -> Executable:
    """Compile a plan, made by `native_plan`, for a machine.

    data    arrays of parameters and constants; `plan.graph.data` by default
    target  the machine, this one by default
    name    prefix of the exported symbols, the graph's name by default
    public  the user's own arrays, which the weights file holds beside the packed ones; `data` by default
    cache   where objects are kept between processes; None compiles always
    weights how weights of matrix products are stored: fp32, fp16 or int8
    variants  code for some sizes beside the general one
    """
    target = target or host()
    data = plan.graph.data if data is None else data
    public = data if public is None else public
    named, data = with_names(variants, data)
    module = build_module(plan, target, name, public, weights=weights, variants=named)
    return Executable(plan, module, emit_object(module.text, target, cache), data, public)


def compile_partition(
    partition: Partition,
    *,
    target: Target | None = None,
    donate: Mapping[str, str] | None = None,
    name: str = "",
    public: Mapping[str, np.ndarray] | None = None,
    cache: _cache.Cache | None = None,
) -> Executable:
    """Plan a partition with the working memory its kernels need, and compile it; `donate` is `make_plan`'s."""
    target = target or host()
    plan = native_plan(partition, target=target, donate=donate)
    return compile_plan(plan, target=target, name=name, public=public, cache=cache)
