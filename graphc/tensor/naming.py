"""What the user's source calls a result: `h` for the tanh in `h = np.tanh(x @ w)`.

Only the whole right side of an assignment takes its name: in `y = 2 * x + 1` the sum is `y`, the product
has no name.  What a plain Python function returns is what its caller's expression gives, so names
are looked for there too.
"""

from __future__ import annotations

import ast
import linecache
from types import FrameType

from graphc.source import frame_span, is_user_frame

_Place = tuple[int, int, int, int]
_RETURN = "return"  # a keyword, so no variable has this name

_tables: dict[str, tuple[list[str], dict[_Place, str]]] = {}


def variable_of(frame: FrameType | None) -> str:
    """The variable which the expression the frame evaluates is assigned to, or ""."""
    while frame is not None and is_user_frame(frame):
        span = frame_span(frame)
        place = (span.line, span.column, span.end_line, span.end_column)
        name = _table(span.file).get(place, "")
        if name != _RETURN:
            return name
        frame = frame.f_back
    return ""


def _table(file: str) -> dict[_Place, str]:
    lines = linecache.getlines(file)
    known = _tables.get(file)
    if known is not None and known[0] is lines:
        return known[1]
    table = _read("".join(lines)) if lines else {}
    _tables[file] = (lines, table)
    return table


def _read(text: str) -> dict[_Place, str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}  # a notebook's magic lines, say: values then keep the names of their ops
    lines = text.split("\n")
    table: dict[_Place, str] = {}

    def put(node: ast.AST, name: str) -> None:
        if name and isinstance(node, (ast.expr, ast.stmt)) and node.end_lineno and node.end_col_offset:
            first, last = lines[node.lineno - 1], lines[node.end_lineno - 1]
            start, end = _characters(first, node.col_offset), _characters(last, node.end_col_offset)
            table[node.lineno, start, node.end_lineno, end] = name

    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[*_, target], value=value):
                _pair(target, value, put)
            case (
                ast.AnnAssign(target=target, value=ast.expr() as value)
                | ast.NamedExpr(target=target, value=value)
            ):
                put(value, _name(target))
            case ast.AugAssign(target=target):
                put(node, _name(target))
            case ast.Return(value=ast.expr() as value) | ast.Lambda(body=value):
                put(value, _RETURN)
    return table


def _pair(target: ast.expr, value: ast.expr, put) -> None:  # type: ignore[no-untyped-def]
    if isinstance(target, (ast.Tuple, ast.List)):
        if isinstance(value, (ast.Tuple, ast.List)) and len(target.elts) == len(value.elts):
            for one, part in zip(target.elts, value.elts):
                put(part, _name(one))
        return
    put(value, _name(target))


def _name(target: ast.expr) -> str:
    match target:
        case ast.Name(id=name):
            return name
        case ast.Attribute(attr=name):
            return name
    return ""


def _characters(line: str, byte_column: int) -> int:
    if line.isascii():
        return byte_column
    return len(line.encode("utf-8", "surrogatepass")[:byte_column].decode("utf-8", "ignore"))
