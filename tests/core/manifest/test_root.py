"""Check the encoding and the limits of root records, and the choice of chunk sizes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shoal.core.crypto.hashes import root_digest
from shoal.core.manifest.chunk_sizes import (
    MAX_CHUNKS,
    check_chunk_count,
    check_sealed_chunk_size,
    choose_chunk_size,
    is_chunk_size,
)
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.file_pages import MAX_FILES, FilesTop
from shoal.core.manifest.hash_table import HASHES_PER_PAGE, level_counts
from shoal.core.manifest.paths import name_problem
from shoal.core.manifest.root import (
    MAX_ROOT_SIZE,
    MAX_SHARE_SIZE,
    VERSION,
    Root,
    decode_root,
    derive_salt,
    encode_root,
)
from shoal.errors import (
    LyingPeerError,
    ManifestError,
    PeerError,
    ProtocolError,
    UsageError,
)
from tests.core.reference import hmac_sha256, msgpack

CHUNK_SIZES = [1 << bits for bits in range(14, 25)]


@st.composite
def roots(draw: st.DrawFn) -> Root:
    """Draw a valid root; its pages need not exist."""
    chunk_size = draw(st.sampled_from(CHUNK_SIZES))
    pages = draw(st.integers(0, 64))
    most = pages * HASHES_PER_PAGE * chunk_size
    least = max(most - HASHES_PER_PAGE * chunk_size + 1, 0)
    rng = random.Random(draw(st.integers(0, 1 << 32)))
    count = draw(st.none() | st.integers(1, MAX_FILES))
    name = draw(st.text(min_size=1, max_size=60).filter(lambda n: not name_problem(n)))
    return Root(
        version=VERSION,
        name=name,
        size=draw(st.integers(least, most)),
        chunk_size=chunk_size,
        hashes=rng.randbytes(32 * pages),
        files=None if count is None else FilesTop(count, 0, rng.randbytes(32)),
        salt=draw(st.none() | st.binary(min_size=16, max_size=16)),
    )


def wire_of(root: Root) -> dict[str, object]:
    values = {
        "v": root.version,
        "name": root.name,
        "size": root.size,
        "chunk": root.chunk_size,
        "hashes": root.hashes,
        "files": root.files and [root.files.count, root.files.depth, root.files.digest],
        "salt": root.salt,
    }
    return {key: value for key, value in values.items() if value is not None}


FULL = Root(
    version=VERSION,
    name="n\u00e4me",
    size=40_000,
    chunk_size=16_384,
    hashes=bytes(range(32)),
    files=FilesTop(3, 0, bytes(range(100, 132))),
    salt=bytes(range(16)),
)


@given(roots())
def test_the_encoding_is_canonical_msgpack_and_decodes(root: Root) -> None:
    data = encode_root(root)
    assert data == msgpack(wire_of(root))
    assert decode_root(root_digest(data), data) == root
    assert decode_root(root_digest(data), memoryview(bytearray(data))) == root


def test_every_changed_byte_is_blamed_on_the_peer() -> None:
    data = encode_root(FULL)
    share_id = root_digest(data)
    for place in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            with pytest.raises(LyingPeerError):
                decode_root(share_id, bytes(changed))
    for wrong in (b"", data[:-1], data + b"\0"):
        with pytest.raises(LyingPeerError):
            decode_root(share_id, wrong)


def test_a_changed_byte_never_decodes_to_the_same_root() -> None:
    data = encode_root(FULL)
    for place in range(len(data)):
        for byte in range(256):
            changed = data[:place] + bytes((byte,)) + data[place + 1 :]
            if changed == data:
                continue
            try:
                root = decode_root(root_digest(changed), changed)
            except ManifestError:
                continue
            assert root != FULL
            assert encode_root(root) == changed


@given(st.binary(max_size=200))
def test_noise_with_the_right_id_is_a_manifest_error(data: bytes) -> None:
    with pytest.raises(ManifestError):
        decode_root(root_digest(data), data)


def test_each_fault_is_blamed_on_the_peer_or_the_link() -> None:
    assert not issubclass(ManifestError, PeerError)
    assert issubclass(LyingPeerError, PeerError)
    assert ManifestError.exit_code == 5


def test_a_root_record_that_is_too_long_is_not_hashed() -> None:
    fits = b"x" * MAX_ROOT_SIZE
    with pytest.raises(ManifestError):
        decode_root(root_digest(fits), fits)
    long = b"x" * (MAX_ROOT_SIZE + 1)
    with pytest.raises(ProtocolError):
        decode_root(root_digest(long), long)


def test_a_newer_version_is_named_in_the_error() -> None:
    for newer in ({"v": 3, "new": b"x"}, {**wire_of(FULL), "v": 3}, {"v": 1 << 40}):
        data = msgpack(newer)
        with pytest.raises(ManifestError, match="update shoal"):
            decode_root(root_digest(data), data)


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": MAX_SHARE_SIZE + 1},
        {"size": 0},
        {"chunk_size": 16_385},
        {"chunk_size": 8192},
        {"name": ".."},
        {"hashes": bytes(31)},
        {"files": FilesTop(-1, 0, bytes(32))},
        {"files": FilesTop(MAX_FILES + 1, 0, bytes(32))},
        {"files": FilesTop(13, 1, bytes(32))},
        {"files": FilesTop(0, 0, bytes(32))},
        {"mode": 0o644},
        {"date": 0},
        {"type": "text/plain"},
        {"salt": bytes(15)},
        {"version": 1},
        {"version": 3},
        {"hashes": bytes(32 * 256), "size": 256 * 2048 * 16_384},
    ],
    ids=str,
)
def test_a_root_that_would_be_refused_is_not_encoded(change: dict[str, object]) -> None:
    with pytest.raises(ManifestError):
        encode_root(replace(FULL, **change))


def test_values_at_the_limits_are_accepted() -> None:
    largest = MAX_CHUNKS * (16 << 20)
    assert largest == 1 << 50  # 1 PiB
    root = Root(
        version=VERSION,
        name="n" * 255,
        size=largest,
        chunk_size=16 << 20,
        hashes=bytes(32 * level_counts(MAX_CHUNKS)[-1]),
        files=FilesTop(MAX_FILES, 5, bytes(32)),
        salt=bytes(16),
    )
    data = encode_root(root)
    assert decode_root(root_digest(data), data) == root
    assert len(data) < MAX_ROOT_SIZE
    with pytest.raises(ManifestError):
        encode_root(replace(root, size=largest + 1))


def test_what_later_versions_may_say_of_a_file_is_accepted() -> None:
    said = {"date": -1, "mode": 0o755, "type": "video/mp4"}
    root = replace(FULL, files=None, **said)
    data = msgpack(wire_of(FULL) | said | {"files": None})
    assert encode_root(root) == msgpack(
        {key: value for key, value in (wire_of(FULL) | said).items() if key != "files"}
    )
    assert decode_root(root_digest(encode_root(root)), encode_root(root)) == root
    with pytest.raises(ManifestError):
        decode_root(root_digest(data), data)


@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
def test_page_counts_and_sizes_at_every_edge(chunk_size: int) -> None:
    page = HASHES_PER_PAGE * chunk_size
    for size, pages, last in (
        (0, 0, None),
        (1, 1, 32),
        (chunk_size, 1, 32),
        (chunk_size + 1, 1, 64),
        (page - 1, 1, 65_536),
        (page, 1, 65_536),
        (page + 1, 2, 32),
        (2 * page, 2, 65_536),
        (2 * page + chunk_size + 1, 3, 64),
    ):
        root = Root(
            version=VERSION,
            name="x",
            size=size,
            chunk_size=chunk_size,
            hashes=bytes(32 * pages),
        )
        assert decode_root(root_digest(encode_root(root)), encode_root(root)) == root
        assert level_counts(root.chunks.count) == (pages,)
        assert 32 * root.chunks.count == 65_536 * max(pages - 1, 0) + (last or 0)


def test_chunk_sizes_are_powers_of_two_in_range() -> None:
    for chunk_size in range(1 << 18):
        assert is_chunk_size(chunk_size) == (chunk_size in CHUNK_SIZES)
    for chunk_size in (-16_384, 1 << 24, (1 << 24) + 1, 1 << 25, 1 << 40):
        assert is_chunk_size(chunk_size) == (chunk_size in CHUNK_SIZES)


def test_the_salt_is_a_keyed_hash_of_what_is_shared() -> None:
    secret = bytes(range(32))
    assert derive_salt(secret, b"root") == hmac_sha256(secret, b"root")[:16]
    with pytest.raises(ValueError, match="32 bytes"):
        derive_salt(b"short", b"root")


def test_the_repr_does_not_reveal_the_id() -> None:
    assert repr(FULL) == "<Root 'n\u00e4me' of 40000 bytes>"


# The choice of chunk sizes, at both sides of every threshold.

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


@pytest.mark.parametrize(
    ("size", "chunk_size"),
    [
        (0, 64 * KIB),
        (1, 64 * KIB),
        (64 * MIB, 64 * KIB),
        (64 * MIB + 1, 128 * KIB),
        (128 * MIB, 128 * KIB),
        (128 * MIB + 1, 256 * KIB),
        (256 * MIB + 1, 512 * KIB),
        (512 * MIB + 1, MIB),
        (GIB + 1, 2 * MIB),
        (2 * GIB, 2 * MIB),
        (2 * GIB + 1, 4 * MIB),
        (4 * GIB + 1, 4 * MIB),
        (TIB, 4 * MIB),
        (2 * TIB, 4 * MIB),
        (2 * TIB + 1, 8 * MIB),
        (4 * TIB, 8 * MIB),
        (4 * TIB + 1, 16 * MIB),
        (1024 * TIB, 16 * MIB),
    ],
)
def test_the_choice_of_the_chunk_size_is_frozen(size: int, chunk_size: int) -> None:
    assert choose_chunk_size(size) == chunk_size


@given(st.integers(0, 1 << 50))
def test_the_chosen_chunk_size_fits(size: int) -> None:
    chunk_size = choose_chunk_size(size)
    assert is_chunk_size(chunk_size)
    check_chunk_count(Chunks(size, chunk_size))
    if size <= 4 * GIB:
        assert Chunks(size, chunk_size).count <= 1024


def test_too_small_chunks_are_refused_with_a_size_that_fits() -> None:
    with pytest.raises(UsageError, match="use chunk_size=65536") as error:
        check_chunk_count(Chunks(4 * TIB, 16 * KIB))
    assert "268,435,456" in str(error.value)
    check_chunk_count(Chunks(4 * TIB, 64 * KIB))


@pytest.mark.parametrize("size", [(1 << 50) + 1, MAX_SHARE_SIZE + 1])
def test_a_share_that_fits_no_chunk_size_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match="in parts"):
        choose_chunk_size(size)
    with pytest.raises(UsageError, match="in parts"):
        check_chunk_count(Chunks(size, 16 * KIB))


@pytest.mark.parametrize("chunk_size", [-1, 0, 1, 1024, 8192, 16_385, 3 << 14, 1 << 25])
def test_other_chunk_sizes_are_refused_with_the_range(chunk_size: int) -> None:
    with pytest.raises(UsageError, match="power of two from 16 KiB to 16 MiB"):
        check_sealed_chunk_size(chunk_size)


def test_every_power_of_two_in_the_range_is_a_chunk_size() -> None:
    for bits in range(14, 25):
        check_sealed_chunk_size(1 << bits)
