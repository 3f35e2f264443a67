"""Small downloads to a disk that fails, and checks of what must hold."""

import random
from collections.abc import Callable, Collection
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.file_tree import File
from shoal.errors import TargetExistsError
from shoal.storage.disk.disk import Data
from shoal.storage.download.filestore import FileStore
from tests.helpers.faulty.disk import FaultyDisk

ROOT = Path("/disk")
TARGET = ROOT / "tree"
IDENTITY = sha256(b"tree").digest()
STAGING = ROOT / f".tree.shoal-{IDENTITY[:4].hex()}"


FILES = [
    File("a/deep/er/one", 130),
    File("a/empty", 0),
    File("a/two", 1, executable=True),
    File("b", 69),
    File("large", 2_000),
    File("ünïcode/名前", 250),
    File("ünïcode/空", 0),
]


class Case:
    """A folder or, without `files`, a file of `size` bytes, divided into chunks.

    Some or all files of a folder are selected.
    """

    def __init__(
        self,
        files: list[File] | None,
        chunk_size: int,
        selected: Collection[int] | None = None,
        seed: int = 1,
        *,
        size: int = 0,
    ) -> None:
        self.files = files
        self.selected = selected
        self.target = ROOT / "file" if files is None else TARGET
        size += sum(file.size for file in files or ())
        self.chunks = Chunks(size, chunk_size)
        self.content = random.Random(seed).randbytes(size)

    def chunk(self, index: int) -> bytes:
        return self.content[self.chunks.offset(index) :][: self.chunks.length(index)]

    def items(self, *indexes: int) -> list[tuple[int, bytes]]:
        return [(index, self.chunk(index)) for index in indexes]

    def verify(self, index: int, data: Data) -> bool:
        return data == self.chunk(index)

    def expected(self) -> dict[str, bytes]:
        """Return the contents of the complete target, by path."""
        if self.files is None:
            return {"": self.content}
        found: dict[str, bytes] = {}
        start = 0
        for number, file in enumerate(self.files):
            if self.selected is None or number in self.selected:
                found[file.path] = self.content[start : start + file.size]
            start += file.size
        return found

    def stored(self, disk: FaultyDisk) -> dict[str, bytes] | None:
        """Return the contents of the target by path; None if it does not exist."""
        if self.files is not None:
            return disk.files(self.target)
        content = disk.contents(self.target)
        return None if content is None else {"": content}

    def open(
        self,
        disk: FaultyDisk,
        *,
        verify: Callable[[int, Data], bool] | None = None,
        chunks: Chunks | None = None,
        identity: bytes = IDENTITY,
        overwrite: bool = False,
        keep_exec: bool = False,
    ) -> FileStore:
        return FileStore.open(
            self.target,
            identity,
            chunks or self.chunks,
            disk=disk,
            files=self.files,
            selected=self.selected,
            keep_exec=keep_exec,
            overwrite=overwrite,
            verify=verify,
        )

    def full(self, disk: FaultyDisk, **options: Any) -> FileStore:
        """Open a new store and put every chunk."""
        store = self.open(disk, **options)
        store.put_many(self.items(*range(self.chunks.count)))
        return store

    def half_done(self, disk: FaultyDisk) -> set[int]:
        """Leave every second wanted chunk in a closed store; return their indexes."""
        store = self.open(disk)
        indexes = list(store.wanted)[::2]
        store.put_many(self.items(*indexes))
        store.close()
        return set(indexes)

    def complete(self, store: FileStore) -> None:
        """Put the missing chunks and finish."""
        store.put_many(self.items(*self.missing(store)))
        store.finish()

    def missing(self, store: FileStore) -> list[int]:
        return [index for index in store.wanted if index not in store.have]

    def check_claims(self, store: FileStore) -> None:
        for index in store.have:
            assert store.get(index) == self.chunk(index), f"chunk {index} is wrong"

    def download(
        self, disk: FaultyDisk, rng: random.Random, done: dict[str, set[int]]
    ) -> None:
        """Download everything; note in `done` what crashes must not lose."""
        store = self.open(disk, verify=self.verify if rng.random() < 0.3 else None)
        done["put"], done["safe"] = set(store.have), set(store.have)
        try:
            missing = self.missing(store)
            rng.shuffle(missing)
            while missing:
                batch = [missing.pop() for _ in range(min(len(missing), 7))]
                store.put_many(self.items(*batch))
                done["put"].update(batch)
                if rng.random() < 0.3:
                    store.commit()
                    done["safe"] |= done["put"]
            store.finish()
        finally:
            store.close()

    def check_after(self, disk: FaultyDisk, kept: set[int]) -> None:
        """Check the guarantees after a crash, then complete the download."""
        if self.stored(disk) is not None:
            assert self.stored(disk) == self.expected(), "the target is incomplete"
            with pytest.raises(TargetExistsError):
                self.open(disk)
        else:
            store = self.open(disk)
            self.check_claims(store)
            assert set(store.have) >= kept, "a chunk was lost"
            self.complete(store)
            store.close()
            assert self.stored(disk) == self.expected()
        assert {path for path in disk.paths() if path.parent == ROOT} == {self.target}


def random_case(rng: random.Random) -> Case:
    """Return a folder of small, empty and large files, some of them selected."""
    files: list[File] = []
    for place in range(rng.randrange(1, 16)):
        folder = rng.choice(["", "a/", "a/b/", "ü/", "z/"])
        size = rng.choice([0, 1, 30, 99, 100, 101, 250, 1500])
        files.append(File(f"{folder}{place:02}", size, rng.random() < 0.3))
    files.sort(key=lambda file: file.path.encode())
    selected = None
    if rng.random() < 0.5:
        count = rng.randrange(1, len(files) + 1)
        selected = rng.sample(range(len(files)), count)
    return Case(files, rng.choice([64, 100, 256]), selected, rng.randrange(1000))
