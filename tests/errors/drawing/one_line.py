# run
from graphc.errors import InnerSizesDiffer
from graphc.source import user_span


def matmul(x, w):
    span = user_span()
    raise InnerSizesDiffer(
        "matmul inner sizes differ: 400 (x) and 256 (fc1.weight)",
        span=span,
        facts=[
            ("x", "float32[N,400]", "from reshape at lenet.py:17 (16 x 5 x 5)"),
            ("fc1.weight", "float32[120,256]"),
        ],
        fix="nn.Linear(400, 120), or pool 5x5 down to 4x4 before the reshape",
    )


matmul(1, 2)
