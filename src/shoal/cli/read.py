"""The commands that read a share and store nothing: cat, ls, info, verify and chunk.

`shoal chunk` does the same as the client of the p2p workshop, so its time to the first
byte is what users compare.
"""

import os
import re
from collections.abc import Coroutine
from typing import Any

import click

from shoal.cli.options import (
    Command,
    link_and_path,
    link_argument,
    read_share,
    warn_of_channel,
)
from shoal.cli.output import printable
from shoal.config.combinations import Case, refuse_meaningless
from shoal.errors import UsageError

__all__ = ["cat", "chunk", "info", "ls", "parse_span", "verify"]

_RANGE = re.compile(r"([0-9]{0,16})-([0-9]{0,16})")


@click.command(cls=Command)
@link_argument
@click.argument("path", required=False)
async def cat(link: str, path: str | None, **options: Any) -> None:
    """Write the file PATH of the share LINK to standard output.

    A share that is a single file needs no PATH. Only the chunks that are needed are
    downloaded; each is verified before it is written.

    \b
    shoal cat shoal:mfrggzdf… logs/today.txt
    shoal cat shoal:mfrggzdf… -r 0-511
    """
    from shoal.cli.bytes_writer import BytesWriter
    from shoal.cli.runner import only_link, open_node

    if options["json"]:
        raise UsageError(
            "cat writes the bytes of the file, not JSON; leave out --json."
        )
    span = options["range"]
    if span is not None and (not _RANGE.fullmatch(span) or span == "-"):
        raise UsageError(
            f"{span[:40]!r} is not a range; write FIRST-LAST, such as 0-99."
        )
    link, path = link_and_path(link, path)
    share = only_link(link)
    async with open_node(options) as (node, _):
        async with node.open(share, path) as file:
            first, end = parse_span(span, file.size)
            file.seek(first)
            writer = BytesWriter()
            async for block in file.blocks(end - first):
                await writer.write(block)


@click.command(cls=Command)
@link_argument
async def ls(link: str, **options: Any) -> None:
    """List the files of the share LINK: size in bytes, x if executable, path.

    \b
    shoal ls shoal:mfrggzdf…
    """
    from shoal.cli.runner import only_link, open_node

    share = only_link(link)
    async with open_node(options) as (node, output):
        files = await node.list(share)
        for file in files:
            mark = "x" if file.executable else "-"
            output.result(
                f"{file.size:>15} {mark} {printable(file.path)}",
                event="file",
                path=file.path,
                size=file.size,
                executable=file.executable,
            )
        size = sum(file.size for file in files)
        output.event("complete", files=len(files), size=size)


@click.command(cls=Command)
@link_argument
async def info(link: str, **options: Any) -> None:
    """Describe the share LINK without downloading it.

    \b
    shoal info shoal:mfrggzdf…
    """
    from shoal.cli.runner import only_link, open_node
    from shoal.core.report.units import format_size

    share = only_link(link)
    async with open_node(options) as (node, output):
        manifest = await node.manifest(share, with_files=False)
        root, chunks = manifest.root, manifest.chunks
        facts = {
            "name": root.name,
            "kind": "folder" if root.is_folder else "file",
            "size": root.size,
            "files": root.file_count,
            "chunk_size": chunks.chunk_size,
            "chunks": chunks.count,
            "public": root.salt is None,
        }
        shown = facts | {"public": "yes" if facts["public"] else "no"}
        shown["size"] = format_size(root.size)
        shown["chunk_size"] = format_size(chunks.chunk_size)
        lines = [f"{name:<11} {printable(str(value))}" for name, value in shown.items()]
        output.result("\n".join(lines), event="complete", **facts)


@click.command(cls=Command)
@link_argument
@click.argument("path", type=click.Path(readable=False), required=False, metavar="PATH")
def verify(link: str, path: str | None, **options: Any) -> Coroutine[None, None, None]:
    """Compare every byte of the file or folder PATH with the share LINK.

    Files that are changed, missing, or extra (not in the share) are named. A file that
    shares a chunk with a changed or missing one may be reported as unknown. The exit
    code is 5 unless all files of the share are there and unchanged. Only the hashes
    are downloaded.

    \b
    shoal verify shoal:mfrggzdf… photos/
    """
    link, path = link_and_path(link, path)
    if path is None:
        raise click.UsageError("Missing argument 'PATH'.", click.get_current_context())
    return _verify(link, path, options)


async def _verify(link: str, place: str, options: dict[str, Any]) -> None:
    from pathlib import Path

    from shoal.cli.runner import only_link, open_node

    share, path = only_link(link), Path(place)
    async with open_node(options) as (node, output):
        follow = options["follow_symlinks"]
        compared = await node.compare(share, path, follow_symlinks=follow)
        for each in compared.differences:
            output.result(
                f"{each.state.value:<8} {printable(each.path)}",
                event="difference",
                path=each.path,
                state=each.state.value,
            )
        compared.check()
        root = compared.manifest.root
        output.result(
            f"{path} matches the link.",
            event="complete",
            path=str(path),
            size=root.size,
            files=root.file_count,
        )


# A negative INDEX is reported as such, not as an unknown option.
@click.command(cls=Command, context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, metavar="LINK INDEX")
def chunk(words: tuple[str, ...], **options: Any) -> Coroutine[None, None, None]:
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
        raise UsageError(
            "chunk writes the bytes of the chunk, not JSON; leave out --json."
        )
    link, index = words
    if not (index.isascii() and index.isdigit() and len(index) <= 10):
        raise UsageError(f"{index[:40]!r} is not an index; write a number from 0 on.")
    return _chunk(link, int(index), options)


async def _chunk(text: str, index: int, options: dict[str, Any]) -> None:
    from shoal.cli.bytes_writer import BytesWriter
    from shoal.cli.runner import open_node
    from shoal.core.names.channel_id import Channel

    share = read_share(text)
    if isinstance(share, Channel):
        refuse_meaningless(options, Case.CHANNEL)
        warn_of_channel(share)
    async with open_node(options) as (node, _):
        data = await node.fetch_chunk(share, index)
        await BytesWriter().write(data)


def parse_span(span: str | None, size: int) -> tuple[int, int]:
    """Return the first byte of a range and the end, for a file of `size` bytes.

    RFC 9110 section 14.1.2 defines the ranges. Raises `UsageError` for a range that
    the file does not have.
    """
    if span is None:
        return 0, size
    match = _RANGE.fullmatch(span)
    assert match is not None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if int(first) >= size or (last and int(last) < int(first)):
        raise UsageError(
            f"The file has {size:,} B and no range {span}; write a range within it."
        )
    return int(first), min(int(last) + 1, size) if last else size
