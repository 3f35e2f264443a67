"""An origin that is read through fsspec: S3, FTP, SFTP and the like, or a folder.

Only URLs that the user typed are read this way, since fsspec also reads this machine's
own files. A file system that is not asynchronous has one connection and no lock: it is
made and used in a thread of its own, and several reads at once have one each. After an
error it is made again, because its connection may be broken.
"""

import asyncio
import gc
import re
import threading
from collections.abc import AsyncGenerator, Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

import aiohttp

from shoal.core.names.origin_url import file_url, origin_name
from shoal.core.schedule.window import MIN_RATE
from shoal.errors import PeerError, PeerTimeoutError
from shoal.origin.parts import Block, OriginFileError, Part
from shoal.origin.session import limited

__all__ = ["ObjectReader"]

MAX_REASON = 200  # characters of an error's text
ANSWER_TIME = 60.0  # seconds for a read, and the time that its bytes take at MIN_RATE
_S3 = ("s3", "s3a")
_ARGUMENTS = re.compile(r"required (?:positional|keyword-only) arguments?: (.+)$")


class ObjectReader:
    """Read the files of a share through fsspec."""

    def __init__(self, url: str) -> None:
        """Prepare to read from `url`; nothing is connected yet."""
        self.name = origin_name(url)
        """The origin's name for messages, without any secret in its URL."""
        self._url = url
        self._idle: list[_FileSystem] = []
        self._used: set[_FileSystem] = set()
        self._sizes: dict[str, int] = {}

    async def read(self, part: Part) -> AsyncGenerator[Block, None]:
        """Yield the bytes in one block; raises `PeerError`."""
        system = self._idle.pop() if self._idle else _FileSystem(self._url)
        self._used.add(system)
        is_usable = False
        try:
            async with asyncio.timeout(ANSWER_TIME + part.size / MIN_RATE):
                data = await self._fetch(system, part)
            is_usable = True
        except OriginFileError:
            is_usable = True
            raise
        except FileNotFoundError:
            is_usable = True
            raise OriginFileError(f"it has no {part.path or 'such file'}") from None
        except TimeoutError:
            raise PeerTimeoutError("it does not answer") from None
        except PeerError:
            raise
        except Exception as error:  # each kind of store has its own errors
            reason = _reason(error)
            # Libraries that try again leave what they had read in reference cycles.
            gc.collect()
            raise PeerError(reason) from None
        finally:
            self._used.discard(system)
            if is_usable:
                self._idle.append(system)
            else:
                system.close()
        if len(data) != part.size:
            raise PeerError("it sends another range than the requested one")
        yield Block(part.first, data)

    async def _fetch(self, system: "_FileSystem", part: Part) -> bytes:
        root = await system.open()
        path = file_url(root, part.path, part.name)
        if part.path not in self._sizes:
            info = await system.call("info", path)
            size = int(info["size"])
            if size != part.file_size:
                raise OriginFileError(
                    f"{part.path or 'its file'} has {size:,} B there, "
                    f"{part.file_size:,} B here"
                )
            self._sizes[part.path] = size
        end = part.first + part.size
        return bytes(await system.call("cat_file", path, start=part.first, end=end))

    async def aclose(self) -> None:
        """Close the connections without waiting for threads; idempotent."""
        for system in (*self._idle, *self._used):
            system.close()
        self._idle.clear()
        self._used.clear()


class _FileSystem:
    """A file system of fsspec, and the thread that it is used in."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._system: Any = None
        self._root = ""
        self._thread: _Thread | None = None

    async def open(self) -> str:
        """Connect, unless that is done; return the path that the URL names."""
        if self._system is None:
            self._thread = _Thread()
            opened = await self._thread.call(partial(_open, self._url))
            self._system, self._root = opened
        return self._root

    async def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method: in the file system's own loop, otherwise in its thread."""
        system, thread = self._system, self._thread
        assert thread is not None
        if system.async_impl:
            work = getattr(system, f"_{name}")(*args, **kwargs)
            future = asyncio.run_coroutine_threadsafe(work, system.loop)
            return await asyncio.wrap_future(future)
        return await thread.call(partial(getattr(system, name), *args, **kwargs))

    def close(self) -> None:
        """End the thread once its call returns; idempotent."""
        # The file system closes its connections when it is freed.
        thread, self._thread, self._system = self._thread, None, None
        if thread is not None:
            thread.close()


class _Thread:
    """A thread that makes calls; the process does not wait for it when it ends."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="shoal-origin", daemon=True).start()

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # it may hold the file system

    async def call(self, work: Callable[[], Any]) -> Any:
        """Return what a call returns."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Any] = loop.create_future()
        self._calls.put(partial(_settle, loop, result, work))
        return await result

    def close(self) -> None:
        """End after the calls that were made."""
        self._calls.put(None)


def _settle(
    loop: asyncio.AbstractEventLoop,
    result: "asyncio.Future[Any]",
    work: Callable[[], Any],
) -> None:
    """Make a call; give its result to a future of an event loop, which may be gone."""
    try:
        done = partial(_set, result, work(), None)
    except Exception as error:
        done = partial(_set, result, None, error)
    try:
        loop.call_soon_threadsafe(done)
    except RuntimeError:  # the loop is closed
        pass


def _set(result: "asyncio.Future[Any]", value: Any, error: Exception | None) -> None:
    if result.done():  # nothing waits for it any more
        return
    if error is None:
        result.set_result(value)
    elif isinstance(error, StopIteration):  # no future takes it
        result.set_exception(RuntimeError("StopIteration"))
    else:
        result.set_exception(error)


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:MAX_REASON]


def _open(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise PeerError("it needs fsspec: pip install 'shoal[origin]'") from None
    scheme = url.partition(":")[0]
    options = _s3_options() if scheme in _S3 else {}
    try:
        # Not a shared instance, which may have cached an older state of the files.
        opened: tuple[Any, str] = url_to_fs(url, skip_instance_cache=True, **options)  # type: ignore[no-untyped-call]
    except TypeError as error:
        missing = _ARGUMENTS.search(str(error))
        if missing is None:
            raise
        names = missing[1].replace("'", "")
        variable = f"FSSPEC_{scheme.upper()}_{names.split()[0].strip(',').upper()}"
        raise PeerError(
            f"{scheme}:// also needs {names}; set {variable} and the like, or write "
            "them to a file in ~/.config/fsspec"
        ) from None
    system, root = opened
    # fsspec strips the trailing slash, which marks a folder.
    return system, str(root) + "/" if url.endswith("/") else str(root)


def _s3_options() -> dict[str, Any]:
    """Return options for s3fs: no redirect is followed, no response is very long.

    botocore follows none, but aiobotocore lets aiohttp do so, which sends the session
    token of the user's credentials to any host that the server names. A bucket that
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
