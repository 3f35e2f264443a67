"""Implement SPAKE2 over Ed25519 a second time, for tests only.

This was written from the comments of the package `spake2` and from RFC 8032, with the
formulas of the curve as they stand there, and uses nothing of that package.
"""

import hashlib
from typing import NamedTuple

from tests.core.reference import hkdf

__all__ = ["Exchange", "spake2"]

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ZERO = (0, 1)
Point = tuple[int, int]


def _add(one: Point, other: Point) -> Point:
    """Add two points; RFC 8032, section 5.1.4."""
    (x1, y1), (x2, y2) = one, other
    both = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + both, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - both, -1, P)
    return x % P, y % P


def _multiply(point: Point, times: int) -> Point:
    total = ZERO
    while times:
        if times & 1:
            total = _add(total, point)
        point = _add(point, point)
        times >>= 1
    return total


def _even_x(y: int) -> int | None:
    """Return the even x of a point with this y, None if there is none."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    if (root * root - square) % P:
        root = root * pow(2, (P - 1) // 4, P) % P
    if (root * root - square) % P:
        return None
    return root if root % 2 == 0 else P - root


def _encode(point: Point) -> bytes:
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _point_of(seed: bytes) -> Point:
    """Return a point whose logarithm no one knows."""
    y = int.from_bytes(hkdf(b"", seed, b"SPAKE2 arbitrary element", 48)) % P
    while (x := _even_x(y)) is None:
        y += 1
    return _multiply((x, y), 8)


BASE_Y = 4 * pow(5, -1, P) % P
BASE = (_even_x(BASE_Y) or 0, BASE_Y)
M, N = _point_of(b"M"), _point_of(b"N")


class Exchange(NamedTuple):
    """The messages of both ends, and the key."""

    from_a: bytes
    from_b: bytes
    key: bytes


def spake2(
    password: bytes, id_a: bytes, id_b: bytes, random_a: bytes, random_b: bytes
) -> Exchange:
    """Return an exchange in which the ends A and B draw these 64 random bytes."""
    secret = int.from_bytes(hkdf(b"", password, b"SPAKE2 pw", 48)) % ORDER
    a, b = (int.from_bytes(drawn) % ORDER for drawn in (random_a, random_b))
    from_a = _encode(_add(_multiply(BASE, a), _multiply(M, secret)))
    from_b = _encode(_add(_multiply(BASE, b), _multiply(N, secret)))
    shared = _encode(_multiply(BASE, a * b % ORDER))
    hashed = b"".join(hashlib.sha256(each).digest() for each in (password, id_a, id_b))
    key = hashlib.sha256(hashed + from_a + from_b + shared).digest()
    return Exchange(from_a, from_b, key)
