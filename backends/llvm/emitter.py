"""Textual LLVM IR, one Python method per instruction.

A `Module` holds functions, constant tables and the declarations its functions call; `str(module)` is the
IR, the same text every time. A `Function` is its own builder: methods bear the names of the LLVM
instructions, take and return `Reg`, and accept a Python number where the type follows from the other
operand. Operand types are checked when an instruction is written, so a mistake points at the line that made
it and not at a parser's column. No fast-math flag exists here: what is written is the arithmetic.
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from graphc.backends.llvm import loops

BITS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "half": 16, "float": 32, "double": 64, "ptr": 64}
FLOATS = ("half", "float", "double")


@dataclass(frozen=True, slots=True)
class Reg:
    """A value of LLVM type `type`; `name` is how operands spell it (`%v3`, `@table`, or a literal)."""

    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.type} {self.name}"


Operand = Reg | int | float


def vector(element: str, lanes: int) -> str:
    """The type of `lanes` values of `element`: `<16 x float>`.

    >>> vector("float", 16)
    '<16 x float>'
    """
    return f"<{lanes} x {element}>"


def lanes(type: str) -> int:
    """Number of lanes of a vector type, 0 for a scalar.

    >>> lanes("<16 x float>"), lanes("float")
    (16, 0)
    """
    return int(type[1:].split(" x ")[0]) if type.startswith("<") else 0


def element(type: str) -> str:
    """Element type of a vector type; a scalar type is its own element.

    >>> element("<16 x float>"), element("i64")
    ('float', 'i64')
    """
    return type[:-1].split(" x ")[1] if type.startswith("<") else type


def like(type: str, new_element: str) -> str:
    """The type with the shape of `type` and another element.

    >>> like("<16 x float>", "i32"), like("float", "i1")
    ('<16 x i32>', 'i1')
    """
    return vector(new_element, lanes(type)) if lanes(type) else new_element


def byte_size(type: str) -> int:
    """Bytes a value of this type takes in memory.

    >>> byte_size("<16 x float>"), byte_size("double")
    (64, 8)
    """
    return (max(lanes(type), 1) * BITS[element(type)] + 7) // 8


def mangle(type: str) -> str:
    """The suffix overloaded intrinsics carry: `v16f32`, `i64`, `p0`."""
    short = {"half": "f16", "float": "f32", "double": "f64", "ptr": "p0"}
    return (f"v{lanes(type)}" if lanes(type) else "") + short.get(element(type), element(type))


def literal(value: float, type: str) -> str:
    """One scalar constant, floats as exact hexadecimal.

    A float32 is spelled as the double of the same value, as LLVM asks; the number is rounded to the type
    first.

    >>> literal(0.1, "float"), literal(-1, "i32"), literal(True, "i1")
    ('0x3FB99999A0000000', '-1', 'true')
    """
    if type in FLOATS:
        value = float(value)
        if type == "half":
            return f"0xH{struct.unpack('<H', struct.pack('<e', value))[0]:04X}"
        if type == "float" and not math.isnan(value):
            value = struct.unpack("<f", struct.pack("<f", value))[0]
        return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    if type == "ptr" and value == 0:
        return "null"
    if not isinstance(value, int) and not hasattr(value, "__index__"):
        raise TypeError(f"{value!r} is no constant of type {type}")
    if type == "i1":
        return "true" if value else "false"
    return str(int(value))


def constant(value: float | Sequence[int | float], type: str) -> Reg:
    """A constant; a number of vector type fills every lane, a sequence gives lane by lane.

    >>> str(constant(1, "<4 x i32>")), str(constant([1, 2], "<2 x i8>"))
    ('<4 x i32> splat (i32 1)', '<2 x i8> <i8 1, i8 2>')
    """
    scalar = element(type)
    if isinstance(value, Sequence):
        if len(value) != lanes(type):
            raise TypeError(f"{len(value)} values for the {lanes(type)} lanes of {type}")
        return Reg("<" + ", ".join(f"{scalar} {literal(v, scalar)}" for v in value) + ">", type)
    if lanes(type):
        return Reg(f"splat ({scalar} {literal(value, scalar)})", type)
    return Reg(literal(value, scalar), type)


class Module:
    """Functions, constant tables and declarations; `str()` gives the IR text.

    attributes: function attributes every function carries, as text (`target.Target.module()` fills them in).

    >>> m = Module()
    >>> f = m.function("twice", {"x": "float"}, returns="float")
    >>> f.ret(f.fadd(f.x, f.x))
    >>> print(m)
    define float @twice(float %x) #0 {
    entry:
      %v0 = fadd float %x, %x
      ret float %v0
    }
    <BLANKLINE>
    attributes #0 = { nounwind "no-builtins" }
    """

    def __init__(self, attributes: Sequence[str] = ("nounwind", '"no-builtins"'), triple: str = "") -> None:
        self.attributes = tuple(attributes)
        self.triple = triple
        self.functions: dict[str, Function] = {}
        self.declarations: dict[str, str] = {}
        self.tables: dict[str, str] = {}
        self.memories: dict[str, int] = {}
        self.metadata: list[str] = []

    @property
    def wide(self) -> bool:
        """Whether this is for x86-64 with vectors of 512 bits."""
        return self.triple.startswith("x86_64") and '"prefer-vector-width"="512"' in self.attributes

    def function(
        self,
        name: str,
        parameters: Mapping[str, str],
        returns: str = "void",
        internal: bool = False,
        inline: bool = True,
    ) -> "Function":
        """Begin a function. `parameters` maps names to types with attributes: `{"a": "ptr noalias
        readonly"}`.

        internal: visible in this module only, inlined where called (never inlined when `inline` is false).
        """
        if name in self.functions or name in self.declarations:
            raise ValueError(f"@{name} is defined already")
        self.functions[name] = Function(self, name, parameters, returns, internal, inline)
        return self.functions[name]

    def table(self, values: Iterable[int | float], element_type: str, align: int = 64) -> Reg:
        """A constant array in read-only memory; gives its address. Equal tables are stored once."""
        items = [f"{element_type} {literal(v, element_type)}" for v in values]
        text = f"[{len(items)} x {element_type}] [{', '.join(items)}], align {align}"
        name = self.tables.setdefault(text, f"@table{len(self.tables)}")
        return Reg(name, "ptr")

    def memory(self, name: str, size: int) -> None:
        """Zeroed memory that code may write to, under a name that can be looked up: for code that is measured."""
        self.memories[name] = size

    def node(self, text: str) -> str:
        """Add a metadata node (`distinct !{...}`, SELF stands for its own number); gives `!n`."""
        name = f"!{len(self.metadata)}"
        self.metadata.append(text.replace("SELF", name))
        return name

    def shared_node(self, text: str) -> str:
        """The metadata node of this text, made at first use."""
        return f"!{self.metadata.index(text)}" if text in self.metadata else self.node(text)

    def declare(self, name: str, returns: str, types: Sequence[str], attributes: str = "") -> None:
        """Declare an outside function; declaring it again with another signature is an error."""
        text = f"declare {returns} @{name}({', '.join(types)}){' ' + attributes if attributes else ''}"
        if self.declarations.setdefault(name, text) != text:
            raise TypeError(f"@{name} declared twice: {self.declarations[name]} and {text}")

    def __str__(self) -> str:
        parts = [f'target triple = "{self.triple}"'] if self.triple else []
        parts += [f"{name} = private unnamed_addr constant {text}" for text, name in self.tables.items()]
        for name, size in self.memories.items():
            parts.append(f"@{name} = global [{size} x i8] zeroinitializer, align 64")
        parts += [str(f) for f in self.functions.values()]
        parts += [self.declarations[name] for name in sorted(self.declarations) if name not in self.functions]
        parts += [f"attributes #0 = {{ {' '.join(self.attributes)} }}"]
        parts += [f"!{i} = {text}" for i, text in enumerate(self.metadata)]
        return "\n\n".join(parts)


class Function:
    """A function under construction: instructions go to the end of the current block.

    A parameter is an attribute of the builder: `f.x` is the `Reg` of parameter `x`, and `f.parameters` maps
    all.
    """

    def __init__(
        self,
        module: Module,
        name: str,
        parameters: Mapping[str, str],
        returns: str,
        internal: bool,
        inline: bool,
    ) -> None:
        self.module, self.name, self.returns, self.internal, self.inline = (
            module,
            name,
            returns,
            internal,
            inline,
        )
        self.signature = dict(parameters)
        self.parameters = {key: Reg(f"%{key}", _leading_type(text)) for key, text in parameters.items()}
        self.current = "entry"
        self.lines: list[str] = ["entry:"]
        self.terminated = False
        self.attributes = ""  # of this function alone, as text
        self.cold = False  # runs rarely: not optimised, so that it is compiled quickly
        self._counter = 0

    def __getattr__(self, name: str) -> Reg:
        try:
            return self.__dict__["parameters"][name]
        except KeyError:
            raise AttributeError(f"no instruction or parameter {name!r}") from None

    def __str__(self) -> str:
        if not self.terminated:
            raise ValueError(f"@{self.name}: block {self.current} has no terminator")
        arguments = ", ".join(f"{text} %{key}" for key, text in self.signature.items())
        linkage, attributes = "internal " if self.internal else "", "#0"
        if self.cold:
            attributes += " noinline optnone"
        elif self.internal:
            attributes += " alwaysinline" if self.inline else " noinline"
        if self.attributes:
            attributes += f" {self.attributes}"
        body = "\n".join(self.lines)
        return f"define {linkage}{self.returns} @{self.name}({arguments}) {attributes} {{\n{body}\n}}"

    loop, fold, if_, if_else = loops.loop, loops.fold, loops.if_, loops.if_else

    # Text and blocks --------------------------------------------------------------------------------------

    def fresh(self, stem: str = "v") -> str:
        """A name not used before in this function."""
        name = f"{stem}{self._counter}"
        self._counter += 1
        return name

    def emit(self, text: str, type: str) -> Reg:
        """Write `%v = text` and give the new value."""
        result = Reg(f"%{self.fresh()}", type)
        self.line(f"{result.name} = {text}")
        return result

    def line(self, text: str, terminator: bool = False) -> None:
        """Write one instruction that gives no value."""
        if self.terminated:
            raise ValueError(f"@{self.name}: instruction after the end of block {self.current}: {text}")
        self.lines.append("  " + text)
        self.terminated = terminator

    def begin(self, block: str) -> None:
        """Start a block; the one before must have ended."""
        if not self.terminated:
            raise ValueError(f"@{self.name}: block {self.current} falls into {block}")
        self.lines.append(f"{block}:")
        self.current, self.terminated = block, False

    def br(self, target: str) -> None:
        self.line(f"br label %{target}", terminator=True)

    def cond_br(self, condition: Reg, then: str, otherwise: str, metadata: str = "") -> None:
        self.line(f"br {condition}, label %{then}, label %{otherwise}{metadata}", terminator=True)

    def phi(self, type: str, *incoming: tuple[Reg, str]) -> Reg:
        return self.emit(f"phi {type} " + ", ".join(f"[ {v.name}, %{block} ]" for v, block in incoming), type)

    def ret(self, value: Reg | None = None) -> None:
        self.line(f"ret {value}" if value else "ret void", terminator=True)

    # Operands ---------------------------------------------------------------------------------------------

    def constant(self, value: float | Sequence[int | float], type: str) -> Reg:
        return constant(value, type)

    def operand(self, value: Operand, type: str) -> Reg:
        """`value` as a register of `type`: numbers become constants, registers are checked."""
        if not isinstance(value, Reg):
            return constant(value, type)
        if value.type != type:
            raise TypeError(f"@{self.name}: {value} where {type} is wanted")
        return value

    def _same(self, *operands: Operand) -> list[Reg]:
        """All operands at the type of the first register among them."""
        for first in operands:
            if isinstance(first, Reg):
                return [self.operand(o, first.type) for o in operands]
        raise TypeError("an instruction wants one register at least; fold constants in Python")

    def _binary(self, opcode: str, x: Operand, y: Operand, floating: bool) -> Reg:
        a, b = self._same(x, y)
        if (element(a.type) in FLOATS) != floating:
            raise TypeError(f"@{self.name}: {opcode} of {a.type}")
        return self.emit(f"{opcode} {a}, {b.name}", a.type)

    def intrinsic(self, name: str, types: Sequence[str], returns: str, *arguments: Operand | str) -> Reg:
        """Call `llvm.<name>` mangled for `types`; an argument given as text is an immediate."""
        full = ".".join(["llvm", name, *map(mangle, types)])
        texts = [a if isinstance(a, str) else str(a) for a in arguments]
        self.module.declare(full, returns, [_leading_type(t) for t in texts])
        call = f"call {returns} @{full}({', '.join(texts)})"
        if returns == "void":
            self.line(call)
            return Reg("", "void")
        return self.emit(call, returns)

    # Floating point ---------------------------------------------------------------------------------------

    def fadd(self, x: Operand, y: Operand) -> Reg:
        return self._binary("fadd", x, y, floating=True)

    def fsub(self, x: Operand, y: Operand) -> Reg:
        return self._binary("fsub", x, y, floating=True)

    def fmul(self, x: Operand, y: Operand) -> Reg:
        return self._binary("fmul", x, y, floating=True)

    def fdiv(self, x: Operand, y: Operand) -> Reg:
        return self._binary("fdiv", x, y, floating=True)

    def frem(self, x: Operand, y: Operand) -> Reg:
        """The exact rest of x/y towards zero, C's fmod."""
        return self._binary("frem", x, y, floating=True)

    def fneg(self, x: Reg) -> Reg:
        return self.emit(f"fneg {x}", x.type)

    def fma(self, x: Operand, y: Operand, z: Operand) -> Reg:
        """x*y + z with one rounding."""
        return self._math("fma", x, y, z)

    def fabs(self, x: Reg) -> Reg:
        return self._math("fabs", x)

    def sqrt(self, x: Reg) -> Reg:
        return self._math("sqrt", x)

    def floor(self, x: Reg) -> Reg:
        return self._math("floor", x)

    def ceil(self, x: Reg) -> Reg:
        return self._math("ceil", x)

    def ftrunc(self, x: Reg) -> Reg:
        """Towards zero."""
        return self._math("trunc", x)

    def rint(self, x: Reg) -> Reg:
        """To nearest, ties to even, as `numpy.rint`."""
        return self._math("roundeven", x)

    def copysign(self, magnitude: Operand, sign: Operand) -> Reg:
        return self._math("copysign", magnitude, sign)

    def _math(self, name: str, *operands: Operand) -> Reg:
        values = self._same(*operands)
        if element(values[0].type) not in FLOATS:
            raise TypeError(f"@{self.name}: {name} of {values[0].type}")
        return self.intrinsic(name, [values[0].type], values[0].type, *values)

    def maximum(self, x: Operand, y: Operand) -> Reg:
        """The larger; NaN when either is NaN, as `numpy.maximum`; of +0 and -0 the second operand.

        Written with compare and select: one `vmaxps` when an operand is a number, two more instructions
        otherwise.
        """
        return self._extremum("olt", "ogt", x, y)

    def minimum(self, x: Operand, y: Operand) -> Reg:
        """The smaller; NaN when either is NaN, as `numpy.minimum`; of +0 and -0 the second operand."""
        return self._extremum("ogt", "olt", x, y)

    def _extremum(self, loses: str, wins: str, x: Operand, y: Operand) -> Reg:
        if not isinstance(x, Reg):
            x, y = y, x
        a, b = self._same(x, y)
        if not isinstance(y, Reg) and not math.isnan(y):
            return self.select(self.fcmp(loses, a, b), b, a)
        best = self.select(self.fcmp(wins, a, b), a, b)
        return self.select(self.fcmp("uno", a, a), a, best)

    def fcmp(self, predicate: str, x: Operand, y: Operand) -> Reg:
        """oeq ogt oge olt ole one ord / ueq ugt uge ult ule une uno."""
        a, b = self._same(x, y)
        return self.emit(f"fcmp {predicate} {a}, {b.name}", like(a.type, "i1"))

    # Integers ---------------------------------------------------------------------------------------------

    def add(self, x: Operand, y: Operand) -> Reg:
        return self._binary("add", x, y, floating=False)

    def sub(self, x: Operand, y: Operand) -> Reg:
        return self._binary("sub", x, y, floating=False)

    def mul(self, x: Operand, y: Operand) -> Reg:
        return self._binary("mul", x, y, floating=False)

    def sdiv(self, x: Operand, y: Operand) -> Reg:
        return self._binary("sdiv", x, y, floating=False)

    def udiv(self, x: Operand, y: Operand) -> Reg:
        return self._binary("udiv", x, y, floating=False)

    def srem(self, x: Operand, y: Operand) -> Reg:
        return self._binary("srem", x, y, floating=False)

    def urem(self, x: Operand, y: Operand) -> Reg:
        return self._binary("urem", x, y, floating=False)

    def and_(self, x: Operand, y: Operand) -> Reg:
        return self._binary("and", x, y, floating=False)

    def or_(self, x: Operand, y: Operand) -> Reg:
        return self._binary("or", x, y, floating=False)

    def xor(self, x: Operand, y: Operand) -> Reg:
        return self._binary("xor", x, y, floating=False)

    def shl(self, x: Operand, y: Operand) -> Reg:
        return self._binary("shl", x, y, floating=False)

    def lshr(self, x: Operand, y: Operand) -> Reg:
        return self._binary("lshr", x, y, floating=False)

    def ashr(self, x: Operand, y: Operand) -> Reg:
        return self._binary("ashr", x, y, floating=False)

    def smin(self, x: Operand, y: Operand) -> Reg:
        a, b = self._same(x, y)
        return self.intrinsic("smin", [a.type], a.type, a, b)

    def smax(self, x: Operand, y: Operand) -> Reg:
        a, b = self._same(x, y)
        return self.intrinsic("smax", [a.type], a.type, a, b)

    def icmp(self, predicate: str, x: Operand, y: Operand) -> Reg:
        """eq ne / slt sle sgt sge / ult ule ugt uge."""
        a, b = self._same(x, y)
        return self.emit(f"icmp {predicate} {a}, {b.name}", like(a.type, "i1"))

    def select(self, condition: Reg, x: Operand, y: Operand) -> Reg:
        """`x` where the condition (i1, or a vector of i1) holds, `y` elsewhere."""
        a, b = self._same(x, y)
        if condition.type not in ("i1", like(a.type, "i1")):
            raise TypeError(f"@{self.name}: select between {a.type} by {condition.type}")
        return self.emit(f"select {condition}, {a}, {b}", a.type)

    # Conversions ------------------------------------------------------------------------------------------

    def _cast(self, opcode: str, x: Reg, to: str) -> Reg:
        """`to` may be the element type: a vector operand then gives a vector."""
        target = to if lanes(to) == lanes(x.type) or opcode == "bitcast" else like(x.type, to)
        return self.emit(f"{opcode} {x} to {target}", target)

    def bitcast(self, x: Reg, to: str) -> Reg:
        """The same bits as another type of equal size."""
        target = (
            like(x.type, to)
            if lanes(x.type) and not lanes(to) and BITS.get(to) == BITS[element(x.type)]
            else to
        )
        if max(lanes(target), 1) * BITS[element(target)] != max(lanes(x.type), 1) * BITS[element(x.type)]:
            raise TypeError(f"@{self.name}: bitcast from {x.type} to {target}")
        return self.emit(f"bitcast {x} to {target}", target)

    def sitofp(self, x: Reg, to: str) -> Reg:
        return self._cast("sitofp", x, to)

    def uitofp(self, x: Reg, to: str) -> Reg:
        return self._cast("uitofp", x, to)

    def trunc(self, x: Reg, to: str) -> Reg:
        return self._cast("trunc", x, to)

    def zext(self, x: Reg, to: str) -> Reg:
        return self._cast("zext", x, to)

    def sext(self, x: Reg, to: str) -> Reg:
        return self._cast("sext", x, to)

    def fptrunc(self, x: Reg, to: str) -> Reg:
        return self._cast("fptrunc", x, to)

    def fpext(self, x: Reg, to: str) -> Reg:
        return self._cast("fpext", x, to)

    def fptosi_sat(self, x: Reg, to: str) -> Reg:
        """Towards zero; out of range gives the nearest end of the range, NaN gives 0."""
        target = to if lanes(to) else like(x.type, to)
        if not lanes(x.type) or self.module.triple.startswith("aarch64"):
            return self.intrinsic("fptosi.sat", [target, x.type], target, x)
        # x86 would take the intrinsic lane by lane; a lane not selected may be poison.
        bound = 1 << (BITS[element(target)] - 1)
        whole = self._cast("fptosi", x, target)
        whole = self.select(self.fcmp("oge", x, float(bound)), constant(bound - 1, target), whole)
        whole = self.select(self.fcmp("olt", x, float(-bound)), constant(-bound, target), whole)
        return self.select(self.fcmp("uno", x, x), constant(0, target), whole)

    def fptosi(self, x: Reg, to: str) -> Reg:
        """Towards zero; poison out of range: only for values known to fit."""
        return self._cast("fptosi", x, to)

    # Vectors ----------------------------------------------------------------------------------------------

    def splat(self, x: Reg, count: int) -> Reg:
        """`x` in each of `count` lanes; `count` 0 leaves the scalar."""
        if not count:
            return x
        type = vector(x.type, count)
        first = self.emit(f"insertelement {type} poison, {x}, i64 0", type)
        return self.shuffle(first, first, [0] * count)

    def extract(self, x: Reg, lane: int) -> Reg:
        return self.emit(f"extractelement {x}, i64 {lane}", element(x.type))

    def insert(self, x: Reg, value: Operand, lane: int) -> Reg:
        return self.emit(f"insertelement {x}, {self.operand(value, element(x.type))}, i64 {lane}", x.type)

    def shuffle(self, x: Reg, y: Reg, lanes_of: Sequence[int]) -> Reg:
        """Lanes picked from `x` followed by `y`; -1 leaves a lane undefined."""
        a, b = self._same(x, y)
        mask = ", ".join("i32 poison" if lane < 0 else f"i32 {lane}" for lane in lanes_of)
        return self.emit(
            f"shufflevector {a}, {b}, <{len(lanes_of)} x i32> <{mask}>",
            vector(element(a.type), len(lanes_of)),
        )

    # Memory -----------------------------------------------------------------------------------------------

    def gep(self, base: Reg, offset: Reg | int) -> Reg:
        """The address `offset` bytes (i64) past `base`."""
        if offset == 0:
            return base
        return self.emit(
            f"getelementptr i8, {self.operand(base, 'ptr')}, {self.operand(offset, 'i64')}", "ptr"
        )

    def load(self, pointer: Reg, type: str, align: int | None = None, invariant: bool = False) -> Reg:
        """Load; `align` defaults to the element's size. invariant: nothing writes there meanwhile."""
        note = f", !invariant.load {self.module.shared_node('!{}')}" if invariant else ""
        where = self.operand(pointer, "ptr")
        return self.emit(f"load {type}, {where}, align {align or byte_size(element(type))}{note}", type)

    def store(self, value: Reg, pointer: Reg, align: int | None = None) -> None:
        where = self.operand(pointer, "ptr")
        self.line(f"store {value}, {where}, align {align or byte_size(element(value.type))}")

    def masked_load(self, pointer: Reg, type: str, mask: Reg, align: int | None = None) -> Reg:
        """Lanes where the mask holds; the others are 0 and their memory is not touched."""
        where = f"ptr align {align or byte_size(element(type))} {self.operand(pointer, 'ptr').name}"
        mask = self.operand(mask, like(type, "i1"))
        return self.intrinsic("masked.load", [type, "ptr"], type, where, mask, constant(0, type))

    def masked_store(self, value: Reg, pointer: Reg, mask: Reg, align: int | None = None) -> None:
        where = f"ptr align {align or byte_size(element(value.type))} {self.operand(pointer, 'ptr').name}"
        mask = self.operand(mask, like(value.type, "i1"))
        self.intrinsic("masked.store", [value.type, "ptr"], "void", value, where, mask)

    def prefetch(self, pointer: Reg, write: bool = False, locality: int = 3) -> None:
        """Bring the line of `pointer` near: locality 3 is the first level, 0 is read once."""
        self.intrinsic("prefetch", ["ptr"], "void", pointer, f"i32 {int(write)}", f"i32 {locality}", "i32 1")

    def alloca(self, type: str, count: int = 1, align: int = 64) -> Reg:
        """Stack memory of the whole function: call it in the entry block."""
        return self.emit(f"alloca [{count} x {type}], align {align}", "ptr")

    def call(self, name: str, returns: str, *arguments: Reg) -> Reg:
        """Call a function of this module, or declare an outside one at first use."""
        known = self.module.functions.get(name)
        types = [a.type for a in arguments]
        if known is None:
            self.module.declare(name, returns, types)
        elif [p.type for p in known.parameters.values()] != types or known.returns != returns:
            raise TypeError(f"call of @{name} with {types} -> {returns}")
        call = f"call {returns} @{name}({', '.join(map(str, arguments))})"
        if returns == "void":
            self.line(call)
            return Reg("", "void")
        return self.emit(call, returns)


def _leading_type(text: str) -> str:
    """The type at the start of `ptr noalias %a` or `<4 x float> %b`."""
    return text[: text.index(">") + 1] if text.startswith("<") else text.split(" ")[0]
