"""Linear models: one matrix, and the loss makes the difference.

graphc compile examples/networks/linear.py:SoftmaxRegression -o build/softmax
"""

import graphc.nn.functional as F
from graphc import nn


class LinearClassifier(nn.Module):
    """Scores f = W·x, without a bias, as the lectures begin: the class with the largest score wins."""

    def __init__(self, features=4, classes=3):
        super().__init__()
        self.W = nn.Linear(features, classes, bias=False)

    def forward(self, x):
        return self.W(x)


class LinearRegression(nn.Module):
    """y = w·x + b, fitted by least squares."""

    def __init__(self, features=4):
        super().__init__()
        self.fc = nn.Linear(features, 1)

    def forward(self, x):
        return self.fc(x).squeeze(1)


class LogisticRegression(nn.Module):
    """P(y = 1) = σ(w·x + b)."""

    def __init__(self, features=4):
        super().__init__()
        self.fc = nn.Linear(features, 1)

    def forward(self, x):
        return F.sigmoid(self.fc(x).squeeze(1))


class SoftmaxRegression(nn.Module):
    """P(y = k) = softmax of W·x + b."""

    def __init__(self, features=4, classes=3):
        super().__init__()
        self.fc = nn.Linear(features, classes)

    def forward(self, x):
        return F.softmax(self.fc(x), dim=1)


def squared_error(y, target):
    """For linear regression."""
    return ((y - target) ** 2).mean()


def hinge(scores, labels, classes=3, margin=1.0):
    """Multiclass SVM loss: every other class should stay a margin below the right one."""
    right = F.one_hot(labels, classes).to(scores.dtype)
    score = (scores * right).sum(dim=1, keepdim=True)
    return (F.relu(scores - score + margin) * (1 - right)).sum(dim=1).mean()


def with_penalty(loss, model, strength):
    """loss + λ·R(W), the sum of squared weights; biases (the intercept) are left out."""
    for name, parameter in model.named_parameters():
        if name.endswith("weight"):
            loss = loss + strength * (parameter * parameter).sum()
    return loss


model = SoftmaxRegression
inputs = {"x": "float32[N,4]"}
