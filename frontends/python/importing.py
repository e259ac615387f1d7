"""Runs the user's own code: imports a model file, and tells an error in it from a bug in graphc."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType

from graphc.errors import GraphcError, ModelFileFailed, UsageError, nearest
from graphc.source import Span, instruction_span, is_internal, is_user


def import_file(path: Path) -> ModuleType:
    """Import a Python file under a name of its own; its folder goes onto `sys.path`, as when it is run."""
    _check(path)
    path = path.resolve()
    name = "graphc_model_" + re.sub(r"\W", "_", path.stem)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[name] = module  # dataclasses and typing look their module up
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # nothing beside the user's file
    try:
        with user_code(f"{path.name} fails when it is imported"):
            spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = writes_bytecode
    return module


def _check(path: Path) -> None:
    if path.suffix == ".graphc" or (path / "manifest.json").exists():
        raise UsageError(
            f"{path} is an artefact, not a model", fix=f"graphc run {path}, or graphc inspect {path}"
        )
    if path.suffix != ".py":
        raise UsageError(f"{path} is not a Python file", fix="give a file whose name ends in .py")
    if path.is_dir():
        raise UsageError(f"{path} is a folder")
    if not path.exists():
        folder = path.parent
        others = [each.name for each in folder.glob("*.py")] if folder.is_dir() else []
        raise UsageError(f"no file {path}{nearest(path.name, others)}")


@contextlib.contextmanager
def user_code(message: str) -> Iterator[None]:
    """What the user's code raises becomes a ModelFileFailed at the user's line.

    graphc's own errors pass unchanged, and so does what else is raised inside graphc: that is a bug.
    """
    try:
        yield
    except GraphcError:
        raise
    except SyntaxError as error:
        raise ModelFileFailed(
            f"{message}: {type(error).__name__}: {error.msg}", span=_syntax_span(error)
        ) from error
    except (Exception, SystemExit) as error:
        steps = _user_steps(error.__traceback__)
        if steps is None:
            raise
        said = traceback.format_exception_only(error)[-1].strip()
        facts = [(frame, str(span), span.text.strip()) for frame, span in steps[:-1]]
        span = steps[-1][1] if steps else None
        raise ModelFileFailed(f"{message}: {said}", span=span, facts=facts) from error


def _syntax_span(error: SyntaxError) -> Span | None:
    if error.filename is None or error.lineno is None:
        return None
    column = (error.offset or 0) - 1
    end_line = error.end_lineno or error.lineno
    end = (error.end_offset or 0) - 1
    if column < 0:
        return Span(error.filename, error.lineno)
    return Span(error.filename, error.lineno, column, end_line, max(end, column + 1))


def _user_steps(trace: TracebackType | None) -> list[tuple[str, Span]] | None:
    """The user's frames from the outside in; None when it was graphc that failed, itself or in a library it called."""
    steps: list[tuple[str, Span]] = []
    ours = False
    while trace is not None:
        code = trace.tb_frame.f_code
        if is_user(code.co_filename):
            steps.append((code.co_name, instruction_span(code, trace.tb_lasti, trace.tb_lineno)))
            ours = False
        elif is_internal(code.co_filename):
            ours = code.co_filename != __file__
        trace = trace.tb_next
    return None if ours else steps
