"""Machine descriptions: what the host offers, and what the named levels may use."""

import pytest

from graphc.backends.llvm.target import host, level


def test_the_host_names_every_feature() -> None:
    target = host()
    assert all(feature[0] in "+-" for feature in target.features)
    assert target == host() and hash(target) == hash(host())
    assert target.vector_bits in (128, 256, 512) and target.cores >= 1
    assert target.l1 <= target.l2 <= target.l3


def test_a_wide_vector_takes_the_whole_register() -> None:
    for name, register in {"x86-64-v3": "%ymm", "x86-64-v4": "%zmm", "aarch64": ".4s"}.items():
        target = level(name)
        module = target.module()
        f = module.function("twice", {"p": "ptr"})
        value = f.load(f.p, f"<{target.lanes('float')} x float>")
        f.store(f.fadd(value, value), f.p)
        f.ret()
        text = target.assembly(str(module))
        assert register in text
        assert name == "x86-64-v4" or "%zmm" not in text


def test_an_unknown_level_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"x86-64-v2, x86-64-v3, x86-64-v4, aarch64"):
        level("x86-64-v9")
