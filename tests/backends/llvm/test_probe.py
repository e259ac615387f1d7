"""The probe's kernels compute what they claim to, and its figures are in a sane order."""

import ctypes

import numpy as np

from graphc.backends.llvm.jit import emit_object, load
from graphc.backends.llvm.lint import loops
from graphc.backends.llvm.probe import ACCUMULATORS, emit_peak, emit_read, measure
from graphc.backends.llvm.target import host


def test_the_peak_loop_is_nothing_but_products() -> None:
    module = host().module()
    emit_peak(module, host())
    (loop,) = loops(host().assembly(str(module)))
    assert loop.fmas == ACCUMULATORS and loop.stack == loop.copies == 0
    assert loop.instructions <= ACCUMULATORS + 3


def test_reading_adds_up_everything() -> None:
    module = host().module()
    emit_read(module, host())
    code = load(emit_object(str(module), host()), ["read"])
    data = np.zeros(8192 + 1024, np.float32)
    data = data[(-data.ctypes.data % 4096) // 4 :][:8192]
    data[:] = np.arange(8192) % 7
    out = np.zeros(host().lanes("float"), np.float32)
    read = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    read(code.address("read"))(out.ctypes.data, data.ctypes.data, data.nbytes, 3)
    assert out.sum() == 3 * data.sum()


def test_figures_are_finite_and_rounded() -> None:
    peaks = measure()
    for name in peaks.__dataclass_fields__:
        value = getattr(peaks, name)
        assert 0 < value < 1e6 and value == float(f"{value:.2g}"), name
