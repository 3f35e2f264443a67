"""Check that a link is found in what was copied, and never read as a channel's name."""

from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shoal.core.names.address import Address
from shoal.core.names.channel_id import Channel, check_name, parse_channel
from shoal.core.names.link import Link, parse_link, parse_share
from shoal.core.names.link_text import bare_link, looks_like_link
from shoal.errors import UsageError

ID = bytes(range(32))
TEXT = str(Link(ID))
CODED = TEXT.removeprefix("shoal:")
HINTED = Link(ID, (Address("h", 1),), ("https://h/a.",))

AROUND = [
    *("<>", '""', "''", "()", "[]", "{}", "``", "**", "\u201c\u201d", "\u00ab\u00bb"),
    *("\u2018\u2019", "\u300c\u300d", "\u200b\u200b", "\ufeff ", "> ", "\t\r\n"),
]
TRAILING = ["", ".", ",", ";", "!", "?", ":", "\u2026", "\u3002", " ", "\n"]
PREFIXES: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: text.removeprefix("shoal:"),
    lambda text: f"web+{text}",
    lambda text: f"WEB+{text}",
    lambda text: text.replace("shoal:", "shoal://"),
    lambda text: text.replace("shoal:", "SHOAL:"),
    lambda text: quote(text, safe=""),
    lambda text: quote(quote(f"<{text}>", safe=""), safe=""),
]


@given(
    st.sampled_from([Link(ID), HINTED]),
    st.sampled_from(PREFIXES),
    st.lists(st.sampled_from(AROUND), max_size=3),
    st.sampled_from(TRAILING),
)
def test_a_link_is_found_in_what_was_copied_with_it(
    link: Link, change: Callable[[str], str], around: list[str], trailing: str
) -> None:
    text = change(str(link))
    for pair in around:
        text = pair[0] + text + pair[1]
    assert parse_share(text + trailing) == link
    assert parse_link(text + trailing) == link


@pytest.mark.parametrize(
    "text",
    [
        CODED + "/",
        f"{TEXT}/?peer=h:1",
        f"{CODED}/,peer=h:1",
        f"{TEXT},",
        f"_{TEXT}_",
    ],
)
def test_a_slash_or_emphasis_at_a_link_is_ignored(text: str) -> None:
    assert parse_share(text).identity == Link(ID).identity


UNLIKE = [
    "s\u04bboal:" + CODED,
    "\u0455\u04bb\u043e\u0430\u04cf:x",
    "\uff53\uff48\uff4f\uff41\uff4c\uff1ax",
    "\u0160hoal:x",
    "s\u200bhoal:x",
    "shoa\u0142:x",
    "shoaI:x",
    "5H04L:x",
    "$hoal:x",
    "shoal\u2236x",
    "shoal :x",
    "see " + TEXT + " there",
    f'<a href="{TEXT}">',
    TEXT + TEXT,
    CODED[:-2],
    CODED[:50],
    CODED + "aa",
    CODED[:9] + "0" + CODED[10:],
    CODED[:9] + "\u0430" + CODED[10:],
    CODED[:9] + "-" + CODED[9:],
    CODED[:20] + " " + CODED[20:],
    " ".join(CODED[place : place + 4] for place in range(0, 56, 4)),
    "shoa:" + CODED,
    "shaol:" + CODED,
    quote(CODED[:-1] + "a", safe=""),
]


@pytest.mark.parametrize("text", UNLIKE)
def test_what_still_looks_like_a_link_is_refused(text: str) -> None:
    assert looks_like_link(text)
    for read in (parse_share, parse_link, parse_channel, check_name):
        with pytest.raises(UsageError) as error:
            read(text)
        assert error.value.exit_code == 2
        assert CODED[:8] not in str(error.value)


NAMES = [
    "movies",
    "team-notes",
    "shoal",
    "shoals: a list",
    "a: b",
    "\u0448\u043a\u043e\u043b\u0430: x",
    "\u65e5\u672c\u8a9e" * 30,
    "the quick brown fox jumps over the lazy dog and other stories",
    "ubuntu-24.04.1-desktop-amd64.iso",
    "100%",
    '"x"',
    "x?",
    "a" * 49,
]


@pytest.mark.parametrize("text", NAMES)
def test_what_is_no_link_stays_the_name_of_a_channel(text: str) -> None:
    assert parse_share(text) == Channel(text, is_hash=False)
    assert check_name(text) == Channel(text, is_hash=False)


# Every way to spoil a link with one edit.
EDITS: list[Callable[[str, int, str], str]] = [
    lambda text, at, new: text[:at] + text[at + 1 :],
    lambda text, at, new: text[:at] + new + text[at + 1 :],
    lambda text, at, new: text[:at] + new + text[at:],
    lambda text, at, new: text[:at] + text[at + 2 :],
]


@given(
    st.binary(min_size=32, max_size=32),
    st.sampled_from(EDITS),
    st.integers(0, 61),
    st.characters(exclude_categories=["Cs"]),
)
@example(ID, EDITS[1], 0, "\u0455")
@example(ID, EDITS[2], 5, " ")
def test_no_edit_of_a_link_makes_a_channel_of_it(
    share_id: bytes, edit: Callable[[str, int, str], str], at: int, new: str
) -> None:
    text = str(Link(share_id))
    for edited in (edit(text, at, new), edit(text[6:], min(at, 55), new)):
        try:
            found = parse_share(edited)
        except UsageError:
            continue
        assert isinstance(found, Link)
        # Only what is around a link may differ.
        assert found.id == share_id or new.isalnum()


@given(st.text(max_size=200))
def test_what_is_found_is_found_again(text: str) -> None:
    assert looks_like_link(text) or parse_refuses(text) or bare_link(text) in text


def parse_refuses(text: str) -> bool:
    """Return True if `text` is percent-encoded or not the id of a channel."""
    if "%" in text:
        return True
    try:
        parse_channel(text)
    except UsageError:
        return True
    return False


@pytest.mark.parametrize("around", ["{}", "a{}a", "a?b{}c", "a {}!"])
@pytest.mark.parametrize("unit", ["%25", "<", "shoal ", "\u0301", "a:", "? ", "2 "])
def test_a_long_text_is_read_in_linear_time(unit: str, around: str) -> None:
    """In quadratic time, it would take minutes."""
    looks_like_link(around.format(unit * 200_000))
