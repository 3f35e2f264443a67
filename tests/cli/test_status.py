"""A status fits into any width, and its most important facts stay."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.cli.status import Fact, Status, Style, cells, render, shorten

DOWNLOAD = Status(
    "photos",
    (
        Fact(1, "52 %"),
        Fact(5, "151.2 MiB of 287.9 MiB"),
        Fact(2, "47.1 MiB/s"),
        Fact(3, "3 s left"),
        Fact(4, "3 peers"),
    ),
    0.52,
)
SERVING = Status(
    "photos",
    (Fact(1, "3 peers"), Fact(2, "41.0 MiB/s"), Fact(3, "2 have everything")),
)
PLAIN, COLOR, ASCII = Style(), Style(has_color=True), Style(is_ascii=True)


@pytest.mark.parametrize(
    ("status", "width", "line"),
    [
        (
            DOWNLOAD,
            80,
            "photos ━━━━━──── 52 % · 151.2 MiB of 287.9 MiB · 47.1 MiB/s · "
            "3 s left · 3 peers",
        ),
        (
            DOWNLOAD,
            70,
            "photos ━━━━━━━━━━━━──────────── 52 % · 47.1 MiB/s · 3 s left · 3 peers",
        ),
        (DOWNLOAD, 40, "52 % · 47.1 MiB/s · 3 s left · 3 peers"),
        (DOWNLOAD, 20, "52 % · 47.1 MiB/s"),
        (DOWNLOAD, 3, "52…"),
        (SERVING, 50, "photos: 3 peers · 41.0 MiB/s · 2 have everything"),
        (SERVING, 40, "3 peers · 41.0 MiB/s · 2 have everything"),
        (SERVING, 39, "photos: 3 peers · 41.0 MiB/s"),
        (SERVING._replace(title="photos of May"), 28, "3 peers · 41.0 MiB/s"),
        (SERVING._replace(title="pictures"), 32, "pictures: 3 peers · 41.0 MiB/s"),
        (
            SERVING._replace(title="photos of the mountains"),
            36,
            "photos of the…: 3 peers · 41.0 MiB/s",
        ),
    ],
)
def test_the_most_important_facts_stay(status: Status, width: int, line: str) -> None:
    assert render(status, width, PLAIN) == line


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cs"])),
    st.integers(1, 150),
    st.floats(-1, 2) | st.none(),
    st.sampled_from([PLAIN, COLOR, ASCII]),
)
def test_a_status_is_never_wider_than_the_terminal(
    title: str, width: int, fraction: float | None, style: Style
) -> None:
    status = Status(title, DOWNLOAD.facts, fraction)
    line = re.sub(r"\x1b\[\d+m", "", render(status, width, style))
    assert cells(line) <= width


def test_control_characters_of_a_title_are_escaped() -> None:
    line = render(Status("x\x1b]0;y\x07", SERVING.facts), 80, PLAIN)
    assert line.startswith(r"x\x1b]0;y\x07: 3 peers")


def test_a_style_without_unicode_draws_in_ascii() -> None:
    for status in (DOWNLOAD, SERVING):
        assert all(render(status, width, ASCII).isascii() for width in range(3, 90))


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("日本", 4), ("e\u0301a", 2), ("", 0)]
)
def test_wide_characters_take_two_cells_and_marks_none(text: str, width: int) -> None:
    assert cells(text) == width
    assert shorten(text, width, PLAIN) == text


def test_a_log_gets_all_facts() -> None:
    assert SERVING.plain == "photos: 3 peers, 41.0 MiB/s, 2 have everything"
