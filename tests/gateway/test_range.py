"""Ranges and preconditions are evaluated as RFC 9110 requires."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert

from shoal.gateway.range import ByteRange, Preconditions, parse_range, plan_response
from tests.helpers.ranges import RANGES, SIZE, RangeCase

TAG = '"abc"'
DATE = 1_000_000_000  # seconds since 1970


def status(method: str = "GET", **lines: list[str] | float) -> int:
    """Return the status of the response to a request with these headers."""
    conditions = convert(lines, Preconditions)
    return plan_response(method, conditions, SIZE, TAG, DATE).status


def test_the_table_has_at_least_forty_single_ranges() -> None:
    single = [case for case in RANGES if case.status != 200]
    assert len(single) >= 40
    assert len({case.value for case in RANGES}) == len(RANGES)


@pytest.mark.parametrize("case", RANGES, ids=lambda case: case.value[:30])
def test_each_range_of_the_table_selects_its_status_and_bytes(case: RangeCase) -> None:
    found = plan_response("GET", Preconditions(range=[case.value]), SIZE, TAG, DATE)
    assert found.status == case.status
    if case.status != 416:
        assert (found.range.first, found.range.end) == (case.first, case.last + 1)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200))
def test_a_range_selects_the_same_bytes_as_a_slice(
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
def test_a_suffix_selects_the_same_bytes_as_a_slice(length: int, size: int) -> None:
    data = bytes(range(256))[:size]
    found = parse_range(f"bytes=-{length}", size)
    assert found is not None
    assert data[found.first : found.end] == (data[-length:] if length else b"")


@given(st.text(max_size=30), st.integers(0, 1 << 70))
def test_any_parsed_range_is_within_the_file(text: str, size: int) -> None:
    for value in (text, "bytes=" + text):
        found = parse_range(value, size)
        if found is not None:
            assert 0 <= found.first <= found.end <= size


@given(st.from_regex(r"bytes=([0-9]{0,4}-[0-9]{0,4},?){1,4}", fullmatch=True))
def test_a_206_response_is_never_empty(value: str) -> None:
    found = plan_response("GET", Preconditions(range=[value]), SIZE, TAG, DATE)
    assert (found.status == 206) <= (0 < found.range.length <= SIZE)
    assert found.status in (200, 206, 416)


def test_any_range_of_an_empty_file_is_the_whole_file() -> None:
    for value in ("bytes=0-", "bytes=-5", "bytes=7-9"):
        found = plan_response("GET", Preconditions(range=[value]), 0, TAG, DATE)
        assert (found.status, found.range) == (200, ByteRange(0, 0))


def test_a_range_to_the_end_of_the_file_is_open_ended() -> None:
    ranges = {"0-": True, f"5-{SIZE}": True, f"5-{SIZE - 1}": True, "5-9": False}
    for value, is_open_ended in {**ranges, "-5": False}.items():
        found = parse_range(f"bytes={value}", SIZE)
        assert found is not None
        assert found.is_open_ended == is_open_ended


def test_a_range_is_ignored_for_head_and_when_repeated() -> None:
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
def test_if_range_needs_the_exact_tag(value: str, expected: int) -> None:
    assert status(if_range=[value], range=["bytes=0-1"]) == expected
    # If the tag differs, a range beyond the end is ignored, not refused.
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
    # If-None-Match is evaluated before the range.
    with_range = status(if_none_match=[value], range=["bytes=0-1"])
    assert with_range == (304 if is_met else 206)


@pytest.mark.parametrize(
    ("value", "is_met"), [("*", True), (TAG, True), (f"W/{TAG}", False), ('"x"', False)]
)
def test_if_match_compares_strongly(value: str, is_met: bool) -> None:
    assert status(if_match=[value]) == (200 if is_met else 412)
    assert status(if_match=[value], if_none_match=["*"]) == (304 if is_met else 412)


def test_tags_on_several_header_lines_form_one_list() -> None:
    assert status(if_none_match=['"x"', TAG]) == 304
    assert status(if_match=['"x"', TAG]) == 200


@given(st.text(max_size=40))
def test_any_list_of_tags_gets_a_valid_status(text: str) -> None:
    assert status(if_none_match=[text]) in (200, 304)
    assert status(if_match=[text]) in (200, 412)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_date_decides_only_without_a_tag(method: str) -> None:
    assert status(method, if_modified_since=DATE) == 304
    assert status(method, if_modified_since=DATE + 9.0) == 304
    assert status(method, if_modified_since=DATE - 1.0) == 200
    assert status(method, if_modified_since=DATE, if_none_match=['"x"']) == 200
    assert status(method, if_unmodified_since=DATE) == 200
    assert status(method, if_unmodified_since=DATE - 1.0) == 412
    assert status(method, if_unmodified_since=DATE - 1.0, if_match=[TAG]) == 200
