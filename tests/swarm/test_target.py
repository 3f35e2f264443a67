"""What is at the target of an open channel before it is fetched."""

import os
from hashlib import sha256
from pathlib import Path

from shoal.channel.operations import ChannelTarget
from shoal.core.manifest.chunks import Chunks
from shoal.core.names.channel_id import hash_channel
from shoal.core.wire.handshake import Offer
from shoal.storage.disk.disk import Disk
from shoal.storage.download.completed import VerifiedTargetStore
from shoal.storage.store import DownloadStore

CHUNKS = Chunks(8, 4)
DATA = b"01234567"
DIGESTS = [sha256(DATA[:4]).digest(), sha256(DATA[4:]).digest()]
OFFER = Offer(b"".join(DIGESTS), 4, 8)
CHANNEL = hash_channel(DIGESTS)


def open_store(path: Path, *, seed: bool = False) -> DownloadStore:
    target = ChannelTarget(path, CHANNEL, Disk(), overwrite=False, seed=seed)
    return target.open_store(CHUNKS, OFFER, lambda: False)


def test_what_a_run_left_that_was_killed_after_naming_its_target_is_removed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "target"
    begun = open_store(path)
    begun.put_many([(0, DATA[:4]), (1, DATA[4:])])
    begun.close()
    (left,) = tmp_path.iterdir()
    os.rename(left / "data", path)
    existing = open_store(path, seed=True)
    existing.close()
    assert isinstance(existing, VerifiedTargetStore)
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == DATA
