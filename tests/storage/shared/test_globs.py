"""Patterns: what they cover, and what they leave alone."""

import pytest

from shoal.errors import UsageError
from shoal.storage.shared.globs import Selection, match


@pytest.mark.parametrize(
    ("pattern", "covered", "left"),
    [
        ("*.txt", ["a.txt", ".txt", "a\nb.txt"], ["d/a.txt", "a.txtx", "a.TXT"]),
        ("**/*.txt", ["a.txt", "d/a.txt", "d/e/a.txt"], ["a.md", "txt"]),
        ("logs", ["logs", "logs/a", "logs/d/a"], ["logsx", "d/logs", "logs.txt"]),
        ("logs/", ["logs/a"], ["xlogs/a"]),
        ("**/logs", ["logs/a", "d/logs/e/a"], ["d/xlogs/a"]),
        ("a/*/c", ["a/b/c", "a/b/c/d"], ["a/c", "a/b/b/c"]),
        ("a/**/c", ["a/c", "a/b/c", "a/b/b/c"], ["ac", "a/cc"]),
        ("a**", ["a", "ab", "a/b", "ab/c/d"], ["b/a"]),
        ("?.md", ["a.md", "ü.md", "漢.md"], ["ab.md", "/.md", ".md"]),
        ("[a-c].md", ["a.md", "c.md"], ["d.md", "-.md"]),
        ("[!a-c].md", ["d.md"], ["a.md", "/.md"]),
        ("[]x].md", ["].md", "x.md"], ["y.md"]),
        ("a+(b)^$|.md", ["a+(b)^$|.md"], ["aab.md"]),
        ("[\\^&&~~||].md", ["^.md", "&.md", "\\.md"], ["a.md"]),
    ],
)
def test_patterns(pattern: str, covered: list[str], left: list[str]) -> None:
    covers = match(pattern)
    assert [path for path in covered if not covers(path)] == []
    assert [path for path in left if covers(path)] == []


@pytest.mark.parametrize("pattern", ["", "/", "[a", "a[!]", "[z-a]"])
def test_what_is_no_pattern_is_said(pattern: str) -> None:
    with pytest.raises(UsageError, match="pattern"):
        match(pattern)


def test_what_is_excluded_is_so_whatever_includes_it() -> None:
    selection = Selection(["docs", "**/*.md"], ["docs/old", "**/draft.*"])
    assert selection.selects("docs/a.txt")
    assert selection.selects("x/y.md")
    assert not selection.selects("x/y.txt")
    assert not selection.selects("docs/old/a.md")
    assert not selection.selects("x/draft.md")
    assert selection.excludes("docs/old")
    assert Selection().selects("anything")
