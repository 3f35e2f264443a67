"""Check that docs/vectors.json agrees with shoal and with the documents.

`tests.core.reference`, which shares no code with shoal, computes everything a second
time.
"""

import hashlib
import json
from typing import Any

import pytest

from shoal.core.manifest.collisions import collision
from shoal.core.manifest.file_pages import FileEntry
from shoal.core.manifest.paths import path_problem
from shoal.core.names.link import parse_share
from shoal.errors import UsageError
from tests.core.make_vectors import (
    FILES,
    LONG_PATHS,
    MANY_FILES,
    PATH,
    as_text,
    made_up_hashes,
    pattern,
)
from tests.core.reference import (
    base32,
    blake3_derive,
    block_hashes,
    chunk_hash,
    file_tree,
    hash_tree,
    hkdf,
    hmac_sha256,
    msgpack,
)
from tests.core.reference_noise import Handshake, gcm_encrypt, rekey
from tests.core.reference_spake2 import spake2

VECTORS = json.loads(PATH.read_text())
FILES_OF: dict[str, tuple[FileEntry, ...]] = {
    "folder": FILES,
    "empty folder": (),
    "many files": MANY_FILES,
    "long paths": LONG_PATHS,
}


def test_the_file_of_vectors_is_up_to_date() -> None:
    assert PATH.read_text() == as_text(), "every link there is would break"


def test_the_reference_agrees_with_blake3s_own_vectors() -> None:
    context = "BLAKE3 2019-12-27 16:29:52 test vectors context"
    start = "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d"
    assert blake3_derive(context, b"").hex() == start


def test_the_reference_agrees_with_rfc_5869_test_case_1() -> None:
    found = hkdf(bytes(range(13)), b"\x0b" * 22, bytes(range(0xF0, 0xFA)), 42)
    assert found.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
        "34007208d5b887185865"
    )


@pytest.mark.parametrize("vector", VECTORS["ids"], ids=lambda v: v["id"][:8])
def test_keys_and_topics_match_the_vectors(vector: dict[str, str]) -> None:
    share_id = bytes.fromhex(vector["id"])
    check = blake3_derive("shoal v2 link check", share_id)[:3]
    assert vector["check"] == check.hex()
    assert vector["link"] == "shoal:" + base32(share_id + check)
    for key in ("psk", "log"):
        assert vector[key] == hkdf(b"shoal/v2", share_id, key.encode(), 32).hex()
    assert vector["log_name"] == vector["log"][:8]
    assert vector["relay_token"] == hkdf(b"shoal/v2", share_id, b"relay", 32).hex()
    for topic, label in (("lan_topic", b"lan-topic"), ("dht_topic", b"dht-topic")):
        assert vector[topic] == hkdf(b"shoal/v2", share_id, label, 20).hex()


@pytest.mark.parametrize("vector", VECTORS["handshakes"], ids=lambda v: v["id"][:8])
def test_handshakes_match_the_vectors(vector: dict[str, Any]) -> None:
    psk = hkdf(b"shoal/v2", bytes.fromhex(vector["id"]), b"psk", 32)
    name = "Noise_NNpsk0_25519_AESGCM_SHA256"
    handshake = Handshake(name, psk, b"shoal/v2")
    asked = bytes(vector["client_versions"]) + b"c" * 16
    said = bytes((2, *vector["server_versions"])) + b"s" * 16
    knock = handshake.first(bytes.fromhex(vector["client_ephemeral"]), asked)
    assert vector["knock"] == knock.hex()
    answer = handshake.second(bytes.fromhex(vector["server_ephemeral"]), said)
    assert vector["answer"] == answer.hex()
    keys = handshake.split()
    assert vector["handshake_hash"] == keys.hash.hex()
    assert vector["confirmation"] == keys.message(keys.to_responder, 0, b"").hex()
    for key, messages in (
        (keys.to_responder, vector["client_messages"]),
        (keys.to_initiator, vector["server_messages"]),
    ):
        assert len(messages) == 4
        for each in messages:
            current = rekey(key) if each["number"] == 1 << 20 else key
            payload = bytes.fromhex(each["payload"])
            message = keys.message(current, each["number"], payload)
            assert each["message"] == message.hex()


def test_the_reference_agrees_with_the_vectors_of_spake2() -> None:
    """Those are in test_compat.py of the package spake2 0.9."""
    scalars = (
        2611694063369306139794446498317402240796898290761098242657700742213257926693,
        7002393159576182977806091886122272758628412261510164356026361256515836884383,
    )
    drawn = [scalar.to_bytes(64) for scalar in scalars]
    found = spake2(b"password", b"", b"", *drawn)
    assert found.from_a.hex() == (
        "6fc960df73c9cf8ed7198b0c9534e2e96a5984bfc5edc023fd24dacf371f2af9"
    )
    assert found.from_b.hex() == (
        "354e97b88406922b1df4bea1d7870f17aed3dba7c720b313edae315b00959309"
    )
    assert found.key.hex() == (
        "a480bca13fa04464bb644f10e340125e96c9494f7399fef7c2bda67eb0fdf06d"
    )


@pytest.mark.parametrize("vector", VECTORS["codes"], ids=lambda v: v["code"])
def test_codes_match_the_vectors(vector: dict[str, str]) -> None:
    rendezvous = "-".join(vector["code"].split("-")[:2])
    met = blake3_derive("shoal v2 code rendezvous", rendezvous.encode())
    assert vector["rendezvous_id"] == met.hex()
    for name, label, size in (
        ("psk", b"psk", 32),
        ("lan_topic", b"lan-topic", 20),
        ("dht_topic", b"dht-topic", 20),
    ):
        assert vector[name] == hkdf(b"shoal/v2", met, label, size).hex()
    password = blake3_derive("shoal v2 code password", vector["code"].encode())
    assert vector["password"] == password.hex()
    exchange = spake2(
        password,
        b"shoal/v2 code receiver",
        b"shoal/v2 code sender",
        bytes.fromhex(vector["receiver_random"]),
        bytes.fromhex(vector["sender_random"]),
    )
    assert vector["receiver_greeting"] == exchange.from_a.hex()
    assert vector["sender_greeting"] == exchange.from_b.hex()
    proof, answer, receipt, key = (
        hkdf(b"shoal/v2 code", exchange.key, label, 32)
        for label in (b"receiver", b"sender", b"receipt", b"link")
    )
    assert (vector["proof"], vector["receipt"]) == (proof.hex(), receipt.hex())
    link = vector["link"].encode()
    padded = (len(link).to_bytes(2) + link).ljust(8192, b"\0")
    verdict = b"\1\3" + answer + gcm_encrypt(key, bytes(12), padded, b"")
    assert vector["verdict_begins"] == verdict[:66].hex()
    assert vector["verdict_sha256"] == hashlib.sha256(verdict).hexdigest()


@pytest.mark.parametrize("vector", VECTORS["chunks"], ids=lambda v: v["length"])
def test_chunks_match_the_vectors(vector: dict[str, Any]) -> None:
    data = pattern(vector["length"])
    assert vector["blocks"] == block_hashes(data).hex()
    assert vector["hash"] == chunk_hash(data).hex()


@pytest.mark.parametrize("vector", VECTORS["shares"], ids=lambda v: v["name"])
def test_shares_match_the_vectors(vector: dict[str, Any]) -> None:
    hashes, hash_pages = hash_tree(chunk_hashes(vector))
    assert vector["hashes"] == hashes.hex()
    pages = {("hashes", *key): page for key, page in hash_pages.items()}
    fields: dict[str, object] = {
        "v": 2,
        "name": vector["name"],
        "size": vector["size"],
        "chunk": vector["chunk_size"],
        "hashes": hashes,
    }
    files = FILES_OF.get(vector["name"])
    if files is not None:
        fields["files"], file_pages = file_tree(files)
        pages |= {("files", *key): page for key, page in file_pages.items()}
        count, depth, digest = vector["files"]
        assert fields["files"] == [count, depth, bytes.fromhex(digest)]
    if vector["salt"] is not None:
        fields["salt"] = bytes.fromhex(vector["salt"])
    assert vector["root"] == msgpack(fields).hex()
    share_id = blake3_derive("shoal v2 root", bytes.fromhex(vector["root"]))
    assert vector["id"] == share_id.hex()
    given = {
        (table, level, number): page for table, level, number, page in vector["pages"]
    }
    assert given.keys() == pages.keys()
    for key, page in pages.items():
        assert given[key] in (len(page), page.hex())


def chunk_hashes(vector: dict[str, Any]) -> bytes:
    size, chunk_size = vector["size"], vector["chunk_size"]
    if vector["chunk_hashes"] == "made up":
        return made_up_hashes(-(-size // chunk_size))
    data = pattern(size)
    chunks = [data[i : i + chunk_size] for i in range(0, size, chunk_size)]
    return b"".join(map(chunk_hash, chunks))


def test_the_salt_matches_the_vectors() -> None:
    vector = VECTORS["salt"]
    secret = bytes.fromhex(vector["secret"])
    root = bytes.fromhex(vector["root_without_salt"])
    assert vector["salt"] == hmac_sha256(secret, root)[:16].hex()


def test_links_match_the_vectors() -> None:
    for vector in VECTORS["links"]["read"]:
        link = parse_share(vector["text"])
        assert not isinstance(link.id, str)
        assert link.id.hex() == vector["id"]
        assert list(map(str, link.hints)) == vector["hints"]
        assert list(link.origins) == vector["origins"]
        assert list(map(str, link.relays)) == vector["relays"]
    for vector in VECTORS["links"]["refused"]:
        with pytest.raises(UsageError):
            parse_share(vector["text"])


def test_paths_match_the_vectors() -> None:
    paths = VECTORS["paths"]
    assert all(path_problem(path) is None for path in paths["allowed"])
    assert all(map(path_problem, paths["refused"]))
    assert all(map(collision, paths["colliding"]))
