"""`shoal info`: what a share says of itself."""

from typing import Any

import click

from shoal.cli.looking import looking, only_link, timeout_option
from shoal.cli.options import everywhere, link_argument, read_link
from shoal.cli.output import printable

__all__ = ["command"]


@everywhere
@click.command("info")
@link_argument
@timeout_option
def command(link: str, **options: Any) -> None:
    """Say what the share LINK is, without fetching it.

    \b
    shoal info shoal:mfrggzdf…
    """
    from shoal.cli.runner import run_command

    run_command(_info(link, options))


async def _info(text: str, options: dict[str, Any]) -> None:
    link = only_link(read_link(text))
    async with looking(options) as (node, output):
        manifest = await node.manifest(link, timeout=options["timeout"])
        root, chunks = manifest.root, manifest.chunks
        facts = {
            "name": root.name,
            "kind": "folder" if root.is_folder else "file",
            "size": root.size,
            "files": len(manifest.files),
            "chunk_size": chunks.chunk_size,
            "chunks": chunks.count,
            "public": root.salt is None,
        }
        lines = (f"{name:<11} {_plain(value)}" for name, value in facts.items())
        output.result("\n".join(lines), event="complete", **facts)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value))
