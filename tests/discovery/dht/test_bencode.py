"""Bencode: one spelling per value, and nothing but ProtocolError for the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.discovery.dht.bencode import MAX_DEPTH, Value, decode, encode
from shoal.errors import ProtocolError

INTEGERS = st.integers(-(10**20) + 1, 10**20 - 1)
VALUES: st.SearchStrategy[Value] = st.recursive(
    INTEGERS | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.binary(max_size=10), inner, max_size=5)
    ),
    max_leaves=15,
)


@given(VALUES)
def test_what_is_encoded_decodes_to_the_same(value: Value) -> None:
    assert decode(encode(value), max_depth=100) == value


@given(st.binary() | st.text("0123456789:eild-").map(str.encode))
def test_bytes_decode_to_what_encodes_to_them_or_blame_their_sender(
    data: bytes,
) -> None:
    try:
        value = decode(data)
    except ProtocolError:
        return
    # The order of keys is the only freedom.
    assert sorted(encode(value)) == sorted(data)
    assert decode(encode(value)) == value


@given(VALUES, st.data())
def test_a_value_cut_short_is_refused(value: Value, data: st.DataObject) -> None:
    encoded = encode(value)
    end = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(ProtocolError):
        decode(encoded[:end], max_depth=100)


def test_the_examples_of_bep_3() -> None:
    assert encode([b"spam", b"eggs"]) == b"l4:spam4:eggse"
    assert encode({b"spam": [b"a", b"b"]}) == b"d4:spaml1:a1:bee"
    assert decode(b"i-3e") == -3
    assert decode(b"de") == {}
    assert decode(b"0:") == b""


def test_keys_are_encoded_in_order_and_decoded_in_any() -> None:
    assert encode({b"b": 1, b"a": 2}) == b"d1:ai2e1:bi1ee"
    assert decode(b"d1:bi1e1:ai2ee") == {b"a": 2, b"b": 1}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"e",
        b"i1e" + b"i2e",
        b"4:spamx",
        b"ie",
        b"i-e",
        b"i-0e",
        b"i03e",
        b"i+3e",
        b"i 3e",
        b"i1_0e",
        b"i" + b"9" * 21 + b"e",
        b"i\xd9\xa3e",
        b"03:abc",
        b"-1:a",
        b"5:abcd",
        b"99999999:a",
        b"999999999999999999999:a",
        b"l",
        b"d",
        b"d1:a",
        b"d1:ae",
        b"di1e1:ae",
        b"dle1:ae",
        b"d1:ai1e1:ai2ee",
    ],
)
def test_every_other_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


@pytest.mark.parametrize("opening", [b"l", b"d0:"])
def test_nesting_is_bounded(opening: bytes) -> None:
    inner = b"le" if opening == b"l" else b"de"
    fits = opening * (MAX_DEPTH - 1) + inner + b"e" * (MAX_DEPTH - 1)
    decode(fits)
    with pytest.raises(ProtocolError, match="deeper"):
        decode(opening + fits + b"e")
    with pytest.raises(ProtocolError, match="deeper"):
        decode(opening * 1_000_000)
