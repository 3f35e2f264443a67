"""Two ends that dial each other agree on which of them is the client."""

import os

import pytest

from shoal.core.crypto.crossing import DialHandshake
from shoal.core.crypto.keys import derive_keys
from shoal.core.crypto.knock import (
    KNOCK_SIZE,
    Greeted,
    KnockMemory,
    ServerHandshake,
    handshake_start,
)
from shoal.core.crypto.noise import open_first
from shoal.errors import NotAHolderError, PeerError, SelfConnectionError

START = handshake_start(derive_keys(bytes(range(32))))
OTHER_START = handshake_start(derive_keys(bytes(32)))
ONE_ID, OTHER_ID = b"1" * 16, b"2" * 16


def dials(node_id: bytes = ONE_ID) -> DialHandshake:
    return DialHandshake(START, node_id, KnockMemory())


def ordered() -> tuple[DialHandshake, DialHandshake]:
    """Return two ends of which the first has the smaller public key."""
    first, second = sorted((dials(), dials(OTHER_ID)), key=lambda each: each.knock)
    return first, second


def exchange(one: DialHandshake, other: DialHandshake, size: int) -> list[Greeted]:
    """Carry bytes both ways, up to `size` at once; return the peers of both ends."""
    ends = (one, other)
    waiting = [bytearray(other.knock), bytearray(one.knock)]
    peers: list[Greeted | None] = [None, None]
    while any(waiting):
        for number, end in enumerate(ends):
            room = min(size, end.awaited) if peers[number] is None else 0
            data = bytes(waiting[number][:room])
            del waiting[number][:room]
            if data:
                reply, peers[number] = end.receive(data)
                waiting[1 - number] += reply
    return [each for each in peers if each is not None]


@pytest.mark.parametrize("size", [1, 66, 67, 500])
def test_two_that_dial_each_other_are_client_and_server(size: int) -> None:
    client, server = ordered()
    at_client, at_server = exchange(client, server, size)
    assert client.is_client
    assert not server.is_client
    assert client.has_crossed
    assert server.has_crossed
    assert {at_client.node_id, at_server.node_id} == {ONE_ID, OTHER_ID}
    assert at_client.node_id != at_server.node_id
    for near, far in ((at_client, at_server), (at_server, at_client)):
        said = near.ciphers.send.encrypt(b"hello")
        assert far.ciphers.receive.decrypt(said) == b"hello"


@pytest.mark.parametrize("size", [1, 66, 67])
def test_one_that_dials_a_listening_server_is_the_client(size: int) -> None:
    client = dials()
    opened = open_first(START, client.knock)
    assert opened is not None
    server = ServerHandshake(opened, OTHER_ID)
    answer, greeted, reply = bytearray(server.reply), None, b""
    while answer:
        taken = min(size, client.awaited)
        reply, greeted = client.receive(bytes(answer[:taken]))
        del answer[:taken]
    assert greeted is not None
    assert not client.has_crossed
    assert greeted.node_id == OTHER_ID
    assert server.finish(reply).node_id == ONE_ID


def test_an_echo_of_the_knock_is_refused() -> None:
    end = dials()
    with pytest.raises(SelfConnectionError):
        end.receive(end.knock)


def test_a_repeated_knock_gets_no_answer() -> None:
    """One who recorded a knock elsewhere gets no byte but the knock of each dial."""
    knocks = KnockMemory()
    # One of the lower half, so that some of our twenty are certainly higher.
    while (recorded := DialHandshake(START, OTHER_ID, knocks).knock)[0] >= 128:
        pass
    refused = 0
    for _ in range(20):
        end = DialHandshake(START, ONE_ID, knocks)
        if end.knock > recorded:
            try:
                end.receive(recorded)
            except NotAHolderError:
                refused += 1
            else:
                assert not refused, "it was answered a second time"
        else:
            assert end.receive(recorded)[0] == b""
    assert refused


def test_one_that_knocks_twice_is_refused() -> None:
    client, server = ordered()
    client.receive(server.knock)
    with pytest.raises(NotAHolderError):
        client.receive(dials(OTHER_ID).knock + b"x")


@pytest.mark.parametrize(
    "sent",
    [
        os.urandom(67),
        bytes(67),
        DialHandshake(OTHER_START, OTHER_ID, KnockMemory()).knock + b"x",
    ],
    ids=["random", "zeros", "another share"],
)
def test_one_that_does_not_know_the_id_gets_nothing_but_the_knock(sent: bytes) -> None:
    end = dials()
    assert end.receive(sent[:KNOCK_SIZE]) == (b"", None)
    with pytest.raises(PeerError):
        end.receive(sent[KNOCK_SIZE:])


@pytest.mark.parametrize("is_smaller", [False, True])
def test_two_that_dial_for_two_shares_of_both_connect_for_one(is_smaller: bool) -> None:
    while True:
        one = DialHandshake(START, ONE_ID, KnockMemory())
        other = DialHandshake(OTHER_START, OTHER_ID, KnockMemory())
        if (one.knock < other.knock) is is_smaller:
            break
    assert one.receive(other.knock) == other.receive(one.knock) == (b"", None)
    assert (one.unopened, other.unopened) == (other.knock, one.knock)
    at_one, at_other = (
        open_first(OTHER_START, other.knock),
        open_first(START, one.knock),
    )
    assert at_one is not None
    assert at_other is not None
    replies = one.cross(at_one), other.cross(at_other)
    assert [bool(reply) for reply in replies] == [not is_smaller, is_smaller]
    assert one.is_client is is_smaller
    assert other.is_client is not is_smaller
    client, server = (one, other) if is_smaller else (other, one)
    confirmation, at_client = client.receive(b"".join(replies))
    _, at_server = server.receive(confirmation)
    assert at_client is not None
    assert at_server is not None
    said = at_client.ciphers.send.encrypt(b"hello")
    assert at_server.ciphers.receive.decrypt(said) == b"hello"
    assert one.unopened is other.unopened is None


def test_a_part_of_an_answer_may_be_a_knock_for_another_share() -> None:
    client = dials()
    opened = open_first(START, client.knock)
    assert opened is not None
    reply = ServerHandshake(opened, OTHER_ID).reply
    assert client.receive(reply[:66]) == (b"", None)
    assert client.unopened == reply[:66]
    _, greeted = client.receive(reply[66:])
    assert greeted is not None
    assert greeted.node_id == OTHER_ID


def test_a_server_checks_the_confirmation() -> None:
    client, server = ordered()
    server.receive(client.knock)
    with pytest.raises(NotAHolderError):
        server.receive(bytes(16))
