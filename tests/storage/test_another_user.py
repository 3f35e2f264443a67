"""What another user has put into the folders of this user's data is not used."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.chunks import Chunks
from shoal.core.names.link import Link
from shoal.errors import ForbiddenError
from shoal.storage.background import note_background, running_in_background
from shoal.storage.catalogue import Catalogue
from shoal.storage.catalogue_entry import Made
from shoal.storage.disk.disk import Disk
from shoal.storage.disk.own_folders import opened_own
from shoal.storage.home import user_secret
from shoal.storage.shared.hash_cache import LEAST_CHUNKS, BlockFolder, HashCache
from tests.helpers.requirements import require

KEY = bytes(range(32))
OTHER = 65534  # a user id
CHUNKS = Chunks(LEAST_CHUNKS * (1 << 17), 1 << 17)
MANIFEST = build_manifest("x", 5, 1 << 14, bytes(32), salt=bytes(16))
LINK = Link(MANIFEST.id)


def give(folder: Path) -> None:
    """Let another user own a folder."""
    require(None if os.geteuid() == 0 else "needs root to change an owner")
    os.chown(folder, OTHER, OTHER)


def open_to_all(folder: Path) -> None:
    """Let every user write to a folder."""
    folder.chmod(0o777)


Spoil = Callable[[Path], None]
spoiled = pytest.mark.parametrize("spoil", [give, open_to_all])


@spoiled
def test_a_folder_that_others_may_write_to_is_refused(
    spoil: Spoil, tmp_path: Path
) -> None:
    disk = Disk()
    folder = tmp_path / "folder"
    folder.mkdir(0o700)
    with opened_own(disk, folder) as at:
        assert at is not None
    spoil(folder)
    with pytest.raises(ForbiddenError, match="another user"), opened_own(disk, folder):
        pass
    assert os.listdir(folder) == []
    with opened_own(disk, tmp_path / "none") as at:
        assert at is None


@spoiled
def test_hashes_of_another_user_are_not_used(spoil: Spoil, tmp_path: Path) -> None:
    cache = HashCache(tmp_path / "hashes", disk=Disk())
    cache.add(KEY, b"hashes")
    assert cache.find(KEY) == b"hashes"
    spoil(tmp_path / "hashes")
    assert cache.find(KEY) is None
    cache.add(bytes(32), b"more")
    assert os.listdir(tmp_path / "hashes") == [KEY.hex()]


@spoiled
def test_block_hashes_of_another_user_are_not_used(
    spoil: Spoil, tmp_path: Path
) -> None:
    folder = BlockFolder(tmp_path / "blocks", disk=Disk())
    for kept in (folder.create(KEY, CHUNKS), folder.find(KEY, CHUNKS)):
        assert kept is not None
        kept.close()
    spoil(tmp_path / "blocks")
    assert folder.find(KEY, CHUNKS) is None
    assert folder.create(bytes(32), CHUNKS) is None


@spoiled
def test_a_catalogue_of_another_user_is_reported_and_not_used(
    spoil: Spoil, tmp_path: Path
) -> None:
    catalogue = Catalogue(tmp_path / "catalogue", Disk())
    made = Made(is_shared=True)
    catalogue.add(LINK, tmp_path / "x", MANIFEST, made, flush=False)
    (entry,) = catalogue.entries()
    (inner,) = (tmp_path / "catalogue").iterdir()
    spoil(inner)
    assert catalogue.entries() == catalogue.find(LINK.id) == []
    assert "another user" in catalogue.problems[0]
    for change in (catalogue.forget, catalogue.remove):
        with pytest.raises(ForbiddenError, match="another user"):
            change(entry)
    spoil(tmp_path / "catalogue")
    with pytest.raises(ForbiddenError, match="another user"):
        catalogue.mark_served(LINK.id, tmp_path / "x")
    assert catalogue.is_served([entry]) == [False]


@spoiled
def test_no_process_that_another_user_names_is_ended(
    spoil: Spoil, tmp_path: Path
) -> None:
    disk = Disk()
    note_background(tmp_path, KEY, disk)
    (found,) = running_in_background(tmp_path, disk)
    assert (found.pid, found.identity) == (os.getpid(), KEY.hex())
    spoil(tmp_path / "background")
    with pytest.raises(ForbiddenError, match="another user"):
        list(running_in_background(tmp_path, disk))
    with pytest.raises(ForbiddenError, match="another user"):
        note_background(tmp_path, KEY, disk)


@spoiled
def test_a_secret_that_another_user_may_know_is_refused(
    spoil: Spoil, tmp_path: Path
) -> None:
    path = tmp_path / "shoal" / "secret"
    secret = user_secret(Disk(), path)
    spoil(path.parent)
    with pytest.raises(ForbiddenError, match="another user"):
        user_secret(Disk(), path)
    path.parent.chmod(0o700)
    os.chown(path.parent, os.geteuid(), os.getegid())
    assert user_secret(Disk(), path) == secret
    give(path)
    with pytest.raises(ForbiddenError, match="another user"):
        user_secret(Disk(), path)
