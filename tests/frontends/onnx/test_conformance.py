"""ONNX's 2,033 backend tests on both backends: each passes, or is on the committed list of refusals with its reason."""

import pytest

pytest.importorskip("onnx", reason="needs the onnx package")

from tests.frontends.onnx.conformance import BACKENDS, items, outcomes, refusals

SHARES = 16

pytestmark = pytest.mark.onnx


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("backend", BACKENDS)
def test_share(backend: str, share: int) -> None:
    expected = refusals()
    found = list(outcomes(backend, share, SHARES))
    names = {outcome.name for outcome in found}
    assert {o.name: o.refused for o in found if o.refused} == {
        n: r for n, r in expected.items() if n in names
    }


def test_how_many_pass() -> None:
    names, refused = items("llvm"), refusals()
    assert refused.keys() <= names.keys()
    assert len(names) == 2033  # of onnx 1.23.2
    assert len(names) - len(refused) >= 1580
    for kind, count in (("Real", 9), ("PyTorchConverted", 82), ("PyTorchOperator", 35)):
        of_kind = {
            name for name, (case, _) in names.items() if case.__name__ == f"OnnxBackend{kind}ModelTest"
        }
        assert len(of_kind) == count
        assert not of_kind & refused.keys()


def test_a_refusal_names_operator_dtype_or_opset() -> None:
    for name, reason in refusals().items():
        assert "opset" in reason, f"{name}: {reason}"
