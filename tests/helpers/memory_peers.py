"""One small share, and its nodes and peers on a `MemoryNet`."""

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.build import build_manifest
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.address import Address
from shoal.core.report.events import PeerJoined, PeerLeft
from tests.helpers.holder import Passive, Talk, holding_of
from tests.helpers.memory_net import Member, MemoryNet
from tests.helpers.memory_store import MemoryStore, TransientStore
from tests.helpers.wire import Content

__all__ = [
    "CONTENT",
    "HOLDING",
    "MANIFEST",
    "SIZE",
    "fetch",
    "joined",
    "left",
    "manifest_of",
    "source",
    "talk_to",
    "until_verified",
]

SIZE = 16_384
CONTENT = Content.make(40 * SIZE - 3, SIZE)


def manifest_of(content: Content, salt: bytes = bytes(16)) -> Manifest:
    """Return the manifest of a share with this content."""
    digests = b"".join(chunk_digest(content.chunk(i)) for i in range(content.count))
    size, chunk_size = len(content.data), content.chunk_size
    return build_manifest("x", size, chunk_size, digests, salt=salt)


MANIFEST = manifest_of(CONTENT)
HOLDING = holding_of(MANIFEST, CONTENT.chunk)


def source(
    net: MemoryNet, content: Content = CONTENT, limit_up: float | None = None
) -> Member:
    """Return a member that has every chunk."""
    manifest = manifest_of(content)
    member = net.join(manifest.id, limit_up=limit_up)
    store = MemoryStore(manifest.chunks)
    for index in range(content.count):
        store.put(index, content.chunk(index))
    member.swarm.serve(manifest, store)
    return member


async def fetch(member: Member) -> TransientStore:
    """Fetch all chunks."""
    manifest = await member.swarm.load(Manifest.missing)
    store = TransientStore(manifest.chunks)
    await member.swarm.fetch(store)
    return store


def talk_to(
    net: MemoryNet,
    member: Member,
    host: str = "10.0.9.9",
    node_id: bytes = b"r" * 16,
) -> Talk:
    """Connect a peer that sends only what the test sends; return the connection."""
    return net.call(Passive(HOLDING, node_id), member, host)


def joined(member: Member) -> list[Address]:
    """Return the addresses of the peers that joined, in order."""
    return [e.address for e in member.events if isinstance(e, PeerJoined)]


def left(member: Member) -> list[PeerLeft]:
    """Return the reports of the peers that left, in order."""
    return [event for event in member.events if isinstance(event, PeerLeft)]


async def until_verified(member: Member, index: int) -> None:
    """Wait until a chunk that the member fetches is verified."""

    def is_here() -> bool:
        have = member.swarm.status().have
        return have is not None and index in have

    await member.swarm.until(is_here)
