# run
from graphc.errors import UnsupportedError
from graphc.source import user_span


def op(span):
    raise UnsupportedError("a long line is cut around the caret", span=span)


total = 111111111111 + 222222222222 + 333333333333 + 444444444444 + 555555555555 + 666666666666 + 777777777777 + 888888 + op(user_span()) + 99999999999999999999999999999999999999999999999999
