"""Implement the algorithms behind the test vectors a second time, for tests only.

This was written from the BLAKE3 paper, RFC 5869, RFC 4648 and the msgpack
specification, and uses nothing of shoal or of its libraries, so that both
implementations cannot be wrong in the same way.
"""

import hashlib
import struct
from collections.abc import Sequence

_IV = (
    0x6A09E667,
    0xBB67AE85,
    0x3C6EF372,
    0xA54FF53A,
    0x510E527F,
    0x9B05688C,
    0x1F83D9AB,
    0x5BE0CD19,
)
_PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_COLUMNS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
_DIAGONALS = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
_START, _END, _PARENT, _ROOT, _CONTEXT, _MATERIAL = 1, 2, 4, 8, 32, 64
_MASK = 0xFFFFFFFF
Words = tuple[int, ...]


def _rotate(value: int, bits: int) -> int:
    return (value >> bits | value << (32 - bits)) & _MASK


def _mix(v: list[int], at: tuple[int, int, int, int], x: int, y: int) -> None:
    a, b, c, d = at
    for word, right, further in ((x, 16, 12), (y, 8, 7)):
        v[a] = (v[a] + v[b] + word) & _MASK
        v[d] = _rotate(v[d] ^ v[a], right)
        v[c] = (v[c] + v[d]) & _MASK
        v[b] = _rotate(v[b] ^ v[c], further)


def _compress(key: Words, block: bytes, counter: int, flags: int) -> Words:
    """Return the first eight words of BLAKE3's compression function."""
    m = list(struct.unpack("<16I", block.ljust(64, b"\0")))
    v = [*key, *_IV[:4], counter & _MASK, counter >> 32, len(block), flags]
    for _ in range(7):
        for i, at in enumerate(_COLUMNS + _DIAGONALS):
            _mix(v, at, m[2 * i], m[2 * i + 1])
        m = [m[i] for i in _PERMUTATION]
    return tuple(v[i] ^ v[i + 8] for i in range(8))


def _bytes(words: Words) -> bytes:
    return struct.pack("<8I", *words)


def _tree(key: Words, data: bytes, counter: int, flags: int, root: int) -> Words:
    """Return the chaining value of `data`, whose first chunk is `counter`."""
    if len(data) > 1024:
        # The largest power of two below the length.
        left = 1 << ((len(data) - 1).bit_length() - 1)
        one = _tree(key, data[:left], counter, flags, 0)
        other = _tree(key, data[left:], counter + left // 1024, flags, 0)
        return _compress(key, _bytes(one) + _bytes(other), 0, flags | _PARENT | root)
    blocks = [data[i : i + 64] for i in range(0, len(data), 64)] or [b""]
    value = key
    for i, block in enumerate(blocks):
        extra = _START if i == 0 else 0
        if i == len(blocks) - 1:
            extra |= _END | root
        value = _compress(value, block, counter, flags | extra)
    return value


def blake3_derive(context: str, data: bytes) -> bytes:
    """Return BLAKE3's derive_key with this context, 32 bytes."""
    key = _tree(_IV, context.encode(), 0, _CONTEXT, _ROOT)
    return _bytes(_tree(key, data, 0, _MATERIAL, _ROOT))


def block_hashes(chunk: bytes) -> bytes:
    """Return the hashes of a chunk's blocks, as docs/protocol.md, "Hashes" has them."""
    blocks = [chunk[i : i + 65_536] for i in range(0, len(chunk), 65_536)] or [b""]
    return b"".join(blake3_derive("shoal v2 block", block) for block in blocks)


def chunk_hash(chunk: bytes) -> bytes:
    """Return the hash of a chunk, as docs/protocol.md, "Hashes" has it."""
    hashes = block_hashes(chunk)
    return hashes if len(hashes) == 32 else blake3_derive("shoal v2 chunk", hashes)


def hash_tree(hashes: bytes) -> tuple[bytes, dict[tuple[int, int], bytes]]:
    """Return `hashes` of the root record and the pages by level and number."""
    pages: dict[tuple[int, int], bytes] = {}
    level = 0
    while level == 0 or len(hashes) > 2048:
        cut = [hashes[i : i + 65_536] for i in range(0, len(hashes), 65_536)]
        pages.update({(level, number): page for number, page in enumerate(cut)})
        hashes = b"".join(blake3_derive("shoal v2 page", page) for page in cut)
        level += 1
    return hashes, pages


def file_tree(
    files: Sequence[tuple[str, int, object]],
) -> tuple[list[object], dict[tuple[int, int], bytes]]:
    """Return `files` of the root record and the pages by level and first file."""
    pages: dict[tuple[int, int], bytes] = {}
    rows: list[tuple[str, int, int, bytes]] = []
    offset = 0
    for number, (path, size, executable) in enumerate(files):
        rows.append((path, number, offset, msgpack([path, size, executable])))
        offset += size
    level = 0
    while True:
        cut: list[list[tuple[str, int, int, bytes]]] = [[]]
        for row in rows:
            if 3 + sum(len(each[3]) for each in [*cut[-1], row]) > 65_536:
                cut.append([])
            cut[-1].append(row)
        rows = []
        for group in cut:
            path, number, start, _ = group[0] if group else ("", 0, 0, b"")
            page = _short_head(len(group), 0x90, 0xDC) + b"".join(g[3] for g in group)
            pages[level, number] = page
            digest = blake3_derive("shoal v2 page", page)
            rows.append((path, number, start, msgpack([path, number, start, digest])))
        if len(rows) == 1:
            return [len(files), level, digest], pages
        level += 1


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """Return HMAC-SHA256 as RFC 2104 writes it; for keys of at most 64 bytes."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in padded) + data).digest()
    return hashlib.sha256(bytes(b ^ 0x5C for b in padded) + inner).digest()


def hkdf(salt: bytes, secret: bytes, label: bytes, size: int) -> bytes:
    """Return `size` bytes of HKDF-SHA256, RFC 5869 section 2."""
    key = hmac_sha256(salt, secret)
    out, block, counter = b"", b"", 0
    while len(out) < size:
        counter += 1
        block = hmac_sha256(key, block + label + bytes((counter,)))
        out += block
    return out[:size]


def base32(data: bytes) -> str:
    """Return RFC 4648's base32 in lower case, for multiples of five bytes."""
    number = int.from_bytes(data, "big")
    digits = (number >> shift & 31 for shift in range(8 * len(data) - 5, -1, -5))
    return "".join("abcdefghijklmnopqrstuvwxyz234567"[digit] for digit in digits)


def msgpack(value: object) -> bytes:
    """Return `value` in its shortest encoding, keys of maps in byte order."""
    match value:
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            return _integer(value) if value >= 0 else _negative(value)
        case float():
            return b"\xcb" + struct.pack(">d", value)
        case str():
            data = value.encode()
            if len(data) < 32:
                return bytes((0xA0 | len(data),)) + data
            return _head(len(data), (0xD9, 0xDA, 0xDB)) + data
        case bytes():
            return _head(len(value), (0xC4, 0xC5, 0xC6)) + value
        case list() | tuple():
            head = _short_head(len(value), 0x90, 0xDC)
            return head + b"".join(map(msgpack, value))
        case dict():
            head = _short_head(len(value), 0x80, 0xDE)
            pairs = sorted((key.encode(), key) for key in value)
            return head + b"".join(msgpack(k) + msgpack(value[k]) for _, k in pairs)
    raise TypeError(type(value))


def _integer(value: int) -> bytes:
    if value < 128:
        return bytes((value,))
    for kind, width in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)):
        if value < 1 << 8 * width:
            return bytes((kind,)) + value.to_bytes(width, "big")
    raise OverflowError(value)


def _negative(value: int) -> bytes:
    if value >= -32:
        return struct.pack("b", value)
    for kind, width in ((0xD0, 1), (0xD1, 2), (0xD2, 4), (0xD3, 8)):
        if value >= -(1 << 8 * width - 1):
            return bytes((kind,)) + value.to_bytes(width, "big", signed=True)
    raise OverflowError(value)


def _head(length: int, kinds: tuple[int, int, int]) -> bytes:
    for kind, width in zip(kinds, (1, 2, 4), strict=True):
        if length < 1 << 8 * width:
            return bytes((kind,)) + length.to_bytes(width, "big")
    raise OverflowError(length)


def _short_head(length: int, short: int, kind: int) -> bytes:
    if length < 16:
        return bytes((short | length,))
    if length < 1 << 16:
        return bytes((kind,)) + length.to_bytes(2, "big")
    return bytes((kind + 1,)) + length.to_bytes(4, "big")
