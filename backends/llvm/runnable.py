"""A compiled model: bytes and facts, fit for a file, and the function they become.

What made it - plan, module, arrays - is there when somebody asks for it: a model that comes from the cache runs and is
saved without any of it.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphc.backends.llvm import cache as _cache
from graphc.backends.llvm.call import Checked, bind
from graphc.backends.llvm.facts import Facts
from graphc.backends.llvm.features import required
from graphc.backends.llvm.huge_pages import HUGE, page_memory
from graphc.backends.llvm.jit import Code, load
from graphc.backends.llvm.status import FAULT, make_handle, status_error
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.team import allowed, process_team
from graphc.errors import UsageError
from graphc.machine import cores

if TYPE_CHECKING:
    from graphc.backends.llvm.module import NativeModule, Piece
    from graphc.plan import Plan


@dataclass(frozen=True, slots=True)
class Origin:
    """What a model was compiled from: its plan, its module, and the arrays by name."""

    plan: Plan
    module: NativeModule
    data: Mapping[str, np.ndarray]

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


class Executable:
    """A compiled plan.

    image   a relocatable object with `NAME_run`
    public  the user's arrays, which the weights file holds beside those native code reads
    packed  the weights as `NAME_run` reads them; not to be written to
    """

    def __init__(
        self,
        facts: Facts,
        target: Target,
        image: bytes,
        public: Mapping[str, np.ndarray],
        make: Callable[[], Origin],
        packed: NDArray[np.uint8] | None = None,
    ) -> None:
        self.facts, self.target, self.image, self.public = facts, target, image, public
        self._make = make
        if packed is not None:
            self.packed = packed

    @property
    def signature(self) -> Any:
        return self.facts.signature

    @cached_property
    def origin(self) -> Origin:
        return self._make()

    @cached_property
    def packed(self) -> NDArray[np.uint8]:
        return self.weights()

    @property
    def plan(self) -> Plan:
        return self.origin.plan

    @property
    def module(self) -> NativeModule:
        return self.origin.module

    def weights(self) -> NDArray[np.uint8]:
        """The weights in memory of the caller's own."""
        return self.origin.weights()

    def load(
        self, threads: int = 1, *, checked: bool = False, weights: NDArray[np.uint8] | None = None
    ) -> Callable[..., Any]:
        """The function: takes the input arrays in order, gives the output array or a tuple of them.

        threads: how many work on a run at most; bounded by the cores this process may use. The results are the same.
        weights: what `weights()` gave, for a caller who reads or changes them too.
        checked: the plain Python road through ctypes, which checks every argument itself.
        """
        threads = allowed(threads)
        signature = self.facts.signature
        entry = f"{signature.name}_run"
        code = load(self.image, [entry], self.target)
        weights = self.packed if weights is None else weights
        handle = make_handle(weights.ctypes.data, team=process_team() if threads > 1 else 0)
        keep = _Kept(code, weights, handle)
        run, context = code.address(entry), ctypes.addressof(handle)
        if checked:
            return Checked(signature, run, context, keep, threads, self.error)
        cache = _cache.default()
        return bind(signature, run, context, keep=keep, threads=threads, error=self.error, cache=cache)

    def error(self, status: int) -> Exception:
        """The exception for a status of `NAME_run`."""
        if status < FAULT:
            return status_error(self.facts.signature, required(self.target.features), status)
        fault = self.module.faults[status - FAULT]
        node = fault.node
        error: Exception = fault.kind(f"{node.name}: {fault.message}", span=node.provenance.span)
        return error

    def weights_file(self) -> bytes:
        """The weights as a file for `NAME_open`, with the user's arrays behind them; empty when there are none."""
        size, identity = self.facts.weights_bytes, self.facts.identity
        if identity is None:
            raise UsageError("code that trains its weights has no weights file")
        if not (size or self.public):
            return b""
        from graphc.backends.llvm.weights_file import weights_file

        return weights_file(size, self.public).content(self.packed[:size], self.public, identity)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What must live as long as the function."""

    code: Code
    weights: NDArray[np.uint8]
    handle: Any
