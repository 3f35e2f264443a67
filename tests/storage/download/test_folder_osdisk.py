"""Folders on the real disk: kills, replaced folders, names and permissions."""

import os
import random
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.file_tree import File
from shoal.errors import ForbiddenError, ShoalError, StoreError, TargetExistsError
from shoal.storage.disk import folders, linux
from shoal.storage.disk.disk import Disk
from shoal.storage.download.filestore import FileStore

IDENTITY = sha256(b"share").digest()
CHUNK = 1000

FETCH = """
import random, sys
from pathlib import Path
from tests.storage.download.test_folder_osdisk import CHUNK, content, open_folder

store = open_folder(Path(sys.argv[1]))
whole = content()
wrong = [i for i in store.have if store.get(i) != whole[i * CHUNK:][:CHUNK]]
print("have", store.have.count, "wrong", len(wrong), flush=True)
missing = [i for i in store.wanted if i not in store.have]
random.shuffle(missing)
for index in missing:
    store.put(index, whole[index * CHUNK:][:CHUNK])
    print("put", index, flush=True)
store.finish()
store.close()
print("done", flush=True)
"""


def entries() -> list[File]:
    """Return files on three levels, some with names that are not ASCII."""
    rng = random.Random(3)
    places = ["", "a/", "a/b/", "a/b/c/", "Ünï/", "Ünï/漢字 😀/", "sp ace/-x/"]
    files = [
        File(
            f"{rng.choice(places)}é{place:03}.txt",
            rng.choice([0, 1, 500, 2_500, 4_000]),
            place % 3 == 0,
        )
        for place in range(300)
    ]
    return sorted(files, key=lambda file: file.path.encode())


def content() -> bytes:
    return random.Random(4).randbytes(sum(file.size for file in entries()))


def open_folder(target: Path, *, keep_exec: bool = False) -> FileStore:
    files = entries()
    chunks = Chunks(sum(file.size for file in files), CHUNK)
    return FileStore.open(
        target, IDENTITY, chunks, disk=Disk(), files=files, keep_exec=keep_exec
    )


def fill(store: FileStore) -> None:
    whole = content()
    order = list(range(store.chunks.count))
    random.Random(5).shuffle(order)
    for start in range(0, len(order), 50):
        store.put_many(
            [(i, whole[i * CHUNK :][:CHUNK]) for i in order[start : start + 50]]
        )


def check(target: Path) -> None:
    whole = content()
    there = {
        str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()
    }
    assert there == {file.path for file in entries()}
    start = 0
    for file in entries():
        assert (target / file.path).read_bytes() == whole[start : start + file.size]
        start += file.size


@pytest.mark.parametrize("keep_exec", [False, True])
def test_a_folder_gets_its_names_and_permissions(
    tmp_path: Path, keep_exec: bool
) -> None:
    target = tmp_path / "Ordner ü"
    before = os.umask(0o027)
    try:
        store = open_folder(target, keep_exec=keep_exec)
        fill(store)
        (staging,) = tmp_path.iterdir()
        for path in (staging, *(each for each in staging.rglob("*") if each.is_dir())):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        store.finish()
    finally:
        os.umask(before)
    assert store.get(7) == content()[7 * CHUNK :][:CHUNK]
    store.close()
    check(target)
    assert os.listdir(tmp_path) == [target.name]
    for path in (target, *(each for each in target.rglob("*") if each.is_dir())):
        assert stat.S_IMODE(path.stat().st_mode) == 0o750
    for file in entries():
        mode = stat.S_IMODE((target / file.path).stat().st_mode)
        assert mode == (0o750 if keep_exec and file.executable else 0o640)


def test_few_files_stay_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    store = open_folder(tmp_path / "tree")
    fill(store)
    assert len(os.listdir("/proc/self/fd")) < before + 110
    store.finish()
    store.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_syncfs_every_file_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(38, "no such call")

    monkeypatch.setattr(linux, "syncfs", fail)
    store = open_folder(tmp_path / "tree")
    fill(store)
    store.commit()
    store.finish()
    store.close()
    check(tmp_path / "tree")


def test_a_kill_loses_no_chunk_that_was_put(tmp_path: Path) -> None:
    """The last kill is before, during or after the renaming of the folder."""
    target = tmp_path / "tree"
    rng = random.Random(7)
    put = kills = 0
    while not target.exists():
        process = subprocess.Popen(
            [sys.executable, "-c", FETCH, str(target)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        said = process.stdout.readline().split()
        assert said[:1] == ["have"]
        assert said[3] == "0", "a chunk is not what was put"
        assert int(said[1]) >= put
        if kills < 8:
            time.sleep(rng.random() * 0.01)
            process.kill()
            kills += 1
        with process.stdout:
            lines = process.stdout.readlines()
            put = int(said[1]) + sum(line.startswith("put") for line in lines)
        process.wait()
    assert kills
    with pytest.raises(TargetExistsError):
        open_folder(target)
    check(target)
    assert os.listdir(tmp_path) == ["tree"]


# Folders replaced with links.


class Racer:
    """Replace a folder with a link to another and restore it, repeatedly."""

    def __init__(self, folder: Path, outside: Path) -> None:
        self.flips = 0
        self._folder = folder
        self._aside = folder.with_name("aside")
        self._outside = outside
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Racer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_done.is_set():
            aside = self._aside.with_name(f"aside{self.flips}")
            # Any step may fail, since the download creates and removes folders too.
            with suppress(OSError):
                os.rename(self._folder, aside)
            with suppress(OSError):
                os.symlink(self._outside, self._folder)
                self.flips += 1
                time.sleep(0)
                os.unlink(self._folder)
            with suppress(OSError):
                os.rename(aside, self._folder)


def test_a_link_that_replaces_a_folder_is_never_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With more, the replaced folder would stay open.
    monkeypatch.setattr(folders, "MAX_OPEN", 1)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"precious")
    (outside / "victim").chmod(0o600)
    names = [*(f"{place:03}" for place in range(199)), "victim"]
    files = [File(f"{folder}/{name}", 8) for folder in "de" for name in names]
    chunks = Chunks(3_200, 8)
    flips = refused = 0
    target = tmp_path / "tree"
    while flips < 300:
        store = FileStore.open(target, IDENTITY, chunks, disk=Disk(), files=files)
        store.put(0, bytes(8))
        (staging,) = tmp_path.glob(".tree*")
        with Racer(staging / "data" / "d", outside) as racer:
            for index in range(1, 200):
                for each in (index, index + 199):  # in d, in e
                    try:
                        store.put(each, bytes(8))
                    except ShoalError:
                        refused += 1  # an error is as good as the right place
            for work in (store.commit, store.finish):
                try:
                    work()
                except (ShoalError, ValueError):
                    refused += 1
        flips += racer.flips
        try:
            store.close()
        except ShoalError:
            pass
        assert os.listdir(outside) == ["victim"]
        assert (outside / "victim").read_bytes() == b"precious"
        assert stat.S_IMODE((outside / "victim").stat().st_mode) == 0o600
        if target.exists():
            check_files = [path for path in target.rglob("*") if path.is_file()]
            assert len(check_files) == len(files)
        subprocess.run(["rm", "-rf", str(staging), str(target)], check=True)
    assert refused, "the racer was never in time"


@pytest.mark.parametrize("what", ["folder", "file", "hard link"])
def test_an_existing_link_is_never_written_through(tmp_path: Path, what: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"precious")
    files = [File("d/f", 8), File("e", 8)]
    target = tmp_path / "tree"
    store = FileStore.open(target, IDENTITY, Chunks(16, 8), disk=Disk(), files=files)
    store.put(1, bytes(8))
    (staging,) = tmp_path.glob(".tree*")
    if what == "folder":
        (staging / "data/d").symlink_to(outside)
    else:
        (staging / "data/d").mkdir(mode=0o700)
        place = staging / "data/d/f"
        if what == "file":
            place.symlink_to(outside / "f")
        else:
            os.link(outside / "f", place)
    with pytest.raises(StoreError):
        store.put(0, bytes(8))
    assert list(store.have) == [1]
    store.close()
    assert (outside / "f").read_bytes() == b"precious"
    assert (outside / "f").stat().st_nlink == (2 if what == "hard link" else 1)


def test_a_folder_moved_away_before_the_end_is_an_error(tmp_path: Path) -> None:
    target = tmp_path / "tree"
    files = [File("d/f", 8), File("e", 8)]
    store = FileStore.open(target, IDENTITY, Chunks(16, 8), disk=Disk(), files=files)
    store.put_many([(0, bytes(8)), (1, bytes(8))])
    (staging,) = tmp_path.glob(".tree*")
    (staging / "data/d").rename(tmp_path / "aside")
    with pytest.raises(StoreError):
        store.finish()
    store.close()
    assert not target.exists()


def test_a_staging_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / f".tree.shoal-{IDENTITY[:4].hex()}").symlink_to(outside)
    with pytest.raises(ForbiddenError, match="not a folder that you own"):
        open_folder(tmp_path / "tree")
    assert os.listdir(outside) == []
