"""The lesson: text, data and LaTeX of the same chain rule."""

import re

import numpy as np
import pytest

import graphc.nn.functional as F
from graphc import api
from graphc.cli.main import main
from tests.docs.commands import ROOT

LENET = str(ROOT / "examples/lenet.py")


def circuit(x, y, z):
    q = x + y
    return q * z * x


SCALARS = dict.fromkeys("xyz", "float64[]")
AT = {"x": np.array(-2.0), "y": np.array(5.0), "z": np.array(-4.0)}


def test_a_circuit_with_numbers() -> None:
    lines = str(api.explain(circuit, SCALARS, backward=True, values=AT)).splitlines()
    stripped = [re.split(r"\s{2,}", line.strip())[0] for line in lines]
    assert stripped == [
        "forward", "q = x + y = 3", "mul = q · z = −12", "mul_2 = mul · x = 24", "", "backward, from mul_2",
        "∇mul_2 = 1: float64[]", "mul_2 = mul · x", "∇mul = ∇mul_2 · x = −2", "∇x += ∇mul_2 · mul = −12",
        "mul = q · z", "∇q = ∇mul · z = 8", "∇z = ∇mul · q = −6", "q = x + y", "∇x += ∇q = 8", "∇y = ∇q = 8",
        "∇x is now the sum of its 2 terms = −4",
    ]  # fmt: skip


def test_the_numbers_are_those_of_the_tensors() -> None:
    import graphc

    x, y, z = (graphc.tensor(float(AT[name]), requires_grad=True) for name in "xyz")
    circuit(x, y, z).backward()
    text = str(api.explain(circuit, SCALARS, backward=True, values=AT))
    assert f"terms = {x.grad.item():g}".replace("-", "−") in text
    for name, tensor in (("y", y), ("z", z)):
        assert re.search(rf"∇{name} = .* = {tensor.grad.item():g}".replace("-", "−"), text)


def test_shapes_are_kept_account_of(capsys) -> None:
    assert main(["explain", LENET, "--backward"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"∇fc3.weight = ∇x_5ᵀ · x_4 .*summed over N", text)
    assert re.search(
        r"∇conv1.bias = .*summed over N, 30, 30, because it was broadcast to \[N,6,30,30\]", text
    )


def test_as_data() -> None:
    data = api.explain(circuit, SCALARS, backward=True).as_dict()
    assert [row["name"] for row in data["forward"]] == ["q", "mul", "mul_2"]
    assert [(row["of"], row["one_of"]) for row in data["backward"]] == [
        ("mul", 1), ("x", 2), ("q", 1), ("z", 1), ("x", 2), ("y", 1),
    ]  # fmt: skip


def test_latex_is_balanced_and_knows_names(capsys) -> None:
    assert main(["explain", LENET, "--backward", "--latex"]) == 0
    text = capsys.readouterr().out
    assert text.count("\\begin{align*}") == text.count("\\end{align*}") == 2
    assert "\\nabla \\mathrm{fc1.weight} &= \\nabla \\mathrm{fc1.linear}^{\\top} \\cdot  x_{2}" in text
    assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")
    assert not re.search("[\x01\x02∇·ᵀΣ−]", text)


@pytest.mark.parametrize("name", ["a_b$c#d%e&f{g}h^i~j\\k", "\x01x\x02", "∇∑"])
def test_latex_of_hostile_names(name: str) -> None:
    from tests.view.test_html import named

    joint = api.differentiate(named(name))
    text = api.explain(joint, backward=True).latex()
    assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")
    for line in text.splitlines()[1:]:
        assert not re.search(r"(?<!\\)[$%#]", re.sub(r"\$[^$]*\$", "", line)), line


def test_one_question_at_a_time(capsys) -> None:
    assert main(["explain", LENET, "--backward", "--after", "cse"]) == 2
    assert "--after" in capsys.readouterr().err


def test_a_value_read_twice_by_one_op_has_two_terms_and_one_sum() -> None:
    text = str(api.explain(lambda x: x * x, {"x": "float64[]"}, backward=True, values={"x": np.array(3.0)}))
    assert text.count("∇x += ∇mul · x = 3") == 2
    assert text.count("∇x is now the sum of its 2 terms = 6") == 1


def test_powers_and_words_in_latex() -> None:
    def softmax(x, b):
        return (F.softmax(x + b, 1) ** 2.5).reshape(-1)

    text = api.explain(softmax, {"x": "float64[N,3]", "b": "float64[3]"}, backward=True).latex()
    assert "e^{\\mathrm{add}}" in text and "^{2.5}" in text and "\x03" not in text
    assert "\\text{ in another shape }" in text
    assert "summed over N, because it was broadcast to [N,3]" in text
