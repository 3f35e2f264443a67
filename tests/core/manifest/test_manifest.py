"""Build manifests, and send them page by page."""

import random
import tracemalloc

import pytest

from shoal.core.crypto.hashes import chunk_digest, root_digest
from shoal.core.manifest.file_table import FileEntry, FileSpan
from shoal.core.manifest.manifest import Manifest, build_manifest
from shoal.core.manifest.pages import PAGE_SIZE
from shoal.core.manifest.root import choose_chunk_size, encode_root
from shoal.errors import LyingPeerError, UsageError

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
    assert got.page_count == 2
    assert list(got.file_pages) == [1]
    assert got.page_of(1) == 0
    assert not is_complete(got)
    with pytest.raises(LookupError):
        assert got.files
    pages = [built.page(number) or b"" for number in range(2)]
    for number in range(-1, 4):
        for place, page in enumerate(pages):
            if number != place:
                assert not got.add_page(number, page)
        assert got.page(number) is None
    assert got.add_page(1, pages[1])
    assert [file.path for file in got.files] == ["a", "b/c", "d"]
    assert not got.hash_table.has_digest(0)
    assert got.add_page(0, pages[0])
    assert is_complete(got)
    assert got.hash_table.verifies(1, DATA[CHUNK:])
    assert [got.page(number) for number in range(2)] == pages
    assert got.root_record == built.root_record


def test_a_single_file_has_the_name_of_the_share() -> None:
    manifest = build()
    assert manifest.file_table is None
    assert len(manifest.file_pages) == 0
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
    with pytest.raises(UsageError, match="--name"):
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
    assert manifest.page_count == 0
    assert manifest.is_complete
    assert manifest.root_record == encode_root(manifest.root)
    assert root_digest(manifest.root_record) == manifest.id


@pytest.mark.parametrize("size", [1 << 40, 8_000_000_000_000])
def test_a_random_read_of_terabytes_needs_the_root_and_one_page(size: int) -> None:
    chunk_size = choose_chunk_size(size, name="huge")
    data = random.Random(5).randbytes(chunk_size)
    count = -(-size // chunk_size)
    digests = bytearray(random.Random(6).randbytes(32 * count))
    digests[32 * 100_000 : 32 * 100_001] = chunk_digest(data)
    built = build_manifest("huge", size, chunk_size, bytes(digests))
    number = built.page_of(100_000)
    page = built.page(number)
    assert page is not None
    tracemalloc.start()
    got = Manifest(built.id, built.root_record)
    assert got.add_page(number, page)
    assert got.hash_table.verifies(100_000, data)
    assert tracemalloc.get_traced_memory()[1] < 2 * PAGE_SIZE
    tracemalloc.stop()
    assert not got.hash_table.has_digest(100_000 - 2048)


def test_the_repr_does_not_hold_the_id() -> None:
    manifest = build(FILES)
    assert manifest.id.hex()[:8] not in repr(manifest)
    assert repr(manifest.id)[2:10] not in repr(manifest)
    assert repr(manifest).startswith("<Manifest of ")
