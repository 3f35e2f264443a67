"""Build manifests, and send them page by page."""

import random
import tracemalloc

import pytest

from shoal.core.crypto.hashes import chunk_digest, root_digest
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.chunk_sizes import choose_chunk_size
from shoal.core.manifest.file_pages import FileEntry
from shoal.core.manifest.file_table import FileSpan
from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import PAGE_SIZE, PageKey
from shoal.core.manifest.root import encode_root
from shoal.errors import LyingPeerError, UsageError
from tests.helpers.pages import file_page, hash_page

CHUNK = 16_384
FILES: list[FileEntry] = [("a", 5, False), ("b/c", 20_000, True), ("d", 0, False)]
SIZE = sum(size for _, size, _ in FILES)
DATA = random.Random(4).randbytes(SIZE)
DIGESTS = chunk_digest(DATA[:CHUNK]) + chunk_digest(DATA[CHUNK:])


def build(files: list[FileEntry] | None = None, **salt: bytes) -> Manifest:
    return build_manifest("x", SIZE, CHUNK, DIGESTS, files, **salt)


def is_complete(manifest: Manifest) -> bool:
    """Read the property again: mypy assumes that its value does not change."""
    return manifest.is_complete


def test_a_folder_arrives_page_by_page() -> None:
    built = build(FILES)
    got = Manifest(built.id, bytearray(built.root_record))
    assert not is_complete(got)
    with pytest.raises(LookupError):
        assert got.files
    keys = [hash_page(0), file_page(0)]
    pages = {key: built.page(key) or b"" for key in keys}
    assert set(got.missing()) == set(keys)
    wrong = (hash_page(1), hash_page(-1), file_page(1), PageKey("files", 1, 0))
    for key in (*keys, *wrong):
        for other in keys:
            if key != other:
                assert not got.add_page(key, pages[other])
        assert got.page(key) is None
    assert got.add_page(file_page(0), pages[file_page(0)])
    assert [file.path for file in got.files] == ["a", "b/c", "d"]
    assert not got.hash_table.has_digest(0)
    assert got.add_page(hash_page(0), pages[hash_page(0)])
    assert is_complete(got)
    assert got.hash_table.verifies(1, DATA[CHUNK:])
    assert {key: got.page(key) for key in got.keys()} == pages
    assert list(got.missing()) == []
    assert got.root_record == built.root_record


def test_a_single_file_has_the_name_of_the_share() -> None:
    manifest = build()
    assert manifest.file_table is None
    assert list(manifest.missing_files()) == []
    (file,) = manifest.files
    assert (file.path, file.size, file.offset) == ("x", SIZE, 0)
    assert manifest.spans(-1, 5) == (FileSpan(file, 0, 5),)
    assert manifest.spans(SIZE - 1, SIZE + 9) == (FileSpan(file, SIZE - 1, 1),)
    assert manifest.spans(SIZE, SIZE + 9) == ()


def test_chunks_of_returns_the_chunks_of_a_file() -> None:
    manifest = build(FILES)
    a, c, d = manifest.files
    assert list(manifest.chunks_of(a)) == [0]
    assert list(manifest.chunks_of(c)) == [0, 1]
    assert list(manifest.chunks_of(d)) == []
    assert manifest.spans(4, 7) == (FileSpan(a, 4, 1), FileSpan(c, 0, 2))


def test_the_root_of_another_share_is_blamed_on_the_peer() -> None:
    with pytest.raises(LyingPeerError):
        Manifest(build(FILES).id, build().root_record)


def test_only_the_same_user_gets_the_same_link() -> None:
    mine = build(FILES, secret=bytes(32))
    assert mine.id == build(FILES, secret=bytes(32)).id
    public = build(FILES)
    others = {build(FILES, secret=b"\1" * 32).id, build(FILES, salt=bytes(16)).id}
    assert len({mine.id, public.id, *others}) == 4
    assert public.root.salt is None
    assert len(mine.root.salt or b"") == 16
    with pytest.raises(ValueError, match="given or derived"):
        build(FILES, salt=bytes(16), secret=bytes(32))


def test_inconsistent_arguments_build_no_manifest() -> None:
    with pytest.raises(UsageError, match="argument name"):
        build_manifest("..", SIZE, CHUNK, DIGESTS)
    with pytest.raises(UsageError, match="power of two"):
        build_manifest("x", SIZE, 1024, DIGESTS)
    with pytest.raises(ValueError, match="every chunk"):
        build_manifest("x", SIZE, CHUNK, DIGESTS[:-1])
    with pytest.raises(ValueError, match="add up"):
        build_manifest("x", SIZE, CHUNK, DIGESTS, FILES[:1])
    with pytest.raises(UsageError, match="Rename"):
        build_manifest("x", SIZE, CHUNK, DIGESTS, [("../a", SIZE, False)])


def test_an_empty_file_has_a_root_and_no_pages() -> None:
    manifest = build_manifest("x", 0, 65_536, b"")
    assert list(manifest.keys()) == []
    assert manifest.is_complete
    assert manifest.root_record == encode_root(manifest.root)
    assert root_digest(manifest.root_record) == manifest.id


@pytest.mark.parametrize("size", [1 << 40, 8 << 40, 64 << 40])
def test_a_random_read_of_terabytes_needs_the_root_and_two_pages(size: int) -> None:
    chunk_size = choose_chunk_size(size)
    data = random.Random(5).randbytes(chunk_size)
    count = -(-size // chunk_size)
    digests = bytearray(32 * count)
    digests[32 * 100_000 : 32 * 100_001] = chunk_digest(data)
    built = build_manifest("huge", size, chunk_size, bytes(digests))
    tracemalloc.start()
    got = Manifest(built.id, built.root_record)
    read = range(100_000, 100_001)
    while missing := list(got.missing_hashes(read)):
        assert len(missing) == 1
        assert got.add_page(missing[0], built.page(missing[0]) or b"")
    assert len(list(got.keys())) == 2
    assert tracemalloc.get_traced_memory()[1] < 3 * PAGE_SIZE + 16_000
    tracemalloc.stop()
    assert got.hash_table.verifies(100_000, data)
    assert not got.hash_table.has_digest(100_000 - 2048)
    assert len(got.root_record) < 8192


def test_the_repr_does_not_hold_the_id() -> None:
    manifest = build(FILES)
    assert manifest.id.hex()[:8] not in repr(manifest)
    assert repr(manifest.id)[2:10] not in repr(manifest)
    assert repr(manifest).startswith("<Manifest of ")
