"""Cut data into messages of the Noise framework, encrypt and decrypt them; pure.

A message is two bytes of length, then that many bytes: the payload, encrypted, and its
tag (docs/protocol.md, "Sealed transport"). `Cipher.take_keys` gives out the key and
nonce of each message; encrypting and decrypting with them needs no state, and may run
in any thread.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from cryptography.exceptions import InvalidTag

from shoal.core.crypto.noise import TAG_SIZE, Cipher, Key
from shoal.core.wire.framing import BufferPool
from shoal.errors import ProtocolError

__all__ = [
    "LENGTH_SIZE",
    "MAX_MESSAGE",
    "MAX_PAYLOAD",
    "MESSAGE_OVERHEAD",
    "IncomingData",
    "SealedData",
    "leading_messages",
    "seal",
    "sealed_size",
    "take_payloads",
    "unseal_into",
]

LENGTH_SIZE = 2  # bytes in front of every message
MAX_MESSAGE = 0xFFFF  # bytes after the length, by the framework
MAX_PAYLOAD = MAX_MESSAGE - TAG_SIZE  # bytes
MESSAGE_OVERHEAD = LENGTH_SIZE + TAG_SIZE  # bytes
JOIN_BELOW = 4 * 1024  # bytes; shorter pieces of data share a message

# Room behind chunk data in its buffer: for the next message, which announces more.
DATA_ROOM = 512  # bytes

# Messages that are counted before any of them is decrypted.
MAX_TOGETHER = 1024


def leading_messages(
    received: memoryview, room: int, *, is_apart: bool = False
) -> list[memoryview]:
    """Return the complete messages in front, without their lengths.

    Those are as many as have `room` bytes of payload together. The first one is
    returned whatever its length; without payload, it ends the stream. With `is_apart`,
    a full message is not returned behind another one, which may announce its data.
    """
    messages: list[memoryview] = []
    end, size = 0, len(received)
    while end + LENGTH_SIZE <= size and len(messages) < MAX_TOGETHER:
        begin = end + LENGTH_SIZE
        length = received[end] << 8 | received[end + 1]
        end, payload = begin + length, length - TAG_SIZE
        fits = 0 < payload <= room and not (is_apart and length == MAX_MESSAGE)
        if end > size or (messages and not fits):
            break
        messages.append(received[begin:end])
        room -= payload
    return messages


def take_payloads(backlog: deque[memoryview], limit: int) -> list[memoryview]:
    """Remove about `limit` bytes from `backlog`; return the payloads of messages.

    Short pieces that follow one another are joined. A longer piece, the data of a
    chunk, begins a message of its own, and only its last message is not full.
    """
    payloads: list[memoryview] = []
    short: list[memoryview] = []
    size = 0
    while backlog and size < limit:
        piece = backlog.popleft()
        if len(piece) < JOIN_BELOW:
            short.append(piece)
            size += len(piece)
            if sum(map(len, short)) > MAX_PAYLOAD - JOIN_BELOW or not backlog:
                payloads.append(_join(short))
            continue
        if short:
            payloads.append(_join(short))
        # The last message of a piece stays with the one before it: what is left of a
        # piece is never so short that it would be joined with another.
        length, begin = len(piece), 0
        while begin < length and (size < limit or length - begin <= MAX_PAYLOAD):
            payloads.append(piece[begin : begin + MAX_PAYLOAD])
            size += MAX_PAYLOAD
            begin += MAX_PAYLOAD
        if begin < length:
            backlog.appendleft(piece[begin:])
    if short:
        payloads.append(_join(short))
    return payloads


def _join(pieces: list[memoryview]) -> memoryview:
    joined = pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))
    pieces.clear()
    return joined


def seal(
    payloads: Sequence[memoryview],
    keys: Iterable[Key],
    into: memoryview | None = None,
) -> memoryview:
    """Return the messages with these payloads, each encrypted with its own key.

    They are written to the front of `into` if that is long enough.
    """
    size = sum(map(len, payloads)) + len(payloads) * MESSAGE_OVERHEAD
    if into is None or len(into) < size:
        into = memoryview(bytearray(size))
    view = into[:size]
    begin = 0
    for payload, (key, nonce) in zip(payloads, keys, strict=True):
        size = len(payload) + TAG_SIZE
        view[begin], view[begin + 1] = size >> 8, size & 0xFF
        body, begin = begin + LENGTH_SIZE, begin + LENGTH_SIZE + size
        key.encrypt_into(nonce, payload, None, view[body:begin])
    return view


def sealed_size(length: int) -> tuple[int, int]:
    """Return the number of messages for `length` bytes of data, and their bytes."""
    messages = -(-length // MAX_PAYLOAD)
    return messages, length + messages * MESSAGE_OVERHEAD


class SealedData:
    """Hold the data of a chunk as it arrived: whole messages, still encrypted."""

    def __init__(self, messages: memoryview, keys: Sequence[Key], length: int) -> None:
        """Hold as many messages as there are keys, with `length` bytes of payload."""
        self._messages = messages
        self._keys = keys
        self._length = length

    def __len__(self) -> int:
        """Return the number of bytes once they are decrypted."""
        return self._length

    def open_into(self, target: memoryview) -> None:
        """Decrypt into `target`, which just fits; may be called in any thread.

        Raises `ProtocolError` if a message is not what the peer sent, or is shorter
        than the rest of the data allows ("Chunk data" in docs/protocol.md).
        """
        sizes = [MAX_MESSAGE] * (len(self._keys) - 1)
        sizes.append(self._length - len(sizes) * MAX_PAYLOAD + TAG_SIZE)
        messages = leading_messages(self._messages, self._length)
        if list(map(len, messages)) != sizes:
            raise ProtocolError("chunk data in messages of a wrong length")
        unseal_into(messages, self._keys, target)

    def opened(self) -> bytearray:
        """Return the data; raises `ProtocolError` as `open_into` does."""
        data = bytearray(self._length)
        self.open_into(memoryview(data))
        return data


def unseal_into(
    messages: Iterable[memoryview], keys: Iterable[Key], target: memoryview
) -> None:
    """Decrypt messages without their lengths, each with its own key.

    Their payloads are written to the front of `target`, one behind the other. Raises
    `ProtocolError` if a message is not what the peer sent.
    """
    begin = 0
    try:
        for message, (key, nonce) in zip(messages, keys, strict=True):
            end = begin + len(message) - TAG_SIZE
            key.decrypt_into(nonce, message, None, target[begin:end])
            begin = end
    except InvalidTag:
        raise ProtocolError("a message that was changed on its way") from None


class IncomingData:
    """The data of one chunk while it arrives, as messages that are not decrypted."""

    def __init__(self, pool: BufferPool, length: int) -> None:
        """Expect `length` bytes of data, and receive them into memory of `pool`."""
        self.length = length
        """Bytes of data."""
        self.messages, self.size = sealed_size(length)
        self.buffer = pool.take(self.size + DATA_ROOM)
        """The memory, with room for the message behind the data."""
        self.view = memoryview(self.buffer)
        self.filled = 0
        """Bytes received into it; more than `size` once the next message is, too."""

    def add(self, received: memoryview) -> int:
        """Copy what belongs to the data; return how many bytes that is."""
        count = max(0, min(self.size - self.filled, len(received)))
        self.view[self.filled : self.filled + count] = received[:count]
        self.filled += count
        return count

    def finish(self, cipher: Cipher) -> SealedData:
        """Return the data, which has arrived, with the keys of its messages."""
        keys = cipher.take_keys(self.messages)
        return SealedData(self.view[: self.size], keys, self.length)
