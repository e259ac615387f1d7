"""OpenVINO's CPU plugin: latency hint, float32, one request with its input set beforehand."""

from __future__ import annotations

from benchmarks.peers.onnx_file import onnx_file
from benchmarks.workloads import Workload
from graphc.bench.serve import Contender


def build(workload: Workload, threads: int) -> Contender:
    import openvino

    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    compiled = core.compile_model(core.read_model(str(onnx_file(workload))), "CPU", settings)
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(workload.input()))

    def call() -> None:
        request.start_async()
        request.wait()

    call()
    return Contender(call, [request.get_output_tensor().data.copy()])
