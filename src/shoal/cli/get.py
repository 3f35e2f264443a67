"""`shoal get`: fetch a share from everyone who has it."""

import asyncio
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from shoal.cli.options import (
    SECONDS,
    everywhere,
    link_argument,
    option,
    pattern_options,
    rate_option,
    read_link,
    settings_from,
)
from shoal.errors import UnfinishedError, UsageError

if TYPE_CHECKING:
    from shoal.cli.output import Output
    from shoal.core.link import Channel
    from shoal.core.sealed_link import Link
    from shoal.node import Node

__all__ = ["command"]

PROBLEM_PERIOD = 2.0  # seconds between looks at what does not work


@everywhere
@click.command("get")
@link_argument
@option("-o", "--out", "out", metavar="OUT", help="Write to OUT; - is standard output.")
@option("-C", "--folder", "folder", metavar="DIR", help="Write into DIR.")
@option("-f", "--force", is_flag=True, help="Overwrite a file that is there.")
@pattern_options("fetch")
@option(
    "--keep-exec",
    is_flag=True,
    help="Make executable what was executable.",
)
@option(
    "--seed",
    is_flag=True,
    help="Go on sharing when complete; a target that exists is verified and shared.",
)
@option(
    "--seed-for",
    type=SECONDS,
    metavar="TIME",
    help="Go on sharing for so long, as 90, 10m or 2h.",
)
@option(
    "--timeout",
    type=SECONDS,
    metavar="S",
    help="Longest wait for a new chunk, in seconds; for ever by default.",
)
@rate_option("down", "Fetch")
@rate_option("up", "Send")
def command(link: str, **options: Any) -> None:
    """Fetch the share LINK, from everyone who has it, and check all of it.

    LINK is a link or the id of an open channel; it may be - for standard input, or
    be left out when SHOAL_LINK is set. Run the same command again to go on with a
    download that was interrupted.

    \b
    shoal get shoal:mfrggzdf… -C downloads
    shoal get team-notes -o notes.txt --peer 192.168.1.7:4001
    """
    from shoal.cli.runner import run_command

    _prefer_given(options)
    again = "Run this again to go on: " + shlex.join(["shoal", *sys.argv[1:]])
    try:
        run_command(_get(link, options), on_interrupt=again)
    except UnfinishedError as error:
        raise UnfinishedError(f"{error}\n{again}") from None


async def _get(text: str, options: dict[str, Any]) -> None:
    from shoal.cli.output import Output
    from shoal.core.link import Channel
    from shoal.core.sealed_link import parse_share
    from shoal.node import Node

    _check_options(options)
    share = parse_share(read_link(text))
    output = Output.from_options(options)
    settings = settings_from(options)
    async with Node(settings, on_notice=lambda note: output.problem(note.text)) as node:
        with _scratch(options) as folder:
            if isinstance(share, Channel):
                target, port = await _get_open(node, share, folder, output, options)
            else:
                target, port = await _get_sealed(node, share, folder, output, options)
            if folder is not None:
                _write_out(target)
                return
        _tell(output, target)
        if port is not None:
            output.say(f"Sharing {target} on port {port}; Ctrl-C ends it.")
            await _seed(node, output, options["seed_for"])


async def _get_sealed(
    node: "Node",
    link: "Link",
    scratch: Path | None,
    output: "Output",
    options: dict[str, Any],
) -> tuple[Path, int | None]:
    from shoal.cli.progress import Reporter

    with Reporter(output, link.keys.log_name, options["color"]) as reporter:
        result = await node.fetch(
            link,
            scratch / "data" if scratch is not None else options["out"],
            folder=options["folder"] or ".",
            overwrite=options["force"],
            include=options["include"],
            exclude=options["exclude"],
            keep_exec=options["keep_exec"],
            seed=options["seed"] or options["seed_for"] is not None,
            timeout=options["timeout"],
            on_progress=reporter.on_event,
        )
    return result.path, result.share.port if result.share is not None else None


async def _get_open(
    node: "Node",
    channel: "Channel",
    scratch: Path | None,
    output: "Output",
    options: dict[str, Any],
) -> tuple[Path, int | None]:
    from shoal.cli.progress import Reporter

    if options["include"] or options["exclude"] or options["keep_exec"]:
        raise UsageError("An open channel is one file; fetch it without patterns.")
    if scratch is not None:
        target = scratch / "data"
    elif options["out"]:
        target = Path(options["out"])
    elif options["folder"] is not None:
        safe = "".join(c if c.isalnum() else "_" for c in channel.id[:8])
        target = Path(options["folder"]) / safe
    else:
        raise UsageError("A channel has no name; say where to write with -o OUT.")
    with Reporter(output, target.name, options["color"]) as reporter:
        share = await node.fetch_open(
            channel,
            target,
            overwrite=options["force"],
            seed=options["seed"] or options["seed_for"] is not None,
            timeout=options["timeout"],
            on_progress=reporter.on_event,
        )
    return target, share.port if share is not None else None


def _prefer_given(options: dict[str, Any]) -> None:
    """Of OUT and DIR, forget the one that is only a variable's or the file's."""
    source = click.get_current_context().get_parameter_source
    given = [n for n in ("out", "folder") if source(n) == ParameterSource.COMMANDLINE]
    if len(given) == 1:
        options["folder" if given == ["out"] else "out"] = None


def _check_options(options: dict[str, Any]) -> None:
    if options["out"] is not None and options["folder"] is not None:
        raise UsageError("-o names the target and -C its folder; give one of them.")
    if options["out"] == "":
        raise UsageError("The target after -o is empty; say where to write.")
    seeds = options["seed"] or options["seed_for"] is not None
    if options["out"] == "-" and (options["as_json"] or seeds):
        raise UsageError("-o - writes the bytes themselves; no --json, no --seed.")


@contextmanager
def _scratch(options: dict[str, Any]) -> Iterator[Path | None]:
    """Yield a folder for what goes to standard output afterwards, or None."""
    if options["out"] != "-":
        yield None
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="shoal-") as scratch:
        yield Path(scratch)


def _write_out(target: Path) -> None:
    if target.is_dir():
        raise UsageError("A folder cannot go to standard output; give -o OUT.")
    import shutil

    with target.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
    sys.stdout.buffer.flush()


def _tell(output: "Output", target: Path) -> None:
    fields = {}
    if output.as_json:
        # Looked up only for those who asked: a large folder takes a while.
        files = [target] if target.is_file() else target.rglob("*")
        sizes = [path.stat().st_size for path in files if path.is_file()]
        fields = {"size": sum(sizes), "files": len(sizes)}
    output.result(str(target), event="complete", path=str(target), **fields)


async def _seed(node: "Node", output: "Output", seconds: float | None) -> None:
    """Go on sharing, for so long or until cancelled."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                await asyncio.sleep(PROBLEM_PERIOD)
                for problem in node.problems():
                    output.problem(problem)
    except TimeoutError:
        output.say("Shared for as long as was asked.")
