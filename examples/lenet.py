"""LeNet on 32x32 grey images, as the PyTorch tutorial writes it; only the import lines differ.

graphc compile examples/lenet.py -o build/lenet
graphc render examples/lenet.py --view joint -o lenet.svg
"""

import graphc.nn.functional as F
from graphc import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3)
        self.conv2 = nn.Conv2d(6, 16, 3)
        self.fc1 = nn.Linear(16 * 6 * 6, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(-1, self.num_flat_features(x))
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        x = self.fc3(x)
        return x

    def num_flat_features(self, x):
        size = x.size()[1:]  # all dimensions but the batch
        num_features = 1
        for s in size:
            num_features *= s
        return num_features


model = Net()
inputs = {"x": "float32[N,1,32,32]"}
