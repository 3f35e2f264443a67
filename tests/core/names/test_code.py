"""Codes are chosen evenly, read as people type them, and told from other texts."""

import hashlib
import os
import re
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.names.channel_id import check_name, parse_channel
from shoal.core.names.code import (
    Code,
    complete_code,
    complete_word,
    make_code,
    parse_code,
)
from shoal.core.names.code_words import WORDS, looks_like_code, parts_of
from shoal.core.names.link import parse_share
from shoal.core.names.link_text import looks_like_link
from shoal.errors import UsageError

CODE = Code(4821, ("purity", "carbon", "olympic"))
words = st.sampled_from(WORDS)
codes = st.builds(Code, st.integers(1000, 9999), st.tuples(words, words, words))
gaps = st.text("- \t\u2010\u2013\u2014\u2212\u00a0", min_size=1, max_size=3)


def test_the_words_are_those_of_bip_39() -> None:
    digest = hashlib.sha256("".join(f"{word}\n" for word in WORDS).encode())
    assert digest.hexdigest() == (
        "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda"
    )
    assert len({word[:4] for word in WORDS}) == len(WORDS) == 2048


@given(codes)
def test_a_code_is_read_as_it_is_written(code: Code) -> None:
    assert parse_code(str(code)) == code
    assert not looks_like_link(str(code))


@given(codes, gaps, gaps, gaps, st.sampled_from([str.upper, str.title, str.lower]))
def test_case_spaces_and_hyphens_do_not_matter(
    code: Code, one: str, two: str, three: str, change: type[str]
) -> None:
    first, second, third = code.words
    text = f" {code.number}{one}{first}{two}{second}{three}{third}\n"
    assert parse_code(change(text)) == code


@given(codes, st.tuples(*[st.integers(4, 8)] * 3))
def test_four_letters_of_a_word_are_enough(
    code: Code, lengths: tuple[int, int, int]
) -> None:
    short = [word[:n] for word, n in zip(code.words, lengths, strict=True)]
    assert parse_code(f"{code.number}-{'-'.join(short)}") == code


@pytest.mark.parametrize("text", ["“{}”.", "<{}>", " '{}'", "({})!"])
def test_what_people_put_around_a_code_does_not_matter(text: str) -> None:
    assert parse_code(text.format(CODE)) == CODE


@pytest.mark.parametrize("gap", [".", "_", ", ", "+", "/", " – ", "--"])
def test_what_stands_between_the_words_does_not_matter(gap: str) -> None:
    text = gap.join(["4821", "purity", "carbon", "olympic"])
    assert parse_code(text) == CODE
    with pytest.raises(UsageError):
        parse_channel(text)  # a channel would be announced


def test_nothing_need_stand_between_the_number_and_the_first_word() -> None:
    assert parse_code("4821purity carbon olympic") == CODE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4821-purity-carbn-zoo", "carbn is not one of the words of codes; did you"),
        ("4821-purity-xyzzyx-olympic", "ask the sender for the code"),
        ("4821-purity-carbon", "four digits and three words"),
        ("482-purity-carbon-olympic", "four digits and three words"),
        ("48211-purity-carbon-olympic", "four digits and three words"),
        ("4821-purity-carbon-olympic-zoo", "four digits and three words"),
        ("٤٨٢١-purity-carbon-olympic", "four digits and three words"),
        ("", "four digits and three words"),
    ],
)
def test_what_is_no_code_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_code(text)


@given(st.text())
def test_any_text_is_a_code_or_refused(text: str) -> None:
    try:
        code = parse_code(text)
    except UsageError:
        return
    assert parse_code(str(code)) == code


def test_codes_are_drawn_from_the_whole_range() -> None:
    drawn = [make_code(os.urandom) for _ in range(2000)]
    assert len({code.number for code in drawn}) > 1500
    assert all(1000 <= code.number < 10_000 for code in drawn)
    for place in range(3):
        assert len({code.words[place] for code in drawn}) > 1000


def test_every_part_of_a_code_is_drawn_independently() -> None:
    numbers = count()
    made = {make_code(lambda size: next(numbers).to_bytes(size)) for _ in range(9000)}
    assert {code.number for code in made} == set(range(1000, 10_000))
    assert make_code(lambda size: (9000).to_bytes(size)).words[0] == WORDS[1]
    last = make_code(lambda size: (9000 << 22).to_bytes(size))
    assert last.words == (WORDS[0], WORDS[0], WORDS[1])


def test_the_rendezvous_depends_on_the_number_and_the_first_word_alone() -> None:
    other = Code(4821, ("purity", "zoo", "zoo"))
    assert CODE.keys == other.keys
    assert CODE.password != other.password
    for elsewhere in (Code(4822, CODE.words), Code(4821, ("zoo", *CODE.words[1:]))):
        assert CODE.keys != elsewhere.keys
        assert CODE.password != elsewhere.password


def test_the_secret_is_in_no_repr_and_so_in_no_log() -> None:
    assert repr(CODE) == "<Code 4821-purity>"


def test_a_code_is_never_a_channel_and_its_name_needs_a_prefix() -> None:
    text = str(CODE)
    for parse in (parse_share, parse_channel):
        with pytest.raises(UsageError, match=f"This is a code.*channel:{text}"):
            parse(text)
        named = parse(f"channel:{text}")
        assert (named.id, "hash" in repr(named)) == (text, True)
    with pytest.raises(UsageError, match="read as a code"):
        check_name(text)
    with pytest.raises(UsageError, match="read as a code"):
        check_name("channel:notes")


@given(codes, st.tuples(*[st.sampled_from(["", "-", " "])] * 3))
def test_a_code_without_gaps_is_a_code_or_refused(
    code: Code, gaps: tuple[str, str, str]
) -> None:
    parts = zip(gaps, code.words, strict=True)
    text = str(code.number) + "".join(map("".join, parts))
    with pytest.raises(UsageError, match=f"channel:{text}"):
        parse_share(text)
    readings = parts_of(text).readings  # type: ignore[union-attr]
    assert code.words in readings
    if len(readings) == 1:
        assert parse_code(text) == code


def test_a_code_without_gaps_that_has_two_readings_is_refused() -> None:
    assert parse_code("1234cablebetrayboat").words == ("cable", "betray", "boat")
    with pytest.raises(UsageError, match="with hyphens between"):
        parse_code("1234humanfatalready")


@pytest.mark.parametrize(
    "text",
    [
        "1234cablebetrayboat",
        "1234cablebetray",
        "1234-cable",
        "1234 cabl",
        "1234-car",
        "1234-cable-betry",
        "1234cablebetraybo",
        "12-34-cable-betray-boat",
        "1234-câble",
        "1234-ｃable-betray",
        "１234-cable-betray",
        "1234-cаble-betray-boat",
        "1234-cable-betray-boat-zoo",
        "123-cable-betray-boat",
        "12345 cable betray boat",
        "123cablebetrayboat",
        "cable-betray-boat",
        "2024-report",
        "1234:cable:betray:boat",
        "1234|cable|betray",
        "123O-cable-betray-boat",
        "l234 cable betray boat",
        "12a34cable-betray-boat",
        "1234caxlebetrayboat",
        "1234-xcable-betray",
        "code:1234-cable-betray-boat",
        "Code 1234 cable betray boat",
        "cable-betray-boat-1234",
        "cablebetrayboat",
    ],
)
def test_what_is_like_a_code_is_never_a_channel(text: str) -> None:
    assert looks_like_code(text)
    for parse in (parse_share, parse_channel):
        with pytest.raises(UsageError, match=re.escape(f"channel:{text}")):
            parse(text)
    with pytest.raises(UsageError, match="read as a code"):
        check_name(text)
    assert parse_channel(f"channel:{text}").id == text


@pytest.mark.parametrize(
    "text",
    [
        "team-notes",
        "2024-q3",
        "2024-q3-notes",
        "1-a-b-c",
        "4821-a-b",
        "10.10.10.10",
        "4821",
        "our-open-home-team",
        "team-open",
        "2024-ourxteam",
    ],
)
def test_other_names_stay_names(text: str) -> None:
    assert parse_channel(text).id == text
    assert check_name(text).id == text


@pytest.mark.parametrize("prefix", ["channel:", "Channel:", "CHANNEL:"])
def test_the_prefix_of_a_channel_has_no_case(prefix: str) -> None:
    for name in ("1234-cable-betray-boat", "team-notes"):
        assert parse_channel(prefix + name).id == name
    with pytest.raises(UsageError, match="read as a code"):
        check_name(prefix + "team-notes")


def test_the_prefix_does_not_make_a_link_a_channel() -> None:
    with pytest.raises(UsageError, match="like the link"):
        parse_channel("channel:" + "a" * 56)
    assert parse_channel("channel:" + "a" * 64).is_hash


def test_words_are_completed() -> None:
    assert complete_code("4821-puri") == ["4821-purity"]
    assert complete_code("4821-purity-zo") == ["4821-purity-zone", "4821-purity-zoo"]
    assert complete_code("4821-purity-carbon-OLY") == ["4821-purity-carbon-olympic"]
    assert len(complete_code("4821-")) == 2048
    for begun in ("", "4821", "482-p", "shoal:aa", "4821-a-b-c-d", "x821-p"):
        assert complete_code(begun) == []
    assert complete_word("zo") == ["zone", "zoo"]
