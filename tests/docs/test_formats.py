"""docs/gir.md and docs/artefact.md describe the formats as they are."""

import json
import re

import numpy as np

import graphc
from graphc.ir.parser import parse_graph
from graphc.ir.printer import print_graph
from graphc.ir.types import DTYPES
from tests.docs.commands import ROOT

GIR = (ROOT / "docs/gir.md").read_text(encoding="utf-8")
ARTEFACT = (ROOT / "docs/artefact.md").read_text(encoding="utf-8")


def test_the_example_of_gir_is_read_and_printed_back():
    (text,) = re.findall(r"^```\n(graph .*?)```$", GIR, re.MULTILINE | re.DOTALL)
    assert print_graph(parse_graph(text)).rstrip() == text.rstrip()


def test_attributes_with_a_default_may_be_left_out():
    lines = [
        "graph g {",
        "input %x: f32[2,3]",
        "input %w: f32[3,4]",
        "%y: f32[2,4] = matmul %x, %w",
        'return %y as "y"',
        "}",
    ]
    assert "transpose_w=False" in print_graph(parse_graph("\n".join(lines)))


def test_the_dtypes_of_gir():
    (shown,) = re.findall(r"A type is a dtype \(`([^`]*)`\)", GIR)
    assert set(shown.split()) == {dtype.short for dtype in DTYPES}


def test_the_fields_of_the_manifest_and_the_files(tmp_path):
    path = tmp_path / "lenet.graphc"
    W = np.ones((3, 2), np.float32)
    model = graphc.compile(lambda x: x @ W, {"x": "float32[N,3]"}, name="lenet", backend="numpy")
    model.save(path)
    fields = re.findall(r"^\| (`.*?) \|", ARTEFACT.split("## manifest.json")[1], re.MULTILINE)
    stated = {name for row in fields for name in re.findall(r"`(\w+)`", row)}
    assert stated == set(json.loads((path / "manifest.json").read_text()))
    table = ARTEFACT.split("`--emit")[0]
    assert {file.name for file in path.iterdir()} <= set(re.findall(r"`([\w.]+)`", table))
