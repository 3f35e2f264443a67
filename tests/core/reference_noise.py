"""Implement the Noise handshake a second time, for tests only.

This was written from the Noise specification (revision 34), RFC 7748, FIPS 197 and NIST
SP 800-38D, without any library but `hashlib`, and as plainly as they are.
"""

import hashlib
from typing import NamedTuple

__all__ = ["Handshake", "Transport", "gcm_encrypt", "public_key", "rekey", "shared_key"]

P = 2**255 - 19


def shared_key(private: bytes, public: bytes) -> bytes:
    """Return X25519(private, public), RFC 7748 section 5."""
    scalar = int.from_bytes(private, "little") & ~7 & ~(1 << 255) | 1 << 254
    x1 = int.from_bytes(public, "little") & ((1 << 255) - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in range(254, -1, -1):
        bit = scalar >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def public_key(private: bytes) -> bytes:
    """Return the public key of a private one."""
    return shared_key(private, (9).to_bytes(32, "little"))


def _multiply(a: int, b: int) -> int:
    """Multiply in GF(2^8), FIPS 197 section 4.2."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def _sbox() -> bytes:
    table = bytearray(256)
    for value in range(256):
        inverse = next((i for i in range(256) if _multiply(value, i) == 1), 0)
        spread = inverse
        for turn in range(1, 5):
            spread ^= (inverse << turn | inverse >> (8 - turn)) & 0xFF
        table[value] = spread ^ 0x63
    return bytes(table)


_SBOX = _sbox()


def _round_keys(key: bytes) -> list[bytes]:
    """Return the 15 round keys of AES-256, FIPS 197 section 5.2."""
    words = [key[i : i + 4] for i in range(0, 32, 4)]
    constant = 1
    while len(words) < 60:
        word = words[-1]
        if len(words) % 8 == 0:
            turned = bytes(_SBOX[b] for b in word[1:] + word[:1])
            word = bytes((turned[0] ^ constant,)) + turned[1:]
            constant = _multiply(constant, 2)
        elif len(words) % 8 == 4:
            word = bytes(_SBOX[b] for b in word)
        words.append(bytes(a ^ b for a, b in zip(word, words[-8], strict=True)))
    return [b"".join(words[i : i + 4]) for i in range(0, 60, 4)]


def _encrypt_block(keys: list[bytes], block: bytes) -> bytes:
    """Encrypt 16 bytes, FIPS 197 section 5.1."""
    state = bytes(a ^ b for a, b in zip(block, keys[0], strict=True))
    for number, key in enumerate(keys[1:], 1):
        state = bytes(_SBOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16))
        if number < 14:
            mixed = bytearray()
            for c in range(0, 16, 4):
                for i in range(4):
                    one, two = state[c + i], state[c + (i + 1) % 4]
                    rest = state[c + (i + 2) % 4] ^ state[c + (i + 3) % 4]
                    mixed.append(_multiply(one, 2) ^ _multiply(two, 3) ^ rest)
            state = bytes(mixed)
        state = bytes(a ^ b for a, b in zip(state, key, strict=True))
    return state


def _ghash(h: int, data: bytes) -> int:
    """Return GHASH of whole blocks, SP 800-38D section 6.4."""
    y = 0
    for start in range(0, len(data), 16):
        x, v, y = y ^ int.from_bytes(data[start : start + 16], "big"), h, 0
        for bit in range(127, -1, -1):
            if x >> bit & 1:
                y ^= v
            v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
    return y


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)


def gcm_encrypt(key: bytes, nonce: bytes, data: bytes, extra: bytes) -> bytes:
    """Return AES-256-GCM's ciphertext and tag, SP 800-38D section 7.1."""
    keys = _round_keys(key)
    out = bytearray()
    for number, start in enumerate(range(0, len(data), 16), 2):
        pad = _encrypt_block(keys, nonce + number.to_bytes(4, "big"))
        block = data[start : start + 16]
        out += bytes(a ^ b for a, b in zip(block, pad[: len(block)], strict=True))
    lengths = (8 * len(extra)).to_bytes(8, "big") + (8 * len(data)).to_bytes(8, "big")
    h = int.from_bytes(_encrypt_block(keys, bytes(16)), "big")
    tag = _ghash(h, _padded(extra) + _padded(bytes(out)) + lengths)
    mask = int.from_bytes(_encrypt_block(keys, nonce + b"\0\0\0\1"), "big")
    return bytes(out) + (tag ^ mask).to_bytes(16, "big")


def rekey(key: bytes) -> bytes:
    """Return REKEY(k) of the Noise specification, section 4.2."""
    return gcm_encrypt(key, bytes(4) + b"\xff" * 8, bytes(32), b"")[:32]


class Transport(NamedTuple):
    """The keys of a finished handshake."""

    to_responder: bytes
    to_initiator: bytes
    hash: bytes

    @staticmethod
    def message(key: bytes, number: int, payload: bytes) -> bytes:
        """Return the message with this number, without its length."""
        return gcm_encrypt(key, bytes(4) + number.to_bytes(8, "big"), payload, b"")


class Handshake:
    """Write both messages of Noise_NNpsk0_25519_AESGCM with any hash function."""

    def __init__(self, name: str, psk: bytes, prologue: bytes) -> None:
        self._kind = name.rpartition("_")[2].lower()
        text = name.encode()
        size = hashlib.new(self._kind).digest_size
        self.h = text.ljust(size, b"\0") if len(text) <= size else self._hash(text)
        self.ck = self.h
        self._mix_hash(prologue)
        self.ck, mixed, self._k = self._hkdf(psk, 3)
        self._mix_hash(mixed)

    def first(self, private: bytes, payload: bytes) -> bytes:
        """Return the initiator's message."""
        self._initiator = private
        return self._ephemeral(private) + self._encrypt(payload)

    def second(self, private: bytes, payload: bytes) -> bytes:
        """Return the responder's message."""
        public = self._ephemeral(private)
        self._mix_key(shared_key(self._initiator, public))
        return public + self._encrypt(payload)

    def split(self) -> Transport:
        """Return the keys for the messages after the handshake."""
        first, second = self._hkdf(b"", 2)
        return Transport(first[:32], second[:32], self.h)

    def _ephemeral(self, private: bytes) -> bytes:
        public = public_key(private)
        self._mix_hash(public)
        self._mix_key(public)
        return public

    def _mix_hash(self, data: bytes) -> None:
        self.h = self._hash(self.h + data)

    def _mix_key(self, material: bytes) -> None:
        self.ck, self._k = self._hkdf(material, 2)

    def _encrypt(self, payload: bytes) -> bytes:
        sealed = gcm_encrypt(self._k[:32], bytes(12), payload, self.h)
        self._mix_hash(sealed)
        return sealed

    def _hash(self, data: bytes) -> bytes:
        return hashlib.new(self._kind, data).digest()

    def _hmac(self, key: bytes, data: bytes) -> bytes:
        padded = key.ljust(hashlib.new(self._kind).block_size, b"\0")
        inner = self._hash(bytes(b ^ 0x36 for b in padded) + data)
        return self._hash(bytes(b ^ 0x5C for b in padded) + inner)

    def _hkdf(self, material: bytes, outputs: int) -> list[bytes]:
        secret = self._hmac(self.ck, material)
        results = [b""]
        for number in range(1, outputs + 1):
            results.append(self._hmac(secret, results[-1] + bytes((number,))))
        return results[1:]
