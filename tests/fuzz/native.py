"""Native code in hostile memory: guard pages around every array, garbage in the arena and the results before each run.

    Native(partition).run(arrays)        the outputs, after checks that nothing else was written

Runs through the plain C entry `NAME_run`, so that every buffer is the harness's own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import numpy as np

from graphc.backends.llvm import jit
from graphc.backends.llvm.executable import compile_plan, native_plan
from graphc.backends.llvm.status import make_handle
from graphc.ir.dims import evaluate
from graphc.ir.partition import Partition
from tests.backends.llvm.guarded import Guarded

# NaN as a float of every width and -1 as an integer; a huge negative number; NaNs of another kind, and odd integers.
POISONS = (0xFF, 0xFE, 0x7F)


class Native:
    """A partition planned and compiled, its weights between guard pages."""

    def __init__(self, partition: Partition) -> None:
        self.executable = compile_plan(native_plan(partition))
        module = self.executable.module
        self.signature = module.signature
        self.code = jit.load(self.executable.image, [module.entry], module.target)
        self.weights = Guarded(self.executable.weights()[: module.weights_bytes])
        self.handle = make_handle(self.weights.address)
        pointers = [ctypes.c_void_p] * (len(self.signature.inputs) + len(self.signature.outputs) + 1)
        sizes = [ctypes.c_int64] * len(self.signature.symbols)
        kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, *sizes, *pointers, ctypes.c_int32)
        self.function = kind(self.code.address(module.entry))

    def run(self, arrays: Mapping[str, np.ndarray], poison: int = 0xFF) -> list[np.ndarray]:
        """All outputs of the graph.  Raises what the code's status means.

        The arrays end at a guard page with the poison 0xFF and begin behind one with any other.
        """
        signature, at_start = self.signature, poison != 0xFF
        inputs = [Guarded(np.asarray(arrays[v.name], order="C"), at_start) for v in signature.inputs]
        sizes = {
            name: 1 if source is None else inputs[source[0]].array.shape[source[1]]
            for name, source in zip(signature.symbols, signature.sources, strict=True)
        }
        shapes = [tuple(evaluate(d, sizes) for d in v.dims) for v in signature.outputs]
        outputs = [
            Guarded(np.zeros(shape, v.dtype), at_start)
            for shape, v in zip(shapes, signature.outputs, strict=True)
        ]
        size = signature.workspace_bytes(sizes)
        working = Guarded(np.zeros(-(-size // 64) * 64, np.uint8), at_start)
        for buffer in (*outputs, working):
            buffer.dirty(poison)
        kept = self.weights.array.tobytes()
        status = self.function(
            ctypes.addressof(self.handle),
            *sizes.values(),
            *(b.address for b in (*inputs, *outputs, working)),
            1,
        )
        for value, buffer in zip(signature.inputs, inputs, strict=True):
            assert buffer.intact(), f"written around the input {value.name}"
            assert buffer.array.tobytes() == np.asarray(arrays[value.name]).tobytes(), (
                f"the input {value.name} was written"
            )
        for value, buffer in zip(signature.outputs, outputs, strict=True):
            assert buffer.intact(), f"written around the output {value.name}"
        assert working.intact(), "written around the arena"
        assert self.weights.intact() and self.weights.array.tobytes() == kept, "weights were written"
        if status:
            raise self.executable.error(status)
        return [buffer.array.copy() for buffer in outputs]
