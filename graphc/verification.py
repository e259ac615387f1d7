"""A compiled model beside another runtime: the largest error of each output, and the first node that differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphc import api
from graphc.api import graph_of, random_inputs
from graphc.errors import MissingToolError, UsageError
from graphc.frontends.python.modules import is_torch_module
from graphc.ir.graph import Graph, Value
from graphc.ir.types import TensorType

AGAINST = ("onnxruntime", "torch")
TOLERANCE = 1e-3
"""Of the largest element of an output: what whole networks in float32 keep."""

Arrays = Mapping[str, np.ndarray]
Other = Callable[[Graph, Arrays], list[np.ndarray]]


@dataclass(frozen=True)
class OutputError:
    """How far an output is from the other runtime's: absolute, and relative to its largest element."""

    name: str
    absolute: float
    relative: float


@dataclass(frozen=True)
class Verification:
    """What was found: print it, or take `as_dict()`; `ok` says whether all outputs agree.

    first   the first node whose value differs, with its error; None when all agree, or when none does alone
    """

    against: str
    tolerance: float
    outputs: tuple[OutputError, ...]
    first: OutputError | None = None
    first_line: str = ""

    @property
    def ok(self) -> bool:
        return all(error.relative <= self.tolerance for error in self.outputs)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}

    def __str__(self) -> str:
        lines = [
            f"{o.name}: largest error {o.absolute:.3g}, {o.relative:.3g} of the largest element"
            + ("" if o.relative <= self.tolerance else f"  (more than {self.tolerance:g})")
            for o in self.outputs
        ]
        lines.append(f"agrees with {self.against}" if self.ok else f"differs from {self.against}")
        if self.first:
            where = f" at {self.first_line}" if self.first_line else ""
            lines.append(
                f"the first node that differs: %{self.first.name}{where}, by {self.first.relative:.3g}"
            )
        return "\n".join(lines)


def verify(
    model: Any,
    inputs: Mapping[str, str | TensorType] | None = None,
    *,
    against: str = "onnxruntime",
    source: Path | None = None,
    tolerance: float = TOLERANCE,
    size: int = 2,
    seed: int = 0,
    **tracing: Any,
) -> Verification:
    """Run a model natively and in another runtime, on the same random inputs; open sizes are `size`.

    against   "onnxruntime": the ONNX file `source` itself, else what graphc exports
              "torch": a `torch.nn.Module` as it is

    Raises UsageError when the model cannot run there, MissingToolError when the runtime is not installed.
    """
    if against not in AGAINST:
        raise UsageError(f"there is no runtime {against!r}", fix=f"one of {', '.join(AGAINST)}")
    graph = graph_of(model, inputs, **tracing)
    arrays = random_inputs(graph, size, seed)
    if against == "torch":
        other = _torch(model)
    else:
        other = _onnxruntime(source)
    wanted = other(graph, arrays)
    result = api.compile(graph)(*(arrays[value.name] for value in graph.inputs))
    got = result if isinstance(result, tuple) else (result,)
    errors = tuple(_error(n, a, b) for n, a, b in zip(graph.output_names, got, wanted, strict=True))
    found = Verification(against, tolerance, errors)
    if found.ok:
        return found
    if against == "torch":
        from graphc.frontends.torch import node_values

        wanted_of = node_values(model, inputs, tracing.get("dims"), arrays)
    else:
        wanted_of = _nodes_of_file(source, graph, arrays) if source else _nodes(graph, arrays)
    first = _first(graph, arrays, wanted_of, tolerance)
    if first is None:
        return found
    value, error = first
    span = value.node.provenance.span if value.node else None
    return Verification(against, tolerance, errors, error, str(span or ""))


def _error(name: str, got: np.ndarray, wanted: np.ndarray) -> OutputError:
    if got.shape != wanted.shape:
        return OutputError(name, float("inf"), float("inf"))
    if not wanted.size:
        return OutputError(name, 0.0, 0.0)
    with np.errstate(all="ignore"):
        a, b = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        distance = np.where(same, 0.0, np.abs(a - b))
        distance = np.where(np.isnan(distance), np.inf, distance)
        absolute = float(distance.max())
        scale = float(np.abs(b[np.isfinite(b)]).max(initial=0.0)) or 1.0
    return OutputError(name, absolute, absolute / scale)


def _first(
    graph: Graph, arrays: Arrays, wanted: Arrays, tolerance: float
) -> tuple[Value, OutputError] | None:  # fmt: skip
    """The first node that differs from what the other runtime has under its name, in native code."""
    values = [v for node in graph.nodes for v in node.outputs if v.name in wanted]
    every = graph.with_(outputs=tuple(values), output_names=tuple(v.name for v in values))
    results = api.compile(every)(*(arrays[value.name] for value in graph.inputs)) if values else ()
    for value, array in zip(values, results if isinstance(results, tuple) else (results,), strict=True):
        error = _error(value.name, array, wanted[value.name])
        if error.relative > tolerance:
            return value, error
    return None


def _nodes(graph: Graph, arrays: Arrays) -> dict[str, np.ndarray]:
    """Every value of a graph, as ONNX Runtime computes it."""
    values = [v for node in graph.nodes for v in node.outputs]
    every = graph.with_(outputs=tuple(values), output_names=tuple(v.name for v in values))
    return dict(zip(every.output_names, _run_onnx(_exported(every), arrays), strict=True))


def _nodes_of_file(source: Path, graph: Graph, arrays: Arrays) -> dict[str, np.ndarray]:
    """Every result in the file whose name a value of the graph has, as ONNX Runtime computes it."""
    from graphc.frontends.onnx import with_results

    model, names = with_results(source, graph)
    return dict(zip(names, _run_onnx(model, arrays), strict=True))


def _exported(graph: Graph) -> bytes:
    from graphc.backends.onnx import to_onnx

    data: bytes = to_onnx(graph).SerializeToString()
    return data


def _onnxruntime(source: Path | None) -> Other:
    def run(graph: Graph, arrays: Arrays) -> list[np.ndarray]:
        return _run_onnx(str(source) if source else _exported(graph), arrays)

    return run


def _run_onnx(model: str | bytes, arrays: Arrays) -> list[np.ndarray]:
    try:
        import onnxruntime
    except ImportError:
        raise MissingToolError(
            "comparing needs the package onnxruntime", fix="pip install onnxruntime"
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return [np.asarray(a) for a in session.run(None, dict(zip(names, arrays.values(), strict=True)))]


def _torch(model: Any) -> Other:
    if not is_torch_module(model):
        raise UsageError(
            f"a {type(model).__name__} does not run in PyTorch",
            fix="--against onnxruntime, or a torch.nn.Module",
        )

    def run(graph: Graph, arrays: Arrays) -> list[np.ndarray]:
        from graphc.frontends.torch import run_module

        return run_module(model, list(arrays.values()))

    return run
