"""How two peers prove to each other that they know the id, as pure state machines.

The bytes are those of docs/protocol.md, "Sealed transport":

    client → server   knock, 48 bytes: n16 ‖ HMAC(K_knock, n16), before TLS
    server → client   greeting, 34: lowest version, highest version, nonce 32
    client → server   proof, 81: version 1, nonce 32, node id 16,
                      HMAC(K_client, "c" ‖ C ‖ greeting ‖ the 49 bytes before)
    server → client   proof, 48: node id 16,
                      HMAC(K_server, "s" ‖ C ‖ greeting ‖ client's 81 ‖ node id)

C is the SHA-256 of the certificate that the server showed, which is what makes a
relay with a certificate of its own fail in both directions. All of it is of fixed
size and none of it is msgpack: nothing is parsed before both proofs have passed.

Rules of this file:

1. Every comparison with something secret takes constant time.
2. Nothing is sent that depends on the share before the peer has proven itself,
   except that the client proves first.
3. A machine asks for exactly as many bytes as its state needs (`needed`), so what
   follows the proofs is never in here.
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
    """Return the place of the key that made `knock`; None if it is none of them.

    Every key is tried, whether or not one has fitted, so that the time it takes
    says nothing.
    """
    nonce, mac = bytes(knock[:KNOCK_NONCE_SIZE]), bytes(knock[KNOCK_NONCE_SIZE:])
    found = None
    for place, key in enumerate(knock_keys):
        if hmac.compare_digest(_mac(key, nonce), mac):
            found = place
    return found


class NonceMemory:
    """Remember the nonces of valid knocks, so that none opens a connection twice.

    The nonce of a knock that fits no key is never given to this, or garbage would
    push out what must be remembered.
    """

    def __init__(self, max_nonces: int = MAX_NONCES) -> None:
        self._nonces: OrderedDict[bytes, None] = OrderedDict()
        self._max_nonces = max_nonces

    def __len__(self) -> int:
        return len(self._nonces)

    def spend(self, knock: bytes | bytearray) -> bool:
        """Note a valid knock; say whether its nonce was new."""
        nonce = bytes(knock[:KNOCK_NONCE_SIZE])
        is_new = nonce not in self._nonces
        self._nonces[nonce] = None
        self._nonces.move_to_end(nonce)
        if len(self._nonces) > self._max_nonces:
            self._nonces.popitem(last=False)
        return is_new


class ProofState(Enum):
    """Where a proof stands."""

    AWAITING_GREETING = auto()
    """A client: the server has to begin."""
    AWAITING_PROOF = auto()
    """Either end: the other one has to prove itself."""
    DONE = auto()
    """Both proofs have passed."""
    FAILED = auto()
    """The connection must end, and nothing more may be sent."""


class Proof:
    """Hold what both ends of a proof share.

    Give it what comes with `receive`, write what `data_to_send` returns, until
    `is_done`. An error means: close, and send nothing more.
    """

    STEPS: ClassVar[dict[ProofState, tuple[int, str, ProofState]]]
    """ProofState: how many bytes it awaits, what takes them, and the state after it."""

    def __init__(
        self,
        state: ProofState,
        keys: Keys,
        node_id: bytes,
        certificate: bytes,
        nonce: bytes,
        versions: Versions,
    ) -> None:
        _check_size("node id", node_id, NODE_ID_SIZE)
        _check_size("certificate's digest", certificate, DIGEST_SIZE)
        _check_size("nonce", nonce, NONCE_SIZE)
        self.state = state
        self.peer_node_id = b""
        """Of the peer, once done: a claim that every holder can copy."""
        self.version = 0
        """The version both will speak, once done."""
        self._keys = keys
        self._node_id = node_id
        self._certificate = certificate
        self._nonce = nonce
        self._versions = versions
        self._received = bytearray()
        self._outgoing = b""

    @property
    def is_done(self) -> bool:
        """Say whether both ends have proven themselves."""
        return self.state is ProofState.DONE

    @property
    def needed(self) -> int:
        """Return how many bytes are missing for the next step; 0 at the end."""
        if self.state not in self.STEPS:
            return 0
        return self.STEPS[self.state][0] - len(self._received)

    def receive(self, data: bytes | bytearray | memoryview) -> int:
        """Take what belongs to the proof from `data`; return how many bytes.

        What is left belongs to whoever speaks after the proofs. Raises
        `PeerError` when the peer must not be spoken to.
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
        """Return what to write now."""
        outgoing, self._outgoing = self._outgoing, b""
        return outgoing

    def _step(self) -> None:
        """Act on a message that is there as a whole."""
        _, name, following = self.STEPS[self.state]
        message = bytes(self._received)
        self._received.clear()
        # Whatever goes wrong in there is the end of it.
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
    """Greet a client and let it prove itself; then prove ourselves."""

    STEPS = {
        ProofState.AWAITING_PROOF: (CLIENT_PROOF_SIZE, "_take_proof", ProofState.DONE),
    }

    def __init__(
        self,
        keys: Keys,
        node_id: bytes,
        certificate: bytes,
        nonce: bytes,
        versions: Versions = VERSIONS,
    ) -> None:
        """Begin with the keys of the share whose knock fitted.

        `certificate` is the SHA-256 of our own one's DER, `nonce` 32 random bytes.
        """
        super().__init__(
            ProofState.AWAITING_PROOF, keys, node_id, certificate, nonce, versions
        )
        self._greeting = bytes(versions) + nonce
        self._outgoing = self._greeting

    def _take_proof(self, proof: bytes) -> None:
        claims, mac = proof[:-DIGEST_SIZE], proof[-DIGEST_SIZE:]
        if not hmac.compare_digest(self._client_mac(self._greeting, claims), mac):
            raise NotAHolderError("a client that does not know the share's id")
        version, node_id = claims[0], claims[-NODE_ID_SIZE:]
        if not self._versions[0] <= version <= self._versions[1]:
            raise ProtocolError(f"a client that chose version {version}")
        if node_id == self._node_id:
            raise SelfConnectionError("a connection from this very node")
        self.version, self.peer_node_id = version, node_id
        mac = self._server_mac(self._greeting, proof, self._node_id)
        self._outgoing = self._node_id + mac


class ClientProof(Proof):
    """Prove ourselves to a server, then let it prove itself."""

    STEPS = {
        ProofState.AWAITING_GREETING: (
            GREETING_SIZE,
            "_take_greeting",
            ProofState.AWAITING_PROOF,
        ),
        ProofState.AWAITING_PROOF: (SERVER_PROOF_SIZE, "_take_proof", ProofState.DONE),
    }

    def __init__(
        self,
        keys: Keys,
        node_id: bytes,
        certificate: bytes,
        nonce: bytes,
        versions: Versions = VERSIONS,
    ) -> None:
        """Begin with the keys of the share that is wanted.

        `certificate` is the SHA-256 of the DER of the one that the server showed,
        `nonce` 32 random bytes.
        """
        super().__init__(
            ProofState.AWAITING_GREETING, keys, node_id, certificate, nonce, versions
        )
        self._greeting = b""
        self._sent = b""

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
        self._sent = claims + self._client_mac(greeting, claims)
        self._outgoing = self._sent

    def _take_proof(self, proof: bytes) -> None:
        node_id, mac = proof[:NODE_ID_SIZE], proof[NODE_ID_SIZE:]
        expected = self._server_mac(self._greeting, self._sent, node_id)
        if not hmac.compare_digest(expected, mac):
            raise NotAHolderError("a server that does not know the share's id")
        if node_id == self._node_id:
            raise SelfConnectionError("a connection to this very node")
        self.peer_node_id = node_id


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


def _check_size(name: str, value: bytes, size: int) -> None:
    if len(value) != size:
        raise ValueError(f"a {name} has {size} bytes, not {len(value)}")
