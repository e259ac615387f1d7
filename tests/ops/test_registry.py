"""What must hold for every op there is, whoever declares it."""

import re

import numpy as np
import pytest

from graphc.autodiff import NotDifferentiable, differentiate
from graphc.errors import UsageError
from graphc.interpret import evaluate, interpret
from graphc.ir.builder import Builder, infer_types
from graphc.ir.composite import body_graph
from graphc.ir.op import REGISTRY, Kind
from graphc.ir.parser import parse_graph
from graphc.ir.printer import print_graph
from graphc.ir.types import float64
from graphc.ir.verifier import verify
from tests.ops.sampling import cases, declared, special_cases, symbolic_cases

OPS = [pytest.param(op, id=name) for name, op in sorted(REGISTRY.items())]

# Facts that are no defects, each with its reason; a test below asks that none has become idle.
NO_SYMBOLIC_SAMPLE = {"constant": "one number has no size"}
NO_FLOAT_SAMPLE = dict.fromkeys(("logical_and", "logical_or", "logical_xor", "logical_not"), "only booleans")
NO_FLOAT_SAMPLE |= dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not"), "whole numbers")
NO_FLOAT_SAMPLE |= dict.fromkeys(("shift_left", "shift_right"), "whole numbers")
STOPPED = {  # outputs whose gradient is 0 or does not exist although they do depend on the operands
    ("stop_gradient", 0): "that is what it is for",
    ("batch_norm_train", 1): "running statistics are kept, not trained",
    ("batch_norm_train", 2): "running statistics are kept, not trained",
}

NOT_TRAINED = {"batch_norm_train": (3, 4)}  # operands for which a gradient is refused


def ids(items):
    return [pytest.param(item, id=item.id) for item in items]


@pytest.mark.parametrize("op", OPS)
def test_the_declaration_is_complete(op):
    assert op.doc.strip().endswith((".", ")")) and len(op.doc) > 20
    assert op.formula and op.symbol
    runs_a_graph = op.kind is Kind.CONTROL  # the interpreter runs it, and autodiff knows its gradient
    assert runs_a_graph != (op.reference is not None or op.body is not None)
    gradients = (op.vjp is not None) + bool(op.no_gradient) + runs_a_graph
    assert gradients == 1 or op.body is not None and not op.no_gradient, (
        "a gradient, or the reason why there is none"
    )
    assert len(list(declared(op))) >= (1 if op.kind is Kind.CREATION else 2)
    if op.kind is Kind.ELEMENTWISE:
        assert op.scalar is not None
    if op.vjp is not None and not op.derivative:
        assert op.name in ("concat",), "text of the derivative"
    if op.no_gradient:
        assert not op.derivative and op.vjp is None


@pytest.mark.parametrize("op", OPS)
def test_every_op_has_a_float_and_a_symbolic_sample(op):
    floats = any(a.dtype.kind == "f" for case in declared(op) for a in case.arrays)
    no_operand_is_float = op.kind in (Kind.CREATION, Kind.RANDOM) or op.name in ("one_hot",)
    assert floats != (op.name in NO_FLOAT_SAMPLE or no_operand_is_float)
    assert any(symbolic_cases([op.name])) != (op.name in NO_SYMBOLIC_SAMPLE)


@pytest.mark.parametrize("case", ids([*cases(), *symbolic_cases(), *special_cases()]))
def test_the_rule_gives_the_type_of_the_reference(case):
    """`evaluate` compares dtype and shape of every array with the type that the rule gave."""
    verify(case.graph)
    values = evaluate(case.graph, case.arrays)
    assert all(output in values for output in case.graph.outputs)


@pytest.mark.parametrize("op", OPS)
def test_text_and_back(op):
    for case in [*declared(op), *symbolic_cases([op.name])]:
        text = print_graph(case.graph, provenance=True)
        assert print_graph(parse_graph(text), provenance=True) == text


@pytest.mark.parametrize("op", [p for p in OPS if p.values[0].body is not None])
def test_composites_are_their_bodies(op):
    for case in [*cases([op.name]), *symbolic_cases([op.name]), *special_cases([op.name])]:
        node = case.graph.nodes[0]
        types = tuple(v.type for v in node.inputs)
        body = verify(body_graph(op, types, node.attributes))
        assert tuple(v.type for v in body.outputs) == infer_types(op, types, node.attributes)
        if op.reference is None:
            continue
        for ours, other in zip(
            interpret(case.graph, case.arrays), interpret(body, case.arrays[: len(types)]), strict=True
        ):
            np.testing.assert_array_equal(ours, other)  # the same operations in the same order


@pytest.mark.parametrize("op", OPS)
def test_operations_are_counted(op):
    for case in [*declared(op), *symbolic_cases([op.name])]:
        node = case.graph.nodes[0]
        if op.flops is not None:
            count = op.flops(*(v.type for v in node.inputs), **node.attributes)
            assert isinstance(count, int) and count >= 0 or not isinstance(count, int)


@pytest.mark.parametrize("op", [p for p in OPS if p.values[0].in_place])
def test_a_buffer_taken_over_is_large_enough(op):
    for case in declared(op):
        node = case.graph.nodes[0]
        for position in op.in_place:
            if position < len(node.inputs):
                taken, result = node.inputs[position].type, node.outputs[0].type
                assert taken.dtype == result.dtype and taken.size == result.size


@pytest.mark.parametrize("op", OPS)
def test_the_text_of_the_derivative_names_operands(op):
    for position, text in op.derivative.items():
        assert any(position < len(case.arrays) for case in declared(op))
        assert not re.search(r"\{[^}]*[^\w}][^}]*\}", text)


STEP = 1e-5
DIFFERENTIABLE = [
    pytest.param(case, index, id=f"{case.id}-y{index}")
    for op in REGISTRY.values()
    for case in declared(op)
    if any(a.dtype == np.float64 for a in case.arrays)
    for index, output in enumerate(case.graph.outputs)
    if output.dtype.name == "float64" and not op.no_gradient and (op.name, index) not in STOPPED
    if all(np.isfinite(a).all() for a in case.arrays)  # no difference quotient at infinity
]


def positions_of(case):
    """The operands to differentiate by."""
    rejected = NOT_TRAINED.get(case.op.name, ())
    return [i for i, a in enumerate(case.arrays) if a.dtype == np.float64 and i not in rejected]


def along(arrays, directions, step):
    return [a + step * directions[i] if i in directions else a for i, a in enumerate(arrays)]


def normal(rng, arrays, positions):
    return {i: np.asarray(rng.normal(size=np.shape(arrays[i]))) for i in positions}


def check(analytic, ends, weight):
    """Central differences with step h err by h²/6·f\u2034 and by a rounding error of eps·|f|/h."""
    numeric = float(((ends[0] - ends[1]) * weight).sum()) / (2 * STEP)
    magnitude = float(np.abs(weight * ends[0]).sum())
    bound = 3e-7 * (abs(analytic) + abs(numeric)) + 50 * magnitude * (STEP**2 + 2.2e-16 / STEP)
    assert abs(analytic - numeric) <= bound


@pytest.mark.parametrize(("case", "index"), DIFFERENTIABLE)
def test_first_and_second_gradients(case, index):
    """Along random directions, at five points, against central differences; and so the gradient of every gradient."""
    rng, positions = np.random.default_rng(127), positions_of(case)
    names = [f"x{i}" for i in positions]
    first = differentiate(case.graph, names, of=f"y{index}", keep_outputs=False)
    seeds = first.inputs[len(case.arrays) :]  # the cotangent, unless y is a number
    given: list[np.ndarray] = []
    for point in range(5):
        near = {i: rng.uniform(-0.01, 0.01, case.arrays[i].shape) for i in positions}
        arrays = along(case.arrays, near if point else {}, 1.0)
        given = [*arrays, *(np.asarray(rng.normal(size=v.type.shape)) for v in seeds)]
        directions = normal(rng, arrays, positions)
        gradients = interpret(first, given)
        analytic = sum(float((g * directions[i]).sum()) for g, i in zip(gradients, positions))
        ends = [interpret(case.graph, along(arrays, directions, sign * STEP))[index] for sign in (1, -1)]
        check(analytic, ends, given[-1] if seeds else 1.0)
    everything = [*positions, *range(len(case.arrays), len(given))]
    directions = normal(rng, given, everything)
    for output, name in enumerate(first.output_names):
        second = differentiate(first, [first.inputs[i].name for i in everything], of=name, keep_outputs=False)
        weights = [np.asarray(rng.normal(size=v.type.shape)) for v in second.inputs[len(given) :]]
        gradients = interpret(second, [*given, *weights])
        analytic = sum(float((g * directions[i]).sum()) for g, i in zip(gradients, everything))
        ends = [interpret(first, along(given, directions, sign * STEP))[output] for sign in (1, -1)]
        check(analytic, ends, weights[0] if weights else 1.0)


def test_no_op_is_left_out():
    tested = {p.values[0].op.name for p in DIFFERENTIABLE}
    without = {name for name, op in REGISTRY.items() if op.no_gradient}
    assert tested | without | {name for name, _ in STOPPED} == set(REGISTRY)


@pytest.mark.parametrize("op", [p for p in OPS if p.values[0].no_gradient])
def test_what_has_no_gradient_says_why(op):
    for case in declared(op):
        types = [v.type for v in case.graph.inputs]
        with Builder("g") as builder:
            leaves = [builder.leaf("input", f"x{i}", t) for i, t in enumerate(types)]
            outputs = builder.emit(op, leaves, case.graph.nodes[0].attributes)
            y = REGISTRY["cast"](outputs[0], dtype=float64)
        graph = builder.finish([y], ["y"])
        for i, a in enumerate(case.arrays):
            floating = a.dtype.kind == "f"
            message = re.escape(op.no_gradient) if floating else "only floating-point values"
            with pytest.raises(NotDifferentiable if floating else UsageError, match=message):
                differentiate(graph, [f"x{i}"])


@pytest.mark.parametrize(("name", "index"), STOPPED)
def test_stopped_outputs_have_gradient_0(name, index):
    for case in declared(REGISTRY[name]):
        gradient = differentiate(case.graph, ["x0"], of=f"y{index}", keep_outputs=False)
        seeds = [np.ones(v.type.shape) for v in gradient.inputs[len(case.arrays) :]]
        assert not interpret(gradient, [*case.arrays, *seeds])[0].any()


@pytest.mark.parametrize("name", NOT_TRAINED)
def test_operands_without_gradient_say_why(name):
    case = next(declared(REGISTRY[name]))
    for position in NOT_TRAINED[name]:
        with pytest.raises(NotDifferentiable, match="kept, not trained"):
            differentiate(case.graph, [f"x{position}"], of="y0")


def test_corner_values_reach_every_float_op_of_one_element():
    reached = {case.op.name for case in special_cases()}
    assert reached >= {n for n, op in REGISTRY.items() if op.kind is Kind.ELEMENTWISE} - set(NO_FLOAT_SAMPLE)
