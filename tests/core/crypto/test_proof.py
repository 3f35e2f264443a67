"""Check which knocks and proofs are accepted."""

import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.crypto.keys import derive_keys
from shoal.core.crypto.proof import (
    KNOCK_SIZE,
    ClientProof,
    NonceMemory,
    Proof,
    ProofState,
    ServerProof,
    make_knock,
    match_knock,
)
from shoal.errors import NotAHolderError, ProtocolError, SelfConnectionError

KEYS = derive_keys(bytes(range(32)))
OTHER_KEYS = derive_keys(bytes(32))
CERTIFICATE = hashlib.sha256(b"a certificate").digest()
CLIENT_ID, SERVER_ID = b"c" * 16, b"s" * 16
NONCE_C, NONCE_S = b"\x0c" * 32, b"\x05" * 32


def client(**changes: Any) -> ClientProof:
    """Return a client's proof with some arguments changed."""
    arguments = {"node_id": CLIENT_ID, "nonce": NONCE_C, **changes}
    return ClientProof(**_common(arguments))


def server(**changes: Any) -> ServerProof:
    """Return a server's proof with some arguments changed."""
    arguments = {"node_id": SERVER_ID, "nonce": NONCE_S, **changes}
    return ServerProof(**_common(arguments))


def _common(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"keys": KEYS, "certificate": CERTIFICATE, **arguments}


def messages() -> tuple[bytes, bytes, bytes]:
    """Return greeting, client's and server's proof, made without the tested code."""

    def mac(key: bytes, text: bytes) -> bytes:
        return hmac.new(key, text, hashlib.sha256).digest()

    greeting = b"\x01\x01" + NONCE_S
    claims = b"\x01" + NONCE_C + CLIENT_ID
    proof = claims + mac(KEYS.client, b"c" + CERTIFICATE + greeting + claims)
    text = b"s" + CERTIFICATE + greeting + proof + SERVER_ID
    return greeting, proof, SERVER_ID + mac(KEYS.server, text)


def feed(proof: Proof, data: bytes, cuts: list[int]) -> int:
    """Pass `data` in pieces; return how many bytes were used."""
    used, start = 0, 0
    for end in [*sorted(cuts), len(data)]:
        used += proof.receive(data[start:end])
        start = end
    return used


def test_both_ends_send_the_bytes_that_the_protocol_defines() -> None:
    greeting, client_proof, server_proof = messages()
    assert (len(greeting), len(client_proof), len(server_proof)) == (34, 81, 48)
    ours, theirs = server(), client()
    assert theirs.data_to_send() == b""
    assert ours.data_to_send() == greeting
    assert theirs.receive(greeting) == 34
    assert theirs.data_to_send() == client_proof
    assert theirs.needed == 48
    assert ours.receive(client_proof) == 81
    assert ours.is_done
    assert ours.data_to_send() == server_proof
    assert theirs.receive(server_proof) == 48
    assert theirs.is_done
    assert (ours.peer_node_id, theirs.peer_node_id) == (CLIENT_ID, SERVER_ID)
    assert ours.version == theirs.version == 1
    assert ours.data_to_send() == theirs.data_to_send() == b""


@given(st.lists(st.integers(0, 82 + 9)), st.binary(max_size=9))
def test_a_client_accepts_any_split_and_leaves_the_bytes_that_follow(
    cuts: list[int], surplus: bytes
) -> None:
    greeting, _, server_proof = messages()
    stream = greeting + server_proof + surplus
    proof = client()
    assert feed(proof, stream, [min(cut, len(stream)) for cut in cuts]) == 82
    assert proof.is_done
    assert proof.needed == 0


@given(st.lists(st.integers(0, 81 + 9)), st.binary(max_size=9))
def test_a_server_accepts_any_split_and_leaves_the_bytes_that_follow(
    cuts: list[int], surplus: bytes
) -> None:
    stream = messages()[1] + surplus
    proof = server()
    assert feed(proof, stream, [min(cut, len(stream)) for cut in cuts]) == 81
    assert proof.is_done


def test_each_state_needs_exactly_the_bytes_of_its_message() -> None:
    greeting, client_proof, server_proof = messages()
    theirs, ours = client(), server()
    assert (theirs.needed, ours.needed) == (34, 81)
    theirs.receive(greeting[:30])
    ours.receive(client_proof[:80])
    assert (theirs.needed, ours.needed) == (4, 1)
    theirs.receive(greeting[30:])
    assert theirs.needed == 48
    theirs.receive(server_proof)
    ours.receive(client_proof[80:])
    assert (theirs.needed, ours.needed) == (0, 0)


def test_a_client_proof_with_any_bit_flipped_is_refused() -> None:
    for flipped in flips(messages()[1]):
        proof = server()
        proof.data_to_send()
        with pytest.raises(NotAHolderError):
            proof.receive(flipped)
        assert_failed(proof)


def test_a_server_proof_with_any_bit_flipped_is_refused() -> None:
    greeting, _, server_proof = messages()
    for flipped in flips(server_proof):
        proof = client()
        proof.receive(greeting)
        proof.data_to_send()
        with pytest.raises(NotAHolderError):
            proof.receive(flipped)
        assert_failed(proof)


def test_a_greeting_with_any_bit_flipped_ends_the_handshake() -> None:
    for flipped in flips(server().data_to_send()):
        # Every version is allowed, so that none is refused for its version alone.
        ours, theirs = server(), client(versions=(1, 255))
        ours.data_to_send()
        try:
            theirs.receive(flipped)
        except ProtocolError:
            assert_failed(theirs)
            continue
        with pytest.raises(NotAHolderError):
            ours.receive(theirs.data_to_send())
        assert_failed(ours)


@pytest.mark.parametrize(
    "changes", [{"keys": OTHER_KEYS}, {"certificate": bytes(32)}], ids=str
)
def test_another_id_or_certificate_is_refused_by_both_ends(
    changes: dict[str, Any],
) -> None:
    greeting, client_proof, server_proof = messages()
    ours = server(**changes)
    ours.data_to_send()
    with pytest.raises(NotAHolderError):
        ours.receive(client_proof)
    assert_failed(ours)
    theirs = client(**changes)
    theirs.receive(greeting)
    with pytest.raises(NotAHolderError):
        theirs.receive(server_proof)
    assert_failed(theirs)


def test_recorded_proofs_are_refused() -> None:
    greeting, client_proof, server_proof = messages()
    again = server(nonce=b"\x06" * 32)
    with pytest.raises(NotAHolderError):
        again.receive(client_proof)
    theirs = client(nonce=b"\x0d" * 32)
    theirs.receive(greeting)
    with pytest.raises(NotAHolderError):
        theirs.receive(server_proof)


def test_a_client_does_not_accept_its_own_proof() -> None:
    greeting, client_proof, _ = messages()
    proof = client()
    proof.receive(greeting)
    with pytest.raises(NotAHolderError):
        proof.receive(client_proof[33:])  # the size of a server's proof
    proof = client()
    proof.receive(greeting)
    with pytest.raises(NotAHolderError):
        proof.receive(client_proof[:48])


def test_keys_of_the_two_directions_are_not_interchangeable() -> None:
    greeting, client_proof, _ = messages()
    text = b"s" + CERTIFICATE + greeting + client_proof + SERVER_ID
    forged = SERVER_ID + hmac.digest(KEYS.client, text, "sha256")
    proof = client()
    proof.receive(greeting)
    with pytest.raises(NotAHolderError):
        proof.receive(forged)


def test_a_server_that_is_connected_to_itself_sends_no_proof() -> None:
    ours = server(node_id=CLIENT_ID)
    ours.data_to_send()
    with pytest.raises(SelfConnectionError):
        ours.receive(messages()[1])
    assert_failed(ours)


def test_an_invalid_proof_with_our_own_node_id_is_refused_as_invalid() -> None:
    ours = server(node_id=CLIENT_ID)
    with pytest.raises(NotAHolderError):
        ours.receive(messages()[1][:-1] + b"?")


def test_a_client_that_connects_to_itself_raises_an_error_for_that() -> None:
    ours, theirs = server(), client(node_id=SERVER_ID)
    theirs.receive(ours.data_to_send())
    greeting, sent = b"\x01\x01" + NONCE_S, theirs.data_to_send()
    text = b"s" + CERTIFICATE + greeting + sent + SERVER_ID
    with pytest.raises(SelfConnectionError):
        theirs.receive(SERVER_ID + hmac.digest(KEYS.server, text, "sha256"))


@pytest.mark.parametrize(
    ("server_versions", "client_versions", "chosen"),
    [
        ((1, 1), (1, 1), 1),
        ((1, 3), (1, 2), 2),
        ((2, 9), (1, 4), 4),
        ((2, 2), (1, 3), 2),
    ],
)
def test_the_highest_common_version_is_used(
    server_versions: tuple[int, int], client_versions: tuple[int, int], chosen: int
) -> None:
    ours = server(versions=server_versions)
    theirs = client(versions=client_versions)
    theirs.receive(ours.data_to_send())
    ours.receive(theirs.data_to_send())
    theirs.receive(ours.data_to_send())
    assert ours.is_done
    assert theirs.is_done
    assert ours.version == theirs.version == chosen


@pytest.mark.parametrize("versions", [(2, 3), (0, 1), (2, 1), (0, 0)], ids=str)
def test_a_client_refuses_versions_that_it_does_not_support(
    versions: tuple[int, int],
) -> None:
    theirs = client()
    with pytest.raises(ProtocolError, match=f"versions {versions[0]} to {versions[1]}"):
        theirs.receive(bytes(versions) + NONCE_S)
    assert_failed(theirs)


def test_a_server_refuses_a_version_that_it_did_not_offer() -> None:
    theirs, ours = client(versions=(1, 7)), server()
    ours.data_to_send()
    theirs.receive(b"\x01\x07" + NONCE_S)
    assert theirs.data_to_send()[0] == 7
    greeting = b"\x01\x01" + NONCE_S
    claims = b"\x07" + NONCE_C + CLIENT_ID
    mac = hmac.digest(KEYS.client, b"c" + CERTIFICATE + greeting + claims, "sha256")
    with pytest.raises(ProtocolError, match="version 7"):
        ours.receive(claims + mac)
    assert_failed(ours)


@pytest.mark.parametrize("name", ["node_id", "certificate", "nonce"])
def test_values_of_a_wrong_size_are_a_programming_error(name: str) -> None:
    for make in (client, server):
        with pytest.raises(ValueError, match="bytes, not 5"):
            make(**{name: b"short"})


def test_a_knock_matches_only_the_key_of_its_share() -> None:
    keys = [derive_keys(bytes((number,)) * 32).knock for number in range(64)]
    for place in (0, 31, 63):
        knock = make_knock(keys[place], b"n" * 16)
        assert len(knock) == KNOCK_SIZE
        assert knock[16:] == hmac.digest(keys[place], b"n" * 16, "sha256")
        assert match_knock(keys, knock) == place
        assert match_knock(keys, bytearray(knock)) == place
    assert match_knock(keys, make_knock(KEYS.knock, b"n" * 16)) is None
    assert match_knock([], make_knock(KEYS.knock, b"n" * 16)) is None


def test_a_knock_with_any_bit_flipped_matches_no_key() -> None:
    for flipped in flips(make_knock(KEYS.knock, b"n" * 16)):
        assert match_knock([KEYS.knock], flipped) is None


@given(st.binary(max_size=60))
def test_garbage_matches_no_key(garbage: bytes) -> None:
    assert match_knock([KEYS.knock, OTHER_KEYS.knock], garbage) is None


def test_a_knock_is_accepted_once() -> None:
    memory = NonceMemory()
    knock = make_knock(KEYS.knock, b"n" * 16)
    assert memory.spend(knock)
    assert not memory.spend(knock)
    assert not memory.spend(bytearray(knock))


def test_the_nonce_seen_longest_ago_is_forgotten_first() -> None:
    memory = NonceMemory(max_nonces=3)
    for name in b"abc":
        assert memory.spend(bytes((name,)) * 48)
    assert not memory.spend(b"a" * 48)  # now seen after b and c
    assert memory.spend(b"d" * 48)
    assert len(memory) == 3
    assert not memory.spend(b"a" * 48)
    assert memory.spend(b"b" * 48)


def test_65536_nonces_are_remembered() -> None:
    memory = NonceMemory()
    for number in range(65_536):
        memory.spend(number.to_bytes(16) + bytes(32))
    assert not memory.spend(bytes(48))
    assert len(memory) == 65_536
    memory.spend(b"x" * 48)
    assert len(memory) == 65_536


def flips(data: bytes) -> Iterator[bytes]:
    """Yield `data` with one bit flipped, for every bit."""
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def assert_failed(proof: Proof) -> None:
    """Check that a proof has failed and sends nothing more."""
    assert proof.state is ProofState.FAILED
    assert proof.data_to_send() == b""
    assert not proof.is_done
    assert proof.needed == 0
    assert proof.receive(b"more") == 0
