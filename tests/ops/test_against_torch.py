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


def running(function):
    """PyTorch's running sums are forward and inclusive: the others are those of other operands."""

    def run(x, *, axis, exclusive=False, reverse=False):
        x = x.flip(axis) if reverse else x
        if exclusive:
            one = torch.full_like(x.narrow(axis, 0, 1), 1.0 if function is torch.cumprod else 0.0)
            x = torch.cat([one, x.narrow(axis, 0, x.shape[axis] - 1)], axis)
        y = function(x, axis)
        return y.flip(axis) if reverse else y

    return run


def extend(x, *, low, high, mode):
    name = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode]
    flat = [width for pair in zip(reversed(low), reversed(high)) for width in pair]
    while len(flat) > 2 and flat[-2:] == [0, 0]:
        flat = flat[:-2]
    whole = x.reshape((1,) * (3 - x.ndim) + x.shape)
    return F.pad(whole[None] if len(flat) == 4 else whole, flat, mode=name).reshape(
        [a + n + b for n, a, b in zip(x.shape, low, high)]
    )


def resize(x, *, axes, sizes, mode="nearest", coordinates="half_pixel", **_):
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, "nearest-exact")
    corners = {"align_corners": coordinates == "align_corners"} if mode != "nearest-exact" else {}
    return F.interpolate(x, size=sizes, mode=mode, **corners)


def scatter_nd(x, indices, updates, *, how):
    parts = tuple(indices[..., i].long() % x.shape[i] for i in range(indices.shape[-1]))
    return torch.index_put(x, parts, updates, accumulate=how == "add")


def put_elements(x, indices, updates, *, axis, how):
    places = indices.long() % x.shape[axis]
    return x.scatter_add(axis, places, updates) if how == "add" else x.scatter(axis, places, updates)


def linear_recurrence(a, b, *, axis, reverse=False):
    a, b = (torch.unbind(v.flip(axis) if reverse else v, axis) for v in (a, b))
    h = [b[0]]
    for factor, term in zip(a[1:], b[1:]):
        h.append(factor * h[-1] + term)
    y = torch.stack(h, axis)
    return y.flip(axis) if reverse else y


TORCH = {
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "atan2": torch.atan2,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "asinh": torch.asinh,
    "acosh": torch.acosh,
    "atanh": torch.atanh,
    "exp2": torch.exp2,
    "log2": torch.log2,
    "remainder": torch.remainder,
    "fmod": torch.fmod,
    "prod": lambda x, *, axes: torch.prod(
        x.permute(*(i for i in range(x.ndim) if i not in axes), *axes).flatten(x.ndim - len(axes)), -1
    ),
    "cumsum": running(torch.cumsum),
    "cumprod": running(torch.cumprod),
    "linear_recurrence": linear_recurrence,
    "sort": lambda x, *, axis, descending=False: torch.sort(x, dim=axis, descending=descending, stable=True)[
        0
    ],
    "topk": lambda x, *, k, axis, largest: torch.topk(x, k, dim=axis, largest=largest),
    "extend": extend,
    "resize": resize,
    "triangle": lambda x, *, diagonal=0, upper=True: (
        torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)
    ),
    "scatter_nd": scatter_nd,
    "put_elements": put_elements,
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
HALF_PIXEL = {"nearest": ("half_pixel",), "linear": ("half_pixel", "align_corners")}
HALF_PIXEL["cubic"] = HALF_PIXEL["linear"]


def same_resize(case):
    a = case.attributes
    mode, coordinates = a.get("mode", "nearest"), a.get("coordinates", "half_pixel")
    images = len(case.arrays[0].shape) == 4 and coordinates in HALF_PIXEL[mode]
    return images and a.get("nearest", "round").startswith("round")


UNLIKE = {  # samples PyTorch has another rule for
    "prod": lambda case: case.attributes["axes"] != (),
    "extend": lambda case: case.attributes["mode"] != "symmetric",
    "resize": same_resize,
    "remainder": lambda case: case.arrays[0].dtype == np.float64,
    "fmod": lambda case: case.arrays[0].dtype == np.float64,
    "sort": lambda case: case.arrays[0].dtype == np.float64,
    "topk": lambda case: case.arrays[0].dtype == np.float64,
    "scatter_nd": lambda case: case.attributes["how"] == "add",
    "put_elements": lambda case: case.attributes["how"] == "add",
    "linear_recurrence": lambda case: np.isfinite(case.arrays[0]).all() and case.arrays[0].shape[1:] != (1,),
    "max_pool": even,
    "avg_pool": even,
    "mean": lambda case: case.attributes["axes"] != (),  # an empty tuple means all axes there
    "variance": lambda case: case.attributes["axes"] != (),
    "logsumexp": lambda case: case.attributes["axes"] != (),
}


def samples():
    for name in TORCH:
        kept = [c for c in declared(REGISTRY[name]) if name not in UNLIKE or UNLIKE[name](c)]
        assert len(kept) >= 3
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
