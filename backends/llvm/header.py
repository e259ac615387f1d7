"""`NAME.h` and `example.c`: the interface of `c_api.py` in C, C99 or C++.

The example is a filter: arrays as raw bytes in, arrays as raw bytes out. It is short enough to start a
program from, and a test compiles and runs it.
"""

import re

from graphc.backends.llvm.signature import ABI_VERSION, C_TYPES, Array, Signature

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
    low, high = signature.n_range if signature.source else (1, 1)
    described = _described(signature)
    inputs, outputs = described[: len(signature.inputs)], described[len(signature.inputs) :]
    arguments = [f"const {_c_type(a)} *{n}" for n, a in inputs] + [f"{_c_type(a)} *{n}" for n, a in outputs]
    arrays = "\n".join(f" *   {n:<12} {a.dtype}[{', '.join(map(str, a.dims))}]" for n, a in described)
    sizes = "\n".join(
        f"#define {upper}_{n.upper()}_ELEMENTS(N) ({_elements(a, signature.symbol)})" for n, a in described
    )
    range_of_n = f"from {low} to {high}" if signature.source else "1, for all sizes are fixed"
    if signature.source and signature.symbol != "N":
        range_of_n = f"{signature.symbol}, {range_of_n}"
    version = f"0x{ABI_VERSION[0] << 16 | ABI_VERSION[1]:08X}"
    return f"""\
/* {name}.h, written by graphc.  Link with {name}.so or {name}.o, -lm and -pthread; nothing else is needed. */
#ifndef {upper}_H
#define {upper}_H

#include <stddef.h>
#include <stdint.h>

#define {upper}_ABI_VERSION {version} /* what {name}_abi_version() should return */
#define {upper}_N_MIN {low}
#define {upper}_N_MAX {high}

/* Elements of each array. */
{sizes}

#ifdef __cplusplus
extern "C" {{
#endif

typedef struct {name} {name};

/* Checks the processor and the weights file (length and content), maps it, and gives a handle.  The file must stay as
 * it is while the handle is open.  Functions that return int32_t return 0, or a status for {name}_error. */
int32_t {name}_open(const char *weights, {name} **out);

/* Bytes of workspace that {name}_run needs; SIZE_MAX when N is out of range. */
size_t {name}_workspace(const {name} *handle, int64_t N);

/* Runs the model.  Dense arrays, last axis fastest:
{arrays}
 * N is {range_of_n}.
 * Outputs and workspace must not overlap anything else; the workspace is aligned to 64 bytes, arrays to their elements.
 * Threads may share a handle, each with a workspace of its own.
 * threads is how many work on this run at most, the calling one included, with the same results for any number.  With 1
 * nothing is allocated.  The first run with more starts the others, which have working memory of their own, sleep
 * between runs and block all signals; they work for one run at a time, and one that finds them busy goes on alone, as
 * does a run too small for them.  After fork the child's first run starts its own. */
int32_t {name}_run(const {name} *handle, int64_t N{"".join(f", {a}" for a in arguments)},
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

    def count(n: str) -> str:
        return f"(size_t){upper}_{n.upper()}_ELEMENTS(N)"

    declare = "".join(f"    {_c_type(a)} *{n} = block({count(n)} * sizeof *{n});\n" for n, a in described)
    read = "".join(f'    take({n}, sizeof *{n}, {count(n)}, "{n}");\n' for n, _ in inputs)
    write = "".join(f"    fwrite({n}, sizeof *{n}, {count(n)}, stdout);\n" for n, _ in outputs)
    free = "".join(f"    free({n});\n" for n, _ in described)
    names = "".join(f", {n}" for n, _ in described)
    return f"""\
/* Runs {name} on raw arrays:  ./example WEIGHTS N < inputs > outputs
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
    if (argc != 3) return fail("usage: example WEIGHTS N < inputs > outputs");
    status = {name}_open(argv[1], &model);
    if (status) return fail({name}_error(status));

    int64_t N = atoll(argv[2]);
    size_t bytes = {name}_workspace(model, N);
    if (bytes == SIZE_MAX) return fail("N is out of range");
    char *memory = block(bytes + 64);
    void *workspace = memory + (64 - (uintptr_t)memory % 64);
{declare}
{read}
    status = {name}_run(model, N{names}, workspace, 1);
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


def _elements(array: Array, symbol: str) -> str:
    factors = []
    for a, b in array.linear(symbol):
        size = str(b) if not a else "(N)" if a == 1 else f"{a} * (N)"
        factors.append(f"({size} + {b})" if a and b > 0 else f"({size} - {-b})" if a and b else size)
    return " * ".join(factors) or "1"
