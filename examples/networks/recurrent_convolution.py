"""Convolutional recurrent network: an LSTM whose products are convolutions, so that its state is an image.

Shi et al., Convolutional LSTM network: a machine learning approach for precipitation nowcasting, 2015.
"""

import graphc
from graphc import nn


class Cell(nn.Module):
    """One step: image x[N, C, H, W] and state (h, c), each [N, hidden, H, W] -> the new state."""

    def __init__(self, channels, hidden, kernel=3):
        super().__init__()
        self.gates = nn.Conv2d(channels + hidden, 4 * hidden, kernel, padding=kernel // 2)

    def forward(self, x, h, c):
        i, f, g, o = self.gates(graphc.cat([x, h], 1)).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class ConvLSTM(nn.Module):
    """Films [N, T, C, H, W] -> the image that comes next, [N, C, H, W].  `unroll` draws every step."""

    def __init__(self, channels=1, hidden=8, unroll=False):
        super().__init__()
        self.unroll = unroll
        self.start = nn.Conv2d(channels, hidden, 3, padding=1)
        self.cell = Cell(channels, hidden)
        self.head = nn.Conv2d(hidden, channels, 1)

    def forward(self, x):
        def step(state, image):
            return self.cell(image, *state), None

        h = self.start(x[:, 0]).tanh()
        (h, _), _ = graphc.scan(step, (h, h * 0), x.transpose(0, 1), unroll=self.unroll)
        return self.head(h)


model = ConvLSTM
inputs = {"x": "float32[N,4,1,16,16]"}
