"""The Python function of a compiled model: results, what it accepts, what it refuses, memory and threads."""

import gc
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphc.backends.llvm import call
from graphc.backends.llvm.call import Checked, bind
from graphc.backends.llvm.emitter import Function, constant
from graphc.backends.llvm.jit import emit_object, load
from graphc.backends.llvm.signature import Array, Signature
from graphc.backends.llvm.target import host
from graphc.errors import ArgumentShapeError, DTypeError, InternalError, UnsupportedError, UsageError

SCALE = Signature(
    "scale",
    (Array("x", "float32", ("N", 3)), Array("factor", "float32", ())),
    (Array("y", "float32", ("N", 3)), Array("total", "float64", ())),
    workspace=(64, 12),
    n_range=(0, 1000),
    nanoseconds=(0.0, 100.0),
)


def scale_body(f: Function) -> None:
    """y = x * factor through the workspace; total = sum y; status 7 when factor is 13."""
    factor = f.load(f.factor, "float")
    with f.if_(f.fcmp("oeq", factor, 13.0)):
        f.ret(constant(7, "i32"))
    count = f.mul(f.n, 3)
    with f.loop(0, count) as i:
        at = f.mul(i, 4)
        f.store(f.fmul(f.load(f.gep(f.x, at), "float"), factor), f.gep(f.workspace, at))

    def step(i: Any, values: list[Any]) -> list[Any]:
        at = f.mul(i, 4)
        y = f.load(f.gep(f.workspace, at), "float")
        f.store(y, f.gep(f.y, at))
        return [f.fadd(values[0], f.fpext(y, "double"))]

    (total,) = f.fold(0, count, 1, [constant(0.0, "double")], step)
    f.store(total, f.total)
    f.ret(constant(0, "i32"))


def compiled(signature: Signature, body: Callable[[Function], None], **keywords: Any) -> Any:
    module = host().module()
    arrays = {a.name: "ptr" for a in (*signature.inputs, *signature.outputs)}
    parameters = {"context": "ptr", "n": "i64", **arrays, "workspace": "ptr", "threads": "i32"}
    body(module.function(f"{signature.name}_run", parameters, returns="i32"))
    code = load(emit_object(str(module), host()), [f"{signature.name}_run"])
    return bind(signature, code.address(f"{signature.name}_run"), keep=code, **keywords)


@pytest.fixture(params=["fast", "checked"])
def scale(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "checked":
        monkeypatch.setattr(call, "numpy_allocator", lambda: None)
    function = compiled(SCALE, scale_body)
    assert isinstance(function, Checked) == (request.param == "checked")
    return function


def test_this_interpreter_takes_the_fast_road() -> None:
    """The layouts are known for the versions the tests run on; when this fails, look at the new NumPy or
    Python."""
    assert call.numpy_allocator() is not None


@pytest.mark.parametrize("n", [0, 1, 2, 77, 1000])
def test_results(scale: Any, n: int) -> None:
    x = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
    y, total = scale(x, np.float32(3))
    assert type(y) is np.ndarray and y.dtype == np.float32 and y.shape == (n, 3) and y.flags.owndata
    np.testing.assert_array_equal(y, x * np.float32(3))
    assert total.shape == () and total.dtype == np.float64
    np.testing.assert_allclose(total, (x * np.float32(3)).sum(dtype=np.float64), rtol=1e-12, atol=1e-12)


class Subclass(np.ndarray):
    pass


def unaligned(x: np.ndarray) -> np.ndarray:
    raw = np.zeros(x.nbytes + 1, np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


@pytest.mark.parametrize(
    "form",
    [
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x[::-1].copy()[::-1],
        lambda x: x.view(Subclass),
        lambda x: x.astype(">f4"),
        unaligned,
        lambda x: np.ma.array(x),
        lambda x: np.broadcast_to(x[:1], x.shape),
    ],
    ids=["fortran", "strided", "reversed", "subclass", "big-endian", "unaligned", "masked", "broadcast"],
)
def test_other_layouts_are_made_contiguous(scale: Any, form: Callable[[np.ndarray], np.ndarray]) -> None:
    x = form(np.arange(12, dtype=np.float32).reshape(4, 3))
    before = np.array(x)
    y, total = scale(x, np.array(2, np.float32))
    np.testing.assert_array_equal(y, np.asarray(x) * 2)
    np.testing.assert_array_equal(np.array(x), before)


def test_refusals(scale: Any) -> None:
    x, two = np.ones((4, 3), np.float32), np.array(2, np.float32)
    with pytest.raises(UsageError, match="takes 2 arrays, not 1"):
        scale(x)
    with pytest.raises(UsageError, match="takes 2 arrays, not 0"):
        scale()
    with pytest.raises(DTypeError, match=r"x is float64 where x: float32\[N,3\]") as dtype:
        scale(x.astype(np.float64), two)
    assert dtype.value.fix == "x.astype('float32')"
    with pytest.raises(DTypeError, match="factor is float64"):
        scale(x, np.float64(2.0))
    with pytest.raises(DTypeError, match="x is no array"):
        scale([[1.0, 2.0], [3.0]], two)
    with pytest.raises(DTypeError, match="x is object"):
        scale(None, two)
    with pytest.raises(ArgumentShapeError, match=r"axis 1 of x has size 4 where x: float32\[N,3\] wants 3"):
        scale(np.ones((4, 4), np.float32), two)
    with pytest.raises(ArgumentShapeError, match="x has 1 axes"):
        scale(x[0], two)
    with pytest.raises(ArgumentShapeError, match="factor has 1 axes"):
        scale(x, two.reshape(1))
    with pytest.raises(ArgumentShapeError, match="N is 1001, and scale was compiled for 0 to 1000") as size:
        scale(np.ones((1001, 3), np.float32), two)
    assert size.value.fix == "compile it with --dim N=0:1001"


def test_one_size_for_one_name() -> None:
    inputs = Array("a", "int32", ("N",)), Array("b", "int32", (2, "2*N + 1"))
    signature = Signature("same", inputs, (Array("c", "int32", (2, "3*N")),))
    function = compiled(signature, lambda f: f.ret(constant(0, "i32")))
    assert function(np.zeros(4, np.int32), np.zeros((2, 9), np.int32)).shape == (2, 12)
    message = "axis 1 of b has size 8 where .* wants 9; N is 4, from axis 0 of a"
    with pytest.raises(ArgumentShapeError, match=message):
        function(np.zeros(4, np.int32), np.zeros((2, 8), np.int32))


@pytest.mark.parametrize("allocator", [None, call.numpy_allocator])
def test_an_output_with_the_name_of_an_input(monkeypatch: pytest.MonkeyPatch, allocator: Any) -> None:
    if allocator is None:
        monkeypatch.setattr(call, "numpy_allocator", lambda: None)
    signature = Signature("same", (Array("x", "int32", ("N", 3)),), (Array("x", "int32", ("2*N",)),))
    function = compiled(signature, lambda f: f.ret(constant(0, "i32")))
    assert function(np.zeros((4, 3), np.int32)).shape == (8,)
    with pytest.raises(ArgumentShapeError, match="axis 1 of x has size 2"):
        function(np.zeros((4, 2), np.int32))


def test_signatures_that_cannot_be() -> None:
    with pytest.raises(UnsupportedError, match="no input of f has an axis of size N alone"):
        Signature("f", (Array("x", "float32", ("2*N",)),), ())
    with pytest.raises(UnsupportedError, match="no input of f has an axis of size H alone"):
        Signature("f", (Array("x", "float32", ("N", "N*H")),), ())
    with pytest.raises(UnsupportedError, match="complex64"):
        Array("x", "complex64", ())
    with pytest.raises(UnsupportedError, match="cannot name a C function"):
        Signature("a-b", (), ())


@pytest.mark.parametrize("dtype", ["float64", "float16", "int8", "uint8", "int64", "uint64", "bool"])
def test_every_dtype(dtype: str) -> None:
    """The bytes arrive and return, for three axes with a zero among other sizes."""
    signature = Signature("copy", (Array("x", dtype, (2, "N", 5)),), (Array("y", dtype, (2, "N", 5)),))

    def body(f: Function) -> None:
        with f.loop(0, f.mul(f.n, 10 * signature.inputs[0].itemsize)) as i:
            f.store(f.load(f.gep(f.x, i), "i8"), f.gep(f.y, i))
        f.ret(constant(0, "i32"))

    function = compiled(signature, body)
    for n in (0, 1, 9):
        x = (np.arange(10 * n).reshape(2, n, 5) % 7).astype(dtype)
        np.testing.assert_array_equal(function(x), x, strict=True)
    with pytest.raises(DTypeError):
        function(np.zeros((2, 1, 5), "float32"))


def test_a_status_becomes_an_exception(scale: Any) -> None:
    x = np.ones((4, 3), np.float32)
    with pytest.raises(InternalError, match="scale_run ended with status 7"):
        scale(x, np.array(13, np.float32))

    class Thirteen(Exception):
        pass

    with pytest.raises(Thirteen, match="7"):
        compiled(SCALE, scale_body, error=lambda status: Thirteen(str(status)))(x, np.array(13, np.float32))


def test_nothing_leaks(scale: Any) -> None:
    """Reference counts stay, on every road: results, refusals, errors of the model."""
    x, two, bad = np.ones((4, 3), np.float32), np.array(2, np.float32), np.array(13, np.float32)
    wrong = np.ones((4, 4), np.float32)

    def every_road() -> None:
        scale(x, two)
        scale(np.ones((int(x[0, 0]) * 9, 3), np.float32), two)
        for arguments in ((wrong, two), (x, bad), (x,)):
            with pytest.raises(Exception):  # noqa: B017
                scale(*arguments)

    every_road()
    gc.collect()  # what other tests left behind must not go while we count
    counted = [x, two, bad, wrong, np.ndarray, np.dtype("float32"), np.dtype("float64"), scale]
    before = [sys.getrefcount(o) for o in counted]
    growth = []
    for _ in range(12):  # the interpreter's own caches grow too, but less each time
        gc.collect()
        blocks = sys.getallocatedblocks()
        for _ in range(40):
            every_road()
        gc.collect()
        growth.append(sys.getallocatedblocks() - blocks)
        if growth[-1] < 20:
            break
    after = [sys.getrefcount(o) for o in counted]
    # Types and dtypes are everybody's: other objects that held one may have gone, but none may have come.
    assert all(now <= then for now, then in zip(after, before, strict=True)), (before, after)
    assert min(growth) < 20, growth  # a leak on one road would be 40 blocks


def test_the_function_keeps_what_it_needs() -> None:
    class Owner:
        pass

    owner = Owner()
    gone = weakref.ref(owner)
    function = compiled(SCALE, scale_body)
    signature, code = SCALE, function.__self__[-1]
    function = bind(signature, code.address("scale_run"), keep=(owner, code))
    del owner, code
    gc.collect()
    assert gone() is not None
    y, _ = function(np.ones((2, 3), np.float32), np.array(2, np.float32))
    del function
    gc.collect()
    assert gone() is None
    np.testing.assert_array_equal(y, np.full((2, 3), 2, np.float32))


def test_threads_at_once() -> None:
    """Sixteen threads, sizes that change, Python's lock let go: every result is the serial one."""
    function = compiled(SCALE, scale_body)
    wrong: list[int] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(100):
            x = random.normal(size=(int(random.integers(0, 900)), 3)).astype(np.float32)
            y, _ = function(x, np.array(seed, np.float32))
            if not np.array_equal(y, x * np.float32(seed)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed if seed != 13 else 14,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_name_and_text(scale: Any) -> None:
    text = "scale(x: float32[N,3], factor: float32[]) -> (y: float32[N,3], total: float64[])"
    if isinstance(scale, Checked):
        assert str(scale) == text
    else:
        assert (scale.__name__, scale.__doc__) == ("scale", text)
    with pytest.raises(TypeError):
        scale(np.ones((4, 3), np.float32), factor=np.array(2, np.float32))
