"""Layers as functions, with PyTorch's names, arguments and defaults.

Images are [N, C, H, W], sequences [N, C, L]; a weight of a convolution is [out, in/groups, *kernel].
"""

from graphc.nn.functional.activations import elu, gelu, hardtanh, leaky_relu, maxout, relu6, silu, softplus
from graphc.nn.functional.adaptive import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
)
from graphc.nn.functional.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from graphc.nn.functional.dot_product import attention, scaled_dot_product_attention
from graphc.nn.functional.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    hinge_loss,
    l1_loss,
    mse_loss,
    multi_margin_loss,
    nll_loss,
)
from graphc.nn.functional.maps import bilinear, embedding, linear, one_hot
from graphc.nn.functional.normalization import (
    batch_norm,
    dropout,
    group_norm,
    layer_norm,
    local_response_norm,
    move,
    normalize,
)
from graphc.nn.functional.padding import pad
from graphc.nn.functional.pooling import (
    avg_pool1d,
    avg_pool2d,
    lp_pool2d,
    max_pool1d,
    max_pool2d,
    min_pool2d,
)
from graphc.nn.functional.resizing import interpolate
from graphc.nn.functional.sizes import Sizes, spread
from graphc.tensor.functions import concatenate as cat
from graphc.tensor.functions import flatten, log_softmax, relu, sigmoid, softmax, tanh

__all__ = [
    "Sizes",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "attention",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "bilinear",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cat",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "flatten",
    "gelu",
    "group_norm",
    "hardtanh",
    "hinge_loss",
    "interpolate",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "log_softmax",
    "lp_pool2d",
    "max_pool1d",
    "max_pool2d",
    "maxout",
    "min_pool2d",
    "move",
    "mse_loss",
    "multi_margin_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "relu",
    "relu6",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "spread",
    "tanh",
]
