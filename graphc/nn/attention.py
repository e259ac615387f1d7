"""Attention: MultiheadAttention, the Transformer encoder, positions.

Names, arguments, defaults and weight layouts are PyTorch's.  Vaswani et al., Attention is all you need, 2017.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import ShapeError, UnsupportedError, UsageError
from graphc.nn import functional as F
from graphc.nn import init
from graphc.nn.containers import ModuleList
from graphc.nn.layers import Linear, _empty, _positive
from graphc.nn.module import Module
from graphc.nn.normalization import Dropout, LayerNorm
from graphc.source import user_span
from graphc.tensor import Tensor
from graphc.tensor import functions as f
from graphc.tensor.recording import here


class MultiheadAttention(Module):
    """softmax(q·kᵀ/√d)·v in `num_heads` parts, between linear maps.

    query[L, N, E], key[S, N, kdim], value[S, N, vdim] -> ([L, N, E], weights)

    With `batch_first` the batch stands first.  `attn_mask` [L, S] or [N·heads, L, S] and `key_padding_mask` [N, S] are
    True, or -inf, where nothing may be read.  The weights are averaged over the heads: [N, L, S].  `add_bias_kv` adds a
    learned key and value to those that may be read, `add_zero_attn` one of zeros.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        dtype: Any = None,
    ):
        super().__init__()
        _positive(embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise UsageError(f"{embed_dim} features do not divide into {num_heads} heads", span=user_span())
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = (
            embed_dim,
            num_heads,
            dropout,
            batch_first,
        )
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = init.xavier_uniform_(_empty((3 * embed_dim, embed_dim), dtype))
        else:
            self.in_proj_weight = None
            self.q_proj_weight = init.xavier_uniform_(_empty((embed_dim, embed_dim), dtype))
            self.k_proj_weight = init.xavier_uniform_(_empty((embed_dim, self.kdim), dtype))
            self.v_proj_weight = init.xavier_uniform_(_empty((embed_dim, self.vdim), dtype))
        self.in_proj_bias = _empty((3 * embed_dim,), dtype) if bias else None
        self.bias_k = init.xavier_normal_(_empty((1, 1, embed_dim), dtype)) if add_bias_kv else None
        self.bias_v = init.xavier_normal_(_empty((1, 1, embed_dim), dtype)) if add_bias_kv else None
        self.add_zero_attn = add_zero_attn
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if is_causal and attn_mask is None:
            raise UsageError("is_causal needs attn_mask, as in PyTorch", span=here())
        if query.ndim not in (2, 3):
            raise ShapeError("attention takes [L, N, E] or [L, E]", span=here(), facts=f.fact(query))
        same = query is key is value
        operands = [self._batch_first(t) for t in ((query,) if same else (query, key, value))]
        q, k, v = self._projected(operands)
        if self.bias_k is not None:
            k, v = _longer(k, self.bias_k), _longer(v, self.bias_v)
        if self.add_zero_attn:
            k, v = (_longer(t, f.full((1, 1, self.embed_dim), 0.0, t.dtype)) for t in (k, v))
        q, k, v = (self._heads(t) for t in (q, k, v))
        mask = self._mask(attn_mask, key_padding_mask, q)
        more = (self.bias_k is not None) + self.add_zero_attn
        if mask is not None and more:  # what is added may always be read
            mask = f.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, more)])
        attended, weights = F.attention(q, k, v, mask, self.dropout if self.training else 0.0)
        n, _, length, _ = attended.type.shape
        y = self.out_proj(f.permute(attended, 0, 2, 1, 3).reshape(n, length, self.embed_dim))
        if query.ndim == 2:
            y = f.squeeze(y, 0)
        elif not self.batch_first:
            y = f.swapaxes(y, 0, 1)
        if not need_weights:
            return y, None
        shown = f.mean(weights, 1) if average_attn_weights else weights
        return y, f.squeeze(shown, 0) if query.ndim == 2 else shown

    def _batch_first(self, x: Tensor) -> Tensor:
        if x.ndim == 2:
            return f.unsqueeze(x, 0)
        return x if self.batch_first else f.swapaxes(x, 0, 1)

    def _projected(self, operands: list[Tensor]) -> Any:
        """What is asked for, what it is compared with, what is read; one matrix product when all are the same."""
        if self.in_proj_weight is not None and len(operands) == 1:
            return f.chunk(F.linear(operands[0], self.in_proj_weight, self.in_proj_bias), 3, dim=-1)
        weights = (
            (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
            if self.in_proj_weight is None
            else f.chunk(self.in_proj_weight, 3, dim=0)
        )
        biases = (None,) * 3 if self.in_proj_bias is None else f.chunk(self.in_proj_bias, 3, dim=0)
        return [F.linear(t, w, b) for t, w, b in zip(operands * (3 // len(operands)), weights, biases)]

    def _heads(self, x: Tensor) -> Tensor:
        """[N, L, E] -> [N, heads, L, E/heads]"""
        n, length, features = x.type.shape
        parts = x.reshape(n, length, self.num_heads, features // self.num_heads)
        return f.permute(parts, 0, 2, 1, 3)

    def _mask(self, attn_mask: Any, key_padding_mask: Any, q: Tensor) -> Any:
        """Both masks as one number to add to the scores, or None."""
        total = None
        if attn_mask is not None:
            total = _additive(attn_mask, q.dtype)
            if total.ndim == 3:
                total = total.reshape(-1, self.num_heads, *total.type.shape[1:])
        if key_padding_mask is not None:
            padding = _additive(key_padding_mask, q.dtype)
            rows = padding if padding.ndim == 2 else f.unsqueeze(padding, 0)
            wide = f.unsqueeze(f.unsqueeze(rows, 1), 1)
            total = wide if total is None else total + wide
        return total


def _longer(x: Tensor, row: Any) -> Tensor:
    """[N, S, E] with one more row."""
    return f.concatenate([x, f.broadcast_to(row, (x.type.shape[0], 1, x.type.shape[2]))], 1)


def _additive(mask: Any, dtype: Any) -> Tensor:
    mask = f.as_tensor(mask)
    if mask.type.dtype.kind != "bool":
        return mask
    return f.where(mask, f.full((), -np.inf, dtype), f.full((), 0.0, dtype))


class TransformerEncoderLayer(Module):
    """Self-attention, then two linear maps, each beside a shortcut and normalised: src[L, N, E] -> [L, N, E].

    `norm_first` normalises before each part instead of after its sum.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype: Any = None,
    ):
        super().__init__()
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        known = {"relu": F.relu, "gelu": F.gelu}
        if isinstance(activation, str) and activation not in known:
            raise UsageError(f"activation={activation!r}", span=user_span(), fix='"relu" or "gelu"')
        self.activation = known[activation] if isinstance(activation, str) else activation

    def forward(
        self, src: Tensor, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            y, _ = self.self_attn(x, x, x, src_key_padding_mask, need_weights=False, attn_mask=src_mask)
            return self.dropout1(y)

        def feed_forward(x: Tensor) -> Tensor:
            return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        if self.norm_first:
            x = src + attend(self.norm1(src))
            return x + feed_forward(self.norm2(x))
        x = self.norm1(src + attend(src))
        return self.norm2(x + feed_forward(x))


class TransformerEncoder(Module):
    """`num_layers` copies of a layer, one after the other, then `norm` if there is one."""

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None):
        super().__init__()
        _positive(num_layers=num_layers)
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm

    def forward(
        self, src: Tensor, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None
    ) -> Tensor:
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask)
        return src if self.norm is None else self.norm(src)


class PositionalEncoding(Module):
    """Adds sines and cosines of the position to x[N, L, E], so that order counts; nothing is trained.

    p[t, 2i] = sin(t/10000^(2i/E)), p[t, 2i+1] = cos(t/10000^(2i/E)).  Raises ShapeError beyond `max_len` positions.

    >>> from graphc import nn
    >>> nn.PositionalEncoding(4)(nn.Parameter([[[0.0] * 4] * 2])).numpy().round(2).tolist()
    [[[0.0, 1.0, 0.0, 1.0], [0.8399999737739563, 0.5400000214576721, 0.009999999776482582, 1.0]]]
    """

    def __init__(self, d_model: int, max_len: int = 5000, *, dtype: Any = None):
        super().__init__()
        _positive(d_model=d_model, max_len=max_len)
        self.max_len = max_len
        self.positions = sinusoids(max_len, d_model).astype(np.dtype(dtype or np.float32))

    def forward(self, x: Tensor) -> Tensor:
        length = x.type.shape[-2]
        if not isinstance(length, int):
            raise UnsupportedError(f"positions of an open length {length}", span=here(), facts=f.fact(x))
        if length > self.max_len:
            raise ShapeError(
                f"{length} positions, the table has {self.max_len}", span=here(), facts=f.fact(x)
            )
        return x + f.as_tensor(self.positions[:length].astype(x.dtype))

    def extra_repr(self) -> str:
        return f"{self.positions.shape[1]}, max_len={self.max_len}"


def sinusoids(length: int, features: int) -> np.ndarray:
    """The table [length, features] of sines and cosines of positions, in float64."""
    angle = np.arange(length)[:, None] / 10000 ** (np.arange(features) // 2 * 2 / features)
    return np.where(np.arange(features) % 2 == 0, np.sin(angle), np.cos(angle))
