"""Models that are wrong, malicious or too large, by name: each must be refused with a code, at once.

A model is made by a function of nothing; some are only bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

F, I = TensorProto.FLOAT, TensorProto.INT64
Made = ModelProto | bytes


def model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[Any] = (("x", F, [2, 3]),),
    outputs: Sequence[Any] = (("y", F, None),),
    initializers: Sequence[TensorProto] = (),
    opset: int = 20,
    **keywords: Any,
) -> ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_tensor_value_info(*o) for o in outputs],
        list(initializers),
    )
    keywords.setdefault("opset_imports", [helper.make_opsetid("", opset)])
    return helper.make_model(graph, **keywords)


def node(
    op: str, inputs: Sequence[str] = ("x",), outputs: Sequence[str] = ("y",), **attributes: Any
) -> NodeProto:
    return helper.make_node(op, list(inputs), list(outputs), **attributes)


def ints(name: str, *values: int) -> TensorProto:
    return helper.make_tensor(name, I, [len(values)], values)


def floats(name: str, shape: Sequence[int]) -> TensorProto:
    return helper.make_tensor(name, F, shape, np.zeros(shape, np.float32).ravel().tolist())


def raw(name: str, dims: Sequence[int], data: bytes, kind: int = F) -> TensorProto:
    return TensorProto(name=name, dims=dims, data_type=kind, raw_data=data)


def external(**entries: str) -> TensorProto:
    tensor = TensorProto(name="w", dims=[2, 3], data_type=F, data_location=TensorProto.EXTERNAL)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def with_weight(tensor: TensorProto) -> ModelProto:
    return model([node("Add", ("x", "w"))], initializers=[tensor])


def changed(change: Callable[[ModelProto], Any], base: ModelProto | None = None) -> ModelProto:
    made = base or model([node("Relu")])
    change(made)
    return made


def nested(depth: int) -> ModelProto:
    """If inside If inside If."""
    inner = GraphProto(name="leaf", node=[node("Identity", ("x",), ("r",))])
    inner.output.append(helper.make_tensor_value_info("r", F, None))
    leaf = inner
    for _ in range(depth):
        outer = GraphProto(name="branch")
        outer.node.append(helper.make_node("If", ["c"], ["r"], then_branch=inner, else_branch=leaf))
        outer.output.append(helper.make_tensor_value_info("r", F, None))
        inner = outer
    return model(
        [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=leaf)],
        inputs=(("x", F, [2]), ("c", TensorProto.BOOL, [])),
    )


def functions(*calls: tuple[str, str]) -> ModelProto:
    """Functions that each call another one."""
    made = model(
        [helper.make_node(calls[0][0], ["x"], ["y"], domain="own")],
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("own", 1)],
    )
    for name, called in calls:
        made.functions.append(
            helper.make_function(
                "own",
                name,
                ["a"],
                ["b"],
                [helper.make_node(called, ["a"], ["b"], domain="own")],
                [helper.make_opsetid("own", 1)],
            )
        )
    return made


def loop(turns: int, body_op: str = "Identity") -> ModelProto:
    body = helper.make_graph(
        [node("Identity", ("c",), ("d",)), node(body_op, ("a",), ("b",))],
        "body",
        [
            helper.make_tensor_value_info("i", I, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("a", F, None),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("b", F, None),
        ],
    )
    return model(
        [helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)],
        initializers=[helper.make_tensor("n", I, [], [turns])],
    )


def conv(weight: Sequence[int] = (4, 3, 3, 3), **attributes: Any) -> ModelProto:
    return model(
        [node("Conv", ("x", "w"), **attributes)],
        inputs=(("x", F, [1, 3, 8, 8]),),
        initializers=[floats("w", weight)],
    )


def pool(**attributes: Any) -> ModelProto:
    return model([node("MaxPool", **attributes)], inputs=(("x", F, [1, 3, 8, 8]),))


def by_constant(op: str, *values: int, **attributes: Any) -> ModelProto:
    """An operator whose second operand is a vector of whole numbers."""
    return model([node(op, ("x", "n"), **attributes)], initializers=[ints("n", *values)])


def attribute(kind: int, **fields: Any) -> ModelProto:
    """A LeakyRelu with an odd attribute alpha."""
    made = model([node("LeakyRelu")])
    made.graph.node[0].attribute.append(AttributeProto(name="alpha", type=kind, **fields))
    return made


def _opset(version: int, domain: str = "") -> Callable[[ModelProto], Any]:
    def change(made: ModelProto) -> None:
        del made.opset_import[:]
        made.opset_import.append(helper.make_opsetid(domain, version))

    return change


def _dims(*sizes: int) -> Callable[[ModelProto], Any]:
    def change(made: ModelProto) -> None:
        shape = made.graph.input[0].type.tensor_type.shape
        del shape.dim[:]
        for size in sizes:
            shape.dim.add().dim_value = size

    return change


def cases() -> Iterator[tuple[str, Callable[[], Made]]]:
    """Name, and what makes the model."""
    yield "empty file", lambda: b""
    yield "one byte", lambda: b"\x08"
    yield "text", lambda: b"this is not a model\n"
    yield "zeros", lambda: bytes(1000)
    yield "zip", lambda: b"PK\x03\x04" + bytes(100)
    yield "gzip", lambda: b"\x1f\x8b\x08" + bytes(100)
    yield "web page", lambda: b"<!DOCTYPE html><html><body>404</body></html>"
    yield "git lfs pointer", lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    yield "no graph", lambda: ModelProto(ir_version=8).SerializeToString()
    yield "half a model", lambda: model([node("Relu")]).SerializeToString()[:30]

    yield "no output", lambda: changed(lambda m: m.graph.ClearField("output"))
    yield "output nobody makes", lambda: model([node("Relu", outputs=("z",))])
    yield "operand nobody makes", lambda: model([node("Relu", ("z",))])
    yield "node reads its own result", lambda: model([node("Add", ("x", "y"))])
    yield (
        "cycle",
        lambda: model([node("Add", ("x", "b"), ("a",)), node("Relu", ("a",), ("b",)), node("Relu", ("b",))]),
    )
    yield "not in order", lambda: model([node("Relu", ("a",)), node("Relu", ("x",), ("a",))])
    yield "value made twice", lambda: model([node("Relu"), node("Tanh")])
    yield "two results of one name", lambda: model([node("MaxPool", outputs=("y", "y"), kernel_shape=[2, 2])])
    yield "input made again", lambda: model([node("Relu", outputs=("x",)), node("Relu")])
    yield "two inputs of one name", lambda: model([node("Relu")], inputs=(("x", F, [2]), ("x", F, [2])))
    yield (
        "two tensors of one name",
        lambda: model([node("Relu")], initializers=[floats("w", [1]), floats("w", [1])]),
    )
    yield "two outputs of one name", lambda: model([node("Relu")], outputs=(("y", F, None), ("y", F, None)))
    yield "empty operand", lambda: model([node("Relu", ("",))])
    yield (
        "name of a megabyte",
        lambda: model([node("Relu", outputs=("a" * 2**20,)), node("Relu", ("a" * 2**20,))]),
    )

    yield "unknown operator", lambda: model([node("Frobnicate")])
    yield "unknown domain", lambda: model([helper.make_node("Relu", ["x"], ["y"], domain="com.example")])
    yield "opset 0", lambda: changed(_opset(0))
    yield "opset 999", lambda: changed(_opset(999))
    yield "opset below 0", lambda: changed(_opset(-1))
    yield "no opset", lambda: changed(lambda m: m.ClearField("opset_import"))
    yield "opset of another domain", lambda: changed(_opset(1, "com.example"))
    yield (
        "two versions of one opset",
        lambda: changed(lambda m: m.opset_import.append(helper.make_opsetid("", 7))),
    )
    yield "too few operands", lambda: model([node("Add", ("x",))])
    yield "too many operands", lambda: model([node("Relu", ("x", "x"))])
    yield "too many results", lambda: model([node("Relu", outputs=("y", "z"))])
    yield (
        "deprecated operator",
        lambda: model([node("Upsample", ("x", "s"))], initializers=[floats("s", [2])], opset=13),
    )

    yield "unknown attribute", lambda: model([node("Relu", secret=1)])
    yield "attribute of another type", lambda: model([node("LeakyRelu", alpha="much")])
    yield (
        "attribute twice",
        lambda: changed(
            lambda m: m.graph.node[0].attribute.extend([helper.make_attribute("axis", 0)] * 2),
            model([node("Softmax")]),
        ),
    )
    yield "attribute missing", lambda: model([node("Concat", ("x", "x"))])
    yield "attribute without type", lambda: attribute(0, f=0.5)
    yield "attribute of unknown type", lambda: attribute(AttributeProto.SPARSE_TENSOR)
    yield "attribute of bytes", lambda: model([node("Conv", ("x", "x"), auto_pad=b"\xff\xfe")])
    yield "attribute __class__", lambda: model([node("Relu", __class__="object")])

    yield "size below 0", lambda: changed(_dims(-3, 2))
    yield "size of 2^62", lambda: changed(_dims(2**62, 2**62))
    yield "33 dimensions", lambda: changed(_dims(*[1] * 33))
    yield "input of no type", lambda: changed(lambda m: m.graph.input[0].ClearField("type"))
    yield (
        "input of no shape",
        lambda: changed(lambda m: m.graph.input[0].type.tensor_type.ClearField("shape")),
    )
    yield "input of element type 0", lambda: model([node("Relu")], inputs=(("x", 0, [2]),))
    yield "input of element type 77", lambda: model([node("Relu")], inputs=(("x", 77, [2]),))
    yield "input of strings", lambda: model([node("Identity")], inputs=(("x", TensorProto.STRING, [2]),))
    yield "output of another dtype", lambda: model([node("Relu")], outputs=(("y", I, None),))
    yield "output of another shape", lambda: model([node("Relu")], outputs=(("y", F, [3, 3]),))

    yield "weight with too few bytes", lambda: with_weight(raw("w", [2, 3], b"\0" * 20))
    yield "weight with too many bytes", lambda: with_weight(raw("w", [2, 3], b"\0" * 28))
    yield (
        "weight with too few numbers",
        lambda: with_weight(TensorProto(name="w", dims=[2, 3], data_type=F, float_data=[1.0])),
    )
    yield "weight of a size below 0", lambda: with_weight(raw("w", [-2, -3], b"\0" * 24))
    yield "weight of 2^40 elements", lambda: with_weight(raw("w", [2**20, 2**20], b""))
    yield "weight of sizes that overflow", lambda: with_weight(raw("w", [2**32, 2**32], b""))
    yield "weight of no type", lambda: with_weight(raw("w", [2, 3], b"\0" * 24, 0))
    yield "weight of complex numbers", lambda: with_weight(raw("w", [3], b"\0" * 24, TensorProto.COMPLEX64))
    yield (
        "weight in segments",
        lambda: changed(
            lambda m: m.graph.initializer[0].segment.CopyFrom(TensorProto.Segment(begin=0, end=3)),
            with_weight(raw("w", [2, 3], b"\0" * 24)),
        ),
    )
    yield "sparse weight", lambda: changed(lambda m: m.graph.sparse_initializer.add())

    for name, location in (
        ("absolute", "/etc/passwd"),
        ("parent", "../secret.bin"),
        ("hidden parent", "data/../../secret.bin"),
        ("missing", "nowhere.bin"),
        ("empty", ""),
        ("folder", "."),
        ("device", "/dev/zero"),
        ("backslash", "..\\secret.bin"),
        ("nul", "w.bin\0.txt"),
        ("link", "link.bin"),
        ("hard link", "hard.bin"),
        ("pipe", "pipe"),
    ):
        yield f"external data: {name}", lambda location=location: with_weight(external(location=location))
    for name, entries in (
        ("offset below 0", {"offset": "-1"}),
        ("offset beyond the end", {"offset": "1000000"}),
        ("length beyond the end", {"length": "1000000"}),
        ("offset of 19 nines", {"offset": "9" * 19}),
        ("offset of 5000 digits", {"offset": "9" * 5000}),
        ("offset 1e9", {"offset": "1e9"}),
        ("length of another shape", {"length": "4"}),
        ("key __class__", {"__class__": "x"}),
        ("key basepath", {"basepath": "/"}),
    ):
        yield f"external data: {name}", lambda e=entries: with_weight(external(location="w.bin", **e))

    yield "If nested 30 deep", lambda: nested(30)
    yield "function calls itself", lambda: functions(("f", "f"))
    yield "functions call each other", lambda: functions(("f", "g"), ("g", "f"))
    yield "function defined twice", lambda: functions(("f", "Relu"), ("f", "Relu"))
    yield "Loop of 2^62 turns", lambda: loop(2**62)
    yield "Loop of an unknown operator", lambda: loop(2, "Frobnicate")

    yield (
        "Range of 2^32",
        lambda: model(
            [node("Range", ("a", "b", "c"))],
            initializers=[helper.make_tensor(n, I, [], [v]) for n, v in (("a", 0), ("b", 2**40), ("c", 1))],
            outputs=(("y", I, None),),
        ),
    )
    yield (
        "Range with a step of 0",
        lambda: model(
            [node("Range", ("a", "b", "c"))],
            initializers=[helper.make_tensor(n, I, [], [v]) for n, v in (("a", 0), ("b", 4), ("c", 0))],
            outputs=(("y", I, None),),
        ),
    )
    yield (
        "ConstantOfShape of 2^66",
        lambda: model([node("ConstantOfShape", ("n",))], initializers=[ints("n", 2**33, 2**33)]),
    )
    yield (
        "ConstantOfShape below 0",
        lambda: model([node("ConstantOfShape", ("n",))], initializers=[ints("n", -2, 3)]),
    )
    yield "Expand to 2^60", lambda: by_constant("Expand", 2**30, 2**30, 2, 3)
    yield "Tile by 2^40", lambda: by_constant("Tile", 2**40, 2**40)
    yield "Tile below 0", lambda: by_constant("Tile", -1, 1)
    yield "Pad by 2^40", lambda: by_constant("Pad", 0, 0, 2**40, 2**40)
    yield "Pad with too few widths", lambda: by_constant("Pad", 1, 1, 1)
    yield "Pad cuts off more than there is", lambda: by_constant("Pad", -2, -2, -2, -2)
    yield "Reshape to -1 twice", lambda: by_constant("Reshape", -1, -1)
    yield "Reshape to another size", lambda: by_constant("Reshape", 5)
    yield "Reshape to -2", lambda: by_constant("Reshape", -2, 3)
    yield "Reshape copies a size that is not there", lambda: by_constant("Reshape", 2, 3, 0)
    yield "Squeeze of a size of 2", lambda: by_constant("Squeeze", 0)
    yield "Unsqueeze twice at one place", lambda: by_constant("Unsqueeze", 0, 0)
    yield "Unsqueeze beyond 32 dimensions", lambda: by_constant("Unsqueeze", *range(40))
    yield (
        "Slice with a step of 0",
        lambda: model(
            [node("Slice", ("x", "a", "b", "c", "d"))],
            initializers=[ints("a", 0), ints("b", 2), ints("c", 0), ints("d", 0)],
        ),
    )
    yield (
        "Split below 0",
        lambda: model([node("Split", ("x", "n"), ("y", "z"), axis=1)], initializers=[ints("n", 8, -5)]),
    )
    yield "Transpose with an axis twice", lambda: model([node("Transpose", perm=[0, 0])])
    yield "Concat along axis 9", lambda: model([node("Concat", ("x", "x"), axis=9)])
    yield "Gather along axis -9", lambda: by_constant("Gather", 0, axis=-9)
    yield "MatMul of sizes that differ", lambda: model([node("MatMul", ("x", "x"))])
    yield "Add of shapes that differ", lambda: with_weight(floats("w", [3, 2]))
    yield "Conv with a group of 0", lambda: conv(group=0)
    yield "Conv with a stride of 0", lambda: conv(strides=[0, 0])
    yield "Conv with a dilation of 2^40", lambda: conv(dilations=[2**40, 2**40])
    yield "Conv with pads of 2^40", lambda: conv(pads=[2**40] * 4)
    yield "Conv with a kernel larger than the image", lambda: conv((4, 3, 30, 30))
    yield "Conv with another number of channels", lambda: conv((4, 5, 3, 3))
    yield "Conv with a wrong kernel_shape", lambda: conv(kernel_shape=[5, 5])
    yield "Conv with an unknown auto_pad", lambda: conv(auto_pad="AROUND")
    yield "MaxPool with a kernel of 0", lambda: pool(kernel_shape=[0, 0])
    yield "MaxPool with a kernel below 0", lambda: pool(kernel_shape=[-2, 2])
    yield "MaxPool of padding alone", lambda: pool(kernel_shape=[2, 2], pads=[5, 5, 5, 5])
    yield "MaxPool with one stride", lambda: pool(kernel_shape=[2, 2], strides=[1])
    yield (
        "DepthToSpace by blocks of 0",
        lambda: model([node("DepthToSpace", blocksize=0)], inputs=(("x", F, [1, 4, 2, 2]),)),
    )
    yield (
        "TopK of more than there are",
        lambda: model([node("TopK", ("x", "k"), ("y", "i"))], initializers=[ints("k", 9)]),
    )
    yield (
        "OneHot of -1 classes",
        lambda: model(
            [node("OneHot", ("i", "d", "v"))],
            inputs=(("i", I, [2]),),
            initializers=[ints("d", -1), floats("v", [2])],
        ),
    )
    yield (
        "Resize by 0",
        lambda: model(
            [node("Resize", ("x", "", "s"))], initializers=[helper.make_tensor("s", F, [2], [0.0, 1.0])]
        ),
    )
    yield (
        "Resize by NaN",
        lambda: model(
            [node("Resize", ("x", "", "s"))],
            initializers=[helper.make_tensor("s", F, [2], [float("nan"), 1.0])],
        ),
    )
    yield (
        "Resize by 10^9",
        lambda: model(
            [node("Resize", ("x", "", "s"), mode="linear")],
            initializers=[helper.make_tensor("s", F, [2], [1e9, 1e9])],
        ),
    )
    yield (
        "LSTM of weights that do not fit",
        lambda: model(
            [node("LSTM", ("x", "w", "r"), hidden_size=7)],
            inputs=(("x", F, [2, 3, 4]),),
            initializers=[floats("w", [1, 16, 4]), floats("r", [1, 16, 4])],
        ),
    )
    yield "Einsum of nonsense", lambda: model([node("Einsum", equation="ij,->k->")])


def seeds() -> Iterator[ModelProto]:
    """Valid small models to mutate."""
    yield model([node("Relu")])
    yield with_weight(floats("w", [2, 3]))
    yield conv(pads=[1, 1, 1, 1], strides=[2, 2])
    yield pool(kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    yield by_constant("Reshape", 3, -1)
    yield loop(3)
    yield nested(2)
    yield model(
        [node("MatMul", ("x", "w"), ("a",)), node("Softmax", ("a",), axis=1)],
        initializers=[floats("w", [3, 4])],
    )


assert onnx
