"""The handshake agrees with the published vectors, and with a second implementation."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.core.crypto.noise import (
    REKEY_MESSAGES,
    Cipher,
    Initiator,
    answer,
    open_first,
    start_from,
)
from shoal.errors import ProtocolError
from tests.core import reference_noise as reference
from tests.helpers.crafted import LOW_ORDER, low_order_knock

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).with_name("noise_vectors.json")).read_text()
)["vectors"]
OURS = [v for v in VECTORS if v["protocol_name"].endswith("_SHA256")]
PSK = bytes(range(32))
START = start_from(PSK, b"prologue")


def unhex(vector: dict[str, Any], key: str) -> bytes:
    found = vector[key][0] if isinstance(vector[key], list) else vector[key]
    return bytes.fromhex(found)


def private(vector: dict[str, Any], key: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(unhex(vector, key))


def test_there_is_a_vector_for_our_hash_function() -> None:
    assert [v["protocol_name"] for v in OURS] == ["Noise_NNpsk0_25519_AESGCM_SHA256"]


@pytest.mark.parametrize("vector", OURS, ids=lambda v: v["protocol_name"])
def test_the_published_vectors(vector: dict[str, Any]) -> None:
    start = start_from(unhex(vector, "init_psks"), unhex(vector, "init_prologue"))
    first, second, *rest = vector["messages"]
    initiator = Initiator(
        start, unhex(first, "payload"), private(vector, "init_ephemeral")
    )
    assert initiator.message == unhex(first, "ciphertext")
    opened = open_first(start, initiator.message)
    assert opened is not None
    assert opened.payload == unhex(first, "payload")
    message, responder = answer(
        opened, unhex(second, "payload"), private(vector, "resp_ephemeral")
    )
    assert message == unhex(second, "ciphertext")
    payload, ours = initiator.finish(message)
    assert payload == unhex(second, "payload")
    assert ours.handshake_hash == responder.handshake_hash
    assert ours.handshake_hash == unhex(vector, "handshake_hash")
    for number, each in enumerate(rest):
        near, far = (responder, ours) if number % 2 else (ours, responder)
        sealed = near.send.encrypt(unhex(each, "payload"))
        assert sealed == unhex(each, "ciphertext")
        assert far.receive.decrypt(sealed) == unhex(each, "payload")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["protocol_name"])
def test_the_reference_agrees_with_the_published_vectors(
    vector: dict[str, Any],
) -> None:
    handshake = reference.Handshake(
        vector["protocol_name"],
        unhex(vector, "init_psks"),
        unhex(vector, "init_prologue"),
    )
    first, second, *rest = vector["messages"]
    made = handshake.first(unhex(vector, "init_ephemeral"), unhex(first, "payload"))
    assert made == unhex(first, "ciphertext")
    made = handshake.second(unhex(vector, "resp_ephemeral"), unhex(second, "payload"))
    assert made == unhex(second, "ciphertext")
    keys = handshake.split()
    assert keys.hash == unhex(vector, "handshake_hash")
    for number, each in enumerate(rest):
        key = keys.to_initiator if number % 2 else keys.to_responder
        made = keys.message(key, number // 2, unhex(each, "payload"))
        assert made == unhex(each, "ciphertext")


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=40))
def test_any_payload_and_prologue_as_the_reference_has_them(
    asked: bytes, said: bytes, prologue: bytes
) -> None:
    keys = os.urandom(32), os.urandom(32)
    near, far = map(X25519PrivateKey.from_private_bytes, keys)
    start = start_from(PSK, prologue)
    expected = reference.Handshake("Noise_NNpsk0_25519_AESGCM_SHA256", PSK, prologue)
    initiator = Initiator(start, asked, near)
    assert initiator.message == expected.first(keys[0], asked)
    opened = open_first(start, initiator.message)
    assert opened is not None
    message, ciphers = answer(opened, said, far)
    assert message == expected.second(keys[1], said)
    split = expected.split()
    assert ciphers.send.encrypt(b"x") == split.message(split.to_initiator, 0, b"x")
    assert initiator.finish(message)[0] == said


def flips(message: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(message)):
        flipped = bytearray(message)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def test_a_first_message_with_any_bit_flipped_is_not_opened() -> None:
    message = Initiator(START, b"payload").message
    assert open_first(START, message) is not None
    assert not any(open_first(START, each) for each in flips(message))


@pytest.mark.parametrize("size", range(48))
def test_a_first_message_that_is_cut_off_is_not_opened(size: int) -> None:
    message = Initiator(START, b"").message
    assert len(message) == 48
    assert open_first(START, message[:size]) is None
    assert open_first(START, message + bytes(size + 1)) is None


def test_an_answer_with_any_bit_flipped_is_refused() -> None:
    initiator = Initiator(START, b"")
    opened = open_first(START, initiator.message)
    assert opened is not None
    message, _ = answer(opened, b"answer")
    for each in flips(message):
        with pytest.raises(ProtocolError):
            initiator.finish(each)
    assert initiator.finish(message)[0] == b"answer"


@pytest.mark.parametrize(
    "start", [start_from(PSK, b"another"), start_from(bytes(32), b"prologue")]
)
def test_another_psk_or_prologue_opens_nothing(start: Any) -> None:
    assert open_first(start, Initiator(START, b"").message) is None


def test_an_answer_to_another_first_message_is_refused() -> None:
    opened = open_first(START, Initiator(START, b"").message)
    assert opened is not None
    with pytest.raises(ProtocolError):
        Initiator(START, b"").finish(answer(opened, b"")[0])


def test_our_own_first_message_is_no_answer() -> None:
    initiator = Initiator(START, b"")
    with pytest.raises(ProtocolError):
        initiator.finish(initiator.message)


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda p: p.hex()[:8])
def test_points_of_small_order_are_refused(point: bytes) -> None:
    initiator = Initiator(START, b"")
    with pytest.raises(ProtocolError, match="low order"):
        initiator.finish(point + bytes(16))
    opened = open_first(START, low_order_knock(START, point))
    assert opened is not None
    with pytest.raises(ProtocolError, match="low order"):
        answer(opened, b"")


def test_a_psk_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        start_from(bytes(31), b"")


# The messages after the handshake.


def test_no_nonce_is_given_out_twice_with_a_key() -> None:
    cipher = Cipher(PSK, rekey_messages=10)
    given_out = [key for count in (1, 8, 0, 13, 13) for key in cipher.take_keys(count)]
    assert len({nonce for _, nonce in given_out}) == 35
    assert len({id(key) for key, _ in given_out}) == 4


def test_keys_are_replaced_as_the_reference_replaces_them() -> None:
    sender, receiver = Cipher(PSK, rekey_messages=3), Cipher(PSK, rekey_messages=3)
    key = PSK
    for number in range(10):
        if number and number % 3 == 0:
            key = reference.rekey(key)
        sealed = sender.encrypt(b"data")
        assert sealed == reference.Transport.message(key, number, b"data")
        assert receiver.decrypt(sealed) == b"data"


def test_a_key_is_used_for_at_most_64_gibibytes() -> None:
    assert REKEY_MESSAGES * 65_535 <= 64 << 30


@pytest.mark.parametrize("how", ["flipped", "repeated", "skipped", "short", "empty"])
def test_messages_that_were_not_sent_like_that_are_refused(how: str) -> None:
    sender, receiver = Cipher(PSK), Cipher(PSK)
    first, second = sender.encrypt(b"first"), sender.encrypt(b"second")
    if how == "repeated":
        receiver.decrypt(first)
    wrong = {
        "flipped": bytes((first[0] ^ 1,)) + first[1:],
        "repeated": first,
        "skipped": second,
        "short": first[:-1],
        "empty": b"",
    }
    with pytest.raises(ProtocolError):
        receiver.decrypt(wrong[how])
