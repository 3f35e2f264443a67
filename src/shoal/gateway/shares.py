"""One share that the gateway serves: its manifest once that is known, and its files."""

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from time import time
from typing import TYPE_CHECKING

from shoal.core.manifest.listing import Child, children, in_natural_order
from shoal.core.manifest.manifest import Manifest, Missing
from shoal.core.manifest.pages import PageKey
from shoal.core.names.link import Link
from shoal.errors import NotFoundError, ShoalError, VerificationError

if TYPE_CHECKING:
    from shoal.node.node import Node
    from shoal.reading.file import Opening
    from shoal.reading.share_cache import ShareCache

__all__ = ["FIRST_CHILDREN", "KNOWING_TIME", "RETRY", "ServedShare"]

TIMEOUT = 60.0  # seconds without a new chunk after which a read fails
FIRST_CHILDREN = 200  # files and folders that the page lists, at most
FEW_FILES = 10_000  # files of a share up to which all names at the top are sorted
RETRY = 5.0  # seconds until the next search for peers
KNOWING_TIME = 10.0  # seconds that a page or listing waits for the manifest, at most


class ServedShare:
    """Load the manifest of one share and open its files."""

    def __init__(
        self, number: int, link: Link, node: "Node", timeout: float | None
    ) -> None:
        """Serve `link` as share `number`; a read fails after `timeout` seconds."""
        self.number = number
        """The number in the paths of its files."""
        self.link = link
        """The share's link, without hints unless they are used."""
        self.problem: ShoalError | None = None
        """Why the manifest could not be loaded so far; None without a failure."""
        self.manifest: Manifest | None = None
        """The manifest; None until it is known, with the first of its files."""
        self.seen = 0
        """When the manifest was first known, in seconds since 1970."""
        self._node = node
        self._timeout = timeout or node.settings.timeout or TIMEOUT
        self._identity = link.identity
        self._reading: ShareCache | None = None
        self._begun = 0.0  # by the loop's clock

    @contextmanager
    def join(self) -> Iterator[None]:
        """Stay in the share's swarm until the end of the block."""
        self._begun = asyncio.get_running_loop().time()
        with self._node.reading(self.link) as self._reading:
            try:
                yield
            finally:
                self._reading = None

    def look(self) -> None:
        """Take over the manifest if the node shares or fetches the share itself."""
        found = self._node.status(self.link).manifest
        if found is not None and not any(True for _ in _missing_first(found)):
            self.manifest, self.problem, self.seen = found, None, int(time())

    async def run(self) -> None:
        """Load the manifest, however long that takes.

        Returns without it, with `problem` set, if a later attempt cannot succeed.
        """
        while self.manifest is None:
            try:
                await self._load(None)
            except (NotFoundError, VerificationError) as error:
                self.problem = error
                await asyncio.sleep(RETRY)
            except ShoalError as error:
                self.problem = error
                return

    async def know(self) -> None:
        """Wait until the manifest is known, with the first of its files.

        Raises `NotFoundError` after `KNOWING_TIME`, or another `ShoalError`.
        """
        if self.manifest is None:
            await self._load(min(KNOWING_TIME, self._timeout))

    async def know_at_first(self) -> None:
        """Wait as `know` does, but only until `KNOWING_TIME` after the start.

        Returns without the manifest if it does not arrive.
        """
        left = self._begun + KNOWING_TIME - asyncio.get_running_loop().time()
        if self.manifest is None and left > 0:
            with suppress(ShoalError):
                await self._load(min(left, self._timeout))

    async def load(self, path: str) -> Manifest:
        """Wait for the manifest with the pages for a path, and return it.

        That of a folder is empty or ends with a slash. Raises `NotFoundError` after the
        timeout, or another `ShoalError`.
        """
        return await self.load_pages(partial(_missing, path))

    async def load_pages(self, missing: Missing) -> Manifest:
        """Wait for the manifest with the pages that `missing` yields; as `load`."""
        return await self._load(self._timeout, missing)

    async def _load(
        self, timeout: float | None, missing: Missing | None = None
    ) -> Manifest:
        assert self._reading is not None
        manifest = await self._reading.load(missing or _missing_first, timeout)
        if self.manifest is None:
            self.seen = int(time())
        self.manifest, self.problem = manifest, None
        return manifest

    @property
    def first_children(self) -> Sequence[Child]:
        """Return the first files and folders at the top; none before they are known.

        At most `FIRST_CHILDREN`: of a share with few files in natural order, otherwise
        in the order of their paths.
        """
        if self.manifest is None:
            return ()
        if self.manifest.root.file_count <= FEW_FILES:
            return in_natural_order(children(self.manifest, ""))[:FIRST_CHILDREN]
        table = self.manifest.file_table
        assert table is not None
        first = {
            (parts := file.path.partition("/"))[0]: None if parts[1] else file
            for file in table.under("")[:FIRST_CHILDREN]
        }
        return [Child(name, file) for name, file in first.items()]

    def open(self, path: str) -> "Opening":
        """Open a file for reading; raises what `Node.open` raises."""
        return self._node.open(self.link, path, timeout=self._timeout)

    def tag(self, path: str) -> str:
        """Return the strong entity tag of a file, which does not reveal the link."""
        name = self._identity + path.encode()
        return f'"{hashlib.sha256(name).hexdigest()[:32]}"'


def _missing(path: str, manifest: Manifest) -> Iterator[PageKey]:
    """Yield the pages to request for a path."""
    if not path or path.endswith("/"):
        return manifest.missing_children(path.rstrip("/"))
    return manifest.missing_path(path)


def _missing_first(manifest: Manifest) -> Iterator[PageKey]:
    """Yield the pages to request before `first_children`."""
    table = manifest.file_table
    if table is None or manifest.root.file_count <= FEW_FILES:
        return manifest.missing_children("")
    return table.missing_numbers(0, FIRST_CHILDREN)
