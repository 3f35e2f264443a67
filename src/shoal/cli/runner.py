"""Run a command: its event loop, its signals, its node and its output.

SIGINT and SIGTERM count even if the parent process ignored them, as a shell does for
background jobs; SIGHUP does not, so `nohup` works. A service, which has no terminal
that could be closed, reads `config.toml` again on SIGHUP. Another signal cancels the
command, which then closes its files and connections. If that takes too long, the
process ends anyway: the data on the disk does not depend on an orderly end.

`LiveLimits` keeps the rate limits of a running command as `config.toml` and its
schedule say. The file is read again when it has changed, so that a service need not be
restarted. A limit on the command line or in a variable comes first, as always.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from shoal.cli.options import read_link, settings_from
from shoal.cli.output import Output, printable
from shoal.config.file import config_path
from shoal.config.options import OPTIONS
from shoal.config.schedule import Limits, limits_at
from shoal.config.values import Defaults, resolve
from shoal.core.report.units import format_size
from shoal.errors import ShoalError, UsageError, first_error

if TYPE_CHECKING:
    from shoal.core.names.link import Link
    from shoal.node.node import Node

__all__ = ["InterruptedByUser", "LiveLimits", "only_link", "open_node", "run_command"]

CLOSE_TIME = 1.7  # seconds a command has to close its files and connections
_M_ARENA_MAX = -8  # of mallopt(3)
_STACK_SIZE = 1 << 20  # bytes of each thread, instead of 8 MiB


class _Hangup:
    """What SIGHUP does in place of ending the command."""

    handler: Callable[[], None] | None = None


_hangup = _Hangup()  # of this process, as signals are
_SIGHUP = getattr(signal, "SIGHUP", None)


class InterruptedByUser(ShoalError):
    """A signal ended the command."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


def run_command(
    work: Coroutine[Any, Any, None], *, on_interrupt: Callable[[], str] = str
) -> None:
    """Run `work`; raise `InterruptedByUser` on a signal.

    `on_interrupt` returns what its message says to the user.
    """
    _obey_memory_limit()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_supervise(work, on_interrupt))
    except BaseExceptionGroup as group:
        raise first_error(group) from None
    finally:
        work.close()  # if there was no descriptor left for the loop


def _obey_memory_limit() -> None:
    """Use few addresses if `ulimit -v` limits them; call it before threads start.

    The limit counts addresses, not memory. For each thread, glibc reserves 64 MiB of
    addresses that it hardly uses; under a limit, threads share one such region.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        return
    import ctypes

    threading.stack_size(_STACK_SIZE)
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of uvloop's loop if it is installed; SHOAL_UVLOOP=0 refuses.

    It takes less processor time: docs/design.md, "Two event loops".
    """
    if os.environ.get("SHOAL_UVLOOP") == "0":
        return None
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


async def _supervise(
    work: Coroutine[Any, Any, None], on_interrupt: Callable[[], str]
) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    caught: list[int] = []
    out_of_memory: list[object] = []

    def on_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Print no traceback for errors of the network, or for a lack of memory."""
        error = context.get("exception")
        if isinstance(error, MemoryError):
            out_of_memory.append(error)
            task.cancel()
        elif not (isinstance(error, OSError) or _is_told_twice(context)):
            loop.default_exception_handler(context)

    loop.set_exception_handler(on_exception)

    def stop(signum: int, frame: FrameType | None) -> None:
        if signum == _SIGHUP and _hangup.handler is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(_hangup.handler)
        elif not caught:
            caught.append(signum)
            # In a handler, `on_interrupt` could meet modules that are being imported.
            timer = threading.Timer(CLOSE_TIME, _exit_now, [signum, on_interrupt])
            timer.daemon = True
            timer.start()
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(task.cancel)

    # Not the loop's own handlers: they wait for the loop, which may be blocked writing
    # to a pipe that no process reads.
    for signum in (signal.SIGINT, signal.SIGTERM, *_hangup_signal()):
        signal.signal(signum, stop)
    try:
        await task
    except asyncio.CancelledError:
        if out_of_memory:
            raise MemoryError from None
        if not caught:
            raise
    if caught:
        raise InterruptedByUser(_explain(caught[0], on_interrupt()), caught[0])


def _is_told_twice(context: dict[str, Any]) -> bool:
    """Return True if asyncio reports the loss of a transport a second time.

    It does so when a socket fails at the moment its protocol may write again.
    """
    return "_call_connection_lost" in context.get("message", "")


def _hangup_signal() -> tuple[signal.Signals, ...]:
    """Return SIGHUP, unless there is none here or the parent process ignores it."""
    if sys.platform == "win32" or signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return ()
    return (signal.SIGHUP,)


def _explain(signum: int, message: str) -> str:
    names = {signal.SIGINT: "Interrupted", signal.SIGTERM: "Terminated"}
    word = names.get(signal.Signals(signum), "The terminal was closed")
    return f"{word}. {message}".strip()


def _exit_now(signum: int, on_interrupt: Callable[[], str]) -> None:
    """End the process because closing takes too long; data on the disk stays valid."""
    from shoal.cli.live import erase_shown

    erase_shown()
    said = f"shoal: {printable(_explain(signum, on_interrupt()))}\n"
    with contextlib.suppress(OSError):
        os.write(2, said.encode(errors="replace"))
    os._exit(128 + signum)


@asynccontextmanager
async def open_node(
    options: dict[str, Any], *, has_line: bool = False
) -> "AsyncIterator[tuple[Node, Output]]":
    """Yield the node and the output of a command, with its live line on request."""
    from shoal.node.node import Node

    output = Output.from_options(options)
    if has_line:
        from shoal.cli.live import show_line

        show_line(output, options)
    settings = settings_from(options)
    async with Node(settings, on_notice=output.notice) as node:
        limits = LiveLimits(node, output, options)
        limits.start()
        if options.get("is_service") and not _has_terminal():
            _hangup.handler = limits.reload
        try:
            yield node, output
        finally:
            _hangup.handler = None
            limits.stop()
            output.line.clear()


def _has_terminal() -> bool:
    """Return True if this process has a terminal, which may be closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def only_link(text: str) -> "Link":
    """Read the link in an argument; raises `UsageError` for an open channel."""
    from shoal.core.names.link import Link, parse_share

    share = parse_share(read_link(text))
    if not isinstance(share, Link):
        found = "an open channel" if share.is_hash else "not a link, which begins with"
        found += "" if share.is_hash else " `shoal:`; it may name an open channel"
        raise UsageError(
            f"{share.id[:64]} is {found}. This command needs a link: copy it again. "
            "An open channel does not describe its content; download it with shoal get."
        )
    return share


PERIOD = 1.0  # seconds between two looks at the file and the clock
_NAMES = ("limit_up", "limit_down", "schedule")


class LiveLimits:
    """Set the rate limits of a node until `stop`."""

    def __init__(self, node: "Node", output: Output, options: dict[str, Any]) -> None:
        """Begin with the values in `options`, which the node has already."""
        self._node = node
        self._output = output
        self._options = [each for each in OPTIONS if each.keyword in _NAMES]
        given = options["given"]
        self._given = {name: given[name] for name in _NAMES if name in given}
        self._values = {name: options.get(name) for name in _NAMES}
        self._limits = Limits(self._values["limit_up"], self._values["limit_down"])
        self._read = _state_of_file()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Set what the schedule says now, and look again from time to time."""
        self._apply(is_told=False)
        self._look_later()

    def stop(self) -> None:
        """Leave the limits as they are; idempotent."""
        if self._timer is not None:
            self._timer.cancel()

    def reload(self) -> None:
        """Read the file again, whether it has changed or not."""
        self._read = _state_of_file()
        try:
            self._values |= resolve(self._options, self._given, Defaults.load())
        except ShoalError as error:
            self._output.warn(f"{error} The limits stay as they were.")
            return
        self._apply(is_told=True)

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._look)

    def _look(self) -> None:
        if _state_of_file() != self._read:
            self.reload()
        else:
            self._apply(is_told=True)
        self._look_later()

    def _apply(self, *, is_told: bool) -> None:
        now = time.localtime()
        usual = Limits(self._values["limit_up"], self._values["limit_down"])
        minute = now.tm_hour * 60 + now.tm_min
        limits = limits_at(self._values["schedule"] or (), usual, now.tm_wday, minute)
        if limits != self._limits:
            self._limits = limits
            self._node.set_limits(up=limits.up, down=limits.down)
            if is_told:
                self._output.say(f"Limits: {_told(limits)}.")


def _told(limits: Limits) -> str:
    pairs = zip(("up", "down"), limits, strict=True)
    return ", ".join(
        f"{name} {'unlimited' if rate is None else format_size(rate) + '/s'}"
        for name, rate in pairs
    )


def _state_of_file() -> tuple[int, int, int] | None:
    """Return what differs once the file was written again; None without a file."""
    try:
        found = os.stat(config_path())
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
