"""Trees of arrays: nested tuples, lists and dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def leaves_of(tree: Any) -> list[Any]:
    """The arrays of nested tuples, lists and dictionaries, in order."""
    match tree:
        case dict():
            return [leaf for key in tree for leaf in leaves_of(tree[key])]
        case tuple() | list():
            return [leaf for part in tree for leaf in leaves_of(part)]
    return [tree]


def like(tree: Any, leaves: Sequence[Any]) -> Any:
    """Other arrays in the shape of a tree."""
    remaining = iter(leaves)

    def build(part: Any) -> Any:
        match part:
            case dict():
                return {key: build(value) for key, value in part.items()}
            case tuple() if hasattr(part, "_fields"):
                return type(part)(*(build(value) for value in part))
            case tuple() | list():
                return type(part)([build(value) for value in part])
        return next(remaining)

    return build(tree)
