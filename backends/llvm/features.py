"""Which processor features a compiled model needs, and whether a machine has them.

The list is explicit: never a processor's name, which may promise what a hypervisor hides, and no tuning
preference. `emit_missing` writes the check as code for the artefact (CPUID, and XGETBV for the registers the
operating system saves); it runs before any other function and uses baseline instructions only. `missing` asks
LLVM the same of this machine. Bits: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from graphc.backends.llvm.emitter import Function, Module, Reg, constant
from graphc.errors import HostMismatchError, InternalError

EAX, EBX, ECX, EDX = range(4)
OSXSAVE = 27  # of leaf 1, ECX: XGETBV may be used
YMM, ZMM = 0x06, 0xE6  # bits of XCR0: SSE and AVX state; and the three parts of the AVX-512 state

# Feature: (leaf, subleaf, register, bit, state the operating system must save).
X86 = {
    "cx8": (1, 0, EDX, 8, 0),
    "cmov": (1, 0, EDX, 15, 0),
    "mmx": (1, 0, EDX, 23, 0),
    "sse": (1, 0, EDX, 25, 0),
    "sse2": (1, 0, EDX, 26, 0),
    "sse3": (1, 0, ECX, 0, 0),
    "pclmul": (1, 0, ECX, 1, 0),
    "ssse3": (1, 0, ECX, 9, 0),
    "fma": (1, 0, ECX, 12, YMM),
    "cx16": (1, 0, ECX, 13, 0),
    "sse4.1": (1, 0, ECX, 19, 0),
    "sse4.2": (1, 0, ECX, 20, 0),
    "crc32": (1, 0, ECX, 20, 0),
    "movbe": (1, 0, ECX, 22, 0),
    "popcnt": (1, 0, ECX, 23, 0),
    "aes": (1, 0, ECX, 25, 0),
    "avx": (1, 0, ECX, 28, YMM),
    "f16c": (1, 0, ECX, 29, YMM),
    "bmi": (7, 0, EBX, 3, 0),
    "avx2": (7, 0, EBX, 5, YMM),
    "bmi2": (7, 0, EBX, 8, 0),
    "avx512f": (7, 0, EBX, 16, ZMM),
    "avx512dq": (7, 0, EBX, 17, ZMM),
    "adx": (7, 0, EBX, 19, 0),
    "avx512ifma": (7, 0, EBX, 21, ZMM),
    "avx512cd": (7, 0, EBX, 28, ZMM),
    "sha": (7, 0, EBX, 29, 0),
    "avx512bw": (7, 0, EBX, 30, ZMM),
    "avx512vl": (7, 0, EBX, 31, ZMM),
    "avx512vbmi": (7, 0, ECX, 1, ZMM),
    "avx512vbmi2": (7, 0, ECX, 6, ZMM),
    "gfni": (7, 0, ECX, 8, 0),
    "vaes": (7, 0, ECX, 9, YMM),
    "vpclmulqdq": (7, 0, ECX, 10, YMM),
    "avx512vnni": (7, 0, ECX, 11, ZMM),
    "avx512bitalg": (7, 0, ECX, 12, ZMM),
    "avx512vpopcntdq": (7, 0, ECX, 14, ZMM),
    "avx512vp2intersect": (7, 0, EDX, 8, ZMM),
    "avx512fp16": (7, 0, EDX, 23, ZMM),
    "avxvnni": (7, 1, EAX, 4, YMM),
    "avx512bf16": (7, 1, EAX, 5, ZMM),
    "avxifma": (7, 1, EAX, 23, YMM),
    "avxvnniint8": (7, 1, EDX, 4, YMM),
    "avxneconvert": (7, 1, EDX, 5, YMM),
    "avxvnniint16": (7, 1, EDX, 10, YMM),
    "sahf": (0x80000001, 0, ECX, 0, 0),
    "lzcnt": (0x80000001, 0, ECX, 5, 0),
    "sse4a": (0x80000001, 0, ECX, 6, 0),
    "prfchw": (0x80000001, 0, ECX, 8, 0),
    "xop": (0x80000001, 0, ECX, 11, YMM),
    "fma4": (0x80000001, 0, ECX, 16, YMM),
    "tbm": (0x80000001, 0, ECX, 21, 0),
}
# Instructions LLVM writes only where a program asks for them by name, which ours do not.
NEVER_EMITTED = frozenset(
    "64bit fxsr xsave xsavec xsaveopt xsaves rdrnd rdseed rdpid rdpru rdtscp clflushopt clwb clzero cldemote "
    "invpcid fsgsbase shstk mwaitx pku ptwrite sgx rtm tsxldtrk uintr waitpkg wbnoinvd serialize pconfig kl "
    "widekl movdiri movdir64b enqcmd hreset lwp usermsr prefetchi x87".split()
)
AARCH64_BASE = frozenset(["fp-armv8", "neon", "v8a"])  # every AArch64 processor that runs Linux

Four = tuple[Reg, Reg, Reg, Reg]


@dataclass(frozen=True, slots=True)
class Probe:
    """How emitted code asks the processor; the tests put another one in its place."""

    cpuid: Callable[[Function, int, int], Four]
    xgetbv: Callable[[Function], Reg]


def required(features: Iterable[str]) -> tuple[str, ...]:
    """The features switched on in a target's signed list that decide whether its code runs, sorted.

    Raises InternalError for a feature that has no check: see `checkable`.

    >>> required(["+avx2", "-avx512f", "-prefer-256-bit", "+rdrnd", "+fma"])
    ('avx2', 'fma')
    """
    on = {f[1:] for f in features if f.startswith("+")} - NEVER_EMITTED - AARCH64_BASE
    unknown = sorted(on - X86.keys())
    if unknown:
        raise InternalError(f"no check is known for the processor feature {', '.join(unknown)}")
    return tuple(sorted(on))


def checkable(features: Iterable[str]) -> tuple[str, ...]:
    """The signed list with every feature off that has no check, so that code made for it can always be
    checked.

    >>> checkable(["+avx2", "+avx10.2", "-rtm"])
    ('+avx2', '-avx10.2', '-rtm')
    """
    known = X86.keys() | NEVER_EMITTED | AARCH64_BASE
    return tuple("-" + f[1:] if f.startswith("+") and f[1:] not in known else f for f in features)


# What Linux calls them, where that is another name.
LINUX = {
    "avx512bf16": "avx512_bf16", "avx512bitalg": "avx512_bitalg", "avx512fp16": "avx512_fp16",
    "avx512vbmi2": "avx512_vbmi2", "avx512vnni": "avx512_vnni", "avx512vp2intersect": "avx512_vp2intersect",
    "avx512vpopcntdq": "avx512_vpopcntdq", "avxifma": "avx_ifma", "avxvnni": "avx_vnni", "bmi": "bmi1",
    "crc32": "sse4_2", "lzcnt": "abm", "pclmul": "pclmulqdq", "prfchw": "3dnowprefetch", "sahf": "lahf_lm",
    "sha": "sha_ni", "sse3": "pni", "sse4.1": "sse4_1", "sse4.2": "sse4_2",
}  # fmt: skip


def missing(names: Iterable[str]) -> tuple[str, ...]:
    """Which of these features this machine lacks (what the operating system does not save counts out).

    What Linux lists is there; about the rest LLVM is asked, which takes a while to load.
    """
    listed = _listed_by_linux()
    names = tuple(name for name in names if LINUX.get(name, name) not in listed)
    if not names:
        return ()
    from llvmlite import binding

    have = {name for name, on in binding.get_host_cpu_features().items() if on} | AARCH64_BASE
    return tuple(name for name in names if name not in have)


def _listed_by_linux() -> frozenset[str]:
    """The flags of the first processor; none where there is no such list."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return frozenset()
    return frozenset(line.partition(":")[2].split())


def check(names: Iterable[str], what: str) -> None:
    """Raise HostMismatchError when this machine lacks one of the features `what` was compiled for."""
    lacking = missing(names)
    if lacking:
        raise HostMismatchError(
            f"{what} needs processor features this machine does not have: {', '.join(lacking)}",
            fix="compile it on this machine, or with --cpu x86-64-v2",
        )


def check_triple(triple: str, what: str) -> None:
    """Raise HostMismatchError when `what` was compiled for another architecture or operating system."""
    here = os.uname()
    if triple.startswith(f"{here.machine}-") and "linux" in triple and here.sysname == "Linux":
        return
    from llvmlite import binding

    def machine(name: str) -> tuple[str, str]:
        architecture, _, rest = name.partition("-")
        return architecture, "linux" if "linux" in rest else rest  # the vendor's name says nothing

    if machine(triple) != machine(binding.get_process_triple()):
        raise HostMismatchError(
            f"{what} was compiled for {triple}, this machine is {binding.get_process_triple()}",
            fix="compile it on this machine",
        )


def _cpuid(f: Function, leaf: int, subleaf: int) -> Four:
    """EAX, EBX, ECX and EDX of a leaf."""
    kind = "{ i32, i32, i32, i32 }"
    constraints = "={ax},={bx},={cx},={dx},{ax},{cx}"
    signed = leaf - (1 << 32) if leaf >> 31 else leaf
    four = f.emit(f'call {kind} asm sideeffect "cpuid", "{constraints}"(i32 {signed}, i32 {subleaf})', kind)
    a, b, c, d = (f.emit(f"extractvalue {four}, {i}", "i32") for i in range(4))
    return a, b, c, d


def _xgetbv(f: Function) -> Reg:
    """The low half of XCR0."""
    pair = f.emit('call { i32, i32 } asm sideeffect "xgetbv", "={ax},={dx},{cx}"(i32 0)', "{ i32, i32 }")
    return f.emit(f"extractvalue {pair}, 0", "i32")


PROCESSOR = Probe(_cpuid, _xgetbv)


def emit_missing(module: Module, name: str, names: tuple[str, ...], probe: Probe = PROCESSOR) -> Function:
    """Write `i32 name()`: 0 when the processor has all features, else 1 + the place of the first it lacks."""
    f = module.function(name, {}, returns="i32", internal=True, inline=False)
    f.attributes, f.cold = baseline(module), True
    if names:
        leaves = sorted({X86[n][:2] for n in names} | {(1, 0)})
        words = f.alloca("i32", 4 * len(leaves))
        registers = {leaf: _leaf(f, *leaf, probe) for leaf in leaves}
        for at, found in enumerate(found for leaf in leaves for found in registers[leaf]):
            f.store(found, f.gep(words, 4 * at))
        state = _saved_state(f, registers[1, 0][ECX], probe)
        rows = []  # of each feature: which word, its bit, the state it needs
        for leaf, subleaf, register, number, saved in (X86[name] for name in names):
            rows += [4 * leaves.index((leaf, subleaf)) + register, _signed(1 << number), saved]
        table = module.table(rows, "i32", align=4)
        with f.loop(0, len(names)) as i:
            place, bit, needs = (
                f.load(f.gep(table, f.add(f.mul(i, 12), 4 * k)), "i32", invariant=True) for k in range(3)
            )
            word = f.load(f.gep(words, f.mul(f.zext(place, "i64"), 4)), "i32")
            has, kept = f.icmp("ne", f.and_(word, bit), 0), f.icmp("eq", f.and_(state, needs), needs)
            with f.if_(f.xor(f.and_(has, kept), True)):
                f.ret(f.trunc(f.add(i, 1), "i32"))
    f.ret(constant(0, "i32"))
    return f


def baseline(module: Module) -> str:
    """Attributes of a function that must run on any processor of the module's architecture."""
    if module.triple.startswith("aarch64"):
        return '"target-cpu"="generic" "target-features"="+fp-armv8,+neon"'
    return '"target-cpu"="x86-64" "target-features"="+cx8,+mmx,+fxsr,+sse,+sse2,+x87"'


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


def _leaf(f: Function, leaf: int, subleaf: int, probe: Probe) -> list[Reg]:
    """The registers of a leaf, zeros where the processor has no such leaf."""
    highest = probe.cpuid(f, leaf & 0x80000000, 0)[EAX]
    exists = f.icmp("uge", highest, _signed(leaf))
    zeros = [constant(0, "i32")] * 4

    def read() -> list[Reg]:
        if not subleaf:
            return list(probe.cpuid(f, leaf, 0))
        deepest = probe.cpuid(f, leaf, 0)[EAX]
        return f.if_else(
            f.icmp("uge", deepest, subleaf), lambda: list(probe.cpuid(f, leaf, subleaf)), lambda: zeros
        )

    return f.if_else(exists, read, lambda: zeros)


def _saved_state(f: Function, leaf1_ecx: Reg, probe: Probe) -> Reg:
    """XCR0, or 0 where the operating system has not enabled XGETBV."""
    enabled = f.icmp("ne", f.and_(leaf1_ecx, 1 << OSXSAVE), 0)
    (state,) = f.if_else(enabled, lambda: [probe.xgetbv(f)], lambda: [constant(0, "i32")])
    return state
