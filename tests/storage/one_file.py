"""A small file to download to a disk that fails, and checks of what must hold."""

import random
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.errors import TargetExistsError
from shoal.storage.disk.disk import Data
from shoal.storage.download.filestore import FileStore
from tests.helpers.faulty.disk import FaultyDisk

ROOT = Path("/disk")
TARGET = ROOT / "file"
IDENTITY = sha256(b"share").digest()
STAGING = ROOT / f".file.shoal-{IDENTITY[:4].hex()}"
CHUNKS = Chunks(24_950, 100)
CONTENT = random.Random(1).randbytes(CHUNKS.size)


def chunk(index: int) -> bytes:
    return CONTENT[CHUNKS.offset(index) :][: CHUNKS.length(index)]


def items(*indexes: int) -> list[tuple[int, bytes]]:
    return [(index, chunk(index)) for index in indexes]


def verify(index: int, data: Data) -> bool:
    return data == chunk(index)


def open_store(
    disk: FaultyDisk,
    *,
    verify: Callable[[int, Data], bool] | None = None,
    chunks: Chunks = CHUNKS,
    identity: bytes = IDENTITY,
    overwrite: bool = False,
) -> FileStore:
    return FileStore.open(
        TARGET, identity, chunks, disk=disk, verify=verify, overwrite=overwrite
    )


def check_claims(store: FileStore) -> None:
    for index in store.have:
        assert store.get(index) == chunk(index), f"chunk {index} is wrong"


def download(disk: FaultyDisk, rng: random.Random, done: dict[str, set[int]]) -> None:
    """Download everything; note in `done` what crashes must not lose."""
    store = open_store(disk)
    done["put"], done["safe"] = set(store.have), set(store.have)
    try:
        missing = list(store.have.missing())
        rng.shuffle(missing)
        while missing:
            batch = [missing.pop() for _ in range(min(len(missing), 9))]
            store.put_many(items(*batch))
            done["put"].update(batch)
            if rng.random() < 0.3:
                store.commit()
                done["safe"] |= done["put"]
        store.finish()
    finally:
        store.close()


def check_after(disk: FaultyDisk, expected: set[int]) -> None:
    """Check the guarantees of a store after a crash, then complete the download."""
    if disk.contents(TARGET) is not None:
        assert disk.contents(TARGET) == CONTENT
        with pytest.raises(TargetExistsError):
            open_store(disk)
        assert disk.paths() == {TARGET}
        return
    store = open_store(disk)
    check_claims(store)
    assert set(store.have) >= expected
    store.put_many(items(*store.have.missing()))
    store.finish()
    store.close()
    assert disk.contents(TARGET) == CONTENT
    assert disk.paths() == {TARGET}
