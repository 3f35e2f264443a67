"""`shoal cat`: write bytes of a share to standard output as they arrive."""

import re
from typing import Any

import click

from shoal.cli.options import Command, link_and_path, link_argument, read_link
from shoal.cli.output import write_bytes
from shoal.errors import UsageError

__all__ = ["command"]

_RANGE = re.compile(r"([0-9]{0,16})-([0-9]{0,16})")


@click.command("cat", cls=Command)
@link_argument
@click.argument("path", required=False)
def command(link: str, path: str | None, **options: Any) -> None:
    """Write the file PATH of the share LINK to standard output.

    Only the chunks that are needed are downloaded; each is verified before it is
    written.

    \b
    shoal cat shoal:mfrggzdf… logs/today.txt
    shoal cat shoal:mfrggzdf… -r 0-511
    """
    from shoal.cli.runner import run_command

    if options["json"]:
        raise UsageError("cat writes the bytes themselves; leave out --json.")
    span = options["range"]
    if span is not None and (not _RANGE.fullmatch(span) or span == "-"):
        raise UsageError(f"{span[:40]!r} is not a range; write FIRST-LAST, as 0-99.")
    link, path = link_and_path(link, path)
    run_command(_cat(link, path, options))


async def _cat(text: str, path: str | None, options: dict[str, Any]) -> None:
    from shoal.cli.runner import only_link, open_node

    link = only_link(read_link(text))
    async with open_node(options) as (node, _):
        async with node.open(link, path) as file:
            first, end = parse_span(options["range"], file.size)
            file.seek(first)
            async for block in file.blocks(end - first):
                write_bytes(block)


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
            f"The file has {size} bytes and no range {span}; name another."
        )
    return int(first), min(int(last) + 1, size) if last else size
