"""The catalogue remembers what was shared and fetched; damaged entries are skipped."""

import os
import stat
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from errno import EACCES, EIO
from pathlib import Path
from random import Random

import pytest

from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.errors import ShoalError
from shoal.storage.catalogue import Catalogue
from shoal.storage.catalogue_entry import Made
from shoal.storage.catalogue_watch import CatalogueWatch
from shoal.storage.disk.disk import Disk
from tests.helpers.faulty.disk import FaultyDisk
from tests.helpers.pages import pages_of

CHUNK = 16_384
FETCHED = Made(is_shared=False)
SHARED = Made(is_shared=True)


def make(seed: int) -> tuple[Link, Manifest]:
    digests = Random(seed).randbytes(3 * 32)
    manifest = build_manifest("x", 3 * CHUNK, CHUNK, digests, salt=bytes(16))
    return Link(manifest.id), manifest


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue(tmp_path / "home/catalogue", Disk())


def test_an_entry_is_found_by_its_id_and_by_its_path(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    for seed in range(3):
        catalogue.add(*_at(seed, tmp_path / f"copy-{seed}"), FETCHED, flush=True)
    (entry,) = catalogue.find(make(1)[0].id)
    assert (entry.link, entry.path) == (make(1)[0], tmp_path / "copy-1")
    assert entry.manifest.is_complete
    assert [entry.link for entry in catalogue.at(tmp_path / "copy-2")] == [make(2)[0]]
    assert len(catalogue.entries()) == 3
    catalogue.remove(entry)
    assert catalogue.find(make(1)[0].id) == []
    assert len(catalogue.entries()) == 2


def test_a_watch_finds_what_has_changed(catalogue: Catalogue, tmp_path: Path) -> None:
    watch = CatalogueWatch(catalogue)
    assert watch.look() == ([], [])
    for seed in range(3):
        catalogue.add(*_at(seed, tmp_path / f"copy-{seed}"), FETCHED, flush=True)
    found = watch.look()
    assert [entry.link for _, entry in found.changed] == [make(n)[0] for n in range(3)]
    assert watch.look() == ([], [])
    first, last = found.changed[0], found.changed[2]
    catalogue.remove(first[1])
    catalogue.add(*_at(2, tmp_path / "copy-2"), SHARED, flush=True)
    again = watch.look()
    assert again.gone == [first[0]]
    assert [(name, entry.made) for name, entry in again.changed] == [(last[0], SHARED)]


def _at(seed: int, path: Path) -> tuple[Link, Path, Manifest]:
    link, manifest = make(seed)
    return link, path, manifest


def test_only_this_user_can_read_it(catalogue: Catalogue, tmp_path: Path) -> None:
    catalogue.add(*_at(1, tmp_path / "copy"), FETCHED, flush=False)
    folder = tmp_path / "home/catalogue"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (file,) = folder.glob("*/*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(make(1)[0]) not in file.name


def test_names_that_are_no_unicode_are_kept(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    path = tmp_path / os.fsdecode(b"copy-\xff\xfe")
    catalogue.add(*_at(1, path), FETCHED, flush=False)
    assert [entry.path for entry in catalogue.entries()] == [path]


def test_a_folder_is_kept_with_the_pages_that_are_known(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    files = [(f"{i:05}", 1, False) for i in range(10_000)]
    whole = build_manifest("x", 10_000, CHUNK, bytes(32), files)
    known = Manifest(whole.id, whole.root_record)
    while missing := list(known.missing_path("07000")):
        for key in missing:
            assert known.add_page(key, whole.page(key) or b"")
    for manifest in (known, whole):
        link = Link(manifest.id)
        catalogue.add(link, tmp_path / "copy", manifest, FETCHED, flush=False)
        (entry,) = catalogue.entries()
        assert pages_of(entry.manifest) == pages_of(manifest)
        assert entry.manifest.find("07000").offset == 7000


def test_an_entry_of_an_older_version_is_reported_and_skipped(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    catalogue.add(*_at(1, tmp_path / "copy"), FETCHED, flush=False)
    (file,) = (tmp_path / "home/catalogue").glob("*/*")
    data = file.read_bytes()
    file.write_bytes(data.replace(b"shoalce\x02", b"shoalce\x01"))
    assert catalogue.entries() == []
    (problem,) = catalogue.problems
    assert "older version of shoal" in problem
    assert "Delete it" in problem


def test_any_changed_byte_and_any_shorter_entry_is_reported_and_skipped(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    catalogue.add(*_at(1, tmp_path / "copy"), FETCHED, flush=False)
    catalogue.add(*_at(2, tmp_path / "other"), FETCHED, flush=False)
    (damaged,) = (tmp_path / "home/catalogue").glob(f"*/{_prefix(catalogue)}")
    data = damaged.read_bytes()
    for place in range(0, len(data), 7):
        for bad in (
            data[:place],
            data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :],
        ):
            damaged.write_bytes(bad)
            fresh = Catalogue(tmp_path / "home/catalogue", Disk())
            assert [entry.link for entry in fresh.entries()] == [make(2)[0]]
            fresh.entries()
            (problem,) = fresh.problems
            assert str(damaged) in problem
            assert problem.endswith("share or fetch that copy again.")


def _prefix(catalogue: Catalogue) -> str:
    from shoal.storage.catalogue import _hash

    return f"{_hash(make(1)[0].id)}-*"


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        (FETCHED, FETCHED, 1),  # another share was fetched to the same path
        (SHARED, SHARED, 1),  # the content has changed
        (SHARED, Made(is_shared=True, include=("a",)), 2),
        (SHARED, Made(is_shared=True, include=("a",), is_new_link=True), 1),
        (SHARED, FETCHED, 2),
        (FETCHED, Made(is_shared=False, is_complete=False), 2),
    ],
)
def test_an_entry_replaces_those_that_it_makes_obsolete(
    before: Made, after: Made, left: int, catalogue: Catalogue, tmp_path: Path
) -> None:
    catalogue.add(*_at(1, tmp_path / "copy"), before, flush=False)
    catalogue.add(*_at(1, tmp_path / "another"), before, flush=False)
    catalogue.add(*_at(2, tmp_path / "copy"), after, flush=False)
    assert len(catalogue.at(tmp_path / "copy")) == left
    assert len(catalogue.at(tmp_path / "another")) == 1


def test_processes_may_write_at_once(catalogue: Catalogue, tmp_path: Path) -> None:
    def write(number: int) -> None:
        mine = Catalogue(tmp_path / "home/catalogue", Disk())
        path = tmp_path / f"copy-{number % 3}"
        mine.add(*_at(number % 3, path), FETCHED, flush=False)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert len(catalogue.entries()) == 3
    assert not catalogue.problems


def test_a_power_loss_leaves_the_old_entry_or_the_new_one() -> None:
    for call in range(1, 40):
        disk = FaultyDisk(Path("/"))
        catalogue = Catalogue(Path("/home/catalogue"), disk)
        started = Made(is_shared=False, is_complete=False)
        catalogue.add(*_at(1, Path("/copy")), started, flush=True)
        disk.fault = lambda n, method, call=call: EIO if n >= call else 0  # type: ignore[misc]
        is_written = True
        try:
            catalogue.add(*_at(1, Path("/copy")), FETCHED, flush=True)
        except ShoalError:
            is_written = False
        disk.fault = lambda n, method: 0
        disk.lose_power(Random(call))
        (entry,) = catalogue.entries()
        assert entry.manifest.is_complete
        if is_written:
            assert entry.made.is_complete


def test_an_entry_survives_in_folders_that_were_made_for_one_that_need_not() -> None:
    for seed in range(10):
        disk = FaultyDisk(Path("/"))
        catalogue = Catalogue(Path("/home/catalogue"), disk)
        catalogue.mark_served(bytes(32), Path("/copy"), b"node")
        catalogue.add(*_at(1, Path("/copy")), SHARED, flush=False)
        catalogue.add(*_at(1, Path("/copy")), FETCHED, flush=True)
        disk.lose_power(Random(seed))
        (entry,) = Catalogue(Path("/home/catalogue"), disk).entries()
        assert entry.made.is_complete


def test_a_folder_that_cannot_be_written_is_an_error() -> None:
    disk = FaultyDisk(Path("/"))
    disk.fault = lambda n, method: EACCES if method == "make_directory" else 0
    catalogue = Catalogue(Path("/home/catalogue"), disk)
    with pytest.raises(ShoalError):
        catalogue.add(*_at(1, Path("/copy")), FETCHED, flush=True)
    assert catalogue.entries() == []


def test_the_nodes_that_serve_a_share_are_known_until_they_leave_it(
    tmp_path: Path,
) -> None:
    one, two, reader = (Catalogue(tmp_path / "catalogue", Disk()) for _ in range(3))
    one.mark_served(bytes(32), tmp_path / "a", b"one")
    two.mark_served(bytes(32), tmp_path / "b", b"two")
    two.mark_served(bytes([1] * 32), tmp_path / "c", b"two")
    assert reader.serving_nodes(bytes(32)) == {b"one", b"two"}
    assert reader.serving_nodes(bytes([1] * 32)) == {b"two"}
    two.mark_left(bytes(32))
    assert reader.serving_nodes(bytes(32)) == {b"one"}
    one.close()
    assert reader.serving_nodes(bytes(32)) == set()
    two.close()


def test_nothing_is_noted_as_served_once_the_node_is_closed(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "catalogue", Disk())
    catalogue.mark_served(bytes(32), tmp_path)
    catalogue.close()
    # A thread of the node may be late.
    catalogue.mark_left(bytes(32))
    catalogue.mark_served(bytes(32), tmp_path)
    assert not list((tmp_path / "catalogue").glob(".serving*"))


def test_an_entry_takes_little_more_memory_than_its_pages(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    digests = Random(1).randbytes(32 * 200_000)
    size = CHUNK * 200_000
    manifest = build_manifest("x", size, CHUNK, digests, salt=bytes(16))
    link = Link(manifest.id)
    tracemalloc.start()
    try:
        catalogue.add(link, tmp_path / "copy", manifest, FETCHED, flush=False)
        _, adding = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert catalogue.find(link.id)
        _, reading = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Encoded once to write it; to read it, as it is in the file and as pages.
    assert adding < 1.9 * len(digests)
    assert reading < 2.9 * len(digests)
