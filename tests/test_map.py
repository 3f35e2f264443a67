"""The pages and the code point only to modules, names and sections that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src/shoal"
PAGES = {
    page: (ROOT / page).read_text() for page in ("CONTRIBUTING.md", "docs/design.md")
}
PATH = re.compile(r"`((?:src/shoal/)?[\w./]+(?:\.py|/))`")
NAME = re.compile(
    r"`((?:[a-z]\w*\.)+)([A-Z]\w*(?:\.\w+)?)`"
)  # as core.limits.LeakyBucket
PLACE = re.compile(
    r"`((?:\w+/)*\w+\.py)`\s+\((`\w[^)]*`)\)"
)  # as core/limits.py (`A.b`)
CITED = re.compile(r'docs/([\w-]+\.md)(?:,| under) "([^"]+)"')
CITED_BEFORE = re.compile(r'"([^"]+)" (?:in|of) docs/([\w-]+\.md)')


@cache
def names_in(path: Path) -> set[str]:
    """Return the names that a module defines, those of classes as `Class.name`."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for name in _defined(node.body)}
        found |= _defined([node])
    return found


def _defined(body: list[ast.stmt]) -> set[str]:
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {each.id for each in targets if isinstance(each, ast.Name)}
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_path_exists(page: str) -> None:
    paths = PATH.findall(PAGES[page])
    assert paths
    bases = (ROOT, SOURCE)
    missing = [p for p in paths if not any((base / p).exists() for base in bases)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_name_is_defined_where_the_page_says(page: str) -> None:
    text = PAGES[page]
    named = [
        (module.rstrip(".").replace(".", "/") + ".py", name)
        for module, name in NAME.findall(text)
        if not module.startswith("shoal.")
    ]
    for path, names in PLACE.findall(text):
        named += [(path, name) for name in re.findall(r"`([\w.]+)`", names)]
    assert named
    missing = [
        f"{path}: {name}"
        for path, name in named
        if not (SOURCE / path).exists() or name not in names_in(SOURCE / path)
    ]
    assert missing == []


def sections_of(page: str) -> set[str]:
    """Return the headings of a page, and the words it begins paragraphs with."""
    text = (ROOT / "docs" / page).read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {*headings, *re.findall(r"^\*\*(.+?)\.\*\*", text, re.MULTILINE)}


def test_every_section_that_the_code_cites_exists() -> None:
    missing: list[str] = []
    cited = 0
    for path in sorted(SOURCE.rglob("*.py")):
        lines = (line.strip(" #") for line in path.read_text().splitlines())
        text = " ".join(lines)
        named = CITED.findall(text)
        named += [(page, name) for name, page in CITED_BEFORE.findall(text)]
        cited += len(named)
        missing += [
            f"{path}: {page}, {name}"
            for page, name in named
            if name not in sections_of(page)
        ]
    assert cited > 20
    assert missing == []
