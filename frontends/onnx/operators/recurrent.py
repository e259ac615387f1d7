"""RNN, GRU and LSTM: the products with the inputs of all steps first, then a loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphc import ops
from graphc.frontends.onnx.call import Call
from graphc.frontends.onnx.errors import OnnxError
from graphc.frontends.onnx.loops import looped
from graphc.frontends.onnx.operators.indexing import reversed_steps
from graphc.frontends.onnx.operators.movement import part
from graphc.frontends.onnx.operators.registry import onnx_operator
from graphc.ir.builder import Builder
from graphc.ir.graph import Value
from graphc.ir.types import int64
from graphc.ops.elementwise import zeros_like

Activation = Callable[[Value], Value]
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}

_PARAMETERS = {  # what alpha and beta are when the model does not say
    "Affine": (1.0, 0.0),
    "LeakyRelu": (0.01, 0.0),
    "ThresholdedRelu": (1.0, 0.0),
    "ScaledTanh": (1.0, 1.0),
    "HardSigmoid": (0.2, 0.5),
    "Elu": (1.0, 0.0),
}


def activation(name: str, alpha: float, beta: float) -> Activation:
    """An activation function by its name in the attribute `activations`."""
    functions: dict[str, Activation] = {
        "Relu": ops.relu,
        "Tanh": ops.tanh,
        "Sigmoid": ops.sigmoid,
        "Affine": lambda x: x * alpha + beta,
        "LeakyRelu": lambda x: ops.leaky_relu(x, slope=alpha),
        "ThresholdedRelu": lambda x: ops.where(ops.greater_equal(x, alpha), x, 0.0),
        "ScaledTanh": lambda x: ops.tanh(x * beta) * alpha,
        "HardSigmoid": lambda x: ops.minimum(ops.maximum(x * alpha + beta, 0.0), 1.0),
        "Elu": lambda x: ops.elu(x, alpha=alpha),
        "Softsign": lambda x: x / (ops.abs(x) + 1.0),
        "Softplus": ops.softplus,
    }
    found = {key.lower(): value for key, value in functions.items()}.get(name.lower())
    if found is None:
        raise OnnxError(f"there is no activation {name!r}")
    return found


@dataclass
class Direction:
    """The operands of one direction: w[G, in], r[G, H], bias[2G] or None, h[N, H], c[N, H], peepholes[3H] or None."""

    w: Value
    r: Value
    bias: Value | None
    h: Value
    c: Value | None
    peepholes: Value | None
    functions: list[Activation]


@onnx_operator("RNN", "GRU", "LSTM")
def recurrent(call: Call) -> list[Value]:
    x = call[0]
    if x.type.rank != 3:
        raise OnnxError(f"{call.name} takes sequences of three dimensions, not {x.type}")
    by_batch = bool(call.attribute("layout", 0))
    if by_batch:
        x = ops.transpose(x, permutation=(1, 0, 2))
    hidden = call.attribute("hidden_size") or call[2].shape[-1]
    mode = call.attribute("direction", "forward")
    if mode not in ("forward", "reverse", "bidirectional"):
        raise OnnxError(f"{call.name} has no direction {mode!r}")
    count = 2 if mode == "bidirectional" else 1
    outputs, last, cells = [], [], []
    for number in range(count):
        backwards = mode == "reverse" or number == 1
        steps = _reversed(call, x) if backwards else x
        y, h, c = _run(call, steps, _direction(call, x, number, count, hidden, by_batch), hidden)
        outputs.append(_reversed(call, y) if backwards else y)
        last.append(h)
        cells.append(c)
    y = _stack(outputs, 1)  # [T, directions, N, H]
    results = [
        y,
        _stack(last, 0),
        *([_stack([c for c in cells if c is not None], 0)] if cells[0] is not None else []),
    ]
    if by_batch:
        results[0] = ops.transpose(results[0], permutation=(2, 0, 1, 3))
        results[1:] = [ops.transpose(v, permutation=(1, 0, 2)) for v in results[1:]]
    return results


def _direction(call: Call, x: Value, number: int, count: int, hidden: int, by_batch: bool) -> Direction:
    def own(index: int) -> Value | None:
        if not call.has(index):
            return None
        value = part(call[index], 0, number, number + 1)
        return ops.reshape(value, shape=value.shape[1:])

    def state(index: int) -> Value:
        if not call.has(index):
            return Builder.current().constant(0.0, x.dtype, (x.shape[1], hidden))
        value = call[index]
        if by_batch:
            value = ops.transpose(value, permutation=(1, 0, 2))
        value = part(value, 0, number, number + 1)
        return ops.reshape(value, shape=value.shape[1:])

    w, r = own(1), own(2)
    assert w is not None and r is not None
    is_lstm = call.name == "LSTM"
    each = len(DEFAULTS[call.name])
    given = any(
        a.name == "activations" for a in call.node.attribute
    )  # the schema's default is for two directions
    names = call.attribute("activations") if given else DEFAULTS[call.name] * count
    if len(names) != each * count:
        raise OnnxError(f"{call.name}: {len(names)} activations for {each * count} places")
    alphas, betas = (
        list(call.attribute("activation_alpha") or ()),
        list(call.attribute("activation_beta") or ()),
    )
    functions = []
    for name in names:  # alphas and betas are handed out in order to the functions that take them
        alpha, beta = _PARAMETERS.get(name, (0.0, 0.0))
        if name in _PARAMETERS:
            alpha = alphas.pop(0) if alphas else alpha
            if name in ("Affine", "ScaledTanh", "HardSigmoid"):
                beta = betas.pop(0) if betas else beta
        functions.append(activation(name, alpha, beta))
    return Direction(
        w,
        r,
        own(3),
        state(5),
        state(6) if is_lstm else None,
        own(7) if is_lstm else None,
        functions[number * each : (number + 1) * each],
    )


def _stack(values: list[Value], axis: int) -> Value:
    spread = [ops.reshape(v, shape=(*v.shape[:axis], 1, *v.shape[axis:])) for v in values]
    return spread[0] if len(spread) == 1 else ops.concat(*spread, axis=axis)


def _reversed(call: Call, x: Value) -> Value:
    """The steps backwards, each sequence within its own length."""
    return reversed_steps(x, call[4], 0, 1) if call.has(4) else ops.reverse(x, axes=(0,))


def _run(call: Call, x: Value, d: Direction, hidden: int) -> tuple[Value, Value, Value | None]:
    """y[T, N, H], the last h[N, H] and, of an LSTM, the last c[N, H]."""
    gates, clip = GATES[call.name], call.attribute("clip")
    if d.w.shape[0] != gates * hidden or d.r.shape != (gates * hidden, hidden):
        raise OnnxError(
            f"{call.name}: weights {d.w.type} and {d.r.type} do not fit a hidden size of {hidden}"
        )
    separate = call.name == "GRU" and bool(call.attribute("linear_before_reset", 0))
    from_input = ops.matmul(x, d.w, transpose_w=True)  # all steps at once
    recurrent_bias = None
    if d.bias is not None:
        first, second = (
            part(d.bias, 0, 0, gates * hidden),
            part(d.bias, 0, gates * hidden, 2 * gates * hidden),
        )
        if separate:
            recurrent_bias = part(second, 0, 2 * hidden, 3 * hidden)
            zero = zeros_like(recurrent_bias)
            second = ops.concat(
                part(second, 0, 0, 2 * hidden), ops.broadcast_to(zero, shape=(hidden,)), axis=0
            )
        from_input = from_input + (first + second)
    step = {"RNN": _rnn_step, "GRU": _gru_step, "LSTM": _lstm_step}[call.name]

    def clipped(v: Value) -> Value:
        return v if not clip else ops.minimum(ops.maximum(v, -clip), clip)

    lengths = ops.reshape(ops.cast(call[4], dtype=int64), shape=(x.shape[1], 1)) if call.has(4) else None

    def turn(state: list[Value], elements: list[Value]) -> tuple[list[Value], list[Value]]:
        h, c = state[0], state[1] if len(state) > 1 else None
        new = step(call, elements[0], h, c, d, hidden, clipped, recurrent_bias)
        kept = [v for v in new if v is not None]
        if lengths is None:
            return kept, kept[:1]
        alive = ops.greater(lengths, elements[1])
        return [ops.where(alive, v, old) for v, old in zip(kept, state, strict=True)], [
            ops.where(alive, kept[0], 0.0)
        ]

    count = ops.iota(shape=(x.shape[0],), axis=0, dtype=int64)
    state = [d.h] if d.c is None else [d.h, d.c]
    last, (y,) = looped(call.importer, turn, state, [from_input, count], x.shape[0])
    return y, last[0], last[1] if d.c is not None else None


def _gate(v: Value, number: int, hidden: int) -> Value:
    return part(v, 1, number * hidden, (number + 1) * hidden)


def _rnn_step(call, now, h, c, d, hidden, clipped, recurrent_bias):  # type: ignore[no-untyped-def]
    return d.functions[0](clipped(now + ops.matmul(h, d.r, transpose_w=True))), None


def _gru_step(call, now, h, c, d, hidden, clipped, recurrent_bias):  # type: ignore[no-untyped-def]
    f, g = d.functions
    r_zr, r_h = part(d.r, 0, 0, 2 * hidden), part(d.r, 0, 2 * hidden, 3 * hidden)
    zr = f(clipped(part(now, 1, 0, 2 * hidden) + ops.matmul(h, r_zr, transpose_w=True)))
    z, r = _gate(zr, 0, hidden), _gate(zr, 1, hidden)
    if call.attribute("linear_before_reset", 0):
        inner = ops.matmul(h, r_h, transpose_w=True)
        inner = r * (inner if recurrent_bias is None else inner + recurrent_bias)
    else:
        inner = ops.matmul(r * h, r_h, transpose_w=True)
    candidate = g(clipped(_gate(now, 2, hidden) + inner))
    return (1.0 - z) * candidate + z * h, None


def _lstm_step(call, now, h, c, d, hidden, clipped, recurrent_bias):  # type: ignore[no-untyped-def]
    f, g, k = d.functions
    gates = now + ops.matmul(h, d.r, transpose_w=True)
    i, o, forget, cell = (_gate(gates, number, hidden) for number in range(4))
    if d.peepholes is not None:
        p_i, p_o, p_f = (part(d.peepholes, 0, n * hidden, (n + 1) * hidden) for n in range(3))
        i, forget = i + p_i * c, forget + p_f * c
    i = f(clipped(i))
    forget = 1.0 - i if call.attribute("input_forget", 0) else f(clipped(forget))
    new_c = forget * c + i * g(clipped(cell))
    if d.peepholes is not None:
        o = o + p_o * new_c
    return f(clipped(o)) * k(new_c), new_c
