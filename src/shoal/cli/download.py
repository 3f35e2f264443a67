"""Download one share or open channel for `shoal get`, and show how that goes."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoal.cli.options import fields_of
from shoal.cli.page import ShowOnPage
from shoal.errors import UsageError

if TYPE_CHECKING:
    from shoal.channel.operations import OpenShare
    from shoal.cli.output import Output
    from shoal.core.names.channel_id import Channel
    from shoal.core.names.link import Link
    from shoal.core.report.events import DownloadEvent
    from shoal.node.node import Node
    from shoal.swarm.share import SealedShare

__all__ = ["facts_of", "get_open", "get_sealed", "target_of_channel"]


async def get_sealed(
    node: "Node",
    link: "Link",
    output: "Output",
    options: dict[str, Any],
    show: ShowOnPage,
) -> "tuple[Path, SealedShare | None]":
    """Download a share; return the target and, with `--seed`, what serves it."""
    from shoal.cli.progress import Reporter
    from shoal.config.arguments import FetchOptions
    from shoal.core.report.events import Started

    def on_event(event: "DownloadEvent") -> None:
        if isinstance(event, Started):  # from now on its files are known
            show(link)
        reporter.on_event(event)

    chosen = fields_of(FetchOptions, options)
    chosen["folder"] = options["folder"] or "."
    out = chosen.pop("out")
    with Reporter(output) as reporter:
        result = await node.fetch(link, out, on_progress=on_event, **chosen)
    reporter.say_result()
    return result.path, result.share


async def get_open(
    node: "Node", channel: "Channel", output: "Output", options: dict[str, Any]
) -> "tuple[Path, OpenShare | None]":
    """Download a channel; return the target and, with `--seed`, what serves it."""
    from shoal.cli.progress import Reporter

    target = target_of_channel(channel, options)
    if options["out"] is None:
        _make_folder(options["folder"])
    with Reporter(output, target.name) as reporter:
        share = await node.fetch_open(
            channel,
            target,
            overwrite=options["overwrite"],
            seed=options["seed"],
            on_progress=reporter.on_event,
        )
    reporter.say_result()
    return target, share


def target_of_channel(channel: "Channel", options: dict[str, Any]) -> Path:
    """Return where to write a channel to, which has no name for a file.

    Raises `UsageError`.
    """
    if options["out"] is not None:
        return Path(options["out"])
    if options["folder"] is not None:
        safe = "".join(c if c.isalnum() else "_" for c in channel.id[:8])
        return Path(options["folder"]) / safe
    if channel.is_hash:
        raise UsageError(
            f"{channel.id} is the id of an open channel, which gives its file no "
            "name; name the file to write with -o OUT."
        )
    if channel.id[:4].isdecimal():
        what = "a code, which is a number and three words; enter all of it."
    else:
        what = "a link, which begins with `shoal:`; copy the link again."
    raise UsageError(
        f"{channel.id[:40]!r} is not {what} If it is the name of an open channel, add "
        "-o OUT."
    )


def _make_folder(folder: str) -> None:
    from shoal.storage.disk.disk import Disk
    from shoal.storage.disk.own_folders import make_directories

    make_directories(Disk(), Path(os.path.abspath(folder)), is_private=False)


def facts_of(target: Path) -> dict[str, Any]:
    """Return what the JSON lines state of a target; a large folder takes a while."""
    files = [target] if target.is_file() else target.rglob("*")
    sizes = [path.stat().st_size for path in files if path.is_file()]
    return {"path": str(target), "size": sum(sizes), "files": len(sizes)}
