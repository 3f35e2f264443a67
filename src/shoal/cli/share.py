"""`shoal share`: offer a file or folder until interrupted."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from shoal.cli.options import (
    PATH,
    SIZE,
    everywhere,
    option,
    pattern_options,
    rate_option,
    settings_from,
)
from shoal.errors import UsageError

__all__ = ["command"]

_SEALED_ONLY = (
    "origins",
    "name",
    "include",
    "exclude",
    "public",
    "new_link",
    "once",
    "qr",
)


@everywhere
@click.command("share")
@click.argument("place", type=PATH, metavar="PATH")
@option(
    "--open",
    "channel",
    is_flag=False,
    flag_value="",
    metavar="[NAME]",
    help="Use an open channel that Node programs understand, not encrypted: called "
    "NAME, or by the hash of its chunks. PATH comes first.",
)
@option(
    "--chunk-size",
    type=SIZE,
    metavar="N",
    help="Bytes in a chunk; chosen by the size, or 1024 in an open channel.",
)
@option("--name", help="Call it so; its own name if not.")
@pattern_options("share")
@option(
    "--public",
    is_flag=True,
    help="Give the link that everyone with the same bytes gets; it can be guessed.",
)
@option(
    "--new-link",
    is_flag=True,
    help="Give a link that nobody has yet, as when the old one leaked.",
)
@option("--once", is_flag=True, help="End when one peer has it all.")
@option("--qr", is_flag=True, help="Show the link as a QR code.")
@rate_option("up", "Send")
def command(place: str, **options: Any) -> None:
    """Share the file or folder PATH and print the link that others pass to get.

    \b
    shoal share photos/
    shoal share model/ --origin https://example.com/model/
    shoal share notes.txt --open team-notes
    """
    from shoal.cli.runner import run_command

    if not place:
        raise UsageError("PATH is empty; name a file or folder.")
    path = Path(place)
    if options["channel"] is None:
        run_command(_share(path, options))
        return
    for name in _SEALED_ONLY:
        if options[name]:
            flag = "--" + name.replace("_", "-").replace("origins", "origin")
            raise UsageError(f"{flag} is not for open channels; leave out one of them.")
    run_command(_share_open(path, options["channel"] or None, options))


async def _share(path: Path, options: dict[str, Any]) -> None:
    from shoal.cli.output import Output
    from shoal.cli.progress import Reporter, make_bar
    from shoal.cli.sharing import go_on_sharing
    from shoal.node.node import Node

    output = Output.from_options(options)
    settings = settings_from(options)
    async with Node(settings, on_notice=lambda note: output.problem(note.text)) as node:
        bar = make_bar(output, path.name, options["color"])
        with Reporter(output, path.name, bar) as reporter:
            share = await node.share(
                path,
                name=options["name"],
                chunk_size=options["chunk_size"],
                include=options["include"],
                exclude=options["exclude"],
                public=options["public"],
                new_link=options["new_link"],
                origins=options["origins"],
                on_progress=reporter.on_event,
            )
        root = share.manifest.root
        output.result(
            str(share.link),
            event="start",
            link=str(share.link),
            port=share.port,
            name=root.name,
            size=root.size,
            chunk_size=root.chunk_size,
            files=len(share.manifest.files),
            verified=True,
        )
        if share.link.origins:
            output.warn(
                "Whoever gets the link gets the origin's URL, with all that is in it."
            )
        if options["qr"]:
            # Upper case makes a smaller code, but a URL is another one then.
            text = str(share.link)
            output.draw_qr(text if share.link.origins else text.upper())
        output.say(f"Sharing {root.name} ({root.size:,} bytes) on port {share.port}.")
        if options["once"]:
            watching = asyncio.create_task(go_on_sharing(node, output, share))
            await share.shared()
            watching.cancel()
            await share.leave()
            output.event("complete", uploaded=share.uploaded)
            output.say(f"Somebody has all of {root.name}.")
        else:
            output.say("Ctrl-C ends it.")
            await go_on_sharing(node, output, share)


async def _share_open(path: Path, name: str | None, options: dict[str, Any]) -> None:
    from shoal.cli.output import Output
    from shoal.cli.progress import make_bar
    from shoal.cli.sharing import go_on_sharing
    from shoal.core.manifest.chunks import check_chunk_size
    from shoal.core.names.channel_id import check_name
    from shoal.core.wire.handshake import DEFAULT_CHUNK_SIZE
    from shoal.node.node import Node

    output = Output.from_options(options)
    chunk_size = options["chunk_size"]
    chunk_size = DEFAULT_CHUNK_SIZE if chunk_size is None else chunk_size
    check_chunk_size(chunk_size)
    channel = check_name(name) if name is not None else None
    settings = settings_from(options)
    async with Node(settings, on_notice=lambda note: output.problem(note.text)) as node:
        with closing(make_bar(output, path.name, options["color"])) as bar:
            share = await node.share_open(
                path,
                channel,
                chunk_size=chunk_size,
                on_hashed=lambda done, size: bar.update(done, size, "hashed"),
            )
        size = share.uploads.chunks.size
        output.result(
            share.channel.id,
            event="start",
            id=share.channel.id,
            port=share.port,
            size=size,
            chunk_size=chunk_size,
            verified=share.channel.is_hash,
        )
        if not share.channel.is_hash:
            output.warn("A named channel is not verified: anyone may answer for it.")
        output.say(f"Sharing {path.name} ({size:,} bytes) on port {share.port}.")
        output.say("Ctrl-C ends it.")
        await go_on_sharing(node, output, share)
