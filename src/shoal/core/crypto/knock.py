"""Open a connection of a sealed share: the three messages of its handshake; pure.

They are those of docs/protocol.md, "Sealed transport". The handshake is Noise NNpsk0
with a psk derived from the id, and each message has a fixed size:

    client → server   knock, 66 bytes: public key 32, payload 18, tag 16
                      payload: lowest version, highest version, node id 16
    server → client   answer, 67 bytes: public key 32, payload 19, tag 16
                      payload: version, lowest, highest, node id 16
    client → server   confirmation, 16 bytes: an empty message, only its tag

A knock may be a repetition of one that another node received, so a server regards the
client as proven only after the confirmation. Nothing is parsed that was not decrypted.
"""

from collections import OrderedDict
from typing import NamedTuple, TypeAlias

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from shoal.core.crypto.keys import Keys
from shoal.core.crypto.noise import (
    KEY_SIZE,
    TAG_SIZE,
    Ciphers,
    Initiator,
    Opened,
    Start,
    answer,
    start_from,
)
from shoal.errors import NotAHolderError, ProtocolError, SelfConnectionError

__all__ = [
    "ANSWER_SIZE",
    "CONFIRMATION_SIZE",
    "KNOCK_SIZE",
    "MAX_KNOCKS",
    "NODE_ID_SIZE",
    "VERSIONS",
    "ClientHandshake",
    "Greeted",
    "KnockMemory",
    "ServerHandshake",
    "handshake_start",
    "start_of",
]

NODE_ID_SIZE = 16  # bytes
KNOCK_SIZE = KEY_SIZE + 2 + NODE_ID_SIZE + TAG_SIZE  # bytes
ANSWER_SIZE = KEY_SIZE + 3 + NODE_ID_SIZE + TAG_SIZE  # bytes
CONFIRMATION_SIZE = TAG_SIZE  # bytes
MAX_KNOCKS = 65_536  # right ones, remembered
PROLOGUE = b"shoal/v2"

Versions: TypeAlias = tuple[int, int]
VERSIONS: Versions = (2, 2)
"""The lowest and the highest version of the protocol that we speak."""


class Greeted(NamedTuple):
    """What a finished handshake says of the other end."""

    node_id: bytes
    """16 bytes: a claim that any link holder can copy."""
    version: int
    """Protocol version that both ends speak."""
    ciphers: Ciphers


def handshake_start(keys: Keys) -> Start:
    """Return the state with which every handshake of a share begins."""
    return start_of(keys.psk)


def start_of(psk: bytes) -> Start:
    """Return the same, for the share with this psk."""
    return start_from(psk, PROLOGUE)


class ClientHandshake:
    """Knock, then check the answer."""

    def __init__(
        self,
        start: Start,
        node_id: bytes,
        versions: Versions = VERSIONS,
        private: X25519PrivateKey | None = None,
    ) -> None:
        """Begin with a node id of 16 bytes; only tests give the ephemeral key."""
        _check_node_id(node_id)
        self._node_id = node_id
        self._versions = versions
        self._noise = Initiator(start, bytes(versions) + node_id, private)
        self.knock = self._noise.message
        """The bytes to send first."""

    def finish(self, reply: bytes) -> tuple[Greeted, bytes]:
        """Return the peer that sent this answer, and the confirmation to send.

        Raises `NotAHolderError` if it does not know the id, `ProtocolError` if it
        speaks no version of ours, and `SelfConnectionError` if it is this node.
        """
        try:
            payload, ciphers = self._noise.finish(reply)
        except ProtocolError:
            problem = "a server that does not know the share's id"
            raise NotAHolderError(problem) from None
        version, lowest, highest = payload[:3]
        node_id = payload[3:]
        if node_id == self._node_id:
            raise SelfConnectionError("a connection to this node itself")
        if version != common_version(self._versions, (lowest, highest)):
            raise ProtocolError(
                f"a server that speaks versions {lowest} to {highest} of the protocol; "
                f"this shoal speaks {self._versions[0]} to {self._versions[1]}"
            )
        return Greeted(node_id, version, ciphers), ciphers.send.encrypt(b"")


class ServerHandshake:
    """Answer a knock, then check the confirmation."""

    def __init__(
        self,
        opened: Opened,
        node_id: bytes,
        versions: Versions = VERSIONS,
        private: X25519PrivateKey | None = None,
    ) -> None:
        """Begin with an opened knock; only tests give the ephemeral key.

        Raises `ProtocolError` if the client's public key is impossible.
        """
        _check_node_id(node_id)
        theirs = opened.payload[0], opened.payload[1]
        self._version = common_version(versions, theirs)
        self._client = opened.payload[2:]
        self._node_id = node_id
        payload = bytes((self._version or 0, *versions)) + node_id
        self.reply, self._ciphers = answer(opened, payload, private)
        """The answer to send: also to a client that then ends the connection, because
        it speaks no version of ours or is this node itself."""

    def finish(self, confirmation: bytes) -> Greeted:
        """Return the client that sent this confirmation.

        Raises `NotAHolderError` if it does not know the id, `SelfConnectionError` if it
        is this node, and `ProtocolError` if it speaks no version of ours.
        """
        try:
            rest = self._ciphers.receive.decrypt(confirmation)
        except ProtocolError:
            rest = b"?"
        if rest:
            raise NotAHolderError("a client that does not know the share's id")
        if self._client == self._node_id:
            raise SelfConnectionError("a connection from this node itself")
        if self._version is None:
            raise ProtocolError("a client that speaks no version of ours")
        return Greeted(self._client, self._version, self._ciphers)


def common_version(one: Versions, other: Versions) -> int | None:
    """Return the highest version in both ranges; None if there is none."""
    highest = min(one[1], other[1])
    return highest if 1 <= highest >= max(one[0], other[0]) else None


class KnockMemory:
    """Remember right knocks, so that none opens a connection twice.

    Only knocks that a share has opened may be added. Otherwise an attacker could push
    the right ones out with garbage.
    """

    def __init__(self, max_knocks: int = MAX_KNOCKS) -> None:
        self._keys: OrderedDict[bytes, None] = OrderedDict()
        self._max_knocks = max_knocks

    def __len__(self) -> int:
        return len(self._keys)

    def spend(self, ephemeral: bytes) -> bool:
        """Note the public key of a right knock; return True if it was new."""
        is_new = ephemeral not in self._keys
        self._keys[ephemeral] = None
        self._keys.move_to_end(ephemeral)
        if len(self._keys) > self._max_knocks:
            self._keys.popitem(last=False)
        return is_new


def _check_node_id(node_id: bytes) -> None:
    if len(node_id) != NODE_ID_SIZE:
        raise ValueError(f"a node id has {NODE_ID_SIZE} bytes, not {len(node_id)}")
