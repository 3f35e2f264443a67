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
    from shoal.blocking.calls import BlockingShare as BlockingShare
    from shoal.blocking.calls import fetch as fetch
    from shoal.blocking.calls import open as open
    from shoal.blocking.calls import share as share
    from shoal.blocking.file import BlockingFile as BlockingFile
    from shoal.channel.operations import OpenShare as OpenShare
    from shoal.config.arguments import FetchOptions as FetchOptions
    from shoal.config.arguments import ShareOptions as ShareOptions
    from shoal.config.settings import Settings as Settings
    from shoal.core.manifest.file_tree import File as File
    from shoal.core.manifest.listing import Stat as Stat
    from shoal.core.manifest.manifest import Manifest as Manifest
    from shoal.core.names.address import Address as Address
    from shoal.core.names.channel_id import Channel as Channel
    from shoal.core.names.channel_id import parse_channel as parse_channel
    from shoal.core.names.link import Link as Link
    from shoal.core.names.link import parse_link as parse_link
    from shoal.core.report.events import CodeChanged as CodeChanged
    from shoal.core.report.events import DownloadEvent as DownloadEvent
    from shoal.core.report.events import Hashing as Hashing
    from shoal.core.report.events import Notice as Notice
    from shoal.core.report.events import PeerComplete as PeerComplete
    from shoal.core.report.events import PeerJoined as PeerJoined
    from shoal.core.report.events import PeerLeft as PeerLeft
    from shoal.core.report.events import Preparing as Preparing
    from shoal.core.report.events import Progress as Progress
    from shoal.core.report.events import Reachable as Reachable
    from shoal.core.report.events import ShareEvent as ShareEvent
    from shoal.core.report.events import Stalled as Stalled
    from shoal.core.report.events import Started as Started
    from shoal.errors import CodeError as CodeError
    from shoal.errors import DiskFullError as DiskFullError
    from shoal.errors import ForbiddenError as ForbiddenError
    from shoal.errors import LyingPeerError as LyingPeerError
    from shoal.errors import ManifestError as ManifestError
    from shoal.errors import NetworkError as NetworkError
    from shoal.errors import NotAHolderError as NotAHolderError
    from shoal.errors import NotFoundError as NotFoundError
    from shoal.errors import PeerError as PeerError
    from shoal.errors import PeerTimeoutError as PeerTimeoutError
    from shoal.errors import ProtocolError as ProtocolError
    from shoal.errors import SelfConnectionError as SelfConnectionError
    from shoal.errors import ShoalError as ShoalError
    from shoal.errors import StoreError as StoreError
    from shoal.errors import TargetExistsError as TargetExistsError
    from shoal.errors import UnfinishedError as UnfinishedError
    from shoal.errors import UsageError as UsageError
    from shoal.errors import VerificationError as VerificationError
    from shoal.node.node import Node as Node
    from shoal.reading.file import AsyncFile as AsyncFile
    from shoal.swarm.copies import Comparison as Comparison
    from shoal.swarm.copies import Difference as Difference
    from shoal.swarm.fetch import FetchResult as FetchResult
    from shoal.swarm.share import SealedShare as SealedShare

_NAMES = {
    "blocking.calls": "BlockingShare fetch open share",
    "blocking.file": "BlockingFile",
    "channel.operations": "OpenShare",
    "config.arguments": "FetchOptions ShareOptions",
    "config.settings": "Settings",
    "core.manifest.file_tree": "File",
    "core.manifest.listing": "Stat",
    "core.manifest.manifest": "Manifest",
    "core.names.address": "Address",
    "core.names.channel_id": "Channel parse_channel",
    "core.names.link": "Link parse_link",
    "core.report.events": "CodeChanged DownloadEvent Hashing Notice PeerComplete "
    "PeerJoined PeerLeft Preparing Progress Reachable ShareEvent Stalled Started",
    "errors": "CodeError DiskFullError ForbiddenError LyingPeerError ManifestError "
    "NetworkError NotAHolderError NotFoundError PeerError PeerTimeoutError "
    "ProtocolError SelfConnectionError ShoalError StoreError TargetExistsError "
    "UnfinishedError UsageError VerificationError",
    "node.node": "Node",
    "reading.file": "AsyncFile",
    "swarm.copies": "Comparison Difference",
    "swarm.fetch": "FetchResult",
    "swarm.share": "SealedShare",
}
"""The public names, by the module that defines them."""
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}
if not TYPE_CHECKING:  # type checkers read the imports above instead
    __all__ = sorted(["__version__", *_MODULES])

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'shoal' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"shoal.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return ["__version__", *_MODULES]
