"""`shoal chunk`: write one chunk of a share to standard output.

It does the same as the client of the p2p workshop, so its time to the first byte is
what users compare.
"""

import os
from typing import TYPE_CHECKING, Any

import click

from shoal.cli.options import Command, read_link
from shoal.cli.output import write_bytes
from shoal.errors import UsageError

if TYPE_CHECKING:
    from shoal.core.names.channel_id import Channel
    from shoal.core.names.link import Link

__all__ = ["command"]


# A negative INDEX is reported as such, not as an unknown option.
@click.command("chunk", cls=Command, context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="LINK INDEX")
def command(words: tuple[str, ...], **options: Any) -> None:
    """Write chunk INDEX of the share LINK to standard output, raw.

    LINK is a link or the id of an open channel. It may be - to read it from standard
    input, and may be left out if SHOAL_LINK is set.

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
    if options["json"]:
        raise UsageError("chunk writes the chunk itself; leave out --json.")
    index = _parse_index(words[1])
    from shoal.cli.runner import run_command

    run_command(_chunk(words[0], index, options))


async def _chunk(text: str, index: int, options: dict[str, Any]) -> None:
    from shoal.cli.runner import open_node
    from shoal.core.names.channel_id import Channel

    share = _parse_share(read_link(text))
    async with open_node(options) as (node, output):
        if isinstance(share, Channel) and not share.is_hash:
            output.warn(f"{share.id} is a named channel: its content is not verified.")
        write_bytes(await node.fetch_chunk(share, index))


def _parse_share(text: str) -> "Channel | Link":
    """Read a link or channel; import the modules of links only for a link."""
    from shoal.core.names.channel_id import looks_like_link, parse_channel

    if not looks_like_link(text.strip()):
        return parse_channel(text)
    from shoal.core.names.link import parse_link

    return parse_link(text)


def _parse_index(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 10:
        return int(text)
    raise UsageError(f"The index {text[:40]!r} is not a number from 0 up.")
