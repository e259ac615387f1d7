"""One neuron as a class in plain Python and NumPy: a weighted sum, a bias, a sigmoid.

graphc render examples/programs/neuron.py --view joint -o neuron.svg
"""

import math

import numpy as np


class Neuron:
    def __init__(self, weights, bias):
        self.weights = np.array(weights)
        self.bias = bias

    def neuron_tick(self, inputs):
        """Inputs and weights are vectors of one length, the bias is a number."""
        cell_body_sum = np.sum(inputs * self.weights) + self.bias
        firing_rate = 1.0 / (1.0 + math.exp(-cell_body_sum))
        return firing_rate


model = Neuron([2.0, -3.0], bias=-3.0).neuron_tick
inputs = {"inputs": "float64[2]"}
