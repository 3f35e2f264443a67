"""`shoal get`: fetch a share from everyone who has it."""

import asyncio
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from shoal.cli.options import (
    PATH,
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
    from shoal.channel.operations import OpenShare
    from shoal.cli.output import Output
    from shoal.core.names.channel_id import Channel
    from shoal.core.names.link import Link
    from shoal.node.node import Node
    from shoal.swarm.operations import SealedShare

__all__ = ["command"]


class _Got(NamedTuple):
    """Say what has come, and who goes on sharing it, if anybody does."""

    target: Path
    share: "OpenShare | SealedShare | None"


@everywhere
@click.command("get")
@link_argument
@option(
    "-o",
    "--out",
    "out",
    type=PATH,
    metavar="OUT",
    help="Write to OUT; - is standard output.",
)
@option("-C", "--folder", "folder", type=PATH, metavar="DIR", help="Write into DIR.")
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
    shoal get shoal:mfrggzdf… --origin s3://bucket/model/
    shoal get team-notes -o notes.txt --peer 192.168.1.7:4001
    """
    from shoal.cli.runner import run_command

    _prefer_given(options)
    again = "Run this again to go on: " + shlex.join(["shoal", *sys.argv[1:]])
    try:
        run_command(_get(link, options), on_interrupt=again)
    except UnfinishedError as error:
        raise UnfinishedError(f"{error} {again}") from None


async def _get(text: str, options: dict[str, Any]) -> None:
    from shoal.cli.output import Output
    from shoal.cli.sharing import go_on_sharing
    from shoal.core.names.channel_id import Channel
    from shoal.core.names.link import parse_share
    from shoal.node.node import Node

    _check_options(options)
    share = parse_share(read_link(text))
    output = Output.from_options(options)
    settings = settings_from(options)
    async with Node(settings, on_notice=lambda note: output.problem(note.text)) as node:
        with _scratch(options) as folder:
            if isinstance(share, Channel):
                got = await _get_open(node, share, folder, output, options)
            else:
                got = await _get_sealed(node, share, folder, output, options)
            if folder is not None:
                _write_out(got.target)
                return
        facts = _facts(got.target) if output.as_json else {}
        output.result(str(got.target), event="complete", **facts)
        if got.share is None:
            return
        output.say(f"Sharing {got.target} on port {got.share.port}; Ctrl-C ends it.")
        try:
            async with asyncio.timeout(options["seed_for"]):
                await go_on_sharing(node, output, got.share)
        except TimeoutError:
            output.say("Shared for as long as was asked.")
            output.event("complete", **facts, uploaded=got.share.uploaded)


async def _get_sealed(
    node: "Node",
    link: "Link",
    scratch: Path | None,
    output: "Output",
    options: dict[str, Any],
) -> _Got:
    from shoal.cli.progress import Reporter, make_bar

    title = link.keys.log_name
    with Reporter(output, title, make_bar(output, title, options["color"])) as reporter:
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
    return _Got(result.path, result.share)


async def _get_open(
    node: "Node",
    channel: "Channel",
    scratch: Path | None,
    output: "Output",
    options: dict[str, Any],
) -> _Got:
    from shoal.cli.progress import Reporter, make_bar

    if options["include"] or options["exclude"] or options["keep_exec"]:
        raise UsageError("An open channel is one file; fetch it without patterns.")
    if options["origins"]:
        raise UsageError("An open channel has no origin; leave out --origin.")
    if scratch is not None:
        target = scratch / "data"
    elif options["out"]:
        target = Path(options["out"])
    elif options["folder"] is not None:
        safe = "".join(c if c.isalnum() else "_" for c in channel.id[:8])
        target = Path(options["folder"]) / safe
    else:
        raise UsageError("A channel has no name; say where to write with -o OUT.")
    bar = make_bar(output, target.name, options["color"])
    with Reporter(output, target.name, bar) as reporter:
        share = await node.fetch_open(
            channel,
            target,
            overwrite=options["force"],
            seed=options["seed"] or options["seed_for"] is not None,
            timeout=options["timeout"],
            on_progress=reporter.on_event,
        )
    return _Got(target, share)


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


def _facts(target: Path) -> dict[str, Any]:
    """Return what programs are told of what has come; a large folder takes a while."""
    files = [target] if target.is_file() else target.rglob("*")
    sizes = [path.stat().st_size for path in files if path.is_file()]
    return {"path": str(target), "size": sum(sizes), "files": len(sizes)}
