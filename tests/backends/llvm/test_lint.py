"""The assembly check: what it counts, and that it can fail."""

import pytest

from graphc.backends.llvm.blocking import panel_tile
from graphc.backends.llvm.lint import bare_tile, faults, loops, sound
from graphc.backends.llvm.target import level
from graphc.backends.llvm.tile import Tile, tiles

CLEAN = """
tile:
\txorl\t%eax, %eax
.LBB0_1:
\tvmovaps\t(%rsi,%rax), %zmm2
\tvfmadd231ps\t(%rdi,%rax){1to16}, %zmm2, %zmm0
\tvbroadcastss\t8(%rdi,%rax), %zmm3
\tvfmadd231ps\t%zmm3, %zmm2, %zmm1
\taddq\t$64, %rax
\tjne\t.LBB0_1
\tretq
"""


def test_counts_of_a_loop() -> None:
    (loop,) = loops(CLEAN)
    assert (loop.function, loop.fmas, loop.broadcasts, loop.stack, loop.copies, loop.instructions) == (
        "tile", 2, 2, 0, 0, 6,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("vmovups\t64(%rsp), %zmm4", "stack"),
        ("vmovaps\t%zmm4, %zmm5", "copies"),
        ("vfmadd231ps\t%zmm3, %zmm2, %zmm1", "multiply-adds"),
    ],
)
def test_a_fault_is_found(line: str, complaint: str) -> None:
    tile = Tile(2, 1, 16, "float")
    wanted = CLEAN.replace(
        "\taddq", "\tvfmadd231ps\t%zmm3, %zmm2, %zmm1\n" * (2 * tile.unroll - 2) + "\taddq"
    )
    assert faults(loops(wanted)[0], tile) == []
    (loop,) = loops(wanted.replace("\taddq", f"\t{line}\n\taddq"))
    assert len(faults(loop, tile)) == 1 and complaint in faults(loop, tile)[0]


def test_only_the_innermost_loop_counts() -> None:
    nested = CLEAN.replace("\txorl", ".LBB0_0:\n\tvmovups\t8(%rsp), %zmm9\n\txorl").replace(
        "\tretq", "\tjne\t.LBB0_0\n\tretq"
    )
    (loop,) = loops(nested)
    assert loop.stack == 0


@pytest.mark.parametrize("name", ["x86-64-v3", "x86-64-v4", "aarch64"])
@pytest.mark.parametrize("element", ["float", "double"])
def test_the_chosen_tiles_are_sound(name: str, element: str) -> None:
    target = level(name)
    for n in (10, 64, 48, 1000):
        assert sound(panel_tile(target, n, element), target)


def test_a_tile_beyond_the_registers_is_not_sound() -> None:
    target = level("x86-64-v3")
    tile = Tile(14, 4, 8, "float")
    (loop,) = loops(target.assembly(bare_tile(tile, target)))
    assert any("stack" in fault for fault in faults(loop, tile))
    assert not sound(tile, target)
    assert tile.registers > target.vector_registers >= max(t.registers for t in tiles(target, "float"))
