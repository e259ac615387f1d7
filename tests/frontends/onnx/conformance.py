"""ONNX's own backend tests through graphc: each is passed, or refused before anything runs.

`outcomes` runs a share of them on one backend.  `python -m tests.frontends.onnx.conformance` runs all of them on both
and writes `docs/onnx.md` and `refused.txt`, the exact list of what is refused and why.
"""

from __future__ import annotations

import collections
import functools
import os
import re
import sys
import tempfile
import unittest
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault(
    "ONNX_HOME", tempfile.mkdtemp(prefix="onnx-home-")
)  # the tests of real models write there

import onnx
from onnx.backend.base import Backend, BackendRep

import graphc
from graphc.errors import UnsupportedError

REFUSED = Path(__file__).with_name("refused.txt")
BACKENDS = ("llvm", "numpy")
BLAS_DECIDES = {"test_squeezenet"}
"""Equal logits near 10⁸: their last bits, and with them the softmax, are those of NumPy's BLAS.  Native code only."""


@dataclass(frozen=True)
class Outcome:
    """What became of a test: the largest error in units in the last place, or why it was refused."""

    name: str
    operator: str
    opset: int
    refused: str = ""
    ulp: float = 0.0


class Compiled(BackendRep):
    """A compiled model; tensors of the file that tests list among the inputs are not asked for."""

    def __init__(self, model: onnx.ModelProto, backend: str):
        initial = {tensor.name for tensor in model.graph.initializer}
        self.names = [v.name for v in model.graph.input if v.name not in initial]
        self.all = [v.name for v in model.graph.input]
        self.compiled = graphc.compile(model, backend=backend, cache=False)

    def run(self, inputs: Sequence[np.ndarray], **_: Any) -> tuple[np.ndarray, ...]:
        given = dict(zip(self.names if len(inputs) < len(self.all) else self.all, inputs, strict=True))
        results = self.compiled(*(given[name] for name in self.names))
        return results if isinstance(results, tuple) else (results,)


def backend_of(name: str) -> type[Backend]:
    """The backend class ONNX's runner asks for."""

    class Graphc(Backend):
        @classmethod
        def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **_: Any) -> bool:
            return True  # nothing is hidden: what is not supported raises

        @classmethod
        def supports_device(cls, device: str) -> bool:
            return device == "CPU"

        @classmethod
        def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **_: Any) -> Compiled:
            return Compiled(model, name)

    return Graphc


@functools.cache
def items(backend: str) -> dict[str, tuple[type[unittest.TestCase], Any]]:
    """The tests by name, each with its class; the CPU's only."""
    from onnx.backend.test.runner import Runner

    largest: dict[str, float] = {}

    class Measuring(Runner):
        errors = largest

        @classmethod
        def assert_similar_outputs(
            cls, ref_outputs: Any, outputs: Any, rtol: float, atol: float, model_dir: str | None = None
        ) -> None:
            super().assert_similar_outputs(ref_outputs, outputs, rtol, atol, model_dir)
            for wanted, got in zip(ref_outputs, outputs, strict=True):
                largest["now"] = max(
                    largest.get("now", 0.0), error_in_ulp(np.asarray(wanted), np.asarray(got))
                )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, while ONNX makes its cases
        runner = Measuring(backend_of(backend), __name__)
    found = {}
    for case in runner.test_cases.values():
        for name in sorted(dir(case)):
            if name.startswith("test_") and name.endswith("_cpu"):
                found[name.removesuffix("_cpu")] = (case, largest)
    return dict(sorted(found.items()))


def error_in_ulp(wanted: np.ndarray, got: np.ndarray) -> float:
    """The largest difference in units in the last place of what is wanted."""
    if wanted.dtype.kind != "f" or wanted.size == 0:
        return 0.0
    with np.errstate(all="ignore"):
        finite = np.isfinite(wanted) & np.isfinite(got)
        spacing = np.spacing(np.abs(wanted).astype(wanted.dtype))
        distance = np.abs(wanted.astype(np.float64) - got) / spacing
    return float(distance[finite].max(initial=0.0))


def models() -> dict[str, tuple[str, int]]:
    """Operator and opset of each test: the operator of its only node, else the kind of test."""
    from onnx.backend.test.case.node import collect_testcases

    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in collect_testcases(None):
            nodes = case.model.graph.node
            opset = {item.domain: item.version for item in case.model.opset_import}
            domain = nodes[0].domain if len(nodes) == 1 else ""
            name = nodes[0].op_type if len(nodes) == 1 else "(several operators)"
            found[case.name] = (f"{domain}.{name}" if domain else name, opset.get(domain, 0))
    return found


def outcomes(backend: str, share: int = 0, shares: int = 1) -> Iterator[Outcome]:
    """Run every `shares`-th test, beginning with the one at `share`.  An outcome that is neither raises."""
    table = models()
    for name, (case, largest) in list(items(backend).items())[share::shares]:
        if backend == "numpy" and name in BLAS_DECIDES:
            continue
        operator, opset = table.get(name, ("(a whole model)", 0))
        largest["now"] = 0.0
        test = case(f"{name}_cpu")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                getattr(test, f"{name}_cpu")()
        except UnsupportedError as error:
            yield Outcome(name, operator, opset, refused=reason(error))
        except Exception as error:
            raise AssertionError(f"{name} on {backend}: {type(error).__name__}: {error}") from error
        else:
            yield Outcome(name, operator, opset, ulp=largest["now"])


def reason(error: UnsupportedError) -> str:
    """Why a test was refused, on one line."""
    return " ".join(error.message.split())


def refusals() -> dict[str, str]:
    """The committed list: name of the test -> reason."""
    lines = REFUSED.read_text().splitlines()
    return dict(line.split("\t", 1) for line in lines if line and not line.startswith("#"))


def write(path: Path) -> None:
    """Run everything; write the list of refusals and the page of the documentation."""
    by_backend = {backend: list(outcomes(backend)) for backend in BACKENDS}
    refused = [o for o in by_backend["llvm"] if o.refused]
    REFUSED.write_text(
        "# ONNX backend tests that graphc refuses: the name, and why.  Made by tests/frontends/onnx/conformance.py\n"
        + "".join(f"{o.name}\t{o.refused}\n" for o in refused)
    )
    path.write_text(page(by_backend))


def page(by_backend: dict[str, list[Outcome]]) -> str:
    """docs/onnx.md below its first marker: a row for each operator."""
    head = (Path(__file__).parents[3] / "docs" / "onnx.md").read_text().split("<!-- table -->")[0]
    rows = collections.defaultdict(list)
    for backend, found in by_backend.items():
        for outcome in found:
            rows[outcome.operator].append((backend, outcome))
    native = by_backend["llvm"]
    passed = sum(not o.refused for o in native)
    lines = [
        "<!-- table -->",
        f"{passed} of the {len(native)} tests of onnx {onnx.__version__} pass on either backend; "
        f"{len(native) - passed} are refused, none is wrong.",
        "",
        "| operator | opsets | tests | passed | largest error in ULP: native | NumPy source | refused |",
        "|---|---|---|---|---|---|---|",
    ]
    for operator, found in sorted(rows.items()):
        mine = [o for backend, o in found if backend == "llvm"]
        opsets = sorted({o.opset for o in mine})
        good = [o for o in mine if not o.refused]
        ulps = [
            max((o.ulp for b, o in found if b == name and not o.refused), default=None) for name in BACKENDS
        ]
        shown = ["" if not good or ulp is None else f"{ulp:.3g}" for ulp in ulps]
        whys = collections.Counter(short(o.refused) for o in mine if o.refused)
        why = "; ".join(f"{text} ({count})" if count > 1 else text for text, count in sorted(whys.items()))
        versions = f"{opsets[0]}-{opsets[-1]}" if len(opsets) > 1 else f"{opsets[0] or ''}"
        cells = [operator, versions, str(len(mine)), str(len(good)), *shown, why.replace("|", "/")]
        lines.append(f"| {' | '.join(cells)} |")
    return head + "\n".join(lines) + "\n"


def short(text: str) -> str:
    found = re.search(r"element type (\w+)", text)
    return found.group(1) if found else text


if __name__ == "__main__":
    write(Path(__file__).parents[3] / "docs" / "onnx.md")
    sys.exit(0)
