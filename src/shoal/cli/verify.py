"""`shoal verify`: is what is here what the link names?"""

from pathlib import Path
from typing import Any

import click

from shoal.cli.looking import looking, only_link, timeout_option
from shoal.cli.options import everywhere, link_argument, read_link

__all__ = ["command"]


@everywhere
@click.command("verify")
@link_argument
@click.argument("path", type=click.Path(path_type=Path, readable=False))
@timeout_option
def command(link: str, path: Path, **options: Any) -> None:
    """Compare the file or folder PATH with what LINK names, byte for byte.

    Exits 5 when they differ. Only the hashes are fetched.

    \b
    shoal verify shoal:mfrggzdf… photos/
    """
    from shoal.cli.runner import run_command

    run_command(_verify(link, path, options))


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
