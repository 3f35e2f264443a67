"""The real disk: kills, locks, full file systems, names and permissions."""

import os
import random
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from errno import EACCES, EDQUOT, EINVAL, EIO, ENOSPC, ENOSYS
from hashlib import sha256
from pathlib import Path

import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.errors import (
    DiskFullError,
    ForbiddenError,
    StoreError,
    TargetExistsError,
    UsageError,
)
from shoal.storage.disk import linux, system
from shoal.storage.disk.disk import UNKNOWN_BOOT, Disk
from shoal.storage.disk.system import translate
from shoal.storage.download.filestore import FileStore
from shoal.storage.download.journal import decode
from tests.helpers.faulty.disk import FaultyDisk
from tests.helpers.requirements import require

IDENTITY = sha256(b"share").digest()

FETCH = """
import random, sys
from pathlib import Path
from shoal.core.manifest.chunks import Chunks
from shoal.errors import ShoalError
from shoal.storage.download.filestore import FileStore
from shoal.storage.disk.disk import Disk

target, size, chunk_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
content = random.Random(1).randbytes(size)
chunks = Chunks(size, chunk_size)
try:
    store = FileStore.open(target, bytes.fromhex(sys.argv[4]), chunks, disk=Disk())
    wrong = [
        i for i in store.have if store.get(i) != content[chunks.offset(i):][:chunk_size]
    ]
    print("have", store.have.count, "wrong", len(wrong), flush=True)
    missing = list(store.have.missing())
    random.shuffle(missing)
    for index in missing:
        store.put(index, content[chunks.offset(index):][:chunk_size])
        print("put", index, flush=True)
    store.finish()
    store.close()
    print("done", flush=True)
except ShoalError as error:
    print(type(error).__name__, error, flush=True)
    sys.exit(error.exit_code)
"""


def fetch(
    target: Path, size: int, chunk_size: int, *prefix: str
) -> subprocess.Popen[str]:
    arguments = [str(target), str(size), str(chunk_size), IDENTITY.hex()]
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", FETCH, *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )


def lines(process: subprocess.Popen[str]) -> list[str]:
    return process.communicate(timeout=50)[0].splitlines()


def test_a_faulty_disk_replaces_every_method() -> None:
    public = {name for name in vars(Disk) if not name.startswith("_")}
    # A number, and `states_at` for one name.
    public -= {"open_files", "state_at"}
    assert public <= vars(FaultyDisk).keys()


# Complete downloads.


def test_a_kill_loses_no_chunk_that_was_put(tmp_path: Path) -> None:
    target = tmp_path / "file"
    size, chunk_size = 2_000_000, 5_000
    rng = random.Random(7)
    put = 0
    for _ in range(8):
        process = fetch(target, size, chunk_size)
        assert process.stdout is not None
        said = process.stdout.readline().split()
        assert said[:1] == ["have"]
        assert said[3] == "0", "a chunk has other bytes than were put"
        assert int(said[1]) >= put
        time.sleep(rng.random() * 0.01)
        process.kill()
        with process.stdout:
            put = int(said[1]) + len(process.stdout.readlines())
        process.wait()
        if target.exists():
            break
    # The last kill was before, during or after the renaming of the target.
    last = lines(fetch(target, size, chunk_size))[-1]
    assert last == "done" or last.startswith("TargetExistsError")
    assert target.read_bytes() == random.Random(1).randbytes(size)
    assert os.listdir(tmp_path) == ["file"]


def test_only_one_process_downloads_to_a_target(tmp_path: Path) -> None:
    target = tmp_path / "file"
    store = FileStore.open(target, IDENTITY, Chunks(100, 10), disk=Disk())
    second = fetch(target, 100, 10)
    assert "Another shoal is already downloading" in lines(second)[0]
    assert second.returncode == 1
    store.close()
    assert lines(fetch(target, 100, 10))[-1] == "done"


def test_files_and_folders_have_the_right_permissions(tmp_path: Path) -> None:
    target = tmp_path / "file"
    store = FileStore.open(target, IDENTITY, Chunks(3, 10), disk=Disk())
    (staging,) = tmp_path.iterdir()
    assert staging.name == f".file.shoal-{IDENTITY[:4].hex()}"
    assert stat.S_IMODE(staging.stat().st_mode) == 0o700
    assert {path.name for path in staging.iterdir()} == {"data", "journal"}
    for path in staging.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store.put(0, b"abc")
    before = os.umask(0o027)
    try:
        store.finish()
    finally:
        os.umask(before)
    store.close()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_target_may_have_a_long_or_unusual_name(tmp_path: Path) -> None:
    for name in ("x" * 255, "ä" * 127, os.fsdecode(b"\xff\xfe"), "-rf"):
        store = FileStore.open(tmp_path / name, IDENTITY, Chunks(1, 1), disk=Disk())
        store.put(0, b"x")
        store.finish()
        store.close()
        assert (tmp_path / name).read_bytes() == b"x"


def test_the_staging_folder_of_a_run_killed_after_naming_the_target_is_removed(
    tmp_path: Path,
) -> None:
    target = tmp_path / "file"
    store = FileStore.open(target, IDENTITY, Chunks(1, 1), disk=Disk())
    store.put(0, b"x")
    (staging,) = tmp_path.iterdir()
    os.link(staging / "data", target)  # as on a kernel without renameat2
    store.close()
    with pytest.raises(TargetExistsError):
        FileStore.open(target, IDENTITY, Chunks(1, 1), disk=Disk())
    assert os.listdir(tmp_path) == ["file"]


def test_a_target_created_by_another_program_does_not_lose_the_download(
    tmp_path: Path,
) -> None:
    target = tmp_path / "file"
    store = FileStore.open(target, IDENTITY, Chunks(2, 1), disk=Disk())
    store.put(0, b"x")
    store.close()
    target.write_bytes(b"another")
    with pytest.raises(TargetExistsError):
        FileStore.open(target, IDENTITY, Chunks(2, 1), disk=Disk())
    target.unlink()
    store = FileStore.open(target, IDENTITY, Chunks(2, 1), disk=Disk())
    assert store.have.count == 1
    store.close()


def test_adjacent_and_scattered_chunks_are_written_to_their_offsets(
    tmp_path: Path,
) -> None:
    chunks = Chunks(
        3_000_001, 1000
    )  # more adjacent chunks than one system call accepts
    content = random.Random(3).randbytes(chunks.size)
    store = FileStore.open(tmp_path / "file", IDENTITY, chunks, disk=Disk())
    items = [(i, content[chunks.offset(i) :][:1000]) for i in range(chunks.count)]
    random.Random(4).shuffle(items)
    for start in (0, 100):
        store.put_many(items[start : start + 100])
    store.put_many(items)
    store.finish()
    store.close()
    assert (tmp_path / "file").read_bytes() == content


def test_another_thread_may_commit_while_chunks_are_put(tmp_path: Path) -> None:
    disk, chunks = Disk(), Chunks(200_000, 10)
    store = FileStore.open(tmp_path / "file", IDENTITY, chunks, disk=disk)
    is_done = threading.Event()

    def commit() -> None:
        while not is_done.is_set():
            store.commit()

    with ThreadPoolExecutor(1) as pool:
        committing = pool.submit(commit)
        for index in range(chunks.count):
            store.put(index, index.to_bytes(10, "big"))
        is_done.set()
        committing.result()
    (journal,) = tmp_path.glob(".*/journal")
    contents = decode(journal.read_bytes())
    assert contents is not None
    assert list(contents.indexes) == list(range(chunks.count))
    assert 0 < contents.committed <= chunks.count
    store.finish()
    store.close()


def in_small_tmpfs(folder: Path, script: str) -> list[str]:
    """Return a command that runs a script with an 8 MiB tmpfs mounted on a folder."""
    mount = f"mount -t tmpfs -o size=8m none {folder}"
    unshare = ["unshare", "-rm", "sh", "-c"]
    tried = subprocess.run([*unshare, mount], capture_output=True, text=True)
    require(tried.stderr.strip() if tried.returncode else None)
    return [*unshare, f"{mount} && {script}", "sh"]


@pytest.mark.parametrize(("size", "others"), [(4_000_000, 7_000_000), (16_000_000, 1)])
def test_a_disk_too_small_ends_with_exit_code_9(
    tmp_path: Path, size: int, others: int
) -> None:
    fill = f"head -c {others} /dev/zero > {tmp_path}/other"
    script = f'{fill}; "$@"; echo $?; ls -A {tmp_path}'
    inside = in_small_tmpfs(tmp_path, script)
    said = lines(fetch(tmp_path / "file", size, 100_000, *inside))
    assert said[0].startswith("DiskFullError")
    assert f"needs {size:,} bytes" in said[0]
    assert said[1:] == ["9", "other"]


def test_a_download_resumes_after_the_disk_was_full(tmp_path: Path) -> None:
    """There is space for the data, but not for all of the journal."""
    size, chunk_size = 2_000_000, 1_000
    page, pages_of_data = 4096, 489
    others = 8 * 1024 * 1024 - (pages_of_data + 2) * page
    expected = tmp_path / "expected"
    expected.write_bytes(random.Random(1).randbytes(size))
    folder = tmp_path / "small"
    folder.mkdir()
    inside = in_small_tmpfs(
        folder,
        f'head -c {others} /dev/zero > {folder}/other; "$@"; '
        f'rm {folder}/other; "$@"; cmp {folder}/file {expected}; echo $?',
    )
    said = lines(fetch(folder / "file", size, chunk_size, *inside))
    full = [place for place, line in enumerate(said) if "DiskFullError" in line]
    assert len(full) == 1
    put = sum(line.startswith("put") for line in said[: full[0]])
    assert put > 0
    assert said[full[0] + 1] == f"have {put} wrong 0"
    assert said[-2:] == ["done", "0"]


# The methods of the disk.


def test_a_fifo_does_not_block_and_a_link_is_not_followed(tmp_path: Path) -> None:
    disk = Disk()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for opening in (disk.open_read, disk.open_write):
        with pytest.raises(UsageError, match="not a regular file"):
            opening(tmp_path / "fifo")
        with pytest.raises(StoreError):
            opening(tmp_path / "link")
    disk.close(disk.open_read(tmp_path / "link", follow=True))


def test_a_staging_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    staging = tmp_path / f".file.shoal-{IDENTITY[:4].hex()}"
    staging.symlink_to(tmp_path / "real")
    with pytest.raises(ForbiddenError, match="not a folder that you own"):
        FileStore.open(tmp_path / "file", IDENTITY, Chunks(1, 1), disk=Disk())
    assert not os.listdir(tmp_path / "real")


@pytest.mark.parametrize("means", ["kernel", "link", "claim"])
def test_rename_new_never_replaces(
    tmp_path: Path, means: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*args: object, **kwargs: object) -> None:
        raise OSError(EINVAL, "unsupported")

    if means != "kernel":
        monkeypatch.setattr(system, "rename_without_replacing", unsupported)
    if means == "claim":
        monkeypatch.setattr(os, "link", unsupported)
    disk = Disk()
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"old")
    new.write_bytes(b"new")
    with pytest.raises(TargetExistsError):
        disk.rename(old, new, replace=False)
    assert (old.read_bytes(), new.read_bytes()) == (b"old", b"new")
    new.unlink()
    disk.rename(old, new, replace=False)
    assert new.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["new"]
    (tmp_path / "folder").mkdir()
    with pytest.raises((TargetExistsError, StoreError)):
        disk.rename(tmp_path / "folder", new, replace=False)
    disk.rename(tmp_path / "folder", old, replace=False)
    assert old.is_dir()


def test_allocate_works_where_the_kernel_cannot_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    for place, number in enumerate((0, ENOSYS)):
        if number:

            def fail(fd: int, size: int) -> None:
                raise OSError(ENOSYS, "no such call")

            monkeypatch.setattr(linux, "fallocate", fail)
        fd = disk.open_write(tmp_path / str(place))
        disk.allocate(fd, 1_000_000)
        assert disk.state(fd).size == 1_000_000
        disk.close(fd)


def test_short_writes_are_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    fd = disk.open_write(tmp_path / "file")

    def write_some(fd: int, buffers: list[bytes], offset: int) -> int:
        whole = b"".join(bytes(buffer) for buffer in buffers)
        return os.pwrite(fd, whole[: 1 + len(whole) // 3], offset)

    monkeypatch.setattr(os, "pwritev", write_some)
    disk.pwrite(fd, [b"abc", bytearray(b"de"), memoryview(b"fghij"), b"", b"k"], 2)
    assert disk.pread(fd, 100, 0) == b"\0\0abcdefghijk"
    into = bytearray(20)
    assert disk.pread_into(fd, into, 3) == 10
    assert into[:10] == b"bcdefghijk"
    disk.close(fd)


def test_reads_past_the_end_are_short_or_none(tmp_path: Path) -> None:
    disk = Disk()
    (tmp_path / "file").write_bytes(bytes(100))
    fd = disk.open_read(tmp_path / "file")
    assert disk.pread_now(fd, 101, 0) is None
    disk.close(fd)
    assert disk.pread_now(fd, 10, 0) is None
    with pytest.raises(StoreError, match="Could not read a closed file"):
        disk.pread(fd, 10, 0)


def test_missing_files_and_folders_are_not_errors(tmp_path: Path) -> None:
    disk = Disk()
    disk.unlink(tmp_path / "no")
    assert disk.remove_directory(tmp_path / "no")
    assert disk.state_at(tmp_path / "no" / "deeper") is None
    disk.make_directory(tmp_path / "a")
    disk.make_directory(tmp_path / "a")
    (tmp_path / "a" / "b").touch()
    assert not disk.remove_directory(tmp_path / "a")
    with pytest.raises(StoreError):
        disk.unlink(tmp_path / "a")
    assert disk.free_space(tmp_path) > 0


def test_the_boot_id_stays_the_same_until_a_restart() -> None:
    boot_id = Disk().boot_id()
    assert len(boot_id) == 16
    assert boot_id == Disk().boot_id()
    if sys.platform == "linux":
        assert boot_id != UNKNOWN_BOOT


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (ENOSPC, DiskFullError, "no space for /a. Free some space"),
        (EDQUOT, DiskFullError, "no space for /a. Free some space"),
        (EACCES, ForbiddenError, "does not allow shoal to write /a"),
        (EIO, StoreError, "Could not write /a"),
    ],
)
def test_system_errors_become_shoal_errors_with_advice(
    number: int, kind: type[StoreError], said: str
) -> None:
    error = translate(OSError(number, os.strerror(number)), "/a", "write")
    assert type(error) is kind
    assert said in str(error)
