"""Move a file or folder to any number of machines, with no server in the middle.

```python
async with shoal.Node() as node:
    share = await node.share("model/")  # other machines fetch it by share.link
    await node.fetch(link, "out/", on_progress=print)
    async with node.open(link, "model.safetensors") as file:
        header = await file.read(8)  # fetches only the chunk that holds these bytes

shoal.fetch(link, "copy/")  # the same for programs without an event loop
with shoal.open(link, "logs.zip") as file:
    print(zipfile.ZipFile(file).namelist())
```

Each name is loaded on first use, which keeps `import shoal` fast.
"""

TYPE_CHECKING = False  # importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from shoal.blocking.calls import (
        BlockingShare,
        fetch,
        open,
        share,
    )
    from shoal.blocking.file import BlockingFile
    from shoal.channel.operations import OpenShare
    from shoal.config.arguments import FetchOptions, ShareOptions
    from shoal.config.settings import Settings
    from shoal.core.manifest.file_table import File
    from shoal.core.manifest.manifest import Manifest, Stat
    from shoal.core.names.address import Address
    from shoal.core.names.channel_id import Channel, parse_channel
    from shoal.core.names.link import Link, parse_link
    from shoal.core.report.events import (
        DownloadEvent,
        Hashing,
        Notice,
        PeerJoined,
        PeerLeft,
        Progress,
        ShareEvent,
        Stalled,
        Started,
    )
    from shoal.errors import (
        DiskFullError,
        ForbiddenError,
        LyingPeerError,
        ManifestError,
        NetworkError,
        NotAHolderError,
        NotFoundError,
        PeerError,
        PeerTimeoutError,
        ProtocolError,
        SelfConnectionError,
        ShoalError,
        StoreError,
        TargetExistsError,
        UnfinishedError,
        UsageError,
        VerificationError,
    )
    from shoal.node.node import Node
    from shoal.reading.file import AsyncFile
    from shoal.swarm.operations import FetchResult, SealedShare

__all__ = [
    "Address",
    "AsyncFile",
    "BlockingFile",
    "BlockingShare",
    "Channel",
    "DiskFullError",
    "DownloadEvent",
    "FetchOptions",
    "FetchResult",
    "File",
    "ForbiddenError",
    "Hashing",
    "Link",
    "LyingPeerError",
    "Manifest",
    "ManifestError",
    "NetworkError",
    "Node",
    "NotAHolderError",
    "NotFoundError",
    "Notice",
    "OpenShare",
    "PeerError",
    "PeerJoined",
    "PeerLeft",
    "PeerTimeoutError",
    "Progress",
    "ProtocolError",
    "SealedShare",
    "SelfConnectionError",
    "Settings",
    "ShareEvent",
    "ShareOptions",
    "ShoalError",
    "Stalled",
    "Started",
    "Stat",
    "StoreError",
    "TargetExistsError",
    "UnfinishedError",
    "UsageError",
    "VerificationError",
    "__version__",
    "fetch",
    "open",
    "parse_channel",
    "parse_link",
    "share",
]

__version__ = "0.1.0"

_MODULES = {
    "Address": "core.names.address",
    "AsyncFile": "reading.file",
    "BlockingFile": "blocking.file",
    "BlockingShare": "blocking.calls",
    "Channel": "core.names.channel_id",
    "DiskFullError": "errors",
    "DownloadEvent": "core.report.events",
    "FetchOptions": "config.arguments",
    "FetchResult": "swarm.operations",
    "File": "core.manifest.file_table",
    "ForbiddenError": "errors",
    "Hashing": "core.report.events",
    "Link": "core.names.link",
    "LyingPeerError": "errors",
    "Manifest": "core.manifest.manifest",
    "ManifestError": "errors",
    "NetworkError": "errors",
    "Node": "node.node",
    "NotAHolderError": "errors",
    "NotFoundError": "errors",
    "Notice": "core.report.events",
    "OpenShare": "channel.operations",
    "PeerError": "errors",
    "PeerJoined": "core.report.events",
    "PeerLeft": "core.report.events",
    "PeerTimeoutError": "errors",
    "Progress": "core.report.events",
    "ProtocolError": "errors",
    "SealedShare": "swarm.operations",
    "SelfConnectionError": "errors",
    "Settings": "config.settings",
    "ShareEvent": "core.report.events",
    "ShareOptions": "config.arguments",
    "ShoalError": "errors",
    "Stalled": "core.report.events",
    "Started": "core.report.events",
    "Stat": "core.manifest.manifest",
    "StoreError": "errors",
    "TargetExistsError": "errors",
    "UnfinishedError": "errors",
    "UsageError": "errors",
    "VerificationError": "errors",
    "fetch": "blocking.calls",
    "open": "blocking.calls",
    "parse_channel": "core.names.channel_id",
    "parse_link": "core.names.link",
    "share": "blocking.calls",
}
"""The module that defines each name."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'shoal' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"shoal.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
