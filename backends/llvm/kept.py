"""Whole compiled models in the cache, under what decides them: the graph as traced, its arrays, the machine, and us.

The key is known before any pass runs, so a model that was compiled before is there after tracing it and reading its
weights once.  What no key can tell is left to the slow road: ops that are not graphc's own, and sources of graphc that
changed after it was imported.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from graphc.backends.llvm.cache import Cache
from graphc.backends.llvm.cache import key as cache_key
from graphc.backends.llvm.digest import digest
from graphc.backends.llvm.facts import facts_from_json
from graphc.backends.llvm.runnable import Executable, Origin
from graphc.backends.llvm.signature import ABI_VERSION
from graphc.backends.llvm.target import Target, llvm_version
from graphc.edition import edition
from graphc.ir.graph import Graph, Node
from graphc.ir.printer import print_graph

_LENGTHS = struct.Struct("<3Q")
LARGEST = 3  # one model may take a third of the cache


def model_key(graph: Graph, target: Target, options: Sequence[object]) -> str | None:
    """The hash of everything that decides what a graph is compiled to; None when that cannot be told.

    options   whatever else the caller has a choice of
    """
    ours = edition(Path(__file__).parent)
    if ours is None or not all(node.op.is_our_own for node in _nodes(graph)):
        return None
    versions = (ours, np.__version__, llvm_version(), sys.version, ABI_VERSION)
    return cache_key(
        "model", repr((versions, target, tuple(options))), print_graph(graph), _arrays(graph.data)
    )


def kept(
    cache: Cache, key: str, public: Mapping[str, np.ndarray], target: Target, make: Callable[[], Origin]
) -> Executable | None:
    """The model that is kept under a key; `make` gives what it was compiled from, should somebody ask."""
    content = cache.get_array(key)
    if content is None:
        return None
    weights, image, facts = _LENGTHS.unpack_from(content.data, len(content) - _LENGTHS.size)
    assert weights + image + facts + _LENGTHS.size == len(content)
    code = content[weights : weights + image].tobytes()
    text = content[weights + image : weights + image + facts].tobytes()
    return Executable(facts_from_json(text), target, code, public, make, content[:weights])


def keep(cache: Cache, key: str, model: Executable) -> None:
    """Store a model, unless it is large for the cache."""
    text = model.facts.to_json().encode()
    weights = model.packed
    if len(weights) * LARGEST <= cache.limit and facts_from_json(text) == model.facts:
        lengths = _LENGTHS.pack(len(weights), len(model.image), len(text))
        cache.put(key, weights.data, model.image, text, lengths)


def _arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The hash of arrays with their names, dtypes and shapes."""
    contents = [np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data for name in sorted(arrays)]
    about = repr([(name, arrays[name].dtype.str, arrays[name].shape) for name in sorted(arrays)])
    return digest(about.encode(), *contents)


def _nodes(graph: Graph) -> list[Node]:
    """The nodes of a graph and of the bodies in it, however deep."""
    found = list(graph.nodes)
    for node in found:
        found += [inner for body in node.bodies for inner in body.nodes]
    return found
