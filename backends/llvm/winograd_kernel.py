"""A convolution on Winograd tiles as code: transform a batch of tiles, multiply, transform back.

Three functions, each over ranges, so that members of a team divide a batch or take batches of their own;
`winograd_plan.py` says what V, U and M are. A tile at the bottom or the right edge has code of its own: what
it would read beyond the border is zero, what lies beyond the result is not stored. Every output is computed
in the same way whoever computes it, and whatever its tile lies beside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from graphc.backends.llvm.blocked import BLOCK
from graphc.backends.llvm.convolution import Pixel
from graphc.backends.llvm.emitter import Function, Module, Reg, constant, vector
from graphc.backends.llvm.target import Target
from graphc.backends.llvm.tile import LINE, Ahead, Epilogue, Stream, contract, zeros
from graphc.backends.llvm.winograd import TAPS, emit_square
from graphc.backends.llvm.winograd_plan import Winograd


@dataclass(frozen=True, slots=True)
class Stages:
    """The functions of a convolution.

    enter      (x, v, first, tile0, tile1): tiles of a batch, which begins at tile `first`, into V
    multiply   (v, u, m, count, panel): a batch of `count` tiles by a panel of output channels, into M
    leave      (m, y, first, tile0, tile1, panel, *operands): M into the result
    """

    enter: Function
    multiply: Function
    leave: Function


def emit_winograd(
    module: Module,
    name: str,
    plan: Winograd,
    target: Target,
    epilogue: Epilogue | None = None,
    operands: Mapping[str, str] | None = None,
) -> Stages:
    """Add the stages to a module; epilogue and operands as for `emit_convolution`."""
    enter = _emit_enter(module, f"{name}.tiles", plan, plan.spec.source.bytes > target.l2)
    multiply = _emit_multiply(module, f"{name}.products", plan)
    leave = _emit_leave(module, f"{name}.outputs", plan, epilogue, dict(operands or {}))
    return Stages(enter, multiply, leave)


def _emit_enter(module: Module, name: str, plan: Winograd, far: bool) -> Function:
    """far: images do not lie in the second level; each tile fetches its successor in the next block of channels."""
    spec, form, tile = plan.spec, plan.form, plan.tile
    source, vector_bytes = spec.source, tile.lanes * tile.bytes
    f = module.function(
        name,
        {"x": "ptr noalias readonly", "v": "ptr noalias"} | dict.fromkeys(("first", "tile0", "tile1"), "i64"),
        internal=True,
        inline=False,
    )
    short = plan.short(0), plan.short(1)
    with f.loop(0, source.blocks) as block:
        plane = f.gep(f.x, f.add(f.mul(block, source.plane), spec.start))
        column = f.gep(f.v, f.mul(block, plan.turn_bytes))
        with f.loop(f.tile0, f.tile1) as index:
            image, down, across = _position(f, plan, f.add(f.first, index))
            corner = f.add(f.mul(down, form.m * source.pitch), f.mul(across, form.m * source.pixel))
            here = f.gep(plane, f.add(f.mul(image, source.bytes), corner))
            turn, row = f.udiv(index, tile.rows), f.urem(index, tile.rows)
            turn = f.mul(turn, source.blocks * plan.turn_bytes)
            there = f.gep(column, f.add(turn, f.mul(row, BLOCK * tile.bytes)))

            def value(i: int, j: int, at: int) -> Reg:
                place = f.gep(here, i * source.pitch + j * source.pixel + at)
                return f.load(place, tile.type, tile.bytes)

            for i in range(form.size) if far else ():
                for j in range(TAPS - 1, form.size):  # the columns before are the next tile's on its left
                    f.prefetch(f.gep(here, source.plane + i * source.pitch + j * source.pixel))

            for i in range(form.size) if far else ():
                for j in range(TAPS - 1, form.size):  # the columns before are the next tile's on its left
                    f.prefetch(f.gep(here, source.plane + i * source.pitch + j * source.pixel))

            def transform(rows: int, columns: int) -> None:
                zero, every = constant(0, tile.type), range(form.size)
                for at in range(0, BLOCK * tile.bytes, vector_bytes):
                    square = [
                        [value(i, j, at) if i < rows and j < columns else zero for j in every] for i in every
                    ]
                    for number, result in enumerate(_flat(emit_square(f, form.inputs, square, form.size))):
                        f.store(result, f.gep(there, number * plan.slice_bytes + at), vector_bytes)

            _by_edge(f, plan, (down, across), (form.size, form.size), short, transform)
    f.ret()
    return f


def _emit_multiply(module: Module, name: str, plan: Winograd) -> Function:
    tile = plan.tile
    pointers = {"v": "ptr noalias readonly", "u": "ptr noalias readonly", "m": "ptr noalias"}
    f = module.function(name, {**pointers, "count": "i64", "panel": "i64"}, internal=True, inline=False)
    inputs, _ = plan.spec.group_channels
    width = tile.width * tile.bytes
    here = f.v
    if plan.spec.groups > 1:
        here = f.gep(here, f.mul(f.udiv(f.panel, plan.group_panels), inputs // BLOCK * plan.turn_bytes))
    weights = f.gep(f.u, f.mul(f.panel, plan.frequencies * plan.panel_bytes))
    vectors = tuple(v * tile.lanes * tile.bytes for v in range(tile.vectors))
    lines = width // LINE
    with f.loop(0, plan.frequencies) as frequency:
        v = f.gep(here, f.mul(frequency, plan.slice_bytes))
        u = f.gep(weights, f.mul(frequency, plan.panel_bytes))
        m = f.gep(f.m, f.mul(frequency, plan.product_slice_bytes))
        with f.loop(0, f.count, tile.rows) as row:
            turn = f.udiv(row, tile.rows)
            scalars = f.gep(v, f.mul(turn, plan.spec.source.blocks * plan.turn_bytes))
            # What follows comes from far: each register tile fetches a part of it, in the order of memory.
            following = f.gep(u, plan.panel_bytes)
            if plan.block // tile.rows < lines:
                ahead = Ahead(following, width)
            else:
                share = f.mul(f.urem(turn, lines), inputs * LINE)
                ahead = Ahead(f.gep(following, share), LINE)
            values = iter(_contract(f, plan, scalars, u, vectors, ahead))
            start = f.gep(m, f.mul(row, plan.product_row_bytes))
            for i in range(tile.rows):
                for at in vectors:
                    f.store(
                        next(values), f.gep(start, i * plan.product_row_bytes + at), tile.lanes * tile.bytes
                    )
    f.ret()
    return f


def _contract(
    f: Function, plan: Winograd, v: Reg, u: Reg, vectors: tuple[int, ...], ahead: Ahead
) -> list[Reg]:
    """The contraction of a register tile, block by block of channels."""
    tile, width = plan.tile, plan.tile.width * plan.tile.bytes
    whole, rest = divmod(plan.spec.group_channels[0], BLOCK)
    rows = tuple(row * BLOCK * tile.bytes for row in range(tile.rows))

    def block(index: Reg, values: list[Reg], depth: int) -> list[Reg]:
        scalars = Stream(f.gep(v, f.mul(index, plan.turn_bytes)), tile.bytes, rows, tile.bytes)
        at = f.mul(index, BLOCK * width)
        columns = Stream(f.gep(u, at), width, vectors, tile.lanes * tile.bytes)
        coming = Ahead(f.gep(ahead.base, f.mul(index, BLOCK * ahead.step)), ahead.step)
        return contract(f, tile, depth, scalars, columns, values, [coming])

    values = zeros(tile)
    if whole:
        values = f.fold(0, whole, 1, values, lambda index, inner: block(index, inner, BLOCK))
    return block(constant(whole, "i64"), values, rest) if rest else values


def _emit_leave(
    module: Module, name: str, plan: Winograd, epilogue: Epilogue | None, operands: dict[str, str]
) -> Function:
    spec, form, tile = plan.spec, plan.form, plan.tile
    result, vector_bytes = spec.result, tile.lanes * tile.bytes
    pointers = {"m": "ptr noalias readonly", "y": "ptr noalias"}
    integers = dict.fromkeys(("first", "tile0", "tile1", "panel"), "i64")
    f = module.function(name, pointers | integers | operands, internal=True, inline=False)
    _, outputs = spec.group_channels
    group, index = f.udiv(f.panel, plan.group_panels), f.urem(f.panel, plan.group_panels)
    start = f.mul(index, tile.width)
    stop = f.smin(f.add(start, tile.width), outputs)
    blocks = f.udiv(f.add(f.sub(stop, start), BLOCK - 1), BLOCK)
    first_channel = f.add(f.mul(group, outputs), start)
    with f.loop(0, blocks) as block:
        channel = f.add(first_channel, f.mul(block, BLOCK))
        number = f.udiv(channel, BLOCK)
        column = f.gep(f.m, f.mul(block, BLOCK * tile.bytes))
        with f.loop(f.tile0, f.tile1) as index:
            image, down, across = _position(f, plan, f.add(f.first, index))
            here = f.gep(column, f.mul(index, plan.product_row_bytes))
            y, x = f.mul(down, form.m), f.mul(across, form.m)
            corner = f.add(f.mul(image, result.bytes), f.mul(number, result.plane))
            corner = f.add(f.add(corner, f.mul(y, result.pitch)), f.mul(x, result.pixel))
            corner = f.add(corner, result.origin)

            def transform(rows: int, columns: int) -> None:
                for lane in range(0, BLOCK, tile.lanes):
                    at = lane * tile.bytes
                    found = [
                        f.load(f.gep(here, n * plan.product_slice_bytes + at), tile.type, vector_bytes)
                        for n in range(plan.frequencies)
                    ]
                    square = [found[i : i + form.size] for i in range(0, len(found), form.size)]
                    values = emit_square(f, form.outputs, square, form.m)
                    for i, row in enumerate(values[:rows]):
                        for j, value in enumerate(row[:columns]):
                            to = f.add(corner, i * result.pitch + j * result.pixel + at)
                            line, place = f.add(y, i), f.add(x, j)
                            pixel = f.add(
                                f.mul(f.add(f.mul(image, result.height), line), result.width), place
                            )
                            site = Pixel(
                                f,
                                tile,
                                pixel,
                                f.add(channel, lane),
                                to,
                                None,
                                image,
                                line,
                                place,
                                number,
                                lane,
                            )
                            _finish(f, plan, value, site, epilogue)

            cut = form.m - plan.last(0), form.m - plan.last(1)
            _by_edge(f, plan, (down, across), (form.m, form.m), cut, transform)
    f.ret()
    return f


def _finish(f: Function, plan: Winograd, value: Reg, site: Pixel, epilogue: Epilogue | None) -> None:
    """Epilogue and store; channels that fill up the last block become zeros."""
    channels, tile, mask = plan.spec.result.channels, plan.tile, None
    if channels % BLOCK:
        left = f.splat(f.sub(channels, site.column), tile.lanes)
        mask = f.icmp("slt", constant(list(range(tile.lanes)), vector("i64", tile.lanes)), left)
    if epilogue is not None:
        value = epilogue(f, value, replace(site, mask=mask))
    if mask is not None:
        value = f.select(mask, value, constant(0, tile.type))
    f.store(value, f.gep(f.y, site.offset), tile.bytes)


def _position(f: Function, plan: Winograd, number: Reg) -> tuple[Reg, Reg, Reg]:
    """Image, row of tiles and tile of the row of a tile counted over all images."""
    image, inside = f.udiv(number, plan.tiles), f.urem(number, plan.tiles)
    return image, f.udiv(inside, plan.across), f.urem(inside, plan.across)


def _by_edge(
    f: Function,
    plan: Winograd,
    place: tuple[Reg, Reg],
    size: tuple[int, int],
    cut: tuple[int, int],
    body: Callable[[int, int], None],
) -> None:
    """The body for a tile's extents, which are `cut` shorter in the last row and the last column of tiles."""
    ends = plan.down - 1, plan.across - 1

    def along(axis: int, extents: tuple[int, ...]) -> list[Reg]:
        if axis == 2:
            body(*extents)
        elif not cut[axis]:
            along(axis + 1, (*extents, size[axis]))
        elif ends[axis] == 0:
            along(axis + 1, (*extents, size[axis] - cut[axis]))
        else:
            f.if_else(
                f.icmp("eq", place[axis], ends[axis]),
                lambda: along(axis + 1, (*extents, size[axis] - cut[axis])),
                lambda: along(axis + 1, (*extents, size[axis])),
            )
        return []

    along(0, ())


def _flat(square: Sequence[Sequence[Reg]]) -> list[Reg]:
    return [value for row in square for value in row]
