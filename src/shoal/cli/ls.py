"""`shoal ls`: list the files of a share."""

from typing import Any

import click

from shoal.cli.options import Command, link_argument, read_link
from shoal.cli.output import printable

__all__ = ["command"]


@click.command("ls", cls=Command)
@link_argument
def command(link: str, **options: Any) -> None:
    """List the files of the share LINK: size in bytes, x if executable, path.

    \b
    shoal ls shoal:mfrggzdf…
    """
    from shoal.cli.runner import run_command

    run_command(_ls(link, options))


async def _ls(text: str, options: dict[str, Any]) -> None:
    from shoal.cli.runner import only_link, open_node

    link = only_link(read_link(text))
    async with open_node(options) as (node, output):
        files = await node.list(link)
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
