"""Check every rule for paths, and the time that the checks take."""

import sys
from collections.abc import Sequence
from types import FrameType
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.manifest.collisions import collision, paths_problem
from shoal.core.manifest.paths import (
    MAX_DEPTH,
    MAX_PATH_SIZE,
    name_problem,
    path_problem,
    shown,
)
from tests.adversary.names import (
    COLLISIONS,
    LONGEST,
    SAFE_PATHS,
    UNSAFE_NAMES,
    UNSAFE_PATHS,
)


@pytest.mark.parametrize("path", UNSAFE_PATHS, ids=lambda path: ascii(path[:40]))
def test_unsafe_paths_are_refused(path: str) -> None:
    assert path_problem(path)
    assert paths_problem(["a", path])


@pytest.mark.parametrize("name", UNSAFE_NAMES, ids=lambda name: ascii(name[:40]))
def test_unsafe_names_are_refused_anywhere_in_a_path(name: str) -> None:
    assert name_problem(name)
    for path in (f"{name}/x", f"x/{name}/x", f"x/{name}"):
        assert path_problem(path)


@pytest.mark.parametrize("path", SAFE_PATHS, ids=lambda path: ascii(path[:40]))
def test_names_that_people_use_are_safe(path: str) -> None:
    assert path_problem(path) is None
    assert paths_problem([path]) is None


def test_safe_paths_have_no_problem_together() -> None:
    others = {"cafe\u0301", "A", LONGEST}  # these collide with others
    assert paths_problem([path for path in SAFE_PATHS if path not in others]) is None


@pytest.mark.parametrize("pair", COLLISIONS, ids=ascii)
def test_paths_that_are_one_on_some_system_collide(pair: tuple[str, str]) -> None:
    among = ["00", "b", "c/d/e", "zz", "\U0010fffd"]
    for paths in (pair, pair[::-1], [*among, *pair], [pair[1], *among, pair[0]]):
        found = collision(paths)
        assert found is not None
        assert set(found) == set(pair)
        assert paths_problem(paths)


def test_a_collision_is_found_across_paths_that_sort_before_a_slash() -> None:
    for between in ("a!", "a b", "a-", "a.b"):
        assert collision(["a", between, "a/b"]) == ("a", "a/b")
        assert collision(["A/x", f"{between}/x", "a/y"]) == ("A/x", "a/y")


@pytest.mark.parametrize(
    "paths",
    [
        [],
        ["a"],
        ["a/b", "a/c", "a!b", "a.b", "a0"],
        ["a", "a!", "a!!/b"],
        ["A/x", "A!/x", "a!y"],
        ["x2", "x\u00b2"],
        ["a/x", "b/A", "c/a"],
    ],
)
def test_paths_that_differ_do_not_collide(paths: list[str]) -> None:
    assert collision(paths) is None


def test_every_forbidden_character_is_refused_and_no_other_of_ascii() -> None:
    forbidden = {*map(chr, range(32)), *map(chr, range(127, 160)), "/", "\\", ":"}
    for code in range(256):
        assert bool(name_problem(f"a{chr(code)}b")) == (chr(code) in forbidden), code


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("d/aux .c/x", "cannot exist on Windows, where AUX is a device"),
        ("d./x", "cannot exist on Windows, where no name ends with a dot or a space"),
        ("a:b", "has ':' in it"),
        ("a\x07b", "has U+0007 in it"),
        ("a\udcff", "is not valid UTF-8, or needs a UTF-8 locale (set LC_ALL=C.UTF-8)"),
    ],
)
def test_a_problem_says_what_is_wrong_with_the_name(path: str, problem: str) -> None:
    assert path_problem(path) == problem


@pytest.mark.parametrize("code", [0xD800, 0xDC80, 0xDFFF])
def test_a_path_that_is_not_utf8_is_refused_with_a_printable_message(code: int) -> None:
    assert path_problem("a" + chr(code))
    assert shown(chr(code)).isascii()


def test_lengths_are_limited_to_the_byte() -> None:
    assert name_problem("n" * 255) is None
    assert name_problem("n" * 256)
    assert name_problem("\u00e9" * 127 + "e") is None
    assert name_problem("\u00e9" * 128)
    for letter, size in (("a", 1), ("\u00e9", 2), ("\U0001f41f", 4)):
        path = "/".join([letter * (124 // size)] * (MAX_PATH_SIZE // 125 - 1))
        rest = "b" * (MAX_PATH_SIZE - len(path.encode()) - 1)
        assert path_problem(path + "/" + rest) is None
        assert "more than 4000" in (path_problem(path + "/" + rest + "b") or "")
    assert path_problem("/".join("d" * MAX_DEPTH)) is None
    assert path_problem("/".join("d" * (MAX_DEPTH + 1)))


@given(st.text(max_size=300))
def test_a_safe_name_stays_unchanged_below_its_folder(name: str) -> None:
    if name_problem(name) is None:
        assert name.encode()
        assert not set(name) & set("/\\:\0")
        assert name not in (".", "..")


@given(
    st.lists(
        st.text(st.sampled_from("aA.:/\\ \n\0\x7fcon1COMlpt$é"), max_size=12)
        | st.sampled_from([*UNSAFE_PATHS, *SAFE_PATHS]),
        max_size=5,
    )
)
def test_paths_checked_together_give_the_same_result_as_one_by_one(
    paths: list[str],
) -> None:
    is_wrong = any(path_problem(path) is not None for path in paths)
    if is_wrong or collision(paths) is not None:
        assert paths_problem(paths) is not None
    else:
        assert paths_problem(paths) is None


names = st.text(
    st.sampled_from("aA\u00e9\u00c9e\u0301\u200dkK\u212a\u00dfsS"), max_size=4
)


@given(st.lists(st.lists(names, min_size=1, max_size=4).map("/".join), max_size=6))
def test_collisions_are_those_that_a_set_of_all_folders_finds(paths: list[str]) -> None:
    paths = [path for path in paths if path_problem(path) is None]
    assert (collision(paths) is not None) == _collides(paths)


def _collides(paths: list[str]) -> bool:
    """Return True if paths collide, by the simple way: a set of all prefixes."""
    spelled: dict[str, str] = {}
    files: set[str] = set()
    for path in paths:
        names = path.split("/")
        for end in range(1, len(names) + 1):
            folder = "/".join(names[:end])
            folded = normalize("NFD", normalize("NFD", folder).casefold())
            folded = folded.replace("\u200d", "")
            if spelled.setdefault(folded, folder) != folder:
                return True
            if end == len(names):
                if folded in files:
                    return True
                files.add(folded)
    folded_folders = {
        folded
        for folded, folder in spelled.items()
        if any(path.startswith(folder + "/") for path in paths)
    }
    return bool(files & folded_folders)


def test_a_path_in_a_message_is_printable_and_short() -> None:
    assert shown("\x1b[2J\u202e\n") == r"'\x1b[2J\u202e\n'"
    assert len(shown("x" * 10_000)) < 200


@pytest.mark.parametrize(
    "path",
    [
        "dir{0}/sub{1}/some file {0}.txt",
        "w\u00f6rk/\u00fcnter{0}/d\u00e4tei {0} {1}.txt",
        "/".join(["{0:05}x"] * 20),
    ],
    ids=["plain", "unicode", "all folders different"],
)
def test_the_work_grows_no_faster_than_the_number_of_paths(path: str) -> None:
    paths = sorted(path.format(i, i % 100) for i in range(20_000))
    assert calls_for(paths) <= 10.5 * calls_for(paths[::10]) + 1000


def calls_for(paths: Sequence[str]) -> int:
    """Return how many functions are called to find no problem."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        problem = paths_problem(paths)
    finally:
        sys.setprofile(None)
    assert problem is None
    return calls
