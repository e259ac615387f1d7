"""Training: epochs over a data set, with held-out data, early stopping and checkpoints.

Everything random follows from one seed and the number of the epoch, so an interrupted run that is resumed ends with the
same bits as one that was not.  A checkpoint is one file, written as a whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from graphc import data as sets
from graphc import optim
from graphc.api import compile as compile_graph
from graphc.atomic import write_file
from graphc.errors import ArtefactError, ShapeError, UsageError, nearest
from graphc.frontends.python.tracer import name_of, trace_twice
from graphc.ir.dims import symbol
from graphc.ir.specialize import as_inputs
from graphc.ir.types import TensorType, dtype_of
from graphc.nn import Module
from graphc.nn import functional as F
from graphc.optim import lr_scheduler
from graphc.tensor import functions as f
from graphc.training import compile_step
from graphc.weights import npz_bytes, read_numpy

# name -> (class, learning rate, further arguments)
OPTIMIZERS: dict[str, tuple[Any, float, dict[str, Any]]] = {
    "adam": (optim.Adam, 1e-3, {}),
    "adamw": (optim.AdamW, 1e-3, {}),
    "sgd": (optim.SGD, 0.05, {"momentum": 0.9}),
    "rmsprop": (optim.RMSprop, 1e-3, {}),
    "adagrad": (optim.Adagrad, 1e-2, {}),
}
# name -> what makes a plan of learning rates for so many epochs
SCHEDULES: dict[str, Callable[[optim.Optimizer, int], lr_scheduler.LRScheduler]] = {
    "constant": lambda rule, epochs: lr_scheduler.LambdaLR(rule, lambda epoch: 1.0),
    "cosine": lambda rule, epochs: lr_scheduler.CosineAnnealingLR(rule, T_max=epochs),
    "linear": lambda rule, epochs: lr_scheduler.LinearLR(rule, 1.0, 0.0, total_iters=epochs),
    "step": lambda rule, epochs: lr_scheduler.MultiStepLR(rule, (epochs // 2, epochs * 3 // 4)),
}
# name -> loss of (outputs, targets)
LOSSES: dict[str, Callable[..., Any]] = {
    "cross-entropy": F.cross_entropy,
    "likelihood": lambda p, y, reduction="mean": F.nll_loss(f.log(p), y, reduction=reduction),
    "hinge": F.multi_margin_loss,
    "mse": F.mse_loss,
    "l1": F.l1_loss,
}
COUNTED = ("cross-entropy", "likelihood", "hinge")  # losses of labels: the largest output is the answer
_CHUNK = 256  # rows at a time when held-out data is evaluated
FORMAT = "graphc checkpoint 2"
TARGET = "target"


@dataclass(frozen=True, slots=True)
class Epoch:
    """What came out of one epoch: mean loss while training; loss and accuracy on held-out data afterwards."""

    epoch: int
    loss: float
    test_loss: float
    test_accuracy: float | None
    best: bool


@dataclass(slots=True)
class Result:
    """A finished training: its epochs, and whether it stopped early.  The module holds the best weights."""

    history: list[Epoch] = field(default_factory=list)
    stopped_early: bool = False

    @property
    def best(self) -> Epoch:
        return [epoch for epoch in self.history if epoch.best][-1]


def train(
    model: Module,
    data: sets.Set | tuple[Mapping[str, np.ndarray], np.ndarray],
    *,
    input: str | None = None,
    epochs: int = 20,
    batch: int = 32,
    optimizer: str = "adam",
    lr: float | None = None,
    schedule: str = "constant",
    warm_up: int = 0,
    max_norm: float | None = None,
    loss: str | None = None,
    share: float = 0.2,
    patience: int | None = None,
    seed: int = 0,
    checkpoint: str | PathLike[str] | None = None,
    resume: bool = False,
    threads: int = 1,
    backend: str = "llvm",
    on_batch: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Result:
    """Train a module on (x, y), where x is an array or, for several inputs, a dictionary of arrays by name.

    input       name of the model's input; the first parameter of `forward` by default
    schedule    of the learning rate: "constant", "cosine" or "linear" down to 0, "step" divides by 10 at 1/2 and 3/4
    warm_up     epochs in which the rate rises to where the schedule begins
    max_norm    clip the gradient's norm
    loss        of labels: "cross-entropy" of scores, the default, "likelihood" of probabilities, "hinge"; of other
                targets: "mse", the default, "l1"
    share       part of the data that is held out and never trained on
    patience    stop after so many epochs without a smaller loss on held-out data
    checkpoint  a file, written after each epoch; `resume` goes on from it, if it is there
    on_batch    called with (epoch, rows done); on_epoch with each `Epoch`, also the ones a checkpoint brings back

    At the end the module has the weights of the epoch with the smallest held-out loss.  Raises UsageError for settings
    that make no sense, ShapeError when the data does not fit, ArtefactError for a checkpoint of another run.
    """
    if not isinstance(model, Module):
        raise UsageError(
            "only a Module can be trained", fix='class Net(nn.Module), or as_module(f, x="float32[N,64]")'
        )
    labels = data[1].dtype.kind != "f"
    loss = loss or ("cross-entropy" if labels else "mse")
    for what, given, choices in (
        ("optimizer", optimizer, OPTIMIZERS), ("schedule", schedule, SCHEDULES), ("loss", loss, LOSSES)
    ):  # fmt: skip
        if given not in choices:
            raise UsageError(f"no {what} {given}{nearest(given, choices)}", fix=", ".join(choices))
    if (loss in COUNTED) != labels:
        raise UsageError(f"the loss {loss} of targets of {data[1].dtype}", fix=", ".join(LOSSES))
    if epochs < 1 or batch < 1 or (patience is not None and patience < 1) or (resume and checkpoint is None):
        raise UsageError("epochs, batch and patience are at least 1; resume needs a checkpoint")
    if not 0 <= warm_up < epochs:
        raise UsageError(f"warm_up={warm_up} is not within the {epochs} epochs")
    kind, rate, options = OPTIMIZERS[optimizer]
    rule = kind(list(model.parameters()), lr=rate if lr is None else lr, **options)
    name = input or next(iter(_parameters(model)))
    arrays = dict(data[0]) if isinstance(data[0], Mapping) else {name: data[0]}
    types = {key: _open(array) for key, array in arrays.items()}, {TARGET: _open(data[1])}
    settings = {
        "batch": batch, "optimizer": optimizer, "lr": rule.lr, "share": share, "seed": seed, "input": ",".join(arrays),
        "loss": loss, "data": _digest([*arrays.values(), data[1]]), "model": str(model),
        **({"schedule": f"{schedule} of {epochs}"} if schedule != "constant" else {}),
        **({"warm_up": warm_up} if warm_up else {}), **({"max_norm": max_norm} if max_norm else {}),
    }  # fmt: skip
    plan = _plan(rule, schedule, epochs, warm_up)
    training, test = _split([*arrays.values(), data[1]], share, seed)
    step = compile_step(
        model, LOSSES[loss], rule, *types, seed=seed, threads=threads, backend=backend, max_norm=max_norm
    )
    evaluate = _evaluation(model, loss, *types, threads=threads, backend=backend)
    result = Result()
    best = {key: array.copy() for key, array in model.state_dict().items()}
    if resume and checkpoint is not None and Path(checkpoint).exists():
        result.history, best = _restore(Path(checkpoint), step, settings)
        for known in result.history:
            if on_epoch is not None:
                on_epoch(known)
    while len(result.history) < epochs:
        number = len(result.history) + 1
        (rule.lr,) = plan.rates(number - 1)
        total, rows = 0.0, 0
        for part in sets.batches(training, batch, seed=np.random.default_rng([seed, number])):
            total += step(*part) * len(part[0])
            rows += len(part[0])
            if on_batch is not None:
                on_batch(number, rows)
        test_loss, accuracy = evaluate(*test)
        lowest = min((epoch.test_loss for epoch in result.history), default=np.inf)
        epoch = Epoch(number, total / rows, test_loss, accuracy, number == 1 or test_loss < lowest)
        result.history.append(epoch)
        if epoch.best:
            best = {key: array.copy() for key, array in model.state_dict().items()}
        if checkpoint is not None:
            _save(Path(checkpoint), step, settings, result.history, best)
        if on_epoch is not None:
            on_epoch(epoch)
        if patience is not None and number - result.best.epoch >= patience:
            result.stopped_early = True
            break
    model.load_state_dict(best)
    model.eval()
    return result


def _plan(rule: optim.Optimizer, schedule: str, epochs: int, warm_up: int) -> lr_scheduler.LRScheduler:
    """The learning rate of each epoch."""
    plan = SCHEDULES[schedule](rule, epochs - warm_up)
    if not warm_up:
        return plan
    first = lr_scheduler.LinearLR(rule, 1 / (warm_up + 1), total_iters=warm_up)
    return lr_scheduler.SequentialLR(rule, [first, plan], [warm_up])


def _split(
    arrays: Sequence[np.ndarray], share: float, seed: int
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """As `data.held_out`, for any number of arrays."""
    rows = np.arange(len(arrays[-1]))
    (train, _), (test, _) = sets.held_out(rows, rows, share=share, seed=seed)
    if any(len(array) != len(rows) for array in arrays):
        raise ShapeError(f"inputs and targets of {', '.join(str(len(a)) for a in arrays)} rows")
    return tuple(array[train] for array in arrays), tuple(array[test] for array in arrays)


def _parameters(model: Module) -> list[str]:
    import inspect

    return list(inspect.signature(model.forward).parameters)


def _open(array: np.ndarray) -> TensorType:
    return TensorType(dtype_of(array), (symbol("N"), *array.shape[1:]))


def fit(x: np.ndarray, wanted: TensorType) -> np.ndarray:
    """The data as the model takes it: its dtype, its shape; images a whole number of times larger are made so.

    Raises ShapeError when that is not possible.
    """
    sizes = wanted.shape[1:]
    if not wanted.dtype.is_float or x.dtype.kind == "f":
        x = x.astype(wanted.dtype.numpy)
    if len(sizes) == x.ndim - 1 and all(
        have == want or not isinstance(want, int) for have, want in zip(x.shape[1:], sizes)
    ):
        return x
    shape = [n for n in sizes if isinstance(n, int)]
    if len(shape) == len(sizes):
        if math.prod(shape) == math.prod(x.shape[1:]):
            return x.reshape(len(x), *shape)
        times = [want // have for want, have in zip(shape, x.shape[1:])]
        larger = [have * t for have, t in zip(x.shape[1:], times)]
        if len(shape) == 3 and larger == shape and times[0] == 1:
            return np.kron(x, np.ones(times, x.dtype))
    raise ShapeError(
        "the data does not fit the input of the model",
        facts=[("data", f"{x.dtype}[{','.join(map(str, ('N', *x.shape[1:])))}]"), ("model", str(wanted))],
    )


def _evaluation(
    model: Module, loss: str, inputs: Mapping[str, TensorType], targets: Mapping[str, TensorType], *,
    threads: int, backend: str,
) -> Callable[..., tuple[float, float | None]]:  # fmt: skip
    """A function of inputs and target: mean loss and accuracy of the module as it is now, without dropout."""
    counts = loss in COUNTED

    def judged(**tensors: Any) -> dict[str, Any]:
        output = model(**{name: tensors[name] for name in inputs})
        target = tensors[TARGET]
        found = {"loss": LOSSES[loss](output, target, reduction="sum" if counts else "mean")}
        return {**found, "right": (output.argmax(1) == target).sum()} if counts else found

    types = {**inputs, **targets}
    graph = trace_twice(judged, model, model, types, dims=None, training=False, name=f"{name_of(model)}_test")
    state = [name for name in graph.data if name in model.state_dict()]
    run = compile_graph(as_inputs(graph, state), backend=backend, threads=threads)

    def evaluate(*arrays: np.ndarray) -> tuple[float, float | None]:
        weights = model.state_dict()
        total, right, rows = 0.0, 0, len(arrays[-1])
        for start in range(0, rows, _CHUNK):
            part = [array[start : start + _CHUNK] for array in arrays]
            given = dict(zip(types, part)) | {name: weights[name] for name in state}
            results = run(**given)
            one, hits = results if counts else (results, 0)
            total += float(one) * (1 if counts else len(part[0]))
            right += int(hits)
        return total / rows, right / rows if counts else None

    return evaluate


# Checkpoints ---------------------------------------------------------------------------------------------------------


def _digest(data: Sequence[np.ndarray]) -> str:
    sha = hashlib.sha256()
    for array in data:
        sha.update(f"{array.dtype}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def _save(
    path: Path, step: Any, settings: Mapping[str, Any], history: list[Epoch], best: Mapping[str, np.ndarray]
) -> None:
    about = {"format": FORMAT, "settings": settings, "history": [asdict(epoch) for epoch in history],
             "steps": step.optimizer.steps}  # fmt: skip
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    arrays = {"about": text, **{f"state.{name}": array for name, array in step.arrays.items()}}
    arrays |= {f"best.{name}": np.ascontiguousarray(array) for name, array in best.items()}
    write_file(path, npz_bytes(arrays))


def _restore(path: Path, step: Any, settings: Mapping[str, Any]) -> tuple[list[Epoch], dict[str, np.ndarray]]:
    with path.open("rb") as file:
        try:
            arrays = read_numpy(file)
            about = json.loads(arrays["about"].tobytes()) if isinstance(arrays, dict) else {}
        except (ValueError, KeyError) as error:
            raise ArtefactError(f"{path} is not a checkpoint: {error}") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ArtefactError(f"{path} is not a checkpoint of this version of graphc")
    assert isinstance(arrays, dict)
    then = about["settings"]
    differ = [name for name in {**settings, **then} if then.get(name) != settings.get(name)]
    state = {name.removeprefix("state."): a for name, a in arrays.items() if name.startswith("state.")}
    if differ or state.keys() != step.arrays.keys():
        raise ArtefactError(
            f"{path} belongs to another training: {', '.join(differ) or 'model'} differs",
            fix="train with the same settings, or without --resume",
        )
    for name, array in step.arrays.items():
        array[...] = state[name]
    step.optimizer.steps = about["steps"]
    best = {name.removeprefix("best."): a for name, a in arrays.items() if name.startswith("best.")}
    return [Epoch(**epoch) for epoch in about["history"]], best


def json_lines(history: list[Epoch]) -> Iterator[str]:
    """One JSON object for each epoch."""
    return (json.dumps(asdict(epoch)) for epoch in history)
