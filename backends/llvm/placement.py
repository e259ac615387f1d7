"""Members of a team on other cores than the thread they work for.

A thread that is woken often lands on the core of the one that wakes it, and may stay there while another core idles:
both then take turns, and a run takes as long as on one thread or longer. So the caller notes its core, and a member
that finds itself there asks for any other core this process may use. That happens once; afterwards it costs a look at
a register. Where it is not allowed nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.backends.llvm.emitter import Function, Module, Reg, constant

CORES = 1024
SYSTEM_CALLS = {  # sched_getaffinity, sched_setaffinity
    "x86_64": (204, 203),
    "aarch64": (123, 122),
}
Call = Callable[..., Reg]


def note_core(f: Function, place: Reg) -> None:
    """The caller's core, as i32."""
    f.store(f.call("sched_getcpu", "i32"), place)


def emit_apart(module: Module, architecture: str, getpid: int, call: Call) -> str:
    """The function `apart(place)`: leave the core whose number stands at `place`, if this is it.

    call: emits a system call, `call(f, number, *arguments)`.
    """
    get, set_ = SYSTEM_CALLS[architecture]
    f = module.function("graphc.apart", {"place": "ptr"}, internal=True, inline=False)
    mask = f.alloca("i64", CORES // 64)
    here = f.zext(f.call("sched_getcpu", "i32"), "i64")  # -1 becomes a core there is not
    there = f.zext(f.load(f.place, "i32"), "i64")
    with f.if_(f.and_(f.icmp("eq", here, there), f.icmp("slt", here, CORES))):
        size = call(f, get, call(f, getpid), constant(CORES // 8, "i64"), mask)
        with f.if_(f.icmp("sgt", f.mul(size, 8), here)):
            word = f.gep(mask, f.mul(f.lshr(here, 6), 8))
            bit = f.shl(constant(1, "i64"), f.and_(here, 63))
            f.store(f.and_(f.load(word, "i64"), f.xor(bit, -1)), word)
            call(f, set_, constant(0, "i64"), size, mask)
    f.ret()
    return f.name
