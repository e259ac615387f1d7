"""What docs/build.py writes is up to date, and every link of a document leads somewhere."""

import re
import runpy
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
build = runpy.run_path(str(DOCS / "build.py"))
GENERATED = build["GENERATED"]
STALE = "run python docs/build.py"


def test_the_errors_page():
    assert (DOCS / "errors.md").read_text(encoding="utf-8") == GENERATED["errors.md"](), STALE


def test_every_kind_of_error_has_a_part():
    page = GENERATED["errors.md"]()
    codes = build["declared_codes"]()
    assert sorted(re.findall(r"^### (GC\d{4}) ", page, re.MULTILINE)) == sorted(codes)


def structure(svg: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """Id, class and texts of every node, edge and cluster; coordinates depend on the machine's fonts."""
    groups = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}g")
    return sorted(
        (
            group.get("id", ""),
            group.get("class", ""),
            tuple(text.text or "" for text in group.findall("{http://www.w3.org/2000/svg}text")),
        )
        for group in groups
        if group.get("id") != "graph0"
    )


@pytest.mark.parametrize("name", [name for name in GENERATED if name.endswith(".svg")])
def test_pictures(name):
    committed = structure((DOCS / name).read_text(encoding="utf-8"))
    assert len(committed) > 10
    assert committed == structure(GENERATED[name]()), STALE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links(page):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [to for to in targets if "://" not in to and not (page.parent / to).exists()]
    assert not missing


def test_the_index_names_every_document():
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\S+\.md)\)", index)) == {
        page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if page.name != "README.md"
    }
