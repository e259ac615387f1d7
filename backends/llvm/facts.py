"""What loading and saving a compiled model need to know of it, in a form that fits into a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphc.backends.llvm.signature import Array, Signature, signature_of
from graphc.ir.dims import Dim, parse_dim


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of a module of native code.

    signature      what it takes and gives
    weights_bytes  of its weights as it reads them
    identity       the number that names their layout; None for code that changes its weights
    needs          bytes of the workspace for each unit
    verdict        what the plan says of its arena
    """

    signature: Signature
    weights_bytes: int
    identity: int | None
    needs: Mapping[Dim, int]
    verdict: str

    def to_json(self) -> str:
        s = self.signature
        return json.dumps(
            {
                "name": s.name,
                "inputs": [_written(array) for array in s.inputs],
                "outputs": [_written(array) for array in s.outputs],
                "ranges": s.ranges,
                "nanoseconds": s.nanoseconds,
                "needs": {str(unit): count for unit, count in self.needs.items()},
                "weights_bytes": self.weights_bytes,
                "identity": self.identity,
                "verdict": self.verdict,
            }
        )


def facts_from_json(text: str | bytes) -> Facts:
    """The facts `to_json` wrote."""
    given = json.loads(text)
    needs: dict[Dim, int] = {parse_dim(unit): count for unit, count in given["needs"].items()}
    inputs, outputs = (tuple(map(_read, given[key])) for key in ("inputs", "outputs"))
    fixed, each = given["nanoseconds"]
    signature = signature_of(given["name"], inputs, outputs, needs, given["ranges"], (fixed, each))
    return Facts(signature, given["weights_bytes"], given["identity"], needs, given["verdict"])


def _written(array: Array) -> list[Any]:
    return [array.name, array.dtype, [d if isinstance(d, int) else str(d) for d in array.dims]]


def _read(written: list[Any]) -> Array:
    name, dtype, dims = written
    return Array(name, dtype, tuple(dims))
