"""What a user of the library calls: trace, differentiate, compile, render, summary, explain."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from graphc import by_value
from graphc.autodiff import differentiate as reverse_mode
from graphc.errors import UsageError
from graphc.executable import Executable
from graphc.frontends import onnx
from graphc.frontends.onnx import is_onnx
from graphc.frontends.python.modules import is_torch_module
from graphc.frontends.python.tracer import trace, trace_graph
from graphc.ir.builder import Builder
from graphc.ir.graph import Graph, Value
from graphc.ir.partition import Partition
from graphc.ir.specialize import specialize
from graphc.ir.types import TensorType, int64
from graphc.passes.expand import expand as open_composites
from graphc.pipeline import Lowered, gradient_graph, lower, lower_with_gradients
from graphc.plan import Plan
from graphc.precision import Precision, Weights, deviation, split_weights
from graphc.tensor import Tensor
from graphc.tensor.lazy import graph_of as tensor_graph

if TYPE_CHECKING:
    from graphc.backends.llvm.runnable import Origin

Types = Mapping[str, str | TensorType]
Ranges = Mapping[str, tuple[int, int | None]]

LOSSES = ("cross_entropy", "mse_loss")

__all__ = [
    "Executable",
    "compile",
    "differentiate",
    "explain",
    "graph_of",
    "render",
    "summary",
    "trace",
]


def graph_of(
    model: Any,
    inputs: Types | None = None,
    *,
    dims: Ranges | None = None,
    weights: str | PathLike[str] | Mapping[str, np.ndarray] | None = None,
    name: str = "",
    training: bool = False,
    values: Mapping[str, Any] | None = None,
) -> Graph:
    """The graph of a Module of graphc or PyTorch, a function, an ONNX file, or a graph as it is; with the arrays of
    `weights`, a file or arrays by name.  `values` are inputs of an ONNX model that become constants.

    Raises UsageError without the types of the inputs; what tracing raises; WeightsError when weights do not fit.
    """
    if isinstance(model, Graph):
        graph = model.with_(name=name) if name else model
    elif is_torch_module(model):
        from graphc.frontends import torch

        graph = torch.load(model, inputs, dims=dims, name=name)
    elif is_onnx(model):
        graph = onnx.read(model, inputs=inputs, name=name).graph(values)
        graph = graph.with_(dims={**graph.dims, **(dims or {})})
    else:
        if inputs is None:
            raise UsageError("the types of the inputs are not known", fix='inputs={"x": "float32[N,784]"}')
        graph = trace_graph(model, inputs, dims=dims, training=training, name=name)
    return graph if weights is None else with_weights(graph, weights, model)


def with_weights(
    graph: Graph, weights: str | PathLike[str] | Mapping[str, np.ndarray], model: Any = None
) -> Graph:
    """The graph with other arrays, which must have exactly the names, shapes and dtypes of its own.

    Arrays a Module has but the graph does not use may stand in a file too.
    """
    from graphc.nn import Module
    from graphc.weights import check_weights, load_weights

    source = "the weights" if isinstance(weights, Mapping) else str(weights)
    arrays = dict(weights) if isinstance(weights, Mapping) else load_weights(weights)
    wanted = dict(graph.data)
    unused = model.state_dict().keys() - wanted.keys() if isinstance(model, Module) else set()
    arrays = {key: array for key, array in arrays.items() if key not in unused}
    return graph.with_(data={**wanted, **check_weights(arrays, wanted, source)})


def differentiate(
    graph: Graph, loss: str | None = None, wrt: Sequence[str] | None = None, *, of: str | None = None
) -> Graph:
    """Forward and backward in one graph.

    loss   "cross_entropy" (one more input `target: int64[N]`, the class of each row) or "mse_loss" (`target` of the
           output's type); without it the output itself is differentiated, see `graphc.autodiff.differentiate`
    wrt    what to differentiate by: names of inputs or parameters; all parameters by default
    """
    return gradient_graph(graph if loss is None else with_loss(graph, loss, of), wrt, of=None if loss else of)


def with_loss(graph: Graph, loss: str, of: str | None = None) -> Graph:
    """The graph with a loss as its output and the target as one more input."""
    from graphc import ops

    if loss not in LOSSES:
        raise UsageError(
            f"there is no loss {loss!r}", fix=f"it is one of {', '.join(LOSSES)}, or write it in the model"
        )
    output = graph.outputs[graph.output_names.index(of) if of else 0]
    builder = Builder(graph.name)
    builder.adopt(graph.leaves)
    builder.reserve([value.name for value in graph.values()])
    for node in graph.nodes:
        builder.append(node)
    kind = TensorType(int64, output.type.shape[:-1]) if loss == "cross_entropy" else output.type
    with builder:
        target = builder.leaf("input", "target", kind)
        result: Value = getattr(ops, loss)(output, target)
    return builder.finish([result], ["loss"], dims=graph.dims, data=graph.data)


def compile(
    model: Any,
    inputs: Types | None = None,
    *,
    dims: Ranges | None = None,
    sizes: Mapping[str, Sequence[int]] | None = None,
    weights: Weights = None,
    name: str = "",
    backend: str = "llvm",
    cpu: str = "native",
    threads: int = 1,
    train: bool = False,
    numerics: str = "default",
    cache: bool = True,
    values: Mapping[str, Any] | None = None,
) -> Executable:
    """Compile a Module, a function, an ONNX file or a graph.

    inputs   types, as {"x": "float32[N,784]"}; a name is a size left open
    sizes    {"N": [1, 8]}: sizes that get native code of their own beside the general one, chosen at the call
    weights  a file or arrays by name; "fp16" or "int8" to store the weights of matrix products in half or a quarter of
             the memory, which changes results (`precision` of what comes back says how much); or a pair of both
    backend  "llvm" for native code, "numpy" for generated NumPy source
    cpu      "native", or "x86-64-v2", "x86-64-v3", "x86-64-v4"
    train    the result also returns the gradients of all parameters
    numerics "default", "strict" (only rewrites that change no bit, no Winograd F(4,3), no Strassen) or "fast" (also
             those that round differently)
    cache    keep compiled objects between processes
    values   inputs of an ONNX model that become constants.  When a shape depends on the value of an input that is not
             among them, what comes back compiles for the values of each call, and keeps that (`graphc.by_value`)

    >>> import numpy as np
    >>> double = compile(lambda x: x + x, inputs={"x": "float32[N]"}, backend="numpy")
    >>> double(np.ones(3, np.float32))
    array([2., 2., 2.], dtype=float32)
    """
    if backend not in ("llvm", "numpy"):
        raise UsageError(f"there is no backend {backend!r}", fix='backend="llvm" or backend="numpy"')
    if is_onnx(model):
        source = onnx.read(model, inputs=inputs, name=name)
        return by_value.compiled(
            source, values or {},
            functools.partial(
                compile, dims=dims, sizes=sizes, weights=weights, backend=backend, cpu=cpu, threads=threads,
                train=train, numerics=numerics, cache=cache,
            ),
        )  # fmt: skip
    arrays, word = split_weights(weights)
    graph = graph_of(model, inputs, dims=dims, weights=arrays, name=name)
    if isinstance(model, Graph) and dims:
        graph = graph.with_(dims={**graph.dims, **dims})
    if train:
        graph = gradient_graph(graph)
    if backend == "numpy":
        if word != "fp32":
            raise UsageError(f"NumPy source computes with the weights as they are, not as {word}")
        return _numpy_executable(graph, numerics)
    compiled = native_executable(
        graph, cpu=cpu, threads=threads, cache=cache, stored=word, sizes=sizes, numerics=numerics
    )
    if word != "fp32":
        exact = native_executable(graph, cpu=cpu, cache=cache, numerics=numerics)
        compiled.precision = Precision(word, deviation(compiled, exact, random_inputs(graph)))
    return compiled


def native_executable(
    graph: Graph,
    *,
    cpu: str = "native",
    threads: int = 1,
    cache: bool = True,
    stored: str = "fp32",
    sizes: Mapping[str, Sequence[int]] | None = None,
    numerics: str = "default",
) -> Executable:
    """Native code of a graph; what was compiled before comes from the cache, and is lowered when somebody asks how.

    stored   how weights of matrix products are stored
    """
    from graphc.backends.llvm import cache as caches
    from graphc.backends.llvm import kept
    from graphc.backends.llvm.target import host, level

    target = replace(host() if cpu == "native" else level(cpu), strict=numerics == "strict")
    choices = _combinations(sizes or {})
    lowered = functools.cache(lambda: lower(graph, numerics=numerics))

    def origin() -> Origin:
        from graphc.backends.llvm.executable import native_plan, origin
        from graphc.backends.llvm.variants import Variant

        beside = [(each, lower(specialize(graph, each), numerics=numerics)) for each in choices]
        return origin(
            native_plan(lowered().partition, target=target),
            target=target,
            name=c_name(graph.name),
            public=graph.data,
            weights=stored,
            variants=[Variant(each, native_plan(one.partition, target=target)) for each, one in beside],
        )

    store = caches.default() if cache else None
    key = kept.model_key(graph, target, (c_name(graph.name), stored, numerics, choices)) if store else None
    native = kept.kept(store, key, graph.data, target, origin) if store and key else None
    if native is None:
        from graphc.backends.llvm.executable import compile_origin

        native = compile_origin(origin(), target, graph.data, store)
        if store and key:
            kept.keep(store, key, native)
    return Executable(graph.name, graph, lowered, native.load(threads), native, threads, numerics)


def _numpy_executable(graph: Graph, numerics: str) -> Executable:
    from graphc.backends.numpy_source import load_source

    function = load_source(graph)

    def run(*arrays: Any) -> Any:
        results = function(arrays)
        return results[0] if len(results) == 1 else results

    return Executable(graph.name, graph, lambda: lower(graph, numerics=numerics), run, numerics=numerics)


def c_name(name: str) -> str:
    """A name C accepts."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name)
    return plain if plain.isidentifier() else f"m_{plain}"


def render(
    model: Any,
    path: str | PathLike[str] | None = None,
    *,
    view: str = "auto",
    inputs: Types | None = None,
    dims: Ranges | None = None,
    weights: Any = None,
    name: str = "",
    values: bool | Mapping[str, np.ndarray] = False,
    show: Collection[str] = ("shapes",),
    depth: int | None = None,
    theme: str | None = None,
    train: bool = False,
    expand: Collection[str] = (),
    focus: str = "",
    hops: int = 2,
    grad_path_of: str = "",
    between: tuple[str, str] | None = None,
    after: str | None = None,
    side: Literal["both", "before", "after"] = "both",
    step: int | None = None,
    frames: str | PathLike[str] | None = None,
    of: str | None = None,
) -> str | bytes:
    """Draw a model, a graph, a partition, a plan, or what a tensor was computed by.

    The file's suffix says how: .svg, .png, .pdf, .dot, .json, .mmd (Mermaid), .txt, or .html.  The last is a page that
    needs no network: it steps through forward and backward, opens and closes modules, and shows what became of every
    value (NumPy source, kernel, memory; with "code" among `show` the LLVM IR of every kernel).

    view    forward, backward, joint, fusion, memory, auto, or passes: what the pass `after` changed; `side` "before" or
            "after" shows one side with everything in the same place
    values  arrays of the inputs by name, or True for random ones: the numbers are shown
    train   kernels and memory of forward and backward together, in the views fusion and memory

    depth   module levels that are opened; `expand`, paths of modules that are opened all the same, and names of
            composite ops (silu, softplus ...), sigmoid and tanh that are drawn as what they are made of
    focus   a value, array or module: only what lies within `hops` edges of it
    grad_path_of  a parameter: only the way from it to the loss and back
    between  two values, arrays or modules: only the ways from the first to the second
    of      of several outputs, the one that is differentiated

    step    the picture of one step through forward and backward, from 1: what is known then, the rest blank
    frames  a folder: instead of one picture each step as its own, in the form of the path's suffix (.svg)

    Returns what was written; without a path, the SVG; of frames, the first, which is the whole picture.
    """
    from graphc.view import draw

    if view != "memory" and (path is None or Path(path).suffix.lower() in (".svg", ".png", ".pdf")):
        draw.warm_up()
    from graphc import view as pictures
    from graphc.view.theme import DEFAULT

    if view == "passes":
        thing, found, view = (
            _pass_picture(model, inputs, dims, weights, name, train, after, side),
            None,
            "auto",
        )
    else:
        thing, found = _drawable(model, view, inputs, dims, weights, name, values, train, expand, of)
    options: dict[str, Any] = {
        "view": view,
        "values": found,
        "show": show,
        "depth": depth,
        "theme": theme or DEFAULT,
        "expand": expand,
        "focus": focus,
        "hops": hops,
        "grad_path_of": grad_path_of,
        "between": between,
    }
    if "time" in show:
        if view == "fusion":
            options["times"] = _measured(thing)
        elif isinstance(thing, Graph):
            options["kernels"] = _measured_values(thing)
    if frames is not None:
        form = Path(path or "frame.svg").suffix.lower()[1:]
        return pictures.render_frames(thing, frames, form=form, **options)[0].read_bytes()
    if path is None:
        return pictures.to_svg(thing, **options)
    if Path(path).suffix.lower() == ".html" and isinstance(thing, Graph):
        from graphc.provenance import provenance

        became = provenance(thing, code="code" in show)
        options |= {"known": became.facts, "code": became.code}
    return pictures.render(thing, path, step=step, **options).read_bytes()


def _pass_picture(
    model: Any, inputs: Types | None, dims: Ranges | None, weights: Any, name: str, train: bool, after: str | None,
    side: Literal["both", "before", "after"],
) -> Any:  # fmt: skip
    from graphc.view.pass_diff import pass_pictures

    graph = graph_of(model, inputs, dims=dims, weights=weights, name=name)
    lowered = lower_with_gradients(graph) if train and not graph.gradients else lower(graph)
    pictures = pass_pictures(lowered.log, side)
    if after is None and len(pictures) == 1:
        (after,) = pictures
    if after not in pictures:
        ran = (
            f"pass {after!r} changed nothing, or did not run" if after else "several passes changed something"
        )
        known = ", ".join(pictures)
        raise UsageError(
            ran if pictures else "no pass changed anything", fix=f"after one of {known}" if known else ""
        )
    return pictures[after]


def _drawable(
    model: Any,
    view: str,
    inputs: Types | None,
    dims: Ranges | None,
    weights: Any,
    name: str,
    values: Any,
    train: bool,
    expand: Collection[str],
    of: str | None,
) -> tuple[Any, Any]:
    if isinstance(model, Tensor):
        model, arrays = tensor_graph(model)
        scalar = all(value.type.shape == () for value in model.values())
        if view == "auto" and scalar:
            view = "joint"
        values = values or (arrays if scalar else False)
    if not (isinstance(model, Graph) or inputs is not None):
        return model, None  # a partition, a plan, a picture
    graph = graph_of(model, inputs, dims=dims, weights=weights, name=name)
    composites = {node.op.name for node in graph.nodes if node.op.is_composite}
    if expand and not graph.gradients:
        from graphc.view.openings import open_primitives

        if composites.intersection(expand):
            graph, _ = open_composites(graph, keep=composites.difference(expand))
        graph = open_primitives(graph, expand)
    if view in ("joint", "backward") and not graph.gradients:
        graph = reverse_mode(graph, of=of)  # of the code as written, not of its stable form
    if view in ("fusion", "memory"):
        lowered = lower_with_gradients(graph) if train and not graph.gradients else lower(graph)
        return (lowered.partition if view == "fusion" else compiled_plan(lowered)), None
    return graph, evaluated(graph, values) if values else None


def _measured(partition: Partition) -> dict[str, float]:
    """Seconds each kernel takes on this machine, for random inputs of batch size 2."""
    from graphc.backends.llvm import cache as caches
    from graphc.backends.llvm.executable import compile_plan, native_plan
    from graphc.profile import profile

    native = compile_plan(native_plan(partition), partition.graph.data, name="timed", cache=caches.default())
    arrays = random_inputs(partition.graph)
    rows = profile(native, [arrays[v.name] for v in partition.graph.inputs]).rows
    return {row.kernel: row.seconds for row in rows}


def _measured_values(graph: Graph) -> dict[str, tuple[str, float]]:
    """By name of a value, the kernel that computes it and the seconds that kernel takes."""
    lowered = lower(graph)
    seconds = _measured(lowered.partition)
    made = {v: k.name for k in lowered.partition.kernels for node in k.nodes for v in node.outputs}
    pairs = ((old.name, made.get(lowered.log.mapping.get(old))) for old in graph.values())  # type: ignore[arg-type]
    return {value: (kernel, seconds[kernel]) for value, kernel in pairs if kernel in seconds}


def evaluated(graph: Graph, values: bool | Mapping[str, np.ndarray]) -> dict[Value, np.ndarray]:
    """Every value of a graph, for the given arrays; an input without one is random, of batch size 2 by default."""
    from graphc.interpret import evaluate

    given = values if isinstance(values, Mapping) else {}
    sizes = {
        str(dim): size
        for value in graph.inputs
        if value.name in given
        for dim, size in zip(value.type.shape, np.shape(given[value.name]), strict=False)
    }
    arrays = random_inputs(graph, sizes=sizes)
    return evaluate(graph, {**arrays, **given})


def random_inputs(
    graph: Graph, size: int = 2, seed: int = 0, sizes: Mapping[str, int] | None = None
) -> dict[str, np.ndarray]:
    """Arrays for the inputs of a graph; an open size is that of `sizes`, else `size`.  Whole numbers are 0 or 1."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for value in graph.inputs:
        known = {**dict.fromkeys(value.type.symbols, size), **(sizes or {})}
        shape = value.type.substitute({name: known[name] for name in value.type.symbols}).shape
        draw = rng.normal(size=shape) if value.dtype.is_float else rng.integers(0, 2, size=shape)  # type: ignore[arg-type]
        arrays[value.name] = np.asarray(draw).astype(value.dtype.numpy)
    return arrays


def summary(
    model: Any,
    inputs: Types | None = None,
    *,
    dims: Ranges | None = None,
    weights: Any = None,
    name: str = "",
    depth: int | None = None,
) -> Any:
    """A table of the layers with output shape, parameters and FLOPs: print it, or take `.as_dict()`."""
    from graphc.view.table import summarize

    return summarize(graph_of(model, inputs, dims=dims, weights=weights, name=name), depth=depth)


def explain(
    model: Any,
    inputs: Types | None = None,
    *,
    dims: Ranges | None = None,
    weights: Any = None,
    name: str = "",
    after: str | None = None,
    train: bool = False,
    backward: bool = False,
    values: bool | Mapping[str, np.ndarray] = False,
) -> Any:
    """What the passes did, which kernels came out and why others did not, and the memory plan.

    after   the graph this pass left; see `Explanation`
    train   with the gradients of all parameters
    backward  instead: the chain rule op by op, a `graphc.view.lesson.Lesson`: `str()` is text, `.latex()` LaTeX
    values  with `backward`: arrays of the inputs by name, or True for random ones, for the numbers
    """
    graph = graph_of(model, inputs, dims=dims, weights=weights, name=name)
    if backward:
        from graphc.view.lesson import lesson

        joint = graph if graph.gradients else reverse_mode(graph)
        return lesson(joint, evaluated(joint, values) if values else None)
    lowered = lower_with_gradients(graph) if train else lower(graph)
    return Explanation(lowered, compiled_plan(lowered), after)


def compiled_plan(lowered: Lowered) -> Plan:
    """The memory plan `compile` uses on this machine: with the working memory of its native kernels."""
    from graphc.backends.llvm.executable import native_plan
    from graphc.backends.llvm.target import host

    target = replace(host(), strict=lowered.numerics == "strict")
    return native_plan(lowered.partition, target=target)


@dataclass(frozen=True, eq=False)
class Explanation:
    """What was done with a graph and why: print it, or take `as_dict()`.

    after   the name of a pass: the graph it left; "all": every step; None: what changed, the kernels, the memory
    """

    lowered: Lowered
    plan: Plan
    after: str | None = None

    def __str__(self) -> str:
        from graphc.explain import explain as explained

        log, partition = self.lowered.log, self.lowered.partition
        if self.after is None:
            return f"{explained(log, partition)}\n\nmemory: {self.plan.verdict}"
        if self.after == "fuse":
            return explained(log, partition, only="fuse")
        graphs = [("trace", log.before), *((step.name, step.graph) for step in log.steps)]
        chosen = [g for g in graphs if self.after in (g[0], "all")]
        if not chosen:
            names = ", ".join([*(name for name, _ in graphs), "fuse", "all"])
            raise UsageError(f"no pass {self.after!r} ran", fix=f"those that ran: {names}")
        return "\n\n".join(f"after {name}:\n{graph!r}" for name, graph in chosen)

    def as_dict(self) -> dict[str, Any]:
        log, partition = self.lowered.log, self.lowered.partition
        return {
            "passes": [
                {"name": step.name, "nodes": len(step.graph.nodes), "notes": [str(n) for n in step.notes]}
                for step in log.steps
            ],
            "kernels": [
                {
                    "name": k.name,
                    "kind": k.kind,
                    "ops": [n.op.name for n in k.nodes],
                    "inputs": [v.name for v in k.inputs],
                    "outputs": [v.name for v in k.outputs],
                }
                for k in partition.kernels
            ],
            "refusals": [asdict(refusal) for refusal in partition.refusals],
            "memory": self.plan.verdict,
        }


def _combinations(sizes: Mapping[str, Sequence[int]]) -> list[dict[str, int]]:
    """Every choice of one size for each symbol that is given some."""
    chosen = [(symbol, tuple(dict.fromkeys(given))) for symbol, given in sorted(sizes.items()) if given]
    return (
        [dict(zip((s for s, _ in chosen), each)) for each in product(*(g for _, g in chosen))]
        if chosen
        else []
    )
