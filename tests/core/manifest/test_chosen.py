"""Check files that are chosen from a share of which only some pages are known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.manifest.build import build_files
from shoal.core.manifest.chosen import ChosenFiles
from shoal.core.manifest.file_pages import FileEntry
from shoal.core.manifest.file_table import FileTable
from shoal.core.manifest.file_tree import File
from shoal.errors import ManifestError
from shoal.storage.shared.globs import Selection


def table_of(entries: list[FileEntry]) -> FileTable:
    """Return the table of these files, with all its pages."""
    built = build_files(entries)
    table = FileTable(built.top, built.size)
    while missing := list(table.missing()):
        for key in missing:
            assert table.add_page(key.level, key.number, built.pages[key])
    return table


def choose(entries: list[FileEntry], *include: str) -> ChosenFiles:
    selection = Selection(include)
    size = sum(entry[1] for entry in entries)
    return ChosenFiles.choose(
        table_of(entries), size, selection.ranges, selection.selects
    )


ENTRIES: list[FileEntry] = [
    ("a", 3, False),
    ("b/x", 0, True),
    ("b/y", 4, True),
    ("c", 5, False),
    ("d", 6, False),
]


def test_the_bytes_between_chosen_files_are_files_without_a_name() -> None:
    chosen = choose(ENTRIES, "b", "d")
    assert list(chosen) == [
        File("", 3, False, 0),
        File("b/x", 0, True, 3),
        File("b/y", 4, True, 3),
        File("", 5, False, 7),
        File("d", 6, False, 12),
    ]
    assert list(chosen.selected) == [1, 2, 4]
    assert list(choose(ENTRIES, "c")) == [
        File("", 7, False, 0),
        File("c", 5, False, 7),
        File("", 6, False, 12),
    ]
    assert list(choose(ENTRIES, "nothing").selected) == []


PATTERNS = ["a", "b", "b/", "b/x", "b/*", "*", "**/y", "[bc]", "c*", "?", "d", "b/y/z"]


@given(st.lists(st.sampled_from(PATTERNS), max_size=4))
def test_the_same_files_are_chosen_as_from_a_plain_list(include: list[str]) -> None:
    selection = Selection(include)
    chosen = choose(ENTRIES, *include)
    found = [chosen[place].path for place in chosen.selected]
    assert found == [path for path, _, _ in ENTRIES if selection.selects(path)]
    assert sum(file.size for file in chosen) == 18
    offset = 0
    for file in chosen:
        assert file.offset == offset
        offset = file.end


def test_chosen_paths_that_collide_are_refused() -> None:
    entries: list[FileEntry] = [("A", 1, False), ("a", 1, False), ("b", 1, False)]
    with pytest.raises(ManifestError, match="side by side"):
        choose(entries, "a", "A")
    # Only one of them is written.
    assert list(choose(entries, "a", "b").selected) == [1, 2]
