"""The origins of one share: which there are, each opened when it is first asked."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from shoal.config.settings import Settings
from shoal.core.names.link import Link
from shoal.core.names.origin_url import is_web, origin_name
from shoal.core.schedule.origin_parts import Part
from shoal.errors import PeerError
from shoal.origin.base import ByteReader

__all__ = ["NamedSource", "open_sources"]


class NamedSource:
    """Be the origin at a URL, opened when it is first asked.

    Most are never: then nobody pays for what it is asked by.
    """

    def __init__(self, url: str, settings: Settings, *, is_named: bool) -> None:
        """Ask nobody yet.

        `is_named` says whether the user named it: it may be anywhere then.
        """
        self.name = origin_name(url)
        """What it is called in messages; no secret is in it."""
        self._url = url
        self._settings = settings
        self._is_named = is_named
        self._source: ByteReader | None = None

    async def read(self, part: Part) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a part; raises `FileError` or another `PeerError`."""
        if self._source is None:
            # In a thread, since importing takes as long as many chunks.
            loop = asyncio.get_running_loop()
            opened = await loop.run_in_executor(None, self._open)
            self._source = self._source or opened
        async with aclosing(self._source.read(part)) as blocks:
            async for block in blocks:
                yield block

    def _open(self) -> ByteReader:
        if is_web(self._url):
            from shoal.origin.web import WebSource

            return WebSource(self._url, self._settings, is_named=self._is_named)
        if not self._is_named:
            # fsspec reads this machine's files, too.
            raise PeerError("only the link names it; name it with --origin to ask it")
        from shoal.origin.objects import ObjectSource

        return ObjectSource(self._url)

    async def aclose(self) -> None:
        """Let go of connections; idempotent."""
        source, self._source = self._source, None
        if source is not None:
            await source.aclose()


def open_sources(link: Link, settings: Settings) -> Sequence[NamedSource]:
    """Return the origins that the user named, then those that the link names."""
    named = dict.fromkeys(settings.origins)
    hinted = dict.fromkeys(url for url in link.origins if url not in named)
    return [
        *(NamedSource(url, settings, is_named=True) for url in named),
        *(NamedSource(url, settings, is_named=False) for url in hinted),
    ]
