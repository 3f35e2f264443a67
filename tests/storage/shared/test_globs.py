"""The paths that patterns match and do not match."""

import pytest

from shoal.errors import UsageError
from shoal.storage.shared.globs import Selection, match


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
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
def test_a_pattern_matches_these_paths(
    pattern: str, matched: list[str], others: list[str]
) -> None:
    matches = match(pattern)
    assert [path for path in matched if not matches(path)] == []
    assert [path for path in others if matches(path)] == []


@pytest.mark.parametrize("pattern", ["", "/", "[a", "a[!]", "[z-a]"])
def test_an_invalid_pattern_is_an_error(pattern: str) -> None:
    with pytest.raises(UsageError, match="pattern"):
        match(pattern)


def test_exclude_patterns_override_include_patterns() -> None:
    selection = Selection(["docs", "**/*.md"], ["docs/old", "**/draft.*"])
    assert selection.selects("docs/a.txt")
    assert selection.selects("x/y.md")
    assert not selection.selects("x/y.txt")
    assert not selection.selects("docs/old/a.md")
    assert not selection.selects("x/draft.md")
    assert selection.excludes("docs/old")
    assert Selection().selects("anything")
