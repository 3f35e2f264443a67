"""`shoal ls`: the files of a share."""

from typing import Any

import click

from shoal.cli.looking import looking, only_link, timeout_option
from shoal.cli.options import everywhere, link_argument, read_link
from shoal.cli.output import printable

__all__ = ["command"]


@everywhere
@click.command("ls")
@link_argument
@timeout_option
def command(link: str, **options: Any) -> None:
    """List the files of the share LINK: size in bytes, x if executable, path.

    \b
    shoal ls shoal:mfrggzdf…
    """
    from shoal.cli.runner import run_command

    run_command(_ls(link, options))


async def _ls(text: str, options: dict[str, Any]) -> None:
    link = only_link(read_link(text))
    async with looking(options) as (node, output):
        files = await node.list(link, timeout=options["timeout"])
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
