"""Who a user's model can be compared with: each makes a contender of a graph, arrays and a number of threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from graphc.bench.serve import Contender, NotOffered
from graphc.errors import UnsupportedError
from graphc.ir.graph import Graph

Arrays = Mapping[str, np.ndarray]


def with_graphc(graph: Graph, arrays: Arrays, threads: int) -> Contender:
    """This compiler, as a user calls it."""
    from graphc import api

    run = api.compile(graph, threads=threads)
    call = partial(run, *(arrays[v.name] for v in graph.inputs))
    return Contender(call, _several(call()))


def with_numpy(graph: Graph, arrays: Arrays, threads: int) -> Contender:
    """The generated NumPy source."""
    from graphc import api

    run = api.compile(graph, backend="numpy")
    call = partial(run, *(arrays[v.name] for v in graph.inputs))
    return Contender(call, _several(call()))


def with_torch(graph: Graph, arrays: Arrays, threads: int) -> Contender:
    """PyTorch, op by op."""
    import torch

    from graphc.bench.with_torch import run_with_torch

    torch.set_num_threads(threads)
    call = run_with_torch(graph, arrays)
    return Contender(call, [np.asarray(y) for y in call()])


def with_onnxruntime(graph: Graph, arrays: Arrays, threads: int) -> Contender:
    """ONNX Runtime on the graph as an ONNX model."""
    return with_onnx_model(onnx_bytes(graph), [arrays[v.name] for v in graph.inputs], threads)


def with_onnx_model(model: bytes | str, arrays: Sequence[np.ndarray], threads: int) -> Contender:
    """ONNX Runtime on a model or the path of one, its inputs in order; inputs and outputs bound beforehand."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = (each.name for each in session.get_inputs())
    given = {name: np.array(array) for name, array in zip(names, arrays, strict=True)}
    answer = session.run(None, given)
    binding = session.io_binding()
    memory = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in (*given.values(), *answer)]
    for name, value in zip(given, memory):
        binding.bind_ortvalue_input(name, value)
    for output, value in zip(session.get_outputs(), memory[len(given) :]):
        binding.bind_ortvalue_output(output.name, value)
    return Contender(partial(session.run_with_iobinding, binding), answer)


def with_openvino(graph: Graph, arrays: Arrays, threads: int) -> Contender:
    """OpenVINO's CPU plugin in float32, its inputs set beforehand."""
    import openvino

    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    request = core.compile_model(core.read_model(onnx_bytes(graph)), "CPU", settings).create_infer_request()
    for number, value in enumerate(graph.inputs):
        request.set_input_tensor(number, openvino.Tensor(np.array(arrays[value.name])))

    def call() -> None:
        request.start_async()
        request.wait()

    call()
    return Contender(call, [request.get_output_tensor(i).data.copy() for i in range(len(graph.outputs))])


def onnx_bytes(graph: Graph) -> bytes:
    """The model as ONNX, in an opset with GELU.  Raises NotOffered for what ONNX lacks or has in a faster form."""
    from graphc.backends.onnx import to_onnx

    if any(node.op.name == "scan" for node in graph.nodes):
        raise NotOffered("a loop would be slower there than that runtime's own LSTM and GRU")
    try:
        content: bytes = to_onnx(graph, opset=20).SerializeToString()
    except UnsupportedError as error:
        raise NotOffered(error.message) from None
    return content


PEERS: dict[str, Callable[[Graph, Arrays, int], Contender]] = {
    "graphc": with_graphc,
    "numpy": with_numpy,
    "torch": with_torch,
    "onnxruntime": with_onnxruntime,
    "openvino": with_openvino,
}


def _several(results: object) -> list[np.ndarray]:
    return [np.asarray(y) for y in (results if isinstance(results, tuple) else (results,))]
