"""Reads the assembly of a kernel's inner loops and says what LLVM made of them.

A register tile is only worth its registers when its loop is the multiply-adds, their loads and broadcasts,
and nothing else: a spilled accumulator costs more than a smaller tile. `faults` lists what is wrong.
`sound` compiles a bare tile; the choice of tiles asks it, so a tile that LLVM handles badly on some machine
falls back to a lower one.
"""

import re
from dataclasses import dataclass
from functools import cache

from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import Stream, Tile, contract, zeros

_LABEL = re.compile(r"^(\.?L[\w$.]+):")
_JUMP = re.compile(r"^\s+(?:j\w+|b\.\w+|b|cbn?z|tbn?z)\s.*?(\.?L[\w$.]+)\s*$")
_FMA = re.compile(r"^\s+(?:vfn?m(?:add|sub)\d+[ps][sd]|fml[as])\s")
_STACK = re.compile(r"\(%[re]sp|\[sp")
_COPY = re.compile(r"^\s+(?:vmov[au]p[sd]\s+%[xyz]mm\d+, %[xyz]mm\d+|mov\s+v\d+\.16b, v\d+\.16b)$")
_BROADCAST = re.compile(r"^\s+(?:vbroadcasts[sd]|vmovddup|ld1r|dup)\s|\{1to\d+\}")


@dataclass(frozen=True, slots=True)
class Loop:
    """Instruction counts of one innermost loop."""

    function: str
    fmas: int
    stack: int
    copies: int
    broadcasts: int
    instructions: int


def loops(assembly: str) -> list[Loop]:
    """The innermost loops that multiply and add, in the order of the text."""
    lines = assembly.splitlines()
    where: dict[str, int] = {}
    spans: list[tuple[int, int]] = []
    owner, owners = "", []
    for number, line in enumerate(lines):
        if re.match(r"^[A-Za-z_][\w.$]*:", line):
            owner = line.split(":")[0]
        owners.append(owner)
        if label := _LABEL.match(line):
            where[label[1]] = number
        elif (jump := _JUMP.match(line)) and jump[1] in where:
            spans.append((where[jump[1]], number))
    innermost = [
        (start, end)
        for start, end in spans
        if not any(start <= s and e <= end and (s, e) != (start, end) for s, e in spans)
    ]
    found = []
    for start, end in sorted(set(innermost)):
        body = [
            line for line in lines[start : end + 1] if line.startswith("\t") and not line.startswith("\t.")
        ]
        if any(_FMA.match(line) for line in body):
            fmas, stack, copies, broadcasts = (
                sum(bool(pattern.search(line)) for line in body)
                for pattern in (_FMA, _STACK, _COPY, _BROADCAST)
            )
            found.append(Loop(owners[start], fmas, stack, copies, broadcasts, len(body)))
    return found


def faults(loop: Loop, tile: Tile) -> list[str]:
    """What keeps a loop from being this tile, unrolled `tile.unroll` times, and nothing else."""
    wanted = tile.unroll * tile.rows * tile.vectors
    found = []
    if loop.fmas != wanted:
        found.append(f"{loop.fmas} multiply-adds instead of {wanted}")
    if loop.stack:
        found.append(f"{loop.stack} accesses to the stack")
    if loop.copies:
        found.append(f"{loop.copies} copies between registers")
    if loop.broadcasts > tile.unroll * tile.rows * (1 if tile.vectors > 1 else 2):
        found.append(f"{loop.broadcasts} broadcasts for {tile.unroll * tile.rows} scalars")
    return found


def bare_tile(tile: Tile, target: Target) -> str:
    """IR of a function that is the tile's loop and its stores."""
    module = target.module()
    f = module.function("tile", {"a": "ptr noalias", "b": "ptr noalias", "c": "ptr noalias", "k": "i64"})
    vector_bytes = tile.lanes * tile.bytes
    scalars = Stream(f.a, tile.bytes, tuple(r * 4160 for r in range(tile.rows)), tile.bytes)
    vectors = Stream(
        f.b, tile.width * tile.bytes, tuple(v * vector_bytes for v in range(tile.vectors)), vector_bytes
    )
    for index, value in enumerate(contract(f, tile, 64 * tile.unroll, scalars, vectors, zeros(tile))):
        f.store(value, f.gep(f.c, index * vector_bytes), vector_bytes)
    f.ret()
    return str(module)


@cache
def sound(tile: Tile, target: Target) -> bool:
    """Whether LLVM compiles the tile to a clean loop; one row, or a machine without FMA, always is."""
    if tile.rows == 1 or not target.fma:
        return True
    found = loops(target.assembly(bare_tile(tile, target)))
    return len(found) == 1 and not faults(found[0], tile)
