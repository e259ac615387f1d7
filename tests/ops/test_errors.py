"""What each op refuses, and that it says so in words: operands by name, sizes, dtypes."""

import numpy as np
import pytest

from graphc import ops
from graphc.errors import BroadcastError, DTypeError, GraphcError, InnerSizesDiffer, ShapeError
from graphc.interpret import interpret
from graphc.ir.builder import Builder
from graphc.ir.op import REGISTRY, Kind
from graphc.ir.types import DTYPES, TensorType, bool_, dtype_of, float32, float64, int32, parse_type
from graphc.ops import bits, control, elementwise, rules
from graphc.ops.indexing import IndexOutOfRange

ONE = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
POOL = {"kernel": (2, 2), "strides": (2, 2), "padding": ((0, 0), (0, 0)), "ceil": False}
MAX = {**POOL, "dilation": (1, 1)}
AVG = {**POOL, "count_include_pad": True}
AXIS = "axis 2 does not fit a of 2 dimensions"
AXES = "axes .* do not fit a of 2 dimensions"

ROW = TensorType(float32, (3,))
ADDED = control.sample_of((ROW, ROW), 1, 1, lambda c, x: (c + x, c))
WIDER = control.sample_of((ROW,), 1, 0, lambda c: (ops.reshape(c, shape=(1, 3)),))
LOOP = {"body": ADDED, "carries": 1, "length": 5, "reverse": False, "sequences": 1}

# op: (types of the operands a, b, c ..., attributes, message)
REFUSED = {
    "scan": [
        ("f32[3] f32[5,4]", LOOP, r"b is float32\[5,4\], the body takes float32\[5,3\]"),
        ("f32[3] f32[4,3]", LOOP, r"b is float32\[4,3\], the body takes float32\[5,3\]"),
        ("f64[3] f32[5,3]", LOOP, r"a is float64\[3\], the body takes float32\[3\]"),
        ("f32[3] f32[5,3] f32[3]", LOOP, "3 operands for a body of 2 inputs"),
        ("f32[3] f32[5,3]", {**LOOP, "length": -1}, "-1 steps"),
        ("f32[3] f32[5,3]", {**LOOP, "length": "T"}, "a graph as its body, and a length"),
        ("f32[3]", {**LOOP, "body": WIDER, "sequences": 0}, r"the state a is float32\[3\] before a step and"),
    ],
    "constant": [
        ("", {"value": 1.5, "dtype": int32}, "the constant 1.5 is no int32"),
        ("", {"value": 256, "dtype": dtype_of("uint8")}, "the constant 256 is no uint8"),
        ("", {"value": "1", "dtype": float32}, "the constant '1' is no float32"),
        ("", {"value": 1, "dtype": 32}, "32 is no dtype"),
    ],
    "iota": [
        ("", {"shape": (3,), "axis": 1, "dtype": int32}, r"axis 1 does not fit the 1 dimensions \[3\]"),
        ("", {"shape": (-3,), "axis": 0, "dtype": int32}, r"\(-3,\) is no shape"),
        ("", {"shape": (3,), "axis": 0, "dtype": bool_}, "there is no ramp of bool"),
    ],
    "dim_size": [
        ("", {"dim": -1, "dtype": float32}, "is no shape"),
        ("", {"dim": "N", "dtype": float32}, r"\('N',\) is no shape"),
        ("", {"dim": 3, "dtype": "float32"}, "'float32' is no dtype"),
    ],
    "where": [
        ("f32[3] f32[3] f32[3]", {}, "needs booleans, a is float32"),
        ("bool[3] f32[3] f64[3]", {}, r"dtypes differ: float32 \(b\) and float64 \(c\)"),
        ("bool[3] f32[3] f32[4]", {}, "shapes do not broadcast: a and b and c differ at axis -1"),
    ],
    "cast": [
        ("f32[3]", {"dtype": "float16"}, "'float16' is no dtype"),
        ("f32[3]", {"dtype": np.dtype("float16")}, "dtype float16 is not supported"),
    ],
    "stop_gradient": [],
    "reshape": [
        ("f32[2,3]", {"shape": (7,)}, r"cannot reshape a of 6 elements to \[7\] of 7"),
        ("f32[N,3]", {"shape": ("N", 4)}, r"cannot reshape a of 3\*N elements to \[N, 4\] of 4\*N"),
        ("f32[2,3]", {"shape": (-2, -3)}, r"\(-2, -3\) is no shape: sizes are whole numbers >= 0"),
    ],
    "transpose": [
        ("f32[2,3]", {"permutation": (0,)}, "is not an order of the 2 axes of a"),
        ("f32[2,3]", {"permutation": (0, 0)}, r"\(0, 0\) is not an order"),
        ("f32[2,3]", {"permutation": (1, 2)}, r"\(1, 2\) is not an order"),
    ],
    "broadcast_to": [
        ("f32[3]", {"shape": (3, 4)}, "size 3 is neither 1 nor 4"),
        ("f32[2,3]", {"shape": (3,)}, "cannot broadcast a to the 1 dimensions"),
        ("f32[1]", {"shape": (-1,)}, r"\(-1,\) is no shape"),
    ],
    "slice": [
        ("f32[5]", {"starts": (0, 0), "stops": (5, 5), "steps": (1, 1)}, "a has 1 dimensions, the slice 2"),
        ("f32[5]", {"starts": (0,), "stops": (6,), "steps": (1,)}, "slice 0:6 lies outside a size of 5"),
        ("f32[5]", {"starts": (-1,), "stops": (5,), "steps": (1,)}, "starts at a whole number >= 0"),
        ("f32[5]", {"starts": (0,), "stops": (5,), "steps": (0,)}, "step >= 1"),
    ],
    "pad": [
        ("f32[5]", {"low": (1, 1), "high": (0, 0), "interior": (0, 0)}, "a has 1 dimensions, the padding 2"),
        ("f32[5]", {"low": (-1,), "high": (0,), "interior": (0,)}, "padding widths are >= 0"),
        ("u8[5]", {"low": (1,), "high": (0,), "interior": (0,), "value": -1}, "-1 does not fit a of uint8"),
        (
            "i32[5]",
            {"low": (1,), "high": (0,), "interior": (0,), "value": 0.5},
            "0.5 does not fit a of int32",
        ),
    ],
    "concat": [
        ("f32[2,3] f32[2,4]", {"axis": 0}, "cannot concatenate a and b along axis 0: other sizes differ"),
        ("f32[2,3] f32[2,3] f64[2,3]", {"axis": 0}, r"dtypes differ: float32 \(a\) and float64 \(c\)"),
        ("f32[2,3] f32[2,3]", {"axis": 2}, AXIS),
    ],
    "reverse": [("f32[2,3]", {"axes": (2,)}, AXES), ("f32[2,3]", {"axes": (-1,)}, AXES)],
    "sum": [
        ("f32[2,3]", {"axes": (2,)}, AXES),
        ("f32[2,3]", {"axes": (1, 0)}, AXES),
        ("f32[2,3]", {"axes": (0, 0)}, AXES),
        ("bool[2,3]", {"axes": (0,)}, "needs numbers, a is bool"),
    ],
    **{
        name: [
            ("f32[2,3]", {"axes": (2,)}, AXES),
            ("f32[2,0]", {"axes": (1,)}, "over no elements does not exist"),
            ("bool[2,3]", {"axes": (0,)}, "needs numbers, a is bool"),
        ]
        for name in ("max", "min")
    },
    **{
        name: [
            ("f32[2,3]", {"axis": 2}, AXES),
            ("f32[2,0]", {"axis": 1}, "over no elements does not exist"),
            ("f32[2,3]", {"axis": -1}, AXES),
        ]
        for name in ("argmax", "argmin")
    },
    "prod": [("f32[2,3]", {"axes": (2,)}, AXES), ("bool[2,3]", {"axes": (0,)}, "needs numbers, a is bool")],
    **{
        name: [("f32[2,3]", {"axis": 2}, AXIS), ("bool[2,3]", {"axis": 1}, "needs numbers, a is bool")]
        for name in ("cumsum", "cumprod")
    },
    "linear_recurrence": [
        ("f32[2,3] f32[2,3]", {"axis": 2}, AXIS),
        ("f32[2,3] f64[2,3]", {"axis": 1}, "dtypes differ"),
        ("f32[2,3] f32[3,2]", {"axis": 1}, "shapes differ: a and b"),
    ],
    "argsort": [("f32[2,3]", {"axis": 2}, AXIS)],
    "sort": [("f32[2,3]", {"axis": -1}, "axis -1 does not fit a")],
    "topk": [
        ("f32[2,3]", {"axis": 2, "k": 1}, AXIS),
        ("f32[2,3]", {"axis": 1, "k": 4}, "k is 4, the axis has 3 elements"),
        ("f32[2,3]", {"axis": 1, "k": -1}, "k is -1"),
    ],
    "extend": [
        ("f32[2,3]", {"low": (0, 0), "high": (0, 0), "mode": "mirror"}, "mode is one of reflect, .*'mirror'"),
        ("f32[2,3]", {"low": (0,), "high": (0, 0), "mode": "edge"}, "a has 2 dimensions, the widths 1"),
        ("f32[2,3]", {"low": (0, -1), "high": (0, 0), "mode": "edge"}, "whole numbers >= 0"),
        ("f32[2,3]", {"low": (0, 3), "high": (0, 0), "mode": "reflect"}, "3 elements more along axis 1 of 3"),
        ("f32[2,3]", {"low": (0, 0), "high": (0, 4), "mode": "wrap"}, "4 elements more along axis 1 of 3"),
        ("f32[2,0]", {"low": (0, 0), "high": (0, 1), "mode": "edge"}, "1 elements more along axis 1 of 0"),
    ],
    "triangle": [("f32[3]", {}, "a has 1 dimensions, a matrix has 2")],
    "resize": [
        ("f32[2,3]", {"axes": (1,), "sizes": (6,), "mode": "area"}, "mode is one of nearest, .*'area'"),
        ("f32[2,3]", {"axes": (2,), "sizes": (6,)}, AXES),
        ("f32[2,3]", {"axes": (1,), "sizes": (6, 7)}, "1 axes need as many sizes"),
        ("f32[N,3]", {"axes": (0,), "sizes": (6,)}, "axis 0 of size N cannot be resized to 6"),
        ("f32[2,3]", {"axes": (1,), "sizes": (0,)}, "axis 1 of size 3 cannot be resized to 0"),
        ("i32[2,3]", {"axes": (1,), "sizes": (6,)}, "needs floating-point numbers"),
    ],
    "scatter": [
        ("f32[2,3] i64[4] f32[2,5]", {"axis": 1}, r"c must have the shape \[2, 4\]"),
        ("f32[2,3] f32[4] f32[2,4]", {"axis": 1}, "positions must be whole numbers, b is float32"),
        ("f32[2,3] i64[4] f64[2,4]", {"axis": 1}, r"dtypes differ: float32 \(a\) and float64 \(c\)"),
        ("f32[2,3] i64[4] f32[2,4]", {"axis": 1, "how": "sub"}, "how is one of set, .*'sub'"),
        ("bool[2,3] i64[4] bool[2,4]", {"axis": 1, "how": "add"}, "needs numbers, a is bool"),
        ("f32[2,3] i64[4] f32[2,4]", {"axis": 2}, AXIS),
    ],
    "gather_nd": [
        (
            "f32[2,3] i64[4,3]",
            {},
            "the last axis of b holds a position for each of 1 to 2 axes of a, it is 3",
        ),
        ("f32[2,3] i64[4,N]", {}, "it is N"),
        ("f32[2,3] i64[]", {}, "it is None"),
        ("f32[2,3] f32[4,2]", {}, "positions must be whole numbers"),
        ("f32[2,3] i64[4,1]", {"batch": 1}, "the first 1 sizes of a and b differ"),
    ],
    "scatter_nd": [
        ("f32[2,3] i64[4,2] f32[5]", {}, r"c must have the shape \[4\]"),
        ("f32[2,3] i64[4,2] f64[4]", {}, "dtypes differ"),
        ("f32[2,3] i64[4,2] f32[4]", {"how": "sub"}, "how is one of"),
    ],
    "put_elements": [
        ("f32[2,3] i64[2,2] f32[2,3]", {"axis": 1}, "positions b must have the shape of c"),
        ("f32[2,3] i64[3,2] f32[3,2]", {"axis": 1}, "b is longer than a along axis 0"),
        ("f32[2,3] i64[2] f32[2]", {"axis": 1}, "as many axes as a"),
        ("f32[2,3] i64[2,2] f32[2,2]", {"axis": 2}, AXIS),
    ],
    "matmul": [
        ("f32[2,3] f32[4,5]", {}, r"inner sizes differ: 3 \(a\) and 4 \(b\)"),
        ("f32[3] f32[3,5]", {}, "a and b must have at least 2 dimensions"),
        ("f32[2,3,4] f32[3,4,5]", {}, r"batch sizes differ: \[2\] \(a\) and \[3\] \(b\)"),
        ("f32[2,3] f64[3,5]", {}, "dtypes differ"),
        ("i32[2,3] i32[3,5]", {}, "needs floating-point numbers, a is int32"),
    ],
    "linear": [
        ("f32[2,3] f32[5,4]", {}, "a has 3 features, the weight b reads 4"),
        ("f32[2,3] f32[5,3] f32[3]", {}, "the bias c must have the 5 outputs of b"),
        ("f32[2,3] f32[3]", {}, r"a matrix w\[out, in\]: a and b"),
        ("f32[2,3] f32[5,3] f32[5] f32[5]", {}, "linear takes 2 to 3 operands, 4 are given"),
        ("f32[2,3] f64[5,3]", {}, "dtypes differ"),
    ],
    "conv": [
        ("f32[1,3,5,5] f32[2,4,3,3]", ONE, "a has 3 channels, the kernel b reads 4"),
        ("f32[1,3,5,5] f32[2,3,7,3]", ONE, "a window of 7 does not fit the size 5 of a along spatial axis 0"),
        ("f32[1,3,5,5] f32[2,3,3]", ONE, "a has 4 dimensions and b has 3"),
        (
            "f32[1,3,5,5] f32[2,1,3,3]",
            {**ONE, "groups": 2},
            "the 3 channels of a do not divide into 2 groups",
        ),
        (
            "f32[1,4,5,5] f32[3,2,3,3]",
            {**ONE, "groups": 2},
            "the 3 channels of b do not divide into 2 groups",
        ),
        (
            "f32[1,4,5,5] f32[2,4,3,3]",
            {**ONE, "groups": 2},
            "a has 4 channels in 2 groups of 2, the kernel b reads 4",
        ),
        (
            "f32[1,3,5,5] f32[2,3,3,3]",
            {**ONE, "strides": (0, 1)},
            r"strides \(0, 1\) must be whole numbers >= 1",
        ),
        ("f32[1,3,5,5] f32[2,3,3,3]", {**ONE, "strides": (1,)}, "strides .* has 1 sizes, a has 2 spatial"),
        (
            "f32[1,3,5,5] f32[2,3,3,3]",
            {**ONE, "padding": ((0, -1), (0, 0))},
            "padding .* must be whole numbers >= 0",
        ),
        (
            "f32[1,3,5,5] f32[2,3,3,3]",
            {**ONE, "padding": (1, 1)},
            "one pair .* for each of 2 spatial dimensions",
        ),
        ("f32[1,3,5,5] f32[2,3,3,3]", {**ONE, "groups": 0}, "groups 0 must be a whole number >= 1"),
        (
            "f32[1,3] f32[2,3]",
            {**ONE, "strides": (), "padding": (), "dilation": ()},
            "a has 0 spatial dimensions",
        ),
        ("f32[1,3,5,5] f64[2,3,3,3]", ONE, "dtypes differ"),
        ("i32[1,3,5,5] i32[2,3,3,3]", ONE, "needs floating-point numbers"),
    ],
    "conv_dx": [
        ("f32[1,2,3,3] f32[3,3,3,3]", {**ONE, "size": (5, 5)}, "a has 2 channels, the kernel b gives 3"),
        (
            "f32[1,2,3,3] f32[2,3,3,3]",
            {**ONE, "size": (6, 5)},
            r"sizes \[3, 3\], the convolution gives \[4, 3\]",
        ),
        (
            "f32[1,2,3,3] f32[2,3,3,3]",
            {**ONE, "size": (5,)},
            r"size \[5\] does not fit a of 2 spatial dimensions",
        ),
    ],
    "conv_dw": [
        ("f32[1,3,5,5] f32[2,2,3,3]", {**ONE, "kernel": (3, 3)}, r"batch sizes differ: 1 \(a\) and 2 \(b\)"),
        (
            "f32[1,3,5,5] f32[1,2,3,3]",
            {**ONE, "kernel": (2, 3)},
            r"b has spatial sizes \[3, 3\], .* gives \[4, 3\]",
        ),
        (
            "f32[1,3,5,5] f32[1,2,3,3]",
            {**ONE, "kernel": (3, 3), "groups": 2},
            "the 3 channels of a do not divide",
        ),
    ],
    "max_pool": [
        ("bool[1,1,4,4]", MAX, "needs numbers, a is bool"),
        ("f32[1,1,1,4]", MAX, "a window of 2 does not fit the size 1 of a along spatial axis 0"),
        ("f32[1,1,4,4]", {**MAX, "padding": ((2, 0), (0, 0))}, "a window lies in the padding 2 \\+ 0 alone"),
        ("f32[1,1,4,4]", {**MAX, "kernel": (2,)}, "kernel .* has 1 sizes, a has 2"),
        (
            "f32[1,1,N,4]",
            {**MAX, "ceil": True, "padding": ((0, 1), (0, 0))},
            "needs a fixed size along spatial axis 0",
        ),
    ],
    "max_pool_dx": [
        ("f32[1,1,2,2] i32[1,1,2,2]", {"size": (4, 4)}, "positions b must be int64 of the shape of a"),
        ("f32[1,1,2,2] i64[1,1,2,3]", {"size": (4, 4)}, "positions b must be int64 of the shape of a"),
        ("f32[1,1,2,2] i64[1,1,2,2]", {"size": (4,)}, r"size \[4\] does not fit a"),
    ],
    "avg_pool": [
        ("i32[1,1,4,4]", AVG, "needs floating-point numbers, a is int32"),
        ("f32[1,1,1,4]", AVG, "does not fit the size 1"),
        ("f32[1,4]", AVG, "a has 0 spatial dimensions"),
    ],
    "avg_pool_dx": [
        (
            "f32[1,1,2,2]",
            {**AVG, "size": (6, 4)},
            r"a has spatial sizes \[2, 2\], the pooling gives \[3, 2\]",
        ),
        ("f32[1,1,2,2]", {**AVG, "size": (4,)}, r"size \[4\] does not fit a"),
        ("f32[1,1,2,2]", {**AVG, "size": (1, 4)}, "does not fit the size 1"),
    ],
    "gather": [
        ("f32[2,3] f32[4]", {"axis": 0}, "positions must be whole numbers, b is float32"),
        ("f32[2,3] i64[4]", {"axis": 2}, AXIS),
        ("f32[2,3] bool[4]", {"axis": 0}, "b is bool"),
    ],
    "scatter_add": [
        ("f32[4,3] i64[5]", {"axis": 0, "size": 7}, r"a has sizes \[4\] from axis 0, positions b \[5\]"),
        ("f32[4,3] f32[4]", {"axis": 0, "size": 7}, "positions must be whole numbers"),
        ("f32[4,3] i64[4]", {"axis": 0, "size": -7}, "size -7 must be >= 0"),
        ("bool[4,3] i64[4]", {"axis": 0, "size": 7}, "needs numbers"),
    ],
    "gather_elements": [
        ("f32[2,3] i64[3,1]", {"axis": 1}, "positions b must have the sizes of a except along axis 1"),
        ("f32[2,3] i64[2]", {"axis": 1}, "positions b must have the sizes"),
        ("f32[2,3] f32[2,1]", {"axis": 1}, "positions must be whole numbers"),
        ("f32[2,3] i64[2,1]", {"axis": 2}, AXIS),
    ],
    "scatter_elements": [
        ("f32[2,3] i64[2,2]", {"axis": 1, "size": 5}, "positions b must have the shape of a"),
        ("f32[2,3] i64[2,3]", {"axis": 2, "size": 5}, AXIS),
        ("bool[2,3] i64[2,3]", {"axis": 1, "size": 5}, "needs numbers"),
    ],
    "one_hot": [
        ("f32[3]", {"classes": 3, "dtype": float32}, "positions must be whole numbers, a is float32"),
        ("i64[3]", {"classes": -3, "dtype": float32}, "size -3 must be >= 0"),
    ],
    "random_bits": [
        ("i64[]", {"shape": (3,)}, r"the seed a must be one uint64 number, it is int64\[\]"),
        ("u64[2]", {"shape": (3,)}, r"it is uint64\[2\]"),
        ("u64[]", {"shape": (2**17, 2**16)}, "a stream has 2\\*\\*32 numbers"),
        ("u64[]", {"shape": (3,), "stream": -1}, "stream -1 must be a whole number"),
    ],
    "uniform": [
        ("u64[]", {"shape": (3,), "dtype": int32}, "uniform numbers are floating-point numbers, not int32"),
        ("u32[]", {"shape": (3,), "dtype": float32}, "must be one uint64 number"),
        ("u64[]", {"shape": (3,), "dtype": float32, "stream": 2**32}, "must be a whole number in"),
    ],
    "dropout": [
        ("f32[3] u64[]", {"p": 1.5}, r"the probability p = 1.5 must lie in \[0, 1\]"),
        ("f32[3] i64[]", {"p": 0.5}, "the seed b must be one uint64 number"),
        ("i32[3] u64[]", {"p": 0.5}, "needs floating-point numbers"),
    ],
    "gelu": [("f32[3]", {"approximate": "fast"}, "approximate is .*, not 'fast'")],
    "maxout": [
        ("f32[2,5]", {"pieces": 2, "axis": 1}, "size 5 of a does not divide into groups of 2"),
        ("f32[2,4]", {"pieces": 0, "axis": 1}, "groups of 0"),
        ("f32[2,4]", {"pieces": 2, "axis": 2}, AXIS),
    ],
    "mean": [
        ("f32[2,3]", {"axes": (2,)}, AXES),
        ("i32[2,3]", {"axes": (0,)}, "needs floating-point numbers"),
    ],
    "variance": [
        ("f32[2,3]", {"axes": (2,)}, AXES),
        ("i32[2,3]", {"axes": (0,)}, "needs floating-point numbers"),
        ("f32[2,3]", {"axes": (0,), "correction": 2}, "correction is 0 or 1, not 2"),
    ],
    "logsumexp": [
        ("f32[2,3]", {"axes": (2,)}, AXES),
        ("f32[2,0]", {"axes": (1,)}, "over no elements"),
        ("i32[2,3]", {"axes": (0,)}, "needs floating-point numbers"),
    ],
    **{
        name: [
            ("f32[2,3]", {"axis": 2}, AXIS),
            ("f32[2,0]", {"axis": 1}, "over no elements"),
            ("i32[2,3]", {"axis": 1}, "needs floating-point numbers"),
        ]
        for name in ("softmax", "log_softmax")
    },
    "batch_norm": [
        (
            "f32[2,3] f32[4] f32[3] f32[3] f32[3]",
            {},
            "b must have one element for each of the 3 channels of a",
        ),
        ("f32[3] f32[3] f32[3] f32[3] f32[3]", {}, "a needs a batch and a channel dimension"),
        ("f32[2,3] f32[3] f32[3] f32[3] f64[3]", {}, r"dtypes differ: float32 \(a\) and float64 \(e\)"),
    ],
    "batch_norm_train": [
        (
            "f32[2,3] f32[3] f32[3] f32[3] f32[4]",
            {},
            "e must have one element for each of the 3 channels of a",
        ),
        ("f32[1,3] f32[3] f32[3] f32[3] f32[3]", {}, "a has one element per channel"),
        ("f32[2,3] f64[3] f32[3] f32[3] f32[3]", {}, "dtypes differ"),
    ],
    "layer_norm": [
        ("f32[2,3] f32[2]", {"axis": 1}, r"b must have the sizes \[3\] of a from axis 1"),
        ("f32[2,3]", {"axis": 2}, AXIS),
        ("f32[2,3] f32[3] f32[3] f32[3]", {"axis": 1}, "layer_norm takes 1 to 3 operands, 4 are given"),
    ],
    "sum_squares": [("i32[3]", {}, "needs floating-point numbers"), ("bool[3]", {}, "a is bool")],
    "l2_penalty": [
        ("f32[3] f64[3]", {"strength": 1.0}, r"dtypes differ: float32 \(a\) and float64 \(b\)"),
        ("i32[3]", {"strength": 1.0}, "needs floating-point numbers"),
    ],
    **{
        name: [
            ("f32[3] f32[4]", {}, "shapes differ: a and b"),
            ("f32[3] f64[3]", {}, "dtypes differ"),
            ("i32[3] i32[3]", {}, "needs floating-point numbers"),
            ("f32[3] f32[3]", {"reduction": "max"}, 'reduction is "mean", "sum" or "none", not \'max\''),
        ]
        for name in ("mse_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "hinge_loss")
    },
    **{
        name: [
            ("f32[2,3] i64[3]", {}, r"scores a must be \[N, C, ...\] and labels b \[N, ...\]"),
            ("f32[2,3] f32[2]", {}, "positions must be whole numbers, b is float32"),
            ("f32[2,0] i64[2]", {}, "a has no classes"),
            ("f32[3] i64[]", {}, "scores a must be"),
            ("f32[2,3] i64[2]", {"reduction": "max"}, "reduction is"),
        ]
        for name in ("cross_entropy", "nll_loss", "multiclass_hinge_loss")
    },
}


def expected(name):
    """Rows of the table, or those of the type rule that many ops share."""
    if name in REFUSED:
        return REFUSED[name]
    op = REGISTRY[name]
    arity = len(next(iter(op.samples()))[0])
    rows = []
    if op.infer in (rules.same_number, rules.same_float, bits.tested):
        floats = op.infer is not rules.same_number
        for dtype in ("i32", "u8", "bool") if floats else ("bool",):
            message = "needs floating-point numbers, a is" if floats else "needs numbers, a is bool"
            rows.append((" ".join([f"{dtype}[3]"] * arity), {}, message))
    elif op.infer is bits.same_whole:
        rows += [(" ".join([f"{d}[3]"] * arity), {}, "needs whole numbers, a is") for d in ("f32", "bool")]
        if arity > 1:
            rows.append(("i32[3] i64[3]", {}, "dtypes differ"))
        return rows
    elif op.infer is rules.logical:
        rows += [(" ".join([f"{d}[3]"] * arity), {}, "needs booleans, a is") for d in ("f32", "i32", "u8")]
    if arity > 1:
        first = "bool" if op.infer is rules.logical else "f32"
        rows.append(
            (
                " ".join([f"{first}[3]"] * (arity - 1) + [f"{first}[4]"]),
                {},
                r"do not broadcast: .* \(3 and 4\)",
            )
        )
        if op.infer is not rules.logical:
            other = " ".join(["f32[3]"] * (arity - 1) + ["f64[3]"])
            rows.append((other, {}, rf"dtypes differ: float32 \(a\) and float64 \({'abc'[arity - 1]}\)"))
    return rows


ROWS = [(name, *row) for name in sorted(REGISTRY) for row in expected(name)]


@pytest.mark.parametrize(
    ("name", "types", "attributes", "message"), ROWS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_refused(name, types, attributes, message):
    from graphc.ir.dims import parse_dim

    if "shape" in attributes:
        attributes = {**attributes, "shape": tuple(parse_dim(str(d)) for d in attributes["shape"])}
    with Builder("g") as builder:
        operands = [
            builder.leaf("input", letter, parse_type(text)) for letter, text in zip("abcdef", types.split())
        ]
        with pytest.raises(GraphcError, match=message) as caught:
            REGISTRY[name](*operands, **attributes)
    assert "{" not in caught.value.message
    assert caught.value.code != "GC9000"
    assert [fact.name for fact in caught.value.facts] == list("abcdef"[: len(operands)])


def test_every_op_refuses_something():
    nothing_to_refuse = {
        "stop_gradient": "any tensor passes",
    }
    assert {name for name in REGISTRY if not expected(name)} == set(nothing_to_refuse)


def test_kinds_of_errors():
    def kind(name, types, **attributes):
        with Builder("g") as builder, pytest.raises(GraphcError) as caught:
            REGISTRY[name](*(builder.leaf("input", "x", parse_type(t)) for t in types.split()), **attributes)
        return type(caught.value)

    assert kind("add", "f32[3] f32[4]") is BroadcastError
    assert kind("add", "f32[3] f64[3]") is DTypeError
    assert kind("matmul", "f32[2,3] f32[2,3]") is InnerSizesDiffer
    assert kind("linear", "f32[2,3] f32[3,2]") is InnerSizesDiffer
    assert kind("reshape", "f32[2,3]", shape=(5,)) is ShapeError


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.kind in ("int", "uint")])
def test_a_number_that_does_not_fit_is_refused(dtype):
    limits = np.iinfo(dtype.numpy)
    with Builder("g") as builder:
        x = builder.leaf("input", "x", parse_type(f"{dtype.short}[2]"))
        for number in (limits.max + 1, limits.min - 1, 2**70):
            with pytest.raises(
                DTypeError, match=f"the number {number} does not fit a tensor of {dtype.name}"
            ):
                _ = x + number
        for number in (limits.max, limits.min):
            assert (x + number).type == x.type


@pytest.mark.parametrize("index", [5, -6, 2**40])
@pytest.mark.parametrize("name", ["gather", "gather_elements", "scatter_add", "scatter_elements"])
def test_a_position_out_of_range_is_an_error_with_its_node(name, index):
    with Builder("g") as builder:
        x = builder.leaf("input", "x", parse_type("f32[5]"))
        i = builder.leaf("input", "i", parse_type("i64[5]"))
        y = REGISTRY[name](x, i, axis=0, **({"size": 5} if "scatter" in name else {}))
    graph = builder.finish([y], ["y"])
    positions = np.array([0, 1, index, -5, 4])
    with pytest.raises(IndexOutOfRange, match=f"%{name}: index {index} is out of range for a size of 5"):
        interpret(graph, [np.zeros(5, "f"), positions])


@pytest.mark.parametrize(("classes", "label"), [(3, 3), (3, -1), (300, 300), (300, -100), (300, -301)])
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss", "multiclass_hinge_loss"])
def test_a_label_out_of_range_is_an_error(name, label, classes):
    with Builder("g") as builder:
        x = builder.leaf("input", "x", parse_type(f"f32[2,{classes}]"))
        t = builder.leaf("input", "t", parse_type("i64[2]"))
        y = REGISTRY[name](x, t)
    with pytest.raises(IndexOutOfRange):
        interpret(builder.finish([y], ["y"]), [np.zeros((2, classes), "f"), np.array([0, label])])


def test_shared_rules_are_those_of_the_elementwise_family():
    """`expected` derives rows from the rule; an op with a rule of its own needs rows in the table."""
    shared = {
        rules.same_number,
        rules.same_float,
        rules.logical,
        rules.comparison,
        bits.same_whole,
        bits.tested,
    }
    for name, op in REGISTRY.items():
        assert name in REFUSED or op.infer in shared
    assert REGISTRY["add"].infer is elementwise.same_number and REGISTRY["add"].kind is Kind.ELEMENTWISE
    assert float64 in DTYPES
