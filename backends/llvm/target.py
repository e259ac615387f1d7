"""The machine a kernel is made for, and the LLVM target machine that goes with it.

`host()` describes this machine from what LLVM detects, which counts only what the operating system enables;
the CPU's name steers instruction scheduling and nothing else, since every feature is listed with its sign.
`level(name)` gives a named feature level for other machines, and for running the narrower variants here.
"""

import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from graphc.backends.llvm.emitter import BITS, Module
from graphc.backends.llvm.features import checkable

X86_64_V2 = ("cx16", "popcnt", "sahf", "sse", "sse2", "sse3", "sse4.1", "sse4.2", "ssse3")
X86_64_V3 = (*X86_64_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
X86_64_V4 = (*X86_64_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")


@dataclass(frozen=True, slots=True)
class Target:
    """A machine: signed features (`+avx2`), cache sizes in bytes, architectural vector registers.

    strict   only kernels that round no more coarsely than the sums they stand for
    """

    triple: str
    cpu: str
    features: tuple[str, ...]
    vector_bits: int
    vector_registers: int
    fma: bool  # without it `llvm.fma` is a library call: right, and slow
    masked_memory: bool
    l1: int
    l2: int
    l3: int
    cores: int
    strict: bool = False

    def lanes(self, element: str) -> int:
        """Lanes of a full vector: `lanes("float")` is 16 with 512-bit vectors."""
        return self.vector_bits // BITS[element]

    def module(self) -> Module:
        """An empty module for this machine, its function attributes included."""
        attributes = ["nounwind", '"no-builtins"', '"no-trapping-math"="true"', '"frame-pointer"="none"']
        if self.vector_bits == 512:
            # Without these LLVM splits vectors to 256 bits on the CPUs it believes to be slow with 512.
            attributes += ['"prefer-vector-width"="512"', '"min-legal-vector-width"="512"']
        return Module(attributes, self.triple)

    def machine(self, opt: int = 3) -> Any:
        """The llvmlite TargetMachine: small code model, position independent."""
        return _machine(self, opt)

    def optimize(self, text: str) -> Any:
        """Parse and verify IR and run the pass pipeline on it, automatic vectorising and unrolling off."""
        binding = _binding()
        module = binding.parse_assembly(text)
        module.verify()
        machine = self.machine()
        module.data_layout = str(machine.target_data)
        tuning = binding.PipelineTuningOptions(speed_level=2)
        tuning.loop_vectorization = tuning.slp_vectorization = False
        tuning.loop_unrolling = tuning.loop_interleaving = False
        tuning.inlining_threshold = 0
        builder = binding.create_pass_builder(machine, tuning)
        builder.getModulePassManager().run(module, builder)
        return module

    def assembly(self, text: str) -> str:
        """The assembly of a module's IR."""
        return str(self.machine().emit_assembly(self.optimize(text)))


def host() -> Target:
    """This machine."""
    return _host()


@cache
def _host() -> Target:
    binding = _binding()
    flags = binding.get_host_cpu_features()
    triple = binding.get_process_triple()
    features = tuple(("+" if on else "-") + name for name, on in sorted(flags.items()))
    if triple.startswith("x86_64"):
        bits = 512 if all(flags.get(n) for n in X86_64_V4) else 256 if flags.get("avx2") else 128
        # Only what an artefact can check on another machine.
        features = (*checkable(features), "-prefer-256-bit")
        fma = bool(flags.get("fma"))
    else:
        bits, fma = 128, True
    return Target(
        triple=triple,
        cpu=binding.get_host_cpu_name(),
        features=features,
        vector_bits=bits,
        vector_registers=32 if bits == 512 or not triple.startswith("x86_64") else 16,
        fma=fma,
        masked_memory=bits >= 256,
        l1=_cache_size(1, 32 << 10),
        l2=_cache_size(2, 512 << 10),
        l3=_cache_size(3, 8 << 20),
        cores=_cores(),
    )


def llvm_version() -> str:
    """The version of LLVM inside llvmlite."""
    return ".".join(str(part) for part in _binding().llvm_version_info)


def level(name: str) -> Target:
    """A named level: `x86-64-v2`, `x86-64-v3`, `x86-64-v4` or `aarch64`, with this machine's core count.

    Cache sizes are those of a modest machine of the level. The triple is the host's when the architecture
    agrees, so that a lower level runs here.

    >>> level("x86-64-v3").lanes("float")
    8
    """
    modest = replace(_host(), l1=32 << 10, l2=512 << 10, l3=8 << 20)
    if name == "aarch64":
        features = ("+fp-armv8", "+neon")
        triple = modest.triple if modest.triple.startswith("aarch64") else "aarch64-unknown-linux-gnu"
        return replace(
            modest, triple=triple, cpu="generic", features=features, vector_bits=128, vector_registers=32,
            fma=True, masked_memory=False,
        )  # fmt: skip
    levels = {"x86-64-v2": (X86_64_V2, 128), "x86-64-v3": (X86_64_V3, 256), "x86-64-v4": (X86_64_V4, 512)}
    if name not in levels:
        raise ValueError(f"no target level {name!r}; there are {', '.join([*levels, 'aarch64'])}")
    names, bits = levels[name]
    triple = modest.triple if modest.triple.startswith("x86_64") else "x86_64-unknown-linux-gnu"
    return replace(
        modest, triple=triple, cpu=name, vector_bits=bits,
        features=(*("+" + n for n in names), "-prefer-256-bit"),
        vector_registers=32 if bits == 512 else 16, fma=bits > 128, masked_memory=bits > 128,
    )  # fmt: skip


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cache_size(of_level: int, otherwise: int) -> int:
    """Bytes of the data cache of a level as Linux tells it; `otherwise` where it does not."""
    units: dict[str, int] = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            at_level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
            if at_level == str(of_level) and kind != "Instruction":
                return int(size[:-1]) * units[size[-1]]
        except (OSError, KeyError, ValueError):
            continue
    return otherwise


@cache
def _binding() -> Any:
    """llvmlite's binding with every target it holds made ready."""
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    binding.initialize_native_asmparser()
    return binding


@cache
def _machine(target: Target, opt: int) -> Any:
    made_for = _binding().Target.from_triple(target.triple)
    return made_for.create_target_machine(
        cpu=target.cpu, features=",".join(target.features), opt=opt, reloc="pic", codemodel="small"
    )
