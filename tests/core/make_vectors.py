"""Make docs/vectors.json, from which another implementation can be written.

Run `python -m tests.core.make_vectors` after a change that is meant to change the
vectors; such a change breaks every existing link. `test_vectors.py` compares the file
with the output of this program, and checks it with an independent implementation.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from shoal.core.crypto.hashes import (
    block_digests,
    chunk_digest,
    link_check,
    rendezvous_id,
)
from shoal.core.crypto.keys import derive_keys
from shoal.core.crypto.knock import (
    PROLOGUE,
    ClientHandshake,
    ServerHandshake,
    handshake_start,
)
from shoal.core.crypto.noise import REKEY_MESSAGES, Cipher, open_first
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.file_pages import FileEntry
from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.root import encode_root
from shoal.core.names.address import Address
from shoal.core.names.code import Code, parse_code
from shoal.core.names.link import Link
from shoal.core.session.code_exchange import CodeOffer, Given, ReceiverExchange
from tests.adversary.names import COLLISIONS, SAFE_PATHS, UNSAFE_PATHS

PATH = Path(__file__).parents[2] / "docs" / "vectors.json"
KIB = 1024
SECRET = bytes(range(32))

ABOUT = {
    "ids": "everything derived from an id; bytes are in hex",
    "handshakes": "the messages of both ends with given ephemeral keys, then the first "
    "Noise messages of both directions without their lengths, and what follows a Rekey",
    "links": "the text of links with hints, and what is no link",
    "chunks": "the hashes of the blocks, and of the whole, of one chunk of this length "
    "whose byte at offset i is i mod 251",
    "shares": "the byte of a share at offset i is i mod 251; a single file's chunk "
    "hashes follow from that. Where chunk hashes are `made up`, the hash of chunk i "
    "is i as 4 bytes, big-endian, eight times over. A page is its table, level, number "
    "and bytes; of a page of more than 1,024 bytes, the length instead",
    "codes": "everything derived from a code, and one exchange. Each end draws 64 "
    "random bytes, which as a big-endian number modulo the order of the group are its "
    "scalar; of the verdict, the first 66 bytes and the SHA-256",
    "salt": "the first 16 bytes of HMAC-SHA256(secret, root without salt)",
    "paths": "what refuses a manifest, what does not, and which two cannot be in one",
}


def pattern(size: int) -> bytes:
    """Return the content of a share of the vectors."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def made_up_hashes(count: int) -> bytes:
    """Return the hashes of chunks that do not exist."""
    return b"".join(i.to_bytes(4, "big") * 8 for i in range(count))


def true_hashes(size: int, chunk_size: int) -> bytes:
    """Return the chunk hashes of `pattern(size)`."""
    data = pattern(size)
    chunks = (data[i : i + chunk_size] for i in range(0, size, chunk_size))
    return b"".join(map(chunk_digest, chunks))


FILES: tuple[FileEntry, ...] = (
    ("README", 5, False),
    ("bin/run.sh", 16 * KIB, True),
    ("data/empty", 0, False),
    ("data/große Liste.txt", 16 * KIB, False),
    ("日本/語.bin", 1, False),
)
LONG_PATHS = tuple(
    (f"{i:03}/" + "/".join([f"{i % 7}" * 200] * 19), 1, False) for i in range(300)
)
CHUNK_LENGTHS = (0, 1, 64 * KIB, 64 * KIB + 1, 128 * KIB, 200_000)
MANY_FILES = tuple((f"file-{i:05}", i % 3, i % 2 == 1) for i in range(5000))


def vectors() -> dict[str, Any]:
    """Return the content of the file."""
    salted = _build("salted.bin", 5, 64 * KIB, salt=bytes(range(16)))
    public = _build("vector.bin", 49 * KIB + 5, 16 * KIB)
    derived = _build("vector.bin", 49 * KIB + 5, 16 * KIB, secret=SECRET)
    return {
        "about": ABOUT,
        "ids": [_of_id(bytes(32)), _of_id(bytes(range(32))), _of_id(public.id)],
        "handshakes": [_handshake(bytes(range(32)), 2), _handshake(public.id, 3)],
        "links": _links(public.id),
        "codes": [
            _code(parse_code("4821-purity-carbon-olympic"), str(Link(public.id))),
            _code(parse_code("1000-zoo-abandon-zoo"), "shoal:" + "x" * 4000),
        ],
        "salt": {
            "secret": SECRET.hex(),
            "root_without_salt": encode_root(public.root).hex(),
            "salt": (derived.root.salt or b"").hex(),
        },
        "chunks": [_of_chunk(length) for length in CHUNK_LENGTHS],
        "shares": [
            _of_share(_build("empty", 0, 64 * KIB)),
            _of_share(_build("one.bin", 1, 64 * KIB)),
            _of_share(salted),
            _of_share(public),
            _of_share(derived),
            _of_share(_build("folder", 32 * KIB + 6, 16 * KIB, FILES)),
            _of_share(_build("empty folder", 0, 64 * KIB, ())),
            _of_share(_build("many files", 4999, 64 * KIB, MANY_FILES)),
            _of_share(_build("blocks.bin", 192 * KIB + 5, 128 * KIB)),
            _of_share(_build("long paths", 300, 64 * KIB, LONG_PATHS)),
            _of_share(_made_up("two pages", 2049 * 16 * KIB - 1, 16 * KIB), True),
            _of_share(_made_up("two levels", 131_073 * 16 * KIB, 16 * KIB), True),
        ],
        "paths": {
            "allowed": list(SAFE_PATHS),
            "refused": list(UNSAFE_PATHS),
            "colliding": [list(pair) for pair in COLLISIONS],
        },
    }


def _build(
    name: str,
    size: int,
    chunk_size: int,
    files: Sequence[FileEntry] | None = None,
    **salt: bytes,
) -> Manifest:
    digests = true_hashes(size, chunk_size)
    return build_manifest(name, size, chunk_size, digests, files, **salt)


def _made_up(name: str, size: int, chunk_size: int) -> Manifest:
    digests = made_up_hashes(-(-size // chunk_size))
    return build_manifest(name, size, chunk_size, digests)


def _of_id(share_id: bytes) -> dict[str, Any]:
    keys = derive_keys(share_id)
    return {
        "id": share_id.hex(),
        "check": link_check(share_id).hex(),
        "link": str(Link(share_id)),
        "psk": keys.psk.hex(),
        "log": keys.log.hex(),
        "log_name": keys.log_name,
        "lan_topic": keys.lan_topic.hex(),
        "relay_token": keys.relay_token.hex(),
        "dht_topic": keys.dht_topic.hex(),
    }


def _handshake(share_id: bytes, highest: int) -> dict[str, Any]:
    """Return a handshake with a client that speaks versions 2 to `highest`."""
    start = handshake_start(derive_keys(share_id))
    client_key, server_key = bytes((1,)) * 32, bytes((2,)) * 32
    client_id, server_id = b"c" * 16, b"s" * 16
    client = ClientHandshake(start, client_id, (2, highest), _private(client_key))
    opened = open_first(start, client.knock)
    assert opened is not None
    server = ServerHandshake(opened, server_id, (2, 2), _private(server_key))
    greeted, confirmation = client.finish(server.reply)
    other = server.finish(confirmation)
    return {
        "id": share_id.hex(),
        "prologue": PROLOGUE.hex(),
        "client_versions": [2, highest],
        "server_versions": [2, 2],
        "client_ephemeral": client_key.hex(),
        "server_ephemeral": server_key.hex(),
        "client_node_id": client_id.hex(),
        "server_node_id": server_id.hex(),
        "knock": client.knock.hex(),
        "answer": server.reply.hex(),
        "confirmation": confirmation.hex(),
        "handshake_hash": greeted.ciphers.handshake_hash.hex(),
        "client_messages": _messages(greeted.ciphers.send, 1),
        "server_messages": _messages(other.ciphers.send, 0),
    }


def _private(key: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(key)


def _messages(cipher: Cipher, sent: int) -> list[dict[str, Any]]:
    """Return messages before and after a Rekey; `sent` were sent already."""
    found = []
    for number in range(sent, REKEY_MESSAGES + 2):
        if number in (sent, sent + 1, REKEY_MESSAGES - 1, REKEY_MESSAGES):
            payload = f"message {number}".encode()
            message = cipher.encrypt(payload)
            shown = {"payload": payload.hex(), "message": message.hex()}
            found.append({"number": number, **shown})
        else:
            cipher.take_keys(1)
    return found


def _code(code: Code, link: str) -> dict[str, Any]:
    receiver_random, sender_random = bytes(range(64)), bytes(range(100, 164))
    receiver = ReceiverExchange(code, lambda size: receiver_random[:size])
    offer = CodeOffer(
        code, link, receivers=1, entropy=lambda size: sender_random[:size]
    )
    sender = offer.begin()
    proof = receiver.prove(sender.greeting)
    verdict = sender.answer(receiver.greeting, proof)
    given = receiver.read(verdict)
    assert isinstance(given, Given)
    return {
        "code": str(code),
        "rendezvous_id": rendezvous_id(code.rendezvous.encode()).hex(),
        "lan_topic": code.keys.lan_topic.hex(),
        "dht_topic": code.keys.dht_topic.hex(),
        "psk": code.keys.psk.hex(),
        "password": code.password.hex(),
        "receiver_random": receiver_random.hex(),
        "sender_random": sender_random.hex(),
        "receiver_greeting": receiver.greeting.hex(),
        "sender_greeting": sender.greeting.hex(),
        "proof": proof.hex(),
        "link": link,
        "verdict_begins": verdict[:66].hex(),
        "verdict_sha256": hashlib.sha256(verdict).hexdigest(),
        "receipt": given.receipt.hex(),
    }


def _links(share_id: bytes) -> dict[str, Any]:
    hints = (Address("192.0.2.7", 4001), Address("host.example", 65535))
    origins = ("https://host.example/folder/?a=1&b=2", "s3://bucket/key")
    plain, hinted = str(Link(share_id)), str(Link(share_id, hints))
    relays = (Address("relay.example", 4001),)
    full = str(Link(share_id, hints, origins, relays))
    typo = plain[:-1] + ("a" if plain[-1] != "a" else "b")
    return {
        "read": [
            {
                "text": text,
                "id": share_id.hex(),
                "hints": list(map(str, found)),
                "origins": list(urls),
                "relays": list(map(str, met)),
            }
            for text, found, urls, met in (
                (plain, (), (), ()),
                (plain.upper(), (), (), ()),
                (plain.removeprefix("shoal:"), (), (), ()),
                (f"<{plain}>.", (), (), ()),
                (f"\u201c{plain}\u201d", (), (), ()),
                (quote(plain, safe=""), (), (), ()),
                (f"web+{plain}/", (), (), ()),
                (hinted, hints, (), ()),
                (full, hints, origins, relays),
                (_with_marks(full), hints, origins, relays),
            )
        ],
        "refused": [
            {"text": typo, "why": "mistyped"},
            {"text": plain[:-1], "why": "too short"},
            {"text": plain + "a", "why": "too long"},
            {"text": plain[:-1] + "1", "why": "not base32"},
            {"text": plain + "?peer", "why": "no hint"},
            {"text": "s\u04bboal:" + plain[6:], "why": "another alphabet"},
            {"text": plain[6:-6], "why": "too short, and without its prefix"},
            {"text": plain + "?peer=192.0.2.7", "why": "no port"},
            {"text": plain + "?" + "&".join(["peer=a:1"] * 9), "why": "too many hints"},
            {"text": plain + "?origin=host", "why": "no URL"},
            {"text": plain + "?" + "&".join(["relay=a:1"] * 3), "why": "many relays"},
        ],
    }


def _with_marks(link: str) -> str:
    """Return a link with `?` and `&` before its hints, as links were once written."""
    first, *others = link.split(",")
    return f"{first}?{'&'.join(others)}"


def _of_chunk(length: int) -> dict[str, Any]:
    data = pattern(length)
    return {
        "length": length,
        "blocks": block_digests(data).hex(),
        "hash": chunk_digest(data).hex(),
    }


def _of_share(manifest: Manifest, is_made_up: bool = False) -> dict[str, Any]:
    root, top = manifest.root, manifest.root.files
    return {
        "name": root.name,
        "size": root.size,
        "chunk_size": root.chunk_size,
        "chunk_hashes": "made up" if is_made_up else "true",
        "salt": None if root.salt is None else root.salt.hex(),
        "hashes": root.hashes.hex(),
        "files": None if top is None else [top.count, top.depth, top.digest.hex()],
        "pages": [
            [*key, _of_page(manifest.page(key) or b"")] for key in manifest.keys()
        ],
        "root": manifest.root_record.hex(),
        "id": manifest.id.hex(),
        "link": str(Link(manifest.id)),
    }


def _of_page(page: bytes) -> str | int:
    return page.hex() if len(page) <= KIB else len(page)


def as_text() -> str:
    """Return the text of the file."""
    return json.dumps(vectors(), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(as_text())
