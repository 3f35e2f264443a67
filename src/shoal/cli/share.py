"""`shoal share`: offer a file until interrupted."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from shoal.cli.options import SIZE, everywhere, settings_from

__all__ = ["command"]

PROBLEM_PERIOD = 2.0  # seconds between looks at what does not work


@everywhere
@click.command("share")
@click.argument("path", type=click.Path(path_type=Path, readable=False))
@click.option(
    "--open",
    "name",
    is_flag=False,
    flag_value="",
    metavar="[NAME]",
    envvar="SHOAL_OPEN",
    help="Use an open channel that Node programs understand: called NAME, or by "
    "the hash of its chunks. PATH comes first.",
)
@click.option(
    "--chunk-size",
    type=SIZE,
    envvar="SHOAL_CHUNK_SIZE",
    metavar="N",
    help="Bytes in a chunk, to 16M; 1024 by default.",
)
def command(path: Path, name: str | None, **options: Any) -> None:
    """Share the file PATH and print the id that others pass to get.

    \b
    shoal share model.bin
    shoal share notes.txt --open team-notes
    """
    from shoal.cli.runner import run_command

    run_command(_share(path, name or None, options))


async def _share(path: Path, name: str | None, options: dict[str, Any]) -> None:
    from shoal.cli.output import Output
    from shoal.cli.progress import make_bar
    from shoal.core.chunks import check_chunk_size
    from shoal.core.handshake import DEFAULT_CHUNK_SIZE
    from shoal.core.link import check_name
    from shoal.node import Node

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
        while True:
            await asyncio.sleep(PROBLEM_PERIOD)
            for problem in node.problems():
                output.problem(problem)
