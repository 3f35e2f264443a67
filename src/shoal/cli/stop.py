"""`shoal stop`: end shares that run in the background."""

from typing import Any

import click

from shoal.cli.options import Command, read_link
from shoal.cli.output import Output
from shoal.errors import ShoalError, UsageError

__all__ = ["stop"]


@click.command(cls=Command)
@click.argument("what", metavar="LINK|PID")
def stop(what: str, **options: Any) -> None:
    """End shares that run in the background, by their LINK or process id.

    Peers first get the chunks that they wait for.

    \b
    shoal share photos/ --background
    shoal stop 4242
    """
    from shoal.core.names.link import parse_link
    from shoal.core.names.link_text import looks_like_link
    from shoal.storage.background import running_in_background
    from shoal.storage.background import stop as stop_process
    from shoal.storage.disk.disk import Disk
    from shoal.storage.home import user_home

    output, disk = Output.from_options(options), Disk()
    what = read_link(what).strip()
    if not (what.isdigit() or looks_like_link(what)):
        raise UsageError(
            f"{what[:40]} is neither a link nor a process id; write one of those that "
            "shoal share --background printed."
        )
    identity = "" if what.isdigit() else parse_link(what).identity.hex()
    found = [
        each
        for each in running_in_background(user_home(), disk)
        if each.identity == identity or str(each.pid) == what
    ]
    if not found:
        raise ShoalError(
            "No share with this link or process id runs in the background; shoal list "
            "shows what is shared."
        )
    for each in found:
        if not stop_process(each, disk):
            raise ShoalError(
                f"Process {each.pid} does not end; kill -9 {each.pid} ends it at once."
            )
        output.say(f"Process {each.pid} has ended.")
    output.event("complete", stopped=len(found))
