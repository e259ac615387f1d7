"""The C interface of a compiled model, emitted as IR: no C compiler, and no runtime library but libc.

    int32_t NAME_open(const char *weights, NAME **out)     checks processor, length and content; maps the file
    size_t  NAME_workspace(const NAME *, int64_t N)        bytes `run` needs; SIZE_MAX for an N it does not take
    int32_t NAME_run(const NAME *, int64_t N, inputs..., outputs..., void *workspace, int32_t threads)
    void    NAME_close(NAME *)
    const char *NAME_error(int32_t)
    int32_t NAME_check_host(void)
    int32_t NAME_abi_version(void)

Where there are several symbolic dimensions, an int64_t for each, in alphabetical order, stands in the place of N.

A handle is 64 bytes: the address of the weights, of their packed form, of the threads that work for it, and what
`close` gives back. There is no mutable global; a handle is constant after `open`, so any number of threads may run on
it at once. Its team (`team.py`) has no member before a run asks for one, and works for one run at a time.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.llvm.content_hash import content_hash, emit_content_hash
from graphc.backends.llvm.emitter import Function, Module, Reg, constant
from graphc.backends.llvm.features import baseline, emit_missing
from graphc.backends.llvm.point import Sizes
from graphc.backends.llvm.signature import ABI_VERSION, Array, Signature
from graphc.backends.llvm.status import FAULT, HANDLE, PREAMBLE, Status, messages, ranges_of
from graphc.backends.llvm.team import ACQUIRE, BYTES, RUN, emit_end, emit_team

WEIGHTS, PACKED, MAPPED, LENGTH, TEAM = 0, 8, 16, 24, 32  # bytes into the handle; `run` reads 0, 8 and 32

O_RDONLY_CLOEXEC = 0o2000000
SEEK_END = 2
PROT_READ, MAP_PRIVATE, MAP_POPULATE = 1, 2, 0x8000


def preamble(identity: int, data: bytes | memoryview) -> bytes:
    """What stands before the weights: the name of their layout, and the hash of all that follows."""
    return struct.pack("<QQ", identity, content_hash(data)).ljust(PREAMBLE, b"\0")


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights file a model reads.

    The code knows the form of the file, not its numbers, so a model trained further needs no other code: at
    `offset`, a multiple of 64, stands a preamble of 64 bytes (`preamble`), the weights follow.

    length: of the file in bytes. identity: 64 bits that name the layout of the weights. packed: bytes of
    memory, aligned to 64, that `NAME_open` allocates and has `pack` fill; 0 for none. pack: name of a function
    the module has already, `void pack(ptr weights, ptr packed)`.
    """

    length: int
    identity: int
    offset: int = 0
    packed: int = 0
    pack: str = ""


def exported_names(signature: Signature) -> list[str]:
    """The symbols a library of this model exports."""
    parts = ("abi_version", "check_host", "close", "error", "open", "run", "workspace")
    return [f"{signature.name}_{part}" for part in parts]


def emit_c_api(
    module: Module,
    signature: Signature,
    body: str,
    features: tuple[str, ...] = (),
    weights: Weights | None = None,
    faults: Sequence[str] = (),
    threads: bool = False,
) -> None:
    """Write the functions above into a module that has `body`.

    body: `i32 body(handle, N, inputs..., outputs..., workspace, threads)`, called by `NAME_run` with
    arguments that are known to be good. features: what `features.required` says of the target. weights: None
    for a model without any. faults: what the statuses from `FAULT` on mean, which `body` returns. threads:
    whether `body` asks the handle's team for help.
    """
    name = signature.name
    emit_missing(module, f"{name}.missing", features)
    _emit_check_host(module, name)
    _emit_constant(module, f"{name}_abi_version", ABI_VERSION[0] << 16 | ABI_VERSION[1])
    if threads:
        emit_team(module, internal=True)
    _emit_open(module, name, weights, threads)
    _emit_close(module, name, threads)
    _emit_workspace(module, signature)
    _emit_run(module, signature, body)
    _emit_error(
        module, name, messages(signature, features) | {FAULT + i: text for i, text in enumerate(faults)}
    )


def _function(module: Module, name: str, parameters: dict[str, str], returns: str = "void") -> Function:
    f = module.function(name, parameters, returns)
    f.attributes, f.cold = baseline(module), True
    return f


def _status(status: int) -> Reg:
    return constant(int(status), "i32")


def _return_if(f: Function, condition: Reg, status: int) -> None:
    with f.if_(condition):
        f.ret(_status(status))


def _emit_constant(module: Module, name: str, value: int) -> None:
    f = _function(module, name, {}, "i32")
    f.ret(constant(value, "i32"))


def _emit_check_host(module: Module, name: str) -> None:
    f = _function(module, f"{name}_check_host", {}, "i32")
    first = f.call(f"{name}.missing", "i32")
    f.ret(f.select(f.icmp("eq", first, 0), _status(Status.OK), f.add(first, Status.HOST - 1)))


def _emit_open(module: Module, name: str, weights: Weights | None, threads: bool) -> None:
    f = _function(module, f"{name}_open", {"path": "ptr", "out": "ptr"}, "i32")
    null = constant(0, "ptr")
    _return_if(f, f.icmp("eq", f.out, null), Status.NULL)
    f.store(null, f.out)
    host = f.call(f"{name}_check_host", "i32")
    with f.if_(f.icmp("ne", host, 0)):
        f.ret(host)
    if weights is None:
        mapped, length, start = null, 0, null
    else:
        _return_if(f, f.icmp("eq", f.path, null), Status.NULL)
        mapped, length = _map_file(f, weights), weights.length
        start = f.gep(mapped, weights.offset + PREAMBLE)

    def fail(status: int, packed: Reg | None = None) -> None:
        if length:
            f.call("munmap", "i32", mapped, constant(length, "i64"))
        if packed is not None:
            f.call("free", "void", packed)
        f.ret(_status(status))

    if weights is not None:
        before = f.gep(mapped, weights.offset)
        with f.if_(f.icmp("ne", f.load(before, "i64", align=1), _signed(weights.identity))):
            fail(Status.CONTENT)
        rest = constant(weights.length - weights.offset - PREAMBLE, "i64")
        content = f.call(emit_content_hash(module), "i64", start, rest)
        with f.if_(f.icmp("ne", content, f.load(f.gep(before, 8), "i64", align=1))):
            fail(Status.CONTENT)
    packed = null
    if weights is not None and weights.packed:
        size = -(-weights.packed // 64) * 64
        packed = f.call("aligned_alloc", "ptr", constant(64, "i64"), constant(size, "i64"))
        with f.if_(f.icmp("eq", packed, null)):
            fail(Status.MEMORY)
        # In line it would be compiled for the baseline that `open` is made for.
        module.functions[weights.pack].inline = False
        f.call(weights.pack, "void", start, packed)
    handle = f.call("calloc", "ptr", constant(1, "i64"), constant(HANDLE, "i64"))
    with f.if_(f.icmp("eq", handle, null)):
        fail(Status.MEMORY, packed)
    if threads:
        team = f.call("aligned_alloc", "ptr", constant(64, "i64"), constant(BYTES, "i64"))
        with f.if_(f.icmp("eq", team, null)):
            f.call("free", "void", handle)
            fail(Status.MEMORY, packed)
        f.intrinsic("memset", ["ptr", "i64"], "void", team, "i8 0", constant(BYTES, "i64"), "i1 false")
        f.store(Reg("@graphc_acquire", "ptr"), f.gep(team, ACQUIRE))
        f.store(Reg("@graphc_run", "ptr"), f.gep(team, RUN))
        f.store(team, f.gep(handle, TEAM))
    f.store(start, f.gep(handle, WEIGHTS))
    f.store(packed, f.gep(handle, PACKED))
    f.store(mapped, f.gep(handle, MAPPED))
    f.store(constant(length, "i64"), f.gep(handle, LENGTH))
    f.store(handle, f.out)
    f.ret(_status(Status.OK))


def _map_file(f: Function, weights: Weights) -> Reg:
    """Open, measure and map the file. The length is checked before anything is
    read."""
    f.module.declare("open", "i32", ["ptr", "i32", "..."])
    fd = f.emit(f"call i32 (ptr, i32, ...) @open({f.path}, i32 {O_RDONLY_CLOEXEC})", "i32")
    _return_if(f, f.icmp("slt", fd, 0), Status.OPEN)
    # lseek, because the layout of fstat's answer differs between systems.
    length = f.call("lseek", "i64", fd, constant(0, "i64"), constant(SEEK_END, "i32"))
    with f.if_(f.icmp("ne", length, weights.length)):
        f.call("close", "i32", fd)
        f.ret(_status(Status.LENGTH))
    flags = constant(MAP_PRIVATE | MAP_POPULATE, "i32")
    size = constant(weights.length, "i64")
    read = constant(PROT_READ, "i32")
    mapped = f.call("mmap", "ptr", constant(0, "ptr"), size, read, flags, fd, constant(0, "i64"))
    f.call("close", "i32", fd)
    address = f.emit(f"ptrtoint {mapped} to i64", "i64")
    _return_if(f, f.icmp("eq", address, -1), Status.MAP)
    return mapped


def _emit_close(module: Module, name: str, threads: bool) -> None:
    f = _function(module, f"{name}_close", {"handle": "ptr"})
    with f.if_(f.icmp("eq", f.handle, constant(0, "ptr"))):
        f.ret()
    if threads:
        team = f.load(f.gep(f.handle, TEAM), "ptr")
        f.call(emit_end(module), "void", team)
        f.call("free", "void", team)
    length = f.load(f.gep(f.handle, LENGTH), "i64")
    with f.if_(f.icmp("ne", length, 0)):
        f.call("munmap", "i32", f.load(f.gep(f.handle, MAPPED), "ptr"), length)
    f.call("free", "void", f.load(f.gep(f.handle, PACKED), "ptr"))
    f.call("free", "void", f.handle)
    f.ret()


def size_parameters(symbols: Sequence[str]) -> dict[str, str]:
    """The parameters of functions that take the symbolic dimensions: `n`, or one for each."""
    return {"n": "i64"} if len(symbols) <= 1 else {f"size_{name}": "i64" for name in symbols}


def size_arguments(f: Function, symbols: Sequence[str]) -> dict[str, Reg]:
    """The symbolic dimensions a function was given, by name."""
    return {name: f.parameters[key] for name, key in zip(symbols, size_parameters(symbols))}


def _outside(f: Function, signature: Signature) -> Reg:
    outside = constant(False, "i1")
    sizes = size_arguments(f, signature.symbols)
    for name, (low, high) in ranges_of(signature):
        n = sizes[name]
        outside = f.or_(outside, f.or_(f.icmp("slt", n, low), f.icmp("sgt", n, high)))
    return outside


def _emit_workspace(module: Module, signature: Signature) -> None:
    parameters = {"handle": "ptr", **size_parameters(signature.symbols)}
    f = _function(module, f"{signature.name}_workspace", parameters, "i64")
    with f.if_(_outside(f, signature)):
        f.ret(constant(-1, "i64"))
    fixed, each = signature.workspace
    sizes = size_arguments(f, signature.symbols)
    total = f.add(f.mul(sizes[signature.symbol], each), fixed)
    counts = Sizes(f, {name: f.smax(n, 1) for name, n in sizes.items()})
    for unit, count in signature.needs.items():
        total = f.add(total, f.mul(counts(unit), count))
    f.ret(total)


def _emit_run(module: Module, signature: Signature, body: str) -> None:
    """Check what can be checked, then the model itself."""
    arrays = [*signature.inputs, *signature.outputs]
    pointers = {f"a{i}": "ptr" for i in range(len(arrays))}
    sizes = size_parameters(signature.symbols)
    parameters = {"handle": "ptr", **sizes, **pointers, "workspace": "ptr", "threads": "i32"}
    # For the target itself, not the baseline: `open` has checked the processor, and `body` may come in line.
    f = module.function(f"{signature.name}_run", parameters, "i32")
    _return_if(f, _outside(f, signature), Status.SIZE)
    null, unaligned = f.icmp("eq", _address(f, f.handle), 0), constant(0, "i64")
    for pointer, array in zip(pointers, arrays, strict=True):
        null, unaligned = _check(f, list(sizes), f.parameters[pointer], array, null, unaligned)
    if signature.workspace != (0, 0) or signature.needs:
        address = _address(f, f.workspace)
        null = f.or_(null, f.icmp("eq", address, 0))
        unaligned = f.or_(unaligned, f.and_(address, 63))
    _return_if(f, null, Status.NULL)
    _return_if(f, f.icmp("ne", f.or_(unaligned, constant(0, "i64")), 0), Status.ALIGNMENT)
    f.ret(f.call(body, "i32", *(f.parameters[p] for p in parameters)))


def _check(
    f: Function, sizes: Sequence[str], pointer: Reg, array: Array, null: Reg, unaligned: Reg
) -> tuple[Reg, Reg]:
    address = _address(f, pointer)
    # Nothing is read through the pointer of an array without elements.
    some = f.icmp("ne", f.parameters[sizes[0]], 0)
    for key in sizes[1:]:
        some = f.and_(some, f.icmp("ne", f.parameters[key], 0))
    null = f.or_(null, f.and_(f.icmp("eq", address, 0), some))
    return null, f.or_(unaligned, f.and_(address, array.itemsize - 1))


def _address(f: Function, pointer: Reg) -> Reg:
    return f.emit(f"ptrtoint {pointer} to i64", "i64")


def _emit_error(module: Module, name: str, texts: dict[int, str]) -> None:
    """All texts stand in one table; a second one has their offsets. So no address needs relocating."""
    f = _function(module, f"{name}_error", {"status": "i32"}, "ptr")
    unknown = "unknown status"
    pool = unknown.encode() + b"\0"
    offsets = [0] * (max(texts) + 1)
    for status, text in texts.items():
        offsets[status] = len(pool)
        pool += text.encode() + b"\0"
    table, strings = module.table(offsets, "i32", align=4), module.table(pool, "i8", align=1)
    known = f.icmp("ult", f.status, len(offsets))
    place = f.select(known, f.zext(f.status, "i64"), constant(0, "i64"))
    offset = f.load(f.gep(table, f.mul(place, 4)), "i32", invariant=True)
    offset = f.select(known, offset, constant(0, "i32"))
    f.ret(f.gep(strings, f.zext(offset, "i64")))


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
