# graphc compile FILE
inputs = {"x": "float32[N,4]"}
dims = {"N": (64, 1)}


def forward(x):
    return x
