"""Ops: the declaration of an op, and the registry of all of them.

An op is declared once, as a class whose members are plain functions, and everything else is
derived from that declaration: tests, documentation, pictures, both backends.

    @op(Kind.ELEMENTWISE, tex=r"\\tanh({x})")
    class tanh:
        "Hyperbolic tangent.  y = tanh(x), dy/dx = 1 - y²."
        infer = same_type
        def reference(x): return np.tanh(x)
        def vjp(ct, x, y): return ct * (1 - y * y)
        def scalar(b, x): return b.tanh(x)

The decorator turns the class into one `Op`; calling it, `tanh(x)`, puts a node into the graph
being built.  A trailing underscore, as in `sum_`, only keeps Python's own name free.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import cached_property
from types import FunctionType
from typing import Any

import numpy as np

from graphc.errors import GraphcError, ShapeError
from graphc.ir.types import TensorType


class Kind(Enum):
    """What an op does to its operands; fusion and the backends choose by it."""

    ELEMENTWISE = "elementwise"  # one output element from the elements at the same index
    REDUCTION = "reduction"  # combines elements along axes
    MOVEMENT = "movement"  # reshape, transpose, slice, pad ...: moves elements, computes nothing
    CONTRACTION = "contraction"  # matmul
    CONVOLUTION = "convolution"  # convolution and its two derivatives
    POOLING = "pooling"  # windows
    INDEXING = "indexing"  # gather, scatter: positions are data
    SEQUENTIAL = "sequential"  # running sums, sorting: along an axis, one element after the other
    CREATION = "creation"  # constant, iota
    RANDOM = "random"  # counter-based random numbers
    COMPOSITE = "composite"  # has a body in primitives
    CONTROL = "control"  # runs a graph that is its attribute: scan


Infer = Callable[..., "TensorType | tuple[TensorType, ...]"]


@dataclass(frozen=True, eq=False)
class Op:
    """One op.

    infer       (*input types, **attributes) -> output type, or a tuple of them.  Raises `TypeRuleError`.
    reference   (*arrays, **attributes) -> array or tuple of arrays; NumPy; symbols in attributes are bound.
    vjp         (cotangent, *inputs, *outputs, **attributes) -> cotangent of each input, written with ops; with
                several outputs the first argument is the tuple of their cotangents.  An entry may be
                `NoGradient(reason)`.  None for an op without any gradient (its reason is `no_gradient`).  The rule of
                a control op stands with autodiff, since it differentiates a graph.
    scalar      (b, *elements, **attributes) -> element; the same formula for fused loops (`b` has LLVM-like methods).
    body        (*inputs, **attributes) -> value(s): a composite in terms of simpler ops; `infer`, `reference` and `vjp`
                may then be left out, they follow from it.
    defaults    attributes that may be left out.
    formula     one line for people; `tex` the same for pictures; `derivative` maps an input's position
                to the text of the local derivative.
    samples     () -> iterator of (arrays, attributes): inputs the registry-driven tests use.
    flops       (*input types, **attributes) -> floating point operations; None: one per output element.
    in_place    positions of inputs whose buffer the output may take over.
    kinks       where the derivative jumps, and which value is taken there.
    home        the module that declares it.
    """

    name: str
    kind: Kind
    doc: str
    infer: Infer
    reference: Callable[..., Any] | None = None
    vjp: Callable[..., Any] | None = None
    scalar: Callable[..., Any] | None = None
    body: Callable[..., Any] | None = None
    samples: Callable[[], Iterator[tuple[tuple, dict]]] | None = None
    flops: Callable[..., Any] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    formula: str = ""
    tex: str = ""
    symbol: str = ""
    derivative: Mapping[int, str] = field(default_factory=dict)
    onnx: str = ""
    in_place: tuple[int, ...] = ()
    kinks: str = ""
    no_gradient: str = ""
    home: str = ""

    def __call__(self, *operands: Any, **attributes: Any) -> Any:
        """Put a node of this op into the graph being built; returns its value, or a tuple of values."""
        from graphc.ir.builder import Builder

        return Builder.current().apply(self, operands, attributes)

    @cached_property
    def arity(self) -> tuple[int, int | None]:
        """The least and the largest number of operands; None when there is no largest."""
        function = self.reference or self.body or self.infer
        if isinstance(function, np.ufunc):
            return function.nin, function.nin
        parameters = inspect.signature(function).parameters.values()
        operands = [p for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        least = sum(p.default is inspect.Parameter.empty for p in operands)
        if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
            return max(least, 1), None
        return least, len(operands)

    @cached_property
    def attribute_names(self) -> frozenset[str]:
        """The attributes every node of this op has."""
        function = self.reference or self.body or self.infer
        if isinstance(function, np.ufunc):
            return frozenset()
        parameters = inspect.signature(function).parameters.values()
        return frozenset(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)

    @property
    def is_composite(self) -> bool:
        return self.body is not None

    @property
    def is_our_own(self) -> bool:
        """Whether graphc itself declares it."""
        return self.home.startswith("graphc.")

    def __repr__(self) -> str:
        return f"<op {self.name}>"


REGISTRY: dict[str, Op] = {}
_MEMBERS = {f.name for f in fields(Op)}


def op(kind: Kind, **facts: Any) -> Callable[[type], Op]:
    """Declare an op; see the module's docstring."""

    def declare(cls: type) -> Op:
        members = {k: v for k, v in vars(cls).items() if not (k.startswith("__") and k.endswith("__"))}
        helpers = {k for k, v in members.items() if k not in _MEMBERS and isinstance(v, FunctionType)}
        unknown = sorted((members.keys() | facts.keys()) - _MEMBERS)
        name = cls.__name__.rstrip("_")
        if unknown or helpers:
            raise TypeError(f"op {name}: no such member: {', '.join(unknown)}")
        if name in REGISTRY:
            raise TypeError(f"op {name} is declared twice")
        if "body" in members and "infer" not in members:
            members["infer"] = _infer_from_body(name)
        doc = inspect.getdoc(cls) or ""
        declared = Op(name=name, kind=kind, doc=doc, home=cls.__module__, **facts, **members)
        if not declared.doc:
            raise TypeError(f"op {name} has no docstring")
        REGISTRY[name] = declared
        return declared

    return declare


def _infer_from_body(name: str) -> Infer:
    """The type rule of a composite without one of its own: what its body gives."""

    def infer(*types: TensorType, **attributes: Any) -> tuple[TensorType, ...]:
        from graphc.ir.composite import body_graph

        return tuple(value.type for value in body_graph(REGISTRY[name], types, attributes).outputs)

    return infer


class TypeRuleError(Exception):
    """An op's operands do not fit together; raised by `infer` rules.

    The builder turns it into `kind`, an error with the user's line and a row for every operand.
    `{0}`, `{1}` in the message stand for the operands' names.
    """

    def __init__(self, message: str, fix: str = "", kind: type[GraphcError] = ShapeError):
        super().__init__(message)
        self.message, self.fix, self.kind = message, fix, kind


@dataclass(frozen=True)
class NoGradient:
    """The value of a gradient that does not exist, and why (an integer input, a comparison ...)."""

    reason: str
