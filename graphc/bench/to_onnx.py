"""A graph as an ONNX model, for the runtimes that read ONNX: fixed sizes, forward ops only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.bench.opened import conv_biases, lazily_spread, opened
from graphc.bench.serve import NotOffered
from graphc.ir.graph import Graph, Node, Value
from graphc.ir.op import Kind

OPSET, IR = 20, 10
KNOWN = (
    "linear",
    "gelu",
    "softmax",
    "log_softmax",
    "layer_norm",
    "batch_norm",
    "elu",
    "leaky_relu",
    "softplus",
)
PLAIN = {
    "abs": "Abs", "add": "Add", "add_n": "Sum", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg", "exp": "Exp",
    "log": "Log", "sqrt": "Sqrt", "sin": "Sin", "cos": "Cos", "tanh": "Tanh", "sigmoid": "Sigmoid", "erf": "Erf",
    "sign": "Sign", "pow": "Pow", "maximum": "Max", "minimum": "Min", "relu": "Relu", "where": "Where",
    "equal": "Equal", "less": "Less", "less_equal": "LessOrEqual", "greater": "Greater",
    "greater_equal": "GreaterOrEqual", "logical_and": "And", "logical_or": "Or", "logical_not": "Not",
    "stop_gradient": "Identity", "softplus": "Softplus",
}  # fmt: skip


def onnx_bytes(graph: Graph) -> bytes:
    """The model as a file's content.  Raises NotOffered for an op without a counterpart, ImportError without onnx."""
    content: bytes = onnx_model(graph).SerializeToString()
    return content


def onnx_model(graph: Graph) -> Any:
    """The model as onnx's object."""
    from onnx import helper

    writer = _Writer(opened(graph, KNOWN))
    made = helper.make_graph(
        writer.written(),
        "graph",
        [writer.info(v, v.name) for v in graph.inputs],
        [writer.info(v, f"result.{i}") for i, v in enumerate(graph.outputs)],
        writer.initializers,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


class _Writer:
    """ONNX nodes for a graph's nodes, in order."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.nodes, self.initializers = graph, [], []  # type: ignore[var-annotated]
        self.names: dict[Value, str] = {v: v.name for v in graph.inputs}
        for v in (*graph.parameters, *graph.constants):
            self.names[v] = self.array(np.asarray(graph.data[v.name]), v.name)

    def written(self) -> list[Any]:
        biases, spread = conv_biases(self.graph), lazily_spread(self.graph)
        absorbed = {conv for conv, _ in biases.values()}
        for node in self.graph.nodes:
            if any(self.graph.users[v] or v in self.graph.outputs for v in node.outputs[1:]):
                raise NotOffered(f"ONNX has another second output of {node.op.name}")
            if node in spread:
                self.names[node.outputs[0]] = self.names[node.inputs[0]]
            elif node in biases:
                conv, bias = biases[node]
                self.conv(conv, node.output, [bias])
            elif node not in absorbed:
                self.node(node)
        for i, value in enumerate(self.graph.outputs):
            self.put("Identity", [self.names[value]], f"result.{i}")
        return self.nodes

    def array(self, array: np.ndarray, name: str = "") -> str:
        """A constant; gives its name."""
        from onnx import numpy_helper

        name = name or f"fixed.{len(self.initializers)}"
        self.initializers.append(
            numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        )
        return name

    def whole(self, numbers: Sequence[Any]) -> str:
        return self.array(np.asarray(numbers, np.int64).reshape(-1))

    def info(self, value: Value, name: str) -> Any:
        from onnx import helper

        kind = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype.numpy))
        return helper.make_tensor_value_info(name, kind, value.shape)

    def put(self, kind: str, operands: Sequence[str], result: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(operands), [result], **attributes))
        return result

    def node(self, node: Node) -> None:
        name, a, value = node.op.name, node.attributes, node.outputs[0]
        x = [self.names[v] for v in node.inputs]
        result = self.names[value] = value.name

        def put(kind: str, operands: Sequence[str], **attributes: Any) -> None:
            self.put(kind, operands, result, **attributes)

        if node.op.kind is Kind.CREATION:
            self.array(np.asarray(node.op.reference(**a)), result)  # type: ignore[misc]
            return
        if name in PLAIN:
            put(PLAIN[name], x)
            return
        match name:
            case "not_equal":
                put("Not", [self.put("Equal", x, f"{result}.equal")])
            case "cast":
                from onnx import helper

                put("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(a["dtype"].numpy)))
            case "reshape":
                put("Reshape", [*x, self.whole(a["shape"])])
            case "transpose":
                put("Transpose", x, perm=list(a["permutation"]))
            case "broadcast_to":
                put("Expand", [*x, self.whole(a["shape"])])
            case "slice":
                axes = range(len(a["starts"]))
                put("Slice", [*x, *(self.whole(n) for n in (a["starts"], a["stops"], axes, a["steps"]))])
            case "reverse":
                axes = a["axes"]
                ends = [[-1] * len(axes), [-(2**62)] * len(axes), axes, [-1] * len(axes)]
                put("Slice", [*x, *map(self.whole, ends)])
            case "pad" if not any(a["interior"]):
                fill = self.array(np.asarray(a["value"], node.inputs[0].dtype.numpy))
                put("Pad", [*x, self.whole([*a["low"], *a["high"]]), fill])
            case "concat":
                put("Concat", x, axis=a["axis"])
            case "sum" | "max" | "min":
                kind = {"sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin"}[name]
                put(kind, [*x, self.whole(a["axes"])], keepdims=0, noop_with_empty_axes=1)
            case "argmax" | "argmin":
                put("ArgMax" if name == "argmax" else "ArgMin", x, axis=a["axis"], keepdims=0)
            case "gather":
                put("Gather", x, axis=a["axis"])
            case "gather_elements":
                put("GatherElements", x, axis=a["axis"])
            case "matmul":
                self.matmul(node, x, result)
            case "linear":
                self.linear(node, x, result)
            case "conv":
                self.conv(node, value, [])
            case "max_pool" | "avg_pool":
                self.pool(node, x, result)
            case "softmax" | "log_softmax":
                put("Softmax" if name == "softmax" else "LogSoftmax", x, axis=a["axis"])
            case "gelu":
                put("Gelu", x, approximate=a["approximate"])
            case "elu":
                put("Elu", x, alpha=float(a["alpha"]))
            case "leaky_relu":
                put("LeakyRelu", x, alpha=float(a["slope"]))
            case "layer_norm":
                scale = x[1:2] or [self.array(np.ones(value.shape[a["axis"] :], value.dtype.numpy))]
                put("LayerNormalization", [x[0], *scale, *x[2:]], axis=a["axis"], epsilon=float(a["epsilon"]))
            case "batch_norm":
                put("BatchNormalization", x, epsilon=float(a["epsilon"]))
            case _:
                raise NotOffered(f"no ONNX operator for {name}")

    def matmul(self, node: Node, x: list[str], result: str) -> None:
        exchanged = [node.attributes["transpose_x"], node.attributes["transpose_w"]]
        if any(exchanged) and all(len(v.shape) == 2 for v in node.inputs):
            self.put("Gemm", x, result, transA=int(exchanged[0]), transB=int(exchanged[1]))
            return
        for i, (value, wanted) in enumerate(zip(node.inputs, exchanged)):
            if wanted:
                rank = len(value.shape)
                order = [*range(rank - 2), rank - 1, rank - 2]
                x[i] = self.put("Transpose", [x[i]], f"{result}.exchanged{i}", perm=order)
        self.put("MatMul", x, result)

    def linear(self, node: Node, x: list[str], result: str) -> None:
        if len(node.inputs[0].shape) == 2:
            self.put("Gemm", x, result, transB=1)
            return
        turned = self.put("Transpose", [x[1]], f"{result}.turned", perm=[1, 0])
        product = self.put("MatMul", [x[0], turned], f"{result}.product" if x[2:] else result)
        if x[2:]:
            self.put("Add", [product, x[2]], result)

    def conv(self, conv: Node, value: Value, bias: list[Value]) -> None:
        a = conv.attributes
        operands = [self.names[v] for v in (*conv.inputs, *bias)]
        self.names[value] = self.put(
            "Conv", operands, value.name, strides=a["strides"], dilations=a["dilation"], group=a["groups"],
            kernel_shape=conv.inputs[1].shape[2:], pads=_pads(a["padding"]),
        )  # fmt: skip

    def pool(self, node: Node, x: list[str], result: str) -> None:
        """Windows with the padding that makes exactly as many of them, `ceil` or not."""
        a = node.attributes
        dilation = a.get("dilation", (1,) * len(a["kernel"]))
        rows = zip(
            node.inputs[0].shape[2:],
            node.outputs[0].shape[2:],
            a["kernel"],
            a["strides"],
            a["padding"],
            dilation,
        )
        padding = [
            (low, max(0, (count - 1) * stride + d * (k - 1) + 1 - low - size))
            for size, count, k, stride, (low, _), d in rows
        ]
        shape = {"kernel_shape": a["kernel"], "strides": a["strides"], "pads": _pads(padding)}
        if node.op.name == "max_pool":
            self.put("MaxPool", x, result, dilations=dilation, **shape)
            return
        if a["count_include_pad"] and any(wide > high for (_, wide), (_, high) in zip(padding, a["padding"])):
            raise NotOffered("ONNX counts what hangs over the end of an average")
        if any(w >= k for pair, k in zip(padding, a["kernel"]) for w in pair):
            raise NotOffered("in ONNX an average over padding alone is no number")
        self.put("AveragePool", x, result, count_include_pad=int(a["count_include_pad"]), **shape)


def _pads(padding: Sequence[Sequence[int]]) -> list[int]:
    return [low for low, _ in padding] + [high for _, high in padding]
