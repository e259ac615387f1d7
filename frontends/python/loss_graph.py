"""Model and loss in training mode as one graph: what `graphc.step.step_graph` makes a training step of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphc.errors import ShapeError, UsageError
from graphc.frontends.python.tracer import InputType, Ranges, name_of, trace_twice
from graphc.ir.graph import Graph
from graphc.nn import Module
from graphc.source import user_span
from graphc.tensor import Tensor


def loss_graph(
    model: Module,
    loss: Callable[..., Any],
    inputs: Mapping[str, InputType],
    targets: Mapping[str, InputType],
    *,
    dims: Ranges | None = None,
) -> tuple[Graph, dict[str, str]]:
    """The graph of `loss(model(inputs), targets)`, and its outputs that are new values of buffers, by output name.

    The first output is `loss`.  A model that draws random numbers has one more input, `seed`.  Each module behaves as
    its own `training` says, so a frozen `bn.eval()` stays frozen.  Raises ShapeError when the loss is not one number.
    """
    clash = sorted(set(inputs) & set(targets))
    if clash:
        raise UsageError(
            f"an input and a target are both called {clash[0]}",
            span=user_span(),
            fix="give the target another name",
        )

    def forward_and_loss(**tensors: Any) -> dict[str, Any]:
        outputs = model(**{name: tensors[name] for name in inputs})
        given = outputs if isinstance(outputs, tuple) else (outputs,)
        value = loss(*given, *(tensors[name] for name in targets))
        if not isinstance(value, Tensor) or value.ndim != 0 or not value.type.dtype.is_float:
            shown = str(value.type) if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(f"the loss is {shown}, not one number", span=user_span(), fix='reduction="mean"')
        return {"loss": value}

    graph = trace_twice(
        forward_and_loss, model, model, {**inputs, **targets}, dims=dims, training=True, name=name_of(model)
    )
    buffers = {name for name, _ in model.named_buffers()}
    return graph, {
        name: buffer for name in graph.output_names if (buffer := name.removeprefix("new.")) in buffers
    }
