"""The epilogue of a convolution: what is done with a vector of a pixel's channels before it is stored.

Operands that lie exactly like the result are read at its offset; all others, such as a bias, a mask of
another type or a row-major array, where their own layout says.
"""

from __future__ import annotations

from graphc.backends.llvm.affine import Form, Index, Ranges
from graphc.backends.llvm.blocked import BLOCK, Image
from graphc.backends.llvm.convolution import Pixel
from graphc.backends.llvm.correlation import Correlation
from graphc.backends.llvm.elements import Element
from graphc.backends.llvm.emitter import Function, Reg, constant
from graphc.backends.llvm.evaluator import Evaluator
from graphc.backends.llvm.index_maps import Guard, reshape_index
from graphc.backends.llvm.kernel_function import KernelFunction
from graphc.backends.llvm.point import Sizes
from graphc.backends.llvm.program import Load, Root, Space, trace
from graphc.backends.llvm.storage import image_of
from graphc.backends.llvm.tile import Epilogue, Site
from graphc.ir.graph import Value


class ConvolutionEpilogue:
    """The epilogue of a kernel whose output `main` the convolution stores as `image`.

    operands: parameters the convolution gets for it, in the order of `arguments`
    """

    def __init__(self, k: KernelFunction, main: Value, image: Image) -> None:
        kernel, node = k.kernel, k.kernel.anchor
        assert node is not None
        self.k, self.main, self.bytes, self.result = k, main, image.bytes, node.output
        space = Space(self.result.shape)
        self.block, self.lane = space.block(1, BLOCK)
        ranges = Ranges(space.extents, may_split=False)
        here: dict[Value, Index] = {
            v: reshape_index(space.index(), self.result.shape, v.shape, ranges)
            for v in (self.result, *kernel.outputs)
        }
        roots: list[Root] = [(v, here[v]) for v in kernel.outputs]
        self.program = trace(kernel.nodes, roots, ranges, {self.result: here[self.result]}, k.layouts)
        self.stores = k.places(roots, space)
        self.image, self.y, self.x = (next(iter(space.variables([axis])), None) for axis in (0, 2, 3))
        read = {e.value for e in self.program.expressions if isinstance(e, Load)}
        self.reads = [v for v in kernel.inputs if v in read]
        self.writes = [v for v in kernel.outputs if v is not main]
        self.alike = frozenset(
            v
            for v in (*self.reads, *self.writes)
            if v.type == self.result.type and image_of(v, k.layouts) == image
        )
        self.operands = {f"read{i}": "ptr readonly" for i in range(len(self.reads))}
        self.operands |= {f"write{i}": "ptr" for i in range(len(self.writes))}
        self.operands |= {f"size_{s}": "i64" for s in k.sizes.symbols} | {"image": "i64"}

    def arguments(self, image: Reg) -> list[Reg]:
        """What the convolution of the images from `image` on is called with, for `operands`."""
        f = self.k.f
        found = []
        for values, pointers in ((self.reads, self.k.inputs), (self.writes, self.k.outputs)):
            for value in values:
                pointer = pointers[value]
                found.append(f.gep(pointer, f.mul(image, self.bytes)) if value in self.alike else pointer)
        return [*found, *self.k.sizes.symbols.values(), image]

    def of(self, part: Correlation) -> Epilogue:
        """The epilogue for the pixels one correlation computes."""
        rows, columns = part.rows, part.columns

        def emit(b: Function, accumulators: Reg, site: Site) -> Reg:
            assert isinstance(site, Pixel)
            y = b.add(b.mul(site.y, rows.spacing), rows.start)
            x = b.add(b.mul(site.x, columns.spacing), columns.start)
            return self._emit(b, accumulators, site, y, x)

        return emit

    def _emit(self, b: Function, accumulators: Reg, site: Pixel, y: Reg, x: Reg) -> Reg:
        """The vector to store in place of the accumulators."""
        sizes = Sizes(b, {s: b.parameters[f"size_{s}"] for s in self.k.sizes.symbols})
        pointers = {v: b.parameters[f"read{i}"] for i, v in enumerate(self.reads)}
        pointers |= {v: b.parameters[f"write{i}"] for i, v in enumerate(self.writes)}
        e = _AtPixel(b, self.program, sizes, pointers)
        e.site, e.alike = site, self.alike
        values = {
            self.image: b.add(b.parameters["image"], site.image),
            self.block: site.block,
            self.lane: constant(site.lane, "i64"),
            self.y: y,
            self.x: x,
        }
        bound = {v: reg for v, reg in values.items() if v is not None}
        with e.scope(bound), e.vector(self.lane, site.tile.lanes, site.mask):
            e.holes[self.result] = Element(accumulators, self.result.dtype)
            found = accumulators
            elements = e.compute(self.program.results)
            for value, element, offset in zip(self.k.kernel.outputs, elements, self.stores):
                if value is self.main:
                    found = e.full(element).reg
                elif value in self.alike:
                    site.store(e.full(element).reg, pointers[value])
                else:
                    e.store(element, value, offset, pointers[value])
        return found


class _AtPixel(Evaluator):
    """An evaluator that finds what lies like the result where the result goes."""

    site: Pixel
    alike: frozenset[Value]

    def load(self, value: Value, offset: Form, guard: Guard, pointer: Reg | None = None) -> Element:
        if value in self.alike and not guard and pointer is None:
            return Element(self.site.like_output(self.pointers[value]), value.dtype)
        return super().load(value, offset, guard, pointer)
