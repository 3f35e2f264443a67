"""Single files on the real disk: kills, locks, full disks, names and permissions."""

import os
import random
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.core.report.units import format_size
from shoal.errors import (
    TargetExistsError,
)
from shoal.storage.disk.disk import Disk
from shoal.storage.download.filestore import FileStore
from shoal.storage.download.journal import decode
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
    assert f"needs {format_size(size)} " in said[0]
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
