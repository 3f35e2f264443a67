"""What is read of a kept manifest is what the id proves, whatever is in the file."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.manifest import Manifest
from shoal.storage.disk.disk import Disk
from shoal.storage.download.manifest_file import (
    MANIFEST,
    ManifestFile,
    read_manifest,
)
from tests.helpers.pages import hash_page, pages_of

CHUNK = 16_384
COUNT = 3000  # chunks, whose hashes fill one page and a part of another
WHOLE = build_manifest(
    "x", COUNT * CHUNK, CHUNK, random.Random(1).randbytes(COUNT * 32), salt=bytes(16)
)
DISK = Disk()


@pytest.fixture
def at(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def begin() -> Manifest:
    """Return a manifest of which only the root record is known."""
    return Manifest(WHOLE.id, WHOLE.root_record)


def add(manifest: Manifest, number: int) -> Manifest:
    page = WHOLE.page(hash_page(number))
    assert page is not None
    assert manifest.add_page(hash_page(number), page)
    return manifest


def pages_in(folder: Path) -> list[int] | None:
    found = read_manifest(folder, WHOLE.id, DISK)
    return None if found is None else [key.number for key in found.keys()]


def test_each_page_is_kept_when_it_is_saved(at: int, tmp_path: Path) -> None:
    assert pages_in(tmp_path) is None
    kept, manifest = ManifestFile(DISK, at, WHOLE.id), begin()
    assert kept.manifest is None
    kept.save(manifest)
    assert pages_in(tmp_path) == []
    kept.save(add(manifest, 1))
    assert pages_in(tmp_path) == [1]
    kept.close()
    later = ManifestFile(DISK, at, WHOLE.id)
    assert later.manifest is not None
    later.save(add(later.manifest, 0))
    later.save(later.manifest)
    later.sync()
    later.close()
    assert pages_in(tmp_path) == [0, 1]
    size = (tmp_path / MANIFEST).stat().st_size
    assert size < len(WHOLE.root_record) + COUNT * 32 + 100
    assert read_manifest(tmp_path, bytes(32), DISK) is None


def test_a_file_of_an_older_version_counts_as_empty_and_is_replaced(
    at: int, tmp_path: Path
) -> None:
    path = tmp_path / MANIFEST
    path.write_bytes(b"shoalmf\x01" + bytes(8) + WHOLE.root_record)
    assert pages_in(tmp_path) is None
    kept = ManifestFile(DISK, at, WHOLE.id)
    assert kept.manifest is None
    kept.save(add(begin(), 1))
    kept.close()
    assert pages_in(tmp_path) == [1]


def test_pages_of_every_level_and_table_are_kept(at: int, tmp_path: Path) -> None:
    files = [(f"{i:06}" + "x" * 200, 1, False) for i in range(131_073)]
    digests = bytes(32 * 9)
    small = build_manifest("x", 131_073, CHUNK, digests, files)
    for manifest in (small, build_manifest("y", 1 << 34, CHUNK, bytes(32 << 20))):
        kept = ManifestFile(DISK, at, manifest.id)
        kept.save(manifest)
        kept.close()
        found = read_manifest(tmp_path, manifest.id, DISK)
        assert found is not None
        assert found.is_complete
        assert pages_of(found) == pages_of(manifest)
        assert {key.level for key in found.keys()} >= {0, 1}


def test_any_end_and_any_changed_byte_leave_what_is_right(
    at: int, tmp_path: Path
) -> None:
    kept = ManifestFile(DISK, at, WHOLE.id)
    kept.save(add(add(begin(), 0), 1))
    kept.close()
    path = tmp_path / MANIFEST
    data = path.read_bytes()
    rng = random.Random(2)
    root_end = 8 + 10 + len(WHOLE.root_record)
    places = [*range(root_end + 10), *rng.sample(range(len(data)), 100)]
    for place in places:
        path.write_bytes(data[:place])
        check(at, tmp_path, is_root_whole=place >= root_end)
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        check(at, tmp_path, is_root_whole=place >= root_end)


def check(at: int, folder: Path, *, is_root_whole: bool) -> None:
    """Check that nothing wrong is read, and that saving repairs the file."""
    found = pages_in(folder)
    assert (found is not None) is is_root_whole
    assert found != [0, 1]
    kept = ManifestFile(DISK, at, WHOLE.id)
    kept.save(add(add(kept.manifest or begin(), 0), 1))
    kept.close()
    assert pages_in(folder) == [0, 1]
