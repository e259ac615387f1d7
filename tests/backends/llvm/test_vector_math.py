"""The emitted functions against mpmath and float64, at special values, and the same bits at every width."""

import ctypes
import functools
import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest

from graphc.backends.llvm import vector_math
from graphc.backends.llvm.emitter import Reg, vector
from graphc.backends.llvm.jit import Code, emit_object, load
from graphc.backends.llvm.target import Target, host, level

ELEMENTS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
WIDTHS = (0, 2, 8, 16)  # a vector of doubles, and of floats, that fills 512 bits
FUNCTIONS = {**vector_math.UNARY, **vector_math.BINARY}

# Units in the last place, against mpmath.  `rsqrt` rounds twice.
BOUNDS = {
    np.dtype(np.float32): dict.fromkeys(FUNCTIONS, 2.0) | {"tanh": 4.0, "sigmoid": 4.0, "erf": 5.0},
    np.dtype(np.float64): dict.fromkeys(FUNCTIONS, 2.0) | {"tanh": 4.0, "sigmoid": 4.0, "erf": 4.0},
}


def arity(name: str) -> int:
    return 2 if name in vector_math.BINARY else 1


@functools.cache
def compiled(dtype: np.dtype, width: int, target: Target) -> Code:
    """Every function as `name(n, x..., out)` over `width` lanes at a time; n a multiple of the width."""
    module = target.module()
    item = ELEMENTS[dtype]
    step = max(width, 1)
    for name, emit in FUNCTIONS.items():
        pointers = ["x", "y"][: arity(name)] + ["out"]
        f = module.function(name, {"n": "i64", **dict.fromkeys(pointers, "ptr")})
        f.br("loop")
        f.begin("loop")
        following = Reg("%following", "i64")
        latch = "latch"
        i = f.phi("i64", (f.constant(0, "i64"), "entry"), (following, latch))
        offset = f.mul(i, dtype.itemsize)
        type = vector(item, width) if width else item
        values = [f.load(f.gep(f.parameters[p], offset), type) for p in pointers[:-1]]
        f.store(emit(f, *values), f.gep(f.out, offset))
        f.br(latch)
        f.begin(latch)
        f.line(f"{following.name} = add i64 {i.name}, {step}")
        f.cond_br(f.icmp("ult", following, f.n), "loop", "done")
        f.begin("done")
        f.ret()
    return load(emit_object(str(module), target), list(FUNCTIONS))


def run(name: str, *inputs: np.ndarray, width: int = 4, target: Target | None = None) -> np.ndarray:
    dtype = inputs[0].dtype
    code = compiled(dtype, width, target or host())
    step = max(width, 1)
    size = len(inputs[0])
    padded = [np.concatenate([x, np.ones(-size % step, dtype)]) for x in inputs]
    out = np.empty_like(padded[0])
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * (len(inputs) + 1))(
        code.address(name)
    )
    function(len(out), *[a.ctypes.data for a in (*padded, out)])
    return out[:size]


def exact(name: str) -> Callable[..., mpmath.mpf]:
    return {
        "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
        "rsqrt": lambda x: 1 / mpmath.sqrt(x),
        "exp2": lambda x: mpmath.power(2, x),
        "log2": lambda x: mpmath.log(x, 2),
        "pow": lambda x, y: mpmath.power(x, y),
    }.get(name) or getattr(mpmath, name)


def ulps(value: float, true: mpmath.mpf, dtype: np.dtype) -> float:
    """|value - true| in units in the last place of the true value."""
    info = np.finfo(dtype)
    if true == 0:
        return 0.0 if value == 0 else math.inf
    largest = mpmath.mpf(float(info.max)) * (1 + mpmath.mpf(float(info.eps)) / 4)
    if abs(true) >= largest:
        return 0.0 if math.isinf(value) and (value > 0) == (true > 0) else math.inf
    exponent = max(mpmath.frexp(true)[1] - 1, info.minexp)
    return float(abs(mpmath.mpf(float(value)) - true) / mpmath.ldexp(1, exponent - info.nmant))


def samples(name: str, dtype: np.dtype, count: int) -> list[np.ndarray]:
    """Values over the range where the function does something, all magnitudes, and its hard places."""
    random = np.random.default_rng(sum(map(ord, name)))
    info = np.finfo(dtype)
    top = 90.0 if dtype == np.float32 else 712.0
    tiny = info.minexp - info.nmant
    every = np.exp2(random.uniform(tiny, info.maxexp, count)) * random.choice([-1, 1], count)
    with np.errstate(over="ignore"):
        match name:
            case "exp" | "exp2" | "expm1" | "sigmoid":
                parts = [random.uniform(-top * 1.2, top, count), random.normal(size=count), every]
            case "atan":
                parts = [random.uniform(-3, 3, count), random.normal(size=count), every]
            case "atan2":
                near = np.concatenate([random.normal(size=count), random.uniform(0.9, 1.1, count), every])
                return [near.astype(dtype), random.permutation(near).astype(dtype)]
            case "tanh" | "erf":
                parts = [random.uniform(-7, 7, count), random.normal(size=count), every]
            case "log" | "log2" | "rsqrt":
                parts = [abs(every), random.uniform(0.5, 2, count), 1 + random.normal(size=count) * 1e-3]
            case "log1p":
                parts = [random.uniform(-1, 2, count), abs(every), random.normal(size=count) * 1e-3]
            case "sin" | "cos":
                multiples = random.integers(-(10**6), 10**6, count) * (np.pi / 2)
                parts = [random.uniform(-10, 10, count), multiples, every, random.uniform(-1e22, 1e22, count)]
            case "pow":
                x = np.concatenate(
                    [random.uniform(0, 4, count), 1 + random.normal(size=count) * 1e-4, abs(every)]
                )
                log2 = np.log2(x, where=x > 0, out=np.ones_like(x))
                y = np.concatenate([random.uniform(-30, 30, count), random.uniform(-9e5, 9e5, count)])
                near_ends = (
                    random.uniform(tiny, info.maxexp, count) / np.where(log2 == 0, 1, log2)[2 * count :]
                )
                y = np.concatenate([y, near_ends])
                return [x.astype(dtype), y.astype(dtype)]
    return [np.concatenate(parts).astype(dtype)]


@pytest.mark.parametrize("dtype", ELEMENTS, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_is_bounded(name: str, dtype: np.dtype) -> None:
    mpmath.mp.dps = 40
    inputs = samples(name, dtype, 700)
    results = run(name, *inputs)
    function = exact(name)
    worst = (0.0, ())
    with mpmath.workdps(340 if name in ("sin", "cos") else 40):
        for *arguments, value in zip(*inputs, results, strict=True):
            true = function(*[mpmath.mpf(float(a)) for a in arguments])
            worst = max(worst, (ulps(value, true, dtype), tuple(map(float, arguments))))
    print(name, dtype, worst)
    assert worst[0] <= BOUNDS[dtype][name], worst


def specials(dtype: np.dtype) -> np.ndarray:
    info = np.finfo(dtype)
    positive = [
        0.0,
        info.smallest_subnormal,
        3 * info.smallest_subnormal,
        info.tiny,
        info.tiny * (1 - info.eps),
    ]
    positive += [
        info.eps / 8,
        0.5,
        1 - info.epsneg,
        1.0,
        1 + info.eps,
        1.5,
        2.0,
        3.0,
        2.0**24 + 2,
        2.0**53,
        1e22,
    ]
    positive += [info.max / 2, info.max, math.inf, math.nan]
    with np.errstate(over="ignore"):
        return np.array([sign * float(v) for v in positive for sign in (1, -1)]).astype(dtype)


def float64_reference(name: str) -> Callable[..., np.ndarray]:
    """NumPy in float64, which is exact enough at special values for both formats."""
    return {
        "sigmoid": lambda x: np.where(x < 0, np.exp(-abs(x)), 1) / (1 + np.exp(-abs(x))),
        "rsqrt": lambda x: 1 / np.sqrt(x),
        "erf": lambda x: np.array([math.erf(v) for v in x]),
        "pow": np.power,
    }.get(name) or getattr(np, name)


@pytest.mark.parametrize("dtype", ELEMENTS, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values(name: str, dtype: np.dtype) -> None:
    """NaN, infinities, signed zeros, denormals: as float64 gives them, sign of zero included."""
    values = specials(dtype)
    if arity(name) == 2:
        inputs = [a.ravel() for a in np.meshgrid(values, values)]
    else:
        inputs = [values]
    results = run(name, *inputs)
    with np.errstate(all="ignore"):
        wide = float64_reference(name)(*[x.astype(np.float64) for x in inputs])
        expected = wide.astype(dtype)
        tolerance = 4 * np.maximum(np.spacing(abs(expected)), np.finfo(dtype).smallest_subnormal)
    case = list(zip(*inputs, results, expected, strict=True))
    wrong = [
        c
        for c, got, want, slack in zip(case, results, expected, tolerance, strict=True)
        if np.isnan(got) != np.isnan(want)
        or (not np.isfinite(want) and not np.isnan(want) and got != want)
        or (want == 0 and (got != 0 or np.signbit(got) != np.signbit(want)))
        or (np.isfinite(want) and want != 0 and not abs(got - want) <= slack)
    ]
    assert not wrong


@pytest.mark.parametrize("name", ["sin", "tanh", "erf", "expm1", "log1p"])
@pytest.mark.parametrize("dtype", ELEMENTS, ids=str)
def test_denormals_pass_unchanged_where_the_slope_is_one(name: str, dtype: np.dtype) -> None:
    info = np.finfo(dtype)
    x = (np.arange(-50, 51) * info.smallest_subnormal).astype(dtype)
    expected = (
        (x.astype(np.longdouble) * np.longdouble(mpmath.erf(1e-9) / 1e-9)).astype(dtype)
        if name == "erf"
        else x
    )
    np.testing.assert_array_equal(run(name, x), expected)


@pytest.mark.parametrize("dtype", ELEMENTS, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_width_gives_the_same_bits(name: str, dtype: np.dtype) -> None:
    inputs = [np.concatenate([x, specials(dtype)]) for x in samples(name, dtype, 1500)]
    if arity(name) == 2:
        inputs[1] = np.roll(inputs[1], 1)
    bits = np.dtype(f"u{dtype.itemsize}")
    first, *others = (run(name, *inputs, width=w) for w in WIDTHS)
    for width, other in zip(WIDTHS[1:], others, strict=True):
        same = (first.view(bits) == other.view(bits)) | (np.isnan(first) & np.isnan(other))
        assert same.all(), (width, [x[~same][:5] for x in inputs])


@pytest.mark.parametrize("machine", ["x86-64-v2", "x86-64-v3"])
@pytest.mark.parametrize("dtype", ELEMENTS, ids=str)
def test_every_machine_gives_the_same_bits(dtype: np.dtype, machine: str) -> None:
    if not set(level(machine).features) <= {*host().features, "+cx16", "+sahf", "-prefer-256-bit"}:
        pytest.skip(f"this processor is not {machine}")
    bits = np.dtype(f"u{dtype.itemsize}")
    for name in FUNCTIONS:
        inputs = samples(name, dtype, 500)
        here, there = run(name, *inputs, width=16), run(name, *inputs, width=8, target=level(machine))
        assert ((here.view(bits) == there.view(bits)) | (np.isnan(here) & np.isnan(there))).all(), name


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_arguments_closest_to_multiples_of_half_pi(name: str) -> None:
    """The doubles with the worst cancellation (Muller, Elementary Functions, 2016, section 11.3)."""
    x = np.array(
        [6381956970095103 * 2.0**797, 5319372648326541 * 2.0**-52 * 2.0**200, 1e22, 1e300, 2.0**1023]
    )
    with mpmath.workdps(400):
        true = [exact(name)(mpmath.mpf(float(v))) for v in x]
    assert max(ulps(v, t, x.dtype) for v, t in zip(run(name, x), true, strict=True)) <= 2


def test_other_types_are_refused() -> None:
    f = host().module().function("f", {"x": "i32"})
    with pytest.raises(TypeError, match="float or double wanted, not i32"):
        vector_math.exp(f, f.x)


@pytest.mark.parametrize("quarters", [1, 2, 3, 5, 15, -1, -3, -10])
def test_powers_of_quarters(quarters: int) -> None:
    """Those of float32 are the power in float64, rounded; at special values with the signs of IEEE 754."""
    module, target, count = host().module(), host(), 16
    f = module.function("power", {"n": "i64", "x": "ptr", "out": "ptr"})
    with f.loop(0, f.n, count) as i:
        at = f.mul(i, 4)
        f.store(
            vector_math.roots(f, f.load(f.gep(f.x, at), vector("float", count)), quarters), f.gep(f.out, at)
        )
    f.ret()
    code = load(emit_object(str(module), target), ["power"])
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(code.address("power"))
    x = np.concatenate([samples("pow", np.dtype(np.float32), 2000)[0], specials(np.dtype(np.float32))])
    x = np.concatenate([x, np.ones(-len(x) % count, np.float32)])
    out = np.empty_like(x)
    function(len(x), x.ctypes.data, out.ctypes.data)
    with np.errstate(all="ignore"):
        # An array of exponents: for the number 1/2 NumPy takes a root, which keeps the sign of -0.
        expected = np.power(x.astype(np.float64), np.full(len(x), quarters / 4)).astype(np.float32)
    np.testing.assert_array_equal(out, expected)
    assert (np.signbit(out) == np.signbit(expected))[~np.isnan(expected)].all()


def test_whole_powers_have_no_roots() -> None:
    f = host().module().function("f", {"x": "float"})
    with pytest.raises(ValueError, match="no roots"):
        vector_math.roots(f, f.x, 8)
