"""`shoal chunk`: one chunk of a share on standard output, as the workshop's client."""

import os
import sys
from typing import Any

import click

from shoal.cli.options import SECONDS, everywhere, read_link, settings_from
from shoal.errors import UsageError

__all__ = ["command"]


@everywhere
# A negative INDEX is to be called that, not an unknown option.
@click.command("chunk", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="CHANNEL INDEX")
@click.option(
    "--timeout",
    type=SECONDS,
    envvar="SHOAL_TIMEOUT",
    metavar="S",
    help="Give up after this many seconds; for ever by default.",
)
def command(words: tuple[str, ...], **options: Any) -> None:
    """Write chunk INDEX of CHANNEL to standard output, raw.

    CHANNEL may be - for standard input, or be left out when SHOAL_LINK is set.

    \b
    shoal chunk team-notes 0
    """
    from shoal.cli.runner import run_command

    if len(words) == 1 and os.environ.get("SHOAL_LINK"):
        words = (os.environ["SHOAL_LINK"], *words)
    if len(words) != 2:
        raise UsageError("Give a channel and an index: shoal chunk CHANNEL INDEX.")
    if options["as_json"]:
        raise UsageError("chunk writes the chunk itself; leave out --json.")
    run_command(_chunk(read_link(words[0]), _parse_index(words[1]), options))


async def _chunk(text: str, index: int, options: dict[str, Any]) -> None:
    from shoal.cli.output import Output
    from shoal.core.link import parse_channel
    from shoal.node import Node

    output = Output.from_options(options)
    channel = parse_channel(text)
    if not channel.is_hash:
        output.warn(f"{channel.id} is a named channel: its content is not verified.")
    async with Node(settings_from(options)) as node:
        data = await node.fetch_chunk(channel, index, timeout=options["timeout"])
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _parse_index(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return int(text)
    raise UsageError(f"The index {text[:40]!r} is not a number from 0 up.")
