"""VGG-16 and VGG-19 (Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2015).

Only 3x3 convolutions: two of them see 5x5 pixels, three see 7x7, with fewer parameters and more non-linearities.

graphc summary examples/networks/vgg.py:VGG16
"""

from graphc import nn

BLOCKS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions before each pooling
CHANNELS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Colour images -> scores.

    depth  16 or 19; or the convolutions of each block
    size   of the images, a multiple of 32
    width  scales the number of channels: 1 is the network of the paper
    """

    def __init__(self, depth=16, classes=1000, size=224, width=1.0):
        super().__init__()
        layers, channels = [], 3
        for count, planes in zip(BLOCKS.get(depth, depth), CHANNELS):
            for _ in range(count):
                out = max(1, int(planes * width))
                layers += [nn.Conv2d(channels, out, kernel_size=3, padding=1), nn.ReLU()]
                channels = out
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        hidden = max(1, int(4096 * width))
        self.classifier = nn.Sequential(
            nn.Linear(channels * (size // 32) ** 2, hidden),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, classes),
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def VGG16(**choices):
    return VGG(16, **choices)


def VGG19(**choices):
    return VGG(19, **choices)


model = VGG
inputs = {"x": "float32[N,3,224,224]"}
