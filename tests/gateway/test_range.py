"""Ranges and conditions are those of RFC 9110."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.gateway.range import ByteRange, Preconditions, parse_range, select
from tests.helpers.ranges import RANGES, SIZE, RangeCase

TAG = '"abc"'


def status(method: str = "GET", **lines: list[str]) -> int:
    """Return how a request with these headers is answered."""
    return select(method, Preconditions(**lines), SIZE, TAG).status


def test_the_table_has_all_the_single_ranges_that_were_promised() -> None:
    single = [case for case in RANGES if case.status != 200]
    assert len(single) >= 40
    assert len({case.value for case in RANGES}) == len(RANGES)


@pytest.mark.parametrize("case", RANGES, ids=lambda case: case.value[:30])
def test_a_range_is_read_as_the_standard_says(case: RangeCase) -> None:
    found = select("GET", Preconditions(range=[case.value]), SIZE, TAG)
    assert found.status == case.status
    if case.status != 416:
        assert (found.range.first, found.range.end) == (case.first, case.last + 1)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200))
def test_a_range_names_the_bytes_that_a_slice_does(
    first: int, last: int, size: int
) -> None:
    data = bytes(range(256))[:size]
    found = parse_range(f"bytes={first}-{last}", size)
    if not size:
        assert found is None
    elif last < first or first >= size:
        assert found is not None
        assert not found.length
    else:
        assert found is not None
        assert data[found.first : found.end] == data[first : last + 1]


@given(st.integers(0, 200), st.integers(1, 200))
def test_a_suffix_names_the_bytes_that_a_slice_does(length: int, size: int) -> None:
    data = bytes(range(256))[:size]
    found = parse_range(f"bytes=-{length}", size)
    assert found is not None
    assert data[found.first : found.end] == (data[-length:] if length else b"")


@given(st.text(max_size=30), st.integers(0, 1 << 70))
def test_whatever_is_asked_for_lies_within_the_file(text: str, size: int) -> None:
    for value in (text, "bytes=" + text):
        found = parse_range(value, size)
        if found is not None:
            assert 0 <= found.first <= found.end <= size


@given(st.from_regex(r"bytes=([0-9]{0,4}-[0-9]{0,4},?){1,4}", fullmatch=True))
def test_one_that_is_granted_has_something_in_it(value: str) -> None:
    found = select("GET", Preconditions(range=[value]), SIZE, TAG)
    assert (found.status == 206) <= (0 < found.range.length <= SIZE)
    assert found.status in (200, 206, 416)


def test_of_an_empty_file_everything_is_the_whole() -> None:
    for value in ("bytes=0-", "bytes=-5", "bytes=7-9"):
        found = select("GET", Preconditions(range=[value]), 0, TAG)
        assert (found.status, found.range) == (200, ByteRange(0, 0))


def test_who_asks_up_to_the_end_is_open_ended_anywhere() -> None:
    asked = {"0-": True, f"5-{SIZE}": True, f"5-{SIZE - 1}": True, "5-9": False}
    for value, is_open_ended in {**asked, "-5": False}.items():
        found = parse_range(f"bytes={value}", SIZE)
        assert found is not None
        assert found.is_open_ended == is_open_ended


def test_a_range_is_for_get_alone_and_stands_once() -> None:
    assert status("HEAD", range=["bytes=0-1"]) == 200
    assert status(range=["bytes=0-1", "bytes=0-1"]) == 200


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (TAG, 206),
        (f"W/{TAG}", 200),
        ('"other"', 200),
        (f'{TAG}, "other"', 200),
        ("abc", 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ],
)
def test_if_range_wants_the_very_tag(value: str, expected: int) -> None:
    assert status(if_range=[value], range=["bytes=0-1"]) == expected
    # What is not there any more is no reason to refuse.
    if expected == 200:
        assert status(if_range=[value], range=["bytes=99999999-"]) == 200
    assert status(if_range=[value]) == 200


@pytest.mark.parametrize(
    ("value", "is_met"),
    [
        ("*", True),
        (TAG, True),
        (f"W/{TAG}", True),
        (f'"x", {TAG}', True),
        (f'"a,b",,W/{TAG} ,', True),
        ('"x"', False),
        ("abc", False),
        ('"abc', False),
        (f'"x" y {TAG}', False),
        ("", False),
    ],
)
def test_if_none_match_compares_weakly(value: str, is_met: bool) -> None:
    assert status(if_none_match=[value]) == (304 if is_met else 200)
    assert status("HEAD", if_none_match=[value]) == (304 if is_met else 200)
    # It comes before the range.
    with_range = status(if_none_match=[value], range=["bytes=0-1"])
    assert with_range == (304 if is_met else 206)


@pytest.mark.parametrize(
    ("value", "is_met"), [("*", True), (TAG, True), (f"W/{TAG}", False), ('"x"', False)]
)
def test_if_match_compares_strongly(value: str, is_met: bool) -> None:
    assert status(if_match=[value]) == (200 if is_met else 412)
    assert status(if_match=[value], if_none_match=["*"]) == (304 if is_met else 412)


def test_tags_on_several_lines_are_one_list() -> None:
    assert status(if_none_match=['"x"', TAG]) == 304
    assert status(if_match=['"x"', TAG]) == 200


@given(st.text(max_size=40))
def test_a_list_of_tags_may_be_anything(text: str) -> None:
    assert status(if_none_match=[text]) in (200, 304)
    assert status(if_match=[text]) in (200, 412)
