"""Every rewrite rule by itself: it fires on its own left side, and its grade is neither too good nor too bad."""

import mpmath
import numpy as np
import pytest

from graphc.passes.canonicalize import RULES as CANONICALIZE
from tests.passes.rule_testing import (
    DTYPES,
    ZERO_SIGN_OPS,
    build,
    check_fires,
    differences,
    errors_in_ulp,
    interpret,
    samples,
    special_values,
    uses,
)

RULES = CANONICALIZE.rules
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
        _, exact, _ = errors_in_ulp(left, arrays)
        _, same, _ = errors_in_ulp(right, arrays)
        for a, b in zip(exact.flat, same.flat):
            if not mpmath.isnan(a) and mpmath.im(a) == 0:
                assert abs(a - b) <= abs(a) * mpmath.mpf(10) ** -15, (
                    rule.equation,
                    a,
                    b,
                )  # 1/c is rounded to float64
                compared += 1
    assert compared


@pytest.mark.parametrize("rule", [r for r in RULES if r.grade == "stable"], ids=lambda r: r.equation)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_stable_rule_is_at_least_as_accurate_and_defined_where_the_left_side_is(rule, dtype):
    specials = special_values(dtype)
    rng = np.random.default_rng(1)
    ordinary = np.concatenate([rng.normal(size=60), rng.normal(size=40) * 30]).astype(dtype)
    for arrays, attributes in samples(
        rule, dtype, np.concatenate([specials[np.isfinite(specials)], ordinary])
    ):
        left, right = (build(rule, side, arrays, attributes) for side in ("left", "right"))
        if right is None:
            continue
        a, _, before = errors_in_ulp(left, arrays)
        b, _, after = errors_in_ulp(right, arrays)
        # Half a unit is what rounding alone costs; a rule may not lose more than that against the left side.
        worse = after > np.maximum(before, 0.5) + 0.5
        assert not worse.any(), (rule.equation, arrays[0][worse][:5], a[worse][:5], b[worse][:5])
    for arrays, attributes in samples(rule, dtype, specials[~np.isfinite(specials)]):
        left, right = (build(rule, side, arrays, attributes) for side in ("left", "right"))
        if right is not None:
            (a,), (b,) = interpret(left, arrays), interpret(right, arrays)
            defined = ~np.isnan(a)
            assert not differences(a[defined], b[defined], ignore_zero_sign=False).any(), (
                rule.equation,
                arrays,
                a,
                b,
            )
