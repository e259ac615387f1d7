"""What graphc says when something is wrong: one class a kind, each with a stable code.

An error says what, where, with which shapes, why, and what to do.  It carries these as data;
`graphc.diagnostics` draws them.  The docstring of a class is its help page (`graphc explain GC0107`).
A kind that belongs to one part of graphc is declared there, as a subclass with its own `code`.

Codes: GC00 usage, GC01 shapes and dtypes, GC02 tracing, GC03 the model file and its weights, GC04 artefacts,
GC05 not supported, GC06 checks, GC07 tools and machines, GC90 bugs in graphc.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Self

from graphc.source import Span


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of the table below an error: a name, its type or value, and where it comes from."""

    name: str
    type: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """A second place that matters for an error, with what there is to say about it."""

    span: Span
    text: str = ""


_kinds: dict[str, type[GraphcError]] = {}


def kinds() -> dict[str, type[GraphcError]]:
    """All error kinds imported so far, by code."""
    return dict(sorted(_kinds.items()))


class GraphcError(Exception):
    """Anything graphc refuses to do, with the reason and the way out.

    All errors of graphc are subclasses of this one, so `except graphc.GraphcError` catches them all.
    """

    code: ClassVar[str] = "GC0000"
    exit_code: int = 1

    def __init__(
        self,
        message: str,
        *,
        span: Span | None = None,
        where: str = "",
        facts: Iterable[Fact | Sequence[str]] = (),
        labels: Iterable[Label | tuple[Span, str]] = (),
        cause: str = "",
        fix: str = "",
    ) -> None:
        """Args:
        message: one line: what is wrong, with the names and numbers in it.
        span: the user's source text at fault.
        where: the place in words, for what has no source line (`model.onnx, node 17 'conv1'`).
        facts: rows `(name, type)` or `(name, type, note)`, as `("x", "float32[N,400]", "from lenet.py:17")`.
        labels: further places, as `(span, text)`.
        cause: why it is wrong, where the message does not say it.
        fix: what to do.
        """
        super().__init__(message)
        self.message = message
        self.span = span
        self.where = where
        self.facts = [fact if isinstance(fact, Fact) else Fact(*fact) for fact in facts]
        self.labels = [label if isinstance(label, Label) else Label(*label) for label in labels]
        self.cause = cause
        self.fix = fix

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "code" not in cls.__dict__:
            return
        other = _kinds.setdefault(cls.code, cls)
        if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(
                f"error code {cls.code} of {cls.__qualname__} already belongs to {other.__qualname__}"
            )
        _kinds[cls.code] = cls

    def at(self, span: Span | None, *facts: Fact | Sequence[str]) -> Self:
        """The same error, told where it happened; a place or a fact it already has stays.

        A shape rule does not know who calls it; the builder that does adds the place:
        `except GraphcError as error: raise error.at(node.span)`.
        """
        if self.span is None:
            self.span = span
        known = {fact.name for fact in self.facts}
        new = [fact if isinstance(fact, Fact) else Fact(*fact) for fact in facts]
        self.facts += [fact for fact in new if fact.name not in known]
        return self

    def __str__(self) -> str:
        from graphc.diagnostics import draw  # it draws errors, so it imports this module

        return draw(self, heading="")

    @classmethod
    def help(cls) -> str:
        """The help page."""
        return inspect.cleandoc(cls.__doc__ or "")

    def as_dict(self) -> dict[str, Any]:
        """The error for `--json`: plain strings and numbers."""
        span = self.span
        return {
            "code": self.code,
            "kind": type(self).__name__,
            "message": self.message,
            "file": span.file if span else None,
            "line": span.line if span else None,
            "column": span.column + 1 if span and span.column >= 0 else None,
            "end_line": span.end_line if span and span.end_line > 0 else None,
            "end_column": span.end_column + 1 if span and span.end_column >= 0 else None,
            "where": self.where or None,
            "facts": [{"name": fact.name, "type": fact.type, "note": fact.note} for fact in self.facts],
            "labels": [{"place": str(label.span), "text": label.text} for label in self.labels],
            "cause": self.cause or None,
            "fix": self.fix or None,
        }


_kinds[GraphcError.code] = GraphcError


class SeveralErrors(GraphcError):
    """Several independent errors, told at once.

    `error.errors` holds them.  The exit code is that of the first.
    """

    code = "GC0001"

    def __init__(self, errors: Sequence[GraphcError]) -> None:
        super().__init__(f"{len(errors)} errors", span=errors[0].span)
        self.errors = list(errors)
        self.exit_code = errors[0].exit_code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errors,)

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {"errors": [error.as_dict() for error in self.errors]}


def nearest(name: str, choices: Iterable[str]) -> str:
    """What to put behind a name that is not known: the most similar one, if any is similar.

    >>> "no parameter fc1.wieght" + nearest("fc1.wieght", ["fc1.weight", "fc2.weight", "bias"])
    'no parameter fc1.wieght; did you mean fc1.weight?'
    """
    from difflib import get_close_matches

    found = get_close_matches(name, list(choices), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def raise_all(errors: Sequence[GraphcError]) -> None:
    """Raise what was collected: nothing, the one error itself, or all of them together."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise SeveralErrors(errors)


class UsageError(GraphcError):
    """The command line or a call asks for something that does not exist.

    An unknown option, a value out of its range, two options that exclude each other, a file that is not
    there.  `graphc COMMAND -h` lists what there is.  The command line exits with 2.
    """

    code = "GC0002"
    exit_code = 2


class ShapeError(GraphcError):
    """The shapes of an operation do not fit together.

    The table below the message gives every operand with its type, `float32[N,400]`: a dtype and a size
    per axis.  A letter is a symbolic dimension, fixed only when the compiled model is called; the same
    letter is the same size everywhere.  Follow the operand whose size surprises you back to the line
    where it was made.
    """

    code = "GC0100"


class InnerSizesDiffer(ShapeError):
    """A matrix product sums over an axis whose two sizes differ.

    `x @ w` needs the last axis of `x` and the second to last axis of `w` to be of one size;
    `nn.Linear(i, o)` keeps its weight as `(o, i)` and needs inputs whose last axis is `i`.  The usual
    cause is a layer built for another image size: the number of features after a convolution and a
    flatten is channels x height x width.
    """

    code = "GC0107"


class BroadcastError(ShapeError):
    """Two shapes cannot be broadcast together.

    Shapes are aligned at their last axis; two sizes fit when they are equal or one of them is 1.  A
    symbolic dimension fits only itself and 1, because it must hold for every size it may take.
    """

    code = "GC0108"


class ArgumentShapeError(ShapeError):
    """An array given to a compiled model does not have the shape the model was compiled for.

    Nothing is reshaped, broadcast or cut to fit.  Transpose or reshape the array before the call, or
    compile the model with other inputs.
    """

    code = "GC0110"


class DTypeError(GraphcError):
    """The dtypes of an operation do not fit, or an array has a dtype the model was not compiled for.

    Nothing is cast in silence.  Write the cast where you want it: `x.astype("float32")`.
    """

    code = "GC0150"


class TraceError(GraphcError):
    """The program asks for a number while it is being traced.

    graphc runs your function once with stand-ins for the arrays and writes down what is done with
    them.  A stand-in has a shape and a dtype but no numbers yet, so Python cannot branch on it, convert
    it or store it elsewhere.
    """

    code = "GC0200"


class BranchError(TraceError):
    """`if`, `while`, `and`, `or`, `not` or `assert` on a traced tensor.

    Which branch to take depends on numbers that exist only when the compiled model runs.  Compute both
    sides and choose elementwise with `graphc.where(condition, a, b)`; combine conditions with `&`, `|`,
    `~`.  A branch on a shape or on a plain Python value is fine: it is decided while tracing.
    """

    code = "GC0201"


class ConversionError(TraceError):
    """A traced tensor was to become a Python number, a list, a string or a NumPy array.

    `float(t)`, `int(t)`, `t.tolist()`, `t.item()`, `np.asarray(t)` and formatted numbers need values,
    and there are none while tracing.  Keep computing with the tensor, return it, and convert the result
    of the compiled model.
    """

    code = "GC0202"


class ForeignTraceError(TraceError):
    """A tensor of one trace is used in another.

    A stand-in was kept in a global, an attribute or a default argument and met again while tracing
    another function.  Pass it as an argument, or return it.
    """

    code = "GC0203"


class UnsupportedError(GraphcError):
    """graphc knows what is meant but cannot do it.

    The message names the operation, argument or dtype.  It is refused rather than approximated.
    """

    code = "GC0500"


class ModelError(GraphcError):
    """The model file cannot be read as a model, or its weights do not fit it."""

    code = "GC0300"


class NoModelError(ModelError):
    """No object in the file could be the model, or several could.

    graphc looks, in this order, for: the name given as `file.py:name` or `--entry`; the object marked
    `@graphc.model`; a variable `model`; a function `model`, `forward` or `predict`; the only public
    Module or function.  Name the one you mean: `graphc compile file.py:name`.
    """

    code = "GC0301"


class ModelFileFailed(ModelError):
    """The model file raised an error while it was being imported.

    The traceback shows the part that lies in your files.  Run `python file.py` to see all of it.
    """

    code = "GC0302"


class NoInputsError(ModelError):
    """The shapes of the inputs are not known.

    Sizes are never guessed.  Write `inputs = {"x": "float32[N,784]"}` in the model file, annotate the
    argument, `def forward(x: "float32[N,784]")`, or give `-i x:float32[N,784]`.  A letter is a size
    left open.
    """

    code = "GC0303"


class WeightsError(ModelError):
    """A weights file cannot be read, or its names, shapes or dtypes are not the model's.

    Names must match exactly; the message shows the nearest ones.  Files are `.safetensors` or `.npz`.  Pickles (`.pt`,
    `.pth`, `.bin`, `.pkl`) are refused, because reading one runs code; convert it once, in the program that wrote it:
    `safetensors.torch.save_file(model.state_dict(), "m.safetensors")`.
    """

    code = "GC0304"


class ArtefactError(GraphcError):
    """An artefact (`NAME.graphc/`) is incomplete, damaged or of a version this graphc cannot read.

    Every file is checked against its sha256 in `manifest.json` before anything in it is used.  Compile
    the model again.
    """

    code = "GC0400"


class OutputError(ArtefactError):
    """The output cannot be written: no permission, no space, or something else stands in its place.

    Outputs appear whole or not at all; what was there before is untouched.
    """

    code = "GC0410"


class CheckFailed(GraphcError):
    """A check that was asked for did not hold: gradients, agreement of the backends, a comparison.

    The message gives the largest difference, where it is, and the bound it should have kept.  The
    command line exits with 3.
    """

    code = "GC0600"
    exit_code = 3


class MissingToolError(GraphcError):
    """Something optional that this command needs is not installed.

    The fix is the exact line that installs it.  The command line exits with 4.
    """

    code = "GC0700"
    exit_code = 4


class HostMismatchError(GraphcError):
    """The artefact was built for another kind of machine.

    It needs processor features which this one does not have.  Compile it again here, or with `--cpu
    x86-64-v2`, which runs on every x86-64 processor since 2009.  The command line exits with 5.
    """

    code = "GC0750"
    exit_code = 5


class GirError(GraphcError):
    """A `.gir` text cannot be read.

    The message names the line of the text.  `docs/gir.md` has the grammar.
    """

    code = "GC0310"

    def __init__(self, message: str, line: int = 0, **keywords: Any) -> None:
        super().__init__(message, where=f"line {line} of the .gir text" if line else "", **keywords)


class InternalError(GraphcError):
    """A bug in graphc: something it promises itself does not hold.

    The command line writes a report without your weights and exits with 70.  Please send the report.
    """

    code = "GC9000"
    exit_code = 70


def unreachable(what: str) -> NoReturn:
    """For the branch that no input can reach."""
    raise InternalError(f"unexpected {what}")
