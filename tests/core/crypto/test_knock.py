"""Check which knocks, answers and confirmations are accepted."""

from typing import Any

import pytest

from shoal.core.crypto.keys import derive_keys
from shoal.core.crypto.knock import (
    ANSWER_SIZE,
    CONFIRMATION_SIZE,
    KNOCK_SIZE,
    VERSIONS,
    ClientHandshake,
    Greeted,
    KnockMemory,
    ServerHandshake,
    handshake_start,
)
from shoal.core.crypto.noise import Initiator, answer, open_first
from shoal.errors import NotAHolderError, ProtocolError, SelfConnectionError

KEYS, OTHER_KEYS = derive_keys(bytes(range(32))), derive_keys(bytes(32))
START, OTHER_START = handshake_start(KEYS), handshake_start(OTHER_KEYS)
CLIENT_ID, SERVER_ID = b"c" * 16, b"s" * 16


def server(client: ClientHandshake, *args: Any) -> ServerHandshake:
    opened = open_first(START, client.knock)
    assert opened is not None
    return ServerHandshake(opened, *(args or (SERVER_ID,)))


def shake_hands(client: ClientHandshake, *args: Any) -> tuple[Greeted, Greeted]:
    """Return what the client and the server know of each other."""
    ours = server(client, *args)
    assert len(client.knock) == KNOCK_SIZE == 66
    assert len(ours.reply) == ANSWER_SIZE == 67
    greeted, confirmation = client.finish(ours.reply)
    assert len(confirmation) == CONFIRMATION_SIZE == 16
    return greeted, ours.finish(confirmation)


def test_both_ends_learn_node_id_and_version_and_can_talk() -> None:
    ours, theirs = shake_hands(ClientHandshake(START, CLIENT_ID))
    assert (ours.node_id, theirs.node_id) == (SERVER_ID, CLIENT_ID)
    assert ours.version == theirs.version == 2
    for near, far in ((ours, theirs), (theirs, ours)):
        said = near.ciphers.send.encrypt(b"hello")
        assert far.ciphers.receive.decrypt(said) == b"hello"


@pytest.mark.parametrize(
    ("client", "server_", "version"),
    [((2, 2), (2, 4), 2), ((2, 5), (2, 4), 4), ((3, 9), (1, 3), 3)],
)
def test_the_highest_common_version_is_used(
    client: tuple[int, int], server_: tuple[int, int], version: int
) -> None:
    ours, theirs = shake_hands(
        ClientHandshake(START, CLIENT_ID, client), SERVER_ID, server_
    )
    assert ours.version == theirs.version == version


@pytest.mark.parametrize(
    ("client", "server_"),
    [((2, 2), (3, 4)), ((5, 6), (2, 4)), ((3, 2), (2, 3)), ((0, 0), (0, 0))],
)
def test_without_a_common_version_both_ends_say_so(
    client: tuple[int, int], server_: tuple[int, int]
) -> None:
    handshake = ClientHandshake(START, CLIENT_ID, client)
    ours = server(handshake, SERVER_ID, server_)
    with pytest.raises(ProtocolError, match=f"versions {server_[0]} to {server_[1]}"):
        handshake.finish(ours.reply)
    confirmation = handshake._noise.finish(ours.reply)[1].send.encrypt(b"")
    with pytest.raises(ProtocolError, match="no version of ours"):
        ours.finish(confirmation)


def test_a_server_may_not_choose_another_version() -> None:
    client = ClientHandshake(START, CLIENT_ID, (1, 3))
    opened = open_first(START, client.knock)
    assert opened is not None
    for version in (0, 1, 2, 4):
        reply, _ = answer(opened, bytes((version, 1, 3)) + SERVER_ID)
        with pytest.raises(ProtocolError):
            client.finish(reply)


def test_this_node_is_recognised_by_both_ends() -> None:
    client = ClientHandshake(START, SERVER_ID)
    ours = server(client)
    with pytest.raises(SelfConnectionError):
        client.finish(ours.reply)
    confirmation = client._noise.finish(ours.reply)[1].send.encrypt(b"")
    with pytest.raises(SelfConnectionError):
        ours.finish(confirmation)


def test_a_knock_of_another_share_is_not_opened() -> None:
    assert open_first(OTHER_START, ClientHandshake(START, CLIENT_ID).knock) is None


def test_an_answer_of_another_share_is_refused() -> None:
    client = ClientHandshake(START, CLIENT_ID)
    other = ClientHandshake(OTHER_START, CLIENT_ID)
    opened = open_first(OTHER_START, other.knock)
    assert opened is not None
    with pytest.raises(NotAHolderError):
        client.finish(ServerHandshake(opened, SERVER_ID).reply)


def test_a_recorded_knock_proves_nothing() -> None:
    """Only the client that made it can confirm an answer to it."""
    client = ClientHandshake(START, CLIENT_ID)
    first, second = server(client), server(client)
    _, confirmation = client.finish(first.reply)
    with pytest.raises(NotAHolderError):
        second.finish(confirmation)
    for wrong in (bytes(16), confirmation[:-1], b"", confirmation + b"\0"):
        with pytest.raises(NotAHolderError):
            server(client).finish(wrong)


def test_a_confirmation_with_a_payload_is_refused() -> None:
    client = ClientHandshake(START, CLIENT_ID)
    ours = server(client)
    greeted, _ = client.finish(ours.reply)
    ours = server(client)
    greeted, _ = client.finish(ours.reply)
    fresh = client._noise.finish(ours.reply)[1]
    with pytest.raises(NotAHolderError):
        ours.finish(fresh.send.encrypt(b"x"))


def test_an_impossible_public_key_is_refused() -> None:
    opened = open_first(START, ClientHandshake(START, CLIENT_ID).knock)
    assert opened is not None
    with pytest.raises(ProtocolError):
        ServerHandshake(opened._replace(ephemeral=bytes(32)), SERVER_ID)


def test_node_ids_have_sixteen_bytes() -> None:
    opened = open_first(START, ClientHandshake(START, CLIENT_ID).knock)
    assert opened is not None
    with pytest.raises(ValueError, match="16 bytes"):
        ClientHandshake(START, bytes(15))
    with pytest.raises(ValueError, match="16 bytes"):
        ServerHandshake(opened, bytes(17))


def test_the_knock_names_the_versions_and_the_node() -> None:
    opened = open_first(START, ClientHandshake(START, CLIENT_ID).knock)
    assert opened is not None
    assert opened.payload == bytes(VERSIONS) + CLIENT_ID


def test_a_knock_of_another_length_has_no_handshake() -> None:
    for size in (0, 17, 19):
        message = Initiator(START, bytes(size)).message
        assert len(message) != KNOCK_SIZE


def test_a_knock_is_new_once() -> None:
    memory = KnockMemory(max_knocks=3)
    assert memory.spend(b"a")
    assert memory.spend(b"b")
    assert not memory.spend(b"a")
    assert memory.spend(b"c")
    assert memory.spend(b"d")  # b is the oldest now, because a was seen again
    assert len(memory) == 3
    assert not memory.spend(b"a")
    assert memory.spend(b"b")
