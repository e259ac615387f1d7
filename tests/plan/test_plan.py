"""The planner: sizes per sample, views, in-place, donation, and a checker that catches bad plans."""

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.autodiff import differentiate
from graphc.ir.dims import symbol
from graphc.ir.parser import parse_graph
from graphc.ir.partition import singly
from graphc.plan import make_plan
from graphc.plan.buffers import Buffer
from graphc.plan.check import PlanError, check_plan
from graphc.plan.memory import lower_bound, place
from graphc.plan.plan import Location, format_bytes

CHAIN = """graph chain {
  input %x: f32[N,100]
  param %w: f32[100,100]
  %a: f32[N,100] = matmul %x, %w
  %b: f32[N,100] = tanh %a
  %c: f32[N,100] = matmul %b, %w
  %d: f32[N,100] = exp %c
  %e: f32[N,50,2] = reshape %d {shape=(N, 50, 2)}
  return %e as "y"
}"""


def test_elementwise_work_is_done_in_place_and_views_share_memory():
    plan = make_plan(singly(parse_graph(CHAIN)))
    value = plan.graph.value
    assert plan.locations[value("b")] == plan.locations[value("a")]
    assert plan.locations[value("d")] == plan.locations[value("e")] == Location("output", 0)
    assert plan.sample_bytes == 2 * 448  # b and c are alive together: 100 floats, rounded to cache lines
    assert plan.fixed_bytes == 0
    assert plan.workspace(3) == 3 * 896
    assert plan.workspace(0) == plan.workspace(1)
    assert (
        plan.verdict
        == "arena 896 B per sample = lower bound (optimal for this order); without reuse 1.34 KB per sample"
    )


def test_an_input_returned_as_it_is_is_copied():
    graph = parse_graph("""graph same {
      input %x: f32[N,3]
      %y: f32[3,N] = reshape %x {shape=(3, N)}
      return %x as "x", %y as "y", %y as "again"
    }""")
    plan = make_plan(singly(graph))
    assert [(v.name, i) for v, i in plan.copies] == [("x", 0), ("y", 1), ("y", 2)]


def test_a_training_step_updates_its_parameters_in_place():
    graph = parse_graph("""graph step {
      input %x: f32[N,4]
      param %w: f32[4,3]
      param %v: f32[4,3]
      %y: f32[N,3] = matmul %x, %w
      %g: f32[4,3] = matmul %x, %y {transpose_x=True}
      %w2: f32[4,3] = sub %w, %g
      %v2: f32[4,3] = add %w, %v
      return %w2 as "w", %v2 as "v"
    }""")
    plan = make_plan(singly(graph), donate={"w": "w", "v": "v"})
    value = plan.graph.value
    # %w is read again by %v2 after %w2 in the given order; the plan must not overwrite it too early.
    assert plan.locations[value("v2")] == Location("parameter", 1)
    order = [k.nodes[0].output.name for k in plan.order]
    early = order.index("w2") < order.index("v2")
    assert (plan.copies == ()) != early


def test_swapped_donations_are_refused_by_the_checker():
    graph = parse_graph("""graph swap {
      param %p: f32[4]
      param %q: f32[4]
      return %q as "p", %p as "q"
    }""")
    with pytest.raises(PlanError, match="overwritten"):
        make_plan(singly(graph), donate={"p": "p", "q": "q"})


def test_backward_graphs_use_both_regions():
    graph = parse_graph("""graph loss {
      input %x: f32[N,8]
      param %w: f32[8,8]
      %a: f32[N,8] = matmul %x, %w
      %t: f32[N,8] = tanh %a
      %m: f32[N,8] = mul %t, %t
      %s: f32[] = sum %m {axes=(0, 1)}
      return %s as "loss"
    }""")
    plan = make_plan(singly(differentiate(graph)), scratch=lambda k: 100 if k.anchor is not None else 0)
    assert plan.sample_bytes > 0 and plan.fixed_bytes >= 128
    assert all(where.place == "fixed" for where in plan.scratch.values())


def test_every_unit_of_growth_has_a_region():
    text = """graph g {
      input %x: f32[N,T,16]
      input %k: f32[T,8]
      %a: f32[N,T,16] = tanh %x
      %s: f32[N,T,T] = matmul %a, %a {transpose_w=true}
      %e: f32[N,T,T] = exp %s
      %y: f32[N,T,16] = matmul %e, %a
      %q: f32[T,8] = exp %k
      %z: f32[T,8] = tanh %q
      return %y as "y", %z as "z"
    }"""
    plan = make_plan(singly(parse_graph(text)))
    assert [(r.name, str(r.unit), r.nbytes) for r in plan.regions] == [
        ("N*T**2", "N*T**2", 64), ("N*T", "N*T", 64), ("T", "T", 64)
    ]  # fmt: skip
    assert all(region.bound <= region.nbytes for region in plan.regions)
    assert plan.workspace(N=3, T=5) == 64 * (3 * 25 + 3 * 5 + 5) and plan.symbol is None
    assert "64 B per N*T**2 + 64 B per N*T + 64 B per T = lower bound" in plan.verdict


def test_working_memory_that_grows_and_is_constant_is_one_stretch_behind_the_arena():
    graph = parse_graph(CHAIN)
    n = symbol("N")
    needs = {"k0": n * 384 + 4096, "k1": n * 512 + 1000}
    plan = make_plan(singly(graph), scratch=lambda kernel: needs.get(kernel.name, 0))
    assert {where.place for where in plan.scratch.values()} == {"working"}
    assert dict(plan.working) == {n: 512, 1: 4096}
    assert plan.workspace(10) == 10 * (plan.sample_bytes + 512) + plan.fixed_bytes + 4096
    assert "working memory 512 B per sample + 4.1 KB" in plan.verdict


def test_the_checker_catches_overlap():
    plan = make_plan(singly(parse_graph(CHAIN.replace("matmul %b, %w", "add %b, %a"))))
    value = plan.graph.value
    broken = dict(plan.locations) | {value("b"): plan.locations[value("a")]}  # but %a is read again
    with pytest.raises(PlanError, match="overwritten"):
        check_plan(dataclasses.replace(plan, locations=broken))


def test_the_checker_catches_a_value_read_too_early():
    plan = make_plan(singly(parse_graph(CHAIN)))
    with pytest.raises(PlanError, match="before anything wrote it"):
        check_plan(dataclasses.replace(plan, order=plan.order[1:]))


buffers = st.lists(
    st.tuples(st.integers(1, 9), st.integers(0, 12), st.integers(0, 6)), min_size=1, max_size=14
)


@given(buffers)
@settings(max_examples=200, deadline=None)
def test_placement_never_overlaps_and_never_beats_the_bound(spec):
    members = [Buffer("sample", size * 64, first, first + length) for size, first, length in spec]
    height = place(members)
    assert lower_bound(members) <= height <= sum(b.size for b in members)
    for i, a in enumerate(members):
        assert 0 <= a.offset and a.offset + a.size <= height
        for b in members[:i]:
            together = a.first <= b.last and b.first <= a.last
            assert not together or a.offset + a.size <= b.offset or b.offset + b.size <= a.offset


@given(buffers.filter(lambda spec: len(spec) <= 6))
@settings(max_examples=60, deadline=None)
def test_few_buffers_are_placed_as_low_as_any_order_of_first_fit_can(spec):
    """One of the orders is the best there is: sort a best placement by offset, and first fit puts nothing higher."""
    members = [Buffer("sample", size * 64, first, first + length) for size, first, length in spec]
    height = place(members)
    tops = []
    for order in itertools.permutations(members):
        placed = []
        for b in order:
            offset = 0
            for start, end, other in sorted(placed, key=lambda p: p[:2]):
                if other.first <= b.last and b.first <= other.last:
                    if offset + b.size <= start:
                        break
                    offset = max(offset, end)
            placed.append((offset, offset + b.size, b))
        tops.append(max(end for _, end, _ in placed))
    assert height == min(tops)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (52, "52 B"), (13440, "13.4 KB"), (3.42e6, "3.42 MB"), (2e9, "2 GB")]
)
def test_bytes_are_shown_short(count, text):
    assert format_bytes(count) == text
