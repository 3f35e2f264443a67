"""One share that the gateway serves, as far as it is known."""

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.errors import NotFoundError, ShoalError, VerificationError
from shoal.node.node import Node
from shoal.reading.file import Opening
from shoal.reading.share_cache import ShareCache

__all__ = ["ServedShare"]

TIMEOUT = 60.0  # seconds without a new chunk after which a read fails
RETRY = 5.0  # seconds until somebody is looked for again


class ServedShare:
    """Know one share and open its files; others may look at all of it."""

    def __init__(
        self, number: int, link: Link, node: Node, timeout: float | None
    ) -> None:
        """Serve `link` under `number`; a read waits `timeout` seconds at most."""
        self.number = number
        """Its place in the paths of its files."""
        self.link = link
        """With the hints that are used, and no others."""
        self.problem: ShoalError | None = None
        """Why it is not known yet; None while nothing speaks against it."""
        self._node = node
        self._timeout = timeout or node.settings.timeout or TIMEOUT
        self._identity = link.identity
        self._manifest: Manifest | None = None
        self._reading: ShareCache | None = None

    @property
    def manifest(self) -> Manifest | None:
        """Return what it has in it; None until its files are known."""
        return self._manifest

    @property
    def reading(self) -> ShareCache | None:
        """Return what is in memory and who is asked; None while it is not served."""
        return self._reading

    @contextmanager
    def read(self) -> Iterator[None]:
        """Stay in its swarm within this block."""
        with self._node.reading(self.link) as self._reading:
            try:
                yield
            finally:
                self._reading = None

    async def run(self) -> None:
        """Find out what is in it, however long that takes.

        Returns, with a `problem`, when that can never be.
        """
        while self._manifest is None:
            try:
                await self._load(None)
            except (NotFoundError, VerificationError) as error:
                self.problem = error
                await asyncio.sleep(RETRY)
            except ShoalError as error:
                self.problem = error
                return

    async def known(self) -> Manifest:
        """Return what is in it, as soon as that is known.

        Raises `NotFoundError` when it takes too long, or another `ShoalError`.
        """
        return self._manifest or await self._load(self._timeout)

    async def _load(self, timeout: float | None) -> Manifest:
        assert self._reading is not None
        manifest = await self._reading.load(lambda m: m.file_pages, timeout)
        _ = manifest.files  # raises when they are not what a share may hold
        self._manifest, self.problem = manifest, None
        return manifest

    def open(self, path: str) -> Opening:
        """Return a file, to be read; raises as `Node.open` does."""
        return self._node.open(self.link, path, timeout=self._timeout)

    def tag(self, path: str) -> str:
        """Return the strong entity tag of a file, which tells nobody the link."""
        name = self._identity + path.encode()
        return f'"{hashlib.sha256(name).hexdigest()[:32]}"'
