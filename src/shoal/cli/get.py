"""`shoal get`: download a share from all peers that have it."""

import asyncio
import shlex
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from shoal.cli.download import facts_of, get_open, get_sealed, target_of_channel
from shoal.cli.options import Command, read_link, warn_of_channel
from shoal.cli.output import printable, write_message
from shoal.cli.page import open_page
from shoal.cli.wanted import Wanted, complete_code, complete_word
from shoal.config.combinations import Case, refuse_meaningless
from shoal.errors import (
    NotFoundError,
    ShoalError,
    UnfinishedError,
    UsageError,
)

if TYPE_CHECKING:
    from shoal.channel.operations import OpenShare
    from shoal.cli.output import Output
    from shoal.core.names.channel_id import Channel
    from shoal.core.names.link import Link
    from shoal.node.node import Node
    from shoal.swarm.share import SealedShare

__all__ = ["get"]


@click.command(cls=Command)
@click.argument(
    "link",
    envvar="SHOAL_LINK",
    required=False,
    metavar="LINK",
    shell_complete=complete_code,
)
@click.argument("words", nargs=-1, metavar="[PATH]", shell_complete=complete_word)
def get(link: str | None, words: tuple[str, ...], **options: Any) -> None:
    """Download the share LINK from all peers that have it, and verify all of it.

    LINK is a link, a code (also with spaces) or the id of an open channel. It may be -
    to read it from standard input, and may be left out if SHOAL_LINK is set. With PATH,
    only that file of a shared folder is downloaded. Run the same command again to
    resume an interrupted download.

    \b
    shoal get shoal:mfrggzdf… -C downloads
    shoal get shoal:mfrggzdf… docs/plan.pdf -o plan.pdf
    shoal get 4821-purity-carbon-olympic
    shoal get -i links.txt -C downloads
    shoal get shoal:mfrggzdf… --origin s3://bucket/model/
    shoal get team-notes -o notes.txt --peer 192.168.1.7:4001
    """
    from shoal.cli.runner import run_command

    _prefer_given(options)
    if options["input_file"] is not None:
        _check_many(link, options)
        from shoal.cli.get_many import get_many, read_links

        links = read_links(options["input_file"])
        _check_channels(links.values(), options)
        run_command(get_many(links, options), on_interrupt=_again(options))
        return
    if link is None:
        raise click.UsageError("Missing argument 'LINK'.", click.get_current_context())
    wanted = Wanted((read_link(link), *words))
    _check_one(wanted, options)
    if options["out"] == "-":
        run_command(_stream(wanted, options))
        return
    again = _again(options, wanted)
    try:
        run_command(_get(wanted, options), on_interrupt=again)
    except UnfinishedError as error:
        # `again` tells more exactly what to run than the error does.
        raise UnfinishedError(f"{error.what or error} {again()}") from None
    except ShoalError as error:
        if wanted.is_redeemed and again() not in str(error):
            command = printable(wanted.command())
            write_message(f"The code may be used up; next time, run: {command}")
        raise


def _again(options: dict[str, Any], wanted: Wanted | None = None) -> Callable[[], str]:
    """Return a function that returns the sentence that says how to resume."""
    is_seeding = options["seed"] or options["seed_for"] is not None
    purpose = "continue" if is_seeding else "resume"

    def again() -> str:
        command = shlex.join(["shoal", *sys.argv[1:]])
        command = command if wanted is None else wanted.command()
        return f"Run this again to {purpose}: {command}"

    return again


async def _get(wanted: Wanted, options: dict[str, Any]) -> None:
    from shoal.cli.instructions import say_how_to_get
    from shoal.cli.runner import open_node
    from shoal.cli.serving import report_until_cancelled
    from shoal.core.names.channel_id import Channel

    options["seed"] |= options["seed_for"] is not None
    async with (
        open_node(options, has_line=True) as (node, output),
        open_page(node, output, options) as show,
    ):
        share = await wanted.find(node, output)
        served: OpenShare | SealedShare | None
        if isinstance(share, Channel):
            target, served = await get_open(node, share, output, options)
        else:
            options["path"] = wanted.path
            target, served = await get_sealed(node, share, output, options, show)
        facts = facts_of(target) if output.as_json else {}
        output.result(str(target), event="complete", **facts)
        if served is None:
            return
        output.say(f"Sharing {target} on port {served.port}; press Ctrl-C to stop.")
        say_how_to_get(node, output, [served])
        try:
            async with asyncio.timeout(options["seed_for"]):
                await report_until_cancelled(node, output, [served], target.name)
        except TimeoutError:
            output.say("The time of --seed-for is over.")
            # Peers that leave are reported before the last line.
            await node.aclose()
            output.event("complete", **facts, uploaded=served.uploaded)


def _prefer_given(options: dict[str, Any]) -> None:
    """Let -o on the command line replace a default folder, and -C a default target."""
    source = click.get_current_context().get_parameter_source
    given = [n for n in ("out", "folder") if source(n) == ParameterSource.COMMANDLINE]
    if len(given) == 1:
        options["folder" if given == ["out"] else "out"] = None


def _check_many(link: str | None, options: dict[str, Any]) -> None:
    """Raise `UsageError` for what means nothing beside `-i`."""
    source = click.get_current_context().get_parameter_source("link")
    if link is not None and source == ParameterSource.COMMANDLINE:
        refuse_meaningless(options, Case.LINK)
    options["out"] = None  # from a variable or the file


def _check_one(wanted: Wanted, options: dict[str, Any]) -> None:
    """Raise `UsageError` for what means nothing for this download."""
    if options["out"] == "-":
        refuse_meaningless(options, Case.STDOUT)
    elif wanted.channel is not None:
        target_of_channel(wanted.channel, options)
    if wanted.path is not None:
        refuse_meaningless(options, Case.ONE_FILE)
    _check_channels([wanted], options)


def _check_channels(wanted: Iterable[Wanted], options: dict[str, Any]) -> None:
    """Raise `UsageError` for what means nothing for open channels; warn of them."""
    for each in wanted:
        if each.channel is not None:
            refuse_meaningless(options, Case.CHANNEL)
            warn_of_channel(each.channel)


async def _stream(wanted: Wanted, options: dict[str, Any]) -> None:
    """Write a share to standard output as it arrives; the disk is not used."""
    from shoal.cli.bytes_writer import BytesWriter
    from shoal.cli.runner import open_node
    from shoal.core.names.channel_id import Channel
    from shoal.core.report.units import format_size

    written = 0
    # On one terminal, the line and the bytes would be in each other's way.
    has_line = not sys.stdout.isatty()
    async with (
        open_node(options, has_line=has_line) as (node, output),
        open_page(node, output, options) as show,
    ):
        share = await wanted.find(node, output)
        if isinstance(share, Channel):
            blocks = _blocks_of_channel(node, share, output)
        else:
            show(share)
            blocks = _blocks_of_file(node, share, wanted.path)
        try:
            async with aclosing(blocks):
                writer = BytesWriter()
                async for block in blocks:
                    await writer.write(block)
                    written += len(block)
        except NotFoundError as error:
            if not written:
                raise
            raise UnfinishedError(
                f"{error} Only the first {format_size(written)} were written; run the "
                "command again to start over."
            ) from None


async def _blocks_of_file(
    node: "Node", link: "Link", path: str | None
) -> AsyncGenerator[bytes, None]:
    with node.reading(link):
        manifest = await node.manifest(link, with_files=False)
        if manifest.root.is_folder and path is None:
            raise UsageError(
                "A folder cannot be written to standard output; give -o OUT, or name "
                "one of its files: shoal cat LINK PATH."
            )
        async with node.open(link, path) as file, aclosing(file.blocks()) as blocks:
            async for block in blocks:
                yield block


async def _blocks_of_channel(
    node: "Node", channel: "Channel", output: "Output"
) -> AsyncGenerator[bytes, None]:
    from shoal.cli.progress import Reporter

    with Reporter(output, channel.id) as reporter:
        stream = node.stream_open(channel, on_progress=reporter.on_event)
        async with aclosing(stream) as blocks:
            async for block in blocks:
                yield block
