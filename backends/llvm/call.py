"""From Python to a compiled model in a fraction of a microsecond.

`bind` gives a built-in function: CPython calls its machine code directly with an array of arguments
(METH_FASTCALL), and that code, emitted by `wrapper.py`, reads the NumPy arrays where they lie. Nothing here
is specific to one model: the wrapper follows a table, the *plan*, that says what each argument must be. An
argument that is not exactly that goes to `Checked`, plain Python, which makes it contiguous or says what is
wrong with it. Where the layout of CPython's and NumPy's objects is not the expected one, `Checked` is all
there is.
"""

import ctypes
import functools
import importlib
import platform
import struct
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphc.backends.llvm.cache import Cache
from graphc.backends.llvm.jit import Code, emit_object, load
from graphc.backends.llvm.signature import Array, Signature
from graphc.backends.llvm.target import Target, host
from graphc.backends.llvm.wrapper import (
    ARRAY_DATA,
    ARRAY_DESCR,
    ARRAY_DIMS,
    ARRAY_FLAGS,
    ARRAY_ND,
    BYTES_DATA,
    CALL,
    OBJECT_TYPE,
    PYTHON_NAMES,
    SLOTS,
    TUPLE_ITEMS,
    emit_wrapper,
)
from graphc.errors import ArgumentShapeError, DTypeError, InternalError, UsageError
from graphc.ir.dims import evaluate
from graphc.ir.types import as_argument

LET_GO = 20_000.0  # nanoseconds of work from which other Python threads are let run meanwhile
METH_FASTCALL = 0x80
NEVER = 2**62


def bind(
    signature: Signature,
    run: int,
    context: int = 0,
    *,
    keep: Any = None,
    threads: int = 1,
    error: Callable[[int], Exception] | None = None,
    cache: Cache | None = None,
    code: Code | None = None,
) -> Callable[..., Any]:
    """The Python function of a compiled model.

    Args:
        signature: its arrays and needs.
        run: the address of its `NAME_run`.
        context: the handle passed first.
        keep: whatever owns the code and the context; it lives as long as the function.
        threads: passed last.
        error: makes an exception of a status other than 0.
        cache: where the compiled wrapper is kept between processes.
        code: a library with the wrapper, which is compiled else.

    The function takes the inputs in order and gives the output, or a tuple when there are several. Arrays of
    the exact dtype, contiguous and aligned, take the fast road; others are made so when that changes no
    value. Raises ArgumentShapeError, DTypeError or UsageError for arguments that do not fit. It may be called
    from several threads at once; each call has a workspace of its own, and workspaces are kept for the next
    call.
    """
    checked = Checked(signature, run, context, keep, threads, error)
    array_new = numpy_allocator()
    if array_new is None or not signature.is_linear:
        return checked
    if code is None:
        code = _wrapper(len(signature.inputs), len(signature.outputs), cache)
    workspaces = _Workspaces()
    plan = _plan(checked, array_new, workspaces.address)
    method = _MethodDef(signature.name.encode(), code.address(CALL), METH_FASTCALL, str(checked).encode())
    bound = (plan, checked, checked.fail, workspaces, code, method, keep)
    function: Callable[..., Any] = _python_function(ctypes.byref(method), bound, None)
    return function


class Checked:
    """A compiled model called through ctypes: every argument checked, every error explained."""

    def __init__(
        self,
        signature: Signature,
        run: int,
        context: int,
        keep: Any,
        threads: int,
        error: Callable[[int], Exception] | None,
    ) -> None:
        self.signature, self.run, self.context, self.keep = signature, run, context, keep
        self.threads, self.error = threads, error
        sizes = [ctypes.c_int64] * len(signature.symbols)
        pointers = [ctypes.c_void_p] * (len(signature.inputs) + len(signature.outputs) + 1)
        kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, *sizes, *pointers, ctypes.c_int32)
        self.function = kind(run)

    def __str__(self) -> str:
        inputs, outputs = (", ".join(map(str, a)) for a in (self.signature.inputs, self.signature.outputs))
        return f"{self.signature.name}({inputs}) -> ({outputs})"

    def __call__(self, *arguments: Any) -> Any:
        signature = self.signature
        if len(arguments) != len(signature.inputs):
            count = f"{len(signature.inputs)} array" + "s" * (len(signature.inputs) != 1)
            raise UsageError(f"{self} takes {count}, not {len(arguments)}")
        arrays = [_array(spec, value) for spec, value in zip(signature.inputs, arguments, strict=True)]
        sizes = self._sizes(arrays)
        outputs = [np.empty(_shape(spec, sizes), spec.dtype) for spec in signature.outputs]
        size = signature.workspace_bytes(sizes)
        memory = np.empty(size + 64, np.uint8)
        workspace = -(-memory.ctypes.data // 64) * 64 if size else None
        pointers = [a.ctypes.data for a in (*arrays, *outputs)]
        status = self.function(self.context, *sizes.values(), *pointers, workspace, self.threads)
        if status:
            self.fail(status)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def fail(self, status: int) -> None:
        """Raise the exception for a status other than 0."""
        if self.error is None:
            raise InternalError(f"{self.signature.name}_run ended with status {status}")
        raise self.error(status)

    def _sizes(self, arrays: list[np.ndarray]) -> dict[str, int]:
        """The symbolic dimensions, with every shape checked against them."""
        signature = self.signature
        inputs = list(zip(signature.inputs, arrays, strict=True))
        for spec, array in inputs:
            if array.ndim != len(spec.dims):
                message = f"{spec.name} has {array.ndim} axes where {spec} has {len(spec.dims)}"
                raise ArgumentShapeError(message, facts=_facts(inputs))
        sizes, whence = {}, ""
        for name, source in zip(signature.symbols, signature.sources, strict=True):
            sizes[name] = 1
            if source is not None:
                i, axis = source
                sizes[name] = arrays[i].shape[axis]
                whence += f"; {name} is {sizes[name]}, from axis {axis} of {signature.inputs[i].name}"
        for spec, array in inputs:
            for axis, (got, want) in enumerate(zip(array.shape, _shape(spec, sizes), strict=True)):
                if got != want:
                    message = f"axis {axis} of {spec.name} has size {got} where {spec} wants {want}{whence}"
                    raise ArgumentShapeError(message, facts=_facts(inputs))
        for (name, n), source in zip(sizes.items(), signature.sources, strict=True):
            low, high = signature.range_of(name)
            if source is not None and not low <= n <= high:
                raise ArgumentShapeError(
                    f"{name} is {n}, and {signature.name} was compiled for {low} to {high}",
                    facts=_facts(inputs),
                    fix=f"compile it with --dim {name}={min(low, n)}:{max(high, n)}",
                )
        return sizes


def _shape(spec: Array, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(evaluate(dim, sizes) for dim in spec.dims)


def _facts(inputs: list[tuple[Array, np.ndarray]]) -> list[tuple[str, str, str]]:
    return [(spec.name, f"{a.dtype}{list(a.shape)}".replace(" ", ""), str(spec)) for spec, a in inputs]


def _array(spec: Array, value: Any) -> np.ndarray:
    """The argument as a contiguous, aligned array of exactly the dtype asked for."""
    want = np.dtype(spec.dtype)
    try:
        array = as_argument(value, want, len(spec.dims))
    except (TypeError, ValueError) as error:
        raise DTypeError(f"{spec.name} is no array: {error}") from error
    if array.dtype != want and array.dtype.newbyteorder("=") != want:
        raise DTypeError(
            f"{spec.name} is {array.dtype} where {spec} is asked for",
            facts=_facts([(spec, array)]),
            fix=f"{spec.name}.astype({spec.dtype!r})",
        )
    # `ascontiguousarray` would turn a 0-d array into one axis of size 1.
    return np.require(array, want, ["C", "A"]).reshape(array.shape)


def _plan(checked: Checked, array_new: int, slots: int) -> bytes:
    """What `wrapper.py` reads: a header, and a record for each array (see `emit_wrapper` for the words)."""
    signature = checked.signature
    fixed, each = signature.nanoseconds
    let_go = 0 if fixed >= LET_GO else int((LET_GO - fixed) / each) if each > 0 else NEVER
    source = signature.source
    header = [
        checked.run,
        checked.context,
        checked.threads,
        *signature.workspace,
        min(let_go, NEVER),
        slots,
        id(np.ndarray),
        array_new,
        *(signature.n_range if source else (1, 1)),
        *(source or (-1, 0)),
        *(ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0 for name in PYTHON_NAMES),
    ]
    records: list[list[int]] = []
    for array in signature.inputs:
        sizes = [word for pair in array.linear(signature.symbol) for word in pair]
        records.append([id(np.dtype(array.dtype)), len(array.dims), *sizes])
    for array in signature.outputs:
        sizes = [word for pair in array.linear(signature.symbol) for word in pair]
        records.append([np.dtype(array.dtype).num, len(array.dims), *sizes])
    at = len(header) + len(records)
    for record in records:
        header.append(8 * at)
        at += len(record)
    words = header + [word for record in records for word in record]
    return struct.pack(f"{len(words)}q", *words)


class _MethodDef(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


def _python_function(method: Any, bound: tuple[Any, ...], module: Any) -> Any:
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    return make(ctypes.cast(method, ctypes.c_void_p), bound, module)


class _Workspaces:
    """Slots where calls leave their workspace for the next; frees what is left in them at the end."""

    def __init__(self) -> None:
        self._slots = (ctypes.c_void_p * SLOTS)()
        self._free = ctypes.CDLL(None).free
        self._free.argtypes = [ctypes.c_void_p]
        self.address = ctypes.addressof(self._slots)

    def __del__(self) -> None:
        for block in self._slots:
            self._free(block)


def wrapper_object(target: Target, inputs: int, outputs: int, cache: Cache | None = None) -> bytes:
    """The object of the wrapper for this many arrays."""
    return emit_object(str(emit_wrapper(target, inputs, outputs)), target, cache)


_lock = threading.Lock()
_wrappers: dict[tuple[int, int], Code] = {}


def _wrapper(inputs: int, outputs: int, cache: Cache | None) -> Code:
    """The wrapper for this many arrays, compiled at first use."""
    with _lock:
        if (inputs, outputs) not in _wrappers:
            image = wrapper_object(host(), inputs, outputs, cache)
            _wrappers[inputs, outputs] = load(image, [CALL])
        return _wrappers[inputs, outputs]


@functools.cache
def numpy_allocator() -> int | None:
    """The address of NumPy's PyArray_New when all layouts are those the wrapper was written for, else None.

    Each offset is compared with an object whose content is known, and the allocator is tried once.
    """
    if platform.python_implementation() != "CPython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None

    def word(of: Any, offset: int) -> int:
        return ctypes.c_int64.from_address(id(of) + offset).value

    probe = np.zeros((3, 5), np.float32)
    if np.ndarray.__basicsize__ <= ARRAY_FLAGS or bytes.__basicsize__ != BYTES_DATA + 1:
        return None
    fits = (
        word(probe, OBJECT_TYPE) == id(np.ndarray)
        and word(probe, ARRAY_DATA) == probe.ctypes.data
        and word(probe, ARRAY_ND) & 0xFFFFFFFF == 2
        and word(probe, ARRAY_DESCR) == id(probe.dtype) == id(np.dtype("float32"))
        and word(probe, ARRAY_FLAGS) & 0xFFFFFFFF == probe.flags.num
        and probe.flags.num & 0x501 == 0x501  # C_CONTIGUOUS, ALIGNED, WRITEABLE
        and probe.T.flags.num & 0x501 == 0x500
        and word((probe, 7), TUPLE_ITEMS) == id(probe)
        and ctypes.string_at(id(b"graphc plan") + BYTES_DATA, 11) == b"graphc plan"
    )
    if not fits:
        return None
    dims = ctypes.cast(word(probe, ARRAY_DIMS), ctypes.POINTER(ctypes.c_int64))
    if dims[0] != 3 or dims[1] != 5:
        return None
    return _try_allocator()


def _try_allocator() -> int | None:
    try:
        capsule = importlib.import_module("numpy._core._multiarray_umath")._ARRAY_API
    except (ImportError, AttributeError):
        return None
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype = ctypes.c_void_p
    pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(pointer(capsule, None), ctypes.POINTER(ctypes.c_void_p))
    # Places in NumPy's C interface, which only ever grows: PyArray_Type is 2, PyArray_New is 93.
    if table[2] != id(np.ndarray) or not table[93]:
        return None
    new = ctypes.PYFUNCTYPE(
        ctypes.py_object,
        ctypes.py_object,
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_void_p,
    )(table[93])
    shape = (ctypes.c_int64 * 2)(3, 5)
    array = new(np.ndarray, 2, ctypes.addressof(shape), np.dtype("float64").num, None, None, 0, 0, None)
    good = type(array) is np.ndarray and array.shape == (3, 5) and array.dtype == np.float64
    return table[93] if good and array.flags.owndata and array.flags.carray else None
