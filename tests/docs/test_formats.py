"""docs/gir.md, docs/artefact.md and docs/drawing.md describe the formats as they are."""

import dataclasses
import json
import re

import numpy as np

import graphc
from graphc.ir.parser import parse_graph
from graphc.ir.printer import print_graph
from graphc.ir.types import DTYPES
from graphc.view import render_ir
from graphc.view.output import SUFFIXES
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


def test_the_fields_of_a_picture():
    text = (ROOT / "docs/drawing.md").read_text(encoding="utf-8")
    forms, options, data = (text.split("## ")[i] for i in range(3))
    assert f"`graphc_picture` is **{render_ir.FORMAT}**" in data
    assert set(re.findall(r"`(\.\w+)`", forms)) == set(SUFFIXES)
    parts = {
        "the picture": render_ir.Picture, "node": render_ir.Node, "line": render_ir.Line, "edge": render_ir.Edge,
        "cluster": render_ir.Cluster, "step": render_ir.Step, "legend": render_ir.Legend,
    }  # fmt: skip
    rows = dict(re.findall(r"^\| ([a-z ]+) \| (`.*) \|$", data, re.MULTILINE))
    assert {name: re.findall(r"`(\w+)`", row) for name, row in rows.items()} == {
        name: [field.name for field in dataclasses.fields(kind)] for name, kind in parts.items()
    }
    rare = {field for row in rows.values() for field in re.findall(r"`(\w+)`\*", row)}
    assert rare == {*render_ir.RARE, "steps"}
    for names, values in (("line", render_ir.Text), ("edge", render_ir.Kind)):
        (listed,) = re.findall(r"`kind` \(([^)]*)\)", rows[names])
        assert listed.split(", ") == [value.value for value in values]


def test_the_options_of_render():
    from graphc.cli.render import command

    text = (ROOT / "docs/drawing.md").read_text(encoding="utf-8")
    stated = {
        option
        for row in re.findall(r"^\| (`--.*?) \|", text, re.MULTILINE)
        for option in re.findall(r"--[\w-]+", row)
    }
    known = {option for parameter in command.params for option in parameter.opts}
    assert stated <= known
