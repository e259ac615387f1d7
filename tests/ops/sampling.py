"""Every op as small graphs with inputs, for whoever runs graphs: one table for the interpreter and both backends.

    for case in cases():
        expected = interpret(case.graph, case.arrays)

`cases()` are an op's declared samples, the same in float32, in every other dtype the op accepts, and long vectors;
`special_cases()` the corner values of floating-point numbers; `symbolic_cases()` samples with a leading size left open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc import ops  # noqa: F401  (registers the ops)
from graphc.ir.builder import Builder
from graphc.ir.dims import symbol
from graphc.ir.graph import Graph, Value
from graphc.ir.op import REGISTRY, Kind, Op, TypeRuleError
from graphc.ir.types import DTYPES, DType, TensorType, dtype_of, float64

LONG = 70_001  # more than 65,536, odd
SIZES = (1, 3, 13, 17, 31)  # vector loops with every kind of rest
ANY_DTYPE = {Kind.ELEMENTWISE, Kind.REDUCTION, Kind.MOVEMENT, Kind.INDEXING, Kind.SEQUENTIAL, Kind.POOLING}


@dataclass(frozen=True, eq=False)
class Case:
    """An op in a graph of its own: inputs x0, x1, ... and outputs y0, y1, ...; `what` says which sample it is."""

    op: Op
    arrays: tuple[np.ndarray, ...]
    attributes: Mapping[str, Any]
    graph: Graph
    what: str

    @property
    def id(self) -> str:
        return f"{self.op.name}-{self.what}"


def build(op: Op, types: Iterable[TensorType], attributes: Mapping[str, Any]) -> Graph:
    """A graph of the one op.  Raises TypeRuleError."""
    with Builder(op.name) as builder:
        leaves = [builder.leaf("input", f"x{i}", t) for i, t in enumerate(types)]
        outputs = builder.emit(op, leaves, {**op.defaults, **attributes})
    return builder.finish(outputs, [f"y{i}" for i in range(len(outputs))])


def case(op: Op, arrays: Iterable[Any], attributes: Mapping[str, Any], what: str) -> Case:
    arrays = tuple(np.asarray(a) for a in arrays)
    types = [TensorType(dtype_of(a), a.shape) for a in arrays]
    return Case(op, arrays, attributes, build(op, types, attributes), what)


def declared(op: Op) -> Iterator[Case]:
    """The samples that stand with the op."""
    for number, (arrays, attributes) in enumerate(op.samples() if op.samples else ()):
        yield case(op, arrays, attributes, f"{number}")


def cases(names: Iterable[str] | None = None) -> Iterator[Case]:
    """Every op (or those named), every variation that its type rule accepts."""
    for name in names if names is not None else sorted(REGISTRY):
        op = REGISTRY[name]
        samples = list(declared(op))
        yield from samples
        for dtype in DTYPES:
            for sample in samples if dtype.name == "float32" else samples[:3]:
                yield from accepted(op, sample, dtype)
        if op.kind is Kind.ELEMENTWISE:
            yield from long_vectors(op, samples)


def accepted(op: Op, sample: Case, dtype: DType) -> Iterator[Case]:
    """A float64 sample in another dtype, if the op takes it."""
    if not any(a.dtype == np.float64 for a in sample.arrays) or dtype.name == "float64":
        return
    if not dtype.is_float and op.kind not in ANY_DTYPE:
        return
    arrays = [converted(a, dtype) if a.dtype == np.float64 else a for a in sample.arrays]
    attributes = dict(sample.attributes)
    if not dtype.is_float and "value" in attributes:
        attributes["value"] = 1.0
    try:
        yield case(op, arrays, attributes, f"{sample.what}-{dtype.short}")
    except TypeRuleError:
        return  # test_errors.py asks whether it says so in words


def converted(x: np.ndarray, dtype: DType) -> np.ndarray:
    if dtype.is_float:
        return x.astype(dtype.numpy)
    if dtype.kind == "bool":
        return x > 0
    finite = np.nan_to_num(x, nan=0, posinf=100, neginf=-100)
    whole = np.round(np.clip(finite * 3, -100, 100)).astype(np.int64)
    return (np.abs(whole) if dtype.kind == "uint" else whole).astype(dtype.numpy)


def long_vectors(op: Op, samples: list[Case]) -> Iterator[Case]:
    """An elementwise op on other lengths, its elements drawn from a declared sample."""
    base = max(samples, key=lambda sample: sample.arrays[0].size)
    for length in (*SIZES, LONG):
        for dtype in (
            ("float32", "float64") if base.arrays[0].dtype.kind == "f" else (base.arrays[0].dtype.name,)
        ):
            flat = (np.resize(a, length) for a in base.arrays)
            arrays = [a.astype(dtype) if a.dtype.kind == "f" else a for a in flat]
            yield case(op, arrays, base.attributes, f"{length}-{dtype}")


def corner_values(dtype: str) -> np.ndarray:
    """Zeros, denormals, ordinary numbers, the largest and infinity, with both signs; NaN."""
    limits = np.finfo(dtype)
    sizes = [
        0,
        limits.smallest_subnormal,
        limits.tiny,
        limits.eps,
        0.5,
        1,
        2.5,
        3,
        88.5,
        709.5,
        limits.max,
        np.inf,
    ]
    positive = np.array(sizes, dtype)
    return np.concatenate([positive, -positive, np.array([np.nan], dtype)])


def special_cases(names: Iterable[str] | None = None) -> Iterator[Case]:
    """Every elementwise op on floats with all corner values, or all pairs of them; reductions of rows of pairs."""
    for name in names if names is not None else sorted(REGISTRY):
        op = REGISTRY[name]
        if op.kind not in (Kind.ELEMENTWISE, Kind.REDUCTION, Kind.COMPOSITE) or not op.samples:
            continue
        sample = next(iter(op.samples()), None)
        arrays = [np.asarray(a) for a in sample[0]] if sample else []
        shapes = {a.shape for a in arrays if a.dtype.kind == "f"}
        if len(shapes) != 1 or (op.kind is Kind.COMPOSITE and "axis" in sample[1]):
            continue
        for dtype in ("float32", "float64"):
            values = corner_values(dtype)
            first, second = np.repeat(values, len(values)), np.tile(values, len(values))
            if op.kind is Kind.REDUCTION:
                operands: list[np.ndarray] = [np.stack([first, second], axis=1)]
                attributes = {k: ((1,) if k == "axes" else 1) for k in sample[1]}
            elif len(arrays) == 1:
                operands, attributes = [values], sample[1]
            else:
                floats = iter((first, second, first))
                operands = [
                    next(floats) if a.dtype.kind == "f" else np.resize(a, first.shape) for a in arrays
                ]
                attributes = sample[1]
            try:
                yield case(op, operands, attributes, f"special-{dtype}")
            except TypeRuleError:
                continue


def symbolic_cases(names: Iterable[str] | None = None) -> Iterator[Case]:
    """Declared samples whose leading size, 1 or more, is the symbol N wherever the op's rule allows it."""
    for name in names if names is not None else sorted(REGISTRY):
        for sample in declared(REGISTRY[name]):
            graph = symbolic(sample)
            if graph is not None:
                bound = tuple(np.zeros(_leading(sample)) for _ in graph.inputs[len(sample.arrays) :])
                yield Case(sample.op, (*sample.arrays, *bound), sample.attributes, graph, f"{sample.what}-N")


def symbolic(sample: Case) -> Graph | None:
    """The graph for N in place of the size n of the first axis: of all operands that have it, or of the first alone.

    An op whose shape is an attribute gets one more input [N], which binds N.
    """
    n, size = _leading(sample), symbol("N")
    if n == 0:
        return None
    if sample.op.kind in (Kind.CREATION, Kind.RANDOM):
        types = [TensorType(dtype_of(a), a.shape) for a in sample.arrays]
        graph = build(sample.op, types, _with_leading(sample.attributes, n, size))
        binding = Value("n", TensorType(float64, (size,)), leaf="input")
        return graph.with_(inputs=(*graph.inputs, binding))
    groups = [range(len(sample.arrays)), range(1)]
    for changed in groups:
        types = []
        for i, a in enumerate(sample.arrays):
            dims = (size, *a.shape[1:]) if i in changed and a.shape[:1] == (n,) else a.shape
            types.append(TensorType(dtype_of(a), dims))
        for attributes in (sample.attributes, _with_leading(sample.attributes, n, size)):
            try:
                graph = build(sample.op, types, attributes)
            except TypeRuleError:
                continue
            if any(v.type.symbols for v in graph.inputs):
                return graph
    return None


def _leading(sample: Case) -> int:
    """The first size of the first operand, or of the shape among the attributes; 0 when there is none."""
    attributes = sample.attributes
    if sample.op.kind in (Kind.CREATION, Kind.RANDOM):
        shape = attributes.get("shape", (attributes["dim"],) if "dim" in attributes else ())
    else:
        shape = sample.arrays[0].shape
    return int(shape[0]) if shape else 0


def _with_leading(attributes: Mapping[str, Any], n: int, size: Any) -> dict[str, Any]:
    """Shapes and ends of slices among the attributes with N in place of a leading n."""
    changed = dict(attributes)
    if "dim" in changed:
        changed["dim"] = size
    if changed.get("length") == n:
        changed["length"] = size
    for key in ("shape", "stops"):
        if key in changed and changed[key][:1] == (n,):
            changed[key] = (size, *changed[key][1:])
    return changed
