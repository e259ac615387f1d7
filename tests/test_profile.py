"""A profile names every kernel with its work and the user's line; no test here looks at how long anything took."""

import json

import numpy as np
import pytest

import graphc
import graphc.nn.functional as F
from graphc import nn, optim
from graphc.errors import GraphcError, UsageError
from graphc.ir.cost import total_flops
from graphc.ir.dims import substitute
from graphc.profile import HEADINGS, Profile, Row, profile

SECONDS = 0.01


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1)
        self.fc = nn.Linear(16 * 8 * 8, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return F.softmax(self.fc(x.flatten(1)), -1)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 1, 16, 16), np.float32)


@pytest.mark.parametrize("threads", [1, 2])
def test_every_kernel_has_a_row_in_the_order_it_runs_in(images, threads):
    exe = graphc.compile(Net(), inputs={"x": "float32[N,1,16,16]"}, threads=threads)
    before = exe(images)
    found = exe.profile(images, seconds=SECONDS)
    assert found.threads == threads
    assert [row.kernel for row in found.rows] == [k.name for k in exe.plan.order if k.kind != "view"]
    assert all(row.seconds >= 0 for row in found.rows) and found.seconds > 0
    assert np.array_equal(exe(images), before)


def test_work_and_lines_are_those_of_the_users_ops(images):
    exe = graphc.compile(Net(), inputs={"x": "float32[N,1,16,16]"})
    rows = exe.profile(images, seconds=SECONDS).rows
    conv = next(row for row in rows if "conv" in row.ops)
    assert conv.line.startswith("test_profile.py:") and "self.conv(x)" in conv.text
    assert conv.module == "conv" and conv.role == "forward"
    kernel = next(k for k in exe.plan.order if k.name == conv.kernel)
    multiplied_and_biased = 2 * 16 * 9 * 256 + 2 * 16 * 256
    assert conv.flop == 3 * multiplied_and_biased == substitute(total_flops(kernel.nodes), {"N": 3})
    values = (*kernel.inputs, *kernel.outputs)
    assert conv.moved == sum(substitute(v.type.nbytes, {"N": 3}) for v in values)


def test_a_training_step_is_profiled_without_training(images):
    net = Net()
    target = np.array([1, 2, 3])
    step = graphc.compile_step(net, F.cross_entropy, optim.SGD(net.parameters(), lr=0.1), cache=False)
    step(images, target)
    held = {name: array.copy() for name, array in step.arrays.items()}
    found = step.profile(images, target, seconds=SECONDS)
    assert {row.role for row in found.rows} >= {"forward", "backward"}
    assert all(np.array_equal(step.arrays[name], array) for name, array in held.items())


def test_copies_at_the_end_have_a_row_of_their_own():
    exe = graphc.compile(lambda x: (x, x + 1), inputs={"x": "float32[N]"})
    rows = exe.profile(np.ones(4, np.float32), seconds=SECONDS).rows
    assert [row.kernel for row in rows] == [k.name for k in exe.plan.order] + ["copies"] * bool(
        exe.plan.copies
    )


def test_arrays_that_do_not_fit_are_told_of_as_by_a_call(images):
    exe = graphc.compile(Net(), inputs={"x": "float32[N,1,16,16]"})
    with pytest.raises(GraphcError, match="axis 3 of x"):
        exe.profile(images[..., :15], seconds=SECONDS)


def test_numpy_has_no_kernels(images):
    exe = graphc.compile(Net(), inputs={"x": "float32[N,1,16,16]"}, backend="numpy")
    with pytest.raises(UsageError):
        exe.profile(images)


def test_the_table():
    rows = (
        Row("k0", "convolution", ("conv", "add", "relu"), 2e-6, 200_000, 40_000, "net.py:7", module="conv1"),
        Row("k1", "loop", ("mul",), 2e-6, 0, 1500, "net.py:8", role="backward"),
    )
    text = str(Profile("net", 2, rows, 4e-6, 9, 200.0, 20.0))
    lines = text.split("\n")
    assert lines[0] == "net, 2 threads, 9 runs; this machine's peak is 200 GFLOP/s, 20 GB/s from memory"
    assert lines[2].split() == " ".join(HEADINGS).split()
    assert "2.00 µs   50.0 %    100.0     50 %    40 kB  20.0  net.py:7" in lines[3]
    assert "gradient of net.py:8" in lines[4]
    assert lines[5].startswith("all     4.00 µs  100.0 %")


def test_as_dict_is_json(images):
    exe = graphc.compile(Net(), inputs={"x": "float32[N,1,16,16]"})
    data = json.loads(json.dumps(exe.profile(images, seconds=SECONDS).as_dict()))
    assert {row["kernel"] for row in data["kernels"]} == {k.name for k in exe.plan.order if k.kind != "view"}


def test_plain_code_has_no_clock(images):
    exe = graphc.compile(Net(), inputs={"x": "float32[N,1,16,16]"})
    profile(exe.native, [images], seconds=SECONDS)
    assert "clock_gettime" not in exe.llvm_ir and "_marks" not in exe.llvm_ir
