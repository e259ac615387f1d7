"""What a shared library imports and exports, read from its dynamic symbol table (ELF, 64 bits,
little-endian)."""

import struct
from dataclasses import dataclass

SHT_DYNSYM, SHT_DYNAMIC = 11, 6
DT_NEEDED = 1


@dataclass(frozen=True, slots=True)
class DynamicSymbols:
    """Names, sorted."""

    imports: tuple[str, ...]
    exports: tuple[str, ...]
    needed: tuple[str, ...]


def dynamic_symbols(image: bytes) -> DynamicSymbols:
    """Read a library's symbols. Raises ValueError when it is no such file."""
    if image[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    try:
        return _read(image)
    except (struct.error, IndexError, OverflowError, ValueError) as error:
        raise ValueError(f"a damaged ELF file: {error}") from error


def _read(image: bytes) -> DynamicSymbols:
    (table,) = struct.unpack_from("<Q", image, 0x28)
    size, count = struct.unpack_from("<HH", image, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", image, table + i * size) for i in range(count)]
    imports: list[str] = []
    exports: list[str] = []
    needed: list[str] = []
    for _, kind, _, _, offset, length, link, _, _, entry in sections:
        if kind == SHT_DYNSYM:
            strings = sections[link][4]
            for at in range(offset + entry, offset + length, entry):
                name, info, _, section = struct.unpack_from("<IBBH", image, at)
                if info >> 4:  # not local
                    (exports if section else imports).append(_text(image, strings + name))
        elif kind == SHT_DYNAMIC:
            strings = sections[link][4]
            for at in range(offset, offset + length, entry):
                tag, value = struct.unpack_from("<qQ", image, at)
                if tag == DT_NEEDED:
                    needed.append(_text(image, strings + value))
    return DynamicSymbols(tuple(sorted(imports)), tuple(sorted(exports)), tuple(sorted(needed)))


def _text(image: bytes, at: int) -> str:
    return image[at : image.index(b"\0", at)].decode()
