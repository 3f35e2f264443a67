"""`shoal chunk`: one chunk of a share on standard output, as the workshop's client."""

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from shoal.cli.options import (
    SECONDS,
    everywhere,
    option,
    read_link,
    settings_from,
)
from shoal.errors import UsageError

if TYPE_CHECKING:
    from shoal.core.names.channel_id import Channel
    from shoal.core.names.link import Link

__all__ = ["command"]


@everywhere
# A negative INDEX is to be called that, not an unknown option.
@click.command("chunk", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="LINK INDEX")
@option(
    "--timeout",
    type=SECONDS,
    metavar="S",
    help="Give up after this many seconds; for ever by default.",
)
def command(words: tuple[str, ...], **options: Any) -> None:
    """Write chunk INDEX of the share LINK to standard output, raw.

    LINK is a link or the id of an open channel; it may be - for standard input, or
    be left out when SHOAL_LINK is set.

    \b
    shoal chunk team-notes 0
    """
    for word in words:
        if word[:1] == "-" and len(word) > 1 and not word[1:].isdigit():
            raise click.NoSuchOption(word, ctx=click.get_current_context())
    if len(words) == 1 and os.environ.get("SHOAL_LINK"):
        words = (os.environ["SHOAL_LINK"], *words)
    if len(words) != 2:
        raise UsageError("Give a link or channel and an index: shoal chunk LINK INDEX.")
    if options["as_json"]:
        raise UsageError("chunk writes the chunk itself; leave out --json.")
    index = _parse_index(words[1])
    from shoal.cli.runner import run_command

    run_command(_chunk(words[0], index, options))


async def _chunk(text: str, index: int, options: dict[str, Any]) -> None:
    from shoal.cli.output import Output
    from shoal.core.names.channel_id import Channel
    from shoal.node.node import Node

    output = Output.from_options(options)
    share = _parse_share(read_link(text))
    settings = settings_from(options)
    if isinstance(share, Channel) and not share.is_hash:
        output.warn(f"{share.id} is a named channel: its content is not verified.")
    async with Node(settings, on_notice=lambda note: output.problem(note.text)) as node:
        data = await node.fetch_chunk(share, index, timeout=options["timeout"])
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _parse_share(text: str) -> "Channel | Link":
    """Read a link or channel; the former's modules only if it may be one."""
    from shoal.core.names.channel_id import looks_like_link, parse_channel

    if not looks_like_link(text.strip()):
        return parse_channel(text)
    from shoal.core.names.link import parse_link

    return parse_link(text)


def _parse_index(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return int(text)
    raise UsageError(f"The index {text[:40]!r} is not a number from 0 up.")
