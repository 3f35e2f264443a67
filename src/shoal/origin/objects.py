"""An origin that fsspec knows how to read: S3 and the like, or a folder.

Only URLs that the user typed get here: fsspec reads this machine's files as well.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from shoal.core.names.origin_url import file_url
from shoal.core.schedule.origin_parts import Part
from shoal.core.schedule.window import ORIGIN_RUNS
from shoal.errors import PeerError
from shoal.origin.base import FileError

__all__ = ["ObjectSource"]

MAX_REASON = 200  # characters of what went wrong


class ObjectSource:
    """Read the files of a share through fsspec."""

    def __init__(self, url: str) -> None:
        """Connect to nobody yet."""
        self._url = url
        self._threads = ThreadPoolExecutor(ORIGIN_RUNS, "shoal-origin")
        self._opened: tuple[Any, str] | None = None
        self._sizes: dict[str, int] = {}

    async def read(self, part: Part) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a part; raises `FileError` or another `PeerError`."""
        try:
            data = await self._fetch(part)
        except PeerError:
            raise
        except FileNotFoundError:
            raise FileError(f"it has no {part.path or 'such file'}") from None
        except Exception as error:  # each store has errors of its own
            lines = str(error).splitlines()
            reason = f"{type(error).__name__}: {lines[0] if lines else ''}"
            raise PeerError(reason[:MAX_REASON]) from None
        if len(data) != part.size:
            raise PeerError("it answers with another range than was asked for")
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
                raise FileError(
                    f"{part.path or 'its file'} has {size} bytes there, "
                    f"{part.file_size} here"
                )
        end = part.first + part.size
        data = await self._call(system, "cat_file", path, start=part.first, end=end)
        return bytes(data)

    async def _call(self, system: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a file system in its own loop, or else in a thread."""
        if system.async_impl:
            method = getattr(system, f"_{name}")
            work = method(*args, **kwargs)
            future = asyncio.run_coroutine_threadsafe(work, system.loop)
            return await asyncio.wrap_future(future)
        return await self._in_thread(partial(getattr(system, name), *args, **kwargs))

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def aclose(self) -> None:
        """Wait for nobody; idempotent."""
        self._opened = None  # which closes its connections
        self._threads.shutdown(wait=False, cancel_futures=True)


def _open(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise PeerError("it needs fsspec: pip install 'shoal[origin]'") from None
    # Not one that others use: it may remember files as they were.
    opened: tuple[Any, str] = url_to_fs(url, skip_instance_cache=True)  # type: ignore[no-untyped-call]
    system, root = opened
    # fsspec strips the slash that says that files are below.
    return system, str(root) + "/" if url.endswith("/") else str(root)
