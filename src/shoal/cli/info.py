"""`shoal info`: describe a share."""

from typing import Any

import click

from shoal.cli.options import Command, link_argument, read_link
from shoal.cli.output import printable

__all__ = ["command"]


@click.command("info", cls=Command)
@link_argument
def command(link: str, **options: Any) -> None:
    """Describe the share LINK without downloading it.

    \b
    shoal info shoal:mfrggzdf…
    """
    from shoal.cli.runner import run_command

    run_command(_info(link, options))


async def _info(text: str, options: dict[str, Any]) -> None:
    from shoal.cli.runner import only_link, open_node

    link = only_link(read_link(text))
    async with open_node(options) as (node, output):
        manifest = await node.manifest(link)
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
