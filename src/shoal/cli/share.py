"""`shoal share`: share until interrupted or, with `--once`, until peers have it all.

With `--background`, the share runs in a child process, in a session of its own. Until
the link is served, the child prints where the command does; then the command ends, and
the messages of the child go to a file.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shoal.cli.options import Command, check_input, check_places, fields_of
from shoal.cli.output import Line, Output, root_fields
from shoal.cli.page import open_page
from shoal.cli.status import names_of
from shoal.config.combinations import Case, refuse_meaningless
from shoal.errors import StoreError, UsageError, run_again

if TYPE_CHECKING:
    from shoal.node.node import Node
    from shoal.swarm.share import SealedShare

__all__ = ["share"]

HASHED_PERIOD = 0.1  # seconds between two reports of how far hashing is
BLOCK = 65_536  # bytes read at once
MAX_LOG_SIZE = 4 << 20  # bytes of messages of one process; peers may cause any number
_SERVED = b"\0"  # what the child writes last, once the link is served


@click.command(cls=Command)
@click.argument("places", type=click.Path(readable=False), metavar="PATH...", nargs=-1)
def share(places: tuple[str, ...], **options: Any) -> Coroutine[None, None, None] | int:
    """Share the file or folder PATH and print its link, for shoal get elsewhere.

    Several paths are shared as one folder, which has the name of the folder that they
    are in, or that of --name. If PATH is -, standard input is shared: it is kept in a
    file until the share ends.

    \b
    shoal share photos/
    shoal share *.jpg notes.txt --name holiday
    tar c photos | shoal share - --name photos.tar
    shoal share photos/ --code
    shoal share model/ --origin https://example.com/model/
    shoal share notes.txt --open team-notes
    """
    check_places(places)
    if "-" in places:
        _check_pipe(places, options)
    if options["link_file"] is not None:
        _check_link_file(options["link_file"])
    if options["open"] is None:
        if options["background"]:
            options["is_service"] = True
            code = continue_in_child(keeps_input="-" in places)
            if code is not None:
                return code
        return _share(places, options)
    refuse_meaningless(options, Case.CHANNEL)
    if len(places) > 1:
        raise UsageError("An open channel has one file; share one PATH.")
    return _share_open(Path(places[0]), options["open"] or None, options)


def _check_pipe(places: tuple[str, ...], options: dict[str, Any]) -> None:
    """Raise `UsageError` unless standard input can be shared with these options."""
    if len(places) > 1:
        raise UsageError("- shares standard input; share other paths separately.")
    check_input()
    refuse_meaningless(options, Case.PIPE)
    if options["name"] is None:
        raise UsageError(
            "Standard input has no name; give it one with --name, as in --name x.tar."
        )


def _check_link_file(path: str) -> None:
    """Raise `StoreError` if the link cannot be written there, before hashing."""
    folder = os.path.dirname(path) or "."
    if not os.path.basename(path) or os.path.isdir(path):
        raise StoreError(f"{path or folder} is a folder; name a file for the link.")
    if not os.path.isdir(folder):
        raise StoreError(f"There is no folder {folder} for the link; create it first.")


async def _share(places: tuple[str, ...], options: dict[str, Any]) -> None:
    from shoal.cli.instructions import say_how_to_get
    from shoal.cli.progress import Reporter
    from shoal.cli.runner import open_node

    async with (
        open_node(options, has_line=True) as (node, output),
        open_page(node, output, options) as show,
    ):
        is_of_path = len(places) == 1 and places != ("-",)
        title = (not is_of_path and options["name"]) or Path(places[0]).name
        with Reporter(output, title) as reporter:
            given = sys.stdin.buffer if places == ("-",) else places
            chosen = _chosen(places, options)
            share = await node.share(given, on_progress=reporter.on_event, **chosen)
        show(share.link)
        _print_link(output, share, options)
        if options["link_file"] is not None:
            _write_link(options["link_file"], str(share.link))
        if share.link.origins:
            output.warn(
                "The link contains the origin's URL, so everyone with the link can "
                "read any password or key in it."
            )
        if options["qr"]:
            # Upper case makes a smaller code, but URLs are case-sensitive.
            text = str(share.link)
            output.draw_qr(text if share.link.origins else text.upper())
        _say_what(output, share, places)
        say_how_to_get(node, output, [share])
        if options["background"]:
            leave_terminal(output, share.link.identity)
            output.line = Line()
        elif options["once"] is None:
            output.say("Press Ctrl-C to stop.")
        await _serve(node, output, share, options["once"])


def _chosen(places: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `Node.share`, without defaults that mean nothing here."""
    from shoal.config.arguments import ShareOptions

    chosen = fields_of(ShareOptions, options)
    if not options["code"]:
        chosen["code_for"] = None
    if places == ("-",):
        chosen |= {"include": (), "exclude": (), "follow_symlinks": False}
    return chosen | {"receivers": int(options["once"] or 1)}


def _print_link(
    output: "Output", share: "SealedShare", options: dict[str, Any]
) -> None:
    root = share.manifest.root
    process = {"pid": os.getpid()} if options["background"] else {}
    code = {} if share.code is None else {"code": share.code}
    output.result(
        "\n".join((share.link, *code.values())),
        event="start",
        link=str(share.link),
        **code,
        port=share.port,
        **root_fields(root),
        verified=True,
        **process,
    )


def _write_link(path: str, link: str) -> None:
    """Write the link to a file that only this user can read, in place of an old one."""
    from shoal.storage.disk.disk import Disk
    from shoal.storage.disk.own_folders import write_new_file

    disk, folder = Disk(), os.path.dirname(path) or "."
    at = disk.open_directory(folder, follow=True)
    if at is None:
        raise StoreError(f"Another program removed {folder}; {run_again()}.")
    try:
        write_new_file(disk, at, os.path.basename(path), f"{link}\n".encode())
    finally:
        disk.close(at)


def _say_what(output: "Output", share: "SealedShare", places: tuple[str, ...]) -> None:
    """Say what is shared."""
    from shoal.core.manifest.paths import hides
    from shoal.core.report.units import format_count, format_size

    root = share.manifest.root
    what = format_size(root.size)
    if root.is_folder:
        what += f", {format_count(root.file_count, 'file')}"
    # A path given twice is shared once.
    paths = list(dict.fromkeys(map(Path, places)))
    if len(paths) > 1:
        what += f": {names_of(paths)}"
    output.say(f"Sharing {root.name} ({what}) on port {share.port}.")
    if hides(root.name):
        output.say(
            f"The name {root.name} hides a file, or looks like an option: receivers "
            "must choose another one with -o OUT, unless you share it with --name."
        )


async def _serve(
    node: "Node", output: "Output", share: "SealedShare", once: int | None
) -> None:
    """Serve until `once` peers have everything; without a number, until cancelled."""
    from shoal.cli.serving import report_until_cancelled
    from shoal.core.report.units import format_count

    name = share.manifest.root.name
    if once is None:
        await report_until_cancelled(node, output, [share], name)
        return
    peers = format_count(once, "peer")
    verb = "has" if once == 1 else "have"
    output.say(f"Sharing ends when {peers} {verb} everything.")
    async with asyncio.TaskGroup() as tasks:
        reports = tasks.create_task(report_until_cancelled(node, output, [share], name))
        await share.shared(once)
        reports.cancel()
    await share.leave()
    output.event("complete", uploaded=share.uploaded)
    output.say(f"{peers} {verb} all of {name}.")


async def _share_open(path: Path, name: str | None, options: dict[str, Any]) -> None:
    from shoal.cli.instructions import say_how_to_get
    from shoal.cli.progress import Reporter
    from shoal.cli.runner import open_node
    from shoal.cli.serving import report_until_cancelled
    from shoal.core.report.units import format_size

    async with open_node(options, has_line=True) as (node, output):
        with Reporter(output, path.name) as reporter:
            share = await node.share_open(
                path,
                name,
                chunk_size=options["chunk_size"],
                on_hashed=_on_loop(reporter.on_hashed),
            )
        chunks = share.uploads.chunks
        output.result(
            share.channel.id,
            event="start",
            id=share.channel.id,
            port=share.port,
            size=chunks.size,
            chunk_size=chunks.chunk_size,
            verified=share.channel.is_hash,
        )
        if not share.channel.is_hash:
            output.warn(
                "A named channel is neither encrypted nor verified: anyone can answer "
                "for it."
            )
        size = format_size(chunks.size)
        output.say(f"Sharing {path.name} ({size}) on port {share.port}.")
        say_how_to_get(node, output, [share])
        output.say("Press Ctrl-C to stop.")
        await report_until_cancelled(node, output, [share], path.name)


def _on_loop(show: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Return a function for other threads that calls `show` on the event loop."""
    loop = asyncio.get_running_loop()
    shown = time.monotonic()

    def on_hashed(done: int, size: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= HASHED_PERIOD:
            shown = time.monotonic()
            loop.call_soon_threadsafe(show, done, size)

    return on_hashed


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
