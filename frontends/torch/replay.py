"""Runs PyTorch's graph of a module with graphc's tensors, as if the user had written it for graphc.

An operator graphc lacks is decomposed by PyTorch into simpler ones, where PyTorch knows how.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export.graph_signature import InputKind, OutputKind

from graphc.errors import GraphcError, UnsupportedError
from graphc.frontends.torch.exporting import quiet
from graphc.frontends.torch.operators import IGNORED, OPERATORS
from graphc.ir.graph import Graph
from graphc.ir.types import TensorType, dtype_of
from graphc.ir.verifier import verify
from graphc.source import Span, is_internal
from graphc.tensor import Recording, Tensor

MAX_DECOMPOSITIONS = 8
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_ARITHMETIC: dict[Any, Callable[..., Any]] = {
    operator.add: operator.add,
    operator.sub: operator.sub,
    operator.mul: operator.mul,
    operator.floordiv: operator.floordiv,
    operator.mod: operator.mod,
    operator.neg: operator.neg,
    operator.getitem: operator.getitem,
}


def replay(
    program: torch.export.ExportedProgram,
    types: Mapping[str, TensorType],
    names: list[str],
    ranges: Mapping[str, tuple[int, int | None]],
    name: str,
) -> Graph:
    """The graph of an exported program."""
    program = supported(program)
    trace = Recording(name, dims=ranges, training=True)
    with trace.running():
        run = _Run(program, trace, types, names)
        outputs = run.run()
    updates = {f"new.{name}": value for name, value in trace.updates.items()}
    values = [t.value for t in outputs.values()] + list(updates.values())
    shown = {s: r for s, r in trace.ranges.items() if r != (0, None)}
    return verify(trace.builder.finish(values, [*outputs, *updates], dims=shown, data=trace.data))


def computed(
    program: torch.export.ExportedProgram,
    types: Mapping[str, TensorType],
    names: list[str],
    ranges: Mapping[str, tuple[int, int | None]],
    arrays: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """PyTorch's own result of each node, under the name that `replay` gives it."""
    program = supported(program)
    trace = Recording("compared", dims=ranges, training=True)
    with trace.running():
        run = _Run(program, trace, types, names)
        run.run()
    held = {**program.state_dict, **program.constants}
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    given = iter(arrays.values())
    theirs: dict[torch.fx.Node, Any] = {}
    found: dict[str, np.ndarray] = {}
    with torch.no_grad():
        for node in program.graph.nodes:
            if node.op == "placeholder":
                spec = specs[node.name]
                own = spec.kind is not InputKind.USER_INPUT
                theirs[node] = held[spec.target] if own else torch.from_numpy(np.array(next(given)))
            elif node.op == "get_attr":
                theirs[node] = getattr(program.graph_module, node.target)
            elif node.op == "call_function":
                arguments, keywords = torch.fx.node.map_arg((node.args, node.kwargs), theirs.__getitem__)
                theirs[node] = node.target(*arguments, **keywords)
                ours = run.values[node]
                if isinstance(ours, Tensor) and isinstance(theirs[node], torch.Tensor):
                    found[ours.value.name] = theirs[node].detach().numpy()
    return found


def supported(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with what graphc lacks decomposed, and nothing written in place.  Raises UnsupportedError."""
    if any(_writes(node) for node in program.graph.nodes):
        with quiet():
            program = program.run_decompositions({})
    for _ in range(MAX_DECOMPOSITIONS):
        missing = [node for node in program.graph.nodes if not known(node)]
        if not missing:
            return program
        table = torch.export.default_decompositions()
        wanted = {node.target: table[node.target] for node in missing if node.target in table}
        if not wanted:
            break
        with quiet():
            program = program.run_decompositions(wanted)
    node = missing[0]
    raise UnsupportedError(f"graphc has no operator {name_of(node)} of PyTorch", span=span_of(node))


def known(node: torch.fx.Node) -> bool:
    return (
        node.op != "call_function"
        or node.target in _ARITHMETIC
        or name_of(node) in (OPERATORS.keys() | IGNORED)
    )


def _writes(node: torch.fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and bool(schema.is_mutable)


def name_of(node: torch.fx.Node) -> str:
    """The operator's name without namespace and overload: `conv2d` of `aten.conv2d.default`."""
    packet = getattr(node.target, "overloadpacket", None)
    return str(packet.__name__) if packet is not None else getattr(node.target, "__name__", str(node.target))


def span_of(node: torch.fx.Node) -> Span | None:
    """The user's line in the module: the innermost frame outside of PyTorch, below graphc's own."""
    home = str(Path(torch.__file__).parent)
    found = None
    for match in _FRAME.finditer(node.meta.get("stack_trace") or ""):
        file = match["file"]
        if is_internal(file):
            found = None  # what called graphc is no line of the module
        elif not file.startswith((home, "torch/", "<")):
            found = Span(file, int(match["line"]))
    return found


def module_of(node: torch.fx.Node) -> str:
    """The path of the module that was running, as `state_dict` writes it."""
    stack = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else ""
    return "" if path.startswith("_empty") else re.sub(r"@\d+$", "", path)


class _Run:
    """One run through the nodes."""

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        trace: Recording,
        types: Mapping[str, TensorType],
        names: list[str],
    ):
        self.program, self.trace, self.types, self.names = program, trace, types, list(names)
        self.values: dict[torch.fx.Node, Any] = {}
        self.buffers: dict[str, Tensor] = {}

    def run(self) -> dict[str, Tensor]:
        specs = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self._leaf(node, specs[node.name])
            elif node.op == "call_function":
                self.values[node] = self._call(node)
            elif node.op == "get_attr":
                constant = getattr(self.program.graph_module, node.target)
                self.values[node] = self._tensor(constant, node.target, False)
            elif node.op == "output":
                return self._outputs(node)
        raise UnsupportedError("a PyTorch program without outputs")

    def _leaf(self, node: torch.fx.Node, spec: Any) -> Any:
        if spec.kind is InputKind.USER_INPUT:
            shown = node.meta.get("val")
            if not isinstance(shown, torch.Tensor):
                return shown  # a plain number
            name = self.names.pop(0) if self.names else node.name
            return self.trace.input(name, self.types.get(name) or self._own_type(name, shown))
        source = {**self.program.state_dict, **self.program.constants}
        value = self._tensor(source[spec.target], spec.target, spec.kind is InputKind.PARAMETER)
        self.buffers[spec.target] = value
        return value

    def _own_type(self, name: str, shown: torch.Tensor) -> TensorType:
        if not all(isinstance(n, int) for n in shown.shape):
            raise UnsupportedError(
                f"input {name} of the exported program has open sizes", fix="give its type by name"
            )
        return TensorType(dtype_of(str(shown.dtype).removeprefix("torch.")), tuple(shown.shape))

    def _tensor(self, tensor: torch.Tensor, name: str, learns: bool) -> Tensor:
        """A graphc tensor on the memory of a PyTorch one."""
        try:
            array = tensor.detach().cpu().numpy()
        except TypeError:
            raise UnsupportedError(f"{name} has the element type {tensor.dtype}") from None
        value = Tensor.of_array(np.ascontiguousarray(array).reshape(array.shape), learns, name)
        self.trace.known[id(value)] = name
        return value

    def _call(self, node: torch.fx.Node) -> Any:
        name = name_of(node)
        if name in IGNORED:
            return None
        arguments = torch.fx.node.map_arg(node.args, self.values.__getitem__)
        keywords = torch.fx.node.map_arg(node.kwargs, self.values.__getitem__)
        if node.target in _ARITHMETIC:
            return _ARITHMETIC[node.target](*arguments)
        self.trace.span = span_of(node)
        with self.trace.within(module_of(node)):
            try:
                return OPERATORS[name](*arguments, **keywords)
            except GraphcError as error:
                raise error.at(self.trace.span) from None
            finally:
                self.trace.span = None

    def _outputs(self, node: torch.fx.Node) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        count = sum(s.kind is OutputKind.USER_OUTPUT for s in self.program.graph_signature.output_specs)
        for spec, argument in zip(self.program.graph_signature.output_specs, node.args[0], strict=True):
            value = self.values.get(argument) if isinstance(argument, torch.fx.Node) else argument
            if spec.kind is OutputKind.USER_OUTPUT:
                if not isinstance(value, Tensor):
                    raise UnsupportedError(f"an output that is no tensor: {value!r}")
                name = "output" if count == 1 else f"output_{len(found)}"
                found[name] = value
            elif spec.kind is OutputKind.BUFFER_MUTATION and isinstance(value, Tensor):
                buffer = self.buffers.get(spec.target)
                if buffer is not None and value.type.dtype.is_float and spec.target not in self.trace.updates:
                    self.trace.update(buffer, value)
        return found
