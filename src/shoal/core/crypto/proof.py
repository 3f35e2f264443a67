"""Prove to a peer that we know the id, and verify its proof, as state machines; pure.

The messages are those of docs/protocol.md, "Sealed transport":

    client → server   knock, 48 bytes: n16 ‖ HMAC(K_knock, n16), before TLS
    server → client   greeting, 34: lowest version, highest version, nonce 32
    client → server   proof, 81: version 1, nonce 32, node id 16,
                      HMAC(K_client, "c" ‖ C ‖ greeting ‖ the 49 bytes before)
    server → client   proof, 48: node id 16,
                      HMAC(K_server, "s" ‖ C ‖ greeting ‖ client's 81 ‖ node id)

C is the SHA-256 of the server's certificate, so a relay with its own certificate fails
in both directions. Each message has a fixed size and is not msgpack: nothing is parsed
before both proofs are valid.

Rules of this file:

1. Every comparison with a secret takes constant time.
2. Nothing that depends on the share is sent before the peer has proved itself, except
   that the client proves itself first.
3. A state machine asks for exactly as many bytes as its state needs (`needed`), so it
   never receives bytes that follow the proofs.
"""

import hmac
from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import ClassVar, TypeAlias

from shoal.core.crypto.keys import Keys
from shoal.errors import NotAHolderError, ProtocolError, SelfConnectionError

__all__ = [
    "KNOCK_SIZE",
    "NODE_ID_SIZE",
    "NONCE_SIZE",
    "VERSIONS",
    "ClientProof",
    "NonceMemory",
    "Proof",
    "ProofState",
    "ServerProof",
    "make_knock",
    "match_knock",
]

KNOCK_NONCE_SIZE = 16  # bytes
KNOCK_SIZE = 48  # bytes
NONCE_SIZE = 32  # bytes
NODE_ID_SIZE = 16  # bytes
DIGEST_SIZE = 32  # bytes of a SHA-256 and of an HMAC made with it
GREETING_SIZE = 2 + NONCE_SIZE  # bytes
CLIENT_PROOF_SIZE = 1 + NONCE_SIZE + NODE_ID_SIZE + DIGEST_SIZE  # bytes
SERVER_PROOF_SIZE = NODE_ID_SIZE + DIGEST_SIZE  # bytes
MAX_NONCES = 65_536  # of valid knocks, remembered

Versions: TypeAlias = tuple[int, int]
VERSIONS: Versions = (1, 1)
"""The lowest and the highest version of the protocol that we speak."""


def make_knock(knock_key: bytes, nonce: bytes) -> bytes:
    """Return the 48 bytes that open a connection; `nonce` is 16 random ones."""
    _check_size("nonce", nonce, KNOCK_NONCE_SIZE)
    return nonce + _mac(knock_key, nonce)


def match_knock(knock_keys: Sequence[bytes], knock: bytes | bytearray) -> int | None:
    """Return the position of the key that made `knock`; None if no key did.

    Every key is tried, even after a match, so that the time reveals nothing.
    """
    nonce, mac = bytes(knock[:KNOCK_NONCE_SIZE]), bytes(knock[KNOCK_NONCE_SIZE:])
    found = None
    for place, key in enumerate(knock_keys):
        if hmac.compare_digest(_mac(key, nonce), mac):
            found = place
    return found


class NonceMemory:
    """Remember the nonces of valid knocks, so that none opens a connection twice.

    Only the nonces of knocks that match a key may be added. Otherwise an attacker
    could push the valid ones out with garbage.
    """

    def __init__(self, max_nonces: int = MAX_NONCES) -> None:
        self._nonces: OrderedDict[bytes, None] = OrderedDict()
        self._max_nonces = max_nonces

    def __len__(self) -> int:
        return len(self._nonces)

    def spend(self, knock: bytes | bytearray) -> bool:
        """Note a valid knock; return True if its nonce was new."""
        nonce = bytes(knock[:KNOCK_NONCE_SIZE])
        is_new = nonce not in self._nonces
        self._nonces[nonce] = None
        self._nonces.move_to_end(nonce)
        if len(self._nonces) > self._max_nonces:
            self._nonces.popitem(last=False)
        return is_new


class ProofState(Enum):
    """Name the states of a proof."""

    AWAITING_GREETING = auto()
    """A client: the greeting has not arrived."""
    AWAITING_PROOF = auto()
    """Either end: the proof of the other end has not arrived."""
    DONE = auto()
    """Both proofs are valid."""
    FAILED = auto()
    """A message was invalid: the connection must be closed, and nothing sent."""


class Proof:
    """Hold what client and server have in common.

    Pass received bytes to `receive` and write what `data_to_send` returns until
    `is_done`. After an error, close the connection and send nothing more.
    """

    STEPS: ClassVar[dict[ProofState, tuple[int, str, ProofState]]]
    """For each state: bytes of its message, the method for it, and the next state."""

    def __init__(
        self,
        keys: Keys,
        node_id: bytes,
        certificate: bytes,
        nonce: bytes,
        versions: Versions = VERSIONS,
    ) -> None:
        """Begin with the keys of the share that the knock was for.

        `certificate` is the SHA-256 of the DER of the server's certificate, `nonce`
        32 random bytes.
        """
        _check_size("node id", node_id, NODE_ID_SIZE)
        _check_size("certificate's digest", certificate, DIGEST_SIZE)
        _check_size("nonce", nonce, NONCE_SIZE)
        self.state = next(iter(self.STEPS))
        self.peer_node_id = b""
        """Node id of the peer, once done: a claim that any link holder can copy."""
        self.version = 0
        """Version of the protocol that both ends use, once done."""
        self._keys = keys
        self._node_id = node_id
        self._certificate = certificate
        self._nonce = nonce
        self._versions = versions
        self._received = bytearray()
        self._greeting = self._outgoing = self._greet()

    @property
    def is_done(self) -> bool:
        """Return True if both proofs are valid."""
        return self.state is ProofState.DONE

    @property
    def needed(self) -> int:
        """Return how many bytes the present message still needs; 0 at the end."""
        if self.state not in self.STEPS:
            return 0
        return self.STEPS[self.state][0] - len(self._received)

    def receive(self, data: bytes | bytearray | memoryview) -> int:
        """Take the bytes of the proof from `data`; return how many they are.

        The rest belongs to the messages after the proofs. Raises `PeerError` if a
        message is invalid.
        """
        used = 0
        while used < len(data) and (needed := self.needed):
            part = data[used : used + needed]
            self._received += part
            used += len(part)
            if not self.needed:
                self._step()
        return used

    def data_to_send(self) -> bytes:
        """Return the bytes to write now."""
        outgoing, self._outgoing = self._outgoing, b""
        return outgoing

    def _greet(self) -> bytes:
        """Return the greeting of a server; a client waits for it."""
        return b""

    def _step(self) -> None:
        """Handle a complete message."""
        _, name, following = self.STEPS[self.state]
        message = bytes(self._received)
        self._received.clear()
        # If the method below raises an error, the state stays `FAILED`.
        self.state, self._outgoing = ProofState.FAILED, b""
        take: Callable[[bytes], None] = getattr(self, name)
        take(message)
        self.state = following

    def _client_mac(self, greeting: bytes, claims: bytes) -> bytes:
        return _mac(self._keys.client, b"c" + self._certificate + greeting + claims)

    def _server_mac(self, greeting: bytes, client_proof: bytes, claim: bytes) -> bytes:
        text = b"s" + self._certificate + greeting + client_proof + claim
        return _mac(self._keys.server, text)


class ServerProof(Proof):
    """Greet a client, verify its proof, then prove that we know the id."""

    STEPS = {
        ProofState.AWAITING_PROOF: (CLIENT_PROOF_SIZE, "_take_proof", ProofState.DONE),
    }

    def _greet(self) -> bytes:
        return bytes(self._versions) + self._nonce

    def _take_proof(self, proof: bytes) -> None:
        claims, mac = proof[:-DIGEST_SIZE], proof[-DIGEST_SIZE:]
        if not hmac.compare_digest(self._client_mac(self._greeting, claims), mac):
            raise NotAHolderError("a client that does not know the share's id")
        version, node_id = claims[0], claims[-NODE_ID_SIZE:]
        if not self._versions[0] <= version <= self._versions[1]:
            raise ProtocolError(f"a client that chose version {version}")
        if node_id == self._node_id:
            raise SelfConnectionError("a connection from this node itself")
        self.version, self.peer_node_id = version, node_id
        mac = self._server_mac(self._greeting, proof, self._node_id)
        self._outgoing = self._node_id + mac


class ClientProof(Proof):
    """Prove to a server that we know the id, then verify its proof."""

    STEPS = {
        ProofState.AWAITING_GREETING: (
            GREETING_SIZE,
            "_take_greeting",
            ProofState.AWAITING_PROOF,
        ),
        ProofState.AWAITING_PROOF: (SERVER_PROOF_SIZE, "_take_proof", ProofState.DONE),
    }

    def _take_greeting(self, greeting: bytes) -> None:
        lowest, highest = greeting[0], greeting[1]
        if not 1 <= lowest <= highest:
            raise ProtocolError(f"a server of versions {lowest} to {highest}")
        self.version = min(highest, self._versions[1])
        if self.version < max(lowest, self._versions[0]):
            raise ProtocolError(
                f"a server that speaks versions {lowest} to {highest} of the protocol; "
                f"this shoal speaks {self._versions[0]} to {self._versions[1]}"
            )
        claims = bytes((self.version,)) + self._nonce + self._node_id
        self._greeting = greeting
        self._sent = self._outgoing = claims + self._client_mac(greeting, claims)

    def _take_proof(self, proof: bytes) -> None:
        node_id, mac = proof[:NODE_ID_SIZE], proof[NODE_ID_SIZE:]
        expected = self._server_mac(self._greeting, self._sent, node_id)
        if not hmac.compare_digest(expected, mac):
            raise NotAHolderError("a server that does not know the share's id")
        if node_id == self._node_id:
            raise SelfConnectionError("a connection to this node itself")
        self.peer_node_id = node_id


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


def _check_size(name: str, value: bytes, size: int) -> None:
    if len(value) != size:
        raise ValueError(f"a {name} has {size} bytes, not {len(value)}")
