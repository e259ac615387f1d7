"""One LSTM cell read three times: the weights are shared, the calls are not.

graphc render examples/unrolled.py:Unrolled --depth 1 -o lstm.svg
"""

import graphc
from graphc import nn


@graphc.model(inputs={"x": "float32[N,3,4]", "h": "float32[N,8]", "c": "float32[N,8]"})
class Unrolled(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(4, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x, h, c):
        for step in range(3):
            h, c = self.cell(x[:, step], (h, c))
        return self.head(h)


@graphc.model(inputs={"x": "float32[N,4]", "h": "float32[N,8]", "c": "float32[N,8]"})
class Cell(nn.Module):
    """One step of it."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(4, 8)

    def forward(self, x, h, c):
        h, c = self.cell(x, (h, c))
        return h
