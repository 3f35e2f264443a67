"""`shoal share`: share until interrupted or, with `--once`, until a peer has it all."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from shoal.cli.options import Command, fields_of, refuse_in_channel
from shoal.errors import UsageError

__all__ = ["share"]


@click.command(cls=Command)
@click.argument("place", type=click.Path(readable=False), metavar="PATH")
async def share(place: str, **options: Any) -> None:
    """Share the file or folder PATH and print its link, for shoal get elsewhere.

    \b
    shoal share photos/
    shoal share model/ --origin https://example.com/model/
    shoal share notes.txt --open team-notes
    """
    if not place:
        raise UsageError("PATH is empty; name a file or folder.")
    path = Path(place)
    if options["open"] is None:
        await _share(path, options)
        return
    refuse_in_channel(
        options,
        *("origin", "name", "include", "exclude", "public", "new-link", "once", "qr"),
    )
    await _share_open(path, options["open"] or None, options)


async def _share(path: Path, options: dict[str, Any]) -> None:
    from shoal.cli.bars import make_bar
    from shoal.cli.progress import Reporter
    from shoal.cli.runner import open_node, report_until_cancelled
    from shoal.config.arguments import ShareOptions

    async with open_node(options) as (node, output):
        bar = make_bar(output, path.name, options["color"])
        with Reporter(output, path.name, bar) as reporter:
            chosen = fields_of(ShareOptions, options)
            share = await node.share(path, on_progress=reporter.on_event, **chosen)
        root = share.manifest.root
        output.result(
            str(share.link),
            event="start",
            link=str(share.link),
            port=share.port,
            name=root.name,
            size=root.size,
            chunk_size=root.chunk_size,
            files=share.manifest.root.file_count,
            verified=True,
        )
        if share.link.origins:
            output.warn(
                "The link contains the origin's URL, with any password or key in it."
            )
        if options["qr"]:
            # Upper case makes a smaller code, but URLs are case-sensitive.
            text = str(share.link)
            output.draw_qr(text if share.link.origins else text.upper())
        output.say(f"Sharing {root.name} ({root.size:,} bytes) on port {share.port}.")
        if not options["once"]:
            output.say("Press Ctrl-C to stop.")
            await report_until_cancelled(node, output, share)
        async with asyncio.TaskGroup() as tasks:
            reports = tasks.create_task(report_until_cancelled(node, output, share))
            await share.shared()
            reports.cancel()
        await share.leave()
        output.event("complete", uploaded=share.uploaded)
        output.say(f"A peer has all of {root.name}.")


async def _share_open(path: Path, name: str | None, options: dict[str, Any]) -> None:
    from shoal.cli.bars import make_bar
    from shoal.cli.runner import open_node, report_until_cancelled

    async with open_node(options) as (node, output):
        with closing(make_bar(output, path.name, options["color"])) as bar:
            share = await node.share_open(
                path,
                name,
                chunk_size=options["chunk_size"],
                on_hashed=lambda done, size: bar.update(done, size, "hashed"),
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
        output.say(f"Sharing {path.name} ({chunks.size:,} bytes) on port {share.port}.")
        output.say("Press Ctrl-C to stop.")
        await report_until_cancelled(node, output, share)
