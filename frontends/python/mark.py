"""`@graphc.model`: says which object of a file is the model, and with which inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

T = TypeVar("T")
ATTRIBUTE = "__graphc_model__"


@dataclass(frozen=True, slots=True)
class Mark:
    """What stands in the brackets of `@graphc.model(...)`."""

    inputs: Mapping[str, Any] | None = None
    dims: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None


@overload
def model(marked: T, /) -> T: ...
@overload
def model(
    *, inputs: Mapping[str, Any] | None = ..., dims: Mapping[str, Any] | None = ..., weights: str | None = ...
) -> Callable[[T], T]: ...


def model(
    marked: Any = None,
    /,
    *,
    inputs: Mapping[str, Any] | None = None,
    dims: Mapping[str, Any] | None = None,
    weights: str | None = None,
) -> Any:
    """Mark a function, a Module or a Module class as the model of its file; it stays what it is.

    >>> @model(inputs={"x": "float32[N,784]"})
    ... def classify(x):
    ...     return x.max(axis=1)
    >>> mark_of(classify).inputs
    {'x': 'float32[N,784]'}
    """

    def put(target: Any) -> Any:
        # A Module's own __setattr__ keeps parameters and children; this is neither.
        setter = setattr if isinstance(target, type) else object.__setattr__
        setter(target, ATTRIBUTE, Mark(inputs, dict(dims or {}), weights))
        return target

    return put if marked is None else put(marked)


def mark_of(candidate: Any) -> Mark | None:
    """The mark on the object itself; a subclass or an instance does not inherit its class's."""
    try:
        mark = vars(candidate).get(ATTRIBUTE)
    except TypeError:  # no __dict__: a number, a string
        return None
    return mark if isinstance(mark, Mark) else None
