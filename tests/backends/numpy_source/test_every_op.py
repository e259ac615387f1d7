"""Every op's samples through generated source, against the interpreter: bit for bit, it is the same formula."""

import numpy as np
import pytest

from graphc.backends.numpy_source import load_source
from graphc.interpret import interpret
from graphc.ir.builder import Builder
from graphc.ir.op import REGISTRY
from graphc.ir.types import TensorType, dtype_of

CASES = [
    pytest.param(op, arrays, attributes, id=f"{name}-{i}")
    for name, op in sorted(REGISTRY.items())
    if op.samples is not None
    for i, (arrays, attributes) in enumerate(op.samples())
]


@pytest.mark.parametrize(("op", "arrays", "attributes"), CASES)
def test_source_equals_interpreter(op, arrays, attributes):
    arrays = [np.asarray(a) for a in arrays]
    with Builder("sample") as builder:
        leaves = [
            builder.leaf("input", f"x{i}", TensorType(dtype_of(a), a.shape)) for i, a in enumerate(arrays)
        ]
        outputs = builder.emit(op, leaves, {**op.defaults, **attributes})
    graph = builder.finish(outputs, [f"y{i}" for i in range(len(outputs))])
    for ours, oracle in zip(load_source(graph)(arrays), interpret(graph, arrays), strict=True):
        assert ours.dtype == oracle.dtype
        np.testing.assert_array_equal(ours, oracle)
