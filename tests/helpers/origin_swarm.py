"""Members of a swarm that know a manifest, and fetch from origins only."""

import asyncio
from collections.abc import Mapping, Sequence

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.manifest import Manifest
from tests.helpers.memory_net import Member, MemoryNet
from tests.helpers.memory_peers import CONTENT, SIZE, fetch
from tests.helpers.memory_store import MemoryStore, TransientStore

__all__ = ["FILES", "content_of", "fetch_after", "folder", "manifest_peer"]


def manifest_peer(net: MemoryNet, manifest: Manifest) -> Member:
    """Return a member that has the manifest of a share and no chunk."""
    member = net.join(manifest.id)
    member.swarm.serve(manifest, MemoryStore(manifest.chunks))
    return member


async def fetch_after(
    net: MemoryNet, manifest: Manifest, members: Sequence[Member]
) -> list[TransientStore]:
    """Fetch with each member after a peer sent the manifest and left."""
    first_peer = manifest_peer(net, manifest)
    first_peer.begin()
    for number, member in enumerate(members):
        member.begin(first_peer, *members[:number])
    for member in members:
        await member.swarm.load(Manifest.missing)
    await first_peer.leave()
    del net.accepts[first_peer.address]
    return list(await asyncio.gather(*map(fetch, members)))


def content_of(store: TransientStore) -> bytes:
    """Return all chunks of a store."""
    return b"".join(bytes(store.get(index)) for index in range(store.chunks.count))


FILES = {"a": b"a" * 3, "b/c": CONTENT.data[: 9 * SIZE], "b/d": b"", "e": b"e" * SIZE}


def folder(files: Mapping[str, bytes] = FILES) -> Manifest:
    """Return the manifest of a folder with these files."""
    whole = b"".join(files.values())
    digests = [
        chunk_digest(whole[start : start + SIZE])
        for start in range(0, len(whole), SIZE)
    ]
    entries = [(path, len(data), False) for path, data in files.items()]
    return build_manifest(
        "d", len(whole), SIZE, b"".join(digests), entries, salt=bytes(16)
    )
