# graphc compile FILE


def encode(x):
    return x + 1


def decode(x):
    return x - 1
