"""ONNX Runtime with all optimisations, input and output bound to memory of their own."""

from __future__ import annotations

from benchmarks.peers.onnx_file import onnx_file
from benchmarks.workloads import Workload
from graphc.bench.serve import Contender


def build(workload: Workload, threads: int) -> Contender:
    import onnxruntime

    path = onnx_file(workload)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    x = workload.input()
    (first,) = session.run(None, {"x": x})
    bound_x = onnxruntime.OrtValue.ortvalue_from_numpy(x)
    bound_y = onnxruntime.OrtValue.ortvalue_from_numpy(first * 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", bound_x)
    binding.bind_ortvalue_output("y", bound_y)

    def call() -> None:
        session.run_with_iobinding(binding)

    call()
    return Contender(call, [bound_y.numpy()])
