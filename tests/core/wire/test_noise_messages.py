"""Data is cut into messages as docs/protocol.md demands."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.crypto.noise import TAG_SIZE, Cipher
from shoal.core.wire.noise_messages import (
    JOIN_BELOW,
    LENGTH_SIZE,
    MAX_MESSAGE,
    MAX_PAYLOAD,
    MAX_TOGETHER,
    MESSAGE_OVERHEAD,
    leading_messages,
    seal,
    take_payloads,
    unseal_into,
)
from shoal.errors import ProtocolError

KEY = bytes(range(32))
SIZES = st.lists(st.integers(1, 3 * MAX_PAYLOAD) | st.integers(1, 200), max_size=12)


def backlog(*sizes: int) -> deque[memoryview]:
    return deque(memoryview(bytes((n % 251,)) * size) for n, size in enumerate(sizes))


@given(SIZES, st.integers(1, 4 * MAX_PAYLOAD))
def test_no_byte_is_lost_or_moved(sizes: list[int], limit: int) -> None:
    waiting = backlog(*sizes)
    whole = b"".join(waiting)
    payloads: list[memoryview] = []
    while waiting:
        payloads += take_payloads(waiting, limit)
    assert b"".join(payloads) == whole
    assert all(0 < len(each) <= MAX_PAYLOAD for each in payloads)


def test_short_pieces_share_a_message_and_data_begins_its_own() -> None:
    waiting = backlog(10, 20, 2 * MAX_PAYLOAD + 5, 30, JOIN_BELOW, 40)
    sizes = [len(each) for each in take_payloads(waiting, 1 << 20)]
    assert sizes == [30, MAX_PAYLOAD, MAX_PAYLOAD, 5, 30, JOIN_BELOW, 40]


def test_a_long_row_of_short_pieces_is_cut() -> None:
    waiting = backlog(*[1000] * 200)
    sizes = [len(each) for each in take_payloads(waiting, 1 << 20)]
    assert len(sizes) == 4
    assert sum(sizes) == 200_000


def test_data_is_cut_only_after_full_messages() -> None:
    for limit in range(1, 7):
        waiting = backlog(5 * MAX_PAYLOAD + 7, 30)
        taken = []
        while waiting:
            taken += [len(each) for each in take_payloads(waiting, limit * MAX_PAYLOAD)]
        assert taken == [MAX_PAYLOAD] * 5 + [7, 30]


def test_messages_are_their_length_and_what_the_cipher_makes() -> None:
    sender, receiver = Cipher(KEY), Cipher(KEY)
    payloads = [memoryview(b"a"), memoryview(bytes(MAX_PAYLOAD)), memoryview(b"")]
    sealed = memoryview(seal(payloads, sender.take_keys(len(payloads))))
    for payload in payloads:
        size = int.from_bytes(sealed[:LENGTH_SIZE], "big")
        assert size == len(payload) + TAG_SIZE <= MAX_MESSAGE
        message = sealed[LENGTH_SIZE : LENGTH_SIZE + size]
        target = memoryview(bytearray(len(payload)))
        unseal_into([message], receiver.take_keys(1), target)
        assert target == payload
        sealed = sealed[LENGTH_SIZE + size :]
    assert not sealed


def test_a_changed_message_is_refused() -> None:
    cipher = Cipher(KEY)
    sealed = seal([memoryview(b"data")], cipher.take_keys(1))
    sealed[-1] ^= 1
    target = memoryview(bytearray(4))
    with pytest.raises(ProtocolError, match="changed"):
        unseal_into([sealed[2:]], Cipher(KEY).take_keys(1), target)


@given(SIZES, st.data())
def test_complete_messages_are_found_and_decrypted_together(
    sizes: list[int], data: st.DataObject
) -> None:
    sender, receiver = Cipher(KEY), Cipher(KEY)
    payloads = take_payloads(backlog(*sizes), 1 << 30)
    whole = seal(payloads, sender.take_keys(len(payloads)))
    cut = data.draw(st.integers(0, len(whole)), label="received")
    received, done, number = whole[:cut], b"", 0
    while messages := leading_messages(received, MAX_PAYLOAD):
        target = memoryview(bytearray(sum(map(len, messages))))
        unseal_into(messages, receiver.take_keys(len(messages)), target)
        size = len(target) - len(messages) * TAG_SIZE
        assert size <= MAX_PAYLOAD
        done += target[:size]
        number += len(messages)
        received = received[size + len(messages) * MESSAGE_OVERHEAD :]
    assert done == b"".join(payloads[:number])
    assert number == len(payloads) or len(received) < MAX_MESSAGE + LENGTH_SIZE


def lengths(room: int, *payloads: int, is_apart: bool = False) -> list[int]:
    """Return the payloads of the messages that are taken of those with `payloads`."""
    sizes = [size + TAG_SIZE for size in payloads]
    received = b"".join(size.to_bytes(2, "big") + bytes(size) for size in sizes)
    messages = leading_messages(memoryview(received), room, is_apart=is_apart)
    return [len(each) - TAG_SIZE for each in messages]


def test_messages_are_taken_as_far_as_there_is_room() -> None:
    assert lengths(100, 60, 40, 1) == [60, 40]
    assert lengths(100, 60, 41) == [60]
    assert lengths(100, 101, 1) == [101], "the first one in any case"
    assert lengths(100, 60, 0, 1) == [60], "an end comes alone"
    assert len(lengths(1 << 20, *[1] * (2 * MAX_TOGETHER))) == MAX_TOGETHER


def test_a_full_message_comes_first_where_it_may_be_data_to_receive_apart() -> None:
    assert lengths(1 << 20, 30, MAX_PAYLOAD, 5) == [30, MAX_PAYLOAD, 5]
    assert lengths(1 << 20, 30, MAX_PAYLOAD, 5, is_apart=True) == [30]
    assert lengths(1 << 20, MAX_PAYLOAD, 5, is_apart=True) == [MAX_PAYLOAD, 5]
