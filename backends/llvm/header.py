"""`NAME.h` and `example.c`: the interface of `c_api.py` in C, C99 or C++.

The example is a filter: arrays as raw bytes in, arrays as raw bytes out. It is short enough to start a
program from, and a test compiles and runs it.
"""

import re
from collections.abc import Mapping

from graphc.backends.llvm.signature import ABI_VERSION, C_TYPES, Array, Signature
from graphc.ir.dims import Dim

RESERVED = frozenset(
    "auto bool break case catch char class const continue default delete do double else enum extern float for "
    "friend goto if inline int long namespace new operator private protected public register restrict return "
    "short signed sizeof static struct switch template this throw true false try typedef union unsigned using "
    "virtual void volatile while asm and or not xor errno stdin stdout stderr NULL "
    "handle N workspace threads out weights status main model memory bytes block fail take argc argv".split()
)


def c_names(signature: Signature) -> list[str]:
    """A C identifier for every input and output: the array's own name where that is one.

    >>> inputs = Array("x", "float32", ()), Array("class", "int64", ())
    >>> c_names(Signature("f", inputs, (Array("X", "int8", ()),)))
    ['x', 'class_', 'X_']
    """
    names: list[str] = []
    for array in (*signature.inputs, *signature.outputs):
        name = re.sub(r"[^A-Za-z0-9_]", "_", array.name)
        name = f"a{name}" if not name or not name[0].isalpha() else name
        # Macros spell it in capitals, so `x` and `X` are one name.
        taken = {n.upper() for n in names}
        while name in RESERVED or name.upper() in taken or name == signature.name:
            name += "_"
        names.append(name)
    return names


def header(signature: Signature) -> str:
    """The text of NAME.h."""
    name, upper = signature.name, signature.name.upper()
    letters = size_names(signature)
    described = _described(signature)
    inputs, outputs = described[: len(signature.inputs)], described[len(signature.inputs) :]
    arguments = [f"const {_c_type(a)} *{n}" for n, a in inputs] + [f"{_c_type(a)} *{n}" for n, a in outputs]
    arrays = "\n".join(f" *   {n:<12} {a.dtype}[{', '.join(map(str, a.dims))}]" for n, a in described)
    sizes = "\n".join(
        f"#define {upper}_{n.upper()}_ELEMENTS({', '.join(letters)}) ({_elements(a, signature)})"
        for n, a in described
    )
    limits, meanings = [], []
    for letter, symbol in zip(letters, signature.symbols):
        low, high = signature.range_of(symbol) if signature.is_open else (1, 1)
        limits += [f"#define {upper}_{letter}_MIN {low}", f"#define {upper}_{letter}_MAX {high}"]
        meaning = f"from {low} to {high}" if signature.is_open else "1, for all sizes are fixed"
        called = f"{symbol}, " if signature.is_open and symbol != letter else ""
        meanings.append(f" * {letter} is {called}{meaning}.")
    ranges, said = "\n".join(limits), "\n".join(meanings)
    sizes_taken = ", ".join(f"int64_t {letter}" for letter in letters)
    out_of_range = f"{' or '.join(letters)} is out of range"
    version = f"0x{ABI_VERSION[0] << 16 | ABI_VERSION[1]:08X}"
    return f"""\
/* {name}.h, written by graphc.  Link with {name}.so or {name}.o, -lm and -pthread; nothing else is needed. */
#ifndef {upper}_H
#define {upper}_H

#include <stddef.h>
#include <stdint.h>

#define {upper}_ABI_VERSION {version} /* what {name}_abi_version() should return */
{ranges}

/* Elements of each array. */
{sizes}

#ifdef __cplusplus
extern "C" {{
#endif

typedef struct {name} {name};

/* Checks the processor and the weights file (length and content), maps it, and gives a handle.  The file must stay as
 * it is while the handle is open.  Functions that return int32_t return 0, or a status for {name}_error. */
int32_t {name}_open(const char *weights, {name} **out);

/* Bytes of workspace that {name}_run needs; SIZE_MAX when {out_of_range}. */
size_t {name}_workspace(const {name} *handle, {sizes_taken});

/* Runs the model.  Dense arrays, last axis fastest:
{arrays}
{said}
 * Outputs and workspace must not overlap anything else; the workspace is aligned to 64 bytes, arrays to their elements.
 * Threads may share a handle, each with a workspace of its own.
 * threads is how many work on this run at most, the calling one included, with the same results for any number.  With 1
 * nothing is allocated.  The first run with more starts the others, which have working memory of their own, sleep
 * between runs and block all signals; they work for one run at a time, and one that finds them busy goes on alone, as
 * does a run too small for them.  After fork the child's first run starts its own. */
int32_t {name}_run(const {name} *handle, {sizes_taken}{"".join(f", {a}" for a in arguments)},
    void *workspace, int32_t threads);

/* Gives everything back and ends the handle's threads; no run may be under way. */
void {name}_close({name} *handle);

/* What a status means. */
const char *{name}_error(int32_t status);

/* 0 when this processor can run the model. */
int32_t {name}_check_host(void);

int32_t {name}_abi_version(void);

#ifdef __cplusplus
}}
#endif

#endif
"""


def example(signature: Signature) -> str:
    """The text of example.c."""
    name, upper = signature.name, signature.name.upper()
    described = _described(signature)
    inputs, outputs = described[: len(signature.inputs)], described[len(signature.inputs) :]
    letters = size_names(signature)
    given = ", ".join(letters)
    read_sizes = "\n".join(f"    int64_t {n} = atoll(argv[{i}]);" for i, n in enumerate(letters, 2))

    def count(n: str) -> str:
        return f"(size_t){upper}_{n.upper()}_ELEMENTS({given})"

    declare = "".join(f"    {_c_type(a)} *{n} = block({count(n)} * sizeof *{n});\n" for n, a in described)
    read = "".join(f'    take({n}, sizeof *{n}, {count(n)}, "{n}");\n' for n, _ in inputs)
    write = "".join(f"    fwrite({n}, sizeof *{n}, {count(n)}, stdout);\n" for n, _ in outputs)
    free = "".join(f"    free({n});\n" for n, _ in described)
    names = "".join(f", {n}" for n, _ in described)
    return f"""\
/* Runs {name} on raw arrays:  ./example WEIGHTS {" ".join(letters)} < inputs > outputs
 * Compile with:  cc -std=c99 -pthread -o example example.c {name}.so -lm -Wl,-rpath,'$ORIGIN' */
#include "{name}.h"

#include <stdio.h>
#include <stdlib.h>

static int fail(const char *message) {{
    fprintf(stderr, "{name}: %s\\n", message);
    return 1;
}}

static void *block(size_t bytes) {{
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) exit(fail("out of memory"));
    return memory;
}}

static void take(void *array, size_t size, size_t count, const char *name) {{
    if (fread(array, size, count, stdin) == count) return;
    fprintf(stderr, "{name}: not enough input for %s\\n", name);
    exit(1);
}}

int main(int argc, char **argv) {{
    {name} *model;
    int32_t status;
    if (argc != {len(letters) + 2}) return fail("usage: example WEIGHTS {" ".join(letters)} < inputs > outputs");
    status = {name}_open(argv[1], &model);
    if (status) return fail({name}_error(status));

{read_sizes}
    size_t bytes = {name}_workspace(model, {given});
    if (bytes == SIZE_MAX) return fail("{" or ".join(letters)} is out of range");
    char *memory = block(bytes + 64);
    void *workspace = memory + (64 - (uintptr_t)memory % 64);
{declare}
{read}
    status = {name}_run(model, {given}{names}, workspace, 1);
    if (status) return fail({name}_error(status));

{write}
{free}    free(memory);
    {name}_close(model);
    return 0;
}}
"""


def _described(signature: Signature) -> list[tuple[str, Array]]:
    return list(zip(c_names(signature), (*signature.inputs, *signature.outputs), strict=True))


def _c_type(array: Array) -> str:
    return C_TYPES[array.dtype]


def size_names(signature: Signature) -> list[str]:
    """The names of the sizes in C: `N` where there is one, else the symbols' own where C lets them."""
    if len(signature.symbols) == 1:
        return ["N"]
    return [f"{name}_" if name in RESERVED - {"N"} else name for name in signature.symbols]


def _elements(array: Array, signature: Signature) -> str:
    names = {name: f"({letter})" for name, letter in zip(signature.symbols, size_names(signature))}
    return " * ".join(_in_c(dim, names) for dim in array.dims) or "1"


def _in_c(dim: Dim, names: Mapping[str, str]) -> str:
    """A dimension as an expression in C; quotients are of numbers that are never negative."""
    if isinstance(dim, int):
        return str(dim)
    text = ""
    for monomial, coefficient in dim.terms:
        factors = [str(abs(coefficient))] if abs(coefficient) != 1 or not monomial else []
        for atom, power in monomial:
            one = (
                names[atom] if isinstance(atom, str) else f"({_in_c(atom.numerator, names)} / {atom.divisor})"
            )
            factors += [one] * power
        sign = "-" if coefficient < 0 else "+"
        text += (
            f" {sign} {' * '.join(factors)}" if text else ("-" if sign == "-" else "") + " * ".join(factors)
        )
    return f"({text})" if len(dim.terms) > 1 else text
