"""The compiled training step: forward, backward and update in one native call.

Parameters, batch statistics and the optimiser's state live in the memory the code works on, and are
updated in place; the module's parameters are views of that memory, so the module is always up to date.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import UsageError
from graphc.executable import ports
from graphc.frontends.python.loss_graph import loss_graph
from graphc.ir.types import TensorType, dtype_of
from graphc.nn import Module
from graphc.optim import Optimizer
from graphc.pipeline import lower, stabilized
from graphc.plan import Plan
from graphc.step import CLIP_VALUE, GRAD_NORM, LR, MAX_NORM, STEP, StepGraph, step_graph
from graphc.tensor import Tensor

if TYPE_CHECKING:
    from graphc.backends.llvm.executable import Executable as Native
    from graphc.profile import Profile

Types = Mapping[str, str | TensorType]
SEED = "seed"


class _Limit:
    """How far gradients are clipped: an attribute of a step that was compiled to clip that way."""

    def __init__(self, name: str):
        self.name = name

    def __get__(self, step: Any, owner: type) -> Any:
        return self if step is None else step.limits.get(self.name)

    def __set__(self, step: Any, value: float) -> None:
        if self.name not in step.limits:
            raise UsageError(
                f"the step was compiled without {self.name}", fix=f"compile_step(..., {self.name}={value})"
            )
        step.limits[self.name] = _positive(self.name, value)


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise UsageError(f"{name}={value} is not above 0")
    return float(value)


def _settings(group: Mapping[str, Any]) -> list[Any]:
    """What of a parameter group is compiled into a step: all but the learning rate."""
    return [value for name, value in group.items() if name not in ("lr", "initial_lr", "params")]


class Step:
    """A compiled training step; `step(x, y)` trains on one batch and returns the loss.

    graph       the whole step as a graph: draw it, print it, read its NumPy source
    arrays      parameters, buffers and optimiser state by name: views of the memory the step updates
    max_norm    the norm that gradients are clipped to, or clip_value, the size of their elements
    grad_norm   with `max_norm`: the norm of the last gradient before it was clipped

    Each call reads the learning rates of the optimiser's groups and these limits: nothing is compiled anew.
    """

    def __init__(
        self, model: Module, optimizer: Optimizer, step: StepGraph, run: Callable[..., Any], plan: Plan | None,
        arrays: Mapping[str, np.ndarray], batch: Sequence[str], seed: int, limits: dict[str, float],
        native: Native | None, threads: int,
    ):  # fmt: skip
        self.native, self.threads = native, threads
        self.model, self.optimizer, self.step, self.plan, self.arrays = model, optimizer, step, plan, arrays
        tensors: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self._tensors = [(tensors[name], array) for name, array in arrays.items() if name in tensors]
        self._slots = [(tensors[of], slot, arrays[name]) for name, (of, slot) in step.slots.items()]
        self._settle()
        self.graph = step.graph
        self.inputs = ports([v for v in step.graph.inputs if v.name in batch], batch)
        self._run, self._batch = run, tuple(batch)
        self.seed, self.limits, self.grad_norm = seed, limits, np.nan
        self._seed = np.zeros((), np.uint64)
        self._numbers = [(what, group, np.zeros(())) for what, group in step.numbers.values()]
        arrays_by_name = {**dict(zip(step.numbers, (a for *_, a in self._numbers))), SEED: self._seed}
        self._extra = [arrays_by_name[v.name] for v in step.graph.inputs if v.name not in batch]
        self._settings = [_settings(group) for group in optimizer.param_groups]
        outputs = [name for name in step.graph.output_names if name not in step.donate]
        self._norm = outputs.index(GRAD_NORM) if GRAD_NORM in outputs else None

    def __call__(self, *batch: Any) -> float:
        if len(batch) != len(self._batch):
            raise UsageError(f"a step takes {', '.join(self._batch)}; {len(batch)} arrays given")
        groups = self.optimizer.param_groups
        if [_settings(group) for group in groups] != self._settings:
            raise UsageError(
                "the optimizer's settings changed after the step was compiled",
                cause="all but the learning rates are part of the compiled code",
                fix="compile a new step",
            )
        count = self.optimizer.steps + 1
        for what, group, array in self._numbers:
            array[...] = groups[group]["lr"] if what == LR else count if what == STEP else self.limits[what]
        self._seed[...] = (self.seed + count) % 2**64
        self._settle()
        result = self._run(*batch, *self._extra)
        self.optimizer.steps = count
        results = result if isinstance(result, tuple) else (result,)
        if self._norm is not None:
            self.grad_norm = float(results[self._norm])
        return float(results[0])

    def profile(self, *batch: Any, threads: int | None = None, seconds: float = 0.5) -> Profile:
        """What each kernel takes on this batch, see `Executable.profile`; nothing is trained by it."""
        from graphc.profile import profile

        if self.native is None:
            raise UsageError("the step was compiled for NumPy: it has no kernels", fix='backend="llvm"')
        threads = threads or self.threads
        return profile(self.native, (*batch, *self._extra), threads=threads, seconds=seconds)

    def _settle(self) -> None:
        """Take over what was changed elsewhere: by another step on the module, by the optimizer in eager mood."""
        for tensor, array in self._tensors:
            tensor.live_in(array)
            tensor.before_change()
        for tensor, slot, array in self._slots:
            state = self.optimizer.state_of(tensor)
            if state[slot] is not array:
                array[...] = state[slot]
                state[slot] = array

    max_norm, clip_value = _Limit(MAX_NORM), _Limit(CLIP_VALUE)

    @property
    def numpy_source(self) -> str:
        """The whole step as NumPy source: a function `step` that returns the loss and every new array."""
        from graphc.backends.numpy_source import numpy_source

        return numpy_source(self.graph, "step")


def compile_step(
    model: Module,
    loss: Callable[..., Any],
    optimizer: Optimizer,
    inputs: Types | None = None,
    targets: Types | None = None,
    *,
    dims: Mapping[str, tuple[int, int | None]] | None = None,
    backend: str = "llvm",
    threads: int = 1,
    seed: int = 0,
    cache: bool = True,
    max_norm: float | None = None,
    clip_value: float | None = None,
) -> Any:
    """Compile `loss(model(*inputs), *targets)`, its gradients and the optimiser's update into one call.

    inputs, targets   types by name; without them they follow from the first batch, whose first axis is the open size N
    seed              of dropout: the same seed gives the same run
    backend           "llvm", or "numpy" for the same step as generated NumPy source
    max_norm          clip gradients as `nn.utils.clip_grad_norm_` does; math.inf measures the norm and clips nothing
    clip_value        clip gradients as `nn.utils.clip_grad_value_` does

    Raises UsageError when the optimiser does not hold the model's parameters, and what tracing raises.
    """
    if backend not in ("llvm", "numpy"):
        raise UsageError(f"there is no backend {backend!r}", fix='backend="llvm" or backend="numpy"')
    options: dict[str, Any] = {
        "dims": dims,
        "backend": backend,
        "threads": threads,
        "seed": seed,
        "cache": cache,
        "limits": {
            name: _positive(name, limit)
            for name, limit in ((MAX_NORM, max_norm), (CLIP_VALUE, clip_value))
            if limit is not None
        },
    }
    if len(options["limits"]) == 2:
        raise UsageError("max_norm and clip_value exclude each other", fix="choose one")
    if inputs is None or targets is None:
        return _Later(model, loss, optimizer, options)
    return _compile(model, loss, optimizer, inputs, targets, **options)


class _Later:
    """A step whose types are not known before its first batch."""

    def __init__(
        self, model: Module, loss: Callable[..., Any], optimizer: Optimizer, options: Mapping[str, Any]
    ):
        self._arguments, self._options = (model, loss, optimizer), options
        self._step: Step | None = None
        self.limits = options["limits"]  # its step has the same dictionary

    max_norm, clip_value = _Limit(MAX_NORM), _Limit(CLIP_VALUE)

    def __call__(self, *batch: Any) -> float:
        if self._step is None:
            if len(batch) < 2:
                raise UsageError("the first batch must hold an input and a target")
            types = [_type_of(np.asarray(array)) for array in batch]
            names = ["x", "y"] if len(types) == 2 else [f"x{i}" for i in range(len(types) - 1)] + ["y"]
            inputs = dict(zip(names[:-1], types[:-1]))
            self._step = _compile(*self._arguments, inputs, {names[-1]: types[-1]}, **self._options)
        return self._step(*batch)

    def __getattr__(self, name: str) -> Any:
        if self._step is None:
            raise AttributeError(
                f"{name}: the step is compiled at its first batch; pass inputs= and targets= to compile now"
            )
        return getattr(self._step, name)


def _type_of(array: np.ndarray) -> TensorType:
    from graphc.ir.dims import symbol

    if array.ndim == 0:
        raise UsageError("a batch is an array with at least one axis")
    return TensorType(dtype_of(array), (symbol("N"), *array.shape[1:]))


def _compile(
    model: Module, loss: Callable[..., Any], optimizer: Optimizer, inputs: Types, targets: Types, *,
    dims: Any, backend: str, threads: int, seed: int, cache: bool, limits: dict[str, float],
) -> Step:  # fmt: skip
    tensors: dict[str, Any] = dict(model.named_parameters())
    held = {id(p): i for i, group in enumerate(optimizer.param_groups) for p in group["params"]}
    if not any(id(p) in held for p in tensors.values()):
        raise UsageError(
            "the optimizer does not hold the model's parameters", fix="pass net.parameters() to it"
        )
    model.train()
    forward, updates = loss_graph(model, loss, inputs, targets, dims=dims)
    step = step_graph(
        stabilized(forward).graph,
        optimizer,
        updates,
        frozen=[n for n, p in tensors.items() if id(p) not in held],
        groups={n: held[id(p)] for n, p in tensors.items() if id(p) in held},
        clip=next(iter(limits), ""),
    )
    batch = [*inputs, *targets]
    if backend == "numpy":
        run, arrays = _numpy_runner(step)
        native = None
    else:
        run, arrays, native = _native_runner(step, threads, cache)
    plan = native.plan if native else None
    return Step(model, optimizer, step, run, plan, arrays, batch, seed, limits, native, threads)


def _native_runner(
    step: StepGraph, threads: int, cache: bool
) -> tuple[Callable[..., Any], dict[str, np.ndarray], Native]:
    from graphc.backends.llvm import cache as caches
    from graphc.backends.llvm.executable import compile_plan, native_plan

    lowered = lower(step.graph, training=True)
    native = compile_plan(
        native_plan(lowered.partition, donate=step.donate),
        name=step.graph.name,
        cache=caches.default() if cache else None,
    )
    weights = native.weights()
    graph = lowered.graph
    arrays = {}
    for piece in native.module.pieces:
        if piece.packing is None and piece.name in step.graph.data:
            leaf = graph.by_name[piece.name]
            memory = weights[piece.offset : piece.offset + piece.size]
            arrays[piece.name] = memory.view(leaf.dtype.numpy).reshape(leaf.type.shape)
    return native.load(threads, weights=weights), arrays, native


def _numpy_runner(step: StepGraph) -> tuple[Callable[..., Any], dict[str, np.ndarray]]:
    from graphc.backends.numpy_source import load_source

    function = load_source(step.graph, "step")
    arrays = {name: np.array(array) for name, array in step.graph.data.items()}
    names = [v.name for v in step.graph.inputs]

    def run(*batch: Any) -> Any:
        results = dict(zip(step.graph.output_names, function(dict(zip(names, batch)), arrays), strict=True))
        for output, leaf in step.donate.items():
            arrays[leaf][...] = results[output]
        return tuple(array for name, array in results.items() if name not in step.donate)

    return run, arrays
