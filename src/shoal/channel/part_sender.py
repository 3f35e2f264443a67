"""Send large chunks to a client of an open channel as its socket accepts them."""

import asyncio
from concurrent.futures import Executor
from functools import partial

from shoal.core.session.open_session import OpenServerSession
from shoal.transfer.receiver import Sent
from shoal.transport.connection import Connection
from shoal.transport.making import Making

__all__ = ["PartSender"]


class PartSender:
    """Read the chunks that one client has requested, part by part, in threads."""

    def __init__(
        self, connection: Connection[OpenServerSession], threads: Executor
    ) -> None:
        """Start with nothing to send."""
        self._connection = connection
        self._threads = threads
        self._making: Making[Sent] | None = None
        self._job: asyncio.Future[list[bytes]] | None = None

    @property
    def is_free(self) -> bool:
        """Return True if `start` can be called."""
        return self._making is None and self._job is None

    def start(self, making: Making[Sent]) -> None:
        """Send what `making` makes."""
        self._making = making
        self.resume()

    def resume(self) -> None:
        """Read the next part, if the socket accepts more."""
        making = self._making
        if making is None or self._job is not None or not self._connection.is_writable:
            return
        # The socket does not report that little is left, only that it is not full.
        size = making.next_size(self._connection.queued, self.resume, asks=True)
        if size:
            loop = asyncio.get_running_loop()
            take = partial(_take, making, size)
            self._job = loop.run_in_executor(self._threads, take)
            self._job.add_done_callback(partial(self._on_made, making))

    def end(self) -> None:
        """Send nothing more: the connection has ended."""
        making, self._making = self._making, None
        if making is not None and self._job is None:
            making.cancel()

    def _on_made(self, making: Making[Sent], job: asyncio.Future[list[bytes]]) -> None:
        self._job = None
        making.on_made()
        error = job.exception()
        if self._making is not making:
            making.cancel()
        elif error is not None:
            self._making = None
            self._connection.close()
            making.fail(error)
        else:
            is_done = making.is_done
            if is_done:
                self._making = None
            for data in job.result():
                self._connection.write(data)
            if is_done:
                making.finish()
            else:
                self.resume()


def _take(making: Making[Sent], size: int) -> list[bytes]:
    return [b"".join(parts) for parts in making.take(size)]
