# run
from graphc.errors import WeightsError
from graphc.source import Span

raise WeightsError(
    "no parameter named 'fc\x1b[31m\u202e'",
    span=Span("no-such-file.py", 3, 0, 3, 5),
    facts=[("fc\x07", "float32[1]")],
    cause="first line\nsecond line",
)
