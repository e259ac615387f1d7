"""Where a file binds its names, read from the source: the lines of candidates, the places of declared values."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from graphc.source import Span, syntax_span

_SCOPES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Bindings:
    """The top-level names of a file, those bound inside `if`, `try` and `with` included.

    lines   the line of the last binding of each name
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tree = ast.parse(path.read_bytes())
        self.lines: dict[str, int] = {}
        for name, line in _bound(self._tree):
            self.lines[name] = max(line, self.lines.get(name, 0))

    def line(self, name: str) -> Span:
        """The line on which a name is bound; line 0, which is the file as a whole, when it is not."""
        return Span(str(self.path), self.lines.get(name.split(".")[0], 0))

    def value(self, name: str, key: str | None = None) -> Span:
        """The place of the value bound by `name = ...`; with a key, of that entry of a dictionary written there."""
        for statement in reversed(self._tree.body):
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            if not any(isinstance(target, ast.Name) and target.id == name for target in targets):
                continue
            assert isinstance(statement, ast.Assign)
            entry = _entry(statement.value, key)
            return syntax_span(str(self.path), entry if entry is not None else statement.value)
        return self.line(name)


def _entry(value: ast.expr, key: str | None) -> ast.expr | None:
    if key is not None and isinstance(value, ast.Dict):
        for name, item in zip(value.keys, value.values):
            if isinstance(name, ast.Constant) and name.value == key:
                return item
    return None


def _bound(tree: ast.AST) -> Iterator[tuple[str, int]]:
    pending = [tree]
    while pending:
        node = pending.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.Import() | ast.ImportFrom():
                for alias in node.names:
                    yield (alias.asname or alias.name).split(".")[0], node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case _ if not isinstance(node, _SCOPES):
                pending += ast.iter_child_nodes(node)
