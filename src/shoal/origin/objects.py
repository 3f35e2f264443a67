"""An origin that is read through fsspec: S3 and the like, or a folder.

Only URLs that the user typed are read this way, since fsspec also reads this machine's
own files.
"""

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import aiohttp

from shoal.core.names.origin_url import file_url, origin_name
from shoal.core.schedule.window import ORIGIN_RUNS
from shoal.errors import PeerError
from shoal.origin.responses import limited
from shoal.origin.source import OriginFileError, Part

__all__ = ["ObjectReader"]

MAX_REASON = 200  # characters of an error's text
_S3 = ("s3", "s3a")


class ObjectReader:
    """Read the files of a share through fsspec."""

    def __init__(self, url: str) -> None:
        """Prepare to read from `url`; nothing is connected yet."""
        self.name = origin_name(url)
        """The origin's name for messages, without any secret in its URL."""
        self._url = url
        self._threads = ThreadPoolExecutor(ORIGIN_RUNS, "shoal-origin")
        self._opened: tuple[Any, str] | None = None
        self._sizes: dict[str, int] = {}

    async def read(self, part: Part) -> AsyncGenerator[bytes, None]:
        """Yield bytes of a file; raises `OriginFileError` or another `PeerError`."""
        try:
            data = await self._fetch(part)
        except PeerError:
            raise
        except FileNotFoundError:
            raise OriginFileError(f"it has no {part.path or 'such file'}") from None
        except Exception as error:  # each kind of store has its own errors
            lines = str(error).splitlines()
            reason = f"{type(error).__name__}: {lines[0] if lines else ''}"
            # Libraries that try again leave what they had read in reference cycles.
            gc.collect()
            raise PeerError(reason[:MAX_REASON]) from None
        if len(data) != part.size:
            raise PeerError("it sends another range than the requested one")
        yield data

    async def _fetch(self, part: Part) -> bytes:
        if self._opened is None:
            self._opened = await self._in_thread(partial(_open, self._url))
        system, root = self._opened
        path = file_url(root, part.path, part.name)
        if part.path not in self._sizes:
            info = await self._call(system, "info", path)
            size = self._sizes[part.path] = int(info["size"])
            if size != part.file_size:
                del self._sizes[part.path]
                raise OriginFileError(
                    f"{part.path or 'its file'} has {size} bytes there, "
                    f"{part.file_size} here"
                )
        end = part.first + part.size
        data = await self._call(system, "cat_file", path, start=part.first, end=end)
        return bytes(data)

    async def _call(self, system: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of a file system: in its own loop, otherwise in a thread."""
        if system.async_impl:
            method = getattr(system, f"_{name}")
            work = method(*args, **kwargs)
            future = asyncio.run_coroutine_threadsafe(work, system.loop)
            return await asyncio.wrap_future(future)
        return await self._in_thread(partial(getattr(system, name), *args, **kwargs))

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def aclose(self) -> None:
        """Close the connections without waiting for threads; idempotent."""
        self._opened = None  # the file system closes its connections when it is freed
        self._threads.shutdown(wait=False, cancel_futures=True)


def _open(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise PeerError("it needs fsspec: pip install 'shoal[origin]'") from None
    options = _s3_options() if url.partition(":")[0] in _S3 else {}
    # Not a shared instance, which may have cached an older state of the files.
    opened: tuple[Any, str] = url_to_fs(url, skip_instance_cache=True, **options)  # type: ignore[no-untyped-call]
    system, root = opened
    # fsspec strips the trailing slash, which marks a folder.
    return system, str(root) + "/" if url.endswith("/") else str(root)


def _s3_options() -> dict[str, Any]:
    """Return options for s3fs: no redirect is followed, no response is very long.

    botocore follows none, but aiobotocore lets aiohttp do so, which sends the session
    token of the user's credentials to whatever host the server names. A bucket that
    has moved to another region needs no redirect: botocore signs a new request. It
    reads responses whole, however long they are.
    """
    try:
        from aiobotocore.httpsession import AIOHTTPSession
    except ImportError:
        return {}  # url_to_fs explains what is missing

    class GuardedSession(AIOHTTPSession):  # type: ignore[misc]
        async def _get_session(self, proxy_url: str | None) -> aiohttp.ClientSession:
            session: aiohttp.ClientSession = await super()._get_session(proxy_url)
            if not session.trace_configs:
                if session.connector is not None:
                    limited(session.connector, are_read_whole=True)
                trace = aiohttp.TraceConfig()
                trace.on_request_redirect.append(_refuse_redirect)
                trace.freeze()
                session.trace_configs.append(trace)
            return session

    return {"config_kwargs": {"http_session_cls": GuardedSession}}


async def _refuse_redirect(*_: object) -> None:
    raise aiohttp.ClientError("it redirects to another URL")
