"""Random valid graphs with inputs that give finite numbers, for differential tests of passes and backends.

    case = random_case(seed)        case.graph, case.inputs; the arrays of parameters stand in case.graph.data

A graph is built step by step while its values are computed, so a step whose result would be infinite, NaN or large
is left behind as dead code instead of being read on.  Some steps add what an optimiser should remove: repeated work,
pairs that cancel, multiplication by one, slices put together again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphc import ops
from graphc.autodiff import NotDifferentiable, differentiate
from graphc.errors import GraphcError
from graphc.interpret import run_node
from graphc.ir.builder import Builder, broadcast_shapes
from graphc.ir.dims import Dim, product, substitute, symbol
from graphc.ir.graph import Graph, Value
from graphc.ir.op import REGISTRY, TypeRuleError
from graphc.ir.types import DType, TensorType, bool_, float32, float64, int32, int64, uint64

LARGEST = 50.0  # absolute value of anything that is read on
MOST = 300  # elements


@dataclass(frozen=True)
class Case:
    """A graph and arrays for its inputs, by name.  `seed` makes it again."""

    seed: int
    graph: Graph
    inputs: dict[str, np.ndarray] = field(repr=False)


def random_case(seed: int, nodes: tuple[int, int] = (5, 60), *, gradient: bool | None = None) -> Case:
    """A valid random graph; with `gradient` (default: one in three) forward and backward in one.

    >>> random_case(3).graph.name
    'random3'
    """
    return build_case(seed, nodes, gradient, Maker, f"random{seed}")


def build_case(
    seed: int, nodes: tuple[int, int], gradient: bool | None, kind: type[Maker], name: str
) -> Case:
    rng = np.random.default_rng(seed)
    wanted = int(rng.integers(*nodes, endpoint=True))
    backward = bool(rng.random() < 1 / 3) if gradient is None else gradient
    maker = kind(rng, name)
    with maker.builder, np.errstate(all="ignore"):
        for _ in range(int(rng.integers(1, 4))):
            maker.new_leaf("input")
        attempts = 0
        while len(maker.builder.nodes) < wanted and attempts < 8 * wanted:
            attempts += 1
            maker.step()
        graph = maker.finish(backward)
    if backward:
        graph = with_gradient(graph, [v.name for v in maker.float_leaves()][:4])
    return Case(seed, graph, {v.name: maker.arrays[v] for v in graph.inputs})


def with_gradient(graph: Graph, names: list[str], of: str | None = None) -> Graph:
    """Forward and backward, by those of the values that have a gradient."""
    found = []
    for name in names:
        try:
            differentiate(graph, [name], of=of)
        except NotDifferentiable:
            continue
        found.append(name)
    return differentiate(graph, found, of=of) if found else graph


@dataclass
class Maker:
    """A graph being built, the arrays of its values, and the pool of values that may be read on."""

    rng: np.random.Generator
    name: str

    def __post_init__(self) -> None:
        self.builder = Builder(self.name)
        self.arrays: dict[Value, np.ndarray] = {}
        self.pool: list[Value] = []
        self.data: dict[str, np.ndarray] = {}
        self.float = float32 if self.rng.random() < 0.5 else float64
        self.batch = int(self.rng.integers(1, 5))
        self.symbolic = self.rng.random() < 0.6
        self.bindings = {"N": self.batch}
        self.done = 0

    most = MOST

    @property
    def steps(self) -> Any:
        return STEPS

    # leaves

    def new_leaf(
        self, kind: Any, shape: tuple[Dim, ...] | None = None, dtype: DType | None = None, high: int = 3
    ) -> Value:
        dtype = dtype or self.float
        if shape is None:
            rank = int(self.rng.choice([1, 2, 2, 3, 4]))
            shape = tuple(int(self.rng.choice([1, 2, 3, 4, 5])) for _ in range(rank))
            if self.symbolic and kind == "input":
                shape = (symbol("N"), *shape[1:])
        sizes = tuple(substitute(d, self.bindings) for d in shape)
        if dtype.is_float:
            array = self.rng.normal(size=sizes).astype(dtype.numpy)
        elif dtype == bool_:
            array = self.rng.random(sizes) < 0.5
        else:
            array = self.rng.integers(0, high, sizes).astype(dtype.numpy)
        value = self.builder.leaf(
            kind, {"input": "x", "parameter": "w", "constant": "c"}[kind], TensorType(dtype, shape)
        )
        self.arrays[value] = np.asarray(array)
        if kind != "input":
            self.data[value.name] = self.arrays[value]
        self.pool.append(value)
        return value

    def weights(self, *shape: Dim) -> Value:
        return self.new_leaf("parameter" if self.rng.random() < 0.8 else "constant", shape)

    def float_leaves(self) -> list[Value]:
        leaves = [v for kind in self.builder.leaves.values() for v in kind]
        return [v for v in leaves if v.dtype.is_float]

    # choosing

    def pick(self, accept: Callable[[Value], bool]) -> Value | None:
        """A value of the pool, rather a young one."""
        found = [v for v in self.pool if accept(v)]
        if not found:
            return None
        young = len(found) - 1 - int(self.rng.exponential(3.0))
        return found[young] if young >= 0 else found[int(self.rng.integers(len(found)))]

    def real(self, least: int = 0, most: int = 4) -> Value | None:
        return self.pick(lambda v: v.dtype == self.float and least <= v.type.rank <= most)

    def partner(self, x: Value) -> Value:
        """Another value that broadcasts with x, or a new one."""

        def fits(v: Value) -> bool:
            try:
                return v.dtype == x.dtype and product(broadcast_shapes([x.shape, v.shape])) == x.type.size
            except TypeRuleError:
                return False

        found = self.pick(fits)
        if found is not None and self.rng.random() < 0.8:
            return found
        shape = tuple(d if self.rng.random() < 0.7 and isinstance(d, int) else 1 for d in x.shape)
        return self.weights(*shape[int(self.rng.integers(0, len(shape) + 1)) :])

    def axes(self, x: Value) -> tuple[int, ...]:
        return tuple(a for a in range(x.type.rank) if self.rng.random() < 0.5)

    def axis(self, x: Value) -> int:
        return int(self.rng.integers(x.type.rank))

    def coin(self, chance: float = 0.5) -> bool:
        return bool(self.rng.random() < chance)

    def one_of(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    # building

    def step(self) -> None:
        """One step of a random kind; what it gives joins the pool when it is tame."""
        make = self.steps[int(self.rng.integers(len(self.steps)))]
        try:
            result = make(self)
        except (GraphcError, TypeRuleError):
            result = None  # these operands do not fit this op
        tame = self.evaluate()
        if isinstance(result, Value) and result in tame:
            self.pool.append(result)

    def evaluate(self) -> set[Value]:
        """Compute the nodes made since the last time; the values that are finite and small."""
        tame = set()
        for node in self.builder.nodes[self.done :]:
            operands = [self.arrays[v] for v in node.inputs]
            results = run_node(node, operands, self.bindings)
            for value, array in zip(node.outputs, results):
                self.arrays[value] = array
                small = array.dtype.kind != "f" or (
                    np.isfinite(array).all() and np.abs(array).max(initial=0) < LARGEST
                )
                if small and array.size <= self.most:
                    tame.add(value)
        self.done = len(self.builder.nodes)
        return tame

    def finish(self, number: bool) -> Graph:
        made = [v for v in self.pool if v.node is not None]
        chosen = self.choose(made or self.pool[:1])
        if number:
            chosen = [self.loss(chosen)]
            self.evaluate()
        names = [f"y{i}" for i in range(len(chosen))]
        return self.builder.finish(chosen, names, data=self.data)

    def choose(self, results: list[Value]) -> list[Value]:
        """What the graph returns."""
        count = min(len(results), int(self.rng.integers(1, 4)))
        more = (results[int(i)] for i in self.rng.integers(len(results), size=count))
        return list(dict.fromkeys([results[-1], *more]))

    def loss(self, results: list[Value]) -> Value:
        """One number that depends on everything real among the results."""
        real = [v for v in results if v.dtype == self.float] or [
            v for v in self.pool if v.dtype == self.float
        ][-1:]
        terms = [ops.sum(ops.tanh(v * 0.3), axes=tuple(range(v.type.rank))) for v in real]
        return ops.add_n(*terms) if len(terms) > 1 else terms[0]


def unary(m: Maker) -> Any:
    x = m.real()
    name = m.one_of(
        "neg",
        "abs",
        "sign",
        "exp",
        "log",
        "sqrt",
        "tanh",
        "sigmoid",
        "erf",
        "sin",
        "cos",
        "relu",
        "stop_gradient",
    )
    if x is None:
        return None
    if name in ("log", "sqrt"):
        return REGISTRY[name](ops.abs(x) + 0.5)
    return REGISTRY[name](x * 0.5 if name == "exp" and m.coin() else x)


def binary(m: Maker) -> Any:
    x = m.real()
    if x is None:
        return None
    y = m.partner(x)
    x, y = (y, x) if m.coin() else (x, y)
    match m.one_of("add", "sub", "mul", "div", "maximum", "minimum", "pow", "add_n"):
        case "div":
            return x / (ops.abs(y) + 0.5)
        case "pow":
            return ops.pow(ops.abs(x) + 0.5, ops.tanh(y))
        case "add_n":
            return ops.add_n(x, y, x)
        case name:
            return REGISTRY[name](x, y)


def with_number(m: Maker) -> Any:
    x = m.real()
    c = m.one_of(0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 0.1, 4.0, -3.0)
    if x is None:
        return None
    match m.one_of("add", "radd", "sub", "rsub", "mul", "div", "pow", "max", "min"):
        case "add":
            return x + c
        case "radd":
            return c + x
        case "sub":
            return x - c
        case "rsub":
            return c - x
        case "mul":
            return x * c
        case "div":
            return x / (c or 8.0)
        case "pow":
            return ops.pow(ops.abs(x) + 0.5, m.one_of(0.0, 1.0, 2.0, 3.0, -1.0, 0.5, 1.7))
        case "max":
            return ops.maximum(x, c)
        case "min":
            return ops.minimum(x, c)


def choice(m: Maker) -> Any:
    x = m.real()
    if x is None:
        return None
    y = m.partner(x)
    compare = REGISTRY[m.one_of("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")]
    condition = compare(x, y)
    if m.coin(0.3):
        condition = ops.logical_not(condition)
    if m.coin(0.3):
        condition = m.one_of(ops.logical_and, ops.logical_or)(condition, ops.greater(x, 0.1))
    match m.one_of("where", "bool", "number"):
        case "where":
            return ops.where(condition, x, 0.0 if m.coin() else y)
        case "bool":
            return condition
        case "number":
            return ops.cast(condition, dtype=m.float)


def casts(m: Maker) -> Any:
    x = m.pick(lambda v: True)
    if x is None:
        return None
    if x.dtype.is_float and x.dtype != m.float:
        return ops.cast(x, dtype=m.float)
    if not x.dtype.is_float:
        return ops.cast(x, dtype=m.float) * 0.3
    return ops.cast(x, dtype=m.one_of(float32, float64, int32, int64, bool_))


def integers(m: Maker) -> Any:
    x = m.pick(lambda v: v.dtype in (int32, int64)) or m.new_leaf("input", (3, 4), int64)
    match m.one_of("add", "mul", "neg", "max", "zero", "sum"):
        case "add":
            return x + 1
        case "mul":
            return x * 3 - x
        case "neg":
            return ops.neg(-x)
        case "max":
            return ops.maximum(x, 1)
        case "zero":
            return x * 0 + x
        case "sum":
            return ops.sum(x, axes=m.axes(x))


def reduction(m: Maker) -> Any:
    x = m.real(least=1)
    if x is None:
        return None
    axes = m.axes(x)
    match m.one_of(
        "sum",
        "max",
        "min",
        "mean",
        "variance",
        "logsumexp",
        "sum_squares",
        "argmax",
        "argmin",
        "keep",
        "shift",
    ):
        case "argmax" | "argmin" as name:
            return REGISTRY[name](x, axis=m.axis(x))
        case "sum_squares":
            return ops.sum_squares(x)
        case "keep":
            y = ops.sum(x, axes=axes)
            return ops.reshape(y, shape=tuple(1 if a in axes else d for a, d in enumerate(x.shape)))
        case "shift":
            from graphc.ops.reduction import spread

            return x - spread(ops.max(x, axes=axes), x, axes)
        case name:
            return REGISTRY[name](x, axes=axes)


def reshaping(m: Maker) -> Any:
    x = m.pick(lambda v: True)
    if x is None:
        return None
    match m.one_of("flat", "insert", "drop", "batch", "same", "swap"):
        case "flat":
            return ops.reshape(x, shape=(x.type.size,))
        case "insert":
            at = int(m.rng.integers(x.type.rank + 1))
            return ops.reshape(x, shape=(*x.shape[:at], 1, *x.shape[at:]))
        case "drop":
            return ops.reshape(x, shape=tuple(d for d in x.shape if d != 1))
        case "batch" if x.type.rank > 1:
            return ops.reshape(x, shape=(x.shape[0], product(x.shape[1:])))
        case "swap" if x.type.rank > 1:
            return ops.reshape(x, shape=(*x.shape[:-2], x.shape[-1], x.shape[-2]))
    return ops.reshape(x, shape=x.shape)


def moving(m: Maker) -> Any:
    x = m.pick(lambda v: v.type.rank >= 1)
    if x is None:
        return None
    match m.one_of("transpose", "reverse", "slice", "pad", "broadcast", "concat", "self"):
        case "transpose":
            return ops.transpose(x, permutation=tuple(int(a) for a in m.rng.permutation(x.type.rank)))
        case "reverse":
            return ops.reverse(x, axes=m.axes(x))
        case "slice":
            return sliced(m, x)
        case "pad" if x.dtype.is_float:
            widths = [tuple(int(n) for n in m.rng.integers(0, 3, x.type.rank)) for _ in range(3)]
            value = float(m.one_of(0.0, 0.0, 1.5))
            return ops.pad(
                x, low=widths[0], high=widths[1], interior=tuple(w // 2 for w in widths[2]), value=value
            )
        case "broadcast":
            lead = tuple(int(n) for n in m.rng.integers(1, 3, int(m.rng.integers(0, 2))))
            return ops.broadcast_to(x, shape=(*lead, *(2 if d == 1 and m.coin() else d for d in x.shape)))
        case "concat":
            axis = m.axis(x)
            if not isinstance(x.shape[axis], int):
                return None  # its gradient would slice from N on, which slice cannot say
            y = m.pick(lambda v: v.dtype == x.dtype and v.type.rank == x.type.rank and _agree(v, x, axis))
            return ops.concat(x, y if y is not None else x, axis=axis)
        case _:
            axis = m.axis(x)
            return ops.concat(x, x, axis=axis) if isinstance(x.shape[axis], int) else None


def _agree(v: Value, x: Value, axis: int) -> bool:
    return isinstance(v.shape[axis], int) and all(
        a == b for i, (a, b) in enumerate(zip(v.shape, x.shape)) if i != axis
    )


def sliced(m: Maker, x: Value) -> Any:
    starts, stops, steps = [], [], []
    for d in x.shape:
        start = int(m.rng.integers(0, d)) if isinstance(d, int) and d > 0 and m.coin() else 0
        stop = int(m.rng.integers(start + 1, d + 1)) if isinstance(d, int) and d > 0 and m.coin() else d
        starts.append(start)
        stops.append(stop)
        steps.append(int(m.one_of(1, 1, 2)) if isinstance(d, int) else 1)
    return ops.slice(x, starts=tuple(starts), stops=tuple(stops), steps=tuple(steps))


def products(m: Maker) -> Any:
    x = m.real(least=2)
    if x is None or not isinstance(x.shape[-1], int):
        return None
    k, n = x.shape[-1], int(m.rng.integers(1, 5))
    match m.one_of("plain", "turned", "gram", "linear", "bias", "turned operand"):
        case "plain":
            return ops.matmul(x, m.weights(k, n)) * 0.5
        case "turned":
            return ops.matmul(x, m.weights(n, k), transpose_w=True)
        case "turned operand":
            return ops.matmul(x, ops.transpose(m.weights(n, k), permutation=(1, 0)))
        case "gram":
            return ops.matmul(x, x, transpose_w=True) * 0.1
        case "linear":
            return ops.linear(x, m.weights(n, k), m.weights(n))
        case "bias":
            return ops.relu(ops.matmul(x, m.weights(k, n)) + m.weights(n))


def image(m: Maker) -> Value | None:
    x = m.real(least=3)
    fits = x is not None and all(isinstance(d, int) and d > 0 for d in x.shape[1:])
    return x if fits else m.new_leaf("input", (symbol("N") if m.symbolic else 2, 2, 4, 3))


def convolutions(m: Maker) -> Any:
    x = image(m)
    if x is None:
        return None
    rank, channels = x.type.rank - 2, x.shape[1]
    kernel = tuple(int(m.rng.integers(1, min(3, d) + 1)) for d in x.shape[2:])
    strides = tuple(int(m.one_of(1, 1, 2)) for _ in range(rank))
    padding = tuple((int(m.rng.integers(0, k)), int(m.rng.integers(0, k))) for k in kernel)
    ones = (1,) * rank
    match m.one_of("conv", "conv", "groups", "norm", "max", "average", "shift"):
        case "max":
            return ops.max_pool(
                x, kernel=kernel, strides=strides, padding=padding, dilation=ones, ceil=m.coin(0.2)
            )[0]
        case "average":
            counted = m.coin()
            return ops.avg_pool(
                x, kernel=kernel, strides=strides, padding=padding, ceil=False, count_include_pad=counted
            )
        case "groups":
            w = m.weights(channels, 1, *kernel)
            return ops.conv(x, w, strides=strides, padding=padding, dilation=ones, groups=channels)
        case kind:
            out = int(m.rng.integers(1, 4))
            y = ops.conv(
                x,
                m.weights(out, channels, *kernel),
                strides=strides,
                padding=padding,
                dilation=ones,
                groups=1,
            )
            if kind == "conv":
                return y * 0.5
            y = y + ops.reshape(m.weights(out), shape=(out, *ones)) if m.coin() else y
            if kind == "shift":
                return ops.relu(y)
            variance = m.new_leaf("constant", (out,))
            m.arrays[variance] = np.abs(m.arrays[variance]) + m.arrays[variance].dtype.type(0.5)
            m.data[variance.name] = m.arrays[variance]
            return ops.batch_norm(y, m.weights(out), m.weights(out), m.weights(out), variance)


def indexing(m: Maker) -> Any:
    x = m.real(least=1)
    if x is None:
        return None
    axis = m.axis(x)
    size = substitute(x.shape[axis], m.bindings)
    if size == 0 or not isinstance(x.shape[axis], int):
        return None
    match m.one_of("gather", "elements", "scatter", "one_hot"):
        case "gather":
            return ops.gather(x, m.new_leaf("input", (3,), int64, high=size), axis=axis)
        case "elements":
            shape = tuple(2 if a == axis else d for a, d in enumerate(x.shape))
            return ops.gather_elements(x, m.new_leaf("input", shape, int32, high=size), axis=axis)
        case "scatter":
            return ops.scatter_add(x, m.new_leaf("input", (size,), int64, high=4), axis=axis, size=4)
        case "one_hot":
            return ops.one_hot(m.new_leaf("input", x.shape[:1], int64, high=4), classes=3, dtype=m.float)
    return None


def composites(m: Maker) -> Any:
    x = m.real(least=1)
    if x is None:
        return None
    match m.one_of("softmax", "layer_norm", "batch_norm", "dropout", "train", "maxout"):
        case "maxout":
            both = ops.concat(x, x * 0.5, axis=x.type.rank - 1) if isinstance(x.shape[-1], int) else None
            return both and ops.maxout(both, pieces=2, axis=x.type.rank - 1)
        case "softmax":
            return m.one_of(ops.softmax, ops.log_softmax)(x, axis=m.axis(x))
        case "layer_norm" if isinstance(x.shape[-1], int):
            return ops.layer_norm(x, m.weights(x.shape[-1]), m.weights(x.shape[-1]), axis=x.type.rank - 1)
        case "batch_norm" if x.type.rank >= 2 and isinstance(x.shape[1], int):
            c = x.shape[1]
            variance = ops.abs(m.weights(c)) + 0.5
            return ops.batch_norm(x, m.weights(c), m.weights(c), m.weights(c), variance)
        case "train" if x.type.rank >= 3 and all(isinstance(d, int) for d in x.shape[1:]):
            c = x.shape[1]
            return ops.batch_norm_train(
                x, m.weights(c), m.weights(c), m.weights(c), m.weights(c), epsilon=0.1
            )[0]
        case "dropout":
            return ops.dropout(x, m.new_leaf("input", (), uint64, high=1000), p=0.25)
    return None


def activations(m: Maker) -> Any:
    x = m.real()
    if x is None:
        return None
    name = m.one_of("gelu", "silu", "softplus", "elu", "leaky_relu", "expm1", "log1p")
    return REGISTRY[name](ops.abs(x) if name == "log1p" else x)


def losses(m: Maker) -> Any:
    x = m.real(least=1)
    if x is None:
        return None
    reduction = m.one_of("mean", "sum", "none")
    match m.one_of("mse", "hinge", "logits", "probabilities", "penalty", "nll", "svm", "cross_entropy"):
        case "mse":
            return ops.mse_loss(x, ops.tanh(x), reduction=reduction)
        case "hinge":
            return ops.hinge_loss(x, ops.sign(ops.abs(x) + 0.1), reduction=reduction)
        case "logits":
            return ops.binary_cross_entropy_with_logits(x, ops.sigmoid(-x), reduction=reduction)
        case "probabilities":
            return ops.binary_cross_entropy(ops.sigmoid(x), ops.sigmoid(x * 2.0), reduction=reduction)
        case "penalty":
            return ops.l2_penalty(x, m.weights(3), strength=0.01)
        case name if x.type.rank >= 2 and isinstance(x.shape[1], int):
            labels = m.new_leaf("input", (x.shape[0], *x.shape[2:]), int64, high=x.shape[1])
            if name == "nll":
                return ops.nll_loss(ops.log_softmax(x, axis=1), labels, reduction=reduction)
            loss = ops.multiclass_hinge_loss if name == "svm" else ops.cross_entropy
            return loss(x, labels, reduction=reduction)
    return None


def naive(m: Maker) -> Any:
    """What stabilize looks for."""
    from graphc.ops.reduction import spread

    x = m.real(least=1)
    if x is None:
        return None
    axes = (m.axis(x),)
    e = ops.exp(x)
    match m.one_of("softmax", "log", "lse", "softplus", "sigmoid", "complement", "log sigmoid", "variance"):
        case "softmax":
            return e / spread(ops.sum(e, axes=axes), x, axes)
        case "log":
            return ops.log(ops.softmax(x, axis=axes[0]))
        case "lse":
            return ops.log(ops.sum(e, axes=axes))
        case "softplus":
            return ops.log(e + 1.0)
        case "sigmoid":
            return 1.0 / (ops.exp(-x) + 1.0)
        case "complement":
            return 1.0 - ops.sigmoid(x)
        case "log sigmoid":
            return ops.log(ops.sigmoid(x))
        case "variance":
            return ops.mean(x * x, axes=axes) - ops.mean(x, axes=axes) * ops.mean(x, axes=axes)


def removable(m: Maker) -> Any:
    """Work that changes nothing, or is done already."""
    x = m.real(least=1)
    if x is None:
        return None
    rank = x.type.rank
    match m.one_of("one", "signs", "turn", "halves", "again", "reshape", "reverse", "dead"):
        case "one":
            return x * 1.0
        case "signs":
            return -(ops.neg(x))
        case "turn":
            p = tuple(int(a) for a in m.rng.permutation(rank))
            back = tuple(sorted(range(rank), key=p.__getitem__))
            return ops.transpose(ops.transpose(x, permutation=p), permutation=back)
        case "halves" if isinstance(x.shape[-1], int) and x.shape[-1] > 1:
            parts = []
            for low, high in ((0, 1), (1, x.shape[-1])):
                starts, stops = (0,) * (rank - 1) + (low,), (*x.shape[:-1], high)
                parts.append(ops.slice(x, starts=starts, stops=stops, steps=(1,) * rank))
            return ops.concat(*parts, axis=rank - 1)
        case "again" if x.node is not None and len(x.node.outputs) == 1:
            return x + m.builder.emit(x.node.op, x.node.inputs, x.node.attributes)[0]
        case "reverse":
            return ops.reverse(ops.reverse(x, axes=(0,)), axes=(0,))
        case "dead":
            ops.exp(ops.tanh(x))
            return None
    return ops.reshape(ops.reshape(x, shape=(x.type.size,)), shape=x.shape)


def numbers(m: Maker) -> Any:
    """Nodes made from nothing."""
    x = m.real(least=1)
    if x is None:
        return None
    match m.one_of("iota", "constants", "size", "uniform", "bits"):
        case "iota":
            return ops.iota(shape=x.shape, axis=m.axis(x), dtype=m.float) * 0.5
        case "constants":
            a = m.builder.constant(m.one_of(0.5, 3.0, -1.0), m.float, x.shape)
            return ops.tanh(a * a + 0.25) * x
        case "size":
            return x / ops.dim_size(dim=x.type.size, dtype=m.float)
        case "uniform":
            return ops.uniform(m.new_leaf("input", (), uint64, high=1000), shape=x.shape, dtype=m.float) + x
        case "bits":
            bits = ops.random_bits(m.new_leaf("input", (), uint64, high=1000), shape=x.shape)
            return ops.cast(bits, dtype=m.float) * 1e-9


STEPS = (
    unary, unary, binary, binary, binary, with_number, with_number, choice, casts, integers, reduction, reduction,
    reshaping, moving, moving, products, products, convolutions, convolutions, indexing, composites, composites, naive,
    activations, losses,
    removable, removable, numbers,
)  # fmt: skip
