"""Every rewrite rule by itself: it fires on its own left side, and its grade is neither too good nor too bad."""

import mpmath
import numpy as np
import pytest

from graphc.autodiff import differentiate
from graphc.passes.canonicalize import RULES as CANONICALIZE
from graphc.passes.stabilize import RULES as STABILIZE
from tests.passes.rule_testing import (
    DTYPES,
    ZERO_SIGN_OPS,
    build,
    check_fires,
    differences,
    errors_in_units,
    exact_result,
    interpret,
    samples,
    special_values,
    uses,
)

RULES = CANONICALIZE.rules + STABILIZE.rules
NAMED = pytest.mark.parametrize("rule", RULES, ids=[f"{r.grade}-{r.on}-{r.equation}" for r in RULES])
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@NAMED
def test_a_rule_fires_on_its_left_side_and_gives_its_right_side(rule):
    fired = 0
    for arrays, attributes in samples(rule, DTYPES[rule.on][0]):
        right = build(rule, "right", arrays, attributes)
        if right is not None:
            rewritten = check_fires(rule, build(rule, "left", arrays, attributes))
            assert [n.op.name for n in rewritten.nodes] == [n.op.name for n in right.nodes]
            fired += 1
    assert fired


@NAMED
def test_the_grade_of_a_rule_is_right(rule):
    differ = 0
    for dtype in DTYPES[rule.on]:
        for arrays, attributes in samples(rule, dtype):
            left, right = (build(rule, side, arrays, attributes) for side in ("left", "right"))
            if right is None:
                continue
            (a,), (b,) = interpret(left, arrays), interpret(right, arrays)
            wrong = differences(a, b, ignore_zero_sign=uses(left, ZERO_SIGN_OPS))
            differ += int(wrong.sum())
            if rule.grade == "exact":
                where = tuple(x[wrong][:5] for x in arrays if x.shape == wrong.shape)
                assert not wrong.any(), (
                    f"{rule.equation} on {dtype} {attributes}: {a[wrong][:5]} became {b[wrong][:5]} for {where}"
                )
    if rule.grade == "fast":
        assert differ, f"{rule.equation} is exact: give it that grade"


@pytest.mark.parametrize("rule", [r for r in RULES if r.grade != "exact"], ids=lambda r: r.equation)
def test_both_sides_are_the_same_function_of_real_numbers(rule):
    ordinary = np.array([-2.5, -1.0, -0.3, 0.2, 0.9, 1.7, 3.1])
    compared = 0
    for arrays, attributes in samples(rule, "float64", ordinary):
        left, right = (build(rule, side, arrays, attributes) for side in ("left", "right"))
        if right is None:
            continue
        for a, b in zip(*(exact_result(side, arrays).flat for side in (left, right)), strict=True):
            if mpmath.isfinite(a) and mpmath.im(a) == 0:
                assert abs(a - b) <= abs(a) * mpmath.mpf(10) ** -15, (
                    rule.equation,
                    a,
                    b,
                )  # 1/c is rounded to float64
                compared += 1
    assert compared


@pytest.mark.parametrize("rule", [r for r in RULES if r.grade == "stable"], ids=lambda r: r.equation)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_stable_rule_is_at_least_as_accurate(rule, dtype):
    specials = special_values(dtype)
    rng = np.random.default_rng(1)
    ordinary = np.concatenate([rng.normal(size=60), rng.normal(size=40) * 30]).astype(dtype)
    improved = False
    for arrays, attributes in samples(
        rule, dtype, np.concatenate([specials[np.isfinite(specials)], ordinary])
    ):
        left, right = (build(rule, side, arrays, attributes) for side in ("left", "right"))
        if right is None:
            continue
        rows = rule.samples is not None
        a, exact, before = errors_in_units(left, arrays, rows=rows)
        b, _, after = errors_in_units(right, arrays, rows=rows)
        # Half a unit is what rounding alone costs; composites promise 4 units for an element, 8 along a row.
        worse = after > np.maximum(before + 0.5, 8.0 if rows else 4.0)
        assert not worse.any(), (
            rule.equation,
            arrays[0][worse][:5] if not rows else "",
            a[worse][:5],
            b[worse][:5],
            exact[worse][:5],
        )
        improved |= bool(((before > 100) & (after <= 8)).any()) or has_better_slope(left, right, arrays)
    assert improved or not rule.reason, f"{rule.equation} improves nothing"


def has_better_slope(left, right, arrays):
    """Whether the gradient of the left side is not finite somewhere where that of the right side is."""
    before, after = (interpret_gradient(side, arrays) for side in (left, right))
    return bool((~np.isfinite(before) & np.isfinite(after)).any())


def interpret_gradient(graph, arrays):
    joint = differentiate(graph, ["x"])
    ones = [np.ones(graph.outputs[0].shape, graph.outputs[0].dtype.numpy)] * (len(joint.inputs) - len(arrays))
    return interpret(joint, (*arrays, *ones))[1]


@pytest.mark.parametrize(
    "rule", [r for r in RULES if r.grade == "stable" and r.samples is None], ids=lambda r: r.equation
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_stable_rule_is_defined_where_its_left_side_is(rule, dtype):
    specials = special_values(dtype)
    for arrays, attributes in samples(rule, dtype, specials[~np.isfinite(specials)]):
        left, right = (build(rule, side, arrays, attributes) for side in ("left", "right"))
        (a,), (b,) = interpret(left, arrays), interpret(right, arrays)
        defined = ~np.isnan(a)
        assert not differences(a[defined], b[defined], ignore_zero_sign=True).any(), (
            rule.equation,
            arrays,
            a,
            b,
        )
