"""See that an origin has the bytes of a share, before its URL goes along in a link."""

from contextlib import aclosing

from shoal.config.settings import Settings
from shoal.core.manifest.manifest import Manifest
from shoal.errors import NetworkError, PeerError, VerificationError
from shoal.origin.base import FileError
from shoal.origin.giver import read_run
from shoal.origin.source import NamedSource

__all__ = ["check_origin"]


async def check_origin(url: str, manifest: Manifest, settings: Settings) -> None:
    """Fetch the first chunk of a share from an origin that the user named.

    That tells the size of its file, too. Raises `VerificationError` when it is not
    what is shared, `NetworkError` when the origin cannot be asked.
    """
    if not manifest.chunks.count:
        return
    source = NamedSource(url, settings, is_named=True)
    name = source.name
    try:
        async with aclosing(read_run(source, manifest, range(1))) as chunks:
            async for index, data in chunks:
                if not manifest.hash_table.verifies(index, data):
                    raise VerificationError(
                        f"The origin {name} has other bytes than what is shared; put "
                        "the same there, or name another origin."
                    )
    except FileError as error:
        raise VerificationError(
            f"The origin {name} does not have what is shared: {error}. Put it there "
            "first, or name another origin."
        ) from None
    except PeerError as error:
        raise NetworkError(
            f"The origin {name} cannot be used: {error}. Check its URL and that it "
            "answers, or share without it."
        ) from None
    finally:
        await source.aclose()
