"""Tells mypy what it cannot see: a class under `@op(...)` becomes an Op, which takes any operands and attributes.

mypy ignores what a class decorator returns, so it would take `matmul(x, w)` for the making of an object.
"""

from collections.abc import Callable

from mypy.plugin import ClassDefContext, Plugin


class OpPlugin(Plugin):
    def get_class_decorator_hook_2(self, fullname: str) -> Callable[[ClassDefContext], bool] | None:
        return declare if fullname == "graphc.ir.op.op" else None


def declare(context: ClassDefContext) -> bool:
    """Calls and attributes of the class are no longer checked."""
    context.cls.info.fallback_to_any = True
    return True


def plugin(version: str) -> type[Plugin]:
    return OpPlugin
