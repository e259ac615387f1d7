"""Control: loops whose body is a graph.

A control op holds the graph it runs as an attribute.  It has no reference: the interpreter runs the body, the NumPy
source is a `for` loop, native code a loop around the body's kernels, and its gradient is a loop as well.
"""

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.builder import Builder
from graphc.ir.dims import SymbolicDim
from graphc.ir.graph import Graph
from graphc.ir.op import Kind, TypeRuleError, op
from graphc.ir.types import TensorType, float64


def split(operands, *, carries, sequences):
    """(carry, sequences, what is the same in all steps): the parts of a scan's operands, or of its body's inputs."""
    return operands[:carries], operands[carries : carries + sequences], operands[carries + sequences :]


def infer_scan(*types, body, carries, length, reverse, sequences):
    if not isinstance(body, Graph) or not isinstance(length, (int, SymbolicDim)):
        raise TypeRuleError("scan needs a graph as its body, and a length")
    if len(types) != len(body.inputs) or not 0 <= carries <= len(body.outputs) or not body.outputs:
        raise TypeRuleError(f"scan: {len(types)} operands for a body of {len(body.inputs)} inputs")
    if isinstance(length, int) and length < 0:
        raise TypeRuleError(f"scan over {length} steps")
    for position, (given, inner) in enumerate(zip(types, body.inputs)):
        wanted = inner.type
        if carries <= position < carries + sequences:
            wanted = wanted.with_shape((length, *wanted.shape))
        if given != wanted:
            raise TypeRuleError(f"scan: {{{position}}} is {given}, the body takes {wanted}")
    for position, (before, after) in enumerate(zip(body.inputs[:carries], body.outputs)):
        if before.type != after.type:
            raise TypeRuleError(
                f"scan: the state {{{position}}} is {before.type} before a step and {after.type} after it",
                "the body must return the state with the type it gets",
                ShapeError,
            )
    stacked = (v.type.with_shape((length, *v.type.shape)) for v in body.outputs[carries:])
    return (*(v.type for v in body.outputs[:carries]), *stacked)


def sample_of(types, carries, sequences, function):
    """A body from a function of values, for `samples`."""
    with Builder("step") as builder:
        inputs = [builder.leaf("input", f"x{i}", t) for i, t in enumerate(types)]
        outputs = function(*inputs)
    return builder.finish(outputs, [f"y{i}" for i in range(len(outputs))])


@op(
    Kind.CONTROL,
    formula="(cₜ, yₜ) = body(cₜ₋₁, xₜ)",
    symbol="scan",
    onnx="Scan",
)
class scan:
    """A loop: (carry..., sequence..., fixed...) -> (last carry..., stacked result...).

    The body gets the carry, one element of each sequence along its first axis, and the fixed operands, and returns the
    new carry and the step's results, which are stacked along a new first axis of `length`.  With `reverse` it begins
    with the last step.  No step, and the carry is what was given.  The gradient is a loop in the other direction.
    """

    infer = infer_scan
    defaults = {"reverse": False}

    def samples():
        from graphc.ops.elementwise import tanh
        from graphc.ops.linalg import matmul

        rng = np.random.default_rng(17)
        number, row, matrix = (TensorType(float64, shape) for shape in ((), (2, 3), (3, 3)))

        def recurrent(h, x, w):
            new = tanh(x + matmul(h, w))
            return new, new * new

        for steps, reverse in ((5, False), (3, True), (1, False), (0, False)):
            arrays = rng.normal(size=(2, 3)), rng.normal(size=(steps, 2, 3)), rng.normal(size=(3, 3))
            body = sample_of((row, row, matrix), 1, 1, recurrent)
            yield arrays, {"body": body, "carries": 1, "length": steps, "reverse": reverse, "sequences": 1}
        product = sample_of((number, number), 1, 1, lambda c, x: (c * x,))
        yield (
            (np.asarray(1.5), rng.normal(size=4)),
            {"body": product, "carries": 1, "length": 4, "reverse": False, "sequences": 1},
        )
        each = sample_of((row, row), 0, 1, lambda x, w: (x * w,))
        yield (
            (rng.normal(size=(3, 2, 3)), rng.normal(size=(2, 3))),
            {"body": each, "carries": 0, "length": 3, "reverse": False, "sequences": 1},
        )
        doubled = sample_of((row,), 1, 0, lambda c: (c + c, c))
        yield (
            (rng.normal(size=(2, 3)),),
            {"body": doubled, "carries": 1, "length": 3, "reverse": False, "sequences": 0},
        )
