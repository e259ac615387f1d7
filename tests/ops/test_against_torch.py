"""Values and gradients against PyTorch, in float64, up to what rounding explains."""

import numpy as np
import pytest

from graphc.autodiff import differentiate
from graphc.interpret import interpret
from graphc.ir.op import REGISTRY
from tests.ops.sampling import declared

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
F = torch.nn.functional


def even(case):
    """PyTorch pads both sides alike, and by at most half a window."""
    kernel = case.attributes["kernel"]
    return all(low == high <= k // 2 for (low, high), k in zip(case.attributes["padding"], kernel))


def pads(padding):
    return [width for pair in reversed(padding) for width in pair]


def conv(x, w, *, strides, padding, dilation, groups):
    function = (F.conv1d, F.conv2d, F.conv3d)[x.ndim - 3]
    return function(F.pad(x, pads(padding)), w, stride=strides, dilation=dilation, groups=groups)


def conv_dx(c, w, *, size, strides, padding, dilation, groups):
    x = torch.zeros(c.shape[0], w.shape[1] * groups, *size, dtype=c.dtype, requires_grad=True)
    y = conv(x, w, strides=strides, padding=padding, dilation=dilation, groups=groups)
    return torch.autograd.grad(y, x, c, create_graph=True)[0]


def conv_dw(x, c, *, kernel, strides, padding, dilation, groups):
    w = torch.zeros(c.shape[1], x.shape[1] // groups, *kernel, dtype=c.dtype, requires_grad=True)
    y = conv(x, w, strides=strides, padding=padding, dilation=dilation, groups=groups)
    return torch.autograd.grad(y, w, c, create_graph=True)[0]


def max_pool(x, *, kernel, strides, padding, dilation, ceil):
    function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[x.ndim - 3]
    return function(x, kernel, strides, [low for low, _ in padding], dilation, ceil, return_indices=True)


def avg_pool(x, *, kernel, strides, padding, ceil, count_include_pad):
    function = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.ndim - 3]
    return function(x, kernel, strides, [low for low, _ in padding], ceil, count_include_pad)


def batch_norm_train(x, scale, shift, mean, variance, *, epsilon, momentum):
    mean, variance = mean.detach().clone(), variance.detach().clone()
    y = F.batch_norm(x, mean, variance, scale, shift, training=True, momentum=momentum, eps=epsilon)
    return y, mean, variance


def layer_norm(x, *affine, axis, epsilon):
    return F.layer_norm(x, x.shape[axis:], *affine, eps=epsilon)


def variance(x, *, axes, correction):
    return torch.var(x, dim=axes, correction=correction)


def gather_elements(x, indices, *, axis):
    return torch.take_along_dim(x, (indices % x.shape[axis]).long(), axis)


TORCH = {
    "conv": conv,
    "conv_dx": conv_dx,
    "conv_dw": conv_dw,
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "batch_norm_train": batch_norm_train,
    "batch_norm": lambda x, scale, shift, mean, variance, *, epsilon: F.batch_norm(
        x, mean.detach(), variance.detach(), scale, shift, eps=epsilon
    ),
    "layer_norm": layer_norm,
    "linear": F.linear,
    "softmax": lambda x, *, axis: F.softmax(x, dim=axis),
    "log_softmax": lambda x, *, axis: F.log_softmax(x, dim=axis),
    "logsumexp": lambda x, *, axes: torch.logsumexp(x, dim=axes),
    "mean": lambda x, *, axes: torch.mean(x, dim=axes),
    "variance": variance,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": F.softplus,
    "elu": lambda x, *, alpha: F.elu(x, alpha),
    "leaky_relu": lambda x, *, slope: F.leaky_relu(x, slope),
    "cross_entropy": lambda x, labels, *, reduction: F.cross_entropy(x, labels.long(), reduction=reduction),
    "nll_loss": lambda x, labels, *, reduction: F.nll_loss(x, labels.long(), reduction=reduction),
    "mse_loss": F.mse_loss,
    "binary_cross_entropy": F.binary_cross_entropy,
    "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
    "gather_elements": gather_elements,
    "matmul": lambda x, w, *, transpose_x, transpose_w: torch.matmul(
        x.mT if transpose_x else x, w.mT if transpose_w else w
    ),
}
UNLIKE = {  # samples PyTorch has another rule for
    "max_pool": even,
    "avg_pool": even,
    "mean": lambda case: case.attributes["axes"] != (),  # an empty tuple means all axes there
    "variance": lambda case: case.attributes["axes"] != (),
    "logsumexp": lambda case: case.attributes["axes"] != (),
}


def samples():
    for name in TORCH:
        kept = [c for c in declared(REGISTRY[name]) if name not in UNLIKE or UNLIKE[name](c)]
        assert len(kept) >= 4
        yield from (pytest.param(case, id=case.id) for case in kept if all(a.size for a in case.arrays))


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", list(samples()))
def test_values_and_gradients(case):
    rng = np.random.default_rng(131)
    tensors = [torch.tensor(a.astype(np.int64) if a.dtype.kind in "iu" else a) for a in case.arrays]
    floats = [i for i, t in enumerate(tensors) if t.is_floating_point()]
    for i in floats:
        tensors[i].requires_grad_(True)
    theirs = TORCH[case.op.name](*tensors, **case.attributes)
    theirs = theirs if isinstance(theirs, tuple) else (theirs,)
    ours = interpret(case.graph, case.arrays)
    for mine, other in zip(ours, theirs, strict=True):
        close(mine, other)
    if case.op.name.startswith("batch_norm"):
        floats = floats[:3]  # PyTorch does not differentiate by running statistics
    names = [f"x{i}" for i in floats]
    gradient = differentiate(case.graph, names, of="y0", keep_outputs=False)
    seeds = [rng.normal(size=v.type.shape) for v in gradient.inputs[len(case.arrays) :]]
    expected = torch.autograd.grad(
        theirs[0], [tensors[i] for i in floats], torch.tensor(seeds[0]) if seeds else None, allow_unused=True
    )
    for mine, other in zip(interpret(gradient, [*case.arrays, *seeds]), expected, strict=True):
        close(mine, other)


def test_indices_agree_on_ties_and_nan_wins():
    x = np.array([[[1.0, 3.0, 3.0, np.nan, 2.0, 5.0]]])
    attributes = {"kernel": (3,), "strides": (1,), "padding": ((0, 0),), "dilation": (1,), "ceil": False}
    y, index = REGISTRY["max_pool"].reference(x, **attributes)
    theirs, positions = max_pool(torch.tensor(x), **attributes)
    np.testing.assert_array_equal(y, theirs.numpy())
    np.testing.assert_array_equal(index, positions.numpy())
