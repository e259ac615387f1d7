"""The processor check: emitted code agrees with LLVM on this machine and with the manuals on invented
ones."""

import ctypes
import re
from pathlib import Path

import pytest

from graphc.backends.llvm import features
from graphc.backends.llvm.emitter import Function, Reg, constant
from graphc.backends.llvm.features import (
    EAX,
    ECX,
    OSXSAVE,
    X86,
    ZMM,
    Probe,
    check,
    emit_missing,
    missing,
    required,
)
from graphc.backends.llvm.jit import emit_object, load
from graphc.backends.llvm.target import host, level
from graphc.errors import HostMismatchError, InternalError

pytestmark = pytest.mark.skipif(not host().triple.startswith("x86_64"), reason="CPUID is an x86 instruction")


def first_missing(names: tuple[str, ...], probe: Probe = features.PROCESSOR) -> int:
    module = host().module()
    emit_missing(module, "check", names, probe)
    f = module.function("exported", {}, returns="i32")
    f.ret(f.call("check", "i32"))
    code = load(emit_object(str(module), host()), ["exported"])
    return ctypes.CFUNCTYPE(ctypes.c_int32)(code.address("exported"))()


def test_emitted_code_agrees_with_llvm_here() -> None:
    here = {f[1:] for f in host().features if f.startswith("+")}
    known_to_llvm = {f[1:] for f in host().features}
    for name in sorted(X86.keys() & known_to_llvm):
        assert (first_missing((name,)) == 0) == (name in here), name


def test_emitted_code_agrees_with_the_kernel() -> None:
    flags = set(re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)[1].split())
    spelling = {"sse3": "pni", "pclmul": "pclmulqdq", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "bmi": "bmi1"}
    spelling |= {"lzcnt": "abm", "sahf": "lahf_lm", "sha": "sha_ni", "avx512vbmi2": "avx512_vbmi2"}
    for name in ("sse3", "ssse3", "fma", "sse4.1", "sse4.2", "popcnt", "avx", "f16c", "bmi", "avx2", "bmi2"):
        assert (first_missing((name,)) == 0) == (spelling.get(name, name) in flags), name
    for name in ("avx512f", "avx512bw", "avx512vbmi2", "lzcnt", "sahf", "sha", "pclmul"):
        assert (first_missing((name,)) == 0) == (spelling.get(name, name) in flags), name


def machine(have: dict[str, bool], state: int, highest: int = 7, deepest: int = 1) -> Probe:
    """A processor with exactly these features; the operating system saves `state`."""

    def cpuid(f: Function, leaf: int, subleaf: int) -> tuple[Reg, Reg, Reg, Reg]:
        words = [0, 0, 0, 0]
        for at, sub, register, bit, _ in (X86[name] for name, on in have.items() if on):
            if (at, sub) == (leaf, subleaf):
                words[register] |= 1 << bit
        if leaf in (0, 0x80000000):
            words[EAX] = highest if leaf == 0 else 0x80000001
        if leaf == 1 and state:
            words[ECX] |= 1 << OSXSAVE
        if (leaf, subleaf) == (7, 0):
            words[EAX] = deepest
        a, b, c, d = (constant(w, "i32") for w in words)
        return a, b, c, d

    return Probe(cpuid, lambda f: constant(state, "i32"))


@pytest.mark.parametrize("name", X86)
def test_each_bit(name: str) -> None:
    """The one feature alone is enough; everything but this one is not."""
    others = {n: X86[n][:4] != X86[name][:4] for n in X86}
    assert first_missing((name,), machine({name: True}, ZMM)) == 0
    assert first_missing((name,), machine(others, ZMM)) == 1


@pytest.mark.parametrize(
    ("state", "enough_for"), [(0, "sse4.2"), (0x3, "sse4.2"), (0x7, "avx2"), (0xE7, "avx512f")]
)
def test_registers_the_system_does_not_save_do_not_count(state: int, enough_for: str) -> None:
    order = ("sse4.2", "avx2", "avx512f")
    place = order.index(enough_for) + 2
    assert first_missing(order, machine(dict.fromkeys(X86, True), state)) == (place if place <= 3 else 0)


def test_leaves_the_processor_does_not_have() -> None:
    everything = dict.fromkeys(X86, True)
    assert first_missing(("sse3", "avx2"), machine(everything, ZMM, highest=1)) == 2
    assert first_missing(("avx2", "avxvnni"), machine(everything, ZMM, deepest=0)) == 2


def test_levels_and_this_machine() -> None:
    off = {f[1:] for f in host().features if f.startswith("-")}
    listed = features._listed_by_linux()
    assert not [name for name in X86.keys() & off if features.LINUX.get(name, name) in listed]
    assert missing(required(host().features)) == ()
    for name in ("x86-64-v2", "x86-64-v3", "x86-64-v4"):
        assert set(required(level(name).features)) <= X86.keys()
    assert required(level("aarch64").features) == ()
    with pytest.raises(HostMismatchError, match="lenet needs processor features .*: sse8, sse9"):
        check(("sse8", *required(host().features), "sse9"), "lenet")


def test_a_feature_without_a_check_is_not_promised() -> None:
    with pytest.raises(InternalError, match="avx99"):
        required(("+avx2", "+avx99"))
    assert required(features.checkable(("+avx2", "+avx99"))) == ("avx2",)
    assert features.checkable(host().features) == host().features


def test_the_check_itself_runs_anywhere() -> None:
    """Compiled beside AVX-512 code, it has no vector instruction and no instruction newer than x86-64."""
    module = level("x86-64-v4").module()
    emit_missing(module, "check", required(level("x86-64-v4").features))
    f = module.function("exported", {}, returns="i32")
    f.attributes = features.baseline(module)
    f.ret(f.call("check", "i32"))
    text = level("x86-64-v4").assembly(str(module))
    assert "cpuid" in text and "xgetbv" in text
    assert not re.search(r"[xyz]mm|\bv[a-z]+|bextr|andn|shlx|shrx|rorx|lzcnt|tzcnt|popcnt|movbe|bzhi", text)
