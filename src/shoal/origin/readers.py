"""The origins of a share: opened on first use, checked before a link names them."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from urllib.parse import urlsplit

from shoal.config.settings import Settings
from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.core.names.origin_url import is_web, origin_name
from shoal.errors import NetworkError, PeerError, VerificationError, option
from shoal.origin.parts import (
    Block,
    OriginFileError,
    OriginReader,
    Part,
    how_to_allow,
    read_run,
)

__all__ = [
    "UrlReader",
    "check_answers",
    "check_origin",
    "open_readers",
    "why_unused",
]


class UrlReader:
    """Read the files at a URL; the reader for its protocol is opened on first use.

    Most origins are never used. Importing aiohttp or fsspec for them would be a waste.
    """

    def __init__(self, url: str, settings: Settings, *, is_trusted: bool) -> None:
        """Prepare to read from `url`; nothing is connected yet.

        `is_trusted` is True for a URL that the user typed, which may point anywhere;
        False for one from a link.
        """
        self.name = origin_name(url)
        """The origin's name for messages, without any secret in its URL."""
        self._url = url
        self._settings = settings
        self._is_trusted = is_trusted
        self._reader: OriginReader | None = None

    async def read(self, part: Part) -> AsyncGenerator[Block, None]:
        """Yield blocks of a file; raises `PeerError`."""
        if self._reader is None:
            # In a thread, since the import takes as long as many chunks. The program
            # waits for this thread at its end, so it connects to no server.
            loop = asyncio.get_running_loop()
            opened = await loop.run_in_executor(None, self._open)
            self._reader = self._reader or opened
        async with aclosing(self._reader.read(part)) as blocks:
            async for block in blocks:
                yield block

    def _open(self) -> OriginReader:
        if is_web(self._url):
            from shoal.origin.web import WebReader

            return WebReader(self._url, self._settings, is_trusted=self._is_trusted)
        if not self._is_trusted:
            # fsspec also reads this machine's files.
            raise PeerError(f"only the link names it; {how_to_allow()}")
        from shoal.origin.objects import ObjectReader

        return ObjectReader(self._url)

    async def aclose(self) -> None:
        """Close all connections; idempotent."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.aclose()


def open_readers(link: Link, settings: Settings) -> Sequence[UrlReader]:
    """Return a reader for each origin: first the user's, then those in the link."""
    typed = dict.fromkeys(settings.origins)
    hinted = dict.fromkeys(url for url in link.origins if url not in typed)
    return [
        *(UrlReader(url, settings, is_trusted=True) for url in typed),
        *(UrlReader(url, settings, is_trusted=False) for url in hinted),
    ]


async def why_unused(url: str, settings: Settings) -> str | None:
    """Return why receivers of a link will not use an origin in it, as a sentence.

    None if they will, with settings that are not special.
    """
    how = f"Receivers can name it with {option('--origin')}."
    name = origin_name(url)
    if not is_web(url):
        return f"Receivers do not use the origin {name} from the link alone. {how}"
    from shoal.origin.web import AddressFilter

    split = urlsplit(url)
    assert split.hostname is not None
    port = split.port or (443 if split.scheme == "https" else 80)
    rules = AddressFilter(Settings())
    try:
        rules.check(split.hostname, port)
        # With `lan_only`, no name is looked up.
        if not settings.lan_only:
            await rules.resolve(split.hostname, port)
    except socket.gaierror:
        return None  # a proxy looks it up
    except (PeerError, OSError):
        return (
            f"Receivers do not use the origin {name} from the link alone, because it "
            f"is not on the internet. {how}"
        )
    return None


async def check_origin(url: str, manifest: Manifest, settings: Settings) -> None:
    """Check that an origin has the files of a share, before a link names the origin.

    Fetches the first chunk, which also proves the size of its file. Raises
    `VerificationError` if the origin's files differ or are missing, `NetworkError` if
    the origin cannot be reached.
    """
    if not manifest.chunks.count:
        return
    async with _used(url, settings) as reader:
        async with aclosing(read_run(reader, manifest, range(1))) as chunks:
            async for index, data in chunks:
                if not manifest.hash_table.verifies(index, data):
                    raise VerificationError(
                        f"The origin {reader.name} has files that differ from the ones "
                        "you share. Upload the same files there, or name another "
                        "origin."
                    )


async def check_answers(url: str, part: Part, settings: Settings) -> None:
    """Check that an origin has a file in its right size, before that file is hashed.

    Raises what `check_origin` raises.
    """
    async with _used(url, settings) as reader, aclosing(reader.read(part)) as blocks:
        async for _ in blocks:
            break  # enough, also where the whole file is sent


@asynccontextmanager
async def _used(url: str, settings: Settings) -> AsyncIterator[UrlReader]:
    """Use an origin; explain to the user of `share` what is wrong with it."""
    reader = UrlReader(url, settings, is_trusted=True)
    name = reader.name
    try:
        yield reader
    except OriginFileError as error:
        raise VerificationError(
            f"The origin {name} does not have the files you share: {error}. Upload "
            "them there first, or name another origin."
        ) from None
    except PeerError as error:
        raise NetworkError(
            f"The origin {name} cannot be used: {error}. Check that its URL is right "
            "and the server answers, or share without an origin."
        ) from None
    finally:
        await reader.aclose()
