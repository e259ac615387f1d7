"""RNN, LSTM and GRU that read a sequence and answer at every step: deep, and in both directions if wanted.

Elman, Finding structure in time, 1990; Hochreiter and Schmidhuber, Long short-term memory, 1997; Cho et al., Learning
phrase representations using RNN encoder-decoder, 2014; Schuster and Paliwal, Bidirectional recurrent networks, 1997.
"""

from graphc import nn


class Reader(nn.Module):
    """Sequences [N, L, features] -> scores [N, classes, L], one for each step.

    kind           "RNN", "LSTM" or "GRU"
    layers         how many lie on one another
    bidirectional  a second set of layers reads from the end; its answers at a step know what comes later
    """

    def __init__(self, kind="LSTM", features=4, hidden=32, classes=4, layers=1, bidirectional=False):
        super().__init__()
        self.recurrent = getattr(nn, kind)(
            features, hidden, num_layers=layers, batch_first=True, bidirectional=bidirectional
        )
        self.head = nn.Linear(hidden * (2 if bidirectional else 1), classes)

    def forward(self, x):
        states, _ = self.recurrent(x)
        return self.head(states).transpose(1, 2)


model = Reader
inputs = {"x": "float32[N,12,4]"}
