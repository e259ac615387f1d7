"""All ops, one file a family; `ops.tanh(x)` puts a node into the graph being built.

See README.md in this folder for how to add one.
"""

from graphc.ir.op import REGISTRY, Op
from graphc.ops import (  # noqa: F401  (importing a file registers its ops)
    activation,
    bits,
    borders,
    control,
    convolution,
    creation,
    elementwise,
    indexing,
    linalg,
    loss,
    movement,
    normalization,
    pooling,
    random,
    reduction,
    resampling,
    rounding,
    scattering,
    sequential,
    statistics,
    trigonometry,
)


def __getattr__(name: str) -> Op:
    try:
        return REGISTRY[name.rstrip("_")]
    except KeyError:
        raise AttributeError(f"there is no op {name!r}") from None
