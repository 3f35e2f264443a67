"""`shoal verify`: is what is here what the link names?"""

from pathlib import Path
from typing import Any

import click

from shoal.cli.looking import looking, only_link, timeout_option
from shoal.cli.options import (
    PATH,
    everywhere,
    link_and_path,
    link_argument,
    read_link,
)

__all__ = ["command"]


@everywhere
@click.command("verify")
@link_argument
@click.argument("path", type=PATH, required=False, metavar="PATH")
@timeout_option
def command(link: str, path: str | None, **options: Any) -> None:
    """Compare the file or folder PATH with what LINK names, byte for byte.

    Exits 5 when they differ. Only the hashes are fetched.

    \b
    shoal verify shoal:mfrggzdf… photos/
    """
    from shoal.cli.runner import run_command

    link, path = link_and_path(link, path)
    if path is None:
        raise click.UsageError("Missing argument 'PATH'.", click.get_current_context())
    run_command(_verify(link, Path(path), options))


async def _verify(text: str, path: Path, options: dict[str, Any]) -> None:
    link = only_link(read_link(text))
    async with looking(options) as (node, output):
        manifest = await node.verify(link, path, timeout=options["timeout"])
        output.result(
            f"{path} is what the link names.",
            event="complete",
            path=str(path),
            size=manifest.root.size,
            files=len(manifest.files),
        )
