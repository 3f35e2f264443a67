"""Check that links are read as written, and that errors name the problem."""

import copy
import json
import logging
import pickle
import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.names.address import Address
from shoal.core.names.channel_id import (
    parse_channel,
)
from shoal.core.names.link import MAX_HINTS, MAX_RELAYS, Link, parse_link, parse_share
from shoal.core.names.origin_url import MAX_ORIGINS
from shoal.errors import UsageError

ID = bytes(range(32))
TEXT = str(Link(ID))
CODED = TEXT.removeprefix("shoal:")
ORIGIN = "origin=https%3A%2F%2Fh%2Ff%3Fa%26b"
BASE32 = "abcdefghijklmnopqrstuvwxyz234567"

ids = st.binary(min_size=32, max_size=32)
hosts = st.from_regex(r"([a-z0-9][a-z0-9-]{0,9}\.){0,2}[a-z0-9]{1,9}", fullmatch=True)
addresses = st.builds(Address, hosts, st.integers(1, 65535))
hint_lists = st.lists(addresses, max_size=MAX_HINTS).map(tuple)


urls = st.builds(
    "{}://{}/{}".format,
    st.sampled_from(["http", "https", "s3"]),
    hosts,
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#")),
)
origin_lists = st.lists(urls, max_size=MAX_ORIGINS).map(tuple)


@given(ids, hint_lists, origin_lists, hint_lists)
def test_a_link_is_read_as_it_was_written(
    share_id: bytes,
    hints: tuple[Address, ...],
    origins: tuple[str, ...],
    relays: tuple[Address, ...],
) -> None:
    link = Link(share_id, hints, origins, relays[:MAX_RELAYS])
    assert parse_link(str(link)) == link
    assert parse_share(str(link).removeprefix("shoal:")) == link
    assert parse_share(f"  {link}\n") == link


@given(ids, hint_lists, origin_lists)
def test_no_shell_interprets_a_character_of_a_link(
    share_id: bytes, hints: tuple[Address, ...], origins: tuple[str, ...]
) -> None:
    link = str(Link(share_id, hints, origins))
    assert re.fullmatch(r"[A-Za-z0-9:,=%._-]+", link)
    # As links were written once, with marks that shells interpret.
    head, *rest = link.split(",")
    assert parse_link("?".join(filter(None, (head, "&".join(rest))))) == link
    assert parse_link(quote(link, safe="")) == link


def test_a_link_is_its_prefix_and_56_characters() -> None:
    assert len(CODED) == 56
    assert CODED == CODED.lower()


@pytest.mark.parametrize("text", [TEXT.upper(), "SHOAL:" + CODED, CODED.upper()])
def test_upper_case_is_accepted(text: str) -> None:
    assert parse_share(text) == Link(ID)


def test_every_mistyped_character_is_detected() -> None:
    for place in range(len(CODED)):
        for character in BASE32:
            text = CODED[:place] + character + CODED[place + 1 :]
            if text == CODED:
                continue
            for typed in (text, "shoal:" + text):
                with pytest.raises(
                    UsageError, match="mistyped: its last char"
                ) as error:
                    parse_share(typed)
                assert error.value.exit_code == 2


def test_every_swap_of_two_characters_is_detected() -> None:
    for place in range(len(CODED) - 1):
        one, other = CODED[place], CODED[place + 1]
        if one != other:
            with pytest.raises(UsageError, match="mistyped"):
                parse_link(f"shoal:{CODED[:place]}{other}{one}{CODED[place + 2 :]}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shoal:", "cut short"),
        (TEXT[:-1], "cut short"),
        (TEXT + "a", "too long"),
        (TEXT * 2, "not a link"),
        (TEXT[:-1] + "1", "not a link"),
        (TEXT[:-1] + "=", "cut short"),
        (TEXT[:-1] + "\u0131", "not a link"),
        (TEXT[:-1] + "\u017f", "not a link"),
        (TEXT[:-1] + "\uff41", "not a link"),
        (TEXT[:20] + "\n" + TEXT[20:], "not a link"),
        (TEXT + "?peer", "may follow"),
        (TEXT + ",peer=a", "HOST:PORT"),
        (TEXT + ",seed=1.2.3.4:5", "may follow"),
        (TEXT + ",peer=1.2.3.4:5,x=1", "may follow"),
        (TEXT + ",peer=a:1" * (MAX_HINTS + 1), "at most 8"),
        (TEXT + "?seed=1.2.3.4:5", "may follow"),
        (TEXT + "?peer=1.2.3.4:5&", "may follow"),
        (TEXT + "?peer=1.2.3.4:5&x=1", "may follow"),
        (TEXT + "?peer=1.2.3.4:5#x", "port"),
        (TEXT + "?peer=", "HOST:PORT"),
        (TEXT + "?peer=1.2.3.4", "HOST:PORT"),
        (TEXT + "?peer=1.2.3.4:0", "port"),
        (TEXT + "?peer=1.2.3.4:65536", "port"),
        (TEXT + "?" + "&".join(["peer=a:1"] * (MAX_HINTS + 1)), "at most 8"),
        (TEXT + "?" + "&" * 1_000_000, "at most 8"),
        (TEXT + "?origin=", "is a URL"),
        (TEXT + "?origin=http%3A%2F%2Fh%20b%2Fa", "names a host"),
        (TEXT + ",origin=http%3A%2F%2Fh%2Fa docs/plan.pdf", "no spaces"),
        (f"{TEXT},origin=http%3A%2F%2Fh%2Fa\n{TEXT},peer=a:1", "no spaces"),
        (TEXT + "?origin=%ff", "not text"),
        (TEXT + "?origin=http\udc90", "not valid text"),
        (TEXT + "\udc90", "not valid text"),
        (TEXT + "?origin=http://h/" + "a" * 5000, "too long"),
        (TEXT + "?" + "&".join([ORIGIN] * (MAX_ORIGINS + 1)), "4 origins"),
        (TEXT + "?" + "&".join(["relay=a:1"] * (MAX_RELAYS + 1)), "2 relays"),
        (TEXT + "?relay=1.2.3.4", "HOST:PORT"),
    ],
)
def test_an_error_does_not_repeat_the_link(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        parse_share(text)
    assert CODED[:8] not in str(error.value).lower()


def test_the_largest_allowed_number_of_hints_is_read() -> None:
    hints = ["peer=a:1"] * MAX_HINTS + [ORIGIN] * MAX_ORIGINS
    hints += ["relay=b:2"] * MAX_RELAYS
    link = parse_link(TEXT + "?" + "&".join(hints))
    assert link.hints == (Address("a", 1),) * MAX_HINTS
    assert link.origins == ("https://h/f?a&b",) * MAX_ORIGINS
    assert link.relays == (Address("b", 2),) * MAX_RELAYS


def test_any_text_without_the_form_of_a_link_is_read_as_a_channel() -> None:
    for text in ("movies", "a" * 49, "marshal:", "shoal", "a sentence " * 9):
        assert parse_share(text) == parse_channel(text)
    with pytest.raises(UsageError, match="cut short"):
        parse_share("shoal:movies")


def test_the_id_is_in_no_repr_and_so_in_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    link = Link(ID, (Address("h", 1),))
    logging.getLogger("test").error("%r %r %r", link, [link], link.keys)
    for secret in (CODED[:8], ID.hex()[:8], repr(ID)[:16], link.keys.psk.hex()[:8]):
        assert secret not in caplog.text
    assert link.keys.log.hex()[:8] in caplog.text
    assert link.identity == link.keys.log


def test_a_link_is_its_text() -> None:
    link = Link(ID, (Address("192.0.2.7", 4001),), ("https://example.com/",))
    assert isinstance(link, str)
    assert f"{link}" == str(link) == "".join([link])
    assert type(str(link)) is str
    assert json.loads(json.dumps({"link": link}))["link"] == str(link)
    assert parse_link(link) is link
    assert parse_share(link) is link
    assert {link: 1}[parse_link(str(link))] == 1
    assert (link != Link(ID), Link(ID) == TEXT) == (True, True)


def test_a_link_survives_copies_and_does_not_change() -> None:
    link = Link(ID, (Address("192.0.2.7", 4001),))
    for other in (
        copy.copy(link),
        copy.deepcopy(link),
        pickle.loads(pickle.dumps(link)),
    ):
        assert (type(other), other, other.hints) == (Link, link, link.hints)
    with pytest.raises(AttributeError, match="cannot be changed"):
        link.id = bytes(32)
