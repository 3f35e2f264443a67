"""Bencode (BEP 3): one encoding per value, ProtocolError for everything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.discovery.dht.krpc import MAX_DEPTH, BencodeValue, bdecode, bencode
from shoal.errors import ProtocolError

INTEGERS = st.integers(-(10**20) + 1, 10**20 - 1)
VALUES: st.SearchStrategy[BencodeValue] = st.recursive(
    INTEGERS | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.binary(max_size=10), inner, max_size=5)
    ),
    max_leaves=15,
)


@given(VALUES)
def test_an_encoded_value_decodes_to_itself(value: BencodeValue) -> None:
    assert bdecode(bencode(value), max_depth=100) == value


@given(st.binary() | st.text("0123456789:eild-").map(str.encode))
def test_decoded_bytes_encode_to_themselves_or_are_refused(
    data: bytes,
) -> None:
    try:
        value = bdecode(data)
    except ProtocolError:
        return
    # Only the order of keys may differ.
    assert sorted(bencode(value)) == sorted(data)
    assert bdecode(bencode(value)) == value


@given(VALUES, st.data())
def test_a_truncated_value_is_refused(value: BencodeValue, data: st.DataObject) -> None:
    encoded = bencode(value)
    end = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(ProtocolError):
        bdecode(encoded[:end], max_depth=100)


def test_the_examples_of_bep_3_encode_and_decode() -> None:
    assert bencode([b"spam", b"eggs"]) == b"l4:spam4:eggse"
    assert bencode({b"spam": [b"a", b"b"]}) == b"d4:spaml1:a1:bee"
    assert bdecode(b"i-3e") == -3
    assert bdecode(b"de") == {}
    assert bdecode(b"0:") == b""


def test_keys_are_encoded_in_order_and_decoded_in_any_order() -> None:
    assert bencode({b"b": 1, b"a": 2}) == b"d1:ai2e1:bi1ee"
    assert bdecode(b"d1:bi1e1:ai2ee") == {b"a": 2, b"b": 1}


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
def test_non_canonical_encodings_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        bdecode(data)


@pytest.mark.parametrize("opening", [b"l", b"d0:"])
def test_nesting_is_limited(opening: bytes) -> None:
    inner = b"le" if opening == b"l" else b"de"
    fits = opening * (MAX_DEPTH - 1) + inner + b"e" * (MAX_DEPTH - 1)
    bdecode(fits)
    with pytest.raises(ProtocolError, match="deeper"):
        bdecode(opening + fits + b"e")
    with pytest.raises(ProtocolError, match="deeper"):
        bdecode(opening * 1_000_000)
