# run
import graphc
from graphc import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter([2.0])

    def forward(self, x):
        return x * float(self.scale.data[0])


graphc.trace(Net(), x="float32[N,3]")
