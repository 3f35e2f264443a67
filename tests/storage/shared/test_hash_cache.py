"""The hash cache saves hashing, is never wrong and never fails a share."""

import os
import random
import stat
import time
from collections.abc import Callable
from contextlib import closing
from errno import EIO
from multiprocessing import get_context
from pathlib import Path

import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.storage.disk.disk import Data, Disk, Name
from shoal.storage.disk.file_state import FileState
from shoal.storage.shared.hash_cache import (
    FEW_FILES,
    MAX_ENTRIES,
    RECENT_NS,
    SMALL,
    HashCache,
    hash_files,
    state_key,
)
from shoal.storage.shared.scan import scan_folder
from shoal.storage.shared.scanned import SharedFileChangedError
from shoal.storage.shared.shared_files import SharedFiles
from tests.helpers.faulty.disk import FaultyDisk
from tests.storage.shared.test_hashing import digest

KEY = bytes(range(32))
CHUNK = 1000


@pytest.fixture
def cache(tmp_path: Path) -> HashCache:
    return HashCache(tmp_path / "cache" / "shoal" / "hashes", disk=Disk())


def make_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "share"
    (folder / "d").mkdir(parents=True)
    for name in ("a", "d/b", "d/c"):
        (folder / name).write_bytes(random.Random(name).randbytes(2_500))
    return folder


def open_folder(folder: Path, chunk_size: int = CHUNK) -> SharedFiles:
    disk = Disk()
    return SharedFiles.open_folder(
        scan_folder(folder, disk=disk), chunk_size, disk=disk
    )


class Hasher:
    """Hash files with a cache, and count the chunks that are hashed."""

    def __init__(self, cache: HashCache | None) -> None:
        self.count = 0
        self._cache = cache

    def run(
        self,
        files: SharedFiles,
        *,
        now_ns: int | None = None,
        scheme: str = "test",
    ) -> bytes:
        self.count = 0

        def count(data: Data) -> bytes:
            self.count += bool(data)
            return digest(data)

        late = time.time_ns() + 2 * RECENT_NS
        return hash_files(
            files,
            count,
            scheme=scheme,
            cache=self._cache,
            now_ns=late if now_ns is None else now_ns,
        )


def test_unchanged_files_are_not_hashed_again(tmp_path: Path, cache: HashCache) -> None:
    folder = make_folder(tmp_path)
    hasher = Hasher(cache)
    first_source, second_source = open_folder(folder), open_folder(folder)
    first = hasher.run(first_source)
    assert hasher.count == 8
    assert first_source.trusted
    assert hasher.run(second_source) == first
    assert hasher.count == 0
    assert not second_source.trusted
    second_source.verify = lambda index, data: digest(data) == first[index * 32 :][:32]
    assert second_source.get(1) == first_source.get(1)


def edit(folder: Path) -> None:
    (folder / "d/b").write_bytes(bytes(2_500))


def edit_and_hide(folder: Path) -> None:
    path = folder / "d/b"
    before = path.stat()
    path.write_bytes(bytes(2_500))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def rename(folder: Path) -> None:
    (folder / "d").rename(folder / "e")


def swap(folder: Path) -> None:
    (folder / "d/b").rename(folder / "x")
    (folder / "d/c").rename(folder / "d/b")
    (folder / "x").rename(folder / "d/c")


def add(folder: Path) -> None:
    (folder / "empty").touch()


@pytest.mark.parametrize("change", [edit, edit_and_hide, rename, swap, add])
def test_any_change_gives_another_key(
    tmp_path: Path, cache: HashCache, change: Callable[[Path], None]
) -> None:
    folder = make_folder(tmp_path)
    hasher = Hasher(cache)
    hasher.run(open_folder(folder))
    time.sleep(0.02)  # file system clocks are coarse
    change(folder)
    source = open_folder(folder)
    found = hasher.run(source)
    assert hasher.count == 8
    assert found == b"".join(digest(source.get(i)) for i in range(8))


def test_another_chunk_size_or_scheme_gives_another_key(
    tmp_path: Path, cache: HashCache
) -> None:
    folder = make_folder(tmp_path)
    hasher = Hasher(cache)
    hasher.run(open_folder(folder))
    hasher.run(open_folder(folder), scheme="other")
    assert hasher.count == 8
    hasher.run(open_folder(folder, 500))
    assert hasher.count == 15


def test_files_that_have_just_changed_are_not_cached(
    tmp_path: Path, cache: HashCache
) -> None:
    folder = make_folder(tmp_path)
    hasher = Hasher(cache)
    for _ in range(2):
        hasher.run(open_folder(folder), now_ns=time.time_ns())
        assert hasher.count == 8
    state = FileState(1, 2, 3, 10 * RECENT_NS, 1, 0o100600, 0, 10 * RECENT_NS)
    for field in ("mtime_ns", "ctime_ns"):
        late = state._replace(**{field: 11 * RECENT_NS + 1})
        assert state_key([("a", late)], 5, "s", 12 * RECENT_NS) is None
    assert state_key([("a", state)], 5, "s", 12 * RECENT_NS) is not None


def test_a_wrong_cached_hash_prevents_reading_the_chunk(
    tmp_path: Path, cache: HashCache
) -> None:
    folder = make_folder(tmp_path)
    source = open_folder(folder)
    now_ns = time.time_ns() + 2 * RECENT_NS
    key = state_key(source.states, CHUNK, "test", now_ns)
    assert key is not None
    wrong = bytes(8 * 32)
    cache.add(key, wrong)
    assert Hasher(cache).run(source, now_ns=now_ns) == wrong
    source.verify = lambda index, data: digest(data) == bytes(32)
    with pytest.raises(SharedFileChangedError):
        source.get(0)


def test_entries_are_readable_by_this_user_only(
    tmp_path: Path, cache: HashCache
) -> None:
    cache.add(KEY, b"digests")
    folder = tmp_path / "cache" / "shoal" / "hashes"
    assert os.listdir(folder) == [KEY.hex()]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / KEY.hex()).stat().st_mode) == 0o600
    assert cache.find(KEY) == b"digests"


def test_a_damaged_entry_counts_as_missing(tmp_path: Path, cache: HashCache) -> None:
    cache.add(KEY, b"digests")
    path = tmp_path / "cache" / "shoal" / "hashes" / KEY.hex()
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert cache.find(KEY) is None
        path.write_bytes(good[:place])
        assert cache.find(KEY) is None
    other = bytes(32)
    path.with_name(other.hex()).write_bytes(good)
    assert cache.find(other) is None
    path.unlink()
    os.mkfifo(path)
    assert cache.find(KEY) is None
    cache.add(KEY, b"again")
    assert cache.find(KEY) == b"again"


def test_the_cache_is_bounded_and_the_oldest_entries_are_removed(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "hashes"
    cache = HashCache(folder, disk=Disk(), max_bytes=1_000)
    keys = [bytes([place]) * 32 for place in range(6)]
    for place, key in enumerate(keys):
        cache.add(key, bytes(200))
        os.utime(folder / key.hex(), (place, place))
    kept = [key for key in keys if cache.find(key) is not None]
    assert kept == keys[-3:]
    cache.add(KEY, bytes(1_000))
    assert cache.find(KEY) is None, "an entry larger than the cache"
    assert MAX_ENTRIES > 100
    abandoned = folder / ".abandoned-1"
    abandoned.touch()
    os.utime(abandoned, (1, 1))
    cache.add(KEY, b"x")
    assert not abandoned.exists()


def test_disk_errors_never_give_wrong_hashes() -> None:
    for call in range(1, 30):
        disk = FaultyDisk(Path("/"))
        cache = HashCache(Path("/cache/hashes"), disk=disk)
        disk.fault = lambda n, method, call=call: EIO if n >= call else 0  # type: ignore[misc]
        cache.add(KEY, b"digests")
        assert cache.find(KEY) in (None, b"digests")
        disk.fault = lambda n, method: 0
        assert cache.find(KEY) in (None, b"digests")
        disk.lose_power(random.Random(call))
        assert cache.find(KEY) in (None, b"digests")
        cache.add(KEY, b"digests")
        assert cache.find(KEY) == b"digests"


def _write(folder: Path, seed: int) -> None:
    cache = HashCache(folder, disk=Disk(), max_bytes=20_000)
    rng = random.Random(seed)
    for _ in range(200):
        key = bytes([rng.randrange(8)]) * 32
        digests = key * rng.randrange(1, 200)
        cache.add(key, digests)
        found = cache.find(key)
        assert found is None or set(found) == set(key)


def test_several_processes_do_not_corrupt_the_cache(tmp_path: Path) -> None:
    context = get_context("spawn")
    writers = [context.Process(target=_write, args=(tmp_path, n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(50)
        assert writer.exitcode == 0


def test_an_empty_share_can_be_cached(tmp_path: Path, cache: HashCache) -> None:
    (tmp_path / "empty").touch()
    source = SharedFiles.open_file(tmp_path / "empty", CHUNK, disk=Disk())
    assert source.chunks == Chunks(0, CHUNK)
    for _ in range(2):
        assert Hasher(cache).run(source) == b""


def test_a_small_share_has_no_cache(tmp_path: Path) -> None:
    small, large, many = (tmp_path / name for name in ("small", "large", "many"))
    small.write_bytes(bytes(SMALL - 1))
    large.write_bytes(bytes(SMALL))
    many.mkdir()
    for number in range(FEW_FILES + 1):
        (many / str(number)).write_bytes(b"x")
    disk = Disk()

    def has_cache(source: SharedFiles) -> bool:
        with closing(source):
            return HashCache.for_share(source, tmp_path / "home", disk) is not None

    assert not has_cache(SharedFiles.open_file(small, CHUNK, disk=disk))
    assert has_cache(SharedFiles.open_file(large, CHUNK, disk=disk))
    assert has_cache(open_folder(many))


class CountsStates(Disk):
    """Count the files whose state is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.states = 0

    def state_at(
        self, path: Name, *, at: int | None = None, follow: bool = False
    ) -> FileState | None:
        self.states += 1
        return super().state_at(path, at=at, follow=follow)


def test_not_every_addition_looks_at_all_entries(tmp_path: Path) -> None:
    disk = CountsStates()
    cache = HashCache(tmp_path / "hashes", disk=disk)
    rng = random.Random(1)
    for _ in range(512):
        cache.add(rng.randbytes(32), b"digests")
    assert disk.states < 512 * 512 // 8
    cache = HashCache(tmp_path / "hashes", disk=disk, max_bytes=20_000)
    for _ in range(512):
        cache.add(rng.randbytes(32), b"digests")
    kept = sum(each.stat().st_size for each in (tmp_path / "hashes").iterdir())
    assert kept < 2 * 20_000
