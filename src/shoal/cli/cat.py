"""`shoal cat`: bytes of a share on standard output, as they become available."""

import re
import sys
from typing import Any

import click

from shoal.cli.looking import looking, only_link, timeout_option
from shoal.cli.options import (
    everywhere,
    link_and_path,
    link_argument,
    option,
    read_link,
)
from shoal.errors import UsageError

__all__ = ["command"]

_RANGE = re.compile(r"([0-9]{0,16})-([0-9]{0,16})")


@everywhere
@click.command("cat")
@link_argument
@click.argument("path", required=False)
@option(
    "-r",
    "--range",
    "span",
    metavar="FIRST-LAST",
    help="Only these bytes, LAST included, as in HTTP: 0-99, 100-, -500.",
)
@timeout_option
def command(link: str, path: str | None, span: str | None, **options: Any) -> None:
    """Write the file PATH of the share LINK to standard output.

    Each chunk is verified first, and only what is written is fetched.

    \b
    shoal cat shoal:mfrggzdf… logs/today.txt
    shoal cat shoal:mfrggzdf… -r 0-511
    """
    from shoal.cli.runner import run_command

    if options["as_json"]:
        raise UsageError("cat writes the bytes themselves; leave out --json.")
    if span is not None and (not _RANGE.fullmatch(span) or span == "-"):
        raise UsageError(f"{span[:40]!r} is not a range; write FIRST-LAST, as 0-99.")
    link, path = link_and_path(link, path)
    run_command(_cat(link, path, span, options))


async def _cat(
    text: str, path: str | None, span: str | None, options: dict[str, Any]
) -> None:
    link = only_link(read_link(text))
    async with looking(options) as (node, _):
        async with node.open(link, path, timeout=options["timeout"]) as file:
            first, end = parse_span(span, file.size)
            file.seek(first)
            async for block in file.blocks(end - first):
                sys.stdout.buffer.write(block)
                sys.stdout.buffer.flush()


def parse_span(span: str | None, size: int) -> tuple[int, int]:
    """Return the first byte and the end of what a range of `size` bytes names.

    As RFC 9110 section 14.1.2 has it; raises `UsageError` when there is no such.
    """
    if span is None:
        return 0, size
    match = _RANGE.fullmatch(span)
    assert match is not None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if int(first) >= size or (last and int(last) < int(first)):
        raise UsageError(f"The file has {size} bytes; there is no range {span} in it.")
    return int(first), min(int(last) + 1, size) if last else size
