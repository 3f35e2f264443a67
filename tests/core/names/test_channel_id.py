"""Check which texts are ids of channels, and of which kind."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.names.channel_id import (
    MAX_NAME_SIZE,
    Channel,
    check_name,
    hash_channel,
    parse_channel,
)
from shoal.errors import UsageError

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize("text", [HEX, HEX.upper(), f"  {HEX}\n", f"<{HEX}>."])
def test_64_hex_digits_are_a_hash_channel_in_lower_case(text: str) -> None:
    assert parse_channel(text) == Channel(HEX, is_hash=True)


@pytest.mark.parametrize(
    "text", ["x", "a name", HEX[:49], "日本語", "a" * 49, "x y" * 99, "shoal", "100%"]
)
def test_anything_else_is_a_named_channel(text: str) -> None:
    assert parse_channel(text) == Channel(text, is_hash=False)
    assert check_name(text) == Channel(text, is_hash=False)


LIKE_LINKS = [
    "x" * 50,
    "a" * 56,
    "A2" * 28,
    "shoal:",
    "shoal:abc?peer=x:1",
    "SHOAL:\n",
    "sHoAl:é",
]
CONTROLS = ["a\nb", "a\x00b", "a\x1b[2Jb", "a\u202eb", "a\u200bb", "a\x7fb"]
REFUSED = [
    *((text, "link") for text in LIKE_LINKS),
    *((text, "control characters") for text in CONTROLS),
    *((text, "hash channel") for text in (HEX[:-1], HEX + "0", "0" * 56)),
    ("", "empty"),
]
REFUSED_TEXTS = [*REFUSED, (" ", "empty"), ("\n", "empty")]
REFUSED_NAMES = [
    *((name, "hex digits") for name in (HEX, HEX.upper(), f" {HEX}")),
    *((name, "white space") for name in (" x", "x ", "\tx", "x\n", " ", "\n")),
]


@pytest.mark.parametrize(("text", "message"), REFUSED_TEXTS)
def test_links_control_characters_and_empty_texts_are_refused(
    text: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        parse_channel(text)


@pytest.mark.parametrize(("name", "message"), [*REFUSED, *REFUSED_NAMES])
def test_a_chosen_name_is_also_no_hash_and_has_no_outer_white_space(
    name: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check_name(name)


@pytest.mark.parametrize("unit", ["x y", "日"])
def test_an_id_has_at_most_1024_bytes(unit: str) -> None:
    most = unit * (MAX_NAME_SIZE // len(unit.encode()))
    assert parse_channel(most).id == most
    with pytest.raises(UsageError, match="at most 1024 bytes"):
        parse_channel(most + unit)


def test_an_id_that_is_not_valid_unicode_is_refused() -> None:
    with pytest.raises(UsageError, match="not valid text"):
        parse_channel("a\udcff")


@given(st.text(max_size=80))
def test_any_text_is_a_channel_or_a_usage_error(text: str) -> None:
    try:
        channel = parse_channel(text)
    except UsageError:
        return
    # Reading the id again gives the same channel.
    assert parse_channel(channel.id) == channel
    assert channel.is_hash == (
        len(channel.id) == 64 and set(channel.id) <= set("0123456789abcdef")
    )


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=5))
def test_a_hash_channel_is_the_hash_of_the_lines_of_hashes(
    digests: list[bytes],
) -> None:
    text = "\n".join(digest.hex() for digest in digests)
    expected = hashlib.sha256(text.encode("ascii")).hexdigest()
    assert hash_channel(digests) == Channel(expected, is_hash=True)


def test_the_topic_is_the_sha1_of_the_ids_text() -> None:
    channel = Channel("myid", is_hash=False)
    assert channel.topic.hex() == "6e34471f84557e1713012d64a7477c71bfdac631"


def test_no_named_channel_has_the_identity_of_a_hash_channel() -> None:
    assert Channel(HEX, is_hash=True).identity == bytes.fromhex(HEX)
    named = [Channel(name, is_hash=False).identity for name in ("a", "b", HEX)]
    assert len({*named, bytes.fromhex(HEX)}) == 4
    assert {len(each) for each in named} == {32}
