"""Threads for the models of this process: one team, emitted as machine code, that works for one run at a time.

A run of a model asks for the team (`acquire`); when it gets it, every member executes the whole model, each its share
of every kernel that can be shared, and they meet at barriers (`emit_barrier`). A run that finds the team busy goes on
alone, which changes no bit. Members are started by the first run that wants them, never before; between runs they spin
for some tens of microseconds, then sleep. A child made by `fork` has none of them: the owner word holds the process,
and the first run in the child starts its own. Members block signals, take over the rounding mode and the treatment
of denormals of the thread they work for, keep off its core (`placement.py`), and end with the process. What C opens
has a team of its own for each handle, whose members `NAME_close` ends.

The team's memory, in bytes: who owns it, the entries, members started; the job and the caller's core; members still at
work; the barrier's counter and generation; then a slot for each member.
"""

import ctypes
import mmap
import threading
from typing import Any

from graphc.backends.llvm.cache import Cache, default
from graphc.backends.llvm.emitter import Function, Module, Reg, constant
from graphc.backends.llvm.jit import Code, emit_object, load
from graphc.backends.llvm.placement import emit_apart, note_core
from graphc.backends.llvm.target import Target, host
from graphc.errors import UsageError
from graphc.machine import cores

OWNER, ACQUIRE, RUN, STARTED = 0, 8, 16, 24
JOB, CONTEXT, PARTS, CONTROL, CORE = 64, 72, 80, 88, 96
PENDING, COUNT, GENERATION = 128, 192, 256
SLOTS, SLOT = 320, 64
ROUND, ASLEEP, TEAM, INDEX, ROOM, ROOM_BYTES, THREAD = 0, 4, 8, 16, 24, 32, 40  # within a slot
NAMES = ("graphc_acquire", "graphc_run")
MOST = 64  # members, with the thread that asks
BYTES = SLOTS + SLOT * MOST

SPINS = 1000  # pauses of about 50 ns each on current processors
WAIT, WAKE = 128, 129  # private futex operations
BLOCK_SIGNALS = 2  # SIG_SETMASK
# All signals but those that tell of a fault of this very thread, and the two libc uses for itself.
SIGNALS = ~sum(1 << (number - 1) for number in (4, 5, 6, 7, 8, 11, 32, 33))
SYSTEM_CALLS = {  # futex, getpid, rt_sigprocmask
    "x86_64": (202, 39, 14),
    "aarch64": (98, 172, 135),
}


def can_share(module: Module) -> bool:
    """Whether there are teams on this system."""
    return _architecture(module) in SYSTEM_CALLS and "linux" in module.triple


def _architecture(module: Module) -> str:
    return module.triple.split("-")[0]


def call_acquire(f: Function, team: Reg, threads: Reg, need: Reg) -> Reg:
    """How many threads (i64) a run gets: all or some of those it wants, 1 when the team is busy.

    need: bytes of working memory each of the others must have.
    """
    entry = f.load(f.gep(team, ACQUIRE), "ptr")
    return f.emit(f"call i64 {entry.name}({team}, {threads}, {need})", "i64")


def call_run(f: Function, team: Reg, job: str, context: Reg, parts: Reg) -> None:
    """Run `void job(context, part, parts, team, room)` on an acquired team, and give the team back."""
    entry = f.load(f.gep(team, RUN), "ptr")
    f.line(f"call void {entry.name}({team}, ptr @{job}, {context}, {parts})")


def emit_barrier(module: Module) -> str:
    """The function `barrier(team, parts)`, where all members meet: what any wrote before, all see after."""
    name = "graphc.barrier"
    if name in module.functions:
        return name
    f = module.function(name, {"team": "ptr", "parts": "i64"}, internal=True, inline=False)
    with f.if_(f.icmp("eq", f.parts, 1)):
        f.ret()
    count, generation = f.gep(f.team, COUNT), f.gep(f.team, GENERATION)
    now = _atomic_load(f, generation, "i64", "acquire")
    before = f.emit(f"atomicrmw add {count}, i64 1 acq_rel", "i64")
    with f.if_(f.icmp("eq", f.add(before, 1), f.parts)):
        _atomic_store(f, constant(0, "i64"), count, "monotonic")
        _atomic_store(f, f.add(now, 1), generation, "release")
        f.ret()
    _spin_until(f, lambda: f.icmp("ne", _atomic_load(f, generation, "i64", "acquire"), now))
    f.ret()
    return name


def emit_team(module: Module, internal: bool = False) -> None:
    """Add `graphc_acquire` and `graphc_run`, and the loop of a member; `internal` for this module alone."""
    futex, getpid, sigmask = SYSTEM_CALLS[_architecture(module)]
    apart = emit_apart(module, _architecture(module), getpid, _system_call)
    _emit_member(module, futex, apart)
    _emit_acquire(module, getpid, sigmask, internal)
    _emit_run(module, futex, internal)
    for name in (apart, "graphc.member", "graphc_acquire", "graphc_run"):
        module.functions[name].cold = internal


def emit_end(module: Module) -> str:
    """The function `end(team)`: its members leave, when they are of this process, and their memory is given back."""
    futex, getpid, _ = SYSTEM_CALLS[_architecture(module)]
    f = module.function("graphc.end", {"team": "ptr"}, internal=True, inline=False)
    f.cold = True
    owner = _atomic_load(f, f.team, "i64", "monotonic")
    with f.if_(f.icmp("eq", f.and_(owner, -2), f.shl(_system_call(f, getpid), 1))):
        f.store(constant(0, "ptr"), f.gep(f.team, JOB))
        with f.loop(1, f.add(f.load(f.gep(f.team, STARTED), "i64"), 1)) as index:
            slot = f.gep(f.team, f.add(f.mul(index, SLOT), SLOTS))
            _call_up(f, slot, futex)
            f.call("pthread_join", "i32", f.load(f.gep(slot, THREAD), "i64"), constant(0, "ptr"))
    with f.loop(0, MOST) as index:
        slot = f.gep(f.team, f.add(f.mul(index, SLOT), SLOTS))
        f.call("free", "void", f.load(f.gep(slot, ROOM), "ptr"))
    f.ret()
    return f.name


def _emit_acquire(module: Module, getpid: int, sigmask: int, internal: bool) -> None:
    parameters = {"team": "ptr", "threads": "i64", "need": "i64"}
    f = module.function("graphc_acquire", parameters, returns="i64", internal=internal, inline=False)
    blocked, before = f.alloca("i64"), f.alloca("i64")
    one = constant(1, "i64")
    wanted = f.smin(f.threads, MOST)
    free = f.shl(_system_call(f, getpid), 1)
    owner = _atomic_load(f, f.team, "i64", "monotonic")
    with f.if_(f.icmp("eq", owner, f.or_(free, 1))):
        f.ret(one)
    taken = f.emit(f"cmpxchg {f.team}, {owner}, {f.or_(free, 1)} acquire monotonic", "{ i64, i1 }")
    lost = f.xor(f.emit(f"extractvalue {taken}, 1", "i1"), constant(1, "i1"))
    with f.if_(lost):
        f.ret(one)
    with f.if_(f.icmp("ne", owner, free)):  # another process's team, left over by fork
        for place in (STARTED, COUNT, GENERATION):
            f.store(constant(0, "i64"), f.gep(f.team, place))
    started = f.load(f.gep(f.team, STARTED), "i64")
    with f.if_(f.icmp("slt", f.add(started, 1), wanted)):
        f.store(constant(SIGNALS, "i64"), blocked)
        _system_call(f, sigmask, constant(BLOCK_SIGNALS, "i64"), blocked, before, constant(8, "i64"))
        with f.loop(f.add(started, 1), wanted) as index:
            slot = f.gep(f.team, f.add(f.mul(index, SLOT), SLOTS))
            f.store(constant(0, "i64"), slot)  # round and asleep
            f.store(f.team, f.gep(slot, TEAM))
            f.store(index, f.gep(slot, INDEX))
            member, null = Reg("@graphc.member", "ptr"), constant(0, "ptr")
            # After one failure none is tried: slots are filled in order.
            with f.if_(f.icmp("eq", f.load(f.gep(f.team, STARTED), "i64"), f.sub(index, 1))):
                failed = f.call("pthread_create", "i32", f.gep(slot, THREAD), null, member, slot)
                with f.if_(f.icmp("eq", failed, 0)):
                    f.store(index, f.gep(f.team, STARTED))
        _system_call(
            f, sigmask, constant(BLOCK_SIGNALS, "i64"), before, constant(0, "ptr"), constant(8, "i64")
        )
    granted = f.smin(wanted, f.add(f.load(f.gep(f.team, STARTED), "i64"), 1))

    def room(index: Reg, most: list[Reg]) -> list[Reg]:
        slot = f.gep(f.team, f.add(f.mul(index, SLOT), SLOTS))
        place, size = f.gep(slot, ROOM), f.gep(slot, ROOM_BYTES)

        def larger() -> list[Reg]:
            f.call("free", "void", f.load(place, "ptr"))
            rounded = f.and_(f.add(f.need, 4095), -4096)
            new = f.call("aligned_alloc", "ptr", constant(64, "i64"), rounded)
            none = f.icmp("eq", new, constant(0, "ptr"))
            f.store(new, place)
            f.store(f.select(none, constant(0, "i64"), rounded), size)
            return [f.select(none, f.smin(most[0], index), most[0])]

        enough = f.icmp("uge", f.load(size, "i64"), f.need)
        return f.if_else(enough, lambda: most, larger)

    (granted,) = f.fold(1, granted, 1, [granted], room)
    with f.if_(f.icmp("sle", granted, 1)):
        _atomic_store(f, free, f.team, "release")
        f.ret(one)
    f.ret(granted)


def _emit_run(module: Module, futex: int, internal: bool) -> None:
    parameters = {"team": "ptr", "job": "ptr", "context": "ptr", "parts": "i64"}
    f = module.function("graphc_run", parameters, internal=internal, inline=False)
    pending = f.gep(f.team, PENDING)
    f.store(f.job, f.gep(f.team, JOB))
    f.store(f.context, f.gep(f.team, CONTEXT))
    f.store(f.parts, f.gep(f.team, PARTS))
    _save_control(f, f.gep(f.team, CONTROL))
    note_core(f, f.gep(f.team, CORE))
    _atomic_store(f, f.sub(f.parts, 1), pending, "monotonic")
    with f.loop(1, f.parts) as index:
        _call_up(f, f.gep(f.team, f.add(f.mul(index, SLOT), SLOTS)), futex)
    none = constant(0, "i64")
    f.line(f"call void {f.job.name}({f.context}, {none}, {f.parts}, {f.team}, ptr null)")
    _spin_until(f, lambda: f.icmp("eq", _atomic_load(f, pending, "i64", "acquire"), 0))
    owner = _atomic_load(f, f.team, "i64", "monotonic")
    _atomic_store(f, f.and_(owner, -2), f.team, "release")
    f.ret()


def _call_up(f: Function, slot: Reg, futex: int) -> None:
    """Begin a member's next round."""
    f.emit(f"atomicrmw add {slot}, i32 1 seq_cst", "i32")
    asleep = f.emit(f"load atomic i32, {f.gep(slot, ASLEEP)} seq_cst, align 4", "i32")
    with f.if_(f.icmp("ne", asleep, 0)):
        _system_call(f, futex, slot, constant(WAKE, "i64"), constant(1, "i64"))


def _emit_member(module: Module, futex: int, apart: str) -> None:
    """What a member does until there is no job: wait for its round to change, run its part of the job, say so."""
    f = module.function("graphc.member", {"slot": "ptr"}, returns="ptr", internal=True, inline=False)
    team = f.load(f.gep(f.slot, TEAM), "ptr")
    index = f.load(f.gep(f.slot, INDEX), "i64")
    asleep = f.gep(f.slot, ASLEEP)
    entry = f.current
    again, spin, sleep, check, nap, up, work, leave, stay = (
        f.fresh(stem) for stem in ("again", "spin", "sleep", "check", "nap", "up", "work", "leave", "stay")
    )
    last, following = Reg(f"%{f.fresh()}", "i32"), Reg(f"%{f.fresh()}", "i32")
    tries, tried = Reg(f"%{f.fresh()}", "i64"), Reg(f"%{f.fresh()}", "i64")
    f.br(again)
    f.begin(again)
    f.line(f"{last.name} = phi i32 [ 0, %{entry} ], [ {following.name}, %{stay} ]")
    f.br(spin)
    f.begin(spin)
    f.line(f"{tries.name} = phi i64 [ 0, %{again} ], [ {tried.name}, %{check} ]")
    now = _atomic_load(f, f.slot, "i32", "acquire")
    f.cond_br(f.icmp("ne", now, last), work, check)
    f.begin(check)
    _pause(f)
    f.line(f"{tried.name} = add {tries}, 1")
    f.cond_br(f.icmp("slt", tried, SPINS), spin, sleep)
    f.begin(sleep)
    f.emit(f"atomicrmw xchg {asleep}, i32 1 seq_cst", "i32")
    f.br(nap)
    f.begin(nap)
    # The call returns at once when the round has changed already.
    _system_call(f, futex, f.slot, constant(WAIT, "i64"), f.zext(last, "i64"), constant(0, "ptr"))
    f.cond_br(f.icmp("eq", _atomic_load(f, f.slot, "i32", "acquire"), last), nap, up)
    f.begin(up)
    f.emit(f"atomicrmw xchg {asleep}, i32 0 seq_cst", "i32")
    f.br(work)
    f.begin(work)
    f.line(f"{following.name} = add {last}, 1")  # rounds are counted one by one: none is missed
    job, context = f.load(f.gep(team, JOB), "ptr"), f.load(f.gep(team, CONTEXT), "ptr")
    f.cond_br(f.icmp("eq", job, constant(0, "ptr")), leave, stay)
    f.begin(leave)
    f.ret(constant(0, "ptr"))
    f.begin(stay)
    f.call(apart, "void", f.gep(team, CORE))
    _restore_control(f, f.gep(team, CONTROL))
    parts, room = f.load(f.gep(team, PARTS), "i64"), f.load(f.gep(f.slot, ROOM), "ptr")
    f.line(f"call void {job.name}({context}, {index}, {parts}, {team}, {room})")
    f.emit(f"atomicrmw sub {f.gep(team, PENDING)}, i64 1 release", "i64")
    f.br(again)


# Instructions ---------------------------------------------------------------------------------------------------------


def _atomic_load(f: Function, place: Reg, type: str, order: str) -> Reg:
    return f.emit(f"load atomic {type}, {place} {order}, align {int(type[1:]) // 8}", type)


def _atomic_store(f: Function, value: Reg, place: Reg, order: str) -> None:
    f.line(f"store atomic {value}, {place} {order}, align {int(value.type[1:]) // 8}")


def _system_call(f: Function, number: int, *arguments: Reg) -> Reg:
    f.module.declare("syscall", "i64", ["i64", "..."])
    texts = ", ".join(map(str, [constant(number, "i64"), *arguments]))
    return f.emit(f"call i64 (i64, ...) @syscall({texts})", "i64")


def _pause(f: Function) -> None:
    if _architecture(f.module) == "x86_64":
        f.intrinsic("x86.sse2.pause", [], "void")
    else:
        f.intrinsic("aarch64.hint", [], "void", constant(1, "i32"))


def _save_control(f: Function, place: Reg) -> None:
    """The thread's treatment of denormals and its rounding mode."""
    if _architecture(f.module) == "x86_64":
        f.intrinsic("x86.sse.stmxcsr", [], "void", place)
    else:
        f.store(f.intrinsic("aarch64.get.fpcr", [], "i64"), place)


def _restore_control(f: Function, place: Reg) -> None:
    if _architecture(f.module) == "x86_64":
        f.intrinsic("x86.sse.ldmxcsr", [], "void", place)
    else:
        f.intrinsic("aarch64.set.fpcr", [], "void", f.load(place, "i64"))


def _spin_until(f: Function, done: Any) -> None:
    """Wait, in `pause` first, then letting other threads have the core."""
    before = f.current
    spin, wait, hold, give, after = (f.fresh(stem) for stem in ("spin", "wait", "hold", "give", "after"))
    tries, tried = Reg(f"%{f.fresh()}", "i64"), Reg(f"%{f.fresh()}", "i64")
    f.br(spin)
    f.begin(spin)
    f.line(f"{tries.name} = phi i64 [ 0, %{before} ], [ {tried.name}, %{hold} ], [ {tried.name}, %{give} ]")
    f.cond_br(done(), after, wait)
    f.begin(wait)
    f.line(f"{tried.name} = add {tries}, 1")
    f.cond_br(f.icmp("slt", tried, SPINS), hold, give)
    f.begin(hold)
    _pause(f)
    f.br(spin)
    f.begin(give)
    f.call("sched_yield", "i32")
    f.br(spin)
    f.begin(after)


# The team of this process ---------------------------------------------------------------------------------------------

_lock = threading.Lock()
_team: list[Any] = []


def process_team(code: Code | None = None) -> int:
    """The address of this process's team; made when first asked for, with no member yet.

    code: a library that has `NAMES`; they are compiled else.
    """
    with _lock:
        if not _team:
            code = code or _compiled()
            if code is None:
                return 0
            _immortal(code)
            memory = mmap.mmap(-1, BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            words = (ctypes.c_int64 * (len(memory) // 8)).from_buffer(memory)
            _immortal(words)
            words[ACQUIRE // 8], words[RUN // 8] = map(code.address, NAMES)
            _team.append(words)
        return ctypes.addressof(_team[0])


def _compiled() -> Code | None:
    image = team_object(host(), default())
    return load(image, NAMES, host()) if image else None


def team_object(target: Target, cache: Cache | None = None) -> bytes:
    """The object with `NAMES`; empty where there are no teams."""
    module = target.module()
    if not can_share(module):
        return b""
    emit_team(module)
    return emit_object(str(module), target, cache)


def _immortal(thing: Code | ctypes.Array[Any]) -> None:
    """Members may be running in it until the very end of the process, after the interpreter's."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def allowed(threads: int) -> int:
    """The threads a model uses that is asked to use so many: no more than this process has cores.

    Raises UsageError for less than one.
    """
    if threads < 1:
        raise UsageError(f"{threads} threads cannot run a model; threads= counts from 1")
    return min(threads, MOST, cores().allowed)
