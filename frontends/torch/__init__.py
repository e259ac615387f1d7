"""The PyTorch frontend: a `torch.nn.Module` becomes a graph through `torch.export`.

Names and module paths are PyTorch's, lines are those of the module's source, weights are shared without a copy.
It needs the extra `graphc[torch]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import MissingToolError

if TYPE_CHECKING:
    from graphc.ir.graph import Graph
    from graphc.ir.types import TensorType

__all__ = ["load", "node_values", "run_module"]


def load(
    module: Any,
    inputs: Mapping[str, str | TensorType] | None = None,
    *,
    dims: Mapping[str, tuple[int, int | None]] | None = None,
    name: str = "",
) -> Graph:
    """The graph of a `torch.nn.Module`, or of a `torch.export.ExportedProgram`.

    inputs   types by name, as {"x": "float32[N,3,224,224]"}, in the order of `forward`; an exported program has its own
    dims     the range of a size left open

    A module in training mode keeps the behaviour of training: batch normalisation takes the statistics of the batch,
    and its new running statistics are further outputs.  Call `module.eval()` for inference.

    Raises UnsupportedError, at the user's line, for an operator graphc has not; ModelError when `torch.export` refuses
    the module; MissingToolError without PyTorch.
    """
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingToolError("a PyTorch module needs PyTorch", fix="pip install 'graphc[torch]'") from None
    from graphc.frontends.torch.exporting import exported
    from graphc.frontends.torch.replay import replay
    from graphc.ir.types import parse_type

    types = {key: parse_type(t) if isinstance(t, str) else t for key, t in (inputs or {}).items()}
    program, names = exported(module, types, dict(dims or {}))
    return replay(program, types, names, dict(dims or {}), name or type(module).__name__)


def run_module(module: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a PyTorch module for arrays, as PyTorch computes them."""
    import torch

    with torch.no_grad():
        result = module(*(torch.from_numpy(array) for array in arrays))
    outputs = result if isinstance(result, (tuple, list)) else (result,)
    return [output.numpy() for output in outputs]


def node_values(
    module: Any,
    inputs: Mapping[str, str | TensorType] | None,
    dims: Mapping[str, tuple[int, int | None]] | None,
    arrays: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """What PyTorch computes for each value of the graph that `load` makes, by the value's name."""
    from graphc.frontends.torch.exporting import exported
    from graphc.frontends.torch.replay import computed
    from graphc.ir.types import parse_type

    types = {key: parse_type(t) if isinstance(t, str) else t for key, t in (inputs or {}).items()}
    program, names = exported(module, types, dict(dims or {}))
    return computed(program, types, names, dict(dims or {}), arrays)
