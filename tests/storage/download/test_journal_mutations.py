"""Three hundred damaged and forged journals; a resume believes no false claim.

The forged journals have valid checksums and claim all chunks or the last ones. One
false claim among many true ones might pass, and would spoil only the download of the
user who forged it.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.storage.download.journal import (
    HEADER_SIZE,
    MARK,
    RECORD_SIZE,
    Header,
    encode_records,
)
from tests.helpers.faulty.disk import FaultyDisk
from tests.storage.one_file import (
    CHUNKS,
    CONTENT,
    STAGING,
    TARGET,
    check_claims,
    items,
    open_store,
    verify,
)
from tests.storage.one_folder import IDENTITY

JOURNAL = STAGING / "journal"
MUTATIONS = 300
Mutate = Callable[[bytes, random.Random], bytes]


def truncated(journal: bytes, rng: random.Random) -> bytes:
    return journal[: rng.randrange(len(journal))]


def flipped(journal: bytes, rng: random.Random) -> bytes:
    changed = bytearray(journal)
    for _ in range(rng.randrange(1, 9)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def zeroed(journal: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(journal))
    end = rng.randrange(start, len(journal) + 1)
    return journal[:start] + bytes(end - start) + journal[end:]


def shuffled(journal: bytes, rng: random.Random) -> bytes:
    header, rest = journal[:HEADER_SIZE], journal[HEADER_SIZE:]
    records = [rest[i : i + RECORD_SIZE] for i in range(0, len(rest), RECORD_SIZE)]
    rng.shuffle(records)
    return header + b"".join(records)


def doubled(journal: bytes, rng: random.Random) -> bytes:
    return journal + journal[HEADER_SIZE:]


def garbage(journal: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(3 * len(journal)))


def of_another_version(journal: bytes, rng: random.Random) -> bytes:
    version = rng.choice([0, 2, 255, 1 << 31]).to_bytes(4, "big")
    return journal[:8] + version + journal[12:]


def of_another_share(journal: bytes, rng: random.Random) -> bytes:
    return claiming(journal, range(CHUNKS.count), IDENTITY[:4] + rng.randbytes(28))


def begun_as_another(journal: bytes, rng: random.Random) -> bytes:
    """Return the header of one journal with the records of another."""
    return of_another_share(journal, rng)[:HEADER_SIZE] + journal[HEADER_SIZE:]


def claiming_all(journal: bytes, rng: random.Random) -> bytes:
    return claiming(journal, range(CHUNKS.count))


def claiming_more(journal: bytes, rng: random.Random) -> bytes:
    more = rng.sample(range(1, CHUNKS.count, 2), rng.randrange(1, 20))
    return claiming(journal, [*range(0, CHUNKS.count, 2), *more])


def claiming(
    journal: bytes, indexes: range | list[int], identity: bytes = IDENTITY
) -> bytes:
    """Return a valid journal with these claims."""
    header = Header.decode(journal[:HEADER_SIZE])
    assert header is not None
    header = header._replace(identity=identity)
    values = [*indexes, MARK]
    return header.encode() + encode_records(values, 0, header.seed)


BROKEN: list[Mutate] = [
    *(truncated, flipped, zeroed, shuffled, doubled, garbage),
    *(of_another_version, of_another_share, begun_as_another),
]
LYING: list[Mutate] = [claiming_all, claiming_more]


def half_done(disk: FaultyDisk) -> None:
    store = open_store(disk)
    for start in range(0, CHUNKS.count, 20):
        store.put_many(items(*range(start, min(start + 20, CHUNKS.count), 2)))
        store.commit()
    store.close()


def write_journal(disk: FaultyDisk, path: Path, data: bytes) -> None:
    fd = disk.open_write(path)
    disk.truncate(fd, 0)
    disk.pwrite(fd, [data], 0)
    disk.close(fd)


@pytest.mark.parametrize("is_hash_known", [True, False])
@pytest.mark.parametrize("part", range(10))
def test_no_false_claim_of_a_journal_is_believed(
    part: int, is_hash_known: bool
) -> None:
    kinds = BROKEN + LYING if is_hash_known else BROKEN
    for number in range(part * MUTATIONS // 10, (part + 1) * MUTATIONS // 10):
        rng = random.Random(number)
        kind = kinds[number % len(kinds)]
        disk = FaultyDisk(Path("/disk"))
        half_done(disk)
        before = disk.contents(JOURNAL)
        assert before is not None
        write_journal(disk, JOURNAL, kind(before, rng))
        if rng.random() < 0.3:
            disk.lose_power(rng)
        store = open_store(disk, verify=verify if is_hash_known else None)
        check_claims(store)
        store.put_many(items(*store.have.missing()))
        store.finish()
        store.close()
        assert disk.contents(TARGET) == CONTENT, f"{kind.__name__}, seed {number}"
        assert disk.paths() == {TARGET}
