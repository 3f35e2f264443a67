"""`shoal get`: fetch a share from everyone who has it."""

import asyncio
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from shoal.cli.options import (
    SECONDS,
    everywhere,
    link_argument,
    read_link,
    settings_from,
)
from shoal.errors import UnfinishedError, UsageError

__all__ = ["command"]

PROBLEM_PERIOD = 2.0  # seconds between looks at what does not work


@everywhere
@click.command("get")
@link_argument
@click.option("-o", "out", metavar="OUT", help="Write to OUT; - is standard output.")
@click.option("-C", "folder", metavar="DIR", help="Write into DIR.")
@click.option("-f", "--force", is_flag=True, help="Overwrite what is there.")
@click.option(
    "--seed",
    is_flag=True,
    envvar="SHOAL_SEED",
    help="Go on sharing when complete; a target that exists is verified and shared.",
)
@click.option(
    "--timeout",
    type=SECONDS,
    envvar="SHOAL_TIMEOUT",
    metavar="S",
    help="Longest wait for a new chunk, in seconds; for ever by default.",
)
def command(link: str, **options: Any) -> None:
    """Fetch the open channel LINK and write it to OUT.

    LINK may be - for standard input, or be left out when SHOAL_LINK is set. Run the
    same command again to go on with a download that was interrupted.

    \b
    shoal get 3b5d5c37… -o model.bin
    shoal get team-notes -o notes.txt --peer 192.168.1.7:4001
    """
    from shoal.cli.runner import run_command

    again = "Run this again to go on: " + shlex.join(["shoal", *sys.argv[1:]])
    try:
        run_command(_get(read_link(link), options), on_interrupt=again)
    except UnfinishedError as error:
        raise UnfinishedError(f"{error}\n{again}") from None


async def _get(text: str, options: dict[str, Any]) -> None:
    from shoal.cli.output import Output
    from shoal.cli.progress import Reporter
    from shoal.core.link import parse_channel
    from shoal.node import Node

    channel = parse_channel(text)
    output = Output.from_options(options)
    with _target(channel.id, options) as (target, is_stdout):
        settings = settings_from(options)
        async with Node(
            settings, on_notice=lambda note: output.problem(note.text)
        ) as node:
            with Reporter(output, target.name, options["color"]) as reporter:
                share = await node.fetch_open(
                    channel,
                    target,
                    overwrite=options["force"],
                    seed=options["seed"],
                    timeout=options["timeout"],
                    on_event=reporter.on_event,
                )
            if is_stdout:
                with target.open("rb") as file:
                    shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
                sys.stdout.buffer.flush()
                return
            size = target.stat().st_size
            output.result(str(target), event="complete", path=str(target), size=size)
            if share is not None:
                output.say(f"Sharing {target} on port {share.port}; Ctrl-C ends it.")
                while True:
                    await asyncio.sleep(PROBLEM_PERIOD)
                    for problem in node.problems():
                        output.problem(problem)


@contextmanager
def _target(name: str, options: dict[str, Any]) -> Iterator[tuple[Path, bool]]:
    """Yield where to write, and whether that goes to standard output then."""
    out, folder = options["out"], options["folder"]
    if out is not None and folder is not None:
        raise UsageError("-o names the target and -C its folder; give one of them.")
    if out == "-":
        if options["as_json"] or options["seed"]:
            raise UsageError("-o - writes the bytes themselves; no --json, no --seed.")
        with tempfile.TemporaryDirectory(prefix="shoal-") as scratch:
            yield Path(scratch) / "data", True
    elif out:
        yield Path(out), False
    elif folder is not None:
        safe = "".join(c if c.isalnum() else "_" for c in name[:8])
        yield Path(folder) / safe, False
    else:
        raise UsageError("A channel has no name; say where to write with -o OUT.")
