"""`shoal verify`: check that a file or folder matches a link."""

from pathlib import Path
from typing import Any

import click

from shoal.cli.options import Command, link_and_path, link_argument, read_link

__all__ = ["command"]


@click.command("verify", cls=Command)
@link_argument
@click.argument("path", type=click.Path(readable=False), required=False, metavar="PATH")
def command(link: str, path: str | None, **options: Any) -> None:
    """Compare every byte of the file or folder PATH with the share LINK.

    The exit code is 5 if they differ. Only the hashes are downloaded.

    \b
    shoal verify shoal:mfrggzdf… photos/
    """
    from shoal.cli.runner import run_command

    link, path = link_and_path(link, path)
    if path is None:
        raise click.UsageError("Missing argument 'PATH'.", click.get_current_context())
    run_command(_verify(link, Path(path), options))


async def _verify(text: str, path: Path, options: dict[str, Any]) -> None:
    from shoal.cli.runner import only_link, open_node

    link = only_link(read_link(text))
    async with open_node(options) as (node, output):
        manifest = await node.verify(link, path)
        output.result(
            f"{path} matches the link.",
            event="complete",
            path=str(path),
            size=manifest.root.size,
            files=len(manifest.files),
        )
