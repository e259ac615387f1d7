"""Vision Transformer: an image as a sequence of patches, with a class token in front.

Dosovitskiy et al., An image is worth 16x16 words, 2021; ViT-Tiny of Touvron et al., Training data-efficient image
transformers, 2021.
"""

import graphc as torch
from graphc import nn


class ViT(nn.Module):
    """Images [N, channels, size, size] -> scores [N, classes].

    patch    side of a patch; each becomes one vector of `width`, by a convolution whose stride is its size
    """

    def __init__(self, size=8, patch=2, channels=1, classes=10, width=32, layers=3, heads=4, hidden=64):
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, width) * 0.02)
        self.layers = nn.Sequential(
            *[
                nn.TransformerEncoderLayer(
                    width, heads, hidden, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
                )
                for _ in range(layers)
            ]
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        token = self.token.expand(x.shape[0], -1, -1)
        x = self.layers(torch.cat([token, x], 1) + self.positions)
        return self.head(self.norm(x[:, 0]))


def ViTTiny():
    """5.7 million parameters."""
    return ViT(size=224, patch=16, channels=3, classes=1000, width=192, layers=12, heads=3, hidden=768)


def ViTBase():
    """86.6 million parameters."""
    return ViT(size=224, patch=16, channels=3, classes=1000, width=768, layers=12, heads=12, hidden=3072)


model = ViT
inputs = {"x": "float32[N,1,8,8]"}
