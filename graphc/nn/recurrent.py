"""RNN, LSTM and GRU: cells, and layers that run a cell along a sequence.

Names, arguments, defaults, weight layouts and the order of gates are PyTorch's.  A layer is unrolled: its graph holds
each step, so the length of the sequence must be a number; the batch may be open.  What does not depend on the state,
x·w_ihᵀ + b_ih, is one matrix product for all steps.

    Elman, Finding structure in time, 1990; Hochreiter and Schmidhuber, Long short-term memory, 1997;
    Cho et al., Learning phrase representations using RNN encoder-decoder, 2014.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from graphc.errors import ShapeError, UnsupportedError, UsageError
from graphc.nn import functional as F
from graphc.nn import init
from graphc.nn.layers import _empty, _positive
from graphc.nn.module import Module
from graphc.source import user_span
from graphc.tensor import Tensor
from graphc.tensor import functions as f
from graphc.tensor.recording import here

State = tuple[Any, ...]


def rnn_step(x: Any, h: Any, state: State, nonlinearity: str) -> State:
    """h' = tanh(x + h), or relu; x and h are the parts of input and state."""
    return (f.tanh(x + h) if nonlinearity == "tanh" else f.relu(x + h),)


def lstm_step(x: Any, h: Any, state: State, _: str) -> State:
    """c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c'); gates i, f, g, o in this order."""
    i, forget, g, o = f.chunk(x + h, 4, dim=-1)
    c = f.sigmoid(forget) * state[1] + f.sigmoid(i) * f.tanh(g)
    return f.sigmoid(o) * f.tanh(c), c


def gru_step(x: Any, h: Any, state: State, _: str) -> State:
    """n = tanh(xₙ + σ(r)·hₙ), h' = (1 - σ(z))·n + σ(z)·h; gates r, z, n in this order."""
    xr, xz, xn = f.chunk(x, 3, dim=-1)
    hr, hz, hn = f.chunk(h, 3, dim=-1)
    z = f.sigmoid(xz + hz)
    n = f.tanh(xn + f.sigmoid(xr + hr) * hn)
    return ((1 - z) * n + z * state[0],)


# kind -> (step, gates, arrays of state)
KINDS = {"RNN": (rnn_step, 1, 1), "LSTM": (lstm_step, 4, 2), "GRU": (gru_step, 3, 1)}


def _checked(nonlinearity: str) -> str:
    if nonlinearity not in ("tanh", "relu"):
        raise UsageError(
            f"nonlinearity={nonlinearity!r}", span=user_span(), fix='nonlinearity="tanh" or "relu"'
        )
    return nonlinearity


def _draw(module: Module, hidden_size: int) -> None:
    bound = 1 / math.sqrt(hidden_size)
    for parameter in module.parameters():
        init.uniform_(parameter, -bound, bound)


class _Cell(Module):
    """One step; `weight_ih[gates·hidden, input]`, `weight_hh[gates·hidden, hidden]`."""

    kind = "RNN"

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: Any = None):
        super().__init__()
        _positive(input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.nonlinearity = input_size, hidden_size, "tanh"
        rows = KINDS[self.kind][1] * hidden_size
        self.weight_ih = _empty((rows, input_size), dtype)
        self.weight_hh = _empty((rows, hidden_size), dtype)
        self.bias_ih = _empty((rows,), dtype) if bias else None
        self.bias_hh = _empty((rows,), dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        _draw(self, self.hidden_size)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        step, _, parts = KINDS[self.kind]
        if hx is None:
            zero = f.full((*input.type.shape[:-1], self.hidden_size), 0.0, input.dtype)
            state: State = (zero,) * parts
        else:
            state = tuple(hx) if parts > 1 else (hx,)
        x = F.linear(input, self.weight_ih, self.bias_ih)
        new = step(x, F.linear(state[0], self.weight_hh, self.bias_hh), state, self.nonlinearity)
        return new if parts > 1 else new[0]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class RNNCell(_Cell):
    """h' = tanh(w_ih·x + b_ih + w_hh·h + b_hh): x[N, input], h[N, hidden] -> [N, hidden]."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", *,
        dtype: Any = None,
    ):  # fmt: skip
        super().__init__(input_size, hidden_size, bias, dtype=dtype)
        self.nonlinearity = _checked(nonlinearity)


class LSTMCell(_Cell):
    """One step of an LSTM: x[N, input], (h, c) of [N, hidden] -> (h', c').  Gates i, f, g, o."""

    kind = "LSTM"


class GRUCell(_Cell):
    """One step of a GRU: x[N, input], h[N, hidden] -> [N, hidden].  Gates r, z, n."""

    kind = "GRU"


class _Layers(Module):
    kind = "RNN"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: Any = None,
    ):
        super().__init__()
        _positive(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if not 0 <= proj_size < hidden_size:
            raise UsageError(
                f"proj_size={proj_size} is not less than hidden_size={hidden_size}", span=user_span()
            )
        if not 0 <= dropout <= 1:
            raise UsageError(f"the probability dropout={dropout} must lie in [0, 1]", span=user_span())
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        self.bidirectional, self.nonlinearity = bidirectional, "tanh"
        rows, self.proj_size = KINDS[self.kind][1] * hidden_size, proj_size
        out = proj_size or hidden_size
        for layer in range(num_layers):
            columns = input_size if layer == 0 else out * self.directions
            for suffix in self._suffixes(layer):
                self.register_parameter(f"weight_ih{suffix}", _empty((rows, columns), dtype))
                self.register_parameter(f"weight_hh{suffix}", _empty((rows, out), dtype))
                if bias:
                    self.register_parameter(f"bias_ih{suffix}", _empty((rows,), dtype))
                    self.register_parameter(f"bias_hh{suffix}", _empty((rows,), dtype))
                if proj_size:
                    self.register_parameter(f"weight_hr{suffix}", _empty((proj_size, hidden_size), dtype))
        self.reset_parameters()

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self.directions]

    def reset_parameters(self) -> None:
        _draw(self, self.hidden_size)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        parts = KINDS[self.kind][2]
        x, given = input, None if hx is None else (tuple(hx) if parts > 1 else (hx,))
        self._check(x, given)
        batched = x.ndim == 3
        if not batched:
            x = f.unsqueeze(x, 1)
            given = None if given is None else tuple(f.unsqueeze(part, 1) for part in given)
        elif self.batch_first:
            x = f.swapaxes(x, 0, 1)
        zeros = tuple(f.full((x.type.shape[1], size), 0.0, x.dtype) for size in self._sizes())
        finals: list[State] = []
        for layer in range(self.num_layers):
            if layer:
                x = F.dropout(x, self.dropout, self.training)
            outputs = []
            for suffix in self._suffixes(layer):
                state = zeros if given is None else tuple(part[len(finals)] for part in given)
                output, final = self._along(x, state, suffix)
                outputs.append(output)
                finals.append(final)
            x = outputs[0] if len(outputs) == 1 else f.concatenate(outputs, -1)
        states = [f.stack([final[part] for final in finals], 0) for part in range(parts)]
        if not batched:
            x, states = f.squeeze(x, 1), [f.squeeze(state, 1) for state in states]
        elif self.batch_first:
            x = f.swapaxes(x, 0, 1)
        return x, tuple(states) if parts > 1 else states[0]

    def _sizes(self) -> tuple[int, ...]:
        """Of each array of the state: h may be projected, c is not."""
        return (self.proj_size or self.hidden_size, self.hidden_size)[: KINDS[self.kind][2]]

    def _projected(self, step: Callable[..., State], weight: Any) -> Callable[..., State]:
        """The step with h' = w_hr·h' at its end.  Sak, Senior and Beaufays, Long short-term memory ..., 2014."""
        if weight is None:
            return step

        def projected(*operands: Any) -> State:
            h, *rest = step(*operands)
            return F.linear(h, weight), *rest

        return projected

    def _along(self, x: Tensor, state: State, suffix: str) -> tuple[Tensor, State]:
        """One layer in one direction: x[L, N, columns] -> outputs [L, N, hidden], and the last state."""
        step = self._projected(KINDS[self.kind][0], getattr(self, f"weight_hr{suffix}", None))
        weight_hh, bias_hh = getattr(self, f"weight_hh{suffix}"), getattr(self, f"bias_hh{suffix}", None)
        inputs = F.linear(x, getattr(self, f"weight_ih{suffix}"), getattr(self, f"bias_ih{suffix}", None))
        steps = f.unbind(inputs, 0)
        backward = suffix.endswith("_reverse")
        outputs = []
        for part in reversed(steps) if backward else steps:
            state = step(part, F.linear(state[0], weight_hh, bias_hh), state, self.nonlinearity)
            outputs.append(state[0])
        return f.stack(outputs[::-1] if backward else outputs, 0), state

    def _check(self, x: Tensor, given: State | None) -> None:
        name = type(self).__name__
        if x.ndim not in (2, 3) or x.type.shape[-1] != self.input_size:
            raise ShapeError(
                f"{name} takes [{'N, L' if self.batch_first else 'L, N'}, {self.input_size}]",
                span=here(), facts=f.fact(x),
            )  # fmt: skip
        length = x.type.shape[1 if self.batch_first and x.ndim == 3 else 0]
        if not isinstance(length, int):
            raise UnsupportedError(
                f"{name} over an open number of steps {length}",
                span=here(),
                facts=f.fact(x),
                cause="the layer is unrolled: its graph holds every step",
                fix=f"give the length as a number, or --dim {length}=20",
            )
        if length == 0:
            raise ShapeError(f"{name} over a sequence of no steps", span=here(), facts=f.fact(x))
        count = self.num_layers * self.directions
        middle = () if x.ndim == 2 else (x.type.shape[0 if self.batch_first else 1],)
        for part, size in zip(given or (), self._sizes()):
            wanted = (count, *middle, size)
            if part.type.shape != wanted:
                raise ShapeError(
                    f"the first state of {name} must be [{', '.join(map(str, wanted))}]",
                    span=here(),
                    facts=f.fact(part),
                )

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        text += f", num_layers={self.num_layers}" if self.num_layers != 1 else ""
        text += ", batch_first=True" if self.batch_first else ""
        text += f", dropout={self.dropout}" if self.dropout else ""
        text += f", proj_size={self.proj_size}" if self.proj_size else ""
        return text + (", bidirectional=True" if self.bidirectional else "")


class RNN(_Layers):
    """Elman network: x[L, N, input] -> (outputs [L, N, directions·hidden], last state [layers·directions, N, hidden]).

    With `batch_first` sequences are [N, L, input].  Raises UnsupportedError when L is left open.

    >>> from graphc import nn
    >>> rnn = nn.RNN(3, 5, num_layers=2, batch_first=True)
    >>> [tuple(part.shape) for part in rnn(nn.Parameter([[[0.0] * 3] * 4]))]
    [(1, 4, 5), (2, 1, 5)]
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
        bias: bool = True, batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, *,
        dtype: Any = None,
    ):  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype=dtype
        )
        self.nonlinearity = _checked(nonlinearity)


class LSTM(_Layers):
    """Long short-term memory: x[L, N, input] -> (outputs, (last h, last c)), shaped as those of `RNN`.

    With `proj_size` each h is projected to so many features, weight_hr[proj_size, hidden].
    """

    kind = "LSTM"


class GRU(_Layers):
    """Gated recurrent unit: x[L, N, input] -> (outputs, last h), shaped as those of `RNN`."""

    kind = "GRU"

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, *, dtype: Any = None,
    ):  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype=dtype
        )
