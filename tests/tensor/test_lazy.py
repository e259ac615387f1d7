"""Tensors outside of a trace: the same graph, run when a number is asked for."""

import copy
import gc
import threading
import weakref

import numpy as np
import pytest

import graphc
from graphc import nn
from graphc.errors import ShapeError, TraceError, UsageError, WeightsError
from graphc.tensor import Tensor, lazy, tensor


def leaf(*numbers):
    return tensor(np.array(numbers), requires_grad=True)


def test_the_circuits_of_the_lectures():
    x, y, z = (tensor(v, requires_grad=True) for v in (-2.0, 5.0, -4.0))
    f = (x + y) * z
    assert float(f) == -12
    f.backward()
    assert [float(t.grad) for t in (x, y, z)] == [-4, -4, 3]
    w, v = tensor([[0.4, 0.6], [0.7, -0.2]], requires_grad=True), tensor([0.5, 0.3], requires_grad=True)
    ((w @ v) ** 2).sum().backward()
    eps = np.finfo(float).eps
    np.testing.assert_allclose(w.grad.array, [[0.38, 0.228], [0.29, 0.174]], rtol=8 * eps)
    np.testing.assert_allclose(v.grad.array, [0.71, 0.34], rtol=8 * eps)


def test_gradients_add_up_over_paths_and_over_calls():
    a = tensor(3.0, requires_grad=True)
    b = a * a + a
    b.backward()
    assert float(a.grad) == 7
    b.backward()
    assert float(a.grad) == 14
    a.zero_grad()
    assert a.grad is None


def test_backward_of_a_larger_tensor_needs_where_to_start():
    a = leaf(1.0, 2.0)
    with pytest.raises(ShapeError, match="needs the gradient to start from"):
        (a * a).backward()
    (a * a).backward(np.array([1.0, 10.0]))
    np.testing.assert_array_equal(a.grad.array, [2.0, 40.0])
    with pytest.raises(ShapeError):
        (a * a).backward(np.ones(3))
    with pytest.raises(UsageError, match="does not depend on any tensor that requires a gradient"):
        (tensor(1) * 2.5).backward()


def test_at_a_prompt_everything_gets_a_gradient():
    """Where nothing says that it wants one; frozen parameters of a module do say that they do not."""
    from graphc import nn

    x, y, z = tensor(-2.0), tensor(5.0), tensor(-4.0)
    f = (x + y) * z
    f.backward()
    assert (float(x.grad), float(y.grad), float(z.grad)) == (-4.0, -4.0, 3.0)
    chosen = tensor(2.0, requires_grad=True)
    (chosen * x).backward()
    assert float(chosen.grad) == -2.0 and float(x.grad) == -4.0
    frozen = nn.Linear(1, 1).double().requires_grad_(False)
    with pytest.raises(UsageError, match="does not depend on any tensor that requires a gradient"):
        frozen(tensor([[1.0]])).sum().backward()


def test_what_a_tensor_was_computed_by_is_drawn():
    import graphc

    x, y, z = tensor(-2.0), tensor(5.0), tensor(-4.0)
    q = x + y
    f = q * z
    graph, arrays = lazy.graph_of(f)
    assert {name: float(array) for name, array in arrays.items()} == {"x": -2.0, "y": 5.0, "z": -4.0}
    assert [node.outputs[0].name for node in graph.nodes] == ["q", "f"]
    picture = graphc.render(f)
    for text in (">x<", ">q<", ">−12<", ">3<", ">∇ −4<"):  # names, values, gradients
        assert text in picture, text
    w, v = tensor([[0.4, 0.6], [0.7, -0.2]]), tensor([0.5, 0.3])
    assert "<svg" in graphc.render(((w @ v) ** 2).sum(), view="joint")


def test_nothing_runs_before_a_number_is_asked_for(monkeypatch):
    runs = []

    def counting(graph):
        runs.append(len(graph.nodes))
        return lazy._interpret(graph)

    monkeypatch.setattr(lazy, "_engine", counting)
    a = tensor([1.0, 2.0])
    b = (a + 1).exp()
    c = b * 2
    assert runs == []
    c.numpy()
    assert len(runs) == 1
    c.numpy()
    (b + 0).numpy()
    assert len(runs) == 2


def test_what_is_no_longer_used_is_freed():
    a = tensor([1.0])
    b = a * 2
    ghost = weakref.ref(b)
    c = float(b.sum())
    assert c == 2
    del b
    gc.collect()
    assert ghost() is None


def test_a_tensor_copies_its_data_and_an_operand_its_array():
    data = np.array([1.0, 2.0])
    t, u = tensor(data), tensor([1.0, 1.0])
    late = u * data
    data[:] = 9.0
    np.testing.assert_array_equal(t.numpy(), [1.0, 2.0])
    np.testing.assert_array_equal(late.numpy(), [1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        t.numpy()[0] = 5.0


def test_python_asks_for_numbers():
    t = tensor([[1.5]])
    assert (float(t), int(t), round(t), t.item(), t.tolist(), bool(t > 1), len(t)) == (
        1.5,
        1,
        2,
        1.5,
        [[1.5]],
        True,
        1,
    )
    assert f"{t.sum():.2f}" == "1.50"
    assert repr(tensor([1.0, 2.0])) == "tensor([1., 2.])"
    np.testing.assert_array_equal(np.asarray(t), [[1.5]])
    assert [0, 1, 2][tensor(1)] == 1
    assert [float(row.sum()) for row in tensor([[1.0, 2.0], [3.0, 4.0]])] == [3.0, 7.0]


def test_numpy_functions_accept_tensors():
    t = tensor([[1.0, -2.0], [3.0, 0.5]])
    result = np.concatenate([np.tanh(t), np.ones((1, 2))]).sum(axis=0)
    assert isinstance(result, Tensor)
    expected = np.concatenate([np.tanh(t.numpy()), np.ones((1, 2))]).sum(axis=0)
    np.testing.assert_allclose(result.numpy(), expected, rtol=4 * np.finfo(float).eps)


def test_in_place():
    t = tensor([1.0, 2.0])
    same = t
    t += 1
    t[0] = 10.0
    assert same is t
    np.testing.assert_array_equal(t.numpy(), [10.0, 3.0])
    p = leaf(1.0, 2.0)
    with pytest.raises(TraceError, match="in-place write"):
        p += 1


def test_a_copy_of_a_module_is_its_own():
    net = nn.Linear(2, 2)
    other = copy.deepcopy(net)
    other.weight.data = np.zeros((2, 2), np.float32)
    assert (net.weight.array != 0).any()
    assert isinstance(other.weight, nn.Parameter)


def test_threads_do_not_share_what_they_record():
    results = {}

    def work(n):
        t = tensor(float(n), requires_grad=True)
        y = t
        for _ in range(20):
            y = y * 1.5 + n
        y.backward()
        results[n] = float(t.grad)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(8), 1.5**20)


def test_a_long_chain_needs_no_recursion():
    t = start = tensor(1.0, requires_grad=True)
    for _ in range(3000):
        t = t + 1.0
    assert float(t) == 3001
    t.backward()
    assert float(start.grad) == 1


def test_module_state(tmp_path):
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    state = net.state_dict()
    assert list(state) == [
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
    ]  # fmt: skip
    before = net[0].weight.array
    wrong = {**state, "0.wieght": state["0.weight"]}
    del wrong["0.weight"]
    with pytest.raises(graphc.GraphcError, match=r"0\.weight.*0\.wieght"):
        net.load_state_dict(wrong)
    with pytest.raises(WeightsError, match=r"float32\[3,2\]|float32\[3, 2\]"):
        net.load_state_dict({**state, "0.weight": state["0.weight"].T, "0.bias": np.ones(2, np.float32)})
    assert net[0].weight.array is before
    assert (net[0].bias.array == state["0.bias"]).all(), "nothing changes unless all fit"
    assert net.load_state_dict({}, strict=False).missing_keys == list(state)
    net.load_state_dict({k: np.ones_like(v) for k, v in state.items()})
    assert (net[0].weight.array == 1).all()


def test_a_shared_module_has_its_parameters_once_and_its_state_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(2, 2)
            self.b = self.a

        def forward(self, x):
            return self.b(self.a(x))

    net = Twice()
    assert [name for name, _ in net.named_parameters()] == ["a.weight", "a.bias"]
    assert list(net.state_dict()) == ["a.weight", "a.bias", "b.weight", "b.bias"]
    graph = graphc.trace(net, x="float32[N,2]")
    assert [leaf.name for leaf in graph.parameters] == ["a.weight", "a.bias"]
