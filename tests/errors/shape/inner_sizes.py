# run
import graphc.nn.functional as F
from graphc import nn
from graphc.frontends.python.tracer import trace


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(256, 120)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.reshape(-1, 400)
        x = F.relu(self.fc1(x))
        return x


trace(LeNet(), x="float32[N,1,28,28]")
