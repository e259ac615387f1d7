# graphc compile FILE
SIZES = {"rows": 3}


def make(name):
    return [0.0] * SIZES[name]


weights = make("columns")


def forward(x):
    return x
