"""Move a file or folder to any number of machines, with no server in the middle.

```python
async with shoal.Node() as node:
    share = await node.share("model/")  # share.link is what others need
    await node.fetch(link, "out/", on_progress=print)
    async with node.open(link, "model.safetensors") as file:
        header = await file.read(8)  # only what is read is fetched

shoal.fetch(link, "copy/")  # the same for code without a loop
with shoal.open(link, "logs.zip") as file:
    print(zipfile.ZipFile(file).namelist())
```

A name is loaded when it is first used, so that `import shoal` costs next to nothing.
"""

TYPE_CHECKING = False  # the one of `typing` would take longer to load than all else
if TYPE_CHECKING:
    from shoal.blocking import (
        BlockingShare,
        fetch,
        open,
        share,
    )
    from shoal.blockingfile import BlockingFile
    from shoal.channels import OpenShare
    from shoal.contents import Stat
    from shoal.core.address import Address
    from shoal.core.file_table import File
    from shoal.core.link import Channel, parse_channel
    from shoal.core.manifest import Manifest
    from shoal.core.sealed_link import Link, parse_link
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
    from shoal.node import Node
    from shoal.options import FetchOptions, ShareOptions
    from shoal.progress import (
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
    from shoal.reader import AsyncFile
    from shoal.settings import Settings
    from shoal.shares import FetchResult, SealedShare

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

_WHERE = {
    "Address": "core.address",
    "AsyncFile": "reader",
    "BlockingFile": "blockingfile",
    "BlockingShare": "blocking",
    "Channel": "core.link",
    "DiskFullError": "errors",
    "DownloadEvent": "progress",
    "FetchOptions": "options",
    "FetchResult": "shares",
    "File": "core.file_table",
    "ForbiddenError": "errors",
    "Hashing": "progress",
    "Link": "core.sealed_link",
    "LyingPeerError": "errors",
    "Manifest": "core.manifest",
    "ManifestError": "errors",
    "NetworkError": "errors",
    "Node": "node",
    "NotAHolderError": "errors",
    "NotFoundError": "errors",
    "Notice": "progress",
    "OpenShare": "channels",
    "PeerError": "errors",
    "PeerJoined": "progress",
    "PeerLeft": "progress",
    "PeerTimeoutError": "errors",
    "Progress": "progress",
    "ProtocolError": "errors",
    "SealedShare": "shares",
    "SelfConnectionError": "errors",
    "Settings": "settings",
    "ShareEvent": "progress",
    "ShareOptions": "options",
    "ShoalError": "errors",
    "Stalled": "progress",
    "Started": "progress",
    "Stat": "contents",
    "StoreError": "errors",
    "TargetExistsError": "errors",
    "UnfinishedError": "errors",
    "UsageError": "errors",
    "VerificationError": "errors",
    "fetch": "blocking",
    "open": "blocking",
    "parse_channel": "core.link",
    "parse_link": "core.sealed_link",
    "share": "blocking",
}
"""The module of each name."""


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'shoal' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"shoal.{_WHERE[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
