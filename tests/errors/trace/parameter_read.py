# run
import graphc
from graphc import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        if self.fc.weight.sum() > 0:
            return self.fc(x)
        return x


graphc.trace(Net(), x="float32[N,3]")
