"""graphc: a computation-graph compiler and visualizer.

Models are traced into a static graph; passes differentiate, fuse and plan memory; backends
emit readable NumPy source or native code; Graphviz draws the forward and the backward graph.
"""

import importlib
import sys
import types
from pathlib import Path

__version__ = "0.1.0"

# In a checkout `graphc.frontends` and `graphc.backends` are the top-level folders beside this
# package; an installed wheel holds them inside it.  Without this line `python -m pytest` in a
# checkout would find neither.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "setup.cfg").is_file():
    __path__.append(str(_checkout))

from graphc import edition  # noqa: E402, F401, I001  (first: it notes when)
from graphc import data, nn, ops, optim  # noqa: E402  (importing `ops` registers every op)
from graphc.errors import GraphcError  # noqa: E402
from graphc.ir.graph import Graph  # noqa: E402
from graphc.tensor import Tensor, tensor  # noqa: E402

# Where the other public names live; each is imported when it is first asked for.
_LATER = {
    "Executable": "graphc.executable",
    "as_module": "graphc.frontends.python.function_module",
    "cat": "graphc.nn.functional",
    "compile": "graphc.api",
    "compile_step": "graphc.training",
    "concatenate": "graphc.tensor.functions",
    "differentiate": "graphc.api",
    "explain": "graphc.api",
    "grad": "graphc.transforms",
    "gradcheck": "graphc.checking",
    "hessian": "graphc.transforms",
    "interpret": "graphc.interpret",
    "jit": "graphc.transforms",
    "jvp": "graphc.transforms",
    "load": "graphc.artefact",
    "manual_seed": "graphc.nn.init",
    "model": "graphc.frontends.python.mark",
    "ones": "graphc.nn.creation",
    "rand": "graphc.nn.creation",
    "randn": "graphc.nn.creation",
    "render": "graphc.api",
    "scan": "graphc.tensor.control",
    "set_engine": "graphc.engine",
    "stack": "graphc.tensor.functions",
    "stop_gradient": "graphc.transforms",
    "summary": "graphc.api",
    "to_networkx": "graphc.ir.analysis",
    "trace": "graphc.api",
    "train": "graphc.train",
    "value_and_grad": "graphc.transforms",
    "vjp": "graphc.transforms",
    "vmap": "graphc.transforms",
    "where": "graphc.tensor.functions",
    "zeros": "graphc.nn.creation",
}

__all__ = ["Graph", "GraphcError", "Tensor", "__version__", "data", "nn", "ops", "optim", "tensor"]
__all__ += list(_LATER)


class _Package(types.ModuleType):
    """Importing `graphc.interpret` the module must not hide `graphc.interpret` the function."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _LATER and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def _shown_in_notebook(graph: Graph, **_: object) -> dict[str, str]:
    from graphc.view.notebook import mime_bundle

    return mime_bundle(graph)


setattr(Graph, "_repr_mimebundle_", _shown_in_notebook)  # noqa: B010  (here, because the IR knows no pictures)


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"graphc has no {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
    return value
