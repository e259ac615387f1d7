"""Transformer encoder that classifies sequences of words (Vaswani et al., Attention is all you need, 2017)."""

import graphc as torch
from graphc import nn


class Transformer(nn.Module):
    """Vectors [N, L, features] -> scores [N, classes]; each position may read every other one.

    heads    attention is done so many times side by side, in features of their own
    norm_first  layer norm before each part, which trains without a warm-up
    """

    def __init__(self, features=4, length=10, width=32, heads=4, layers=2, classes=3, norm_first=True):
        super().__init__()
        self.embed = nn.Linear(features, width)
        self.positions = nn.Parameter(torch.randn(1, length, width) * 0.02)
        self.layers = nn.Sequential(
            *[
                nn.TransformerEncoderLayer(
                    width,
                    heads,
                    4 * width,
                    dropout=0.0,
                    activation="gelu",
                    batch_first=True,
                    norm_first=norm_first,
                )
                for _ in range(layers)
            ]
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.layers(self.embed(x) + self.positions)
        return self.head(self.norm(x).mean(dim=1))


model = Transformer
inputs = {"x": "float32[N,10,4]"}
