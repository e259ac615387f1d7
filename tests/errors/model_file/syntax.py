# graphc compile FILE
def forward(x):
    return (x + 1
