"""The machine code between CPython and a compiled model, for a number of inputs and outputs.

`CALL(self, args, nargs)` has CPython's fast calling convention. `self` is the tuple `(plan, slow,
fail, ...)` that `call.bind` makes; `plan` is a bytes object with 64-bit words. The offsets below are those of
CPython 3.11 and later with a global lock, and of NumPy 1.20 and later; `call.numpy_allocator` checks them
before first use. It calls nothing of Python by name: the plan holds the addresses, so that the code can
stand in the library of an artefact.
"""

from enum import IntEnum

from graphc.backends.llvm.emitter import Function, Module, Operand, Reg, constant
from graphc.backends.llvm.target import Target

CALL = "graphc_call_1"  # the number changes with the words of the plan
PYTHON_NAMES = (
    "PyErr_NoMemory",
    "PyEval_RestoreThread",
    "PyEval_SaveThread",
    "PyLong_FromLong",
    "PyObject_Vectorcall",
    "PyTuple_New",
    "Py_DecRef",
)

OBJECT_TYPE = 8
TUPLE_ITEMS = 24
BYTES_DATA = 32
ARRAY_DATA, ARRAY_ND, ARRAY_DIMS, ARRAY_DESCR, ARRAY_FLAGS = 16, 24, 32, 56, 64
USABLE = 0x101  # NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED

SLOTS = 4  # workspaces kept for later calls
HUGE = 4 << 20  # bytes from which a workspace asks for huge pages
BLOCK = 64  # bytes in front of a workspace, where its capacity stands
MADV_HUGEPAGE = 14
MAX_AXES = 64  # NumPy's own limit


class Word(IntEnum):
    """The words at the start of a plan; after them the byte offset of each array's record.

    A record is: the dtype object (inputs) or NumPy's type number (outputs), the number of axes, and for each
    axis (a, b), its size being a*N + b.
    """

    RUN = 0
    CONTEXT = 1
    THREADS = 2
    WORKSPACE_FIXED = 3
    WORKSPACE_EACH = 4
    LET_GO = 5  # the least N for which Python's lock is let go during the run
    SLOTS = 6
    ARRAY_TYPE = 7
    ARRAY_NEW = 8
    N_LEAST = 9
    N_MOST = 10
    SOURCE = 11  # which input has N as a size; -1 when there is no N
    SOURCE_AXIS = 12
    PYTHON = 13  # the functions of `PYTHON_NAMES`, in their order
    RECORDS = 20


def emit_wrapper(target: Target, inputs: int, outputs: int) -> Module:
    """The module of `CALL` for models with this many arrays."""
    module = target.module()
    _emit_take(module)
    _emit_give(module)
    f = module.function(CALL, {"self": "ptr", "args": "ptr", "nargs": "i64"}, returns="ptr")
    _Call(f, inputs, outputs).emit()
    return module


class _Call:
    """The body of `graphc_call`, in the order it runs."""

    def __init__(self, f: Function, inputs: int, outputs: int) -> None:
        self.f, self.inputs, self.outputs = f, inputs, outputs

    def emit(self) -> None:
        f = self.f
        sizes = f.alloca("i64", MAX_AXES)
        made = f.alloca("ptr", max(self.outputs, 1))
        for i in range(self.outputs):
            f.store(constant(0, "ptr"), f.gep(made, 8 * i))
        self.plan = f.gep(self._load(f.self, TUPLE_ITEMS, "ptr"), BYTES_DATA)
        self._else_slow(f.icmp("eq", f.nargs, self.inputs))
        arrays = self._exact_arrays()
        n = self._size(arrays)
        self._check_shapes(arrays, n)
        data = [self._load(a, ARRAY_DATA, "ptr") for a in arrays]
        for i in range(self.outputs):
            data.append(self._new_array(i, n, sizes, made))
        need = f.add(self._word(Word.WORKSPACE_FIXED), f.mul(self._word(Word.WORKSPACE_EACH), n))
        workspace = self._workspace(need, made)
        status = self._run(n, data, workspace)
        with f.if_(f.icmp("ne", need, 0)):
            f.call("graphc_give", "void", self._word(Word.SLOTS, "ptr"), workspace)
        with f.if_(f.icmp("ne", status, 0)):
            self._drop(made)
            number = self._python("PyLong_FromLong", "ptr", f.sext(status, "i64"))
            with f.if_(f.icmp("eq", number, constant(0, "ptr"))):
                f.ret(number)
            argument = f.gep(sizes, 0)
            f.store(number, argument)
            result = self._object(2, argument, constant(1, "i64"))
            self._python("Py_DecRef", "void", number)
            f.ret(result)
        self._result(made)

    def _load(self, base: Reg, offset: int, type: str) -> Reg:
        return self.f.load(self.f.gep(base, offset), type)

    def _word(self, word: int, type: str = "i64") -> Reg:
        return self._load(self.plan, 8 * word, type)

    def _python(self, name: str, returns: str, *arguments: Reg) -> Reg:
        """Call a function of Python's."""
        function = self._word(Word.PYTHON + PYTHON_NAMES.index(name), "ptr")
        call = f"call {returns} {function.name}({', '.join(map(str, arguments))})"
        if returns == "void":
            self.f.line(call)
            return Reg("", "void")
        return self.f.emit(call, returns)

    def _object(self, item: int, arguments: Reg, count: Reg) -> Reg:
        """Call the Python object that stands in `self` at this place."""
        callable = self._load(self.f.self, TUPLE_ITEMS + 8 * item, "ptr")
        return self._python("PyObject_Vectorcall", "ptr", callable, arguments, count, constant(0, "ptr"))

    def _else_slow(self, good: Reg) -> None:
        """Leave everything to Python when the condition does not hold."""
        f = self.f
        with f.if_(f.xor(good, True)):
            f.ret(self._object(1, f.args, f.nargs))

    def _exact_arrays(self) -> list[Reg]:
        """The arguments, each an ndarray (no subclass) of its dtype and rank, contiguous and aligned."""
        f = self.f
        arrays = [self._load(f.args, 8 * i, "ptr") for i in range(self.inputs)]
        wanted = self._word(Word.ARRAY_TYPE)
        for array in arrays:  # first of all: the other fields exist in arrays only
            self._else_slow(f.icmp("eq", self._load(array, OBJECT_TYPE, "i64"), wanted))
        for i, array in enumerate(arrays):
            record = self._record(i)
            good = f.icmp("eq", self._load(array, ARRAY_DESCR, "i64"), self._load(record, 0, "i64"))
            rank = f.zext(self._load(array, ARRAY_ND, "i32"), "i64")
            good = f.and_(good, f.icmp("eq", rank, self._load(record, 8, "i64")))
            flags = f.and_(self._load(array, ARRAY_FLAGS, "i32"), USABLE)
            self._else_slow(f.and_(good, f.icmp("eq", flags, USABLE)))
        return arrays

    def _record(self, i: int) -> Reg:
        return self.f.gep(self.plan, self._word(Word.RECORDS + i))

    def _size(self, arrays: list[Reg]) -> Reg:
        """N, within its range."""
        f = self.f
        if not arrays:
            return constant(1, "i64")
        source = self._word(Word.SOURCE)

        def read() -> list[Reg]:
            array = f.load(f.gep(f.args, f.mul(source, 8)), "ptr")
            dims = self._load(array, ARRAY_DIMS, "ptr")
            return [f.load(f.gep(dims, f.mul(self._word(Word.SOURCE_AXIS), 8)), "i64")]

        (n,) = f.if_else(f.icmp("sge", source, 0), read, lambda: [constant(1, "i64")])
        inside = f.and_(f.icmp("sge", n, self._word(Word.N_LEAST)), f.icmp("sle", n, self._word(Word.N_MOST)))
        self._else_slow(inside)
        return n

    def _axis(self, record: Reg, axis: Reg, n: Reg) -> Reg:
        """The size of an axis: a*n + b."""
        f = self.f
        pair = f.gep(record, f.add(f.mul(axis, 16), 16))
        return f.add(f.mul(f.load(pair, "i64"), n), self._load(pair, 8, "i64"))

    def _check_shapes(self, arrays: list[Reg], n: Reg) -> None:
        f = self.f
        differs = constant(0, "i64")
        for i, array in enumerate(arrays):
            record = self._record(i)
            dims = self._load(array, ARRAY_DIMS, "ptr")

            def compare(axis: Reg, values: list[Reg], record: Reg = record, dims: Reg = dims) -> list[Reg]:
                got = f.load(f.gep(dims, f.mul(axis, 8)), "i64")
                return [f.or_(values[0], f.xor(got, self._axis(record, axis, n)))]

            (differs,) = f.fold(0, self._load(record, 8, "i64"), 1, [differs], compare)
        self._else_slow(f.icmp("eq", f.or_(differs, constant(0, "i64")), 0))

    def _new_array(self, i: int, n: Reg, sizes: Reg, made: Reg) -> Reg:
        """A new array for output `i`; gives its data."""
        f = self.f
        record = self._record(self.inputs + i)
        rank = self._load(record, 8, "i64")
        with f.loop(0, rank) as axis:
            f.store(self._axis(record, axis, n), f.gep(sizes, f.mul(axis, 8)))
        function = self._word(Word.ARRAY_NEW, "ptr")
        arguments: list[Operand] = [
            self._word(Word.ARRAY_TYPE, "ptr"),
            f.trunc(rank, "i32"),
            sizes,
            f.trunc(self._load(record, 0, "i64"), "i32"),
            constant(0, "ptr"),
            constant(0, "ptr"),
            constant(0, "i32"),
            constant(0, "i32"),
            constant(0, "ptr"),
        ]
        array = f.emit(f"call ptr {function.name}({', '.join(map(str, arguments))})", "ptr")
        with f.if_(f.icmp("eq", array, constant(0, "ptr"))):
            self._drop(made)
            f.ret(array)  # NumPy has set the exception
        f.store(array, f.gep(made, 8 * i))
        return self._load(array, ARRAY_DATA, "ptr")

    def _workspace(self, need: Reg, made: Reg) -> Reg:
        f = self.f

        def take() -> list[Reg]:
            block = f.call("graphc_take", "ptr", self._word(Word.SLOTS, "ptr"), need)
            with f.if_(f.icmp("eq", block, constant(0, "ptr"))):
                self._drop(made)
                f.ret(self._python("PyErr_NoMemory", "ptr"))
            return [block]

        (workspace,) = f.if_else(f.icmp("ne", need, 0), take, lambda: [constant(0, "ptr")])
        return workspace

    def _run(self, n: Reg, data: list[Reg], workspace: Reg) -> Reg:
        f = self.f
        function = self._word(Word.RUN, "ptr")
        threads = f.trunc(self._word(Word.THREADS), "i32")
        arguments = ", ".join(map(str, [self._word(Word.CONTEXT, "ptr"), n, *data, workspace, threads]))

        def run() -> Reg:
            return f.emit(f"call i32 {function.name}({arguments})", "i32")

        def alone() -> list[Reg]:
            state = self._python("PyEval_SaveThread", "ptr")
            status = run()
            self._python("PyEval_RestoreThread", "void", state)
            return [status]

        (status,) = f.if_else(f.icmp("sge", n, self._word(Word.LET_GO)), alone, lambda: [run()])
        return status

    def _drop(self, made: Reg) -> None:
        for i in range(self.outputs):
            self._python("Py_DecRef", "void", self._load(made, 8 * i, "ptr"))

    def _result(self, made: Reg) -> None:
        f = self.f
        if self.outputs == 1:
            f.ret(f.load(made, "ptr"))
            return
        result = self._python("PyTuple_New", "ptr", constant(self.outputs, "i64"))
        with f.if_(f.icmp("eq", result, constant(0, "ptr"))):
            self._drop(made)
            f.ret(result)
        for i in range(self.outputs):
            f.store(self._load(made, 8 * i, "ptr"), f.gep(result, TUPLE_ITEMS + 8 * i))
        f.ret(result)


def _emit_take(module: Module) -> None:
    """`ptr graphc_take(slots, need)`: a workspace of at least `need` bytes, from a slot or new; null without
    memory."""
    f = module.function(
        "graphc_take", {"slots": "ptr", "need": "i64"}, returns="ptr", internal=True, inline=False
    )
    null = constant(0, "ptr")
    for i in range(SLOTS):
        slot = f.gep(f.slots, 8 * i)
        block = f.emit(f"atomicrmw xchg {slot}, ptr null acquire", "ptr")
        with f.if_(f.icmp("ne", block, null)):
            with f.if_(f.icmp("uge", f.load(block, "i64"), f.need)):
                f.ret(f.gep(block, BLOCK))
            f.call("free", "void", block)
    huge = f.icmp("uge", f.need, HUGE)
    align = f.select(huge, constant(2 << 20, "i64"), constant(64, "i64"))
    size = f.and_(f.add(f.add(f.need, BLOCK - 1), align), f.sub(0, align))
    block = f.call("aligned_alloc", "ptr", align, size)
    with f.if_(f.icmp("eq", block, null)):
        f.ret(null)
    with f.if_(huge):
        f.call("madvise", "i32", block, size, constant(MADV_HUGEPAGE, "i32"))
    f.store(f.sub(size, BLOCK), block)
    f.ret(f.gep(block, BLOCK))


def _emit_give(module: Module) -> None:
    """`graphc_give(slots, workspace)`: leave it in a free slot, or free it when there is none."""
    f = module.function("graphc_give", {"slots": "ptr", "workspace": "ptr"}, internal=True, inline=False)
    block = f.gep(f.workspace, -BLOCK)
    for i in range(SLOTS):
        slot = f.gep(f.slots, 8 * i)
        pair = f.emit(f"cmpxchg {slot}, ptr null, {block} release monotonic", "{ ptr, i1 }")
        with f.if_(f.emit(f"extractvalue {pair}, 1", "i1")):
            f.ret()
    f.call("free", "void", block)
    f.ret()
