"""`share --background`, and `shoal stop`, which ends it.

The share runs in a child process, in a session of its own. Until the link is served,
the child prints where the command does; then the command ends, and the messages of the
child go to a file.
"""

import os
import signal
import sys
from contextlib import suppress
from typing import Any

import click

from shoal.cli.options import Command, read_link
from shoal.cli.output import Output
from shoal.errors import ShoalError, UsageError

__all__ = ["continue_in_child", "leave_terminal", "stop"]

BLOCK = 65_536  # bytes read at once
MAX_LOG_SIZE = 4 << 20  # bytes of messages of one process; peers may cause any number
_SERVED = b"\0"  # what the child writes last, once the link is served


def continue_in_child(*, keeps_input: bool = False) -> int | None:
    """Fork; return None in the child, and in this process the command's exit code.

    This process prints what the child writes to standard output until the link is
    served. With `keeps_input`, the child reads its standard input. Raises `UsageError`
    where processes cannot fork.
    """
    if not hasattr(os, "fork"):
        raise UsageError("--background does not work on this system; leave it out.")
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        if not keeps_input:
            os.dup2(null, 0)
        os.dup2(writing, 1)
        os.close(null)
        os.close(writing)
        return None
    os.close(writing)
    try:
        if _pass_on(reading):
            return 0
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except KeyboardInterrupt:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise


def _pass_on(reading: int) -> bool:
    """Print what the child writes; return True if it says that the link is served."""
    while data := os.read(reading, BLOCK):
        is_served = data.endswith(_SERVED)
        sys.stdout.buffer.write(data.removesuffix(_SERVED))
        sys.stdout.flush()
        if is_served:
            return True
    return False


def leave_terminal(output: Output, identity: bytes) -> None:
    """Note that this process serves a share, and end the command that started it.

    Raises `StoreError` if the note cannot be written.
    """
    from shoal.storage.background import note_background, open_log
    from shoal.storage.disk.disk import Disk
    from shoal.storage.home import user_home

    disk, home = Disk(), user_home()
    note_background(home, identity, disk)
    log, path = open_log(home, disk)
    pid = os.getpid()
    output.say(
        f"It runs in the background as process {pid}; shoal stop {pid} ends it. Its "
        f"messages go to {path}."
    )
    output.event("complete", pid=pid)
    output.line.clear()
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(1, _SERVED)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(log, 2)
    output.room = MAX_LOG_SIZE
    os.close(null)


@click.command(cls=Command)
@click.argument("what", metavar="LINK|PID")
def stop(what: str, **options: Any) -> None:
    """End shares that run in the background, by their LINK or process id.

    Peers first get the chunks that they wait for.

    \b
    shoal share photos/ --background
    shoal stop 4242
    """
    from shoal.core.names.link import parse_link
    from shoal.core.names.link_text import looks_like_link
    from shoal.storage.background import running_in_background
    from shoal.storage.background import stop as stop_process
    from shoal.storage.disk.disk import Disk
    from shoal.storage.home import user_home

    output, disk = Output.from_options(options), Disk()
    what = read_link(what).strip()
    if not (what.isdigit() or looks_like_link(what)):
        raise UsageError(f"{what[:40]} is neither a link nor a process id.")
    identity = "" if what.isdigit() else parse_link(what).identity.hex()
    found = [
        each
        for each in running_in_background(user_home(), disk)
        if each.identity == identity or str(each.pid) == what
    ]
    if not found:
        raise ShoalError(
            "No share with this link or process id runs in the background; shoal list "
            "shows what is shared."
        )
    for each in found:
        if not stop_process(each, disk):
            raise ShoalError(
                f"Process {each.pid} does not end; kill -9 {each.pid} ends it at once."
            )
        output.say(f"Process {each.pid} has ended.")
    output.event("complete", stopped=len(found))
