"""From an op's reference to the NumPy text of one use of it.

The reference in the op's declaration is the only NumPy formula there is; nothing is written twice.
A reference of one `return` is put in place, with operands and attributes substituted in its syntax
tree, so precedence takes care of itself.  A longer one becomes a helper function of the generated
file, together with the functions it calls.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from graphc.ir.dims import SymbolicDim
from graphc.ir.types import DType

_OPERATORS: dict[str, type[ast.operator]] = {
    "add": ast.Add, "subtract": ast.Sub, "multiply": ast.Mult, "divide": ast.Div,
    "power": ast.Pow, "matmul": ast.MatMult,
}  # fmt: skip
_COMPARISONS: dict[str, type[ast.cmpop]] = {
    "equal": ast.Eq, "not_equal": ast.NotEq, "less": ast.Lt, "less_equal": ast.LtE,
    "greater": ast.Gt, "greater_equal": ast.GtE,
}  # fmt: skip
_UNARY: dict[str, type[ast.unaryop]] = {"negative": ast.USub}


@cache
def definition(function: Callable[..., Any]) -> ast.FunctionDef:
    """The syntax tree of a function."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    if not isinstance(tree, ast.FunctionDef):
        raise TypeError(f"{function!r} is not written as a def")
    return tree


def single_expression(function: Callable[..., Any]) -> ast.expr | None:
    """The expression of a function that only returns one (inside `with np.errstate` or not), else None."""
    body = [s for s in definition(function).body if not _is_docstring(s)]
    if len(body) == 1 and isinstance(body[0], ast.With) and "errstate" in ast.unparse(body[0].items[0]):
        body = body[0].body
    if len(body) == 1 and isinstance(body[0], ast.Return):
        return body[0].value
    return None


def written_in_place(function: Callable[..., Any] | None) -> bool:
    """Whether a use of this reference is one expression rather than a call of a helper."""
    if function is None or isinstance(function, np.ufunc):
        return True
    return single_expression(function) is not None and definition(function).args.vararg is None


def expression(
    function: Callable[..., Any], operands: Sequence[ast.expr], attributes: Mapping[str, Any]
) -> ast.expr | None:
    """The reference applied to operands, as one expression; None when it needs a helper function."""
    if isinstance(function, np.ufunc):
        return _plainer(ast.Call(_np(function.__name__), list(operands), []))
    template = single_expression(function)
    arguments = definition(function).args
    if template is None or not written_in_place(function):
        return None
    names = [a.arg for a in arguments.posonlyargs + arguments.args]
    values: dict[str, Any] = dict.fromkeys(names) | dict(zip(names, operands)) | dict(attributes)
    copy = ast.parse(ast.unparse(template), mode="eval").body
    return _Substitute(values).visit(copy)


def literal(value: Any) -> ast.expr:
    """An attribute as syntax: `(N, 400)`, `np.float32`, `1.5`."""
    match value:
        case DType():
            return _np("bool_" if value.name == "bool" else value.name)
        case SymbolicDim():
            return ast.parse(str(value), mode="eval").body
        case tuple():
            return ast.Tuple([literal(item) for item in value], ast.Load())
        case float() if value != value or value in (float("inf"), float("-inf")):
            name = _np("nan" if value != value else "inf")
            return ast.UnaryOp(ast.USub(), name) if value < 0 else name
        case bool() | int() | float() | str() | None:
            return ast.parse(repr(value), mode="eval").body
    raise TypeError(f"no source for {value!r}")


def argument(value: Any) -> ast.expr:
    """An attribute passed to a helper function, which may ask a dtype for its item size."""
    if isinstance(value, DType):
        return ast.Call(_np("dtype"), [ast.Constant(value.name)], [])
    return literal(value)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a reference uses from its own file: functions (callees first), constants and modules, as source by name."""

    functions: dict[str, str]
    constants: dict[str, str]
    modules: frozenset[str]


@cache
def needs(function: Callable[..., Any]) -> Needs:
    """Everything a reference needs in the generated file."""
    functions: dict[str, str] = {}
    values: dict[str, str] = {}
    modules: set[str] = set()
    pending: list[tuple[FunctionType, bool]] = (
        [(function, False)] if isinstance(function, FunctionType) else []
    )
    while pending:
        current, ready = pending.pop()
        if ready:
            functions.setdefault(current.__name__, _helper_source(current))
            continue
        if current is not function:
            pending.append((current, True))
        for name in sorted(_names(definition(current))):
            match current.__globals__.get(name):
                case FunctionType() as target if target is not function and name not in functions:
                    pending.append((target, False))
                case bool() | int() | float() | tuple() as value:
                    values[name] = ast.unparse(literal(value))
                case np.generic() as value:
                    values[name] = f"np.{value.dtype.name}({value.item()!r})"
                case ModuleType() as module if module is not np:
                    modules.add(module.__name__)
    return Needs(functions, values, frozenset(modules))


def helper_definition(function: Callable[..., Any], name: str) -> str:
    """A reference too long for one expression, as a function called `name`."""
    tree = ast.parse(ast.unparse(definition(function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    tree.name = name
    return ast.unparse(ast.fix_missing_locations(_PlainDtypes().visit(tree)))


def _helper_source(function: FunctionType) -> str:
    tree = ast.parse(ast.unparse(definition(function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    tree.returns = None
    for argument in (*tree.args.args, *tree.args.kwonlyargs, *tree.args.posonlyargs):
        argument.annotation = None
    if tree.args.vararg is not None:
        tree.args.vararg.annotation = None
    return ast.unparse(ast.fix_missing_locations(_PlainDtypes().visit(tree)))


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _np(name: str) -> ast.expr:
    return ast.Attribute(ast.Name("np", ast.Load()), name, ast.Load())


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


class _PlainDtypes(ast.NodeTransformer):
    """In helpers `dtype.numpy` is `dtype`: the generated file knows NumPy's dtypes only.  Annotations go."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        return ast.copy_location(ast.Assign([node.target], node.value), node) if node.value else None

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        return node.value if node.attr == "numpy" else node


class _Substitute(ast.NodeTransformer):
    """Operands and attributes for the parameters' names; then the plainer spelling where there is one."""

    def __init__(self, values: Mapping[str, Any]):
        self.values = values

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and isinstance(self.values.get(node.value.id), DType):
            return literal(self.values[node.value.id])
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id not in self.values:
            return node
        value = self.values[node.id]
        return value if isinstance(value, ast.expr) else literal(value)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """`b is None` is decided by whether there is an operand b."""
        self.generic_visit(node)
        match node:
            case ast.Compare(ast.Constant(None), [ast.Is()], [ast.Constant(None)]):
                return ast.Constant(True)
            case ast.Compare(_, [ast.Is()], [ast.Constant(None)]):
                return ast.Constant(False)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        return _plainer(node)


def _plainer(call: ast.Call) -> ast.expr:
    """`np.add(x, y)` is `x + y`."""
    match call:
        case ast.Call(ast.Attribute(ast.Name("np"), name), [left, right], []) if name in _OPERATORS:
            return ast.BinOp(left, _OPERATORS[name](), right)
        case ast.Call(ast.Attribute(ast.Name("np"), name), [left, right], []) if name in _COMPARISONS:
            return ast.Compare(left, [_COMPARISONS[name]()], [right])
        case ast.Call(ast.Attribute(ast.Name("np"), name), [operand], []) if name in _UNARY:
            return ast.UnaryOp(_UNARY[name](), operand)
    return call
