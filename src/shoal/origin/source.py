"""What an origin is, whatever protocol it is asked by, and how one is opened.

A source yields bytes of files and knows nothing of chunks. Whatever it raises is its
own fault; nothing it sends is believed.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from shoal.core.origin_parts import Part
from shoal.core.origin_url import is_web, origin_name
from shoal.core.sealed_link import Link
from shoal.errors import PeerError
from shoal.settings import Settings

__all__ = ["ByteSource", "FileError", "open_source", "open_sources"]


class FileError(PeerError):
    """Blame an origin for one file, which it has not or not as it should be."""


class ByteSource(Protocol):
    """Yield bytes of the files of a share."""

    @property
    def name(self) -> str:
        """Return what it is called in messages; no secret is in it."""

    def read(self, part: Part) -> AsyncGenerator[bytes, None]:
        """Yield exactly the bytes that were asked for, as they come.

        Raises `FileError` when others may be had, else another `PeerError`.
        """

    async def aclose(self) -> None:
        """Let go of connections; idempotent."""


def open_source(url: str, settings: Settings, *, is_named: bool) -> ByteSource:
    """Return the origin at a URL; nobody is asked yet.

    `is_named` says whether the user named it: it may be anywhere then.
    """
    if is_web(url):
        from shoal.origin.web import WebSource

        return WebSource(url, settings, is_named=is_named)
    if is_named:
        from shoal.origin.objects import ObjectSource

        return ObjectSource(url)
    return _Unasked(url)


def open_sources(link: Link, settings: Settings) -> Sequence[ByteSource]:
    """Return the origins that the user named, then those that the link names."""
    named = dict.fromkeys(settings.origins)
    return [
        *(open_source(url, settings, is_named=True) for url in named),
        *(
            open_source(url, settings, is_named=False)
            for url in link.origins
            if url not in named
        ),
    ]


class _Unasked:
    """Stand for an origin of a link that only the user may have asked."""

    def __init__(self, url: str) -> None:
        self.name = origin_name(url)

    async def read(self, part: Part) -> AsyncGenerator[bytes, None]:
        """Refuse: its protocol could read this machine's files."""
        if part.size:
            raise PeerError(
                "only the link names it; name it yourself with --origin to ask it"
            )
        yield b""

    async def aclose(self) -> None:
        """Do nothing."""
