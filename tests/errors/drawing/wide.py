# run
from graphc.errors import UnsupportedError
from graphc.source import user_span


def op(*arguments):
    raise UnsupportedError("an expression over several lines, after wide characters", span=arguments[-1])


名前 = "重み"; op(名前, user_span(  # fmt: skip
))
