"""A folder being downloaded: its files, permissions and name."""

import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.file_tree import File
from shoal.errors import TargetExistsError
from shoal.storage.download import filestore
from shoal.storage.download.filestore import FileStore
from shoal.storage.download.staging import Staging
from tests.helpers.faulty.disk import FaultyDisk
from tests.storage.one_folder import IDENTITY, STAGING, TARGET, Case

pytestmark = pytest.mark.usefixtures("_large_files_are_small")


# Chunks and files.


def test_a_file_is_created_with_its_first_chunk_and_a_large_one_at_the_start(
    disk: FaultyDisk, case: Case
) -> None:
    store = case.open(disk)
    assert disk.files(STAGING / "data") == {"large": bytes(2_000)}
    store.put_many(case.items(0))
    assert disk.files(STAGING / "data") == {
        "large": bytes(2_000),
        "a/deep/er/one": case.content[:100],
    }


def test_a_commit_is_due_by_the_number_of_files_too(
    disk: FaultyDisk, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filestore, "COMMIT_FILES", 3)
    store = case.open(disk)
    store.put_many(case.items(0))
    assert not store.is_commit_due(0)
    store.put_many(case.items(1, 2))
    assert store.is_commit_due(0)
    store.commit()
    assert not store.is_commit_due(0)


def test_folders_are_private_until_they_have_their_name(
    disk: FaultyDisk, case: Case
) -> None:
    store = case.full(disk, keep_exec=True)
    assert disk.mode(STAGING) == disk.mode(STAGING / "data") == 0o700
    assert disk.mode(STAGING / "data/a/deep") == 0o700
    assert disk.mode(STAGING / "data/a/two") == 0o755
    store.finish()
    assert disk.mode(TARGET) == disk.mode(TARGET / "a/deep") == 0o755
    assert disk.mode(TARGET / "b") == disk.mode(TARGET / "a/empty") == 0o644
    assert disk.mode(TARGET / "a/two") == 0o755


@pytest.mark.parametrize("keep_exec", [False, True])
def test_files_of_an_earlier_run_get_the_permissions_of_this_one(
    disk: FaultyDisk, case: Case, keep_exec: bool
) -> None:
    store = case.open(disk, keep_exec=not keep_exec)
    store.put_many(case.items(0, 1))  # a/two is in chunk 1
    store.close()
    store = case.open(disk, keep_exec=keep_exec)
    case.complete(store)
    assert disk.mode(TARGET / "a/two") == (0o755 if keep_exec else 0o644)


def test_no_file_is_executable_by_default(disk: FaultyDisk, case: Case) -> None:
    store = case.full(disk)
    store.finish()
    assert disk.mode(TARGET / "a/two") == 0o644


def test_a_folder_of_empty_files_is_complete_at_once(disk: FaultyDisk) -> None:
    case = Case([File("x/a", 0), File("x/b", 0)], 100)
    store = case.open(disk)
    assert store.is_complete
    store.finish()
    store.close()
    assert disk.files(TARGET) == {"x/a": b"", "x/b": b""}


# Names.


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_folder_never_replaces_anything(
    disk: FaultyDisk, case: Case, kind: str, overwrite: bool
) -> None:
    if kind == "file":
        disk.close(disk.open_write(TARGET))
    else:
        disk.make_directory(TARGET)
    with pytest.raises(TargetExistsError, match="never replaces anything"):
        case.open(disk, overwrite=overwrite)
    with pytest.raises(TargetExistsError):
        Staging(TARGET, IDENTITY, disk).check_target(
            overwrite=overwrite, is_folder=True
        )
    assert disk.paths() == {TARGET}


def test_a_folder_created_in_the_meantime_is_not_merged_into(
    disk: FaultyDisk, case: Case
) -> None:
    store = case.full(disk)
    disk.make_directory(TARGET)
    with pytest.raises(TargetExistsError):
        store.finish()
    assert disk.files(TARGET) == {}
    disk.remove_directory(TARGET)
    store.finish()
    assert disk.files(TARGET) == case.expected()


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a//b", "a/./b", "", "a/..", "nul\0", "\0/nul", "a/"]
)
def test_no_path_leads_out_of_the_folder(disk: FaultyDisk, path: str) -> None:
    with pytest.raises(ValueError, match="not safe"):
        Case([File(path, 5)], 100).open(disk)
    assert disk.paths() == set()


def test_files_must_be_in_order_and_add_up_to_the_share(disk: FaultyDisk) -> None:
    for paths in (["b", "a"], ["a", "a"]):
        with pytest.raises(ValueError, match="not safe"):
            Case([File(path, 5) for path in paths], 100).open(disk)
    with pytest.raises(ValueError, match="add up"):
        FileStore.open(TARGET, IDENTITY, Chunks(6, 2), disk=disk, files=[File("a", 5)])
