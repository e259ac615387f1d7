"""ZFNet (Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2014).

AlexNet with a smaller first window (7x7, stride 2), so that fewer details are lost.
"""

from graphc import nn


class ZFNet(nn.Module):
    """Colour images of 224x224 -> scores.  `width` scales the number of channels: 1 is the network of the paper."""

    def __init__(self, classes=1000, width=1.0):
        super().__init__()
        c1, c2, c3, c4, c5 = (max(1, int(c * width)) for c in (96, 256, 384, 384, 256))
        hidden = max(1, int(4096 * width))
        self.features = nn.Sequential(
            nn.Conv2d(3, c1, kernel_size=7, stride=2, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            nn.LocalResponseNorm(5),
            nn.Conv2d(c1, c2, kernel_size=5, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            nn.LocalResponseNorm(5),
            nn.Conv2d(c2, c3, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c3, c4, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c4, c5, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(c5 * 6 * 6, hidden),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, classes),
        )

    def forward(self, x):
        return self.classifier(self.features(x))


model = ZFNet
inputs = {"x": "float32[N,3,224,224]"}
